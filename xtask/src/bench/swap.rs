//! What a swap costs those who read the output: the gap in it, the time until the new module writes, and what a compiler
//! takes away from the stage meanwhile.

use super::{
    guests::make,
    process::{Process, build_host},
    table::Spread,
};
use crate::scratch::Scratch;
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, sleep},
    time::{Duration, Instant},
};
use xtask::{
    clean_command, guests,
    kafka::{Cluster, Setup},
};

/// How many records come in a second.
const PACE: u32 = 2000;
/// They come in pieces, this far apart.
const PIECE: Duration = Duration::from_millis(10);
/// How long it is looked at without a swap, and from one swap to the next.
const CALM: Duration = Duration::from_secs(10);
const BETWEEN: Duration = Duration::from_millis(2500);

/// Which module wrote a record, as its header or its letters say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    One,
    Two,
    Python,
}

impl By {
    fn of(line: &str) -> Option<By> {
        let marks = [("[\"by\",\"one\"]", By::One), ("[\"by\",\"two\"]", By::Two), ("\"value\":\"RECORD", By::Python)];
        marks.into_iter().find(|(mark, _)| line.contains(mark)).map(|(_, by)| by)
    }
}

/// When which record came out.
type Seen = Arc<Mutex<Vec<(Instant, By)>>>;

struct Scene {
    host: PathBuf,
    folder: PathBuf,
    broker: String,
    admin: String,
    seen: Seen,
}

/// Swaps that many times on a real Kafka, under a steady load.
pub(super) fn run(swaps: usize) -> Result<()> {
    let (host, scratch) = (build_host()?, Scratch::new("swap")?);
    let folder = scratch.path().to_owned();
    let trial = fs::read(guests::build()?.join("trial.wasm"))?;
    fs::write(folder.join("one.wasm"), guests::with_manners(&trial, "marks-one"))?;
    fs::write(folder.join("two.wasm"), guests::with_manners(&trial, "marks-two"))?;
    eprintln!("a stage in Python…");
    let (python, _) = make(&host, &folder, "python")?;
    fs::copy(python, folder.join("python.wasm"))?;
    let cluster = Cluster::start(&folder.join("kafka"), &Setup { fast: true, ..Setup::default() })?;
    let broker = cluster.address();
    let manifest = format!(
        "name: swap\nkafka: {{brokers: \"{broker}\"}}\ntopics:\n  in: {{partitions: 2}}\n  out: {{partitions: 2}}\nstages:\n  copy: \
         {{module: one.wasm, input: in, output: out}}\n"
    );
    fs::write(folder.join("swap.yaml"), manifest)?;
    let log = folder.join("host.log");
    let mut command = clean_command(&host);
    command.args(["run", "swap.yaml", "--admin", "127.0.0.1:0"]).current_dir(&folder).stdin(Stdio::null());
    let process = Process::start(&mut command, log)?;
    let admin = process.admin_address()?;
    let scene = Scene { host, folder, broker, admin, seen: Seen::default() };
    scene.until("the host is at work", || {
        let status = scene.command(&["status", "--json", "--admin", &scene.admin]).output();
        status.is_ok_and(|status| String::from_utf8_lossy(&status.stdout).contains("\"state\":\"running\""))
    })?;
    let (_reader, _writer) = (scene.watch()?, scene.load()?);
    scene.until("records come out", || scene.last().is_some())?;
    sleep(Duration::from_secs(2));
    scene.measure(swaps)
}

impl Scene {
    fn measure(&self, swaps: usize) -> Result<()> {
        let from = Instant::now();
        sleep(CALM);
        println!("{PACE} records of 30 B a second, exactly once on Kafka");
        println!(
            "longest gap in the output without a swap, {} s: {:.0} ms",
            CALM.as_secs(),
            self.gap(from, Instant::now())
        );
        let (mut gaps, mut times) = (Vec::new(), Vec::new());
        for swap in 0..swaps {
            let (module, by) = if swap % 2 == 0 { ("two.wasm", By::Two) } else { ("one.wasm", By::One) };
            let (asked, first) = self.swap(module, by)?;
            sleep(BETWEEN);
            gaps.push(self.gap(asked, Instant::now()));
            times.push((first - asked).as_secs_f64() * 1e3);
        }
        println!("around {swaps} swaps: {} ms", Spread::of(&gaps).whole());
        println!("from the command's start to the first record by a small module: {} ms", Spread::of(&times).whole());
        let before = self.rate(Instant::now() - Duration::from_secs(2), Instant::now());
        let (asked, first) = self.swap("python.wasm", By::Python)?;
        let (while_compiled, took) = (self.rate(asked, first), (first - asked).as_secs_f64());
        println!(
            "a module in Python that is compiled first, {took:.1} s: {before:.0} records/s before, {while_compiled:.0}/s meanwhile, \
                  longest gap {:.0} ms",
            self.gap(asked, first)
        );
        let mut times = Vec::new();
        for _ in 0..3 {
            sleep(BETWEEN);
            self.swap("one.wasm", By::One)?;
            sleep(BETWEEN);
            let (asked, first) = self.swap("python.wasm", By::Python)?;
            times.push((first - asked).as_secs_f64() * 1e3);
        }
        println!("to the first record by it when it was compiled before: {} ms", Spread::of(&times).whole());
        Ok(())
    }

    /// Swaps, and waits for the first record by the new module: when it was asked for, and when that came.
    fn swap(&self, module: &str, by: By) -> Result<(Instant, Instant)> {
        let asked = Instant::now();
        let output = self.command(&["swap", "copy", module, "--admin", &self.admin]).stdout(Stdio::piped()).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success() && said.contains("is confirmed"),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let first = || self.seen().iter().find(|(at, writer)| *at > asked && *writer == by).map(|(at, _)| *at);
        self.until("the new module writes", || first().is_some())?;
        Ok((asked, first().context("it was there")?))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = clean_command(&self.host);
        command.args(words).current_dir(&self.folder).env("MILLSTREAM_KAFKA", &self.broker).stdin(Stdio::null());
        command
    }

    fn watch(&self) -> Result<Ended> {
        let mut reader = self.command(&["consume", "out", "--format", "json"]).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(reader.stdout.take().context("it has an output")?).lines();
        let seen = self.seen.clone();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(by) = By::of(&line) {
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), by));
                }
            }
        });
        Ok(Ended(reader, Arc::default()))
    }

    fn load(&self) -> Result<Ended> {
        let mut writer = self.command(&["produce", "in"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let (mut to, end) = (writer.stdin.take().context("it has an input")?, Arc::<AtomicBool>::default());
        let ended = end.clone();
        thread::spawn(move || {
            let (since, mut number) = (Instant::now(), 0_u32);
            while !ended.load(Ordering::Relaxed) {
                let due = (since.elapsed().as_secs_f64() * f64::from(PACE)) as u32;
                let lines: String = (number..due).map(|number| format!("record {number:020} by\n")).collect();
                if to.write_all(lines.as_bytes()).and_then(|()| to.flush()).is_err() {
                    return;
                }
                number = due;
                sleep(PIECE);
            }
        });
        Ok(Ended(writer, end))
    }

    fn seen(&self) -> Vec<(Instant, By)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn last(&self) -> Option<(Instant, By)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).last().copied()
    }

    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
        let since = Instant::now();
        while !holds() {
            ensure!(since.elapsed() < Duration::from_secs(60), "never: {what}");
            sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The longest time between two records that came out, in milliseconds.
    fn gap(&self, from: Instant, to: Instant) -> f64 {
        let times: Vec<_> = self.seen().into_iter().map(|(at, _)| at).filter(|at| (from..to).contains(at)).collect();
        times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1e3).fold(0.0, f64::max)
    }

    fn rate(&self, from: Instant, to: Instant) -> f64 {
        let count = self.seen().iter().filter(|(at, _)| (from..to).contains(at)).count();
        count as f64 / (to - from).as_secs_f64()
    }
}

/// A client that ends with this.
struct Ended(Child, Arc<AtomicBool>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.1.store(true, Ordering::Relaxed);
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
