//! Dead letters that are tried again, exactly once: the command is killed again and again, and every record is counted
//! at the far end.

use crate::{
    command::json_lines,
    process::{Host, broken_host, soak},
    support::{MILLSTREAM, Pipeline},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    thread,
    time::{Duration, Instant},
};

const KEYS: usize = 40;
/// What every run of the command is told: rejects are left.
const RETRY: &str = "dead-letters retry price --kind fault,limit";

/// A stage that writes to a topic which takes nothing, and the same one when it is mended.
fn manifest(output: &str) -> String {
    format!(
        "topics: {{in: {{partitions: 3}}, tight: {{partitions: 3, config: {{max.message.bytes: 64}}}}, out: \
         {{partitions: 3}}}}\nstages:\n  price: {{module: '{{guests}}/trial.wasm', input: in, output: {output}, \
         commit-interval: 2ms, limits: {{outputs: 1}}, on-error: {{stop-when: never}}}}\n"
    )
}

/// What becomes of a record: most go through, some fail again, some are left.
fn value(number: usize) -> String {
    match number % 20 {
        7 => format!("burst 2 {number}"),
        13 => format!("reject {number}"),
        _ => number.to_string(),
    }
}

/// A pipeline that has so many dead letters, and would have none by now but those of the values above.
fn dead(records: usize) -> Pipeline {
    let pipeline = Pipeline::new(&manifest("tight"));
    pipeline.says("topics create in --partitions 3");
    let lines: Vec<_> = (0..records).map(|number| format!("key-{}:{}", number % KEYS, value(number))).collect();
    pipeline.produce("in", &lines);
    pipeline.drain();
    pipeline.write(&manifest("out"));
    pipeline
}

/// The command, killed so often while it is at work; then it is left to come to its end.
fn harm(records: usize, kills: usize, start: impl Fn(&Pipeline) -> Host) -> Vec<String> {
    let pipeline = dead(records);
    let (mut killed, mut ended) = (0, 0);
    while killed < kills && ended <= kills * 3 {
        let mut command = start(&pipeline);
        // A broken one may find nothing to do any more.
        let since = Instant::now();
        while command.is_running() && !command.said().contains("again a dead letter") {
            assert!(since.elapsed() < Duration::from_secs(60), "it does nothing:\n{}", command.said());
            thread::sleep(Duration::from_millis(3));
        }
        thread::sleep(Duration::from_millis(killed as u64 * 7919 % 13));
        match command.is_running() {
            true => killed += 1,
            false => ended += 1,
        }
        command.kill();
    }
    let said = pipeline.given("", RETRY);
    assert_eq!(said.code, 0, "{said:?}");
    let found = problems(&pipeline, records);
    assert!(killed == kills || !found.is_empty(), "it ends before it can be killed: there is too little to do");
    found
}

/// What is wrong: a record that could go through stands once in the output, those of a key in their order, and any other
/// is one dead letter that waits.
fn problems(pipeline: &Pipeline, records: usize) -> Vec<String> {
    let mut problems = Vec::new();
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in pipeline.records("out") {
        let text = |name: &str| record[name].as_str().unwrap().to_owned();
        seen.entry(text("key")).or_default().push(text("value"));
    }
    for key in 0..KEYS {
        let numbers = (0..records).filter(|number| number % KEYS == key);
        let due: Vec<_> = numbers.map(value).filter(|value| !value.contains(' ')).collect();
        let came = seen.get(&format!("key-{key}")).map_or(&[][..], Vec::as_slice);
        if came != due {
            problems.push(format!("key-{key}: {} came in place of {}, or in another order", came.len(), due.len()));
        }
    }
    let mut waits: BTreeMap<String, usize> = BTreeMap::new();
    for letter in json_lines(&pipeline.says("dead-letters show price --json")) {
        let value = letter["value"].as_str().unwrap().to_owned();
        if value.starts_with("burst") && attempts(&letter) < 2 {
            problems.push(format!("{value} was not tried again"));
        }
        *waits.entry(value).or_default() += 1;
    }
    let due: BTreeMap<_, _> = (0..records).map(value).filter(|value| value.contains(' ')).map(|v| (v, 1)).collect();
    if waits != due {
        let wrong = waits.iter().find(|(value, count)| due.get(*value) != Some(*count));
        problems.push(format!("{} letters wait in place of {}: {wrong:?}", waits.len(), due.len()));
    }
    problems
}

fn attempts(letter: &Value) -> u32 {
    let headers = letter["headers"].as_array().unwrap();
    let header = headers.iter().find(|header| header[0] == "millstream.error.attempts").unwrap();
    header[1].as_str().unwrap().parse().unwrap()
}

#[test]
fn letters_are_tried_again_exactly_once_while_the_command_is_killed() {
    let (records, kills) = if soak() { (60_000, 60) } else { (12_000, 20) };
    let found = harm(records, kills, |pipeline| pipeline.start(&mut pipeline.command(MILLSTREAM, RETRY)));
    assert_eq!(found, Vec::<String>::new());
}

/// The check above finds a host that commits what it has only taken.
#[test]
fn letters_of_a_broken_host_are_found_wrong() {
    let broken = |pipeline: &Pipeline| {
        pipeline.start(pipeline.command(broken_host(), RETRY).env("MILLSTREAM_MUTANT", "early-progress"))
    };
    let is_found = |_| !harm(8_000, 3, broken).is_empty();
    assert!((0..6).any(is_found), "the broken host was not found out");
}

#[test]
fn letters_are_tried_again_beside_a_host_that_makes_more_of_them() {
    let pipeline = dead(500);
    let mut host = pipeline.run("");
    host.wait_until_said("test on ");
    let mut retried = 0;
    for part in 1..=5 {
        let lines: Vec<_> = (0..100).map(|number| format!("late-{number}:reject {part}-{number}")).collect();
        pipeline.produce("in", &lines);
        let said = pipeline.given("", &format!("{RETRY} -n 100 --json"));
        assert_eq!(said.code, 0, "{said:?}");
        retried += json_lines(&said.out)[0]["retried"].as_u64().unwrap();
    }
    assert!((475..=500).contains(&retried), "{retried}");
    host.signal("TERM");
    assert!(host.wait(Duration::from_secs(60)).success(), "{}", host.said());
    pipeline.drain();
    let said = pipeline.given("", RETRY);
    assert_eq!(said.code, 0, "{said:?}");
    let rejects = json_lines(&pipeline.says("dead-letters show price --kind reject --json"));
    let mut values: Vec<_> = rejects.iter().map(|letter| letter["value"].as_str().unwrap().to_owned()).collect();
    values.sort();
    values.dedup();
    assert_eq!((rejects.len(), values.len()), (500 + 25, 500 + 25));
    assert_eq!(pipeline.values("out").len(), 450);
}

#[test]
fn a_signal_ends_the_command_in_order_and_the_next_one_goes_on_there() {
    let records = 12_000;
    let pipeline = dead(records);
    let output = pipeline.path("first");
    let mut command = pipeline.command(MILLSTREAM, &format!("{RETRY} --json"));
    let mut command = pipeline.start(command.stdout(File::create(&output).unwrap()));
    command.wait_until_said("again a dead letter");
    command.signal("INT");
    assert!(command.wait(Duration::from_secs(30)).success(), "{}", command.said());
    let first = &json_lines(&fs::read_to_string(&output).unwrap())[0];
    let next = pipeline.given("", &format!("{RETRY} --json"));
    let second = &json_lines(&next.out)[0];
    assert_eq!((&first["complete"], &second["complete"]), (&json!(false), &json!(true)));
    let through = [first, second].map(|said| said["through"].as_u64().unwrap());
    assert!(through[0] > 0, "{first}");
    assert_eq!(through[0] + through[1], records as u64 * 18 / 20);
    assert_eq!(problems(&pipeline, records), Vec::<String>::new());
}
