//! Goes through what lies in a topic, for commands that read it and end.

use super::say;
use crate::{
    manifest::Start,
    transport::{
        Batch, Partition, Progress, Taken,
        log::{From, Log, Scan},
    },
};
use anyhow::Result;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// How many records are taken at once.
const TOGETHER: usize = 10_000;
/// Between two looks at what has come.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// How long nothing may come of what lies there before that is said.
const HELD_UP: Duration = Duration::from_secs(10);

/// Takes records, and where each partition is read to; says whether to go on.
pub(super) type See<'a> = &'a mut dyn FnMut(Box<dyn Batch>, &Progress) -> Result<bool>;

/// All that is committed in a topic.
pub(super) fn whole(topic: &str) -> Scan {
    let from = From::Start(Start::Earliest);
    Scan { topic: topic.to_owned(), partition: None, from, group: None, uncommitted: false }
}

/// Hands over a topic's records in batches, until it hears false or each partition has come to its end: to this one, or to
/// where it ended at the start, which is told beside them. A batch may go beyond.
pub(super) fn scan(log: &Log, scan: &Scan, to: Option<&Progress>, see: See<'_>) -> Result<()> {
    let mut scanner = log.scanner(scan)?;
    let mut ends = to.cloned().unwrap_or_default();
    let mut open: Option<BTreeSet<Partition>> = None;
    let (mut since, mut is_said) = (Instant::now(), false);
    while open.as_ref().is_none_or(|open| !open.is_empty()) {
        match scanner.take(TOGETHER, LOOK)? {
            Taken::Rebalance => {
                let starts = scanner.rebalance()?.starts;
                if to.is_none() {
                    ends = scanner.ends().clone();
                }
                let is_open = |(partition, start)| ends.get(partition).is_some_and(|end| start < end);
                open = Some(starts.iter().filter(|at| is_open(*at)).map(|(partition, _)| partition).collect());
            }
            Taken::Records(batch) => {
                since = Instant::now();
                let lasts = (0..batch.len()).map(|index| batch.get(index)).map(|r| (r.partition, r.offset.next()));
                for (partition, next) in lasts.chain(batch.ends().iter().copied()) {
                    if let Some(open) = open.as_mut().filter(|_| ends.get(partition).is_none_or(|end| next >= end)) {
                        open.remove(&partition);
                    }
                }
                if !see(batch, &ends)? {
                    return Ok(());
                }
            }
            Taken::Nothing if to.is_some() && since.elapsed() > HELD_UP => {
                if !std::mem::replace(&mut is_said, true) {
                    let topic = &scan.topic;
                    say(&format!("waiting for the end of a transaction that somebody has open in {topic}\n"));
                }
            }
            Taken::Nothing => {}
        }
    }
    Ok(())
}

/// Where a topic's partitions end, with what is not committed yet: whoever has read so far has seen all that is committed
/// by now.
pub(super) fn last(log: &Log, topic: &str) -> Result<Progress> {
    let mut scanner = log.scanner(&Scan { uncommitted: true, ..whole(topic) })?;
    loop {
        if let Taken::Rebalance = scanner.take(1, LOOK)? {
            scanner.rebalance()?;
            return Ok(scanner.ends().clone());
        }
    }
}
