//! `check`: everything that can be wrong with a manifest, without running it.

use super::{
    Exit,
    load::{Source, Wishes, load},
    log, print, say, schemas, wrong,
};
use crate::{
    manifest::{Allow, AsWritten, Kind, Manifest, Port},
    plan::{Wanted, quoted, rights},
    schemas::Unsettled,
    text::count,
    transport::log::{Log, Unanswered},
};
use anyhow::{Context, Result, bail};
use std::{
    collections::{BTreeMap, BTreeSet},
    iter,
    path::PathBuf,
};

/// Check a manifest and its modules, and show what they may do
#[derive(clap::Args)]
#[command(after_help = "Examples:
  millstream check pipeline.yaml --online
  millstream check pipeline.yaml --acls --principal User:orders

--acls prints lines for Kafka's own kafka-acls, each below what it is for.")]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// A broker that does not answer is an error, not a note
    #[arg(long, env = "MILLSTREAM_ONLINE")]
    online: bool,
    /// Print the rights that it needs of its cluster, and nothing else
    #[arg(long, env = "MILLSTREAM_ACLS")]
    acls: bool,
    /// Who is to have them, but for parts with a user of their own; the user of sasl.username when not given
    #[arg(long, value_name = "TYPE:NAME", value_parser = principal, requires = "acls", env = "MILLSTREAM_PRINCIPAL")]
    principal: Option<String>,
}

/// As Kafka has it.
fn principal(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() => Ok(text.to_owned()),
        _ => Err("write a principal as Kafka has it, such as `User:orders`".to_owned()),
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit> {
    let loaded = load(&arguments.source, &Wishes::default())?;
    say(&loaded.warnings);
    let manifest = &loaded.manifest;
    if arguments.acls {
        print(&acls(manifest, arguments)?)?;
        return Ok(Exit::Done);
    }
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
        text += &format!("  {}: {} → {}\n", sink.name, topics(&sink.inputs), sink.into.describe());
    }
    print(&text)?;
    notes.iter().for_each(|note| say(&format!("note: {note}\n")));
    match compare(manifest) {
        Ok(compared) => {
            compared.notes.iter().for_each(|note| say(&format!("note: {note}\n")));
            if arguments.online && !compared.refused.is_empty() {
                bail!("`run` would end at once: {}", compared.refused.join("; "));
            }
            compared.refused.iter().for_each(|note| say(&format!("note: `run` would end at once: {note}\n")));
        }
        Err(error) if arguments.online => return Err(error),
        Err(error) => say(&format!("note: {error:#}; topics were not compared\n")),
    }
    Ok(Exit::Done)
}

/// Lines for Kafka's own tool, each below what it is for; those that are always needed come first.
fn acls(manifest: &Manifest, arguments: &Arguments) -> Result<String> {
    let Some(kafka) = &manifest.kafka else {
        return Err(wrong("an embedded log asks for no rights: name a cluster by `kafka:`, `--kafka` or `--cluster`"));
    };
    let named = |user: &str| format!("User:{user}");
    let user = kafka.properties.get("sasl.username").map(|user| named(user.reveal()));
    let Some(principal) = arguments.principal.clone().or(user) else {
        return Err(wrong(
            "who is to have the rights? There is no `sasl.username`: add `--principal User:NAME`, with the name that the \
             cluster knows it by",
        ));
    };
    let rights = rights(manifest);
    let others: BTreeSet<_> = rights.iter().filter_map(|right| right.user.as_deref()).map(named).collect();
    let all: Vec<_> = iter::once(principal.clone()).chain(others).collect();
    let needs = if all.len() == 1 { "needs" } else { "need" };
    let mut text = format!("# What {} {needs} to run {}.\n", all.join(" and "), manifest.name);
    let line = format!("kafka-acls --bootstrap-server {} --add", quoted(&kafka.brokers.join(",")));
    for right in rights {
        let principal = right.user.as_deref().map_or_else(|| principal.clone(), named);
        let only = right.when.words().map_or_else(String::new, |words| format!(" ({words})"));
        text += &format!("# {}{only}\n", right.what_for.join("; "));
        text += &format!("{line} --allow-principal {} {right}\n", quoted(&principal));
    }
    Ok(text)
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
#[derive(Default)]
struct Compared {
    /// What is other than the manifest says, and what is missing.
    notes: Vec<String>,
    /// Topics that are missing and cannot be made.
    refused: Vec<String>,
}

fn compare(manifest: &Manifest) -> Result<Compared> {
    let log = log::existing(manifest)?;
    let topics = log.as_ref().map(Log::topics).transpose()?;
    let there = match (&log, &topics) {
        (Some(log), Some(topics)) => {
            let names: Vec<_> = manifest.topic_names().collect();
            topics.find(&names).with_context(|| format!("{log} does not answer"))?
        }
        _ => BTreeMap::new(),
    };
    let wanted = Wanted::new(manifest, &there);
    let mut compared = Compared { notes: wanted.differences, refused: Vec::new() };
    for topic in &wanted.create {
        match topics.as_ref().map_or(Ok(true), |topics| topics.would_create(topic)) {
            Ok(_) => compared.notes.push(format!("topic {} is not there: `run` makes it{}", topic.name, topic.shape())),
            Err(error) if error.is::<Unanswered>() => return Err(error),
            Err(error) => compared.refused.push(format!("{error:#}")),
        }
    }
    let notes = &mut compared.notes;
    notes.extend(wanted.later.iter().map(|name| format!("topic {name} is not there: `run` makes it")));
    notes.extend(wanted.missing.iter().map(|name| format!("topic {name} is not there: `run` waits for it")));
    Ok(compared)
}
