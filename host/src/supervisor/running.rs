//! A source, a stage or a sink at work, as the supervisor, the status line and the admin API see it.

use crate::{
    plan::{Part, Work},
    source::SourceState,
    stage::Tally,
    swap::Modules,
    text::{count, grouped},
    transport::log::Log,
    worker::control::Control,
};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

/// A source, a stage or a sink at work.
pub struct Running {
    /// What it is.
    pub part: Arc<Part>,
    /// What became of its records.
    pub tally: Arc<Tally>,
    /// How it is doing, when it is a source.
    pub source: Arc<SourceState>,
    /// How it is told to end, or to pause.
    pub control: Arc<Control>,
    workers: AtomicU32,
    failure: OnceLock<String>,
    /// What its workers are called in the log.
    names: Mutex<Vec<String>>,
    pace: Mutex<Pace>,
}

/// How many records were done when, lately.
#[derive(Default)]
struct Pace(VecDeque<(Instant, u64)>);

/// Over so many looks the rate is taken.
const LOOKS: usize = 5;

/// What it is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not every worker has been told what to read.
    Starting,
    /// It takes records, or waits for them.
    Running,
    /// Another host does its work.
    StandingBy,
    /// It takes nothing until it is resumed.
    Paused,
    /// It is at its end, as it was told.
    Ended,
    /// It could not go on.
    Stopped,
}

impl State {
    /// In one word, or two.
    pub fn word(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Running => "running",
            State::StandingBy => "standing-by",
            State::Paused => "paused",
            State::Ended => "ended",
            State::Stopped => "stopped",
        }
    }
}

impl Running {
    pub(super) fn new(part: Arc<Part>, control: Arc<Control>) -> Running {
        let workers = AtomicU32::new(part.workers());
        let (tally, source) = (Arc::default(), Arc::default());
        Running {
            part,
            tally,
            source,
            control,
            workers,
            failure: OnceLock::new(),
            names: Mutex::default(),
            pace: Mutex::default(),
        }
    }

    /// What it is doing.
    pub fn state(&self) -> State {
        match self {
            _ if self.failure().is_some() => State::Stopped,
            _ if !self.is_at_work() => State::Ended,
            _ if self.source.is_standby() => State::StandingBy,
            _ if self.control.is_paused() => State::Paused,
            _ if self.part.is_source() || matches!(self.part.log, Log::Local(_)) => State::Running,
            _ if self.tally.held().len() >= self.part.workers() as usize => State::Running,
            _ => State::Starting,
        }
    }

    /// Why it stopped by itself.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// The modules that it runs and may run, when it is a stage.
    pub fn modules(&self) -> Option<&Arc<Modules>> {
        match &self.part.work {
            Work::Stage { modules, .. } => Some(modules),
            Work::Source { .. } | Work::Sink { .. } => None,
        }
    }

    /// How many records it did in a second, lately.
    pub fn rate(&self) -> u64 {
        let Pace(looks) = &*self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some((first, before)), Some((last, done))) = (looks.front(), looks.back()) else { return 0 };
        let seconds = (*last - *first).as_secs_f64();
        if seconds > 0.0 { ((done - before) as f64 / seconds) as u64 } else { 0 }
    }

    /// Now and then somebody has to look, for there to be a rate.
    pub(super) fn look(&self) {
        let Pace(looks) = &mut *self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        looks.push_back((Instant::now(), self.done()));
        while looks.len() > LOOKS {
            looks.pop_front();
        }
    }

    /// What its workers are called in the log.
    pub fn names(&self) -> Vec<String> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn is_called(&self, name: &str) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
    }

    /// True when one of its workers is at work.
    pub(super) fn is_at_work(&self) -> bool {
        self.workers.load(Ordering::Relaxed) > 0
    }

    /// One of its workers is at its end.
    pub(super) fn one_ended(&self) {
        if self.workers.fetch_sub(1, Ordering::Relaxed) == 1
            && let Some(modules) = self.modules()
        {
            modules.close("the stage is at its end");
        }
    }

    /// It cannot go on. False when that was known.
    pub(super) fn fail(&self, why: &str) -> bool {
        self.failure.set(why.to_owned()).is_ok()
    }

    /// What it has done, counted by what comes in, or, of a source, by what it brought.
    pub fn done(&self) -> u64 {
        match &self.part.work {
            Work::Source { .. } => self.source.counts().records,
            Work::Stage { .. } | Work::Sink { .. } => self.tally.counts().taken,
        }
    }

    pub(super) fn summary(&self) -> String {
        let counts = self.tally.counts();
        let mut parts = Vec::new();
        match &self.part.work {
            Work::Source { .. } => {
                let counts = self.source.counts();
                parts.push(format!("{} brought", count(counts.records, "record")));
                if counts.failures > 0 {
                    parts.push(format!("{} failed and tried again", count(counts.failures, "poll")));
                }
            }
            Work::Stage { .. } => {
                parts.push(format!("{} done", count(counts.taken, "record")));
                parts.push(format!("{} sent", grouped(counts.sent)));
            }
            Work::Sink { into, .. } => parts.push(format!("{} {}", count(counts.filtered, "record"), into.verb())),
        }
        if counts.dead_letters > 0 {
            let topic = self.part.link.outputs.last().map_or("", String::as_str);
            parts.push(format!("{} in {topic}", count(counts.dead_letters, "dead letter")));
        }
        if counts.skipped > 0 {
            parts.push(format!("{} failed and skipped", grouped(counts.skipped)));
        }
        if self.tally.retries() > 0 {
            parts.push(format!("{} put off to be tried again", grouped(self.tally.retries())));
        }
        if self.failure().is_some() {
            parts.push("stopped before its end".into());
        }
        parts.join(", ")
    }
}
