//! Records as they lie in the log, without a copy.

use super::codec::{Blob, Headers};
use crate::{
    record::Header,
    transport::{Batch, Incoming, NextOffset, Offset, Partition, Progress},
};
use std::sync::Arc;

/// Records of an embedded log.
#[derive(Default)]
pub struct LocalBatch {
    blobs: Vec<(Partition, Arc<Blob>)>,
    /// Each record: its blob, and its place there.
    records: Vec<(u32, u32)>,
    ends: Vec<(Partition, NextOffset)>,
}

impl LocalBatch {
    /// Adds a blob's records from the one at `index` on, as many as there is room for; returns how far it came.
    pub(super) fn add(&mut self, partition: Partition, blob: &Arc<Blob>, index: usize, room: usize) -> usize {
        let end = blob.len().min(index.saturating_add(room));
        if index < end {
            let place = self.blobs.len() as u32;
            self.blobs.push((partition, blob.clone()));
            self.records.extend((index..end).map(|index| (place, index as u32)));
        }
        end
    }

    /// What is read next behind its records, and behind the ends that it tells of.
    pub(super) fn progress(&self) -> Progress {
        // The last record of each blob is the last one before the next blob's first.
        let lasts = self.records.chunk_by(|(blob, _), (next, _)| blob == next).filter_map(|records| records.last());
        let behind = lasts.map(|(blob, index)| {
            let (partition, blob) = &self.blobs[*blob as usize];
            (*partition, Offset(blob.offset(*index as usize)).next())
        });
        behind.chain(self.ends.iter().copied()).collect()
    }

    /// How many bytes its blobs have.
    pub(super) fn size(&self) -> usize {
        self.blobs.iter().map(|(_, blob)| blob.size()).sum()
    }

    /// Where each partition's records begin, or the end that it tells of without any.
    pub(super) fn firsts(&self) -> impl Iterator<Item = (Partition, NextOffset)> {
        let blobs = self.records.chunk_by(|(blob, _), (next, _)| blob == next).filter_map(|records| records.first());
        let firsts = blobs.map(|(blob, index)| {
            let (partition, blob) = &self.blobs[*blob as usize];
            (*partition, NextOffset(blob.offset(*index as usize)))
        });
        // In this order, who goes back to one after the other comes to the first.
        self.ends.iter().copied().chain(firsts.rev())
    }

    /// Notes that a partition's end was reached.
    pub(super) fn end(&mut self, partition: Partition, end: u64) {
        self.ends.push((partition, NextOffset(end)));
    }

    /// A record's headers as they are.
    pub(super) fn raw_headers(&self, index: usize) -> &[u8] {
        let (_, blob, index) = self.place(index);
        blob.content(index).headers
    }

    fn place(&self, index: usize) -> (Partition, &Blob, usize) {
        let (blob, index) = self.records[index];
        let (partition, blob) = &self.blobs[blob as usize];
        (*partition, blob, index as usize)
    }
}

impl Batch for LocalBatch {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn get(&self, index: usize) -> Incoming<'_> {
        let (partition, blob, index) = self.place(index);
        let content = blob.content(index);
        Incoming {
            partition,
            offset: Offset(blob.offset(index)),
            timestamp: Some(content.timestamp),
            key: content.key,
            value: content.value,
        }
    }

    fn headers(&self, index: usize) -> Vec<Header> {
        let header = |(name, value): (&[u8], Option<&[u8]>)| Header {
            name: String::from_utf8_lossy(name).into_owned(),
            value: value.map(<[u8]>::to_vec),
        };
        Headers::new(self.raw_headers(index)).map(header).collect()
    }

    fn ends(&self) -> &[(Partition, NextOffset)] {
        &self.ends
    }
}
