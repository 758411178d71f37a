//! `run`: the main job.

use super::{
    Exit,
    load::{Source, Wishes, load},
    log, print, say,
};
use crate::{
    manifest::{Manifest, Stage, Start},
    plan::{Plan, Wanted},
    supervisor::{self, Format, Options},
    text::{count, nearest},
    transport::log::{Lag, Log, TopicFacts},
    worker::control::Control,
};
use anyhow::Result;
use clap::builder::BoolishValueParser;
use std::{
    collections::BTreeMap,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Run a manifest: consume, transform, produce, commit
#[derive(clap::Args)]
#[command(after_help = "Examples:
  millstream run pipeline.yaml
  millstream run pipeline.yaml --kafka localhost:9092 --build
  millstream run pipeline.yaml --until-idle      (ends when all is done)

Each option is a variable of the environment, too, such as MILLSTREAM_ONLY.

Exit codes: 0 done, 1 failed while running, 2 what was asked is wrong,
3 dead letters (with --fail-on-dead-letter)")]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Build the stages first, with the commands that the manifest names
    #[arg(long, value_parser = BoolishValueParser::new(), hide_env = true, env = "MILLSTREAM_BUILD")]
    build: bool,
    /// Only these stages
    #[arg(long, value_name = "STAGE,…", value_delimiter = ',', hide_env = true, env = "MILLSTREAM_ONLY")]
    only: Vec<String>,
    /// End when nothing has been left to do for this long
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "2s",
          value_parser = duration, hide_env = true, env = "MILLSTREAM_UNTIL_IDLE")]
    until_idle: Option<Duration>,
    /// What this host is called in the cluster, such as a pod's name, in place of the id in its state folder
    #[arg(long, value_name = "NAME", value_parser = instance, hide_env = true, env = "MILLSTREAM_INSTANCE")]
    instance: Option<String>,
    /// Say nothing but what is wrong
    #[arg(long, short, value_parser = BoolishValueParser::new(), hide_env = true, env = "MILLSTREAM_QUIET")]
    quiet: bool,
    /// How the log is written: text, or json
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        default_value_t,
        hide_possible_values = true,
        hide_env = true,
        env = "MILLSTREAM_LOG_FORMAT"
    )]
    log_format: Format,
    /// End with code 3 when there were dead letters
    #[arg(long, value_parser = BoolishValueParser::new(), hide_env = true, env = "MILLSTREAM_FAIL_ON_DEAD_LETTER")]
    fail_on_dead_letter: bool,
    /// The admin address: off, as there is none yet
    #[arg(long, value_name = "ADDR", value_parser = ["off"], default_value = "off", hide_default_value = true,
          hide_possible_values = true, hide_env = true, env = "MILLSTREAM_ADMIN")]
    admin: String,
}

pub(super) fn run(arguments: Arguments) -> Result<Exit> {
    let wishes = Wishes { only: arguments.only, build: arguments.build };
    let loaded = match load(&arguments.source, &wishes)? {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            say(&mistakes);
            return Ok(Exit::Wrong);
        }
    };
    say(&loaded.warnings);
    supervisor::start_log(arguments.log_format, arguments.quiet);
    let manifest = &loaded.manifest;
    let log = log::open(manifest)?;
    tracing::info!("{} on {log}", manifest.name);
    let control = Arc::new(Control::default());
    supervisor::listen_to_signals(control.clone())?;
    let asked = ask_early(manifest, &log);
    let Some(facts) = prepare_topics(manifest, &log, &control)? else { return Ok(Exit::Done) };
    let plan = Plan::new(manifest, &log, &loaded.compiled, &facts, &control);
    for stage in &plan.parts {
        tracing::info!("{}", stage.describe());
    }
    say_starts(manifest, &log, asked, &control);
    let options = Options { until_idle: arguments.until_idle, instance: arguments.instance, quiet: arguments.quiet };
    let outcome = supervisor::run(plan, &control, &options)?;
    print("")?;
    Ok(match outcome {
        outcome if !outcome.failures.is_empty() => Exit::Failed,
        outcome if arguments.fail_on_dead_letter && outcome.dead_letters() > 0 => Exit::DeadLetters,
        _ => Exit::Done,
    })
}

/// Makes the topics that are missing, waits for those that somebody else has to make, and says where declared and
/// real ones differ. `None` when the host was told to end meanwhile.
fn prepare_topics(manifest: &Manifest, log: &Log, control: &Control) -> Result<Option<BTreeMap<String, TopicFacts>>> {
    let topics = log.topics()?;
    let names: Vec<_> = manifest.topic_names().collect();
    let mut said = String::new();
    let mut say = |line: String| {
        if line != said {
            tracing::warn!("{line}");
            said = line;
        }
    };
    while !control.stopping() {
        let there = match topics.find(&names) {
            Ok(there) => there,
            Err(error) => {
                say(format!("{log}: {error:#}: waiting until it answers"));
                control.wait(Duration::from_millis(500));
                continue;
            }
        };
        let wanted = Wanted::new(manifest, &there);
        let knots = wanted.knots(manifest);
        for topic in wanted.create.iter().chain(&knots) {
            match topics.create(topic) {
                Ok(true) => tracing::info!("topic {} made{}", topic.name, topic.shape()),
                Ok(false) => {}
                // Is it the cluster that went away, or does it say no?
                Err(error) if topics.list().is_ok() => return Err(error),
                Err(_) => break,
            }
        }
        if wanted.create.is_empty() && wanted.missing.is_empty() && wanted.later.is_empty() {
            wanted.differences.iter().for_each(|line| tracing::warn!("{line}"));
            let_go(topics);
            return Ok(Some(there));
        }
        if !wanted.missing.is_empty() && wanted.create.is_empty() {
            let all = topics.list().unwrap_or_default();
            let hints = wanted.missing.iter().map(|name| match nearest(name, all.keys().map(String::as_str)) {
                Some(near) => format!("{name} (did you mean {near}?)"),
                None => name.clone(),
            });
            say(format!("waiting for a topic to be made: {}", hints.collect::<Vec<_>>().join(", ")));
            control.wait(Duration::from_millis(500));
        } else {
            // What was made a moment ago is known to all brokers a moment later.
            control.wait(Duration::from_millis(20));
        }
    }
    Ok(None)
}

/// Ends a client's connections in a thread of their own: that takes a tenth of a second, and there is more to do.
fn let_go<T: Send + 'static>(client: T) {
    thread::spawn(move || drop(client));
}

/// Where a group stands.
type Standing = BTreeMap<(String, u32), Lag>;

/// Asks where each group stands, while other things are found out.
fn ask_early(manifest: &Manifest, log: &Log) -> Vec<JoinHandle<Option<Standing>>> {
    let ask = |stage: &Stage| {
        let (log, group, inputs) = (log.with(&stage.properties), stage.group.clone(), input_topics(stage));
        thread::spawn(move || {
            let offsets = log.offsets(&group, &inputs).ok()?;
            let standing = offsets.ask().ok();
            let_go(offsets);
            standing
        })
    };
    manifest.stages.iter().map(ask).collect()
}

fn input_topics(stage: &Stage) -> Vec<String> {
    stage.inputs.iter().map(|port| port.topic.clone()).collect()
}

/// Says where each group goes on, or what it starts from.
fn say_starts(manifest: &Manifest, log: &Log, asked: Vec<JoinHandle<Option<Standing>>>, control: &Control) {
    for (stage, asked) in manifest.stages.iter().zip(asked) {
        let inputs = input_topics(stage);
        if control.stopping() {
            return;
        }
        // It may have been asked too early, of topics that were not there yet.
        let early = asked.join().ok().flatten();
        let log = log.with(&stage.properties);
        let ask = || ask(&log, &stage.group, &inputs, control);
        let Some(partitions) = early.or_else(ask) else {
            continue;
        };
        let group = &stage.group;
        if partitions.values().all(|lag| lag.committed.is_none())
            && matches!(stage.from, Start::Latest | Start::Timestamp(_))
            && let Err(error) = log.offsets(group, &inputs).and_then(|offsets| offsets.set(&offsets.find(stage.from)?))
        {
            tracing::debug!("group {group} chooses its start by itself: {error:#}");
        }
        let left = |from: &dyn Fn(&Lag) -> u64| {
            count(partitions.values().map(|lag| lag.end.saturating_sub(from(lag))).sum(), "record")
        };
        if partitions.values().any(|lag| lag.committed.is_some()) {
            tracing::info!(
                "group {group} goes on: up to {} left to read",
                left(&|lag| lag.committed.unwrap_or(lag.start))
            );
            continue;
        }
        match stage.from {
            Start::Earliest => {
                tracing::info!("group {group} has no offsets: reads {} from earliest", left(&|lag| lag.start));
            }
            Start::Latest => tracing::info!(
                "group {group} has no offsets: reads what comes from now on, not the {} before",
                left(&|lag| lag.start)
            ),
            Start::Timestamp(time) => {
                tracing::info!("group {group} has no offsets: reads from the first record at {time} ms since 1970");
            }
            Start::Refuse => {}
        }
    }
}

/// A group's offsets. On a young cluster the group's coordinator is a moment away.
fn ask(log: &Log, group: &str, inputs: &[String], control: &Control) -> Option<Standing> {
    let offsets = log.offsets(group, inputs).ok()?;
    let since = Instant::now();
    loop {
        match offsets.ask() {
            Ok(partitions) => return Some(partitions),
            Err(error) if since.elapsed() > Duration::from_secs(10) => {
                tracing::warn!("group {group}: where it stands cannot be said: {error:#}");
                return None;
            }
            Err(_) if control.stopping() => return None,
            Err(_) => control.wait(Duration::from_millis(100)),
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::manifest::parse_duration(text).ok_or_else(|| "write a duration, such as `2s` or `500ms`".to_owned())
}

fn instance(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match !text.is_empty() && text.len() <= 100 && text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err("write at most 100 letters, digits, `-`, `_` and `.`".to_owned()),
    }
}
