//! A module at work: one record in, what came of it out.

use super::{
    engine::Compiled,
    failure::{clean, failed},
    imports::{Host, Shared},
    limits::{Limits, Memory},
    log::{GuestLog, escaped},
};
use crate::{
    record::{Failure, Later, Reason, Record, StageWorld},
    stage::guest::{Failed, Guest, InHand},
    transport::Incoming,
};
use std::{cell::RefCell, rc::Rc};
use wasmtime::{Store, UpdateDeadline};

/// What an instance is told of its stage.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The stage's name.
    pub stage: String,
    /// Its inputs, in the order that `Partition::input` counts.
    pub inputs: Vec<Input>,
    /// Its configuration.
    pub config: Vec<(String, String)>,
    /// Its limits.
    pub limits: Limits,
}

/// One of a stage's inputs.
#[derive(Clone, Debug)]
pub struct Input {
    /// The topic's name at the broker.
    pub topic: String,
    /// The input's name in the manifest.
    pub name: String,
}

/// Why a module could not be started.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// Its own `open` said no, in these words.
    #[error("refused: {0}")]
    Refused(String),
    /// It trapped at its start.
    #[error("failed at its start: {0}")]
    Failed(String),
    /// It hit a limit at its start.
    #[error("hit a limit at its start: it {}", .0.message)]
    Limit(Reason),
}

/// A module that takes records. After a failure that spoils it, it starts afresh at the next record.
pub struct Instance {
    compiled: Compiled,
    limits: Limits,
    shared: Rc<Shared>,
    running: Option<Running>,
}

struct Running {
    store: Store<Host>,
    world: StageWorld,
}

impl Instance {
    /// Starts the module, and calls its `open` if it has one.
    pub fn new(compiled: &Compiled, setup: Setup) -> Result<Self, OpenError> {
        let Setup { stage, inputs, mut config, limits } = setup;
        config.sort();
        let log = RefCell::new(GuestLog::new());
        let wasi_config = config.iter().cloned().collect();
        let shared = Rc::new(Shared { stage, inputs, config, wasi_config, log });
        let mut instance = Self { compiled: compiled.clone(), limits, shared, running: None };
        instance.running = Some(instance.start()?);
        Ok(instance)
    }

    fn start(&self) -> Result<Running, OpenError> {
        let mut store = self.store();
        let started = self.open(&mut store);
        let last_words = store.data_mut().last_words();
        store.data_mut().end();
        match started {
            Ok((world, Ok(()))) => Ok(Running { store, world }),
            Ok((_, Err(words))) => Err(OpenError::Refused(clean(&words))),
            Err(error) => Err(match failed(&error, &self.limits, last_words.as_deref()) {
                Failed::Limit(reason) => OpenError::Limit(reason),
                Failed::Fault(reason) | Failed::Reject(reason) => OpenError::Failed(reason.message),
                Failed::Retry(later) => OpenError::Failed(later.reason.message),
            }),
        }
    }

    /// A store with every limit in force, because the module's start function runs in it as well.
    fn store(&self) -> Store<Host> {
        let host = Host::new(self.shared.clone(), Memory::new(self.limits.memory));
        let mut store = Store::new(self.compiled.pre().engine(), host);
        store.limiter(|host| &mut host.memory);
        store.set_hostcall_fuel(self.limits.transfer());
        let (limits, ticks) = (self.limits, self.compiled.ticks().clone());
        store.epoch_deadline_callback(move |mut store| {
            store.data_mut().stopwatch.check(&limits, ticks.now())?;
            Ok(UpdateDeadline::Continue(1))
        });
        store
    }

    fn open(&self, store: &mut Store<Host>) -> wasmtime::Result<(StageWorld, Result<(), String>)> {
        let instance = self.compiled.pre().instance_pre().instantiate(&mut *store)?;
        let opened = match self.compiled.open() {
            Some(open) => {
                let open = instance.get_typed_func::<(), (Result<(), String>,)>(&mut *store, open)?;
                open.call(&mut *store, ())?.0
            }
            None => Ok(()),
        };
        Ok((StageWorld::new(store, &instance)?, opened))
    }
}

impl Guest for Instance {
    fn transform(&mut self, record: InHand<'_>) -> Result<Vec<Record>, Failed> {
        let mut running = match self.running.take() {
            Some(running) => running,
            None => self.start()?,
        };
        let store = &mut running.store;
        let Incoming { key, value, .. } = record.record;
        store.data_mut().begin(record);
        let called = running.world.millstream_stage_transformer().call_transform(&mut *store, key, value);
        store.data_mut().end();

        let fate = match called {
            Ok(Ok(records)) => self.limits.check(&records).map(|()| records).map_err(Failed::from),
            Ok(Err(Failure::Reject(reason))) => Err(Failed::Reject(tame(reason))),
            Ok(Err(Failure::Retry(later))) => {
                Err(Failed::Retry(Later { reason: tame(later.reason), after_ms: later.after_ms }))
            }
            Ok(Err(Failure::Fault(reason))) => Err(Failed::Fault(tame(reason))),
            Err(error) => Err(failed(&error, &self.limits, store.data_mut().last_words().as_deref())),
        };
        if !matches!(fate, Err(Failed::Fault(_) | Failed::Limit(_))) {
            self.running = Some(running);
        }
        fate
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.shared.log.borrow_mut().tell(&self.shared.stage);
    }
}

/// A module that started before, and does not now.
impl From<OpenError> for Failed {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Limit(reason) => Failed::Limit(reason),
            error => Failed::Fault(Reason { code: Some("open".into()), message: error.to_string() }),
        }
    }
}

/// A guest's words as they may stand in a log and in a header: of bounded length, and nothing that moves a cursor.
fn tame(reason: Reason) -> Reason {
    Reason { code: reason.code.map(|code| escaped(&code)), message: escaped(&reason.message) }
}
