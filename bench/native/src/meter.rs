//! What a run costs, and how it is told.

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::{
    fs,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Watches a run from its first record to its last commit.
pub(crate) struct Meter {
    process_start: Instant,
    first_record: Option<Mark>,
    first_commit: Option<FirstCommit>,
    commits: u32,
    committing: Duration,
}

/// A point of the run.
#[derive(Clone, Copy)]
struct Mark {
    at: Instant,
    /// User and system time of all threads of the process.
    cpu: Duration,
}

/// When the first commit was through: what a recovery is measured by.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct FirstCommit {
    first_commit_ms: f64,
    first_commit_epoch_ms: u128,
}

#[derive(Serialize)]
pub(crate) struct Report {
    records: u64,
    seconds: f64,
    records_per_s: f64,
    cpu_seconds_per_million: f64,
    /// None where the system does not tell it.
    peak_rss_mib: Option<f64>,
    #[serde(flatten)]
    first_commit: Option<FirstCommit>,
    commits: u32,
    mean_commit_ms: f64,
}

impl Meter {
    pub(crate) fn new(process_start: Instant) -> Self {
        Self { process_start, first_record: None, first_commit: None, commits: 0, committing: Duration::ZERO }
    }

    /// Records are in hand. The first call starts the clock.
    pub(crate) fn taken(&mut self) {
        self.first_record.get_or_insert_with(Mark::now);
    }

    /// A commit that began at `begun` is through. Says so when it is the first.
    pub(crate) fn committed(&mut self, begun: Instant) -> Option<FirstCommit> {
        self.commits += 1;
        self.committing += begun.elapsed();
        if self.first_commit.is_some() {
            return None;
        }
        self.first_commit = Some(FirstCommit {
            first_commit_ms: rounded(self.process_start.elapsed().as_secs_f64() * 1e3),
            first_commit_epoch_ms: epoch_ms(),
        });
        self.first_commit
    }

    /// To be called right after the last commit.
    pub(crate) fn report(&self, records: u64) -> Report {
        let end = Mark::now();
        let start = self.first_record.unwrap_or(end);
        let seconds = (end.at - start.at).as_secs_f64();
        Report {
            records,
            seconds: rounded(seconds),
            records_per_s: (records as f64 / seconds).round(),
            cpu_seconds_per_million: rounded((end.cpu - start.cpu).as_secs_f64() / records as f64 * 1e6),
            peak_rss_mib: peak_rss_mib().map(rounded),
            first_commit: self.first_commit,
            commits: self.commits,
            mean_commit_ms: rounded(self.committing.as_secs_f64() * 1e3 / f64::from(self.commits)),
        }
    }
}

impl Mark {
    fn now() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        Self { at: Instant::now(), cpu: Duration::new(cpu.tv_sec.unsigned_abs(), cpu.tv_nsec.unsigned_abs() as u32) }
    }
}

pub(crate) fn epoch_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock stands after 1970").as_millis()
}

/// From /proc, not from getrusage: that one starts with what the parent had before exec.
fn peak_rss_mib() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?;
    Some(kib.parse::<f64>().ok()? / 1024.0)
}

fn rounded(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}
