//! What groups have committed, and how far that is from the end.

use super::{settings::Cluster, topics::Quiet};
use crate::manifest::Start;
use anyhow::{Context, Result, ensure};
use rdkafka::{
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, CommitMode, Consumer},
    topic_partition_list::{Offset, TopicPartitionList},
};
use std::{collections::BTreeMap, time::Duration};

const QUESTION: Duration = Duration::from_secs(5);

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

/// A question to the cluster about one group. It joins no group.
pub struct Offsets {
    client: BaseConsumer<Quiet>,
    topics: Vec<String>,
}

impl Offsets {
    /// About `group` and what it reads.
    pub fn new(cluster: &Cluster, group: &str, topics: &[String]) -> Result<Offsets> {
        let mut config = cluster.plain();
        config.set("group.id", group).set("isolation.level", "read_committed");
        config.set("enable.auto.commit", "false");
        let client = BaseConsumer::from_config_and_context(&config, Quiet::default())?;
        Ok(Offsets { client, topics: topics.to_vec() })
    }

    /// All partitions of all topics, as they are now.
    pub fn ask(&self) -> Result<BTreeMap<(String, i32), Lag>> {
        let mut partitions = Vec::new();
        for topic in &self.topics {
            let metadata = self.client.fetch_metadata(Some(topic), QUESTION)?;
            for found in metadata.topics() {
                ensure!(found.error().is_none() && !found.partitions().is_empty(), "{topic} cannot be read now");
                partitions.extend(found.partitions().iter().map(|partition| (topic.clone(), partition.id())));
            }
        }
        let list = |offset| -> Result<TopicPartitionList> {
            let mut list = TopicPartitionList::new();
            for (topic, partition) in &partitions {
                list.add_partition_offset(topic, *partition, offset)?;
            }
            Ok(list)
        };
        let committed = known(&self.client.committed_offsets(list(Offset::Invalid)?, QUESTION)?)?;
        let starts = known(&self.client.offsets_for_times(list(Offset::Beginning)?, QUESTION)?)?;
        let ends = known(&self.client.offsets_for_times(list(Offset::End)?, QUESTION)?)?;
        partitions
            .into_iter()
            .map(|partition| {
                let lag = Lag {
                    committed: committed.get(&partition).copied(),
                    start: *starts.get(&partition).context("the broker does not say where a partition starts")?,
                    end: *ends.get(&partition).context("the broker does not say where a partition ends")?,
                };
                Ok((partition, lag))
            })
            .collect()
    }
}

impl Offsets {
    /// Chooses where a group without any offsets begins, for all of its partitions at once; in vain when it has members
    /// by now, who choose for themselves.
    pub fn choose(&self, start: Start) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for ((topic, partition), lag) in self.ask()? {
            let at = match start {
                Start::Timestamp(time) => {
                    let mut asked = TopicPartitionList::new();
                    asked.add_partition_offset(&topic, partition, Offset::Offset(time))?;
                    let found = known(&self.client.offsets_for_times(asked, QUESTION)?)?;
                    found.values().next().copied().unwrap_or(lag.end)
                }
                _ => lag.end,
            };
            list.add_partition_offset(&topic, partition, Offset::Offset(i64::try_from(at)?))?;
        }
        Ok(self.client.commit(&list, CommitMode::Sync)?)
    }
}

/// The offsets that were found; an error in the place of one is an error of all.
fn known(list: &TopicPartitionList) -> Result<BTreeMap<(String, i32), u64>> {
    let mut all = BTreeMap::new();
    for element in list.elements() {
        element.error()?;
        if let Offset::Offset(offset) = element.offset() {
            all.insert((element.topic().to_owned(), element.partition()), u64::try_from(offset)?);
        }
    }
    Ok(all)
}
