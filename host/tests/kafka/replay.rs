//! A range of a stage's input, once more through a module, on a real Kafka.

use crate::{
    command::{MILLSTREAM, Running, Said, json_lines},
    support::{Kafka, Pipeline, Sent},
};

const TRACED: &str = "
topics:
  '{name}-in': {partitions: 1}
  '{name}-out': {partitions: 2}
stages:
  copy: {module: '{guests}/trial.wasm', input: '{name}-in', output: '{name}-out', provenance: true}
";

fn replay(pipeline: &Pipeline, words: &str) -> Said {
    let words = format!("replay copy {words}");
    let mut command = xtask::clean_command(MILLSTREAM);
    command.args(words.split_whitespace()).env("MILLSTREAM_MANIFEST", pipeline.folder.path().join("pipeline.yaml"));
    Running::start(command.current_dir(pipeline.folder.path()), &words).end()
}

/// What came of which records: `0:a 5:c`.
fn came(said: &Said) -> String {
    assert_eq!(said.code, 0, "{said:?}");
    let one =
        |line: &serde_json::Value| format!("{}:{}", line["offset"], line["outputs"][0]["value"].as_str().unwrap());
    json_lines(&said.out).iter().map(one).collect::<Vec<_>>().join(" ")
}

fn values<'a>(values: &'a [&'a str]) -> impl Iterator<Item = Sent<'a>> {
    values.iter().map(|value| Sent {
        key: Some(b"k"),
        value: Some(value.as_bytes()),
        partition: Some(0),
        ..Sent::default()
    })
}

#[test]
fn a_range_on_a_kafka_has_an_end_whatever_lies_there() {
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(&kafka, TRACED);
    let topic = pipeline.topic("in");
    kafka.make(&topic, 1, &[]);
    kafka.send(&topic, values(&["a", "b"]));
    // Two that are aborted and the marker; one and its marker; and what nobody will ever read at the end.
    kafka.send_in_transaction(&topic, values(&["x", "y"]), false);
    kafka.send_in_transaction(&topic, values(&["c"]), true);
    kafka.send_in_transaction(&topic, values(&["z"]), false);
    for (range, expected) in [
        ("", "0:a 1:b 5:c"),
        ("--from 1", "1:b 5:c"),
        ("--to 5", "0:a 1:b"),
        ("--to 6", "0:a 1:b 5:c"),
        ("--to 7", "0:a 1:b 5:c"),
        ("--from 2 --to 5", ""),
        ("--from 6", ""),
        ("--from 7 --to 8", ""),
        ("--from end", ""),
        ("-n 2", "0:a 1:b"),
    ] {
        assert_eq!(came(&replay(&pipeline, &format!("--json {range}"))), expected, "{range}");
    }
    kafka.delete_records(&topic, 1, 1);
    assert_eq!(came(&replay(&pipeline, "--json --from 0")), "1:b 5:c");
    assert_eq!(came(&replay(&pipeline, "--json --from 0 --to 1")), "");

    // The outputs end with what is aborted, too, and dead letters have the broker's time.
    kafka.send(&topic, values(&["reject", "burst 3 cup", "tombstone", "filter", "partition 1", "add"]));
    pipeline.drain();
    kafka.send_in_transaction(&pipeline.topic("out"), values(&["foreign"]), false);
    let said = replay(&pipeline, "--produced");
    assert!(said.code == 0 && said.err.ends_with(": 8 alike, 0 differ\n"), "{said:?}");
    let marks = crate::process::with_manners("marks-two");
    std::fs::write(pipeline.folder.path().join("two.wasm"), marks).unwrap();
    let said = replay(&pipeline, "--produced --module two.wasm");
    assert!(said.code == 1 && said.err.ends_with(": 6 alike, 2 differ\n"), "{said:?}");
    // Nothing was moved and nothing was made by it.
    assert_eq!(kafka.lag(&format!("{}.copy", pipeline.name), &topic), 0);
    kafka.send(&topic, values(&["late"]));
    let said = replay(&pipeline, "--produced");
    assert!(said.code == 0 && said.err.starts_with("what copy has not done yet is left out"), "{said:?}");
}

#[test]
fn what_goes_while_it_is_read_is_passed() {
    let kafka = Kafka::shared();
    // More than a client holds and a pipe takes.
    let large = "x".repeat(100_000);
    for (words, at_the_end) in [
        ("consume {topic} -o start --until-end --format json", ""),
        ("replay copy --json", "passed over, gone before they were read\n"),
    ] {
        let pipeline = Pipeline::new(&kafka, TRACED);
        let topic = pipeline.topic("in");
        let words = words.replace("{topic}", &topic);
        kafka.make(&topic, 1, &[]);
        kafka.send(
            &topic,
            (0..400).map(|_| Sent { partition: Some(0), value: Some(large.as_bytes()), ..Sent::default() }),
        );
        let mut command = xtask::clean_command(MILLSTREAM);
        command.args(words.split_whitespace()).env("MILLSTREAM_MANIFEST", pipeline.folder.path().join("pipeline.yaml"));
        let mut running = Running::start(command.current_dir(pipeline.folder.path()), &words);
        let first = running.lines(1);
        assert!(first[0].contains("\"offset\":0,"), "{}", &first[0][..100]);
        std::thread::sleep(std::time::Duration::from_secs(2));
        kafka.delete_records(&topic, 1, 395);
        let said = running.end();
        let offsets: Vec<_> = json_lines(&said.out).iter().map(|line| line["offset"].as_u64().unwrap()).collect();
        assert_eq!((said.code, offsets.last()), (0, Some(&399)), "{}", said.err);
        assert!(offsets.len() < 390 && offsets.ends_with(&[395, 396, 397, 398, 399]), "{offsets:?}");
        assert!(said.err.contains("the next records are gone") && said.err.contains(at_the_end), "{}", said.err);
    }
}
