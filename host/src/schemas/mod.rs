//! Schemas: what the values of topics look like, where that is written, and how they are turned into JSON and back.
//!
//! A topic's schema is found or registered before anything starts ([`Schemas::settle`]), and what is known then makes a
//! [`Codec`] for each stage ([`Bound::codec`]). A record is read with the schema that it was written with, by the id in
//! its frame; that one is fetched when it is met, and kept for ever.

mod avro;
mod codec;
mod framing;
mod http;
mod json_schema;
mod misfit;
mod registry;
mod schema;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod served;
mod settle;
mod shelf;
mod store;

pub use codec::{Codec, Decoded, Part, is_framed};
pub use misfit::Misfit;
pub use schema::{Language, Written};
pub use settle::{Bound, Schemas, Unsettled};
