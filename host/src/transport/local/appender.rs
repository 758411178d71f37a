//! Writing from outside of any group.

use super::{
    LocalLog,
    codec::{Content, push_header},
    partitioner,
    rows::{self, Topic},
    scribe::{Append, Job, Scribe},
    topics,
    trouble::Trouble,
    writer::{now, seal},
};
use std::{collections::BTreeMap, sync::Arc};

/// What a record takes beside its key, value and headers, as Kafka counts it against `max.message.bytes`.
const OVERHEAD: usize = 70;

/// A record that is to be appended.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRecord<'a> {
    /// `None`: the key decides; without one all records of a call go to one partition, each call's to the next.
    pub partition: Option<u32>,
    /// Milliseconds since 1970; `None` is now.
    pub timestamp: Option<i64>,
    /// `None` is no key.
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Names and values, any bytes.
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

/// Where a record was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The partition.
    pub partition: u32,
    /// The offset in it.
    pub offset: u64,
}

/// Why records were not appended: none of the call's.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotAppended {
    /// One of them can never be.
    #[error("{why}")]
    Refused {
        /// Which one, counted from 0.
        record: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The log could not.
    #[error("{0}")]
    Failed(String),
}

impl From<Trouble> for NotAppended {
    fn from(trouble: Trouble) -> NotAppended {
        NotAppended::Failed(trouble.to_string())
    }
}

/// Appends records, a group of them at a time.
pub struct Appender {
    log: LocalLog,
    scribe: Arc<Scribe>,
    turn: u32,
}

impl Appender {
    pub(super) fn new(log: LocalLog) -> Result<Appender, Trouble> {
        let scribe = log.scribe()?;
        Ok(Appender { log, scribe, turn: 0 })
    }

    /// Appends records to a topic, all of them or none; returns when they are acknowledged. Larger groups are faster:
    /// each call waits for the disk.
    pub fn append(&mut self, topic: &str, records: &[NewRecord<'_>]) -> Result<Vec<Place>, NotAppended> {
        let Some(found) = self.log.desk().read(|tx| rows::topic(tx, topic))? else {
            return Err(NotAppended::Failed(format!("there is no topic {topic}")));
        };
        let partitions = found.parts.len() as u32;
        let mut sorted: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        let mut sticky = None;
        let mut headers = Vec::with_capacity(records.len());
        let rules = Rules::of(&found);
        for (index, record) in records.iter().enumerate() {
            let mut raw = Vec::new();
            record.headers.iter().for_each(|(name, value)| push_header(&mut raw, name, *value));
            let partition = match (record.partition, record.key) {
                (Some(partition), _) => partition,
                (None, Some(key)) => partitioner::of_key(key, partitions),
                (None, None) => *sticky.get_or_insert_with(|| {
                    self.turn = self.turn.wrapping_add(1);
                    self.turn % partitions
                }),
            };
            if let Err(why) = rules.check(record, partition, raw.len()) {
                return Err(NotAppended::Refused { record: index, why: format!("{topic}: {why}") });
            }
            headers.push(raw);
            sorted.entry(partition).or_default().push(index);
        }
        let now = now();
        let content = |index: &usize| Content {
            timestamp: records[*index].timestamp.unwrap_or(now),
            key: records[*index].key,
            value: records[*index].value,
            headers: &headers[*index],
        };
        let appends = sorted
            .iter()
            .map(|(partition, indexes)| Append {
                topic: topic.to_owned(),
                part: found.parts[*partition as usize].id,
                blobs: seal(indexes.iter().map(content)),
            })
            .collect();
        let firsts = self.scribe.write(Job { appends, ..Job::default() })?;
        let mut places = vec![Place { partition: 0, offset: 0 }; records.len()];
        for ((partition, indexes), first) in sorted.iter().zip(firsts) {
            for (offset, index) in (first..).zip(indexes) {
                places[*index] = Place { partition: *partition, offset };
            }
        }
        Ok(places)
    }
}

/// What a topic asks of its records.
pub(super) struct Rules {
    partitions: u32,
    largest: usize,
    compacted: bool,
}

impl Rules {
    /// As its configuration says.
    pub(super) fn of(topic: &Topic) -> Rules {
        let largest = topics::setting(topic, "max.message.bytes").and_then(|bytes| bytes.parse().ok());
        Rules {
            partitions: topic.parts.len() as u32,
            largest: largest.unwrap_or(usize::MAX),
            compacted: topics::setting(topic, "cleanup.policy").is_some_and(|policy| policy.contains("compact")),
        }
    }

    /// What is wrong with a record for this partition, whose headers have so many bytes.
    pub(super) fn check(&self, record: &NewRecord<'_>, partition: u32, headers: usize) -> Result<(), String> {
        let size = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + headers + OVERHEAD;
        if partition >= self.partitions {
            return Err(format!("there is no partition {partition}, the topic has {}", self.partitions));
        }
        if size > self.largest {
            return Err(format!("a record of {size} bytes is larger than max.message.bytes, {}", self.largest));
        }
        if self.compacted && record.key.is_none() {
            return Err("a record without a key cannot be in a compacted topic".into());
        }
        Ok(())
    }
}
