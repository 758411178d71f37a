//! Records that came in as text, as a stage takes them.

use super::Entry;
use crate::{
    record::Header,
    transport::{Batch, Incoming, NextOffset, Offset, Partition},
};

/// A record, and which of a stage's inputs it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The input's place among them.
    pub input: usize,
    /// The record.
    pub entry: Entry,
}

/// Records as a batch.
pub struct Entries {
    records: Vec<Given>,
    /// The offset of the first one that does not say its own.
    first: u64,
}

impl Entries {
    /// Records that have no offsets of their own are counted.
    pub fn new(records: Vec<Given>) -> Entries {
        Entries { records, first: 0 }
    }

    /// One record of a stage's first input, with the offset that it has unless it says its own.
    pub fn one(entry: Entry, offset: u64) -> Entries {
        Entries { records: vec![Given { input: 0, entry }], first: offset }
    }

    /// The record at this place.
    pub fn entry(&self, index: usize) -> &Entry {
        &self.records[index].entry
    }
}

impl Batch for Entries {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn get(&self, index: usize) -> Incoming<'_> {
        let Given { input, entry } = &self.records[index];
        Incoming {
            partition: Partition { input: *input, number: entry.partition.unwrap_or(0) },
            offset: Offset(entry.offset.unwrap_or(self.first + index as u64)),
            timestamp: entry.timestamp,
            key: entry.key.as_deref(),
            value: entry.value.as_deref(),
        }
    }

    fn headers(&self, index: usize) -> Vec<Header> {
        let header = |(name, value): &(Vec<u8>, Option<Vec<u8>>)| Header {
            name: String::from_utf8_lossy(name).into_owned(),
            value: value.clone(),
        };
        self.entry(index).headers.iter().map(header).collect()
    }

    fn ends(&self) -> &[(Partition, NextOffset)] {
        &[]
    }
}
