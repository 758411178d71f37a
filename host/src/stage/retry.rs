//! Records that are to be tried again: when, how often, and until when.

use crate::transport::{Offset, Partition, Progress};
use std::{collections::BTreeMap, time::Duration};

/// How records are tried again.
#[derive(Clone, Debug)]
pub struct Retry {
    /// The first delay; each further one is twice as long.
    pub backoff: Duration,
    /// The longest delay.
    pub max_backoff: Duration,
    /// How long a record is tried before it is given up.
    pub give_up_after: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(10),
            give_up_after: Duration::from_secs(15 * 60),
        }
    }
}

impl Retry {
    /// How long to wait after so many failed attempts, the guest's own wish first.
    pub(crate) fn delay(&self, attempts: u32, after_ms: Option<u64>) -> Duration {
        let doublings = attempts.saturating_sub(1).min(20);
        let grown = self.backoff.saturating_mul(1 << doublings).min(self.max_backoff);
        // Up to a fifth less, so that what failed together does not come back together.
        after_ms.map_or_else(|| grown.mul_f64(1.0 - fastrand::f64() / 5.0), Duration::from_millis)
    }
}

/// The record that a partition waits for: at most one, as the others behind it wait too.
struct Waiting {
    offset: Offset,
    attempts: u32,
    since: Duration,
    due: Duration,
}

pub(super) struct Retries {
    rules: Retry,
    waiting: BTreeMap<Partition, Waiting>,
    /// When a record was put off for the first time.
    first: Option<Duration>,
    /// The time to give up after is for all records together.
    together: bool,
}

impl Retries {
    pub(super) fn new(rules: Retry) -> Retries {
        Retries { rules, waiting: BTreeMap::new(), first: None, together: false }
    }

    /// From here on the time to give up after is for all records together: what one waits for, the others wait for too.
    pub(super) fn wait_together(&mut self) {
        self.together = true;
    }

    /// When the record may be tried again, if it was tried before.
    pub(super) fn due(&self, at: (Partition, Offset)) -> Option<Duration> {
        self.find(at).map(|waiting| waiting.due)
    }

    /// Which attempt is the next one.
    pub(super) fn attempt(&self, at: (Partition, Offset)) -> u32 {
        self.find(at).map_or(1, |waiting| waiting.attempts + 1)
    }

    /// Notes a failed attempt; the time of the next one, or `None` when it is not worth another.
    pub(super) fn again(&mut self, at: (Partition, Offset), after_ms: Option<u64>, now: Duration) -> Option<Duration> {
        let (attempts, since) = self.find(at).map_or((1, now), |waiting| (waiting.attempts + 1, waiting.since));
        let first = *self.first.get_or_insert(now);
        let begun = if self.together { first } else { since };
        let left = self.rules.give_up_after.saturating_sub(now.saturating_sub(begun));
        if left.is_zero() {
            return None;
        }
        // At the end of its time it is tried once more.
        let due = now + self.rules.delay(attempts, after_ms).min(left);
        self.waiting.insert(at.0, Waiting { offset: at.1, attempts, since, due });
        Some(due)
    }

    /// Forgets what is done for good. Not before: a record that is done again goes on where it was, rather than begin
    /// its time anew.
    pub(super) fn committed(&mut self, progress: &Progress) {
        self.waiting
            .retain(|partition, waiting| progress.get(*partition).is_none_or(|next| next.0 <= waiting.offset.0));
    }

    /// What waits is tried again at once, and for as long as any.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
    }

    /// Keeps what may still come from where the partitions start now.
    pub(super) fn retain(&mut self, starts: &Progress) {
        self.waiting.retain(|partition, waiting| starts.get(*partition).is_some_and(|next| next.0 <= waiting.offset.0));
    }

    fn find(&self, at: (Partition, Offset)) -> Option<&Waiting> {
        if self.waiting.is_empty() {
            return None;
        }
        self.waiting.get(&at.0).filter(|waiting| waiting.offset == at.1)
    }
}
