//! A stage at work: one record in, what came of it out.

use super::{
    engine::Compiled,
    failure::failed,
    imports::Host,
    instance::{Life, OpenError, Setup, World, tame},
};
use crate::{
    record::{Failure, Later, Reason, Record, StageWorld},
    stage::guest::{Failed, Guest, InHand},
    transport::Incoming,
};
use wasmtime::{Store, component};

impl World for StageWorld {
    fn find(store: &mut Store<Host>, instance: &component::Instance) -> wasmtime::Result<Self> {
        StageWorld::new(store, instance)
    }
}

/// A module that takes records. After a failure that spoils it, it starts afresh at the next record.
pub struct Instance(Life<StageWorld>);

impl Instance {
    /// Starts the module, and calls its `open` if it has one.
    pub fn new(compiled: &Compiled, setup: Setup) -> Result<Self, OpenError> {
        Life::begin(compiled, setup).map(Self)
    }
}

impl Guest for Instance {
    fn transform(&mut self, record: InHand<'_>) -> Result<Vec<Record>, Failed> {
        let mut running = self.0.take()?;
        let (store, limits) = (&mut running.store, self.0.limits);
        let Incoming { key, value, .. } = record.record;
        store.data_mut().begin(record);
        let called = running.world.millstream_stage_transformer().call_transform(&mut *store, key, value);
        store.data_mut().end();

        let fate = match called {
            Ok(Ok(records)) => limits.check(&records).map(|()| records).map_err(Failed::from),
            Ok(Err(Failure::Reject(reason))) => Err(Failed::Reject(tame(reason))),
            Ok(Err(Failure::Retry(later))) => {
                Err(Failed::Retry(Later { reason: tame(later.reason), after_ms: later.after_ms }))
            }
            Ok(Err(Failure::Fault(reason))) => Err(Failed::Fault(tame(reason))),
            Err(error) => Err(failed(&error, &limits, store.data_mut().last_words().as_deref())),
        };
        if !matches!(fate, Err(Failed::Fault(_) | Failed::Limit(_))) {
            self.0.give_back(running);
        }
        fate
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
