//! A source as the host polls it.

use crate::{
    source::poller::{PollFailed, Poller},
    wasm::{
        Cache, Engine, Kind, Limits, Module, OpenError, Setup, SourceInstance,
        fixture::{guest, marked},
    },
};
use std::{fs, path::Path, time::Duration};

fn setup(config: &[(&str, &str)]) -> Setup {
    let config = config.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let limits = Limits { time: Duration::from_millis(20), ..Limits::default() };
    Setup { stage: "numbers".into(), config, limits, ..Setup::default() }
}

fn start(module: &Path, setup: Setup) -> Result<SourceInstance, OpenError> {
    let module = Module::load(module, Kind::Source).unwrap();
    SourceInstance::new(&Engine::new().unwrap().compile(&module, &Cache::none(), &mut |_| {}).unwrap(), setup)
}

fn numbers(config: &[(&str, &str)]) -> SourceInstance {
    start(&guest("numbers"), setup(config)).unwrap()
}

/// The values, the position behind them, and whether that is all.
fn poll(source: &mut SourceInstance, position: Option<&str>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match source.poll(position.map(str::as_bytes)) {
        Ok(polled) => {
            let values: Vec<_> = polled.records.iter().map(|record| text(record.value.as_deref().unwrap())).collect();
            let end = if polled.done { " done" } else { "" };
            format!("{} @{}{end}", values.join(" "), polled.position.as_deref().map_or("none".into(), text))
        }
        Err(PollFailed::Retry(later)) => format!("retry {}", later.reason.message),
        Err(PollFailed::Stop(reason)) => format!("stop {}", reason.message),
        Err(PollFailed::Fault(reason)) => format!("{} {}", reason.code.unwrap(), reason.message),
    }
}

/// A source whose `poll` is written in text.
fn written(body: &str) -> SourceInstance {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("written.wasm");
    let wat = format!(
        r#"(module
            (memory (export "memory") 1)
            (global $calls (mut i32) (i32.const 0))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
            (func (export "millstream:stage/poller@0.1.0#poll") (param i32 i32 i32) (result i32) {body}))"#
    );
    fs::write(&path, marked(&wat, "source")).unwrap();
    start(&path, setup(&[])).unwrap()
}

#[test]
fn a_source_counts_on_from_its_position() {
    let mut source = numbers(&[("count", "5"), ("batch", "2")]);
    assert_eq!(poll(&mut source, None), "0 1 @2");
    assert_eq!(poll(&mut source, Some("2")), "2 3 @4");
    assert_eq!(poll(&mut source, Some("4")), "4 @5 done");
    assert_eq!(poll(&mut source, Some("5")), " @5 done");
}

#[test]
fn a_position_that_it_cannot_read_stops_it() {
    assert_eq!(poll(&mut numbers(&[]), Some("x")), "stop `x` is no number to go on from");
}

#[test]
fn its_open_refuses_with_its_words() {
    let refused = start(&guest("numbers"), setup(&[("batch", "many")])).err().unwrap();
    assert_eq!(refused.to_string(), "refused: `batch: many` is not a number");
}

#[test]
fn a_trap_is_its_fault_and_a_fresh_instance_follows() {
    // The first poll of an instance is answered: no records, no position, not done. The second one traps.
    let mut source = written(
        "global.get $calls if unreachable end
         (global.set $calls (i32.const 1))
         i32.const 64",
    );
    assert_eq!(poll(&mut source, None), " @none");
    assert_eq!(poll(&mut source, None), "trap wasm trap: wasm `unreachable` instruction executed");
    assert_eq!(poll(&mut source, None), " @none");
}

#[test]
fn a_poll_is_bounded_like_any_call() {
    let mut source = written("(loop $l br $l) unreachable");
    assert_eq!(poll(&mut source, None), "time-limit took more CPU time than its limit of 20ms");
    let mut source = start(&guest("numbers"), setup(&[("batch", "1001")])).unwrap();
    assert_eq!(poll(&mut source, None), "output-limit gave 1,001 records, and its limit is 1,000");
}
