//! What a module costs: to have it ready, and for each record. `cargo xtask bench guests` makes a table of it; alone:
//! `cargo bench -p millstream --bench guests -- MODULE SECONDS`, which prints a line of JSON.

use anyhow::{Context, Result, ensure};
use millstream::{
    lines::{Entries, Entry, Given},
    stage::guest::{Guest, InHand},
    transport::Batch,
    wasm::{Cache, Engine, Input, Instance, Kind, Module, Setup},
};
use serde_json::json;
use std::{
    env, fs,
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};

/// How many records lie in a batch.
const TOGETHER: usize = 500;
/// How often a start is measured, for its median.
const STARTS: usize = 5;
/// A first attempt may be answered ahead, in one call for many; a second is always a call of its own.
const AHEAD: u32 = 1;
const ALONE: u32 = 2;

fn main() -> Result<()> {
    // Cargo adds flags of its own.
    let words: Vec<_> = env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let [path, seconds] = &words[..] else { anyhow::bail!("tell a module, and for how many seconds it runs") };
    let seconds = Duration::from_secs(seconds.parse().context("seconds are a number")?);

    let engine = Engine::new()?;
    let folder = tempfile::tempdir()?;
    let ready = || -> Result<_> {
        let module = Module::load(Path::new(path), Kind::Stage)?;
        Ok(engine.compile(&module, &Cache::new(folder.path()), &mut |_| {})?)
    };
    let (_, compile) = timed(ready);
    let (compiled, open) = timed(ready);
    let compiled = compiled?;
    let cached = fs::read_dir(folder.path())?.count();
    ensure!(cached > 0, "the cache kept nothing");

    let input = Input { topic: "records".into(), name: "records".into() };
    let setup = Setup { inputs: vec![input], ..Setup::default() };
    let begin = || -> Result<_> {
        let mut instance = Instance::new(&compiled, setup.clone())?;
        pass(&mut instance, 1, ALONE)?;
        Ok(instance)
    };
    // Before anything else was there, and left its memory behind.
    let memory = resident_kib()?;
    let mut instance = begin()?;
    let (records, alone) = run(&mut instance, seconds, ALONE)?;
    let memory = resident_kib()?.saturating_sub(memory);
    let (_, ahead) = run(&mut instance, seconds, AHEAD)?;
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        let (begun, took) = timed(begin);
        begun?;
        starts.push(took);
    }
    starts.sort();
    let start = starts[STARTS / 2];
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let figures = json!({
        "compile_ms": ms(compile),
        "open_ms": ms(open),
        "start_ms": ms(start),
        "record_ns": alone,
        "ahead_ns": ahead,
        "records": records,
        "memory_kib": memory,
    });
    println!("{figures}");
    Ok(())
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let done = work();
    (done, start.elapsed())
}

/// Passes records for that long, after a tenth of it to warm up; how many, and nanoseconds for each.
fn run(instance: &mut Instance, long: Duration, attempt: u32) -> Result<(u64, f64)> {
    let mut passed = |long: Duration| -> Result<_> {
        let (mut records, mut spent) = (0, Duration::ZERO);
        while spent < long {
            spent += pass(instance, TOGETHER, attempt)?;
            records += TOGETHER as u64;
        }
        Ok((records, spent.as_nanos() as f64 / records as f64))
    };
    passed(long / 10)?;
    passed(long)
}

/// How long a batch takes.
fn pass(instance: &mut Instance, records: usize, attempt: u32) -> Result<Duration> {
    let entry = Entry { key: Some(b"key-of-8".to_vec()), value: Some(vec![b'x'; 100]), ..Entry::default() };
    let batch: Rc<dyn Batch> = Rc::new(Entries::new(vec![Given { input: 0, entry }; records]));
    let start = Instant::now();
    for index in 0..records {
        let in_hand = InHand { record: batch.get(index), batch: batch.clone(), index, attempt };
        let out = instance.transform(in_hand).map_err(|failed| anyhow::anyhow!("{failed}"))?;
        ensure!(out.len() == 1, "one record became {}", out.len());
    }
    Ok(start.elapsed())
}

fn resident_kib() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the system tells no memory")?;
    line.trim().trim_end_matches(" kB").parse().context("memory is a number")
}
