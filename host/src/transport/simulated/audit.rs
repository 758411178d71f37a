//! Looks on all the time: whatever becomes certain must be what the records say, no more and no less.

use super::{
    log::{Data, Log},
    records::{self, MAIN, OUTPUTS},
    sources::{Numbers, POSITIONS},
    world::Settings,
};
use crate::{
    manifest::{Delivery, OnError},
    transport::{NextOffset, Partition, Progress},
};
use std::collections::{BTreeMap, HashMap};

/// What is to come of a record, and how often it has.
struct Outcome {
    topic: usize,
    seen: u32,
}

/// What is known of the records, and the first promise that was broken.
pub(super) struct Audit {
    delivery: Delivery,
    on_error: OnError,
    /// The inputs hold nothing but a source's positions.
    source: bool,
    audited: bool,
    /// How many records stand in the inputs.
    records: u64,
    outcomes: HashMap<String, Outcome>,
    reached: BTreeMap<Partition, NextOffset>,
    /// What a reader of committed records has seen of each output partition, since it was there from the beginning.
    seen: BTreeMap<(usize, usize), (u64, Vec<u64>)>,
    pub(super) violation: Option<String>,
}

impl Audit {
    pub(super) fn new(settings: &Settings) -> Audit {
        let outcome = |text| (text, Outcome { topic: MAIN, seen: 0 });
        Audit {
            delivery: settings.delivery,
            on_error: settings.on_error.clone(),
            source: settings.source.is_some(),
            audited: settings.audited,
            records: 0,
            outcomes: settings.source.iter().flat_map(Numbers::texts).map(outcome).collect(),
            reached: BTreeMap::new(),
            seen: BTreeMap::new(),
            violation: None,
        }
    }

    /// A promise is broken. The first time counts.
    pub(super) fn blame(&mut self, what: String) {
        if self.audited {
            self.violation.get_or_insert(what);
        }
    }

    /// A record stands in an input for good: from now on its outcomes are due.
    pub(super) fn expect(&mut self, text: &str) {
        self.records += 1;
        for (topic, text) in records::outcomes(text, &self.on_error) {
            self.outcomes.insert(text, Outcome { topic, seen: 0 });
        }
    }

    /// How many records there are to be done.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// A record stands in an output for good.
    pub(super) fn written(&mut self, topic: usize, data: &Data) {
        if self.source && topic == POSITIONS {
            return;
        }
        let text = data.text();
        let name = OUTPUTS[topic];
        match self.outcomes.get_mut(text) {
            Some(outcome) if outcome.topic == topic => {
                outcome.seen += 1;
                if outcome.seen > 1 && self.delivery == Delivery::ExactlyOnce {
                    self.blame(format!("doubled: {text} in {name}"));
                }
            }
            _ => self.blame(format!("nobody asked for {text} in {name}")),
        }
    }

    /// Progress is committed: what lies before it must be done.
    pub(super) fn progressed(&mut self, progress: &Progress, inputs: &[Vec<Log>]) {
        for (partition, next) in progress.iter() {
            let place = format!("{}/{}", partition.input, partition.number);
            let log = &inputs[partition.input][partition.number as usize];
            let before = self.reached.insert(partition, next).unwrap_or(NextOffset(0));
            if next < before {
                self.blame(format!("progress in {place} went back to {next}"));
            }
            if self.source {
                let last = log.read(0).last().map_or(0, |(offset, _)| offset);
                if next.0 > last {
                    self.blame(format!("whoever begins at {next} does not see the last position, at {last}"));
                }
                continue;
            }
            if next.0 > log.stable_end() {
                self.blame(format!("progress in {place} is {next}, behind its end"));
            }
            for (offset, data) in log.read(before.0).take_while(|(o, _)| *o < next.0) {
                for (_, text) in records::outcomes(data.text(), &self.on_error) {
                    if self.outcomes.get(&text).is_none_or(|o| o.seen == 0) {
                        self.blame(format!(
                            "lost: progress in {place} is {next}, but {text} of offset {offset} is not there"
                        ));
                    }
                }
            }
        }
    }

    /// True when everything that is due has come.
    pub(super) fn is_complete(&self) -> bool {
        self.outcomes.values().all(|outcome| outcome.seen > 0)
    }

    /// A reader of committed records reads on.
    pub(super) fn watch(&mut self, outputs: &[Vec<Log>]) {
        for (topic, partitions) in outputs.iter().enumerate() {
            for (number, log) in partitions.iter().enumerate() {
                let (next, seen) = self.seen.entry((topic, number)).or_default();
                seen.extend(log.read(*next).map(|(offset, _)| offset));
                *next = log.stable_end();
            }
        }
    }

    /// Everything is drained: nothing is missing, what was seen is what is there, in order. At least once, records
    /// behind a refused one may have gone through before it is tried again, so that order holds without those alone.
    pub(super) fn conclude(&mut self, outputs: &[Vec<Log>], ordered: bool) {
        self.watch(outputs);
        if let Some((text, _)) = self.outcomes.iter().find(|(_, outcome)| outcome.seen == 0) {
            let what = format!("lost: {text}");
            self.blame(what);
        }
        for ((topic, number), (_, seen)) in self.seen.clone() {
            let name = OUTPUTS[topic];
            let log = &outputs[topic][number];
            if !log.read(0).map(|(offset, _)| offset).eq(seen) {
                self.blame(format!("{name}/{number}: a reader that was there all the time saw something else"));
            }
            if ordered && let Some(text) = self.out_of_order(log) {
                self.blame(format!("{name}/{number}: {text} is out of order"));
            }
        }
    }

    /// The first record that stands behind a later one of its partition.
    fn out_of_order(&self, log: &Log) -> Option<String> {
        let mut latest: HashMap<&str, (u64, usize)> = HashMap::new();
        let mut known = std::collections::HashSet::new();
        for (_, data) in log.read(0) {
            let text = data.text();
            // At least once, what counts is where a record appears first.
            if !known.insert(text) && self.delivery == Delivery::AtLeastOnce {
                continue;
            }
            let (id, place) = records::origin(text);
            let (partition, number) = id.split_once('#')?;
            let at = (number.parse().ok()?, place);
            if latest.insert(partition, at).is_some_and(|before| before >= at) {
                return Some(text.to_owned());
            }
        }
        None
    }
}
