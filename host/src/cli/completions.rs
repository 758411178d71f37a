//! `completions`: what shells need to complete commands.

use super::{Exit, print};
use anyhow::Result;

/// Print a shell's completions
#[derive(clap::Args)]
#[command(after_help = "Example:\n  source <(millstream completions bash)")]
pub(super) struct Arguments {
    /// The shell
    shell: clap_complete::Shell,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::command(), "millstream", &mut script);
    print(&String::from_utf8(script)?)?;
    Ok(Exit::Done)
}
