//! `check`: everything that can be wrong with a manifest, without running it.

use super::{
    Exit,
    load::{Source, Wishes, load},
    log, print, say,
};
use crate::{manifest::Manifest, plan::Wanted, text::count};
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// Check a manifest and its modules, and show what they may do
#[derive(clap::Args)]
#[command(after_help = "Example:\n  millstream check pipeline.yaml --online")]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// A broker that does not answer is an error, not a note
    #[arg(long, value_parser = clap::builder::BoolishValueParser::new(), hide_env = true, env = "MILLSTREAM_ONLINE")]
    online: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit> {
    let loaded = match load(&arguments.source, &Wishes::default())? {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            say(&mistakes);
            return Ok(Exit::Wrong);
        }
    };
    say(&loaded.warnings);
    let manifest = &loaded.manifest;
    let stages = count(manifest.stages.len() as u64, "stage");
    let mut text = format!("{}: {stages}, no mistakes\n", arguments.source.manifest.display());
    for stage in &manifest.stages {
        let topics = |ports: &[crate::manifest::Port]| {
            ports.iter().map(|port| port.topic.clone()).collect::<Vec<_>>().join(", ")
        };
        text += &format!("  {}: {} → {}\n", stage.name, topics(&stage.inputs), topics(&stage.outputs));
        let module = &loaded.compiled[&stage.name];
        text += &format!("    module   {}\n    sha256   {}\n", stage.module.path, module.digest());
        text += &format!("    imports  {}\n    exports  {}\n", listed(module.imports()), listed(module.exports()));
    }
    print(&text)?;
    match compare(manifest) {
        Ok(notes) => notes.iter().for_each(|note| say(&format!("note: {note}\n"))),
        Err(error) if arguments.online => return Err(error),
        Err(error) => say(&format!("note: {error:#}; topics were not compared\n")),
    }
    Ok(Exit::Done)
}

/// Names, one below the other.
fn listed(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        names => names.join("\n             "),
    }
}

/// What the log has to say.
fn compare(manifest: &Manifest) -> Result<Vec<String>> {
    let there = match log::existing(manifest)? {
        Some(log) => {
            let names: Vec<_> = manifest.topic_names().collect();
            log.topics()?.find(&names).with_context(|| format!("{log} does not answer"))?
        }
        None => BTreeMap::new(),
    };
    let wanted = Wanted::new(manifest, &there);
    let mut notes = wanted.differences;
    notes.extend(wanted.create.iter().map(|topic| format!("topic {} is not there: `run` makes it", topic.name)));
    notes.extend(wanted.later.iter().map(|name| format!("topic {name} is not there: `run` makes it")));
    notes.extend(wanted.missing.iter().map(|name| format!("topic {name} is not there: `run` waits for it")));
    Ok(notes)
}
