//! The README's first command, as it stands there.

use crate::support::{Folder, readme_blocks, repository};
use std::{collections::BTreeSet, process::Output};

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_first_command_prints_what_the_readme_shows() {
    let block = readme_blocks("console").swap_remove(0);
    let mut lines = block.lines();
    let words = lines.next().unwrap().strip_prefix("$ cargo run --release -- ").unwrap();
    let shown: BTreeSet<_> = lines.collect();
    // Brokers that were exported are no matter to a scratch log.
    let folder = Folder::new().set("MILLSTREAM_KAFKA", "localhost:1");
    let words: Vec<_> = words.split_whitespace().collect();
    let output = folder.command(&words).current_dir(repository("")).output().unwrap();
    let (out, err) = text(&output);
    assert!(output.status.success(), "{err}");
    // Beside it stands what the build says.
    let said: BTreeSet<_> = out.lines().chain(err.lines()).collect();
    let missing: Vec<_> = shown.difference(&said).collect();
    assert!(missing.is_empty(), "{missing:?} is not in\n{out}{err}");
    assert!(out.lines().all(|line| shown.contains(line)), "{out}");
    // What was built is shown part by part.
    let manifest = words.last().unwrap();
    let checked = Folder::new().command(&["check", manifest]).current_dir(repository("")).output().unwrap();
    let (out, err) = text(&checked);
    let parts: Vec<_> = out.lines().filter(|line| !line.starts_with("   ")).collect();
    let expected = ["  orders: a source → orders", "  price: orders → priced", "  show: priced → standard output"];
    assert_eq!(parts[0], format!("{manifest}: 1 source, 1 stage, 1 sink, no mistakes"), "{err}");
    assert_eq!(parts[1..], expected);
    assert_eq!(out.matches("    module   target/").count(), 2, "{out}");
    // And the cases of the stage pass.
    let block = readme_blocks("console").into_iter().find(|block| block.contains("-- test ")).unwrap();
    let (first, shown) = block.split_once('\n').unwrap();
    let words: Vec<_> = first.strip_prefix("$ cargo run --release -- ").unwrap().split_whitespace().collect();
    let tested = Folder::new().command(&words).current_dir(repository("")).output().unwrap();
    assert_eq!(text(&tested), (shown.to_owned(), String::new()));
}
