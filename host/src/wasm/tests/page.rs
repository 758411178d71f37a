//! The page that tells of the WIT package tells of all of it.

use std::{fs, path::Path};
use wit_parser::Resolve;

#[test]
fn every_name_of_the_package_stands_on_its_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/wit.md")).unwrap();
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(root.join("wit")).unwrap();
    let package = &resolve.packages[package];
    let mut names: Vec<_> = package.worlds.keys().chain(package.interfaces.keys()).cloned().collect();
    for interface in package.interfaces.values().map(|interface| &resolve.interfaces[*interface]) {
        names.extend(interface.functions.keys().chain(interface.types.keys()).cloned());
    }
    let missing: Vec<_> = names.iter().filter(|name| !tells(&page, name)).collect();
    assert!(missing.is_empty(), "docs/wit.md does not tell of {missing:?}");
    assert!(names.len() > 20, "{names:?}");
}

/// Whether a name stands there as code, alone or with what it takes: `name`, `name(…`.
fn tells(page: &str, name: &str) -> bool {
    ["`", "("].iter().any(|end| page.contains(&format!("`{name}{end}")))
}
