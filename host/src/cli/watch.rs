//! `run --watch`: a module whose file changes is swapped in; with `--build`, it is made when its sources change.

use crate::{
    build::{self, Build, Event, Yard},
    manifest::Reading,
    swap::{Desk, Refused},
    worker::control::Control,
};
use anyhow::{Context, Result};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

/// How often files are looked at. One that has changed must look the same twice: it may still be written.
const LOOK: Duration = Duration::from_millis(250);

/// What can be told of a file without reading it.
type Look = Option<(u64, SystemTime)>;

/// What is watched.
pub(super) struct Watch {
    modules: Vec<Watched>,
    builds: Vec<Build>,
    yard: Yard,
    /// What each was made of, or tried to be.
    made_of: Vec<Option<String>>,
}

/// A stage's module.
struct Watched {
    stage: String,
    path: PathBuf,
    /// What stands, and what was seen last.
    known: Look,
    last: Look,
}

impl Watch {
    /// The stages of a manifest, as they are now; their sources too, when they are to be built.
    pub(super) fn of(manifest: &Path, reading: &Reading, builds: bool) -> Option<Watch> {
        let draft = reading.draft()?;
        let modules = draft.stages.iter().map(|stage| {
            let path = stage.module.path.value.clone();
            let known = look(&path);
            Watched { stage: stage.name.clone(), path, known, last: known }
        });
        let yard = Yard::new(manifest.parent().unwrap_or(Path::new("")), &draft.state, &reading.modules);
        let builds = if builds { Build::of(&reading.modules) } else { Vec::new() };
        let made_of = build::sources(&builds, &yard);
        Some(Watch { modules: modules.collect(), builds, yard, made_of })
    }

    /// Watches until the host ends.
    pub(super) fn start(mut self, desks: BTreeMap<String, Arc<Desk>>, control: Arc<Control>) -> Result<()> {
        let work = move || {
            while !control.stopping() {
                control.wait(LOOK);
                self.build();
                self.swap(&desks);
            }
        };
        thread::Builder::new().name("watch".into()).spawn(work).context("the thread that watches cannot be started")?;
        Ok(())
    }

    /// Makes what its sources have changed of. One that fails waits until they change again.
    fn build(&mut self) {
        let now = build::sources(&self.builds, &self.yard);
        for (at, sources) in now.into_iter().enumerate() {
            if sources.is_none() || sources == self.made_of[at] {
                continue;
            }
            self.made_of[at] = sources;
            let one = std::slice::from_ref(&self.builds[at]);
            let names = one[0].names.join(", ");
            tracing::info!("{names}: building: {}", one[0].written);
            let told = build::run(one, &self.yard, false, &mut |event| {
                if let Event::Ended(_, end) = event {
                    match end.is_good() {
                        true => tracing::info!("{names}: built"),
                        false => {
                            tracing::error!("{names}: its build failed, nothing is swapped:\n{}", end.output.trim_end())
                        }
                    }
                }
            });
            if let Err(error) = told {
                tracing::error!("{names}: {error:#}");
            }
        }
    }

    /// Swaps in what has changed.
    fn swap(&mut self, desks: &BTreeMap<String, Arc<Desk>>) {
        for watched in &mut self.modules {
            let now = look(&watched.path);
            let is_settled = now == std::mem::replace(&mut watched.last, now);
            if !is_settled || now.is_none() || now == watched.known {
                continue;
            }
            let Some(desk) = desks.get(&watched.stage) else { continue };
            let name = watched.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let swapped = match fs::read(&watched.path) {
                // Built again, and the same.
                Ok(bytes) if desk.runs(&bytes) => Ok(()),
                Ok(bytes) => desk.prepare(&name, bytes).and_then(|ready| desk.swap(ready, None, true)).map(drop),
                Err(_) => continue,
            };
            match swapped {
                // It was said how it went, or why it was refused.
                Ok(()) | Err(Refused::Module(_)) => watched.known = now,
                // Another swap is under way: later.
                Err(Refused::Conflict(why)) => tracing::debug!("{}: {why}", watched.stage),
            }
        }
    }
}

fn look(path: &Path) -> Look {
    let facts = fs::metadata(path).ok()?;
    Some((facts.len(), facts.modified().ok()?))
}
