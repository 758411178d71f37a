//! A stage at work: records in, what came of each out.

use super::{
    batcher::{self, Answers, Questions, Unusable},
    engine::Compiled,
    failure::Spoilt,
    imports::{Hand, Host},
    instance::{Life, OpenError, Setup, World, tame},
};
use crate::{
    record::{Failure, Later, Record, StageWorld},
    stage::{
        Histogram,
        guest::{Failed, Guest, InHand},
    },
    transport::{Batch, Incoming},
};
use std::{ptr, rc::Rc, sync::Arc, time::Instant};
use wasmtime::{
    Store,
    component::{self, TypedFunc},
};

/// The most records in one call.
const LARGEST: usize = 128;

/// Records in, answers out.
type TransformAll = TypedFunc<(Vec<u8>,), (Vec<u8>,)>;

/// The functions of a stage.
struct Transform {
    one: StageWorld,
    /// With several records, where the component takes them.
    all: Option<TransformAll>,
}

impl World for Transform {
    fn find(store: &mut Store<Host>, instance: &component::Instance) -> wasmtime::Result<Self> {
        let all = match instance.get_func(&mut *store, batcher::TRANSFORM) {
            Some(all) => Some(all.typed(&mut *store)?),
            None => None,
        };
        Ok(Self { one: StageWorld::new(store, instance)?, all })
    }
}

/// A module that takes records. After a failure that spoils it, it starts afresh at the next record.
pub struct Instance {
    life: Life<Transform>,
    batches: bool,
    ahead: Ahead,
    timing: Arc<Histogram>,
}

/// A call with one record costs several times what most guests do with it, so a guest is handed as many as lie there,
/// and their answers wait until they are asked for. A failure ends that: it counts when it is that record's turn, those
/// before it are done again in calls of their own, and what becomes of it then is decided as after any failure.
#[derive(Default)]
struct Ahead {
    batch: Option<Rc<dyn Batch>>,
    /// Whose answer comes next.
    next: usize,
    answers: Answers,
    /// The record that ended the call, and how.
    failed: Option<(usize, Spoilt)>,
    /// The records before this place are called for one by one.
    alone: usize,
}

impl Instance {
    /// Starts the module, and calls its `open` if it has one.
    pub fn new(compiled: &Compiled, setup: Setup) -> Result<Self, OpenError> {
        // A stage that may send requests is not run ahead of its turn: what it did for records that are then done
        // again, or by another host, it would do twice without need, and its waits are longer than any call into it.
        let batches = compiled.batches() && setup.allowed.http.is_empty();
        let timing = setup.timing.clone();
        Ok(Self { life: Life::begin(compiled, setup)?, batches, ahead: Ahead::default(), timing })
    }

    /// A call with this record alone.
    fn alone(&mut self, record: InHand<'_>) -> Result<Vec<Record>, Failed> {
        self.ahead.alone = self.ahead.alone.max(record.index + 1);
        let Incoming { key, value, .. } = record.record;
        let call = |store: &mut Store<Host>, transform: &Transform| {
            transform.one.millstream_stage_transformer().call_transform(store, key, value)
        };
        let since = Instant::now();
        let answer = self.life.call(Some(record.into()), call);
        self.timing.note(since.elapsed(), 1);
        self.judge(answer?)
    }

    /// A call with this record and those behind it.
    fn look_ahead(&mut self, record: &InHand<'_>) {
        let (batch, first) = (&record.batch, record.index);
        let mut questions = Questions::default();
        let last = batch.len().min(first + LARGEST);
        let count = (first..last).take_while(|index| questions.push(batch.get(*index))).count();
        if count < 2 {
            return;
        }
        let hand = Hand { batch: batch.clone(), index: first, attempt: record.attempt };
        let call = |store: &mut Store<Host>, transform: &Transform| match &transform.all {
            Some(all) => all.call(store, (questions.into_bytes(),)),
            None => Ok((Vec::new(),)),
        };
        let since = Instant::now();
        match self.life.call_ahead(hand, call) {
            Ok((answers,)) => {
                self.timing.note(since.elapsed() / count as u32, count as u64);
                (self.ahead.next, self.ahead.answers) = (first, Answers::new(answers));
            }
            Err((Some(at), spoilt)) => {
                (self.ahead.failed, self.ahead.alone) = (Some((at, spoilt)), at);
            }
            // Which of them it was shows when each is alone.
            Err((None, _)) => self.ahead.alone = first + count,
        }
    }

    /// What came of this record in a call with several.
    fn known(&mut self, index: usize) -> Option<Result<Vec<Record>, Failed>> {
        if let Some((_, spoilt)) = self.ahead.failed.take_if(|(at, _)| *at == index) {
            self.life.end();
            self.ahead.alone = index + 1;
            return Some(Err(spoilt.into()));
        }
        match self.ahead.answer(index)? {
            Ok(answer) => {
                let judged = self.judge(answer);
                if let Err(Failed::Fault(_) | Failed::Limit(_)) = judged {
                    self.ahead.answers = Answers::default();
                    self.ahead.alone = index + 1;
                }
                Some(judged)
            }
            Err(Unusable) => {
                // Those behind it are likely as large.
                self.ahead.answers = Answers::default();
                self.ahead.alone = index + LARGEST;
                None
            }
        }
    }

    /// What the guest's answer means for it, and for the record.
    fn judge(&mut self, answer: Result<Vec<Record>, Failure>) -> Result<Vec<Record>, Failed> {
        let failure = match answer {
            Ok(records) => {
                self.life.check(&records)?;
                return Ok(records);
            }
            Err(failure) => failure,
        };
        Err(match failure {
            Failure::Reject(reason) => Failed::Reject(tame(reason)),
            Failure::Retry(later) => Failed::Retry(Later { reason: tame(later.reason), after_ms: later.after_ms }),
            Failure::Fault(reason) => {
                self.life.end();
                Failed::Fault(tame(reason))
            }
        })
    }
}

impl Ahead {
    fn of(batch: Rc<dyn Batch>) -> Self {
        Self { batch: Some(batch), ..Self::default() }
    }

    fn is_of(&self, batch: &Rc<dyn Batch>) -> bool {
        self.batch.as_ref().is_some_and(|known| ptr::addr_eq(Rc::as_ptr(known), Rc::as_ptr(batch)))
    }

    /// The answer to this record, if there is one. Records that are passed over, are not asked for again.
    fn answer(&mut self, index: usize) -> Option<Result<Result<Vec<Record>, Failure>, Unusable>> {
        while self.next < index {
            self.answers.next()?.ok()?.ok();
            self.next += 1;
        }
        if self.next > index {
            return None;
        }
        self.next += 1;
        self.answers.next()
    }
}

impl Guest for Instance {
    fn transform(&mut self, record: InHand<'_>) -> Result<Vec<Record>, Failed> {
        if !self.ahead.is_of(&record.batch) {
            self.ahead = Ahead::of(record.batch.clone());
        }
        // What is known is known of a first attempt.
        if record.attempt == 1 {
            if let Some(known) = self.known(record.index) {
                return known;
            }
            if self.batches && record.index >= self.ahead.alone {
                self.look_ahead(&record);
                if let Some(known) = self.known(record.index) {
                    return known;
                }
            }
        }
        self.alone(record)
    }

    fn withdraw(&mut self) {
        self.ahead = Ahead::default();
    }
}
