//! `build`, and `run --build`, which builds first.

use crate::support::{Folder, Said, golden};
use std::{
    fs, thread,
    time::{Duration, Instant},
};

fn manifest(stages: &str) -> String {
    format!("name: x\nkafka: {{brokers: localhost:1}}\ntopics: {{i: }}\nstages:\n{stages}")
}

#[test]
fn a_build_runs_beside_the_manifest_and_makes_its_modules() {
    let build = r#"echo building >> built; echo "$$CARGO_TARGET_DIR" > target; cp ../trial.wasm a.wasm"#;
    let stage = |name: &str, output: &str| {
        format!(
            "  {name}: {{module: a.wasm, build: '{build}', input: i, output: {output}, config: {{refuse: enough}}}}\n"
        )
    };
    let folder = Folder::new()
        .file("in/pipeline.yaml", manifest(&(stage("a", "o") + &stage("b", "p"))))
        .trial("trial.wasm")
        .set("CARGO_TARGET_DIR", "elsewhere");
    let said = folder.says("run --build in/pipeline.yaml");
    assert_eq!(fs::read_to_string(folder.path("in/target")).unwrap(), "\n", "the build says where it builds");
    assert_eq!(fs::read_to_string(folder.path("in/built")).unwrap(), "building\n", "one build for both");
    let quiet = folder.says("run --build --quiet in/pipeline.yaml");
    assert!(!quiet.err.contains("building a:"), "{}", quiet.err);
    golden("build", &[said]);
}

#[test]
fn a_build_that_fails_ends_the_run_with_its_own_words() {
    let folder =
        Folder::with(&manifest("  a: {module: a.wasm, build: 'echo no such crate; exit 3', input: i, output: o}\n"));
    let said = [folder.says("run --build pipeline.yaml"), folder.says("build pipeline.yaml")];
    assert!(said.iter().all(|said| said.code == 1));
    golden("build-fails", &said);
}

#[test]
fn a_wrong_manifest_builds_nothing() {
    let folder = Folder::with(&manifest(
        "  a: {module: a.wasm, build: 'touch built', input: i, output: o}\n  b: {module: b.wasm, input: i, otput: p}\n",
    ));
    let said = folder.says("run --build pipeline.yaml");
    assert_eq!((said.code, folder.names()), (2, vec!["pipeline.yaml".to_owned()]));
    let built = folder.says("build pipeline.yaml");
    assert_eq!((built.code, folder.names()), (2, vec!["pipeline.yaml".to_owned()]));
    assert!(said.err.contains("b.wasm is not there") && !said.err.contains("a.wasm is not there"), "{}", said.err);
}

#[test]
fn what_has_not_changed_is_not_built() {
    let folder = Folder::new()
        .file("millstream.yaml", manifest(&(stage("a", "make -C a") + &stage("b", "cd b && make") + &stage("c", ""))))
        .file("a/Makefile", "all:\n\tcp trial.wasm a.wasm\n")
        .file("b/Makefile", "all:\n\tcp trial.wasm b.wasm; echo 'b: warning: not nice'\n")
        .trial("a/trial.wasm")
        .trial("b/trial.wasm")
        .trial("c/c.wasm");
    let first = folder.says("build");
    let second = folder.says("build");
    let folder = folder.file("b/new", "x");
    let third = folder.says("build");
    fs::remove_file(folder.path("a/a.wasm")).unwrap();
    let fourth = folder.says("build");
    golden("build-changed", &[first, second, third, fourth, folder.says("build --all")].map(sorted));
}

#[test]
fn builds_run_beside_each_other_and_all_that_fail_are_told_of() {
    if thread::available_parallelism().is_ok_and(|cpus| cpus.get() == 1) {
        return;
    }
    let wait = |own: &str, other: &str| {
        format!("touch {own}; for i in $(seq 600); do [ -e {other} ] && break; sleep 0.05; done; ls {other}; exit 3")
            .replace('$', "$$")
    };
    let stages = stage("a", &wait("one", "two")) + &stage("b", &wait("two", "one"));
    let said = Folder::with(&manifest(&stages)).says("build pipeline.yaml");
    assert_eq!(said.code, 1);
    assert!(said.err.contains("\none\n") && said.err.contains("\ntwo\n"), "{}", said.err);
    for name in ["a", "b"] {
        assert!(
            said.err.contains(&format!("error: the build of {name} failed (exit status: 3): touch")),
            "{}",
            said.err
        );
    }
}

#[test]
fn a_build_that_makes_nothing_of_use_is_told_of() {
    let says = |stages: &str| Folder::with(&manifest(stages)).trial("trial.wasm").says("build pipeline.yaml");
    let said = [
        says(&stage("a", "true")),
        says(&stage("a", "echo text > a/a.wasm").replace("a/a.wasm", "a.wasm")),
        says(&stage("a", "cd /tmp && zork build")),
        says(&stage("a", "zork build")),
        says("  a: {module: trial.wasm, input: i, output: o}\n"),
        Folder::new().says("build"),
    ];
    golden("build-useless", &said);
    let folder = Folder::with(&manifest(&stage("a", "go build"))).set("PATH", "/usr/bin:/bin");
    if !["/usr/bin/go", "/bin/go"].iter().any(|go| fs::exists(go).unwrap()) {
        let said = folder.says("build pipeline.yaml");
        assert!(said.code == 1 && said.err.contains("starts with `go`, which is not there: "), "{}", said.err);
    }
}

#[test]
fn a_signal_ends_what_is_being_built() {
    let folder = Folder::with(&manifest(&stage("a", "sh -c 'echo $$$$ > pid; exec sleep 600'")));
    let running = folder.start("build pipeline.yaml");
    let since = Instant::now();
    let pid = loop {
        assert!(since.elapsed() < Duration::from_secs(60), "nothing is built");
        match fs::read_to_string(folder.path("pid")) {
            Ok(pid) if pid.ends_with('\n') => break pid,
            _ => thread::sleep(Duration::from_millis(20)),
        }
    };
    assert!(is_running(&pid));
    running.signal("INT");
    let said = running.end();
    assert_eq!(said.code, 1);
    assert!(!said.err.contains("failed") && !is_running(&pid), "{}", said.err);
}

/// A stage that is built to a folder of its own; without a command it is there.
fn stage(name: &str, build: &str) -> String {
    let build = if build.is_empty() { String::new() } else { format!("    build: \"{build}\"\n") };
    format!("  {name}:\n    module: {name}/{name}.wasm\n{build}    input: i\n    output: o-{name}\n")
}

/// Whether a process is there, and more than an entry that waits for its parent.
fn is_running(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

/// With its lines in order: builds end as they like.
fn sorted(mut said: Said) -> Said {
    let mut lines: Vec<_> = said.err.lines().collect();
    lines.sort_unstable();
    said.err = lines.join("\n") + "\n";
    said
}
