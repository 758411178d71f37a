//! Reading from outside of any group.

use super::{
    LocalLog,
    codec::{Blob, Headers},
    rows,
    schema::Store,
    trouble::Trouble,
    watch::Watch,
};
use anyhow::Result;
use std::time::{Duration, Instant};

/// How many bytes are read at once; it ends with the blob that reaches this.
const MOST_BYTES: usize = 1 << 20;

/// Reads a log from outside of any group. Between two calls nothing of the log is held.
pub struct Scanner {
    store: Store,
    watch: Watch,
}

/// Some records of one partition, in order.
pub struct Page {
    blobs: Vec<Blob>,
    from: u64,
    /// What is to be read next.
    pub next: u64,
    /// The first offset that is there.
    pub start: u64,
    /// The offset of the next record that comes: when `next` is here, this was all.
    pub end: u64,
}

/// A record as it lies in the log.
#[derive(Clone, Copy, Debug)]
pub struct Scanned<'a> {
    /// Its place.
    pub offset: u64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// `None` is no key.
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Names and values, any bytes.
    pub headers: Headers<'a>,
}

impl Scanner {
    pub(super) fn new(log: &LocalLog) -> Result<Scanner, Trouble> {
        Ok(Scanner { store: log.reader()?, watch: Watch::new(log.0.bell.clone()) })
    }

    /// Reads a partition from an offset on, about a MiB of it.
    pub fn read(&mut self, topic: &str, partition: u32, from: u64) -> Result<Page> {
        let page = self.store.read(|tx| {
            let part = part(tx, topic, partition)?;
            let rows::Part { id, first: start, next: end } = part;
            if !(start..=end).contains(&from) {
                return Err(Trouble::refused(format!(
                    "{topic}/{partition} has offsets from {start} to {end}: {from} is not among them"
                )));
            }
            let mut page = Page { blobs: Vec::new(), from, next: end, start, end };
            let mut bytes = 0;
            rows::read_blobs(tx, (id, topic, partition), from, |last, blob| {
                bytes += blob.size();
                page.blobs.push(blob);
                if bytes >= MOST_BYTES {
                    page.next = last + 1;
                }
                bytes < MOST_BYTES
            })?;
            Ok(page)
        })?;
        Ok(page)
    }

    /// The offset of the first record of this time or a later one; `None` when there is none.
    pub fn at_time(&mut self, topic: &str, partition: u32, time: i64) -> Result<Option<u64>> {
        Ok(self.store.read(|tx| {
            let part = part(tx, topic, partition)?;
            rows::at_time(tx, (part.id, topic, partition), time)
        })?)
    }

    /// Waits until something was committed since the last time; false when the time is over.
    pub fn wait_for_change(&mut self, timeout: Duration) -> Result<bool> {
        Ok(self.watch.wait(&self.store, Instant::now() + timeout)?)
    }
}

impl Page {
    /// Its records.
    pub fn records(&self) -> impl Iterator<Item = Scanned<'_>> {
        self.blobs.iter().flat_map(|blob| {
            (blob.find(self.from)..blob.len()).map(|index| {
                let content = blob.content(index);
                Scanned {
                    offset: blob.offset(index),
                    timestamp: content.timestamp,
                    key: content.key,
                    value: content.value,
                    headers: Headers::new(content.headers),
                }
            })
        })
    }
}

fn part(tx: &rusqlite::Connection, topic: &str, partition: u32) -> Result<rows::Part, Trouble> {
    let found = rows::topic(tx, topic)?.ok_or_else(|| Trouble::refused(format!("there is no topic {topic}")))?;
    let part = found.parts.get(partition as usize).copied();
    part.ok_or_else(|| Trouble::refused(format!("topic {topic} has no partition {partition}")))
}
