//! A host is killed at each step of a commit, by its own hand: what it leaves is all or nothing, for a source, for a
//! stage and for a sink, and for who produces.

use crate::{
    process::broken_host,
    support::{ENDLESS, MILLSTREAM, Pipeline},
};
use std::{collections::BTreeSet, fs, fs::File, os::unix::process::ExitStatusExt, thread, time::Duration};

/// The steps of a commit; see `transport/local/faults.rs`.
const STEPS: [&str; 4] = ["before-begin", "after-inserts", "before-commit", "before-answer"];
/// SIGABRT: it was its own hand.
const ABORTED: Option<i32> = Some(6);

const NUMBERS: &str = "
topics: {numbers: {partitions: 1}}
sources:
  numbers: {module: '{guests}/numbers.wasm', output: numbers, every: 1ms, commit-interval: 5ms, config: {count: COUNT}}
stages:
  copy: {module: '{guests}/trial.wasm', input: numbers, output: copied, commit-interval: 5ms}
sinks:
  show: {input: copied, stdout: {}}
";

#[test]
fn a_host_that_is_killed_at_any_step_goes_on_where_it_stood() {
    let numbers = |count: usize| NUMBERS.replace("COUNT", &count.to_string());
    let pipeline = Pipeline::new(&numbers(ENDLESS));
    let mut printed = Vec::new();
    let mut run = |binary: &str, words: &str, step: &str| {
        let file = pipeline.path(&format!("printed.{}", printed.len()));
        let mut command = pipeline.command(binary, &format!("run pipeline.yaml {words}"));
        command.env("MILLSTREAM_FAIL_AT", step).stdout(File::create(&file).unwrap());
        printed.push(file);
        pipeline.start(&mut command)
    };
    for step in STEPS {
        // Whose commit it is, the first ones or a later one, is another matter each time.
        for time in [1, 2, 4, 7, 11] {
            let mut host = run(&broken_host(), "", &format!("{step}:{time}"));
            let ended = host.wait(Duration::from_secs(30));
            assert_eq!(ended.signal(), ABORTED, "{step}:{time}: {ended}\n{}", host.said());
        }
    }
    // Only now it is said where they end. When nothing is to be written, what was committed is brought from the -wal into the file.
    let count = pipeline.values("numbers").len() + 100;
    pipeline.write(&numbers(count));
    for step in ["before-checkpoint", "after-checkpoint"] {
        let mut host = run(&broken_host(), "", step);
        let ended = host.wait(Duration::from_secs(60));
        assert_eq!(ended.signal(), ABORTED, "{step}: {ended}\n{}", host.said());
    }

    let mut host = run(MILLSTREAM, "--until-idle=500ms", "");
    assert!(host.wait(Duration::from_secs(60)).success(), "{}", host.said());
    let due: Vec<_> = (0..count).map(|number| number.to_string()).collect();
    assert_eq!(pipeline.values("numbers"), due);
    assert_eq!(pipeline.values("copied"), due);
    // What leaves the log may do so twice, but not never, and not torn.
    let printed: String = printed.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let printed: BTreeSet<_> = printed.lines().map(str::to_owned).collect();
    assert_eq!(printed, due.into_iter().collect());
}

#[test]
fn who_produces_and_is_killed_at_any_step_leaves_the_first_records_whole() {
    for step in STEPS {
        for time in [1, 2] {
            let pipeline = Pipeline::new("stages: {s: {module: s.wasm, input: in, output: out}}\n");
            pipeline.says("topics create in --partitions 3");
            // More than two commits take, however quickly they come.
            let padding = "x".repeat(1000);
            let lines: Vec<_> = (0..12_000).map(|n| format!("{}:{n} {padding}", n % 7)).collect();
            fs::write(pipeline.path("lines"), lines.join("\n")).unwrap();
            let mut command = pipeline.command(broken_host(), "produce in --key-separator :");
            command.stdin(File::open(pipeline.path("lines")).unwrap());
            command.env("MILLSTREAM_FAIL_AT", format!("{step}:{time}"));
            let ended = pipeline.start(&mut command).wait(Duration::from_secs(60));
            assert_eq!(ended.signal(), ABORTED, "{step}:{time}: {ended}");
            let number = |value: &String| value.split_once(' ').unwrap().0.parse().unwrap();
            let mut there: Vec<u64> = pipeline.values("in").iter().map(number).collect();
            let is_right = match (step, time) {
                // One commit takes what waits: the second inserts may be of the first commit.
                ("after-inserts", 2) => true,
                ("before-answer", _) | (_, 2) => !there.is_empty(),
                _ => there.is_empty(),
            };
            assert!(is_right, "{step}:{time}: {} are there", there.len());
            there.sort();
            assert!(there.iter().copied().eq(0..there.len() as u64), "{step}:{time}: not the first {}", there.len());
        }
    }
}

#[test]
fn a_host_that_is_killed_while_it_tidies_up_removes_what_is_due_and_no_more() {
    // It tidies up every few seconds, so all of them wait for that together.
    thread::scope(|scope| {
        for step in ["retention:1", "retention:2", "compaction:1", "compaction:2"] {
            scope.spawn(move || tidies(step));
        }
    });
}

/// Old records and old values of keys go, and nothing else, though the host is killed at this step of it.
fn tidies(step: &str) {
    let pipeline = Pipeline::new(
        "
topics:
  old: {partitions: 2, config: {retention.ms: 3600000}}
  keys: {partitions: 1, config: {cleanup.policy: compact}}
stages:
  copy: {module: '{guests}/trial.wasm', input: in, output: out}
",
    );
    pipeline.says("topics create in");
    pipeline.says("topics create old --partitions 2 --config retention.ms=3600000");
    pipeline.says("topics create keys --config cleanup.policy=compact");
    for partition in 0..2 {
        let old = format!("{{\"value\":\"old\",\"partition\":{partition},\"timestamp\":1}}\n");
        pipeline.given(old.repeat(10), "produce old --format json");
        let young = format!("{{\"value\":\"young\",\"partition\":{partition}}}\n");
        pipeline.given(young, "produce old --format json");
    }
    for round in 0..3 {
        pipeline.produce("keys", &vec![format!("k:{round}"); 20_000]);
    }
    let mut host = pipeline.run_broken("MILLSTREAM_FAIL_AT", step);
    let ended = host.wait(Duration::from_secs(60));
    assert_eq!(ended.signal(), ABORTED, "{step}: {ended}\n{}", host.said());
    let mut host = pipeline.run("");
    // Who reads while records are removed may be told that they are gone.
    let holds = |topic: &str, values: &[&str]| {
        let said = pipeline.given("", &format!("consume {topic} -o start --until-end"));
        said.code == 0 && said.out.lines().eq(values.iter().copied())
    };
    host.until("it has tidied up", Duration::from_secs(60), || holds("old", &["young"; 2]) && holds("keys", &["2"]));
    host.signal("TERM");
    assert!(host.wait(Duration::from_secs(30)).success(), "{step}: {}", host.said());
    let log = rusqlite::Connection::open(pipeline.log()).unwrap();
    let whole: String = log.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok", "{step}");
}
