//! `dead-letters retry`: a stage's dead letters go through it once more, as `run` would do it.

use super::{Filter, NONE, dry, find, group};
use crate::{
    cli::{
        Exit,
        load::{Loaded, Source, Wishes, load},
        log::{existing, explain},
        print, say, wrong,
    },
    manifest::{Manifest, Stage},
    plan::{Letters, Plan},
    stage::Counts,
    supervisor::{self, Format, Options},
    text::{count, grouped},
    transport::log::{Lag, Log, Rules, TopicFacts},
    wasm::{self, Module},
    worker::control::Control,
};
use anyhow::Result;
use serde_json::json;
use std::{collections::BTreeMap, fmt::Write, path::PathBuf, sync::Arc, time::Duration};

/// Which letters are tried again, and how.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The stage
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
        // Else the manifest would be blamed for it.
        Module::load(path, wasm::Kind::Stage).map_err(|error| wrong(error.to_string()))?;
    }
    let only = vec![arguments.stage.clone()];
    let loaded = load(source, &Wishes { only, module: arguments.module.clone(), ..Wishes::default() })?;
    say(&loaded.warnings);
    let fails = arguments.fail_on_dead_letter;
    let Some(log) = existing(&loaded.manifest)? else { return nothing(json) };
    let done = retry(arguments, &loaded, &log, json).map_err(explain(&log))?;
    let Some((failed, is_orderly)) = done else { return nothing(json) };
    Ok(match failed {
        _ if !is_orderly => Exit::Failed,
        true if fails => Exit::DeadLetters,
        _ => Exit::Done,
    })
}

fn nothing(json: bool) -> Result<Exit> {
    if !json {
        print(NONE)?;
    }
    Ok(Exit::Done)
}

/// Whether some failed again, and whether all went as it should; nothing when there are none that wait.
fn retry(arguments: Arguments, loaded: &Loaded, log: &Log, json: bool) -> Result<Option<(bool, bool)>> {
    let Loaded { manifest, compiled, .. } = loaded;
    let stage = find(manifest, &arguments.stage)?;
    let Some(facts) = topics(stage, log)? else { return Ok(None) };
    let lags = log.offsets(&group(manifest, stage), std::slice::from_ref(&stage.dead_letter))?.ask()?;
    if lags.values().all(Lag::is_none) {
        return Ok(None);
    }
    refuse_overtaking(stage, &facts, arguments.yes || arguments.dry_run)?;
    let ends: BTreeMap<_, _> = lags.iter().map(|((_, number), lag)| (*number, lag.end)).collect();
    let (choice, most) = (arguments.filter.choice(), arguments.count);
    let letters = Letters { stage, group: group(manifest, stage), choice, most, ends };
    let plan = Plan::again(manifest, log, compiled, &facts, &letters)
        .ok_or_else(|| wrong(format!("{} has no module", stage.name)))?;
    supervisor::start_log(Format::Text, false, false);
    if arguments.dry_run {
        let counts = dry::run(plan, log, &lags)?;
        say(&format!("{}\n", summary(&stage.name, &counts, "would be ", true)));
        return Ok(Some((counts.dead_letters > 0, true)));
    }
    refuse_another(manifest, stage, log)?;
    let control = Arc::new(Control::default());
    supervisor::listen_to_signals(control.clone())?;
    let options = Options { until_idle: Some(Duration::ZERO), ..Options::default() };
    let outcome = supervisor::run(plan, &control, &options)?;
    let counts = outcome.counts.first().copied().unwrap_or_default();
    let is_whole = most.is_some_and(|most| counts.tried() >= most) || is_at(&letters, log)?;
    let text = match json {
        true => {
            let Counts { sent, dead_letters, left, foreign, .. } = counts;
            let retried = counts.tried();
            let all = json!({"stage": stage.name, "retried": retried, "through": retried - dead_letters, "sent": sent,
                             "failed": dead_letters, "left": left, "foreign": foreign, "complete": is_whole});
            all.to_string()
        }
        false => summary(&stage.name, &counts, "", is_whole),
    };
    print(&format!("{text}\n"))?;
    Ok(Some((counts.dead_letters > 0, outcome.failures.is_empty())))
}

/// What is known of the topics that it takes; nothing when the stage has had no dead letter yet.
fn topics(stage: &Stage, log: &Log) -> Result<Option<BTreeMap<String, TopicFacts>>> {
    let outputs = || stage.outputs.iter().map(|port| port.topic.as_str());
    let names: Vec<_> = outputs().chain([stage.dead_letter.as_str()]).collect();
    let facts = log.topics()?.find(&names)?;
    if !facts.contains_key(&stage.dead_letter) {
        return Ok(None);
    }
    match outputs().find(|topic| !facts.contains_key(*topic)) {
        Some(missing) => Err(wrong(format!("there is no topic {missing}: `run` makes it, or `topics create`"))),
        None => Ok(Some(facts)),
    }
}

/// Of a compacted topic the last value of a key is what counts.
fn refuse_overtaking(stage: &Stage, facts: &BTreeMap<String, TopicFacts>, is_wanted: bool) -> Result<()> {
    let is_compacted = |topic: &&str| facts.get(*topic).is_some_and(|facts| Rules::of(facts).compacted);
    let Some(topic) = stage.outputs.iter().map(|port| port.topic.as_str()).find(is_compacted) else { return Ok(()) };
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
fn refuse_another(manifest: &Manifest, stage: &Stage, log: &Log) -> Result<()> {
    match log {
        Log::Local(_) if log.groups().members(&group(manifest, stage))? > 0 => {
            let name = &stage.name;
            Err(wrong(format!("another `dead-letters retry {name}` is at work on this log: wait for its end")))
        }
        _ => Ok(()),
    }
}

/// True when the group has come to where it was to.
fn is_at(letters: &Letters<'_>, log: &Log) -> Result<bool> {
    let lags = log.offsets(&letters.group, std::slice::from_ref(&letters.stage.dead_letter))?.ask()?;
    Ok(lags.iter().all(|((_, number), lag)| {
        lag.committed.unwrap_or(lag.start).max(lag.start) >= letters.ends.get(number).copied().unwrap_or(0)
    }))
}

/// `price: 12 dead letters retried: 10 went through, 2 are dead letters again; 3 left`.
fn summary(stage: &str, counts: &Counts, would: &str, is_whole: bool) -> String {
    let Counts { dead_letters, left, foreign, .. } = *counts;
    let through = grouped(counts.tried() - dead_letters);
    let mut text = format!("{stage}: {} {would}retried", count(counts.tried(), "dead letter"));
    match would {
        "" => write!(text, ": {through} went through, {} failed again", grouped(dead_letters)).ok(),
        _ => write!(text, ": {through} would go through, {} would fail again", grouped(dead_letters)).ok(),
    };
    if left > 0 {
        write!(text, "; {} left", grouped(left)).ok();
    }
    if foreign > 0 {
        write!(text, "; {} of others passed over", grouped(foreign)).ok();
    }
    if !is_whole {
        text.push_str("; it ended before the last one, and the same command goes on there");
    }
    text
}
