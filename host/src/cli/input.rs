//! How records stand on stdin: what `try` and `produce` are told of it.

use super::wrong;
use crate::lines::{Input, InputFormat, Separator};
use anyhow::Result;

#[derive(clap::Args)]
pub(super) struct InputArguments {
    /// What a line is: its record's value (lines), or a record in JSON (json)
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t, env = "MILLSTREAM_FORMAT")]
    pub(super) format: InputFormat,
    /// What parts key and value in a line, such as : or \t; no key without it
    #[arg(long, value_name = "TEXT", env = "MILLSTREAM_KEY_SEPARATOR")]
    key_separator: Option<Separator>,
}

impl InputArguments {
    /// What is to be made of each line.
    pub(super) fn input(&self) -> Result<Input> {
        Input::new(self.format, self.key_separator.clone()).map_err(wrong)
    }
}
