//! `build`: makes the modules of a manifest. `run --build` and `test --build` do the same first.

use super::{Exit, Mistakes, load, paint, say, terminal, wrong};
use crate::{
    build::{self, Build, End, Event, Yard},
    manifest::{NamedModule, Reading},
    scaffold, supervisor,
};
use anyhow::{Result, anyhow};
use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    time::Instant,
};

/// What the shell says of a program that it does not find.
const NOT_FOUND: i32 = 127;

/// Build the modules of a manifest, where their sources have changed
#[derive(clap::Args)]
#[command(after_help = "Examples:
  millstream build
  millstream build pipeline.yaml --all

It runs the `build:` of every source and stage, in the manifest's folder and
several at once. The sources of one are the files of that folder, as git would
see them, or of the folder that its command goes to first, as in
`cd price && make`. Where a command or a file names a place outside, it runs
every time.

Exit codes: 0 all is built, 1 a build failed, 2 what was asked is wrong")]
pub(super) struct Arguments {
    /// The manifest
    #[arg(default_value = load::MANIFEST)]
    manifest: PathBuf,
    /// Build what has not changed, too
    #[arg(long, env = "MILLSTREAM_ALL")]
    all: bool,
}

/// What is done with the modules that have a build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wanted {
    /// They are taken as they are.
    #[default]
    Nothing,
    /// Those whose sources have changed are built.
    Changed,
    /// They are all built.
    All,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit> {
    let manifest = &arguments.manifest;
    let mut reading = load::read(&load::Source::alone(manifest.clone()))?;
    reading.forgive_clients();
    let modules: Vec<_> = reading.modules.iter().collect();
    if reading.report.mistakes() == 0 && modules.iter().all(|named| named.module.build.is_none()) {
        return Err(wrong(format!("{}: none of its sources and stages has a `build:`", manifest.display())));
    }
    let wanted = if arguments.all { Wanted::All } else { Wanted::Changed };
    build(manifest, &reading, &modules, wanted, false)?;
    // What cannot run is found here rather than later.
    let mut found = Vec::new();
    for named in reading.modules.iter().filter(|named| named.module.build.is_some()) {
        found.extend(load::module(named, &reading, true).err());
    }
    found.into_iter().for_each(|mistake| reading.report.add(mistake));
    reading.finish().map_err(|report| Mistakes(report.render(terminal())))?;
    Ok(Exit::Done)
}

/// Builds some modules of a manifest, unless it has mistakes: a wrong one builds nothing.
pub(super) fn build(
    manifest: &Path,
    reading: &Reading,
    modules: &[&NamedModule],
    wanted: Wanted,
    quiet: bool,
) -> Result<()> {
    let Some(draft) = reading.draft().filter(|_| wanted != Wanted::Nothing && reading.report.mistakes() == 0) else {
        return Ok(());
    };
    let yard = Yard::new(manifest.parent().unwrap_or(Path::new("")), &draft.state, &reading.modules);
    let builds = Build::of(modules.iter().copied());
    add_rust_targets(&builds, &yard)?;
    let mut progress = Progress::new(&builds, quiet);
    build::run(&builds, &yard, wanted == Wanted::All, &mut |event| progress.hear(event))?;
    progress.finish()
}

fn add_rust_targets(builds: &[Build], yard: &Yard) -> Result<()> {
    for build in builds {
        let Some(target) = build::missing_target(yard.folder(), &build.command) else { continue };
        let name = target.name();
        say(&format!("adding the target {name} to the Rust toolchain\n"));
        if !target.add(yard.folder()) {
            return Err(wrong(format!(
                "the Rust toolchain has no target {name}: add it, as `rustup target add {name}` does"
            )));
        }
    }
    Ok(())
}

/// Tells of builds: a line when one starts and one when it ends, and what a compiler said where there is something
/// wrong. On a terminal another line shows what is being built.
struct Progress<'a> {
    builds: &'a [Build],
    quiet: bool,
    terminal: bool,
    running: Vec<(usize, Instant)>,
    failures: Vec<anyhow::Error>,
}

impl<'a> Progress<'a> {
    fn new(builds: &'a [Build], quiet: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        Progress { builds, quiet, terminal, running: Vec::new(), failures: Vec::new() }
    }

    fn hear(&mut self, event: Event) {
        let names = |at: usize| self.builds[at].names.join(", ");
        match event {
            Event::Unchanged(at) => self.tell(&format!("{} has not changed\n", names(at))),
            Event::Started(at) => {
                self.running.push((at, Instant::now()));
                self.tell(&format!("building {}: {}\n", names(at), self.builds[at].written));
            }
            Event::Ended(at, end) => {
                let since = self.running.iter().find(|(running, _)| *running == at).map(|(_, since)| *since);
                self.running.retain(|(running, _)| *running != at);
                self.ended(at, &end, since);
            }
            Event::Tick => {}
        }
        self.show_line();
    }

    fn ended(&mut self, at: usize, end: &End, since: Option<Instant>) {
        let build = &self.builds[at];
        if !end.is_good() {
            // Those that failed before were not the last, and are told of here.
            self.say_failures();
            self.clear_line();
            say(&whole_lines(&end.output));
            self.failures.push(failure(build, end));
            return;
        }
        if end.output.contains("warning:") {
            self.clear_line();
            say(&whole_lines(&end.output));
        }
        let seconds = match since.filter(|_| self.terminal) {
            Some(since) => format!(" ({:.1} s)", since.elapsed().as_secs_f64()),
            None => String::new(),
        };
        self.tell(&format!("{} built{seconds}\n", build.names.join(", ")));
    }

    fn tell(&self, text: &str) {
        if !self.quiet {
            self.clear_line();
            say(text);
        }
    }

    fn show_line(&self) {
        if self.quiet || !self.terminal || self.running.is_empty() {
            return;
        }
        let part = |(at, since): &(usize, Instant)| {
            format!("{} {} s", self.builds[*at].names.join(", "), since.elapsed().as_secs())
        };
        let parts: Vec<_> = self.running.iter().map(part).collect();
        supervisor::show_line(&format!("building {}", parts.join(" · ")));
    }

    fn clear_line(&self) {
        if self.terminal {
            supervisor::clear_line();
        }
    }

    fn say_failures(&mut self) {
        self.clear_line();
        for error in self.failures.drain(..) {
            say(&format!("{} {error:#}\n", paint("31", "error:")));
        }
    }

    /// The last failure is the command's.
    fn finish(mut self) -> Result<()> {
        self.clear_line();
        match self.failures.pop() {
            Some(last) => Err(last),
            None => Ok(()),
        }
    }
}

fn failure(build: &Build, end: &End) -> anyhow::Error {
    let names = build.names.join(" and ");
    let status = match &end.status {
        Err(error) => return anyhow!("the build of {names} cannot be started: {error}"),
        Ok(status) => status,
    };
    let missing = build.program().filter(|program| status.code() == Some(NOT_FOUND) && !is_there(program));
    match missing {
        None => anyhow!("the build of {names} failed ({status}): {}", build.written),
        Some(program) => {
            let way_out = scaffold::way_to_get(program).unwrap_or("install it, or correct the command");
            anyhow!("the build of {names} starts with `{program}`, which is not there: {way_out}")
        }
    }
}

/// Whether the shell would find a program.
fn is_there(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    program.contains('/') || std::env::split_paths(&paths).any(|folder| folder.join(program).is_file())
}

fn whole_lines(text: &str) -> String {
    match text.is_empty() || text.ends_with('\n') {
        true => text.to_owned(),
        false => format!("{text}\n"),
    }
}
