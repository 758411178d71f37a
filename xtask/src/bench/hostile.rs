//! What hostile guests can take from others: how long an endless loop lasts, what a stage beside it loses, and how much
//! memory a host has while it works off a long backlog in which hostile records lie.

use super::{
    guests::succeed,
    process::{Process, build_host, copies},
    table::{Spread, ratios},
};
use crate::scratch::Scratch;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::PathBuf,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use xtask::{
    clean_command, guests,
    kafka::{Cluster, Setup},
};

/// The CPU time that a record has, when its manifest does not say.
const LIMIT_MS: f64 = 250.0;
/// How often a record is tried until it counts as failed.
const ATTEMPTS: f64 = 2.0;
/// How long a stage is watched, with a loop beside it and without.
const WATCHED: Duration = Duration::from_secs(8);
const ROUNDS: usize = 3;
/// Records for the stage that is watched: more than it can do.
const WORK: u64 = 1_500_000;

/// One record in so many is hostile, and one in so many is an endless loop.
const ODD: u64 = 500;
const LOOP: u64 = 100_000;
/// What the hostile ones do; none of them comes through.
const HOSTILE: [&str; 8] = ["panic", "memory", "recurse", "many 5000", "huge 48", "reject", "fault", "to nowhere"];
/// What docs/operations.md says a host with one worker needs on Kafka at most.
const BOUND_MIB: f64 = 256.0;

/// The host, the guest that does what its records say, and a folder for one log.
struct Scene {
    host: PathBuf,
    folder: Scratch,
}

/// What `status` says of a stage.
#[derive(Default)]
struct Status {
    done: u64,
    dead_letters: u64,
}

/// Watches a stage beside an endless loop, and then takes that many records through a hostile one.
pub(super) fn run(records: u64) -> Result<()> {
    let built = [build_host()?, guests::build()?.join("trial.wasm")];
    let folder = Scratch::new("hostile")?;
    let [host, _] = copies(built, folder.path())?;
    let scene = Scene { host, folder };
    contain(&scene)?;
    flood(&scene, records)
}

/// A stage at work while the one beside it has nothing to do, and while that one runs into endless loops.
fn contain(scene: &Scene) -> Result<()> {
    let manifest = |loops: &str, round: usize| {
        format!(
            "name: contained\nstate: state\ntopics: {{work: {{partitions: 1}}, loops: {{partitions: 1}}, calm: {{partitions: \
             1}}}}\nstages:\n  steady: {{module: trial.wasm, input: work, output: worked, group: steady-{loops}-{round}}}\n  \
             hostile: {{module: trial.wasm, input: {loops}, output: looped, group: hostile-{loops}-{round}, on-error: \
             {{stop-when: never}}}}\n"
        )
    };
    scene.write("bench.yaml", &manifest("calm", 0))?;
    ["work", "loops", "calm"]
        .iter()
        .try_for_each(|topic| scene.says(&["topics", "create", topic, "--partitions", "1"]))?;
    scene.produce("work", WORK, |number| format!("work 40000 {number}"))?;
    scene.produce("loops", 1000, |number| format!("loop {number}"))?;
    let [mut calm, mut beside] = [const { Vec::new() }; 2];
    for round in 0..ROUNDS {
        let mut arms = [("calm", &mut calm), ("loops", &mut beside)];
        arms.rotate_left(round % 2);
        for (input, rates) in arms {
            scene.write("bench.yaml", &manifest(input, round))?;
            let (mut process, admin) = scene.start()?;
            scene.until("it is at work", || Ok(scene.status(&admin, "steady")?.done > 0))?;
            let (begun, before) = (Instant::now(), scene.status(&admin, "steady")?);
            sleep(WATCHED);
            let (took, after) = (begun.elapsed(), scene.status(&admin, "steady")?);
            process.end()?;
            ensure!(after.done < WORK, "the work was done too soon: there has to be more of it");
            rates.push((after.done - before.done) as f64 / took.as_secs_f64());
            eprintln!("  beside {input}: {:.0}/s", rates[rates.len() - 1]);
        }
    }
    let lasted = scene.attempts()?;
    println!(
        "a stage with 40,000 steps of work in each record, on the embedded log, {ROUNDS} rounds of {} s\n  beside nothing         {}/s\n  \
         beside endless loops   {}/s\n  loops/nothing          {}\nan attempt at an endless loop, of {LIMIT_MS} ms: {} ms",
        WATCHED.as_secs(),
        Spread::of(&calm).whole(),
        Spread::of(&beside).whole(),
        Spread::of(&ratios(&beside, &calm)).fine(),
        Spread::of(&lasted).whole()
    );
    let longest = lasted.iter().copied().fold(0.0, f64::max);
    ensure!(longest <= 2.0 * LIMIT_MS, "an attempt lasted {longest:.0} ms, more than twice its limit");
    Ok(())
}

/// A long backlog on Kafka, with hostile records in it.
fn flood(scene: &Scene, records: u64) -> Result<()> {
    let cluster = Cluster::start(&scene.folder.path().join("kafka"), &Setup { fast: true, ..Setup::default() })?;
    let manifest = format!(
        "name: flooded\nstate: state\nkafka: {{brokers: \"{}\"}}\ntopics: {{in: {{partitions: 4}}}}\nstages: {{hostile: \
         {{module: trial.wasm, input: in, output: out}}}}\n",
        cluster.address()
    );
    scene.write("bench.yaml", &manifest)?;
    scene.says(&["topics", "create", "in", "--partitions", "4"])?;
    eprintln!("a backlog of {records} records…");
    let what = |number: u64| match number {
        number if number % LOOP == 1 => format!("loop {number}"),
        number if number % ODD == 2 => format!("{} {number}", HOSTILE[(number / ODD) as usize % HOSTILE.len()]),
        number => format!("pass {number:0>95}"),
    };
    let hostile = (0..records).filter(|number| number % LOOP == 1 || number % ODD == 2).count() as u64;
    scene.produce("in", records, what)?;
    let (mut process, admin) = scene.start()?;
    let (begun, mut early_mib) = (Instant::now(), None);
    let (status, peak_mib) = loop {
        sleep(Duration::from_millis(500));
        let (status, peak_mib) = (scene.status(&admin, "hostile")?, process.memory_mib("VmHWM")?);
        if early_mib.is_none() && status.done >= records / 5 {
            early_mib = Some(peak_mib);
        }
        if status.done >= records {
            break (status, peak_mib);
        }
    };
    let took = begun.elapsed();
    process.end()?;
    println!(
        "{records} records on Kafka, {hostile} of them hostile, in {:.0} s: peak {:.1} MiB after a fifth of them, {peak_mib:.1} MiB \
         at the end, of {BOUND_MIB} MiB",
        took.as_secs_f64(),
        early_mib.context("it was not seen at work")?
    );
    ensure!(status.done == records, "{} records are done, of {records}", status.done);
    ensure!(status.dead_letters == hostile, "{} dead letters came of {hostile} hostile records", status.dead_letters);
    ensure!(peak_mib <= BOUND_MIB, "it needed more than {BOUND_MIB} MiB");
    Ok(())
}

impl Scene {
    fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.folder.path().join(name), text)?)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = clean_command(&self.host);
        command.args(words).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("MILLSTREAM_MANIFEST", "bench.yaml");
        command
    }

    fn says(&self, words: &[&str]) -> Result<()> {
        succeed(&mut self.command(words))
    }

    /// Adds records to a topic.
    fn produce(&self, topic: &str, records: u64, value: impl Fn(u64) -> String) -> Result<()> {
        let lines = self.folder.path().join("lines");
        let mut file = BufWriter::new(File::create(&lines)?);
        (0..records).try_for_each(|number| writeln!(file, "{}", value(number)))?;
        file.into_inner()?;
        succeed(self.command(&["produce", topic]).stdin(File::open(lines)?))
    }

    /// A host at work, and where it can be asked.
    fn start(&self) -> Result<(Process, String)> {
        let mut command = self.command(&["run", "bench.yaml", "--admin", "127.0.0.1:0"]);
        let process = Process::start(&mut command, self.folder.path().join("host.log"))?;
        let admin = process.admin_address()?;
        Ok((process, admin))
    }

    fn status(&self, admin: &str, stage: &str) -> Result<Status> {
        let output = self.command(&["status", "--json", "--admin", admin]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let status: Value = serde_json::from_slice(&output.stdout)?;
        let stages = status["stages"].as_array().context("there are stages")?;
        // It comes up when it knows its topics.
        let Some(of) = stages.iter().find(|of| of["name"] == stage) else { return Ok(Status::default()) };
        ensure!(of["state"] != "stopped", "{stage} has stopped: {}", of["failure"]);
        let number = |name: &str| of[name].as_u64().with_context(|| format!("no {name}"));
        Ok(Status { done: number("done")?, dead_letters: number("dead-letters")? })
    }

    fn until(&self, what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
        let since = Instant::now();
        while !holds()? {
            ensure!(since.elapsed() < Duration::from_secs(60), "never: {what}");
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// How long an attempt lasted, in milliseconds, by the times between dead letters.
    fn attempts(&self) -> Result<Vec<f64>> {
        let output = self.command(&["dead-letters", "show", "hostile", "--all", "--json", "-n", "100000"]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut letters = Vec::new();
        for line in String::from_utf8(output.stdout)?.lines() {
            let letter: Value = serde_json::from_str(line)?;
            let headers = letter["headers"].as_array().context("a letter has headers")?;
            let of = |name: &str| headers.iter().find(|header| header[0] == name).and_then(|header| header[1].as_str());
            let number = |name: &str| of(name).and_then(|text| text.parse::<u64>().ok()).context("a number is missing");
            ensure!(of("millstream.error.code") == Some("time-limit"), "not for its time: {line}");
            letters.push((number("millstream.error.offset")?, number("millstream.error.at")?));
        }
        // Each run begins with the first of them again.
        let pairs = letters.windows(2).filter(|pair| pair[1].0 == pair[0].0 + 1);
        let lasted: Vec<_> = pairs.map(|pair| (pair[1].1 - pair[0].1) as f64 / ATTEMPTS).collect();
        ensure!(!lasted.is_empty(), "no loop was ended");
        Ok(lasted)
    }
}
