//! What commands and other processes see and do, and what the log does by itself.

use super::scene::{Scene, deliver, progress, settings, taken, text, topic};
use crate::{
    manifest::Start,
    transport::{
        Link, Progress,
        local::{
            NewRecord, NotAppended, Place, codec,
            rows::{self, Expected},
            scribe, writer,
        },
        log::{Offsets, Topics},
    },
};
use std::{collections::BTreeMap, time::Duration};

fn keyed<'a>(key: &'a str, value: &'a str) -> NewRecord<'a> {
    NewRecord { key: Some(key.as_bytes()), value: Some(value.as_bytes()), ..NewRecord::default() }
}

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

#[test]
fn records_are_appended_all_or_none_and_told_where() {
    let scene = Scene::with(&["t:3", "c cleanup.policy=compact max.message.bytes=100"]);
    let mut appender = scene.log.appender().unwrap();
    let place = |partition, offset| Place { partition, offset };
    let records = [
        keyed("a-little-bit-long-string", "1"),
        NewRecord { partition: Some(0), ..keyed("a-little-bit-long-string", "2") },
        keyed("a-little-bit-long-string", "3"),
    ];
    assert_eq!(appender.append("t", &records).unwrap(), [place(2, 0), place(0, 0), place(2, 1)]);
    let plain = NewRecord::default();
    assert_eq!(appender.append("t", &[plain, plain]).unwrap(), [place(1, 0), place(1, 1)]);
    let large = "x".repeat(30);
    let wrong = [
        ("t", NewRecord { partition: Some(3), ..plain }, "there is no partition 3"),
        ("c", NewRecord::default(), "without a key"),
        ("c", keyed("k", &large), "larger than max.message.bytes"),
    ];
    for (topic, record, words) in wrong {
        match appender.append(topic, &[keyed("k", ""), record]).unwrap_err() {
            NotAppended::Refused { record: 1, why } => assert!(why.contains(words), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(appender.append("none", &[plain]).unwrap_err().to_string().contains("there is no topic none"));
    assert_eq!((scene.values("t").as_str(), scene.values("c").as_str()), ("0: 2; 1: - -; 2: 1 3", "0: "));
}

#[test]
fn a_scanner_goes_from_any_offset_to_the_end_and_hears_what_comes() {
    let scene = Scene::with(&["t"]);
    scene.come("t", 0, &["a", "b", "c"]);
    let mut scanner = scene.log.scanner().unwrap();
    let page = scanner.read("t", 0, 1).unwrap();
    assert_eq!(page.records().map(|record| record.offset).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((page.start, page.next, page.end), (0, 3, 3));
    scanner.wait_for_change(Duration::ZERO).unwrap();
    assert!(!scanner.wait_for_change(Duration::ZERO).unwrap());
    // From this process and from another one.
    scene.come("t", 0, &["d"]);
    assert!(scanner.wait_for_change(Duration::from_secs(60)).unwrap());
    scene.other().appender().unwrap().append("t", &[keyed("k", "e")]).unwrap();
    assert!(scanner.wait_for_change(Duration::from_secs(60)).unwrap());
    assert_eq!(scanner.read("t", 0, 3).unwrap().records().count(), 2);
    assert!(scanner.read("t", 0, 6).err().unwrap().to_string().contains("offsets from 0 to 5: 6 is not among them"));
    assert!(scanner.read("t", 1, 0).err().unwrap().to_string().contains("no partition 1"));
}

#[test]
fn a_long_partition_is_read_page_by_page() {
    let scene = Scene::with(&["t"]);
    let value = "x".repeat(10_000);
    for _ in 0..5 {
        scene.come("t", 0, &[value.as_str(); 100]);
    }
    let (mut scanner, mut at, mut pages) = (scene.log.scanner().unwrap(), 0, 0);
    while at < 500 {
        let page = scanner.read("t", 0, at).unwrap();
        assert_eq!(page.records().next().unwrap().offset, at);
        assert_eq!(at + page.records().count() as u64, page.next);
        (at, pages) = (page.next, pages + 1);
    }
    assert!(pages > 3, "{pages}");
}

#[test]
fn a_group_s_offsets_are_shown_found_and_set() {
    let scene = Scene::with(&["in:2", "out"]);
    scene.come("in", 0, &["a", "b"]);
    let early = NewRecord { timestamp: Some(10), partition: Some(1), ..NewRecord::default() };
    scene.log.appender().unwrap().append("in", &[early, NewRecord { timestamp: Some(20), ..early }]).unwrap();
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
    let part = scene.log.desk().read(|tx| rows::topic(tx, "t")).unwrap().unwrap().parts[0].id;
    let job = |value: &'static str, from| {
        let content = codec::Content { timestamp: 1, key: None, value: Some(value.as_bytes()), headers: b"" };
        let blobs = writer::seal([content].into_iter());
        let step = rows::Step { group: value.into(), topic: "t".into(), number: 0, part, from, next: 0 };
        scribe::Job {
            appends: vec![scribe::Append { topic: "t".into(), part, blobs }],
            steps: vec![step],
            ..scribe::Job::default()
        }
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
    let old = NewRecord { timestamp: Some(1), ..NewRecord::default() };
    for topic in ["t", "u"] {
        let mut appender = scene.log.appender().unwrap();
        appender.append(topic, &[old, old]).unwrap();
        // A batch goes when its youngest record is too old.
        appender.append(topic, &[old, keyed("k", "young")]).unwrap();
        appender.append(topic, &[old]).unwrap();
    }
    scene.log.tidy().unwrap();
    assert_eq!((scene.values("t").as_str(), scene.values("u").as_str()), ("0: - young -", "0: - - - young -"));
    assert_eq!(scene.log.partitions("t").unwrap().unwrap()[0].start, Some(2));
    let words = scene.log.scanner().unwrap().read("t", 0, 1).err().unwrap().to_string();
    assert!(words.contains("t/0 has offsets from 2 to 5: 1 is not among them"), "{words}");
}

#[test]
fn records_that_are_too_many_go_in_small_steps() {
    let scene = Scene::with(&["t retention.bytes=50000"]);
    let record = NewRecord { value: Some(b"0123456789"), ..NewRecord::default() };
    for _ in 0..50 {
        scene.log.appender().unwrap().append("t", &vec![record; 2_000]).unwrap();
    }
    scene.log.tidy().unwrap();
    let facts = &scene.log.partitions("t").unwrap().unwrap()[0];
    let kept = scene.log.desk().read(|tx| rows::size(tx, 1)).unwrap().unwrap();
    assert!((50_000..90_000).contains(&kept), "{kept}");
    assert_eq!(facts.end, Some(100_000));
    let left: u64 =
        scene.log.desk().read(|tx| Ok(tx.query_row("SELECT sum(size) FROM batch", [], |r| r.get(0))?)).unwrap();
    assert_eq!(left, kept);
}

#[test]
fn a_group_whose_next_record_is_too_old_is_told() {
    let scene = Scene::with(&["in retention.ms=3600000", "out"]);
    let old = NewRecord { timestamp: Some(1), ..NewRecord::default() };
    scene.log.appender().unwrap().append("in", &[old]).unwrap();
    scene.log.appender().unwrap().append("in", &[old]).unwrap();
    let (mut link, assignment) = scene.link(settings());
    link.begin().unwrap();
    link.commit(&assignment.chosen).unwrap();
    assert_eq!(taken(&mut link, 1), "0/0@0=-");
    scene.log.tidy().unwrap();
    let words = link.take(1, Duration::ZERO).err().unwrap().to_string();
    assert!(words.contains("in/0: the records from offset 1 on are gone, there is 2 to 2"), "{words}");
    let words = link.recover().unwrap_err().to_string();
    assert!(words.contains("its offset 0 in in/0 is gone, there is 2 to 2 now"), "{words}");
}

#[test]
fn of_each_key_the_last_record_stays_where_it_was() {
    let scene = Scene::with(&["t cleanup.policy=compact"]);
    let mut appender = scene.log.appender().unwrap();
    let gone = NewRecord { key: Some(b"a"), ..NewRecord::default() };
    appender.append("t", &[keyed("a", "1"), keyed("b", "2"), keyed("a", "3")]).unwrap();
    appender.append("t", &[keyed("b", "4")]).unwrap();
    appender.append("t", &[gone, keyed("c", "5"), keyed("b", "6"), keyed("d", "7"), keyed("b", "8")]).unwrap();
    scene.log.tidy().unwrap();
    let shown = || {
        let page = scene.log.scanner().unwrap().read("t", 0, 0).unwrap();
        let records = page.records().map(|record| format!("{}={}", record.offset, text(record.value)));
        records.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(shown(), "4=- 5=5 7=7 8=8");
    appender.append("t", &[keyed("c", "9"), keyed("c", "10")]).unwrap();
    appender.append("t", &[keyed("d", "11"), keyed("c", "12")]).unwrap();
    scene.log.tidy().unwrap();
    assert_eq!(shown(), "4=- 8=8 11=11 12=12");
    let size = scene.log.desk().read(|tx| rows::size(tx, 1)).unwrap().unwrap();
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
    let mut appender = scene.log.appender().unwrap();
    let keys: Vec<_> = (0..30_000).map(|key| key.to_string()).collect();
    for round in ["1", "2"] {
        for keys in keys.chunks(1_000) {
            appender.append("t", &keys.iter().map(|key| keyed(key, round)).collect::<Vec<_>>()).unwrap();
        }
    }
    scene.log.tidy().unwrap();
    assert_eq!(scene.values("t"), format!("0: {}", vec!["2"; 30_000].join(" ")));
}

#[test]
fn what_another_process_appends_comes_to_a_link() {
    let scene = Scene::with(&["in", "out"]);
    let (mut link, _) = scene.link(settings());
    assert_eq!(taken(&mut link, 9), "0/0|0");
    scene.other().appender().unwrap().append("in", &[keyed("k", "a")]).unwrap();
    assert_eq!(taken(&mut link, 9), "0/0@0=a 0/0|1");
    deliver(&mut link, "A", &progress(&[(0, 0, 1)])).unwrap();
    assert!(scene.other().offsets("g", &["in".into()]).ask().unwrap().values().all(|lag| lag.is_none()));
    link.begin().unwrap();
    link.commit(&Progress::default()).unwrap();
}
