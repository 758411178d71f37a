//! A pipeline in a folder of its own, and the commands that write and read its topics.

use crate::process::{Host, broken_host, guests};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tempfile::TempDir;

pub const MILLSTREAM: &str = env!("CARGO_BIN_EXE_millstream");

/// A manifest without a Kafka, in a folder.
pub struct Pipeline {
    folder: TempDir,
    runs: AtomicU32,
}

impl Pipeline {
    /// Writes a manifest. `{guests}` stands for the folder of the guests.
    pub fn new(manifest: &str) -> Pipeline {
        let pipeline = Pipeline { folder: tempfile::tempdir().unwrap(), runs: AtomicU32::default() };
        pipeline.write(manifest);
        pipeline
    }

    /// Replaces the manifest.
    pub fn write(&self, manifest: &str) {
        let text = format!("name: test\n{manifest}").replace("{guests}", &guests().display().to_string());
        fs::write(self.manifest(), text).unwrap();
    }

    fn manifest(&self) -> PathBuf {
        self.path("pipeline.yaml")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The file of the embedded log.
    pub fn log(&self) -> PathBuf {
        self.path(".millstream/log.db")
    }

    /// A command on this log.
    pub fn command(&self, binary: impl AsRef<Path>, words: &str) -> Command {
        let mut command = Command::new(binary.as_ref());
        command.args(words.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::null());
        // What the developer has set must not reach it.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MILLSTREAM_")) {
            command.env_remove(name);
        }
        command.env("MILLSTREAM_MANIFEST", self.manifest()).current_dir(self.folder.path());
        command
    }

    /// How a command ended that was given this to read.
    pub fn given(&self, input: impl AsRef<[u8]>, words: &str) -> Output {
        let mut command = self.command(MILLSTREAM, words);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut stdin = process.stdin.take().unwrap();
        // Who refuses before it reads leaves.
        stdin.write_all(input.as_ref()).ok();
        drop(stdin);
        process.wait_with_output().unwrap()
    }

    /// What a command prints that does what it is asked to.
    pub fn says(&self, words: &str) -> String {
        let output = self.given("", words);
        assert!(output.status.success(), "{words}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Produces lines of `key:value`.
    pub fn produce(&self, topic: &str, lines: &[String]) {
        let output = self.given(lines.join("\n"), &format!("produce {topic} --key-separator :"));
        assert!(output.status.success(), "{output:?}");
    }

    /// All records of a topic.
    pub fn records(&self, topic: &str) -> Vec<Value> {
        let printed = self.says(&format!("consume {topic} -o start --until-end --format json"));
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// All values of a topic.
    pub fn values(&self, topic: &str) -> Vec<String> {
        self.records(topic).iter().map(|record| record["value"].as_str().unwrap().to_owned()).collect()
    }

    /// A host that runs the manifest.
    pub fn run(&self, words: &str) -> Host {
        self.start(&mut self.command(MILLSTREAM, &format!("run pipeline.yaml {words}")))
    }

    /// The host that is broken, or killed, as this variable of its environment says.
    pub fn run_broken(&self, name: &str, how: &str) -> Host {
        self.start(self.command(broken_host(), "run pipeline.yaml").env(name, how))
    }

    /// A host, or something that becomes one.
    pub fn start(&self, command: &mut Command) -> Host {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        Host::start(command, self.path(&format!("said.{run}")))
    }

    /// Runs until everything is done; what the host said.
    pub fn drain(&self) -> String {
        let mut host = self.run("--until-idle=500ms");
        let status = host.wait(Duration::from_secs(120));
        assert!(status.success(), "{status}:\n{}", host.said());
        host.said()
    }

    /// Watches a topic from its beginning.
    pub fn watch(&self, topic: &str) -> Watch {
        let file = self.path(&format!("watched.{topic}"));
        let mut command = self.command(MILLSTREAM, &format!("consume {topic} -o start --format json"));
        let process = command.stdout(File::create(&file).unwrap()).spawn().unwrap();
        Watch { process, file }
    }
}

/// A `consume` that runs all along.
pub struct Watch {
    process: Child,
    file: PathBuf,
}

impl Watch {
    /// What it printed so far.
    pub fn records(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.file).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub fn count(&self) -> usize {
        fs::read(&self.file).unwrap().iter().filter(|byte| **byte == b'\n').count()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
