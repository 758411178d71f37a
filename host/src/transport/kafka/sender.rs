//! Records from outside of any stage: an idempotent producer that tells which of them the log did not take.

use super::{health::Health, raw, reader::notice, settings::Cluster, topics::words};
use crate::transport::{
    Outgoing,
    log::{Rules, Sender, Sent, TopicFacts, Unsent},
};
use anyhow::Result;
use rdkafka::{
    client::ClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Header, Message, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer, ProducerContext, PurgeConfig},
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// What a batch adds to its records.
const BATCH_OVERHEAD: usize = 1024;

/// Writes to one topic.
pub struct KafkaSender {
    producer: BaseProducer<Deliveries>,
    topic: String,
    rules: Rules,
    /// How many records the library took.
    taken: u64,
    /// How many failed without it.
    refused: u64,
}

/// What became of records.
struct Deliveries {
    failed: Mutex<Sent>,
    health: Arc<Health>,
}

impl Deliveries {
    fn failed(&self) -> MutexGuard<'_, Sent> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Deliveries {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(target: "librdkafka", "{facility} {text}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        notice(&self.health, &error, reason);
    }
}

impl ProducerContext for Deliveries {
    /// The record's number.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        if let Err((error, message)) = result {
            let why = error.rdkafka_error_code().map_or_else(|| error.to_string(), reason);
            self.failed().fail(Unsent { number: number as u64, key: message.key().map(<[u8]>::to_vec), why });
        }
    }
}

impl KafkaSender {
    /// A writer to this topic, of which this is known.
    pub fn new(cluster: &Cluster, topic: &str, facts: &TopicFacts) -> Result<KafkaSender> {
        let rules = Rules::of(facts);
        let mut config = cluster.sender(rules.largest, rules.largest.saturating_sub(BATCH_OVERHEAD));
        if config.get("message.timeout.ms").is_none() && config.get("delivery.timeout.ms").is_none() {
            config.set("message.timeout.ms", "60000");
        }
        let deliveries = Deliveries { failed: Mutex::default(), health: Health::new(cluster.clone()) };
        let producer = BaseProducer::from_config_and_context(&config, deliveries)?;
        Ok(KafkaSender { producer, topic: topic.to_owned(), rules, taken: 0, refused: 0 })
    }

    fn refuse(&mut self, number: u64, record: &Outgoing<'_>, why: String) {
        let key = record.key.map(<[u8]>::to_vec);
        self.producer.context().failed().fail(Unsent { number, key, why });
        self.refused += 1;
    }
}

impl Sender for KafkaSender {
    fn offer(&mut self, number: u64, record: &Outgoing<'_>) -> Result<bool> {
        if let Some(why) = self.rules.objection(&self.topic, record, 0, is_to_come) {
            self.refuse(number, record, why.message);
            return Ok(true);
        }
        let mut base = BaseRecord::<[u8], [u8], usize>::with_opaque_to(&self.topic, usize::try_from(number)?);
        (base.key, base.payload) = (record.key, record.value);
        base.partition = record.partition.map(i32::try_from).transpose()?;
        // The library takes 0 for the present.
        base.timestamp = record.timestamp.map(|time| time.max(1));
        if !record.headers.is_empty() {
            let headers = OwnedHeaders::new_with_capacity(record.headers.len());
            base.headers =
                Some(record.headers.iter().fold(headers, |all, header| {
                    all.insert(Header { key: &header.name, value: header.value.as_deref() })
                }));
        }
        match self.producer.send(base) {
            Ok(()) => self.taken += 1,
            Err((error, _)) => match error.rdkafka_error_code() {
                // Back-pressure: the client takes more when it has sent some.
                Some(RDKafkaErrorCode::QueueFull) => return Ok(false),
                Some(code) => self.refuse(number, record, reason(code)),
                None => return Err(error.into()),
            },
        }
        Ok(true)
    }

    fn settle(&mut self, wait: Duration) -> Result<bool> {
        let since = Instant::now();
        loop {
            let left = wait.saturating_sub(since.elapsed());
            let done = raw::flush(&self.producer, left.min(Duration::from_millis(20)));
            raw::serve(&self.producer);
            if done || left.is_zero() {
                return Ok(done);
            }
        }
    }

    fn give_up(&mut self) -> Result<()> {
        self.producer.purge(PurgeConfig::default().queue().inflight());
        self.settle(Duration::from_secs(1))?;
        Ok(())
    }

    fn sent(&self) -> Sent {
        raw::serve(&self.producer);
        let mut sent = self.producer.context().failed().clone();
        sent.underway = u64::try_from(self.producer.in_flight_count()).unwrap_or(0);
        sent.acknowledged = self.taken.saturating_sub(sent.underway + (sent.failed - self.refused));
        sent
    }
}

fn is_to_come(time: i64) -> bool {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).is_ok_and(|now| time > now)
}

/// Why a record was not acknowledged.
fn reason(code: RDKafkaErrorCode) -> String {
    match code {
        RDKafkaErrorCode::MessageTimedOut => "no broker took it in time".into(),
        RDKafkaErrorCode::MessageSizeTooLarge => "it is larger than the topic's `max.message.bytes`".into(),
        RDKafkaErrorCode::PurgeQueue => "it was not sent before the end".into(),
        RDKafkaErrorCode::PurgeInflight => "there was no answer before the end: it may be there all the same".into(),
        other => words(other),
    }
}
