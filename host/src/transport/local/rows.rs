//! What is in the log, row by row. All of it runs in a transaction of the caller's.

use super::{
    codec::{Blob, Sealed},
    trouble::Trouble,
};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeMap;

/// A topic that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Topic {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) config: BTreeMap<String, String>,
    pub(super) parts: Vec<Part>,
}

/// A partition of it: its place in `parts` is its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Never used again.
    pub(super) id: i64,
    pub(super) first: u64,
    pub(super) next: u64,
}

/// What a group has of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Committed {
    /// The partition that it read: another one than that of today when the topic was made anew.
    pub(super) part: i64,
    pub(super) next: u64,
}

/// What changes whenever a topic comes, grows or goes.
pub(super) fn topics_version(tx: &Connection) -> Result<i64, Trouble> {
    Ok(tx.prepare_cached("SELECT topics FROM version")?.query_row([], |row| row.get(0))?)
}

/// Tells everybody that a topic came, grew or went.
pub(super) fn topics_changed(tx: &Connection) -> Result<(), Trouble> {
    tx.execute("UPDATE version SET topics = topics + 1", [])?;
    Ok(())
}

/// A topic that somebody asked for by its name.
pub(super) fn existing(tx: &Connection, name: &str) -> Result<Topic, Trouble> {
    topic(tx, name)?.ok_or_else(|| Trouble::refused(format!("there is no topic {name}")))
}

/// A topic by its name.
pub(super) fn topic(tx: &Connection, name: &str) -> Result<Option<Topic>, Trouble> {
    let mut query = tx.prepare_cached("SELECT id, config FROM topic WHERE name = ?1")?;
    let found = query.query_row([name], |row| Ok((row.get(0)?, row.get::<_, String>(1)?))).optional()?;
    let Some((id, config)) = found else {
        return Ok(None);
    };
    let config = serde_json::from_str(&config)
        .map_err(|error| Trouble::damaged(format!("the configuration of topic {name} cannot be read: {error}")))?;
    Ok(Some(Topic { id, name: name.to_owned(), config, parts: parts(tx, id)? }))
}

/// The names of all topics.
pub(super) fn topic_names(tx: &Connection) -> Result<Vec<String>, Trouble> {
    let mut query = tx.prepare_cached("SELECT name FROM topic ORDER BY name")?;
    Ok(query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

fn parts(tx: &Connection, topic: i64) -> Result<Vec<Part>, Trouble> {
    let mut query = tx.prepare_cached("SELECT id, first, next FROM part WHERE topic = ?1 ORDER BY number")?;
    let rows = query.query_map([topic], |row| Ok(Part { id: row.get(0)?, first: row.get(1)?, next: row.get(2)? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Where a partition begins and ends now; `None` when it was deleted.
pub(super) fn bounds(tx: &Connection, part: i64) -> Result<Option<(u64, u64)>, Trouble> {
    let mut query = tx.prepare_cached("SELECT first, next FROM part WHERE id = ?1 AND topic IS NOT NULL")?;
    Ok(query.query_row([part], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// Puts blobs at a partition's end; returns the offset of their first record, or nothing when the partition is gone.
pub(super) fn append(tx: &Connection, part: i64, blobs: &[Sealed]) -> Result<Option<u64>, Trouble> {
    let span: u64 = blobs.iter().map(|blob| u64::from(blob.span)).sum();
    let size: u64 = blobs.iter().map(|blob| blob.data.len() as u64).sum();
    let mut reach = tx.prepare_cached(
        "UPDATE part SET next = next + ?2, size = size + ?3 WHERE id = ?1 AND topic IS NOT NULL RETURNING next - ?2",
    )?;
    let first: Option<u64> = reach.query_row(params![part, span, size], |row| row.get(0)).optional()?;
    let Some(first) = first else {
        return Ok(None);
    };
    let mut next = first;
    for blob in blobs {
        next += u64::from(blob.span);
        insert(tx, part, next - 1, blob)?;
    }
    Ok(Some(first))
}

/// Puts a blob where it belongs.
pub(super) fn insert(tx: &Connection, part: i64, last: u64, blob: &Sealed) -> Result<(), Trouble> {
    let mut insert = tx.prepare_cached(
        "INSERT OR REPLACE INTO batch (part, last, count, size, latest, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    insert.execute(params![part, last, blob.count, blob.data.len(), blob.latest, blob.data])?;
    Ok(())
}

/// Reads a partition's blobs, from the one with this offset on, until `more` has enough.
pub(super) fn read_blobs(
    tx: &Connection,
    place: (i64, &str, u32),
    from: u64,
    mut more: impl FnMut(u64, Blob) -> bool,
) -> Result<(), Trouble> {
    let (part, topic, number) = place;
    let mut query = tx.prepare_cached("SELECT last, data FROM batch WHERE part = ?1 AND last >= ?2 ORDER BY last")?;
    let mut rows = query.query(params![part, from])?;
    while let Some(row) = rows.next()? {
        let last: u64 = row.get(0)?;
        let blob = Blob::read(row.get(1)?, last).map_err(|damage| Trouble::at(damage, topic, number, last))?;
        if !more(last, blob) {
            break;
        }
    }
    Ok(())
}

/// The first record of this time or a later one.
pub(super) fn at_time(tx: &Connection, place: (i64, &str, u32), time: i64) -> Result<Option<u64>, Trouble> {
    let (part, topic, number) = place;
    let mut query =
        tx.prepare_cached("SELECT last, data FROM batch WHERE part = ?1 AND latest >= ?2 ORDER BY last LIMIT 1")?;
    let found = query.query_row(params![part, time], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((last, data)) = found else {
        return Ok(None);
    };
    let blob = Blob::read(data, last).map_err(|damage| Trouble::at(damage, topic, number, last))?;
    let index = (0..blob.len()).find(|index| blob.content(*index).timestamp >= time);
    Ok(index.map(|index| blob.offset(index)))
}

/// All that a group has of a topic, by the partitions' numbers.
pub(super) fn committed(tx: &Connection, group: &str, topic: &str) -> Result<BTreeMap<u32, Committed>, Trouble> {
    let mut query = tx.prepare_cached("SELECT number, part, next FROM progress WHERE grp = ?1 AND name = ?2")?;
    let rows =
        query.query_map([group, topic], |row| Ok((row.get(0)?, Committed { part: row.get(1)?, next: row.get(2)? })))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A group's way through one partition.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) group: String,
    pub(super) topic: String,
    pub(super) number: u32,
    pub(super) part: i64,
    /// What the group must still have: who has gone on from something else has been overtaken.
    pub(super) from: Expected,
    pub(super) next: u64,
}

/// What a group is believed to have of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Nothing, or something of an earlier partition of that name.
    Nothing,
    /// This.
    At(u64),
    /// Whatever it is.
    Anything,
}

/// Takes a step, unless it starts from where the group is not.
pub(super) fn advance(tx: &Connection, step: &Step) -> Result<(), Trouble> {
    let Step { group, topic, number, part, next, .. } = step;
    let mut alive = tx.prepare_cached("SELECT 1 FROM part WHERE id = ?1 AND topic IS NOT NULL")?;
    if !alive.exists([part])? {
        return Err(Trouble::overtaken(format!("group {group}: {topic}/{number} as it read it is not there any more")));
    }
    let changed = match step.from {
        Expected::At(from) => tx
            .prepare_cached(
                "UPDATE progress SET next = ?5 WHERE grp = ?1 AND name = ?2 AND number = ?3 AND part = ?4 AND next = ?6",
            )?
            .execute(params![group, topic, number, part, next, from])?,
        Expected::Nothing => tx
            .prepare_cached(
                "INSERT INTO progress (grp, name, number, part, next) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET part = ?4, next = ?5 WHERE part <> ?4",
            )?
            .execute(params![group, topic, number, part, next])?,
        Expected::Anything => tx
            .prepare_cached("INSERT OR REPLACE INTO progress (grp, name, number, part, next) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![group, topic, number, part, next])?,
    };
    match changed {
        1 => Ok(()),
        _ => Err(Trouble::overtaken(format!("group {group}: somebody moved its offset in {topic}/{number}"))),
    }
}

/// How many bytes a partition has; `None` when it was deleted.
pub(super) fn size(tx: &Connection, part: i64) -> Result<Option<u64>, Trouble> {
    let mut query = tx.prepare_cached("SELECT size FROM part WHERE id = ?1 AND topic IS NOT NULL")?;
    Ok(query.query_row([part], |row| row.get(0)).optional()?)
}
