//! Groups: which there are, whether they run, and what they read.

use super::{
    offsets::patiently,
    places::QUESTION,
    settings::Cluster,
    topics::{Quiet, asker, explain},
};
use crate::transport::log::{Groups, Member};
use anyhow::Result;
use rdkafka::{
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    groups::GroupMemberInfo,
    topic_partition_list::{Offset, TopicPartitionList},
};
use std::{collections::BTreeSet, time::Duration};

/// A little more than the time after which a host's members are given up.
const ECHO: Duration = Duration::from_secs(8);

/// A connection for questions about groups. It joins none.
pub struct KafkaGroups {
    cluster: Cluster,
}

impl KafkaGroups {
    /// A connection; nothing is asked yet.
    pub fn new(cluster: &Cluster) -> KafkaGroups {
        KafkaGroups { cluster: cluster.clone() }
    }

    fn ask<T>(&self, group: &str, question: impl Fn(&BaseConsumer<Quiet>) -> Result<T, KafkaError>) -> Result<T> {
        let mut config = self.cluster.plain();
        config.set("group.id", group).set("enable.auto.commit", "false");
        // What an open transaction may change is not waited for.
        config.set("isolation.level", "read_uncommitted");
        let client = BaseConsumer::from_config_and_context(&config, Quiet::default())?;
        patiently(|| question(&client)).map_err(|error| explain(&self.cluster, error))
    }
}

impl Groups for KafkaGroups {
    fn list(&self) -> Result<Vec<String>> {
        let client = asker(&self.cluster)?;
        let found = patiently(|| client.fetch_group_list(None, QUESTION));
        let found = found.map_err(|error| explain(&self.cluster, error))?;
        Ok(found.groups().iter().map(|group| group.name().to_owned()).collect())
    }

    fn members(&self, group: &str) -> Result<usize> {
        let found = self.ask(group, |client| client.fetch_group_list(Some(group), QUESTION))?;
        Ok(found.groups().iter().filter(|found| found.name() == group).map(|found| found.members().len()).sum())
    }

    fn named_members(&self, group: &str) -> Result<Vec<Member>> {
        // Whoever has a group of its own takes a second to go.
        let client = asker(&self.cluster)?;
        let found = patiently(|| client.fetch_group_list(Some(group), QUESTION));
        let found = found.map_err(|error| explain(&self.cluster, error))?;
        let of_group = found.groups().iter().filter(|found| found.name() == group);
        let member = |member: &GroupMemberInfo| Member {
            name: member.id().to_owned(),
            host: member.client_host().trim_start_matches('/').to_owned(),
        };
        Ok(of_group.flat_map(|group| group.members().iter().map(member)).collect())
    }

    fn echo(&self) -> Duration {
        ECHO
    }

    fn delete(&self, group: &str) -> Result<()> {
        super::topics::delete_group(&self.cluster, group)
    }

    fn topics(&self, group: &str) -> Result<Vec<String>> {
        let committed = self.ask(group, |client| {
            let metadata = client.fetch_metadata(None, QUESTION)?;
            let mut all = TopicPartitionList::new();
            for topic in metadata.topics().iter().filter(|topic| topic.error().is_none()) {
                topic.partitions().iter().for_each(|partition| {
                    all.add_partition(topic.name(), partition.id());
                });
            }
            // The library takes an empty list for an error.
            if all.count() == 0 { Ok(all) } else { client.committed_offsets(all, QUESTION) }
        })?;
        let elements = committed.elements();
        let stands = elements.iter().filter(|element| matches!(element.offset(), Offset::Offset(_)));
        let topics: BTreeSet<_> = stands.map(|element| element.topic().to_owned()).collect();
        Ok(topics.into_iter().collect())
    }
}
