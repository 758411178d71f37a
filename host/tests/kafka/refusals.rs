//! What is refused before anything starts, where a broker has a part in it.

use crate::support::{Kafka, Pipeline};
use std::{thread, time::Duration};

#[test]
fn an_input_that_is_not_there_is_waited_for_with_a_hint() {
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(
        &kafka,
        "
stages:
  copy:
    module: '{guests}/trial.wasm'
    input: '{name}-orders'
    output: '{name}-out'
",
    );
    kafka.make(&pipeline.topic("order"), 1, &[]);
    let mut host = pipeline.run(&["--until-idle"]);
    let line = format!("waiting for a topic to be made: {0}-orders (did you mean {0}-order?)", pipeline.name);
    host.wait_until_said(&line);
    thread::sleep(Duration::from_secs(2));
    assert_eq!(host.said().matches("waiting for a topic").count(), 1, "said once: {}", host.said());
    assert!(kafka.topics().find(&[pipeline.topic("out").as_str()]).unwrap().is_empty(), "its partitions are unknown");
    kafka.make(&pipeline.topic("orders"), 3, &[]);
    assert!(host.wait(Duration::from_secs(60)).success(), "{}", host.said());
    let out = kafka.topics().find(&[pipeline.topic("out").as_str()]).unwrap();
    assert_eq!(out.values().next().unwrap().partitions, 3);
}

#[test]
fn a_declared_topic_is_made_as_it_says_and_compared_when_it_is_there() {
    let kafka = Kafka::shared();
    let manifest = "
topics:
  '{name}-in': {partitions: 3, config: {retention.ms: 86400000}}
  '{name}-out': {partitions: 2}
stages:
  copy:
    module: '{guests}/trial.wasm'
    input: '{name}-in'
    output: '{name}-out'
";
    let pipeline = Pipeline::new(&kafka, manifest);
    let said = pipeline.drain();
    assert!(said.contains(&format!("topic {} made with 3 partitions", pipeline.topic("in"))), "{said}");
    let (input, output) = (pipeline.topic("in"), pipeline.topic("out"));
    let there = kafka.topics().find(&[input.as_str(), output.as_str()]).unwrap();
    assert_eq!((there[&input].partitions, there[&output].partitions), (3, 2));
    assert_eq!(there[&input].config["retention.ms"], "86400000");
    pipeline.write(&manifest.replace("partitions: 3", "partitions: 8"));
    let said = pipeline.drain();
    assert!(said.contains(&format!("topic {input} has 3 partitions, the manifest says 8")), "{said}");
}

/// A copied state folder: two hosts with one name. One of them goes on.
#[test]
fn two_hosts_with_one_name_do_not_fight_for_ever() {
    let kafka = Kafka::shared();
    let manifest = "
topics:
  '{name}-in': {partitions: 2}
stages:
  copy:
    module: '{guests}/trial.wasm'
    input: '{name}-in'
    output: '{name}-out'
";
    let one = Pipeline::new(&kafka, manifest);
    let mut first = one.run(&["--instance", "same"]);
    let group = format!("{}.copy", one.name);
    let is_at_work = || kafka.is_shared_by(&group, 1) && kafka.has_offsets(&group, &one.topic("in"));
    first.until("the first one has noted where it begins", Duration::from_secs(60), is_at_work);
    // The same manifest over another state folder, under the same name.
    let text = std::fs::read_to_string(one.folder.path().join("pipeline.yaml")).unwrap();
    let two = Pipeline::new(&kafka, manifest);
    std::fs::write(two.folder.path().join("pipeline.yaml"), text).unwrap();
    let mut second = two.run(&["--instance", "same"]);
    let ended = first.wait(Duration::from_secs(40));
    assert_eq!(ended.code(), Some(1), "{}", first.said());
    assert!(first.said().contains("another host"), "{}", first.said());
    assert!(second.is_running(), "{}", second.said());
}
