//! Fills a topic with records whose values can be counted afterwards, and compressed about as well as real ones.

use crate::{LoadArgs, PATIENCE, clients::Deliveries, topics};
use anyhow::{Context, Result, bail};
use rdkafka::{
    ClientConfig,
    config::FromClientConfigAndContext,
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde_json::json;
use std::{io::Write, iter, time::Duration};

/// Digits of the number with which each value begins.
pub(crate) const NUMBER_DIGITS: usize = 12;

/// Words of the text: more of them compress worse.
const VOCABULARY: usize = 4000;

pub(crate) fn run(args: &LoadArgs) -> Result<()> {
    let (brokers, topic) = (&args.topic.brokers, &args.topic.topic);
    topics::make(&args.topic)?;
    let producer = BaseProducer::from_config_and_context(
        ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "20")
            .set("batch.size", "1000000")
            .set("delivery.report.only.error", "true"),
        Deliveries::default(),
    )?;

    let mut text = Text::new();
    let headers = (args.headers > 0).then(|| headers(args.headers));
    let mut value = Vec::with_capacity(args.size as usize);
    for number in 0..args.records {
        value.clear();
        write!(value, "{number:0NUMBER_DIGITS$}")?;
        text.fill(&mut value, args.size as usize);
        let key = text.key();
        let mut record = BaseRecord::to(topic).key(&key).payload(&value);
        record.headers.clone_from(&headers);
        send(&producer, record)?;
    }
    producer.flush(PATIENCE).context("the brokers did not take all records")?;
    producer.context().problem.check()?;
    println!("{}", json!({"topic": topic, "records": args.records, "size": args.size, "headers": args.headers}));
    Ok(())
}

fn send(producer: &BaseProducer<Deliveries>, mut record: BaseRecord<'_, String, Vec<u8>>) -> Result<()> {
    while let Err((error, refused)) = producer.send(record) {
        if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
            bail!(error);
        }
        producer.context().problem.check()?;
        producer.poll(Duration::from_millis(5));
        record = refused;
    }
    Ok(())
}

fn headers(count: usize) -> OwnedHeaders {
    (0..count).fold(OwnedHeaders::new_with_capacity(count), |headers, number| {
        headers.insert(Header { key: &format!("header-{number}"), value: Some("0123456789abcdef") })
    })
}

/// Lower-case text, the same in each run, which gzip halves. (lz4 makes it 0.8 of its size, zstd 0.4.)
struct Text {
    words: Vec<String>,
    random: fastrand::Rng,
}

impl Text {
    fn new() -> Self {
        let mut random = fastrand::Rng::with_seed(1);
        let mut word = || {
            let letters = random.usize(3..=9);
            iter::repeat_with(|| random.lowercase()).take(letters).collect()
        };
        Self { words: iter::repeat_with(&mut word).take(VOCABULARY).collect(), random }
    }

    /// Appends words up to `size` bytes in all.
    fn fill(&mut self, value: &mut Vec<u8>, size: usize) {
        while value.len() < size {
            value.push(b' ');
            value.extend_from_slice(self.words[self.random.usize(..self.words.len())].as_bytes());
        }
        value.truncate(size);
    }

    /// Eight digits.
    fn key(&mut self) -> String {
        format!("{:08}", self.random.u32(..100_000_000))
    }
}
