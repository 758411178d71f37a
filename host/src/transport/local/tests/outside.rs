//! What commands and other processes see and do, and what the log does by itself.

use super::scene::{Scene, append, deliver, keyed, of_value, out, progress, put, settings, shown, taken, text, topic};
use crate::{
    manifest::Start,
    transport::{
        Link, Outgoing, Progress, Taken,
        local::{
            LocalScan, LocalSender,
            codec::Content,
            rows::{self, Expected},
            scribe::Job,
            tidy::{STEP_BYTES, Tidy},
        },
        log::{From, Offsets, Scan, Scanner, Sender, Topics},
    },
};
use std::{collections::BTreeMap, time::Duration};

#[test]
fn topics_come_grow_and_go() {
    let scene = Scene::with(&["a:2 retention.ms=5 x.y=z"]);
    let log = &scene.log;
    assert!(!log.create(&topic("a")).unwrap());
    let facts = &log.find(&["a", "b"]).unwrap()["a"];
    assert_eq!((facts.partitions, facts.replication), (2, 0));
    assert_eq!(facts.own_config, ["retention.ms", "x.y"]);
    assert_eq!((facts.number("retention.ms"), facts.number("max.message.bytes")), (Some(5), Some(1_048_588)));
    log.grow("a", 3).unwrap();
    assert_eq!(log.list().unwrap()["a"].partitions, 3);
    assert_eq!(log.partitions("a").unwrap().unwrap()[2].end, Some(0));
    assert!(log.grow("a", 3).unwrap_err().to_string().contains("topic a has 3 partitions already"));
    log.delete("a").unwrap();
    assert!(log.list().unwrap().is_empty() && log.partitions("a").unwrap().is_none());
    for words in [log.grow("a", 2), log.delete("a")] {
        assert!(words.unwrap_err().to_string().contains("there is no topic a"));
    }
}

#[test]
fn a_topic_that_the_log_could_not_keep_is_refused() {
    let scene = Scene::with(&[]);
    for words in ["a/b", "..", "a:0", "a:10001", "a retention.ms=soon", "a cleanup.policy=melt"] {
        assert!(scene.log.create(&topic(words)).is_err(), "{words}");
    }
    assert!(scene.log.list().unwrap().is_empty());
    assert!(scene.log.create(&topic("a cleanup.policy=delete,compact retention.ms=-1")).unwrap());
}

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_sender_goes_by_what_its_topic_takes_and_notices_when_it_grows() {
    let scene = Scene::with(&["t max.message.bytes=200"]);
    let mut sender = LocalSender::new(&scene.log, "t").unwrap();
    let large = "x".repeat(200);
    let to = |number, value| Outgoing { partition: Some(number), ..out(value) };
    for (number, record) in (1..).zip([to(0, "a"), to(1, "b"), out(&large)]) {
        assert!(sender.offer(number, &record).unwrap());
    }
    assert!(sender.settle(PATIENCE).unwrap());
    scene.log.grow("t", 2).unwrap();
    assert!(sender.offer(4, &to(1, "c")).unwrap() && sender.settle(PATIENCE).unwrap());
    let sent = sender.sent();
    assert_eq!((sent.acknowledged, sent.failed), (2, 2));
    let named: Vec<_> = sent.named.iter().map(|unsent| (unsent.number, unsent.why.as_str())).collect();
    assert_eq!(named, [(2, "t has no partition 1, it has 1"), (3, "t takes records of 200 bytes, this one has 296")]);
    assert_eq!(scene.values("t"), "0: a; 1: c");
}

/// What a scan comes upon: records, or where it goes on.
fn scanned(scan: &mut LocalScan) -> String {
    match scan.take(9, Duration::ZERO).unwrap() {
        Taken::Records(batch) => shown(&*batch),
        Taken::Nothing => "nothing".into(),
        Taken::Rebalance => {
            let starts = scan.rebalance().unwrap().starts;
            starts.iter().map(|(partition, next)| format!("{}>{next}", partition.number)).collect::<Vec<_>>().join(" ")
        }
    }
}

#[test]
fn a_scan_goes_on_where_it_was_unless_the_topic_was_made_anew() {
    for group in [None, Some("g".to_owned())] {
        let scene = Scene::with(&["t"]);
        scene.come("t", 0, &["a", "b"]);
        let scan = Scan { topic: "t".into(), partition: None, from: From::Offset(1), group, uncommitted: false };
        let mut reads = LocalScan::new(&scene.log, &scan).unwrap();
        assert_eq!([scanned(&mut reads), scanned(&mut reads)], ["0>1", "0/0@1=b 0/0|2"]);
        assert!(reads.commit(&progress(&[(0, 0, 2)])).unwrap());
        scene.log.grow("t", 2).unwrap();
        scene.come("t", 1, &["x"]);
        assert_eq!([scanned(&mut reads), scanned(&mut reads)], ["0>2 1>0", "0/1@0=x 0/1|1 0/0|2"]);
        scene.log.delete("t").unwrap();
        scene.log.create(&topic("t")).unwrap();
        scene.come("t", 0, &["c", "d", "e"]);
        // What was read of the old one is nothing in the new one.
        assert_eq!(reads.commit(&progress(&[(0, 0, 2)])).unwrap(), scan.group.is_none());
        assert_eq!([scanned(&mut reads), scanned(&mut reads)], ["0>0", "0/0@0=c 0/0@1=d 0/0@2=e 0/0|3"]);
        scene.log.delete("t").unwrap();
        assert!(matches!(reads.take(9, Duration::ZERO).unwrap(), Taken::Rebalance));
        assert_eq!(reads.rebalance().unwrap_err().to_string(), "there is no topic t");
    }
}

#[test]
fn a_scan_goes_on_behind_what_is_removed_while_it_reads() {
    for group in [None, Some("g".to_owned())] {
        let scene = Scene::with(&["t retention.ms=3600000"]);
        let old = Content { timestamp: 1, ..of_value("-") };
        for _ in 0..6 {
            put(&scene.log, "t", 0, &[old, old]);
        }
        scene.come("t", 0, &["young"]);
        let from = From::Start(Start::Earliest);
        let scan = Scan { topic: "t".into(), partition: None, from, group, uncommitted: false };
        let mut reads = LocalScan::new(&scene.log, &scan).unwrap();
        assert_eq!(scanned(&mut reads), "0>0");
        assert!(scanned(&mut reads).ends_with("0/0@8=-"));
        scene.tidy();
        assert_eq!([scanned(&mut reads), scanned(&mut reads)], ["0>12", "0/0@12=young 0/0|13"]);
        assert!(reads.commit(&progress(&[(0, 0, 13)])).unwrap());
    }
}

#[test]
fn a_group_s_offsets_are_shown_found_and_set() {
    let scene = Scene::with(&["in:2", "out"]);
    scene.come("in", 0, &["a", "b"]);
    let early = Content { timestamp: 10, ..of_value("") };
    put(&scene.log, "in", 1, &[early, Content { timestamp: 20, ..early }]);
    let offsets = scene.log.offsets("g", &["in".into()]);
    let shown =
        || -> Vec<_> { offsets.ask().unwrap().values().map(|lag| (lag.committed, lag.start, lag.end)).collect() };
    assert_eq!(shown(), [(None, 0, 2), (None, 0, 2)]);
    let found = |start| offsets.find(start).unwrap().into_values().collect::<Vec<_>>();
    assert_eq!(found(Start::Earliest), [0, 0]);
    assert_eq!(found(Start::Latest), [2, 2]);
    assert_eq!(found(Start::Timestamp(15)), [0, 1]);
    offsets.set(&BTreeMap::from([(("in".into(), 0), 1), (("in".into(), 1), 2)])).unwrap();
    assert_eq!(shown(), [(Some(1), 0, 2), (Some(2), 0, 2)]);
    for (place, words) in [(("in", 0, 3), "3 is not among them"), (("in", 2, 0), "no partition 2"), (("x", 0, 0), "x")]
    {
        let (topic, number, next) = place;
        let words_found = offsets.set(&BTreeMap::from([((topic.to_owned(), number), next)])).unwrap_err().to_string();
        assert!(words_found.contains(words), "{words_found}");
    }
    assert_eq!(shown()[0], (Some(1), 0, 2));
}

#[test]
fn one_host_at_a_time_runs_on_a_log() {
    let scene = Scene::with(&[]);
    let other = scene.other();
    let host = scene.log.host().unwrap().unwrap();
    assert!(other.host().unwrap().is_none());
    drop(host);
    assert!(other.host().unwrap().is_some());
}

#[test]
fn jobs_that_are_committed_together_fail_alone() {
    let scene = Scene::with(&["t"]);
    let scribe = scene.log.scribe().unwrap();
    let job = |value: &'static str, from| {
        let append = append(&scene.log, "t", 0, &[of_value(value)]);
        let step = rows::Step { group: value.into(), topic: "t".into(), number: 0, part: append.part, from, next: 0 };
        Job { appends: vec![append], steps: vec![step], ..Job::default() }
    };
    use Expected::{At, Nothing};
    // Somebody else writes: what is handed in meanwhile is committed together after it.
    let queue = scene.log.0.locks.queue().unwrap();
    let pen = queue.wait().unwrap();
    let answers: Vec<_> = [("a", Nothing), ("b", Nothing), ("c", At(5)), ("d", Nothing)]
        .map(|(value, from)| scribe.submit(job(value, from)).unwrap())
        .into_iter()
        .collect();
    drop(pen);
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.recv().unwrap().ok()).collect();
    assert_eq!(answers, [Some(vec![0]), Some(vec![1]), None, Some(vec![2])]);
    assert_eq!(scene.values("t"), "0: a b d");
}

#[test]
fn records_that_are_too_old_go_batch_by_batch() {
    let scene = Scene::with(&["t retention.ms=3600000", "u"]);
    let old = Content { timestamp: 1, ..of_value("-") };
    for topic in ["t", "u"] {
        let put = |records: &[_]| put(&scene.log, topic, 0, records);
        put(&[old, old]);
        // A batch goes when its youngest record is too old.
        put(&[old, of_value("young")]);
        put(&[old]);
    }
    scene.tidy();
    assert_eq!((scene.values("t").as_str(), scene.values("u").as_str()), ("0: - young -", "0: - - - young -"));
    assert_eq!(scene.log.partitions("t").unwrap().unwrap()[0].start, Some(2));
}

#[test]
fn records_that_are_too_many_go_in_small_steps() {
    let scene = Scene::with(&["t retention.bytes=50000"]);
    for _ in 0..50 {
        scene.come("t", 0, &["0123456789"; 2_000]);
    }
    scene.tidy();
    let facts = &scene.log.partitions("t").unwrap().unwrap()[0];
    let part = scene.part("t");
    let kept = scene.log.desk().read(|tx| rows::size(tx, part)).unwrap().unwrap();
    assert!((50_000..90_000).contains(&kept), "{kept}");
    assert_eq!(facts.end, Some(100_000));
    let left: u64 =
        scene.log.desk().read(|tx| Ok(tx.query_row("SELECT sum(size) FROM batch", [], |r| r.get(0))?)).unwrap();
    assert_eq!(left, kept);
}

#[test]
fn a_step_of_removal_has_a_bound_in_bytes() {
    let scene = Scene::with(&["t retention.bytes=0"]);
    let large = "x".repeat(1 << 20);
    for _ in 0..10 {
        scene.come("t", 0, &[large.as_str()]);
    }
    // Before the desk is taken: there is one.
    let part = scene.part("t");
    let (mut desk, mut tidy) = (scene.log.desk(), Tidy::default());
    tidy.begin();
    let mut sizes = vec![10 << 20];
    while tidy.is_at_it() {
        tidy.step(&mut desk).unwrap();
        sizes.push(desk.read(|tx| rows::size(tx, part)).unwrap().unwrap());
    }
    assert!(sizes.windows(2).all(|sizes| sizes[0] <= sizes[1] + STEP_BYTES + (1 << 20)), "{sizes:?}");
    assert_eq!(sizes.last(), Some(&0));
}

#[test]
fn a_group_whose_next_record_is_too_old_is_told() {
    let scene = Scene::with(&["in retention.ms=3600000", "out"]);
    let old = Content { timestamp: 1, ..of_value("-") };
    put(&scene.log, "in", 0, &[old]);
    put(&scene.log, "in", 0, &[old]);
    let (mut link, assignment) = scene.link(settings());
    link.begin().unwrap();
    link.commit(&assignment.chosen).unwrap();
    assert_eq!(taken(&mut link, 1), "0/0@0=-");
    scene.tidy();
    let words = link.take(1, Duration::ZERO).err().unwrap().to_string();
    assert!(words.contains("in/0: the records from offset 1 on are gone, there is 2 to 2"), "{words}");
    let words = link.recover().unwrap_err().to_string();
    assert!(words.contains("its offset 0 in in/0 is gone, there is 2 to 2 now"), "{words}");
}

#[test]
fn of_each_key_the_last_record_stays_where_it_was() {
    let scene = Scene::with(&["t cleanup.policy=compact"]);
    let put = |records: &[_]| put(&scene.log, "t", 0, records);
    let gone = Content { value: None, ..keyed("a", "") };
    put(&[keyed("a", "1"), keyed("b", "2"), keyed("a", "3")]);
    put(&[keyed("b", "4")]);
    put(&[gone, keyed("c", "5"), keyed("b", "6"), keyed("d", "7"), keyed("b", "8")]);
    scene.tidy();
    let shown = || {
        let mut all = Vec::new();
        scene.each("t", |_, offset, record| all.push(format!("{offset}={}", text(record.value))));
        all.join(" ")
    };
    assert_eq!(shown(), "4=- 5=5 7=7 8=8");
    put(&[keyed("c", "9"), keyed("c", "10")]);
    put(&[keyed("d", "11"), keyed("c", "12")]);
    scene.tidy();
    assert_eq!(shown(), "4=- 8=8 11=11 12=12");
    let part = scene.part("t");
    let size = scene.log.desk().read(|tx| rows::size(tx, part)).unwrap().unwrap();
    let left: u64 =
        scene.log.desk().read(|tx| Ok(tx.query_row("SELECT sum(size) FROM batch", [], |r| r.get(0))?)).unwrap();
    assert_eq!(left, size);
    // A group passes over what is not there any more, up to the end.
    let mut settings = settings();
    settings.inputs = vec!["t".into()];
    let (mut link, _) = scene.link(settings);
    assert_eq!(taken(&mut link, 9), "0/0@4=- 0/0@8=8 0/0@11=11 0/0@12=12 0/0|13");
}

#[test]
fn many_keys_are_compacted_in_many_steps() {
    let scene = Scene::with(&["t cleanup.policy=compact"]);
    let keys: Vec<_> = (0..30_000).map(|key| key.to_string()).collect();
    for round in ["1", "2"] {
        for keys in keys.chunks(1_000) {
            put(&scene.log, "t", 0, &keys.iter().map(|key| keyed(key, round)).collect::<Vec<_>>());
        }
    }
    scene.tidy();
    assert_eq!(scene.values("t"), format!("0: {}", vec!["2"; 30_000].join(" ")));
}

#[test]
fn what_another_process_appends_comes_to_a_link() {
    let scene = Scene::with(&["in", "out"]);
    let (mut link, _) = scene.link(settings());
    assert_eq!(taken(&mut link, 9), "0/0|0");
    put(&scene.other(), "in", 0, &[of_value("a")]);
    assert_eq!(taken(&mut link, 9), "0/0@0=a 0/0|1");
    deliver(&mut link, "A", &progress(&[(0, 0, 1)])).unwrap();
    assert!(scene.other().offsets("g", &["in".into()]).ask().unwrap().values().all(|lag| lag.is_none()));
    link.begin().unwrap();
    link.commit(&Progress::default()).unwrap();
}
