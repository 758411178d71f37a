//! A module that runs beside the one that stands, on the next records of a stage. What it makes goes nowhere: it is only
//! compared.

use super::Version;
use crate::{record::Header, stage::Outcome, transport::Partition};
use std::{sync::Arc, time::Duration};

/// So many differences are kept, the first ones.
const KEPT: usize = 10;
/// How much of an outcome is kept.
const KEPT_BYTES: usize = 8 << 10;
/// A module that has run into its limits so often, where the one that stands does not, has held up its stage long enough.
const MOST_LIMITS: u64 = 10;

/// A module beside the one that stands.
#[derive(Debug)]
pub(super) struct Shadow {
    /// Which one it is.
    pub(super) number: u64,
    pub(super) version: Arc<Version>,
    /// The one that stands.
    against: Arc<Version>,
    of: u64,
    records: u64,
    different: u64,
    limits: u64,
    first: Vec<Difference>,
    state: Looking,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looking {
    /// It has not had all of its records yet.
    Running,
    /// It has.
    Done,
    /// It was ended before, and why.
    Ended(String),
}

/// What is known of it.
#[derive(Clone, Debug)]
pub struct Looked {
    /// Which one it is.
    pub number: u64,
    /// The module.
    pub version: Arc<Version>,
    /// The one that it is compared with.
    pub against: Arc<Version>,
    /// So many records it is to have.
    pub of: u64,
    /// So many it has had.
    pub records: u64,
    /// Of so many of them it makes something else.
    pub different: u64,
    /// The first of those.
    pub first: Vec<Difference>,
    /// How far it is.
    pub state: Looking,
}

/// A record of which two modules make different things.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Where it comes from.
    pub partition: Partition,
    /// Its place there.
    pub offset: u64,
    /// Its time.
    pub timestamp: Option<i64>,
    /// Its headers.
    pub headers: Vec<Header>,
    /// What the module that stands makes of it.
    pub before: Outcome,
    /// What the other one does.
    pub after: Outcome,
}

/// What was looked at in one transaction.
#[derive(Debug, Default)]
pub struct Watched {
    /// Of which shadow.
    number: u64,
    records: u64,
    /// The places of those that are different, among these records.
    different: Vec<u64>,
    first: Vec<(u64, Difference)>,
    /// How long it has worked at them.
    spent: Duration,
}

impl Shadow {
    pub(super) fn new(number: u64, version: Arc<Version>, against: Arc<Version>, of: u64) -> Shadow {
        let (records, different, limits) = (0, 0, 0);
        Shadow { number, version, against, of, records, different, limits, first: Vec::new(), state: Looking::Running }
    }

    /// So many records it is to have.
    pub(super) fn of(&self) -> u64 {
        self.of
    }

    pub(super) fn is_running(&self) -> bool {
        self.state == Looking::Running
    }

    /// It looks no more, and why; what it has seen stays.
    pub(super) fn end(&mut self, why: &str) {
        if self.is_running() {
            self.state = Looking::Ended(why.to_owned());
        }
    }

    /// A transaction is committed in which it looked on. What was more than it is to have does not count.
    pub(super) fn add(&mut self, watched: &mut Watched) {
        if watched.number != self.number || !self.is_running() {
            return;
        }
        let taken = watched.records.min(self.of - self.records);
        self.records += taken;
        self.different += watched.different.iter().filter(|place| **place < taken).count() as u64;
        let first = watched.first.drain(..).filter(|(place, _)| *place < taken).map(|(_, difference)| difference);
        self.first.extend(first);
        self.first.truncate(KEPT);
        if self.records >= self.of {
            self.state = Looking::Done;
        }
    }

    /// It ran into its limits where the one that stands does not. That counts at once: what comes of the transaction is
    /// another matter.
    pub(super) fn exceed(&mut self) {
        self.limits += 1;
        if self.limits >= MOST_LIMITS {
            self.end(&format!("it ran into its limits {} times where the module that stands does not", self.limits));
        }
    }

    pub(super) fn looked(&self) -> Looked {
        Looked {
            number: self.number,
            version: self.version.clone(),
            against: self.against.clone(),
            of: self.of,
            records: self.records,
            different: self.different,
            first: self.first.clone(),
            state: self.state.clone(),
        }
    }
}

impl Watched {
    /// How many records this shadow has looked at.
    pub fn records(&self, number: u64) -> u64 {
        if self.number == number { self.records } else { 0 }
    }

    /// How long this shadow has worked at them.
    pub fn spent(&self, number: u64) -> Duration {
        if self.number == number { self.spent } else { Duration::ZERO }
    }

    /// A shadow has looked at one more record, for so long: what is different of it, if anything is.
    pub fn note(&mut self, number: u64, took: Duration, difference: Option<impl FnOnce() -> Difference>) {
        if self.number != number {
            *self = Watched { number, ..Watched::default() };
        }
        let place = self.records;
        self.records += 1;
        self.spent += took;
        let Some(difference) = difference else { return };
        self.different.push(place);
        if self.first.len() < KEPT {
            self.first.push((place, difference().cut()));
        }
    }
}

impl Difference {
    /// No larger than what may be kept.
    fn cut(self) -> Difference {
        let bytes = |header: &Header| header.name.len() + header.value.as_ref().map_or(0, Vec::len);
        let is_small = self.headers.iter().map(bytes).sum::<usize>() <= KEPT_BYTES;
        let headers = if is_small { self.headers } else { Vec::new() };
        Difference { headers, before: self.before.cut(KEPT_BYTES), after: self.after.cut(KEPT_BYTES), ..self }
    }
}
