//! Transactions: what is sent and the progress are both or neither.

use super::{Log, Member, out, partition, progress, rows, sees, settings, stands};
use millstream::{
    manifest::Delivery,
    transport::{Link, LinkSettings, Outgoing, Progress},
};

pub(crate) fn what_was_sent_is_seen_by_nobody_before_the_commit<L: Log>() {
    let log = L::with(&[1], &[1, 1]);
    log.put(partition(0, 0), &rows("a"));
    let mut member = Member::join(&log, settings());
    member.reads(1);
    member.link.begin().unwrap();
    member.link.send(&out("A"), None).unwrap();
    member.link.send(&Outgoing { output: 1, ..out("B") }, None).unwrap();
    // Long enough for a client that sends what it has.
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!((log.read(0), log.read(1)), (Vec::new(), Vec::new()));
    assert_eq!(log.committed(partition(0, 0)), None);
    member.link.commit(&progress(&[(0, 1)])).unwrap();
    sees(&log, 0, "0: A");
    sees(&log, 1, "0: B");
    stands(&log, partition(0, 0), 1);
    member.leave();
}

pub(crate) fn the_next_transaction_is_worked_on_while_one_is_committed<L: Log>() {
    let (log, mut member) = with_a_commit_that_has_begun::<L>();
    member.write("B").unwrap();
    member.link.finish_commit().unwrap();
    sees(&log, 0, "0: A");
    stands(&log, partition(0, 0), 1);
    member.link.start_commit(&progress(&[(0, 2)])).unwrap();
    member.link.finish_commit().unwrap();
    sees(&log, 0, "0: A B");
    stands(&log, partition(0, 0), 2);
    member.leave();
}

pub(crate) fn a_commit_that_has_begun_is_done_without_its_link<L: Log>() {
    let (log, member) = with_a_commit_that_has_begun::<L>();
    drop(member);
    goes_on_behind(&log);
}

/// The first of two records is being committed.
fn with_a_commit_that_has_begun<L: Log>() -> (L, Member<L>) {
    let log = L::with(&[1], &[1]);
    log.put(partition(0, 0), &rows("a b"));
    let mut member = Member::join(&log, settings());
    member.reads(2);
    member.write("A").unwrap();
    member.link.start_commit(&progress(&[(0, 1)])).unwrap();
    (log, member)
}

/// A link of the same name goes on where the last commit was.
fn goes_on_behind<L: Log>(log: &L) {
    let mut next = Member::join(log, settings());
    assert_eq!(next.assignment.starts, progress(&[(0, 1)]));
    next.reads(1);
    next.deliver("B", &progress(&[(0, 2)])).unwrap();
    sees(log, 0, "0: A B");
    stands(log, partition(0, 0), 2);
    next.leave();
}

/// One transaction is committed, and another one open.
fn with_an_open_transaction<L: Log>() -> (L, Member<L>) {
    let log = L::with(&[1], &[1]);
    log.put(partition(0, 0), &rows("a b"));
    let mut member = Member::join(&log, settings());
    member.reads(2);
    member.deliver("A", &progress(&[(0, 1)])).unwrap();
    member.write("never").unwrap();
    (log, member)
}

pub(crate) fn a_link_that_is_dropped_before_its_commit_leaves_nothing<L: Log>() {
    let (log, member) = with_an_open_transaction::<L>();
    drop(member);
    goes_on_behind(&log);
}

pub(crate) fn a_link_that_is_closed_before_its_commit_leaves_nothing<L: Log>() {
    let (log, member) = with_an_open_transaction::<L>();
    member.leave();
    goes_on_behind(&log);
}

pub(crate) fn recovery_goes_back_to_what_is_committed<L: Log>() {
    let (log, mut member) = with_an_open_transaction::<L>();
    member.batches.clear();
    member.came.clear();
    member.assignment = member.link.recover().unwrap();
    member.reads(1);
    assert_eq!((&member.assignment.starts, &member.assignment.chosen), (&progress(&[(0, 1)]), &Progress::default()));
    assert_eq!((member.values().as_str(), member.came[0].offset.0), ("0: b", 1));
    member.deliver("B", &progress(&[(0, 2)])).unwrap();
    sees(&log, 0, "0: A B");
    stands(&log, partition(0, 0), 2);
    member.leave();
}

pub(crate) fn progress_alone_can_be_committed<L: Log>() {
    for delivery in [Delivery::ExactlyOnce, Delivery::AtLeastOnce] {
        let log = L::with(&[2], &[1]);
        log.put(partition(0, 0), &rows("a b"));
        let mut member = Member::join(&log, LinkSettings { delivery, ..settings() });
        member.reads(2);
        member.deliver("", &progress(&[(0, 2), (1, 0)])).unwrap();
        stands(&log, partition(0, 0), 2);
        stands(&log, partition(0, 1), 0);
        assert_eq!(log.read(0), []);
        member.leave();
    }
}

pub(crate) fn nothing_at_all_can_be_committed<L: Log>() {
    for delivery in [Delivery::ExactlyOnce, Delivery::AtLeastOnce] {
        let log = L::with(&[1], &[1]);
        log.put(partition(0, 0), &rows("a"));
        let mut member = Member::join(&log, LinkSettings { delivery, ..settings() });
        member.deliver("", &Progress::default()).unwrap();
        assert_eq!(log.committed(partition(0, 0)), None);
        member.deliver("A", &Progress::default()).unwrap();
        sees(&log, 0, "0: A");
        assert_eq!(log.committed(partition(0, 0)), None);
        member.leave();
    }
}

pub(crate) fn a_transaction_of_many_records_is_seen_whole<L: Log>() {
    const MANY: usize = 100_000;
    let log = L::with(&[1], &[2]);
    log.put(partition(0, 0), &rows("a"));
    let mut member = Member::join(&log, settings());
    member.link.begin().unwrap();
    for number in 0..MANY {
        let (value, partition) = (number.to_string(), Some(number as u32 % 2));
        member.link.send(&Outgoing { partition, ..out(&value) }, None).unwrap();
    }
    assert_eq!(log.read(0), []);
    member.link.commit(&progress(&[(0, 1)])).unwrap();
    super::settles(|| log.read(0).len() == MANY);
    for place in [0, 1] {
        let all: Vec<_> =
            log.read(0).iter().filter(|(number, _)| *number == place).map(|(_, row)| row.text()).collect();
        let expected = (place as usize..MANY).step_by(2).map(|number| number.to_string());
        assert!(expected.eq(all), "partition {place}");
    }
    stands(&log, partition(0, 0), 1);
    member.leave();
}

pub(crate) fn at_least_once_records_and_progress_are_committed_too<L: Log>() {
    let log = L::with(&[1], &[1]);
    log.put(partition(0, 0), &rows("a b"));
    let settings = LinkSettings { delivery: Delivery::AtLeastOnce, ..settings() };
    let mut member = Member::join(&log, settings.clone());
    member.reads(2);
    member.deliver("A", &progress(&[(0, 1)])).unwrap();
    sees(&log, 0, "0: A");
    stands(&log, partition(0, 0), 1);
    member.leave();
    let mut next = Member::join(&log, settings);
    next.reads(1);
    assert_eq!(next.values(), "0: b");
    next.deliver("B", &progress(&[(0, 2)])).unwrap();
    sees(&log, 0, "0: A B");
    stands(&log, partition(0, 0), 2);
    next.leave();
}

/// The first has a transaction open when a second one comes under its name.
fn only_the_second_gets_in<L: Log>(settings: &LinkSettings, done: &Progress) {
    let log = L::with(&[1], &[1]);
    log.put(partition(0, 0), &rows("a"));
    let mut first = Member::join(&log, settings.clone());
    first.reads(1);
    first.link.begin().unwrap();
    first.link.send(&out("never"), None).unwrap();
    let mut second = Member::join(&log, settings.clone());
    second.reads(1);
    let late = first.link.commit(done);
    assert!(late.is_err(), "the one before is not fenced");
    second.deliver("A", &progress(&[(0, 1)])).unwrap();
    drop(first);
    sees(&log, 0, "0: A");
    stands(&log, partition(0, 0), 1);
    second.leave();
}

pub(crate) fn a_double_gets_nothing_in_once_its_name_is_taken<L: Log>() {
    only_the_second_gets_in::<L>(&settings(), &progress(&[(0, 1)]));
    only_the_second_gets_in::<L>(&settings(), &Progress::default());
}

pub(crate) fn a_shared_writer_is_fenced_by_whoever_takes_over<L: Log>() {
    let shared = LinkSettings { shared_writer: Some("s".into()), ..settings() };
    only_the_second_gets_in::<L>(&shared, &Progress::default());
    only_the_second_gets_in::<L>(&shared, &progress(&[(0, 1)]));
}
