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

/// Prints the table of `guests/README.md`. Each language runs for that many seconds.
pub(super) fn run(seconds: u64) -> Result<()> {
    let host = build_host()?;
    let meter = build_meter()?;
    let scratch = Scratch::new("guests")?;
    let mut built = Vec::new();
    for (word, name) in LANGUAGES {
        eprintln!("{name}…");
        let (module, build) = build(&host, scratch.path(), word)?;
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
    println!("{}", table(&rows)?);
    Ok(())
}

/// Makes a project and builds it twice: the first time fetches what a language needs, the second is timed.
fn build(host: &Path, folder: &Path, word: &str) -> Result<(PathBuf, Duration)> {
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

fn succeed(command: &mut Command) -> Result<()> {
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
