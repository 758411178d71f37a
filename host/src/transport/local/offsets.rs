//! Where a group stands in an embedded log.

use super::{
    LocalLog,
    rows::{self, Expected, Step},
    trouble::Trouble,
};
use crate::{
    manifest::Start,
    transport::log::{Lag, Offsets},
};
use anyhow::Result;
use std::collections::BTreeMap;

/// Where a group stands in an embedded log.
pub struct LocalOffsets {
    log: LocalLog,
    group: String,
    topics: Vec<String>,
}

impl LocalOffsets {
    pub(super) fn new(log: LocalLog, group: &str, topics: &[String]) -> LocalOffsets {
        LocalOffsets { log, group: group.to_owned(), topics: topics.to_vec() }
    }
}

impl Offsets for LocalOffsets {
    fn ask(&self) -> Result<BTreeMap<(String, u32), Lag>> {
        let LocalOffsets { log, group, topics } = self;
        let all = log.desk().read(|tx| {
            let mut all = BTreeMap::new();
            for name in topics {
                let (topic, committed) = (rows::existing(tx, name)?, rows::committed(tx, group, name)?);
                for (number, part) in (0..).zip(&topic.parts) {
                    let found = committed.get(&number).filter(|found| found.part == part.id);
                    let lag = Lag { committed: found.map(|found| found.next), start: part.first, end: part.next };
                    all.insert((name.clone(), number), lag);
                }
            }
            Ok(all)
        })?;
        Ok(all)
    }

    fn find(&self, start: Start) -> Result<BTreeMap<(String, u32), u64>> {
        let all = self.log.desk().read(|tx| {
            let mut all = BTreeMap::new();
            for name in &self.topics {
                for (number, part) in (0..).zip(&rows::existing(tx, name)?.parts) {
                    let at = match start {
                        Start::Earliest => part.first,
                        // Where nothing is that late, the end.
                        Start::Timestamp(time) => {
                            rows::at_time(tx, (part.id, name, number), time)?.unwrap_or(part.next)
                        }
                        Start::Latest | Start::Refuse => part.next,
                    };
                    all.insert((name.clone(), number), at);
                }
            }
            Ok(all)
        })?;
        Ok(all)
    }

    fn set(&self, offsets: &BTreeMap<(String, u32), u64>) -> Result<()> {
        let LocalOffsets { log, group, .. } = self;
        let Some(_lock) = log.join(group)? else {
            return Err(Trouble::passing(format!("group {group} is at work: end who runs it, and try again")).into());
        };
        log.desk().write(|tx| {
            for ((name, number), next) in offsets {
                let topic = rows::existing(tx, name)?;
                let Some(part) = topic.parts.get(*number as usize) else {
                    return Err(Trouble::refused(format!("topic {name} has no partition {number}")));
                };
                if !(part.first..=part.next).contains(next) {
                    return Err(Trouble::refused(format!(
                        "{name}/{number} has offsets from {} to {}: {next} is not among them",
                        part.first, part.next
                    )));
                }
                let (group, topic) = (group.clone(), name.clone());
                let step = Step { group, topic, number: *number, part: part.id, from: Expected::Anything, next: *next };
                rows::advance(tx, &step)?;
            }
            Ok(())
        })?;
        log.0.bell.ring();
        Ok(())
    }
}
