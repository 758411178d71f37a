//! What the project's own commands and tests share: a real Kafka, databases, the built guests, and
//! commands in a clean environment.

pub mod apt;
pub mod guests;
pub mod kafka;
mod maven;
pub mod mongodb;
pub mod postgres;
pub mod registry;

use std::{ffi::OsStr, process::Command};

/// A command that nothing reaches of what the developer has set for millstream.
pub fn clean_command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MILLSTREAM_")) {
        command.env_remove(name);
    }
    // Whoever wants to steer a host says where.
    command.env("MILLSTREAM_ADMIN", "off");
    command
}
