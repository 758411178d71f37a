//! One run of an arm: a topic is copied, and watched from its first commit to its last.

use super::process::{Observer, Process, Seen};
use anyhow::{Result, ensure};
use std::fmt;

/// What one run took.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) records_per_s: f64,
    /// User and system time of all threads.
    pub(super) cpu_s_per_million: f64,
    pub(super) peak_mib: f64,
    /// From the start of the process to its first commit.
    pub(super) first_ms: f64,
    pub(super) records_per_commit: f64,
}

impl Run {
    /// Watches a process until so many records are done.
    pub(super) fn watch(observer: &mut Observer, process: &Process, records: u64) -> Result<Run> {
        let first = process.explain(observer.next())?;
        ensure!(first.records < records, "all was done in one transaction: nothing is measured, take more records");
        let (first_cpu_s, mut commits, mut peak_mib) = (process.cpu_s()?, 0, 0.0);
        let mut last_cpu_s = first_cpu_s;
        let last = loop {
            let seen = process.explain(observer.next())?;
            commits += 1;
            // One that is done already has no memory any more.
            peak_mib = process.memory_mib("VmHWM").unwrap_or(peak_mib);
            last_cpu_s = process.cpu_s().unwrap_or(last_cpu_s);
            if seen.records >= records {
                break seen;
            }
        };
        let done = (last.records - first.records) as f64;
        Ok(Run {
            records_per_s: rate(first, last),
            cpu_s_per_million: (last_cpu_s - first_cpu_s) / done * 1e6,
            peak_mib,
            first_ms: first.epoch_ms - process.started_epoch_ms(),
            records_per_commit: done / f64::from(commits),
        })
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Run { records_per_s, cpu_s_per_million, peak_mib, first_ms, records_per_commit } = self;
        write!(f, "{records_per_s:.0}/s, {records_per_commit:.0} a transaction, {cpu_s_per_million:.2} CPU s/M, ")?;
        write!(f, "{peak_mib:.1} MiB, first {first_ms:.0} ms")
    }
}

/// Records in a second, between two looks.
pub(super) fn rate(first: Seen, last: Seen) -> f64 {
    (last.records - first.records) as f64 / (last.epoch_ms - first.epoch_ms) * 1e3
}
