//! Reads a topic for people: with the reader that links have, from wherever it was asked.

use super::{LocalLog, locks::GroupLock, reader::Reader};
use crate::{
    manifest::Start,
    transport::{
        Assignment, Batch, Fault, LinkSettings, NextOffset, Partition, Progress, Taken,
        log::{From, Scan, Scanner, Topics},
    },
};
use anyhow::{Context, Result, anyhow};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Reads one topic of an embedded log.
pub struct LocalScan {
    log: LocalLog,
    reader: Reader,
    scan: Scan,
    /// Nobody else moves the group meanwhile.
    group: Option<GroupLock>,
    ends: Progress,
    /// What is to be read next where something was read, or begun.
    at: Progress,
    started: bool,
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
        let mut new = LocalScan {
            log: log.clone(),
            reader: Reader::open(log, Arc::new(settings))?,
            scan: scan.clone(),
            group,
            ends: Progress::default(),
            at: Progress::default(),
            started: false,
        };
        new.ends = new.bounds()?.into_iter().map(|(partition, (_, end))| (partition, NextOffset(end))).collect();
        Ok(new)
    }

    /// Where the partitions that are wanted begin and end now.
    fn bounds(&self) -> Result<BTreeMap<Partition, (u64, u64)>> {
        let found = self.log.partitions(&self.scan.topic)?;
        let found = found.with_context(|| format!("there is no topic {}", self.scan.topic))?;
        let wanted = found.iter().filter(|facts| self.is_wanted(facts.number));
        Ok(wanted
            .map(|facts| {
                let bounds = (facts.start.unwrap_or_default(), facts.end.unwrap_or_default());
                (Partition { input: 0, number: facts.number }, bounds)
            })
            .collect())
    }

    fn is_wanted(&self, number: u32) -> bool {
        self.scan.partition.is_none_or(|only| only == number)
    }
}

impl Scanner for LocalScan {
    fn ends(&self) -> &Progress {
        &self.ends
    }

    fn take(&mut self, limit: usize, wait: Duration) -> Result<Taken<Box<dyn Batch>>> {
        if !self.started {
            return Ok(Taken::Rebalance);
        }
        Ok(match self.reader.take(limit, wait).map_err(plain)? {
            Taken::Records(batch) => {
                self.at.merge(&batch.progress());
                Taken::Records(Box::new(batch))
            }
            Taken::Nothing => Taken::Nothing,
            Taken::Rebalance => Taken::Rebalance,
        })
    }

    fn rebalance(&mut self) -> Result<Assignment> {
        // Where a link waits for a topic that is gone, a person is told.
        let bounds = self.bounds()?;
        let found = self.reader.start().map_err(plain)?;
        let mut assignment = Assignment::default();
        for (partition, next) in found.starts.iter() {
            let Some((start, end)) = bounds.get(&partition) else {
                self.reader.hold(partition).map_err(plain)?;
                continue;
            };
            let is_chosen = found.chosen.get(partition).is_some();
            let to = match (self.at.get(partition), self.scan.from) {
                // A topic that grew while it was read.
                (Some(at), _) if (*start..=*end).contains(&at.0) => at,
                (None, From::Offset(offset)) if is_chosen && !self.started => NextOffset(offset.clamp(*start, *end)),
                // What is new in it came after this began.
                (None, _) if is_chosen && self.started => NextOffset(*start),
                _ => next,
            };
            self.reader.release(partition, to).map_err(plain)?;
            self.at.reach(partition, to);
            assignment.starts.reach(partition, to);
            if is_chosen {
                assignment.chosen.reach(partition, to);
            }
        }
        self.started = true;
        Ok(assignment)
    }

    fn commit(&mut self, progress: &Progress) -> Result<bool> {
        if let Some(group) = &self.group {
            let offsets = progress.iter().map(|(p, next)| ((self.scan.topic.clone(), p.number), next.0)).collect();
            self.log.commit(group, &offsets)?;
        }
        Ok(true)
    }
}

fn plain(fault: Fault) -> anyhow::Error {
    anyhow!(fault)
}
