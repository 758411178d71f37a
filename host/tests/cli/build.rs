//! `run --build` builds first.

use crate::support::{Folder, golden};
use std::fs;

fn manifest(stages: &str) -> String {
    format!("name: x\nkafka: {{brokers: localhost:1}}\ntopics: {{i: }}\nstages:\n{stages}")
}

#[test]
fn a_build_runs_beside_the_manifest_and_makes_its_modules() {
    let build = r#"echo building; echo "$$CARGO_TARGET_DIR" > target; cp ../trial.wasm a.wasm"#;
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
    assert_eq!(said.err.lines().filter(|line| *line == "building").count(), 1, "one build for both: {}", said.err);
    let quiet = folder.says("run --build --quiet in/pipeline.yaml");
    assert!(!quiet.err.contains("building a:") && !quiet.err.contains("compiling"), "{}", quiet.err);
    golden("build", &[said]);
}

#[test]
fn a_build_that_fails_ends_the_run_with_its_own_words() {
    let folder =
        Folder::with(&manifest("  a: {module: a.wasm, build: 'echo no such crate; exit 3', input: i, output: o}\n"));
    let said = folder.says("run --build pipeline.yaml");
    assert_eq!(said.code, 2);
    golden("build-fails", &[said]);
}

#[test]
fn a_wrong_manifest_builds_nothing() {
    let folder = Folder::with(&manifest(
        "  a: {module: a.wasm, build: 'touch built', input: i, output: o}\n  b: {module: b.wasm, input: i, otput: p}\n",
    ));
    let said = folder.says("run --build pipeline.yaml");
    assert_eq!((said.code, folder.names()), (2, vec!["pipeline.yaml".to_owned()]));
    assert!(said.err.contains("b.wasm is not there") && !said.err.contains("a.wasm is not there"), "{}", said.err);
}
