//! Every language as an author meets it: for each of its examples a folder is made outside this repository, built, tested
//! and run, with what `new` prints and what the folder's README says. Packages come from where the language has them
//! from; only what one example has fetched or compiled is there for the next.
#![allow(clippy::unwrap_used)]

use clap::ValueEnum;
use millstream::scaffold::{Example, Language};
use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

const MILLSTREAM: &str = env!("CARGO_BIN_EXE_millstream");

/// Runs a command in a folder with this input; what it printed.
fn says(folder: &Path, words: &str, input: &str) -> String {
    let since = Instant::now();
    let mut command = xtask::clean_command(MILLSTREAM);
    command.args(words.split_whitespace()).current_dir(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that reads nothing may have ended.
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    println!("{}: millstream {words}: {:.1} s", folder.display(), since.elapsed().as_secs_f64());
    assert!(output.status.success(), "{}: {words}: {}\n{out}{err}", folder.display(), output.status);
    out
}

/// What an example prints of a record, or of its own accord.
fn printed(example: Example) -> (&'static str, &'static str, String) {
    match example {
        Example::Upper => ("words", "hello\n", "HELLO\n".into()),
        Example::Strict => ("amounts", "5\n", "5 EUR\n".into()),
        Example::Route => ("web-orders", "99\n", "\"value\":\"99\"".into()),
        Example::Numbers => ("", "", (0..20).map(|number| format!("{number}\n")).collect()),
    }
}

fn try_out(language: Language) {
    let value = language.to_possible_value().unwrap();
    let scene = tempfile::tempdir().unwrap();
    // What is fetched or compiled, by its name in the project.
    let shared = match language {
        Language::Rust => Some("target"),
        Language::Python | Language::C => Some(".venv"),
        // Their tools share by themselves.
        Language::Go | Language::Js | Language::Ts => None,
    };
    let mut first: Option<PathBuf> = None;
    let examples: Vec<_> = language.kit().examples().collect();
    assert!(
        examples.contains(&Example::Upper) && examples.contains(&Example::Route) && examples.contains(&Example::Strict)
    );
    for example in examples {
        let name = format!("my-{}", example.word());
        says(scene.path(), &format!("new {name} --lang {} --example {}", value.get_name(), example.word()), "");
        let folder = scene.path().join(&name);
        match (shared, &first) {
            (Some(shared), Some(first)) => symlink(first.join(shared), folder.join(shared)).unwrap(),
            _ => first = Some(folder.clone()),
        }
        says(&folder, "build", "");
        let (topic, record, expected) = printed(example);
        if !example.is_source() {
            let tested = says(&folder, "test", "");
            assert!(tested.ends_with(" 0 failed\n") && !tested.starts_with("0 cases"), "{tested}");
            says(&folder, "run --scratch --until-idle=100ms", "");
            // The first run makes the topics.
            says(&folder, "run --until-idle=100ms", "");
            says(&folder, &format!("produce {topic}"), record);
        }
        let out = says(&folder, "run --until-idle=100ms", "");
        assert!(out.contains(&expected), "{name} prints {out:?}");
        is_left_alone(&folder, shared);
    }
}

/// What was made is ignored by the project's own `.gitignore`, so that a build makes no source of itself, and is not
/// done twice.
fn is_left_alone(folder: &Path, shared: Option<&str>) {
    let git = |words: &[&str]| Command::new("git").args(words).current_dir(folder).output().unwrap().stdout;
    git(&["init", "--quiet"]);
    let seen = String::from_utf8(git(&["status", "--short", "--untracked-files=all"])).unwrap();
    let made = [".wasm", "node_modules", "__pycache__", ".millstream/", ".venv/", "target/"];
    let is_shared = |line: &str| shared.is_some_and(|shared| line.ends_with(shared));
    let foreign: Vec<_> =
        seen.lines().filter(|line| !is_shared(line) && made.iter().any(|made| line.contains(made))).collect();
    assert!(foreign.is_empty(), "{}: {foreign:?}", folder.display());
    fs::remove_dir_all(folder.join(".git")).unwrap();
}

#[test]
fn rust() {
    try_out(Language::Rust);
}

#[test]
fn python() {
    try_out(Language::Python);
}

#[test]
fn javascript() {
    try_out(Language::Js);
}

#[test]
fn typescript() {
    try_out(Language::Ts);
}

#[test]
fn go() {
    try_out(Language::Go);
}

#[test]
fn c() {
    try_out(Language::C);
}
