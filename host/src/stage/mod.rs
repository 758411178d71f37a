//! A record's fate: what a stage makes of each record, and of each failure.

mod again;
mod breaker;
mod dead_letter;
pub mod guest;
mod histogram;
mod letter;
mod outcome;
mod output;
mod provenance;
mod retry;
mod runner;
mod seen;
mod tally;

pub use again::{Again, LetterLink, Letters, Notes, note_key};
pub use dead_letter::HEADROOM as LETTER_HEADROOM;
pub use histogram::Histogram;
pub use letter::{Choice, Letter};
#[cfg(test)]
pub(crate) use letter::{HEADERS as LETTER_HEADERS, PREFIX as LETTER_PREFIX};
pub use outcome::{Lost, Made, Outcome};
pub use output::Output;
pub(crate) use output::{Router, find, outgoing};
pub use provenance::Provenance;
#[cfg(test)]
pub(crate) use provenance::{HEADERS as ORIGIN_HEADERS, PREFIX as ORIGIN_PREFIX};
pub use retry::Retry;
pub use tally::{Counts, KINDS, Tally};

use crate::{
    clock::Clock,
    manifest::{OnError, Policy},
    record::{Reason, Record},
    schemas::Codec,
    swap::{Difference, Seat, Tried, Watched},
    transport::{Batch, Fault, Incoming, Offset, Outgoing, Partition, Progress, Role},
    worker::control::Control,
};
use breaker::{Died, TooMany};
use guest::{Failed, Guest, InHand, Returned};
use retry::Retries;
use runner::{Changed, Runner};
use seen::{Read, Reader};
use std::{
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};
use tally::Notices;

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
    /// What becomes of records that fail, and how they are tried again.
    pub on_error: OnError,
    /// What comes of a record says where it came from.
    pub provenance: bool,
    /// What its records go through on their way in and out.
    pub codec: Codec,
}

/// Sends what came of the record at a place in a batch.
pub type SendOf<'a, B> = dyn FnMut(&Outgoing<'_>, &Rc<B>, usize) -> Result<(), Fault> + 'a;

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

/// What a transaction did: it counts when it is committed.
#[derive(Default)]
struct UnderWay {
    counts: Counts,
    died: Died,
    /// How many records went to each output.
    emitted: Vec<u64>,
    /// The time of the last record.
    reached: Option<i64>,
    /// By a module on trial.
    tried: Tried,
    /// Beside a module that looked on.
    watched: Watched,
}

/// A stage at work in one worker.
pub struct Stage {
    settings: Arc<StageSettings>,
    runner: Runner,
    clock: Rc<dyn Clock>,
    tally: Arc<Tally>,
    /// What the open transaction did.
    open: UnderWay,
    /// What the one did whose commit has begun.
    begun: UnderWay,
    retries: Retries,
    /// Records whose failure is known, as the log refuses them, or their guest gave them back: the guest does not get
    /// them again.
    condemned: BTreeMap<(Partition, Offset), Failed>,
    router: Router,
    /// Reads records for the guest.
    reader: Reader,
    /// Where a record waits for its schema, and how long before it is looked at the next time.
    waits: BTreeMap<Partition, Duration>,
    /// Which output each record of the call in hand goes to.
    routes: Vec<usize>,
    notices: Notices,
    quota: Option<Quota>,
    /// Tells when its worker is to end, where something may be left out then.
    control: Option<Arc<Control>>,
}

/// A record at which the module that stands took so long is not given to one that looks on: together they could take
/// longer than a transaction may.
const SLOW: Duration = Duration::from_secs(1);
/// So long a module that looks on may work in one transaction.
const LOOKING: Duration = Duration::from_secs(2);

/// So long a record's schema is waited for with the transaction open, and then the record is put off for so long, as
/// often as it takes: others may go on meanwhile.
const SCHEMA_PATIENCE: Duration = Duration::from_millis(250);
const SCHEMA_DELAY: Duration = Duration::from_millis(250);
/// Each further time twice as long, up to this: what was read ahead behind it is thrown away each time.
const LONGEST_SCHEMA_DELAY: Duration = Duration::from_secs(4);
/// So long where nothing else is waiting for it.
const SCHEMA_PATIENCE_ALONE: Duration = Duration::from_secs(15);

/// After so many records are tried, the worker is to end.
struct Quota {
    most: u64,
    control: Arc<Control>,
}

impl Stage {
    /// A stage whose counts are added to `tally`.
    pub fn new(settings: Arc<StageSettings>, guest: Box<dyn Guest>, clock: Rc<dyn Clock>, tally: Arc<Tally>) -> Stage {
        Stage::with(settings, Runner::of(guest), clock, tally)
    }

    /// A stage whose module may be replaced by another while it works, or why its module does not start.
    pub fn at(
        seat: Seat,
        settings: Arc<StageSettings>,
        clock: Rc<dyn Clock>,
        tally: Arc<Tally>,
        control: &Arc<Control>,
    ) -> Result<Stage, String> {
        let stage = Stage::with(settings, Runner::at(seat)?, clock, tally);
        Ok(Stage { control: Some(control.clone()), ..stage })
    }

    fn with(settings: Arc<StageSettings>, runner: Runner, clock: Rc<dyn Clock>, tally: Arc<Tally>) -> Stage {
        let retries = Retries::new(settings.on_error.retry.clone());
        Stage {
            reader: Reader::new(settings.codec.clone()),
            waits: BTreeMap::new(),
            settings,
            runner,
            router: Router::new(clock.clone()),
            clock,
            tally,
            open: UnderWay::default(),
            begun: UnderWay::default(),
            retries,
            condemned: BTreeMap::new(),
            routes: Vec::new(),
            notices: Notices::default(),
            quota: None,
            control: None,
        }
    }

    /// The same for dead letters that somebody has tried again, and waits for: its worker is told to end when so many are
    /// tried, and what is to pass is waited for once, and not for each.
    pub fn for_letters(mut self, most: Option<u64>, control: &Arc<Control>) -> Stage {
        self.retries.wait_together();
        self.quota = most.map(|most| Quota { most, control: control.clone() });
        self
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
        let before = match batch.role(index) {
            Role::First => 0,
            Role::Again { attempts } => attempts,
            Role::Left(why) => return self.leave(batch, index, why, send),
            Role::Foreign => return Ok(self.pass_over(batch.get(index))),
        };
        let wrong = match self.reader.read(batch, index, SCHEMA_PATIENCE) {
            Read::Ready => None,
            Read::Wrong(reason) => Some(reason),
            Read::Waiting => {
                let delay = self.waits.entry(record.partition).or_insert(SCHEMA_DELAY);
                let due = self.clock.now() + *delay;
                *delay = (*delay * 2).min(LONGEST_SCHEMA_DELAY);
                return Ok(Fate::Later(due));
            }
        };
        self.waits.remove(&record.partition);
        let attempts = before.saturating_add(self.retries.attempt(at));
        let since = self.runner.shadow().is_some().then(|| self.clock.now());
        let outcome = match (wrong, self.condemned.get(&at)) {
            (Some(reason), _) => Err(Failed::Decode(reason)),
            (None, Some(failed)) => Err(failed.clone()),
            (None, None) => self.transform(batch, index, attempts),
        };
        let fate = match &outcome {
            Ok(records) => self.send_all(records, record, send)?,
            Err(failed) => match self.put_off(at, failed) {
                Some(due) => Fate::Later(due),
                None => {
                    let is_stricter = self.compare(batch, index, attempts, failed)?;
                    let before = self.open.counts.taken;
                    self.give_up(batch, index, failed, attempts, is_stricter, before, send)?
                }
            },
        };
        if fate == Fate::Done {
            if let Some(since) = since {
                self.look_on(batch, index, attempts, (&outcome, self.clock.now() - since));
            }
            let bytes = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len) as u64;
            self.open.counts.taken += 1;
            self.open.counts.taken_bytes += bytes(record.key) + bytes(record.value);
            self.open.reached = record.timestamp.or(self.open.reached);
            if self.runner.is_on_trial() {
                self.open.tried.records += 1;
                self.open.tried.first.entry(at.0).or_insert(at.1);
            }
        }
        Ok(fate)
    }

    /// A module that looks on is given the record as well. What it makes is put beside this, and goes nowhere.
    fn look_on<B: Batch>(
        &mut self,
        batch: &Rc<B>,
        index: usize,
        attempt: u32,
        (outcome, took): (&Result<Vec<Record>, Failed>, Duration),
    ) {
        let Some(shadow) = self.runner.shadow() else { return };
        let (record, number) = (batch.get(index), shadow.number);
        let looked = self.open.watched.records(number) + self.begun.watched.records(number);
        // Nobody waits for it: not the log, and not whoever ends the host.
        let has_time = took <= SLOW && self.open.watched.spent(number) < LOOKING;
        let is_ending = self.control.as_ref().is_some_and(|control| control.stopping());
        // What the log refuses of one says nothing of the other.
        let is_condemned = self.condemned.contains_key(&(record.partition, record.offset));
        // No module has to do with one that cannot be read.
        let is_unread = matches!(outcome, Err(Failed::Decode(_)));
        if looked >= shadow.of || !has_time || is_ending || is_condemned || is_unread {
            return;
        }
        let since = self.clock.now();
        let seen = self.reader.seen(batch, index);
        let in_hand = || InHand { record: seen.get(index), batch: seen.clone(), index, attempt };
        let answer = match shadow.guest.transform(in_hand()) {
            // As it would be judged.
            Err(Failed::Fault(_) | Failed::Limit(_)) => shadow.guest.transform(in_hand()),
            answer => answer,
        };
        let took = self.clock.now() - since;
        if matches!(answer, Err(Failed::Limit(_))) && !matches!(outcome, Err(Failed::Limit(_))) {
            self.runner.exceeds(number);
        }
        let answer = answer.and_then(|mut records| {
            self.encode(&mut records)?;
            self.mark(&**batch, index, &mut records);
            let route = |made| self.router.route(self.outputs().0, made, record.timestamp).map_err(Failed::Fault);
            let routes = records.iter().map(route).collect::<Result<Vec<_>, _>>()?;
            Ok((records, routes))
        });
        let mut watched = std::mem::take(&mut self.open.watched);
        let (own, other) = (outcome.as_deref().map(|own| (own, &self.routes[..])), answer.as_ref());
        let other = other.map(|(records, routes)| (&records[..], &routes[..]));
        let hold = |answer| self.hold(&**batch, index, answer);
        let is_same = match (own, other) {
            (Ok(own), Ok(other)) => own == other || hold(Ok(own)) == hold(Ok(other)),
            (Err(own), Err(other)) => Lost::from(own) == Lost::from(other),
            _ => false,
        };
        let (partition, offset) = batch.origin(index);
        let difference = || Difference {
            partition,
            offset: offset.0,
            timestamp: record.timestamp,
            headers: batch.headers(index),
            before: hold(own),
            after: hold(other),
        };
        watched.note(number, took, (!is_same).then_some(difference));
        self.open.watched = watched;
    }

    /// What came of a record, to be compared and kept.
    fn hold(&self, batch: &dyn Batch, index: usize, answer: Result<(&[Record], &[usize]), &Failed>) -> Outcome {
        let (records, routes) = match answer {
            Ok(answer) => answer,
            Err(failed) => return Outcome { lost: Some(Lost::from(failed)), ..Outcome::default() },
        };
        let time = batch.get(index).timestamp;
        let made = records.iter().zip(routes).map(|(record, route)| {
            let output = &self.settings.outputs[*route];
            Made::of(&output.name, &output.topic, &outgoing(record, *route, time), batch, index)
        });
        let outcome = Outcome { made: made.collect(), ..Outcome::default() };
        if self.settings.provenance { outcome.without_provenance() } else { outcome }
    }

    /// Puts what a module on trial makes of a record beside what the one before makes of it. A record that fails there as
    /// well is itself to blame; else the module is, and all that it has not committed is done again by the one before.
    /// To be stricter is no fault of a module, unless it comes to a stop, or rejects most of what it gets: whether it is that.
    fn compare<B: Batch>(&mut self, batch: &Rc<B>, index: usize, attempt: u32, failed: &Failed) -> Result<bool, Fault> {
        if !self.runner.is_on_trial() || matches!(failed, Failed::Decode(_)) {
            return Ok(false);
        }
        // The one before, too, is judged by what it does on a fresh instance.
        let before = self.before(batch, index, attempt).or_else(|| self.before(batch, index, attempt));
        let Some(before) = before else { return Ok(false) };
        let record = batch.get(index);
        if self.is_condemned(record.partition, record.offset) {
            // Where both make the same of it, the log takes neither.
            let seen = self.reader.seen(batch, index);
            let in_hand = InHand { record: seen.get(index), batch: seen.clone(), index, attempt };
            let own = self.runner.guest().transform(in_hand);
            let is_same = own.is_ok_and(|mut own| {
                let is_written = self.encode(&mut own).is_ok();
                self.mark(&**batch, index, &mut own);
                is_written && own == before
            });
            if is_same {
                return Ok(false);
            }
        }
        let stops = self.policy(failed).0 == Policy::Stop || self.rejects_most();
        if matches!(failed, Failed::Reject(_)) && !stops {
            self.open.tried.stricter += 1;
            return Ok(true);
        }
        let why = format!("{}: {failed}, and not with the module before", self.place(batch.origin(index)));
        self.runner.blame(&why);
        Err(Fault::Aborted(why))
    }

    /// Whether a module on trial has rejected so much in this transaction that the stage would stop over it, and most of
    /// all.
    fn rejects_most(&self) -> bool {
        let Tried { records, stricter, .. } = &self.open.tried;
        let most = self.settings.on_error.stop_when.map_or(u64::MAX, |when| when.dead_letters);
        stricter + 1 >= most && (stricter + 1) * 2 > records + 1
    }

    /// What the module before makes of this record, when one is on trial and that one has no trouble with it: to put it off
    /// is none.
    fn before<B: Batch>(&mut self, batch: &Rc<B>, index: usize, attempt: u32) -> Option<Vec<Record>> {
        let seen = self.reader.seen(batch, index);
        let record = batch.get(index);
        let in_hand = InHand { record: seen.get(index), batch: seen.clone(), index, attempt };
        let mut records = match self.runner.before()?.transform(in_hand) {
            Ok(records) => records,
            Err(Failed::Retry(_)) => Vec::new(),
            Err(_) => return None,
        };
        self.encode(&mut records).ok()?;
        self.mark(&**batch, index, &mut records);
        let fits = |output| self.router.route(self.outputs().0, output, record.timestamp).is_ok();
        records.iter().all(fits).then_some(records)
    }

    /// True when the guest may have to change, for one that is about to take records, or has none.
    pub fn is_called(&self, has_records: bool) -> bool {
        self.runner.is_called(has_records)
    }

    /// Changes the guest, if it is to be changed: between two transactions. The worker has had nothing else to do since this
    /// moment. True when the guest was on trial and has lost: what it put off may be tried at once.
    pub fn change(&mut self, has_records: bool, since: Instant) -> bool {
        let Some(Changed { digest, has_lost }) = self.runner.change(has_records, since) else { return false };
        Arc::make_mut(&mut self.settings).module = format!("sha256:{digest}");
        // What the log refused came of another module.
        self.condemned.clear();
        if has_lost {
            self.retries.forget();
        }
        has_lost
    }

    /// An error when the open transaction is not to be committed, as its module was on trial and has lost meanwhile.
    pub fn may_commit(&self) -> Result<(), Fault> {
        match self.runner.has_lost() {
            true => Err(Fault::Aborted("the module that it was done by was rolled back".into())),
            false => Ok(()),
        }
    }

    /// True when the guest is on trial: the outcome of each commit is waited for.
    pub fn is_on_trial(&self) -> bool {
        self.runner.is_on_trial()
    }

    /// A trial may be over by its time alone.
    pub fn look_at_trial(&self) {
        self.runner.look(self.clock.now());
    }

    /// Its worker, which has this number, has these partitions now, and what it knew of others is void.
    pub fn assigned_to(&self, worker: u32, starts: &Progress) {
        self.runner.let_go();
        self.tally.hold(worker, starts);
    }

    /// The group has told its worker that these are its partitions, which may be none.
    pub fn rebalanced(&self, worker: u32, starts: &Progress) {
        self.tally.note_rebalance(worker, starts);
    }

    /// A dead letter that is not meant goes behind the others of its partition, as it is.
    fn leave<B: Batch>(
        &mut self,
        batch: &Rc<B>,
        index: usize,
        why: Option<&str>,
        send: &mut dyn FnMut(&Outgoing<'_>) -> Result<(), Fault>,
    ) -> Result<Fate, Fault> {
        let letter = batch.get(index);
        if let Some(why) = why {
            self.notices.say(self.clock.now(), &self.settings.stage, "left", why);
        }
        let output = self.outputs().0.len();
        send(&Outgoing {
            output,
            partition: Some(letter.partition.number),
            key: letter.key,
            value: letter.value,
            timestamp: letter.timestamp,
            keep_headers: true,
            headers: &[],
        })?;
        self.open.counts.left += 1;
        self.open.counts.taken += 1;
        Ok(Fate::Done)
    }

    fn pass_over(&mut self, record: Incoming<'_>) -> Fate {
        let place = format!("{}@{}", record.partition.number, record.offset.0);
        let line = format!("the record at {place} of the dead letters is none of {}", self.settings.stage);
        self.notices.say(self.clock.now(), &self.settings.stage, "passed over", &line);
        self.open.counts.foreign += 1;
        self.open.counts.taken += 1;
        Fate::Done
    }

    /// True when it has tried as many records as it is to, committed or not.
    pub fn has_enough(&self) -> bool {
        let Some(Quota { most, .. }) = &self.quota else { return false };
        let tried = [self.tally.counts(), self.begun.counts, self.open.counts].iter().map(Counts::tried).sum::<u64>();
        tried >= *most
    }

    /// Hands the record at `index` to the guest, at this attempt, and sends what comes of it. A failure has no
    /// consequence here: it is the caller's to judge.
    pub fn once<B: Batch>(
        &mut self,
        batch: &Rc<B>,
        index: usize,
        attempt: u32,
        send: &mut dyn FnMut(&Outgoing<'_>) -> Result<(), Fault>,
    ) -> Result<Result<(), Failed>, Fault> {
        match self.reader.read(batch, index, SCHEMA_PATIENCE_ALONE) {
            Read::Ready => {}
            Read::Wrong(reason) => return Ok(Err(Failed::Decode(reason))),
            Read::Waiting => return Err(Fault::Unavailable("its schema is not to be had".into())),
        }
        let record = batch.get(index);
        match self.transform(batch, index, attempt) {
            Ok(records) => self.send_all(&records, record, send).map(|_| Ok(())),
            Err(failed) => Ok(Err(failed)),
        }
    }

    /// The guest's answer, looked at for what the log would refuse.
    fn transform<B: Batch>(&mut self, batch: &Rc<B>, index: usize, attempt: u32) -> Result<Vec<Record>, Failed> {
        let record = batch.get(index);
        let seen = self.reader.seen(batch, index);
        let in_hand = || InHand { record: seen.get(index), batch: seen.clone(), index, attempt };
        let mut records = match self.runner.guest().transform(in_hand()) {
            // A module on trial has no second try where the one before needs none.
            Err(fault @ Failed::Fault(_)) if self.before(batch, index, attempt).is_some() => Err(fault),
            // A record is blamed only for what it does alone, on a fresh instance: a pause of the machine, or what other
            // records left behind in the instance, is not its failure.
            Err(Failed::Fault(_) | Failed::Limit(_)) => self.runner.guest().transform(in_hand()),
            outcome => outcome,
        }?;
        self.encode(&mut records)?;
        self.mark(&**batch, index, &mut records);
        self.routes.clear();
        for output in &records {
            self.routes.push(self.router.route(self.outputs().0, output, record.timestamp).map_err(Failed::Fault)?);
        }
        Ok(records)
    }

    /// What was made of a record is written with the schemas of the topics that it goes to.
    fn encode(&self, records: &mut [Record]) -> Result<(), Failed> {
        if self.settings.codec.is_idle() {
            return Ok(());
        }
        let (outputs, _) = self.outputs();
        records.iter_mut().try_for_each(|record| match find(outputs, record) {
            Some(output) => {
                let Record { key, value, .. } = record;
                self.settings.codec.encode(output, key, value).map_err(Failed::Encode)
            }
            // There is no such output, which has words of its own.
            None => Ok(()),
        })
    }

    /// What was made of a record says where it came from, if it is to. The topic's rules see it with all that it says.
    fn mark(&self, batch: &dyn Batch, index: usize, records: &mut [Record]) {
        if self.settings.provenance {
            Provenance::of(&self.settings, batch.origin(index)).put(records);
        }
    }

    fn send_all(
        &mut self,
        records: &[Record],
        origin: Incoming<'_>,
        send: &mut dyn FnMut(&Outgoing<'_>) -> Result<(), Fault>,
    ) -> Result<Fate, Fault> {
        let UnderWay { counts, emitted, .. } = &mut self.open;
        emitted.resize(self.settings.outputs.len(), 0);
        for (record, output) in records.iter().zip(&self.routes) {
            let outgoing = outgoing(record, *output, origin.timestamp);
            counts.sent_bytes +=
                [outgoing.key, outgoing.value].into_iter().flatten().map(<[u8]>::len).sum::<usize>() as u64;
            emitted[*output] += 1;
            send(&outgoing)?;
        }
        counts.sent += records.len() as u64;
        match records.is_empty() {
            true => counts.filtered += 1,
            false => counts.transformed += 1,
        }
        Ok(Fate::Done)
    }

    /// When a record that may go through later is tried again, if its time is not over.
    fn put_off(&mut self, at: (Partition, Offset), failed: &Failed) -> Option<Duration> {
        let Failed::Retry(later) = failed else { return None };
        let due = self.retries.again(at, later.after_ms, self.clock.now())?;
        self.tally.note_retry();
        Some(due)
    }

    /// What the manifest says becomes of a record that failed for good, behind so many others of its transaction.
    #[allow(clippy::too_many_arguments, reason = "what a record is told by, and what is known of its failure")]
    fn give_up<B: Batch>(
        &mut self,
        batch: &Rc<B>,
        index: usize,
        failed: &Failed,
        attempts: u32,
        is_stricter: bool,
        before: u64,
        send: &mut dyn FnMut(&Outgoing<'_>) -> Result<(), Fault>,
    ) -> Result<Fate, Fault> {
        let place = self.place(batch.origin(index));
        let (policy, counts) = self.policy(failed);
        // What a module on trial is too strict about, counts for its trial alone.
        let counts = counts && !is_stricter;
        let line = match failed {
            Failed::Retry(later) => {
                let seconds = self.settings.on_error.retry.give_up_after.as_secs();
                format!("{place} was tried again for {seconds} s: {}", words(&later.reason))
            }
            _ => format!("{place}: {failed}"),
        };
        if let Some(too_many) = counts.then(|| self.too_many(before)).flatten() {
            return Ok(Fate::Stop(stopped(&too_many, &place, failed)));
        }
        match policy {
            Policy::Stop => return Ok(Fate::Stop(line)),
            Policy::Skip => {
                self.notices.say(self.clock.now(), &self.settings.stage, "skipped", &line);
                self.open.counts.skipped += 1;
            }
            Policy::DeadLetter => {
                let what = if batch.role(index) == Role::First { "dead letter" } else { "again a dead letter" };
                self.notices.say(self.clock.now(), &self.settings.stage, what, &line);
                let failure = Failure { kind: failed.kind(), reason: failed.reason().clone(), attempts };
                let (outputs, letters) = self.outputs();
                let topic = letters.ok_or_else(|| Fault::Fatal(format!("no topic for dead letters: {line}")))?;
                dead_letter::send(
                    &self.settings,
                    (outputs.len(), topic),
                    (&**batch, index),
                    &failure,
                    &*self.clock,
                    send,
                )?;
                self.open.counts.dead_letters += 1;
                self.open.emitted.resize(self.settings.outputs.len(), 0);
                if let Some(letters) = self.open.emitted.last_mut() {
                    *letters += 1;
                }
                let kind = KINDS.iter().position(|kind| *kind == failed.kind());
                self.open.counts.dead_by_kind[kind.unwrap_or_default()] += 1;
            }
        }
        if counts {
            self.open.died.note(before);
        }
        Ok(Fate::Done)
    }

    /// What the manifest says of such a failure, and whether the breaker counts it.
    fn policy(&self, failed: &Failed) -> (Policy, bool) {
        let policy = failed.policy(&self.settings.on_error);
        let counts = match policy {
            Policy::DeadLetter => true,
            // What a module rejects may be what it is there to leave out, and what cannot be read is no module's doing.
            Policy::Skip => !matches!(failed, Failed::Reject(_) | Failed::Decode(_)),
            Policy::Stop => false,
        };
        (policy, counts)
    }

    /// Whether so many of the last records died that the one behind so many of the open transaction may not.
    fn too_many(&self, before: u64) -> Option<TooMany> {
        let under_way = [(&self.begun.died, self.begun.counts.taken), (&self.open.died, before)];
        self.tally.breaker.trips(self.settings.on_error.stop_when?, under_way)
    }

    /// What the guest may name, and the topic for dead letters.
    fn outputs(&self) -> (&[Output], Option<&Output>) {
        match self.settings.outputs.split_last() {
            Some((letters, outputs)) if self.settings.on_error.has_dead_letters() => (outputs, Some(letters)),
            _ => (&self.settings.outputs, None),
        }
    }

    fn place(&self, (partition, offset): (Partition, Offset)) -> String {
        format!("{}/{}@{}", self.settings.inputs[partition.input], partition.number, offset.0)
    }

    /// Finds what its guest works with, before there is a record.
    pub fn prepare(&mut self) -> Result<(), Fault> {
        self.runner.guest().prepare()
    }

    /// The progress of the records so far is about to be committed. What of them fails only now, has its consequence.
    pub fn settle<B: Batch>(&mut self, send: &mut SendOf<'_, B>) -> Result<(), Fault> {
        let mut known = Vec::new();
        for Returned { batch, index, attempt, behind, failed } in self.runner.guest().settle()? {
            let batch = seen::raw::<B>(batch);
            // It was taken for done.
            self.open.counts.filtered -= 1;
            let mut send = |out: &Outgoing<'_>| send(out, &batch, index);
            let before = self.open.counts.taken.saturating_sub(behind + 1);
            let fate = self.give_up(&batch, index, &failed, attempt, false, before, &mut send)?;
            let Incoming { partition, offset, .. } = batch.get(index);
            known.push(((partition, offset), failed));
            if let Fate::Stop(why) = fate {
                // In front of it, and others are behind it by now: once more, and then each is known when its turn comes.
                self.condemned.extend(known);
                return Err(Fault::Aborted(why));
            }
        }
        Ok(())
    }

    /// True when its guest holds back so much that it is to be settled.
    pub fn is_full(&self) -> bool {
        self.runner.is_full()
    }

    /// The transaction's commit has begun: what comes from now on is another's.
    pub fn commit_begun(&mut self) {
        self.begun = std::mem::take(&mut self.open);
    }

    /// The transaction whose commit had begun is committed, which took so long: what it did counts.
    pub fn committed(&mut self, progress: &Progress, took: Duration) {
        let UnderWay { counts, died, emitted, reached, tried, mut watched } = std::mem::take(&mut self.begun);
        self.tally.note_commit(&emitted, reached, took);
        self.runner.committed(&tried, progress, self.clock.now());
        self.runner.watched(&mut watched);
        if let Some(when) = self.settings.on_error.stop_when {
            self.tally.breaker.commit(when, died, counts.taken);
        }
        self.tally.add(&counts);
        // Not before: what is not committed by then may have to be done again.
        if let Some(Quota { most, control }) = &self.quota
            && self.tally.counts().tried() >= *most
        {
            control.stop();
        }
        self.retries.committed(progress);
        self.condemned.retain(|(partition, offset), _| progress.get(*partition).is_none_or(|next| next.0 <= offset.0));
    }

    /// Nothing that is not committed will be: it will be done again.
    pub fn aborted(&mut self) {
        if self.open.counts.taken + self.begun.counts.taken > 0 {
            self.tally.note_abort();
        }
        (self.open, self.begun) = (UnderWay::default(), UnderWay::default());
        self.reader.forget();
        self.runner.withdraw();
    }

    /// The log refused this record's outputs when it stood alone: it is this record that fails, not the stage.
    pub fn condemn(&mut self, partition: Partition, offset: Offset, why: String) {
        let failed = Failed::Fault(reason("refused", format!("the log refuses what comes of it: {why}")));
        self.condemned.insert((partition, offset), failed);
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

fn stopped(TooMany { died, of }: &TooMany, place: &str, failed: &Failed) -> String {
    format!(
        "stopped in front of {place}: {died} of the last {of} records failed, this one with {failed}. What came before is \
         committed, this one is not. Mend the module, or what it is given, and start again: it goes on here. `stop-when:` \
         under `on-error` sets how many may fail, or `never` stops"
    )
}

fn reason(code: &str, message: String) -> Reason {
    Reason { code: Some(code.into()), message }
}

/// A reason in one line.
pub(crate) fn words(reason: &Reason) -> String {
    match &reason.code {
        Some(code) => format!("{code}: {}", reason.message),
        None => reason.message.clone(),
    }
}
