//! What a guest may ask of the host: the record in hand, its configuration, the log.

use super::{
    batcher,
    engine::Ticks,
    instance::Input,
    limits::{Exceeded, Limits, Memory, Stopwatch},
    log::{GuestLog, Place},
    wasi::{self, Allowed, Wasi},
};
use crate::{
    record::{Header, config, context, log, types},
    stage::guest::InHand,
    transport::{Batch, Incoming},
};
use fragile::Fragile;
use std::{cell::RefCell, rc::Rc, time::Duration};
use wasmtime::{
    Engine, EngineWeak, Result,
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
    /// What an instance may reach by way of WASI.
    pub(super) allowed: Allowed,
    pub(super) log: RefCell<GuestLog>,
}

/// The host, as one instance sees it.
pub(super) struct Host {
    pub(super) memory: Memory,
    /// An instance never leaves its thread, but WASI's functions want a host that could.
    own: Fragile<Own>,
    clock: Clock,
    ahead: Option<Ahead>,
    /// What the guest asked of the host in this call.
    calls: u32,
    /// To have the guest looked at before the next tick.
    engine: EngineWeak,
    /// Made at the first call that needs it: most guests make none.
    wasi: Option<Box<Wasi>>,
    last_words: Option<String>,
}

/// What must stay on the instance's thread.
struct Own {
    shared: Rc<Shared>,
    hand: Option<Hand>,
}

/// Holds a call to its time.
pub(super) struct Clock {
    limits: Limits,
    ticks: Ticks,
    stopwatch: Stopwatch,
}

impl Clock {
    /// What is left of the call's time on the wall, for a wait inside it.
    pub(super) fn left(&mut self) -> std::result::Result<Duration, Exceeded> {
        self.stopwatch.left(&self.limits, self.ticks.now())
    }
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
    /// Whether the host is to know each record that is in hand.
    by_one: bool,
    /// How many records go on before the host is asked again.
    stride: u32,
}

impl Own {
    fn hand(&self) -> Result<&Hand> {
        let nothing = "there is no record in hand: the context answers only during a call of transform";
        self.hand.as_ref().ok_or_else(|| wasmtime::Error::msg(nothing))
    }

    fn write(&self, level: log::Level, message: &str) {
        let place = self.hand.as_ref().map(|hand| {
            let (partition, offset) = hand.batch.origin(hand.index);
            let topic = &self.shared.inputs[partition.input].topic;
            Place { index: hand.index, topic, partition: partition.number, offset: offset.0 }
        });
        self.shared.log.borrow_mut().write(&self.shared.stage, place, level, message);
    }
}

impl Host {
    pub(super) fn new(shared: Rc<Shared>, memory: Memory, limits: Limits, ticks: Ticks, engine: &Engine) -> Self {
        Self {
            memory,
            own: Fragile::new(Own { shared, hand: None }),
            clock: Clock { limits, ticks, stopwatch: Stopwatch::default() },
            ahead: None,
            calls: 0,
            engine: engine.weak(),
            wasi: None,
            last_words: None,
        }
    }

    /// A call begins: this record is in hand, or, in a poll, none.
    pub(super) fn begin(&mut self, hand: Option<Hand>) {
        self.begin_record();
        self.own.get_mut().hand = hand;
    }

    /// A call with several records begins, of which this is the first. With `by_one` the host hears of each that is next.
    /// Otherwise it does not know which one is in hand, and a guest that has something to say must do so another time.
    pub(super) fn begin_ahead(&mut self, hand: Hand, by_one: bool) {
        self.ahead = Some(Ahead { first: hand.index, since: self.clock.ticks.now(), by_one, stride: 1 });
        self.own.get().shared.log.borrow_mut().hold();
        self.begin(Some(hand));
    }

    fn begin_record(&mut self) {
        self.clock.stopwatch.reset();
        self.calls = 0;
        self.last_words = None;
    }

    /// In a call with several records, this one behind the first is next: its time and its lines are its own. Says how
    /// many to go on with: none when the call has lasted for long enough, as it is not to hold up a commit, or when the
    /// instance is worn.
    fn next(&mut self, index: u32) -> std::result::Result<u32, Exceeded> {
        self.count_calls()?;
        Ok(self.go_on(index))
    }

    fn go_on(&mut self, index: u32) -> u32 {
        let Some(ahead) = &mut self.ahead else { return 0 };
        let first = ahead.first;
        if index > 0 {
            if self.clock.ticks.now() > ahead.since + 1 || self.memory.is_worn() {
                return 0;
            }
            if !ahead.by_one {
                ahead.stride *= 2;
            }
            let stride = ahead.stride;
            self.log_printed();
            self.begin_record();
            let Own { shared, hand: Some(hand) } = self.own.get_mut() else { return 0 };
            hand.index = first + index as usize;
            shared.log.borrow_mut().next_call();
            return stride;
        }
        ahead.stride
    }

    /// The call is over, well or not: nothing is in hand. Gives back which record was.
    pub(super) fn end(&mut self, well: bool) -> Option<usize> {
        self.log_printed();
        let Own { shared, hand } = self.own.get_mut();
        let at = hand.take().map(|hand| hand.index);
        let mut log = shared.log.borrow_mut();
        if let (Some(ahead), Some(at)) = (self.ahead.take(), at) {
            // After a failure those before it are done again.
            let first = if well { ahead.first } else { at };
            log.release(&shared.stage, first..=at);
        }
        log.end_of_call(&shared.stage);
        at
    }

    /// Looks at the clocks at a tick.
    pub(super) fn tick(&mut self) -> std::result::Result<(), Exceeded> {
        self.count_calls()?;
        self.clock.stopwatch.check(&self.clock.limits, self.clock.ticks.now())
    }

    /// The guest asks for something. That costs an addition: what a guest may be told cannot always end it, so the one
    /// call too many has it looked at where it goes on, as at a tick.
    fn asked(&mut self) -> &mut Self {
        self.calls = self.calls.saturating_add(1);
        if self.calls == self.clock.limits.host_calls.saturating_add(1) {
            self.look_soon();
        }
        self
    }

    #[cold]
    fn look_soon(&self) {
        if let Some(engine) = self.engine.upgrade() {
            engine.increment_epoch();
        }
    }

    /// Whether the guest kept to its limit of host calls.
    pub(super) fn count_calls(&self) -> std::result::Result<(), Exceeded> {
        match self.clock.limits.host_calls {
            limit if self.calls > limit => Err(Exceeded::HostCalls(limit)),
            _ => Ok(()),
        }
    }

    /// The error that the guest wrote to its log last.
    pub(super) fn last_words(&mut self) -> Option<String> {
        self.last_words.take()
    }

    /// WASI's part of the host, and the time it may take.
    pub(super) fn wasi(&mut self) -> (&mut Wasi, &mut Clock) {
        self.asked();
        let own = &self.own;
        let lines = self.clock.limits.log_lines;
        let made = || {
            let shared = &own.get().shared;
            Box::new(Wasi::new(&shared.stage, &shared.allowed, lines))
        };
        (self.wasi.get_or_insert_with(made), &mut self.clock)
    }

    /// What the guest printed by way of WASI goes to its log, before the next line and before another record.
    fn log_printed(&mut self) {
        let Some(wasi) = &mut self.wasi else { return };
        let own = self.own.get();
        let printed = wasi.printed();
        printed.lines.iter().for_each(|(level, line)| own.write(*level, line));
        own.shared.log.borrow_mut().drop_lines(printed.dropped);
    }
}

/// Everything above, under the names of the WIT package, and what of WASI is there for guests that bring it.
pub(super) fn linker(engine: &Engine) -> Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    types::add_to_linker::<_, HasSelf<Host>>(&mut linker, |host| host)?;
    context::add_to_linker::<_, HasSelf<Host>>(&mut linker, Host::asked)?;
    config::add_to_linker::<_, HasSelf<Host>>(&mut linker, Host::asked)?;
    log::add_to_linker::<_, HasSelf<Host>>(&mut linker, Host::asked)?;
    wasmtime_wasi_config::add_to_linker(&mut linker, |host| {
        WasiConfig::new(&host.asked().own.get().shared.wasi_config)
    })?;
    wasi::add_to_linker(&mut linker)?;
    linker.root().func_wrap(batcher::NEXT, |mut host, (index,): (u32,)| Ok((host.data_mut().next(index)?,)))?;
    Ok(linker)
}

impl types::Host for Host {}

impl context::Host for Host {
    fn origin(&mut self) -> Result<context::Metadata> {
        let own = self.own.get();
        let hand = own.hand()?;
        let Incoming { timestamp, .. } = hand.batch.get(hand.index);
        let (partition, offset) = hand.batch.origin(hand.index);
        let input = &own.shared.inputs[partition.input];
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
        let hand = self.own.get().hand()?;
        Ok(hand.batch.headers(hand.index))
    }
}

impl config::Host for Host {
    fn get(&mut self, name: String) -> Option<String> {
        let config = &self.own.get().shared.config;
        let at = config.binary_search_by(|(known, _)| known.cmp(&name)).ok()?;
        Some(config[at].1.clone())
    }

    fn all(&mut self) -> Vec<(String, String)> {
        self.own.get().shared.config.clone()
    }
}

impl log::Host for Host {
    fn write(&mut self, level: log::Level, message: String) -> Result<()> {
        if self.ahead.as_ref().is_some_and(|ahead| !ahead.by_one) {
            return Err(wasmtime::Error::msg("a line of a record that the host does not follow"));
        }
        self.log_printed();
        self.own.get().write(level, &message);
        if level == log::Level::Error {
            self.last_words = Some(message);
        }
        Ok(())
    }
}
