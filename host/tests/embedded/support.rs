//! A pipeline in a folder of its own, and the commands that write and read its topics.

pub(crate) use crate::command::MILLSTREAM;
use crate::{
    command::{Running, Said, json_lines},
    process::{Host, broken_host, guests},
};
use serde_json::Value;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tempfile::TempDir;

/// More numbers than any source comes to give: it is at work however slow or quick the machine is.
pub(crate) const ENDLESS: usize = 1_000_000_000;

/// A manifest without a Kafka, in a folder.
pub(crate) struct Pipeline {
    folder: TempDir,
    runs: AtomicU32,
}

impl Pipeline {
    /// Writes a manifest. `{guests}` stands for the folder of the guests.
    pub(crate) fn new(manifest: &str) -> Pipeline {
        let pipeline = Pipeline { folder: tempfile::tempdir().unwrap(), runs: AtomicU32::default() };
        pipeline.write(manifest);
        pipeline
    }

    /// Replaces the manifest.
    pub(crate) fn write(&self, manifest: &str) {
        let mut text = format!("name: test\n{manifest}");
        if text.contains("{guests}") {
            text = text.replace("{guests}", &guests().display().to_string());
        }
        fs::write(self.manifest(), text).unwrap();
    }

    fn manifest(&self) -> PathBuf {
        self.path("pipeline.yaml")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The file of the embedded log.
    pub(crate) fn log(&self) -> PathBuf {
        self.path(".millstream/log.db")
    }

    /// A command on this log.
    pub(crate) fn command(&self, binary: impl AsRef<Path>, words: &str) -> Command {
        let mut command = xtask::clean_command(binary.as_ref());
        command.args(words.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::null());
        command.env("MILLSTREAM_MANIFEST", self.manifest()).current_dir(self.folder.path());
        command
    }

    /// How a command ended that was given this to read.
    pub(crate) fn given(&self, input: impl AsRef<[u8]>, words: &str) -> Said {
        Running::start(&mut self.command(MILLSTREAM, words), words).given(input)
    }

    /// What a command prints that does what it is asked to.
    pub(crate) fn says(&self, words: &str) -> String {
        let said = self.given("", words);
        assert_eq!(said.code, 0, "{said:?}");
        said.out
    }

    /// Produces lines of `key:value`.
    pub(crate) fn produce(&self, topic: &str, lines: &[String]) {
        let said = self.given(lines.join("\n"), &format!("produce {topic} --key-separator :"));
        assert_eq!(said.code, 0, "{said:?}");
    }

    /// All records of a topic.
    pub(crate) fn records(&self, topic: &str) -> Vec<Value> {
        json_lines(&self.says(&format!("consume {topic} -o start --until-end --format json")))
    }

    /// All values of a topic.
    pub(crate) fn values(&self, topic: &str) -> Vec<String> {
        self.records(topic).iter().map(|record| record["value"].as_str().unwrap().to_owned()).collect()
    }

    /// A host that runs the manifest.
    pub(crate) fn run(&self, words: &str) -> Host {
        self.start(&mut self.command(MILLSTREAM, &format!("run pipeline.yaml {words}")))
    }

    /// The host that is broken, or killed, as this variable of its environment says.
    pub(crate) fn run_broken(&self, name: &str, how: &str) -> Host {
        self.start(self.command(broken_host(), "run pipeline.yaml").env(name, how))
    }

    /// A host, or something that becomes one.
    pub(crate) fn start(&self, command: &mut Command) -> Host {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        Host::start(command, self.path(&format!("said.{run}")))
    }

    /// Runs until everything is done; what the host said.
    pub(crate) fn drain(&self) -> String {
        let mut host = self.run("--until-idle=500ms");
        let status = host.wait(Duration::from_secs(120));
        assert!(status.success(), "{status}:\n{}", host.said());
        host.said()
    }

    /// Watches a topic from its beginning.
    pub(crate) fn watch(&self, topic: &str) -> Watch {
        let file = self.path(&format!("watched.{topic}"));
        let mut command = self.command(MILLSTREAM, &format!("consume {topic} -o start --format json"));
        let process = command.stdout(File::create(&file).unwrap()).spawn().unwrap();
        Watch { process, file }
    }
}

/// A `consume` that runs all along.
pub(crate) struct Watch {
    process: Child,
    file: PathBuf,
}

impl Watch {
    /// What it printed so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.file).unwrap();
        json_lines(text.rfind('\n').map_or("", |end| &text[..end]))
    }

    pub(crate) fn count(&self) -> usize {
        fs::read(&self.file).unwrap().iter().filter(|byte| **byte == b'\n').count()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
