//! What keeps the log from growing for ever: topics that were deleted, records that are too old or too many, and keys
//! that were written again. It is done in steps that nobody has to wait for long.

use super::{
    compaction::Pass,
    rows::{self, Topic},
    schema::Store,
    topics,
    trouble::Trouble,
    writer::now,
};
use rusqlite::{Connection, params};
use std::collections::VecDeque;

/// How many records one step goes over, but for its last batch.
pub(super) const STEP: u64 = 20_000;
/// And how many bytes: a step keeps all others waiting.
pub(super) const STEP_BYTES: u64 = 8 << 20;

/// The work that is to be done, a step at a time.
#[derive(Default)]
pub(super) struct Tidy {
    tasks: VecDeque<Task>,
}

enum Task {
    /// See what there is to do.
    Look,
    /// Remove a partition whose topic was deleted.
    Remove { part: i64 },
    /// Remove what is too old, or too much, from a partition's beginning.
    Expire { part: i64, ms: Option<i64>, bytes: Option<u64> },
    /// Leave out what was written again.
    Compact(Pass),
}

impl Tidy {
    /// From now on there is something to do.
    pub(super) fn begin(&mut self) {
        if self.tasks.is_empty() {
            self.tasks.push_back(Task::Look);
        }
    }

    /// True when there is more to do.
    pub(super) fn is_at_it(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// Leaves one task for the next time.
    pub(super) fn skip(&mut self) {
        self.tasks.pop_front();
    }

    /// Does a little.
    pub(super) fn step(&mut self, store: &mut Store) -> Result<(), Trouble> {
        let Some(task) = self.tasks.front_mut() else {
            return Ok(());
        };
        let done = match task {
            Task::Look => {
                let found = store.read(look)?;
                self.tasks.extend(found);
                true
            }
            Task::Remove { part } => remove(store, *part)?,
            Task::Expire { part, ms, bytes } => expire(store, *part, *ms, *bytes)?,
            Task::Compact(pass) => pass.step(store)?,
        };
        if done {
            self.tasks.pop_front();
        }
        Ok(())
    }
}

fn look(tx: &Connection) -> Result<Vec<Task>, Trouble> {
    let mut tasks = Vec::new();
    let mut orphans = tx.prepare_cached("SELECT id FROM part WHERE topic IS NULL")?;
    for part in orphans.query_map([], |row| row.get(0))? {
        tasks.push(Task::Remove { part: part? });
    }
    for name in rows::topic_names(tx)? {
        let Some(topic) = rows::topic(tx, &name)? else {
            continue;
        };
        let policy = topics::setting(&topic, "cleanup.policy").unwrap_or_default();
        let (ms, bytes) = (limit(&topic, "retention.ms"), limit(&topic, "retention.bytes"));
        if policy.contains("delete") && (ms.is_some() || bytes.is_some()) {
            let bytes = bytes.and_then(|bytes| u64::try_from(bytes).ok());
            tasks.extend(topic.parts.iter().map(|part| Task::Expire { part: part.id, ms, bytes }));
        }
        if policy.contains("compact") {
            for (number, part) in (0..).zip(&topic.parts) {
                tasks.extend(Pass::of(tx, part.id, &name, number)?.map(Task::Compact));
            }
        }
    }
    Ok(tasks)
}

/// A limit of a topic's; below 0 there is none.
fn limit(topic: &Topic, key: &str) -> Option<i64> {
    topic.config.get(key)?.parse().ok().filter(|limit| *limit >= 0)
}

/// One step of a removal; true when the partition is gone.
pub(super) fn remove(store: &mut Store, part: i64) -> Result<bool, Trouble> {
    store.write(|tx| {
        let (until, all) = first_batches(tx, part, |_| true)?;
        if let Some(until) = until {
            tx.execute("DELETE FROM batch WHERE part = ?1 AND last <= ?2", params![part, until])?;
        }
        if all {
            tx.execute("DELETE FROM part WHERE id = ?1", [part])?;
        }
        super::faults::at("retention");
        Ok(all)
    })
}

/// One step of retention; true when nothing more is to go.
fn expire(store: &mut Store, part: i64, ms: Option<i64>, bytes: Option<u64>) -> Result<bool, Trouble> {
    let oldest = ms.map_or(i64::MIN, |ms| now().saturating_sub(ms));
    let look = |tx: &Connection| {
        let size: Option<u64> = rows::size(tx, part)?;
        let Some(mut size) = size else {
            return Ok((None, true));
        };
        first_batches(tx, part, |batch| {
            // As with Kafka, what stays is at least as much as was asked for.
            let too_many = bytes.is_some_and(|bytes| size.saturating_sub(batch.size) >= bytes);
            size = size.saturating_sub(batch.size);
            batch.latest < oldest || too_many
        })
    };
    // Most of the time there is nothing, and nobody needs to be kept from writing to see that.
    if store.read(look)?.0.is_none() {
        return Ok(true);
    }
    store.write(|tx| {
        let (until, all) = look(tx)?;
        if let Some(until) = until {
            let removed: u64 = tx.query_row(
                "SELECT total(size) FROM batch WHERE part = ?1 AND last <= ?2",
                params![part, until],
                |row| row.get::<_, f64>(0).map(|size| size as u64),
            )?;
            tx.execute("DELETE FROM batch WHERE part = ?1 AND last <= ?2", params![part, until])?;
            tx.execute(
                "UPDATE part SET first = ?2, size = size - ?3 WHERE id = ?1",
                params![part, until + 1, removed],
            )?;
        }
        super::faults::at("retention");
        Ok(all)
    })
}

struct Facts {
    size: u64,
    latest: i64,
}

/// The last offset of those first batches that go, as far as one step goes; and whether that was all.
fn first_batches(
    tx: &Connection,
    part: i64,
    mut goes: impl FnMut(&Facts) -> bool,
) -> Result<(Option<u64>, bool), Trouble> {
    let mut query = tx.prepare_cached("SELECT last, count, size, latest FROM batch WHERE part = ?1 ORDER BY last")?;
    let mut rows = query.query([part])?;
    let (mut until, mut count, mut bytes) = (None, 0, 0);
    while let Some(row) = rows.next()? {
        if count >= STEP || bytes >= STEP_BYTES {
            return Ok((until, false));
        }
        let facts = Facts { size: row.get(2)?, latest: row.get(3)? };
        if !goes(&facts) {
            break;
        }
        until = Some(row.get(0)?);
        (count, bytes) = (count + row.get::<_, u64>(1)?, bytes + facts.size);
    }
    Ok((until, true))
}
