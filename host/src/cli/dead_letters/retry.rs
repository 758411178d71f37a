//! `dead-letters retry`: a stage's dead letters go through it once more, as `run` would do it.

use super::{
    Filter, NONE, dry, find, group,
    read::{notes, stands},
};
use crate::{
    cli::{
        Exit,
        load::{Loaded, Source, Wishes, load, stage},
        log::{existing, explain},
        print, say, schemas, standing, wrong,
    },
    manifest::{Delivery, Manifest},
    plan::{Letters, Plan, Tries, position_topic},
    stage::Counts,
    supervisor::{self, Format, Options},
    text::{count, grouped},
    transport::log::{Log, PartitionFacts, Rules, TopicFacts},
    wasm::{self, Module},
    worker::control::Control,
};
use anyhow::{Context, Result};
use serde_json::json;
use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

/// Which letters are tried again, and how.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The stage, or the sink
    stage: String,
    #[command(flatten)]
    filter: Filter,
    /// At most so many
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..),
          env = "MILLSTREAM_COUNT")]
    count: Option<u64>,
    /// With this module in place of the manifest's
    #[arg(long, value_name = "FILE", env = "MILLSTREAM_MODULE")]
    module: Option<PathBuf>,
    /// Print what would come of them, and change nothing
    #[arg(long, env = "MILLSTREAM_DRY_RUN")]
    dry_run: bool,
    /// Also where an old value may overtake a newer one of its key: an output is compacted
    #[arg(long, env = "MILLSTREAM_YES")]
    yes: bool,
    /// End with code 3 when some of them failed again
    #[arg(long, env = "MILLSTREAM_FAIL_ON_DEAD_LETTER")]
    fail_on_dead_letter: bool,
}

pub(super) fn run(arguments: Arguments, source: &Source, json: bool) -> Result<Exit> {
    if let Some(path) = &arguments.module {
        // Else the manifest would be blamed for it. How large it may be is the stage's to say, below.
        Module::load_within(wasm::MODULE_SIZE, path, wasm::Kind::Stage).map_err(|error| wrong(error.to_string()))?;
    }
    let only = vec![arguments.stage.clone()];
    let mut loaded = load(source, &Wishes { only, module: arguments.module.clone(), ..Wishes::default() })?;
    say(&loaded.warnings);
    if arguments.module.is_none() {
        let state = loaded.manifest.state.clone();
        standing::take_up(&mut loaded, &state, false);
    }
    let fails = arguments.fail_on_dead_letter;
    let name = arguments.stage.clone();
    let done = match existing(&loaded.manifest)? {
        Some(log) => retry(arguments, &loaded, &log).map_err(explain(&log))?,
        None => Done::default(),
    };
    done.tell(&name, json)?;
    Ok(match done {
        Done { is_orderly: false, .. } => Exit::Failed,
        Done { counts, .. } if fails && counts.dead_letters > 0 => Exit::DeadLetters,
        _ => Exit::Done,
    })
}

/// How it went.
struct Done {
    counts: Counts,
    /// Only what would be was looked at.
    is_dry: bool,
    /// It came to the last letter that was meant.
    is_whole: bool,
    /// Nothing went wrong.
    is_orderly: bool,
}

/// There was nothing to do.
impl Default for Done {
    fn default() -> Self {
        Done { counts: Counts::default(), is_dry: false, is_whole: true, is_orderly: true }
    }
}

fn retry(arguments: Arguments, loaded: &Loaded, log: &Log) -> Result<Done> {
    let Loaded { manifest, compiled, .. } = loaded;
    let of = whose(manifest, &arguments.stage)?;
    if let (Tries::Sink(_), true) = (of, arguments.dry_run || arguments.module.is_some()) {
        let name = of.name();
        return Err(wrong(format!("{name} is a sink: `--module` and `--dry-run` are for stages")));
    }
    let Some(facts) = topics(of, log)? else { return Ok(Done::default()) };
    refuse_overtaking(of, &facts, arguments.yes || arguments.dry_run)?;
    let ends = ends(of.dead_letter(), log)?;
    let (choice, most) = (arguments.filter.choice(), arguments.count);
    let group = group(manifest, of.name());
    let notes = match log {
        // An embedded log forgets nothing.
        Log::Local(_) => None,
        Log::Kafka(_) if is_at_least_once(of) => None,
        Log::Kafka(_) => Some((group.clone(), notes(log, &group, of.dead_letter())?)),
    };
    let letters = Letters { of, group, choice, most, ends, notes };
    let schemas = if arguments.dry_run { schemas::known(manifest)? } else { schemas::settle_now(manifest)? };
    let plan = Plan::again(manifest, log, compiled, (&facts, &schemas), &letters)
        .ok_or_else(|| wrong(format!("{} has no module", of.name())))?;
    supervisor::start_log(Format::Text, false, false);
    if arguments.dry_run {
        let counts = dry::run(plan, log, &stands(log, &letters.group, of.dead_letter())?)?;
        return Ok(Done { counts, is_dry: true, ..Done::default() });
    }
    refuse_another(&letters, log)?;
    if let Some((topic, _)) = &letters.notes {
        make(topic, log)?;
    }
    let control = Arc::new(Control::default());
    supervisor::listen_to_signals(control.clone())?;
    let options = Options { until_idle: Some(Duration::ZERO), ..Options::default() };
    let outcome = supervisor::run(plan, &control, &options)?;
    let counts = outcome.counts.first().copied().unwrap_or_default();
    let is_whole = most.is_some_and(|most| counts.tried() >= most) || outcome.is_idle;
    Ok(Done { counts, is_dry: false, is_whole, is_orderly: outcome.failures.is_empty() })
}

impl Done {
    /// Says it; what would be is no result, as the records are that would come.
    fn tell(&self, stage: &str, json: bool) -> Result<()> {
        let text = if json { self.json(stage) } else { self.words(stage) };
        if self.is_dry {
            say(&text);
            return Ok(());
        }
        print(&text)
    }

    fn json(&self, stage: &str) -> String {
        let Counts { sent, dead_letters, left, foreign, .. } = self.counts;
        let retried = self.counts.tried();
        let all = json!({"stage": stage, "retried": retried, "through": retried - dead_letters, "sent": sent,
                         "failed": dead_letters, "left": left, "foreign": foreign, "complete": self.is_whole});
        format!("{all}\n")
    }

    /// `price: 12 dead letters retried: 10 went through, 2 failed again; 3 left`.
    fn words(&self, stage: &str) -> String {
        let Counts { taken, dead_letters, left, foreign, .. } = self.counts;
        if taken == 0 && self.is_whole && self.is_orderly {
            return NONE.into();
        }
        let (retried, failed) = (count(self.counts.tried(), "dead letter"), grouped(dead_letters));
        let through = grouped(self.counts.tried() - dead_letters);
        let mut text = match self.is_dry {
            true => {
                format!("{stage}: {retried} would be retried: {through} would go through, {failed} would fail again")
            }
            false => format!("{stage}: {retried} retried: {through} went through, {failed} failed again"),
        };
        if left > 0 {
            text.push_str(&format!("; {} left", grouped(left)));
        }
        if foreign > 0 {
            text.push_str(&format!("; {} of others passed over", grouped(foreign)));
        }
        if !self.is_whole {
            text.push_str("; it ended before the last one, and the same command goes on there");
        }
        text.push('\n');
        text
    }
}

/// A stage or a sink by its name.
fn whose<'a>(manifest: &'a Manifest, name: &str) -> Result<Tries<'a>> {
    let burier = find(manifest, name)?;
    let sink = manifest.sinks.iter().find(|sink| sink.name == burier.name);
    match sink {
        Some(sink) => Ok(Tries::Sink(sink)),
        None => stage(manifest, name, "only stages and sinks have dead letters").map(Tries::Stage),
    }
}

/// Nothing but a transaction keeps a note from being there before what it says is done.
fn is_at_least_once(of: Tries<'_>) -> bool {
    match of {
        Tries::Stage(stage) => stage.delivery == Delivery::AtLeastOnce,
        Tries::Sink(_) => true,
    }
}

/// What is known of the topics that it takes; nothing when there has been no dead letter yet.
fn topics(of: Tries<'_>, log: &Log) -> Result<Option<BTreeMap<String, TopicFacts>>> {
    let outputs = || of.outputs().iter().map(|port| port.topic.as_str());
    let names: Vec<_> = outputs().chain([of.dead_letter()]).collect();
    let facts = log.topics()?.find(&names)?;
    if !facts.contains_key(of.dead_letter()) {
        return Ok(None);
    }
    match outputs().find(|topic| !facts.contains_key(*topic)) {
        Some(missing) => Err(wrong(format!("there is no topic {missing}: `run` makes it, or `topics create`"))),
        None => Ok(Some(facts)),
    }
}

/// Where each partition of a topic ends now.
fn ends(topic: &str, log: &Log) -> Result<BTreeMap<u32, u64>> {
    let partitions = log.topics()?.partitions(topic)?.unwrap_or_default();
    let end = |facts: PartitionFacts| {
        let number = facts.number;
        let end =
            facts.end.with_context(|| format!("{topic}/{number} does not tell where it ends: try again later"))?;
        Ok((number, end))
    };
    partitions.into_iter().map(end).collect()
}

/// Makes the topic for the notes, when it is missing.
fn make(topic: &str, log: &Log) -> Result<()> {
    let topics = log.topics()?;
    if !topics.find(&[topic])?.contains_key(topic) {
        topics.create(&position_topic(topic))?;
    }
    Ok(())
}

/// Of a compacted topic the last value of a key is what counts.
fn refuse_overtaking(of: Tries<'_>, facts: &BTreeMap<String, TopicFacts>, is_wanted: bool) -> Result<()> {
    let is_compacted = |topic: &&str| facts.get(*topic).is_some_and(|facts| Rules::of(facts).compacted);
    let Some(topic) = of.outputs().iter().map(|port| port.topic.as_str()).find(is_compacted) else { return Ok(()) };
    let danger = format!(
        "{topic} is compacted, so the last value of a key counts there: what comes of an old record may overtake what \
         came of a newer one meanwhile"
    );
    if is_wanted {
        say(&format!("{danger}\n"));
        return Ok(());
    }
    Err(wrong(format!("{danger}. `--dry-run` shows what would come; with `--yes` it is done all the same")))
}

/// On an embedded log one process has a group; where another one has it, there would be nothing to do but wait.
fn refuse_another(letters: &Letters<'_>, log: &Log) -> Result<()> {
    match log {
        Log::Local(_) if log.groups().members(&letters.group)? > 0 => {
            let name = letters.of.name();
            Err(wrong(format!("another `dead-letters retry {name}` is at work on this log: wait for its end")))
        }
        _ => Ok(()),
    }
}
