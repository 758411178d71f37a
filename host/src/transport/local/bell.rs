//! How readers of this process hear at once that something was committed. Other processes are noticed by looking.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

/// Rung after each commit.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Mutex<u64>,
    heard: Condvar,
}

impl Bell {
    /// Wakes everybody.
    pub(super) fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.heard.notify_all();
    }

    /// How often it was rung.
    pub(super) fn count(&self) -> u64 {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it was rung more often than that, or the time is over.
    pub(super) fn wait(&self, count: u64, time: Duration) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.heard.wait_timeout_while(rung, time, |rung| *rung == count));
    }
}
