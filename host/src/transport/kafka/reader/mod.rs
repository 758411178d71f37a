//! The consuming half of a link: one member of a group.
//!
//! Rebalances are not handled in the library's callback: it only notes them, and the worker lets them happen between
//! two transactions.

pub(super) mod instead;
mod membership;
mod starts;

use super::{
    batch::{KafkaBatch, Queued},
    health::Health,
    places,
    raw::{self, Queue},
};
use crate::transport::{Assignment, Fault, LinkSettings, NextOffset, Partition, Progress, Taken};
use instead::Instead;
use membership::Membership;
use rdkafka::{
    client::ClientContext,
    config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
    topic_partition_list::{Offset, TopicPartitionList},
    types::RDKafkaRespErr,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How long one question to the cluster may take; it is asked again until [`PATIENCE`] is over.
const QUESTION: Duration = Duration::from_secs(2);
/// How long to ask before the worker is told that there is no answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A change of the partitions that the group gives this member.
enum Change {
    Assigned(TopicPartitionList),
    Revoked,
}

/// What the library tells while it is polled.
pub(super) struct Events {
    changes: Mutex<VecDeque<Change>>,
    closing: AtomicBool,
    health: Arc<Health>,
}

impl Events {
    pub(super) fn new(health: &Arc<Health>) -> Events {
        Events { changes: Mutex::default(), closing: AtomicBool::new(false), health: health.clone() }
    }
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(target: "librdkafka", "{facility} {text}");
        self.health.overhear(level, facility);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        notice(&self.health, &error, reason);
    }
}

impl ConsumerContext for Events {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        if self.closing.load(Ordering::Relaxed) {
            // Nobody takes from here any more: an unanswered rebalance would keep the client from closing.
            drop(consumer.unassign());
            return;
        }
        let change = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Change::Assigned(list.clone()),
            _ => Change::Revoked,
        };
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push_back(change);
    }
}

/// Tells a client's error apart: whether it says that the cluster is out of reach.
pub(super) fn notice(health: &Arc<Health>, error: &KafkaError, reason: &str) {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::PartitionEOF | RDKafkaErrorCode::AutoOffsetReset) => {}
        Some(
            RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SSL
            | RDKafkaErrorCode::SaslAuthenticationFailed,
        ) => health.suspect(reason),
        _ => tracing::debug!(target: "librdkafka", "{error}: {reason}"),
    }
}

pub(super) struct Reader {
    queue: Queue,
    consumer: Arc<BaseConsumer<Events>>,
    settings: Arc<LinkSettings>,
    /// What the group gave us.
    given: Vec<Partition>,
    /// The library has them too.
    assigned: bool,
    /// A topic that is not there was spoken of.
    said_gone: bool,
    /// Of no use any more: a new one has to join.
    dead: bool,
    /// What was said already of partitions that cannot be read.
    said: BTreeSet<(Option<Partition>, String)>,
    /// Partitions whose offset the broker does not know, as after a topic was made anew.
    lost: BTreeSet<Partition>,
    /// How far the partitions reached when they were begun, where no end before that may be believed.
    known_ends: Progress,
    /// Records may be taken from them: they stand where they should.
    started: bool,
    scratch: Vec<Queued>,
}

impl Reader {
    /// Joins the group with these properties, without waiting for its answer.
    /// `lost` are the partitions whose offsets an earlier reader found to be gone.
    pub(super) fn open(
        config: &ClientConfig,
        settings: &Arc<LinkSettings>,
        health: &Arc<Health>,
        lost: BTreeSet<Partition>,
    ) -> Result<Reader, Fault> {
        let consumer = BaseConsumer::from_config_and_context(config, Events::new(health)).map_err(fatal)?;
        let topics: Vec<_> = settings.inputs.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(fatal)?;
        let consumer = Arc::new(consumer);
        Ok(Reader {
            queue: Queue::new(&consumer),
            consumer,
            settings: settings.clone(),
            given: Vec::new(),
            assigned: false,
            said_gone: false,
            dead: false,
            said: BTreeSet::new(),
            lost,
            known_ends: Progress::default(),
            started: false,
            scratch: Vec::new(),
        })
    }

    /// What tells topics from others of their names.
    pub(super) fn topic_ids(&self, topics: &[&str]) -> Result<BTreeMap<String, String>, Fault> {
        let found = raw::topic_ids(self.consumer.client(), topics, PATIENCE);
        found.ok_or_else(|| Fault::Unavailable("Kafka does not say which topics it has".into()))
    }

    pub(super) fn take(&mut self, limit: usize, wait: Duration) -> Result<Taken<KafkaBatch>, Fault> {
        debug_assert!(!self.dead, "recovered with a dead reader");
        // Without partitions nothing comes but rebalances, which are waited for where they arrive.
        self.poll(if self.started { Duration::ZERO } else { wait })?;
        if self.changed() {
            return Ok(Taken::Rebalance);
        }
        if !self.started {
            return Ok(Taken::Nothing);
        }
        if limit > 0 {
            self.queue.take(limit, wait, &mut self.scratch);
        }
        if self.scratch.is_empty() {
            return Ok(Taken::Nothing);
        }
        let mut all = Vec::new();
        let inputs = &self.settings.inputs;
        let mut batch = KafkaBatch::new(self.scratch.drain(..), inputs, &self.consumer, |queued| {
            let topic = queued.topic().to_string_lossy();
            let Some(code) = queued.error() else {
                // A record that we cannot place must not be passed over.
                return Err(Fault::Aborted(format!("a record of {topic} came unasked")));
            };
            let input = inputs.iter().position(|input| *input == topic);
            let partition = input.map(|input| Partition { input, number: queued.partition() as u32 });
            let text = format!("{topic}/{}: {}", queued.partition(), queued.text());
            all.push(Instead { code, partition, text });
            Ok(())
        })?;
        self.hear_instead(all)?;
        batch.pass_ends_before(&self.known_ends);
        Ok(Taken::Records(batch))
    }

    /// Serves everything that the group and the brokers have to say, after waiting up to `wait` for some of it. The
    /// library tells one thing at a call, and an outage leaves hundreds: a rebalance may stand behind them.
    fn poll(&mut self, wait: Duration) -> Result<(), Fault> {
        let mut wait = wait;
        loop {
            match self.consumer.poll(wait) {
                None => {}
                Some(Ok(_)) => return Err(Fault::Aborted("a record came past the queue".into())),
                Some(Err(error)) => self.hear(&error)?,
            }
            if !raw::has_events(&self.consumer) {
                break;
            }
            wait = Duration::ZERO;
        }
        let Some((code, why)) = self.consumer.client().fatal_error() else {
            return Ok(());
        };
        self.dead = true;
        Err(match code {
            RDKafkaErrorCode::FencedInstanceId => Fault::Replaced(why),
            _ => Fault::Aborted(why),
        })
    }

    fn no_group(&self) -> Fault {
        forbidden(&format!("the group {}", self.settings.group))
    }

    fn no_topic(&self) -> Fault {
        forbidden(&self.settings.inputs.join(", "))
    }

    fn hear(&mut self, error: &KafkaError) -> Result<(), Fault> {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {
                return Err(self.no_group());
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                return Err(self.no_topic());
            }
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => self.say_gone(),
            _ => {}
        }
        notice(&self.consumer.context().health, error, &error.to_string());
        Ok(())
    }

    fn changed(&self) -> bool {
        !self.consumer.context().changes.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Waits for changes to be announced, but not for long.
    pub(super) fn await_change(&mut self, patience: Duration) -> Result<(), Fault> {
        let since = Instant::now();
        while !self.dead && !self.changed() && since.elapsed() < patience && !self.settings.control.stopping() {
            self.poll(Duration::from_millis(100))?;
        }
        Ok(())
    }

    /// True when the group gives this member partitions, as far as it has said.
    pub(super) fn is_given(&mut self) -> Result<bool, Fault> {
        self.poll(Duration::ZERO)?;
        Ok(!self.changed() && !self.given.is_empty())
    }

    /// Lets the announced changes happen. What is read then, begins with [`Reader::start`].
    pub(super) fn follow(&mut self) -> Result<(), Fault> {
        loop {
            let change = self.consumer.context().changes.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            match change {
                None => return Ok(()),
                Some(Change::Revoked) => {
                    self.given.clear();
                    (self.assigned, self.started) = (false, false);
                    self.consumer.unassign().map_err(aborted)?;
                }
                Some(Change::Assigned(list)) => {
                    self.given = list
                        .elements()
                        .iter()
                        .filter_map(|e| {
                            let input = self.settings.inputs.iter().position(|topic| topic == e.topic())?;
                            Some(Partition { input, number: u32::try_from(e.partition()).ok()? })
                        })
                        .collect();
                }
            }
        }
    }

    /// Begins to take from the partitions that were given, at what the group has committed.
    pub(super) fn start(&mut self) -> Result<Assignment, Fault> {
        self.started = false;
        match self.begin() {
            Err(fault) if self.dead => Err(fault),
            // Whatever was found out is void, or could not even be answered: the change comes first.
            _ if self.changed() => Ok(Assignment::default()),
            begun => {
                self.started = begun.as_ref().is_ok_and(|assignment| !assignment.starts.is_empty());
                begun
            }
        }
    }

    fn begin(&mut self) -> Result<Assignment, Fault> {
        // What happened since the last poll, and what an outage brought meanwhile.
        self.poll(Duration::ZERO)?;
        if self.changed() {
            return Ok(Assignment::default());
        }
        if self.given.is_empty() {
            // Nothing is an assignment as well: without an answer to it the library never joins again.
            self.consumer.assign(&TopicPartitionList::new()).map_err(aborted)?;
            return Ok(Assignment::default());
        }
        let assignment = self.find_starts()?;
        if self.settings.shared_writer.is_some() {
            // Whoever wrote before has been shut out, so what is there now is all of it.
            let given = self.given.iter().copied().collect();
            self.known_ends = self.offsets_at(&given, Offset::End)?;
        }
        let list = self.offsets(&assignment.starts);
        if self.assigned {
            // What was fetched under the old positions is out of date after this.
            self.ask(|consumer| {
                let moved = consumer.seek_partitions(list.clone(), QUESTION)?;
                moved.elements().iter().try_for_each(|element| element.error())
            })
            // A partition that cannot be moved has been given up by the library.
            .inspect_err(|_| self.dead = true)?;
        } else {
            for (partition, _) in assignment.starts.iter() {
                self.queue.forward(self.topic(partition), partition.number as i32);
            }
            self.consumer.assign(&list).map_err(aborted)?;
            self.assigned = true;
            self.lost.clear();
        }
        // A partition that was held stays so over an assignment.
        self.consumer.resume(&list).map_err(aborted)?;
        Ok(assignment)
    }

    /// Asks until there is an answer, or none is to be expected soon. A question may have none while the group waits
    /// for this member to give its partitions up, so it looks for that between two tries.
    fn ask<T>(&mut self, question: impl Fn(&BaseConsumer<Events>) -> Result<T, KafkaError>) -> Result<T, Fault> {
        let since = Instant::now();
        loop {
            match question(&self.consumer) {
                Ok(answer) => return Ok(answer),
                Err(error) if since.elapsed() > PATIENCE || self.settings.control.stopping() => {
                    return Err(Fault::Unavailable(format!("group {}: {error}", self.settings.group)));
                }
                Err(error) => {
                    self.poll(Duration::from_millis(100))?;
                    if self.changed() {
                        return Err(Fault::Aborted(format!("group {}: {error}", self.settings.group)));
                    }
                }
            }
        }
    }

    fn list(&self, partitions: &BTreeSet<Partition>, offset: Offset) -> TopicPartitionList {
        places::list(&self.settings.inputs, partitions, offset)
    }

    fn progress(&self, list: &TopicPartitionList) -> Result<Progress, Fault> {
        for element in list.elements() {
            element
                .error()
                .map_err(|error| Fault::Unavailable(format!("{}/{}: {error}", element.topic(), element.partition())))?;
        }
        Ok(places::known(&self.settings.inputs, list))
    }

    pub(super) fn hold(&mut self, partition: Partition) -> Result<(), Fault> {
        self.consumer.pause(&self.list(&BTreeSet::from([partition]), Offset::Invalid)).map_err(aborted)
    }

    pub(super) fn release(&mut self, partition: Partition, from: NextOffset) -> Result<(), Fault> {
        self.consumer.resume(&self.list(&BTreeSet::from([partition]), Offset::Invalid)).map_err(aborted)?;
        // Only now: what was fetched under another position is out of date after it.
        self.seek(partition, from)
    }

    fn seek(&self, partition: Partition, to: NextOffset) -> Result<(), Fault> {
        self.consumer
            .seek(self.topic(partition), partition.number as i32, Offset::Offset(to.0 as i64), QUESTION)
            .map_err(aborted)
    }

    fn topic(&self, partition: Partition) -> &str {
        &self.settings.inputs[partition.input]
    }

    /// Progress as the library takes it.
    pub(super) fn offsets(&self, progress: &Progress) -> TopicPartitionList {
        places::offsets(&self.settings.inputs, progress)
    }

    /// What commits progress for this member.
    pub(super) fn membership(&self) -> Membership {
        Membership(self.consumer.clone())
    }

    /// True when only a new reader can go on.
    pub(super) fn is_dead(&self) -> bool {
        self.dead
    }

    /// The partitions whose offsets are gone.
    pub(super) fn lost(&self) -> &BTreeSet<Partition> {
        &self.lost
    }
}

impl Drop for Reader {
    /// Leaves the group. The library waits without a bound for rebalances to be answered, so they are, and it is not
    /// waited for longer than a moment.
    fn drop(&mut self) {
        self.scratch.clear();
        self.consumer.context().closing.store(true, Ordering::Relaxed);
        // One of them answers whatever change was announced and not yet answered.
        self.consumer.assign(&TopicPartitionList::new()).ok();
        self.consumer.unassign().ok();
        let (done, closed) = std::sync::mpsc::channel();
        let consumer = self.consumer.clone();
        std::thread::spawn(move || {
            if consumer.close_queue().is_ok() {
                while !consumer.closed() {
                    consumer.poll(Duration::from_millis(50));
                }
            }
            done.send(()).ok();
        });
        closed.recv_timeout(Duration::from_secs(2)).ok();
    }
}

fn forbidden(what: &str) -> Fault {
    Fault::Forbidden(format!("this user has no right to {what}: allow it to read it"))
}

fn fatal(error: KafkaError) -> Fault {
    Fault::Fatal(error.to_string())
}

fn aborted(error: KafkaError) -> Fault {
    Fault::Aborted(error.to_string())
}
