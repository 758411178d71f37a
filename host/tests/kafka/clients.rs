//! `produce`, `consume` and `offsets` on a real Kafka: what the suite of the commands shows on the embedded log, and
//! what only a Kafka has.

use crate::{
    command::{MILLSTREAM, Running, Said, done, json_lines},
    support::{Kafka, Sent, read_all, unique, until},
};
use rdkafka::{
    consumer::{BaseConsumer, Consumer},
    producer::{BaseRecord, Producer},
    topic_partition_list::{Offset, TopicPartitionList},
};
use serde_json::{Value, json};
use std::{io::Write, thread, time::Duration};

fn start(kafka: &Kafka, words: &str) -> Running {
    let mut command = xtask::clean_command(MILLSTREAM);
    Running::start(command.args(words.split_whitespace()).args(["--kafka", &kafka.address]), words)
}

fn says(kafka: &Kafka, words: &str) -> Said {
    start(kafka, words).end()
}

fn given(kafka: &Kafka, input: impl AsRef<[u8]>, words: &str) -> Said {
    start(kafka, words).given(input)
}

fn value<'a>(value: &'a str) -> Sent<'a> {
    Sent { value: Some(value.as_bytes()), partition: Some(0), ..Sent::default() }
}

#[test]
fn every_shape_of_record_goes_in_and_comes_out() {
    let (kafka, topic, copy) = (Kafka::shared(), unique("shapes"), unique("copy"));
    kafka.make(&topic, 2, &[]);
    kafka.make(&copy, 2, &[]);
    let records = [
        json!({"value": "v", "partition": 0}),
        json!({"key": "k", "value": null, "partition": 1}),
        json!({"key": "", "value": "", "partition": 1, "timestamp": 1_700_000_000_000_i64}),
        json!({"key": {"base64": "/w=="}, "value": {"base64": "/wA="}, "partition": 1,
               "headers": [["a", "1"], ["b", null], ["a", {"base64": "gA=="}], ["", ""]]}),
        json!({"key": "ключ", "value": "{\"a\":\"\\n\"}", "headers": [], "partition": 0}),
    ];
    let text: String = records.iter().map(|record| format!("{record}\n")).collect();
    let said = given(&kafka, text, &format!("produce {topic} --format json"));
    assert_eq!(done(said), "5 records acknowledged\n");
    let seen = read_all(&kafka, &topic);
    let odd = seen.iter().find(|record| record.key.as_deref() == Some(b"\xff")).unwrap();
    assert_eq!(odd.value.as_deref(), Some(&b"\xff\0"[..]));
    assert_eq!(odd.headers[1], ("b".to_owned(), None));
    assert_eq!(odd.headers[3], (String::new(), Some(Vec::new())));
    assert!(seen.iter().any(|record| record.value.is_none() && record.key.as_deref() == Some(b"k")));
    assert!(seen.iter().any(|record| record.timestamp == Some(1_700_000_000_000)));
    let read = |topic: &str| {
        let printed = done(says(&kafka, &format!("consume {topic} --from-beginning --until-end --format json")));
        let mut lines: Vec<_> = printed.lines().map(str::to_owned).collect();
        // Partitions come in any order.
        lines.sort();
        lines.join("\n") + "\n"
    };
    let printed = read(&topic);
    for record in &records {
        let found = json_lines(&printed);
        let found = found.iter().find(|found| found["key"] == record["key"] && found["value"] == record["value"]);
        let found = found.unwrap_or_else(|| panic!("{record} is not in {printed}"));
        for field in ["partition", "timestamp", "headers"] {
            assert!(record.get(field).is_none_or(|value| found[field] == *value), "{found}");
        }
    }
    assert_eq!(done(given(&kafka, &printed, &format!("produce {copy} --format json"))), "5 records acknowledged\n");
    assert_eq!(read(&copy), printed.replace(&topic, &copy));
    let said = given(&kafka, "k:v:w\nnone", &format!("produce {topic} --key-separator :"));
    assert_eq!((said.code, said.out.as_str()), (2, "1 record acknowledged\n"), "{}", said.err);
    assert!(said.err.contains("line 2: it has no `:`"), "{}", said.err);
    // Where the key leads, as every client of Kafka's has it.
    let same = read_all(&kafka, &topic).into_iter().find(|record| record.value.as_deref() == Some(b"v:w")).unwrap();
    kafka.send(&topic, [Sent { key: Some(b"k"), value: Some(b"other"), ..Sent::default() }]);
    let other = read_all(&kafka, &topic).into_iter().find(|record| record.value.as_deref() == Some(b"other")).unwrap();
    assert_eq!((same.key, same.partition), (other.key, other.partition));
}

#[test]
fn the_end_lies_in_front_of_open_transactions_and_behind_aborted_ones() {
    let (kafka, topic) = (Kafka::shared(), unique("ends"));
    kafka.make(&topic, 1, &[]);
    let read = |words: &str| done(says(&kafka, &format!("consume {topic} --until-end {words}")));
    assert_eq!(read("-o start"), "");
    kafka.send_in_transaction(&topic, [value("a"), value("b")], true);
    kafka.send_in_transaction(&topic, [value("x"), value("y")], false);
    assert_eq!(read("-o start"), "a\nb\n");
    assert_eq!(read("-o start --uncommitted"), "a\nb\nx\ny\n");
    assert_eq!(read("-o 1"), "b\n");
    // The marker of a commit, and what was aborted.
    for from in 2..=6 {
        assert_eq!(read(&format!("-o {from}")), "", "{from}");
    }
    assert_eq!(read("--group behind -o start"), "a\nb\n");
    assert_eq!(kafka.lag("behind", &topic), 0, "offsets without records are progress too");
    let open: rdkafka::producer::BaseProducer =
        kafka.config().set("transactional.id", unique("open")).create().unwrap();
    open.init_transactions(Duration::from_secs(30)).unwrap();
    open.begin_transaction().unwrap();
    open.send(BaseRecord::<[u8], [u8]>::to(&topic).payload(b"open")).map_err(|(error, _)| error).unwrap();
    open.flush(Duration::from_secs(30)).unwrap();
    kafka.send(&topic, [value("c")]);
    assert_eq!(read("-o start"), "a\nb\n");
    assert_eq!(read("-o start --uncommitted"), "a\nb\nx\ny\nopen\nc\n");
    open.commit_transaction(Duration::from_secs(30)).unwrap();
    kafka.until_settled(&topic);
    assert_eq!(read("-o start"), "a\nb\nopen\nc\n");
}

/// As after a kill -9 in the middle of a commit.
#[test]
fn a_group_is_shown_as_it_was_before_a_transaction_that_is_open() {
    let (kafka, topic, group) = (Kafka::shared(), unique("pending"), unique("pending-group"));
    kafka.make(&topic, 1, &[]);
    kafka.send(&topic, [value("a"), value("b"), value("c")]);
    assert_eq!(done(says(&kafka, &format!("consume {topic} --group {group} -o start -n 1"))), "a\n");
    let open: rdkafka::producer::BaseProducer =
        kafka.config().set("transactional.id", unique("pending")).create().unwrap();
    open.init_transactions(Duration::from_secs(30)).unwrap();
    open.begin_transaction().unwrap();
    let member: BaseConsumer = kafka.config().set("group.id", &group).create().unwrap();
    let mut next = TopicPartitionList::new();
    next.add_partition_offset(&topic, 0, Offset::Offset(3)).unwrap();
    let member = member.group_metadata().unwrap();
    open.send_offsets_to_transaction(&next, &member, Duration::from_secs(30)).unwrap();
    let position = || {
        let shown = done(says(&kafka, &format!("offsets show {group} --json")));
        json_lines(&shown)[0]["partitions"][0]["position"].clone()
    };
    assert_eq!(position(), 1);
    open.commit_transaction(Duration::from_secs(30)).unwrap();
    until("it is committed", Duration::from_secs(60), || position() == 3);
}

#[test]
fn a_reader_begins_where_it_is_told_and_waits_for_what_comes() {
    let (kafka, topic) = (Kafka::shared(), unique("starts"));
    kafka.make(&topic, 2, &[]);
    let sent = [("a", 0, 1000), ("b", 0, 2000), ("c", 0, 3000), ("d", 1, 2500)];
    kafka.send(
        &topic,
        sent.iter().map(|(value, partition, time)| Sent {
            value: Some(value.as_bytes()),
            partition: Some(*partition),
            timestamp: Some(*time),
            ..Sent::default()
        }),
    );
    for (words, values) in [
        ("", ""),
        ("-o start", "abcd"),
        ("-o start --partition 0 -n 2", "ab"),
        ("-o 1 --partition 0", "bc"),
        ("-o @2001", "cd"),
        ("-o @1970-01-01T00:00:02.500Z", "cd"),
        ("-o @9999", ""),
    ] {
        let out = done(says(&kafka, &format!("consume {topic} --until-end {words}")));
        let mut found: Vec<_> = out.lines().collect();
        found.sort_unstable();
        assert_eq!(found.concat(), values, "{words}");
    }
    kafka.delete_records(&topic, 1, 2);
    let gone = says(&kafka, &format!("consume {topic} --until-end --partition 0 -o 1")).parts();
    assert_eq!(gone, (0, "c\n".into(), format!("{topic}/0 begins at 2 now\n")));
    let mut all = start(&kafka, &format!("consume {topic} -o 3 --partition 0"));
    let ahead = start(&kafka, &format!("consume {topic} -o 4 -n 1 --partition 0"));
    kafka.send(&topic, [value("e")]);
    assert_eq!(all.lines(1), ["e"]);
    kafka.send(&topic, [value("f")]);
    assert_eq!(all.lines(1), ["f"]);
    assert_eq!(ahead.end().out, "f\n");
    all.signal("INT");
    assert_eq!(done(all.end()), "");
    // Who leaves ends it, though nothing comes.
    let mut left = start(&kafka, &format!("consume {topic} -o 4 --partition 0"));
    assert_eq!(left.lines(1), ["f"]);
    drop(left.process.stdout.take());
    assert_eq!(done(left.end()), "");
}

#[test]
fn a_group_goes_on_where_it_stands_and_shares_its_topic() {
    let (kafka, topic, group) = (Kafka::shared(), unique("shared"), unique("group"));
    kafka.make(&topic, 2, &[]);
    kafka.send(&topic, [value("a"), value("b"), value("c")]);
    let read = |words: &str| done(says(&kafka, &format!("consume {topic} --group {group} {words}")));
    assert_eq!(read("-o start -n 2"), "a\nb\n");
    assert_eq!(read("--until-end"), "c\n");
    assert_eq!(read("--until-end --partition 0"), "");
    let shown = done(says(&kafka, &format!("offsets show {group} --json")));
    let row = |partition, at| json!({"topic": topic, "partition": partition, "position": at, "start": 0, "end": at, "lag": 0});
    assert_eq!(json_lines(&shown), [json!({"group": group, "members": 0, "partitions": [row(0, 3), row(1, 0)]})]);
    // Two of them have one partition each, and every record comes once.
    let two = [(); 2].map(|()| start(&kafka, &format!("consume {topic} --group {group}")));
    until("both have their share", Duration::from_secs(30), || kafka.is_shared_by(&group, 2));
    let shown = done(says(&kafka, &format!("offsets show {group} --json")));
    assert_eq!(json_lines(&shown)[0]["members"], 2);
    let sent: Vec<_> = (0..200).map(|number| number.to_string()).collect();
    kafka.send(
        &topic,
        sent.iter().zip(0..).map(|(value, number)| Sent { partition: Some(number % 2), ..self::value(value) }),
    );
    until("all is read", Duration::from_secs(30), || kafka.lag(&group, &topic) == 0);
    two.iter().for_each(|reader| reader.signal("TERM"));
    let read = two.map(|reader| done(reader.end()));
    let mut all: Vec<_> = read.iter().flat_map(|out| out.lines()).collect();
    all.sort_by_key(|value| value.parse::<u32>().unwrap());
    assert_eq!(all, sent);
    assert!(read.iter().all(|out| !out.is_empty()), "one of them read everything");
}

#[test]
fn a_group_is_put_elsewhere_unless_it_runs() {
    let (kafka, topic, group) = (Kafka::shared(), unique("moved"), unique("group"));
    kafka.make(&topic, 2, &[]);
    kafka.send(&topic, (0..5).map(|n| Sent { timestamp: Some(1000 * n + 1), ..value("v") }));
    let set = |words: &str| says(&kafka, &format!("offsets set {group} --topic {topic} {words}"));
    let moved = |from: [&str; 2], to: [u32; 2], how: &str| {
        format!("{group} {how}:\n  {topic}/0: {} → {}\n  {topic}/1: {} → {}\n", from[0], to[0], from[1], to[1])
    };
    assert_eq!(done(set("--to latest --dry-run")), moved(["none", "none"], [5, 0], "would be put"));
    assert_eq!(says(&kafka, &format!("offsets show {group}")).code, 2);
    assert_eq!(done(set("--to latest")), moved(["none", "none"], [5, 0], "is put"));
    let near = says(&kafka, &format!("offsets show {group}x"));
    assert_eq!(near.err, format!("error: there is no group {group}x: did you mean {group}?\n"));
    // A new one that begins at an offset.
    let new = says(&kafka, &format!("consume {topic} --group {} -o 2 -n 1", unique("new")));
    assert_eq!(new.parts(), (0, "v\n".into(), format!("{topic}/1 ends at 0 yet\n")));
    assert_eq!(done(set("--to 1970-01-01T00:00:02Z")), moved(["5", "0"], [2, 0], "is put"));
    assert_eq!(done(set("--to @3001")), moved(["2", "0"], [3, 0], "is put"));
    assert_eq!(done(set("--to 1 --partition 0")), format!("{group} is put:\n  {topic}/0: 3 → 1\n"));
    for (words, why) in [
        ("--to 6 --partition 0", "has the offsets 0 to 5"),
        ("--to 3", "has the offsets 0 to 0"),
        ("--to 0 --partition 2", "has no partition 2"),
    ] {
        let (code, out, err) = set(words).parts();
        assert_eq!((code, out.as_str(), err.lines().count()), (2, "", 1), "{err}");
        assert!(err.contains(why), "{err}");
    }
    let shown = done(says(&kafka, &format!("offsets show {group}")));
    let rows: Vec<Vec<_>> = shown.lines().skip(2).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows, [[topic.as_str(), "0", "1", "5", "4"], [topic.as_str(), "1", "0", "0", "0"]], "{shown}");
    let mut reader = start(&kafka, &format!("consume {topic} --group {group}"));
    assert_eq!(reader.lines(4), ["v"; 4]);
    let (code, out, err) = set("--to earliest").parts();
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("runs, with 1 member"), "{err}");
    let partition = says(&kafka, &format!("consume {topic} --group {group} --partition 0 -n 0"));
    assert_eq!(partition.code, 0, "it commits nothing");
    reader.signal("INT");
    done(reader.end());
    assert_eq!(done(set("--to earliest")), moved(["5", "0"], [0, 0], "is put"));
}

#[test]
fn what_was_not_acknowledged_is_named() {
    let (kafka, topic, keyed) = (Kafka::shared(), unique("named"), unique("keyed"));
    kafka.make(&topic, 1, &[("max.message.bytes", "2000")]);
    kafka.make(&keyed, 1, &[("cleanup.policy", "compact")]);
    let text = format!("a\n{}\nb\n", "x".repeat(3000));
    let (code, out, err) = given(&kafka, text, &format!("produce {topic}")).parts();
    assert_eq!((code, out.as_str()), (1, "2 records acknowledged\n"), "{err}");
    assert!(err.contains(&format!("line 2: {topic} takes records of 2000 bytes, this one has 3096")), "{err}");
    let text =
        "{\"value\":\"no key\"}\n{\"key\":\"k\",\"value\":\"v\"}\n{\"key\":\"l\",\"value\":\"w\",\"partition\":3}\n";
    let (code, out, err) = given(&kafka, text, &format!("produce {keyed} --format json --json")).parts();
    let result: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &result["acknowledged"], &result["failed"]), (1, &json!(1), &json!(2)), "{err}");
    assert_eq!((&result["first-failed"][0]["line"], &result["first-failed"][1]["key"]), (&json!(1), &json!("l")));
    assert_eq!(read_all(&kafka, &keyed).len(), 1);
    assert_eq!(done(says(&kafka, &format!("consume {topic} -o start --until-end"))), "a\nb\n");
    let near = &topic[..topic.len() - 1];
    let (code, _, err) = given(&kafka, "v\n", &format!("produce {near}x")).parts();
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("did you mean") && err.contains("topics create"), "{err}");
    assert!(kafka.topics().find(&[&format!("{near}x")]).unwrap().is_empty(), "a topic was made by mistake");
}

#[test]
fn what_was_read_before_a_signal_is_acknowledged() {
    let (kafka, topic) = (Kafka::shared(), unique("signal"));
    kafka.make(&topic, 1, &[]);
    let mut writer = start(&kafka, &format!("produce {topic}"));
    writer.write("a\nb\nhal");
    // They are there while the input is open.
    until("they are there", Duration::from_secs(30), || read_all(&kafka, &topic).len() == 2);
    writer.signal("INT");
    let input = writer.process.stdin.take();
    let said = writer.end().parts();
    drop(input);
    let told = "the last line had no end yet, and was not sent\n";
    assert_eq!(said, (0, "2 records acknowledged\n".into(), told.into()));
    // Many, through a pipe that is never empty.
    let many = "many\n".repeat(10_000);
    let mut writer = start(&kafka, &format!("produce {topic}"));
    let mut input = writer.process.stdin.take().unwrap();
    let feed = thread::spawn(move || while input.write_all(many.as_bytes()).is_ok() {});
    until("some are there", Duration::from_secs(30), || kafka.lag("nobody", &topic) > 2);
    writer.signal("TERM");
    let (code, out, err) = writer.end().parts();
    feed.join().unwrap();
    let acknowledged = kafka.lag("nobody", &topic) - 2;
    let digits: String = out.chars().filter(char::is_ascii_digit).collect();
    assert_eq!((code, digits), (0, acknowledged.to_string()), "{err}");
}
