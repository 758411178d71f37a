//! The guide shows the examples as they are.

use crate::support::repository;
use millstream::scaffold::{Example, Language};
use std::fs;

#[test]
fn its_code_is_that_of_the_examples() {
    let guide = fs::read_to_string(repository("docs/guide.md")).unwrap();
    let readme = fs::read_to_string(repository("README.md")).unwrap();
    for kit in Language::ALL.map(Language::kit) {
        for example in [Example::Upper, Example::Route] {
            let (path, text) = (kit.author)(example).unwrap()[0];
            assert!(guide.contains(&format!("\n{text}```\n")), "{}: {path} of {example:?} is another", kit.language);
        }
    }
    // The README shows only what matters of it.
    let python = (Language::Python.kit().author)(Example::Upper).unwrap()[0].1;
    let rust = (Language::Rust.kit().author)(Example::Upper).unwrap()[0].1;
    for (text, from) in [(python, "@map_value"), (rust, "millstream::map_value!")] {
        let shown = &text[text.find(from).unwrap()..];
        assert!(readme.contains(&format!("\n{shown}```\n")), "{shown}");
    }
}
