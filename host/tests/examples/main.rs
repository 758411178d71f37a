//! The examples, as they stand in the repository, with what they need around them.
//!
//! `cargo xtask test` starts the broker that they share.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../support/command.rs"]
mod command;
mod console;
mod databases;
mod enrich;
mod folder;
mod fraud;
mod posts;
#[path = "../support/process.rs"]
mod process;
