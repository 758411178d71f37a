//! A host that runs, and what its tests need, whatever it runs on.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

/// The folder of the built guests.
pub fn guests() -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../guests/rust/target/wasm32-unknown-unknown/release");
    assert!(PathBuf::from(folder).join("trial.wasm").exists(), "run `cargo xtask guests` first");
    folder.into()
}

/// The host that is built to be broken or killed on purpose.
pub fn broken_host() -> String {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/debug/millstream-broken");
    let broken = std::env::var("MILLSTREAM_BROKEN_HOST").unwrap_or_else(|_| built.to_owned());
    assert!(PathBuf::from(&broken).exists(), "run `cargo xtask test`: it builds the host that is broken on purpose");
    broken
}

/// True for the full counts of `cargo xtask soak`.
pub fn soak() -> bool {
    std::env::var_os("MILLSTREAM_SOAK").is_some()
}

/// A running host. It ends, at the latest, when this is dropped.
pub struct Host {
    process: Child,
    log: PathBuf,
}

impl Host {
    /// Starts it; what it says goes to a file.
    pub fn start(command: &mut Command, log: PathBuf) -> Host {
        Host { process: command.stderr(File::create(&log).unwrap()).spawn().unwrap(), log }
    }

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
        self.until(&format!("the host says {words:?}"), Duration::from_secs(60), || self.said().contains(words));
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
