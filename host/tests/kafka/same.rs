//! One manifest on a Kafka and on the embedded log: what comes out is the same, byte for byte.

use crate::{
    command::{MILLSTREAM, Running},
    support::{Host, Kafka, guests, unique},
};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Stdio, time::Duration};

const PARTITIONS: usize = 3;

/// `{name}` stands for a name that no other test uses.
const MANIFEST: &str = "
name: '{name}'
topics:
  '{name}-in': {partitions: 3}
  '{name}-out': {partitions: 3}
stages:
  first: {module: '{guests}/trial.wasm', input: '{name}-in', output: '{name}-a', workers: 2}
  second: {module: '{guests}/trial.wasm', input: '{name}-a', output: '{name}-b'}
  third: {module: '{guests}/trial.wasm', input: '{name}-b', output: '{name}-out'}
";

/// Records of every shape. Those without a key say which partition they go to, as nothing else does; and none is from
/// the first millisecond of 1970, which librdkafka takes for the present, so that 1 stands for it on a Kafka.
fn records() -> String {
    let shapes = |number: i64| {
        let time = 1_700_000_000_000 + number;
        let key = format!("key-{}", number % 50);
        match number % 12 {
            0 => json!({"key": key, "value": null, "timestamp": time}),
            1 => json!({"value": format!("partition {}", number % 3), "partition": number % 3, "timestamp": time,
                        "headers": [["without", "key"]]}),
            2 => json!({"key": "", "value": "", "timestamp": time}),
            3 => json!({"key": {"base64": "/wA="}, "value": {"base64": "gIGC"}, "timestamp": time,
                        "headers": [["a", {"base64": "/w=="}], ["b", null], ["a", ""], ["", "ключ"]]}),
            4 => json!({"key": key, "value": "add", "timestamp": time, "headers": [["tag", "first"]]}),
            5 => json!({"key": key, "value": "replace", "timestamp": time, "headers": [["gone", "soon"]]}),
            6 => json!({"key": key, "value": "tombstone", "timestamp": time, "headers": [["stays", null]]}),
            7 => json!({"key": key, "value": "at 1600000000123", "timestamp": time}),
            8 => json!({"key": key, "value": "burst 3 headers", "timestamp": time, "headers": [["x", "y"]]}),
            9 => json!({"key": key, "value": "filter", "timestamp": time}),
            10 => json!({"key": "ключ", "value": "значение\n\u{0}", "timestamp": 1}),
            _ => json!({"key": key, "value": "x".repeat((number * 131 % 5000) as usize), "timestamp": time}),
        }
    };
    (0..3000).map(|number| format!("{}\n", shapes(number))).collect()
}

/// A command in a folder, with this to read: what it prints.
fn says(folder: &Path, input: &str, words: &str) -> String {
    let mut command = xtask::clean_command(MILLSTREAM);
    let said = Running::start(command.args(words.split_whitespace()).current_dir(folder), words).given(input);
    assert_eq!(said.code, 0, "{said:?}");
    said.out
}

/// The partitions of the last topic, each as `consume` prints it, but for the offsets: a Kafka's count the ends of
/// transactions, too.
fn through_three_stages(log: &str) -> Vec<String> {
    let (folder, name) = (tempfile::tempdir().unwrap(), unique("same"));
    let (folder, manifest) = (folder.path(), folder.path().join("pipeline.yaml"));
    let text = MANIFEST.replace("{name}", &name).replace("{guests}", &guests().display().to_string());
    fs::write(&manifest, text).unwrap();
    let log = format!("{log} --manifest pipeline.yaml");
    says(folder, "", &format!("topics create {name}-in --partitions {PARTITIONS} {log}"));
    says(folder, &records(), &format!("produce {name}-in --format json {log}"));
    let kafka: Vec<_> = log.split_whitespace().take_while(|word| *word != "--manifest").collect();
    let mut run = xtask::clean_command(MILLSTREAM);
    run.args(["run", "pipeline.yaml", "--until-idle"]).args(kafka).current_dir(folder);
    let mut host = Host::start(run.stdin(Stdio::null()).stdout(Stdio::null()), folder.join("said"));
    assert!(host.wait(Duration::from_secs(90)).success(), "{}", host.said());
    let read = |partition| {
        let words = format!("consume {name}-out --partition {partition} -o start --until-end --format json {log}");
        let printed = says(folder, "", &words).replace(&format!("\"topic\":\"{name}-out\""), "\"topic\":\"out\"");
        printed.lines().map(|line| format!("{}\n", without_offset(line))).collect()
    };
    (0..PARTITIONS).map(read).collect()
}

fn without_offset(line: &str) -> String {
    let offset = &serde_json::from_str::<Value>(line).unwrap()["offset"];
    let field = format!("\"offset\":{offset},");
    assert!(line.contains(&field), "{line}");
    line.replacen(&field, "", 1)
}

#[test]
fn kafka_and_the_embedded_log_give_the_same_bytes() {
    let embedded = through_three_stages("");
    let kafka = through_three_stages(&format!("--kafka {}", Kafka::shared().address));
    for partition in 0..PARTITIONS {
        let (embedded, kafka) = (&embedded[partition], &kafka[partition]);
        assert!(embedded.lines().count() > 500, "partition {partition} has few records:\n{embedded}");
        for (line, (one, other)) in embedded.lines().zip(kafka.lines()).enumerate() {
            assert_eq!(one, other, "partition {partition}, line {line}");
        }
        assert!(embedded == kafka, "partition {partition}: one of them goes on longer");
    }
}
