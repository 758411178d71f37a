//! What the project's own commands and tests share: a real Kafka, databases, the built guests, and
//! commands in a clean environment.

pub mod apt;
pub mod guests;
pub mod kafka;
mod maven;
pub mod mongodb;
pub mod postgres;
pub mod registry;

use anyhow::{Context, Result, ensure};
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

/// Runs a command to its end; what it said is told when it fails.
pub fn run(command: &mut Command) -> Result<()> {
    let words = format!("{command:?}");
    let output = command.output().with_context(|| format!("{words} cannot be started"))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(output.status.success(), "{words}:\n{}{}", said(&output.stdout), said(&output.stderr));
    Ok(())
}
