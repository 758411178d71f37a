//! `schema`: what editors need to help with a manifest.

use super::{Exit, print};
use crate::manifest;
use anyhow::Result;

/// Print the manifest's JSON Schema, for editors
#[derive(clap::Args)]
#[command(after_help = "Example:\n  millstream schema > millstream.schema.json")]
pub(super) struct Arguments {}

pub(super) fn run(_: &Arguments) -> Result<Exit> {
    print(&format!("{:#}\n", manifest::schema()))?;
    Ok(Exit::Done)
}
