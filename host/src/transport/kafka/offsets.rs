//! What groups have committed, and how far that is from the end.

use super::{settings::Cluster, topics::Quiet};
use crate::{
    manifest::Start,
    transport::log::{Lag, Offsets},
};
use anyhow::{Context, Result, anyhow, ensure};
use rdkafka::{
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    topic_partition_list::{Offset, TopicPartitionList},
};
use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

const QUESTION: Duration = Duration::from_secs(5);
/// How long to ask for a group's coordinator, and how long to wait between.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

/// A question to the cluster about one group. It joins no group.
pub struct KafkaOffsets {
    client: BaseConsumer<Quiet>,
    topics: Vec<String>,
}

impl KafkaOffsets {
    /// About `group` and what it reads.
    pub fn new(cluster: &Cluster, group: &str, topics: &[String]) -> Result<KafkaOffsets> {
        let mut config = cluster.plain();
        config.set("group.id", group).set("isolation.level", "read_committed");
        config.set("enable.auto.commit", "false");
        let client = BaseConsumer::from_config_and_context(&config, Quiet::default())?;
        Ok(KafkaOffsets { client, topics: topics.to_vec() })
    }

    /// Every partition that is there.
    fn partitions(&self) -> Result<Vec<(String, u32)>> {
        let mut partitions = Vec::new();
        for topic in &self.topics {
            let metadata = self.client.fetch_metadata(Some(topic), QUESTION)?;
            for found in metadata.topics() {
                ensure!(found.error().is_none() && !found.partitions().is_empty(), "{topic} cannot be read now");
                partitions.extend(found.partitions().iter().map(|partition| (topic.clone(), partition.id() as u32)));
            }
        }
        Ok(partitions)
    }

    fn at(&self, partitions: &[(String, u32)], offset: Offset) -> Result<BTreeMap<(String, u32), u64>> {
        known(&self.client.offsets_for_times(list(partitions, |_| offset)?, QUESTION)?)
    }
}

impl Offsets for KafkaOffsets {
    fn ask(&self) -> Result<BTreeMap<(String, u32), Lag>> {
        let partitions = self.partitions()?;
        let committed = {
            let asked = list(&partitions, |_| Offset::Invalid)?;
            known(&patiently(|| self.client.committed_offsets(asked.clone(), QUESTION))?)?
        };
        let (starts, ends) = (self.at(&partitions, Offset::Beginning)?, self.at(&partitions, Offset::End)?);
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

    fn find(&self, start: Start) -> Result<BTreeMap<(String, u32), u64>> {
        let partitions = self.partitions()?;
        let mut found = match start {
            Start::Earliest => self.at(&partitions, Offset::Beginning)?,
            Start::Timestamp(time) => self.at(&partitions, Offset::Offset(time))?,
            Start::Latest | Start::Refuse => BTreeMap::new(),
        };
        // Where nothing is that late, the end.
        self.at(&partitions, Offset::End)?.into_iter().for_each(|(partition, end)| {
            found.entry(partition).or_insert(end);
        });
        Ok(found)
    }

    fn set(&self, offsets: &BTreeMap<(String, u32), u64>) -> Result<()> {
        let partitions: Vec<_> = offsets.keys().cloned().collect();
        let list =
            list(&partitions, |partition| Offset::Offset(i64::try_from(offsets[partition]).unwrap_or(i64::MAX)))?;
        patiently(|| self.client.commit(&list, CommitMode::Sync)).map_err(|error| match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnknownMemberId | RDKafkaErrorCode::IllegalGeneration) => {
                anyhow!("the group is at work: end who runs it, and try again")
            }
            _ => error.into(),
        })
    }
}

fn list(partitions: &[(String, u32)], at: impl Fn(&(String, u32)) -> Offset) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition_offset(&partition.0, i32::try_from(partition.1)?, at(partition))?;
    }
    Ok(list)
}

/// Asks again while a group's coordinator is not at its place yet, as in a young cluster, or after a broker has gone.
pub(super) fn patiently<T>(mut ask: impl FnMut() -> Result<T, KafkaError>) -> Result<T, KafkaError> {
    let since = Instant::now();
    loop {
        match ask() {
            Err(error) if is_passing(&error) && since.elapsed() < PATIENCE => thread::sleep(PAUSE),
            other => return other,
        }
    }
}

fn is_passing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::NotCoordinator
                | RDKafkaErrorCode::CoordinatorNotAvailable
                | RDKafkaErrorCode::CoordinatorLoadInProgress
        )
    )
}

/// The offsets that were found; an error in the place of one is an error of all.
fn known(list: &TopicPartitionList) -> Result<BTreeMap<(String, u32), u64>> {
    let mut all = BTreeMap::new();
    for element in list.elements() {
        element.error()?;
        if let Offset::Offset(offset) = element.offset() {
            all.insert((element.topic().to_owned(), u32::try_from(element.partition())?), u64::try_from(offset)?);
        }
    }
    Ok(all)
}
