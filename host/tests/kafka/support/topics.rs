//! Topics and records, made by a client of the tests' own.

use millstream::transport::{
    kafka::{Cluster, KafkaOffsets, KafkaTopics},
    log::{NewTopic, Offsets, Topics},
};
use rdkafka::{
    config::ClientConfig,
    consumer::{BaseConsumer, Consumer},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

/// A name that no other test uses.
pub fn unique(stem: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{stem}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A broker that is there.
#[derive(Clone)]
pub struct Kafka {
    pub address: String,
}

/// A record for a topic.
#[derive(Clone, Debug, Default)]
pub struct Sent<'a> {
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Vec<(&'a str, Option<&'a [u8]>)>,
    pub timestamp: Option<i64>,
    pub partition: Option<i32>,
}

impl Kafka {
    /// The one that all tests share.
    pub fn shared() -> Kafka {
        let address = std::env::var("MILLSTREAM_TEST_KAFKA");
        Kafka { address: address.expect("run `cargo xtask test`: it starts the broker that this test needs") }
    }

    pub fn cluster(&self) -> Cluster {
        Cluster { brokers: self.address.clone(), properties: BTreeMap::new() }
    }

    /// Makes a topic.
    pub fn make(&self, name: &str, partitions: u32, config: &[(&str, &str)]) {
        let topic = NewTopic {
            name: name.to_owned(),
            partitions: Some(partitions),
            replication: None,
            config: config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            has_brokers_time: false,
        };
        assert!(KafkaTopics::new(&self.cluster()).unwrap().create(&topic).unwrap(), "{name} was there already");
        // It is known to every client a moment later.
        self.until_known(name, partitions);
    }

    /// Waits until a topic is known to have so many partitions, which can be written to.
    pub fn until_known(&self, name: &str, partitions: u32) {
        super::until("the topic is known", Duration::from_secs(60), || {
            self.topics().partitions(name).is_ok_and(|found| {
                found.is_some_and(|all| all.len() == partitions as usize && all.iter().all(|p| p.leader >= 0))
            })
        });
    }

    pub fn topics(&self) -> Box<dyn Topics> {
        Box::new(KafkaTopics::new(&self.cluster()).unwrap())
    }

    /// Deletes what stands before an offset in each partition, as retention would.
    pub fn delete_records(&self, topic: &str, partitions: i32, before: i64) {
        use rdkafka::{Offset, TopicPartitionList, admin::AdminOptions, client::DefaultClientContext};
        let admin: rdkafka::admin::AdminClient<DefaultClientContext> = self.config().create().unwrap();
        let mut list = TopicPartitionList::new();
        (0..partitions).for_each(|p| list.add_partition_offset(topic, p, Offset::Offset(before)).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(admin.delete_records(&list, &AdminOptions::new())).unwrap();
    }

    /// A client's settings.
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address).set("reconnect.backoff.max.ms", "500");
        config
    }

    /// Writes records and waits until they are acknowledged.
    pub fn send<'a>(&self, topic: &str, records: impl IntoIterator<Item = Sent<'a>>) {
        let producer = self.producer();
        for record in records {
            send_one(&producer, topic, &record);
        }
        producer.flush(Duration::from_secs(120)).unwrap();
    }

    /// Writes records as one transaction, which is then aborted or committed.
    pub fn send_in_transaction<'a>(&self, topic: &str, records: impl IntoIterator<Item = Sent<'a>>, commit: bool) {
        let producer: BaseProducer =
            self.config().set("transactional.id", unique("test")).set("linger.ms", "1").create().unwrap();
        producer.init_transactions(Duration::from_secs(30)).unwrap();
        producer.begin_transaction().unwrap();
        for record in records {
            let mut base = BaseRecord::<[u8], [u8]>::to(topic);
            (base.key, base.payload, base.partition) = (record.key, record.value, record.partition);
            producer.send(base).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(Duration::from_secs(30)).unwrap();
        match commit {
            true => producer.commit_transaction(Duration::from_secs(30)).unwrap(),
            false => producer.abort_transaction(Duration::from_secs(30)).unwrap(),
        }
        self.until_settled(topic);
    }

    /// Whether a transaction is open in a topic, or has ended without its markers being written yet. They are written
    /// some time after its end was acknowledged; until then who reads only what is committed sees another end than who
    /// reads everything.
    pub fn has_open_transaction(&self, topic: &str) -> bool {
        let everything = self.end(topic, "read_uncommitted");
        everything > self.end(topic, "read_committed")
    }

    /// Where a topic ends for those who read with this isolation, added up over its partitions.
    pub fn end(&self, topic: &str, isolation: &str) -> i64 {
        let reader: BaseConsumer = self.config().set("isolation.level", isolation).create().unwrap();
        let partitions = self.topics().partitions(topic).unwrap().expect("the topic is there");
        let end = |number| reader.fetch_watermarks(topic, number, Duration::from_secs(10)).unwrap().1;
        partitions.iter().map(|partition| end(partition.number as i32)).sum()
    }

    /// Waits until no transaction is open in a topic.
    pub fn until_settled(&self, topic: &str) {
        super::until("the markers are written", Duration::from_secs(60), || !self.has_open_transaction(topic));
    }

    pub fn producer(&self) -> BaseProducer<Failures> {
        self.config()
            .set("enable.idempotence", "true")
            .set("linger.ms", "2")
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", "120000")
            .set("delivery.report.only.error", "true")
            .create_with_context(Failures::default())
            .unwrap()
    }

    /// What a group has left to read.
    pub fn lag(&self, group: &str, topic: &str) -> u64 {
        let offsets = KafkaOffsets::new(&self.cluster(), group, &[topic.to_owned()]).unwrap();
        offsets.ask().unwrap().values().map(|lag| lag.end - lag.committed.unwrap_or(lag.start)).sum()
    }

    /// Whether a group has noted in each partition of a topic how far it is.
    pub fn has_offsets(&self, group: &str, topic: &str) -> bool {
        let offsets = KafkaOffsets::new(&self.cluster(), group, &[topic.to_owned()]).unwrap();
        // Those of an open transaction are not told.
        offsets.ask().is_ok_and(|lags| lags.values().all(|lag| lag.committed.is_some()))
    }

    /// Whether so many members have a group's partitions among them, and none is still to get its own.
    pub fn is_shared_by(&self, group: &str, members: usize) -> bool {
        self.group(group).groups().iter().any(|group| group.state() == "Stable" && group.members().len() == members)
    }

    /// The members of a group, under the names that they got when they joined.
    pub fn members(&self, group: &str) -> Vec<String> {
        let found = self.group(group);
        found.groups().iter().flat_map(|group| group.members()).map(|member| member.id().to_owned()).collect()
    }

    fn group(&self, name: &str) -> rdkafka::groups::GroupList {
        let client: BaseConsumer = self.config().create().unwrap();
        let mut found = None;
        // A coordinator that has become one a moment ago does not know yet.
        super::until("the group's coordinator answers", Duration::from_secs(60), || {
            found = client.fetch_group_list(Some(name), Duration::from_secs(30)).ok();
            found.is_some()
        });
        found.unwrap()
    }
}

/// Hands a record to a producer, waiting for room.
pub fn send_one(producer: &BaseProducer<Failures>, topic: &str, record: &Sent<'_>) {
    let mut base = BaseRecord::<[u8], [u8]>::to(topic);
    (base.key, base.payload, base.partition) = (record.key, record.value, record.partition);
    base.timestamp = record.timestamp;
    if !record.headers.is_empty() {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: *value }));
        base = base.headers(headers);
    }
    while let Err((error, again)) = producer.send(base) {
        assert_eq!(error.rdkafka_error_code(), Some(rdkafka::error::RDKafkaErrorCode::QueueFull));
        base = again;
        producer.poll(Duration::from_millis(5));
    }
    assert_eq!(producer.context().0.load(Ordering::Relaxed), 0, "a record was not delivered");
}

/// Counts records that were not delivered.
#[derive(Default)]
pub struct Failures(pub AtomicU64);

impl rdkafka::client::ClientContext for Failures {
    fn error(&self, _: rdkafka::error::KafkaError, _: &str) {}
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.0.fetch_add(u64::from(result.is_err()), Ordering::Relaxed);
    }
}
