//! Where to begin: what the group has committed, or else what the manifest says. The rules are those that hold on
//! Kafka.

use super::{
    rows::{self, Committed, Expected, Part, Topic},
    trouble::Trouble,
};
use crate::{
    manifest::{OnLostOffset, Start},
    transport::{LinkSettings, Partition},
};
use rusqlite::Connection;

/// Where one partition begins.
pub(super) struct Begin {
    pub(super) partition: Partition,
    /// The partition's own id.
    pub(super) part: i64,
    /// What the group has of it.
    pub(super) committed: Expected,
    pub(super) at: u64,
    /// The group had no offset, or one that is gone.
    pub(super) chosen: bool,
}

/// True when a worker reads this partition: it never changes while topics only grow, so that no partition has to be
/// taken from one worker for another while the first has records of it in hand.
fn is_ours(partition: Partition, place: (u32, u32)) -> bool {
    let (worker, workers) = place;
    (partition.input as u32 + partition.number) % workers.max(1) == worker
}

/// Where each of this worker's partitions begins.
pub(super) fn find(tx: &Connection, settings: &LinkSettings, topics: &[Option<Topic>]) -> Result<Vec<Begin>, Trouble> {
    let mut begins = Vec::new();
    for (input, topic) in topics.iter().enumerate() {
        let Some(topic) = topic else {
            continue;
        };
        let committed = rows::committed(tx, &settings.group, &topic.name)?;
        for (number, part) in topic.parts.iter().enumerate() {
            let partition = Partition { input, number: number as u32 };
            if !is_ours(partition, settings.place) {
                continue;
            }
            let (at, chosen) = match committed.get(&partition.number) {
                Some(found) if found.part == part.id && (part.first..=part.next).contains(&found.next) => {
                    (found.next, false)
                }
                Some(lost) => (pass_lost(settings, topic, partition.number, part, lost)?, true),
                None => {
                    let place = (part.id, topic.name.as_str(), partition.number);
                    // A partition without an offset in a topic that the group knows is a new one: what it holds came
                    // after the group had begun, so it is read from its start.
                    let at = match settings.from {
                        Start::Earliest => part.first,
                        _ if !committed.is_empty() => part.first,
                        Start::Latest => part.next,
                        // Where nothing is that late, the end.
                        Start::Timestamp(time) => rows::at_time(tx, place, time)?.unwrap_or(part.next),
                        Start::Refuse => {
                            return Err(Trouble::fatal(format!(
                                "group {} has no offset for {}, and `from: none` refuses to choose one: set it, or \
                                 write `from: earliest`",
                                settings.group, topic.name
                            )));
                        }
                    };
                    (at, true)
                }
            };
            let committed = match committed.get(&partition.number) {
                Some(found) if found.part == part.id => Expected::At(found.next),
                _ => Expected::Nothing,
            };
            begins.push(Begin { partition, part: part.id, committed, at, chosen });
        }
    }
    Ok(begins)
}

/// What the manifest says of an offset that is gone.
fn pass_lost(
    settings: &LinkSettings,
    topic: &Topic,
    number: u32,
    part: &Part,
    lost: &Committed,
) -> Result<u64, Trouble> {
    let Part { id, first, next } = part;
    let place = format!("group {}: its offset {} in {}/{number}", settings.group, lost.next, topic.name);
    let anew = if lost.part == *id { "" } else { "the topic was made anew and " };
    let at = match settings.on_lost_offset {
        OnLostOffset::Stop => {
            return Err(Trouble::fatal(format!(
                "{place} is gone, {anew}there is {first} to {next} now: to go on write `on-lost-offset: earliest`, or \
                 `latest`"
            )));
        }
        OnLostOffset::Earliest => *first,
        OnLostOffset::Latest => *next,
    };
    tracing::warn!(
        "{place} is gone{}: going on at {at}",
        if anew.is_empty() { "" } else { ", the topic was made anew" }
    );
    Ok(at)
}
