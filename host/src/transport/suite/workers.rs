//! The production worker, on the log.

use super::{Log, one_of_two, partition, rows, settings, stands};
use millstream::{
    manifest::{OnError, Policy, Start},
    record::{HeaderEdit, Record},
    schemas::Codec,
    stage::{
        self,
        guest::{Failed, Guest, InHand},
    },
    transport::LinkSettings,
    worker::{Worker, WorkerSettings},
};
use std::time::{Duration, Instant};

/// Passes records on to the same partition.
struct Echo;

impl Guest for Echo {
    fn transform(&mut self, in_hand: InHand<'_>) -> Result<Vec<Record>, Failed> {
        Ok(vec![Record {
            key: in_hand.record.key.map(<[u8]>::to_vec),
            value: in_hand.record.value.map(<[u8]>::to_vec),
            headers: HeaderEdit::Keep,
            output: None,
            partition: Some(in_hand.record.partition.number),
            timestamp: None,
        }])
    }
}

/// How many partitions there are, and how many records in each.
const PARTITIONS: u32 = 3;
const RECORDS: u64 = 500;

/// A worker that has begun.
fn worker<L: Log>(log: &L, link: LinkSettings) -> Worker<L::Link> {
    let output = stage::Output {
        name: "main".into(),
        topic: "out".into(),
        partitions: PARTITIONS,
        largest: 1_000_000,
        compacted: false,
        ahead: None,
        keeps: None,
    };
    let stage = stage::StageSettings {
        pipeline: "p".into(),
        stage: "s".into(),
        module: "echo".into(),
        inputs: vec!["in".into()],
        outputs: vec![output],
        on_error: OnError::all(Policy::Stop),
        provenance: false,
        codec: Codec::default(),
    };
    let clock = log.clock();
    let stage = stage::Stage::new(stage.into(), Box::new(Echo), clock.clone(), std::sync::Arc::default());
    let settings = WorkerSettings {
        name: link.name.clone(),
        number: link.place.0,
        commit_interval: Duration::from_millis(5),
        control: link.control.clone(),
    };
    let mut worker = Worker::new(log.link(link), stage, clock, settings);
    assert_eq!(worker.start(), None);
    worker
}

/// They work until it is so.
fn work<L: Log>(workers: &mut [Worker<L::Link>], what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < super::PATIENCE, "never: {what}");
        // To ask the group takes longer than a step.
        for _ in 0..10 {
            workers.iter_mut().for_each(|worker| assert_eq!(worker.step(), None));
        }
    }
}

/// `NUMBER.0 NUMBER.1 …` in each partition.
fn put_many<L: Log>(log: &L) {
    for number in 0..PARTITIONS {
        let values: Vec<_> = (0..RECORDS).map(|serial| format!("{number}.{serial}")).collect();
        log.put(partition(0, number), &rows(&values.join(" ")));
    }
}

/// True when the group is done.
fn is_done<L: Log>(log: &L) -> bool {
    (0..PARTITIONS).map(|number| partition(0, number)).all(|place| log.committed(place) == Some(log.end(place)))
}

/// Everything is there once, in order.
fn sees_many<L: Log>(log: &L) {
    let all = (PARTITIONS as u64 * RECORDS) as usize;
    super::settles(|| log.read(0).len() >= all);
    let read = log.read(0);
    for place in 0..PARTITIONS {
        let values: Vec<_> = read.iter().filter(|(number, _)| *number == place).map(|(_, row)| row.text()).collect();
        assert!((0..RECORDS).map(|serial| format!("{place}.{serial}")).eq(values.iter().cloned()), "{values:?}");
    }
}

pub(crate) fn a_worker_passes_every_record_on_once_and_in_order<L: Log>() {
    let log = L::with(&[PARTITIONS], &[PARTITIONS]);
    put_many(&log);
    work::<L>(&mut [worker(&log, settings())], "it is done", || is_done(&log));
    sees_many(&log);
}

pub(crate) fn two_workers_pass_every_record_on_once<L: Log>() {
    let log = L::with(&[PARTITIONS], &[PARTITIONS]);
    put_many(&log);
    let mut workers = [worker(&log, one_of_two(0)), worker(&log, one_of_two(1))];
    work::<L>(&mut workers, "they are done", || is_done(&log));
    sees_many(&log);
}

pub(crate) fn a_worker_that_is_dropped_is_carried_on_by_the_next<L: Log>() {
    let log = L::with(&[PARTITIONS], &[PARTITIONS]);
    put_many(&log);
    for steps in [1, 3, 6, 9] {
        let mut worker = worker(&log, settings());
        (0..steps).for_each(|_| assert_eq!(worker.step(), None));
    }
    work::<L>(&mut [worker(&log, settings())], "it is done", || is_done(&log));
    sees_many(&log);
}

pub(crate) fn a_worker_without_records_commits_where_it_stands<L: Log>() {
    let log = L::with(&[PARTITIONS], &[PARTITIONS]);
    put_many(&log);
    work::<L>(&mut [worker(&log, LinkSettings { from: Start::Latest, ..settings() })], "it has said so", || {
        is_done(&log)
    });
    assert_eq!(log.read(0), []);
    (0..PARTITIONS).for_each(|number| stands(&log, partition(0, number), RECORDS));
}
