//! A host that runs, and what its tests need, whatever it runs on.
#![allow(dead_code, reason = "each suite takes its part")]

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    sync::LazyLock,
    time::{Duration, Instant},
};

/// The folder of the guests, built once for all tests.
pub(crate) fn guests() -> &'static Path {
    static BUILT: LazyLock<PathBuf> = LazyLock::new(|| xtask::guests::build().unwrap());
    &BUILT
}

/// The module that does what records say, with manners of its own: each makes it another module.
pub(crate) fn with_manners(word: &str) -> Vec<u8> {
    xtask::guests::with_manners(&fs::read(guests().join("trial.wasm")).unwrap(), word)
}

/// The host that is built to be broken or killed on purpose. There is no other way to it: what lies about may be an old
/// one.
pub(crate) fn broken_host() -> String {
    std::env::var("MILLSTREAM_BROKEN_HOST").expect("run `cargo xtask test --test embedded`: it builds the broken host")
}

/// True for the full counts of `cargo xtask soak`.
pub(crate) fn soak() -> bool {
    std::env::var_os("MILLSTREAM_SOAK").is_some()
}

/// A running host. It ends, at the latest, when this is dropped.
pub(crate) struct Host {
    process: Child,
    log: PathBuf,
}

impl Host {
    /// Starts it; what it says goes to a file.
    pub(crate) fn start(command: &mut Command, log: PathBuf) -> Host {
        Host { process: command.stderr(File::create(&log).unwrap()).spawn().unwrap(), log }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        xtask::kafka::signal(self.pid(), name).unwrap();
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Everything it said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Where its admin API is.
    pub(crate) fn admin(&self) -> String {
        const SAYS: &str = "admin API on http://";
        self.wait_until_said(SAYS);
        let said = self.said();
        let at = said.find(SAYS).map_or(0, |at| at + SAYS.len());
        said[at..].split_whitespace().next().unwrap_or_default().to_owned()
    }

    pub(crate) fn wait_until_said(&self, words: &str) {
        self.until(&format!("the host says {words:?}"), Duration::from_secs(60), || self.said().contains(words));
    }

    /// Waits until something holds; what it said, when it does not.
    pub(crate) fn until(&self, what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
        let since = Instant::now();
        while !holds() {
            assert!(since.elapsed() < within, "not within {within:?}: {what}\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, within: Duration) -> ExitStatus {
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
