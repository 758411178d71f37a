//! The production worker on an embedded log.

use super::scene::{Scene, settings, topic};
use crate::{
    clock::SystemClock,
    manifest::OnError,
    record::{HeaderEdit, Record},
    stage::{
        self,
        guest::{Failed, Guest, InHand},
    },
    transport::{
        local::{LocalLink, LocalLog, NewRecord},
        log::{Offsets, Topics},
    },
    worker::{Ended, Worker, WorkerSettings, control::Control},
};
use std::{rc::Rc, sync::Arc, thread, time::Duration};

/// Passes values on, slowly enough that there is more than one transaction.
struct Echo;

impl Guest for Echo {
    fn transform(&mut self, in_hand: InHand<'_>) -> Result<Vec<Record>, Failed> {
        thread::sleep(Duration::from_micros(100));
        Ok(vec![Record {
            key: in_hand.record.key.map(<[u8]>::to_vec),
            value: in_hand.record.value.map(<[u8]>::to_vec),
            headers: HeaderEdit::Keep,
            output: None,
            partition: None,
            timestamp: None,
        }])
    }
}

/// Works from `in` to `out` until it is told to end.
pub(super) fn work(log: LocalLog, place: (u32, u32), control: Arc<Control>) -> Ended {
    let mut link = settings();
    (link.name, link.place, link.control) = (format!("w{}", place.0), place, control.clone());
    let clock = Rc::new(SystemClock::new(control.clone()));
    let output = stage::Output {
        name: "main".into(),
        topic: "out".into(),
        partitions: 1,
        largest: 1_000_000,
        compacted: false,
        ahead: None,
    };
    let stage = stage::StageSettings {
        pipeline: "p".into(),
        stage: "s".into(),
        module: "echo".into(),
        inputs: vec!["in".into()],
        outputs: vec![output],
        on_error: OnError::Stop,
        retry: stage::Retry {
            backoff: Duration::from_millis(1),
            max_backoff: Duration::from_millis(1),
            give_up_after: Duration::from_secs(1),
        },
    };
    let stage = stage::Stage::new(stage.into(), Box::new(Echo), clock.clone(), Arc::default());
    let settings = WorkerSettings { name: "w".into(), commit_interval: Duration::from_millis(5), control };
    Worker::new(LocalLink::new(log, link), stage, clock, settings).run()
}

/// Waits until the group has done everything.
pub(super) fn wait_until_done(log: &LocalLog) {
    let offsets = log.offsets("g", &["in".into()]);
    while !offsets.ask().unwrap().values().all(|lag| lag.committed == Some(lag.end)) {
        thread::sleep(Duration::from_millis(5));
    }
}

/// Every record of `in` is in `out` once, and those of a partition are in order.
pub(super) fn check_outputs(scene: &Scene) {
    let values = scene.values("out");
    let found: Vec<_> = values.trim_start_matches("0: ").split(' ').collect();
    let inputs = scene.values("in");
    for (number, part) in inputs.split("; ").enumerate() {
        let expected: Vec<_> = part.split(' ').skip(1).filter(|value| !value.is_empty()).collect();
        let own: Vec<_> = found.iter().copied().filter(|value| value.starts_with(&format!("{number}."))).collect();
        assert_eq!(own, expected, "partition {number}");
    }
    let expected: usize =
        inputs.split("; ").map(|part| part.split(' ').skip(1).filter(|v| !v.is_empty()).count()).sum();
    assert_eq!(found.len(), expected);
}

#[test]
fn workers_share_partitions_while_others_append_and_the_topic_grows() {
    let scene = Scene::with(&["in:4", "out"]);
    let control = Arc::new(Control::default());
    let workers: Vec<_> = (0..2)
        .map(|worker| {
            let (log, control) = (scene.log.clone(), control.clone());
            thread::spawn(move || work(log, (worker, 2), control))
        })
        .collect();
    let outside = scene.other();
    let append = |partitions: u32, round: usize, log: &LocalLog| {
        for number in 0..partitions {
            let values: Vec<_> = (0..20).map(|index| format!("{number}.{}", round * 20 + index)).collect();
            let records: Vec<_> = values
                .iter()
                .map(|value| NewRecord {
                    partition: Some(number),
                    value: Some(value.as_bytes()),
                    ..NewRecord::default()
                })
                .collect();
            log.appender().unwrap().append("in", &records).unwrap();
        }
    };
    (0..10).for_each(|round| append(4, round, if round % 2 == 0 { &outside } else { &scene.log }));
    outside.grow("in", 7).unwrap();
    outside.create(&topic("other")).unwrap();
    (10..20).for_each(|round| append(7, round, &outside));
    wait_until_done(&scene.log);
    control.stop();
    for worker in workers {
        assert_eq!(worker.join().unwrap(), Ended::Orderly);
    }
    check_outputs(&scene);
}
