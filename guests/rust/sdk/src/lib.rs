//! What a stage or a source in Rust is written against: a function between two topics, or in front of one.
//!
//! ```
//! millstream::map_value!(|value| value.to_ascii_uppercase());
//! ```
//!
//! That is a whole stage: it changes the value and lets everything else through, a record without a value too.
//! One that sees the key, filters, or gives several records, takes both:
//!
//! ```
//! use millstream::{Bytes, Failure, Record, record, reject};
//!
//! millstream::stage!(split);
//!
//! fn split(key: Bytes, value: Bytes) -> Result<Vec<Record>, Failure> {
//!     let text = String::from_utf8(value.unwrap_or_default()).map_err(reject)?;
//!     Ok(text.lines().map(|line| record(key.clone(), line).to("lines")).collect())
//! }
//! ```
//!
//! What brings records into a topic is a source: see [`source!`].
//!
//! Build it with `cargo build --release --target wasm32-unknown-unknown` as a `cdylib`; the file under
//! `target/wasm32-unknown-unknown/release` is the module.
//!
//! The instance may be replaced between any two records, and a record may come twice: what a stage keeps in
//! statics is a cache, never the truth.

mod bindings;
pub mod context;
mod failure;
mod logging;
mod output;
mod record;
mod source;
mod stage;

pub use bindings::source::exports::millstream::stage::poller::{Batch, PollFailure};
pub use bindings::stage::millstream::stage::{
    config,
    context::Metadata,
    log,
    types::{Failure, Header, HeaderEdit, Later, Reason, Record},
};
pub use failure::{code, fault, poll_later, reject, retry, retry_after, stop};
pub use output::Output;
pub use record::{Bytes, IntoBytes, record};

/// What the macros write stands in the author's crate, and reaches the bindings from there.
#[doc(hidden)]
pub mod macros {
    pub use crate::{
        bindings::{open, source, stage},
        logging::say_panics,
        source::poll,
        stage::{map, run},
    };
}
