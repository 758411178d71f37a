//! What the clients are told. What the host must decide itself for its promises to hold stands here, once.

use super::health::LOGGED;
use crate::{
    manifest::{Delivery, Properties},
    transport::LinkSettings,
};
use rdkafka::config::ClientConfig;
use std::{collections::BTreeMap, fmt};

/// How long a member may be at work without a word to its group.
const SILENCE: &str = "max.poll.interval.ms";
/// What the library allows between two polls, in milliseconds, when nobody says anything, and the most that it does.
const POLL_INTERVAL: u128 = 300_000;
const DAY: u128 = 86_400_000;

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
    /// The cluster of these brokers, reached with these properties.
    pub fn new(brokers: &str, properties: &Properties) -> Cluster {
        let properties = properties.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned()));
        Cluster { brokers: brokers.to_owned(), properties: properties.collect() }
    }

    /// True when the broker may say that it has a record before all of its replicas have.
    pub fn acks_early(&self) -> bool {
        let written = ["acks", "request.required.acks"].iter().find_map(|name| self.properties.get(*name));
        written.is_some_and(|written| !matches!(written.trim(), "all" | "-1"))
    }

    /// A client that only asks.
    pub(super) fn plain(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "millstream")
            // A broker that comes back is found within a second, not within ten.
            .set("reconnect.backoff.max.ms", "1000");
        for (name, value) in &self.properties {
            // How long a worker may be silent is the reader's alone to say.
            if name != SILENCE {
                config.set(name, value);
            }
        }
        // A topic that is gone is not to come back by itself, with the broker's defaults in place of its own shape.
        config.set("allow.auto.create.topics", "false");
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

    /// What a worker reads with.
    pub(super) fn reader(&self, settings: &LinkSettings) -> ClientConfig {
        let mut config = self.member(&settings.group, false);
        config.set("group.instance.id", format!("{}.{}", settings.name, settings.inputs_digest));
        if settings.shared_writer.is_some() {
            // A follower may not know the last position yet.
            config.set("client.rack", "");
        }
        // Else a member that is at work on a slow record is taken for dead, and whoever gets its partitions as well.
        let written = self.properties.get(SILENCE).and_then(|text| text.parse().ok());
        let needed = 2 * settings.transaction_timeout.as_millis();
        config.set(SILENCE, needed.max(written.unwrap_or(POLL_INTERVAL)).min(DAY).to_string());
        config
    }

    /// What somebody reads with who is in a group for a while.
    pub(super) fn member(&self, group: &str, uncommitted: bool) -> ClientConfig {
        let mut config = self.plain();
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
            .set_log_level(LOGGED)
            .set("group.id", group)
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "range,roundrobin")
            .set("isolation.level", if uncommitted { "read_uncommitted" } else { "read_committed" })
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Where to begin is the host's decision, as it must be said and committed.
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true");
        config
    }

    /// What a worker writes with.
    pub(super) fn writer(&self, settings: &LinkSettings) -> ClientConfig {
        let mut config = self.sender(settings.largest_record, settings.largest_batch);
        // A transaction that begins right behind another finds that one's markers not written yet, and asks again.
        default(&mut config, "retry.backoff.ms", "10");
        match settings.delivery {
            Delivery::ExactlyOnce => {
                let timeout = settings.transaction_timeout.as_millis();
                config
                    .set("transactional.id", settings.shared_writer.as_ref().unwrap_or(&settings.name))
                    .set("transaction.timeout.ms", timeout.to_string())
                    .set("message.timeout.ms", (timeout * 8 / 10).to_string());
            }
            Delivery::AtLeastOnce => default(&mut config, "message.timeout.ms", "30000"),
        }
        config
    }

    /// What writes records of up to these sizes.
    pub(super) fn sender(&self, largest_record: usize, largest_batch: usize) -> ClientConfig {
        let mut config = self.plain();
        if config.get("queue.buffering.max.ms").is_none() {
            default(&mut config, "linger.ms", "5");
        }
        default(&mut config, "batch.num.messages", "100000");
        default(&mut config, "queue.buffering.max.messages", "100000");
        default(&mut config, "queue.buffering.max.kbytes", "65536");
        default(&mut config, "partitioner", "murmur2_random");
        default(&mut config, "socket.timeout.ms", "6000");
        default(&mut config, "message.max.bytes", &largest_record.clamp(1_000_000, 1_000_000_000).to_string());
        // A batch over a topic's limit is refused as a whole, and the library does not split it.
        default(&mut config, "batch.size", &largest_batch.clamp(1, 1_000_000).to_string());
        config.set_log_level(LOGGED).set("delivery.report.only.error", "true");
        if self.acks_early() {
            // Nobody counts the records then. What is sent again is not to come behind what was sent later.
            config.set("enable.idempotence", "false");
            default(&mut config, "max.in.flight.requests.per.connection", "1");
        } else {
            config.set("enable.idempotence", "true");
        }
        config
    }
}

fn default(config: &mut ClientConfig, name: &str, value: &str) {
    if config.get(name).is_none() {
        config.set(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn who_wants_early_acknowledgements_keeps_the_order() {
        let sender = |name: &str, written: &str| {
            let properties = [(name.to_owned(), written.to_owned())].into();
            let config = Cluster { brokers: String::new(), properties }.sender(1, 1);
            ["enable.idempotence", "max.in.flight.requests.per.connection"]
                .map(|name| config.get(name).map(str::to_owned))
        };
        let (yes, no, one) = (Some("true".to_owned()), Some("false".to_owned()), Some("1".to_owned()));
        assert_eq!(sender("acks", "all"), [yes.clone(), None]);
        assert_eq!(sender("linger.ms", "1"), [yes, None]);
        assert_eq!(sender("acks", "1"), [no.clone(), one.clone()]);
        assert_eq!(sender("request.required.acks", "0"), [no, one]);
    }

    #[test]
    fn a_member_may_be_silent_for_longer_than_a_transaction_may_take() {
        let interval = |written: Option<&str>, transaction: u64| {
            let properties = written.map(|written| ("max.poll.interval.ms".to_owned(), written.to_owned()));
            let cluster = Cluster { brokers: String::new(), properties: properties.into_iter().collect() };
            let settings = LinkSettings {
                transaction_timeout: Duration::from_secs(transaction),
                ..LinkSettings::of_reader("group", "topic", crate::manifest::Start::Earliest)
            };
            cluster.reader(&settings).get("max.poll.interval.ms").map(str::to_owned)
        };
        assert_eq!(interval(None, 10), Some("300000".to_owned()));
        assert_eq!(interval(None, 400), Some("800000".to_owned()));
        assert_eq!(interval(Some("600000"), 10), Some("600000".to_owned()));
        assert_eq!(interval(Some("6000"), 10), Some("20000".to_owned()));
        assert_eq!(interval(None, 100_000), Some("86400000".to_owned()));
    }
}
