//! Harm to hosts on the embedded log: the real binary is killed, starved and given files that are none of its own, and
//! what is left is looked at by `consume`. Nothing here needs a Kafka.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod admin;
mod breaker;
#[path = "../support/command.rs"]
mod command;
mod delivery;
mod elsewhere;
mod ending;
mod files;
mod full;
mod growing;
mod isolation;
mod letters;
#[path = "../support/process.rs"]
mod process;
mod provenance;
mod replay;
mod shadows;
mod standby;
mod steps;
mod support;
#[path = "../support/swaps.rs"]
mod swapping;
mod swaps;
