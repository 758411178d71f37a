//! What a guest may ask of the host: the record in hand, its configuration, the log.

use super::{
    batcher,
    engine::Ticks,
    instance::Input,
    limits::{Exceeded, Limits, Memory, Stopwatch},
    log::{GuestLog, Place},
};
use crate::{
    record::{Header, config, context, log, types},
    stage::guest::InHand,
    transport::{Batch, Incoming},
};
use std::{cell::RefCell, rc::Rc};
use wasmtime::{
    Engine, Result,
    component::{HasSelf, Linker},
};
use wasmtime_wasi_config::{WasiConfig, WasiConfigVariables};

/// What stays the same from one instance of a stage to the next.
pub(super) struct Shared {
    pub(super) stage: String,
    pub(super) inputs: Vec<Input>,
    /// Sorted by name.
    pub(super) config: Vec<(String, String)>,
    /// The same for guests that know `wasi:config`.
    pub(super) wasi_config: WasiConfigVariables,
    pub(super) log: RefCell<GuestLog>,
}

/// The host, as one instance sees it.
pub(super) struct Host {
    pub(super) shared: Rc<Shared>,
    pub(super) memory: Memory,
    stopwatch: Stopwatch,
    ticks: Ticks,
    hand: Option<Hand>,
    ahead: Option<Ahead>,
    last_words: Option<String>,
}

/// The record in hand.
pub(super) struct Hand {
    pub(super) batch: Rc<dyn Batch>,
    pub(super) index: usize,
    pub(super) attempt: u32,
}

impl From<InHand<'_>> for Hand {
    fn from(InHand { batch, index, attempt, .. }: InHand<'_>) -> Self {
        Hand { batch, index, attempt }
    }
}

/// A call with more records than the one in hand.
struct Ahead {
    /// The place of its first record.
    first: usize,
    /// At which tick it began.
    since: u64,
}

impl Host {
    pub(super) fn new(shared: Rc<Shared>, memory: Memory, ticks: Ticks) -> Self {
        Self { shared, memory, stopwatch: Stopwatch::default(), ticks, hand: None, ahead: None, last_words: None }
    }

    /// A call begins: this record is in hand, or, in a poll, none.
    pub(super) fn begin(&mut self, hand: Option<Hand>) {
        self.note_call();
        self.hand = hand;
    }

    /// A call with several records begins, of which this is the first.
    pub(super) fn begin_ahead(&mut self, hand: Hand) {
        self.ahead = Some(Ahead { first: hand.index, since: self.ticks.now() });
        self.shared.log.borrow_mut().hold();
        self.begin(Some(hand));
    }

    fn note_call(&mut self) {
        self.stopwatch.reset();
        self.last_words = None;
        self.memory.note_call();
    }

    /// In a call with several records, this one behind the first is next: its time and its lines are its own. False when
    /// the call has lasted for long enough, as it is not to hold up a commit, or the instance is worn.
    fn next(&mut self, index: u32) -> bool {
        let (Some(ahead), Some(hand)) = (&self.ahead, &mut self.hand) else { return false };
        if index > 0 {
            if self.ticks.now() > ahead.since + 1 || self.memory.is_worn() {
                return false;
            }
            hand.index = ahead.first + index as usize;
            self.note_call();
            self.shared.log.borrow_mut().next_call();
        }
        true
    }

    /// The call is over, well or not: nothing is in hand. Gives back which record was.
    pub(super) fn end(&mut self, well: bool) -> Option<usize> {
        let at = self.hand.take().map(|hand| hand.index);
        let mut log = self.shared.log.borrow_mut();
        if let (Some(ahead), Some(at)) = (self.ahead.take(), at) {
            // After a failure those before it are done again.
            let first = if well { ahead.first } else { at };
            log.release(&self.shared.stage, first..=at);
        }
        log.end_of_call(&self.shared.stage);
        at
    }

    /// Looks at the clocks at a tick.
    pub(super) fn tick(&mut self, limits: &Limits) -> Result<(), Exceeded> {
        self.stopwatch.check(limits, self.ticks.now())
    }

    /// The error that the guest wrote to its log last.
    pub(super) fn last_words(&mut self) -> Option<String> {
        self.last_words.take()
    }

    fn hand(&self) -> Result<&Hand> {
        let nothing = "there is no record in hand: the context answers only during a call of transform";
        self.hand.as_ref().ok_or_else(|| wasmtime::Error::msg(nothing))
    }
}

/// Everything above, under the names of the WIT package, and `wasi:config` for guests that bring it.
pub(super) fn linker(engine: &Engine) -> Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    types::add_to_linker::<_, HasSelf<Host>>(&mut linker, |host| host)?;
    context::add_to_linker::<_, HasSelf<Host>>(&mut linker, |host| host)?;
    config::add_to_linker::<_, HasSelf<Host>>(&mut linker, |host| host)?;
    log::add_to_linker::<_, HasSelf<Host>>(&mut linker, |host| host)?;
    wasmtime_wasi_config::add_to_linker(&mut linker, |host| WasiConfig::new(&host.shared.wasi_config))?;
    linker.root().func_wrap(batcher::NEXT, |mut host, (index,): (u32,)| Ok((host.data_mut().next(index),)))?;
    Ok(linker)
}

impl types::Host for Host {}

impl context::Host for Host {
    fn origin(&mut self) -> Result<context::Metadata> {
        let hand = self.hand()?;
        let Incoming { partition, offset, timestamp, .. } = hand.batch.get(hand.index);
        let input = &self.shared.inputs[partition.input];
        Ok(context::Metadata {
            topic: input.topic.clone(),
            input: input.name.clone(),
            partition: partition.number,
            offset: offset.0,
            timestamp,
            attempt: hand.attempt,
        })
    }

    fn headers(&mut self) -> Result<Vec<Header>> {
        let hand = self.hand()?;
        Ok(hand.batch.headers(hand.index))
    }
}

impl config::Host for Host {
    fn get(&mut self, name: String) -> Option<String> {
        let config = &self.shared.config;
        let at = config.binary_search_by(|(known, _)| known.cmp(&name)).ok()?;
        Some(config[at].1.clone())
    }

    fn all(&mut self) -> Vec<(String, String)> {
        self.shared.config.clone()
    }
}

impl log::Host for Host {
    fn write(&mut self, level: log::Level, message: String) {
        let place = self.hand.as_ref().map(|hand| {
            let Incoming { partition, offset, .. } = hand.batch.get(hand.index);
            let topic = &self.shared.inputs[partition.input].topic;
            Place { index: hand.index, topic, partition: partition.number, offset: offset.0 }
        });
        self.shared.log.borrow_mut().write(&self.shared.stage, place, level, &message);
        if level == log::Level::Error {
            self.last_words = Some(message);
        }
    }
}
