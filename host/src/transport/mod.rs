//! The seam: what a worker needs of a log, and no more.
//!
//! A worker takes batches, writes a transaction, and commits it together with its progress. Behind the seam stand
//! Kafka, the embedded log and, for tests, a simulated one that drives the same worker through what a real one does once
//! a year.

use crate::{
    manifest::{Delivery, OnLostOffset, Start},
    record::Header,
    worker::control::Control,
};
use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

pub mod kafka;
pub mod local;
pub mod log;
#[cfg(any(test, feature = "mutants"))]
pub mod mutants;
#[cfg(test)]
pub mod simulated;
#[cfg(test)]
mod suite;

/// A partition of one of the worker's inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// The topic, by its place among the stage's inputs.
    pub input: usize,
    /// The partition's number in that topic.
    pub number: u32,
}

/// Where a record stands in its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// The progress of somebody who is done with the record at this offset.
    pub fn next(self) -> NextOffset {
        NextOffset(self.0 + 1)
    }
}

/// The offset that is to be read next: what a group commits. Never the offset of a record that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextOffset(pub u64);

impl fmt::Display for NextOffset {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How far a worker is done, partition by partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress(BTreeMap<Partition, NextOffset>);

impl Progress {
    /// Notes that everything before `next` is done. Progress never goes back.
    pub fn reach(&mut self, partition: Partition, next: NextOffset) {
        let at = self.0.entry(partition).or_insert(next);
        *at = next.max(*at);
    }

    /// Takes over what another progress has reached.
    pub fn merge(&mut self, other: &Progress) {
        other.iter().for_each(|(partition, next)| self.reach(partition, next));
    }

    /// Takes over what another progress says, also where that is behind this one.
    pub fn replace(&mut self, other: &Progress) {
        self.0.extend(other.iter());
    }

    /// True when nothing was reached.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is to be read next in a partition, when it is known.
    pub fn get(&self, partition: Partition) -> Option<NextOffset> {
        self.0.get(&partition).copied()
    }

    /// The partitions, each with what is to be read next.
    pub fn iter(&self) -> impl Iterator<Item = (Partition, NextOffset)> {
        self.0.iter().map(|(partition, next)| (*partition, *next))
    }
}

impl FromIterator<(Partition, NextOffset)> for Progress {
    fn from_iter<I: IntoIterator<Item = (Partition, NextOffset)>>(all: I) -> Progress {
        let mut progress = Progress::default();
        all.into_iter().for_each(|(partition, next)| progress.reach(partition, next));
        progress
    }
}

/// A record as it came, borrowed from its batch.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Where it comes from.
    pub partition: Partition,
    /// Its place there.
    pub offset: Offset,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// `None` is no key, which is not the same as an empty one.
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

/// Records as they came, in order within each partition.
pub trait Batch: Any {
    /// How many records.
    fn len(&self) -> usize;
    /// True when there are none: a batch may hold nothing but the news that a partition's end is reached.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The record at `index`, which is below `len`.
    fn get(&self, index: usize) -> Incoming<'_>;
    /// Its headers, walked only when somebody asks. A name that is not UTF-8 is shown with replacement characters.
    fn headers(&self, index: usize) -> Vec<Header>;
    /// Partitions whose end was reached behind these records, and where: offsets that hold no record (control
    /// records, aborted ones) are passed this way.
    fn ends(&self) -> &[(Partition, NextOffset)];
    /// Where the record at `index` came from, as its guest and its dead letter say it: from where it stands, unless it
    /// has been a dead letter since.
    fn origin(&self, index: usize) -> (Partition, Offset) {
        let Incoming { partition, offset, .. } = self.get(index);
        (partition, offset)
    }
    /// What a stage has to do with the record at `index`.
    fn role(&self, _index: usize) -> Role<'_> {
        Role::First
    }
}

impl Batch for Box<dyn Batch> {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn get(&self, index: usize) -> Incoming<'_> {
        (**self).get(index)
    }

    fn headers(&self, index: usize) -> Vec<Header> {
        (**self).headers(index)
    }

    fn ends(&self) -> &[(Partition, NextOffset)] {
        (**self).ends()
    }

    fn origin(&self, index: usize) -> (Partition, Offset) {
        (**self).origin(index)
    }

    fn role(&self, index: usize) -> Role<'_> {
        (**self).role(index)
    }
}

/// What a stage has to do with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role<'a> {
    /// It comes for the first time.
    First,
    /// It was a dead letter, and is tried again.
    Again {
        /// How often it was tried before.
        attempts: u32,
    },
    /// It stays a dead letter: it goes back as it is. When that is not what was asked for, this is why.
    Left(Option<&'a str>),
    /// It is nothing of this stage's: it stays where it is.
    Foreign,
}

/// A record on its way out.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The topic, by its place among the link's outputs.
    pub output: usize,
    /// `None`: the key decides.
    pub partition: Option<u32>,
    /// `None` is no key.
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Milliseconds since 1970; `None` lets the client put in the present.
    pub timestamp: Option<i64>,
    /// The headers of the record that it came from go along, byte for byte, before `headers`.
    pub keep_headers: bool,
    /// Headers of its own.
    pub headers: &'a [Header],
}

/// What came of waiting for records.
pub enum Taken<B> {
    /// Records, or at least the news of an end.
    Records(B),
    /// Nothing came in the time given.
    Nothing,
    /// Partitions come or go: finish what is open, then call [`Link::rebalance`]. Nothing comes until then.
    Rebalance,
}

/// What a worker reads after a rebalance. Everything it knew of partitions before is void.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// Where each partition starts.
    pub starts: Progress,
    /// Those of them that the group had no offset for. They are to be committed soon, so that a restart does not
    /// choose another start.
    pub chosen: Progress,
}

/// Everything that one worker's link needs to know, whatever the log is.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// The group.
    pub group: String,
    /// This worker's name in the log, as a writer and as a member of its group.
    pub name: String,
    /// The name that it writes under in place of its own, when that is the same on every host: only the one who has the
    /// input may write, and who comes to have it ends what others have open. That is what a source does.
    pub shared_writer: Option<String>,
    /// What tells this instance apart from one with other inputs: a member that comes back under the same name but
    /// with other topics would trigger no rebalance, and their partitions would stay unread.
    pub inputs_digest: String,
    /// The topics to read.
    pub inputs: Vec<String>,
    /// The topics to write, dead letters among them.
    pub outputs: Vec<String>,
    /// How records are delivered.
    pub delivery: Delivery,
    /// Where to begin without an offset.
    pub from: Start,
    /// Where to go on when the offset is gone.
    pub on_lost_offset: OnLostOffset,
    /// The largest record that an output takes.
    pub largest_record: usize,
    /// The largest batch that every output takes.
    pub largest_batch: usize,
    /// How long a transaction may take before the broker ends it.
    pub transaction_timeout: Duration,
    /// Which of the stage's workers in this process it is, and how many there are: where one process has a group for
    /// itself, they share its partitions by this.
    pub place: (u32, u32),
    /// How the worker is told to end.
    pub control: Arc<Control>,
}

impl LinkSettings {
    /// Of one that only reads a topic, and goes on at its beginning where its place is gone.
    pub fn of_reader(group: &str, topic: &str, from: Start) -> LinkSettings {
        LinkSettings {
            group: group.to_owned(),
            name: String::new(),
            shared_writer: None,
            inputs_digest: String::new(),
            inputs: vec![topic.to_owned()],
            outputs: Vec::new(),
            delivery: Delivery::AtLeastOnce,
            from,
            on_lost_offset: OnLostOffset::Earliest,
            largest_record: 0,
            largest_batch: 0,
            transaction_timeout: Duration::ZERO,
            place: (0, 1),
            control: Arc::default(),
        }
    }
}

/// What tells partitions from others of the same name: a topic that is deleted and made anew is another one.
pub type Births = BTreeMap<Partition, String>;

/// One worker's connection to a log: it is one member of a group, and one writer.
///
/// After a [`Fault`] nothing but [`Link::finish_commit`], [`Link::recover`] or [`Link::close`] may be called.
pub trait Link {
    /// How records come.
    type Batch: Batch;

    /// Waits up to `wait` for up to `limit` records; with a limit of none it only looks for a rebalance.
    fn take(&mut self, limit: usize, wait: Duration) -> Result<Taken<Self::Batch>, Fault>;
    /// Lets the partitions come or go that [`Taken::Rebalance`] announced.
    fn rebalance(&mut self) -> Result<Assignment, Fault>;
    /// What tells these partitions from others of the same name, that were there before or will be: nothing of those of
    /// which the log does not know.
    fn births(&mut self, _partitions: &Progress) -> Result<Births, Fault> {
        Ok(Births::new())
    }
    /// Stops taking from a partition, until [`Link::release`].
    fn hold(&mut self, partition: Partition) -> Result<(), Fault>;
    /// Takes from a held partition again, from there on.
    fn release(&mut self, partition: Partition, from: NextOffset) -> Result<(), Fault>;

    /// Opens a transaction.
    fn begin(&mut self) -> Result<(), Fault>;
    /// Writes a record that came of the record at `origin`, or, as a source's, of none.
    fn send(&mut self, record: &Outgoing<'_>, origin: Option<(&Self::Batch, usize)>) -> Result<(), Fault>;
    /// True while what the open transaction sends waits for the commit before: its time has not begun. Never so on a log
    /// that takes it at once.
    fn is_waiting(&mut self) -> bool {
        false
    }
    /// True when the open transaction has grown so large that it is to be ended.
    fn is_full(&self) -> bool {
        false
    }
    /// Ends the transaction: what was sent becomes visible and the progress is the group's, both or neither.
    fn commit(&mut self, progress: &Progress) -> Result<(), Fault>;
    /// Begins that end; [`Link::finish_commit`] waits for it. Meanwhile the next transaction may be worked on, but not
    /// ended. A log that cannot do both at once commits here.
    fn start_commit(&mut self, progress: &Progress) -> Result<(), Fault> {
        self.commit(progress)
    }
    /// Waits until the commit that was begun is done, if one was. A fault in the next transaction says nothing of it, so
    /// this may be asked after one.
    fn finish_commit(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    /// When the last commit was done, where the log did it beside the work.
    fn committed_at(&self) -> Option<Instant> {
        None
    }

    /// After a fault: settles what became of the transaction, with a new writer where the old one cannot go on,
    /// and goes back to what the group has committed.
    fn recover(&mut self) -> Result<Assignment, Fault>;
    /// Leaves in order. A transaction that is still open, as after a fault, is aborted; one whose end was asked for is
    /// left as it is.
    fn close(self);
}

/// Why a worker cannot go on as it was.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The transaction will never be committed.
    #[error("{0}")]
    Aborted(String),
    /// The transaction ran out of time and will never be committed: a smaller one may be.
    #[error("{0}")]
    TimedOut(String),
    /// Nobody knows yet whether the transaction was committed.
    #[error("{0}")]
    Unknown(String),
    /// The log refused something in this transaction: a record that it will never take.
    #[error("{0}")]
    Refused(String),
    /// Another writer took this one's name.
    #[error("{0}")]
    Fenced(String),
    /// The log does not answer.
    #[error("{0}")]
    Unavailable(String),
    /// A right is missing without which nothing is read, or no transaction begins. It may be given while the worker waits.
    #[error("{0}")]
    Forbidden(String),
    /// Another member took this worker's place in its group.
    #[error("{0}")]
    Replaced(String),
    /// Nobody takes what comes of the records any more: the worker ends, and that is no failure.
    #[error("{0}")]
    Unwanted(String),
    /// Nothing helps: the worker ends.
    #[error("{0}")]
    Fatal(String),
}
