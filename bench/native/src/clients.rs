//! What all clients here have in common: they say on stderr what librdkafka tells them, and keep what must end a run.

use anyhow::{Result, bail};
use rdkafka::{
    ClientConfig, ClientContext,
    consumer::BaseConsumer,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    producer::{DeliveryResult, ProducerContext},
};
use std::sync::OnceLock;

/// The first thing that went wrong behind the caller's back.
#[derive(Default)]
pub(crate) struct FirstProblem(OnceLock<String>);

impl FirstProblem {
    pub(crate) fn note(&self, problem: String) {
        self.0.get_or_init(|| problem);
    }

    /// Fails when something was noted.
    pub(crate) fn check(&self) -> Result<()> {
        match self.0.get() {
            Some(problem) => bail!("{problem}"),
            None => Ok(()),
        }
    }
}

/// A producer's context: a record that could not be delivered ends the run.
#[derive(Default)]
pub(crate) struct Deliveries {
    pub(crate) problem: FirstProblem,
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        eprintln!("producer: {error}: {reason}");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: Self::DeliveryOpaque) {
        if let Err((error, _)) = result {
            self.problem.note(format!("a record was not delivered: {error}"));
        }
    }
}

/// True of what a consumer reports while it mends it by itself: a broker that is away.
pub(crate) fn passes(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut};
    matches!(error, KafkaError::MessageConsumption(BrokerTransportFailure | AllBrokersDown | OperationTimedOut))
}

/// What a reader is shown of transactions.
#[derive(Clone, Copy)]
pub(crate) enum Isolation {
    Committed,
    Uncommitted,
}

/// A consumer outside of any group, to be given its partitions by hand. `properties` are librdkafka's.
pub(crate) fn reader(brokers: &str, isolation: Isolation, properties: &[(&str, &str)]) -> KafkaResult<BaseConsumer> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        // librdkafka wants a name even where no group is joined and nothing is committed.
        .set("group.id", "millstream-bench-reader")
        .set("enable.auto.commit", "false")
        .set("fetch.queue.backoff.ms", "10")
        .set(
            "isolation.level",
            match isolation {
                Isolation::Committed => "read_committed",
                Isolation::Uncommitted => "read_uncommitted",
            },
        );
    for (key, value) in properties {
        config.set(*key, *value);
    }
    config.create()
}
