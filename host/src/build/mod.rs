//! Makes modules with the commands that their manifest names: those whose sources have changed, as many at once as there
//! are CPUs.

mod changes;
mod children;
mod rust_target;

pub use rust_target::{Target, missing_target};

use crate::manifest::NamedModule;
use anyhow::Result;
use changes::Changes;
use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::{
        Mutex,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Duration,
};

/// How often who waits for a build hears of it.
const TICK: Duration = Duration::from_millis(200);

/// A command, and what it makes. Several modules may come from one.
#[derive(Clone, Debug)]
pub struct Build {
    /// Whose modules it makes.
    pub names: Vec<String>,
    /// What the shell is told.
    pub command: String,
    /// The command as it stands in the manifest.
    pub written: String,
    modules: Vec<PathBuf>,
}

/// Where builds run.
#[derive(Debug)]
pub struct Yard {
    folder: PathBuf,
    state: PathBuf,
    modules: Vec<PathBuf>,
}

/// What is heard of builds while they run. The number is the build's place among all.
#[derive(Debug)]
pub enum Event {
    /// Nothing has changed since it was made.
    Unchanged(usize),
    /// It starts.
    Started(usize),
    /// It is done.
    Ended(usize, End),
    /// Time goes by.
    Tick,
}

/// How a build ended.
#[derive(Debug)]
pub struct End {
    /// What the command ended with, or why it could not be started.
    pub status: std::io::Result<ExitStatus>,
    /// What it said, on both ways.
    pub output: String,
}

impl End {
    /// Whether it did what it was to.
    pub fn is_good(&self) -> bool {
        self.status.as_ref().is_ok_and(ExitStatus::success)
    }
}

impl Build {
    /// The builds of some modules: one for each command.
    pub fn of<'a>(modules: impl IntoIterator<Item = &'a NamedModule>) -> Vec<Build> {
        let mut builds: Vec<Build> = Vec::new();
        for NamedModule { name, module, .. } in modules {
            let Some(command) = &module.build else { continue };
            let (name, path) = (name.clone(), module.path.value.clone());
            match builds.iter_mut().find(|build| build.command == command.value) {
                Some(build) => {
                    build.names.push(name);
                    build.modules.push(path);
                }
                None => builds.push(Build {
                    names: vec![name],
                    command: command.value.clone(),
                    written: command.written.clone(),
                    modules: vec![path],
                }),
            }
        }
        builds
    }

    /// The folder that it goes to first, below the manifest's, and what it does there: `cd guests && make` is `make` in
    /// `guests`.
    fn place(&self) -> (Option<&str>, &str) {
        let command = self.command.trim_start();
        let inner = command.strip_prefix("cd ").and_then(|rest| rest.split_once("&&"));
        let is_plain = |folder: &str| {
            let mut letters = folder.chars();
            !folder.is_empty()
                && !folder.starts_with('/')
                && letters.all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
        };
        match inner.map(|(folder, rest)| (folder.trim(), rest.trim_start())) {
            Some((folder, rest)) if is_plain(folder) => (Some(folder), rest),
            _ => (None, command),
        }
    }

    /// The program that it starts with, where that is plain.
    pub fn program(&self) -> Option<&str> {
        let (_, command) = self.place();
        let sets_variable =
            |word: &&str| word.split_once('=').is_some_and(|(name, _)| !name.contains(['"', '\'', '$']));
        let word = command.split_whitespace().find(|word| !sets_variable(word))?;
        let is_plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+/".contains(c));
        // The shell does that itself.
        (is_plain && word != "cd").then_some(word)
    }
}

impl Yard {
    /// The builds of a manifest run in its folder; what is known of the last ones is kept in its state folder. `modules`
    /// are all that it names: what builds make is no source of them.
    pub fn new<'a>(folder: &Path, state: &Path, modules: impl IntoIterator<Item = &'a NamedModule>) -> Self {
        let modules = modules.into_iter().map(|named| named.module.path.value.clone()).collect();
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        Yard { folder: folder.to_owned(), state: state.to_owned(), modules }
    }

    /// The folder that they run in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// What tells the sources of builds from others; nothing of one that is to run every time.
pub fn sources(builds: &[Build], yard: &Yard) -> Vec<Option<String>> {
    if builds.is_empty() {
        return Vec::new();
    }
    let changes = Changes::read(yard);
    builds.iter().map(|build| changes.sources(build)).collect()
}

/// Runs those builds whose sources have changed, or all; whoever hears of them hears of each one's end. A signal ends the
/// process and the commands.
pub fn run(builds: &[Build], yard: &Yard, all: bool, hear: &mut dyn FnMut(Event)) -> Result<()> {
    children::end_with_this_process()?;
    let mut changes = Changes::read(yard);
    // What is true before a build is what it was made of, whatever is written meanwhile.
    let sources: Vec<_> = builds.iter().map(|build| changes.sources(build)).collect();
    let mut waiting = VecDeque::new();
    for (at, build) in builds.iter().enumerate() {
        match !all && changes.is_made(build, sources[at].as_ref()) {
            true => hear(Event::Unchanged(at)),
            false => waiting.push_back(at),
        }
    }
    let workers = thread::available_parallelism().map_or(1, usize::from).min(waiting.len());
    let waiting = Mutex::new(waiting);
    let (events, heard) = channel();
    thread::scope(|scope| {
        for _ in 0..workers {
            let events = events.clone();
            scope.spawn(|| work(builds, yard, &waiting, events));
        }
        drop(events);
        loop {
            match heard.recv_timeout(TICK) {
                Ok(event) => {
                    if let Event::Ended(at, end) = &event {
                        changes.note(&builds[*at], sources[*at].as_ref().filter(|_| end.is_good()));
                    }
                    hear(event);
                }
                Err(RecvTimeoutError::Timeout) => hear(Event::Tick),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    });
    changes.keep();
    Ok(())
}

fn work(builds: &[Build], yard: &Yard, waiting: &Mutex<VecDeque<usize>>, events: Sender<Event>) {
    let next = || waiting.lock().expect("nobody panics with it").pop_front();
    while let Some(at) = next() {
        events.send(Event::Started(at)).ok();
        let end = children::run(&builds[at].command, &yard.folder);
        events.send(Event::Ended(at, end)).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(command: &str) -> Build {
        let command = command.to_owned();
        Build { names: Vec::new(), written: command.clone(), command, modules: Vec::new() }
    }

    #[test]
    fn a_command_tells_its_folder_and_its_program() {
        for (command, folder, program) in [
            ("cargo build --release", None, Some("cargo")),
            ("cd guests/go && go build -o a.wasm", Some("guests/go"), Some("go")),
            ("cd ../other && make", Some("../other"), Some("make")),
            ("cd /other && make", None, None),
            ("cd $HERE && make", None, None),
            ("(cd a; make)", None, None),
            ("./build.sh", None, Some("./build.sh")),
            ("A=b C= make", None, Some("make")),
        ] {
            assert_eq!((build(command).place().0, build(command).program()), (folder, program), "{command}");
        }
    }
}
