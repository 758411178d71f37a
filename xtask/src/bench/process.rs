//! Programs at work, and what can be seen of them from outside.

use anyhow::{Context, Result, anyhow, bail, ensure};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Lines},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use xtask::kafka;

/// How long a start may take, and an orderly end.
const START_WITHIN: Duration = Duration::from_secs(60);
const END_WITHIN: Duration = Duration::from_secs(15);
/// What the system counts the time of processes in: `USER_HZ`, which is the same on every Linux.
const TICKS_PER_S: f64 = 100.0;

/// One of the programs at work. It ends, at the latest, when this is dropped.
pub(super) struct Process {
    process: Child,
    started_epoch_ms: f64,
    log: PathBuf,
}

impl Process {
    /// Starts it; what it says goes into a file.
    pub(super) fn start(command: &mut Command, log: PathBuf) -> Result<Process> {
        let (out, started_epoch_ms) = (File::create(&log)?, epoch_ms());
        let process = command.stdout(out.try_clone()?).stderr(out).spawn()?;
        Ok(Process { process, started_epoch_ms, log })
    }

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

    /// Where a host says that its admin API is.
    pub(super) fn admin_address(&self) -> Result<String> {
        let since = Instant::now();
        while since.elapsed() < START_WITHIN {
            let said = fs::read_to_string(&self.log)?;
            if let Some(at) = said.split("admin API on http://").nth(1).and_then(|rest| rest.split_whitespace().next())
            {
                return Ok(at.to_owned());
            }
            sleep(Duration::from_millis(20));
        }
        self.explain(Err(anyhow!("it does not start")))
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

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.process.try_wait()?.is_some())
    }

    /// Waits for its own end.
    pub(super) fn wait(&mut self) -> Result<()> {
        let status = self.process.wait()?;
        self.explain(status.success().then_some(()).context("it failed"))
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

/// Tells how far something is.
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
    /// Starts the program that observes.
    pub(super) fn start(mut command: Command) -> Result<Observer> {
        let mut process = command.stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(process.stdout.take().context("it has an output")?).lines();
        Ok(Observer { process, lines })
    }

    /// Waits until it gets further.
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

/// The host as it is released.
pub(super) fn build_host() -> Result<PathBuf> {
    crate::cargo(&["build", "--release", "--locked", "--package", "millstream", "--bin", "millstream"])?;
    Ok(crate::target_folder().join("release/millstream"))
}

/// A program in a folder of `bench`.
pub(super) fn build_beside(name: &str) -> Result<PathBuf> {
    let folder = format!("bench/{name}");
    crate::cargo_beside(&folder, &["build", "--release", "--locked"])?;
    Ok(crate::target_beside(&folder).join("release").join(format!("millstream-bench-{name}")))
}

/// Copies of programs and modules in a folder, so that a build in the meantime does not change what is measured.
pub(super) fn copies<const N: usize>(of: [PathBuf; N], folder: &Path) -> Result<[PathBuf; N]> {
    let mut copies = of;
    for file in &mut copies {
        let to = folder.join(file.file_name().context("a program has a name")?);
        fs::copy(&*file, &to).with_context(|| format!("{} is not there", file.display()))?;
        *file = to;
    }
    Ok(copies)
}

fn epoch_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1e3
}
