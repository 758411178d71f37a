//! Go: not here yet.

use super::Kit;

pub(super) const KIT: Kit = Kit {
    language: "Go",
    tools: &[],
    build: "",
    module: "",
    wit: "",
    author: |_| None,
    files: &[],
    generate: |_| Ok(Vec::new()),
};
