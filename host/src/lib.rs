//! Millstream puts a WebAssembly function between two Kafka topics, exactly once.
//!
//! The map of this crate is `docs/architecture.md`. In short: a [`manifest`] is read and checked, a [`plan`] says
//! what should run, the [`supervisor`] owns the workers' lives, each [`worker`] takes records from a [`transport`],
//! has its [`stage`] decide what becomes of them, and commits.

// The suite of what a log does is compiled here and in a test of its own, under one name.
#[cfg(test)]
extern crate self as millstream;

pub mod admin;
pub mod build;
pub mod cli;
pub mod clock;
pub mod clusters;
#[cfg(test)]
mod damage;
pub mod lines;
pub mod manifest;
pub mod plan;
pub mod record;
#[cfg(test)]
mod reference;
pub mod scaffold;
pub mod schemas;
pub mod sinks;
pub mod source;
pub mod stage;
pub mod supervisor;
pub mod swap;
pub mod testing;
pub mod text;
mod tls;
pub mod transport;
pub mod wasm;
pub mod worker;
