//! What groups have committed, and how far that is from the end.

use super::{
    places,
    settings::Cluster,
    topics::{Quiet, explain, explained},
};
use crate::{
    manifest::Start,
    transport::{
        NextOffset, Partition, Progress,
        log::{Lag, Offsets},
    },
};
use anyhow::{Context, Result, anyhow};
use rdkafka::{
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    topic_partition_list::Offset,
};
use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

/// How long to ask for a group's coordinator, and how long to wait between.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

/// A question to the cluster about one group. It joins no group.
pub struct KafkaOffsets {
    cluster: Cluster,
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
        Ok(KafkaOffsets { cluster: cluster.clone(), client, topics: topics.to_vec() })
    }

    fn lags(&self) -> Result<BTreeMap<(String, u32), Lag>> {
        let all = places::partitions(&self.client, &self.topics)?;
        let committed = places::committed(&self.client, &self.topics, &all)?;
        let at = |place| places::at(&self.client, &self.topics, &all, place);
        let (starts, ends) = (at(Offset::Beginning)?, at(Offset::End)?);
        all.iter()
            .map(|partition| {
                let lag = Lag {
                    committed: committed.get(*partition).map(|next| next.0),
                    start: starts.get(*partition).context("the broker does not say where a partition starts")?.0,
                    end: ends.get(*partition).context("the broker does not say where a partition ends")?.0,
                };
                Ok((self.name(*partition), lag))
            })
            .collect()
    }

    fn starts(&self, start: Start) -> Result<BTreeMap<(String, u32), u64>> {
        let all = places::partitions(&self.client, &self.topics)?;
        let ends = places::at(&self.client, &self.topics, &all, Offset::End)?;
        let found = places::start(&self.client, &self.topics, start, &ends)?;
        Ok(found.iter().map(|(partition, next)| (self.name(partition), next.0)).collect())
    }

    fn name(&self, partition: Partition) -> (String, u32) {
        (self.topics[partition.input].clone(), partition.number)
    }
}

impl Offsets for KafkaOffsets {
    fn ask(&self) -> Result<BTreeMap<(String, u32), Lag>> {
        explained(&self.cluster, self.lags())
    }

    fn find(&self, start: Start) -> Result<BTreeMap<(String, u32), u64>> {
        explained(&self.cluster, self.starts(start))
    }

    fn set(&self, offsets: &BTreeMap<(String, u32), u64>) -> Result<()> {
        let place = |((topic, number), next): (&(String, u32), &u64)| {
            let input = self.topics.iter().position(|known| known == topic);
            let input = input.with_context(|| format!("the group does not read {topic}"))?;
            Ok((Partition { input, number: *number }, NextOffset(*next)))
        };
        let list = places::offsets(&self.topics, &offsets.iter().map(place).collect::<Result<Progress>>()?);
        patiently(|| self.client.commit(&list, CommitMode::Sync)).map_err(|error| match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnknownMemberId | RDKafkaErrorCode::IllegalGeneration) => {
                anyhow!("the group is at work: end who runs it, and try again")
            }
            _ => explain(&self.cluster, error),
        })
    }
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
