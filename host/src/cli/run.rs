//! `run`: the main job.

use super::{
    Exit,
    load::{Source, Wishes, load, read},
    log, say, schemas, standing,
    starts::{Groups, end_aside},
    watch::Watch,
    wrong,
};
use crate::{
    admin::{Admin, Door, Token},
    manifest::Manifest,
    plan::{Plan, Wanted},
    supervisor::{self, Board, Format, Options},
    text::nearest,
    transport::{
        local::{Durability, HostLock, LocalLog},
        log::{Log, TopicFacts, Unanswered},
    },
    worker::control::Control,
};
use anyhow::{Context, Result};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
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
    #[arg(long, env = "MILLSTREAM_BUILD")]
    build: bool,
    /// Swap a stage's module when its file changes; with --build, build it when its sources do
    #[arg(long, env = "MILLSTREAM_WATCH")]
    watch: bool,
    /// Only these sources, stages and sinks
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', env = "MILLSTREAM_ONLY")]
    only: Vec<String>,
    /// End when nothing has been left to do for this long
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "2s",
          value_parser = duration, env = "MILLSTREAM_UNTIL_IDLE")]
    until_idle: Option<Duration>,
    /// On a new embedded log in a temporary folder, which is gone at the end
    #[arg(long, env = "MILLSTREAM_SCRATCH")]
    scratch: bool,
    /// What this host is called in the cluster, such as a pod's name, in place of the id in its state folder
    #[arg(long, value_name = "NAME", value_parser = instance, env = "MILLSTREAM_INSTANCE")]
    instance: Option<String>,
    /// Say nothing but what is wrong
    #[arg(long, short, env = "MILLSTREAM_QUIET")]
    quiet: bool,
    /// How the log is written: text, or json
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t, env = "MILLSTREAM_LOG_FORMAT")]
    log_format: Format,
    /// End with code 3 when there were dead letters
    #[arg(long, env = "MILLSTREAM_FAIL_ON_DEAD_LETTER")]
    fail_on_dead_letter: bool,
    /// Where the admin API is: an address, or off [default: the first free port of 127.0.0.1 from 8080 on]
    #[arg(long, value_name = "ADDR", value_parser = address_or_off, env = "MILLSTREAM_ADMIN")]
    admin: Option<AddressOrOff>,
    /// The token that the admin API wants, which it must where others can reach it
    #[arg(long, value_name = "FILE", env = "MILLSTREAM_ADMIN_TOKEN_FILE")]
    admin_token_file: Option<PathBuf>,
    /// An address of its own for metrics and health, without a token
    #[arg(long, value_name = "ADDR", env = "MILLSTREAM_METRICS")]
    metrics: Option<SocketAddr>,
}

/// After so long a topic that was made is known to every broker.
const SEEN_WITHIN: Duration = Duration::from_secs(3);

/// An address, or none.
#[derive(Clone, Copy)]
enum AddressOrOff {
    At(SocketAddr),
    Off,
}

pub(super) fn run(arguments: Arguments) -> Result<Exit> {
    let doors = doors(&arguments)?;
    let wishes = Wishes { only: arguments.only, build: arguments.build, quiet: arguments.quiet, ..Wishes::default() };
    let mut loaded = load(&arguments.source, &wishes)?;
    say(&loaded.warnings);
    let watch = match arguments.watch {
        true => Watch::of(&arguments.source.manifest, &read(&arguments.source)?, arguments.build),
        false => None,
    };
    supervisor::start_log(arguments.log_format, arguments.quiet, arguments.scratch);
    let control = Arc::new(Control::default());
    supervisor::listen_to_signals(control.clone())?;
    let scratch = match arguments.scratch {
        true => Some(tempfile::tempdir().context("there is no room for a scratch log")?),
        false => None,
    };
    let state = scratch.as_ref().map_or(loaded.manifest.state.clone(), |folder| folder.path().to_owned());
    let manifest = &loaded.manifest;
    let log = match &scratch {
        Some(folder) => {
            tracing::info!("{} on a scratch log, which is gone at the end", manifest.name);
            // Whatever happens to the machine, nobody will look for it.
            Log::Local(LocalLog::open_with(folder.path(), Durability::Os)?)
        }
        None => {
            let log = log::open(manifest)?;
            tracing::info!("{} on {log}", manifest.name);
            log
        }
    };
    for door in &doors {
        tracing::info!(target: "start", "admin API on http://{}", door.address());
    }
    let board = Arc::<Board>::default();
    let admin = Admin::new(&loaded.manifest.name, &log, &board);
    admin.serve(doors)?;
    let Some(_host) = be_the_host(&log, &control)? else { return Ok(Exit::Done) };
    // Not before: until then the modules may be swapped by another host.
    let manifests = standing::take_up(&mut loaded, &state, true);
    let manifest = &loaded.manifest;
    // Before anything is made: a schema that is refused changes nothing.
    let Some(schemas) = schemas::settle(manifest, &state, arguments.scratch, &control)? else { return Ok(Exit::Done) };
    let groups = Groups::ask(manifest, &log, &control);
    let Some(facts) = prepare_topics(manifest, &log, &control)? else { return Ok(Exit::Done) };
    let mut plan = Plan::new(manifest, &log, &loaded.compiled, (&facts, &schemas), &control);
    plan.state = state;
    let desks = standing::desks(&loaded, &plan, &manifests);
    if let Some(watch) = watch {
        watch.start(desks.clone(), control.clone())?;
    }
    admin.open_desks(desks);
    for stage in &plan.parts {
        tracing::info!("{}", stage.describe());
    }
    groups.settle(&control);
    let (until_idle, instance, quiet) = (arguments.until_idle, arguments.instance, arguments.quiet);
    let options = Options { until_idle, instance, quiet, board };
    let outcome = supervisor::run(plan, &control, &options)?;
    Ok(match outcome {
        outcome if !outcome.failures.is_empty() => Exit::Failed,
        outcome if arguments.fail_on_dead_letter && outcome.dead_letters > 0 => Exit::DeadLetters,
        _ => Exit::Done,
    })
}

/// An embedded log has one host at a time: another one stands by until it is gone. Nothing when this one was told to end
/// meanwhile.
fn be_the_host(log: &Log, control: &Control) -> Result<Option<Option<HostLock>>> {
    let Log::Local(local) = log else { return Ok(Some(None)) };
    let mut said = false;
    while !control.stopping() {
        if let Some(lock) = local.host()? {
            if said {
                tracing::info!("the other host is gone: taking over");
            }
            return Ok(Some(Some(lock)));
        }
        if !std::mem::replace(&mut said, true) {
            tracing::warn!("another host runs on {log}: standing by until it is gone");
        }
        control.wait(Duration::from_millis(200));
    }
    Ok(None)
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
    // Since when a topic is said to be there that this user does not see.
    let mut unseen: Option<Instant> = None;
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
        let knot = wanted.knot(manifest, &there);
        for topic in wanted.create.iter().chain(&knot) {
            match topics.create(topic) {
                Ok(true) => tracing::info!(target: "start", "topic {} made{}", topic.name, topic.shape()),
                // Another host may have made it a moment ago.
                Ok(false) if unseen.get_or_insert_with(Instant::now).elapsed() > SEEN_WITHIN => {
                    say(format!("topic {0} is there, but not for this user: allow it to describe {0}", topic.name));
                    control.wait(Duration::from_millis(500));
                }
                Ok(false) => {}
                // A broker went away: whether the topic is there is seen in the next round.
                Err(error) if error.is::<Unanswered>() => {
                    say(format!("{log}: {error:#}: looking again"));
                    control.wait(Duration::from_millis(500));
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if wanted.create.is_empty() && wanted.missing.is_empty() && wanted.later.is_empty() {
            wanted.differences.iter().for_each(|line| tracing::warn!("{line}"));
            end_aside(topics);
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

/// The addresses are taken before anything starts.
fn doors(arguments: &Arguments) -> Result<Vec<Door>> {
    let token = match &arguments.admin_token_file {
        Some(path) => Some(Token::read(path).map_err(|error| wrong(format!("{error:#}")))?),
        None => None,
    };
    let mut doors = Vec::new();
    let asked = |error: anyhow::Error| wrong(format!("{error:#}"));
    match arguments.admin {
        Some(AddressOrOff::Off) => {}
        Some(AddressOrOff::At(address)) => doors.push(Door::open(Some(address), token).map_err(asked)?),
        None => doors.push(Door::open(None, token)?),
    }
    if let Some(address) = arguments.metrics {
        doors.push(Door::open_metrics(address).map_err(asked)?);
    }
    Ok(doors)
}

fn address_or_off(text: &str) -> Result<AddressOrOff, String> {
    match text {
        "off" => Ok(AddressOrOff::Off),
        address => address
            .parse()
            .map(AddressOrOff::At)
            .map_err(|_| "write an address, such as `127.0.0.1:8080`, or `off`".to_owned()),
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
