//! A reader of committed records that watches all along.

use super::Kafka;
use rdkafka::{
    Message,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::Headers,
    topic_partition_list::{Offset, TopicPartitionList},
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// A record as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub timestamp: Option<i64>,
}

impl Seen {
    pub fn text(&self) -> String {
        self.value.as_ref().map_or("-".into(), |value| String::from_utf8_lossy(value).into_owned())
    }

    pub fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().rfind(|(known, _)| known == name)?;
        value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned())
    }
}

/// Reads a topic from its beginning, in a thread of its own.
pub struct Watch {
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub fn start(kafka: &Kafka, topic: &str) -> Watch {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let stop: Arc<AtomicBool> = Arc::default();
        let thread = {
            let (kafka, topic, seen, stop) = (kafka.clone(), topic.to_owned(), Arc::clone(&seen), Arc::clone(&stop));
            thread::spawn(move || {
                let consumer = reader(&kafka, &topic);
                while !stop.load(Ordering::Relaxed) {
                    if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
                        seen.lock().unwrap().push(take(&message));
                    }
                }
            })
        };
        Watch { seen, stop, thread: Some(thread) }
    }

    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// Everything seen so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen_from(0)
    }

    /// The same without so many at its beginning.
    pub fn seen_from(&self, first: usize) -> Vec<Seen> {
        self.seen.lock().unwrap()[first..].to_vec()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

/// All committed records of a topic, up to its end.
pub fn read_all(kafka: &Kafka, topic: &str) -> Vec<Seen> {
    let consumer = reader(kafka, topic);
    let partitions = consumer.assignment().unwrap().count();
    let (mut ends, mut seen, since) = (0, Vec::new(), Instant::now());
    while ends < partitions {
        assert!(since.elapsed() < Duration::from_secs(60), "{topic} cannot be read to its end");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => seen.push(take(&message)),
            Some(Err(KafkaError::PartitionEOF(_))) => ends += 1,
            _ => {}
        }
    }
    seen
}

fn reader(kafka: &Kafka, topic: &str) -> BaseConsumer<super::topics::Failures> {
    let consumer: BaseConsumer<_> = kafka
        .config()
        .set("group.id", "watch")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "50")
        .create_with_context(super::topics::Failures::default())
        .unwrap();
    let partitions = kafka.topics().partitions(topic).unwrap().expect("the topic is there");
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition_offset(topic, partition.number as i32, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    consumer
}

impl rdkafka::consumer::ConsumerContext for super::topics::Failures {}

fn take(message: &impl Message) -> Seen {
    Seen {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: message.headers().map_or_else(Vec::new, |headers| {
            headers.iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect()
        }),
        timestamp: message.timestamp().to_millis(),
    }
}
