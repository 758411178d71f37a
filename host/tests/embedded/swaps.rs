//! Modules are replaced while records flow: nothing is lost, doubled or out of order, whatever the new module does.

use crate::{
    delivery::{KEYS, problems},
    process::{Host, with_manners},
    support::{MILLSTREAM, Pipeline},
};
use serde_json::Value;
use std::{fs, thread, time::Duration};

const COPIES: &str = "
topics:
  in: {partitions: 4}
  out: {partitions: 4}
stages:
  copy: {module: '{guests}/trial.wasm', input: in, output: out, workers: 2, commit-interval: 10ms,
         probation: {records: 200, time: 300ms}}
";

/// A module that a test swaps in, what is to become of it, and in which words.
const MODULES: [(&str, &str, &str); 7] = [
    ("marks-one", "confirmed", ""),
    ("panics", "rolled-back", "it always panics"),
    ("marks-two", "confirmed", ""),
    ("panics-at-100", "rolled-back", "it has had enough"),
    ("panics-at-start", "refused", "failed at its start"),
    ("refuses", "refused", "this is not the right day"),
    ("garbage", "refused", "not a WebAssembly module"),
];

fn pipeline() -> Pipeline {
    let pipeline = Pipeline::new(COPIES);
    ["in", "out"].iter().for_each(|topic| drop(pipeline.says(&format!("topics create {topic} --partitions 4"))));
    for (manners, ..) in MODULES {
        let module = if manners == "garbage" { vec![0; 1000] } else { with_manners(manners) };
        fs::write(pipeline.path(&format!("{manners}.wasm")), module).unwrap();
    }
    pipeline
}

/// A host that is at work.
fn run(pipeline: &Pipeline) -> Host {
    let host = pipeline.run("--admin 127.0.0.1:0");
    let is_at_work = || status(pipeline, &host)["stages"][0]["state"] == "running";
    host.until("it is at work", Duration::from_secs(30), is_at_work);
    host
}

fn status(pipeline: &Pipeline, host: &Host) -> Value {
    let said = pipeline.given("", &format!("status --json --admin {}", host.admin()));
    serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"))
}

fn lines(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|n| format!("key-{}:{}", n % KEYS, n / KEYS)).collect()
}

/// What a swap came to, as the command tells it.
fn swap(pipeline: &Pipeline, host: &Host, manners: &str) -> Value {
    let said = pipeline.given("", &format!("swap copy {manners}.wasm --json --admin {}", host.admin()));
    serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}\n{}", host.said()))
}

#[test]
fn modules_are_swapped_under_load_and_each_gets_what_it_deserves() {
    let pipeline = pipeline();
    let watch = pipeline.watch("out");
    let mut host = run(&pipeline);
    let records = 40_000;
    thread::scope(|scope| {
        scope.spawn(|| {
            for piece in 0..200 {
                pipeline.produce("in", &lines(piece * 200..(piece + 1) * 200));
            }
        });
        for (manners, outcome, words) in MODULES {
            let told = swap(&pipeline, &host, manners);
            let (came, why) = match told["error"]["code"].as_str() {
                Some(code) => (code, &told["error"]["message"]),
                None => (told["swap"]["outcome"].as_str().unwrap(), &told["swap"]["reason"]),
            };
            assert_eq!(came, outcome, "{manners}: {told}\n{}", host.said());
            assert!(why.as_str().unwrap_or_default().contains(words), "{manners}: {told}");
        }
    });
    let since = std::time::Instant::now();
    while watch.count() < records as usize && since.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(50));
    }
    host.signal("TERM");
    assert!(host.wait(Duration::from_secs(20)).success(), "{}", host.said());
    assert_eq!(problems(&pipeline, &watch, records), Vec::<String>::new(), "{}", host.said());
    assert_eq!(pipeline.values("test.copy.dead-letter").len(), 0, "{}", host.said());
}
