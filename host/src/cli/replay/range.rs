//! What is replayed of a topic: from where to where, in each partition.

use crate::{
    cli::{
        scan::{scan, whole},
        wrong,
    },
    manifest::{Stage, Start},
    record::Header,
    transport::{
        Batch, Incoming, NextOffset, Offset, Partition, Progress,
        log::{From, Log, Scan},
    },
};
use anyhow::Result;
use std::{collections::BTreeMap, rc::Rc};

/// What is replayed of one of a stage's inputs.
pub(super) struct Range {
    /// The topic, by its place among the inputs.
    pub(super) input: usize,
    /// Its name.
    pub(super) topic: String,
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
        let has_begin = !matches!(begin, From::Start(Start::Earliest));
        let has_end = !matches!(end, From::Start(Start::Latest));
        let is_backwards = match (begin, end) {
            // Where both are at the end, so would be those that are turned round.
            (From::Start(Start::Timestamp(begin)), From::Start(Start::Timestamp(end))) => begin > end,
            _ => !firsts.is_empty() && firsts.keys().all(|number| begins.get(number) > ends.get(number)),
        };
        if has_begin && has_end && is_backwards {
            return Err(wrong(format!("--to lies before --from in {topic}: turn the two round")));
        }
        let span = |(number, first): (u32, u64)| {
            let at = |places: &BTreeMap<u32, u64>| places.get(&number).copied().unwrap_or(first);
            let end = at(&ends).min(at(&lasts));
            (number, (at(&begins).max(first), end))
        };
        Ok(Range { input, topic: topic.clone(), only, begin, spans: firsts.into_iter().map(span).collect() })
    }

    /// True for a record's place in it.
    pub(super) fn contains(&self, partition: u32, offset: u64) -> bool {
        self.spans.get(&partition).is_some_and(|(begin, end)| (*begin..*end).contains(&offset))
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
        let ends: Progress = self
            .spans
            .iter()
            .filter(|(_, (begin, end))| begin < end)
            .map(|(number, (_, end))| (Partition { input: 0, number: *number }, NextOffset(*end)))
            .collect();
        if ends.is_empty() {
            return Ok(true);
        }
        let mut goes_on = true;
        let from = Scan { partition: self.only, from: self.begin, ..whole(&self.topic) };
        scan(log, &from, Some(&ends), &mut |batch, _| {
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
