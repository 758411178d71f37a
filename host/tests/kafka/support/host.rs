//! Hosts: the real binary, on a manifest of the test's own.

use super::{Kafka, unique};
use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The folder of the built guests.
pub fn guests() -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../guests/rust/target/wasm32-unknown-unknown/release");
    assert!(PathBuf::from(folder).join("trial.wasm").exists(), "run `cargo xtask guests` first");
    folder.into()
}

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
        self.run_as(env!("CARGO_BIN_EXE_millstream"), arguments, &[])
    }

    /// The same with another binary or environment.
    pub fn run_as(&self, binary: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Host {
        self.runs.set(self.runs.get() + 1);
        let log = self.folder.path().join(format!("log.{}", self.runs.get()));
        let process = Command::new(binary)
            .arg("run")
            .arg(self.folder.path().join("pipeline.yaml"))
            .args(arguments)
            // What the developer has set must not reach it.
            .env_remove("MILLSTREAM_KAFKA")
            .env_remove("MILLSTREAM_INSTANCE")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Host { process, log }
    }

    /// Runs until everything is done; what the host said.
    pub fn drain(&self) -> String {
        let mut host = self.run(&["--until-idle"]);
        let status = host.wait(Duration::from_secs(180));
        assert!(status.success(), "{status}:\n{}", host.said());
        host.said()
    }
}

/// A running host. It ends, at the latest, when this is dropped.
pub struct Host {
    process: Child,
    log: PathBuf,
}

impl Host {
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn signal(&self, name: &str) {
        xtask::kafka::signal(self.pid(), name).unwrap();
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Everything it said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub fn wait_until_said(&self, words: &str) {
        super::until(&format!("the host says {words:?}"), Duration::from_secs(60), || self.said().contains(words));
    }

    /// Waits until something holds; what it said, when it does not.
    pub fn until(&self, what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
        let since = Instant::now();
        while !holds() {
            assert!(since.elapsed() < within, "not within {within:?}: {what}\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(since.elapsed() < within, "the host did not end within {within:?}:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
