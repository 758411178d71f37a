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
    cell::OnceCell,
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
    /// The same for what is settled, once somebody has asked for that.
    hasty: OnceCell<BaseConsumer<Quiet>>,
    group: String,
    topics: Vec<String>,
}

impl KafkaOffsets {
    /// About `group` and what it reads.
    pub fn new(cluster: &Cluster, group: &str, topics: &[String]) -> Result<KafkaOffsets> {
        let client = client(cluster, group, "read_committed")?;
        let (cluster, group, topics) = (cluster.clone(), group.to_owned(), topics.to_vec());
        Ok(KafkaOffsets { cluster, client, hasty: OnceCell::new(), group, topics })
    }

    /// With what the group has committed as this client is told it.
    fn lags(&self, teller: &BaseConsumer<Quiet>) -> Result<BTreeMap<(String, u32), Lag>> {
        let all = places::partitions(&self.client, &self.topics)?;
        let committed = places::committed(teller, &self.topics, &all)?;
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
        explained(&self.cluster, self.lags(&self.client))
    }

    fn settled(&self) -> Result<BTreeMap<(String, u32), Lag>> {
        let teller = match self.hasty.get() {
            Some(known) => known,
            None => {
                let new = client(&self.cluster, &self.group, "read_uncommitted")?;
                self.hasty.get_or_init(|| new)
            }
        };
        explained(&self.cluster, self.lags(teller))
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

/// A client for a group that it does not join. Who reads only what is committed hears of a group's offsets only while no
/// transaction may change them.
fn client(cluster: &Cluster, group: &str, isolation: &str) -> Result<BaseConsumer<Quiet>, KafkaError> {
    let mut config = cluster.plain();
    config.set("group.id", group).set("isolation.level", isolation).set("enable.auto.commit", "false");
    BaseConsumer::from_config_and_context(&config, Quiet::default())
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
