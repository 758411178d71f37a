//! How a source is doing, for whoever asks: the status line, the summary, the watch for "nothing is left to do".

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a source has done, counted when it is certain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceCounts {
    /// Polls that brought something.
    pub polls: u64,
    /// Records that came of them.
    pub records: u64,
    /// Polls that failed, and were or will be tried again.
    pub failures: u64,
}

/// How one host's worker of a source is doing.
#[derive(Debug, Default)]
pub struct SourceState {
    at_work: AtomicBool,
    done: AtomicBool,
    polls: AtomicU64,
    records: AtomicU64,
    failures: AtomicU64,
}

impl SourceState {
    /// True when another host has the source, or nobody has it yet.
    pub fn is_standby(&self) -> bool {
        !self.at_work.load(Ordering::Acquire)
    }

    /// True when the source has said that nothing more will ever come, and all that came is committed.
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// The counts so far.
    pub fn counts(&self) -> SourceCounts {
        SourceCounts {
            polls: self.polls.load(Ordering::Relaxed),
            records: self.records.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn set_at_work(&self, at_work: bool) {
        self.at_work.store(at_work, Ordering::Release);
    }

    pub(crate) fn set_done(&self, done: bool) {
        self.done.store(done, Ordering::Release);
    }

    pub(crate) fn add(&self, polls: u64, records: u64) {
        self.polls.fetch_add(polls, Ordering::Relaxed);
        self.records.fetch_add(records, Ordering::Relaxed);
    }

    pub(super) fn note_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}
