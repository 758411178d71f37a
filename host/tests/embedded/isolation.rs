//! A stage that stops leaves the others alone.

use crate::support::Pipeline;
use std::time::Duration;

/// `stops` stops at the first record that it rejects; `goes` reads the same topic, and `last` what `stops` writes.
const THREE: &str = "
topics: {in: {partitions: 1}}
stages:
  stops: {module: '{guests}/trial.wasm', input: in, output: between, workers: 2, on-error: stop}
  goes: {module: '{guests}/trial.wasm', input: in, output: out, on-error: skip}
  last: {module: '{guests}/trial.wasm', input: between, output: end}
";

const ALONE: &str = "
topics: {in: {partitions: 1}}
stages:
  stops: {module: '{guests}/trial.wasm', input: in, output: out, on-error: {reject: stop}}
";

fn with(manifest: &str, values: &[&str]) -> Pipeline {
    let pipeline = Pipeline::new(manifest);
    pipeline.says("topics create in");
    come(&pipeline, values);
    pipeline
}

fn come(pipeline: &Pipeline, values: &[&str]) {
    let lines: Vec<_> = values.iter().map(|value| format!("k:{value}")).collect();
    pipeline.produce("in", &lines);
}

#[test]
fn a_stage_that_stops_by_policy_leaves_the_process_up_and_the_others_at_work() {
    let pipeline = with(THREE, &["a", "reject", "b"]);
    let mut host = pipeline.run("");
    host.wait_until_said("stops: in/0@1: reject asked: asked to reject");
    host.wait_until_said("stops is stopped until the next start; the others go on");
    come(&pipeline, &["c"]);
    host.until("the other stage goes on", Duration::from_secs(60), || pipeline.values("out") == ["a", "b", "c"]);
    assert!(host.is_running());
    let goes_on = || pipeline.values("end") == ["a"];
    host.until("what came before it is committed, and goes on", Duration::from_secs(60), goes_on);
    host.signal("TERM");
    assert_eq!(host.wait(Duration::from_secs(20)).code(), Some(1), "{}", host.said());
    assert!(host.said().contains("stops: 1 record done, 1 sent, stopped before its end"), "{}", host.said());
    assert!(host.said().contains("goes: 4 records done, 3 sent, 1 failed and skipped"), "{}", host.said());
}

#[test]
fn until_idle_the_others_come_to_their_end_first() {
    let values: Vec<_> = ["a", "reject"].into_iter().chain((0..5_000).map(|_| "b")).collect();
    let pipeline = with(THREE, &values);
    let mut host = pipeline.run("--until-idle=500ms");
    assert_eq!(host.wait(Duration::from_secs(60)).code(), Some(1), "{}", host.said());
    assert_eq!(pipeline.values("out").len(), 5_001, "{}", host.said());
    assert_eq!(pipeline.values("end"), ["a"]);
}

#[test]
fn when_everything_has_stopped_the_process_ends() {
    let pipeline = with(ALONE, &["a", "reject"]);
    let mut host = pipeline.run("");
    assert_eq!(host.wait(Duration::from_secs(60)).code(), Some(1), "{}", host.said());
    assert!(!host.said().contains("the others go on"), "{}", host.said());
}
