//! Modules that were swapped for those of the manifest, and stand after a restart as long as the manifest names the same.

use super::load::Loaded;
use crate::{
    manifest::Stage,
    plan::{self, Plan, Work},
    swap::{Desk, DeskSettings, Named, Shelf},
    text::{conceal, hex},
    wasm::{Compiled, Instance, Kind, Module, OpenError},
};
use anyhow::{Result, anyhow};
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// Puts the modules that stand in the place of the manifest's. Those of the manifest, by their stages. A host forgets those
/// that a changed manifest has overtaken.
pub(super) fn take_up(loaded: &mut Loaded, state: &Path, is_host: bool) -> BTreeMap<String, Named> {
    let mut named = BTreeMap::new();
    for stage in &loaded.manifest.stages {
        let Some(compiled) = loaded.compiled.get(&stage.name) else { continue };
        let own = Named { digest: compiled.digest().to_owned(), name: compiled.name() };
        let shelf = Shelf::of(state, &stage.name);
        match find(loaded, stage, &own, &shelf) {
            Ok(Standing::None) => {}
            Ok(Standing::Overtaken) if is_host => {
                tracing::info!("{}: the manifest names another module since the last swap, so that runs", stage.name);
                if let Err(error) = shelf.clear() {
                    tracing::warn!("{}: {error:#}", stage.name);
                }
            }
            Ok(Standing::Overtaken) => {}
            Ok(Standing::Module(standing, name)) => {
                let digest = standing.digest().get(..12).unwrap_or_default().to_owned();
                tracing::info!(
                    "{}: runs {name} ({digest}), which was swapped for the manifest's {}",
                    stage.name,
                    own.name
                );
                loaded.compiled.insert(stage.name.clone(), standing);
            }
            Err(error) => tracing::warn!("{}: runs the manifest's module: {error:#}", stage.name),
        }
        named.insert(stage.name.clone(), own);
    }
    named
}

/// What stands in place of the manifest's module.
enum Standing {
    None,
    /// The manifest names another one since.
    Overtaken,
    /// This one, and its name.
    Module(Compiled, String),
}

fn find(loaded: &Loaded, stage: &Stage, own: &Named, shelf: &Shelf) -> Result<Standing> {
    let Some((standing, path)) = shelf.standing()? else { return Ok(Standing::None) };
    // One that is pinned runs, and no other.
    if standing.manifest != own.digest || stage.module.sha256.is_some() {
        return Ok(Standing::Overtaken);
    }
    let name = standing.module.name;
    let bytes = std::fs::read(&path).map_err(|error| anyhow!("{name} was swapped in, but is not there: {error}"))?;
    let module = Module::of(stage.limits.module_size, Path::new(&name), bytes, Kind::Stage)?;
    if module.digest() != standing.module.digest {
        return Err(anyhow!("{name} was swapped in, but its file was damaged since"));
    }
    let setup = plan::setup(stage);
    let compiled = loaded.engine.compile_within(setup.limits.compile, &module, &loaded.cache, &mut |_| {})?;
    let hidden: Vec<_> = loaded.hidden.get(&stage.name).into_iter().flatten().map(String::as_str).collect();
    let failed = |error: OpenError| anyhow!("{name} was swapped in, but {}", conceal(&error.to_string(), &hidden));
    Instance::new(&compiled, setup).map_err(failed)?;
    Ok(Standing::Module(compiled, name))
}

/// Where new modules come in, for each stage of a plan.
pub(super) fn desks(loaded: &Loaded, plan: &Plan, manifests: &BTreeMap<String, Named>) -> BTreeMap<String, Arc<Desk>> {
    let mut desks = BTreeMap::new();
    for part in &plan.parts {
        let Work::Stage { compiled, setup, modules, .. } = &part.work else { continue };
        let Some(stage) = loaded.manifest.stages.iter().find(|stage| stage.name == part.name) else { continue };
        let current = modules.current();
        let own = || current.named();
        let settings = DeskSettings {
            stage: part.name.clone(),
            inputs: part.link.inputs.clone(),
            setup: setup.clone(),
            probation: stage.probation,
            pinned: stage.module.sha256.map(|pinned| hex(&pinned)),
            hidden: loaded.hidden.get(&part.name).cloned().unwrap_or_default(),
            manifest: manifests.get(&part.name).cloned().unwrap_or_else(own),
            imports: compiled.imports().to_vec(),
        };
        let shelf = Shelf::of(&plan.state, &part.name);
        desks.insert(part.name.clone(), Desk::new(settings, &loaded.engine, &loaded.cache, modules, shelf));
    }
    desks
}
