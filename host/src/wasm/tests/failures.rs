//! A guest can harm only its own record: whatever it does, the next one goes through.

use crate::wasm::{
    Instance, Limits, Setup,
    fixture::{One, Stage, setup, show, written},
    limits::thread_time,
};
use std::{env, fs, process::Command, time::Duration};

fn limited(limits: Limits) -> Stage {
    Stage::with(Setup { limits, ..setup() }).unwrap()
}

#[track_caller]
fn fails(stage: &mut Stage, value: &str, expected: &str) {
    assert_eq!(stage.says(value), expected);
    assert_eq!(stage.says("calls"), "k=1", "the next record runs on a fresh instance");
}

#[test]
fn a_panic_ends_with_its_message() {
    let panicked = Stage::trial().says("panic");
    let (before, after) =
        ("fault(trap) panicked at ", "asked to panic (wasm trap: wasm `unreachable` instruction executed)");
    assert!(panicked.starts_with(before) && panicked.ends_with(after), "{panicked}");
    assert!(panicked.contains("trial/src/lib.rs:"), "{panicked}");
}

#[test]
fn a_trap_without_words_has_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let trap = written(folder.path(), &transform("unreachable")).unwrap();
    let mut instance = Instance::new(&trap, setup()).unwrap();
    let trapped = "fault(trap) wasm trap: wasm `unreachable` instruction executed";
    assert_eq!(show(&One::of("").hand_to(&mut instance)), trapped);
}

#[test]
fn words_of_another_record_are_not_put_in_its_mouth() {
    let mut trial = Stage::trial();
    assert!(trial.says("panic").contains("asked to panic"));
    assert_eq!(trial.says("recurse").find("asked"), None);
}

#[test]
fn an_answer_that_lies_outside_its_memory_is_its_fault() {
    let folder = tempfile::tempdir().unwrap();
    let outside = written(folder.path(), &transform("i32.const 0x7fffff00")).unwrap();
    let mut instance = Instance::new(&outside, setup()).unwrap();
    let failed = show(&One::of("").hand_to(&mut instance));
    assert!(failed.starts_with("fault(trap) ") && failed.contains("out of bounds"), "{failed}");
}

#[test]
fn words_that_are_no_text_are_its_fault() {
    let folder = tempfile::tempdir().unwrap();
    // It rejects, with a message of two bytes at 600.
    let body = r"(i32.store8 (i32.const 512) (i32.const 1))
        (i32.store (i32.const 540) (i32.const 600))
        (i32.store (i32.const 544) (i32.const 2))
        (i32.store16 (i32.const 600) (i32.const 0xfeff))
        i32.const 512";
    let garbled = written(folder.path(), &transform(body)).unwrap();
    let failed = show(&One::of("").hand_to(&mut Instance::new(&garbled, setup()).unwrap()));
    assert!(failed.starts_with("fault(trap) ") && failed.to_lowercase().contains("utf-8"), "{failed}");
    // The same with two letters is its own word.
    let plain = written(folder.path(), &transform(&body.replace("0xfeff", "0x6b6f"))).unwrap();
    assert_eq!(show(&One::of("").hand_to(&mut Instance::new(&plain, setup()).unwrap())), "reject ok");
}

#[test]
fn a_fresh_instance_follows_a_trap_and_a_fault() {
    let mut trial = Stage::trial();
    assert_eq!(trial.says("calls"), "k=1");
    assert_eq!(trial.says("reject"), "reject(asked) asked to reject");
    assert_eq!(trial.says("calls"), "k=3");
    fails(&mut trial, "fault", "fault(asked) asked for a fault");
    assert!(trial.says("panic").starts_with("fault"));
    assert_eq!(trial.says("calls"), "k=1");
    assert!(trial.says("fresh").starts_with("fault"), "the instance was used before");
    assert_eq!(trial.says("fresh"), "k=fresh");
    assert!(trial.says("once").starts_with("fault"));
    assert_eq!(trial.takes(One { attempt: 2, ..One::of("once") }), "k=once");
}

#[test]
fn a_loop_ends_at_its_time() {
    let mut trial = limited(Limits { time: Duration::from_millis(50), ..Limits::default() });
    let before = thread_time();
    fails(&mut trial, "loop", "limit(time-limit) took more CPU time than its limit of 50ms");
    let took = thread_time() - before;
    assert!(took < Duration::from_millis(500), "{took:?} is far more than the limit");
}

#[test]
fn many_short_calls_are_no_long_one() {
    let mut trial = limited(Limits { time: Duration::from_millis(20), ..Limits::default() });
    let before = thread_time();
    while thread_time() - before < Duration::from_millis(100) {
        assert_eq!(trial.says("hello"), "k=hello");
    }
}

#[test]
fn memory_without_end_ends_at_its_limit() {
    fails(&mut Stage::trial(), "memory", "limit(memory-limit) needs more memory than its limit of 64MiB");
}

#[test]
fn memory_that_is_never_given_back_is_not_held_against_the_next_record() {
    let mut trial = limited(Limits { memory: 16 << 20, ..Limits::default() });
    let calls: Vec<u64> =
        (0..5000).map(|_| trial.says("keep 9").strip_prefix("k=").expect("nothing fails").parse().unwrap()).collect();
    let lives = calls.iter().filter(|calls| **calls == 1).count();
    let shortest = calls.windows(2).filter(|two| two[1] == 1).map(|two| two[0]).min().unwrap();
    // It is full at 12 of 16 MiB, and worn at 14, which are 1,592 times 9 KiB.
    assert!(lives == 4 && (1300..1600).contains(&shortest), "{lives} lives, {shortest} calls");
}

#[test]
fn memory_that_few_large_records_take_is_no_other() {
    let mut trial = limited(Limits { memory: 16 << 20, ..Limits::default() });
    let calls: Vec<_> = (0..50).map(|_| trial.says("keep 900")).collect();
    let lives = calls.iter().filter(|calls| *calls == "k=1").count();
    assert!((3..=4).contains(&lives) && calls.iter().all(|calls| calls.starts_with("k=")), "{calls:?}");
}

#[test]
fn an_instance_that_is_large_from_the_beginning_stays() {
    let mut trial = limited(Limits { memory: 16 << 20, ..Limits::default() });
    assert_eq!(trial.says("keep 13000"), "k=1");
    assert_eq!(trial.says("calls"), "k=2");
}

#[test]
fn recursion_without_end_ends_at_the_stack() {
    let deep = "limit(stack-limit) used more stack than the 512KiB there are: it calls itself too deeply";
    fails(&mut Stage::trial(), "recurse", deep);
}

#[test]
fn outputs_are_counted() {
    let mut trial = limited(Limits { outputs: 3, ..Limits::default() });
    assert_eq!(trial.says("many 3"), "none= | none= | none=");
    fails(&mut trial, "many 4", "limit(output-limit) gave 4 records, and its limit is 3");
}

#[test]
fn output_bytes_are_counted() {
    let mut trial = limited(Limits { output_bytes: 1 << 20, ..Limits::default() });
    fails(&mut trial, "huge 1", "limit(output-bytes-limit) gave 1,048,577 bytes of output, and its limit is 1MiB");
    let headers = "limit(output-bytes-limit) gave 16 bytes of output, and its limit is 15 bytes";
    fails(&mut limited(Limits { output_bytes: 15, ..Limits::default() }), "add", headers);
}

#[test]
fn what_a_record_asks_of_the_host_is_counted() {
    let mut trial = limited(Limits { host_calls: 30, ..Limits::default() });
    let over = "limit(host-call-limit) asked more of the host than its limit of 30 calls";
    for _ in 0..3 {
        assert!(trial.says("log 30").starts_with("k="), "each record has its own");
    }
    fails(&mut trial, "log 31", over);
    fails(&mut trial, "log 1000000", over);
}

#[test]
fn what_is_far_over_a_limit_ends_before_it_is_copied() {
    let far = "limit(output-bytes-limit) gave far more than its limits of 1,000 records and 8MiB of output";
    fails(&mut Stage::trial(), "many 100000", far);
    fails(&mut Stage::trial(), "huge 48", far);
    let roomy = Limits { memory: 512 << 20, ..Limits::default() };
    fails(&mut limited(Limits { time: Duration::from_secs(5), ..roomy }), "many 1000000", far);
}

#[test]
fn whatever_is_within_the_limits_gets_through() {
    let trial = limited(Limits { outputs: 10_000, output_bytes: 30_000, ..Limits::default() });
    assert_eq!(One::of("many 10000").hand_to(&mut { trial }.0).unwrap().len(), 10_000);
    let mut trial = limited(Limits { outputs: 1, output_bytes: (8 << 20) + 1, ..Limits::default() });
    assert_eq!(One::of("huge 8").hand_to(&mut trial.0).unwrap().len(), 1);
}

/// In a process of its own, because memory is a process's.
#[test]
fn the_memory_of_the_host_stays_flat_under_huge_values() {
    const ALONE: &str = "MILLSTREAM_TEST_ALONE";
    if env::var_os(ALONE).is_none() {
        let name = "wasm::tests::failures::the_memory_of_the_host_stays_flat_under_huge_values";
        let status = Command::new(env::current_exe().unwrap()).args(["--exact", name]).env(ALONE, "1").status();
        assert!(status.unwrap().success());
        return;
    }
    let mut trial = limited(Limits { memory: 256 << 20, ..Limits::default() });
    let before = peak_mib();
    (0..10).for_each(|_| assert!(trial.says("huge 96").starts_with("limit(output-bytes-limit)")));
    let grown = peak_mib() - before;
    assert!(grown < 96 + 48, "{grown} MiB, of which 96 are the guest's own");
}

fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

/// A stage whose transform does this and nothing else.
fn transform(body: &str) -> String {
    format!(
        r#"(module
            (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 16)
            (func (export "millstream:stage/transformer@0.1.0#transform")
                (param i32 i32 i32 i32 i32 i32) (result i32) {body}))"#
    )
}
