//! Where the embedded log is measured: the host, plain loops on SQLite, and one log for both.

use super::process::{self, Observer, Process};
use crate::scratch::Scratch;
use anyhow::{Context, Result, ensure};
use std::{
    cell::Cell,
    fmt::{self, Write as _},
    fs::{self, File},
    io::{BufRead, BufReader, BufWriter, Read, Write},
    path::PathBuf,
    process::{Command, Stdio},
    time::Instant,
};
use xtask::{clean_command, guests};

/// The bytes of a record.
const KEY: usize = 8;
const VALUE: usize = 100;
/// Digits of the number with which each value begins.
const NUMBER: usize = 12;

/// One file, and who works on it.
pub(super) struct Local {
    host: PathBuf,
    plain: PathBuf,
    guest: PathBuf,
    folder: Scratch,
    jobs: Cell<u32>,
}

/// What is to be copied, by a group that has never been, to a topic that is new.
pub(super) struct Job {
    pub(super) input: String,
    pub(super) output: String,
    pub(super) group: String,
}

/// Who works on the log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Arm {
    Host,
    /// With so many records in a transaction.
    Plain(u64),
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Arm::Host => "host",
            Arm::Plain(_) => "plain",
        })
    }
}

impl Local {
    /// Builds the programs, and makes an empty log.
    pub(super) fn set_up() -> Result<Local> {
        let built = [process::build_host()?, process::build_beside("plain")?, guests::build()?.join("pass.wasm")];
        let folder = Scratch::new("bench")?;
        let [host, plain, guest] = process::copies(built, folder.path())?;
        Ok(Local { host, plain, guest, folder, jobs: Cell::new(0) })
    }

    /// Writes that many lines, each a key and a value, to be produced.
    pub(super) fn write_lines(&self, records: u64) -> Result<()> {
        let mut file = BufWriter::new(File::create(self.lines())?);
        let (mut line, mut word) = (String::new(), 1_u64);
        for number in 0..records {
            line.clear();
            write!(line, "{:0KEY$}:{number:0NUMBER$}", number % 10_000_000)?;
            while line.len() < KEY + 1 + VALUE {
                word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                write!(line, " {:07x}", word >> 36)?;
            }
            line.truncate(KEY + 1 + VALUE);
            line.push('\n');
            file.write_all(line.as_bytes())?;
        }
        Ok(file.flush()?)
    }

    /// Makes a topic.
    pub(super) fn make(&self, topic: &str) -> Result<()> {
        self.host(&["topics", "create", topic, "--partitions", "1"])
    }

    /// Starts to produce all lines to a topic.
    pub(super) fn produce(&self, topic: &str) -> Result<Process> {
        let mut command = self.client(&["produce", topic, "--key-separator", ":"])?;
        Process::start(command.stdin(File::open(self.lines())?), self.folder.path().join("produce.txt"))
    }

    /// A group that has never been, on its way from this topic to a new one.
    pub(super) fn job(&self, input: &str) -> Result<Job> {
        let number = self.jobs.get() + 1;
        self.jobs.set(number);
        let job = Job { input: input.into(), output: format!("out-{number}"), group: format!("bench-{number}") };
        self.make(&job.output)?;
        Ok(job)
    }

    /// Starts one of the programs on a job.
    pub(super) fn start(&self, arm: Arm, job: &Job) -> Result<Process> {
        let Job { input, output, group } = job;
        let mut command = match arm {
            Arm::Host => {
                let mut command = clean_command(&self.host);
                command.arg("run").arg(self.manifest(job)?);
                command
            }
            Arm::Plain(records) => {
                let mut command = Command::new(&self.plain);
                command.arg("pass").arg(self.log()).args([input, output, group]).arg(records.to_string());
                command
            }
        };
        Process::start(command.stdin(Stdio::null()), self.folder.path().join("run.txt"))
    }

    /// Watches how far a group is.
    pub(super) fn observe_group(&self, group: &str) -> Result<Observer> {
        self.observe(&["group", group])
    }

    /// Watches a topic's end.
    pub(super) fn observe_topic(&self, topic: &str) -> Result<Observer> {
        self.observe(&["topic", topic])
    }

    /// Reads all that `consume` prints of a topic, or the plain loop, and says how many seconds that took.
    pub(super) fn read(&self, arm: Arm, topic: &str, records: u64) -> Result<f64> {
        let mut command = match arm {
            Arm::Host => self.client(&["consume", topic, "--from-beginning", "--until-end"])?,
            Arm::Plain(_) => {
                let mut command = Command::new(&self.plain);
                command.arg("read").arg(self.log()).arg(topic);
                command
            }
        };
        let begun = Instant::now();
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut output = process.stdout.take().context("it has an output")?;
        let (mut buffer, mut bytes) = (vec![0; 1 << 16], 0);
        loop {
            match output.read(&mut buffer)? {
                0 => break,
                more => bytes += more as u64,
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        let enough = bytes >= records * (VALUE as u64 + 1);
        ensure!(process.wait()?.success() && enough, "{topic} could not be read, or not all of it");
        Ok(seconds)
    }

    /// How fast a module is on its own: all lines through `try`, in records/s.
    pub(super) fn try_module(&self, records: u64) -> Result<f64> {
        let mut command = clean_command(&self.host);
        command.arg("try").arg(&self.guest).args(["--key-separator", ":"]).stdin(File::open(self.lines())?);
        let begun = Instant::now();
        let status = command.stdout(Stdio::null()).status()?;
        ensure!(status.success(), "`try` failed");
        Ok(records as f64 / begun.elapsed().as_secs_f64())
    }

    /// Fails unless a topic holds what comes of all lines, once and in order.
    pub(super) fn check(&self, topic: &str, records: u64) -> Result<()> {
        let mut command =
            self.client(&["consume", topic, "--from-beginning", "--until-end", "--format", "key-value"])?;
        let mut process = command.stdout(Stdio::piped()).spawn()?;
        let copied = BufReader::new(process.stdout.take().context("it has an output")?);
        let mut lines = BufReader::new(File::open(self.lines())?);
        let (mut line, mut number) = (Vec::new(), 0);
        for copy in copied.split(b'\n') {
            line.clear();
            lines.read_until(b'\n', &mut line)?;
            let (line, copy) = (line.trim_ascii_end(), copy?);
            // What parts key and value is another byte here than there.
            let right = line.len() == copy.len()
                && line[..KEY] == copy[..KEY]
                && line[KEY + 1..].eq_ignore_ascii_case(&copy[KEY + 1..]);
            ensure!(right, "record {number} of {topic} came out as {}", copy.escape_ascii());
            number += 1;
        }
        ensure!(process.wait()?.success() && number == records, "{topic} has {number} of {records} records");
        Ok(())
    }

    /// How large the log is.
    pub(super) fn size_mib(&self) -> Result<f64> {
        Ok(fs::metadata(self.log())?.len() as f64 / f64::from(1 << 20))
    }

    /// Its first word is how far that is now.
    fn observe(&self, what: &[&str]) -> Result<Observer> {
        let mut command = Command::new(&self.plain);
        command.arg("observe").arg(self.log()).args(what);
        Observer::start(command)
    }

    fn host(&self, arguments: &[&str]) -> Result<()> {
        let status = self.client(arguments)?.stdout(Stdio::null()).status()?;
        ensure!(status.success(), "`millstream {}` failed", arguments.join(" "));
        Ok(())
    }

    /// The host as a client of the log.
    fn client(&self, arguments: &[&str]) -> Result<Command> {
        let any = Job { input: "in".into(), output: "out".into(), group: "any".into() };
        let mut command = clean_command(&self.host);
        command.args(arguments).arg("--manifest").arg(self.manifest(&any)?);
        Ok(command)
    }

    fn manifest(&self, job: &Job) -> Result<PathBuf> {
        let Job { input, output, group } = job;
        let path = self.folder.path().join(format!("{group}.yaml"));
        let guest = self.guest.display();
        let text = format!(
            "name: bench\nstate: state\nstages:\n  upper:\n    module: {guest}\n    input: {input}\n    \
             output: {output}\n    group: {group}\n"
        );
        fs::write(&path, text)?;
        Ok(path)
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("state/log.db")
    }

    fn lines(&self) -> PathBuf {
        self.folder.path().join("lines.txt")
    }
}
