//! A module at work, whatever it is for: started, called within its limits, and started afresh after it was spoilt.

use super::{
    batcher,
    engine::Compiled,
    failure::{Spoilt, clean, failed},
    imports::{Hand, Host, Shared},
    limits::{Limits, Memory},
    log::GuestLog,
    wasi::Allowed,
};
use crate::{
    record::{Reason, Record},
    stage::Histogram,
    text::escaped,
};
use std::{cell::RefCell, rc::Rc, sync::Arc};
use wasmtime::{Store, UpdateDeadline, component};

/// For so many calls a guest is followed from record to record after something happened while it was not.
const FOLLOWED: u32 = 100;

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
    /// What it may reach.
    pub allowed: Allowed,
    /// How long each record took.
    pub timing: Arc<Histogram>,
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
    /// In so many calls to come the host follows a guest from record to record, as it failed or had something to say.
    followed: u32,
}

/// An instance, from its start to the failure that spoils it.
struct Running<W> {
    store: Store<Host>,
    world: W,
}

impl<W: World> Life<W> {
    /// Starts the module, and calls its `open` if it has one.
    pub(super) fn begin(compiled: &Compiled, setup: Setup) -> Result<Self, OpenError> {
        let Setup { stage, inputs, mut config, limits, allowed, .. } = setup;
        config.sort();
        let log = RefCell::new(GuestLog::new(limits.log_lines));
        let wasi_config = config.iter().cloned().collect();
        let shared = Rc::new(Shared { stage, inputs, config, wasi_config, allowed, log });
        let mut life = Self { compiled: compiled.clone(), limits, shared, running: None, followed: 0 };
        life.running = Some(life.start()?);
        Ok(life)
    }

    /// One call within the limits, with the record that is in hand, if it is a stage's.
    pub(super) fn call<T>(
        &mut self,
        hand: Option<Hand>,
        call: impl FnOnce(&mut Store<Host>, &W) -> wasmtime::Result<T>,
    ) -> Result<T, Spoilt> {
        let mut running = self.ready()?;
        running.store.data_mut().begin(hand);
        self.run(running, call).map_err(|(_, spoilt)| spoilt)
    }

    /// One call with several records, of which the first is in hand, each within the limits. A failure comes with the
    /// place of its record, when that is known.
    pub(super) fn call_ahead<T>(
        &mut self,
        hand: Hand,
        call: impl FnOnce(&mut Store<Host>, &W) -> wasmtime::Result<T>,
    ) -> Result<T, (Option<usize>, Spoilt)> {
        let first = hand.index;
        let mut running = self.ready().map_err(|spoilt| (Some(first), spoilt))?;
        let by_one = self.compiled.asks() || self.followed > 0;
        self.followed = self.followed.saturating_sub(1);
        running.store.data_mut().begin_ahead(hand, by_one);
        self.run(running, call).map_err(|(at, spoilt)| {
            if !by_one {
                self.followed = FOLLOWED;
            }
            (at.filter(|_| by_one), spoilt)
        })
    }

    /// Checks what came of one record.
    pub(super) fn check(&mut self, records: &[Record]) -> Result<(), Spoilt> {
        Ok(self.limits.check(records).inspect_err(|_| self.end())?)
    }

    /// Until it is certain that it may be called again, an instance is nobody's.
    fn ready(&mut self) -> Result<Running<W>, Spoilt> {
        if let Some(mut running) = self.running.take() {
            if !running.store.data_mut().memory.is_worn() {
                return Ok(running);
            }
            tracing::debug!("{}: its memory has grown large: a fresh instance goes on", self.shared.stage);
            // The old one is gone, at the end of this block, before the new one takes its memory.
        }
        Ok(self.start()?)
    }

    fn run<T>(
        &mut self,
        mut running: Running<W>,
        call: impl FnOnce(&mut Store<Host>, &W) -> wasmtime::Result<T>,
    ) -> Result<T, (Option<usize>, Spoilt)> {
        let called = call(&mut running.store, &running.world);
        let host = running.store.data_mut();
        // It may have come to its end before anybody looked.
        let called = called.and_then(|said| host.count_calls().map(|()| said).map_err(Into::into));
        let at = host.end(called.is_ok());
        match called {
            Ok(said) => {
                self.running = Some(running);
                Ok(said)
            }
            Err(error) => Err((at, failed(&error, &self.limits, host.last_words().as_deref()))),
        }
    }

    /// The instance is of no use any more.
    pub(super) fn end(&mut self) {
        self.running = None;
    }

    fn start(&self) -> Result<Running<W>, OpenError> {
        let mut store = self.store();
        let started = self.open(&mut store);
        let last_words = store.data_mut().last_words();
        store.data_mut().end(true);
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
        let (limits, batches) = (self.limits, self.compiled.batches());
        let memory = Memory::new(limits.memory, if batches { batcher::MEMORY } else { 0 });
        let host =
            Host::new(self.shared.clone(), memory, limits, self.compiled.ticks().clone(), self.compiled.pre().engine());
        let mut store = Store::new(self.compiled.pre().engine(), host);
        store.limiter(|host| &mut host.memory);
        // The answers to several records are taken over in one piece, each is looked at when it is read.
        store.set_hostcall_fuel(limits.transfer().max(if batches { batcher::OUT_BYTES } else { 0 }));
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
