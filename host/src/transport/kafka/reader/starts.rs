//! Where to begin: what the group has committed, or else what the manifest says.

use super::{super::places::or, QUESTION, Reader};
use crate::manifest::{OnLostOffset, Start};
use crate::transport::{Assignment, Fault, Partition, Progress};
use rdkafka::{
    consumer::Consumer,
    error::{KafkaError, RDKafkaErrorCode},
    topic_partition_list::Offset,
};
use std::collections::BTreeSet;

impl Reader {
    /// Where each of the partitions that the group gave begins.
    pub(super) fn find_starts(&mut self) -> Result<Assignment, Fault> {
        let mut assignment = Assignment::default();
        let given: BTreeSet<Partition> = self.given.iter().copied().collect();
        let committed = self.committed(&given)?;
        let (committed, moved) = self.pass_lost_offsets(committed)?;
        assignment.starts.merge(&committed);
        assignment.chosen.merge(&moved);
        let known: BTreeSet<Partition> = committed.iter().map(|(partition, _)| partition).collect();
        for input in given.difference(&known).map(|partition| partition.input).collect::<BTreeSet<_>>() {
            let open: BTreeSet<_> = given.difference(&known).filter(|p| p.input == input).copied().collect();
            // A partition without an offset in a topic that the group knows is a new one: what it holds came after
            // the group had begun, so it is read from its start.
            let wished = self.settings.from;
            let from = match wished {
                Start::Earliest => Start::Earliest,
                _ if self.knows_topic(input)? => Start::Earliest,
                other => other,
            };
            let found = match from {
                Start::Earliest => self.offsets_at(&open, Offset::Beginning)?,
                Start::Latest => self.offsets_at(&open, Offset::End)?,
                // Where nothing is that late, the end.
                Start::Timestamp(time) => {
                    let timed = self.offsets_at(&open, Offset::Offset(time))?;
                    or(&timed, &self.offsets_at(&open, Offset::End)?)
                }
                Start::Refuse => {
                    return Err(Fault::Fatal(format!(
                        "group {} has no offset for {}, and `from: none` refuses to choose one: set it, or write \
                         `from: earliest`",
                        self.settings.group, self.settings.inputs[input]
                    )));
                }
            };
            assignment.starts.merge(&found);
            assignment.chosen.merge(&found);
        }
        Ok(assignment)
    }

    fn knows_topic(&mut self, input: usize) -> Result<bool, Fault> {
        let topic = self.settings.inputs[input].clone();
        let count = self.ask(|consumer| {
            let metadata = consumer.fetch_metadata(Some(&topic), QUESTION)?;
            match metadata.topics().first() {
                Some(found) if found.error().is_none() => Ok(found.partitions().len()),
                _ => Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition)),
            }
        })?;
        let all = (0..count as u32).map(|number| Partition { input, number }).collect();
        Ok(!self.committed(&all)?.is_empty())
    }

    fn committed(&mut self, partitions: &BTreeSet<Partition>) -> Result<Progress, Fault> {
        let list = self.list(partitions, Offset::Invalid);
        let answer = self.ask(|consumer| consumer.committed_offsets(list.clone(), QUESTION));
        let list = answer.map_err(|fault| match fault {
            // Offsets that a transaction holds are not told before its end, and the library says no more than that
            // time is up.
            Fault::Unavailable(why) => Fault::Unavailable(format!(
                "{why}. A transaction may hold its offsets: one that never ends is found by \
                 `kafka-transactions.sh find-hanging`"
            )),
            other => other,
        })?;
        self.progress(&list)
    }

    /// Where partitions begin, end, or pass a time.
    pub(super) fn offsets_at(&mut self, partitions: &BTreeSet<Partition>, at: Offset) -> Result<Progress, Fault> {
        let list = self.list(partitions, at);
        self.ask(|consumer| consumer.offsets_for_times(list.clone(), QUESTION)).and_then(|list| self.progress(&list))
    }

    /// Puts in the place of offsets that are gone what the manifest says; those that were put in stand in the second
    /// part too.
    fn pass_lost_offsets(&mut self, committed: Progress) -> Result<(Progress, Progress), Fault> {
        let partitions: BTreeSet<_> = committed.iter().map(|(partition, _)| partition).collect();
        if partitions.is_empty() {
            return Ok((committed, Progress::default()));
        }
        let starts = self.offsets_at(&partitions, Offset::Beginning)?;
        let ends = self.offsets_at(&partitions, Offset::End)?;
        let (mut kept, mut moved) = (Progress::default(), Progress::default());
        for (partition, next) in committed.iter() {
            let (start, end) = (starts.get(partition).unwrap_or(next), ends.get(partition).unwrap_or(next));
            // That the end lies before it is believed only when the broker says so: a broker that has just come back may
            // not know its end yet.
            if next >= start && !(next > end && self.lost.contains(&partition)) {
                kept.reach(partition, next);
                continue;
            }
            let place = format!(
                "group {}: its offset {next} in {}/{}",
                self.settings.group,
                self.topic(partition),
                partition.number
            );
            let to = match self.settings.on_lost_offset {
                OnLostOffset::Stop => {
                    return Err(Fault::Fatal(format!(
                        "{place} is gone, there is {start} to {end} now: to go on write `on-lost-offset: earliest`, or \
                         `latest`"
                    )));
                }
                OnLostOffset::Earliest => start,
                OnLostOffset::Latest => end,
            };
            tracing::warn!("{place} is gone: going on at {to}");
            kept.reach(partition, to);
            moved.reach(partition, to);
        }
        Ok((kept, moved))
    }
}
