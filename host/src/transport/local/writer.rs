//! The writing half of a link: what the open transaction is to write, ready for the log.

use super::{
    codec::{Content, Draft, FULL, Sealed, push_header},
    partitioner,
    rows::Topic,
    scribe::Append,
    topics,
};
use crate::{
    record::Header,
    transport::{Fault, Outgoing, log::Rules},
};
use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

/// A transaction that has so many bytes is to be ended.
const LARGE: usize = 16 << 20;

#[derive(Default)]
pub(super) struct Writer {
    outputs: Vec<Option<(Topic, Rules)>>,
    names: Vec<String>,
    /// What the topics were like when the outputs were looked up.
    version: i64,
    open: BTreeMap<(usize, u32), Pending>,
    size: usize,
    /// For each output, the partition of records that no key places: another one for each transaction.
    turns: Vec<Turn>,
    headers: Vec<u8>,
}

/// What goes to one partition.
#[derive(Default)]
pub(super) struct Pending {
    full: Vec<Sealed>,
    draft: Draft,
}

#[derive(Clone, Copy, Default)]
struct Turn {
    at: u32,
    used: bool,
}

impl Writer {
    /// A writer of these topics.
    pub(super) fn new(names: &[String], outputs: Vec<Option<Topic>>, version: i64, worker: u32) -> Writer {
        let turns = vec![Turn { at: worker, used: false }; names.len()];
        let mut new = Writer { names: names.to_vec(), turns, ..Writer::default() };
        new.refresh(outputs, version);
        new
    }

    /// What the topics were like that it knows.
    pub(super) fn version(&self) -> i64 {
        self.version
    }

    /// The topics have changed.
    pub(super) fn refresh(&mut self, outputs: Vec<Option<Topic>>, version: i64) {
        let with_rules = |topic: Option<Topic>| {
            topic.map(|topic| {
                let rules = topics::rules(&topic);
                (topic, rules)
            })
        };
        self.outputs = outputs.into_iter().map(with_rules).collect();
        self.version = version;
    }

    pub(super) fn begin(&mut self) {
        self.open.clear();
        self.size = 0;
        for turn in self.turns.iter_mut().filter(|turn| turn.used) {
            *turn = Turn { at: turn.at.wrapping_add(1), used: false };
        }
    }

    /// Takes a record; `origin` are the headers of the one that it came from.
    pub(super) fn send(&mut self, record: &Outgoing<'_>, origin: &[u8]) -> Result<(), Fault> {
        let name = &self.names[record.output];
        let Some((topic, rules)) = &self.outputs[record.output] else {
            return Err(Fault::Unavailable(format!("topic {name} is not there")));
        };
        let kept = if record.keep_headers { origin } else { &[] };
        if let Some(why) = rules.objection(name, record, kept.len(), |_| false) {
            return Err(Fault::Refused(why.message));
        }
        let partitions = topic.parts.len() as u32;
        let partition = match (record.partition, record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partitioner::of_key(key, partitions),
            (None, None) => {
                let turn = &mut self.turns[record.output];
                turn.used = true;
                turn.at % partitions
            }
        };
        self.headers.clear();
        self.headers.extend_from_slice(kept);
        for Header { name, value } in record.headers {
            push_header(&mut self.headers, name.as_bytes(), value.as_deref());
        }
        let content = Content {
            timestamp: record.timestamp.unwrap_or_else(now),
            key: record.key,
            value: record.value,
            headers: &self.headers,
        };
        self.size += self.open.entry((record.output, partition)).or_default().push(content);
        Ok(())
    }

    pub(super) fn is_full(&self) -> bool {
        self.size >= LARGE
    }

    /// What was sent.
    pub(super) fn finish(&mut self) -> Vec<Append> {
        self.size = 0;
        let open = std::mem::take(&mut self.open);
        open.into_iter()
            .filter_map(|((output, partition), pending)| {
                let (topic, _) = self.outputs[output].as_ref()?;
                let part = topic.parts[partition as usize].id;
                Some(Append { topic: topic.name.clone(), part, blobs: pending.finish() })
            })
            .collect()
    }
}

impl Pending {
    /// Takes a record; returns by how much it grew.
    pub(super) fn push(&mut self, content: Content<'_>) -> usize {
        let size = content.key.map_or(0, <[u8]>::len) + content.value.map_or(0, <[u8]>::len) + content.headers.len();
        if !self.draft.is_empty() && self.draft.len() + size > FULL {
            self.full.push(std::mem::take(&mut self.draft).seal(0));
        }
        let before = self.draft.len();
        self.draft.push(0, content);
        self.draft.len() - before
    }

    /// What it took.
    pub(super) fn finish(mut self) -> Vec<Sealed> {
        if !self.draft.is_empty() {
            self.full.push(self.draft.seal(0));
        }
        self.full
    }
}

/// Milliseconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
