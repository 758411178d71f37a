//! What the embedded log costs: the host beside plain loops on the same SQLite file, seen from outside.

use super::{
    IDLE, Options,
    local::{Arm, Local},
    process::{Observer, Process, Seen},
    run::{Run, rate},
    table::{self, Spread, ratios},
};
use anyhow::{Result, ensure};
use std::thread::sleep;

/// How many times the records of a run the large topic holds.
const LARGE: u64 = 5;

/// Fills a log, and takes all measurements on it.
pub(super) fn run(options: &Options) -> Result<()> {
    let Options { records, rounds, .. } = *options;
    let local = Local::set_up()?;
    eprintln!("a log with {} records…", records * (LARGE + 1));
    local.write_lines(records)?;
    let mut alone = Vec::new();
    for topic in ["small", "large"] {
        local.make(topic)?;
        for _ in 0..if topic == "large" { LARGE } else { 1 } {
            alone.push(produce(&local, topic, records)?);
        }
    }
    println!("{records} records of 100 B with a key of 8 B, {rounds} rounds");
    println!("{}\n", pass(&local, records, rounds)?);
    println!("{}\n", read(&local, records, rounds)?);
    println!("{}\n", side_by_side(&local, records, rounds)?);
    println!("{}\n", large(&local, records)?);
    println!("from a file: produce {}/s, try {:.0}k/s", Spread::of(&alone).whole(), local.try_module(records)? / 1e3);
    Ok(())
}

/// The passthrough of a topic, by the host and by the plain loop.
fn pass(local: &Local, records: u64, rounds: usize) -> Result<String> {
    // The first run pays for compiling the guest, and says how many records the host has in a transaction.
    let mut together = copy(local, Arm::Host, records)?.records_per_commit;
    let (mut host, mut plain) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let mut arms = [true, false];
        // Who goes first changes with each round, or what one leaves behind would always meet the other.
        arms.rotate_left(round % 2);
        for is_host in arms {
            let arm = if is_host { Arm::Host } else { Arm::Plain(together as u64) };
            let run = copy(local, arm, records)?;
            eprintln!("  {arm}: {run}");
            if is_host {
                together = run.records_per_commit;
                host.push(run);
            } else {
                plain.push(run);
            }
        }
    }
    let columns = [table::RATE, table::CPU, table::TOGETHER, table::FIRST];
    Ok(table::head("pass", &columns) + &table::pair(&columns, [("host", &host), ("plain", &plain)]))
}

fn copy(local: &Local, arm: Arm, records: u64) -> Result<Run> {
    let job = local.job("small")?;
    let mut observer = local.observe_group(&job.group)?;
    ensure!(observer.next()?.records == 0, "group {} is not a new one", job.group);
    let mut process = local.start(arm, &job)?;
    let run = Run::watch(&mut observer, &process, records)?;
    if arm == Arm::Host {
        process.end()?;
        local.check(&job.output, records)?;
    }
    Ok(run)
}

/// All records of a topic into a pipe.
fn read(local: &Local, records: u64, rounds: usize) -> Result<String> {
    let (mut host, mut plain) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let mut arms = [Arm::Host, Arm::Plain(0)];
        arms.rotate_left(round % 2);
        for arm in arms {
            let per_s = records as f64 / local.read(arm, "small", records)?;
            eprintln!("  into a pipe, {arm}: {per_s:.0}/s");
            if arm == Arm::Host { &mut host } else { &mut plain }.push(per_s);
        }
    }
    Ok(format!(
        "consume, into a pipe\n  host        {}/s\n  plain       {}/s\n  host/plain  {}",
        Spread::of(&host).whole(),
        Spread::of(&plain).whole(),
        Spread::of(&ratios(&host, &plain)).fine()
    ))
}

/// A host at work and a producer at full speed, each alone and then together.
fn side_by_side(local: &Local, records: u64, rounds: usize) -> Result<String> {
    let mut figures: [Vec<f64>; 4] = Default::default();
    for round in 0..rounds {
        let topic = format!("alone-{round}");
        local.make(&topic)?;
        let produce_alone = produce(local, &topic, records)?;
        let job = local.job("large")?;
        let mut progress = local.observe_group(&job.group)?;
        let mut host = local.start(Arm::Host, &job)?;
        progress.next()?;
        let first = host.explain(progress.next())?;
        let alone = until(&mut progress, &host, |seen| seen.records >= records)?;
        let topic = format!("beside-{round}");
        local.make(&topic)?;
        let mut end = local.observe_topic(&topic)?;
        end.next()?;
        let mut producer = local.produce(&topic)?;
        let begin = producer.explain(end.next())?;
        let before = until(&mut progress, &host, |seen| seen.epoch_ms >= begin.epoch_ms)?;
        let done = until(&mut end, &producer, |seen| seen.records == records)?;
        producer.wait()?;
        let after = until(&mut progress, &host, |seen| seen.epoch_ms >= done.epoch_ms)?;
        ensure!(after.records < records * LARGE, "the host was done before the producer was: take more records");
        host.kill()?;
        let of_round = [rate(first, alone), rate(before, after), produce_alone, rate(begin, done)];
        eprintln!(
            "  host {:.0}/s, beside the producer {:.0}/s; producer {:.0}/s, beside the host {:.0}/s",
            of_round[0], of_round[1], of_round[2], of_round[3]
        );
        figures.iter_mut().zip(of_round).for_each(|(figures, figure)| figures.push(figure));
    }
    let [host_alone, host_beside, produce_alone, produce_beside] = &figures;
    let line = |name: &str, alone: &[f64], beside: &[f64]| {
        let [a, b] = [alone, beside].map(|figures| Spread::of(figures).whole());
        format!("\n  {name:10}{a:>18}{b:>18}{:>18}", Spread::of(&ratios(beside, alone)).fine())
    };
    Ok(format!("side by side{:>16}{:>18}{:>18}", "alone/s", "beside/s", "beside/alone")
        + &line("host", host_alone, host_beside)
        + &line("produce", produce_alone, produce_beside))
}

/// The large topic: what a host holds on its way through it, and what a start on it takes.
fn large(local: &Local, records: u64) -> Result<String> {
    let job = local.job("large")?;
    let mut progress = local.observe_group(&job.group)?;
    let mut host = local.start(Arm::Host, &job)?;
    progress.next()?;
    let first = host.explain(progress.next())?;
    let first_ms = first.epoch_ms - host.started_epoch_ms();
    until(&mut progress, &host, |seen| seen.records >= records)?;
    let early_mib = host.memory_mib("VmHWM")?;
    let last = until(&mut progress, &host, |seen| seen.records >= records * LARGE)?;
    let late_mib = host.memory_mib("VmHWM")?;
    host.end()?;
    let mut host = local.start(Arm::Host, &job)?;
    // Until it has come to rest.
    sleep(IDLE / 4);
    let before_s = host.cpu_s()?;
    sleep(IDLE);
    let busy = (host.cpu_s()? - before_s) / IDLE.as_secs_f64() * 100.0;
    let (memory, own) = (host.memory_mib("VmRSS")?, host.memory_mib("RssAnon")?);
    host.end()?;
    Ok(format!(
        "{} records, in a log of {:.0} MiB: {:.0}/s; first commit after {first_ms:.0} ms; peak {early_mib:.1} MiB after \
         {records}, {late_mib:.1} MiB at the end: {:.2}\nidle on it for {} s: {busy:.1} % CPU, {memory:.1} MiB, {own:.1} \
         of it its own",
        records * LARGE,
        local.size_mib()?,
        rate(first, last),
        late_mib / early_mib,
        IDLE.as_secs()
    ))
}

/// Adds all lines to a topic, and says how fast that was: from its first records to the last.
fn produce(local: &Local, topic: &str, records: u64) -> Result<f64> {
    let mut end = local.observe_topic(topic)?;
    let all = end.next()?.records + records;
    let mut producer = local.produce(topic)?;
    let first = producer.explain(end.next())?;
    let last = until(&mut end, &producer, |seen| seen.records == all)?;
    producer.wait()?;
    Ok(rate(first, last))
}

fn until(observer: &mut Observer, process: &Process, is_it: impl Fn(Seen) -> bool) -> Result<Seen> {
    loop {
        let seen = process.explain(observer.next())?;
        if is_it(seen) {
            return Ok(seen);
        }
    }
}
