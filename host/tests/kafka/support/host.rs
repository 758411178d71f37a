//! Hosts: the real binary, on a manifest of the test's own.

use super::{Host, Kafka, guests, unique};
use crate::command::MILLSTREAM;
use std::{fs, process::Stdio, time::Duration};
use tempfile::TempDir;

/// A manifest in a folder, with the names that it uses.
pub struct Pipeline {
    pub folder: TempDir,
    pub name: String,
    pub kafka: Kafka,
    runs: std::cell::Cell<u32>,
}

impl Pipeline {
    /// Writes a manifest. `{name}` stands for a name that no other test uses, `{guests}` for the folder of the guests.
    pub fn new(kafka: &Kafka, manifest: &str) -> Pipeline {
        let (name, folder) = (unique("test"), tempfile::tempdir().unwrap());
        let pipeline = Pipeline { folder, name, kafka: kafka.clone(), runs: 0.into() };
        pipeline.write(manifest);
        pipeline
    }

    /// Replaces the manifest.
    pub fn write(&self, manifest: &str) {
        let text = format!("name: {}\nkafka: {{brokers: \"{}\"}}\n{manifest}", self.name, self.kafka.address)
            .replace("{name}", &self.name)
            .replace("{guests}", &guests().display().to_string());
        fs::write(self.folder.path().join("pipeline.yaml"), text).unwrap();
    }

    /// A topic's name, from its stem.
    pub fn topic(&self, stem: &str) -> String {
        format!("{}-{stem}", self.name)
    }

    /// A host that runs the manifest.
    pub fn run(&self, arguments: &[&str]) -> Host {
        self.run_as(MILLSTREAM, arguments, &[])
    }

    /// The same with another binary or environment.
    pub fn run_as(&self, binary: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Host {
        self.runs.set(self.runs.get() + 1);
        let log = self.folder.path().join(format!("log.{}", self.runs.get()));
        let mut command = xtask::clean_command(binary);
        command
            .arg("run")
            .arg(self.folder.path().join("pipeline.yaml"))
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        Host::start(&mut command, log)
    }

    /// Runs until everything is done; what the host said.
    pub fn drain(&self) -> String {
        let mut host = self.run(&["--until-idle"]);
        let status = host.wait(Duration::from_secs(180));
        assert!(status.success(), "{status}:\n{}", host.said());
        host.said()
    }
}
