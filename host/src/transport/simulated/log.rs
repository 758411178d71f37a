//! A partition as Kafka keeps it: transactions lie in it open, committed or aborted, and their markers take offsets.

use super::transactions::WriterId;
use std::rc::Rc;

/// A record at rest.
#[derive(Clone, Debug, Default)]
pub(super) struct Data {
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub(super) timestamp: Option<i64>,
}

impl Data {
    /// The value: in the simulation it is always text.
    pub(super) fn text(&self) -> &str {
        self.value.as_deref().and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default()
    }
}

/// What a reader of committed records makes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Nobody knows yet.
    Open(WriterId),
    Visible,
    /// It was aborted, or is a marker.
    Hidden,
}

/// The entries of a partition, by offset.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: Vec<(Standing, Rc<Data>)>,
    /// The first offset that is there.
    start: usize,
    stable_end: usize,
}

impl Log {
    /// Adds a record: of an open transaction, or else visible at once.
    pub(super) fn append(&mut self, writer: Option<WriterId>, data: Rc<Data>) {
        let standing = writer.map_or(Standing::Visible, Standing::Open);
        self.entries.push((standing, data));
        self.settle();
    }

    /// Writes a transaction's marker: what it wrote here is visible from now on, or never.
    pub(super) fn mark(&mut self, writer: WriterId, commit: bool) {
        let standing = match commit {
            true => Standing::Visible,
            false => Standing::Hidden,
        };
        for entry in &mut self.entries[self.stable_end..] {
            if entry.0 == Standing::Open(writer) {
                entry.0 = standing;
            }
        }
        self.entries.push((Standing::Hidden, Rc::default()));
        self.settle();
    }

    fn settle(&mut self) {
        while let Some((Standing::Visible | Standing::Hidden, _)) = self.entries.get(self.stable_end) {
            self.stable_end += 1;
        }
    }

    /// Everything that is there is gone, as when it has become too old.
    pub(super) fn forget(&mut self) {
        self.start = self.entries.len();
    }

    /// The first offset that is there.
    pub(super) fn start(&self) -> u64 {
        self.start as u64
    }

    /// The last stable offset: as far as a reader of committed records may read.
    pub(super) fn stable_end(&self) -> u64 {
        self.stable_end as u64
    }

    /// Where the next entry will stand.
    pub(super) fn end(&self) -> u64 {
        self.entries.len() as u64
    }

    /// True when a transaction is open in it.
    pub(super) fn is_open(&self) -> bool {
        self.stable_end < self.entries.len()
    }

    /// What a reader of committed records finds from an offset on.
    pub(super) fn read(&self, from: u64) -> impl Iterator<Item = (u64, &Rc<Data>)> {
        let from = (from as usize).max(self.start).min(self.stable_end);
        (from as u64..)
            .zip(&self.entries[from..self.stable_end])
            .filter(|(_, (standing, _))| *standing == Standing::Visible)
            .map(|(offset, (_, data))| (offset, data))
    }
}
