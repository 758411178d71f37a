//! What a log does behind the seam, one sentence a test. Kafka says how; the embedded and the simulated log do the
//! same.
//!
//! The same functions run on those two as unit tests, and on a real Kafka in `tests/kafka`, which takes this folder in
//! by its path. Topics have no names here: inputs and outputs go by their places, and each test has its own.

#![allow(clippy::unwrap_used)]

pub(crate) mod delivery;
pub(crate) mod groups;
pub(crate) mod records;
pub(crate) mod starts;
pub(crate) mod workers;

use millstream::{
    clock::Clock,
    manifest::{Delivery, OnLostOffset, Start},
    transport::{
        Assignment, Batch, Fault, Link, LinkSettings, NextOffset, Offset, Outgoing, Partition, Progress, Taken,
    },
};
use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

/// Nothing takes longer, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A log that no other test uses, with its group `g`.
pub(crate) trait Log: Sized {
    /// How workers come to it.
    type Link: Link + 'static;

    /// Inputs and outputs with so many partitions each.
    fn with(inputs: &[u32], outputs: &[u32]) -> Self;
    /// A link that is not connected yet, from all inputs to all outputs.
    fn link(&self, settings: LinkSettings) -> Self::Link;
    /// Records come into a partition of an input.
    fn put(&self, partition: Partition, rows: &[Row]);
    /// The same in one transaction, which is then committed or aborted.
    fn put_in_transaction(&self, partition: Partition, rows: &[Row], commit: bool);
    /// A record with one header comes, whose name need not be text.
    fn put_header(&self, partition: Partition, name: &[u8], value: &[u8]);
    /// What a reader of committed records finds in an output, each with its partition.
    fn read(&self, output: usize) -> Vec<(u32, Row)>;
    /// The first header of an output's first record.
    fn first_header(&self, output: usize) -> (Vec<u8>, Vec<u8>);
    /// Where a reader of committed records comes to the end of an input's partition.
    fn end(&self, partition: Partition) -> NextOffset;
    /// What the group has committed.
    fn committed(&self, partition: Partition) -> Option<NextOffset>;
    /// Gives an input more partitions.
    fn grow(&self, input: usize, partitions: u32);
    /// Removes everything that is in a partition of an input, as retention does.
    fn forget(&self, partition: Partition);
    /// The time that its workers go by.
    fn clock(&self) -> Rc<dyn Clock>;
}

/// Makes a test of every behaviour, on one log. It wants `suite` in scope.
macro_rules! behaviours {
    ($log:ty) => {
        suite::behaviours! { $log:
            records {
                records_come_in_order_within_their_partition
                records_come_and_go_byte_for_byte
                headers_whose_names_are_not_text_are_kept
                headers_that_are_not_to_be_kept_are_not
                a_record_without_a_time_gets_the_present
                a_key_has_its_partition_wherever_the_log_is
                an_empty_key_is_a_key
                records_without_a_key_go_somewhere
                a_given_partition_is_kept_to
                a_partition_that_is_not_there_is_refused
                records_go_to_several_outputs_in_order
                a_large_record_passes
                a_record_larger_than_its_topic_takes_is_refused
                aborted_records_do_not_come
            }
            delivery {
                what_was_sent_is_seen_by_nobody_before_the_commit
                a_link_that_is_dropped_before_its_commit_leaves_nothing
                a_link_that_is_closed_before_its_commit_leaves_nothing
                recovery_goes_back_to_what_is_committed
                progress_alone_can_be_committed
                nothing_at_all_can_be_committed
                a_transaction_of_many_records_is_seen_whole
                the_next_transaction_is_worked_on_while_one_is_committed
                a_commit_that_has_begun_is_done_without_its_link
                at_least_once_records_and_progress_are_committed_too
                a_double_gets_nothing_in_once_its_name_is_taken
                a_shared_writer_is_fenced_by_whoever_takes_over
            }
            starts {
                a_group_without_an_offset_begins_where_it_is_told
                a_group_that_may_not_choose_does_not_begin
                a_new_link_begins_at_what_is_committed
                a_start_that_was_chosen_is_not_chosen_again
                an_offset_that_is_gone_is_replaced_as_it_is_told
                a_partition_that_comes_later_is_read_from_its_start
            }
            groups {
                the_end_behind_the_records_is_told_and_can_be_committed
                the_end_behind_an_aborted_transaction_is_told_and_can_be_committed
                a_held_partition_waits_while_others_go_on
                a_released_partition_is_read_from_there
                two_members_share_the_partitions_and_read_nothing_twice
            }
            workers {
                a_worker_passes_every_record_on_once_and_in_order
                two_workers_pass_every_record_on_once
                a_worker_that_is_dropped_is_carried_on_by_the_next
                a_worker_without_records_commits_where_it_stands
            }
        }
    };
    ($log:ty: $($file:ident { $($behaviour:ident)* })*) => {
        $(mod $file {
            use super::*;
            $(#[test]
            fn $behaviour() {
                suite::$file::$behaviour::<$log>();
            })*
        })*
    };
}
pub(crate) use behaviours;

/// A record without its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(crate) timestamp: Option<i64>,
}

impl Row {
    /// Its value, for people.
    pub(crate) fn text(&self) -> String {
        self.value.as_ref().map_or_else(|| "-".into(), |value| String::from_utf8_lossy(value).into_owned())
    }
}

/// Records of these values: `a b c`.
pub(crate) fn rows(values: &str) -> Vec<Row> {
    values.split(' ').map(|value| Row { value: Some(value.into()), ..Row::default() }).collect()
}

/// Values by partition: `0: a b; 2: c`.
pub(crate) fn shown<'a>(rows: impl IntoIterator<Item = (u32, &'a Row)>) -> String {
    let mut all = std::collections::BTreeMap::<u32, Vec<String>>::new();
    rows.into_iter().for_each(|(number, row)| all.entry(number).or_default().push(row.text()));
    all.iter().map(|(number, values)| format!("{number}: {}", values.join(" "))).collect::<Vec<_>>().join("; ")
}

/// What can be read of an output in the end.
pub(crate) fn sees<L: Log>(log: &L, output: usize, expected: &str) {
    let found = || shown(log.read(output).iter().map(|(number, row)| (*number, row)));
    settles(|| found() == expected);
    assert_eq!(found(), expected);
}

/// What the group has in the end.
pub(crate) fn stands<L: Log>(log: &L, partition: Partition, next: u64) {
    settles(|| log.committed(partition) == Some(NextOffset(next)));
    assert_eq!(log.committed(partition), Some(NextOffset(next)));
}

/// Waits until it is so; no longer than anything takes.
fn settles(mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() && since.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn partition(input: usize, number: u32) -> Partition {
    Partition { input, number }
}

/// Progress in the first input: `(partition, next)`.
pub(crate) fn progress(all: &[(u32, u64)]) -> Progress {
    all.iter().map(|(number, next)| (partition(0, *number), NextOffset(*next))).collect()
}

/// A record of a value alone, for the first output.
pub(crate) fn out(value: &str) -> Outgoing<'_> {
    Outgoing {
        output: 0,
        partition: None,
        key: None,
        value: Some(value.as_bytes()),
        timestamp: None,
        keep_headers: true,
        headers: &[],
    }
}

/// One member that reads everything from its start, exactly once. Which topics there are, the log knows.
pub(crate) fn settings() -> LinkSettings {
    LinkSettings {
        group: "g".into(),
        name: "w".into(),
        shared_writer: None,
        inputs_digest: "digest".into(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        delivery: Delivery::ExactlyOnce,
        from: Start::Earliest,
        on_lost_offset: OnLostOffset::Stop,
        largest_record: 1 << 20,
        largest_batch: 1 << 20,
        transaction_timeout: Duration::from_secs(60),
        place: (0, 1),
        control: Arc::default(),
    }
}

/// The same under another name, as one of two.
pub(crate) fn one_of_two(worker: u32) -> LinkSettings {
    LinkSettings { name: format!("w{worker}"), place: (worker, 2), ..settings() }
}

/// A record that came.
#[derive(Clone, Debug)]
pub(crate) struct Came {
    pub(crate) partition: Partition,
    pub(crate) offset: Offset,
    pub(crate) row: Row,
}

/// A link at work, and what has come of it.
pub(crate) struct Member<L: Log> {
    // In this order: what came goes before where it came from.
    pub(crate) batches: Vec<<L::Link as Link>::Batch>,
    pub(crate) link: L::Link,
    pub(crate) assignment: Assignment,
    pub(crate) came: Vec<Came>,
    /// The ends that were told of.
    pub(crate) ends: Progress,
}

impl<L: Log> Member<L> {
    /// Joins, and waits for its partitions.
    pub(crate) fn join(log: &L, settings: LinkSettings) -> Member<L> {
        Member::try_join(log, settings).unwrap()
    }

    /// The same, when that may go wrong.
    pub(crate) fn try_join(log: &L, settings: LinkSettings) -> Result<Member<L>, Fault> {
        let mut member = Member::begin(log, settings)?;
        member.try_until("it has partitions", |member| !member.assignment.starts.is_empty())?;
        Ok(member)
    }

    /// Connects, and waits for nothing.
    pub(crate) fn begin(log: &L, settings: LinkSettings) -> Result<Member<L>, Fault> {
        let mut link = log.link(settings);
        let assignment = link.recover()?;
        Ok(Member { batches: Vec::new(), link, assignment, came: Vec::new(), ends: Progress::default() })
    }

    /// Looks once for what there is.
    pub(crate) fn turn(&mut self) -> Result<(), Fault> {
        match self.link.take(1000, Duration::from_millis(20))? {
            Taken::Nothing => {}
            Taken::Rebalance => self.assignment = self.link.rebalance()?,
            Taken::Records(batch) => {
                for index in 0..batch.len() {
                    let record = batch.get(index);
                    let row = Row {
                        key: record.key.map(<[u8]>::to_vec),
                        value: record.value.map(<[u8]>::to_vec),
                        headers: batch.headers(index).into_iter().map(|header| (header.name, header.value)).collect(),
                        timestamp: record.timestamp,
                    };
                    self.came.push(Came { partition: record.partition, offset: record.offset, row });
                }
                self.ends.merge(&batch.ends().iter().copied().collect());
                self.batches.push(batch);
            }
        }
        Ok(())
    }

    /// Works until it is so.
    pub(crate) fn until(&mut self, what: &str, holds: impl Fn(&Member<L>) -> bool) {
        self.try_until(what, holds).unwrap();
    }

    fn try_until(&mut self, what: &str, holds: impl Fn(&Member<L>) -> bool) -> Result<(), Fault> {
        let since = Instant::now();
        while !holds(self) {
            assert!(since.elapsed() < PATIENCE, "never: {what}; {:?}; there came {}", self.assignment, self.values());
            self.turn()?;
        }
        Ok(())
    }

    /// Reads until so many records have come, and nothing more comes for a moment.
    pub(crate) fn reads(&mut self, count: usize) {
        self.until(&format!("{count} records"), |member| member.came.len() >= count);
        (0..5).for_each(|_| self.turn().unwrap());
        assert_eq!(self.came.len(), count, "{}", self.values());
    }

    /// What came of the first input.
    pub(crate) fn values(&self) -> String {
        let of_first = self.came.iter().filter(|came| came.partition.input == 0);
        shown(of_first.map(|came| (came.partition.number, &came.row)))
    }

    /// Writes values in a transaction, which stays open.
    pub(crate) fn write(&mut self, values: &str) -> Result<(), Fault> {
        self.link.begin()?;
        let mut values = values.split(' ').filter(|value| !value.is_empty());
        values.try_for_each(|value| self.link.send(&out(value), None))
    }

    /// Writes values and progress in one transaction.
    pub(crate) fn deliver(&mut self, values: &str, done: &Progress) -> Result<(), Fault> {
        self.write(values)?;
        self.link.commit(done)
    }

    /// Leaves in order.
    pub(crate) fn leave(self) {
        drop(self.batches);
        self.link.close();
    }
}

/// Two work until it is so.
pub(crate) fn together<L: Log>(
    a: &mut Member<L>,
    b: &mut Member<L>,
    what: &str,
    holds: impl Fn(&Member<L>, &Member<L>) -> bool,
) {
    let since = Instant::now();
    while !holds(a, b) {
        assert!(since.elapsed() < PATIENCE, "never: {what}; {:?} and {:?}", a.assignment, b.assignment);
        a.turn().unwrap();
        b.turn().unwrap();
    }
}
