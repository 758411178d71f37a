//! What the host costs: the same passthrough by it and by native code, in turn on one broker, seen from outside.
//!
//! Both arms are measured by the same observer, which asks the broker how far the group is done, and by what the system
//! says about their processes. Neither is asked about itself.

mod embedded;
mod guests;
mod hostile;
mod lab;
mod local;
mod process;
mod renewal;
mod run;
mod sharing;
mod sinks;
mod swap;
mod table;

use anyhow::{Context, Result, bail};
use lab::{Arm, Delivery, Job, Lab};
use run::Run;
use std::{thread::sleep, time::Duration};
use table::{Figures, Spread};

const HELP: &str = "cargo xtask bench COMMAND

  passthrough  speed, CPU time, memory and the time to the first record, host beside native
      --records N   of 100 bytes, and a fourth as many of 1 KB (4000000)
      --rounds N    how often each arm does each of them, in turn (3)
      --quick       one round of half as many, without headers
  recovery     the time from a start after kill -9 to the next committed record, host beside native
      --rounds N    (5)
  embedded     the embedded log: a passthrough and `consume` beside plain loops on SQLite, a producer beside the
               host, memory, start and idleness on a large log
      --records N   of 100 bytes, and five times as many in the large log (1000000)
      --rounds N    (3)
      --quick       one round of half as many
  guests       the table of guests/README.md: a small stage in each language, beside one in C
      --seconds N   for which each runs, alone and in batches (10)
      --write       into that page, in place of the last one
  renewal      very many records through a stage in Python and one in JavaScript: memory stays bounded
      --records N   of 100 bytes (1000000)
  hostile      an endless loop beside a stage at work, and memory over a long backlog with hostile records in it
      --records N   of that backlog (5000000)
  sharing      a second process joins the first: what both copy, beside one alone
      --records N   of 100 bytes (16000000)
      --rounds N    (3)
  sinks        into PostgreSQL and what stands in for a MongoDB, beside a plain script in Python with the same batches
      --records N   (300000)
      --rounds N    (3)
  swap         modules replaced under a steady load: gaps in the output, and the time until the new one writes
      --swaps N     (10)
";

/// Settling down before memory counts as idle.
const IDLE: Duration = Duration::from_secs(10);

/// Runs the benchmark that is asked for.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let options = |default| Options::parse(words.get(1..).unwrap_or_default(), default);
    match words.first() {
        Some(&"passthrough") => passthrough(&options(Options { records: 4_000_000, rounds: 3, quick: false })?),
        Some(&"recovery") => recovery(&options(Options { records: 2_000_000, rounds: 5, quick: false })?),
        Some(&"embedded") => embedded::run(&options(Options { records: 1_000_000, rounds: 3, quick: false })?),
        Some(&"guests") => {
            let write = words.contains(&"--write");
            let rest: Vec<_> = words[1..].iter().filter(|word| **word != "--write").copied().collect();
            guests::run(number("--seconds", &rest, 10)?, write)
        }
        Some(&"renewal") => renewal::run(number("--records", &words[1..], 1_000_000)?),
        Some(&"hostile") => hostile::run(number("--records", &words[1..], 5_000_000)?),
        Some(&"sinks") => {
            let Options { records, rounds, .. } = options(Options { records: 300_000, rounds: 3, quick: false })?;
            sinks::run(records, rounds)
        }
        Some(&"sharing") => {
            let Options { records, rounds, .. } = options(Options { records: 16_000_000, rounds: 3, quick: false })?;
            sharing::run(records, rounds)
        }
        Some(&"swap") => swap::run(usize::try_from(number("--swaps", &words[1..], 10)?)?),
        _ => bail!("what to measure?\n\n{HELP}"),
    }
}

/// The number behind the only word that is known.
fn number(known: &str, words: &[&str], default: u64) -> Result<u64> {
    match words {
        [] => Ok(default),
        [word, number] if *word == known => number.parse().with_context(|| format!("{known} is a number\n\n{HELP}")),
        _ => bail!("that is not known\n\n{HELP}"),
    }
}

#[derive(Clone, Copy)]
struct Options {
    records: u64,
    rounds: usize,
    quick: bool,
}

impl Options {
    fn parse(words: &[&str], mut options: Options) -> Result<Options> {
        let mut words = words.iter();
        let number = |word: Option<&&str>| -> Result<u64> {
            let number = word.and_then(|word| word.parse().ok()).filter(|number| *number > 0);
            number.with_context(|| format!("a number is missing\n\n{HELP}"))
        };
        while let Some(word) = words.next() {
            match *word {
                "--records" => options.records = number(words.next())?,
                "--rounds" => options.rounds = usize::try_from(number(words.next())?)?,
                "--quick" => options = Options { records: options.records / 2, rounds: 1, quick: true },
                other => bail!("{other} is not known\n\n{HELP}"),
            }
        }
        Ok(options)
    }
}

/// Records that all runs of a table copy.
struct Shape {
    size: u32,
    headers: u32,
    records: u64,
}

fn passthrough(options: &Options) -> Result<()> {
    let lab = Lab::set_up()?;
    let both = if options.quick { &[0][..] } else { &[0, 2][..] };
    let (small, large) = (options.records, (options.records / 4).max(1));
    for (size, records) in [(100, small), (1000, large)] {
        for headers in both.iter().copied() {
            let shape = Shape { size, headers, records };
            println!("{}", compare(&lab, &shape, options.rounds)?);
        }
    }
    println!("{}", idle(&lab)?);
    Ok(())
}

/// Copies a topic over and over, and says what that took.
fn compare(lab: &Lab, shape: &Shape, rounds: usize) -> Result<String> {
    let Shape { size, headers, records } = *shape;
    let input = format!("in-{size}-{headers}");
    eprintln!("{records} records of {size} bytes with {headers} headers…");
    let (count, bytes, extra) = (records.to_string(), size.to_string(), headers.to_string());
    lab.native(&["load", lab.broker(), &input, "--records", &count, "--size", &bytes, "--headers", &extra])?;
    // The first run pays for what the broker has never done before, and the host's for compiling its guest.
    for arm in Arm::ALL {
        copy(lab, arm, &lab.job(&input, Delivery::ExactlyOnce), records)?;
    }
    let mut figures = Figures::default();
    for round in 0..rounds {
        for delivery in Delivery::ALL {
            // Who goes first changes with each round, or what one leaves behind would always meet the other.
            let mut arms = Arm::ALL;
            arms.rotate_left(round % 2);
            for arm in arms {
                let run = copy(lab, arm, &lab.job(&input, delivery), records)?;
                eprintln!("  {delivery}, {arm}: {run}");
                figures.add(delivery, arm, run);
            }
        }
    }
    let with = if headers == 0 { String::new() } else { format!(" with {headers} headers") };
    Ok(format!("{records} records of {size} B{with}, {rounds} rounds\n{figures}"))
}

fn copy(lab: &Lab, arm: Arm, job: &Job, records: u64) -> Result<Run> {
    lab.native(&["make", lab.broker(), &job.output, "--fresh"])?;
    let mut observer = lab.observe(job, records)?;
    let mut process = lab.spawn(arm, job)?;
    let run = Run::watch(&mut observer, &process, records)?;
    process.end()?;
    lab.check(&job.output, records)?;
    Ok(run)
}

/// What the arms hold while there is nothing to do.
fn idle(lab: &Lab) -> Result<String> {
    lab.native(&["make", lab.broker(), "idle", "--fresh"])?;
    let mut line = format!("idle for {} s:", IDLE.as_secs());
    for arm in Arm::ALL {
        let job = lab.job("idle", Delivery::ExactlyOnce);
        lab.native(&["make", lab.broker(), &job.output, "--fresh"])?;
        let mut process = lab.spawn(arm, &job)?;
        sleep(IDLE);
        let (memory, anonymous) = (process.memory_mib("VmRSS")?, process.memory_mib("RssAnon")?);
        line += &format!(" {arm} {memory:.1} MiB ({anonymous:.1} of it its own, the rest of files);");
        process.end()?;
    }
    Ok(line.trim_end_matches(';').to_owned())
}

fn recovery(options: &Options) -> Result<()> {
    let lab = Lab::set_up()?;
    let count = options.records.to_string();
    lab.native(&["load", lab.broker(), "in", "--records", &count, "--size", "100"])?;
    for arm in Arm::ALL {
        copy(&lab, arm, &lab.job("in", Delivery::ExactlyOnce), options.records)?;
    }
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..options.rounds {
        for (arm, times) in Arm::ALL.into_iter().zip(&mut times) {
            let ms = recover(&lab, arm, options.records)?;
            eprintln!("  round {}, {arm}: {ms:.0} ms", round + 1);
            times.push(ms);
        }
    }
    println!("from a start after kill -9 to the next commit, {} rounds", options.rounds);
    for (arm, times) in Arm::ALL.into_iter().zip(&times) {
        println!("  {:8}{} ms", arm.to_string(), Spread::of(times).whole());
    }
    Ok(())
}

/// Kills it in the middle of its work, starts it again, and waits for what it commits next.
fn recover(lab: &Lab, arm: Arm, records: u64) -> Result<f64> {
    let job = lab.job("in", Delivery::ExactlyOnce);
    lab.native(&["make", lab.broker(), &job.output, "--fresh"])?;
    let mut observer = lab.observe(&job, records)?;
    let mut process = lab.spawn(arm, &job)?;
    while process.explain(observer.next())?.records < records / 4 {}
    process.kill()?;
    // A commit that was on its way when it died is not the next one's.
    sleep(Duration::from_millis(200));
    let mut process = lab.spawn(arm, &job)?;
    loop {
        let seen = process.explain(observer.next())?;
        if seen.epoch_ms >= process.started_epoch_ms() {
            process.kill()?;
            return Ok(seen.epoch_ms - process.started_epoch_ms());
        }
    }
}
