//! What became of a stage's records, counted when it is certain.

use super::{breaker::Breaker, histogram::Histogram};
use crate::transport::{Partition, Progress};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::AddAssign,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

/// The kinds of failure that end in a dead letter.
pub const KINDS: [&str; 6] = ["reject", "fault", "limit", "retry", "decode", "encode"];

/// What became of some records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records that are done with.
    pub taken: u64,
    /// Bytes of their keys and values.
    pub taken_bytes: u64,
    /// Records that came of them.
    pub sent: u64,
    /// Bytes of their keys and values.
    pub sent_bytes: u64,
    /// Records that something came of.
    pub transformed: u64,
    /// Records that nothing came of, as their module wanted.
    pub filtered: u64,
    /// Records that became dead letters.
    pub dead_letters: u64,
    /// The same by what made them fail, as in [`KINDS`].
    pub dead_by_kind: [u64; KINDS.len()],
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

impl AddAssign<&Counts> for Counts {
    fn add_assign(&mut self, more: &Counts) {
        self.taken += more.taken;
        self.taken_bytes += more.taken_bytes;
        self.sent += more.sent;
        self.sent_bytes += more.sent_bytes;
        self.transformed += more.transformed;
        self.filtered += more.filtered;
        self.dead_letters += more.dead_letters;
        self.dead_by_kind.iter_mut().zip(more.dead_by_kind).for_each(|(count, more)| *count += more);
        self.skipped += more.skipped;
        self.left += more.left;
        self.foreign += more.foreign;
    }
}

/// The committed counts of a stage, over all of its workers, and what else there is to know of them.
#[derive(Debug, Default)]
pub struct Tally {
    counts: Mutex<Counts>,
    /// How many records went to each output.
    emitted: Mutex<Vec<u64>>,
    retries: AtomicU64,
    /// How many transactions ended how.
    committed: AtomicU64,
    aborted: AtomicU64,
    /// How often partitions came or went.
    rebalances: AtomicU64,
    /// The time of the record that was done last, in milliseconds since 1970.
    reached: AtomicI64,
    /// How long commits took.
    pub commits: Histogram,
    /// The partitions that each worker has.
    held: Mutex<BTreeMap<u32, BTreeSet<Partition>>>,
    /// Which of the last ones died.
    pub(super) breaker: Breaker,
}

impl Tally {
    /// Adds what a committed transaction did.
    pub fn add(&self, counts: &Counts) {
        *lock(&self.counts) += counts;
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        *lock(&self.counts)
    }

    /// How many records went to each output, by its place.
    pub fn emitted(&self) -> Vec<u64> {
        lock(&self.emitted).clone()
    }

    /// How often a record was put off to be tried again.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// How many transactions were committed, and how many were not.
    pub fn transactions(&self) -> (u64, u64) {
        (self.committed.load(Ordering::Relaxed), self.aborted.load(Ordering::Relaxed))
    }

    /// How often partitions came or went, for any of its workers.
    pub fn rebalances(&self) -> u64 {
        self.rebalances.load(Ordering::Relaxed)
    }

    /// The time of the record that was done last, in milliseconds since 1970; nothing before there is one.
    pub fn reached(&self) -> Option<i64> {
        Some(self.reached.load(Ordering::Relaxed)).filter(|time| *time > 0)
    }

    /// The partitions that each worker has; nothing of one that waits to be told.
    pub fn held(&self) -> BTreeMap<u32, BTreeSet<Partition>> {
        lock(&self.held).clone()
    }

    /// A worker has nothing, or goes on with these.
    pub(super) fn hold(&self, worker: u32, starts: &Progress) {
        let mut held = lock(&self.held);
        match starts.is_empty() {
            true => drop(held.remove(&worker)),
            false => drop(held.insert(worker, partitions(starts))),
        }
    }

    pub(super) fn note_rebalance(&self, worker: u32, starts: &Progress) {
        self.rebalances.fetch_add(1, Ordering::Relaxed);
        lock(&self.held).insert(worker, partitions(starts));
    }

    pub(super) fn note_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_commit(&self, emitted: &[u64], reached: Option<i64>, took: Duration) {
        self.committed.fetch_add(1, Ordering::Relaxed);
        self.commits.note(took, 1);
        if let Some(reached) = reached {
            self.reached.store(reached, Ordering::Relaxed);
        }
        let mut all = lock(&self.emitted);
        if all.len() < emitted.len() {
            all.resize(emitted.len(), 0);
        }
        all.iter_mut().zip(emitted).for_each(|(count, more)| *count += more);
    }

    pub(super) fn note_abort(&self) {
        self.aborted.fetch_add(1, Ordering::Relaxed);
    }
}

fn partitions(starts: &Progress) -> BTreeSet<Partition> {
    starts.iter().map(|(partition, _)| partition).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
