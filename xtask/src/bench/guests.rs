//! What a stage costs in each language: the example `upper`, made by `new` and built as any author would build it.

use super::process::build_host;
use crate::scratch::Scratch;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// The word for `new`, and the name for people. C is what the others stand beside.
const LANGUAGES: [(&str, &str); 6] =
    [("c", "C"), ("rust", "Rust"), ("go", "Go"), ("python", "Python"), ("js", "JavaScript"), ("ts", "TypeScript")];

/// A row of the table.
struct Figures {
    build: Duration,
    bytes: u64,
    module: Value,
}

/// What a record may cost by the plain call, beside one in C.
const BESIDE_C: [(&str, f64); 4] = [("Rust", 1.5), ("Go", 8.0), ("Python", 16.0), ("JavaScript", 110.0)];
/// What it may take to have a module ready that was compiled before.
const OPEN_MS: f64 = 100.0;

/// The page that shows the table, under this heading, at its end.
const PAGE: &str = "guests/README.md";
const HEADING: &str = "\n## What it costs\n";

/// Prints the table, or writes it into its page. Each language runs for that many seconds.
pub(super) fn run(seconds: u64, write: bool) -> Result<()> {
    let host = build_host()?;
    let meter = build_meter()?;
    let scratch = Scratch::new("guests")?;
    let mut built = Vec::new();
    for (word, name) in LANGUAGES {
        eprintln!("{name}…");
        let (module, build) = make(&host, scratch.path(), word)?;
        built.push((name, module, build));
    }
    // All run in one stretch, when nothing is being built any more.
    let mut rows = Vec::new();
    for (name, module, build) in built {
        rows.push((
            name,
            Figures { build, bytes: fs::metadata(&module)?.len(), module: measure(&meter, &module, seconds)? },
        ));
    }
    let (table, judged) = (table(&rows)?, judge(&rows));
    match write && judged.is_ok() {
        true => self::write(&table, seconds)?,
        // What costs more than it may does not stand in the page.
        false => println!("{table}"),
    }
    judged
}

fn write(table: &str, seconds: u64) -> Result<()> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism()?;
    let text = format!(
        "The example `upper` with a record of 100 bytes, by `cargo xtask bench guests --write`, on {cores} cores ({}); each \
         ran for {seconds} s.\n\n{table}\n\n\
         - build: the second one of a project, when all that it needs is there\n\
         - compile: the module, when the host sees it for the first time; open: every time after that\n\
         - start: an instance, and its first record\n\
         - record: by a call of its own, and how many times that of C; in batches: as a host does it that has more than one\n\
         - memory: what an instance adds to a host\n",
        model.trim_start_matches([' ', '\t', ':'])
    );
    let path = crate::root().join(PAGE);
    let page = fs::read_to_string(&path)?;
    let (rest, _) = page.split_once(HEADING).unwrap_or((&page, ""));
    fs::write(path, format!("{rest}{HEADING}\n{text}"))?;
    Ok(())
}

/// Says what costs more than it may.
fn judge(rows: &[(&str, Figures)]) -> Result<()> {
    let figure = |figures: &Figures, name: &str| figures.module[name].as_f64().unwrap_or(f64::INFINITY);
    let c = rows.iter().find(|(name, _)| *name == "C").map_or(0.0, |(_, c)| figure(c, "record_ns"));
    let mut too_much = Vec::new();
    for (name, figures) in rows {
        let (beside, open) = (figure(figures, "record_ns") / c, figure(figures, "open_ms"));
        if let Some((_, most)) = BESIDE_C.iter().find(|(known, most)| known == name && beside > *most) {
            too_much.push(format!("a record in {name} costs {beside:.1} times one in C, more than {most}"));
        }
        if open > OPEN_MS {
            too_much.push(format!("{name} is ready after {open:.0} ms, more than {OPEN_MS}"));
        }
    }
    ensure!(too_much.is_empty(), "{}", too_much.join("; "));
    Ok(())
}

/// Makes a project and builds it twice: the first time fetches what a language needs, the second is timed.
pub(super) fn make(host: &Path, folder: &Path, word: &str) -> Result<(PathBuf, Duration)> {
    let name = format!("upper-{word}");
    succeed(Command::new(host).args(["new", &name, "--lang", word]).current_dir(folder))?;
    let project = folder.join(&name);
    let build = || succeed(Command::new(host).args(["build", "--all"]).current_dir(&project));
    build()?;
    let start = Instant::now();
    build()?;
    let took = start.elapsed();
    let manifest = fs::read_to_string(project.join("millstream.yaml"))?;
    let module = manifest.lines().find_map(|line| line.trim().strip_prefix("module: ")).context("no module")?;
    Ok((project.join(module), took))
}

pub(super) fn succeed(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?} cannot be started"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The program that asks the host's library for one module's figures.
fn build_meter() -> Result<PathBuf> {
    let arguments = ["bench", "--locked", "--package", "millstream", "--bench", "guests", "--no-run"];
    let output = Command::new("cargo").args(arguments).arg("--message-format=json").output()?;
    ensure!(output.status.success(), "the bench cannot be built: {}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8_lossy(&output.stdout);
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let is_bench =
        |artifact: &Value| artifact["target"]["kind"][0] == "bench" && artifact["target"]["name"] == "guests";
    let found = artifacts.filter(is_bench).find_map(|artifact| artifact["executable"].as_str().map(PathBuf::from));
    found.context("cargo does not say where it put the bench")
}

fn measure(meter: &Path, module: &Path, seconds: u64) -> Result<Value> {
    let output = Command::new(meter).arg(module).arg(seconds.to_string()).output()?;
    ensure!(output.status.success(), "{}: {}", module.display(), String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn table(rows: &[(&str, Figures)]) -> Result<String> {
    let head = "| language | module | build | compile | open | start | record | beside C | in batches | memory |\n\
                | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |";
    let figure = |figures: &Figures, name: &str| figures.module[name].as_f64().with_context(|| format!("no {name}"));
    let (_, c) = rows.first().context("no language")?;
    let c = figure(c, "record_ns")?;
    let mut table = head.to_owned();
    for (name, figures) in rows {
        let of = |name| figure(figures, name);
        table += &format!(
            "\n| {name} | {:.0} KB | {:.1} s | {:.0} ms | {:.1} ms | {:.2} ms | {:.0} ns | {:.1} | {:.0} ns | {:.1} MiB |",
            figures.bytes as f64 / 1e3,
            figures.build.as_secs_f64(),
            of("compile_ms")?,
            of("open_ms")?,
            of("start_ms")?,
            of("record_ns")?,
            of("record_ns")? / c,
            of("ahead_ns")?,
            of("memory_kib")? / 1024.0,
        );
    }
    Ok(table)
}
