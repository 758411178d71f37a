//! How a worker is told to end, and how the others are kept from waiting for it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How long an orderly end may take before a worker gives up what it could not finish: what it had not committed is
/// done again by whoever comes next.
pub const GRACE: Duration = Duration::from_secs(7);

/// Tells workers to end: those of one stage, or, through its parts, those of the process.
#[derive(Debug, Default)]
pub struct Control {
    stopped: AtomicBool,
    paused: AtomicBool,
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct State {
    since: Option<Instant>,
    /// Why who of its workers cannot go on for now.
    troubles: BTreeMap<String, String>,
    parts: Vec<Arc<Control>>,
}

impl Control {
    /// A control of its own for a part of what this one controls: it ends with it, or before.
    pub fn part(&self) -> Arc<Control> {
        let part = Arc::new(Control::default());
        let mut state = self.lock();
        if state.since.is_some() {
            part.stop();
        }
        state.parts.push(part.clone());
        part
    }

    /// Asks for an orderly end.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.since.get_or_insert_with(Instant::now);
        state.parts.iter().for_each(|part| part.stop());
        self.stopped.store(true, Ordering::Release);
        self.bell.notify_all();
    }

    /// From here on nothing more is taken, or it is again. Everything stays where it is meanwhile.
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
    }

    /// True when nothing is to be taken.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    /// True when an orderly end was asked for.
    pub fn stopping(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// When an orderly end was asked for.
    pub fn stopped_at(&self) -> Option<Instant> {
        self.lock().since
    }

    /// True when the orderly end has taken so long that what is unfinished is to be left.
    pub fn out_of_patience(&self) -> bool {
        self.stopping() && self.stopped_at().is_some_and(|since| since.elapsed() > GRACE)
    }

    /// A worker cannot go on for now, and tries; nothing, when it can.
    pub fn troubles(&self, worker: &str, why: Option<String>) {
        let troubles = &mut self.lock().troubles;
        match why {
            Some(why) => drop(troubles.insert(worker.to_owned(), why)),
            None => drop(troubles.remove(worker)),
        }
    }

    /// Why one of its workers cannot go on for now.
    pub fn trouble(&self) -> Option<String> {
        self.lock().troubles.values().next().cloned()
    }

    /// Waits; at most until an end is asked for.
    pub fn wait(&self, time: Duration) {
        let guard = self.lock();
        drop(self.bell.wait_timeout_while(guard, time, |state| state.since.is_none()));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
