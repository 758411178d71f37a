//! The suite of what a log does, on the embedded log.

use super::scene::{Scene, of_value, put};
use crate::{
    clock::{Clock, SystemClock},
    transport::{
        LinkSettings, NextOffset, Partition,
        local::{
            LocalLink,
            codec::{Content, Headers, push_header},
            writer::now,
        },
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
    fn lag(&self, partition: Partition) -> Lag {
        let topic = self.inputs[partition.input].clone();
        self.scene.log.offsets("g", std::slice::from_ref(&topic)).ask().unwrap()[&(topic, partition.number)]
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
        let headers = |row: &Row| {
            let mut headers = Vec::new();
            row.headers.iter().for_each(|(name, value)| push_header(&mut headers, name.as_bytes(), value.as_deref()));
            headers
        };
        let headers: Vec<_> = rows.iter().map(headers).collect();
        let records: Vec<_> = rows
            .iter()
            .zip(&headers)
            .map(|(row, headers)| Content {
                timestamp: row.timestamp.unwrap_or_else(now),
                key: row.key.as_deref(),
                value: row.value.as_deref(),
                headers,
            })
            .collect();
        put(&self.scene.log, &self.inputs[partition.input], partition.number, &records);
    }

    /// What is aborted was never written.
    fn put_in_transaction(&self, partition: Partition, rows: &[Row], commit: bool) {
        if commit {
            self.put(partition, rows);
        }
    }

    fn put_header(&self, partition: Partition, name: &[u8], value: &[u8]) {
        let mut headers = Vec::new();
        push_header(&mut headers, name, Some(value));
        let record = Content { headers: &headers, ..of_value("x") };
        put(&self.scene.log, &self.inputs[partition.input], partition.number, &[record]);
    }

    fn read(&self, output: usize) -> Vec<(u32, Row)> {
        let mut all = Vec::new();
        self.scene.each(&self.outputs[output], |number, _, record| {
            let header = |(name, value): (&[u8], Option<&[u8]>)| {
                (String::from_utf8_lossy(name).into_owned(), value.map(<[u8]>::to_vec))
            };
            let row = Row {
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: Headers::new(record.headers).map(header).collect(),
                timestamp: Some(record.timestamp),
            };
            all.push((number, row));
        });
        all
    }

    fn first_header(&self, output: usize) -> (Vec<u8>, Vec<u8>) {
        let mut first = None;
        self.scene.each(&self.outputs[output], |_, _, record| {
            let of_record =
                || Headers::new(record.headers).next().map(|(name, value)| (name.to_vec(), value.unwrap().to_vec()));
            first = first.take().or_else(of_record);
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
        self.scene.tidy();
        configure("{}");
    }

    fn clock(&self) -> Rc<dyn Clock> {
        Rc::new(SystemClock::new(Arc::default()))
    }
}
