//! What a member of a group reads, and what it is told.

use super::{Log, Member, one_of_two, partition, progress, rows, settings, stands, together};
use millstream::transport::{Link, NextOffset, Partition};
use std::collections::BTreeSet;

/// Waits for the end, and commits up to there.
fn reaches_the_end<L: Log>(log: &L, records: usize) {
    let place = partition(0, 0);
    let end = log.end(place);
    let mut member = Member::join(log, settings());
    member.reads(records);
    member.until("the end is told", |member| member.ends.get(place) == Some(end));
    let ends = member.ends.clone();
    member.deliver("", &ends).unwrap();
    stands(log, place, end.0);
    member.leave();
    let mut next = Member::join(log, settings());
    assert_eq!(next.assignment.starts, ends);
    next.reads(0);
    log.put(place, &rows("later"));
    next.reads(1);
    assert_eq!(next.values(), "0: later");
    next.until("the end is told again", |member| member.ends.get(place) == Some(log.end(place)));
    next.leave();
}

pub(crate) fn the_end_behind_the_records_is_told_and_can_be_committed<L: Log>() {
    let log = L::with(&[1], &[1]);
    log.put(partition(0, 0), &rows("a b c"));
    reaches_the_end(&log, 3);
}

pub(crate) fn the_end_behind_an_aborted_transaction_is_told_and_can_be_committed<L: Log>() {
    let log = L::with(&[1], &[1]);
    log.put(partition(0, 0), &rows("a"));
    log.put_in_transaction(partition(0, 0), &rows("never"), false);
    reaches_the_end(&log, 1);
}

pub(crate) fn a_held_partition_waits_while_others_go_on<L: Log>() {
    let log = L::with(&[2], &[1]);
    log.put(partition(0, 0), &rows("a"));
    log.put(partition(0, 1), &rows("x"));
    let mut member = Member::join(&log, settings());
    member.reads(2);
    member.link.hold(partition(0, 0)).unwrap();
    log.put(partition(0, 0), &rows("b"));
    log.put(partition(0, 1), &rows("y z"));
    member.reads(4);
    assert_eq!(member.values(), "0: a; 1: x y z");
    member.link.release(partition(0, 0), NextOffset(1)).unwrap();
    member.reads(5);
    assert_eq!(member.values(), "0: a b; 1: x y z");
    member.leave();
}

pub(crate) fn a_released_partition_is_read_from_there<L: Log>() {
    let log = L::with(&[1], &[1]);
    log.put(partition(0, 0), &rows("a b c"));
    let mut member = Member::join(&log, settings());
    member.reads(3);
    member.link.hold(partition(0, 0)).unwrap();
    member.reads(3);
    member.link.release(partition(0, 0), NextOffset(1)).unwrap();
    member.reads(5);
    assert_eq!(member.values(), "0: a b c b c");
    // It need not have been held.
    member.link.release(partition(0, 0), NextOffset(2)).unwrap();
    member.reads(6);
    assert_eq!(member.values(), "0: a b c b c c");
    // What is held at a recovery is not held after it.
    member.link.hold(partition(0, 0)).unwrap();
    member.assignment = member.link.recover().unwrap();
    member.reads(9);
    assert_eq!(member.values(), "0: a b c b c c a b c");
    member.leave();
}

fn places<L: Log>(member: &Member<L>) -> BTreeSet<Partition> {
    member.assignment.starts.iter().map(|(partition, _)| partition).collect()
}

pub(crate) fn two_members_share_the_partitions_and_read_nothing_twice<L: Log>() {
    let log = L::with(&[4], &[1]);
    let mut a = Member::begin(&log, one_of_two(0)).unwrap();
    let mut b = Member::begin(&log, one_of_two(1)).unwrap();
    together(&mut a, &mut b, "both have some", |a, b| {
        let (a, b) = (places(a), places(b));
        !a.is_empty() && !b.is_empty() && a.is_disjoint(&b) && a.len() + b.len() == 4
    });
    for number in 0..4 {
        log.put(partition(0, number), &rows(&format!("{number}a {number}b")));
    }
    together(&mut a, &mut b, "all has come", |a, b| a.came.len() + b.came.len() >= 8);
    (0..5).for_each(|_| [&mut a, &mut b].into_iter().for_each(|member| member.turn().unwrap()));
    let mut all: Vec<_> = a.came.iter().chain(&b.came).map(|came| came.row.text()).collect();
    all.sort();
    assert_eq!(all, ["0a", "0b", "1a", "1b", "2a", "2b", "3a", "3b"]);
    for member in [&mut a, &mut b] {
        let (own, came) = (places(member), &member.came);
        assert!(came.iter().all(|came| own.contains(&came.partition)));
        let done: Vec<_> = own.iter().map(|partition| (partition.number, 2)).collect();
        member.deliver("done", &progress(&done)).unwrap();
    }
    (0..4).for_each(|number| stands(&log, partition(0, number), 2));
    a.leave();
    b.leave();
}
