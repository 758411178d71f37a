//! A range of a stage's input, once more through a module, beside a host that works.

use crate::{
    command::json_lines,
    support::Pipeline,
    swapping::{swap, until_at_work, write_modules},
};
use std::time::Duration;

const TRACED: &str = "
topics: {in: {partitions: 2}, out: {partitions: 2}}
stages:
  copy: {module: '{guests}/trial.wasm', input: in, output: out, workers: 2, provenance: true, commit-interval: 5ms,
         probation: {records: 1, time: 50ms}}
";

fn lines(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|number| format!("key-{}:{number}", number % 40)).collect()
}

/// The exit code, and the last line on stderr.
fn end(pipeline: &Pipeline, words: &str) -> (i32, String) {
    let said = pipeline.given("", words);
    (said.code, said.err.lines().last().unwrap_or_default().to_owned())
}

#[test]
fn a_host_at_work_is_compared_with_what_it_has_done_and_the_module_that_stands_is_the_one() {
    let pipeline = Pipeline::new(TRACED);
    pipeline.says("topics create in --partitions 2");
    write_modules(&pipeline.path(""));
    let mut host = pipeline.run("--admin 127.0.0.1:0");
    until_at_work(&pipeline.path(""), &host);
    pipeline.produce("in", &lines(0..2000));
    host.until("some are done", Duration::from_secs(60), || !pipeline.records("out").is_empty());
    // What is not done yet is left out, however far it is, and what is done is there.
    for _ in 0..3 {
        let (code, said) = end(&pipeline, "replay copy --produced");
        assert!(code == 0 && said.ends_with(" alike, 0 differ"), "{said}");
    }
    host.until("they are done", Duration::from_secs(60), || pipeline.records("out").len() == 2000);
    assert_eq!(end(&pipeline, "replay copy --produced"), (0, "2,000 records of in: 2,000 alike, 0 differ".into()));
    let told = std::thread::scope(|scope| {
        let swapped = scope.spawn(|| swap(&pipeline.path(""), &host, "marks-one"));
        host.wait_until_said("is on trial");
        pipeline.produce("in", &lines(2000..2010));
        swapped.join().unwrap()
    });
    assert_eq!(told["swap"]["outcome"], "confirmed", "{told}");
    pipeline.produce("in", &lines(2010..2020));
    host.until("they are done", Duration::from_secs(60), || pipeline.records("out").len() == 2020);
    let first = json_lines(&pipeline.says("replay copy -n 1 --json")).remove(0);
    assert_eq!(first["outputs"][0]["headers"], serde_json::json!([["by", "one"]]), "{first}");
    let (code, said) = end(&pipeline, "replay copy --produced");
    // Some of the others were done by the module before, as long as one worker tried this one.
    let alike = said.strip_prefix("2,020 records of in: ").and_then(|rest| rest.split_once(" alike, "));
    let alike = alike.and_then(|(alike, _)| alike.parse::<u32>().ok());
    assert!(code == 1 && alike.is_some_and(|alike| (10..=20).contains(&alike)), "{said}");
    let (code, said) =
        end(&pipeline, "replay copy --module marks-two.wasm --against marks-one.wasm --partition 0 -n 1");
    assert!(code == 1 && said.contains(": 0 alike, ") && said.ends_with(" differ, 1 shown"), "{said}");
    host.signal("TERM");
    assert!(host.wait(Duration::from_secs(20)).success(), "{}", host.said());
    assert_eq!(pipeline.records("out").len(), 2020, "nothing was written");
}

#[test]
fn what_retention_has_removed_is_passed() {
    let pipeline = Pipeline::new(TRACED);
    pipeline.says("topics create in --partitions 2 --config retention.ms=3600000");
    for (records, value) in [(10, r#""old","timestamp":1"#), (1, r#""young""#)] {
        let line = |partition| format!("{{\"value\":{value},\"partition\":{partition}}}\n").repeat(records);
        assert_eq!(pipeline.given(line(0) + &line(1), "produce in --format json").code, 0);
    }
    let starts = || {
        let told: serde_json::Value = serde_json::from_str(&pipeline.says("topics describe in --json")).unwrap();
        let all = told["partitions"].as_array().unwrap().clone();
        all.iter().map(|partition| partition["start"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(starts(), [0, 0]);
    let mut host = pipeline.run("");
    host.until("the old ones are removed", Duration::from_secs(60), || starts() == [10, 10]);
    host.signal("TERM");
    assert!(host.wait(Duration::from_secs(20)).success(), "{}", host.said());
    pipeline.drain();
    for (words, expected) in [
        ("replay copy --from 0 --to 3", "0 records of in through "),
        ("replay copy --from start", "2 records of in through "),
        ("replay copy --produced --from 0 --to 50", "2 records of in: 2 alike, 0 differ"),
    ] {
        let (code, said) = end(&pipeline, words);
        assert!(code == 0 && said.starts_with(expected), "{words}: {code}, {said}");
    }
}
