//! What the guests' runtimes keep for themselves, over very many records: memory stays within bounds, because instances
//! are renewed, and no record is lost by it.

use super::{
    guests::{make, succeed},
    process::{Process, build_host},
};
use crate::scratch::Scratch;
use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};
use xtask::clean_command;

/// The limit of an instance, and what the host may need beside it.
const LIMIT_MIB: f64 = 64.0;
const HOST_MIB: f64 = 96.0;

/// The languages with a large runtime, and whether it is known to keep what a stage gives out.
const LANGUAGES: [(&str, &str, bool); 2] = [("python", "Python", true), ("js", "JavaScript", false)];

/// Takes that many records of 100 bytes through the example `upper` of each language, on the embedded log.
pub(super) fn run(records: u64) -> Result<()> {
    let host = build_host()?;
    let scratch = Scratch::new("renewal")?;
    let lines = scratch.path().join("lines");
    let mut file = BufWriter::new(File::create(&lines)?);
    (0..records).try_for_each(|number| writeln!(file, "key-{:04}\t{number:0>100}", number % 10_000))?;
    file.into_inner()?;
    for (word, name, keeps) in LANGUAGES {
        eprintln!("{name}…");
        let (module, _) = make(&host, scratch.path(), word)?;
        println!("{name}: {}", take(&host, &module, &lines, records, keeps)?);
    }
    Ok(())
}

fn take(host: &Path, module: &Path, lines: &Path, records: u64, keeps: bool) -> Result<String> {
    let project = module.parent().context("a module lies in a folder")?;
    let command = |words: &str| {
        let mut command = clean_command(host);
        command.args(words.split(' ')).current_dir(project).env("MILLSTREAM_MANIFEST", "renewal.yaml");
        command
    };
    let manifest = format!(
        "name: renewal\nstate: renewal\ntopics: {{in: {{partitions: 1}}}}\nstages: {{upper: {{module: {}, input: in, output: \
         out, limits: {{memory: {LIMIT_MIB}MiB}}}}}}\n",
        module.display()
    );
    fs::write(project.join("renewal.yaml"), manifest)?;
    succeed(&mut command("topics create in --partitions 1"))?;
    // It leaves the compiled module in its cache: what a compiler needs of memory is not asked here.
    succeed(&mut command("run renewal.yaml --until-idle=100ms"))?;
    succeed(command("produce in --key-separator=\\t").stdin(File::open(lines)?))?;
    let log = project.join("log");
    let started = Instant::now();
    let mut run = command("run renewal.yaml --until-idle=500ms");
    let mut process = Process::start(run.env("MILLSTREAM_LOG", "debug"), log.clone())?;
    let mut own_mib = 0.0_f64;
    while !process.has_ended()? {
        // It may end between two looks.
        own_mib = own_mib.max(process.memory_mib("RssAnon").unwrap_or_default());
        sleep(Duration::from_millis(100));
    }
    process.wait()?;
    let took = started.elapsed();
    let log = fs::read_to_string(log)?;
    let summary = format!("upper: {} records done", grouped(records));
    ensure!(log.contains(&summary), "not all records are done: {log}");
    let renewals = log.matches("its memory has grown large").count();
    let letters = log.lines().any(|line| line.contains("dead letter"));
    let said = format!(
        "{records} records in {:.0} s, at most {own_mib:.1} MiB of memory of its own, {renewals} renewals",
        took.as_secs_f64()
    );
    ensure!(!letters, "{said}, and dead letters: {log}");
    ensure!(own_mib <= LIMIT_MIB + HOST_MIB, "{said}: that is more than {LIMIT_MIB} MiB and {HOST_MIB} for the host");
    ensure!(!keeps || renewals > 0, "{said}: an instance that is never renewed comes to its limit");
    Ok(format!("{said}, no dead letters"))
}

/// As the host writes large numbers.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let parts: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    parts.join(",")
}
