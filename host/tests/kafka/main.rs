//! The suite on a real Kafka: what only a broker, real clients and real signals can show.
//!
//! `cargo xtask test` starts the broker that most tests share; those that harm a broker start their own.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

use support::process;

mod acls;
mod clients;
mod clusters;
#[path = "../support/command.rs"]
mod command;
mod commands;
mod damage;
mod delivery;
mod ending;
mod foreign;
mod image;
mod letters;
mod records;
mod refusals;
mod replay;
mod same;
mod schemas;
mod seam;
mod sharing;
mod sinks;
mod sources;
mod storm;
#[path = "../../src/transport/suite/mod.rs"]
mod suite;
mod support;
mod surroundings;
#[path = "../support/swaps.rs"]
mod swapping;
mod swaps;
