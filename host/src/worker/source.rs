//! A source's worker. Its input is the topic of its position: the group gives that to one host, the others stand by.
//!
//! The order of delivery of a source stands in [`SourceWorker::turn`]. What makes it exactly once is that whoever comes
//! to have the position's partition becomes the writer first, under a name that is the same on every host: from then
//! on nobody else can commit, and what was committed before can be read. The group is asked only to agree on who it is.

use super::{
    BATCH, Ended, IDLE, LARGEST_TRANSACTION, WorkerSettings,
    survive::{Trouble, Writes},
};
use crate::{
    clock::Clock,
    source::{Answer, Batch as Polled, Source},
    transport::{Assignment, Batch, Fault, Link, NextOffset, Offset, Partition, Progress, Taken},
};
use std::{rc::Rc, time::Duration};

/// After a transaction that took too long, so many hold one poll each.
const CAREFUL: u32 = 16;

/// How long it goes without the source before that is said: longer than a group takes to share its partitions.
const ALONE: Duration = Duration::from_secs(10);

/// The one member of a source's group that is at work, or one that stands by.
pub struct SourceWorker<L: Link> {
    link: L,
    source: Source,
    clock: Rc<dyn Clock>,
    settings: WorkerSettings,
    standing: Standing,
    /// The last position that was read back, and how many were since the group's progress was committed.
    last: Option<(Partition, Offset)>,
    passed: u64,
    /// So many transactions hold one poll only: more took too long.
    careful: u32,
    /// The records of the open transaction, and the polls that they came of.
    open: Open,
    trouble: Trouble,
}

/// Where the source is.
enum Standing {
    /// Another host has it, or the group has not answered yet; since when.
    Standby(Duration),
    /// It is the only writer, and reads its position: the newest so far.
    Reading(Option<Vec<u8>>),
    /// Everything before this position is committed.
    AtWork(Option<Vec<u8>>),
    /// Everything is committed, and nothing more will come. It keeps its partition, so that nobody polls on.
    Done,
}

#[derive(Default)]
struct Open {
    polls: u64,
    records: usize,
    done: bool,
    stop: Option<String>,
}

impl<L: Link> SourceWorker<L> {
    /// A worker that is not at work yet.
    pub fn new(link: L, source: Source, clock: Rc<dyn Clock>, settings: WorkerSettings) -> SourceWorker<L> {
        let trouble = Trouble::none(&settings.name, Writes::InTurn, &settings.control, &clock);
        let (standing, open) = (Standing::Standby(clock.now()), Open::default());
        SourceWorker { link, source, clock, settings, standing, last: None, passed: 0, careful: 0, open, trouble }
    }

    /// Works until it is told to end, or cannot go on. One that is done waits to be told.
    pub fn run(mut self) -> Ended {
        let mut ended = self.start();
        while ended.is_none() {
            ended = self.step();
        }
        self.link.close();
        ended.unwrap_or(Ended::Orderly)
    }

    /// Connects.
    pub fn start(&mut self) -> Option<Ended> {
        if let Some(flaw) = self.source.flaw() {
            return Some(Ended::Failed(flaw));
        }
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
            return Some(Ended::Orderly);
        }
        match self.turn() {
            Ok(()) => {
                self.trouble.pass();
                None
            }
            Err(fault) => self.survive(fault),
        }
    }

    /// One transaction. This is the order of delivery of a source: it is the writer, then it has read its position to
    /// the end, then it polls from there. The records and the position behind them are committed together, and only
    /// then does it stand there.
    fn turn(&mut self) -> Result<(), Fault> {
        let Some(before) = self.next_position()? else {
            return Ok(());
        };
        self.open = Open::default();
        let mut polled = self.poll(&before);
        let until = self.clock.now() + self.settings.commit_interval;
        if polled.is_some() {
            let mut position = before.clone();
            self.link.begin()?;
            while let Some(batch) = polled {
                let SourceWorker { link, source, .. } = self;
                source.send(&batch, &mut |record| link.send(record, None))?;
                position = batch.into_position().or(position);
                polled = self.poll_before(until, &position)?;
            }
            if let Some(position) = position.as_deref().filter(|_| position != before) {
                let SourceWorker { link, source, .. } = self;
                source.send_position(position, &mut |record| link.send(record, None))?;
            }
            let progress = self.owed();
            self.link.commit(&progress)?;
            self.committed(position, &progress);
        }
        self.conclude()
    }

    /// Waits, and does between two transactions what must not be done within one. The position to poll from, when it
    /// is time to.
    fn next_position(&mut self) -> Result<Option<Option<Vec<u8>>>, Fault> {
        let wait = match self.standing {
            Standing::AtWork(_) => self.source.due().saturating_sub(self.clock.now()),
            _ => IDLE,
        };
        match self.link.take(BATCH, wait.min(IDLE))? {
            Taken::Records(batch) => self.read(&batch),
            Taken::Rebalance => {
                let assignment = self.link.rebalance()?;
                self.assign(&assignment);
                if assignment.starts.is_empty() {
                    self.trouble.end();
                }
            }
            Taken::Nothing => self.note_standby(),
        }
        Ok(match &self.standing {
            Standing::AtWork(position) if self.clock.now() >= self.source.due() => Some(position.clone()),
            _ => None,
        })
    }

    /// That another host has the source is said once, when it has been so for a while.
    fn note_standby(&self) {
        if let Standing::Standby(since) = self.standing
            && self.clock.now().saturating_sub(since) > ALONE
            && !self.source.state().set_standby(true)
        {
            tracing::info!("{}: another host has it, stands by until that one is gone", self.settings.name);
        }
    }

    /// Another poll for the open transaction, unless that has been open for long enough.
    fn poll_before(&mut self, until: Duration, position: &Option<Vec<u8>>) -> Result<Option<Polled>, Fault> {
        let full = self.open.records >= LARGEST_TRANSACTION || self.link.is_full();
        if self.open.done || full || self.careful > 0 || self.source.due() > until {
            return Ok(None);
        }
        loop {
            let now = self.clock.now();
            if now >= until || self.settings.control.stopping() {
                return Ok(None);
            }
            let wait = self.source.due().saturating_sub(now);
            match self.link.take(BATCH, wait.min(IDLE))? {
                Taken::Records(batch) => self.read(&batch),
                Taken::Nothing => {}
                Taken::Rebalance => return Ok(None),
            }
            if self.clock.now() >= self.source.due() {
                return Ok(self.poll(position));
            }
        }
    }

    /// What a poll brings, if anything.
    fn poll(&mut self, position: &Option<Vec<u8>>) -> Option<Polled> {
        match self.source.poll(position.as_deref()) {
            Answer::Batch(batch) => {
                self.open.polls += 1;
                self.open.records += batch.records();
                self.open.done = batch.is_last();
                return Some(batch);
            }
            Answer::Nothing => {}
            Answer::Done => self.open.done = true,
            Answer::Stop(why) => self.open.stop = Some(why),
        }
        None
    }

    /// Reads on in the topic of the position. What is read before its end is where the source stands; what comes
    /// behind that, it has written itself.
    fn read(&mut self, batch: &L::Batch) {
        let name = self.source.name().as_bytes();
        let records = (0..batch.len()).map(|index| batch.get(index));
        for record in records.filter(|record| record.key == Some(name)) {
            if let Standing::Reading(newest) = &mut self.standing {
                *newest = record.value.map(<[u8]>::to_vec);
            }
            self.last = Some((record.partition, record.offset));
            self.passed += 1;
        }
        if !batch.ends().is_empty()
            && let Standing::Reading(newest) = &mut self.standing
        {
            let position = newest.take();
            match &position {
                Some(_) => tracing::info!(target: "start", "{}: goes on from its position", self.settings.name),
                None => {
                    tracing::info!(target: "start", "{}: has no position, begins at its beginning", self.settings.name)
                }
            }
            self.standing = Standing::AtWork(position);
        }
    }

    /// Progress that is worth a commit: whoever comes next begins with the last position that was read back, and not
    /// behind it.
    fn owed(&self) -> Progress {
        let last = self.last.filter(|_| self.passed >= self.source.progress_every());
        last.map(|(partition, offset)| (partition, NextOffset(offset.0))).into_iter().collect()
    }

    fn committed(&mut self, position: Option<Vec<u8>>, progress: &Progress) {
        if !progress.is_empty() {
            self.passed = 0;
        }
        self.careful = self.careful.saturating_sub(1);
        self.standing = Standing::AtWork(position);
        self.source.state().add(self.open.records as u64);
        self.trouble.end();
    }

    /// What was polled is committed: now its last words count.
    fn conclude(&mut self) -> Result<(), Fault> {
        let open = std::mem::take(&mut self.open);
        if let Some(why) = open.stop {
            return Err(Fault::Fatal(why));
        }
        if open.done {
            tracing::info!("{}: done, nothing more will come", self.settings.name);
            self.standing = Standing::Done;
            self.source.state().set_done(true);
        }
        Ok(())
    }

    /// Everything known of the position before is void.
    fn assign(&mut self, assignment: &Assignment) {
        if self.open.polls > 0 || matches!(self.standing, Standing::Done) {
            self.source.poll_again();
        }
        (self.open, self.last, self.passed) = (Open::default(), None, 0);
        self.source.state().set_done(false);
        self.standing = match assignment.starts.is_empty() {
            true => Standing::Standby(self.clock.now()),
            false => {
                self.source.state().set_standby(false);
                Standing::Reading(None)
            }
        };
    }

    /// After a fault: back to what is committed, or how it ended.
    fn survive(&mut self, fault: Fault) -> Option<Ended> {
        let open = self.open.polls > 0;
        if let Fault::Refused(why) = &fault {
            return Some(Ended::Failed(format!("the log refuses what it polled: {why}")));
        }
        if let Fault::TimedOut(_) = &fault {
            self.careful = CAREFUL;
        }
        match self.trouble.survive(&mut self.link, fault, open) {
            Ok(assignment) => {
                self.assign(&assignment);
                None
            }
            Err(ended) => Some(ended),
        }
    }
}
