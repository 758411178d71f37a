//! The producing half of a simulated link: what was sent waits in the client, and is acknowledged later.

use super::{
    faults::Event,
    log::Data,
    records::{self, LETTERS},
    simulation::wall_ms,
    world::World,
};
use crate::{
    manifest::Delivery,
    transport::{
        Fault, Outgoing,
        local::partitioner::of_key,
        log::{Rules, TopicFacts},
    },
};
use std::{rc::Rc, time::Duration};

/// What is known of the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// None is open.
    Closed,
    /// One is open, and nobody has tried to end it.
    Open,
    /// Its end was asked for, and there is no answer.
    Doubtful,
}

pub(super) struct Writer {
    pub(super) epoch: u32,
    pub(super) state: State,
    pub(super) begun: Duration,
    /// How many records its transaction has.
    sent: usize,
    /// Why the transaction has failed already, though nobody was told.
    pub(super) failed: Option<Fault>,
    waiting: Vec<(usize, u32, Rc<Data>)>,
}

impl Writer {
    pub(super) fn new(epoch: u32) -> Writer {
        Writer { epoch, state: State::Closed, begun: Duration::ZERO, sent: 0, failed: None, waiting: Vec::new() }
    }

    /// Opens a transaction.
    pub(super) fn begin(&mut self, now: Duration) {
        (self.begun, self.state, self.sent) = (now, State::Open, 0);
    }

    /// True when the transaction is more than can be written in its time.
    pub(super) fn is_too_large(&self, world: &World) -> bool {
        self.sent > world.settings.most_in_time
    }

    /// Takes a record that is to be sent. One that the client itself refuses is not counted by it: a commit would go
    /// through without it.
    pub(super) fn accept(
        &mut self,
        record: &Outgoing<'_>,
        origin: Option<&Data>,
        world: &mut World,
        looks: bool,
    ) -> Result<(), Fault> {
        let present = wall_ms(world.now());
        let mut headers = origin.filter(|_| record.keep_headers).map_or_else(Vec::new, |origin| origin.headers.clone());
        headers.extend(record.headers.iter().map(|header| (header.name.clone().into_bytes(), header.value.clone())));
        let data = Data {
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers,
            timestamp: record.timestamp.or(Some(present)),
        };
        if looks && records::is_refused(record.output, data.text()) {
            return Err(refused(data.text(), world));
        }
        let partitions = world.outputs[record.output].len() as u32;
        let kept = data.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len)).sum();
        let rules = Rules::of(&TopicFacts { partitions, ..TopicFacts::default() });
        if let Some(why) = rules.objection("a topic", &Outgoing { headers: &[], ..*record }, kept, |_| false) {
            return Err(Fault::Refused(why.message));
        }
        let by_key = || record.key.map_or(0, |key| of_key(key, partitions));
        let partition = record.partition.unwrap_or_else(by_key);
        self.sent += 1;
        self.waiting.push((record.output, partition, Rc::new(data)));
        Ok(())
    }

    /// Brings what waits to the brokers, but no more than `most`. What is refused, comes to light later.
    pub(super) fn flush(&mut self, name: &str, world: &mut World, most: usize) {
        let most = most.min(self.waiting.len());
        for (topic, partition, data) in std::mem::take(&mut self.waiting).into_iter().take(most) {
            if records::is_refused(topic, data.text()) {
                let fault = refused(data.text(), world);
                self.failed.get_or_insert(fault);
                continue;
            }
            let letter = topic == LETTERS;
            if letter {
                world.count(Event::LetterWritten);
            }
            match world.settings.delivery {
                Delivery::ExactlyOnce => {
                    let written = world.write((name, self.epoch), (topic, partition), data);
                    if written.is_err() {
                        let fault = self.fenced(world);
                        self.failed.get_or_insert(fault);
                    }
                }
                Delivery::AtLeastOnce => {
                    world.note(|| format!("{name} writes {}", data.text()));
                    world.audit.written(topic, &data);
                    world.outputs[topic][partition as usize].append(None, data);
                }
            }
        }
    }

    /// A transaction that took too long is ended by the coordinator in the same words as a double's.
    pub(super) fn fenced(&mut self, world: &mut World) -> Fault {
        self.state = State::Closed;
        if world.now() - self.begun > world.settings.transaction_timeout * 9 / 10 {
            return Fault::TimedOut("the transaction took too long".into());
        }
        world.count(Event::Fenced);
        Fault::Fenced("another writer has the name".into())
    }
}

fn refused(text: &str, world: &mut World) -> Fault {
    world.count(Event::RecordRefused);
    Fault::Refused(format!("{text} is refused"))
}
