//! An embedded log has one host at a time; another one stands by, and says so.

use crate::{
    process::Host,
    support::{ENDLESS, Pipeline},
};
use std::time::Duration;

const NUMBERS: &str = "
topics: {numbers: {partitions: 1}}
sources:
  numbers: {module: '{guests}/numbers.wasm', output: numbers, every: 5ms, config: {count: COUNT}}
stages:
  copy: {module: '{guests}/trial.wasm', input: numbers, output: copied}
";

fn numbers(count: usize) -> String {
    NUMBERS.replace("COUNT", &count.to_string())
}

/// The first host goes in this way, in the middle of its work, and the second one carries on.
fn taken_over(go: impl FnOnce(&mut Host)) {
    let pipeline = Pipeline::new(&numbers(ENDLESS));
    ["numbers", "copied"].iter().for_each(|topic| drop(pipeline.says(&format!("topics create {topic}"))));
    let watch = pipeline.watch("copied");
    let more_come = |host: &Host| {
        let before = watch.count();
        host.until("more numbers come", Duration::from_secs(60), || watch.count() > before + 5);
    };
    let mut first = pipeline.run("");
    more_come(&first);
    let mut second = pipeline.run("");
    second.wait_until_said("standing by until it is gone");
    more_come(&first);
    go(&mut first);
    second.wait_until_said("the other host is gone: taking over");
    more_come(&second);
    second.signal("TERM");
    assert!(second.wait(Duration::from_secs(60)).success(), "{}", second.said());
    assert_eq!(second.said().matches("standing by").count(), 1, "said once:\n{}", second.said());
    // Only now it is said where they end.
    let count = pipeline.values("numbers").len() + 20;
    pipeline.write(&numbers(count));
    pipeline.drain();
    let due: Vec<_> = (0..count).map(|number| number.to_string()).collect();
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
    let pipeline = Pipeline::new(&numbers(ENDLESS));
    let first = pipeline.run("");
    first.wait_until_said("topic numbers made");
    let mut second = pipeline.run("");
    second.wait_until_said("standing by");
    second.signal("INT");
    assert!(second.wait(Duration::from_secs(10)).success(), "{}", second.said());
}
