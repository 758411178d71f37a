//! A record's fate: what a stage makes of each record, and of each failure.

mod dead_letter;
pub mod guest;
mod retry;
mod tally;

pub use dead_letter::HEADROOM as LETTER_HEADROOM;
pub use retry::Retry;
pub use tally::{Counts, Tally};

use crate::{
    clock::Clock,
    manifest::OnError,
    record::{HeaderEdit, Later, Reason, Record},
    transport::{Batch, Fault, Incoming, Offset, Outgoing, Partition, Progress},
};
use guest::{Failed, Guest, InHand};
use retry::Retries;
use std::{cell::Cell, collections::BTreeMap, rc::Rc, sync::Arc, time::Duration};
use tally::Notices;

/// A topic that a stage writes, and what its broker would refuse to take.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its name in the manifest.
    pub name: String,
    /// The topic.
    pub topic: String,
    /// How many partitions it has.
    pub partitions: u32,
    /// The largest record that it takes, in bytes.
    pub largest: usize,
    /// Compacted: a record needs a key.
    pub compacted: bool,
    /// How far ahead of the present a timestamp may be.
    pub ahead: Option<Duration>,
}

/// What a stage needs to know.
#[derive(Clone, Debug)]
pub struct StageSettings {
    /// The pipeline's name.
    pub pipeline: String,
    /// The stage's name.
    pub stage: String,
    /// The module, as its digest.
    pub module: String,
    /// The topics that it reads.
    pub inputs: Vec<String>,
    /// The topics that it writes; the dead-letter topic, when there is one, stands last.
    pub outputs: Vec<Output>,
    /// What becomes of records that fail.
    pub on_error: OnError,
    /// How records are tried again.
    pub retry: Retry,
}

/// What becomes of a record.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is done with: what came of it was sent.
    Done,
    /// It is to be tried again, not before this time.
    Later(Duration),
    /// The stage stops in front of it.
    Stop(String),
}

/// Why a record failed for good, as its dead letter tells it.
struct Failure {
    kind: &'static str,
    reason: Reason,
    attempts: u32,
}

/// A stage at work in one worker.
pub struct Stage {
    settings: Arc<StageSettings>,
    guest: Box<dyn Guest>,
    clock: Rc<dyn Clock>,
    tally: Arc<Tally>,
    /// Of the open transaction: they count when it is committed.
    counts: Counts,
    retries: Retries,
    /// Records that the log refuses, and why: whatever the guest makes of them is not sent.
    condemned: BTreeMap<(Partition, Offset), String>,
    /// The present, when somebody last looked: what was not too late then is not too late now.
    seen_ms: Cell<i64>,
    /// Which output each record of the call in hand goes to.
    routes: Vec<usize>,
    notices: Notices,
}

impl Stage {
    /// A stage whose counts are added to `tally`.
    pub fn new(settings: Arc<StageSettings>, guest: Box<dyn Guest>, clock: Rc<dyn Clock>, tally: Arc<Tally>) -> Stage {
        let retries = Retries::new(settings.retry.clone());
        Stage {
            settings,
            guest,
            clock,
            tally,
            counts: Counts::default(),
            retries,
            condemned: BTreeMap::new(),
            seen_ms: Cell::new(i64::MIN),
            routes: Vec::new(),
            notices: Notices::default(),
        }
    }

    /// Decides what becomes of the record at `index`, and sends what comes of it.
    pub fn apply<B: Batch>(
        &mut self,
        batch: &Rc<B>,
        index: usize,
        send: &mut dyn FnMut(&Outgoing<'_>) -> Result<(), Fault>,
    ) -> Result<Fate, Fault> {
        let record = batch.get(index);
        let at = (record.partition, record.offset);
        if let Some(due) = self.retries.due(at).filter(|due| *due > self.clock.now()) {
            return Ok(Fate::Later(due));
        }
        let outcome = match self.condemned.get(&at) {
            Some(why) => Err(Failed::Fault(reason("refused", format!("the log refuses what comes of it: {why}")))),
            None => self.transform(batch, index, record),
        };
        let attempts = self.retries.attempt(at);
        let fate = match outcome {
            Ok(records) => self.send_all(&records, record, send)?,
            Err(Failed::Retry(later)) => self.retry(record, later),
            Err(failed) => {
                let (kind, reason) = (failed.kind(), failed.reason().clone());
                self.fail(batch, index, Failure { kind, reason, attempts }, send)?
            }
        };
        if fate == Fate::Done {
            self.counts.taken += 1;
            self.retries.forget(record.partition);
        }
        Ok(fate)
    }

    /// Hands the record at `index` to the guest, and sends what comes of it. A failure has no consequence here: it is
    /// the caller's to judge.
    pub fn once<B: Batch>(
        &mut self,
        batch: &Rc<B>,
        index: usize,
        send: &mut dyn FnMut(&Outgoing<'_>) -> Result<(), Fault>,
    ) -> Result<Result<(), Failed>, Fault> {
        let record = batch.get(index);
        match self.transform(batch, index, record) {
            Ok(records) => self.send_all(&records, record, send).map(|_| Ok(())),
            Err(failed) => Ok(Err(failed)),
        }
    }

    /// The guest's answer, looked at for what the log would refuse.
    fn transform<B: Batch>(
        &mut self,
        batch: &Rc<B>,
        index: usize,
        record: Incoming<'_>,
    ) -> Result<Vec<Record>, Failed> {
        let attempt = self.retries.attempt((record.partition, record.offset));
        let mut call = || self.guest.transform(InHand { record, batch: batch.clone(), index, attempt });
        // A record is blamed only for what it does alone, on a fresh instance: a pause of the machine, or what other
        // records left behind in the instance, is not its failure.
        let records = call().or_else(|failed| match failed {
            Failed::Fault(_) | Failed::Limit(_) => call(),
            other => Err(other),
        })?;
        self.routes.clear();
        for output in &records {
            self.routes.push(self.route(output, record)?);
        }
        Ok(records)
    }

    /// Which output a record goes to; a failure of the guest's when that output would not take it.
    fn route(&self, record: &Record, origin: Incoming<'_>) -> Result<usize, Failed> {
        let (outputs, _) = self.outputs();
        let index = match &record.output {
            None => 0,
            Some(name) => outputs.iter().position(|output| output.name == *name).ok_or_else(|| {
                let known: Vec<_> = outputs.iter().map(|output| format!("`{}`", output.name)).collect();
                fault("unknown-output", format!("no output is named `{name}`: known are {}", known.join(", ")))
            })?,
        };
        let output = outputs.get(index).ok_or_else(|| fault("unknown-output", "the stage has no output".into()))?;
        if let Some(partition) = record.partition.filter(|partition| *partition >= output.partitions) {
            let (topic, count) = (&output.topic, output.partitions);
            return Err(fault("unknown-partition", format!("{topic} has no partition {partition}, it has {count}")));
        }
        if output.compacted && record.key.is_none() {
            return Err(fault("no-key", format!("{} is compacted, and takes no record without a key", output.topic)));
        }
        let size = size_of(record);
        if size > output.largest {
            let (topic, largest) = (&output.topic, output.largest);
            return Err(fault("too-large", format!("{topic} takes records of {largest} bytes, this one has {size}")));
        }
        if let (Some(time), Some(ahead)) = (record.timestamp.or(origin.timestamp), output.ahead)
            && self.is_too_late(time, ahead)
        {
            return Err(fault("future-timestamp", format!("{} takes no timestamp as late as {time}", output.topic)));
        }
        if record.timestamp.is_some_and(|time| time < 0) {
            return Err(fault("negative-timestamp", "a timestamp counts milliseconds since 1970".into()));
        }
        Ok(index)
    }

    /// Looks at the clock only when it must: for each record that would cost as much as all other checks together.
    fn is_too_late(&self, time: i64, ahead: Duration) -> bool {
        let ahead_ms = i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX);
        let is_late = || time > self.seen_ms.get().saturating_add(ahead_ms);
        is_late() && {
            self.seen_ms.set(self.clock.wall_ms());
            is_late()
        }
    }

    fn send_all(
        &mut self,
        records: &[Record],
        origin: Incoming<'_>,
        send: &mut dyn FnMut(&Outgoing<'_>) -> Result<(), Fault>,
    ) -> Result<Fate, Fault> {
        for (record, output) in records.iter().zip(&self.routes) {
            let (keep_headers, headers) = match &record.headers {
                HeaderEdit::Keep => (true, &[][..]),
                HeaderEdit::Add(headers) => (true, &headers[..]),
                HeaderEdit::Replace(headers) => (false, &headers[..]),
            };
            send(&Outgoing {
                output: *output,
                partition: record.partition,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                timestamp: record.timestamp.or(origin.timestamp),
                keep_headers,
                headers,
            })?;
        }
        self.counts.sent += records.len() as u64;
        Ok(Fate::Done)
    }

    fn retry(&mut self, record: Incoming<'_>, later: Later) -> Fate {
        let now = self.clock.now();
        match self.retries.again((record.partition, record.offset), later.after_ms, now) {
            Some(due) => {
                self.tally.note_retry();
                Fate::Later(due)
            }
            None => Fate::Stop(format!(
                "{} was tried again for {} s: {}",
                self.place(record),
                self.settings.retry.give_up_after.as_secs(),
                words(&later.reason)
            )),
        }
    }

    /// What the manifest says becomes of a record that failed.
    fn fail<B: Batch>(
        &mut self,
        batch: &Rc<B>,
        index: usize,
        failure: Failure,
        send: &mut dyn FnMut(&Outgoing<'_>) -> Result<(), Fault>,
    ) -> Result<Fate, Fault> {
        let record = batch.get(index);
        let line = format!("{}: {} {}", self.place(record), failure.kind, words(&failure.reason));
        match self.settings.on_error {
            OnError::Stop => return Ok(Fate::Stop(line)),
            OnError::Skip => {
                self.notices.say(self.clock.now(), &self.settings.stage, "skipped", &line);
                self.counts.skipped += 1;
            }
            OnError::DeadLetter => {
                self.notices.say(self.clock.now(), &self.settings.stage, "dead letter", &line);
                let (outputs, letters) = self.outputs();
                let topic = letters.ok_or_else(|| Fault::Fatal(format!("no topic for dead letters: {line}")))?;
                dead_letter::send(
                    &self.settings,
                    (outputs.len(), topic),
                    &**batch,
                    index,
                    &failure,
                    &*self.clock,
                    send,
                )?;
                self.counts.dead_letters += 1;
            }
        }
        Ok(Fate::Done)
    }

    /// What the guest may name, and the topic for dead letters.
    fn outputs(&self) -> (&[Output], Option<&Output>) {
        match (self.settings.on_error, self.settings.outputs.split_last()) {
            (OnError::DeadLetter, Some((letters, outputs))) => (outputs, Some(letters)),
            _ => (&self.settings.outputs, None),
        }
    }

    fn place(&self, record: Incoming<'_>) -> String {
        format!("{}/{}@{}", self.settings.inputs[record.partition.input], record.partition.number, record.offset.0)
    }

    /// The progress of the records so far is about to be committed.
    pub fn settle(&mut self) -> Result<(), Fault> {
        self.guest.settle()
    }

    /// The transaction is committed: what it did counts.
    pub fn committed(&mut self, progress: &Progress) {
        self.tally.add(&std::mem::take(&mut self.counts));
        self.condemned.retain(|(partition, offset), _| progress.get(*partition).is_none_or(|next| next.0 <= offset.0));
    }

    /// The transaction is not committed: what it did, will be done again.
    pub fn aborted(&mut self) {
        self.counts = Counts::default();
        self.guest.withdraw();
    }

    /// The log refused this record's outputs when it stood alone: it is this record that fails, not the stage.
    pub fn condemn(&mut self, partition: Partition, offset: Offset, why: String) {
        self.condemned.insert((partition, offset), why);
    }

    /// True when this record was condemned already: its dead letter was refused as well.
    pub fn is_condemned(&self, partition: Partition, offset: Offset) -> bool {
        self.condemned.contains_key(&(partition, offset))
    }

    /// Forgets what it knew of records that are not read from here any more.
    pub fn assigned(&mut self, starts: &Progress) {
        self.retries.retain(starts);
        self.condemned.retain(|(partition, offset), _| starts.get(*partition).is_some_and(|next| next.0 <= offset.0));
    }
}

fn reason(code: &str, message: String) -> Reason {
    Reason { code: Some(code.into()), message }
}

fn fault(code: &str, message: String) -> Failed {
    Failed::Fault(reason(code, message))
}

fn words(reason: &Reason) -> String {
    match &reason.code {
        Some(code) => format!("{code}: {}", reason.message),
        None => reason.message.clone(),
    }
}

/// About what a record takes in a batch, its kept headers aside.
fn size_of(record: &Record) -> usize {
    const OVERHEAD: usize = 96;
    let bytes = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
    let own = match &record.headers {
        HeaderEdit::Keep => 0,
        HeaderEdit::Add(list) | HeaderEdit::Replace(list) => {
            list.iter().map(|header| header.name.len() + bytes(&header.value) + 8).sum()
        }
    };
    OVERHEAD + bytes(&record.key) + bytes(&record.value) + own
}
