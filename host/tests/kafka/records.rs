//! Records in full, and what becomes of those that fail.

use crate::support::{Kafka, Pipeline, Seen, Sent, Watch, raw, read_all, until};
use std::time::Duration;

const TRIAL: &str = "
topics:
  '{name}-in': {partitions: 2}
stages:
  trial:
    module: '{guests}/trial.wasm'
    inputs: {orders: '{name}-in'}
    outputs: {main: '{name}-out', large: '{name}-large'}
    config: {currency: EUR, port: 8080, list: [1, two]}
";

fn value(text: &str) -> Sent<'_> {
    Sent { key: Some(b"k"), value: Some(text.as_bytes()), partition: Some(0), ..Sent::default() }
}

fn texts(seen: &[Seen]) -> Vec<String> {
    seen.iter().map(Seen::text).collect()
}

/// Sends, drains, and gives what came out of the first output and as dead letters.
fn pass(manifest: &str, records: Vec<Sent<'_>>) -> (Pipeline, Vec<Seen>, Vec<Seen>) {
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(&kafka, manifest);
    kafka.make(&pipeline.topic("in"), 2, &[]);
    kafka.send(&pipeline.topic("in"), records);
    pipeline.drain();
    let letters = format!("{}.trial.dead-letter", pipeline.name);
    let letters = if manifest.contains("on-error") { Vec::new() } else { read_all(&kafka, &letters) };
    let seen = read_all(&kafka, &pipeline.topic("out"));
    (pipeline, seen, letters)
}

#[test]
fn every_shape_of_record_passes_byte_for_byte() {
    let bytes: Vec<u8> = (0..=255).collect();
    let headers = vec![
        ("trace", Some(&b"1"[..])),
        ("none", None),
        ("trace", Some(&b"2"[..])),
        ("empty", Some(&b""[..])),
        ("bytes", Some(&bytes[..])),
    ];
    let base = Sent { timestamp: Some(1_600_000_000_123), partition: Some(1), ..Sent::default() };
    let records = vec![
        Sent { key: None, value: Some(b"no key"), ..base.clone() },
        Sent { key: Some(b"tombstone"), value: None, ..base.clone() },
        Sent { key: Some(b""), value: Some(b""), ..base.clone() },
        Sent { key: None, value: None, ..base.clone() },
        Sent { key: Some(&bytes), value: Some(&bytes), headers: headers.clone(), ..base.clone() },
    ];
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(&kafka, TRIAL);
    kafka.make(&pipeline.topic("in"), 2, &[]);
    kafka.make(&pipeline.topic("out"), 1, &[]);
    kafka.send(&pipeline.topic("in"), records.clone());
    pipeline.drain();
    let seen = read_all(&kafka, &pipeline.topic("out"));
    assert_eq!(seen.len(), records.len());
    for (sent, seen) in records.iter().zip(&seen) {
        assert_eq!(seen.key.as_deref(), sent.key);
        assert_eq!(seen.value.as_deref(), sent.value);
        assert_eq!(seen.timestamp, sent.timestamp);
        let headers: Vec<_> = seen.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        assert_eq!(headers, sent.headers);
    }
}

#[test]
fn header_names_that_are_not_text_pass_untouched() {
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(&kafka, TRIAL);
    kafka.make(&pipeline.topic("in"), 2, &[]);
    kafka.make(&pipeline.topic("out"), 1, &[]);
    let (name, value) = (&b"\xff\xfe name"[..], &b"\x00\xff"[..]);
    raw::send_with_header(&kafka, &pipeline.topic("in"), name, value);
    pipeline.drain();
    assert_eq!(raw::first_header(&kafka, &pipeline.topic("out")), (name.to_vec(), value.to_vec()));
}

#[test]
fn outputs_headers_partitions_and_times_go_where_the_guest_says() {
    let sent = Sent { headers: vec![("h", Some(b"1"))], timestamp: Some(1_700_000_000_000), ..value("") };
    let records =
        ["to large hello", "partition 1", "at 1650000000000", "add", "replace", "headers", "config", "filter"]
            .map(|text| Sent { value: Some(text.as_bytes()), ..sent.clone() });
    let (pipeline, seen, letters) = pass(TRIAL, records.to_vec());
    assert_eq!(letters, []);
    assert_eq!(texts(&read_all(&pipeline.kafka, &pipeline.topic("large"))), ["hello"]);
    let find = |text: &str| seen.iter().find(|record| record.text().starts_with(text)).unwrap();
    assert_eq!(find("partition 1").partition, 1);
    assert_eq!(find("at ").timestamp, Some(1_650_000_000_000));
    let names = |record: &Seen| record.headers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(find("add")), ["h", "tag", "tag", "none"]);
    assert_eq!(names(find("replace")), ["only"]);
    find("h=1");
    find("currency=EUR list=[1,\"two\"] port=8080");
    assert_eq!(seen.len(), 6);
}

#[test]
fn what_a_guest_knows_of_its_record() {
    let (pipeline, seen, _) = pass(TRIAL, vec![Sent { timestamp: Some(1_700_000_000_000), ..value("origin") }]);
    assert_eq!(texts(&seen), [format!("{}/orders/0@0/1700000000000/1", pipeline.topic("in"))]);
}

#[test]
fn a_member_with_a_record_that_takes_longer_than_the_poll_interval_stays_one() {
    let kafka = Kafka::shared();
    // Kafka takes a member of such an interval for dead after six seconds, and this record takes seven, twice.
    let manifest = format!("{TRIAL}    limits: {{time: 7s}}\n    properties: {{max.poll.interval.ms: 6000}}\n");
    let pipeline = Pipeline::new(&kafka, &manifest);
    let (input, group) = (pipeline.topic("in"), format!("{}.trial", pipeline.name));
    kafka.make(&input, 2, &[]);
    let host = pipeline.run(&[]);
    host.until("it is a member", Duration::from_secs(60), || kafka.is_shared_by(&group, 1));
    let member = kafka.members(&group);
    kafka.send(&input, [value("loop")]);
    host.wait_until_said("dead letter: ");
    host.until("it is done", Duration::from_secs(60), || kafka.lag(&group, &input) == 0);
    assert_eq!(kafka.members(&group), member);
}

#[test]
fn a_record_that_fails_becomes_a_dead_letter_and_the_others_go_on() {
    let failing =
        ["reject", "fault", "panic", "loop", "memory", "recurse", "many 5000", "to nowhere x", "partition 99"];
    let mut records = vec![value("first")];
    records.extend(failing.map(|text| Sent { headers: vec![("trace", Some(b"t"))], ..value(text) }));
    records.push(value("last"));
    let (pipeline, seen, letters) = pass(TRIAL, records);
    assert_eq!(texts(&seen), ["first", "last"]);
    assert_eq!(texts(&letters), failing);
    let said = |header: &str| -> Vec<String> {
        letters.iter().map(|letter| letter.header(&format!("millstream.error.{header}")).unwrap()).collect()
    };
    let limit = "limit";
    assert_eq!(said("kind"), ["reject", "fault", "fault", limit, limit, limit, limit, "fault", "fault"]);
    assert_eq!(
        said("code"),
        [
            "asked",
            "asked",
            "trap",
            "time-limit",
            "memory-limit",
            "stack-limit",
            "output-limit",
            "unknown-output",
            "unknown-partition"
        ]
    );
    assert!(said("message")[2].contains("asked to panic"), "{:?}", said("message"));
    assert_eq!(said("offset"), (1..=9).map(|offset| offset.to_string()).collect::<Vec<_>>());
    let letter = &letters[0];
    let names: Vec<_> = letter.headers.iter().map(|(name, _)| name.trim_start_matches("millstream.error.")).collect();
    assert_eq!(
        names,
        [
            "trace",
            "pipeline",
            "stage",
            "module",
            "topic",
            "partition",
            "offset",
            "timestamp",
            "kind",
            "code",
            "message",
            "attempts",
            "at",
            "host-version"
        ]
    );
    assert_eq!(letter.key.as_deref(), Some(&b"k"[..]));
    assert_eq!(letter.header("millstream.error.topic"), Some(pipeline.topic("in")));
    let facts = pipeline.kafka.topics().find(&[format!("{}.trial.dead-letter", pipeline.name).as_str()]).unwrap();
    let config = &facts.values().next().unwrap().config;
    assert_eq!((config["retention.ms"].as_str(), config["cleanup.policy"].as_str()), ("-1", "delete"));
}

#[test]
fn a_record_that_fails_only_with_what_others_left_behind_is_not_blamed() {
    // `fresh` fails on any instance that was used before.
    let (_, seen, letters) = pass(TRIAL, vec![value("warm up"), value("fresh")]);
    assert_eq!((texts(&seen).as_slice(), letters.len()), (&["warm up".to_owned(), "fresh".to_owned()][..], 0));
    let (_, seen, letters) = pass(TRIAL, vec![value("warm up"), value("calls"), value("panic"), value("calls")]);
    assert_eq!(texts(&seen), ["warm up", "2", "1"]);
    assert_eq!(letters.len(), 1);
}

#[test]
fn a_refusal_by_the_broker_is_one_records_failure() {
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(&kafka, TRIAL);
    let (input, output) = (pipeline.topic("in"), pipeline.topic("out"));
    kafka.make(&input, 2, &[]);
    // The host cannot see beforehand that the kept headers are what makes the record too large.
    kafka.make(&output, 1, &[("max.message.bytes", "20000")]);
    let large = vec![b'h'; 30_000];
    let texts_in: Vec<_> = (0..200).map(|number| format!("v{number}")).collect();
    let mut records: Vec<_> = texts_in.iter().map(|text| value(text)).collect();
    records[120].headers = vec![("large", Some(&large))];
    kafka.send(&input, records);
    let said = pipeline.drain();
    let seen = texts(&read_all(&kafka, &output));
    let expected: Vec<_> = texts_in.iter().filter(|text| *text != "v120").cloned().collect();
    assert_eq!(seen, expected, "{said}");
    let letters = read_all(&kafka, &format!("{}.trial.dead-letter", pipeline.name));
    assert_eq!(texts(&letters), ["v120"]);
    assert_eq!(letters[0].header("millstream.error.code").as_deref(), Some("refused"));
}

#[test]
fn what_an_output_would_refuse_is_seen_before_it_is_sent() {
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(&kafka, TRIAL);
    let (input, output) = (pipeline.topic("in"), pipeline.topic("out"));
    kafka.make(&input, 1, &[]);
    kafka.make(&output, 1, &[("cleanup.policy", "compact"), ("max.message.bytes", "2000")]);
    let large = "x".repeat(3000);
    let records = vec![Sent { key: None, ..value("no key") }, value(&large), value("at 99999999999999"), value("good")];
    kafka.send(&input, records);
    pipeline.drain();
    assert_eq!(texts(&read_all(&kafka, &output)), ["good"]);
    let letters = read_all(&kafka, &format!("{}.trial.dead-letter", pipeline.name));
    let codes: Vec<_> = letters.iter().map(|letter| letter.header("millstream.error.code").unwrap()).collect();
    assert_eq!(codes, ["no-key", "too-large", "future-timestamp"]);
}

#[test]
fn a_retried_record_holds_its_partition_while_others_go_on() {
    let kafka = Kafka::shared();
    // Time enough for the other partition to go on.
    let pipeline = Pipeline::new(&kafka, &format!("{TRIAL}    on-error: {{retry: {{backoff: 500ms}}}}\n"));
    let (input, output) = (pipeline.topic("in"), pipeline.topic("out"));
    kafka.make(&input, 2, &[]);
    kafka.make(&output, 1, &[]);
    let watch = Watch::start(&kafka, &output);
    let other = |text| Sent { partition: Some(1), ..value(text) };
    kafka.send(&input, [value("a1"), value("attempts 6"), value("a2"), other("b1"), other("b2")]);
    let _host = pipeline.run(&[]);
    until("the other partition is done", Duration::from_secs(60), || watch.count() >= 3);
    kafka.send(&input, [other("b3"), value("a3")]);
    until("everything is done", Duration::from_secs(60), || watch.count() == 7);
    let seen = texts(&watch.seen());
    let only = |begin: char| seen.iter().filter(|text| text.starts_with(begin)).cloned().collect::<Vec<_>>();
    assert_eq!(only('b'), ["b1", "b2", "b3"]);
    assert_eq!(only('a'), ["a1", "attempts 6", "a2", "a3"]);
    let at = |text: &str| seen.iter().position(|other| other == text).unwrap();
    assert!(at("b3") < at("a2"), "the other partition waited: {seen:?}");
}

#[test]
fn skip_counts_and_goes_on_and_stop_stops_in_front_of_the_record() {
    let records = || vec![value("a"), value("reject"), value("b")];
    let (_, seen, _) = pass(&format!("{TRIAL}    on-error: skip\n"), records());
    assert_eq!(texts(&seen), ["a", "b"]);

    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(&kafka, &format!("{TRIAL}    on-error: stop\n"));
    kafka.make(&pipeline.topic("in"), 2, &[]);
    kafka.send(&pipeline.topic("in"), records());
    let mut host = pipeline.run(&["--until-idle"]);
    assert_eq!(host.wait(Duration::from_secs(60)).code(), Some(1));
    let said = host.said();
    assert!(said.contains(&format!("{}/0@1: reject asked: asked to reject", pipeline.topic("in"))), "{said}");
    assert_eq!(texts(&read_all(&kafka, &pipeline.topic("out"))), ["a"]);
    assert_eq!(kafka.lag(&format!("{}.trial", pipeline.name), &pipeline.topic("in")), 2);
}

#[test]
fn dead_letters_can_fail_a_run() {
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(&kafka, TRIAL);
    kafka.make(&pipeline.topic("in"), 2, &[]);
    kafka.send(&pipeline.topic("in"), [value("reject")]);
    let mut host = pipeline.run(&["--until-idle", "--fail-on-dead-letter"]);
    assert_eq!(host.wait(Duration::from_secs(60)).code(), Some(3), "{}", host.said());
}

/// Several outputs of one record keep their order within a partition, over thousands of records and many batches.
#[test]
fn outputs_of_one_record_keep_their_order() {
    let texts_in: Vec<_> = (0..3000).map(|number| format!("burst 3 {number}")).collect();
    let (_, seen, letters) = pass(TRIAL, texts_in.iter().map(|text| value(text)).collect());
    assert_eq!(letters, []);
    let expected: Vec<_> = (0..3000).flat_map(|n| (0..3).map(move |part| format!("{n}/{part}"))).collect();
    assert_eq!(texts(&seen), expected);
}

/// One record gives ten times as many as the client's queue takes.
#[test]
fn a_full_queue_of_the_producer_is_waited_for() {
    let manifest = format!("{TRIAL}    properties: {{queue.buffering.max.messages: 10}}\n");
    let texts_in: Vec<_> = (0..30).map(|number| format!("burst 100 {number}")).collect();
    let (_, seen, letters) = pass(&manifest, texts_in.iter().map(|text| value(text)).collect());
    assert_eq!(letters, []);
    let expected: Vec<_> = (0..30).flat_map(|n| (0..100).map(move |part| format!("{n}/{part}"))).collect();
    assert_eq!(texts(&seen), expected);
}

/// A property of the client reaches it: one that the library refuses where records are counted.
#[test]
fn early_acknowledgements_are_had_where_records_count_at_least_once() {
    let manifest = format!("{TRIAL}    delivery: at-least-once\n    properties: {{acks: 1, compression.type: zstd}}\n");
    let texts_in: Vec<_> = (0..3000).map(|number| format!("{number}")).collect();
    let (_, seen, letters) = pass(&manifest, texts_in.iter().map(|text| value(text)).collect());
    assert_eq!(letters, []);
    assert_eq!(texts(&seen), texts_in);
}
