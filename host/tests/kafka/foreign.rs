//! Clients that we did not write, before and behind a stage: Kafka's own Java client.

use crate::support::{Kafka, Pipeline};
use std::process::Command;

fn java(arguments: &[&str]) -> String {
    let jars = xtask::kafka::fetch().unwrap();
    let output = Command::new("java")
        .args(["-XX:TieredStopAtLevel=1", "-cp", &format!("{}/*", jars.display())])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/Foreign.java"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Byte for byte, with their headers and timestamps, and each key on the partition that Java chose for it.
#[test]
fn records_of_the_java_client_pass_unchanged() {
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(
        &kafka,
        "
stages:
  copy:
    module: '{guests}/trial.wasm'
    input: '{name}-in'
    output: '{name}-out'
    properties: {compression.type: zstd}
",
    );
    let (input, output) = (pipeline.topic("in"), pipeline.topic("out"));
    kafka.make(&input, 5, &[]);
    java(&["produce", &kafka.address, &input]);
    pipeline.drain();
    let (before, behind) =
        (java(&["consume", &kafka.address, &input, "300"]), java(&["consume", &kafka.address, &output, "300"]));
    assert_eq!(before.lines().count(), 300);
    for (before, behind) in before.lines().zip(behind.lines()) {
        assert_eq!(before, behind);
    }
    assert_eq!(behind.lines().count(), 300);
}
