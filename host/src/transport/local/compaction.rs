//! Of each key the last record: what a topic with `cleanup.policy=compact` keeps at least.
//!
//! A pass notes, step by step, where the keys of what is new were written last; then it goes over the partition, step
//! by step, and leaves out what was written again later. The last record of a key stays, a tombstone too; offsets
//! never change. A pass that is interrupted has only left out what may go.

use super::{
    codec::{Blob, Draft, Sealed},
    faults, rows,
    schema::Store,
    tidy::{STEP, STEP_BYTES},
    trouble::Trouble,
};
use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// How many keys a pass keeps in mind; what comes behind them is for the next pass.
const MOST_KEYS: usize = 200_000;

/// One pass over a partition.
pub(super) struct Pass {
    part: i64,
    topic: String,
    number: u32,
    /// Where each key was written last, as far as the pass has looked.
    last: HashMap<Key, u64>,
    /// What has been looked at.
    until: u64,
    rewriting: Option<u64>,
}

/// A key's digest: as good as the key, and always of the same size.
type Key = [u8; 16];

impl Pass {
    /// A pass over a partition, when at least half of it is new; else there is little to be won.
    pub(super) fn of(tx: &Connection, part: i64, topic: &str, number: u32) -> Result<Option<Pass>, Trouble> {
        let (size, cleaned): (u64, u64) =
            tx.query_row("SELECT size, cleaned FROM part WHERE id = ?1", [part], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let new: f64 = tx.query_row(
            "SELECT total(size) FROM batch WHERE part = ?1 AND last >= ?2",
            params![part, cleaned],
            |row| row.get(0),
        )?;
        let new = new as u64;
        Ok((new > 0 && new * 2 >= size).then(|| Pass {
            part,
            topic: topic.to_owned(),
            number,
            last: HashMap::new(),
            until: cleaned,
            rewriting: None,
        }))
    }

    /// Does a little; true when the pass is over.
    pub(super) fn step(&mut self, store: &mut Store) -> Result<bool, Trouble> {
        match self.rewriting {
            None => store.read(|tx| self.look(tx)).map(|()| false),
            Some(from) => store.write(|tx| {
                let next = self.rewrite(tx, from)?;
                faults::at("compaction");
                Ok(next)
            }),
        }
    }

    fn look(&mut self, tx: &Connection) -> Result<(), Trouble> {
        let (mut count, mut bytes, mut until) = (0, 0, self.until);
        let last = &mut self.last;
        rows::read_blobs(tx, (self.part, &self.topic, self.number), self.until, |end, blob| {
            for index in 0..blob.len() {
                if let Some(key) = key(&blob, index) {
                    last.insert(key, blob.offset(index));
                }
            }
            (count, bytes, until) = (count + blob.len() as u64, bytes + blob.size() as u64, end + 1);
            count < STEP && bytes < STEP_BYTES && last.len() < MOST_KEYS
        })?;
        if until == self.until || self.last.len() >= MOST_KEYS {
            self.rewriting = Some(0);
        }
        self.until = until;
        Ok(())
    }

    /// Leaves out what was written again; true when it has come to the end of what it knows.
    fn rewrite(&mut self, tx: &Connection, from: u64) -> Result<bool, Trouble> {
        let (mut count, mut bytes, mut next, mut changes) = (0, 0, from, Vec::new());
        rows::read_blobs(tx, (self.part, &self.topic, self.number), from, |end, blob| {
            if end >= self.until {
                next = self.until;
                return false;
            }
            if let Some(thinned) = self.thin(&blob, end) {
                changes.push((end, blob.size(), thinned));
            }
            (count, bytes, next) = (count + blob.len() as u64, bytes + blob.size() as u64, end + 1);
            count < STEP && bytes < STEP_BYTES
        })?;
        for (end, size, thinned) in changes {
            let left = thinned.as_ref().map_or(0, |blob| blob.data.len());
            match thinned {
                Some(blob) => rows::insert(tx, self.part, end, &blob)?,
                None => drop(tx.execute("DELETE FROM batch WHERE part = ?1 AND last = ?2", params![self.part, end])?),
            }
            tx.execute("UPDATE part SET size = size - ?2 + ?3 WHERE id = ?1", params![self.part, size, left])?;
        }
        if next >= self.until || next == from {
            tx.execute("UPDATE part SET cleaned = ?2 WHERE id = ?1", params![self.part, self.until])?;
            return Ok(true);
        }
        self.rewriting = Some(next);
        Ok(false)
    }

    /// The blob without what was written again: nothing when it stays as it is, and no blob when none of it stays.
    fn thin(&self, blob: &Blob, end: u64) -> Option<Option<Sealed>> {
        let stays = |index: &usize| {
            let later = key(blob, *index).and_then(|key| self.last.get(&key));
            later.is_none_or(|later| *later <= blob.offset(*index))
        };
        let kept: Vec<_> = (0..blob.len()).filter(stays).collect();
        if kept.len() == blob.len() {
            return None;
        }
        let (mut draft, mut at) = (Draft::default(), blob.base());
        for index in &kept {
            let offset = blob.offset(*index);
            draft.push((offset - at) as u32, blob.content(*index));
            at = offset + 1;
        }
        Some((!kept.is_empty()).then(|| draft.seal((end + 1 - at) as u32)))
    }
}

fn key(blob: &Blob, index: usize) -> Option<Key> {
    let digest = Sha256::digest(blob.content(index).key?);
    let mut key = Key::default();
    key.copy_from_slice(&digest[..16]);
    Some(key)
}
