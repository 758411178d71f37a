//! Kafka behind the seam. Raw librdkafka types, and bare numbers for offsets, stay in this folder.

mod ahead;
#[allow(unsafe_code, reason = "messages of librdkafka, without a copy")]
mod batch;
mod commit;
mod groups;
mod health;
mod member;
mod offsets;
mod places;
#[allow(unsafe_code, reason = "calls into librdkafka that its wrapper lacks")]
mod raw;
mod reader;
mod reasons;
mod scanner;
mod sender;
mod settings;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod topics;
mod writer;

pub use batch::KafkaBatch;
pub use groups::KafkaGroups;
pub use health::Health;
pub use offsets::KafkaOffsets;
pub use scanner::scanner;
pub use sender::KafkaSender;
pub use settings::Cluster;
pub use topics::KafkaTopics;

use super::{Assignment, Births, Fault, Link, LinkSettings, NextOffset, Outgoing, Partition, Progress, Taken};
use crate::manifest::Delivery;
use commit::Undone;
use reader::Reader;
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};
use writer::Writer;

/// How long a shared writer that had to give up listens to its group before it tries to be the writer again: more than
/// a heartbeat.
const NEWS: Duration = Duration::from_secs(2);

/// A worker's connection to Kafka: one consumer, one producer.
pub struct KafkaLink {
    cluster: Cluster,
    settings: Arc<LinkSettings>,
    health: Arc<Health>,
    // In this order: a commit that is under way ends before the group is left.
    writer: Option<Writer>,
    reader: Option<Reader>,
    /// Partitions whose offsets are gone, for the next reader to know.
    lost: BTreeSet<Partition>,
}

impl KafkaLink {
    /// A link that is not connected yet: its first [`Link::recover`] connects it.
    pub fn new(cluster: Cluster, settings: LinkSettings, health: Arc<Health>) -> KafkaLink {
        let settings = Arc::new(settings);
        KafkaLink { cluster, settings, health, reader: None, writer: None, lost: BTreeSet::new() }
    }

    fn reader(&mut self) -> Result<&mut Reader, Fault> {
        self.reader.as_mut().ok_or_else(unconnected)
    }

    fn writer(&mut self) -> Result<&mut Writer, Fault> {
        self.writer.as_mut().ok_or_else(unconnected)
    }
}

/// After an outage a worker meets its own past under its own name: a heartbeat that was on its way, a transaction
/// that the broker ended. That is no double.
fn judge(health: &Health, fault: Fault) -> Fault {
    match fault {
        Fault::Replaced(why) | Fault::Fenced(why) if health.troubled_lately() => Fault::Aborted(why),
        other => other,
    }
}

fn unconnected() -> Fault {
    Fault::Aborted("the link is not connected".into())
}

impl Link for KafkaLink {
    type Batch = KafkaBatch;

    fn take(&mut self, limit: usize, wait: Duration) -> Result<Taken<KafkaBatch>, Fault> {
        if let Some(writer) = &mut self.writer {
            writer.serve();
        }
        let taken = self.reader()?.take(limit, wait);
        taken.map_err(|fault| judge(&self.health, fault))
    }

    fn rebalance(&mut self) -> Result<Assignment, Fault> {
        let begun = self.reader()?.follow().and_then(|()| match self.settings.shared_writer {
            Some(_) => self.health.clone().watch_over(|| self.take_over()),
            None => self.reader()?.start(),
        });
        begun.map_err(|fault| judge(&self.health, fault))
    }

    fn births(&mut self, partitions: &Progress) -> Result<Births, Fault> {
        let inputs: BTreeSet<_> = partitions.iter().map(|(partition, _)| partition.input).collect();
        let settings = self.settings.clone();
        let names: Vec<_> = inputs.iter().map(|input| &*settings.inputs[*input]).collect();
        let ids = self.reader()?.topic_ids(&names)?;
        let births = partitions
            .iter()
            .filter_map(|(partition, _)| Some((partition, ids.get(&settings.inputs[partition.input])?.clone())));
        Ok(births.collect())
    }

    fn hold(&mut self, partition: Partition) -> Result<(), Fault> {
        self.reader()?.hold(partition)
    }

    fn release(&mut self, partition: Partition, from: NextOffset) -> Result<(), Fault> {
        self.reader()?.release(partition, from)
    }

    fn begin(&mut self) -> Result<(), Fault> {
        let begun = self.writer()?.begin();
        begun.map_err(|fault| judge(&self.health, fault))
    }

    fn send(&mut self, record: &Outgoing<'_>, origin: Option<(&KafkaBatch, usize)>) -> Result<(), Fault> {
        let sent = self.writer()?.send(record, origin.map(|(batch, index)| batch.queued(index)));
        sent.map_err(|fault| judge(&self.health, fault))
    }

    fn is_waiting(&mut self) -> bool {
        self.writer.as_mut().is_some_and(Writer::is_waiting)
    }

    fn committed_at(&self) -> Option<Instant> {
        self.writer.as_ref()?.committed_at
    }

    fn is_full(&self) -> bool {
        self.writer.as_ref().is_some_and(Writer::is_full)
    }

    fn commit(&mut self, progress: &Progress) -> Result<(), Fault> {
        self.start_commit(progress)?;
        self.finish_commit()
    }

    fn start_commit(&mut self, progress: &Progress) -> Result<(), Fault> {
        self.finish_commit()?;
        let (Some(reader), Some(writer)) = (self.reader.as_ref(), self.writer.as_mut()) else {
            return Err(unconnected());
        };
        let (offsets, membership) = (reader.offsets(progress), reader.membership());
        let started = match self.settings.delivery {
            // The group's metadata is taken afresh: with an old generation the broker refuses, as it should.
            Delivery::ExactlyOnce => membership
                .metadata()
                .and_then(|group| writer.start_commit(move |ending| ending.commit(&offsets, &group))),
            Delivery::AtLeastOnce => writer.start_commit(move |ending| {
                ending.flush()?;
                membership.commit(&offsets).map_err(Undone::Group)
            }),
        };
        started.map_err(|fault| judge(&self.health, fault))
    }

    fn finish_commit(&mut self) -> Result<(), Fault> {
        let finished = self.writer.as_mut().map_or(Ok(()), Writer::finish_commit);
        finished.map_err(|fault| judge(&self.health, fault))
    }

    fn recover(&mut self) -> Result<Assignment, Fault> {
        let health = self.health.clone();
        health.watch_over(|| self.connect())
    }

    fn close(self) {
        if let Some(writer) = self.writer {
            writer.settle();
        }
        drop(self.reader);
    }
}

impl KafkaLink {
    fn connect(&mut self) -> Result<Assignment, Fault> {
        let was_writer = self.writer.is_some();
        if let Some(writer) = self.writer.take() {
            writer.settle();
        }
        // There is nothing to try before the cluster answers, and who waits for that has been told.
        while self.health.waiting() {
            if self.settings.control.stopping() {
                return Err(Fault::Unavailable("Kafka does not answer".into()));
            }
            self.settings.control.wait(Duration::from_millis(100));
        }
        if let Some(dead) = self.reader.take_if(|reader| reader.is_dead()) {
            self.lost.extend(dead.lost());
        }
        // Joining the group takes longer than becoming a writer, so it begins first.
        if self.reader.is_none() {
            self.reader = Some(Reader::open(
                &self.cluster.reader(&self.settings),
                &self.settings,
                &self.health,
                std::mem::take(&mut self.lost),
            )?);
        }
        if self.settings.shared_writer.is_some() {
            // If somebody else has become the writer, the group has something to say as well: heard in time, it saves
            // the two from fencing each other.
            if was_writer {
                let heard = self.reader()?.await_change(NEWS);
                heard.map_err(|fault| judge(&self.health, fault))?;
            }
            return self.take_over();
        }
        // Before the offsets are read: only a new writer settles what became of the old one's last transaction.
        self.writer = Some(Writer::open(&self.cluster, &self.settings, &self.health)?);
        let started = self.reader()?.start();
        started.map_err(|fault| judge(&self.health, fault))
    }

    /// Becomes the writer that all hosts share the name of, if the group gave this one the input, and only then reads:
    /// whatever the writer before it left open is settled by then, so that what is read is all there is. Without the
    /// input the name is left alone.
    fn take_over(&mut self) -> Result<Assignment, Fault> {
        if let Some(writer) = self.writer.take() {
            writer.settle();
        }
        let given = self.reader()?.is_given().map_err(|fault| judge(&self.health, fault))?;
        if given {
            self.writer = Some(Writer::open(&self.cluster, &self.settings, &self.health)?);
        }
        let started = self.reader()?.start();
        started.map_err(|fault| judge(&self.health, fault))
    }
}
