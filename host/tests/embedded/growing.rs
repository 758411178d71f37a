//! A topic gets more partitions while workers share it and other processes write to it.

use crate::support::Pipeline;
use std::time::Duration;

/// How many records a partition gets at a time.
const ROUND: usize = 20;

#[test]
fn a_topic_that_grows_under_two_workers_is_passed_on_whole() {
    let pipeline = Pipeline::new(
        "
topics: {in: {partitions: 4}, out: {partitions: 1}}
stages:
  copy: {module: '{guests}/trial.wasm', input: in, output: out, workers: 2, commit-interval: 5ms}
",
    );
    let mut host = pipeline.run("");
    host.wait_until_said("topic in made");
    let put = |partitions: usize, round: usize| {
        let record = |partition: usize, serial: usize| {
            format!("{{\"value\":\"{partition}.{serial}\",\"partition\":{partition}}}\n")
        };
        let serials = || round * ROUND..(round + 1) * ROUND;
        let lines: String =
            (0..partitions).flat_map(|partition| serials().map(move |serial| record(partition, serial))).collect();
        let said = pipeline.given(lines, "produce in --format json");
        assert_eq!(said.code, 0, "{said:?}");
    };
    (0..5).for_each(|round| put(4, round));
    pipeline.says("topics grow in --partitions 7");
    (5..10).for_each(|round| put(7, round));
    host.signal("TERM");
    assert!(host.wait(Duration::from_secs(30)).success(), "{}", host.said());
    pipeline.drain();
    let passed = pipeline.values("out");
    for partition in 0..7 {
        let own = format!("{partition}.");
        let found: Vec<_> = passed.iter().filter_map(|value| value.strip_prefix(&own)).collect();
        let first = if partition < 4 { 0 } else { 5 * ROUND };
        let due: Vec<_> = (first..10 * ROUND).map(|serial| serial.to_string()).collect();
        assert_eq!(found, due, "partition {partition}");
    }
    assert_eq!(passed.len(), (4 * 10 + 3 * 5) * ROUND);
}
