//! The suite of what a log does, on Kafka.

use crate::{
    suite::{self, Log, Row},
    support::{self, Kafka, Sent, raw, read_all, unique},
};
use millstream::{
    clock::{Clock, SystemClock},
    transport::{
        LinkSettings, NextOffset, Partition,
        kafka::{Cluster, Health, KafkaLink, KafkaOffsets},
        log::{Lag, Offsets},
    },
};
use std::{rc::Rc, sync::Arc};

suite::behaviours!(Shared);

/// Topics of a test's own on the broker that all share.
struct Shared {
    kafka: Kafka,
    name: String,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl Shared {
    fn own(&self, name: &str) -> String {
        format!("{}-{name}", self.name)
    }

    fn cluster(&self) -> Cluster {
        // That a topic grew is noticed soon.
        let properties = [("topic.metadata.refresh.interval.ms".to_owned(), "500".to_owned())].into();
        Cluster { properties, ..self.kafka.cluster() }
    }

    fn lag(&self, partition: Partition) -> Lag {
        let topic = self.inputs[partition.input].clone();
        let offsets = KafkaOffsets::new(&self.cluster(), &self.own("g"), std::slice::from_ref(&topic)).unwrap();
        offsets.ask().unwrap()[&(topic, partition.number)]
    }
}

fn sent<'a>(partition: Partition, row: &'a Row) -> Sent<'a> {
    Sent {
        key: row.key.as_deref(),
        value: row.value.as_deref(),
        headers: row.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect(),
        timestamp: row.timestamp,
        partition: Some(partition.number as i32),
    }
}

impl Log for Shared {
    type Link = KafkaLink;

    fn with(inputs: &[u32], outputs: &[u32]) -> Shared {
        let (kafka, name) = (Kafka::shared(), unique("seam"));
        let topics = |stem: &str, counts: &[u32]| -> Vec<String> {
            let make = |(place, count): (usize, &u32)| {
                let topic = format!("{name}-{stem}{place}");
                kafka.make(&topic, *count, &[("retention.ms", "-1")]);
                topic
            };
            counts.iter().enumerate().map(make).collect()
        };
        let (inputs, outputs) = (topics("in", inputs), topics("out", outputs));
        Shared { kafka, name, inputs, outputs }
    }

    fn link(&self, settings: LinkSettings) -> KafkaLink {
        let settings = LinkSettings {
            group: self.own(&settings.group),
            name: self.own(&settings.name),
            shared_writer: settings.shared_writer.as_deref().map(|name| self.own(name)),
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            ..settings
        };
        KafkaLink::new(self.cluster(), settings, Health::new(self.cluster()))
    }

    fn put(&self, partition: Partition, rows: &[Row]) {
        self.kafka.send(&self.inputs[partition.input], rows.iter().map(|row| sent(partition, row)));
    }

    fn put_in_transaction(&self, partition: Partition, rows: &[Row], commit: bool) {
        let records = rows.iter().map(|row| sent(partition, row));
        self.kafka.send_in_transaction(&self.inputs[partition.input], records, commit);
    }

    fn put_header(&self, partition: Partition, name: &[u8], value: &[u8]) {
        assert_eq!(partition.number, 0, "the topic's only one");
        raw::send_with_header(&self.kafka, &self.inputs[partition.input], name, value);
    }

    fn read(&self, output: usize) -> Vec<(u32, Row)> {
        let row = |seen: support::Seen| {
            let row = Row { key: seen.key, value: seen.value, headers: seen.headers, timestamp: seen.timestamp };
            (seen.partition as u32, row)
        };
        let mut all: Vec<_> = read_all(&self.kafka, &self.outputs[output]).into_iter().map(row).collect();
        // Stable: within a partition they stay in order.
        all.sort_by_key(|(number, _)| *number);
        all
    }

    fn first_header(&self, output: usize) -> (Vec<u8>, Vec<u8>) {
        raw::first_header(&self.kafka, &self.outputs[output])
    }

    fn end(&self, partition: Partition) -> NextOffset {
        NextOffset(self.lag(partition).end)
    }

    fn committed(&self, partition: Partition) -> Option<NextOffset> {
        self.lag(partition).committed.map(NextOffset)
    }

    fn grow(&self, input: usize, partitions: u32) {
        self.kafka.topics().grow(&self.inputs[input], partitions).unwrap();
        support::until("it has grown", std::time::Duration::from_secs(60), || {
            let found = self.kafka.topics().partitions(&self.inputs[input]);
            found.is_ok_and(|found| found.is_some_and(|all| all.len() == partitions as usize))
        });
    }

    fn forget(&self, partition: Partition) {
        assert_eq!(partition.number, 0, "the topic's only one");
        let end = self.end(partition).0 as i64;
        self.kafka.delete_records(&self.inputs[partition.input], 1, end);
    }

    fn clock(&self) -> Rc<dyn Clock> {
        Rc::new(SystemClock::new(Arc::default()))
    }
}
