//! A log in a folder of its own, and short ways to say what is in it.

pub(super) use crate::transport::suite::{out, partition};
use crate::{
    manifest::OnLostOffset,
    transport::{
        Assignment, Batch, Fault, Link, LinkSettings, NextOffset, Partition, Progress, Taken,
        local::{
            Durability, LocalLink, LocalLog,
            codec::{Blob, Content},
            rows,
            scribe::{Append, Job},
            tidy::Tidy,
            writer::{Pending, now},
        },
        log::{NewTopic, Topics},
        suite,
    },
};
use std::{path::Path, time::Duration};
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
        has_brokers_time: false,
    }
}

/// A stage from `in` to `out`.
pub(super) fn settings() -> LinkSettings {
    LinkSettings { inputs: vec!["in".into()], outputs: vec!["out".into()], ..suite::settings() }
}

/// The same, with another rule for offsets that are gone.
pub(super) fn lost(on_lost_offset: OnLostOffset) -> LinkSettings {
    LinkSettings { on_lost_offset, ..settings() }
}

impl Scene {
    /// The id of a topic's first partition.
    pub(super) fn part(&self, topic: &str) -> i64 {
        self.log.desk().read(|tx| Ok(rows::topic(tx, topic)?.unwrap().parts[0].id)).unwrap()
    }

    /// A log with these topics.
    pub(super) fn with(topics: &[&str]) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path()).unwrap();
        let scene = Scene { log, folder };
        topics.iter().for_each(|text| assert!(scene.log.create(&topic(text)).unwrap()));
        scene
    }

    /// The same log as another process sees it.
    pub(super) fn other(&self) -> LocalLog {
        open(self.folder.path()).unwrap()
    }

    /// Records of these values come into a partition, in one batch.
    pub(super) fn come(&self, topic: &str, number: u32, values: &[&str]) {
        let records: Vec<_> = values.iter().map(|value| of_value(value)).collect();
        put(&self.log, topic, number, &records);
    }

    /// Looks at every record of a topic, with its partition and its offset.
    pub(super) fn each(&self, topic: &str, mut look: impl FnMut(u32, u64, Content<'_>)) {
        let read = |tx: &rusqlite::Connection| {
            for (number, part) in (0..).zip(rows::existing(tx, topic)?.parts) {
                rows::read_blobs(tx, (part.id, topic, number), part.first, |_, blob: Blob| {
                    (0..blob.len()).for_each(|index| look(number, blob.offset(index), blob.content(index)));
                    true
                })?;
            }
            Ok(())
        };
        self.log.desk().read(read).unwrap();
    }

    /// Removes what retention and compaction leave no place for.
    pub(super) fn tidy(&self) {
        let (mut desk, mut tidy) = (self.log.desk(), Tidy::default());
        tidy.begin();
        while tidy.is_at_it() {
            tidy.step(&mut desk).unwrap();
        }
    }

    /// All values of a topic: `0: a b; 1: c`.
    pub(super) fn values(&self, topic: &str) -> String {
        let parts = self.log.partitions(topic).unwrap().unwrap();
        let mut values = vec![Vec::new(); parts.len()];
        self.each(topic, |number, _, record| values[number as usize].push(text(record.value)));
        let all: Vec<_> = (0..).zip(values).map(|(number, values)| format!("{number}: {}", values.join(" "))).collect();
        all.join("; ")
    }

    /// A link that has begun.
    pub(super) fn link(&self, settings: LinkSettings) -> (LocalLink, Assignment) {
        let mut link = LocalLink::new(self.log.clone(), settings);
        let assignment = link.recover().unwrap();
        (link, assignment)
    }
}

/// A record of a value alone, of now.
pub(super) fn of_value(value: &str) -> Content<'_> {
    Content { timestamp: now(), key: None, value: Some(value.as_bytes()), headers: &[] }
}

/// One with a key.
pub(super) fn keyed<'a>(key: &'a str, value: &'a str) -> Content<'a> {
    Content { key: Some(key.as_bytes()), ..of_value(value) }
}

/// Records for one partition, in one batch.
pub(super) fn append(log: &LocalLog, topic: &str, number: u32, records: &[Content<'_>]) -> Append {
    let found = log.desk().read(|tx| rows::existing(tx, topic)).unwrap();
    let mut pending = Pending::default();
    for record in records {
        pending.push(*record);
    }
    Append { topic: topic.to_owned(), part: found.parts[number as usize].id, blobs: pending.finish() }
}

/// They come into it.
pub(super) fn put(log: &LocalLog, topic: &str, number: u32, records: &[Content<'_>]) {
    let job = Job { appends: vec![append(log, topic, number, records)], ..Job::default() };
    log.scribe().unwrap().submit(job).unwrap().recv().unwrap().unwrap();
}

/// The log in a folder.
pub(super) fn open(folder: &Path) -> anyhow::Result<LocalLog> {
    LocalLog::open_with(folder, Durability::default())
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

pub(super) fn shown(batch: &dyn Batch) -> String {
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
