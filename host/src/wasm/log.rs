//! A guest's lines on the host's log: marked with the record in hand, if there is one, escaped, and never a flood.

use crate::{
    record::log::Level,
    text::{count, escaped},
};
use std::{
    ops::RangeInclusive,
    time::{Duration, Instant},
};

/// How many times the lines of a call an instance may write in a second.
const CALLS_A_SECOND: u32 = 10;

const SECOND: Duration = Duration::from_secs(1);

/// Where the record in hand stands.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// In its batch.
    pub(super) index: usize,
    pub(super) topic: &'a str,
    pub(super) partition: u32,
    pub(super) offset: u64,
}

/// Counts what a guest writes.
pub(super) struct GuestLog {
    /// Lines that one call may write: for a record, or in a poll.
    lines_a_call: u32,
    call: u32,
    second: u32,
    since: Instant,
    dropped: u64,
    told: Option<Instant>,
    /// Lines of a call with several records: those of records that are done again are not written twice.
    held: Option<Vec<Line>>,
}

/// A line that waits.
struct Line {
    index: usize,
    topic: String,
    partition: u32,
    offset: u64,
    level: Level,
    text: String,
}

impl GuestLog {
    pub(super) fn new(lines_a_call: u32) -> Self {
        Self { lines_a_call, call: 0, second: 0, since: Instant::now(), dropped: 0, told: None, held: None }
    }

    /// From now on lines wait, until it is known which records are done.
    pub(super) fn hold(&mut self) {
        self.held = Some(Vec::new());
    }

    /// Writes the lines of these records that waited, and drops the others.
    pub(super) fn release(&mut self, stage: &str, records: RangeInclusive<usize>) {
        for line in self.held.take().into_iter().flatten().filter(|line| records.contains(&line.index)) {
            let Line { index, topic, partition, offset, level, text } = line;
            event(stage, Some(Place { index, topic: &topic, partition, offset }), level, &text);
        }
    }

    /// Writes a line, or counts it as dropped.
    pub(super) fn write(&mut self, stage: &str, place: Option<Place<'_>>, level: Level, message: &str) {
        if !enabled(level) {
            return;
        }
        if self.since.elapsed() >= SECOND {
            (self.since, self.second) = (Instant::now(), 0);
        }
        if self.call >= self.lines_a_call || self.second >= self.lines_a_second() {
            self.dropped += 1;
            return;
        }
        self.call += 1;
        self.second += 1;
        match (&mut self.held, place) {
            (Some(held), Some(Place { index, topic, partition, offset })) => {
                held.push(Line { index, topic: topic.into(), partition, offset, level, text: escaped(message) });
            }
            _ => event(stage, place, level, &escaped(message)),
        }
    }

    fn lines_a_second(&self) -> u32 {
        self.lines_a_call.saturating_mul(CALLS_A_SECOND)
    }

    /// Another record comes within a call: it has lines of its own.
    pub(super) fn next_call(&mut self) {
        self.call = 0;
    }

    /// Counts lines that were dropped before they came here.
    pub(super) fn drop_lines(&mut self, lines: u64) {
        self.dropped += lines;
    }

    /// A call is over: the next one has lines of its own, and what was dropped is said, once a second.
    pub(super) fn end_of_call(&mut self, stage: &str) {
        self.next_call();
        if self.dropped > 0 && self.told.is_none_or(|told| told.elapsed() >= SECOND) {
            self.tell(stage);
        }
    }

    /// Says how many lines were dropped.
    pub(super) fn tell(&mut self, stage: &str) {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            self.told = Some(Instant::now());
            tracing::warn!(
                target: "guest", stage,
                "{} dropped: a call may write {}, an instance {} a second",
                count(dropped, "line"), self.lines_a_call, self.lines_a_second()
            );
        }
    }
}

/// A macro, because an event's level is part of the place it is written at.
macro_rules! each_level {
    ($level:expr, $do:ident) => {
        match $level {
            Level::Trace => $do!(TRACE),
            Level::Debug => $do!(DEBUG),
            Level::Info => $do!(INFO),
            Level::Warn => $do!(WARN),
            Level::Error => $do!(ERROR),
        }
    };
}

/// Whether anybody wants lines of this level.
pub(super) fn enabled(level: Level) -> bool {
    macro_rules! enabled {
        ($level:ident) => {
            tracing::enabled!(target: "guest", tracing::Level::$level)
        };
    }
    each_level!(level, enabled)
}

fn event(stage: &str, place: Option<Place<'_>>, level: Level, line: &str) {
    let topic = place.map(|place| place.topic);
    let partition = place.map(|place| place.partition);
    let offset = place.map(|place| place.offset);
    macro_rules! event {
        ($level:ident) => {
            tracing::event!(target: "guest", tracing::Level::$level, stage, topic, partition, offset, "{line}")
        };
    }
    each_level!(level, event);
}
