//! An embedded log has one host at a time; another one stands by, and says so.

use crate::support::Pipeline;
use std::time::Duration;

const NUMBERS: &str = "
topics: {numbers: {partitions: 1}}
sources:
  numbers: {module: '{guests}/numbers.wasm', output: numbers, every: 5ms, config: {count: 800}}
stages:
  copy: {module: '{guests}/trial.wasm', input: numbers, output: copied}
";

/// The first host goes in this way, and the second one carries on.
fn taken_over(go: impl FnOnce(&mut crate::process::Host)) {
    let pipeline = Pipeline::new(NUMBERS);
    ["numbers", "copied"].iter().for_each(|topic| drop(pipeline.says(&format!("topics create {topic}"))));
    let watch = pipeline.watch("copied");
    let mut first = pipeline.run("");
    first.until("the first is at work", Duration::from_secs(30), || watch.count() > 50);
    let mut second = pipeline.run("--until-idle=500ms");
    second.wait_until_said("standing by until it is gone");
    let before = watch.count();
    first.until("the first still is at work", Duration::from_secs(30), || watch.count() > before + 50);
    go(&mut first);
    second.wait_until_said("the other host is gone: taking over");
    assert!(second.wait(Duration::from_secs(60)).success(), "{}", second.said());
    assert_eq!(second.said().matches("standing by").count(), 1, "said once:\n{}", second.said());
    let due: Vec<_> = (0..800).map(|number| number.to_string()).collect();
    assert_eq!(pipeline.values("numbers"), due);
    assert_eq!(pipeline.values("copied"), due);
}

#[test]
fn a_host_that_stands_by_takes_over_from_one_that_is_killed() {
    taken_over(|first| first.kill());
}

#[test]
fn a_host_that_stands_by_takes_over_from_one_that_ends() {
    taken_over(|first| {
        first.signal("TERM");
        assert!(first.wait(Duration::from_secs(10)).success(), "{}", first.said());
    });
}

#[test]
fn a_host_that_stands_by_ends_when_it_is_told_to() {
    let pipeline = Pipeline::new(NUMBERS);
    let first = pipeline.run("");
    first.wait_until_said("topic numbers made");
    let mut second = pipeline.run("");
    second.wait_until_said("standing by");
    second.signal("INT");
    assert!(second.wait(Duration::from_secs(10)).success(), "{}", second.said());
}
