//! Where a stage's new modules come in: each is looked at, compiled and started once, away from the workers, before they
//! hear of it; and what becomes of it is noted.

use super::{
    Looked, Modules, Probation, Verdict, Version,
    modules::{Back, Done, Unwanted},
    shelf::{Named, Outcome, Range, Shelf, Standing, Swap},
};
use crate::{
    clock::{Clock, SystemClock},
    stage::guest::Guest,
    text::{count, hex},
    transport::{NextOffset, Offset, Partition},
    wasm::{Cache, Engine, Kind, Module, Setup},
};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, mpsc::channel},
    thread,
    time::{Duration, Instant},
};

/// How long to wait for the end of a trial that has begun: longer than any transaction lasts.
const LONGEST: Duration = Duration::from_secs(60);
/// How long nobody may have a record for a module until it is said that it is not proven.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long workers may take to leave a module.
const LEAVE: Duration = Duration::from_secs(10);

/// All that a stage's desk needs to know.
pub struct DeskSettings {
    /// The stage's name.
    pub stage: String,
    /// The topics that it reads.
    pub inputs: Vec<String>,
    /// What its instances are told.
    pub setup: Setup,
    /// How long a new module is on trial.
    pub probation: Probation,
    /// The digest that the manifest pins.
    pub pinned: Option<String>,
    /// What must not be shown of what a module says.
    pub hidden: Vec<String>,
    /// The manifest's module.
    pub manifest: Named,
    /// What it imports, or what stands in its place does.
    pub imports: Vec<String>,
}

/// One stage's desk.
pub struct Desk {
    settings: DeskSettings,
    engine: Arc<Engine>,
    cache: Arc<Cache>,
    modules: Arc<Modules>,
    shelf: Shelf,
    /// What the module imports that stands, and what the one before does.
    imports: Mutex<Vec<String>>,
    /// Modules are looked at one by one. One that is to wait for others, waits here.
    prepared: Mutex<Option<(Prepared, Instant)>>,
    /// What is kept, is kept by one at a time.
    ledger: Mutex<()>,
    /// How many swaps ended how, since this host started.
    outcomes: Mutex<BTreeMap<&'static str, u64>>,
}

/// A module that is ready to be offered.
pub struct Prepared {
    version: Version,
    named: Named,
    bytes: Vec<u8>,
    imports: Vec<String>,
    gains: Vec<String>,
}

/// Why a module is not tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Something is wrong with it.
    #[error("{0}")]
    Module(String),
    /// Now is not the time.
    #[error("{0}")]
    Conflict(String),
}

impl From<Unwanted> for Refused {
    fn from(why: Unwanted) -> Refused {
        Refused::Conflict(why.to_string())
    }
}

impl Desk {
    /// The desk of a stage that runs these modules.
    pub fn new(
        settings: DeskSettings,
        engine: &Arc<Engine>,
        cache: &Arc<Cache>,
        modules: &Arc<Modules>,
        shelf: Shelf,
    ) -> Arc<Desk> {
        let imports = Mutex::new(settings.imports.clone());
        let (engine, cache, modules) = (engine.clone(), cache.clone(), modules.clone());
        Arc::new(Desk {
            settings,
            engine,
            cache,
            modules,
            shelf,
            imports,
            prepared: Mutex::default(),
            ledger: Mutex::default(),
            // From the start: who watches a count sees it rise only from what it was before.
            outcomes: Mutex::new(Outcome::ENDS.map(|outcome| (outcome.word(), 0)).into()),
        })
    }

    /// The manifest's module.
    pub fn manifest(&self) -> &Named {
        &self.settings.manifest
    }

    /// How many swaps ended how, since this host started.
    pub fn outcomes(&self) -> BTreeMap<&'static str, u64> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What happened here, the oldest first.
    pub fn swaps(&self) -> anyhow::Result<Vec<Swap>> {
        self.shelf.swaps()
    }

    /// True when this is the module that stands.
    pub fn runs(&self, bytes: &[u8]) -> bool {
        self.modules.current().digest == hex(&Sha256::digest(bytes))
    }

    /// Looks at a module, compiles it, and starts it once. The stage goes on meanwhile. A refusal is noted.
    pub fn prepare(&self, name: &str, bytes: Vec<u8>) -> Result<Prepared, Refused> {
        let mut kept = self.prepared()?;
        *kept = None;
        self.look_at(name, bytes, &self.settings.setup).map_err(|(named, why)| self.refuse(named.as_ref(), name, why))
    }

    /// Runs a module beside the one that stands, on so many records: what it makes is only compared. It is looked at as
    /// one that is to be swapped in; that it is refused is no swap, and not noted.
    pub fn look_on(&self, name: &str, bytes: Vec<u8>, records: u64) -> Result<Looked, Refused> {
        let _place = self.prepared()?;
        // What it says is told apart from what the other one says, and its time is not the stage's.
        let setup = Setup {
            stage: format!("{} (shadow)", self.settings.stage),
            timing: Arc::default(),
            ..self.settings.setup.clone()
        };
        let prepared = self.look_at(name, bytes, &setup).map_err(|(_, why)| Refused::Module(why))?;
        self.modules.look_on(prepared.version, records)?;
        let looked = self.modules.looked().ok_or_else(|| Refused::Conflict("it was ended at once".into()))?;
        let stage = &self.settings.stage;
        tracing::info!("{stage}: {} looks on, for {}", told(&prepared.named), count(records, "record"));
        Ok(looked)
    }

    /// The module that looks on does so no more; only the one with this digest, if one is named.
    pub fn look_away(&self, of: Option<&str>) -> Result<Swap, Refused> {
        let Some(version) = self.modules.look_away("somebody ended it", of) else {
            return Err(Refused::Conflict("no module looks on".into()));
        };
        let story = Story { from: self.named(), to: version.named(), gains: Vec::new() };
        tracing::info!("{}: {} looks on no more", self.settings.stage, told(&story.to));
        Ok(self.told(&story, Outcome::Withdrawn, Some("it only looked on".into()), &Done::default()))
    }

    fn look_at(&self, name: &str, bytes: Vec<u8>, setup: &Setup) -> Result<Prepared, (Option<Named>, String)> {
        let module = Module::of(setup.limits.module_size, Path::new(name), bytes.clone(), Kind::Stage);
        let module = module.map_err(|error| (None, error.to_string()))?;
        let named = Named { digest: module.digest().to_owned(), name: name.to_owned() };
        let refuse = |why: String| (Some(named.clone()), why);
        if let Some(pinned) = self.settings.pinned.as_ref().filter(|pinned| *pinned != module.digest()) {
            let why = format!("the manifest pins `sha256: {pinned}`, and this one has {}", module.digest());
            return Err(refuse(why));
        }
        let compiled = self
            .engine
            .compile_within(setup.limits.compile, &module, &self.cache, &mut |name| {
                tracing::info!("{}: compiling {name}, once…", self.settings.stage);
            })
            .map_err(|error| refuse(error.to_string()))?;
        let version = Version::of(&compiled, setup).concealing(&self.settings.hidden);
        if let Err(why) = version.start().map(drop::<Box<dyn Guest>>) {
            return Err(refuse(format!("{name} {why}")));
        }
        let imports = module.imports().to_vec();
        let known = self.imports.lock().unwrap_or_else(PoisonError::into_inner);
        let gains = imports.iter().filter(|import| !known.contains(import)).cloned().collect();
        drop(known);
        Ok(Prepared { version, named, bytes, imports, gains })
    }

    /// The same; it waits until [`Desk::swap_prepared`] is called. Says what it imports that the one before does not.
    pub fn keep_prepared(&self, name: &str, bytes: Vec<u8>) -> Result<(Named, Vec<String>), Refused> {
        let prepared = self.prepare(name, bytes)?;
        let told = (prepared.named.clone(), prepared.gains.clone());
        *self.prepared()? = Some((prepared, Instant::now()));
        Ok(told)
    }

    /// Swaps to the module that waits, if it is this one.
    pub fn swap_prepared(
        self: &Arc<Self>,
        digest: &str,
        instead_of: Option<&str>,
        wait: bool,
    ) -> Result<Swap, Refused> {
        let prepared = self.prepared()?.take_if(|(prepared, _)| prepared.named.digest == digest);
        match prepared {
            Some((prepared, _)) => self.swap(prepared, instead_of, wait),
            None => Err(Refused::Conflict("that module was not prepared, or another one was since".into())),
        }
    }

    /// Forgets a module that has waited for so long: whoever prepared it does not come any more.
    pub fn forget_prepared(&self, longest: Duration) {
        if let Ok(mut place) = self.prepared() {
            place.take_if(|(_, since)| since.elapsed() >= longest);
        }
    }

    /// The place of the module that waits. It is taken for as long as one is looked at.
    fn prepared(&self) -> Result<MutexGuard<'_, Option<(Prepared, Instant)>>, Refused> {
        match self.prepared.try_lock() {
            Ok(place) => Ok(place),
            Err(TryLockError::Poisoned(place)) => Ok(place.into_inner()),
            Err(TryLockError::WouldBlock) => {
                Err(Refused::Conflict("another module is being looked at: try again when that is done".into()))
            }
        }
    }

    /// Offers a module to the workers, and tells what came of it; without `wait`, or when there are no records to prove it
    /// with, that it is there. Only in place of the one with this digest, if one is named.
    pub fn swap(self: &Arc<Self>, prepared: Prepared, instead_of: Option<&str>, wait: bool) -> Result<Swap, Refused> {
        let Prepared { version, named, bytes, imports, gains } = prepared;
        let from = self.named();
        let offer = self.modules.offer(version, self.settings.probation, instead_of)?;
        tracing::info!("{}: {} is on trial in place of {}", self.settings.stage, told(&named), told(&from));
        let story = Story { from, to: named, gains };
        // Whoever asked may be gone before the outcome is known.
        let (desk, own) = (self.clone(), story.clone());
        let (tell, told) = channel();
        let watch = thread::Builder::new().name(format!("{}.swap", self.settings.stage)).spawn(move || {
            if let Some(ended) = desk.modules.outcome(offer, &now, Duration::MAX, Duration::MAX) {
                tell.send(desk.note(own, ended.verdict, &ended.done, bytes, imports)).ok();
            }
        });
        if let Err(error) = watch {
            self.modules.roll_back("nobody can watch over it", None);
            return Err(Refused::Conflict(format!("a thread cannot be started: {error}")));
        }
        let patience = if wait { PATIENCE.max(self.settings.probation.time) } else { Duration::ZERO };
        let longest = if wait { LONGEST + self.settings.probation.time } else { Duration::ZERO };
        Ok(match self.modules.outcome(offer, &now, patience, longest) {
            // What is told has been kept: the host may be killed at any moment from here on.
            Some(ended) => told.recv_timeout(LONGEST).unwrap_or_else(|_| self.tell(&story, ended.verdict, &ended.done)),
            None => {
                let done = self.modules.trial().map(|(_, done)| done).unwrap_or_default();
                self.told(&story, Outcome::Unproven, None, &done)
            }
        })
    }

    /// Goes back to the module before; only from the one with this digest, if one is named.
    pub fn roll_back(&self, of: Option<&str>) -> Result<Swap, Refused> {
        let Some(Back { from, to, was_on_trial }) = self.modules.roll_back("somebody rolled it back", of) else {
            let why = match of {
                Some(_) => "it does not run any more",
                None => "there is no module to go back to: none was replaced since this host started",
            };
            return Err(Refused::Conflict(why.into()));
        };
        let is_gone = self.modules.until_gone(&from, LEAVE);
        let busy = (!is_gone).then(|| {
            let why =
                format!("a worker is still busy with {}: it goes over when it has done its transaction", from.name);
            tracing::warn!("{}: {why}", self.settings.stage);
            why
        });
        let story = Story { from: from.named(), to: to.named(), gains: Vec::new() };
        let swap = self.told(&story, Outcome::Back, busy, &Done::default());
        // That of a trial is noted by who watches over it.
        if !was_on_trial {
            self.keep(&swap, None);
        }
        tracing::info!("{}: back to {} from {}", self.settings.stage, told(&story.to), told(&story.from));
        Ok(swap)
    }

    fn named(&self) -> Named {
        self.modules.current().named()
    }

    /// What became of a trial, for the log and for later.
    fn note(&self, story: Story, verdict: Verdict, done: &Done, bytes: Vec<u8>, imports: Vec<String>) -> Swap {
        let stage = &self.settings.stage;
        let swap = self.tell(&story, verdict, done);
        match (swap.outcome, &swap.reason) {
            (Outcome::Confirmed, _) => {
                *self.imports.lock().unwrap_or_else(PoisonError::into_inner) = imports;
                let records = count(done.records, "record");
                tracing::info!("{stage}: {} is confirmed after {records}", told(&story.to));
            }
            (Outcome::RolledBack, Some(why)) => {
                tracing::warn!("{stage}: {} is rolled back, {} goes on: {why}", told(&story.to), told(&story.from));
            }
            (_, why) => {
                let why = why.as_deref().unwrap_or_default();
                tracing::info!("{stage}: {} is withdrawn: {why}", told(&story.to));
            }
        }
        let bytes = (swap.outcome == Outcome::Confirmed).then_some(bytes);
        self.keep(&swap, bytes.as_deref());
        swap
    }

    /// Keeps what outlives a restart. Where that fails, the stage goes on all the same.
    fn keep(&self, swap: &Swap, bytes: Option<&[u8]>) {
        *self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).entry(swap.outcome.word()).or_default() += 1;
        let manifest = &self.settings.manifest;
        // One after the other; what stands by now counts, and not what stood when this began.
        let _turn = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let stands = match swap.outcome {
            Outcome::Confirmed | Outcome::Back if swap.to.digest != self.modules.current().digest => Ok(()),
            Outcome::Confirmed | Outcome::Back if swap.to.digest == manifest.digest => self.shelf.clear(),
            Outcome::Confirmed | Outcome::Back => {
                let standing = Standing { manifest: manifest.digest.clone(), module: swap.to.clone() };
                self.shelf.stand(&standing, bytes)
            }
            _ => Ok(()),
        };
        for error in [stands, self.shelf.note(swap)].into_iter().filter_map(Result::err) {
            let stage = &self.settings.stage;
            tracing::warn!("{stage}: the swap will not be known after a restart: {error:#}");
        }
    }

    fn refuse(&self, named: Option<&Named>, name: &str, why: String) -> Refused {
        let unknown = Named { digest: String::new(), name: name.to_owned() };
        let story = Story { from: self.named(), to: named.cloned().unwrap_or(unknown), gains: Vec::new() };
        let swap = self.told(&story, Outcome::Refused, Some(why.clone()), &Done::default());
        self.keep(&swap, None);
        tracing::warn!("{}: {name} is refused: {why}", self.settings.stage);
        Refused::Module(why)
    }

    fn tell(&self, story: &Story, verdict: Verdict, done: &Done) -> Swap {
        let (outcome, reason) = match verdict {
            Verdict::Confirmed => (Outcome::Confirmed, None),
            Verdict::RolledBack(why) => (Outcome::RolledBack, Some(why)),
            Verdict::Withdrawn(why) => (Outcome::Withdrawn, Some(why)),
        };
        self.told(story, outcome, reason, done)
    }

    fn told(&self, story: &Story, outcome: Outcome, reason: Option<String>, done: &Done) -> Swap {
        let inputs = &self.settings.inputs;
        let range = |(partition, (first, next)): (&Partition, &(Offset, NextOffset))| Range {
            topic: inputs.get(partition.input).cloned().unwrap_or_default(),
            partition: partition.number,
            first: first.0,
            next: next.0,
        };
        Swap {
            stage: self.settings.stage.clone(),
            at: clock().wall_ms(),
            outcome,
            from: story.from.clone(),
            to: story.to.clone(),
            reason,
            records: done.records,
            stricter: done.stricter,
            pause_us: u64::try_from(done.pause.as_micros()).unwrap_or(u64::MAX),
            offsets: done.offsets.iter().map(range).collect(),
            gains: story.gains.clone(),
        }
    }
}

/// Which module was to replace which.
#[derive(Clone)]
struct Story {
    from: Named,
    to: Named,
    gains: Vec<String>,
}

/// A module as a line shows it.
fn told(named: &Named) -> String {
    format!("{} ({})", named.name, named.digest.get(..12).unwrap_or(&named.digest))
}

fn clock() -> SystemClock {
    SystemClock::new(Arc::default())
}

fn now() -> Duration {
    clock().now()
}
