//! How a source is doing, for whoever asks: the status line, the summary, the watch for "nothing is left to do".

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a source has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceCounts {
    /// Records that were brought and committed.
    pub records: u64,
    /// Polls that failed, and were or will be tried again.
    pub failures: u64,
}

/// How one host's worker of a source is doing.
#[derive(Debug, Default)]
pub struct SourceState {
    standby: AtomicBool,
    done: AtomicBool,
    records: AtomicU64,
    failures: AtomicU64,
}

impl SourceState {
    /// True when another host has had the source for a while.
    pub fn is_standby(&self) -> bool {
        self.standby.load(Ordering::Acquire)
    }

    /// True when the source has said that nothing more will ever come, and all that came is committed.
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// The counts so far.
    pub fn counts(&self) -> SourceCounts {
        SourceCounts { records: self.records.load(Ordering::Relaxed), failures: self.failures.load(Ordering::Relaxed) }
    }

    /// Gives what it was before.
    pub(crate) fn set_standby(&self, standby: bool) -> bool {
        self.standby.swap(standby, Ordering::AcqRel)
    }

    pub(crate) fn set_done(&self, done: bool) {
        self.done.store(done, Ordering::Release);
    }

    pub(crate) fn add(&self, records: u64) {
        self.records.fetch_add(records, Ordering::Relaxed);
    }

    pub(super) fn note_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}
