//! A log from the outside: which one it is, its topics, and where groups stand in them.

use super::{
    Assignment, Batch, Outgoing, Progress, Taken,
    kafka::{self, Cluster},
    local::{LocalGroups, LocalLog, LocalScan, LocalSender},
};
use crate::{
    manifest::{Kafka, Properties, Start},
    record::Reason,
    text::count,
};
use anyhow::Result;
use serde::Serialize;
use std::{collections::BTreeMap, fmt, time::Duration};

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

    /// A connection for questions about groups.
    pub fn groups(&self) -> Box<dyn Groups> {
        match self {
            Log::Kafka(cluster) => Box::new(kafka::KafkaGroups::new(cluster)),
            Log::Local(log) => Box::new(LocalGroups::new(log)),
        }
    }

    /// A writer of records to a topic that is there, and of which this is known.
    pub fn sender(&self, topic: &str, facts: &TopicFacts) -> Result<Box<dyn Sender>> {
        Ok(match self {
            Log::Kafka(cluster) => Box::new(kafka::KafkaSender::new(cluster, topic, facts)?),
            Log::Local(log) => Box::new(LocalSender::new(log, topic)?),
        })
    }

    /// A reader of a topic that is there. Its first word is [`Taken::Rebalance`].
    pub fn scanner(&self, scan: &Scan) -> Result<Box<dyn Scanner>> {
        Ok(match self {
            Log::Kafka(cluster) => kafka::scanner(cluster, scan)?,
            Log::Local(log) => Box::new(LocalScan::new(log, scan)?),
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

/// What a cluster says of itself; an embedded log has none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClusterFacts {
    /// The name that it gave itself.
    pub id: Option<String>,
    /// The broker that clients are sent to for what a controller does.
    pub controller: Option<i32>,
    /// All that are there.
    pub brokers: Vec<BrokerFacts>,
}

/// One broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BrokerFacts {
    /// Its number.
    pub number: i32,
    /// Where clients find it.
    pub address: String,
}

/// A log's topics.
pub trait Topics: Send {
    /// The cluster that they are on.
    fn cluster(&self) -> Result<ClusterFacts>;
    /// All topics with their partition counts.
    fn list(&self) -> Result<BTreeMap<String, TopicFacts>>;
    /// Which of these topics are there, with their configuration.
    fn find(&self, names: &[&str]) -> Result<BTreeMap<String, TopicFacts>>;
    /// A topic's partitions, with where each begins and ends; `None` when there is no such topic.
    fn partitions(&self, name: &str) -> Result<Option<Vec<PartitionFacts>>>;
    /// Makes a topic, and waits until it is there; false when it was there already.
    fn create(&self, topic: &NewTopic) -> Result<bool>;
    /// What [`Topics::create`] would answer now; nothing is made.
    fn would_create(&self, topic: &NewTopic) -> Result<bool>;
    /// Gives a topic more partitions.
    fn grow(&self, name: &str, partitions: u32) -> Result<()>;
    /// Deletes a topic.
    fn delete(&self, name: &str) -> Result<()>;
}

/// The cluster gave no answer: what it was told may be done, or not.
#[derive(Debug)]
pub struct Unanswered(pub String);

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unanswered {}

/// Where one group stands. Who asks joins no group.
pub trait Offsets: Send {
    /// All partitions of all topics that the group reads, as they are now.
    fn ask(&self) -> Result<BTreeMap<(String, u32), Lag>>;
    /// The same as far as it is settled: what a transaction that is open may change stands as it was before, and is not
    /// waited for.
    fn settled(&self) -> Result<BTreeMap<(String, u32), Lag>> {
        self.ask()
    }
    /// Where a start lies in each of these partitions.
    fn find(&self, start: Start) -> Result<BTreeMap<(String, u32), u64>>;
    /// Puts the group at these offsets; refused while it has members.
    fn set(&self, offsets: &BTreeMap<(String, u32), u64>) -> Result<()>;
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name: that of its worker, a dot, and what has no dot in it.
    pub name: String,
    /// Where it is, as the cluster sees it.
    pub host: String,
}

impl Member {
    /// True for the worker of this name.
    pub fn is(&self, worker: &str) -> bool {
        let inputs = self.name.strip_prefix(worker).and_then(|rest| rest.strip_prefix('.'));
        // A worker's name may begin with that of another.
        inputs.is_some_and(|inputs| !inputs.contains('.'))
    }
}

/// Groups from the outside.
pub trait Groups: Send {
    /// The names of all groups.
    fn list(&self) -> Result<Vec<String>>;
    /// How many members a group has: it runs when there are any.
    fn members(&self, group: &str) -> Result<usize>;
    /// Its members, where they have names of their own.
    fn named_members(&self, group: &str) -> Result<Vec<Member>>;
    /// For how long a member may count whose host has ended: its place is kept for it.
    fn echo(&self) -> Duration;
    /// Forgets a group and where it stands; refused while it has members.
    fn delete(&self, group: &str) -> Result<()>;
    /// The topics that a group has committed offsets in.
    fn topics(&self, group: &str) -> Result<Vec<String>>;
}

/// Writes records to one topic, outside of transactions: each is acknowledged by itself.
pub trait Sender {
    /// Takes a record, and a number to name it by; false when so many are on their way that it does not: to be offered
    /// again after [`Sender::settle`].
    fn offer(&mut self, number: u64, record: &Outgoing<'_>) -> Result<bool>;
    /// Sends what was taken, and waits up to this long for what is on its way; true when nothing is any more.
    fn settle(&mut self, wait: Duration) -> Result<bool>;
    /// Gives up what is on its way: it counts as not acknowledged.
    fn give_up(&mut self) -> Result<()>;
    /// What has become of the records so far.
    fn sent(&self) -> Sent;
}

/// What became of records that were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// How many are in the log.
    pub acknowledged: u64,
    /// How many are on their way.
    pub underway: u64,
    /// How many are not in the log, as far as is known.
    pub failed: u64,
    /// The first of those, up to [`Sent::NAMED`], in no order.
    pub named: Vec<Unsent>,
}

impl Sent {
    /// How many records are named of those that failed.
    pub const NAMED: usize = 100;

    /// Notes a record that failed.
    pub fn fail(&mut self, unsent: Unsent) {
        self.failed += 1;
        if self.named.len() < Sent::NAMED {
            self.named.push(unsent);
        }
    }
}

/// A record that was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsent {
    /// The number that it was given.
    pub number: u64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// What became of it.
    pub why: String,
}

/// What is to be read of a topic.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The topic.
    pub topic: String,
    /// Only this partition of it.
    pub partition: Option<u32>,
    /// Where to begin, unless the group stands somewhere.
    pub from: From,
    /// The group whose progress it is: who reads a whole topic shares it with the group's other members.
    pub group: Option<String>,
    /// Records of transactions that are open or were aborted, too.
    pub uncommitted: bool,
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// As a stage would.
    Start(Start),
    /// With this offset, in every partition: with the one next to it that there is.
    Offset(u64),
}

/// Reads one topic, as a link does, but for people. Partitions are of the input 0.
pub trait Scanner {
    /// Where each partition ended when the reader began: known behind its first rebalance.
    fn ends(&self) -> &Progress;
    /// Waits up to `wait` for up to `limit` records.
    fn take(&mut self, limit: usize, wait: Duration) -> Result<Taken<Box<dyn Batch>>>;
    /// Lets the partitions come or go that [`Taken::Rebalance`] announced. What the group had no offset for is to be
    /// committed soon.
    fn rebalance(&mut self) -> Result<Assignment>;
    /// Makes this the group's progress; false when its partitions are about to be, or were, given to others.
    fn commit(&mut self, progress: &Progress) -> Result<bool>;
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

/// What a topic takes. It is looked at before a record is sent: what a log refuses it refuses together with all that was
/// sent beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How many partitions it has.
    pub partitions: u32,
    /// The largest record that it takes, in bytes.
    pub largest: usize,
    /// Compacted: a record needs a key.
    pub compacted: bool,
    /// How far ahead of the present a timestamp may be.
    pub ahead: Option<Duration>,
    /// For how long it keeps a record, by the record's own time.
    pub keeps: Option<Duration>,
}

impl Rules {
    /// What a Kafka takes when nobody says otherwise.
    pub const DEFAULT_LARGEST: usize = 1_048_588;
    /// What a record takes beside its key, value and headers, in a batch of its own; and what a header takes beside its
    /// name and value.
    const OVERHEADS: (usize, usize) = (96, 8);

    /// Those of a topic of which this is known.
    pub fn of(facts: &TopicFacts) -> Rules {
        let says = |key: &str, word: &str| facts.config.get(key).is_some_and(|value| value.contains(word));
        let largest = facts.number("max.message.bytes").and_then(|bytes| usize::try_from(bytes).ok());
        let ahead = facts.number("message.timestamp.after.max.ms").and_then(|ms| u64::try_from(ms).ok());
        let keeps = facts.number("retention.ms").and_then(|ms| u64::try_from(ms).ok());
        // Where the broker puts in its own time it does not look at ours.
        let goes_by_ours = !says("message.timestamp.type", "LogAppendTime");
        Rules {
            partitions: facts.partitions,
            largest: largest.unwrap_or(Rules::DEFAULT_LARGEST),
            compacted: says("cleanup.policy", "compact"),
            ahead: ahead.filter(|ms| *ms < i64::MAX as u64 && goes_by_ours).map(Duration::from_millis),
            keeps: keeps.filter(|_| goes_by_ours && says("cleanup.policy", "delete")).map(Duration::from_millis),
        }
    }

    /// Why the topic would not take a record; `kept` is how many bytes the headers have that go along with it, and
    /// `is_to_come` says whether a time is after the present.
    pub fn objection(
        &self,
        topic: &str,
        record: &Outgoing<'_>,
        kept: usize,
        is_to_come: impl FnOnce(i64) -> bool,
    ) -> Option<Reason> {
        let reason = |code: &str, message| Some(Reason { code: Some(code.into()), message });
        let Rules { partitions, largest, compacted, ahead, .. } = *self;
        if let Some(partition) = record.partition.filter(|partition| *partition >= partitions) {
            return reason("unknown-partition", format!("{topic} has no partition {partition}, it has {partitions}"));
        }
        if compacted && record.key.is_none() {
            return reason("no-key", format!("{topic} is compacted, and takes no record without a key"));
        }
        let (beside, of_header) = Rules::OVERHEADS;
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let headers = record.headers.iter().map(|h| h.name.len() + length(h.value.as_deref()) + of_header);
        let size = beside + length(record.key) + length(record.value) + kept + headers.sum::<usize>();
        if size > largest {
            return reason("too-large", format!("{topic} takes records of {largest} bytes, this one has {size}"));
        }
        let time = record.timestamp?;
        if time < 0 {
            return reason("negative-timestamp", "a timestamp counts milliseconds since 1970".into());
        }
        let ahead = i64::try_from(ahead?.as_millis()).unwrap_or(i64::MAX);
        match is_to_come(time.saturating_sub(ahead)) {
            true => reason("future-timestamp", format!("{topic} takes no timestamp as late as {time}")),
            false => None,
        }
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
    /// A broker is to put in its own time: it refuses a record whose writer has a clock that is an hour ahead.
    pub has_brokers_time: bool,
}

impl NewTopic {
    /// How many partitions it has, and what else is not left to the log, for people.
    pub fn shape(&self) -> String {
        let counts = self.partitions.map(|n| count(n.into(), "partition"));
        let counts = counts.into_iter().chain(self.replication.map(|n| count(n.into(), "replica")));
        let all: Vec<_> = counts.chain(self.config.iter().map(|(key, value)| format!("{key}={value}"))).collect();
        if all.is_empty() { String::new() } else { format!(" with {}", all.join(", ")) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_one_worker_whatever_others_are_called() {
        let member = |name: &str| Member { name: name.into(), host: "10.0.0.7".into() };
        assert!(member("shop.price.pod.0.1f3a-9c5e").is("shop.price.pod.0"));
        assert!(!member("shop.price.pod.0.1.1f3a-9c5e").is("shop.price.pod.0"));
        assert!(!member("shop.price.pod.01.1f3a").is("shop.price.pod.0"));
    }
}
