//! What records say of where they came from.

use crate::{
    support::Pipeline,
    swapping::{swap, until_at_work, write_modules},
};
use serde_json::{Value, json};
use std::time::Duration;

const TRACED: &str = "
topics: {in: {partitions: 2}, mid: {partitions: 1}, out: {partitions: 1}}
stages:
  copy: {module: '{guests}/trial.wasm', input: in, output: mid, provenance: true, probation: {records: 1, time: 50ms}}
  pass: {module: '{guests}/pass.wasm', input: mid, output: out, provenance: true}
";

fn pipeline(manifest: &str) -> Pipeline {
    let pipeline = Pipeline::new(manifest);
    pipeline.says("topics create in --partitions 2");
    pipeline
}

/// Records in JSON, into the input's second partition.
fn produce(pipeline: &Pipeline, records: &[Value]) {
    let line = |record: &Value| {
        let mut record = record.clone();
        record["partition"] = json!(1);
        format!("{record}\n")
    };
    let said = pipeline.given(records.iter().map(line).collect::<String>(), "produce in --format json");
    assert_eq!(said.code, 0, "{said:?}");
}

/// The headers that say it, with the module's digest.
fn origin(module: &str, topic: &str, partition: u32, offset: u64) -> Vec<Value> {
    let header = |name: &str, value: &str| json!([format!("millstream.origin.{name}"), value]);
    let (partition, offset) = (partition.to_string(), offset.to_string());
    vec![header("module", module), header("topic", topic), header("partition", &partition), header("offset", &offset)]
}

/// A file's digest.
fn digest(pipeline: &Pipeline, name: &str) -> String {
    let mut command = std::process::Command::new("sha256sum");
    let output = command.arg(name).current_dir(pipeline.path("")).output().unwrap();
    format!("sha256:{}", String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap())
}

fn guest(pipeline: &Pipeline, name: &str) -> String {
    digest(pipeline, crate::process::guests().join(name).to_str().unwrap())
}

#[test]
fn a_record_says_behind_all_other_headers_where_it_came_from() {
    let pipeline = pipeline(TRACED);
    let own = json!([["own", "1"]]);
    produce(
        &pipeline,
        &[
            json!({"value": "add", "headers": own}),
            json!({"value": "reject"}),
            json!({"value": "replace", "headers": own}),
            json!({"value": "burst 2 plain"}),
        ],
    );
    pipeline.drain();
    let (copy, pass) = (guest(&pipeline, "trial.wasm"), guest(&pipeline, "pass.wasm"));
    let of = |before: Value, from: u64, at: u64| {
        let before = before.as_array().unwrap().clone();
        Value::Array([before, origin(&copy, "in", 1, from), origin(&pass, "mid", 0, at)].concat())
    };
    let headers: Vec<_> = pipeline.records("out").into_iter().map(|record| record["headers"].clone()).collect();
    let expected = [
        of(json!([["own", "1"], ["tag", "a"], ["tag", "b"], ["none", null]]), 0, 0),
        of(json!([["only", "this"]]), 2, 1),
        of(json!([]), 3, 2),
        of(json!([]), 3, 3),
    ];
    assert_eq!(headers, expected);
    let [letter] = &pipeline.records("test.copy.dead-letter")[..] else { panic!("one was rejected") };
    assert!(!letter["headers"].to_string().contains("millstream.origin."), "{letter}");
}

#[test]
fn after_a_swap_it_is_the_new_module_that_is_named() {
    let pipeline = pipeline(TRACED);
    write_modules(&pipeline.path(""));
    let host = pipeline.run("--admin 127.0.0.1:0");
    until_at_work(&pipeline.path(""), &host);
    produce(&pipeline, &[json!({"value": "a"})]);
    host.until("it is there", Duration::from_secs(60), || pipeline.records("mid").len() == 1);
    let told = std::thread::scope(|scope| {
        let swapped = scope.spawn(|| swap(&pipeline.path(""), &host, "marks-one"));
        host.wait_until_said("is on trial");
        produce(&pipeline, &[json!({"value": "b"})]);
        swapped.join().unwrap()
    });
    assert_eq!(told["swap"]["outcome"], "confirmed", "{told}");
    host.until("it is there", Duration::from_secs(60), || pipeline.records("mid").len() == 2);
    let headers: Vec<_> = pipeline.records("mid").into_iter().map(|record| record["headers"].clone()).collect();
    let (old, new) = (guest(&pipeline, "trial.wasm"), digest(&pipeline, "marks-one.wasm"));
    let marked = [vec![json!(["by", "one"])], origin(&new, "in", 1, 1)].concat();
    assert_eq!(headers, [Value::Array(origin(&old, "in", 1, 0)), Value::Array(marked)]);
}

#[test]
fn a_topic_s_rules_see_it() {
    let tight = "
topics: {in: {partitions: 2}, out: {config: {max.message.bytes: 200}}}
stages:
  copy: {module: '{guests}/trial.wasm', input: in, output: out}
";
    let pipeline = pipeline(tight);
    produce(&pipeline, &[json!({"value": "x".repeat(50)})]);
    pipeline.drain();
    assert_eq!(pipeline.records("out").len(), 1);
    let traced = tight.replace("output: out", "output: out, provenance: true");
    pipeline.write(&traced);
    produce(&pipeline, &[json!({"value": "x".repeat(50)})]);
    pipeline.drain();
    let letters = pipeline.records("test.copy.dead-letter");
    assert!(letters.len() == 1 && letters[0]["headers"].to_string().contains("too-large"), "{letters:?}");
}
