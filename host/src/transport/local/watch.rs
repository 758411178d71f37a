//! How a reader learns that something was committed: from this process at once, from others by looking.

use super::{bell::Bell, schema::Store, trouble::Trouble};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How often to look while something comes.
const SHORTEST: Duration = Duration::from_millis(1);
/// How often to look when nothing comes: a look costs some 60 µs, and each worker takes its own.
const LONGEST: Duration = Duration::from_millis(50);

/// What one reader has noticed.
pub(super) struct Watch {
    bell: Arc<Bell>,
    /// What the file looked like.
    seen: Option<i64>,
    pause: Duration,
}

impl Watch {
    /// Somebody who has seen nothing yet.
    pub(super) fn new(bell: Arc<Bell>) -> Watch {
        Watch { bell, seen: None, pause: SHORTEST }
    }

    /// True when there may be something new since the last time.
    pub(super) fn look(&mut self, store: &Store) -> Result<bool, Trouble> {
        let version = Some(store.data_version()?);
        let changed = std::mem::replace(&mut self.seen, version) != version;
        if changed {
            self.pause = SHORTEST;
        }
        Ok(changed)
    }

    /// Waits until there is something new.
    pub(super) fn wait(&mut self, store: &Store, until: Instant) -> Result<bool, Trouble> {
        loop {
            let rung = self.bell.count();
            if self.look(store)? {
                return Ok(true);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.bell.wait(rung, left.min(self.pause));
            self.pause = (self.pause * 2).min(LONGEST);
        }
    }
}
