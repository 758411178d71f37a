//! A log from the outside: which one it is, its topics, and where groups stand in them.

use super::{
    kafka::{self, Cluster},
    local::LocalLog,
};
use crate::{
    manifest::{Kafka, Properties, Start},
    text::count,
};
use anyhow::Result;
use std::{collections::BTreeMap, fmt};

/// Which log it is, and how to reach it.
#[derive(Clone, Debug)]
pub enum Log {
    /// A Kafka.
    Kafka(Cluster),
    /// The embedded log.
    Local(LocalLog),
}

impl Log {
    /// The manifest's Kafka.
    pub fn kafka(kafka: &Kafka) -> Log {
        Log::Kafka(Cluster::new(&kafka.brokers.join(","), &kafka.properties))
    }

    /// The same log, reached with these of librdkafka's properties.
    pub fn with(&self, properties: &Properties) -> Log {
        match self {
            Log::Kafka(cluster) => Log::Kafka(Cluster::new(&cluster.brokers, properties)),
            Log::Local(log) => Log::Local(log.clone()),
        }
    }

    /// A connection for questions about topics.
    pub fn topics(&self) -> Result<Box<dyn Topics>> {
        Ok(match self {
            Log::Kafka(cluster) => Box::new(kafka::KafkaTopics::new(cluster)?),
            Log::Local(log) => Box::new(log.clone()),
        })
    }

    /// A connection for questions about a group and what it reads.
    pub fn offsets(&self, group: &str, topics: &[String]) -> Result<Box<dyn Offsets>> {
        Ok(match self {
            Log::Kafka(cluster) => Box::new(kafka::KafkaOffsets::new(cluster, group, topics)?),
            Log::Local(log) => Box::new(log.offsets(group, topics)),
        })
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Log::Kafka(cluster) => write!(f, "Kafka at {}", cluster.brokers),
            Log::Local(log) => write!(f, "the embedded log in {}", log.folder().display()),
        }
    }
}

/// A log's topics.
pub trait Topics: Send {
    /// All topics with their partition counts.
    fn list(&self) -> Result<BTreeMap<String, TopicFacts>>;
    /// Which of these topics are there, with their configuration.
    fn find(&self, names: &[&str]) -> Result<BTreeMap<String, TopicFacts>>;
    /// A topic's partitions, with where each begins and ends; `None` when there is no such topic.
    fn partitions(&self, name: &str) -> Result<Option<Vec<PartitionFacts>>>;
    /// Makes a topic, and waits until it is there; false when it was there already.
    fn create(&self, topic: &NewTopic) -> Result<bool>;
    /// Gives a topic more partitions.
    fn grow(&self, name: &str, partitions: u32) -> Result<()>;
    /// Deletes a topic.
    fn delete(&self, name: &str) -> Result<()>;
}

/// Where one group stands. Who asks joins no group.
pub trait Offsets: Send {
    /// All partitions of all topics that the group reads, as they are now.
    fn ask(&self) -> Result<BTreeMap<(String, u32), Lag>>;
    /// Where a start lies in each of these partitions.
    fn find(&self, start: Start) -> Result<BTreeMap<(String, u32), u64>>;
    /// Puts the group at these offsets; refused while it has members.
    fn set(&self, offsets: &BTreeMap<(String, u32), u64>) -> Result<()>;
}

/// What is known of a topic that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicFacts {
    /// How many partitions it has.
    pub partitions: u32,
    /// How many replicas each has; 0 where there is no such thing.
    pub replication: usize,
    /// Its configuration, as far as it may be read.
    pub config: BTreeMap<String, String>,
    /// The keys of `config` that were set for this topic.
    pub own_config: Vec<String>,
}

impl TopicFacts {
    /// A number from its configuration.
    pub fn number(&self, key: &str) -> Option<i64> {
        self.config.get(key)?.parse().ok()
    }
}

/// A topic that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; the log's default when not given.
    pub partitions: Option<u32>,
    /// How many replicas; the broker's default when not given.
    pub replication: Option<u16>,
    /// Its configuration.
    pub config: BTreeMap<String, String>,
}

impl NewTopic {
    /// How many partitions it has, for people, when that is not left to the log.
    pub fn shape(&self) -> String {
        self.partitions.map_or_else(String::new, |n| format!(" with {}", count(n.into(), "partition")))
    }
}

/// One partition, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionFacts {
    /// Its number.
    pub number: u32,
    /// The broker that leads it; below 0 when none does.
    pub leader: i32,
    /// The brokers that keep it.
    pub replicas: Vec<i32>,
    /// Those of them that are up to date.
    pub in_sync: Vec<i32>,
    /// The first offset that is there.
    pub start: Option<u64>,
    /// The offset of the next record.
    pub end: Option<u64>,
}

/// A partition as a group stands to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// What the group reads next; `None` when it has committed nothing.
    pub committed: Option<u64>,
    /// The first offset that is there.
    pub start: u64,
    /// Where a reader of committed records comes to the end.
    pub end: u64,
}

impl Lag {
    /// True when nothing is left to read.
    pub fn is_none(&self) -> bool {
        self.committed.unwrap_or(self.start) >= self.end
    }
}
