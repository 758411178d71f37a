//! The seam to time, so that tests can drive retries, intervals and waits without waiting.

use crate::worker::control::Control;
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// What a worker knows of time.
pub trait Clock {
    /// Time that only goes forward, since some moment before the worker began.
    fn now(&self) -> Duration;
    /// Milliseconds since 1970.
    fn wall_ms(&self) -> i64;
    /// Waits, unless the worker is told to end.
    fn wait(&self, time: Duration);
}

/// The machine's own clock.
pub struct SystemClock {
    begun: Instant,
    control: Arc<Control>,
}

impl SystemClock {
    /// A clock whose waits end when `control` tells the worker to.
    pub fn new(control: Arc<Control>) -> SystemClock {
        SystemClock { begun: Instant::now(), control }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn wall_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn wait(&self, time: Duration) {
        self.control.wait(time);
    }
}
