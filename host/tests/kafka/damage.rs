//! What a stage makes of a broker whose topics vanish, or whose records are damaged.

use crate::support::{Kafka, Pipeline, Sent, read_all};
use std::{
    fs,
    os::unix::fs::FileExt,
    process::{Command, Output},
    thread,
    time::Duration,
};
use xtask::kafka::{Cluster, Setup};

const COPY: &str = "
topics:
  '{name}-in': {partitions: 1}
stages:
  copy:
    module: '{guests}/trial.wasm'
    input: '{name}-in'
    output: '{name}-out'
    properties: {check.crcs: true}
";

fn value(text: &str) -> Sent<'_> {
    Sent { key: Some(b"key"), value: Some(text.as_bytes()), ..Sent::default() }
}

fn texts(kafka: &Kafka, topic: &str) -> Vec<String> {
    read_all(kafka, topic).iter().map(|record| record.text()).collect()
}

/// What `consume` prints of a topic, when it looks at checksums as the stage does.
fn consume(pipeline: &Pipeline, topic: &str) -> Output {
    let (path, address) = (pipeline.folder.path().join("checked.yaml"), &pipeline.kafka.address);
    let text = fs::read_to_string(pipeline.folder.path().join("pipeline.yaml")).unwrap();
    let kafka = format!("kafka: {{brokers: \"{address}\"");
    fs::write(&path, text.replace(&kafka, &format!("{kafka}, properties: {{check.crcs: true}}"))).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    command.args(["consume", topic, "--from-beginning", "--until-end", "--manifest"]).arg(path);
    command.env_remove("MILLSTREAM_KAFKA").output().unwrap()
}

#[test]
fn an_output_that_is_deleted_is_waited_for_and_not_made_by_the_broker() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup { properties: vec![("auto.create.topics.enable".into(), "true".into())], ..Setup::default() };
    let cluster = Cluster::start(folder.path(), &setup).unwrap();
    let kafka = Kafka { address: cluster.address() };
    let pipeline = Pipeline::new(&kafka, COPY);
    let (input, output) = (pipeline.topic("in"), pipeline.topic("out"));
    kafka.make(&input, 1, &[]);
    kafka.send(&input, [value("first")]);
    pipeline.drain();
    let host = pipeline.run(&[]);
    kafka.send(&input, [value("second")]);
    host.until("both are there", Duration::from_secs(30), || texts(&kafka, &output).len() == 2);
    kafka.topics().delete(&output).unwrap();
    kafka.send(&input, [value("third")]);
    host.wait_until_said("cannot go on");
    assert!(kafka.topics().find(&[output.as_str()]).unwrap().is_empty(), "it was made again");
    kafka.make(&output, 2, &[]);
    host.until("the third is there", Duration::from_secs(60), || texts(&kafka, &output) == ["third"]);
}

#[test]
fn a_damaged_record_is_not_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(folder.path(), &Setup::default()).unwrap();
    let kafka = Kafka { address: cluster.address() };
    let pipeline = Pipeline::new(&kafka, COPY);
    let (input, output) = (pipeline.topic("in"), pipeline.topic("out"));
    kafka.make(&input, 1, &[]);
    ["first", "second", "third"].iter().for_each(|text| kafka.send(&input, [value(text)]));
    let segment = folder.path().join(format!("1/data/{input}-0/00000000000000000000.log"));
    let at = fs::read(&segment).unwrap().windows(6).position(|bytes| bytes == b"second").unwrap();
    let segment = fs::File::options().write(true).open(segment).unwrap();
    segment.write_all_at(b"Z", at as u64).unwrap();

    let mut host = pipeline.run(&[]);
    host.wait_until_said("failed CRC32C check");
    thread::sleep(Duration::from_secs(3));
    assert!(host.is_running(), "{}", host.said());
    assert!(!texts(&kafka, &output).contains(&"third".to_owned()), "passed over:\n{}", host.said());
    assert_eq!(host.said().matches("not passed over").count(), 1, "said once:\n{}", host.said());
    let printed = consume(&pipeline, &input);
    let (out, err) = (String::from_utf8_lossy(&printed.stdout), String::from_utf8_lossy(&printed.stderr));
    assert_eq!((printed.status.code(), out.contains("third")), (Some(1), false), "{out}{err}");
    assert!(err.contains("failed CRC32C check"), "{err}");

    segment.write_all_at(b"s", at as u64).unwrap();
    host.until("all are there", Duration::from_secs(60), || texts(&kafka, &output) == ["first", "second", "third"]);
}
