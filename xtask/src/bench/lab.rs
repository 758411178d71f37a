//! Where it is measured: the two programs as they are released, and one broker.

use super::process::{self, Observer, Process};
use crate::scratch::Scratch;
use anyhow::{Result, ensure};
use std::{
    cell::Cell,
    fmt, fs,
    path::PathBuf,
    process::{Command, Stdio},
};
use xtask::{
    clean_command, guests,
    kafka::{Cluster, Setup},
};

/// Who copies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Arm {
    Host,
    Native,
}

impl Arm {
    pub(super) const ALL: [Arm; 2] = [Arm::Host, Arm::Native];
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Arm::Host => "host",
            Arm::Native => "native",
        })
    }
}

/// What it promises.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    AtLeastOnce,
    ExactlyOnce,
}

impl Delivery {
    pub(super) const ALL: [Delivery; 2] = [Delivery::AtLeastOnce, Delivery::ExactlyOnce];
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Delivery::AtLeastOnce => "at-least-once",
            Delivery::ExactlyOnce => "exactly-once",
        })
    }
}

/// What is to be copied, by a group that has never been.
pub(super) struct Job {
    input: String,
    pub(super) output: String,
    group: String,
    delivery: Delivery,
}

/// A broker, both programs and the guest.
pub(super) struct Lab {
    // Held for its life, and in this order: it ends before its folder goes.
    _cluster: Cluster,
    address: String,
    host: PathBuf,
    native: PathBuf,
    guest: PathBuf,
    jobs: Cell<u32>,
    folder: Scratch,
}

impl Lab {
    pub(super) fn set_up() -> Result<Lab> {
        let built = [process::build_host()?, process::build_beside("native")?, guests::build()?.join("upper.wasm")];
        let folder = Scratch::new("bench")?;
        let cluster = Cluster::start(&folder.path().join("kafka"), &Setup { fast: true, ..Setup::default() })?;
        let [host, native, guest] = process::copies(built, folder.path())?;
        Ok(Lab { address: cluster.address(), _cluster: cluster, host, native, guest, jobs: Cell::new(0), folder })
    }

    pub(super) fn broker(&self) -> &str {
        &self.address
    }

    pub(super) fn job(&self, input: &str, delivery: Delivery) -> Job {
        self.jobs.set(self.jobs.get() + 1);
        Job { input: input.into(), output: "out".into(), group: format!("bench-{}", self.jobs.get()), delivery }
    }

    /// Runs a command of the native program to its end, and gives what it says.
    pub(super) fn native(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.native).args(arguments).stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "{} failed", arguments.join(" "));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Fails unless a copied topic holds every record once, and in order.
    pub(super) fn check(&self, topic: &str, records: u64) -> Result<()> {
        let said = self.native(&["count", &self.address, topic])?;
        let count: serde_json::Value = serde_json::from_str(&said)?;
        let right = count["distinct"] == records
            && ["lost", "duplicates", "out_of_order", "unnumbered"].iter().all(|wrong| count[wrong] == 0);
        ensure!(right, "{records} records were to be copied, and this came out: {}", said.trim());
        Ok(())
    }

    /// Watches the job's group from now on.
    pub(super) fn observe(&self, job: &Job, records: u64) -> Result<Observer> {
        let mut command = Command::new(&self.native);
        command.args(["observe", &self.address, &job.input, "--group", &job.group]);
        command.args(["--records", &records.to_string()]);
        let mut observer = Observer::start(command)?;
        ensure!(observer.next()?.records == 0, "group {} is not a new one", job.group);
        Ok(observer)
    }

    /// Starts one of the programs on a job.
    pub(super) fn spawn(&self, arm: Arm, job: &Job) -> Result<Process> {
        self.spawn_as(arm, job, &arm.to_string())
    }

    /// The same, with a log of its own.
    pub(super) fn spawn_as(&self, arm: Arm, job: &Job, name: &str) -> Result<Process> {
        let Job { input, output, group, delivery } = job;
        let mut command = match arm {
            Arm::Host => {
                let manifest = self.folder.path().join("pipeline.yaml");
                let (address, guest) = (&self.address, self.guest.display());
                let text = format!(
                    "name: bench\nkafka: {{brokers: \"{address}\"}}\nstages:\n  upper:\n    module: {guest}\n    \
                     input: {input}\n    output: {output}\n    group: {group}\n    delivery: {delivery}\n"
                );
                fs::write(&manifest, text)?;
                let mut command = clean_command(&self.host);
                command.arg("run").arg(manifest);
                command
            }
            Arm::Native => {
                let mut command = Command::new(&self.native);
                let delivery = delivery.to_string();
                command.args(["pass", &self.address, input, output, "--records", "0", "--group", group]);
                command.args(["--instance", "bench-native", "--delivery", &delivery]);
                command
            }
        };
        Process::start(command.stdin(Stdio::null()), self.folder.path().join(format!("{name}.log")))
    }
}
