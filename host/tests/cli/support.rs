//! A folder of its own for each test, and what the command says in it.

pub(crate) use crate::command::Said;
use crate::{
    command::{MILLSTREAM, Running},
    process::guests,
};
use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// A folder with some files in it, in which commands are run.
pub(crate) struct Folder {
    folder: TempDir,
    environment: Vec<(String, String)>,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), environment: Vec::new() }
    }

    /// A folder with this manifest.
    pub(crate) fn with(manifest: &str) -> Self {
        Self::new().file("pipeline.yaml", manifest)
    }

    /// Puts a file there.
    pub(crate) fn file(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    /// Puts a module there.
    pub(crate) fn module(self, name: &str, wat: &str) -> Self {
        self.file(name, wat::parse_str(wat).unwrap())
    }

    /// Puts the stage there that does what it is told; its `open` refuses when its configuration has `refuse`.
    pub(crate) fn trial(self, name: &str) -> Self {
        self.file(name, fs::read(guests().join("trial.wasm")).unwrap())
    }

    /// Sets a variable of the environment for the commands.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The names of what is there.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The command, ready to be started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = xtask::clean_command(MILLSTREAM);
        command.args(arguments).current_dir(self.folder.path()).env("COLUMNS", "80");
        command.env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
        // Whoever runs the tests may have clusters of their own.
        command.env("XDG_CONFIG_HOME", self.path("config"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the command; its words are separated by spaces.
    pub(crate) fn says(&self, words: &str) -> Said {
        self.start(words).end()
    }

    /// Runs the command with this on its standard input.
    pub(crate) fn given(&self, input: impl AsRef<[u8]>, words: &str) -> Said {
        self.start(words).given(input)
    }

    /// Starts the command; what it reads and prints goes through pipes.
    pub(crate) fn start(&self, words: &str) -> Running {
        let arguments: Vec<_> = words.split_whitespace().collect();
        Running::start(&mut self.command(&arguments), words)
    }
}

impl Said {
    /// Without the lines of the log, which begin with the time of day.
    pub(crate) fn without_log(mut self) -> Self {
        let is_log = |line: &&str| line.get(8..10) == Some("Z ") && line.starts_with(|c: char| c.is_ascii_digit());
        self.err = self.err.lines().filter(|line| !is_log(line)).map(|line| format!("{line}\n")).collect();
        self
    }

    /// As it would stand in a terminal: stdout, what goes to stderr, and the exit code.
    pub(crate) fn shown(&self) -> String {
        format!("$ millstream {}\n{}{}=> {}\n", self.words, self.out, marked(&self.err), self.code)
    }
}

/// What goes to stderr, line by line.
fn marked(text: &str) -> String {
    text.lines().map(|line| format!("! {line}").trim_end().to_owned() + "\n").collect()
}

/// Compares with the text in `golden`. Digests differ with every build of a module.
pub(crate) fn golden(name: &str, said: &[Said]) {
    let said: Vec<_> = said.iter().map(Said::shown).collect();
    golden_text(name, &without_digests(&said.join("\n")));
}

pub(crate) fn golden_text(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/golden").join(format!("{name}.txt"));
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == text, "not as in golden/{name}.txt (UPDATE=1 rewrites it):\n{text}");
}

fn without_digests(text: &str) -> String {
    let is_digest = |word: &&str| word.len() == 64 && word.chars().all(|c| c.is_ascii_hexdigit());
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(is_digest);
    words.filter(|word| word.contains(|c| c != '0')).fold(text.to_owned(), |text, word| text.replace(word, "DIGEST"))
}

/// An address at which nothing listens.
pub(crate) fn closed_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// A file of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The blocks of this language in the README, in their order.
pub(crate) fn readme_blocks(language: &str) -> Vec<String> {
    let text = fs::read_to_string(repository("README.md")).unwrap();
    let blocks = text.split("```").skip(1).step_by(2);
    blocks.filter_map(|block| block.strip_prefix(&format!("{language}\n")).map(str::to_owned)).collect()
}
