//! A source at work: a position in, what comes behind it out.

use super::{
    engine::Compiled,
    imports::Host,
    instance::{Life, OpenError, Setup, World, tame},
};
use crate::{
    record::{Later, PollFailure, Polled, SourceWorld},
    source::poller::{PollFailed, Poller},
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
        let call =
            |store: &mut Store<Host>, world: &SourceWorld| world.millstream_stage_poller().call_poll(store, position);
        let polled = self.0.call(None, call)?.map_err(|failure| match failure {
            PollFailure::Retry(later) => {
                PollFailed::Retry(Later { reason: tame(later.reason), after_ms: later.after_ms })
            }
            PollFailure::Stop(reason) => PollFailed::Stop(tame(reason)),
        })?;
        self.0.check(&polled.records)?;
        Ok(polled)
    }
}
