//! Records that lie together are handed to a guest together: what comes of each is what came of it alone.

use crate::{
    record::{Header, Record},
    stage::guest::{Failed, Guest, InHand},
    transport::{Batch, Incoming, NextOffset, Partition},
    wasm::{
        Instance, Limits, Setup,
        fixture::{One, Stage, lines, setup, show, written},
    },
};
use std::{rc::Rc, time::Duration};

/// A batch of several records.
struct Several(Vec<One>);

impl Several {
    fn of(values: &[&str]) -> Self {
        Self((0..).zip(values).map(|(offset, value)| One { offset, ..One::of(value) }).collect())
    }

    /// What becomes of each, as a stage decides it: a failure of its own counts when it comes twice.
    fn say(self, guest: &mut impl Guest) -> Vec<String> {
        let batch = Rc::new(self);
        (0..batch.len()).map(|index| show(&turn(&batch, index, guest))).collect()
    }
}

fn turn(batch: &Rc<Several>, index: usize, guest: &mut impl Guest) -> Result<Vec<Record>, Failed> {
    let attempt = batch.0[index].attempt;
    let mut call = || guest.transform(InHand { record: batch.get(index), batch: batch.clone(), index, attempt });
    call().or_else(|failed| match failed {
        Failed::Fault(_) | Failed::Limit(_) => call(),
        failed => Err(failed),
    })
}

impl Batch for Several {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> Incoming<'_> {
        self.0[index].get(0)
    }

    fn headers(&self, index: usize) -> Vec<Header> {
        self.0[index].headers(0)
    }

    fn ends(&self) -> &[(Partition, NextOffset)] {
        &[]
    }
}

#[test]
fn the_guest_is_called_for_all_of_them_at_once() {
    let mut trial = Stage::trial();
    let batch = Rc::new(Several::of(&["calls", "calls", "calls"]));
    assert_eq!(show(&turn(&batch, 0, &mut trial.0)), "k=1");
    assert_eq!(trial.says("calls"), "k=4", "two were called for before they were asked for");
}

#[test]
fn each_says_what_it_says_alone() {
    let values = [
        "hello",
        "",
        "filter",
        "many 3",
        "add",
        "replace",
        "tombstone",
        "to large rest",
        "partition 7",
        "burst 3 x",
        "at -5",
        "reject",
        "origin",
        "headers",
        "config",
        "config rate",
        "Grüße",
        "many 0",
        "huge 2",
        "reject",
        "hello",
    ];
    let variant = |number: usize, record: One| match number {
        0 => record,
        1 => One { key: None, timestamp: None, ..record },
        2 => One { key: Some(Vec::new()), partition: Partition { input: 1, number: 9 }, ..record },
        _ => {
            let header = |name: &str, value: Option<&[u8]>| Header { name: name.into(), value: value.map(Into::into) };
            One { headers: vec![header("a", Some(&[0, 255])), header("", None)], ..record }
        }
    };
    let records = || {
        let each = (0..4).flat_map(|number| values.iter().map(move |value| (number, value)));
        let valued = (0..).zip(each).map(|(offset, (number, value))| variant(number, One { offset, ..One::of(value) }));
        valued.chain([One { value: None, ..One::of("") }]).collect::<Vec<_>>()
    };
    let mut alone = Stage::trial();
    let expected: Vec<_> = records().into_iter().map(|record| alone.takes(record)).collect();
    assert_eq!(Several(records()).say(&mut Stage::trial().0), expected);
}

#[test]
fn every_byte_comes_back_from_among_others() {
    let bytes: Vec<u8> = (0..=255).collect();
    let record = || One { key: Some(bytes.clone()), value: Some(bytes.clone()), ..One::of("") };
    let batch = Rc::new(Several(vec![record(), record(), record()]));
    let mut trial = Stage::trial();
    for index in 0..3 {
        let given = turn(&batch, index, &mut trial.0).unwrap();
        assert_eq!((given[0].key.as_ref(), given[0].value.as_ref()), (Some(&bytes), Some(&bytes)));
    }
}

#[test]
fn every_length_comes_back() {
    let bytes: Vec<u8> = (0..600_u32).map(|at| (at * 31 % 251) as u8).collect();
    let lengths = [0..100, 500..600].into_iter().flatten();
    let sized =
        |size: usize| One { key: Some(bytes[size..].to_vec()), value: Some(bytes[..size].to_vec()), ..One::of("") };
    let batch = Rc::new(Several(lengths.map(sized).collect()));
    let mut trial = Stage::trial();
    for (index, record) in batch.0.iter().enumerate() {
        let given = turn(&batch, index, &mut trial.0).unwrap();
        assert_eq!((&given[0].key, &given[0].value), (&record.key, &record.value));
    }
}

/// One that asks for nothing is not followed from record to record, until something happens.
#[test]
fn a_guest_that_asks_for_nothing_fails_for_what_it_does_alone() {
    let folder = tempfile::tempdir().unwrap();
    let compiled = written(
        folder.path(),
        r#"(module
            (import "millstream:stage/log@0.1.0" "write" (func $write (param i32 i32 i32)))
            (memory (export "memory") 1)
            (data (i32.const 16) "seen")
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 4096)
            (func (export "cabi_post_millstream:stage/transformer@0.1.0#transform") (param i32))
            (func (export "millstream:stage/transformer@0.1.0#transform")
                (param i32 i32 i32 i32 i32 i32) (result i32)
                (if (i32.eq (i32.load8_u (local.get 4)) (i32.const 120)) (then unreachable))
                (if (i32.eq (i32.load8_u (local.get 4)) (i32.const 108))
                    (then (call $write (i32.const 2) (i32.const 16) (i32.const 4))))
                (i32.const 256)))"#,
    );
    let compiled = compiled.unwrap();
    assert!(compiled.batches() && !compiled.asks());
    let mut instance = Instance::new(&compiled, setup()).unwrap();
    let bad = [0, 5, 6, 60, 199];
    let talks = [9, 61, 150];
    let value = |at| {
        if bad.contains(&at) {
            "x"
        } else if talks.contains(&at) {
            "l"
        } else {
            "a"
        }
    };
    let values: Vec<_> = (0..200).map(value).collect();
    let (said, lines) = lines(|| Several::of(&values).say(&mut instance));
    for (at, said) in said.iter().enumerate() {
        assert_eq!(said.starts_with("fault(trap)"), bad.contains(&at), "{at}: {said}");
    }
    let expected = talks.map(|at| format!("INFO seen stage=trial topic=orders-prod partition=3 offset={at}"));
    assert_eq!(lines, expected);
}

#[test]
fn a_failure_is_that_records_alone() {
    let time = Duration::from_millis(100);
    let limits = Limits { memory: 8 << 20, time, outputs: 5, output_bytes: 1 << 20, ..Limits::default() };
    for (fails, words) in [
        ("panic", "fault(trap) panicked at "),
        ("fault", "fault(asked) asked for a fault"),
        ("recurse", "limit(stack-limit) used more stack"),
        ("memory", "limit(memory-limit) needs more memory"),
        ("loop", "limit(time-limit) took more CPU time than its limit of 100ms"),
        ("many 6", "limit(output-limit) gave 6 records, and its limit is 5"),
        ("huge 1", "limit(output-bytes-limit) gave 1,048,577 bytes"),
    ] {
        let mut trial = Stage::with(Setup { limits, ..setup() }).unwrap();
        let said = Several::of(&["a", fails, "b", "c", fails, fails, "d", "origin"]).say(&mut trial.0);
        for at in [1, 4, 5] {
            assert!(said[at].starts_with(words), "{fails}: {}", said[at]);
        }
        let others = [0, 2, 3, 6, 7].map(|at| said[at].as_str());
        assert_eq!(others, ["k=a", "k=b", "k=c", "k=d", "k=orders-prod/orders/3@7/1700000000000/1"], "{fails}");
    }
}

#[test]
fn nobody_is_blamed_for_what_others_left_behind() {
    let said = Several::of(&["a", "fresh", "b", "fresh"]).say(&mut Stage::trial().0);
    assert_eq!(said, ["k=a", "k=fresh", "k=b", "k=fresh"], "on a fresh instance they go through");
}

#[test]
fn those_behind_a_record_that_waits_are_answered_and_it_is_asked_again() {
    let batch = Rc::new(Several::of(&["a", "attempts 2", "later", "origin"]));
    let mut trial = Stage::trial();
    let mut say = |index| show(&turn(&batch, index, &mut trial.0));
    assert_eq!(
        [0, 1, 2, 3].map(&mut say),
        [
            "k=a",
            "retry asked to retry",
            "retry in 250 ms(asked) asked for later",
            "k=orders-prod/orders/3@3/1700000000000/1"
        ]
    );
    let again = Several(vec![
        One { attempt: 2, ..One::of("attempts 2") },
        One { offset: 43, ..One::of("origin") },
        One { offset: 44, attempt: 3, ..One::of("origin") },
    ]);
    let said =
        ["k=attempts 2", "k=orders-prod/orders/3@43/1700000000000/1", "k=orders-prod/orders/3@44/1700000000000/3"];
    assert_eq!(again.say(&mut trial.0), said);
}

#[test]
fn records_may_be_passed_over() {
    let batch = Rc::new(Several::of(&["origin", "panic", "origin", "reject", "origin", "fault", "origin"]));
    let mut trial = Stage::trial();
    for index in [0, 2, 4, 6] {
        let said = format!("k=orders-prod/orders/3@{index}/1700000000000/1");
        assert_eq!(show(&turn(&batch, index, &mut trial.0)), said);
    }
}

#[test]
fn what_is_too_large_for_many_goes_through_alone() {
    let large = "x".repeat(400_000);
    let half = "y".repeat(200_000);
    let said = Several::of(&["a", &large, "b", &half, &half, &half, "huge 1", "c"]).say(&mut Stage::trial().0);
    let sizes: Vec<_> = said.iter().map(|said| said.len() - 2).collect();
    assert_eq!(sizes, [1, 400_000, 1, 200_000, 200_000, 200_000, 1 << 20, 1]);
}

#[test]
fn lines_are_written_once_each_with_its_own_record() {
    let ((), lines) = lines(|| {
        let values = ["say a", "say b", "panic", "say c"];
        drop(Several::of(&values).say(&mut Stage::trial().0));
    });
    let said: Vec<_> = lines.iter().filter(|line| line.starts_with("INFO")).collect();
    let expected = [("a", 0), ("b", 1), ("c", 3)];
    let expected =
        expected.map(|(text, at)| format!("INFO {text} stage=trial topic=orders-prod partition=3 offset={at}"));
    assert_eq!(said, expected.iter().collect::<Vec<_>>());
    let panics = lines.iter().filter(|line| line.starts_with("ERROR panicked") && line.ends_with("offset=2")).count();
    assert_eq!((panics, lines.len()), (2, 5), "{lines:?}");
}

#[test]
fn each_record_has_twenty_lines() {
    let ((), lines) = lines(|| drop(Several::of(&["log 19", "log 20", "log 21"]).say(&mut Stage::trial().0)));
    assert_eq!(lines.iter().filter(|line| line.starts_with("INFO")).count(), 59);
    assert!(lines.last().unwrap().starts_with("WARN 1 line dropped"), "{lines:?}");
}

#[test]
fn each_record_has_its_own_host_calls() {
    let limits = Limits { host_calls: 10, ..Limits::default() };
    let mut trial = Stage::with(Setup { limits, ..setup() }).unwrap();
    let over = "limit(host-call-limit) asked more of the host than its limit of 10 calls";
    let said = Several::of(&["log 10", "log 10", "log 11", "log 10"]).say(&mut trial.0);
    let shown: Vec<_> = said.iter().map(|said| said == over).collect();
    assert_eq!(shown, [false, false, true, false], "{said:?}");
    let few = ["config rate"; 100];
    assert_eq!(Several::of(&few).say(&mut trial.0), ["k=2"; 100], "together they ask more");
}

/// A stage whose answer is this, for the words that a plain call has for it.
#[test]
fn an_answer_against_the_rules_fails_as_it_does_alone() {
    let folder = tempfile::tempdir().unwrap();
    for (answer, data) in [
        ("out of its memory", r#"(i32.const 0x7fffff00)"#),
        ("not aligned", r#"(i32.const 257)"#),
        ("neither ok nor a failure", r#"(i32.store8 (i32.const 256) (i32.const 7)) (i32.const 256)"#),
        (
            "a list outside",
            r#"(i32.store (i32.const 264) (i32.const 0x7ffffff8)) (i32.store (i32.const 268) (i32.const 1)) (i32.const 256)"#,
        ),
        (
            "a list without an end",
            r#"(i32.store (i32.const 264) (i32.const 1024)) (i32.store (i32.const 268) (i32.const -1)) (i32.const 256)"#,
        ),
        (
            "a key that is and is not",
            r#"(i32.store8 (i32.const 1024) (i32.const 2)) (i32.store (i32.const 264) (i32.const 1024)) (i32.store (i32.const 268) (i32.const 1)) (i32.const 256)"#,
        ),
        (
            "an output that is no text",
            r#"(i32.store8 (i32.const 2048) (i32.const 0xff)) (i32.store8 (i32.const 1060) (i32.const 1)) (i32.store (i32.const 1064) (i32.const 2048)) (i32.store (i32.const 1068) (i32.const 1)) (i32.store (i32.const 264) (i32.const 1024)) (i32.store (i32.const 268) (i32.const 1)) (i32.const 256)"#,
        ),
    ] {
        let wat = format!(
            r#"(module
                (memory (export "memory") 1)
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 4096)
                (func (export "cabi_post_millstream:stage/transformer@0.1.0#transform") (param i32))
                (func (export "millstream:stage/transformer@0.1.0#transform")
                    (param i32 i32 i32 i32 i32 i32) (result i32) {data}))"#
        );
        let compiled = written(folder.path(), &wat).unwrap();
        assert!(compiled.batches(), "{answer}");
        let mut instance = Instance::new(&compiled, setup()).unwrap();
        let alone = show(&One::of("a").hand_to(&mut instance));
        assert!(alone.starts_with("fault") || alone.starts_with("limit"), "{answer}: {alone}");
        assert_eq!(Several::of(&["a", "b", "c"]).say(&mut instance), [&alone; 3].map(Clone::clone), "{answer}");
    }
}
