//! Modules: from a file to something that takes records, or is polled for them.
//!
//! A [`Module`] is a file that was read and found to be a stage, or a source. The [`Engine`] compiles it, once, and the
//! [`Cache`] keeps what came of it. A worker makes an [`Instance`] of what is [`Compiled`] and hands it records, or a
//! [`SourceInstance`] and polls it; the [`Limits`] bound what one call may cost. What a guest may ask of the host is in `imports`.

mod apart;
mod batcher;
#[allow(unsafe_code, reason = "compiled modules of our own are loaded as they are")]
mod cache;
mod engine;
mod failure;
mod http;
mod imports;
mod instance;
mod interface;
mod limits;
mod load;
mod log;
mod preview1;
mod source;
mod stage;
mod waits;
mod wasi;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod fixture;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use apart::started_to_compile;
pub use cache::Cache;
pub use engine::{Compiled, Engine};
pub use http::{Site, Sites};
pub use instance::{Input, OpenError, Setup};
pub use interface::Kind;
pub use limits::{CompileLimits, Limits, MODULE_SIZE};
pub use load::{LoadError, Module};
pub use source::SourceInstance;
pub use stage::Instance;
pub use wasi::{Allowed, Folder};
