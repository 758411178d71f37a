//! Reads a topic for people: with the reader that links have, from wherever it was asked.

use super::{
    LocalLog,
    locks::GroupLock,
    reader::Reader,
    rows::{self, Part},
};
use crate::{
    manifest::Start,
    transport::{
        Assignment, Batch, Fault, LinkSettings, NextOffset, Partition, Progress, Taken,
        log::{From, Scan, Scanner},
    },
};
use anyhow::{Context, Result, anyhow, bail};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Reads one topic of an embedded log.
pub struct LocalScan {
    // Before the log: only who may write, and closes it last, leaves no -wal.
    reader: Reader,
    log: LocalLog,
    scan: Scan,
    /// Nobody else moves the group meanwhile.
    group: Option<GroupLock>,
    /// Known once it has begun.
    ends: Progress,
    begun: bool,
    /// What is to be read next where something was read, or begun, and of which partition: one of a topic that was made
    /// anew is another one.
    at: BTreeMap<Partition, (i64, NextOffset)>,
}

impl LocalScan {
    /// A reader that has the group, when one is named.
    pub fn new(log: &LocalLog, scan: &Scan) -> Result<LocalScan> {
        let join = |group: &String| {
            log.join(group)?.with_context(|| format!("group {group} is at work already: name another, or end it first"))
        };
        let group = scan.group.as_ref().map(join).transpose()?;
        let from = match scan.from {
            From::Start(start) => start,
            From::Offset(_) => Start::Latest,
        };
        // No group has the empty name, so none has progress in it.
        let settings = LinkSettings::of_reader(scan.group.as_deref().unwrap_or_default(), &scan.topic, from);
        Ok(LocalScan {
            reader: Reader::open(log, Arc::new(settings))?,
            log: log.clone(),
            scan: scan.clone(),
            group,
            ends: Progress::default(),
            begun: false,
            at: BTreeMap::new(),
        })
    }
}

impl Scanner for LocalScan {
    fn ends(&self) -> &Progress {
        &self.ends
    }

    fn take(&mut self, limit: usize, wait: Duration) -> Result<Taken<Box<dyn Batch>>> {
        let taken = match self.reader.take(limit, wait) {
            // What was to come next is gone, as its time was over: on from what is there, as at the start.
            Err(Fault::Aborted(why)) => {
                tracing::warn!("{why}: going on behind them");
                Taken::Rebalance
            }
            taken => taken.map_err(plain)?,
        };
        Ok(match taken {
            Taken::Records(batch) => {
                for (partition, next) in batch.progress().iter() {
                    self.at.entry(partition).and_modify(|(_, at)| *at = next);
                }
                Taken::Records(Box::new(batch))
            }
            Taken::Nothing => Taken::Nothing,
            Taken::Rebalance => Taken::Rebalance,
        })
    }

    fn rebalance(&mut self) -> Result<Assignment> {
        let found = self.reader.start().map_err(plain)?;
        // Where a link waits for a topic that is gone, a person is told.
        let [Some(topic)] = self.reader.inputs() else { bail!("there is no topic {}", self.scan.topic) };
        let parts = topic.parts.clone();
        let (mut assignment, mut at) = (Assignment::default(), BTreeMap::new());
        for (partition, next) in found.starts.iter() {
            if self.scan.partition.is_some_and(|only| only != partition.number) {
                self.reader.hold(partition).map_err(plain)?;
                continue;
            }
            let Part { id, first, next: end } = parts[partition.number as usize];
            let within = |NextOffset(offset)| NextOffset(offset.clamp(first, end));
            let is_chosen = found.chosen.get(partition).is_some();
            let to = match (self.at.get(&partition), self.scan.from) {
                // A topic that grew while it was read.
                (Some((part, at)), _) if *part == id => within(*at),
                // What is new in it came after this began.
                _ if is_chosen && self.begun => NextOffset(first),
                (_, From::Offset(offset)) if is_chosen => within(NextOffset(offset)),
                _ => next,
            };
            self.reader.release(partition, to).map_err(plain)?;
            at.insert(partition, (id, to));
            assignment.starts.reach(partition, to);
            if is_chosen {
                assignment.chosen.reach(partition, to);
            }
            if !self.begun {
                self.ends.reach(partition, NextOffset(end));
            }
        }
        (self.at, self.begun) = (at, true);
        Ok(assignment)
    }

    fn commit(&mut self, progress: &Progress) -> Result<bool> {
        if self.group.is_none() {
            return Ok(true);
        }
        let steps = self.reader.steps(progress).map_err(plain)?;
        let done = self.log.desk().write(|tx| steps.iter().try_for_each(|step| rows::advance(tx, step)));
        match done.map_err(Fault::from) {
            Ok(()) => self.reader.committed(progress).map_err(plain)?,
            Err(Fault::Aborted(_)) => return Ok(false),
            Err(fault) => return Err(plain(fault)),
        }
        Ok(true)
    }
}

fn plain(fault: Fault) -> anyhow::Error {
    anyhow!(fault)
}
