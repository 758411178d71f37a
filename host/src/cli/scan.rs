//! Goes through what lies in a topic, for commands that read it and end.

use super::say;
use crate::{
    manifest::Start,
    text::count,
    transport::{
        Batch, NextOffset, Partition, Progress, Taken,
        log::{From, Log, Scan, Scanner},
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

/// For so long nothing may come of what lies there before that is said.
const HELD_UP: Duration = Duration::from_secs(10);

/// Takes records, and where each partition is read to; says whether to go on.
pub(super) type See<'a> = &'a mut dyn FnMut(Box<dyn Batch>, &Progress) -> Result<bool>;

/// All that is committed in a topic.
pub(super) fn whole(topic: &str) -> Scan {
    let from = From::Start(Start::Earliest);
    Scan { topic: topic.to_owned(), partition: None, from, group: None, uncommitted: false }
}

/// Hands over a topic's records in batches, until it hears false or each partition has come to its end: to this one, or to
/// where it ended at the start, which is told beside them. A batch may go beyond. What is gone before it is read is passed
/// over, and that is said.
pub(super) fn scan(log: &Log, scan: &Scan, to: Option<&Progress>, see: See<'_>) -> Result<()> {
    scan_between(log, scan, (&Progress::default(), to), see)
}

/// The same where it was known before from where on there were records: what is gone since counts as gone.
pub(super) fn scan_between(
    log: &Log,
    scan: &Scan,
    (from, to): (&Progress, Option<&Progress>),
    see: See<'_>,
) -> Result<()> {
    let mut gone = Gone { at: from.clone(), offsets: 0 };
    let scanned = go_through(&mut *log.scanner(scan)?, (scan, to), &mut gone, see);
    if gone.offsets > 0 {
        let (topic, records) = (&scan.topic, count(gone.offsets, "record"));
        say(&format!("{topic}: up to {records} passed over, gone before they were read\n"));
    }
    scanned
}

/// What retention has removed in front of a reader.
struct Gone {
    /// How far each partition was read.
    at: Progress,
    offsets: u64,
}

impl Gone {
    /// It goes on from here, or would, if it did not end before.
    fn go_on(&mut self, starts: &Progress, ends: &Progress) {
        for (partition, start) in starts.iter() {
            let end = ends.get(partition).unwrap_or(start);
            let passed = self.at.get(partition).map_or(0, |at| start.min(end).0.saturating_sub(at.0));
            self.offsets += passed;
            self.at.reach(partition, start);
        }
    }

    fn read(&mut self, partition: Partition, next: NextOffset) {
        self.at.reach(partition, next);
    }
}

fn go_through(
    scanner: &mut dyn Scanner,
    (scan, to): (&Scan, Option<&Progress>),
    gone: &mut Gone,
    see: See<'_>,
) -> Result<()> {
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
                gone.go_on(&starts, &ends);
                let is_open = |(partition, start)| ends.get(partition).is_some_and(|end| start < end);
                open = Some(starts.iter().filter(|at| is_open(*at)).map(|(partition, _)| partition).collect());
            }
            Taken::Records(batch) => {
                let lasts = (0..batch.len()).map(|index| batch.get(index)).map(|r| (r.partition, r.offset.next()));
                for (partition, next) in lasts.chain(batch.ends().iter().copied()) {
                    gone.read(partition, next);
                    if let Some(open) = open.as_mut().filter(|_| ends.get(partition).is_none_or(|end| next >= end)) {
                        open.remove(&partition);
                    }
                }
                if !see(batch, &ends)? {
                    return Ok(());
                }
                // What is done with records may take its time.
                since = Instant::now();
            }
            Taken::Nothing if to.is_some() && since.elapsed() > HELD_UP => {
                if !std::mem::replace(&mut is_said, true) {
                    let topic = &scan.topic;
                    say(&format!(
                        "nothing has come of {topic} for {} s: waiting for the rest, which a transaction that is open may hold \
                         back\n",
                        HELD_UP.as_secs()
                    ));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_in_front_of_a_reader_is_counted_up_to_the_end() {
        let progress = |all: &[(u32, u64)]| -> Progress {
            all.iter().map(|(number, next)| (Partition { input: 0, number: *number }, NextOffset(*next))).collect()
        };
        let ends = progress(&[(0, 10), (1, 10), (2, 10)]);
        // Of the partition 2 nobody knew.
        let mut gone = Gone { at: progress(&[(0, 0), (1, 4)]), offsets: 0 };
        gone.go_on(&progress(&[(0, 2), (1, 4), (2, 7)]), &ends);
        assert_eq!(gone.offsets, 2);
        gone.read(Partition { input: 0, number: 0 }, NextOffset(5));
        gone.go_on(&progress(&[(0, 8), (1, 99), (2, 7)]), &ends);
        assert_eq!(gone.offsets, 2 + 3 + 6);
        gone.go_on(&progress(&[(0, 8), (1, 99), (2, 7)]), &ends);
        assert_eq!(gone.offsets, 2 + 3 + 6);
    }
}
