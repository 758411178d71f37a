//! How a worker is told to end, and how the others are kept from waiting for it.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long an orderly end may take before a worker gives up what it could not finish: what it had not committed is
/// done again by whoever comes next.
pub const GRACE: Duration = Duration::from_secs(7);

/// Tells workers to end. Shared by a process's workers and whoever ends them.
#[derive(Debug, Default)]
pub struct Control {
    stopped: Mutex<Option<Instant>>,
    bell: Condvar,
}

impl Control {
    /// Asks for an orderly end.
    pub fn stop(&self) {
        self.lock().get_or_insert_with(Instant::now);
        self.bell.notify_all();
    }

    /// True when an orderly end was asked for.
    pub fn stopping(&self) -> bool {
        self.lock().is_some()
    }

    /// True when the orderly end has taken so long that what is unfinished is to be left.
    pub fn out_of_patience(&self) -> bool {
        self.lock().is_some_and(|since| since.elapsed() > GRACE)
    }

    /// Waits; at most until an end is asked for.
    pub fn wait(&self, time: Duration) {
        let guard = self.lock();
        drop(self.bell.wait_timeout_while(guard, time, |stopped| stopped.is_none()));
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
