//! An example's folder, and commands in it.

use crate::{
    command::{MILLSTREAM, Running, Said, done, json_lines},
    process::Host,
};
use serde_json::Value;
use std::{
    cell::Cell,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tempfile::TempDir;

/// A copy of an example, so that nothing is left behind by a run, on the shared broker. Its modules are built where it
/// stands: once, and not anew for each test.
pub(crate) struct Example {
    folder: TempDir,
    environment: Vec<(&'static str, String)>,
    runs: Cell<u32>,
}

impl Example {
    pub(crate) fn new(name: &str) -> Example {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name).canonicalize().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let kafka = std::env::var("MILLSTREAM_TEST_KAFKA");
        let kafka = kafka.expect("run `cargo xtask test`: it starts the broker that this test needs");
        let example = Example { folder, environment: vec![("MILLSTREAM_KAFKA", kafka)], runs: Cell::new(0) };
        if from.join("Cargo.toml").exists() {
            let built = example.command("build").current_dir(&from).output().unwrap();
            assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        }
        for entry in fs::read_dir(&from).unwrap().map(Result::unwrap) {
            let (to, name) = (example.path(&entry.file_name().to_string_lossy()), entry.file_name());
            if name == ".millstream" {
                continue;
            }
            match entry.file_type().unwrap().is_dir() {
                true => symlink(entry.path(), to).unwrap(),
                false => fs::copy(entry.path(), to).map(drop).unwrap(),
            }
        }
        example
    }

    /// Sets a variable for all that runs from now on.
    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.environment.push((name, value.into()));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// One of the host's commands.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = self.program(MILLSTREAM);
        command.args(words.split_whitespace());
        command
    }

    /// Anything else that runs in this folder.
    pub(crate) fn program(&self, program: &str) -> Command {
        let mut command = xtask::clean_command(program);
        command.current_dir(self.folder.path()).envs(self.environment.iter().map(|(name, value)| (*name, value)));
        command
    }

    /// Starts its manifest.
    pub(crate) fn run(&self, words: &str) -> Host {
        self.runs.set(self.runs.get() + 1);
        let log = self.path(&format!("said-{}", self.runs.get()));
        Host::start(self.command(&format!("run {words}")).stdout(Stdio::null()), log)
    }

    /// How a command ended that was given this to read.
    pub(crate) fn given(&self, input: &str, words: &str) -> Said {
        Running::start(&mut self.command(words), words).given(input)
    }

    /// What a command prints that does what it is asked to.
    pub(crate) fn says(&self, words: &str) -> String {
        done(self.given("", words))
    }

    /// All that is in a topic.
    pub(crate) fn records(&self, topic: &str) -> Vec<Value> {
        json_lines(&self.says(&format!("consume {topic} --from-beginning --until-end --format json")))
    }

    /// The cases beside its manifest pass.
    pub(crate) fn passes_its_cases(&self) {
        let said = self.given("", "test");
        assert!(said.code == 0 && said.out.contains(" 0 failed"), "{said:?}");
    }
}
