//! What a link does on this log alone; the rest is in the suite of all logs.

use super::scene::{Scene, deliver, lost, out, partition, progress, settings, taken, topic};
use crate::{
    manifest::OnLostOffset,
    transport::{
        Batch, Fault, Link, NextOffset, Outgoing, Progress, Taken,
        local::{
            LocalLink, LocalLog,
            rows::{self, Expected},
        },
        log::{Offsets, Topics},
    },
};
use std::{collections::BTreeMap, time::Duration};

fn at(number: u32, next: u64) -> BTreeMap<(String, u32), u64> {
    BTreeMap::from([(("in".to_owned(), number), next)])
}

fn committed(log: &LocalLog) -> Vec<Option<u64>> {
    log.offsets("g", &["in".into()]).ask().unwrap().values().map(|lag| lag.committed).collect()
}

#[test]
fn a_group_that_was_moved_meanwhile_lets_nothing_be_written() {
    let scene = Scene::with(&["in", "out"]);
    scene.come("in", 0, &["a", "b"]);
    let (mut link, _) = scene.link(settings());
    let (group, topic, from) = ("g".to_owned(), "in".to_owned(), Expected::Anything);
    let moved = rows::Step { group, topic, number: 0, part: scene.part("in"), from, next: 2 };
    scene.log.desk().write(|tx| rows::advance(tx, &moved)).unwrap();
    let fault = deliver(&mut link, "A", &progress(&[(0, 0, 1)])).unwrap_err();
    assert!(matches!(&fault, Fault::Aborted(why) if why.contains("moved its offset in in/0")), "{fault:?}");
    assert_eq!((scene.values("out").as_str(), committed(&scene.log)), ("0: ", vec![Some(2)]));
    assert_eq!(link.recover().unwrap().starts, progress(&[(0, 0, 2)]));
}

#[test]
fn what_was_read_while_a_commit_was_under_way_comes_once_and_in_order() {
    let scene = Scene::with(&["in", "out"]);
    scene.come("in", 0, &["a", "b", "c", "d", "e", "f"]);
    let (mut link, _) = scene.link(settings());
    assert_eq!(taken(&mut link, 2), "0/0@0=a 0/0@1=b");
    deliver(&mut link, "AB", &progress(&[(0, 0, 2)])).unwrap();
    assert_eq!(taken(&mut link, 2), "0/0@2=c 0/0@3=d");
    link.hold(partition(0, 0)).unwrap();
    link.release(partition(0, 0), NextOffset(3)).unwrap();
    assert_eq!(taken(&mut link, 2), "0/0@3=d 0/0@4=e");
    deliver(&mut link, "DE", &progress(&[(0, 0, 5)])).unwrap();
    assert_eq!(taken(&mut link, 1), "0/0@5=f 0/0|6");
    scene.come("in", 0, &["g", "h", "i"]);
    assert_eq!(taken(&mut link, 1), "0/0@6=g");
    deliver(&mut link, "G", &progress(&[(0, 0, 7)])).unwrap();
    assert_eq!(link.recover().unwrap().starts, progress(&[(0, 0, 7)]));
    assert_eq!(taken(&mut link, 2), "0/0@7=h 0/0@8=i 0/0|9");
}

#[test]
fn two_links_of_a_stage_share_the_partitions_and_growth_moves_none() {
    let scene = Scene::with(&["in:3", "more:2", "out"]);
    let settings = |worker| {
        let mut settings = settings();
        settings.inputs.push("more".into());
        settings.place = (worker, 2);
        settings
    };
    let (mut first, a) = scene.link(settings(0));
    let (mut second, b) = scene.link(settings(1));
    assert_eq!(a.starts, progress(&[(0, 0, 0), (0, 2, 0), (1, 1, 0)]));
    assert_eq!(b.starts, progress(&[(0, 1, 0), (1, 0, 0)]));
    scene.log.grow("in", 5).unwrap();
    // However often it is asked for.
    for _ in 0..2 {
        assert_eq!((taken(&mut first, 0), taken(&mut second, 9)), ("rebalance".into(), "rebalance".into()));
    }
    let (grown, rest) = (first.rebalance().unwrap(), second.rebalance().unwrap());
    assert_eq!(grown.starts, progress(&[(0, 0, 0), (0, 2, 0), (0, 4, 0), (1, 1, 0)]));
    assert_eq!(rest.starts, progress(&[(0, 1, 0), (0, 3, 0), (1, 0, 0)]));
    // A topic that neither reads changes nothing.
    scene.log.create(&topic("other")).unwrap();
    assert_eq!(taken(&mut first, 0), "nothing");
}

#[test]
fn a_topic_that_was_made_anew_is_not_the_old_one() {
    for (rule, start) in [(OnLostOffset::Earliest, 0), (OnLostOffset::Latest, 2)] {
        let scene = Scene::with(&["in", "out"]);
        scene.come("in", 0, &["a"]);
        let (mut link, _) = scene.link(lost(rule));
        deliver(&mut link, "A", &progress(&[(0, 0, 1)])).unwrap();
        assert_eq!(taken(&mut link, 9), "0/0@0=a 0/0|1");
        scene.log.delete("in").unwrap();
        assert_eq!(taken(&mut link, 9), "rebalance");
        assert_eq!(link.rebalance().unwrap().starts, Progress::default());
        assert_eq!(taken(&mut link, 9), "nothing");
        scene.log.create(&topic("in")).unwrap();
        scene.come("in", 0, &["b", "c"]);
        // What was read of the old one cannot be committed to the new one.
        let fault = deliver(&mut link, "no", &progress(&[(0, 0, 1)])).unwrap_err();
        assert!(matches!(fault, Fault::Aborted(_)), "{fault:?}");
        let assignment = link.recover().unwrap();
        assert_eq!(assignment.starts, progress(&[(0, 0, start)]));
        assert_eq!(assignment.chosen, assignment.starts);
        deliver(&mut link, "B", &progress(&[(0, 0, 2)])).unwrap();
        assert_eq!((scene.values("out").as_str(), committed(&scene.log)), ("0: A B", vec![Some(2)]));
    }
    let scene = Scene::with(&["in", "out"]);
    scene.come("in", 0, &["a"]);
    let (mut link, _) = scene.link(settings());
    deliver(&mut link, "A", &progress(&[(0, 0, 1)])).unwrap();
    scene.log.delete("in").unwrap();
    scene.log.create(&topic("in")).unwrap();
    let fault = link.recover().unwrap_err();
    assert_eq!(
        fault.to_string(),
        "group g: its offset 1 in in/0 is gone, the topic was made anew and there is 0 to 0 now: to go on write \
         `on-lost-offset: earliest`, or `latest`"
    );
}

#[test]
fn an_output_that_comes_grows_or_goes_is_noticed() {
    let scene = Scene::with(&["in"]);
    scene.come("in", 0, &["a"]);
    let (mut link, _) = scene.link(settings());
    let fault = deliver(&mut link, "A", &Progress::default()).unwrap_err();
    assert!(matches!(&fault, Fault::Unavailable(why) if why == "topic out is not there"), "{fault:?}");
    scene.log.create(&topic("out")).unwrap();
    link.recover().unwrap();
    deliver(&mut link, "A", &Progress::default()).unwrap();
    assert_eq!(taken(&mut link, 9), "0/0@0=a 0/0|1");
    scene.log.grow("out", 2).unwrap();
    assert_eq!(taken(&mut link, 0), "nothing");
    link.begin().unwrap();
    link.send(&Outgoing { partition: Some(1), ..out("B") }, None).unwrap();
    let refused = link.send(&Outgoing { partition: Some(2), ..out("C") }, None);
    assert!(matches!(refused, Err(Fault::Refused(_))));
    link.commit(&Progress::default()).unwrap();
    assert_eq!(scene.values("out"), "0: A; 1: B");
    scene.log.delete("out").unwrap();
    let fault = deliver(&mut link, "D", &Progress::default()).unwrap_err();
    assert!(matches!(fault, Fault::Unavailable(_)), "{fault:?}");
}

#[test]
fn records_without_a_key_go_to_another_partition_with_each_transaction() {
    let scene = Scene::with(&["in", "out:3"]);
    let (mut link, _) = scene.link(settings());
    for value in ["a b", "c d", "e", "f"] {
        link.begin().unwrap();
        value.split(' ').for_each(|value| link.send(&out(value), None).unwrap());
        link.commit(&Progress::default()).unwrap();
    }
    assert_eq!(scene.values("out"), "0: a b f; 1: c d; 2: e");
}

#[test]
fn a_large_transaction_says_that_it_is_full_and_is_read_in_pieces() {
    let scene = Scene::with(&["in", "out"]);
    let (mut link, _) = scene.link(settings());
    let value = "x".repeat(100_000);
    link.begin().unwrap();
    let mut sent = 0;
    while !link.is_full() {
        link.send(&out(&value), None).unwrap();
        sent += 1;
    }
    assert!((160..180).contains(&sent), "{sent}");
    link.commit(&Progress::default()).unwrap();
    assert!(!link.is_full());
    let mut settings = settings();
    (settings.group, settings.inputs) = ("h".into(), vec!["out".into()]);
    let (mut other, _) = scene.link(settings);
    let mut found = 0;
    while let Taken::Records(batch) = other.take(7, Duration::ZERO).unwrap() {
        assert!(batch.len() <= 7);
        found += batch.len();
    }
    assert_eq!(found, sent);
}

#[test]
fn a_group_is_one_process_s() {
    let scene = Scene::with(&["in", "out"]);
    scene.come("in", 0, &["a"]);
    let (first, _) = scene.link(settings());
    // Another worker of the same process shares it, another process does not.
    let (second, _) = scene.link(settings());
    let other = scene.other();
    let fault = LocalLink::new(other.clone(), settings()).recover().unwrap_err();
    assert!(matches!(&fault, Fault::Unavailable(why) if why.contains("group g is another process's")), "{fault:?}");
    assert!(other.join("g").unwrap().is_none());
    let refused = other.offsets("g", &["in".into()]).set(&at(0, 1)).unwrap_err();
    assert!(refused.to_string().contains("group g is at work"), "{refused}");
    drop((first, second));
    other.offsets("g", &["in".into()]).set(&at(0, 1)).unwrap();
    let (_, assignment) = scene.link(settings());
    assert_eq!(assignment.starts, progress(&[(0, 0, 1)]));
}
