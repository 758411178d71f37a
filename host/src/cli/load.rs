//! From a manifest's file to something that may run: read, checked, its modules compiled and opened. Everything that
//! is wrong with it is found in one go, whichever part finds it.

use super::{build::build, wrong};
use crate::{
    manifest::{self, Diagnostic, Manifest, Report, Stage},
    plan,
    text::nearest,
    wasm::{Cache, Compiled, Engine, Instance, Module},
};
use anyhow::{Context, Result};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, IsTerminal},
    path::PathBuf,
};

/// Which manifest, and what the command line says over it.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Source {
    /// The manifest
    pub(super) manifest: PathBuf,
    /// Brokers, over those of the manifest
    #[arg(long, value_name = "BROKERS", value_delimiter = ',', env = "MILLSTREAM_KAFKA")]
    pub(super) kafka: Option<Vec<String>>,
}

/// A manifest that may run.
pub(super) struct Loaded {
    pub(super) manifest: Manifest,
    pub(super) compiled: BTreeMap<String, Compiled>,
    /// Its warnings, as text.
    pub(super) warnings: String,
    /// The engine that compiled the modules; they need its clock as long as they run.
    pub(super) _engine: Engine,
}

/// What is done with a manifest beside reading it.
#[derive(Clone, Debug, Default)]
pub(super) struct Wishes {
    /// Only these stages; all when empty.
    pub(super) only: Vec<String>,
    /// Build the stages first.
    pub(super) build: bool,
}

/// Loads a manifest, or gives all of its mistakes as one text.
pub(super) fn load(source: &Source, wishes: &Wishes) -> Result<Result<Loaded, String>> {
    let path = &source.manifest;
    let text =
        fs::read_to_string(path).map_err(|error| wrong(format!("{}: {}", path.display(), unreadable(&error))))?;
    let environment = |name: &str| std::env::var(name).ok();
    let mut reading = manifest::read(path, &text, &environment, source.kafka.as_deref());
    let color = io::stderr().is_terminal();
    let known: Vec<_> = reading.modules.iter().map(|(stage, _)| stage.clone()).collect();
    if let Some(stage) = wishes.only.iter().find(|stage| !known.contains(stage)) {
        let meant = nearest(stage, known.iter().map(String::as_str));
        let help =
            meant.map_or_else(|| format!("stages: {}", known.join(", ")), |name| format!("did you mean `{name}`?"));
        return Err(wrong(format!("{} has no stage `{stage}`: {help}", path.display())));
    }
    let chosen = |stage: &str| wishes.only.is_empty() || wishes.only.iter().any(|name| name == stage);
    if wishes.build {
        build(path, reading.modules.iter().filter(|(stage, _)| chosen(stage)))?;
    }
    let engine = Engine::new().context("the wasm engine cannot be started")?;
    let mut modules = BTreeMap::new();
    for (stage, module) in reading.modules.iter().filter(|(stage, _)| chosen(stage)) {
        match Module::load(&module.path.value) {
            Ok(loaded) => drop(modules.insert(stage.clone(), (loaded, module.sha256))),
            Err(error) => reading.report.add(Diagnostic::mistake(reading.places.module(stage), error.to_string())),
        }
    }
    for (stage, (module, pinned)) in &modules {
        let pinned = pinned.map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        if let Some(pinned) = pinned.filter(|digest| digest != module.digest()) {
            let finding =
                Diagnostic::mistake(reading.places.sha256(stage), format!("the module's digest is not {pinned}"));
            reading.report.add(finding.help(format!("this file's is {}", module.digest())));
        }
    }
    let places = reading.places.clone();
    let (mut manifest, mut report) = match reading.finish() {
        Ok(finished) => finished,
        Err(report) => return Ok(Err(report.render(color))),
    };
    check_properties(&manifest, &places, &mut report);
    manifest.stages.retain(|stage| chosen(&stage.name));
    let cache = Cache::new(manifest.state.join("modules"));
    let mut compiled = BTreeMap::new();
    for stage in &manifest.stages {
        let Some((module, _)) = modules.get(&stage.name) else {
            continue;
        };
        match compile(&engine, module, &cache, stage) {
            Ok(found) => drop(compiled.insert(stage.name.clone(), found)),
            Err(why) => report.add(Diagnostic::mistake(places.module(&stage.name), why)),
        }
    }
    if report.mistakes() > 0 {
        return Ok(Err(report.render(color)));
    }
    Ok(Ok(Loaded { manifest, compiled, warnings: report.render(color), _engine: engine }))
}

/// Compiles a module and opens it once, so that one that refuses its configuration is found before anything starts.
fn compile(engine: &Engine, module: &Module, cache: &Cache, stage: &Stage) -> Result<Compiled, String> {
    let mut slow = |name: &str| eprintln!("compiling {name}, once…");
    let compiled = engine.compile(module, cache, &mut slow).map_err(|error| error.to_string())?;
    Instance::new(&compiled, plan::setup(stage)).map_err(|error| error.to_string())?;
    Ok(compiled)
}

/// What the client library refuses is found here, not when the first worker connects.
fn check_properties(manifest: &Manifest, places: &manifest::Places, report: &mut Report) {
    let cluster = plan::cluster(manifest, &Default::default());
    let mut check = |path: &[&str], name: &str, value: &str| {
        if let Some(why) = cluster.refuses(name, value) {
            report.add(Diagnostic::mistake(places.of(path), why));
        }
    };
    for (name, value) in &manifest.kafka.properties {
        check(&["kafka", "properties", name], name, value.reveal());
    }
    for stage in &manifest.stages {
        for (name, value) in &stage.properties {
            // The pipeline's stand here too, and were looked at.
            if manifest.kafka.properties.get(name) != Some(value) {
                check(&["stages", &stage.name, "properties", name], name, value.reveal());
            }
        }
    }
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::InvalidData => "this is not a text: a manifest is a YAML file".into(),
        io::ErrorKind::IsADirectory => "this is a folder: name the manifest in it".into(),
        _ => error.to_string(),
    }
}
