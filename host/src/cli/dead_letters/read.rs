//! Goes through the records of dead-letter topics, from their beginning to where they end now.

use super::group;
use crate::{
    manifest::{Manifest, Stage},
    record::Header,
    stage::Letter,
    transport::{
        Batch, Incoming, Partition, Taken,
        log::{From, Log, Scan},
    },
};
use anyhow::Result;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::Duration,
};

/// How many records are taken at once.
const TOGETHER: usize = 10_000;
/// Between two looks at what has come.
const LOOK: Duration = Duration::from_millis(100);

/// A record of a dead-letter topic.
pub(super) struct Found<'a> {
    /// What it says, and which of its headers say it; nothing when no host wrote it.
    pub(super) letter: Option<(Letter, Range<usize>)>,
    /// The record as it lies there.
    pub(super) record: Incoming<'a>,
    /// All of its headers.
    pub(super) headers: Vec<Header>,
    /// It was not tried again.
    pub(super) waits: bool,
}

impl Found<'_> {
    /// True when this stage wrote it.
    pub(super) fn is_of(&self, manifest: &Manifest, stage: &Stage) -> bool {
        let is_its = |(letter, _): &(Letter, _)| letter.pipeline == manifest.name && letter.stage == stage.name;
        self.letter.as_ref().is_some_and(is_its)
    }
}

/// Shows each record of a topic that is there, those of a partition in their order; goes on for as long as it hears
/// true. `stages` are those whose dead letters lie in it.
pub(super) fn each(
    manifest: &Manifest,
    log: &Log,
    topic: &str,
    stages: &[&Stage],
    see: &mut dyn FnMut(&Found<'_>) -> Result<bool>,
) -> Result<()> {
    let mut retried = Vec::new();
    for stage in stages {
        let lags = log.offsets(&group(manifest, stage), &[topic.to_owned()])?.ask()?;
        let committed = lags.into_iter().map(|((_, number), lag)| (number, lag.committed.unwrap_or(0)));
        retried.push((*stage, committed.collect::<BTreeMap<_, _>>()));
    }
    let mut found = |batch: &dyn Batch, index: usize| {
        let (record, headers) = (batch.get(index), batch.headers(index));
        let mut found = Found { letter: Letter::read(&headers), record, headers, waits: true };
        let owner = retried.iter().find(|(stage, _)| found.is_of(manifest, stage));
        let behind = owner.and_then(|(_, committed)| committed.get(&record.partition.number));
        found.waits = behind.is_none_or(|next| record.offset.0 >= *next);
        see(&found)
    };
    scan(log, topic, &mut found)
}

fn scan(log: &Log, topic: &str, see: &mut dyn FnMut(&dyn Batch, usize) -> Result<bool>) -> Result<()> {
    let from = From::Start(crate::manifest::Start::Earliest);
    let scan = Scan { topic: topic.to_owned(), partition: None, from, group: None, uncommitted: false };
    let mut scanner = log.scanner(&scan)?;
    let mut open: Option<BTreeSet<Partition>> = None;
    while open.as_ref().is_none_or(|open| !open.is_empty()) {
        match scanner.take(TOGETHER, LOOK)? {
            Taken::Rebalance => {
                let starts = scanner.rebalance()?.starts;
                let is_open = |(partition, start)| scanner.ends().get(partition).is_some_and(|end| start < end);
                open = Some(starts.iter().filter(|at| is_open(*at)).map(|(partition, _)| partition).collect());
            }
            Taken::Records(batch) => {
                let Some(open) = &mut open else { continue };
                for index in 0..batch.len() {
                    let Incoming { partition, offset, .. } = batch.get(index);
                    let end = scanner.ends().get(partition);
                    if end.is_some_and(|end| offset.next() <= end) && !see(&*batch, index)? {
                        return Ok(());
                    }
                    if end.is_none_or(|end| offset.next() >= end) {
                        open.remove(&partition);
                    }
                }
                for (partition, next) in batch.ends() {
                    if scanner.ends().get(*partition).is_none_or(|end| *next >= end) {
                        open.remove(partition);
                    }
                }
            }
            Taken::Nothing => {}
        }
    }
    Ok(())
}
