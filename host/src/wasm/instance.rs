//! A module at work, whatever it is for: started, called within its limits, and started afresh after it was spoilt.

use super::{
    engine::Compiled,
    failure::{Spoilt, clean, failed},
    imports::{Host, Shared},
    limits::Limits,
    log::{GuestLog, escaped},
};
use crate::{
    record::{Reason, Record},
    stage::guest::InHand,
};
use std::{cell::RefCell, rc::Rc};
use wasmtime::{Store, UpdateDeadline, component};

/// What an instance is told of its stage, or its source.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The stage's name, or the source's.
    pub stage: String,
    /// Its inputs, in the order that `Partition::input` counts. A source has none.
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

/// A module that started before, and does not now.
impl From<OpenError> for Spoilt {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Limit(reason) => Spoilt::Limit(reason),
            error => Spoilt::Fault(Reason { code: Some("open".into()), message: error.to_string() }),
        }
    }
}

/// The typed functions of a world, found in an instance.
pub(super) trait World: Sized {
    fn find(store: &mut Store<Host>, instance: &component::Instance) -> wasmtime::Result<Self>;
}

/// A module that is called. After a failure that spoils it, it starts afresh at the next call.
pub(super) struct Life<W: World> {
    compiled: Compiled,
    limits: Limits,
    shared: Rc<Shared>,
    running: Option<Running<W>>,
}

/// An instance, from its start to the failure that spoils it.
struct Running<W> {
    store: Store<Host>,
    world: W,
}

impl<W: World> Life<W> {
    /// Starts the module, and calls its `open` if it has one.
    pub(super) fn begin(compiled: &Compiled, setup: Setup) -> Result<Self, OpenError> {
        let Setup { stage, inputs, mut config, limits } = setup;
        config.sort();
        let log = RefCell::new(GuestLog::new());
        let wasi_config = config.iter().cloned().collect();
        let shared = Rc::new(Shared { stage, inputs, config, wasi_config, log });
        let mut life = Self { compiled: compiled.clone(), limits, shared, running: None };
        life.running = Some(life.start()?);
        Ok(life)
    }

    /// One call within the limits, with the record that is in hand, if it is a stage's. What the guest says is given
    /// back; `records` are those that it gave.
    pub(super) fn call<T, E>(
        &mut self,
        hand: Option<InHand<'_>>,
        call: impl FnOnce(&mut Store<Host>, &W) -> wasmtime::Result<Result<T, E>>,
        records: impl FnOnce(&T) -> &[Record],
    ) -> Result<Result<T, E>, Spoilt> {
        // Until it is certain that it may be called again, it is nobody's.
        let Running { mut store, world } = match self.running.take() {
            Some(running) => running,
            None => self.start()?,
        };
        store.data_mut().begin(hand);
        let called = call(&mut store, &world);
        store.data_mut().end();
        let said = called.map_err(|error| failed(&error, &self.limits, store.data_mut().last_words().as_deref()))?;
        if let Ok(given) = &said {
            self.limits.check(records(given))?;
        }
        self.running = Some(Running { store, world });
        Ok(said)
    }

    /// The instance has said itself that it is of no use any more.
    pub(super) fn end(&mut self) {
        self.running = None;
    }

    fn start(&self) -> Result<Running<W>, OpenError> {
        let mut store = self.store();
        let started = self.open(&mut store);
        let last_words = store.data_mut().last_words();
        store.data_mut().end();
        match started {
            Ok((world, Ok(()))) => Ok(Running { store, world }),
            Ok((_, Err(words))) => Err(OpenError::Refused(clean(&words))),
            Err(error) => Err(match failed(&error, &self.limits, last_words.as_deref()) {
                Spoilt::Limit(reason) => OpenError::Limit(reason),
                Spoilt::Fault(reason) => OpenError::Failed(reason.message),
            }),
        }
    }

    /// A store with every limit in force, because the module's start function runs in it as well.
    fn store(&self) -> Store<Host> {
        let host = Host::new(self.shared.clone(), self.limits, self.compiled.ticks().clone());
        let mut store = Store::new(self.compiled.pre().engine(), host);
        store.limiter(|host| &mut host.memory);
        store.set_hostcall_fuel(self.limits.transfer());
        store.epoch_deadline_callback(|mut store| {
            store.data_mut().tick()?;
            Ok(UpdateDeadline::Continue(1))
        });
        store
    }

    fn open(&self, store: &mut Store<Host>) -> wasmtime::Result<(W, Result<(), String>)> {
        let instance = self.compiled.pre().instantiate(&mut *store)?;
        let opened = match self.compiled.open() {
            Some(open) => {
                let open = instance.get_typed_func::<(), (Result<(), String>,)>(&mut *store, open)?;
                open.call(&mut *store, ())?.0
            }
            None => Ok(()),
        };
        Ok((W::find(store, &instance)?, opened))
    }
}

impl<W: World> Drop for Life<W> {
    fn drop(&mut self) {
        self.shared.log.borrow_mut().tell(&self.shared.stage);
    }
}

/// A guest's words as they may stand in a log and in a header: of bounded length, and nothing that moves a cursor.
pub(super) fn tame(reason: Reason) -> Reason {
    Reason { code: reason.code.map(|code| escaped(&code)), message: escaped(&reason.message) }
}
