//! Asks before what cannot be undone.

use super::{say, wrong};
use anyhow::Result;
use std::io::{self, BufRead, IsTerminal};

/// True when somebody says yes to it, or has said so by `--yes`. Where nobody can be asked, that is wrong.
pub(super) fn confirm(question: &str, yes: bool) -> Result<bool> {
    if yes {
        return Ok(true);
    }
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(wrong(format!("{question}? Nobody can be asked here: add `--yes` when it is meant")));
    }
    say(&format!("{question}? [y/N] "));
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
