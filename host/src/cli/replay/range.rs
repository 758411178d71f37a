//! What is replayed of a topic: from where to where, in each partition.

use crate::{
    cli::scan::{scan_between, whole},
    manifest::{Stage, Start},
    record::Header,
    transport::{
        Batch, Incoming, NextOffset, Offset, Partition, Progress,
        log::{From, Log, Scan},
    },
};
use anyhow::Result;
use std::{cmp::Ordering, collections::BTreeMap, rc::Rc};

/// What is replayed of one of a stage's inputs.
pub(super) struct Range {
    /// The topic, by its place among the inputs.
    pub(super) input: usize,
    /// Its name.
    pub(super) topic: String,
    /// How what was asked for as its begin lies to what was asked for as its end: `Less` where that is so of any partition.
    pub(super) order: Ordering,
    only: Option<u32>,
    begin: From,
    /// Of each partition, from where and to where.
    spans: BTreeMap<u32, (u64, u64)>,
}

impl Range {
    /// What lies there by now: ends that are still to come are none.
    pub(super) fn find(
        log: &Log,
        (stage, input): (&Stage, usize),
        only: Option<u32>,
        (begin, end): (From, From),
    ) -> Result<Range> {
        let topic = &stage.inputs[input].topic;
        let offsets = log.offsets(&stage.group, std::slice::from_ref(topic))?;
        let find = |start| -> Result<BTreeMap<u32, u64>> {
            let found = offsets.find(start)?;
            let meant = |((_, number), at): ((String, u32), u64)| {
                only.is_none_or(|only| only == number).then_some((number, at))
            };
            Ok(found.into_iter().filter_map(meant).collect())
        };
        let (firsts, lasts) = (find(Start::Earliest)?, find(Start::Latest)?);
        let at = |place| match place {
            From::Start(start) => find(start),
            From::Offset(offset) => Ok(firsts.keys().map(|number| (*number, offset)).collect()),
        };
        let (begins, ends) = (at(begin)?, at(end)?);
        let order = match (begin, end) {
            (From::Start(Start::Earliest), _) | (_, From::Start(Start::Latest)) => Ordering::Less,
            // Where both are at the end, or behind it, so would be those that are turned round.
            (From::Start(Start::Timestamp(begin)), From::Start(Start::Timestamp(end))) => begin.cmp(&end),
            (From::Offset(begin), From::Offset(end)) => begin.cmp(&end),
            _ => {
                let each = firsts.keys().map(|at| begins.get(at).min(lasts.get(at)).cmp(&ends.get(at)));
                let orders: Vec<_> = each.collect();
                // Where a partition is empty the two are one.
                match orders.contains(&Ordering::Less) {
                    true => Ordering::Less,
                    false => orders.into_iter().max().unwrap_or(Ordering::Equal),
                }
            }
        };
        let span = |(number, first): (u32, u64)| {
            let at = |places: &BTreeMap<u32, u64>| places.get(&number).copied().unwrap_or(first);
            let end = at(&ends).min(at(&lasts));
            (number, (at(&begins).max(first), end))
        };
        let spans = firsts.into_iter().map(span).collect();
        Ok(Range { input, topic: topic.clone(), order, only, begin, spans })
    }

    /// True for a record's place in it.
    pub(super) fn contains(&self, partition: u32, offset: u64) -> bool {
        self.spans.get(&partition).is_some_and(|(begin, end)| (*begin..*end).contains(&offset))
    }

    /// How many records there are in it at most.
    pub(super) fn most(&self) -> u64 {
        self.spans.values().map(|(begin, end)| end.saturating_sub(*begin)).sum()
    }

    /// It begins here, where that is later, and is empty where nothing is said; in how many partitions it is less.
    pub(super) fn begin_at(&mut self, begins: &BTreeMap<(String, u32), u64>) -> u64 {
        let mut less = 0;
        for (number, (begin, end)) in &mut self.spans {
            let first = begins.get(&(self.topic.clone(), *number)).map_or(*end, |first| *first.min(end));
            if *begin < first {
                less += 1;
                *begin = first;
            }
        }
        let smallest = self.spans.values().filter(|(begin, end)| begin < end).map(|(begin, _)| *begin).min();
        // What lies before is not even read, where one offset for all partitions is no worse than what was asked for.
        if let (From::Start(Start::Earliest) | From::Offset(_), Some(smallest)) = (self.begin, smallest) {
            self.begin = From::Offset(smallest);
        }
        less
    }

    /// It ends here, where that is nearer; in how many partitions it is.
    pub(super) fn end_at(&mut self, ends: &BTreeMap<(String, u32), u64>) -> u64 {
        let mut nearer = 0;
        for (number, (begin, end)) in &mut self.spans {
            let nearest = ends.get(&(self.topic.clone(), *number)).copied().unwrap_or(0);
            if nearest < *end && begin < end {
                nearer += 1;
                *end = nearest;
            }
        }
        nearer
    }

    /// Hands over each record, those of a partition in their order, until it hears false; whether it has not.
    pub(super) fn each(&self, log: &Log, see: &mut dyn FnMut(&Rc<Placed>, usize) -> Result<bool>) -> Result<bool> {
        let spans = || {
            let spans = self.spans.iter().filter(|(_, (begin, end))| begin < end);
            spans.map(|(number, span)| (Partition { input: 0, number: *number }, *span))
        };
        let begins: Progress = spans().map(|(partition, (begin, _))| (partition, NextOffset(begin))).collect();
        let ends: Progress = spans().map(|(partition, (_, end))| (partition, NextOffset(end))).collect();
        if ends.is_empty() {
            return Ok(true);
        }
        let mut goes_on = true;
        let from = Scan { partition: self.only, from: self.begin, ..whole(&self.topic) };
        scan_between(log, &from, (&begins, Some(&ends)), &mut |batch, _| {
            let batch = Rc::new(Placed { batch, input: self.input });
            for index in 0..batch.len() {
                let Incoming { partition, offset: Offset(offset), .. } = batch.get(index);
                if self.contains(partition.number, offset) && !see(&batch, index)? {
                    goes_on = false;
                    break;
                }
            }
            Ok(goes_on)
        })?;
        Ok(goes_on)
    }
}

/// Records of a topic, as those of one of a stage's inputs.
pub(super) struct Placed {
    batch: Box<dyn Batch>,
    input: usize,
}

impl Batch for Placed {
    fn len(&self) -> usize {
        self.batch.len()
    }

    fn get(&self, index: usize) -> Incoming<'_> {
        let record = self.batch.get(index);
        Incoming { partition: Partition { input: self.input, ..record.partition }, ..record }
    }

    fn headers(&self, index: usize) -> Vec<Header> {
        self.batch.headers(index)
    }

    /// Nobody makes progress of them here.
    fn ends(&self) -> &[(Partition, NextOffset)] {
        &[]
    }
}
