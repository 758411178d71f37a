//! What a guest may ask of the host: the record in hand, its configuration, the log.

use super::{
    instance::Input,
    limits::{Memory, Stopwatch},
    log::{GuestLog, Place},
};
use crate::{
    record::{Header, config, context, log, types},
    stage::guest::InHand,
    transport::{Batch, Offset, Partition},
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
    pub(super) stopwatch: Stopwatch,
    hand: Option<Hand>,
    last_words: Option<String>,
}

/// The record in hand, without its lifetime.
struct Hand {
    batch: Rc<dyn Batch>,
    index: usize,
    partition: Partition,
    offset: Offset,
    timestamp: Option<i64>,
    attempt: u32,
}

impl Host {
    pub(super) fn new(shared: Rc<Shared>, memory: Memory) -> Self {
        Self { shared, memory, stopwatch: Stopwatch::default(), hand: None, last_words: None }
    }

    /// A call begins: this record is in hand, or, in a poll, none.
    pub(super) fn begin(&mut self, hand: Option<InHand<'_>>) {
        self.stopwatch.reset();
        self.last_words = None;
        self.hand = hand.map(|InHand { record: incoming, batch, index, attempt }| {
            let (partition, offset, timestamp) = (incoming.partition, incoming.offset, incoming.timestamp);
            Hand { batch, index, partition, offset, timestamp, attempt }
        });
    }

    /// The call is over: nothing is in hand.
    pub(super) fn end(&mut self) {
        self.hand = None;
        self.shared.log.borrow_mut().end_of_call(&self.shared.stage);
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
    Ok(linker)
}

impl types::Host for Host {}

impl context::Host for Host {
    fn origin(&mut self) -> Result<context::Metadata> {
        let hand = self.hand()?;
        let input = &self.shared.inputs[hand.partition.input];
        Ok(context::Metadata {
            topic: input.topic.clone(),
            input: input.name.clone(),
            partition: hand.partition.number,
            offset: hand.offset.0,
            timestamp: hand.timestamp,
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
        let place = self.hand.as_ref().map(|hand| Place {
            topic: &self.shared.inputs[hand.partition.input].topic,
            partition: hand.partition.number,
            offset: hand.offset.0,
        });
        self.shared.log.borrow_mut().write(&self.shared.stage, place, level, &message);
        if level == log::Level::Error {
            self.last_words = Some(message);
        }
    }
}
