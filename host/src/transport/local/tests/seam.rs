//! The suite of what a log does, on the embedded log.

use super::scene::Scene;
use crate::{
    clock::{Clock, SystemClock},
    transport::{
        LinkSettings, NextOffset, Partition,
        local::{LocalLink, NewRecord, Page},
        log::{Lag, Offsets, Topics},
        suite::{self, Log, Row},
    },
};
use std::{rc::Rc, sync::Arc};

suite::behaviours!(Embedded);

/// A log in a folder of its own.
struct Embedded {
    scene: Scene,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl Embedded {
    fn append(&self, partition: Partition, records: &[NewRecord<'_>]) {
        self.scene.log.appender().unwrap().append(&self.inputs[partition.input], records).unwrap();
    }

    fn lag(&self, partition: Partition) -> Lag {
        let topic = self.inputs[partition.input].clone();
        self.scene.log.offsets("g", std::slice::from_ref(&topic)).ask().unwrap()[&(topic, partition.number)]
    }

    fn pages(&self, output: usize, mut each: impl FnMut(u32, &Page)) {
        let (topic, mut scanner) = (&self.outputs[output], self.scene.log.scanner().unwrap());
        for facts in self.scene.log.partitions(topic).unwrap().unwrap() {
            let mut at = 0;
            loop {
                let page = scanner.read(topic, facts.number, at).unwrap();
                each(facts.number, &page);
                at = page.next;
                if at == page.end {
                    break;
                }
            }
        }
    }
}

impl Log for Embedded {
    type Link = LocalLink;

    fn with(inputs: &[u32], outputs: &[u32]) -> Embedded {
        let topics = |stem: &str, counts: &[u32]| -> (Vec<String>, Vec<String>) {
            let named = counts.iter().enumerate().map(|(place, count)| (format!("{stem}{place}"), count));
            named.map(|(name, count)| (name.clone(), format!("{name}:{count}"))).unzip()
        };
        let ((inputs, in_words), (outputs, out_words)) = (topics("in", inputs), topics("out", outputs));
        let words: Vec<_> = in_words.iter().chain(&out_words).map(String::as_str).collect();
        Embedded { scene: Scene::with(&words), inputs, outputs }
    }

    fn link(&self, settings: LinkSettings) -> LocalLink {
        let (inputs, outputs) = (self.inputs.clone(), self.outputs.clone());
        LocalLink::new(self.scene.log.clone(), LinkSettings { inputs, outputs, ..settings })
    }

    fn put(&self, partition: Partition, rows: &[Row]) {
        let headers: Vec<Vec<_>> = rows
            .iter()
            .map(|row| row.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref())).collect())
            .collect();
        let records: Vec<_> = rows
            .iter()
            .zip(&headers)
            .map(|(row, headers)| NewRecord {
                partition: Some(partition.number),
                timestamp: row.timestamp,
                key: row.key.as_deref(),
                value: row.value.as_deref(),
                headers,
            })
            .collect();
        self.append(partition, &records);
    }

    /// What is aborted was never written.
    fn put_in_transaction(&self, partition: Partition, rows: &[Row], commit: bool) {
        if commit {
            self.put(partition, rows);
        }
    }

    fn put_header(&self, partition: Partition, name: &[u8], value: &[u8]) {
        let headers = [(name, Some(value))];
        self.append(partition, &[NewRecord { value: Some(b"x"), headers: &headers, ..NewRecord::default() }]);
    }

    fn read(&self, output: usize) -> Vec<(u32, Row)> {
        let mut all = Vec::new();
        self.pages(output, |number, page| {
            for record in page.records() {
                let header = |(name, value): (&[u8], Option<&[u8]>)| {
                    (String::from_utf8_lossy(name).into_owned(), value.map(<[u8]>::to_vec))
                };
                let row = Row {
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                    headers: record.headers.map(header).collect(),
                    timestamp: Some(record.timestamp),
                };
                all.push((number, row));
            }
        });
        all
    }

    fn first_header(&self, output: usize) -> (Vec<u8>, Vec<u8>) {
        let mut first = None;
        self.pages(output, |_, page| {
            let mut headers = page.records().flat_map(|record| record.headers);
            first =
                first.take().or_else(|| headers.next().map(|(name, value)| (name.to_vec(), value.unwrap().to_vec())));
        });
        first.unwrap()
    }

    fn end(&self, partition: Partition) -> NextOffset {
        NextOffset(self.lag(partition).end)
    }

    fn committed(&self, partition: Partition) -> Option<NextOffset> {
        self.lag(partition).committed.map(NextOffset)
    }

    fn grow(&self, input: usize, partitions: u32) {
        self.scene.log.grow(&self.inputs[input], partitions).unwrap();
    }

    fn forget(&self, partition: Partition) {
        let log = &self.scene.log;
        let configure = |config: &str| {
            let words = "UPDATE topic SET config = ?2 WHERE name = ?1";
            let name = &self.inputs[partition.input];
            log.desk().write(|tx| Ok(tx.execute(words, [name.as_str(), config])?)).unwrap();
        };
        configure(r#"{"retention.bytes": "0"}"#);
        log.tidy().unwrap();
        configure("{}");
    }

    fn clock(&self) -> Rc<dyn Clock> {
        Rc::new(SystemClock::new(Arc::default()))
    }
}
