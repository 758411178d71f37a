//! The start of a module: its start function, its `open`, and what they may not do.

use crate::wasm::{
    Instance, Limits, Setup,
    fixture::{Stage, setup, written},
};
use std::time::Duration;

fn refused(name: &str, value: &str) -> String {
    let mut setup = setup();
    setup.config.push((name.into(), value.into()));
    setup.limits.time = Duration::from_millis(20);
    match Stage::with(setup) {
        Ok(_) => "started".into(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn open_refuses_with_its_words() {
    assert_eq!(refused("refuse", "currency is\nnot set"), "refused: currency is not set");
}

#[test]
fn open_is_bounded_like_any_call() {
    assert_eq!(refused("open", "loop"), "hit a limit at its start: it took more CPU time than its limit of 20ms");
}

#[test]
fn open_that_panics_says_why() {
    let why = refused("open", "panic");
    assert!(why.starts_with("failed at its start: panicked at ") && why.contains("asked to panic in open"), "{why}");
}

#[test]
fn there_is_no_record_in_hand_during_open() {
    let why = "failed at its start: there is no record in hand: the context answers only during a call of transform";
    assert_eq!(refused("open", "context"), why);
}

#[test]
fn a_start_function_is_bounded_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let compiled = written(
        folder.path(),
        r#"(module
            (memory (export "memory") 1)
            (func $forever (loop (br 0)))
            (start $forever)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
            (func (export "millstream:stage/transformer@0.1.0#transform")
                (param i32 i32 i32 i32 i32 i32) (result i32) unreachable))"#,
    );
    let limits = Limits { time: Duration::from_millis(20), ..Limits::default() };
    let started = Instance::new(&compiled.unwrap(), Setup { limits, ..setup() });
    let why = "hit a limit at its start: it took more CPU time than its limit of 20ms";
    assert_eq!(started.err().unwrap().to_string(), why);
}

#[test]
fn a_module_that_needs_more_memory_than_it_may_does_not_start() {
    let limits = Limits { memory: 1 << 20, ..Limits::default() };
    let why = "hit a limit at its start: it needs more memory than its limit of 1MiB";
    assert_eq!(Stage::with(Setup { limits, ..setup() }).err().unwrap().to_string(), why);
}
