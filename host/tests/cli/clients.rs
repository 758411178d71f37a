//! `produce`, `consume` and `offsets` on the embedded log.

use crate::{
    command::{done, json_lines},
    support::{Folder, golden},
};
use serde_json::{Value, json};
use std::{
    thread,
    time::{Duration, Instant},
};

const MANIFEST: &str = "name: shop\ntopics: {orders: }\nstages:\n  a: {module: a.wasm, input: orders, output: o}\n";

/// A folder whose manifest names the embedded log, with these topics in it.
fn with(topics: &[(&str, u32)]) -> Folder {
    let folder = Folder::with(MANIFEST).set("MILLSTREAM_MANIFEST", "pipeline.yaml");
    for (topic, partitions) in topics {
        done(folder.says(&format!("topics create {topic} --partitions {partitions}")));
    }
    folder
}

/// Puts lines into a topic.
fn put(folder: &Folder, topic: &str, lines: &[&str]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let expected = if lines.len() == 1 {
        "1 record acknowledged\n".into()
    } else {
        format!("{} records acknowledged\n", lines.len())
    };
    assert_eq!(done(folder.given(text, &format!("produce {topic}"))), expected);
}

#[test]
fn every_shape_of_record_goes_in_and_comes_out_in_json() {
    let folder = with(&[("orders", 2), ("copy", 2)]);
    let records = [
        json!({"value": "v"}),
        json!({"key": "k", "value": null, "partition": 1}),
        json!({"key": "", "value": "", "partition": 1, "timestamp": 1_700_000_000_000_i64}),
        json!({"key": {"base64": "/w=="}, "value": {"base64": "/wA="}, "partition": 1,
               "headers": [["a", "1"], ["b", null], ["a", {"base64": "gA=="}], ["", ""]]}),
        json!({"key": "ключ", "value": "{\"a\":\"\\n\"}", "headers": []}),
    ];
    let text: String = records.iter().map(|record| format!("{record}\n\n")).collect();
    assert_eq!(done(folder.given(text, "produce orders --format json")), "5 records acknowledged\n");
    let printed = done(folder.says("consume orders --from-beginning --until-end --format json"));
    let found = json_lines(&printed);
    assert_eq!(found.len(), 5, "{printed}");
    for record in &records {
        let is_it = |found: &&Value| found["key"] == record["key"] && found["value"] == record["value"];
        let found = found.iter().find(is_it).unwrap_or_else(|| panic!("{record} is not in {printed}"));
        assert_eq!(found["topic"], "orders");
        assert_eq!(found["headers"], *record.get("headers").unwrap_or(&json!([])));
        for field in ["partition", "timestamp"] {
            assert!(record.get(field).is_none_or(|value| found[field] == *value), "{found}");
        }
        assert!(found["offset"].is_u64() && found["timestamp"].is_u64(), "{found}");
    }
    // What came out goes in again.
    assert_eq!(done(folder.given(&printed, "produce copy --format json")), "5 records acknowledged\n");
    let again = done(folder.says("consume copy -o start --until-end --format json"));
    assert_eq!(again, printed.replace("\"topic\":\"orders\"", "\"topic\":\"copy\""));
}

#[test]
fn lines_are_values_or_keys_and_values() {
    let folder = with(&[("orders", 1)]);
    assert_eq!(done(folder.given(b"a\n\n\xff\0last", "produce orders")), "3 records acknowledged\n");
    let keys = folder.given("k:v:w\n:\n", "produce orders --key-separator :");
    assert_eq!(done(keys), "2 records acknowledged\n");
    let all = "consume orders --from-beginning --until-end";
    let hex = "orders/0@0 key none value 61\norders/0@1 key none value empty\norders/0@2 key none value ff006c617374\n\
               orders/0@3 key 6b value 763a77\norders/0@4 key empty value empty\n";
    assert_eq!(done(folder.says(&format!("{all} --format hex"))), hex);
    let last = format!("{all} -o 3").replace("--from-beginning ", "");
    assert_eq!(done(folder.says(&last)), "v:w\n\n");
    assert_eq!(done(folder.says(&format!("{last} --format key-value"))), "k\tv:w\n\t\n");
    assert_eq!(done(folder.given("", "produce orders")), "0 records acknowledged\n");
}

#[test]
fn a_reader_begins_where_it_is_told() {
    let folder = with(&[("orders", 2)]);
    let record = |value: &str, partition, time| {
        format!("{}\n", json!({"value": value, "partition": partition, "timestamp": time}))
    };
    let text = [record("a", 0, 1000), record("b", 0, 2000), record("c", 0, 3000), record("d", 1, 2500)].concat();
    done(folder.given(text, "produce orders --format json"));
    let read = |words: &str| {
        let said = folder.says(&format!("consume orders --until-end {words}"));
        let mut values: Vec<_> = said.out.lines().map(str::to_owned).collect();
        values.sort();
        (values.concat(), said.err, said.code)
    };
    let quiet = |values: &str| (values.to_owned(), String::new(), 0);
    for (words, values) in [
        ("", ""),
        ("-o end", ""),
        ("-o start", "abcd"),
        ("--from-beginning", "abcd"),
        ("-o start --partition 0", "abc"),
        ("-o start --partition 0 -n 2", "ab"),
        ("-o 1 --partition 0", "bc"),
        ("-o @2000", "bcd"),
        ("-o @2001", "cd"),
        ("-o @1970-01-01T00:00:02.500Z", "cd"),
        ("-o @9999", ""),
    ] {
        assert_eq!(read(words), quiet(values), "{words}");
    }
    assert_eq!(done(folder.says("consume orders --partition 1 -o start -n 1")), "d\n");
    assert_eq!(done(folder.says("consume orders --partition 0 -o start -n 3")), "a\nb\nc\n");
    assert_eq!(read("-o 2"), ("c".into(), "orders/1 ends at 1 yet\n".into(), 0));
    let said = folder.says("consume orders --partition 2");
    assert_eq!((said.code, said.err.as_str()), (2, "error: orders has no partition 2: the last one is 1\n"));
}

#[test]
fn a_reader_waits_for_what_comes_and_ends_in_order() {
    let folder = with(&[("orders", 1)]);
    put(&folder, "orders", &["old"]);
    let mut all = folder.start("consume orders -o start");
    let ahead = folder.start("consume orders -o 2 -n 1");
    assert_eq!(all.lines(1), ["old"]);
    put(&folder, "orders", &["a"]);
    assert_eq!(all.lines(1), ["a"]);
    put(&folder, "orders", &["b"]);
    assert_eq!(all.lines(1), ["b"]);
    assert_eq!(ahead.end().out, "b\n");
    for signal in ["INT", "TERM"] {
        let mut reader = folder.start("consume orders -o start");
        reader.lines(3);
        reader.signal(signal);
        done(reader.end());
    }
    // Who leaves ends it, though nothing comes.
    let mut all = all;
    drop(all.process.stdout.take());
    done(all.end());
}

#[test]
fn a_group_goes_on_where_it_stands() {
    let folder = with(&[("orders", 1)]);
    put(&folder, "orders", &["a", "b"]);
    // It begins at the end, and keeps that.
    assert_eq!(done(folder.says("consume orders --group late --until-end")), "");
    assert_eq!(done(folder.says("consume orders --group all -o start -n 1")), "a\n");
    put(&folder, "orders", &["c", "d"]);
    assert_eq!(done(folder.says("consume orders --group all -n 2")), "b\nc\n");
    assert_eq!(done(folder.says("consume orders --group late --until-end")), "c\nd\n");
    let shown = done(folder.says("offsets show all --json"));
    let row = json!({"topic": "orders", "partition": 0, "position": 3, "start": 0, "end": 4, "lag": 1});
    assert_eq!(json_lines(&shown), [json!({"group": "all", "members": 0, "partitions": [row]})]);
    let said = folder.says("consume orders --group all --from-beginning --until-end");
    assert_eq!((said.code, said.out.as_str()), (0, "d\n"));
    assert!(said.err.contains("goes on where it stands"), "{}", said.err);
    // A group that is put at an offset.
    assert_eq!(done(folder.says("consume orders --group two -o 2 -n 1")), "c\n");
    assert_eq!(done(folder.says("consume orders --group two --until-end")), "d\n");
}

#[test]
fn a_group_is_put_elsewhere_unless_it_runs() {
    let folder = with(&[("orders", 2)]);
    let text: String =
        (0..5).map(|n| format!("{}\n", json!({"value": "v", "partition": 0, "timestamp": 1000 * n}))).collect();
    done(folder.given(text, "produce orders --format json"));
    done(folder.says("consume orders --group shop.a -o start -n 4"));
    let mut said = Vec::new();
    for words in [
        "offsets show shop.a",
        "offsets set shop.a --topic orders --to earliest --dry-run",
        "offsets show shop.a",
        "offsets set shop.a --topic orders --to earliest",
        "offsets set shop.a --topic orders --partition 0 --to 3",
        "offsets set shop.a --topic orders --to @2500 --json",
        "offsets set shop.a --topic orders --to 1970-01-01T00:00:01Z",
        "offsets set shop.a --topic orders --to latest",
        "offsets set shop.a --topic orders --to 3",
        "offsets set shop.a --topic orders --partition 0 --to 6",
        "offsets set shop.a --topic orders --partition 2 --to 0",
        "offsets set shop.a --topic order --to 0",
        "offsets show shop.a",
        "offsets show shop.b",
        "offsets show nobody.at.all",
        "offsets show shop.a --topic order",
        "offsets show shop.b --topic orders",
    ] {
        said.push(folder.says(words));
    }
    let mut reader = folder.start("consume orders --group shop.a");
    put(&folder, "orders", &["new"]);
    assert_eq!(reader.lines(1), ["new"]);
    // Its progress is committed every second.
    let since = Instant::now();
    while !done(folder.says("offsets show shop.a --topic orders --json")).contains("\"position\":6") {
        assert!(since.elapsed() < Duration::from_secs(60), "the reader's progress is not kept");
        thread::sleep(Duration::from_millis(50));
    }
    said.push(folder.says("offsets show shop.a --topic orders"));
    said.push(folder.says("offsets set shop.a --topic orders --partition 0 --to 0 --dry-run"));
    let refused = folder.says("offsets set shop.a --topic orders --to earliest");
    assert_eq!(refused.code, 2);
    said.push(refused);
    reader.signal("INT");
    done(reader.end());
    golden("offsets", &said);
}

#[test]
fn what_was_not_acknowledged_is_named() {
    let folder = with(&[("orders", 2)]);
    done(folder.says("topics create small --config max.message.bytes=1000"));
    done(folder.says("topics create keyed --config cleanup.policy=compact"));
    let text = format!(
        "{}\n{}\n{}\n{}\n{}\n",
        json!({"value": "a"}),
        json!({"key": "k\n", "value": "b", "partition": 2}),
        json!({"value": "c", "timestamp": -1}),
        json!({"value": "d", "headers": [[{"base64": "/w=="}, "x"]]}),
        json!({"value": "e"})
    );
    let mut said = vec![
        folder.given(&text, "produce orders --format json"),
        folder.given(&text, "produce orders --format json --json"),
    ];
    said.push(folder.given(format!("a\n{}\nb\n", "x".repeat(1000)), "produce small"));
    said.push(folder.given("a\n".repeat(30), "produce keyed"));
    said.push(folder.given("a\nb\n{\n", "produce orders --key-separator :"));
    said.push(
        folder.given("{\"value\":\"f\"}\n{\"vlaue\":\"g\"}\n{\"value\":\"h\"}\n", "produce orders --format json"),
    );
    said.push(folder.given("", "produce oders"));
    said.push(folder.given("", "produce something-else"));
    said.push(folder.says("consume oders"));
    said.push(folder.says("consume small -o start --until-end"));
    golden("produce", &said);
    let mut there: Vec<_> =
        done(folder.says("consume orders -o start --until-end")).lines().map(str::to_owned).collect();
    there.sort();
    assert_eq!(there, ["a", "a", "e", "e", "f"]);
}

#[test]
fn what_was_not_acknowledged_is_told_though_nobody_reads_the_result() {
    let folder = with(&[]);
    done(folder.says("topics create keyed --config cleanup.policy=compact"));
    let mut writer = folder.start("produce keyed");
    drop(writer.process.stdout.take());
    writer.write("a\n");
    let said = writer.end();
    assert_eq!((said.code, said.err.lines().count()), (1, 2), "{}", said.err);
}

#[test]
fn one_variable_serves_both_directions_and_an_empty_one_none() {
    let folder = with(&[("orders", 1)]).set("MILLSTREAM_KAFKA", "");
    put(&folder, "orders", &["a"]);
    let folder = folder.set("MILLSTREAM_FORMAT", "hex");
    put(&folder, "orders", &["b"]);
    let hex = "orders/0@0 key none value 61\norders/0@1 key none value 62\n";
    assert_eq!(done(folder.says("consume orders -o start --until-end")), hex);
    let said = folder.set("MILLSTREAM_FORMAT", "hax").given("c\n", "produce orders");
    assert_eq!(said.code, 2, "{}", said.err);
}

#[test]
fn what_was_read_before_a_signal_is_acknowledged() {
    let folder = with(&[("orders", 1)]);
    let mut reader = folder.start("consume orders -o start");
    let mut writer = folder.start("produce orders");
    writer.write("a\nb\nhal");
    // They are there while the input is open.
    assert_eq!(reader.lines(2), ["a", "b"]);
    writer.signal("INT");
    let input = writer.process.stdin.take();
    let said = writer.end();
    drop(input);
    assert_eq!((said.code, said.out.as_str()), (0, "2 records acknowledged\n"));
    assert_eq!(said.err, "the last line had no end yet, and was not sent\n");
    reader.signal("INT");
    done(reader.end());
    assert_eq!(done(folder.says("consume orders -o start --until-end")), "a\nb\n");
}

#[test]
fn a_reader_that_left_is_no_failure() {
    let folder = with(&[("orders", 1)]);
    let text: String = (0..100_000).map(|number| format!("{number}\n")).collect();
    assert_eq!(done(folder.given(&text, "produce orders")), "100,000 records acknowledged\n");
    assert_eq!(done(folder.says("consume orders -o start --until-end")), text);
    let mut reader = folder.start("consume orders -o start --group g");
    assert_eq!(reader.lines(2), ["0", "1"]);
    drop(reader.process.stdout.take());
    done(reader.end());
    // Nothing that was not written is the group's progress.
    let shown = json_lines(&done(folder.says("offsets show g --json")));
    assert!(shown[0]["partitions"][0]["position"].as_u64().unwrap() < 100_000, "{shown:?}");
}

#[test]
fn a_topic_that_goes_away_takes_no_more() {
    let folder = with(&[("orders", 1)]);
    let mut reader = folder.start("consume orders -o start");
    let mut writer = folder.start("produce orders --key-separator :");
    writer.write("k:a\n");
    assert_eq!(reader.lines(1), ["a"]);
    done(folder.says("topics delete orders"));
    writer.write("l:b\nm:c\n");
    let said = writer.end();
    assert_eq!((said.code, said.out.as_str()), (1, "1 record acknowledged\n"));
    assert!(said.err.contains("2 records not acknowledged") && said.err.contains("line 2, key l: "), "{}", said.err);
    let said = reader.end();
    assert_eq!((said.code, said.err.lines().count()), (1, 1), "{}", said.err);
    assert!(said.err.contains("there is no topic orders"), "{}", said.err);
}
