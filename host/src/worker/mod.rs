//! A worker: takes records, has its stage decide what becomes of them, and commits.
//!
//! The order of delivery stands in [`Worker::turn`], and nowhere else.

pub mod control;
pub mod identity;
mod source;
mod survive;

pub use source::SourceWorker;

use crate::{
    clock::Clock,
    stage::{Fate, Stage},
    transport::{Assignment, Batch, Fault, Incoming, Link, NextOffset, Offset, Partition, Progress, Taken},
};
use control::Control;
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};
use survive::{Trouble, Writes};

/// How many records are taken at once.
const BATCH: usize = 4096;
/// How many records a transaction may hold.
const LARGEST_TRANSACTION: usize = 100_000;
/// How long to wait for records before looking at what else there is to do.
const IDLE: Duration = Duration::from_millis(100);

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As it was told to, with everything committed.
    Orderly,
    /// As it was told to, but its last records were not committed: they will be done again.
    Unfinished(String),
    /// By itself: it could not go on.
    Failed(String),
}

/// What a worker needs to know.
pub struct WorkerSettings {
    /// How messages call it.
    pub name: String,
    /// Which of its stage's workers in this process it is.
    pub number: u32,
    /// How long a transaction stays open.
    pub commit_interval: Duration,
    /// How it is told to end.
    pub control: Arc<Control>,
}

/// One member of a stage's group, with one writer and one instance of the stage.
pub struct Worker<L: Link> {
    link: L,
    stage: Stage,
    clock: Rc<dyn Clock>,
    settings: WorkerSettings,
    /// Records that were taken when the last transaction was full.
    rest: Option<Cursor<L::Batch>>,
    /// Progress that no record carries: starts that were chosen, and ends that were reached behind the last record.
    owed: Progress,
    /// What the group has.
    committed: Progress,
    /// Partitions that wait for a record to be tried again, and when.
    held: BTreeMap<Partition, (Offset, Duration)>,
    /// How many records a transaction may hold: fewer while a refused record is looked for, or when so many take too
    /// long.
    span: usize,
    /// How many records are to be done before it holds more again.
    careful: usize,
    open: Open,
    /// A transaction whose commit has begun: its outcome is waited for before the next commit begins.
    begun: Option<Begun>,
    trouble: Trouble,
}

/// Records, and how many of them are done.
struct Cursor<B> {
    batch: Rc<B>,
    next: usize,
    /// Partitions that are read again from further back, so that what lies here of them is void.
    void: BTreeSet<Partition>,
}

/// The records of the open transaction: those that something was sent for, or may have been.
#[derive(Default)]
struct Open {
    records: usize,
    last: Option<(Partition, Offset)>,
    in_hand: Option<(Partition, Offset)>,
}

struct Begun {
    since: Instant,
    progress: Progress,
    open: Open,
}

impl<L: Link> Worker<L> {
    /// A worker that is not at work yet.
    pub fn new(link: L, stage: Stage, clock: Rc<dyn Clock>, settings: WorkerSettings) -> Worker<L> {
        let trouble = Trouble::none(&settings.name, Writes::Alone, &settings.control, &clock);
        Worker {
            link,
            stage,
            clock,
            settings,
            rest: None,
            owed: Progress::default(),
            committed: Progress::default(),
            held: BTreeMap::new(),
            span: LARGEST_TRANSACTION,
            careful: 0,
            open: Open::default(),
            begun: None,
            trouble,
        }
    }

    /// Works until it is told to end, or cannot go on.
    pub fn run(mut self) -> Ended {
        let mut ended = self.start();
        while ended.is_none() {
            ended = self.step();
        }
        let Worker { link, stage, rest, .. } = self;
        // Both may hold records, which are the link's.
        drop((stage, rest));
        link.close();
        ended.unwrap_or(Ended::Orderly)
    }

    /// Connects.
    pub fn start(&mut self) -> Option<Ended> {
        match self.link.recover() {
            Ok(assignment) => {
                self.assign(&assignment);
                None
            }
            Err(fault) => self.survive(fault),
        }
    }

    /// One turn, and whatever it takes to go on after it. Says how the worker ended, when it did.
    pub fn step(&mut self) -> Option<Ended> {
        if self.settings.control.stopping() {
            return match self.finish_commit() {
                Ok(()) => Some(Ended::Orderly),
                Err(fault) => self.survive(fault),
            };
        }
        match self.turn() {
            Ok(()) => {
                self.trouble.pass();
                None
            }
            Err(fault) => self.survive(fault),
        }
    }

    /// One transaction. This is the order of delivery: what comes of the records is sent, what their guest did elsewhere
    /// is settled, then they and their progress are committed together, and only then does anything count as done. The
    /// log may take its time for that while the next transaction is worked on; no commit begins before the outcome of
    /// the one before is known.
    fn turn(&mut self) -> Result<(), Fault> {
        if self.settings.control.is_paused() {
            return self.stand_still();
        }
        self.stage.prepare()?;
        let Some(mut cursor) = self.next_records()? else {
            return self.change_module(false);
        };
        self.change_module(true)?;
        let mut until = self.clock.now() + self.settings.commit_interval;
        let mut progress = std::mem::take(&mut self.owed);
        let mut stop = None;
        self.open.clear();
        self.link.begin()?;
        loop {
            while let Some(index) = cursor.advance() {
                let record = cursor.batch.get(index);
                if !self.held.contains_key(&record.partition) {
                    self.open.take_up(record);
                    let Worker { stage, link, .. } = self;
                    match stage.apply(&cursor.batch, index, &mut |out| link.send(out, Some((&cursor.batch, index))))? {
                        Fate::Done => {
                            self.open.put_down();
                            progress.reach(record.partition, record.offset.next());
                        }
                        Fate::Later(due) => self.hold(record.partition, record.offset, due)?,
                        Fate::Stop(why) => stop = Some(why),
                    }
                    self.open.in_hand = None;
                }
                if stop.is_some() || self.is_full() || self.is_over(&mut until) {
                    break;
                }
            }
            if stop.is_some() || !cursor.is_done() {
                break;
            }
            self.note_ends(&cursor, &mut progress);
            if self.is_full() || self.is_over(&mut until) {
                break;
            }
            match self.link.take(BATCH, until.saturating_sub(self.clock.now()).min(IDLE))? {
                Taken::Records(batch) => cursor = Cursor::new(batch),
                Taken::Nothing => {}
                Taken::Rebalance => break,
            }
        }
        let Worker { stage, link, .. } = self;
        stage.settle(&mut |out, batch: &Rc<L::Batch>, index| link.send(out, Some((batch, index))))?;
        self.finish_commit()?;
        self.stage.may_commit()?;
        self.start_commit(progress)?;
        self.rest = Some(cursor).filter(|cursor| !cursor.is_done());
        if stop.is_some() || self.stage.has_enough() || self.stage.is_on_trial() {
            self.finish_commit()?;
        }
        stop.map_or(Ok(()), |why| Err(Fault::Fatal(why)))
    }

    /// A stage that was paused stays in its group and keeps its place.
    fn stand_still(&mut self) -> Result<(), Fault> {
        self.finish_commit()?;
        self.change_module(false)?;
        match self.link.take(0, IDLE)? {
            Taken::Rebalance => self.rebalance(),
            Taken::Records(_) | Taken::Nothing => {
                self.clock.wait(IDLE);
                Ok(())
            }
        }
    }

    /// Between two transactions, with nothing under way, the stage's module may be replaced.
    fn change_module(&mut self, has_records: bool) -> Result<(), Fault> {
        self.stage.look_at_trial();
        if !self.stage.is_called(has_records) {
            return Ok(());
        }
        let since = Instant::now();
        self.finish_commit()?;
        if self.stage.change(has_records, since) {
            // What waits was put off by a module that is gone.
            let now = self.clock.now();
            self.held.values_mut().for_each(|(_, due)| *due = now.min(*due));
        }
        Ok(())
    }

    fn start_commit(&mut self, progress: Progress) -> Result<(), Fault> {
        let since = Instant::now();
        self.link.start_commit(&progress)?;
        self.stage.commit_begun();
        self.begun = Some(Begun { since, progress, open: std::mem::take(&mut self.open) });
        Ok(())
    }

    /// Waits for the outcome of the commit that has begun, if there is one. Only then does anything count as done.
    fn finish_commit(&mut self) -> Result<(), Fault> {
        let Some(Begun { since, progress, open }) = self.begun.take() else { return Ok(()) };
        if let Err(fault) = self.link.finish_commit() {
            // It is this transaction's, whatever was worked on meanwhile.
            self.open = open;
            return Err(fault);
        }
        self.committed.merge(&progress);
        // It may have been done while the worker was busy with the next one.
        let took = self.link.committed_at().unwrap_or_else(Instant::now).saturating_duration_since(since);
        self.stage.committed(&progress, took);
        self.careful = self.careful.saturating_sub(open.records);
        if self.careful == 0 {
            self.span = self.span.saturating_mul(2).min(LARGEST_TRANSACTION);
        }
        self.trouble.end();
        Ok(())
    }

    /// True when a transaction holds as much as it may.
    fn is_full(&self) -> bool {
        self.open.records >= self.span || self.link.is_full() || self.stage.has_enough() || self.stage.is_full()
    }

    /// True when a transaction has been open for long enough. Where what it sends waits for the commit before, its time
    /// begins with the end of that: else a log that takes long for commits would get the more of them.
    fn is_over(&mut self, until: &mut Duration) -> bool {
        let now = self.clock.now();
        if self.begun.is_some() && self.link.is_waiting() {
            *until = now + self.settings.commit_interval;
        }
        now >= *until || self.settings.control.stopping() || self.settings.control.is_paused()
    }

    /// Waits for records, and does between two transactions what must not be done within one.
    fn next_records(&mut self) -> Result<Option<Cursor<L::Batch>>, Fault> {
        self.release_due()?;
        if let Some(rest) = self.rest.take() {
            // However long these take: the others of the group wait for no more than a transaction.
            match self.link.take(0, Duration::ZERO)? {
                Taken::Rebalance => {
                    self.rebalance()?;
                    return Ok(None);
                }
                Taken::Records(_) | Taken::Nothing => return Ok(Some(rest)),
            }
        }
        let until_due = self.held.values().map(|(_, due)| due.saturating_sub(self.clock.now())).min();
        // Nothing is worked on while a commit is under way: it is waited for instead.
        let wait = if self.begun.is_some() { Duration::ZERO } else { until_due.unwrap_or(IDLE).min(IDLE) };
        match self.link.take(BATCH, wait)? {
            Taken::Records(batch) if !batch.is_empty() => return Ok(Some(Cursor::new(batch))),
            Taken::Records(batch) => {
                let mut ends = Progress::default();
                self.note_ends(&Cursor::new(batch), &mut ends);
                let known = self.owed.clone();
                self.owed.merge(&ends);
                // Told again: whatever comes, no record is among it that would carry them.
                if self.owed == known {
                    self.finish_commit()?;
                    self.commit_owed()?;
                }
            }
            Taken::Rebalance => self.rebalance()?,
            Taken::Nothing if self.begun.is_some() => self.finish_commit()?,
            Taken::Nothing => self.commit_owed()?,
        }
        Ok(None)
    }

    fn rebalance(&mut self) -> Result<(), Fault> {
        self.finish_commit()?;
        let assignment = self.link.rebalance()?;
        self.assign(&assignment);
        self.stage.rebalanced(self.settings.number, &assignment.starts);
        Ok(())
    }

    /// Commits progress that no record came to carry.
    fn commit_owed(&mut self) -> Result<(), Fault> {
        if self.owed.is_empty() {
            return Ok(());
        }
        let owed = std::mem::take(&mut self.owed);
        self.open.clear();
        self.link.begin()?;
        self.start_commit(owed)?;
        self.finish_commit()
    }

    /// The ends that a batch reached are progress, unless a record before them still waits, or its partition was
    /// moved back to one meanwhile.
    fn note_ends(&self, cursor: &Cursor<L::Batch>, progress: &mut Progress) {
        for (partition, end) in cursor.batch.ends() {
            let begun = self.begun.as_ref().and_then(|begun| begun.progress.get(*partition));
            let at = self.committed.get(*partition).max(begun).max(progress.get(*partition));
            let waits = self.held.contains_key(partition) || cursor.void.contains(partition);
            if at < Some(*end) && !waits {
                progress.reach(*partition, *end);
            }
        }
    }

    fn hold(&mut self, partition: Partition, offset: Offset, due: Duration) -> Result<(), Fault> {
        self.link.hold(partition)?;
        self.held.insert(partition, (offset, due));
        Ok(())
    }

    fn release_due(&mut self) -> Result<(), Fault> {
        let now = self.clock.now();
        let due: Vec<_> =
            self.held.iter().filter(|(_, (_, due))| *due <= now).map(|(p, (offset, _))| (*p, *offset)).collect();
        for (partition, offset) in due {
            // What is left of a batch may hold records from behind the one that waited.
            if let Some(rest) = &mut self.rest {
                rest.void.insert(partition);
            }
            self.held.remove(&partition);
            self.link.release(partition, NextOffset(offset.0))?;
        }
        Ok(())
    }

    /// Everything known of partitions before is void.
    fn assign(&mut self, assignment: &Assignment) {
        self.stage.assigned_to(self.settings.number, &assignment.starts);
        self.rest = None;
        self.held.clear();
        self.committed = assignment.starts.clone();
        self.owed = assignment.chosen.clone();
        // With nothing in hand for the moment, what is known of records may still be of use.
        if !assignment.starts.is_empty() {
            self.stage.assigned(&assignment.starts);
        }
    }

    /// After a fault: back to what is committed, or how it ended.
    fn survive(&mut self, fault: Fault) -> Option<Ended> {
        // The commit before may be done all the same, and then it counts.
        let open = std::mem::take(&mut self.open);
        let undone = self.finish_commit().is_err();
        self.open = open;
        let undone = undone || self.open.suspects().0 > 0;
        self.stage.aborted();
        self.rest = None;
        if let Fault::Refused(why) = &fault
            && !self.settings.control.stopping()
            && let Some(ended) = self.narrow(why)
        {
            return Some(ended);
        }
        if let Fault::TimedOut(_) = &fault {
            self.shrink();
        }
        match self.trouble.survive(&mut self.link, fault, undone) {
            Ok(assignment) => {
                self.assign(&assignment);
                None
            }
            Err(ended) => Some(ended),
        }
    }

    /// Something in the transaction was refused: half of its records at the next try, and so on, until the record is
    /// found.
    fn narrow(&mut self, why: &str) -> Option<Ended> {
        match self.open.suspects() {
            (1, Some((partition, offset))) => {
                if self.stage.is_condemned(partition, offset) {
                    return Some(Ended::Failed(format!("not even a dead letter can be written: {why}")));
                }
                self.stage.condemn(partition, offset, why.to_owned());
            }
            // All of them again before the span grows: it would outgrow the search.
            (records, _) => {
                self.span = (records / 2).max(1);
                self.careful = records;
            }
        }
        None
    }

    /// The transaction was more than could be written in its time: half of its records at the next try. What is slow
    /// now stays so for a while, so it takes several times as many records until it holds more again.
    fn shrink(&mut self) {
        let (records, _) = self.open.suspects();
        if records > 0 {
            self.span = (records / 2).max(1);
            self.careful = records.saturating_mul(8);
        }
    }
}

impl<B: Batch> Cursor<B> {
    fn new(batch: B) -> Cursor<B> {
        Cursor { batch: Rc::new(batch), next: 0, void: BTreeSet::new() }
    }

    /// The place of the next record, which is then done.
    fn advance(&mut self) -> Option<usize> {
        let index = self.find()?;
        self.next = index + 1;
        Some(index)
    }

    fn is_done(&self) -> bool {
        self.find().is_none()
    }

    fn find(&self) -> Option<usize> {
        (self.next..self.batch.len())
            .find(|index| self.void.is_empty() || !self.void.contains(&self.batch.get(*index).partition))
    }
}

impl Open {
    fn clear(&mut self) {
        *self = Open::default();
    }

    fn take_up(&mut self, record: Incoming<'_>) {
        self.in_hand = Some((record.partition, record.offset));
    }

    /// The record in hand is done.
    fn put_down(&mut self) {
        self.records += 1;
        self.last = self.in_hand;
    }

    /// How many records something was sent for, and the last one of them.
    fn suspects(&self) -> (usize, Option<(Partition, Offset)>) {
        let unfinished = usize::from(self.in_hand.is_some());
        (self.records + unfinished, self.in_hand.or(self.last))
    }
}
