//! TypeScript: not here yet.

use super::Kit;

pub(super) const KIT: Kit = Kit {
    language: "TypeScript",
    tools: &[],
    build: "",
    module: "",
    wit: "",
    author: |_| None,
    files: &[],
    generate: |_| Ok(Vec::new()),
};
