//! What a record, its headers and a failure are: the types of the WIT package itself, so that nothing is
//! translated between what a guest says and what the host does with it.

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod wit {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "stage",
        additional_derives: [PartialEq],
        // There is no record in hand during `open`: asking for it is the guest's mistake, and ends it. A line may come at a
        // time when the host does not know whose it is.
        imports: { "millstream:stage/context": trappable, "millstream:stage/log": trappable },
    });
}

/// The other world, over the same types.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod wit_source {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "source",
        with: {
            "millstream:stage/types": super::wit::millstream::stage::types,
            "millstream:stage/config": super::wit::millstream::stage::config,
            "millstream:stage/log": super::wit::millstream::stage::log,
        },
    });
}

pub use wit::millstream::stage::types::{Failure, Header, HeaderEdit, Later, Reason, Record};
pub use wit::millstream::stage::{config, context, log, types};
pub use wit::{Stage as StageWorld, StagePre as StageWorldPre};
pub use wit_source::exports::millstream::stage::poller::{Batch as Polled, PollFailure};
pub use wit_source::{Source as SourceWorld, SourcePre as SourceWorldPre};
