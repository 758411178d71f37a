//! Records on their way in and out.

use super::{Log, Member, Row, out, partition, progress, rows, sees, settings, shown};
use millstream::{
    record::Header,
    transport::{Batch, Fault, Link, Outgoing, Progress},
};

pub(crate) fn records_come_in_order_within_their_partition<L: Log>() {
    let log = L::with(&[2, 1], &[1]);
    log.put(partition(0, 0), &rows("a b"));
    log.put(partition(0, 1), &rows("x y z"));
    log.put(partition(0, 0), &rows("c d"));
    log.put(partition(1, 0), &rows("other"));
    let mut member = Member::join(&log, settings());
    member.reads(8);
    assert_eq!(member.values(), "0: a b c d; 1: x y z");
    for number in [0, 1] {
        let own = member.came.iter().filter(|came| came.partition == partition(0, number));
        assert!(own.zip(0..).all(|(came, offset)| came.offset.0 == offset), "{:?}", member.came);
    }
    let other = member.came.iter().find(|came| came.partition.input == 1).unwrap();
    assert_eq!(other.row.text(), "other");
    member.leave();
}

/// Every shape of record.
fn shapes() -> Vec<Row> {
    let bytes: Vec<u8> = (0..=255).collect();
    let header = |name: &str, value: Option<&[u8]>| (name.to_owned(), value.map(<[u8]>::to_vec));
    let headers = vec![
        header("trace", Some(b"1")),
        header("none", None),
        header("trace", Some(b"2")),
        header("", Some(b"")),
        header("bytes", Some(&bytes)),
    ];
    let base = Row { timestamp: Some(1_600_000_000_123), ..Row::default() };
    vec![
        Row { value: Some(b"no key".into()), ..base.clone() },
        Row { key: Some(b"tombstone".into()), ..base.clone() },
        Row { key: Some(Vec::new()), value: Some(Vec::new()), ..base.clone() },
        base,
        Row { key: Some(bytes.clone()), value: Some(bytes), headers, timestamp: Some(1) },
    ]
}

pub(crate) fn records_come_and_go_byte_for_byte<L: Log>() {
    let log = L::with(&[1], &[1, 1]);
    log.put(partition(0, 0), &shapes());
    let mut member = Member::join(&log, settings());
    member.reads(shapes().len());
    let came: Vec<_> = member.came.iter().map(|came| came.row.clone()).collect();
    assert_eq!(came, shapes());
    // Once with the headers that they came with, once with the same ones anew.
    member.link.begin().unwrap();
    let mut origins = member
        .batches
        .iter()
        .flat_map(|batch| (0..millstream::transport::Batch::len(batch)).map(move |index| (batch, index)));
    for row in &came {
        let origin = origins.next();
        let headers: Vec<_> =
            row.headers.iter().map(|(name, value)| Header { name: name.clone(), value: value.clone() }).collect();
        let kept = Outgoing {
            output: 0,
            partition: None,
            key: row.key.as_deref(),
            value: row.value.as_deref(),
            timestamp: row.timestamp,
            keep_headers: true,
            headers: &[],
        };
        member.link.send(&kept, origin).unwrap();
        let anew = Outgoing { output: 1, keep_headers: false, headers: &headers, ..kept };
        member.link.send(&anew, origin).unwrap();
    }
    member.link.commit(&progress(&[(0, 5)])).unwrap();
    for output in [0, 1] {
        super::settles(|| log.read(output).len() == shapes().len());
        let read: Vec<_> = log.read(output).into_iter().map(|(_, row)| row).collect();
        assert_eq!(read, shapes(), "output {output}");
    }
    member.leave();
}

pub(crate) fn headers_whose_names_are_not_text_are_kept<L: Log>() {
    let log = L::with(&[1], &[1]);
    log.put_header(partition(0, 0), b"\xff\xfe name", b"\x00\xff");
    let mut member = Member::join(&log, settings());
    member.reads(1);
    assert_eq!(member.came[0].row.headers, [("\u{fffd}\u{fffd} name".to_owned(), Some(b"\x00\xff".to_vec()))]);
    member.link.begin().unwrap();
    member.link.send(&out("a"), Some((&member.batches[0], 0))).unwrap();
    member.link.commit(&progress(&[(0, 1)])).unwrap();
    // Not read in any other way: the tests' own client does not let such names through.
    assert_eq!(log.first_header(0), (b"\xff\xfe name".to_vec(), b"\x00\xff".to_vec()));
    member.leave();
}

pub(crate) fn headers_that_are_not_to_be_kept_are_not<L: Log>() {
    let log = L::with(&[1], &[1]);
    let header = |name: &str| (name.to_owned(), Some(b"1".to_vec()));
    log.put(partition(0, 0), &[Row { headers: vec![header("old")], ..Row::default() }]);
    let mut member = Member::join(&log, settings());
    member.reads(1);
    member.link.begin().unwrap();
    let own = [Header { name: "new".into(), value: Some(b"1".to_vec()) }];
    let origin = Some((&member.batches[0], 0));
    member.link.send(&Outgoing { headers: &own, ..out("both") }, origin).unwrap();
    member.link.send(&Outgoing { headers: &own, keep_headers: false, ..out("own") }, origin).unwrap();
    member.link.send(&Outgoing { keep_headers: false, ..out("none") }, origin).unwrap();
    member.link.commit(&Progress::default()).unwrap();
    sees(&log, 0, "0: both own none");
    let headers: Vec<_> = log.read(0).into_iter().map(|(_, row)| row.headers).collect();
    assert_eq!(headers, [vec![header("old"), header("new")], vec![header("new")], Vec::new()]);
    member.leave();
}

pub(crate) fn a_record_without_a_time_gets_the_present<L: Log>() {
    let log = L::with(&[1], &[1]);
    log.put(partition(0, 0), &rows("a"));
    let mut member = Member::join(&log, settings());
    member.reads(1);
    member.deliver("A", &progress(&[(0, 1)])).unwrap();
    sees(&log, 0, "0: A");
    let read = log.read(0);
    for time in [member.came[0].row.timestamp, read[0].1.timestamp] {
        assert!(time > Some(1_600_000_000_000), "{time:?}");
    }
    member.leave();
}

pub(crate) fn a_key_has_its_partition_wherever_the_log_is<L: Log>() {
    let log = L::with(&[1], &[5]);
    let mut member = Member::join(&log, settings());
    member.link.begin().unwrap();
    for key in ["21", "foobar", "a-little-bit-long-string", "abc", "k", "kk", "kkk", "ключ"] {
        member.link.send(&Outgoing { key: Some(key.as_bytes()), ..out(key) }, None).unwrap();
    }
    member.link.commit(&Progress::default()).unwrap();
    sees(&log, 0, PLACES);
    member.leave();
}

/// What Kafka's own clients make of those keys.
const PLACES: &str = "0: 21 kkk; 1: foobar; 2: a-little-bit-long-string abc k; 4: kk ключ";

pub(crate) fn an_empty_key_is_a_key<L: Log>() {
    let log = L::with(&[1], &[5]);
    let mut member = Member::join(&log, settings());
    for _ in 0..5 {
        member.link.begin().unwrap();
        member.link.send(&Outgoing { key: Some(b""), ..out("a") }, None).unwrap();
        member.link.commit(&Progress::default()).unwrap();
    }
    // The hash of no bytes is 275646681.
    sees(&log, 0, "1: a a a a a");
    assert!(log.read(0).iter().all(|(_, row)| row.key.as_deref() == Some(b"")));
    member.leave();
}

pub(crate) fn records_without_a_key_go_somewhere<L: Log>() {
    let log = L::with(&[1], &[3]);
    let mut member = Member::join(&log, settings());
    member.deliver("a b c d", &Progress::default()).unwrap();
    super::settles(|| log.read(0).len() == 4);
    let read = log.read(0);
    let mut values: Vec<_> = read.iter().map(|(_, row)| row.text()).collect();
    values.sort();
    assert_eq!(values, ["a", "b", "c", "d"]);
    assert!(read.iter().all(|(number, row)| *number < 3 && row.key.is_none()));
    member.leave();
}

pub(crate) fn a_given_partition_is_kept_to<L: Log>() {
    let log = L::with(&[1], &[3]);
    let mut member = Member::join(&log, settings());
    member.link.begin().unwrap();
    for (number, value) in [(2, "a"), (0, "b"), (2, "c"), (1, "d")] {
        member.link.send(&Outgoing { partition: Some(number), key: Some(b"same"), ..out(value) }, None).unwrap();
    }
    member.link.commit(&Progress::default()).unwrap();
    sees(&log, 0, "0: b; 1: d; 2: a c");
    member.leave();
}

pub(crate) fn a_partition_that_is_not_there_is_refused<L: Log>() {
    let log = L::with(&[1], &[2]);
    let mut member = Member::join(&log, settings());
    member.link.begin().unwrap();
    let sent = member.link.send(&Outgoing { partition: Some(2), ..out("a") }, None);
    let fault = sent.and_then(|()| member.link.commit(&Progress::default())).unwrap_err();
    assert!(matches!(fault, Fault::Refused(_)), "{fault:?}");
    member.assignment = member.link.recover().unwrap();
    member.link.begin().unwrap();
    member.link.send(&Outgoing { partition: Some(1), ..out("b") }, None).unwrap();
    member.link.commit(&Progress::default()).unwrap();
    sees(&log, 0, "1: b");
    member.leave();
}

pub(crate) fn records_go_to_several_outputs_in_order<L: Log>() {
    let log = L::with(&[1], &[1, 2]);
    let mut member = Member::join(&log, settings());
    for values in ["a b c", "d e f"] {
        member.link.begin().unwrap();
        for value in values.split(' ') {
            member.link.send(&out(value), None).unwrap();
            member.link.send(&Outgoing { output: 1, partition: Some(1), ..out(value) }, None).unwrap();
        }
        member.link.commit(&Progress::default()).unwrap();
    }
    sees(&log, 0, "0: a b c d e f");
    sees(&log, 1, "1: a b c d e f");
    member.leave();
}

pub(crate) fn a_large_record_passes<L: Log>() {
    let log = L::with(&[1], &[1]);
    let large = Row { value: Some(vec![b'x'; 990_000]), ..Row::default() };
    log.put(partition(0, 0), std::slice::from_ref(&large));
    let mut member = Member::join(&log, settings());
    member.reads(1);
    assert_eq!(member.came[0].row.value, large.value);
    let larger = "y".repeat(1_000_000);
    member.deliver(&larger, &progress(&[(0, 1)])).unwrap();
    super::settles(|| !log.read(0).is_empty());
    assert!(shown(log.read(0).iter().map(|(number, row)| (*number, row))) == format!("0: {larger}"));
    member.leave();
}

pub(crate) fn a_record_larger_than_its_topic_takes_is_refused<L: Log>() {
    let log = L::with(&[1], &[1]);
    let headers = vec![("kept".to_owned(), Some(vec![b'x'; 600_000]))];
    log.put(partition(0, 0), &[Row { headers, ..Row::default() }]);
    let mut member = Member::join(&log, settings());
    member.reads(1);
    let large = "y".repeat(600_000);
    member.link.begin().unwrap();
    let origin = member.batches.iter().find(|batch| batch.len() > 0).unwrap();
    let sent = member.link.send(&out(&large), Some((origin, 0)));
    let fault = sent.and_then(|()| member.link.commit(&progress(&[(0, 1)]))).unwrap_err();
    assert!(matches!(fault, Fault::Refused(_)), "{fault:?}");
    member.batches.clear();
    member.assignment = member.link.recover().unwrap();
    assert_eq!(member.assignment.starts, progress(&[(0, 0)]));
    member.deliver("small", &progress(&[(0, 1)])).unwrap();
    sees(&log, 0, "0: small");
    member.leave();
}

pub(crate) fn aborted_records_do_not_come<L: Log>() {
    let log = L::with(&[1], &[1]);
    log.put(partition(0, 0), &rows("a"));
    log.put_in_transaction(partition(0, 0), &rows("never 1"), false);
    log.put_in_transaction(partition(0, 0), &rows("b c"), true);
    log.put_in_transaction(partition(0, 0), &rows("never 2"), false);
    log.put(partition(0, 0), &rows("d"));
    let mut member = Member::join(&log, settings());
    member.reads(4);
    assert_eq!(member.values(), "0: a b c d");
    member.leave();
}
