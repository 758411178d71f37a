//! `test`: runs the cases of stages, offline.

use super::{
    Exit, Mistakes,
    load::{self, Loaded, Wishes},
    print, terminal, wrong,
};
use crate::{
    supervisor::{self, Format},
    testing::{Bench, Case, CaseFile, CaseText, Line, Verdict, junit, update},
    text::{count, grouped, inert},
};
use anyhow::{Context, Result};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    time::Instant,
};

/// How the files of cases end.
const ENDING: &str = ".test.yaml";
/// The manifest of a file of cases that names none.
const MANIFEST: &str = "millstream.yaml";
/// Folders that hold what others made.
const FOREIGN: [&str; 3] = ["target", "node_modules", "__pycache__"];

/// Run the cases of stages (*.test.yaml), offline
#[derive(clap::Args)]
#[command(after_help = "Examples:
  millstream test
  millstream test price.test.yaml --build
  millstream test --update

A file of cases says what comes of records:
  stage: price
  cases:
    - name: a price gets its currency
      input: {key: a, value: \"5\"}
      output: {key: a, value: \"5 EUR\"}
    - name: what is no number is refused
      input: {value: five}
      failure: {kind: reject, code: not-a-number}

Exit codes: 0 all cases passed, 1 some failed, 2 what was asked is wrong")]
pub(super) struct Arguments {
    /// A file of cases, or a folder to look for them; the current one by default
    #[arg(default_value = ".", hide_default_value = true)]
    paths: Vec<PathBuf>,
    /// The manifest of the stages; by default the one that each file names, or the millstream.yaml beside it
    #[arg(long, env = "MILLSTREAM_MANIFEST")]
    manifest: Option<PathBuf>,
    /// Build the stages first, with the commands of their manifest
    #[arg(long, env = "MILLSTREAM_BUILD")]
    build: bool,
    /// Write what came into the files, where it is not what was expected
    #[arg(long, env = "MILLSTREAM_UPDATE")]
    update: bool,
    /// Print each case as a line of JSON
    #[arg(long, env = "MILLSTREAM_JSON")]
    json: bool,
    /// Write a report for build servers to this file, as JUnit XML
    #[arg(long, value_name = "FILE", env = "MILLSTREAM_JUNIT")]
    junit: Option<PathBuf>,
}

/// A file of cases that was read.
struct Found {
    path: PathBuf,
    text: CaseText,
    stage: String,
    manifest: PathBuf,
}

/// A case that ran.
struct Ran {
    verdict: Verdict,
    seconds: f64,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit> {
    supervisor::start_log(Format::Text, false, false);
    let paths = find(&arguments.paths)?;
    let found = paths.into_iter().map(|path| read(path, arguments)).collect::<Result<Vec<_>>>()?;
    let loaded = load_all(&found, arguments)?;
    let files = found.into_iter().map(|found| check(found, &loaded, arguments)).collect::<Result<Vec<_>>>()?;
    let mut all = Vec::new();
    for (path, file, bench) in &files {
        let ran = file.cases.iter().map(|case| run_one(bench, case)).collect::<Vec<_>>();
        match arguments.json {
            true => print(&lines(path, file, &ran))?,
            false => print(&told(path, file, &ran, arguments.update))?,
        }
        if arguments.update {
            rewrite(path, file, bench, &ran)?;
        }
        all.push((path.display().to_string(), file, ran));
    }
    if let Some(to) = &arguments.junit {
        let suites = all.iter().map(|(name, file, ran)| junit::Suite {
            name,
            cases: file.cases.iter().zip(ran).map(|(case, ran)| (&*case.name, &ran.verdict, ran.seconds)).collect(),
        });
        let report = junit::report(&suites.collect::<Vec<_>>());
        fs::write(to, report).with_context(|| format!("{} cannot be written", to.display()))?;
    }
    let ran = || all.iter().flat_map(|(_, _, ran)| ran);
    let (cases, failed) = (ran().count() as u64, ran().filter(|ran| !ran.verdict.is_good()).count() as u64);
    if !arguments.json {
        let word = if arguments.update { "updated" } else { "failed" };
        print(&format!("{}, {} {word}\n", count(cases, "case"), grouped(failed)))?;
    }
    Ok(if failed > 0 && !arguments.update { Exit::Failed } else { Exit::Done })
}

/// Reads a file of cases, as far as that can be done without its stage.
fn read(path: PathBuf, arguments: &Arguments) -> Result<Found> {
    let source = fs::read_to_string(&path).map_err(|error| wrong(format!("{}: {error}", path.display())))?;
    let text = CaseText::read(&path, source);
    let (stage, named) = text.stage().map_err(|report| Mistakes(report.render(terminal())))?;
    let stage = stage.to_owned();
    let manifest = arguments.manifest.clone().unwrap_or_else(|| {
        let folder = path.parent().unwrap_or(Path::new(""));
        folder.join(named.as_deref().unwrap_or(Path::new(MANIFEST)))
    });
    if !manifest.exists() {
        let (path, manifest) = (path.display(), manifest.display());
        return Err(wrong(format!(
            "{path}: there is no {manifest}: name the manifest by `manifest: …`, or --manifest"
        )));
    }
    Ok(Found { path, text, stage, manifest })
}

/// Loads each manifest once, with the stages that have cases.
fn load_all(found: &[Found], arguments: &Arguments) -> Result<BTreeMap<PathBuf, Loaded>> {
    let mut wanted: BTreeMap<&Path, BTreeSet<&str>> = BTreeMap::new();
    for found in found {
        wanted.entry(&found.manifest).or_default().insert(&found.stage);
    }
    let load = |(manifest, stages): (&Path, BTreeSet<&str>)| {
        let source = load::Source::alone(manifest.to_owned());
        let only = stages.into_iter().map(str::to_owned).collect();
        let loaded = load::load(&source, &Wishes { only, build: arguments.build, offline: true, ..Wishes::default() })?;
        Ok((manifest.to_owned(), loaded))
    };
    wanted.into_iter().map(load).collect()
}

/// The cases of a file, and the stage that they run on.
fn check<'a>(
    found: Found,
    loaded: &'a BTreeMap<PathBuf, Loaded>,
    arguments: &Arguments,
) -> Result<(PathBuf, CaseFile, Bench<'a>)> {
    let Found { path, text, stage: name, manifest } = found;
    let Loaded { manifest, compiled, hidden, .. } = &loaded[&manifest];
    let stage = manifest.stages.iter().find(|stage| stage.name == name);
    let (Some(stage), Some(compiled)) = (stage, compiled.get(&name)) else {
        return Err(wrong(format!("{}: {name} is no stage, and only stages have cases", path.display())));
    };
    let file = text.finish(stage, arguments.update).map_err(|report| Mistakes(report.render(terminal())))?;
    let hidden = hidden.get(&name).map_or(&[][..], Vec::as_slice);
    Ok((path, file, Bench::new(manifest, stage, compiled, hidden)))
}

fn run_one(bench: &Bench<'_>, case: &Case) -> Ran {
    let since = Instant::now();
    let verdict = Verdict::of(bench, case);
    Ran { verdict, seconds: since.elapsed().as_secs_f64() }
}

/// The files of cases in some places, in their order.
fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        let facts = fs::metadata(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => wrong(format!("{}: there is no such file or folder", path.display())),
            _ => wrong(format!("{}: {error}", path.display())),
        })?;
        match facts.is_dir() {
            true => walk(path, &mut found)?,
            false => found.push(path.clone()),
        }
    }
    if found.is_empty() {
        let places: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        return Err(wrong(format!("no cases in {}: they are files that end in {ENDING}", places.join(", "))));
    }
    Ok(found)
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut entries = entries.map_err(|error| wrong(format!("{}: {error}", folder.display())))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let kind = entry.file_type().with_context(|| entry.path().display().to_string())?;
        if kind.is_dir() && !name.starts_with('.') && !FOREIGN.contains(&&*name) {
            walk(&entry.path(), found)?;
        } else if !kind.is_dir() && name.ends_with(ENDING) {
            // Said as it would be typed.
            let path = entry.path();
            found.push(path.strip_prefix(".").map(Path::to_owned).unwrap_or(path));
        }
    }
    Ok(())
}

/// The cases of a file for people: those that failed with what is different.
fn told(path: &Path, file: &CaseFile, ran: &[Ran], update: bool) -> String {
    let colors = io::stdout().is_terminal();
    let paint = |color: &str, text: &str| paint(color, text, colors);
    let mut text = format!("{}\n", path.display());
    for (case, Ran { verdict, .. }) in file.cases.iter().zip(ran) {
        let mark = match (verdict.is_good(), update) {
            (true, _) => paint("32", "ok     "),
            (false, true) => paint("33", "updated"),
            (false, false) => paint("31", "FAILED "),
        };
        text += &format!("  {mark}  {}\n", case.name);
        if verdict.is_good() {
            continue;
        }
        text += &format!("           {}:{}\n", path.display(), case.line);
        for line in &verdict.lines {
            text += &format!("           {}\n", painted(line, colors));
        }
    }
    text
}

/// A line of a difference.
pub(super) fn painted(line: &Line, colors: bool) -> String {
    let color = match line {
        Line::Same(_) => "2",
        Line::Missing(_) => "31",
        Line::Extra(_) => "32",
    };
    paint(color, &inert(&line.to_string()), colors)
}

fn paint(color: &str, text: &str, colors: bool) -> String {
    match colors {
        true => format!("\x1b[{color}m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}

/// The cases of a file for programs.
fn lines(path: &Path, file: &CaseFile, ran: &[Ran]) -> String {
    let line = |(case, ran): (&Case, &Ran)| {
        let lines: Vec<_> = ran.verdict.lines.iter().map(Line::to_string).collect();
        let json = json!({
            "file": path.display().to_string(),
            "line": case.line,
            "case": case.name,
            "passed": ran.verdict.is_good(),
            "seconds": ran.seconds,
            "difference": if ran.verdict.is_good() { Vec::new() } else { lines },
        });
        format!("{json}\n")
    };
    file.cases.iter().zip(ran).map(line).collect()
}

/// Writes what came into a file of cases.
fn rewrite(path: &Path, file: &CaseFile, bench: &Bench<'_>, ran: &[Ran]) -> Result<()> {
    let verdicts: Vec<_> = ran.iter().map(|ran| &ran.verdict).collect();
    if verdicts.iter().all(|verdict| verdict.is_good()) {
        return Ok(());
    }
    let text = update::update(file, &verdicts, bench.stage()).with_context(|| {
        let why = "what came does not fit into its text, as when several cases share it by an anchor: write it by hand";
        format!("{} is left as it is: {why}", path.display())
    })?;
    replace(path, &text).with_context(|| format!("{} cannot be written", path.display()))
}

/// Puts a text in the place of a file's, in one step.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    // One that is reached by a link stays where it is.
    let path = path.canonicalize()?;
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(fs::metadata(&path)?.permissions())?;
    file.persist(path)?;
    Ok(())
}
