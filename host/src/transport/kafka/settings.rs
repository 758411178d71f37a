//! What the clients are told. What the host must decide itself for its promises to hold stands here, once.

use crate::{
    manifest::{Delivery, OnLostOffset, Start},
    worker::control::Control,
};
use rdkafka::config::ClientConfig;
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

/// Which log it is, and how to reach it.
#[derive(Clone, PartialEq, Eq)]
pub struct Cluster {
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// Client properties from the manifest.
    pub properties: BTreeMap<String, String>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        // Properties hold passwords.
        f.debug_struct("Cluster").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}

impl Cluster {
    /// A client that only asks.
    pub(super) fn plain(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "millstream")
            // A broker that comes back is found within a second, not within ten.
            .set("reconnect.backoff.max.ms", "1000");
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
    }

    /// Says which property the client library refuses, before anything is connected.
    pub fn refuses(&self, name: &str, value: &str) -> Option<String> {
        let mut config = ClientConfig::new();
        config.set(name, value);
        config.create_native_config().err().map(|error| match error {
            rdkafka::error::KafkaError::ClientConfig(_, text, ..) => text,
            other => other.to_string(),
        })
    }
}

/// Everything that one worker's link to Kafka needs to know.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// The cluster, the stage's own properties included.
    pub cluster: Cluster,
    /// The group.
    pub group: String,
    /// This worker's name in the cluster: its `transactional.id`, and the stem of its `group.instance.id`.
    pub name: String,
    /// What tells this instance apart from one with other inputs: a member that comes back under the same name but
    /// with other topics would trigger no rebalance, and their partitions would stay unread.
    pub inputs_digest: String,
    /// The topics to read.
    pub inputs: Vec<String>,
    /// The topics to write, dead letters among them.
    pub outputs: Vec<String>,
    /// How records are delivered.
    pub delivery: Delivery,
    /// Where to begin without an offset.
    pub from: Start,
    /// Where to go on when the offset is gone.
    pub on_lost_offset: OnLostOffset,
    /// The largest record that an output takes.
    pub largest_record: usize,
    /// The largest batch that every output takes.
    pub largest_batch: usize,
    /// How long a transaction may take before the broker ends it.
    pub transaction_timeout: Duration,
    /// How the worker is told to end.
    pub control: Arc<Control>,
}

impl LinkSettings {
    pub(super) fn reader(&self) -> ClientConfig {
        let mut config = self.cluster.plain();
        default(&mut config, "session.timeout.ms", "6000");
        default(&mut config, "heartbeat.interval.ms", "1500");
        default(&mut config, "queued.max.messages.kbytes", "16384");
        default(&mut config, "queued.min.messages", "100000");
        default(&mut config, "fetch.wait.max.ms", "100");
        // The library waits a whole second when its queue is full, unless told otherwise.
        default(&mut config, "fetch.queue.backoff.ms", "10");
        default(&mut config, "topic.metadata.refresh.interval.ms", "30000");
        // A broker that is stopped in its tracks must not hold back an orderly end.
        default(&mut config, "socket.timeout.ms", "6000");
        config
            .set("group.id", &self.group)
            .set("group.instance.id", format!("{}.{}", self.name, self.inputs_digest))
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "range,roundrobin")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Where to begin is the host's decision, as it must be said and committed.
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true");
        config
    }

    pub(super) fn writer(&self) -> ClientConfig {
        let mut config = self.cluster.plain();
        if config.get("queue.buffering.max.ms").is_none() {
            default(&mut config, "linger.ms", "5");
        }
        default(&mut config, "batch.num.messages", "100000");
        default(&mut config, "queue.buffering.max.messages", "100000");
        default(&mut config, "queue.buffering.max.kbytes", "65536");
        default(&mut config, "partitioner", "murmur2_random");
        default(&mut config, "socket.timeout.ms", "6000");
        default(&mut config, "message.max.bytes", &self.largest_record.clamp(1_000_000, 1_000_000_000).to_string());
        // A transaction that begins right behind another finds that one's markers not written yet, and asks again.
        default(&mut config, "retry.backoff.ms", "10");
        // A batch over a topic's limit is refused as a whole, and the library does not split it.
        default(&mut config, "batch.size", &self.largest_batch.clamp(1, 1_000_000).to_string());
        config.set("enable.idempotence", "true").set("delivery.report.only.error", "true");
        match self.delivery {
            Delivery::ExactlyOnce => {
                let timeout = self.transaction_timeout.as_millis();
                config
                    .set("transactional.id", &self.name)
                    .set("transaction.timeout.ms", timeout.to_string())
                    .set("message.timeout.ms", (timeout * 8 / 10).to_string());
            }
            Delivery::AtLeastOnce => default(&mut config, "message.timeout.ms", "30000"),
        }
        config
    }
}

fn default(config: &mut ClientConfig, name: &str, value: &str) {
    if config.get(name).is_none() {
        config.set(name, value);
    }
}
