//! The commands as a user meets them: what they print, where, and how they end. Nothing here needs a Kafka. Texts that
//! are compared stand in `golden`; after a change, `UPDATE=1` writes them anew: read them.
#![allow(clippy::unwrap_used)]

mod build;
mod clients;
mod cluster;
mod help;
mod mistakes;
mod quickstart;
mod secrets;
mod shell;
mod support;
mod r#try;
