//! Modules are replaced while records flow: nothing is lost, doubled or out of order, whatever the new module does.

use crate::{
    delivery::{KEYS, problems},
    process::{Host, with_manners},
    support::Pipeline,
    swapping::{self as swaps, MODULES, judge, until_at_work, write_modules},
};
use serde_json::Value;
use std::{
    fs,
    sync::mpsc::{TryRecvError, channel},
    thread,
    time::Duration,
};

const COPIES: &str = "
topics:
  in: {partitions: 4}
  out: {partitions: 4}
stages:
  copy: {module: '{guests}/trial.wasm', input: in, output: out, workers: 2, commit-interval: 10ms,
         probation: {records: 200, time: 300ms}}
";

fn pipeline() -> Pipeline {
    pipeline_of(COPIES)
}

fn pipeline_of(manifest: &str) -> Pipeline {
    let pipeline = Pipeline::new(manifest);
    ["in", "out"].iter().for_each(|topic| drop(pipeline.says(&format!("topics create {topic} --partitions 4"))));
    write_modules(&pipeline.path(""));
    pipeline
}

/// A host that is at work.
fn run(pipeline: &Pipeline) -> Host {
    let host = pipeline.run("--admin 127.0.0.1:0");
    until_at_work(&pipeline.path(""), &host);
    host
}

fn status(pipeline: &Pipeline, host: &Host) -> Value {
    swaps::status(&pipeline.path(""), host)
}

fn lines(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|n| format!("key-{}:{}", n % KEYS, n / KEYS)).collect()
}

/// What a swap came to, as the command tells it.
fn swap(pipeline: &Pipeline, host: &Host, manners: &str) -> Value {
    swaps::swap(&pipeline.path(""), host, manners)
}

/// The same, with these records as soon as the module is on trial.
fn swap_with(pipeline: &Pipeline, host: &Host, manners: &str, records: &[String]) -> Value {
    thread::scope(|scope| {
        let swapped = scope.spawn(|| swap(pipeline, host, manners));
        let on_trial = || host.said().contains(&format!("copy: {manners}.wasm"));
        host.until("it is on trial", Duration::from_secs(30), on_trial);
        pipeline.produce("in", records);
        swapped.join().unwrap()
    })
}

#[test]
fn modules_are_swapped_under_load_and_each_gets_what_it_deserves() {
    // However slowly the records come, only their number ends a trial.
    let pipeline = &pipeline_of(&COPIES.replace("time: 300ms", "time: 60s"));
    let watch = pipeline.watch("out");
    let mut host = run(pipeline);
    let (swapped, may_end) = channel::<()>();
    let records = thread::scope(|scope| {
        let producer = scope.spawn(move || {
            let mut records = 0;
            while matches!(may_end.try_recv(), Err(TryRecvError::Empty)) {
                pipeline.produce("in", &lines(records..records + 200));
                records += 200;
            }
            records
        });
        for module in MODULES {
            judge(module, &swap(pipeline, &host, module.0), &host);
        }
        drop(swapped);
        producer.join().unwrap()
    });
    let since = std::time::Instant::now();
    while watch.count() < records as usize && since.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(50));
    }
    host.signal("TERM");
    assert!(host.wait(Duration::from_secs(20)).success(), "{}", host.said());
    assert_eq!(problems(pipeline, &watch, records), Vec::<String>::new(), "{}", host.said());
    assert_eq!(pipeline.values("test.copy.dead-letter").len(), 0, "{}", host.said());
}

/// Waits until so many records came out.
fn until_out(pipeline: &Pipeline, host: &Host, records: usize) {
    let is_there = || pipeline.records("out").len() >= records;
    host.until("the records are there", Duration::from_secs(60), is_there);
}

/// By which module this record was written.
fn writer(pipeline: &Pipeline, number: u64) -> Option<String> {
    let (key, value) = (format!("key-{}", number % KEYS), (number / KEYS).to_string());
    let records = pipeline.records("out");
    let record = records.iter().rev().find(|record| record["key"] == key.as_str() && record["value"] == value.as_str());
    let headers = record.expect("it is there")["headers"].as_array()?.clone();
    headers.iter().find(|header| header[0] == "by").and_then(|header| header[1].as_str().map(str::to_owned))
}

#[test]
fn a_host_that_is_killed_while_modules_are_swapped_loses_nothing() {
    let pipeline = pipeline();
    let watch = pipeline.watch("out");
    let (records, kills) = (20_000, 10);
    let (go_on, may_go_on) = std::sync::mpsc::sync_channel::<()>(2);
    thread::scope(|scope| {
        let pipeline = &pipeline;
        scope.spawn(move || {
            for piece in 0..100 {
                may_go_on.recv().ok();
                pipeline.produce("in", &lines(piece * 200..(piece + 1) * 200));
            }
        });
        for kill in 0..kills {
            let mut host = run(pipeline);
            let manners = ["marks-one", "panics", "marks-two", "panics-at-100"][kill % 4];
            let command = format!("swap copy {manners}.wasm --no-wait --admin {}", host.admin());
            scope.spawn(move || pipeline.given("", &command));
            (0..2).for_each(|_| go_on.send(()).unwrap_or_default());
            thread::sleep(Duration::from_millis((kill * 97 % 400) as u64));
            host.kill();
        }
        drop(go_on);
    });
    pipeline.drain();
    assert_eq!(problems(&pipeline, &watch, records), Vec::<String>::new());
    assert_eq!(pipeline.values("test.copy.dead-letter").len(), 0);
}

#[test]
fn what_was_swapped_in_runs_until_the_manifest_names_another() {
    let pipeline = pipeline();
    let mut host = run(&pipeline);
    let told = swap_with(&pipeline, &host, "marks-one", &lines(0..400));
    assert_eq!(told["swap"]["outcome"], "confirmed", "{}", host.said());
    host.kill();

    let mut host = run(&pipeline);
    host.wait_until_said("copy: runs marks-one.wasm");
    assert_eq!(status(&pipeline, &host)["stages"][0]["drift"]["name"], "trial.wasm");
    pipeline.produce("in", &lines(400..401));
    until_out(&pipeline, &host, 401);
    assert_eq!(writer(&pipeline, 400).as_deref(), Some("one"));
    host.kill();

    pipeline.write(&COPIES.replace("{guests}/trial.wasm", "marks-two.wasm"));
    let host = run(&pipeline);
    host.wait_until_said("the manifest names another module since the last swap");
    assert_eq!(status(&pipeline, &host)["stages"][0]["drift"], Value::Null);
    pipeline.produce("in", &lines(401..402));
    until_out(&pipeline, &host, 402);
    assert_eq!(writer(&pipeline, 401).as_deref(), Some("two"));
    let swaps = pipeline.says(&format!("swaps copy --admin {}", host.admin()));
    assert!(swaps.contains("copy: marks-one.wasm") && swaps.contains("is confirmed after"), "{swaps}");
}

#[test]
fn a_module_whose_file_changes_is_swapped_in() {
    let pipeline = pipeline();
    pipeline.write(&COPIES.replace("{guests}/trial.wasm", "watched.wasm"));
    let put =
        |manners: &str| fs::copy(pipeline.path(&format!("{manners}.wasm")), pipeline.path("watched.wasm")).unwrap();
    put("marks-one");
    let host = pipeline.run("--watch --admin 127.0.0.1:0");
    until_at_work(&pipeline.path(""), &host);
    for (manners, said) in [("marks-two", "is on trial"), ("garbage", "is not a WebAssembly module")] {
        put(manners);
        host.wait_until_said(said);
        pipeline.produce("in", &lines(0..400));
    }
    let swaps = || pipeline.says(&format!("swaps --admin {}", host.admin()));
    host.until("it stands", Duration::from_secs(30), || swaps().contains("is confirmed after"));
    until_out(&pipeline, &host, 800);
    assert_eq!(writer(&pipeline, 399).as_deref(), Some("two"));
}

#[test]
fn somebody_goes_back_to_the_module_before() {
    let pipeline = pipeline();
    let host = run(&pipeline);
    let back = format!("rollback copy --admin {}", host.admin());
    let said = pipeline.given("", &back);
    assert_eq!((said.code, said.err.contains("there is no module to go back to")), (1, true), "{said:?}");
    let told = swap_with(&pipeline, &host, "marks-one", &lines(0..400));
    assert_eq!(told["swap"]["outcome"], "confirmed", "{}", host.said());
    let said = pipeline.says(&back);
    assert!(said.starts_with("copy: back to trial.wasm"), "{said}");
    pipeline.produce("in", &lines(400..401));
    until_out(&pipeline, &host, 401);
    assert_eq!(writer(&pipeline, 400), None);
    assert_eq!(status(&pipeline, &host)["stages"][0]["drift"], Value::Null);
}

#[test]
fn a_module_that_has_no_record_to_prove_itself_with_is_loaded_and_a_wrong_one_is_rolled_back_when_one_comes() {
    let pipeline = pipeline();
    let host = run(&pipeline);
    let said = pipeline.says(&format!("swap copy panics.wasm --admin {}", host.admin()));
    assert!(said.contains("is loaded, not yet proven: no record has come"), "{said}");
    pipeline.produce("in", &lines(0..1));
    until_out(&pipeline, &host, 1);
    host.wait_until_said("copy: panics.wasm");
    let swaps = || pipeline.says(&format!("swaps --admin {}", host.admin()));
    host.until("it is rolled back", Duration::from_secs(10), || swaps().contains("is rolled back, trial.wasm"));
    assert!(swaps().contains("nothing of it was committed"), "{}", swaps());
}

#[test]
fn a_module_that_is_stricter_stands_but_not_one_that_rejects_everything() {
    let pipeline = pipeline();
    fs::write(pipeline.path("rejects.wasm"), with_manners("rejects")).unwrap();
    let host = run(&pipeline);
    let told = swap_with(&pipeline, &host, "rejects", &lines(0..4000));
    assert_eq!(told["swap"]["outcome"], "rolled-back", "{told}");
    until_out(&pipeline, &host, 4000);
    assert_eq!(pipeline.values("test.copy.dead-letter").len(), 0, "the breaker keeps it from that\n{}", host.said());
}

#[test]
fn what_cannot_be_swapped_is_said_in_one_message() {
    let pipeline = pipeline();
    let host = run(&pipeline);
    let admin = host.admin();
    let fails = |words: &str, code: i32, expected: &str| {
        let said = pipeline.given("", words);
        assert_eq!((said.code, said.err.contains(expected)), (code, true), "{words}: {said:?}");
        assert_eq!(said.err.lines().count(), 1, "{words}: {said:?}");
    };
    fails(&format!("swap cop panics.wasm --admin {admin}"), 2, "did you mean copy?");
    fails(&format!("swap copy nowhere.wasm --admin {admin}"), 2, "nowhere.wasm is not there");
    fails(&format!("swap copy garbage.wasm --admin {admin}"), 1, "garbage.wasm is not a WebAssembly module");
    fails(&format!("swap copy refuses.wasm --admin {admin}"), 1, "this is not the right day");
    fails("swap copy panics.wasm --admin 127.0.0.1:1", 1, "no host answers at 127.0.0.1:1");
    fails(&format!("swaps cop --admin {admin}"), 2, "did you mean copy?");
}
