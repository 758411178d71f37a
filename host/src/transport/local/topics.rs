//! The log's topics from the outside.

use super::{
    LocalLog,
    rows::{self, Topic},
    tidy,
    trouble::Trouble,
};
use crate::transport::log::{ClusterFacts, NewTopic, PartitionFacts, Rules, TopicFacts, Topics};
use anyhow::Result;
use rusqlite::{Connection, params};
use std::collections::BTreeMap;

/// More than this would make every look at a topic slow.
const MOST_PARTITIONS: u32 = 10_000;
/// SQLite takes no more at once.
const LARGEST_RECORD: usize = 900 << 20;
/// Kafka's own limit for a topic's name.
const LONGEST_NAME: usize = 249;
/// What a topic's configuration says when nobody said anything else. Nothing is ever removed unless somebody asks.
const DEFAULTS: [(&str, &str); 5] = [
    ("cleanup.policy", "delete"),
    ("max.message.bytes", "1048588"),
    ("message.timestamp.type", "CreateTime"),
    ("retention.bytes", "-1"),
    ("retention.ms", "-1"),
];

impl Topics for LocalLog {
    fn cluster(&self) -> Result<ClusterFacts> {
        Ok(ClusterFacts::default())
    }

    fn list(&self) -> Result<BTreeMap<String, TopicFacts>> {
        let all = self.desk().read(|tx| {
            let names = rows::topic_names(tx)?;
            names.iter().map(|name| rows::topic(tx, name)).collect::<Result<Vec<_>, _>>()
        })?;
        Ok(all.into_iter().flatten().map(|topic| (topic.name.clone(), facts(topic))).collect())
    }

    fn find(&self, names: &[&str]) -> Result<BTreeMap<String, TopicFacts>> {
        let found =
            self.desk().read(|tx| names.iter().map(|name| rows::topic(tx, name)).collect::<Result<Vec<_>, _>>())?;
        Ok(found.into_iter().flatten().map(|topic| (topic.name.clone(), facts(topic))).collect())
    }

    fn partitions(&self, name: &str) -> Result<Option<Vec<PartitionFacts>>> {
        let topic = self.desk().read(|tx| rows::topic(tx, name))?;
        let facts = |(number, part): (usize, &rows::Part)| PartitionFacts {
            number: number as u32,
            leader: 0,
            replicas: vec![0],
            in_sync: vec![0],
            start: Some(part.first),
            end: Some(part.next),
        };
        Ok(topic.map(|topic| topic.parts.iter().enumerate().map(facts).collect()))
    }

    fn create(&self, topic: &NewTopic) -> Result<bool> {
        check(topic)?;
        let NewTopic { name, config, .. } = topic;
        let partitions = topic.partitions.unwrap_or(1);
        let text = serde_json::to_string(config)?;
        let made = self.desk().write(|tx| {
            if rows::topic(tx, name)?.is_some() {
                return Ok(false);
            }
            tx.execute("INSERT INTO topic (name, config) VALUES (?1, ?2)", params![name, text])?;
            add_parts(tx, tx.last_insert_rowid(), 0..partitions)?;
            Ok(true)
        })?;
        self.0.bell.ring();
        Ok(made)
    }

    fn would_create(&self, topic: &NewTopic) -> Result<bool> {
        check(topic)?;
        Ok(self.desk().read(|tx| rows::topic(tx, &topic.name))?.is_none())
    }

    fn grow(&self, name: &str, partitions: u32) -> Result<()> {
        check_count(name, partitions)?;
        self.desk().write(|tx| {
            let topic = rows::existing(tx, name)?;
            let known = topic.parts.len() as u32;
            if partitions <= known {
                return Err(Trouble::refused(format!(
                    "topic {name} has {known} partitions already, and a topic only grows"
                )));
            }
            add_parts(tx, topic.id, known..partitions)
        })?;
        self.0.bell.ring();
        Ok(())
    }

    fn delete(&self, name: &str) -> Result<()> {
        let mut desk = self.desk();
        let topic = desk.write(|tx| {
            let topic = rows::existing(tx, name)?;
            tx.execute("DELETE FROM topic WHERE id = ?1", [topic.id])?;
            tx.execute("UPDATE part SET topic = NULL WHERE topic = ?1", [topic.id])?;
            rows::topics_changed(tx)?;
            Ok(topic)
        })?;
        self.0.bell.ring();
        // The topic is gone. Should this be interrupted, whoever writes next removes what is left of it.
        for part in topic.parts {
            while !tidy::remove(&mut desk, part.id)? {}
        }
        Ok(())
    }
}

/// What a topic takes.
pub(super) fn rules(topic: &Topic) -> Rules {
    let rules = Rules::of(&facts(topic.clone()));
    Rules { largest: rules.largest.min(LARGEST_RECORD), ..rules }
}

fn facts(topic: Topic) -> TopicFacts {
    let own_config = topic.config.keys().cloned().collect();
    let mut config = topic.config;
    for (key, value) in DEFAULTS {
        config.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }
    TopicFacts { partitions: topic.parts.len() as u32, replication: 0, config, own_config }
}

/// A topic's configuration with what nobody said.
pub(super) fn setting(topic: &Topic, key: &str) -> Option<String> {
    let default = || DEFAULTS.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned());
    topic.config.get(key).cloned().or_else(default)
}

fn add_parts(tx: &Connection, topic: i64, numbers: std::ops::Range<u32>) -> Result<(), Trouble> {
    let mut insert = tx.prepare_cached("INSERT INTO part (topic, number) VALUES (?1, ?2)")?;
    for number in numbers {
        insert.execute(params![topic, number])?;
    }
    rows::topics_changed(tx)
}

/// Whether it is one that can be made.
fn check(topic: &NewTopic) -> Result<(), Trouble> {
    check_name(&topic.name)?;
    check_count(&topic.name, topic.partitions.unwrap_or(1))?;
    topic.config.iter().try_for_each(|(key, value)| check_setting(&topic.name, key, value))
}

fn check_name(name: &str) -> Result<(), Trouble> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    match !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(is_plain) && !matches!(name, "." | "..") {
        true => Ok(()),
        false => Err(Trouble::refused(format!(
            "{name:?} cannot be a topic's name: write up to {LONGEST_NAME} ASCII letters, digits, `.`, `-` and `_`"
        ))),
    }
}

fn check_count(name: &str, partitions: u32) -> Result<(), Trouble> {
    match (1..=MOST_PARTITIONS).contains(&partitions) {
        true => Ok(()),
        false => Err(Trouble::refused(format!(
            "topic {name} cannot have {partitions} partitions: the embedded log takes 1 to {MOST_PARTITIONS}"
        ))),
    }
}

/// What the log itself goes by must be understood; all else is kept for whoever moves to Kafka.
fn check_setting(topic: &str, key: &str, value: &str) -> Result<(), Trouble> {
    let wanted = match key {
        "retention.ms" | "retention.bytes" if value.parse::<i64>().is_err() => "a number, -1 for no limit",
        "max.message.bytes" if value.parse::<i32>().is_ok_and(|bytes| bytes >= 0) => return Ok(()),
        "max.message.bytes" => "a number of bytes",
        "cleanup.policy" if value.split(',').all(|word| matches!(word.trim(), "delete" | "compact")) => return Ok(()),
        "cleanup.policy" => "`delete`, `compact` or `delete,compact`",
        "message.timestamp.type" if value != "CreateTime" => "`CreateTime`: the embedded log keeps timestamps as sent",
        _ => return Ok(()),
    };
    Err(Trouble::refused(format!("topic {topic}: {key} cannot be {value:?}: write {wanted}")))
}
