//! What a record, its headers and a failure are: the types of the WIT package itself, so that nothing is
//! translated between what a guest says and what the host does with it.

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod wit {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "stage",
        // There is no record in hand during `open`: asking for it is the guest's mistake, and ends it.
        imports: { "millstream:stage/context": trappable },
    });
}

pub use wit::millstream::stage::types::{Failure, Header, HeaderEdit, Later, Reason, Record};
pub use wit::millstream::stage::{config, context, log, types};
pub use wit::{Stage as StageWorld, StagePre as StageWorldPre};
