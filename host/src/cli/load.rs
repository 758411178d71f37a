//! From a manifest's file to something that may run: read, checked, its modules compiled and opened. Everything that
//! is wrong with it is found in one go, whichever part finds it.

use super::{
    Mistakes,
    build::{Wanted, build},
    client, cluster, say, terminal, wrong,
};
use crate::{
    manifest::{self, AsWritten, Diagnostic, Kind, Manifest, NamedModule, Over, Reading, Secret, Span, Stage},
    plan,
    text::{conceal, hex, nearest},
    wasm::{self, Cache, Compiled, Engine, Instance, LoadError, Module, OpenError, Setup, SourceInstance},
};
use anyhow::{Context, Result};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The manifest, where none is named.
pub(super) const MANIFEST: &str = "millstream.yaml";

/// Which manifest, and what the command line says over it.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Source {
    /// The manifest
    #[arg(default_value = MANIFEST)]
    pub(super) manifest: PathBuf,
    /// Brokers, over those of the manifest
    #[arg(long, value_name = "BROKERS", value_delimiter = ',', value_parser = broker, env = "MILLSTREAM_KAFKA")]
    pub(super) kafka: Option<Vec<String>>,
    /// A cluster of `millstream clusters`, over the manifest's
    #[arg(long, value_name = "NAME", env = "MILLSTREAM_CLUSTER")]
    pub(super) cluster: Option<String>,
}

impl Source {
    /// A manifest by itself.
    pub(super) fn alone(manifest: PathBuf) -> Source {
        Source { manifest, kafka: None, cluster: None }
    }

    /// What the command line says over the manifest.
    fn over(&self) -> Result<Option<Over>> {
        match (&self.kafka, &self.cluster) {
            (Some(_), Some(_)) => Err(wrong(cluster::TWO)),
            (Some(brokers), None) => Ok(Some(Over::Brokers(brokers.clone()))),
            (None, Some(name)) => Ok(Some(Over::Cluster(cluster::fetch(name)?))),
            (None, None) => Ok(None),
        }
    }
}

/// A broker's address.
pub(super) fn broker(text: &str) -> Result<String, String> {
    let address = text.trim();
    let checked = manifest::check_broker_address(address).map(|()| address.to_owned());
    checked.map_err(|(what, way_out)| format!("{what}: {way_out}"))
}

/// A manifest that may run.
pub(super) struct Loaded {
    pub(super) manifest: Manifest,
    pub(super) compiled: BTreeMap<String, Compiled>,
    /// Its warnings, as text.
    pub(super) warnings: String,
    /// The engine that compiled the modules; they need its clock as long as they run.
    pub(super) engine: Arc<Engine>,
    /// Where compiled modules are kept.
    pub(super) cache: Arc<Cache>,
    /// What must not be shown of what a stage's module says.
    pub(super) hidden: BTreeMap<String, Vec<String>>,
}

/// What is done with a manifest beside reading it.
#[derive(Clone, Debug, Default)]
pub(super) struct Wishes {
    /// Only these; all when empty.
    pub(super) only: Vec<String>,
    /// Build the modules first.
    pub(super) build: bool,
    /// This module in place of those that are chosen.
    pub(super) module: Option<PathBuf>,
    /// Say nothing of what is done meanwhile.
    pub(super) quiet: bool,
    /// Nothing will be connected: what clients need may be missing.
    pub(super) offline: bool,
}

/// Reads a manifest's text.
pub(super) fn read(source: &Source) -> Result<Reading> {
    let path = &source.manifest;
    let text =
        fs::read_to_string(path).map_err(|error| wrong(format!("{}: {}", path.display(), unreadable(&error))))?;
    let environment = |name: &str| std::env::var(name).ok();
    Ok(manifest::read(path, &text, &environment, source.over()?.as_ref()))
}

/// Loads a manifest, or gives all of its [`Mistakes`].
pub(super) fn load(source: &Source, wishes: &Wishes) -> Result<Loaded> {
    let path = &source.manifest;
    let mut reading = read(source)?;
    if wishes.offline {
        reading.forgive_clients();
    }
    if let Some(path) = &wishes.module {
        let path = AsWritten { value: path.clone(), written: path.display().to_string() };
        for named in reading.modules.iter_mut().filter(|named| wishes.only.contains(&named.name)) {
            named.module = manifest::Module { path: path.clone(), sha256: None, build: None };
        }
    }
    let terminal = terminal();
    if let Some(draft) = reading.draft() {
        let known: Vec<_> = draft.parts().map(|(_, name)| name).collect();
        // In one that has none at all, that is what is wrong.
        if let Some(stage) = wishes.only.iter().find(|stage| !known.is_empty() && !known.contains(&stage.as_str())) {
            let help = match nearest(stage, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it has {}", known.join(", ")),
            };
            return Err(wrong(format!("{} has no source, stage or sink `{stage}`: {help}", path.display())));
        }
    }
    let chosen = |part: &str| wishes.only.is_empty() || wishes.only.iter().any(|name| name == part);
    // A wrong manifest starts nothing, and what would be built is not looked for yet.
    let builds = wishes.build && reading.report.mistakes() == 0;
    let wanted = if wishes.build { Wanted::Changed } else { Wanted::Nothing };
    let modules_chosen: Vec<_> = reading.modules.iter().filter(|named| chosen(&named.name)).collect();
    build(path, &reading, &modules_chosen, wanted, wishes.quiet)?;
    let mut slow = |name: &str| {
        if !wishes.quiet {
            say(&format!("compiling {name}, once…\n"));
        }
    };
    let engine = Arc::new(Engine::compiling_apart().context("the wasm engine cannot be started")?);
    let mut modules = BTreeMap::new();
    let mut found = Vec::new();
    for named in reading.modules.iter().filter(|named| chosen(&named.name)) {
        if wishes.build && !builds && named.module.build.is_some() {
            continue;
        }
        match module(named, &reading, builds) {
            Ok(loaded) => {
                found.extend(unpinned(&loaded, named.module.sha256, reading.places.sha256(named)));
                modules.insert(named.name.clone(), loaded);
            }
            Err(mistake) => found.push(mistake),
        }
    }
    let (mut compiled, mut hidden) = (BTreeMap::new(), BTreeMap::new());
    let cache = Arc::new(match reading.draft() {
        Some(draft) if reading.is_sound(&["state"]) => Cache::new(draft.state.join("modules")),
        _ => Cache::none(),
    });
    if let Some(draft) = reading.draft() {
        if !wishes.offline {
            found.extend(client::check(draft, &reading));
        }
        let sources = draft.sources.iter().map(|source| {
            let told = Told { kind: Kind::Source, name: &source.name, config: &source.config };
            (told, plan::source_setup(source))
        });
        let stages = draft.stages.iter().map(|stage| {
            let told = Told { kind: Kind::Stage, name: &stage.name, config: &stage.config };
            (told, plan::setup(stage))
        });
        for (told, setup) in sources.chain(stages).filter(|(told, _)| chosen(told.name)) {
            let Some(module) = modules.get(told.name) else { continue };
            hidden.insert(told.name.to_owned(), hidden_config(&told, &reading));
            match compile(&engine, module, &cache, &mut slow, setup, &told, &reading) {
                Ok(ready) => drop(compiled.insert(told.name.to_owned(), ready)),
                Err(mistake) => found.push(mistake),
            }
        }
    }
    for mistake in found {
        reading.report.add(mistake);
    }
    let (mut manifest, report) = reading.finish().map_err(|report| Mistakes(report.render(terminal)))?;
    manifest.sources.retain(|source| chosen(&source.name));
    manifest.stages.retain(|stage| chosen(&stage.name));
    manifest.sinks.retain(|sink| chosen(&sink.name));
    Ok(Loaded { manifest, compiled, warnings: report.render(terminal), engine, cache, hidden })
}

/// Loads a module, or says what is wrong with it; it may have been built before.
pub(super) fn module(named: &NamedModule, reading: &Reading, is_built: bool) -> Result<Module, Diagnostic> {
    let kind = match named.kind {
        Kind::Source => wasm::Kind::Source,
        Kind::Stage | Kind::Sink => wasm::Kind::Stage,
    };
    let (module, at) = (&named.module, reading.places.module(named));
    Module::load_within(named.module_size, &module.path.value, kind).map_err(|error| match (error, &module.build) {
        (LoadError::Missing { path }, Some(command)) if is_built => {
            Diagnostic::mistake(at, format!("its build succeeds, but makes no {}", path.display()))
                .help(format!("correct the path, or the command: {}", command.written))
        }
        (LoadError::Missing { path }, Some(_)) => Diagnostic::mistake(at, format!("{} is not there", path.display()))
            .help("`millstream build` makes it, and so does `--build`; or correct its path"),
        (error, _) => Diagnostic::mistake(at, error.to_string()),
    })
}

/// What is wrong with a module whose digest is pinned.
fn unpinned(module: &Module, pinned: Option<[u8; 32]>, at: Span) -> Option<Diagnostic> {
    let pinned = hex(&pinned?);
    (pinned != module.digest()).then(|| {
        Diagnostic::mistake(at, format!("{} has another digest", module.name()))
            .help(format!("when it is the one that is meant, write `sha256: {}`", module.digest()))
    })
}

/// A stage by its name; of what is none, that is said.
pub(super) fn stage<'a>(manifest: &'a Manifest, name: &str, only_stages: &str) -> Result<&'a Stage> {
    let known = || manifest.stages.iter().map(|stage| stage.name.as_str());
    manifest.stages.iter().find(|stage| stage.name == name).ok_or_else(|| {
        let help = match (nearest(name, known()), manifest.parts().find(|(_, part)| *part == name)) {
            (_, Some((kind, _))) => format!("it is a {}, and {only_stages}", kind.word()),
            (Some(near), None) => format!("did you mean `{near}`?"),
            (None, None) => format!("it has {}", known().collect::<Vec<_>>().join(", ")),
        };
        wrong(format!("{} has no stage `{name}`: {help}", manifest.name))
    })
}

/// Another module for a stage, compiled, and opened once as its own was.
pub(super) fn another(loaded: &Loaded, stage: &Stage, path: &Path) -> Result<Compiled> {
    let setup = plan::setup(stage);
    let module = Module::load_within(stage.limits.module_size, path, wasm::Kind::Stage);
    let compiled = module.and_then(|module| {
        let mut slow = |name: &str| say(&format!("compiling {name}, once…\n"));
        loaded.engine.compile_within(setup.limits.compile, &module, &loaded.cache, &mut slow)
    });
    let compiled = compiled.map_err(|error| wrong(error.to_string()))?;
    Instance::new(&compiled, setup).map_err(|error| {
        let hidden: Vec<_> = loaded.hidden.get(&stage.name).into_iter().flatten().map(String::as_str).collect();
        wrong(format!("{} {}", compiled.name(), conceal(&error.to_string(), &hidden)))
    })?;
    Ok(compiled)
}

/// Whose module it is, and what it is told.
struct Told<'a> {
    kind: Kind,
    name: &'a str,
    config: &'a BTreeMap<String, Secret>,
}

/// Compiles a module and opens it once, so that one that refuses its configuration is found before anything starts.
fn compile(
    engine: &Engine,
    module: &Module,
    cache: &Cache,
    slow: &mut dyn FnMut(&str),
    setup: Setup,
    told: &Told<'_>,
    reading: &Reading,
) -> Result<Compiled, Diagnostic> {
    let (section, name) = (told.kind.key(), told.name);
    let at = || reading.places.of(&[section, name, "module"]);
    let compiled = engine
        .compile_within(setup.limits.compile, module, cache, slow)
        .map_err(|error| Diagnostic::mistake(at(), error.to_string()))?;
    // With values that are made up it would be refused for what was reported already.
    if ["config", "limits"].iter().all(|key| reading.is_sound(&[section, name, key])) {
        let opened = match compiled.kind() {
            wasm::Kind::Source => SourceInstance::new(&compiled, setup).map(drop),
            wasm::Kind::Stage => Instance::new(&compiled, setup).map(drop),
        };
        opened.map_err(|error| {
            let hidden = hidden_config(told, reading);
            let hidden: Vec<_> = hidden.iter().map(String::as_str).collect();
            let words = conceal(&error.to_string(), &hidden);
            let mistake = Diagnostic::mistake(at(), format!("{} {words}", module.name()));
            match error {
                OpenError::Refused(_) => mistake.help("these are its own words: does its `config` say what it needs?"),
                _ => mistake,
            }
        })?;
    }
    Ok(compiled)
}

/// What a module is told and nobody else: what does not stand in the manifest as it is.
fn hidden_config(told: &Told<'_>, reading: &Reading) -> Vec<String> {
    let mut hidden = Vec::new();
    for (name, value) in told.config {
        let path = [told.kind.key(), told.name, "config", name].map(str::to_owned);
        let text = Value::from(value.reveal());
        add_hidden(&text, &path, reading, &mut hidden);
        // A mapping or a list reaches the module as JSON, and it may say any part of it.
        if let Ok(json @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(value.reveal()) {
            add_hidden(&json, &path, reading, &mut hidden);
        }
    }
    hidden
}

fn add_hidden(value: &Value, path: &[String], reading: &Reading, hidden: &mut Vec<String>) {
    let below = |key: &str| [path, &[key.to_owned()]].concat();
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| add_hidden(value, &below(key), reading, hidden)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| add_hidden(item, &below(&at.to_string()), reading, hidden));
        }
        leaf => {
            let text = leaf.as_str().map_or_else(|| leaf.to_string(), str::to_owned);
            let path: Vec<_> = path.iter().map(String::as_str).collect();
            if !reading.report.shows(&reading.places.of(&path), &text) {
                hidden.push(text);
            }
        }
    }
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::InvalidData => "this is not text, and a manifest is a YAML file".into(),
        io::ErrorKind::IsADirectory => "this is a folder: name the manifest in it".into(),
        _ => error.to_string(),
    }
}
