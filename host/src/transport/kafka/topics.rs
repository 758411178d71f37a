//! A cluster's topics: what is there, made, grown and deleted.

use super::{
    places::{QUESTION, known, list},
    raw,
    reasons::plain,
    settings::Cluster,
};
use crate::transport::{
    Partition, Progress,
    log::{BrokerFacts, ClusterFacts, NewTopic, PartitionFacts, TopicFacts, Topics, Unanswered},
};
use anyhow::{Context, Result, anyhow, bail};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewPartitions, ResourceSpecifier, TopicReplication},
    client::ClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
    metadata::{MetadataBroker, MetadataTopic},
    topic_partition_list::Offset,
};
use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::runtime;

/// How long the brokers may take to do what they were told.
const OPERATION: Duration = Duration::from_secs(30);
/// How long a client may take to say why it cannot reach a broker.
const REASON: Duration = Duration::from_secs(3);

/// A connection for questions about topics.
pub struct KafkaTopics {
    cluster: Cluster,
    admin: AdminClient<Quiet>,
    runtime: runtime::Runtime,
}

impl KafkaTopics {
    /// A connection; nothing is asked yet.
    pub fn new(cluster: &Cluster) -> Result<KafkaTopics> {
        Ok(KafkaTopics {
            cluster: cluster.clone(),
            admin: AdminClient::from_config_and_context(&cluster.plain(), Quiet::default())?,
            runtime: runtime::Builder::new_current_thread().build()?,
        })
    }

    /// Drives one admin call on one topic to its end.
    fn one(
        &self,
        what: &str,
        call: impl Future<Output = Result<Vec<rdkafka::admin::TopicResult>, KafkaError>>,
    ) -> Result<Option<RDKafkaErrorCode>> {
        let answer = self.wait(call).and_then(|mut answers| match answers.pop() {
            Some(Ok(_)) => Ok(None),
            Some(Err((_, code @ (RDKafkaErrorCode::NotController | RDKafkaErrorCode::RequestTimedOut)))) => {
                bail!(Unanswered(words(code)))
            }
            Some(Err((_, code))) => Ok(Some(code)),
            None => bail!("the broker gave no answer"),
        });
        answer.map_err(|error| match error.is::<Unanswered>() {
            true => error.context(format!("it is not known whether {what}")),
            false => error,
        })
    }

    /// Makes a topic, or asks whether it could be made.
    fn make(&self, topic: &NewTopic, options: &AdminOptions) -> Result<bool> {
        let replication = topic.replication.map_or(-1, i32::from);
        let partitions = topic.partitions.map_or(-1, |count| i32::try_from(count).unwrap_or(i32::MAX));
        let mut new = rdkafka::admin::NewTopic::new(&topic.name, partitions, TopicReplication::Fixed(replication));
        for (key, value) in &topic.config {
            new = new.set(key, value);
        }
        if topic.has_brokers_time && !topic.config.contains_key(TIMESTAMP_TYPE) {
            new = new.set(TIMESTAMP_TYPE, "LogAppendTime");
        }
        match self.one(&format!("topic {} is made", topic.name), self.admin.create_topics([&new], options))? {
            None => Ok(true),
            Some(RDKafkaErrorCode::TopicAlreadyExists) => Ok(false),
            Some(code @ RDKafkaErrorCode::InvalidConfig) => {
                // Which of them it is, the broker says in words that the client does not pass on.
                let config: Vec<_> = topic.config.iter().map(|(key, value)| format!("{key}={value}")).collect();
                Err(refused(code))
                    .with_context(|| format!("topic {} cannot be made with {}", topic.name, config.join(", ")))
            }
            Some(code) => {
                let what = format!("topic {} cannot be made", topic.name);
                Err(refused(code)).with_context(|| match code {
                    // A topic that a user may not see is not there, for that user.
                    RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed => {
                        format!("{what}: make it, and allow this user to describe, read and write it")
                    }
                    _ => what,
                })
            }
        }
    }

    fn wait<T>(&self, call: impl Future<Output = Result<T, KafkaError>>) -> Result<T> {
        self.runtime.block_on(call).map_err(|error| self.explain(error))
    }

    /// Why a call failed, in words.
    fn explain(&self, error: KafkaError) -> anyhow::Error {
        explain(&self.cluster, error)
    }
}

/// A client for questions that need no group.
pub(super) fn asker(cluster: &Cluster) -> Result<BaseConsumer<Quiet>, KafkaError> {
    BaseConsumer::from_config_and_context(&cluster.plain(), Quiet::default())
}

/// Why a call failed, in words. What a client says while it does tells more than the call's own error.
pub(super) fn explain(cluster: &Cluster, error: KafkaError) -> anyhow::Error {
    let code = match &error {
        KafkaError::AdminOp(code) => Some(*code),
        error => error.rdkafka_error_code(),
    };
    let code = match code {
        Some(
            code @ (RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::OperationTimedOut),
        ) => code,
        Some(code) => return refused(code),
        None => return anyhow!(error),
    };
    // The reason is an event of its own, which may come later; a client for commands tells none.
    if let Ok(asker) = asker(cluster) {
        let since = Instant::now();
        while since.elapsed() < REASON {
            asker.fetch_metadata(None, Duration::from_millis(20)).ok();
            asker.poll(Duration::from_millis(20));
            if let Some(said) = asker.client().context().last() {
                return Unanswered(plain(cluster, &said)).into();
            }
        }
    }
    let why = match code {
        RDKafkaErrorCode::OperationTimedOut => "no answer came in time",
        _ => "no broker can be reached: is `security.protocol` right?",
    };
    Unanswered(why.to_owned()).into()
}

/// Whose time a record has.
const TIMESTAMP_TYPE: &str = "message.timestamp.type";

impl Topics for KafkaTopics {
    fn cluster(&self) -> Result<ClusterFacts> {
        let client = self.admin.inner();
        let metadata = client.fetch_metadata(None, QUESTION).map_err(|error| self.explain(error))?;
        let broker = |broker: &MetadataBroker| BrokerFacts {
            number: broker.id(),
            address: format!("{}:{}", broker.host(), broker.port()),
        };
        let mut brokers: Vec<_> = metadata.brokers().iter().map(broker).collect();
        brokers.sort_by_key(|broker| broker.number);
        Ok(ClusterFacts {
            id: client.fetch_cluster_id(QUESTION),
            controller: raw::controller(client, QUESTION),
            brokers,
        })
    }

    fn list(&self) -> Result<BTreeMap<String, TopicFacts>> {
        let metadata = self.admin.inner().fetch_metadata(None, QUESTION).map_err(|error| self.explain(error))?;
        Ok(metadata
            .topics()
            .iter()
            .filter(|topic| topic.error().is_none())
            .map(|topic| (topic.name().to_owned(), facts(topic)))
            .collect())
    }

    fn find(&self, names: &[&str]) -> Result<BTreeMap<String, TopicFacts>> {
        let all = self.list()?;
        let mut found: BTreeMap<_, _> =
            names.iter().filter_map(|name| Some(((*name).to_owned(), all.get(*name)?.clone()))).collect();
        let asked: Vec<_> = found.keys().cloned().collect();
        let specifiers: Vec<_> = asked.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        if specifiers.is_empty() {
            return Ok(found);
        }
        let configs =
            self.wait(self.admin.describe_configs(&specifiers, &AdminOptions::new().request_timeout(Some(QUESTION))))?;
        for (name, config) in asked.iter().zip(configs) {
            // Without the right to read a configuration, what it would be by default is a good guess.
            let (Ok(config), Some(topic)) = (config, found.get_mut(name)) else {
                continue;
            };
            for entry in &config.entries {
                if entry.source == rdkafka::admin::ConfigSource::DynamicTopic {
                    topic.own_config.push(entry.name.clone());
                }
                if let Some(value) = &entry.value {
                    topic.config.insert(entry.name.clone(), value.clone());
                }
            }
        }
        Ok(found)
    }

    fn partitions(&self, name: &str) -> Result<Option<Vec<PartitionFacts>>> {
        let metadata = self.admin.inner().fetch_metadata(None, QUESTION).map_err(|error| self.explain(error))?;
        let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
            return Ok(None);
        };
        let (asker, topics) = (asker(&self.cluster)?, [name.to_owned()]);
        let numbers = topic.partitions().iter().map(|partition| partition.id() as u32);
        let partitions: Vec<_> = numbers.map(|number| Partition { input: 0, number }).collect();
        // What cannot be told of one is left open, and told of the others.
        let at = |place| -> Result<Progress> {
            let found = asker.offsets_for_times(list(&topics, &partitions, place), QUESTION);
            found.map(|list| known(&topics, &list)).map_err(|error| self.explain(error))
        };
        let (starts, ends) = (at(Offset::Beginning)?, at(Offset::End)?);
        let mut all: Vec<_> = topic
            .partitions()
            .iter()
            .zip(&partitions)
            .map(|(found, partition)| PartitionFacts {
                number: partition.number,
                leader: found.leader(),
                replicas: found.replicas().to_vec(),
                in_sync: found.isr().to_vec(),
                start: starts.get(*partition).map(|next| next.0),
                end: ends.get(*partition).map(|next| next.0),
            })
            .collect();
        all.sort_by_key(|partition| partition.number);
        Ok(Some(all))
    }

    fn create(&self, topic: &NewTopic) -> Result<bool> {
        self.make(topic, &options())
    }

    fn would_create(&self, topic: &NewTopic) -> Result<bool> {
        self.make(topic, &options().validate_only(true))
    }

    fn grow(&self, name: &str, partitions: u32) -> Result<()> {
        let new = NewPartitions::new(name, partitions as usize);
        match self.one(&format!("topic {name} is grown"), self.admin.create_partitions([&new], &options()))? {
            None => Ok(()),
            Some(code) => Err(refused(code)).with_context(|| format!("topic {name} cannot be grown")),
        }
    }

    fn delete(&self, name: &str) -> Result<()> {
        match self.one(&format!("topic {name} is deleted"), self.admin.delete_topics(&[name], &options()))? {
            None => Ok(()),
            Some(code) => Err(refused(code)).with_context(|| format!("topic {name} cannot be deleted")),
        }
    }
}

/// Deletes a group. One that is not there any more is no failure.
pub(super) fn delete_group(cluster: &Cluster, group: &str) -> Result<()> {
    let connection = KafkaTopics::new(cluster)?;
    let deleted = connection.wait(connection.admin.delete_groups(&[group], &options()))?.pop();
    match deleted {
        Some(Ok(_) | Err((_, RDKafkaErrorCode::GroupIdNotFound))) => Ok(()),
        Some(Err((_, code))) => Err(refused(code)).with_context(|| format!("group {group} cannot be deleted")),
        None => bail!("the broker gave no answer"),
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(OPERATION)).operation_timeout(Some(OPERATION))
}

/// An answer, with an error of the library in words.
pub(super) fn explained<T>(cluster: &Cluster, answer: Result<T>) -> Result<T> {
    answer.map_err(|error| error.downcast().map_or_else(|other| other, |error| explain(cluster, error)))
}

/// A code in words, without its name in the library: `Name (Broker: Some words)`.
pub(super) fn words(code: RDKafkaErrorCode) -> String {
    let text = code.to_string();
    let words = text.split_once(" (").and_then(|(_, words)| words.strip_suffix(')')).unwrap_or(&text);
    words.trim_start_matches("Broker: ").trim_start_matches("Local: ").to_owned()
}

fn refused(code: RDKafkaErrorCode) -> anyhow::Error {
    anyhow!("{}", words(code))
}

fn facts(topic: &MetadataTopic) -> TopicFacts {
    TopicFacts {
        partitions: topic.partitions().len() as u32,
        replication: topic.partitions().first().map_or(0, |partition| partition.replicas().len()),
        ..TopicFacts::default()
    }
}

/// Keeps what a client says of its troubles, for whoever asks.
#[derive(Clone, Default)]
pub(super) struct Quiet(Arc<Mutex<Option<String>>>);

impl Quiet {
    fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(target: "librdkafka", "{facility} {text}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // That all are down is said after why the last one is.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for Quiet {}
