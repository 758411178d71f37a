//! `check`: everything that can be wrong with a manifest, without running it.

use super::{
    Exit,
    load::{Source, Wishes, load},
    log, print, say, schemas,
};
use crate::{
    manifest::{Allow, AsWritten, Kind, Manifest, Port},
    plan::Wanted,
    schemas::Unsettled,
    text::count,
};
use anyhow::{Context, Result};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

/// Check a manifest and its modules, and show what they may do
#[derive(clap::Args)]
#[command(after_help = "Example:\n  millstream check pipeline.yaml --online")]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// A broker that does not answer is an error, not a note
    #[arg(long, env = "MILLSTREAM_ONLINE")]
    online: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit> {
    let loaded = load(&arguments.source, &Wishes::default())?;
    say(&loaded.warnings);
    let manifest = &loaded.manifest;
    let notes = match compare_schemas(manifest) {
        Err(Unsettled::Unavailable(why)) if !arguments.online => vec![format!("{why}; schemas were not compared")],
        notes => notes.map_err(schemas::explain)?,
    };
    let parts = [Kind::Source, Kind::Stage, Kind::Sink].map(|kind| {
        let number = manifest.parts().filter(|(other, _)| *other == kind).count();
        (number > 0).then(|| count(number as u64, kind.word()) + ", ")
    });
    let parts: String = parts.into_iter().flatten().collect();
    let mut text = format!("{}: {parts}no mistakes\n", arguments.source.manifest.display());
    let topics = |ports: &[Port]| ports.iter().map(|port| port.topic.clone()).collect::<Vec<_>>().join(", ");
    let shown = |name: &str, path: &AsWritten<PathBuf>, allow: &Allow| {
        let module = &loaded.compiled[name];
        let (wasi, own): (Vec<_>, Vec<_>) = module.imports().iter().partition(|import| import.starts_with("wasi:"));
        let (imports, exports) = (listed(&own), listed(module.exports()));
        let (digest, beyond) = (module.digest(), beyond(&wasi, allow));
        format!("    module   {path}\n    sha256   {digest}\n    imports  {imports}\n{beyond}    exports  {exports}\n")
    };
    for source in &manifest.sources {
        text += &format!("  {}: a source → {}\n", source.name, topics(&source.outputs));
        text += &shown(&source.name, &source.module.path, &source.allow);
    }
    for stage in &manifest.stages {
        text += &format!("  {}: {} → {}\n", stage.name, topics(&stage.inputs), topics(&stage.outputs));
        text += &shown(&stage.name, &stage.module.path, &stage.allow);
    }
    for sink in &manifest.sinks {
        text += &format!("  {}: {} → standard output\n", sink.name, topics(&sink.inputs));
    }
    print(&text)?;
    notes.iter().for_each(|note| say(&format!("note: {note}\n")));
    match compare(manifest) {
        Ok(notes) => notes.iter().for_each(|note| say(&format!("note: {note}\n"))),
        Err(error) if arguments.online => return Err(error),
        Err(error) => say(&format!("note: {error:#}; topics were not compared\n")),
    }
    Ok(Exit::Done)
}

/// Names, one below the other.
fn listed<T: AsRef<str>>(names: &[T]) -> String {
    let names: Vec<_> = names.iter().map(AsRef::as_ref).collect();
    match &names[..] {
        [] => "nothing".to_owned(),
        names => names.join("\n             "),
    }
}

/// What a module imports of WASI, and what it is allowed; nothing about one that has to do with neither.
fn beyond(wasi: &[&String], allow: &Allow) -> String {
    let words: BTreeSet<_> = wasi.iter().filter_map(|import| word(import)).collect();
    let env = allow.env.keys().map(|name| format!("env {name}"));
    let dirs = allow.dirs.iter().map(|dir| {
        let access = if dir.writable { "write" } else { "read" };
        format!("dirs {}: {access}", dir.name)
    });
    let http = allow.http.iter().map(|site| format!("http {site}"));
    let allowed: Vec<_> = env.chain(dirs).chain(http).collect();
    if words.is_empty() && allowed.is_empty() {
        return String::new();
    }
    let words = if words.is_empty() { "nothing".to_owned() } else { Vec::from_iter(words).join(", ") };
    format!("    wasi     {words}\n    allowed  {}\n", listed(&allowed))
}

/// What an interface of WASI is for. Some are only there for others, and are for nothing themselves.
fn word(import: &str) -> Option<&'static str> {
    let (interface, _) = import.split_once('@').unwrap_or((import, ""));
    Some(match interface.strip_prefix("wasi:")?.split_once('/')? {
        ("cli", "environment") => "environment",
        ("cli", "exit") => "exit",
        ("cli", _) => "streams",
        ("clocks", _) => "clocks",
        ("config", _) => "config",
        ("filesystem", _) => "files",
        ("http", _) => "http",
        ("random", _) => "random",
        ("sockets", _) => "network",
        _ => return None,
    })
}

/// What the registry has to say.
fn compare_schemas(manifest: &Manifest) -> Result<Vec<String>, Unsettled> {
    schemas::of(manifest, &manifest.state, false).map_err(Unsettled::Failed)?.compare()
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
