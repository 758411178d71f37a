//! The embedded log behind the seam: topics, partitions, groups and transactions in one SQLite file.

use super::{
    Assignment, Batch, Fault, Incoming, Link, LinkSettings, NextOffset, Outgoing, Partition, Progress, Taken,
    log::{Lag, NewTopic, Offsets, PartitionFacts, TopicFacts, Topics},
};
use crate::{manifest::Start, record::Header};
use anyhow::Result;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

/// An embedded log that is open. Its clones are the same log.
#[derive(Clone, Debug)]
pub struct LocalLog {
    folder: PathBuf,
}

impl LocalLog {
    /// Opens the log in a folder; makes both when they are missing.
    pub fn open(folder: &Path) -> Result<LocalLog> {
        Ok(LocalLog { folder: folder.to_owned() })
    }

    /// True when there is a log in this folder.
    pub fn is_in(folder: &Path) -> bool {
        folder.join("log.db").exists()
    }

    /// The folder that it lies in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Questions about a group.
    pub fn offsets(&self, _group: &str, _topics: &[String]) -> LocalOffsets {
        todo!()
    }
}

impl Topics for LocalLog {
    fn list(&self) -> Result<BTreeMap<String, TopicFacts>> {
        todo!()
    }

    fn find(&self, _names: &[&str]) -> Result<BTreeMap<String, TopicFacts>> {
        todo!()
    }

    fn partitions(&self, _name: &str) -> Result<Option<Vec<PartitionFacts>>> {
        todo!()
    }

    fn create(&self, _topic: &NewTopic) -> Result<bool> {
        todo!()
    }

    fn grow(&self, _name: &str, _partitions: u32) -> Result<()> {
        todo!()
    }

    fn delete(&self, _name: &str) -> Result<()> {
        todo!()
    }
}

/// Where a group stands in an embedded log.
pub struct LocalOffsets {}

impl Offsets for LocalOffsets {
    fn ask(&self) -> Result<BTreeMap<(String, u32), Lag>> {
        todo!()
    }

    fn find(&self, _start: Start) -> Result<BTreeMap<(String, u32), u64>> {
        todo!()
    }

    fn set(&self, _offsets: &BTreeMap<(String, u32), u64>) -> Result<()> {
        todo!()
    }
}

/// A worker's connection to an embedded log.
pub struct LocalLink {}

impl LocalLink {
    /// A link that is not connected yet: its first [`Link::recover`] connects it.
    pub fn new(_log: LocalLog, _settings: LinkSettings) -> LocalLink {
        todo!()
    }
}

/// Records of an embedded log.
pub struct LocalBatch {}

impl Batch for LocalBatch {
    fn len(&self) -> usize {
        todo!()
    }

    fn get(&self, _index: usize) -> Incoming<'_> {
        todo!()
    }

    fn headers(&self, _index: usize) -> Vec<Header> {
        todo!()
    }

    fn ends(&self) -> &[(Partition, NextOffset)] {
        todo!()
    }
}

impl Link for LocalLink {
    type Batch = LocalBatch;

    fn take(&mut self, _limit: usize, _wait: Duration) -> Result<Taken<LocalBatch>, Fault> {
        todo!()
    }

    fn rebalance(&mut self) -> Result<Assignment, Fault> {
        todo!()
    }

    fn hold(&mut self, _partition: Partition) -> Result<(), Fault> {
        todo!()
    }

    fn release(&mut self, _partition: Partition, _from: NextOffset) -> Result<(), Fault> {
        todo!()
    }

    fn begin(&mut self) -> Result<(), Fault> {
        todo!()
    }

    fn send(&mut self, _record: &Outgoing<'_>, _origin: Option<(&LocalBatch, usize)>) -> Result<(), Fault> {
        todo!()
    }

    fn commit(&mut self, _progress: &Progress) -> Result<(), Fault> {
        todo!()
    }

    fn recover(&mut self) -> Result<Assignment, Fault> {
        todo!()
    }

    fn close(self) {}
}
