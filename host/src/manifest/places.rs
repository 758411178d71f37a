//! Where things stand in the text of a manifest, for those who find out later that something is wrong with them.

use super::report::Span;
use std::collections::BTreeMap;

/// The places of everything that is written.
#[derive(Clone, Debug, Default)]
pub struct Places {
    at: Span,
    inner: BTreeMap<String, Places>,
}

impl Places {
    /// The place of what a path of keys leads to, such as `["stages", "price", "sha256"]`, or of the nearest thing
    /// above it that is written.
    pub fn of(&self, path: &[&str]) -> Span {
        match path
            .split_first()
            .and_then(|(key, rest)| Some((self.inner.get(*key)?, rest)))
        {
            Some((inner, rest)) => inner.of(rest),
            None => self.at.clone(),
        }
    }

    /// The place of a stage's `module`.
    pub fn module(&self, stage: &str) -> Span {
        self.of(&["stages", stage, "module"])
    }

    /// The place of a stage's `sha256`.
    pub fn sha256(&self, stage: &str) -> Span {
        self.of(&["stages", stage, "sha256"])
    }

    /// The place of a stage's `build`.
    pub fn build(&self, stage: &str) -> Span {
        self.of(&["stages", stage, "build"])
    }

    /// The place of a topic under `topics`.
    pub fn topic(&self, topic: &str) -> Span {
        self.of(&["topics", topic])
    }
}
