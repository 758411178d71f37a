//! A source at work: a position in, what comes behind it out.

use super::{
    engine::Compiled,
    failure::failed,
    imports::Host,
    instance::{Life, OpenError, Setup, World, tame},
};
use crate::{
    record::{Later, PollFailure, Polled, SourceWorld},
    source::poller::{PollFailed, Poller},
    stage::guest::Failed,
};
use wasmtime::{Store, component};

impl World for SourceWorld {
    fn find(store: &mut Store<Host>, instance: &component::Instance) -> wasmtime::Result<Self> {
        SourceWorld::new(store, instance)
    }
}

/// A module that is polled. After a failure that spoils it, it starts afresh at the next poll.
pub struct SourceInstance(Life<SourceWorld>);

impl SourceInstance {
    /// Starts the module, and calls its `open` if it has one.
    pub fn new(compiled: &Compiled, setup: Setup) -> Result<Self, OpenError> {
        Life::begin(compiled, setup).map(Self)
    }
}

impl Poller for SourceInstance {
    fn poll(&mut self, position: Option<&[u8]>) -> Result<Polled, PollFailed> {
        let mut running = self.0.take().map_err(Failed::from)?;
        let (store, limits) = (&mut running.store, self.0.limits);
        store.data_mut().begin_poll();
        let called = running.world.millstream_stage_poller().call_poll(&mut *store, position);
        store.data_mut().end();

        let polled = match called {
            Ok(Ok(polled)) => {
                limits.check(&polled.records).map(|()| polled).map_err(|limit| Failed::from(limit).into())
            }
            Ok(Err(PollFailure::Retry(later))) => {
                Err(PollFailed::Retry(Later { reason: tame(later.reason), after_ms: later.after_ms }))
            }
            Ok(Err(PollFailure::Stop(reason))) => Err(PollFailed::Stop(tame(reason))),
            Err(error) => Err(failed(&error, &limits, store.data_mut().last_words().as_deref()).into()),
        };
        if !matches!(polled, Err(PollFailed::Fault(_) | PollFailed::Limit(_))) {
            self.0.give_back(running);
        }
        polled
    }
}

/// What ended a call is the same for both.
impl From<Failed> for PollFailed {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Limit(reason) => PollFailed::Limit(reason),
            Failed::Fault(reason) | Failed::Reject(reason) => PollFailed::Fault(reason),
            Failed::Retry(later) => PollFailed::Retry(later),
        }
    }
}
