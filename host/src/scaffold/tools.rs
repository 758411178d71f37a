//! What must be on the machine before a build can start, and the way to get it.

use std::{fmt, process::Command};

/// A program that a build starts with.
#[derive(Debug)]
pub struct Tool {
    /// What it is called.
    pub name: &'static str,
    /// The command that shows its version, or only succeeds where no version is needed.
    pub ask: &'static [&'static str],
    /// The oldest version that does, as its first two numbers; none when any does.
    pub oldest: Option<(u32, u32)>,
    /// Where it comes from, as the end of a sentence: `install it from …`.
    pub get: &'static str,
}

/// A tool that is missing, or too old.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each message says what its variant means")]
pub enum ToolError {
    #[error("{tool} is needed and not there: {}", .tool.get)]
    Missing { tool: &'static Tool },
    #[error("{tool} is needed, and this is {version}: {}", .tool.get)]
    TooOld { tool: &'static Tool, version: String },
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.oldest {
            Some((major, minor)) => write!(f, "{} {major}.{minor} or later", self.name),
            None => f.write_str(self.name),
        }
    }
}

impl Tool {
    /// Asks the tool for its version.
    pub fn check(&'static self) -> Result<(), ToolError> {
        let output = self.ask.split_first().map(|(program, arguments)| Command::new(program).args(arguments).output());
        let Some(Ok(output)) = output.filter(|output| output.as_ref().is_ok_and(|output| output.status.success()))
        else {
            return Err(ToolError::Missing { tool: self });
        };
        let Some(oldest) = self.oldest else { return Ok(()) };
        let said = String::from_utf8_lossy(&output.stdout);
        match version(&said) {
            Some(version) if version < oldest => {
                Err(ToolError::TooOld { tool: self, version: format!("{}.{}", version.0, version.1) })
            }
            // One that does not tell is given a try.
            _ => Ok(()),
        }
    }
}

/// The first two numbers with a dot between them: `go version go1.26.8 linux/amd64` has 1 and 26.
fn version(said: &str) -> Option<(u32, u32)> {
    said.split(|c: char| !c.is_ascii_digit() && c != '.').find_map(|word| {
        let mut numbers = word.split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_off_what_tools_say() {
        for (said, expected) in [
            ("rustc 1.95.0 (59807616e 2026-04-14)", Some((1, 95))),
            ("go version go1.26.8 linux/amd64", Some((1, 26))),
            ("Python 3.11.7\n", Some((3, 11))),
            ("v20.20.2\n", Some((20, 20))),
            ("11.19.1\n", Some((11, 19))),
            ("go version devel", None),
            ("", None),
        ] {
            assert_eq!(version(said), expected, "{said}");
        }
    }

    #[test]
    fn what_is_missing_or_old_is_named_with_the_way_to_get_it() {
        static MISSING: Tool = Tool { name: "Zork", ask: &["zork-is-not-there"], oldest: Some((2, 0)), get: "dig" };
        static FAILS: Tool = Tool { name: "False", ask: &["false"], oldest: None, get: "say true" };
        static OLD: Tool = Tool { name: "Old", ask: &["echo", "old 1.9"], oldest: Some((2, 0)), get: "update it" };
        static GOOD: Tool = Tool { name: "Good", ask: &["echo", "good 2.0.1"], oldest: Some((2, 0)), get: "smile" };
        let said = |tool: &'static Tool| tool.check().unwrap_err().to_string();
        assert_eq!(said(&MISSING), "Zork 2.0 or later is needed and not there: dig");
        assert_eq!(said(&FAILS), "False is needed and not there: say true");
        assert_eq!(said(&OLD), "Old 2.0 or later is needed, and this is 1.9: update it");
        assert!(GOOD.check().is_ok());
    }
}
