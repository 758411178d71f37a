//! Where reading begins.

use super::{Log, Member, Row, partition, progress, rows, settings, stands};
use millstream::{
    manifest::{OnLostOffset, Start},
    transport::{Fault, LinkSettings, NextOffset, Progress},
};

pub(crate) fn a_group_without_an_offset_begins_where_it_is_told<L: Log>() {
    let log = L::with(&[1], &[1]);
    let at = |time| Row { timestamp: Some(time), ..Row::default() };
    log.put(partition(0, 0), &[at(1000), at(2000), at(1500)]);
    let starts = [
        (Start::Earliest, 0),
        (Start::Latest, 3),
        (Start::Timestamp(500), 0),
        (Start::Timestamp(1000), 0),
        (Start::Timestamp(1001), 1),
        (Start::Timestamp(2001), 3),
    ];
    for (from, start) in starts {
        let member = Member::join(&log, LinkSettings { from, ..settings() });
        assert_eq!(member.assignment.starts, progress(&[(0, start)]), "{from:?}");
        assert_eq!(member.assignment.chosen, member.assignment.starts, "{from:?}");
        member.leave();
    }
}

pub(crate) fn a_group_that_may_not_choose_does_not_begin<L: Log>() {
    let log = L::with(&[1], &[1]);
    let from = Start::Refuse;
    let fault = Member::try_join(&log, LinkSettings { from, ..settings() }).err().unwrap();
    assert!(matches!(&fault, Fault::Fatal(why) if why.contains("`from: none` refuses to choose one")), "{fault:?}");
    // It need not, when there is one.
    let mut member = Member::join(&log, settings());
    member.deliver("", &progress(&[(0, 0)])).unwrap();
    member.leave();
    stands(&log, partition(0, 0), 0);
    let member = Member::join(&log, LinkSettings { from, ..settings() });
    assert_eq!(member.assignment.chosen, Progress::default());
    member.leave();
}

pub(crate) fn a_new_link_begins_at_what_is_committed<L: Log>() {
    let log = L::with(&[2], &[1]);
    log.put(partition(0, 0), &rows("a b c"));
    log.put(partition(0, 1), &rows("x y z"));
    let mut member = Member::join(&log, settings());
    member.reads(6);
    member.deliver("A", &progress(&[(0, 2), (1, 3)])).unwrap();
    member.leave();
    for from in [Start::Earliest, Start::Latest, Start::Timestamp(0)] {
        let mut next = Member::join(&log, LinkSettings { from, ..settings() });
        assert_eq!(next.assignment.starts, progress(&[(0, 2), (1, 3)]));
        assert_eq!(next.assignment.chosen, Progress::default());
        next.reads(1);
        assert_eq!((next.values().as_str(), next.came[0].offset.0), ("0: c", 2));
        next.leave();
    }
}

pub(crate) fn a_start_that_was_chosen_is_not_chosen_again<L: Log>() {
    let log = L::with(&[2], &[1]);
    log.put(partition(0, 0), &rows("a b"));
    let latest = || LinkSettings { from: Start::Latest, ..settings() };
    let mut member = Member::join(&log, latest());
    let chosen = member.assignment.chosen.clone();
    assert_eq!(chosen, progress(&[(0, 2), (1, 0)]));
    member.deliver("", &chosen).unwrap();
    member.leave();
    log.put(partition(0, 0), &rows("c"));
    log.put(partition(0, 1), &rows("x"));
    let mut next = Member::join(&log, latest());
    assert_eq!(next.assignment.chosen, Progress::default());
    next.reads(2);
    assert_eq!(next.values(), "0: c; 1: x");
    next.leave();
}

pub(crate) fn an_offset_that_is_gone_is_replaced_as_it_is_told<L: Log>() {
    let log = L::with(&[1], &[1]);
    log.put(partition(0, 0), &rows("a b c"));
    let mut member = Member::join(&log, settings());
    member.deliver("A", &progress(&[(0, 1)])).unwrap();
    member.leave();
    log.forget(partition(0, 0));
    log.put(partition(0, 0), &rows("d e"));
    let lost = |on_lost_offset| LinkSettings { on_lost_offset, ..settings() };
    let fault = Member::try_join(&log, lost(OnLostOffset::Stop)).err().unwrap();
    assert!(matches!(&fault, Fault::Fatal(why) if why.contains("is gone, there is 3 to 5 now")), "{fault:?}");
    for (rule, start) in [(OnLostOffset::Latest, 5), (OnLostOffset::Earliest, 3)] {
        let mut next = Member::join(&log, lost(rule));
        assert_eq!(next.assignment.starts, progress(&[(0, start)]), "{rule:?}");
        assert_eq!(next.assignment.chosen, next.assignment.starts, "{rule:?}");
        next.reads(5 - start as usize);
        next.leave();
    }
}

pub(crate) fn a_partition_that_comes_later_is_read_from_its_start<L: Log>() {
    let log = L::with(&[1], &[1]);
    log.put(partition(0, 0), &rows("old"));
    let mut member = Member::join(&log, LinkSettings { from: Start::Latest, ..settings() });
    let chosen = member.assignment.chosen.clone();
    member.deliver("", &chosen).unwrap();
    log.grow(0, 2);
    log.put(partition(0, 1), &rows("a b"));
    member.until("it has both", |member| member.assignment.starts.get(partition(0, 1)).is_some());
    assert_eq!(member.assignment.starts, progress(&[(0, 1), (1, 0)]));
    assert_eq!(member.assignment.chosen.get(partition(0, 1)), Some(NextOffset(0)));
    member.reads(2);
    assert_eq!(member.values(), "1: a b");
    member.leave();
}
