//! Where it is measured: the two programs as they are released, one broker, and what can be seen of them from outside.

use anyhow::{Context, Result, bail, ensure};
use std::{
    cell::Cell,
    fmt,
    fs::{self, File},
    io::{BufRead, BufReader, Lines},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use xtask::{
    guests,
    kafka::{self, Cluster, Setup},
};

/// How long an orderly end may take.
const END_WITHIN: Duration = Duration::from_secs(15);
/// What the system counts the time of processes in: `USER_HZ`, which is the same on every Linux.
const TICKS_PER_S: f64 = 100.0;

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
    folder: tempfile::TempDir,
}

impl Lab {
    pub(super) fn set_up() -> Result<Lab> {
        let (host, native) = (build_host()?, build_native()?);
        let guest = guests::build()?.join("upper.wasm");
        let folder = tempfile::tempdir()?;
        let cluster = Cluster::start(&folder.path().join("kafka"), &Setup { fast: true, ..Setup::default() })?;
        // Copies, so that a build in the meantime does not change what is measured.
        let copy = |from: &Path| -> Result<PathBuf> {
            let to = folder.path().join(from.file_name().context("a program has a name")?);
            fs::copy(from, &to).with_context(|| format!("{} is not there", from.display()))?;
            Ok(to)
        };
        let (host, native, guest) = (copy(&host)?, copy(&native)?, copy(&guest)?);
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
        let mut process = Command::new(&self.native)
            .args(["observe", &self.address, &job.input, "--group", &job.group, "--records", &records.to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(process.stdout.take().context("it has an output")?).lines();
        let mut observer = Observer { process, lines };
        ensure!(observer.next()?.records == 0, "group {} is not a new one", job.group);
        Ok(observer)
    }

    /// Starts one of the programs on a job.
    pub(super) fn spawn(&self, arm: Arm, job: &Job) -> Result<Process> {
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
                let mut command = Command::new(&self.host);
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
        let log = self.folder.path().join(format!("{arm}.log"));
        let (out, started_epoch_ms) = (File::create(&log)?, epoch_ms());
        let process = command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).spawn()?;
        Ok(Process { process, started_epoch_ms, log })
    }
}

/// One of the programs at work. It ends, at the latest, when this is dropped.
pub(super) struct Process {
    process: Child,
    started_epoch_ms: f64,
    log: PathBuf,
}

impl Process {
    pub(super) fn started_epoch_ms(&self) -> f64 {
        self.started_epoch_ms
    }

    /// User and system time of all its threads.
    pub(super) fn cpu_s(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // The name may hold anything, so the fields are counted from behind it: utime and stime are 14 and 15 of all.
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let [user, system] = fields.get(11..13).context("/proc/PID/stat is short")? else {
            bail!("/proc/PID/stat is short");
        };
        Ok((user.parse::<f64>()? + system.parse::<f64>()?) / TICKS_PER_S)
    }

    /// A line of what the system says about its memory, such as `VmHWM`.
    pub(super) fn memory_mib(&self, name: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.split_whitespace().next()).context("/proc/PID/status tells no memory")?;
        Ok(kib.parse::<f64>()? / 1024.0)
    }

    /// Adds to an error what the process had to say.
    pub(super) fn explain<T>(&self, result: Result<T>) -> Result<T> {
        result.with_context(|| fs::read_to_string(&self.log).unwrap_or_default())
    }

    /// An orderly end.
    pub(super) fn end(&mut self) -> Result<()> {
        kafka::signal(self.process.id(), "TERM")?;
        let since = Instant::now();
        while self.process.try_wait()?.is_none() {
            ensure!(since.elapsed() < END_WITHIN, "it does not end");
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// kill -9.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill().ok();
    }
}

/// Tells how far a group is done.
pub(super) struct Observer {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// So far it was done, and then.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) epoch_ms: f64,
    pub(super) records: u64,
}

impl Observer {
    /// Waits until the group gets further.
    pub(super) fn next(&mut self) -> Result<Seen> {
        let line = self.lines.next().context("the observer has ended")??;
        let seen: serde_json::Value = serde_json::from_str(&line)?;
        let (Some(epoch_ms), Some(records)) = (seen["epoch_ms"].as_f64(), seen["records"].as_u64()) else {
            bail!("the observer says {line}");
        };
        Ok(Seen { epoch_ms, records })
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn build_host() -> Result<PathBuf> {
    crate::cargo(&["build", "--release", "--locked", "--package", "millstream", "--bin", "millstream"])?;
    Ok(crate::target_folder().join("release/millstream"))
}

/// It is no member of the workspace, so what it is built from lies in a folder of its own.
fn build_native() -> Result<PathBuf> {
    let folder = crate::root().join("bench/native");
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(shared) => PathBuf::from(shared).join("bench"),
        None => folder.join("target"),
    };
    eprintln!("cargo build, in bench/native");
    let status = Command::new("cargo")
        .args(["build", "--release", "--locked"])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", &target)
        .status()
        .context("cargo cannot be started")?;
    ensure!(status.success(), "the native program could not be built");
    Ok(target.join("release/millstream-bench-native"))
}

fn epoch_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1e3
}
