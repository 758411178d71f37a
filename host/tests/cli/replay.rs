//! `replay` on the embedded log.

use crate::{
    command::{Said, done, json_lines},
    process::{guests, with_manners},
    support::{Folder, golden_text},
};
use serde_json::{Value, json};
use std::fs;

const MANIFEST: &str = "
name: shop
topics: {orders: {partitions: 1}, returns: {partitions: 2}}
stages:
  price:
    module: trial.wasm
    inputs: {bought: orders, back: returns}
    outputs: {main: priced, large: big}
    limits: {time: 50ms}
    provenance: true
sinks:
  show: {input: priced, stdout: {}}
";

/// A millisecond apart.
const TIME: i64 = 1_700_000_000_000;

/// What the orders are: some fail, some become none or many.
const ORDERS: [&str; 9] =
    ["tea", "reject 1", "filter", "to large whole", "add", "loop", "burst 2 cup", "milk", "bread"];

fn folder() -> Folder {
    let module = |manners| with_manners(manners);
    Folder::with(MANIFEST)
        .trial("trial.wasm")
        .file("two.wasm", module("marks-two"))
        .file("strict.wasm", module("rejects"))
        .file("words.wasm", "no module")
        .file("numbers.wasm", fs::read(guests().join("numbers.wasm")).unwrap())
        .set("MILLSTREAM_MANIFEST", "pipeline.yaml")
}

/// A folder in which these orders lie, and nothing has run.
fn with(orders: &[&str]) -> Folder {
    let folder = folder();
    for topic in ["orders", "returns"] {
        let partitions = if topic == "orders" { 1 } else { 2 };
        done(folder.says(&format!("topics create {topic} --partitions {partitions}")));
    }
    put(&folder, orders);
    folder
}

fn put(folder: &Folder, orders: &[&str]) {
    let line = |(at, value): (usize, &&str)| {
        let (key, time) = (["ann", "bob"][at % 2], TIME + at as i64);
        json!({"key": key, "value": value, "timestamp": time, "headers": [["from", "web"]]}).to_string()
    };
    let lines: Vec<_> = orders.iter().enumerate().map(line).collect();
    done(folder.given(lines.join("\n"), "produce orders --format json"));
}

fn run(folder: &Folder) {
    assert_eq!(folder.says("run pipeline.yaml --only price --until-idle=0s").code, 0);
}

/// Without the digests of modules, which differ with every build.
fn plain(text: &str) -> String {
    let is_hex = |c: char| c.is_ascii_hexdigit();
    let mut parts = text.split('(');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| match part.split_once(')') {
        Some((word, rest)) if word.len() == 8 && word.chars().all(is_hex) => format!("{text}(DIGEST){rest}"),
        _ => format!("{text}({part}"),
    })
}

fn replay(folder: &Folder, words: &str) -> Said {
    folder.says(&format!("replay price {words}")).without_log()
}

/// The exit code, and the last line on stderr.
fn end(said: &Said) -> (i32, String) {
    (said.code, said.err.lines().last().unwrap_or_default().to_owned())
}

#[test]
fn what_comes_of_a_range_is_shown() {
    let folder = with(&ORDERS);
    let mut shown = String::new();
    for words in [
        "--topic orders",
        "--topic bought --from 1 --to 3",
        "--from @1700000000003 --to @1700000000005",
        "-n 1 --module two.wasm",
        "--topic orders -n 3 --json",
        "--module two.wasm --against trial.wasm -n 2",
        "--module two.wasm --against trial.wasm -n 1 --json",
        "--module strict.wasm --against trial.wasm --from 1 --to 2",
        "--against trial.wasm",
        "--from end",
    ] {
        shown += &(plain(&replay(&folder, words).shown()) + "\n");
    }
    golden_text("replay", &shown);
    // Nothing came of it.
    assert_eq!(done(folder.says("topics list")), "orders   1 partition\nreturns  2 partitions\n");
    assert_eq!(folder.says("offsets show shop.price").code, 2, "no group has begun");
}

#[test]
fn what_a_guest_logs_is_not_among_it() {
    let folder = with(&["say a word to the log"]);
    let said = folder.says("replay price --json");
    assert!(said.err.contains("a word to the log") && json_lines(&said.out).len() == 1, "{said:?}");
}

#[test]
fn who_asks_for_what_is_not_there_hears_what_is() {
    let none = folder().says("replay price");
    assert_eq!((none.code, none.out.as_str()), (2, ""), "{none:?}");
    assert!(none.err.contains("shop has no log yet"), "{none:?}");
    let folder = with(&ORDERS[..1]);
    for (words, why) in [
        ("replay prize", "error: shop has no stage `prize`: did you mean `price`?"),
        ("replay show", "error: shop has no stage `show`: it is a sink, and only stages are replayed"),
        ("replay price --topic order", "error: price does not read order: it reads orders, returns"),
        ("replay price --partition 2", "error: orders has no partition 2: the last one is 0"),
        ("replay price --from 1 --to start", "error: --to lies before --from in orders: turn the two round"),
        ("replay price --topic orders --partition 1", "error: orders has no partition 1: the last one is 0"),
        ("replay price --from 5 --to 4 --topic orders", "error: --to lies before --from in orders: turn the two round"),
        ("replay price --from @9 --to @8 --topic orders", "error: --to lies before --from"),
        ("replay price --from end --to start", "error: --to lies before --from"),
        ("replay price --from soon", "write `start`, `end`, an offset, or a time"),
        ("replay price --module gone.wasm", "error: gone.wasm is not there: build the module, or correct its path"),
        ("replay price --module numbers.wasm", "error: numbers.wasm is a source, not a stage"),
        ("replay price --against words.wasm", "error: words.wasm is text, not a WebAssembly module"),
        ("replay price --against two.wasm --produced", "cannot be used with"),
        ("replay price --produced", "error: price has done nothing of that range yet: run it first"),
    ] {
        let said = folder.says(words);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{words}: {said:?}");
        assert!(said.err.contains(why), "{words}: {}", said.err);
    }
    fs::write(folder.path("pipeline.yaml"), MANIFEST.replace("provenance: true", "provenance: false")).unwrap();
    let said = folder.says("replay price --produced");
    assert!(said.code == 2 && said.err.contains("write `provenance: true` in price"), "{said:?}");
    let refuses = MANIFEST.replace("limits:", "config: {refuse: not today}\n    limits:");
    fs::write(folder.path("pipeline.yaml"), refuses).unwrap();
    let said = folder.says("replay price --against two.wasm");
    assert!(said.code == 2 && said.err.contains("not today"), "{said:?}");
}

#[test]
fn a_range_ends_by_itself_where_nothing_is_left_of_it() {
    let folder = with(&ORDERS[..3]);
    for (words, records) in [
        ("--from 3 --topic orders", "0 records of orders"),
        ("--from 99 --topic orders", "0 records of orders"),
        ("--to start --topic orders", "0 records of orders"),
        ("--to 99 --topic orders", "3 records of orders"),
        ("--from 2 --to 2 --topic orders", "0 records of orders"),
        ("--partition 0", "3 records of orders, returns"),
        ("--topic returns", "0 records of returns"),
        // Of the returns there are none at all, and no order has the partition.
        ("--partition 1", "0 records of returns"),
    ] {
        let said = replay(&folder, words);
        assert!(said.code == 0 && said.err.starts_with(records), "{words}: {said:?}");
    }
}

#[test]
fn an_input_that_has_nothing_of_the_range_keeps_no_other_from_it() {
    let folder = with(&["tea", "cup"]);
    // Of the time that ends the range one has all, and the other all behind it.
    let late = json!({"value": "late", "timestamp": TIME + 1000, "partition": 0}).to_string();
    done(folder.given([late.as_str(), &late].join("\n"), "produce returns --format json"));
    let said = replay(&folder, "--from 1 --to @1700000000500");
    assert!(said.code == 0 && said.err.starts_with("1 record of orders, returns through"), "{said:?}");
    let said = replay(&folder, "--from 1 --to @1700000000500 --topic returns");
    assert!(said.code == 2 && said.err.contains("--to lies before --from in returns"), "{said:?}");
}

#[test]
fn what_guests_and_records_say_moves_no_cursor() {
    let folder = with(&["a\u{9b}2Jb\u{7f}"]);
    let shown = |said: &Said| said.out.contains("a\\u009b2Jb\\u007f") && !said.out.contains(['\u{9b}', '\u{7f}']);
    let said = replay(&folder, "");
    assert!(shown(&said), "{said:?}");
    let said = replay(&folder, "--module two.wasm --against trial.wasm");
    assert!(said.code == 1 && shown(&said), "{said:?}");
    let said = replay(&folder, "--json");
    assert!(said.out.contains("a\u{9b}2Jb\u{7f}"), "programs get what it is: {said:?}");
}

/// The same manifest with provenance or without.
fn traced(folder: &Folder, is_on: bool) {
    let manifest = MANIFEST.replace("provenance: true", &format!("provenance: {is_on}"));
    fs::write(folder.path("pipeline.yaml"), manifest).unwrap();
}

#[test]
fn what_was_done_before_there_was_provenance_is_left_out() {
    let folder = with(&["tea", "reject 1", "milk"]);
    traced(&folder, false);
    run(&folder);
    traced(&folder, true);
    // Nothing has been done with it.
    let none = |why: &str| {
        let said = replay(&folder, "--produced");
        assert!(said.code == 2 && said.err.contains(why), "{said:?}");
    };
    none("no record of priced, big says that it came of orders, returns");
    // A dead letter has its place with provenance or without.
    put(&folder, &["reject 2"]);
    run(&folder);
    none("no record of priced, big says that it came of orders, returns");
    put(&folder, &["bread", "filter", "cup", "reject 3"]);
    run(&folder);
    let said = replay(&folder, "--produced");
    assert_eq!(end(&said), (0, "4 records of orders, returns: 4 alike, 0 differ".into()), "{said:?}");
    assert!(said.err.contains("up to 4 records in 1 partition left out: nothing produced says that"), "{said:?}");
    // What became nothing is alike, as an earlier one tells that it was on by then.
    let said = replay(&folder, "--produced --topic orders --from 5 --to 6");
    assert_eq!((said.code, said.err.lines().last()), (0, Some("1 record of orders: 1 alike, 0 differ")), "{said:?}");
    let said = replay(&folder, "--produced --topic orders --to 4");
    assert!(said.code == 2 && said.err.contains("price has done up to 4 records of that range, and no"), "{said:?}");
    let said = replay(&folder, "--produced --from end");
    assert_eq!(end(&said), (0, "0 records of orders, returns: 0 alike, 0 differ".into()), "{said:?}");
}

#[test]
fn of_a_stage_that_made_nothing_nothing_tells_how_it_was_done() {
    let folder = with(&["filter", "filter"]);
    run(&folder);
    let said = replay(&folder, "--produced");
    assert!(said.code == 2 && said.err.contains("price has done up to 2 records of that range, and no"), "{said:?}");
}

#[test]
fn what_was_produced_is_what_the_same_module_makes() {
    let folder = with(&ORDERS);
    // Without a key and a time of their own, and in another partition.
    done(folder.given("cup\nburst 3 spoon\nreplace", "produce returns"));
    run(&folder);
    let before = done(folder.says("consume priced -o start --until-end --format json"));
    let groups = done(folder.says("offsets show shop.price"));
    let said = replay(&folder, "--produced");
    assert_eq!((said.out.as_str(), end(&said)), ("", (0, "12 records of orders, returns: 12 alike, 0 differ".into())));

    let said = replay(&folder, "--produced --module two.wasm --topic orders --json");
    assert_eq!(end(&said), (1, "9 records of orders: 6 alike, 3 differ".into()), "{said:?}");
    let first = &json_lines(&said.out)[0];
    let values = |side: &str| {
        first[side]["outputs"].as_array().unwrap().iter().map(|made| made["headers"].clone()).collect::<Vec<_>>()
    };
    assert_eq!((&first["topic"], &first["partition"], &first["offset"]), (&json!("orders"), &json!(0), &json!(0)));
    assert_eq!(values("before"), [json!([["from", "web"]])]);
    assert_eq!(values("after"), [json!([["from", "web"], ["by", "two"]])]);

    let said = replay(&folder, "--produced --module strict.wasm --from 1 --to 2 --topic orders");
    assert_eq!(
        (said.code, said.out.as_str()),
        (
            1,
            "orders/0@1\n- {\"failure\":{\"kind\":\"reject\",\"code\":\"asked\",\"message\":\"asked to reject\"}}\n+ {\"failure\":{\"kind\":\"reject\",\"message\":\"it rejects everything\"}}\n"
        ),
        "{said:?}"
    );

    // What it has not done yet has nothing to be compared with.
    put(&folder, &["late"]);
    let said = replay(&folder, "--produced");
    assert_eq!(end(&said), (0, "12 records of orders, returns: 12 alike, 0 differ".into()));
    assert!(said.err.starts_with("what price has not done yet is left out, in 1 partition\n"), "{said:?}");
    assert_eq!(done(folder.says("consume priced -o start --until-end --format json")), before);
    let group = |text: &str| {
        text.lines().map(|line| line.split_whitespace().take(3).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    assert_eq!(group(&done(folder.says("offsets show shop.price"))), group(&groups));
}

#[test]
fn what_was_skipped_and_what_was_mended_is_what_a_module_makes_of_it_now() {
    let folder = with(&["tea", "reject 1", "fault"]);
    let skips = MANIFEST.replace("provenance: true", "provenance: true\n    on-error: {reject: skip}");
    fs::write(folder.path("pipeline.yaml"), &skips).unwrap();
    run(&folder);
    assert_eq!(end(&replay(&folder, "--produced")), (0, "3 records of orders, returns: 3 alike, 0 differ".into()));
    // A letter that went through at a later try was no failure.
    fs::write(folder.path("pipeline.yaml"), skips.replace("50ms}", "50ms, outputs: 1}")).unwrap();
    put(&folder, &["burst 2 cup"]);
    run(&folder);
    assert_eq!(json_lines(&done(folder.says("dead-letters show price --kind limit --json"))).len(), 1);
    fs::write(folder.path("pipeline.yaml"), &skips).unwrap();
    assert_eq!(end(&replay(&folder, "--produced")), (1, "4 records of orders, returns: 3 alike, 1 differ".into()));
    assert_eq!(folder.says("dead-letters retry price --kind limit").code, 0);
    assert_eq!(end(&replay(&folder, "--produced")), (0, "4 records of orders, returns: 4 alike, 0 differ".into()));
}

#[test]
fn a_record_of_each_line_is_as_a_program_reads_it() {
    let folder = with(&["tea", "reject 1"]);
    let lines: Vec<Value> = json_lines(&replay(&folder, "--json").out);
    let made = json!({"output": "main", "topic": "priced", "timestamp": TIME, "key": "ann", "value": "tea", "headers": [["from", "web"]]});
    let failure = json!({"kind": "reject", "code": "asked", "message": "asked to reject"});
    let line =
        |offset, outputs: &[Value]| json!({"topic": "orders", "partition": 0, "offset": offset, "outputs": outputs});
    let mut failed = line(1, &[]);
    failed["failure"] = failure;
    assert_eq!(lines, [line(0, &[made]), failed]);
}
