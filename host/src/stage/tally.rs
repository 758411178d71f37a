//! What became of a stage's records, counted when it is certain.

use super::breaker::Breaker;
use crate::transport::{Partition, Progress};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// What became of some records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records that are done with.
    pub taken: u64,
    /// Records that came of them.
    pub sent: u64,
    /// Records that became dead letters.
    pub dead_letters: u64,
    /// Records that failed and were passed over, as the manifest says.
    pub skipped: u64,
    /// Dead letters that stay what they are, as they are not meant.
    pub left: u64,
    /// Records among dead letters that are nothing of this stage's.
    pub foreign: u64,
}

impl Counts {
    /// How many records were tried.
    pub fn tried(&self) -> u64 {
        self.taken - self.left - self.foreign
    }
}

/// The committed counts of a stage, over all of its workers.
#[derive(Debug, Default)]
pub struct Tally {
    taken: AtomicU64,
    sent: AtomicU64,
    dead_letters: AtomicU64,
    skipped: AtomicU64,
    left: AtomicU64,
    foreign: AtomicU64,
    retries: AtomicU64,
    /// The partitions that each worker has.
    held: Mutex<BTreeMap<u32, BTreeSet<Partition>>>,
    /// Which of the last ones died.
    pub(super) breaker: Breaker,
}

impl Tally {
    /// Adds what a committed transaction did.
    pub fn add(&self, counts: &Counts) {
        self.taken.fetch_add(counts.taken, Ordering::Relaxed);
        self.sent.fetch_add(counts.sent, Ordering::Relaxed);
        self.dead_letters.fetch_add(counts.dead_letters, Ordering::Relaxed);
        self.skipped.fetch_add(counts.skipped, Ordering::Relaxed);
        self.left.fetch_add(counts.left, Ordering::Relaxed);
        self.foreign.fetch_add(counts.foreign, Ordering::Relaxed);
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        Counts {
            taken: self.taken.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            dead_letters: self.dead_letters.load(Ordering::Relaxed),
            skipped: self.skipped.load(Ordering::Relaxed),
            left: self.left.load(Ordering::Relaxed),
            foreign: self.foreign.load(Ordering::Relaxed),
        }
    }

    /// How often a record was put off to be tried again.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// The partitions that each worker has, as soon as it has been told.
    pub fn held(&self) -> BTreeMap<u32, BTreeSet<Partition>> {
        self.lock().clone()
    }

    pub(super) fn hold(&self, worker: u32, starts: &Progress) {
        let partitions = starts.iter().map(|(partition, _)| partition).collect();
        self.lock().insert(worker, partitions);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, BTreeSet<Partition>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }
}

/// Says what became of failed records, but not more than a line a second.
#[derive(Debug, Default)]
pub(super) struct Notices {
    next: Duration,
    unsaid: u64,
}

impl Notices {
    pub(super) fn say(&mut self, now: Duration, stage: &str, what: &str, line: &str) {
        if now < self.next {
            self.unsaid += 1;
            return;
        }
        self.next = now + Duration::from_secs(1);
        match std::mem::take(&mut self.unsaid) {
            0 => tracing::warn!("{stage}: {what}: {line}"),
            more => tracing::warn!("{stage}: {what}: {line} (and {more} before it)"),
        }
    }
}
