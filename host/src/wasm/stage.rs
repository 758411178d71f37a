//! A stage at work: one record in, what came of it out.

use super::{
    engine::Compiled,
    imports::Host,
    instance::{Life, OpenError, Setup, World, tame},
};
use crate::{
    record::{Failure, Later, Record, StageWorld},
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
        let Incoming { key, value, .. } = record.record;
        let call = |store: &mut Store<Host>, world: &StageWorld| {
            world.millstream_stage_transformer().call_transform(store, key, value)
        };
        self.0.call(Some(record), call, |records: &Vec<Record>| records)?.map_err(|failure| match failure {
            Failure::Reject(reason) => Failed::Reject(tame(reason)),
            Failure::Retry(later) => Failed::Retry(Later { reason: tame(later.reason), after_ms: later.after_ms }),
            Failure::Fault(reason) => {
                self.0.end();
                Failed::Fault(tame(reason))
            }
        })
    }
}
