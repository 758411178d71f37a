//! What stands in for a MongoDB: mongo-java-server from Maven Central, on loopback. It speaks the protocol and keeps
//! everything in memory, so it is no proof of what only a real one does: replicas, rights, durability.

use crate::{kafka::Process, maven};
use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// How long it may take to listen.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Its jars, fetched once for all checkouts of this machine.
pub fn fetch() -> Result<PathBuf> {
    maven::fetch("mongodb", "a stand-in for MongoDB (3 MB)")
}

/// A running server. It ends, at the latest, when this is dropped.
pub struct Mongodb {
    port: u16,
    _process: Process,
}

impl Mongodb {
    /// Starts one; what it says goes to a file in `folder`.
    pub fn start(folder: &Path) -> Result<Mongodb> {
        Mongodb::with(folder, None)
    }

    /// The same with the key and the certificate in this file: it speaks TLS alone.
    pub fn with_tls(folder: &Path, own: &Path) -> Result<Mongodb> {
        Mongodb::with(folder, Some(own))
    }

    fn with(folder: &Path, own: Option<&Path>) -> Result<Mongodb> {
        let jars = fetch()?;
        let log = folder.join("mongodb.log");
        let process = Command::new("java")
            .args(["-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"])
            .arg(format!("{}/*", jars.display()))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("mongodb/Server.java"))
            .args(own)
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .spawn()
            .context("java cannot be started: install a JDK of 17 or later")?;
        let (mut process, since) = (Process(process), Instant::now());
        loop {
            let said = fs::read_to_string(&log)?;
            // A line that is written by half names no port, or another one.
            let whole = said.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
            if let Some(port) = whole.filter_map(|line| line.strip_prefix("listens on ")).next() {
                return Ok(Mongodb { port: port.parse()?, _process: process });
            }
            let ended = process.0.try_wait()?;
            ensure!(ended.is_none(), "the stand-in for MongoDB ended while it started: see {}", log.display());
            ensure!(since.elapsed() < READY_WITHIN, "the stand-in for MongoDB was not ready in time");
            sleep(Duration::from_millis(50));
        }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How clients find it.
    pub fn uri(&self) -> String {
        format!("mongodb://127.0.0.1:{}", self.port)
    }
}
