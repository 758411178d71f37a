//! A log in a folder of its own, and short ways to say what is in it.

pub(super) use crate::transport::suite::{out, partition};
use crate::{
    manifest::{OnLostOffset, Start},
    transport::{
        Assignment, Batch, Fault, Link, LinkSettings, NextOffset, Partition, Progress, Taken,
        local::{LocalBatch, LocalLink, LocalLog, NewRecord},
        log::{NewTopic, Topics},
        suite,
    },
};
use std::time::Duration;
use tempfile::TempDir;

pub(super) struct Scene {
    pub(super) log: LocalLog,
    pub(super) folder: TempDir,
}

/// A topic that is to be made: `name` with one partition, `name:3`, `name:3 key=value key=value`.
pub(super) fn topic(text: &str) -> NewTopic {
    let mut words = text.split(' ');
    let (name, partitions) = words.next().map(|word| word.split_once(':').unwrap_or((word, "1"))).unwrap();
    let setting = |word: &str| word.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())).unwrap();
    NewTopic {
        name: name.to_owned(),
        partitions: Some(partitions.parse().unwrap()),
        replication: None,
        config: words.map(setting).collect(),
    }
}

/// A stage from `in` to `out`.
pub(super) fn settings() -> LinkSettings {
    LinkSettings { inputs: vec!["in".into()], outputs: vec!["out".into()], ..suite::settings() }
}

/// The same, with another start.
pub(super) fn from(from: Start) -> LinkSettings {
    LinkSettings { from, ..settings() }
}

/// The same, with another rule for offsets that are gone.
pub(super) fn lost(on_lost_offset: OnLostOffset) -> LinkSettings {
    LinkSettings { on_lost_offset, ..settings() }
}

impl Scene {
    /// A log with these topics.
    pub(super) fn with(topics: &[&str]) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let log = LocalLog::open(folder.path()).unwrap();
        let scene = Scene { log, folder };
        topics.iter().for_each(|text| assert!(scene.log.create(&topic(text)).unwrap()));
        scene
    }

    /// The same log as another process sees it.
    pub(super) fn other(&self) -> LocalLog {
        LocalLog::open(self.folder.path()).unwrap()
    }

    /// Records come into a partition.
    pub(super) fn come(&self, topic: &str, partition: u32, values: &[&str]) {
        let records: Vec<_> = values
            .iter()
            .map(|value| NewRecord {
                partition: Some(partition),
                value: Some(value.as_bytes()),
                ..NewRecord::default()
            })
            .collect();
        self.log.appender().unwrap().append(topic, &records).unwrap();
    }

    /// All values of a topic: `0: a b; 1: c`.
    pub(super) fn values(&self, topic: &str) -> String {
        let mut scanner = self.log.scanner().unwrap();
        let parts = self.log.partitions(topic).unwrap().unwrap();
        let mut part = |number: u32, start: u64| {
            let mut values = Vec::new();
            let mut at = start;
            loop {
                let page = scanner.read(topic, number, at).unwrap();
                values.extend(page.records().map(|record| text(record.value)));
                at = page.next;
                if page.next == page.end {
                    return format!("{number}: {}", values.join(" "));
                }
            }
        };
        parts.iter().map(|facts| part(facts.number, facts.start.unwrap())).collect::<Vec<_>>().join("; ")
    }

    /// A link that has begun.
    pub(super) fn link(&self, settings: LinkSettings) -> (LocalLink, Assignment) {
        let mut link = LocalLink::new(self.log.clone(), settings);
        let assignment = link.recover().unwrap();
        (link, assignment)
    }
}

/// Bytes for people.
pub(super) fn text(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "-".into(), |bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// Progress: `(input, partition, next)`.
pub(super) fn progress(all: &[(usize, u32, u64)]) -> Progress {
    all.iter().map(|(input, number, next)| (partition(*input, *number), NextOffset(*next))).collect()
}

/// What comes at the next take: `input/partition@offset=value`, and `input/partition|end`.
pub(super) fn taken(link: &mut LocalLink, limit: usize) -> String {
    match link.take(limit, Duration::ZERO).unwrap() {
        Taken::Nothing => "nothing".into(),
        Taken::Rebalance => "rebalance".into(),
        Taken::Records(batch) => shown(&batch),
    }
}

pub(super) fn shown(batch: &LocalBatch) -> String {
    let record = |index| {
        let record = batch.get(index);
        let Partition { input, number } = record.partition;
        format!("{input}/{number}@{}={}", record.offset.0, text(record.value))
    };
    let end = |(partition, end): &(Partition, NextOffset)| format!("{}/{}|{end}", partition.input, partition.number);
    (0..batch.len()).map(record).chain(batch.ends().iter().map(end)).collect::<Vec<_>>().join(" ")
}

/// Writes a value and progress in one transaction.
pub(super) fn deliver(link: &mut LocalLink, value: &str, done: &Progress) -> Result<(), Fault> {
    link.begin()?;
    link.send(&out(value), None)?;
    link.commit(done)
}
