//! The commands beside `run`, and what `run` takes on its command line, on a cluster that answers.

use crate::{
    command::{MILLSTREAM, Running},
    support::{Kafka, Pipeline, Sent, unique},
};

/// Runs a `topics` command; its exit code, and what it said on stdout and stderr.
fn topics(kafka: &Kafka, words: &str) -> (i32, String, String) {
    let words = format!("topics {words} --kafka {}", kafka.address);
    Running::start(xtask::clean_command(MILLSTREAM).args(words.split_whitespace()), &words).end().parts()
}

#[test]
fn topics_are_made_shown_grown_and_deleted() {
    let (kafka, name) = (Kafka::shared(), unique("made"));
    let done = |text: String| (0, text, String::new());
    let made = topics(&kafka, &format!("create {name} --partitions 2 --config retention.ms=86400000"));
    assert_eq!(made, done(format!("topic {name} made\n")));
    let (code, out, _) = topics(&kafka, &format!("describe {name}"));
    assert_eq!(code, 0);
    assert!(out.starts_with(&format!("{name}: 2 partitions, 1 replica\n  retention.ms=86400000\n")), "{out}");
    assert_eq!(out.lines().count(), 5, "{out}");
    kafka.send(&name, (0..5).map(|_| Sent { value: Some(b"v"), partition: Some(1), ..Sent::default() }));
    let (_, out, _) = topics(&kafka, &format!("describe {name} --json"));
    let described: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&described["partitions"][1]["end"], &described["partitions"][0]["end"]), (&5.into(), &0.into()));
    let grown = topics(&kafka, &format!("grow {name} --partitions 3"));
    assert_eq!(grown, done(format!("topic {name} has 3 partitions now; keys may move to other ones\n")));
    let (code, out, _) = topics(&kafka, "list");
    let line = out.lines().find(|line| line.split_whitespace().next() == Some(&name));
    assert!(code == 0 && line.is_some_and(|line| line.ends_with("3 partitions")), "{out}");
    assert_eq!(topics(&kafka, &format!("delete {name}")), done(format!("topic {name} deleted\n")));
}

#[test]
fn what_cannot_be_done_with_a_topic_is_said() {
    let (kafka, name) = (Kafka::shared(), unique("there"));
    kafka.make(&name, 2, &[]);
    let near = &name[..name.len() - 1];
    for (words, expected) in [
        (format!("create {name}"), format!("topic {name} is there already")),
        (format!("describe {near}"), format!("there is no topic {near}")),
        (format!("grow {near} --partitions 3"), format!("there is no topic {near}")),
        (format!("grow {name} --partitions 2"), format!("topic {name} has 2 partitions, and a topic never shrinks")),
        (format!("delete {near}"), format!("there is no topic {near}")),
        ("create no/slash".to_owned(), "no/slash".to_owned()),
    ] {
        let (code, out, err) = topics(&kafka, &words);
        assert_eq!((code, out.as_str(), err.lines().count()), (2, "", 1), "{words}: {err}");
        assert!(err.contains(&expected), "{words}: {err}");
    }
    let (code, _, err) = topics(&kafka, &format!("create {name}x --config no.such.key=1"));
    assert!(code == 1 && err.lines().count() == 1 && err.contains("no.such.key"), "{code} {err}");
}

#[test]
fn only_the_stages_that_are_named_run_on_the_brokers_that_are_named() {
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(
        &kafka,
        "
topics:
  '{name}-in': {partitions: 1}
stages:
  one: {module: '{guests}/trial.wasm', input: '{name}-in', output: '{name}-one'}
  two: {module: '{guests}/trial.wasm', input: '{name}-in', output: '{name}-two'}
",
    );
    // What the manifest names does not answer.
    let path = pipeline.folder.path().join("pipeline.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace(&kafka.address, "127.0.0.1:9")).unwrap();
    kafka.make(&pipeline.topic("in"), 1, &[]);
    kafka.send(&pipeline.topic("in"), (0..5).map(|_| Sent { value: Some(b"v"), ..Sent::default() }));
    let mut host = pipeline.run(&["--until-idle", "--only", "two", "--kafka", &kafka.address]);
    assert!(host.wait(std::time::Duration::from_secs(60)).success(), "{}", host.said());
    assert!(host.said().contains("two: 5 records done, 5 sent"), "{}", host.said());
    assert!(!host.said().contains("one:"), "{}", host.said());
    let there = kafka.topics().find(&[pipeline.topic("one").as_str()]).unwrap();
    assert!(there.is_empty(), "a topic was made for a stage that does not run");
}
