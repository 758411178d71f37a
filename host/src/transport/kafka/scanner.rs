//! Reads a topic for people: the partitions that were asked for, from where it was asked, as no group's member.

use super::{
    batch::{KafkaBatch, Queued},
    health::Health,
    member::Member,
    offsets::patiently,
    places,
    raw::Queue,
    reader::{
        Events,
        instead::{Kind, sort},
    },
    settings::Cluster,
    topics::{explain, explained, words},
};
use crate::transport::{
    Assignment, Batch, NextOffset, Partition, Progress, Taken,
    log::{From, Scan, Scanner},
};
use anyhow::{Context, Result, anyhow, bail};
use rdkafka::{
    config::{ClientConfig, FromClientConfigAndContext},
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::RDKafkaErrorCode,
    topic_partition_list::{Offset, TopicPartitionList},
};
use std::{sync::Arc, time::Duration};

/// The library wants a name for a group even where there is none.
const NOBODY: &str = "millstream-consume";

/// A reader of a topic: a member of the group, or, without one or for one partition alone, by itself.
pub fn scanner(cluster: &Cluster, scan: &Scan) -> Result<Box<dyn Scanner>> {
    let alone = Alone::open(cluster, scan)?;
    Ok(match &scan.group {
        Some(group) if scan.partition.is_none() => Box::new(Member::open(cluster, scan, group, alone)?),
        _ => Box::new(alone),
    })
}

fn connect(cluster: &Cluster, config: &ClientConfig) -> Result<Arc<BaseConsumer<Events>>> {
    let events = Events::new(&Health::new(cluster.clone()));
    Ok(Arc::new(BaseConsumer::from_config_and_context(config, events)?))
}

/// Reads what it wants.
pub(super) struct Alone {
    cluster: Cluster,
    config: ClientConfig,
    queue: Queue,
    consumer: Arc<BaseConsumer<Events>>,
    topics: [String; 1],
    has_group: bool,
    /// Where it begins, and how far it has come since.
    begins: Progress,
    chosen: Progress,
    ends: Progress,
    started: bool,
    /// What was to come next is gone: it has to begin again, behind that.
    astray: bool,
    scratch: Vec<Queued>,
}

impl Alone {
    fn open(cluster: &Cluster, scan: &Scan) -> Result<Alone> {
        let config = cluster.member(scan.group.as_deref().unwrap_or(NOBODY), scan.uncommitted);
        let consumer = connect(cluster, &config)?;
        let mut alone = Alone {
            cluster: cluster.clone(),
            config,
            queue: Queue::new(&consumer),
            consumer,
            topics: [scan.topic.clone()],
            has_group: scan.group.is_some(),
            begins: Progress::default(),
            chosen: Progress::default(),
            ends: Progress::default(),
            started: false,
            astray: false,
            scratch: Vec::new(),
        };
        let found = places::partitions(&alone.consumer, &alone.topics).and_then(|mut partitions| {
            partitions.retain(|partition| scan.partition.is_none_or(|only| only == partition.number));
            alone.find_starts(scan, &partitions)
        });
        explained(cluster, found)?;
        Ok(alone)
    }

    fn find_starts(&mut self, scan: &Scan, partitions: &[Partition]) -> Result<()> {
        let Alone { consumer, topics, ends, .. } = self;
        let starts = places::at(consumer, topics, partitions, Offset::Beginning)?;
        *ends = places::at(consumer, topics, partitions, Offset::End)?;
        let wished = match scan.from {
            From::Start(start) => places::start(consumer, topics, start, ends)?,
            From::Offset(offset) => partitions.iter().map(|partition| (*partition, NextOffset(offset))).collect(),
        };
        let committed = match self.has_group {
            true => places::committed(consumer, topics, partitions)?,
            false => Progress::default(),
        };
        for partition in partitions.iter().copied() {
            let (start, end) = (starts.get(partition), self.ends.get(partition));
            let (start, end) = start.zip(end).context("the broker does not say where a partition starts and ends")?;
            let stood = committed.get(partition);
            let next = stood.or(wished.get(partition)).unwrap_or(end);
            // What is gone is passed, and behind the end nothing can be read yet.
            self.begins.reach(partition, next.max(start).min(end));
            if stood.is_none() && self.has_group {
                self.chosen.reach(partition, next.max(start).min(end));
            }
        }
        Ok(())
    }

    /// Goes behind what is gone. The library has given that partition up, and no seek brings it back: only another client.
    fn begin_again(&mut self) -> Result<()> {
        self.consumer = connect(&self.cluster, &self.config)?;
        self.queue = Queue::new(&self.consumer);
        let partitions: Vec<_> = self.begins.iter().map(|(partition, _)| partition).collect();
        let starts = places::at(&self.consumer, &self.topics, &partitions, Offset::Beginning);
        let starts = starts.map_err(|error| explain(&self.cluster, error))?;
        self.chosen = Progress::default();
        for (partition, start) in starts.iter() {
            if self.begins.get(partition) < Some(start) {
                self.begins.reach(partition, start);
                if self.has_group {
                    self.chosen.reach(partition, start);
                }
            }
        }
        self.astray = false;
        Ok(())
    }

    /// Where the group begins that stands nowhere in the topic; nothing when it stands somewhere.
    pub(super) fn chosen(&self) -> Option<&Progress> {
        (self.chosen == self.begins).then_some(&self.chosen)
    }

    /// Where each partition ended.
    pub(super) fn into_ends(self) -> Progress {
        self.ends
    }

    fn offsets(&self, progress: &Progress) -> TopicPartitionList {
        places::offsets(&self.topics, progress)
    }
}

impl Scanner for Alone {
    fn ends(&self) -> &Progress {
        &self.ends
    }

    fn take(&mut self, limit: usize, wait: Duration) -> Result<Taken<Box<dyn Batch>>> {
        if !self.started || self.astray {
            return Ok(Taken::Rebalance);
        }
        // What the brokers have to say, which the client's own context hears.
        if let Some(Ok(_)) = self.consumer.poll(Duration::ZERO) {
            bail!("a record came past the queue");
        }
        self.queue.take(limit, wait, &mut self.scratch);
        if self.scratch.is_empty() {
            return Ok(Taken::Nothing);
        }
        let mut astray = false;
        let batch = KafkaBatch::new(self.scratch.drain(..), &self.topics, &self.consumer, |queued| {
            let place = format!("{}/{}", queued.topic().to_string_lossy(), queued.partition());
            let Some(code) = queued.error() else {
                return Err(anyhow!("a record of {place} came unasked"));
            };
            match sort(code) {
                Kind::OffsetGone => {
                    tracing::warn!("{place}: the next records are gone, as their time was over: going on behind them");
                    astray = true;
                    Ok(())
                }
                Kind::Unreadable => Err(anyhow!("{place}: {}", queued.text())),
                Kind::Forbidden | Kind::PartitionGone => Err(anyhow!("{place}: {}", words(code))),
                Kind::Passing => {
                    tracing::debug!("{place}: {code}: {}", queued.text());
                    Ok(())
                }
            }
        })?;
        self.astray = astray;
        for index in 0..batch.len() {
            let record = batch.get(index);
            self.begins.reach(record.partition, record.offset.next());
        }
        for (partition, end) in batch.ends() {
            self.begins.reach(*partition, *end);
        }
        Ok(Taken::Records(Box::new(batch)))
    }

    fn rebalance(&mut self) -> Result<Assignment> {
        if self.astray {
            self.begin_again()?;
        }
        for (partition, _) in self.begins.iter() {
            self.queue.forward(&self.topics[0], i32::try_from(partition.number)?);
        }
        self.consumer.assign(&self.offsets(&self.begins)).map_err(|error| explain(&self.cluster, error))?;
        self.started = true;
        Ok(Assignment { starts: self.begins.clone(), chosen: self.chosen.clone() })
    }

    fn commit(&mut self, progress: &Progress) -> Result<bool> {
        // The library takes an empty list for an error.
        if progress.is_empty() || !self.has_group {
            return Ok(true);
        }
        let offsets = self.offsets(progress);
        match patiently(|| self.consumer.commit(&offsets, CommitMode::Sync)) {
            Ok(()) => Ok(true),
            Err(error) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::UnknownMemberId | RDKafkaErrorCode::IllegalGeneration) => {
                    Err(anyhow!("the group runs: its progress is its members' alone"))
                }
                _ => Err(explain(&self.cluster, error)),
            },
        }
    }
}
