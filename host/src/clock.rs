//! The seam to time, so that tests can drive retries, intervals and waits without waiting.

use crate::worker::control::Control;
use rustix::time::{ClockId, clock_gettime};
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A few milliseconds coarse where that is to be had: a worker looks at it for every record.
#[cfg(target_os = "linux")]
const MONOTONIC: ClockId = ClockId::MonotonicCoarse;
#[cfg(not(target_os = "linux"))]
const MONOTONIC: ClockId = ClockId::Monotonic;

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
    control: Arc<Control>,
}

impl SystemClock {
    /// A clock whose waits end when `control` tells the worker to.
    pub fn new(control: Arc<Control>) -> SystemClock {
        SystemClock { control }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        let time = clock_gettime(MONOTONIC);
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
    }

    fn wall_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn wait(&self, time: Duration) {
        self.control.wait(time);
    }
}
