//! Exactly once on the embedded log: hosts are killed again and again while another process produces, and every record
//! is counted at the far end.

use crate::{
    process::{Host, soak},
    support::{ENDLESS, Pipeline, Watch},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::mpsc::sync_channel,
    thread,
    time::{Duration, Instant},
};

pub(crate) const KEYS: u64 = 40;

const COPIES: &str = "
topics:
  in: {partitions: 4}
  out: {partitions: 4}
stages:
  first: {module: '{guests}/trial.wasm', input: in, output: between, workers: 2, commit-interval: 5ms}
  second: {module: '{guests}/trial.wasm', input: between, output: out, commit-interval: 5ms}
";

/// Waits until a host that was started last has done something, or there is nothing left for it to do, and a moment
/// longer: not at the same moment of the commit interval each time.
fn wait_for_work(host: &mut Host, watch: &Watch, kill: u64, all: usize) {
    let (before, since) = (watch.count(), Instant::now());
    while watch.count() < (before + 1).min(all) {
        assert!(host.is_running(), "the host ended by itself:\n{}", host.said());
        assert!(since.elapsed() < Duration::from_secs(60), "the host does nothing:\n{}", host.said());
        thread::sleep(Duration::from_millis(3));
    }
    thread::sleep(Duration::from_millis(kill * 7919 % 40));
}

/// The values of each key, in the order of their partition.
fn by_key(records: &[Value]) -> BTreeMap<String, Vec<u64>> {
    let mut keys: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for record in records {
        let (key, value) = (record["key"].as_str().unwrap(), record["value"].as_str().unwrap());
        keys.entry(key.into()).or_default().push(value.parse().unwrap());
    }
    keys
}

/// Records come in pieces while the host is killed; then one drains the rest. What is wrong at the far end.
fn harm(records: u64, kills: u64, start: impl Fn(&Pipeline) -> Host) -> Vec<String> {
    let pipeline = Pipeline::new(COPIES);
    ["in", "out"].iter().for_each(|topic| drop(pipeline.says(&format!("topics create {topic} --partitions 4"))));
    let watch = pipeline.watch("out");
    // A host has about this many to do in its life, in pieces that come while it is at work.
    let piece = (records / kills / 3).max(1);
    let (go_on, may_go_on) = sync_channel(3);
    thread::scope(|scope| {
        let (pipeline, mut number) = (&pipeline, 0);
        scope.spawn(move || {
            while number < records {
                may_go_on.recv().ok();
                let piece = number..(number + piece).min(records);
                number = piece.end;
                let lines: Vec<_> = piece.map(|n| format!("key-{}:{}", n % KEYS, n / KEYS)).collect();
                pipeline.produce("in", &lines);
            }
        });
        let mut host = start(pipeline);
        for kill in 0..kills {
            (0..3).for_each(|_| go_on.send(()).unwrap_or_default());
            wait_for_work(&mut host, &watch, kill, records as usize);
            host.kill();
            host = start(pipeline);
        }
        drop(go_on);
        host.kill();
    });
    pipeline.drain();
    problems(&pipeline, &watch, records)
}

/// What is wrong at the far end: it should hold every record once, those of a key in their order; and nothing that was
/// ever to be seen there may be another record now.
pub(crate) fn problems(pipeline: &Pipeline, watch: &Watch, records: u64) -> Vec<String> {
    let there = pipeline.records("out");
    let since = Instant::now();
    while watch.count() < there.len() && since.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(20));
    }
    let place = |record: &Value| (record["partition"].as_u64(), record["offset"].as_u64());
    let sorted = |mut records: Vec<Value>| {
        records.sort_by_key(place);
        records
    };
    let mut problems = Vec::new();
    if sorted(watch.records()) != sorted(there.clone()) {
        problems.push("what was seen all along is not what is there".into());
    }
    let seen = by_key(&there);
    for key in 0..KEYS {
        let due: Vec<_> = (0..records).filter(|n| n % KEYS == key).map(|n| n / KEYS).collect();
        let seen = seen.get(&format!("key-{key}")).map_or(&[][..], Vec::as_slice);
        if let Some(at) = (0..due.len().max(seen.len())).find(|at| due.get(*at) != seen.get(*at)) {
            let (sent, count) = (due.len(), seen.len());
            problems.push(format!(
                "key-{key}: {:?} was due, {:?} came ({sent} sent, {count} seen)",
                due.get(at),
                seen.get(at)
            ));
        }
    }
    problems
}

#[test]
fn what_other_processes_produce_arrives_once_while_the_host_is_killed() {
    let (records, kills) = if soak() { (60_000, 50) } else { (20_000, 10) };
    assert_eq!(harm(records, kills, |pipeline| pipeline.run("")), Vec::<String>::new());
}

/// The check above finds a host that commits its offsets outside of the transaction.
#[test]
fn delivery_of_a_broken_host_is_found_wrong() {
    // A kill has to fall between its two commits.
    let is_found =
        |_| !harm(12_000, 10, |pipeline| pipeline.run_broken("MILLSTREAM_MUTANT", "offsets-outside")).is_empty();
    assert!((0..5).any(is_found), "the broken host was not found out");
}

const NUMBERS: &str = "
topics: {numbers: {partitions: 1}}
sources:
  numbers: {module: '{guests}/numbers.wasm', output: numbers, every: 1ms, commit-interval: 3ms, config: {count: COUNT}}
";

/// A source is killed again and again. What is wrong with its numbers at the end.
fn harm_source(kills: u64, start: impl Fn(&Pipeline) -> Host) -> Vec<String> {
    let numbers = |count: usize| NUMBERS.replace("COUNT", &count.to_string());
    let pipeline = Pipeline::new(&numbers(ENDLESS));
    pipeline.says("topics create numbers --partitions 1");
    let watch = pipeline.watch("numbers");
    let mut host = start(&pipeline);
    for kill in 0..kills {
        wait_for_work(&mut host, &watch, kill, ENDLESS);
        host.kill();
        host = start(&pipeline);
    }
    host.kill();
    // Only now it is said where they end.
    let count = pipeline.values("numbers").len() + 100;
    pipeline.write(&numbers(count));
    pipeline.drain();
    let seen = pipeline.values("numbers");
    let due = (0..count).map(|number| number.to_string());
    let wrong = due.zip(seen.iter().map(Some).chain(std::iter::repeat(None)));
    let mut problems: Vec<_> = wrong
        .filter(|(due, came)| Some(due) != *came)
        .map(|(due, came)| format!("{due} was due, {came:?} came"))
        .take(3)
        .collect();
    if seen.len() > count {
        problems.push(format!("{} came in place of {count}", seen.len()));
    }
    problems
}

#[test]
fn every_number_of_a_source_comes_once_while_the_host_is_killed() {
    let kills = if soak() { 50 } else { 10 };
    assert_eq!(harm_source(kills, |pipeline| pipeline.run("")), Vec::<String>::new());
}

/// The check above finds a host that mixes up the records of a transaction.
#[test]
fn a_source_of_a_broken_host_is_found_wrong() {
    let found = harm_source(5, |pipeline| pipeline.run_broken("MILLSTREAM_MUTANT", "unordered"));
    assert!(!found.is_empty(), "the broken host was not found out");
}
