//! A source: when it is polled, what is made of its answers, and what is sent of them.

pub mod poller;
mod state;
#[cfg(test)]
mod tests;

pub use state::{SourceCounts, SourceState};

use crate::{
    clock::Clock,
    record::{Later, Polled},
    schemas::Codec,
    stage::{Output, Retry, Router, find, outgoing, words},
    transport::{Fault, Outgoing},
};
use poller::{PollFailed, Poller};
use std::{rc::Rc, sync::Arc, time::Duration};

/// A poll that brought nothing is not repeated sooner.
const PAUSE: Duration = Duration::from_millis(10);
/// As long as `every` may be; nothing is put off for longer.
const LONGEST: Duration = Duration::from_hours(24);

/// Between two words about failures that pass and come back.
const SHORTEST_SILENCE: Duration = Duration::from_secs(10);
const LONGEST_SILENCE: Duration = Duration::from_hours(1);

/// What a source needs to know.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// The source's name, which is the key of its position.
    pub source: String,
    /// The topics that it writes; that of its position stands last.
    pub outputs: Vec<Output>,
    /// The topic of its position loses records when their time is over.
    pub forgets: bool,
    /// After so many positions the group's progress is committed, so that whoever comes next has few to read.
    pub progress_every: u64,
    /// From the beginning of one poll to that of the next.
    pub every: Duration,
    /// How soon a poll that failed is tried again; that is never given up.
    pub retry: Retry,
    /// What its records go through on their way out.
    pub codec: Codec,
}

/// What a poll came to.
#[derive(Debug)]
pub enum Answer {
    /// Records, or a new position.
    Batch(Batch),
    /// Nothing for now. The next poll is due later.
    Nothing,
    /// Nothing more will ever come.
    Done,
    /// The source stops, for this reason.
    Stop(String),
}

/// What a poll brought, with the output of each record.
#[derive(Debug)]
pub struct Batch {
    polled: Polled,
    routes: Vec<usize>,
}

impl Batch {
    /// How many records.
    pub fn records(&self) -> usize {
        self.routes.len()
    }

    /// True when nothing more will ever come behind it.
    pub fn is_last(&self) -> bool {
        self.polled.done
    }

    /// The position behind it, when it is another one.
    pub fn into_position(self) -> Option<Vec<u8>> {
        self.polled.position
    }
}

/// A source's module, and its pace.
pub struct Source {
    settings: Arc<SourceSettings>,
    poller: Box<dyn Poller>,
    clock: Rc<dyn Clock>,
    router: Router,
    state: Arc<SourceState>,
    /// When it is polled next.
    due: Duration,
    /// How often in a row it has failed.
    failures: u32,
    words: Words,
}

/// When it is said that polls fail: once until one succeeds, and ever more seldom when that happens again and again.
#[derive(Default)]
struct Words {
    said: bool,
    /// Not before this time.
    next: Duration,
    gap: Duration,
}

impl Words {
    fn are_due(&mut self, now: Duration) -> bool {
        if self.said || now < self.next {
            return false;
        }
        self.gap = match now - self.next > self.gap {
            true => SHORTEST_SILENCE,
            false => (self.gap * 2).min(LONGEST_SILENCE),
        };
        (self.said, self.next) = (true, now + self.gap);
        true
    }
}

impl Source {
    /// A source that tells `state` how it is doing.
    pub fn new(
        settings: Arc<SourceSettings>,
        poller: Box<dyn Poller>,
        clock: Rc<dyn Clock>,
        state: Arc<SourceState>,
    ) -> Source {
        let router = Router::new(clock.clone());
        Source { settings, poller, clock, router, state, due: Duration::ZERO, failures: 0, words: Words::default() }
    }

    /// How others see it.
    pub fn state(&self) -> &SourceState {
        &self.state
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.settings.source
    }

    /// After how many positions the group's progress is committed.
    pub fn progress_every(&self) -> u64 {
        self.settings.progress_every
    }

    /// When it is to be polled next.
    pub fn due(&self) -> Duration {
        self.due
    }

    /// What it brought was not committed, or may not be all by now: it is polled again as soon as it may be. One that
    /// failed waits as before.
    pub fn poll_again(&mut self) {
        if self.failures == 0 {
            self.due = Duration::ZERO;
        }
    }

    /// Why it cannot work at all, when that is so.
    pub fn flaw(&self) -> Option<String> {
        let position = self.settings.outputs.last()?;
        let (topic, count) = (&position.topic, position.partitions);
        if count != 1 {
            return Some(format!(
                "{topic} has {count} partitions, and a source's position needs a topic with one: make it anew"
            ));
        }
        // Retention would take the position of a source that brings nothing for long.
        self.settings.forgets.then(|| {
            format!(
                "{topic} deletes records by their age, and would forget the source's position: set its cleanup.policy \
                 to compact alone"
            )
        })
    }

    /// Asks the module for what comes behind a position.
    pub fn poll(&mut self, position: Option<&[u8]>) -> Answer {
        let begun = self.clock.now();
        match self.poller.poll(position) {
            Ok(polled) => self.look_at(polled, position, begun),
            Err(PollFailed::Stop(reason)) => Answer::Stop(words(&reason)),
            Err(PollFailed::Retry(Later { reason, after_ms })) => self.put_off(&words(&reason), after_ms),
            Err(PollFailed::Fault(reason)) => self.put_off(&words(&reason), None),
        }
    }

    fn look_at(&mut self, mut polled: Polled, position: Option<&[u8]>, begun: Duration) -> Answer {
        self.failures = 0;
        if std::mem::take(&mut self.words.said) {
            tracing::info!("{}: can be polled again", self.settings.source);
        }
        self.due = begun + self.settings.every;
        let (position_topic, outputs) = match self.settings.outputs.split_last() {
            Some((last, outputs)) => (last, outputs),
            None => return Answer::Stop("it has no topic for its position".into()),
        };
        let mut routes = Vec::with_capacity(polled.records.len());
        let count = polled.records.len();
        for (index, record) in polled.records.iter_mut().enumerate() {
            // What no output is, has words of its own.
            let written = match find(outputs, record) {
                Some(output) => self.settings.codec.encode(output, &mut record.key, &mut record.value),
                None => Ok(()),
            };
            match written.and_then(|()| self.router.route(outputs, record, None)) {
                Ok(output) => routes.push(output),
                Err(reason) => {
                    return Answer::Stop(format!("record {} of the {count} of a poll: {}", index + 1, words(&reason)));
                }
            }
        }
        if polled.position.as_deref() == position {
            polled.position = None;
        }
        if let Some(position) = polled.position.as_ref().filter(|bytes| bytes.len() + 1024 > position_topic.largest) {
            let (topic, largest, size) = (&position_topic.topic, position_topic.largest, position.len());
            return Answer::Stop(format!("{topic} takes records of {largest} bytes, a position has {size}"));
        }
        match (polled.records.is_empty() && polled.position.is_none(), polled.done) {
            (false, _) => Answer::Batch(Batch { polled, routes }),
            (true, true) => Answer::Done,
            (true, false) => {
                self.due = self.due.max(self.clock.now() + PAUSE);
                Answer::Nothing
            }
        }
    }

    /// It is polled again after a delay that grows.
    fn put_off(&mut self, why: &str, after_ms: Option<u64>) -> Answer {
        self.failures = self.failures.saturating_add(1);
        self.state.note_failure();
        let line = format!("{}: a poll failed: {why}", self.settings.source);
        match self.words.are_due(self.clock.now()) {
            true => tracing::warn!("{line}; trying until one succeeds"),
            false => tracing::debug!("{line}"),
        }
        self.due = self.clock.now() + self.settings.retry.delay(self.failures, after_ms).clamp(PAUSE, LONGEST);
        Answer::Nothing
    }

    /// Sends a batch's records.
    pub fn send(&self, batch: &Batch, send: &mut dyn FnMut(&Outgoing<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut records = batch.polled.records.iter().zip(&batch.routes);
        records.try_for_each(|(record, output)| send(&outgoing(record, *output, None)))
    }

    /// Sends a position.
    pub fn send_position(
        &self,
        position: &[u8],
        send: &mut dyn FnMut(&Outgoing<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        send(&Outgoing {
            output: self.settings.outputs.len() - 1,
            partition: Some(0),
            key: Some(self.settings.source.as_bytes()),
            value: Some(position),
            timestamp: None,
            keep_headers: false,
            headers: &[],
        })
    }
}
