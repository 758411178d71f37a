//! The commands as a user meets them: what they print, where, and how they end. Nothing here needs a Kafka. Texts that
//! are compared stand in `golden`; after a change, `UPDATE=1` writes them anew: read them.
#![allow(clippy::unwrap_used)]

mod allow;
mod bomb;
mod build;
mod cases;
mod clients;
mod cluster;
mod clusters;
#[path = "../support/command.rs"]
mod command;
mod dead_letters;
mod elsewhere;
mod graph;
mod guide;
mod help;
mod mistakes;
mod new;
#[path = "../support/process.rs"]
mod process;
mod quickstart;
#[path = "../support/registry.rs"]
mod registry;
mod replay;
mod schemas;
mod secrets;
mod shadow;
mod shell;
mod support;
mod r#try;
