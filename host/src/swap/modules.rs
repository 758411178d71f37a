//! Which module a stage runs, over all of its workers, and which one is on trial.

use super::{
    Verdict, Version,
    shadow::{Looked, Shadow, Watched},
};
use crate::transport::{NextOffset, Offset, Partition, Progress};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How long an outcome is waited for until somebody looks whether it is there.
const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(1);

/// How long a module is on trial: until it has done so many records, or for so long and at least one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probation {
    /// So many records.
    pub records: u64,
    /// For so long, from its first commit on.
    pub time: Duration,
}

impl Default for Probation {
    fn default() -> Self {
        Probation { records: 1000, time: Duration::from_secs(2) }
    }
}

/// What a module on trial has done, and what is committed of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// How many records.
    pub records: u64,
    /// How many of them it rejected, where the module before does not.
    pub stricter: u64,
    /// From which record to which, in each partition: what stands in the log by this module.
    pub offsets: BTreeMap<Partition, (Offset, NextOffset)>,
    /// How long the worker that tried it first did nothing else but change.
    pub pause: Duration,
}

/// The modules of one stage: the one that it runs, the one before, and one that may be on trial.
///
/// A new one is offered; a worker that has records takes it, for one transaction; when that is committed the others
/// follow, each between two transactions. It stands when its probation is over, and until then whatever it does wrong
/// takes all of them back.
#[derive(Debug)]
pub struct Modules {
    /// Goes up when workers have something to look at.
    turns: AtomicU64,
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Debug)]
struct State {
    current: Arc<Version>,
    before: Option<Arc<Version>>,
    trial: Option<Trial>,
    /// The one that looks on, or did last.
    shadow: Option<Shadow>,
    /// How many did.
    shadows: u64,
    /// How many were offered.
    offers: u64,
    /// How the last one ended.
    last: Option<(u64, Ended)>,
    /// What each worker runs.
    run: BTreeMap<u32, Arc<Version>>,
    /// Why nothing can be offered any more.
    closed: Option<String>,
}

#[derive(Debug)]
struct Trial {
    offer: u64,
    version: Arc<Version>,
    probation: Probation,
    step: Step,
    done: Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nobody has had records for it yet.
    Offered,
    /// This worker tries it, in a transaction that is not committed yet.
    Taken(u32),
    /// All run it, since then.
    Followed(Duration),
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// For good or not.
    pub verdict: Verdict,
    /// What it had done.
    pub done: Done,
}

/// Why a module cannot be offered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwanted {
    /// Another one is on trial.
    #[error("another module is on trial: wait for its end, or roll it back")]
    Busy,
    /// It is what the stage runs.
    #[error("it is what the stage runs already")]
    Same,
    /// The stage does not run the one that it was to replace.
    #[error("{0} runs by now, and not the module that this one was compared with")]
    Other(String),
    /// Nothing runs it any more.
    #[error("{0}")]
    Closed(String),
}

/// A way back that was taken.
#[derive(Clone, Debug)]
pub struct Back {
    /// From this module.
    pub from: Arc<Version>,
    /// To this one.
    pub to: Arc<Version>,
    /// It had not proven itself yet.
    pub was_on_trial: bool,
}

/// What a worker runs from here on.
#[derive(Clone, Debug)]
pub struct Orders {
    /// This module.
    pub version: Arc<Version>,
    /// When that has to prove itself: the one that stands, which is kept beside it.
    pub before: Option<Arc<Version>>,
    /// When none has to: one that looks on, which one of those it is, and on how many records it does.
    pub shadow: Option<(u64, Arc<Version>, u64)>,
}

impl Modules {
    /// A stage that runs this one.
    pub fn new(current: Version) -> Arc<Modules> {
        Arc::new(Modules {
            turns: AtomicU64::new(0),
            state: Mutex::new(State {
                current: Arc::new(current),
                before: None,
                trial: None,
                shadow: None,
                shadows: 0,
                offers: 0,
                last: None,
                run: BTreeMap::new(),
                closed: None,
            }),
            bell: Condvar::new(),
        })
    }

    /// The module that stands.
    pub fn current(&self) -> Arc<Version> {
        self.lock().current.clone()
    }

    /// The one that is on trial, and what it has done so far.
    pub fn trial(&self) -> Option<(Arc<Version>, Done)> {
        self.lock().trial.as_ref().map(|trial| (trial.version.clone(), trial.done.clone()))
    }

    /// How many instances workers have: one each, and another one while they try a new module.
    pub fn instances(&self) -> usize {
        let state = self.lock();
        let tries = |run: &&Arc<Version>| state.trial.as_ref().is_some_and(|trial| Arc::ptr_eq(&trial.version, run));
        let looks_on = if state.shadow.as_ref().is_some_and(Shadow::is_running) { state.run.len() } else { 0 };
        state.run.len() + state.run.values().filter(tries).count() + looks_on
    }

    /// Offers a module to the workers. One that was offered before and that nobody had a record for makes room.
    /// It is only wanted in place of the one with this digest, if one is named.
    pub fn offer(&self, version: Version, probation: Probation, instead_of: Option<&str>) -> Result<u64, Unwanted> {
        let mut state = self.lock();
        if let Some(why) = &state.closed {
            return Err(Unwanted::Closed(why.clone()));
        }
        match &state.trial {
            Some(trial) if trial.step != Step::Offered => return Err(Unwanted::Busy),
            _ if state.current.digest == version.digest => return Err(Unwanted::Same),
            _ if instead_of.is_some_and(|digest| digest != state.current.digest) => {
                return Err(Unwanted::Other(state.current.name.clone()));
            }
            _ => {}
        }
        state.end(Verdict::Withdrawn("another module took its place".into()));
        state.look_away("a module is on trial");
        state.offers += 1;
        let (offer, version) = (state.offers, Arc::new(version));
        state.trial = Some(Trial { offer, version, probation, step: Step::Offered, done: Done::default() });
        self.call(state);
        Ok(offer)
    }

    /// Runs a module beside the one that stands, on so many records: it only looks on. One that did before makes room.
    pub fn look_on(&self, version: Version, of: u64) -> Result<u64, Unwanted> {
        let mut state = self.lock();
        if let Some(why) = &state.closed {
            return Err(Unwanted::Closed(why.clone()));
        }
        if state.trial.is_some() {
            return Err(Unwanted::Busy);
        }
        if state.current.digest == version.digest {
            return Err(Unwanted::Same);
        }
        state.shadows += 1;
        let number = state.shadows;
        state.shadow = Some(Shadow::new(number, Arc::new(version), state.current.clone(), of));
        self.call(state);
        Ok(number)
    }

    /// What is known of the module that looks on, or did last.
    pub fn looked(&self) -> Option<Looked> {
        self.lock().shadow.as_ref().map(Shadow::looked)
    }

    /// The module that looks on does so no more; that one, and nothing when none did, or none with this digest.
    pub fn look_away(&self, why: &str, of: Option<&str>) -> Option<Arc<Version>> {
        let mut state = self.lock();
        let shadow = state.shadow.as_mut().filter(|shadow| shadow.is_running())?;
        let version = shadow.version.clone();
        if of.is_some_and(|digest| digest != version.digest) {
            return None;
        }
        shadow.end(why);
        self.call(state);
        Some(version)
    }

    /// Waits until the trial of this offer has ended; `None` when `patience` is over and no record has come, or it still
    /// goes on after `longest`.
    pub fn outcome(
        &self,
        offer: u64,
        now: &dyn Fn() -> Duration,
        patience: Duration,
        longest: Duration,
    ) -> Option<Ended> {
        let since = Instant::now();
        loop {
            self.look(now());
            let mut state = self.lock();
            if let Some((ended, how)) = &state.last
                && *ended >= offer
            {
                return (*ended == offer).then(|| how.clone());
            }
            let offered = state.trial.as_ref().is_some_and(|trial| trial.step == Step::Offered);
            let waited = since.elapsed();
            if waited >= longest || (offered && waited >= patience) {
                return None;
            }
            // The time of a probation may be over without anybody saying so.
            let wait = if offered { patience.saturating_sub(waited).min(LONG) } else { SHORT };
            state = self.bell.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
            drop(state);
        }
    }

    /// Goes back to the module before: from the one on trial, or else from the one that stands; only from `of`, if one is
    /// named.
    pub fn roll_back(&self, why: &str, of: Option<&str>) -> Option<Back> {
        let mut state = self.lock();
        let is_meant = |version: &Version| of.is_none_or(|digest| digest == version.digest);
        let back = match &state.trial {
            Some(trial) if is_meant(&trial.version) => {
                let from = trial.version.clone();
                state.end(Verdict::RolledBack(why.to_owned()));
                Back { from, to: state.current.clone(), was_on_trial: true }
            }
            None if is_meant(&state.current) => {
                let before = state.before.take()?;
                let from = std::mem::replace(&mut state.current, before);
                state.before = Some(from.clone());
                Back { from, to: state.current.clone(), was_on_trial: false }
            }
            _ => return None,
        };
        state.look_away("somebody rolled back");
        self.call(state);
        Some(back)
    }

    /// Waits until no worker runs this one any more, for at most so long.
    pub fn until_gone(&self, version: &Arc<Version>, longest: Duration) -> bool {
        let runs = |state: &mut State| state.run.values().any(|run| Arc::ptr_eq(run, version));
        let waited = self.bell.wait_timeout_while(self.lock(), longest, runs);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Nothing is offered from here on, and what is on trial will not end it.
    pub fn close(&self, why: &str) {
        let mut state = self.lock();
        state.closed.get_or_insert_with(|| why.to_owned());
        state.end(Verdict::Withdrawn(why.to_owned()));
        state.look_away(why);
        self.call(state);
    }

    /// A probation may be over by its time alone.
    pub fn look(&self, now: Duration) {
        let mut state = self.lock();
        if state.judge(now) {
            self.call(state);
        }
    }

    fn call(&self, state: MutexGuard<'_, State>) {
        self.turns.fetch_add(1, Ordering::Release);
        drop(state);
        self.bell.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whoever looks on does so no more.
    fn look_away(&mut self, why: &str) {
        if let Some(shadow) = &mut self.shadow {
            shadow.end(why);
        }
    }

    /// The trial is over.
    fn end(&mut self, verdict: Verdict) {
        let Some(Trial { offer, version, done, .. }) = self.trial.take() else { return };
        if verdict == Verdict::Confirmed {
            self.before = Some(std::mem::replace(&mut self.current, version));
        }
        self.last = Some((offer, Ended { verdict, done }));
    }

    /// Ends a probation that is over.
    fn judge(&mut self, now: Duration) -> bool {
        let Some(Trial { step: Step::Followed(since), probation, done, .. }) = &self.trial else { return false };
        let (records, stricter) = (done.records, done.stricter);
        if records < probation.records && now.saturating_sub(*since) < probation.time {
            return false;
        }
        self.end(match stricter * 2 > records {
            true => {
                Verdict::RolledBack(format!("it rejects {stricter} of {records} records that the module before takes"))
            }
            false => Verdict::Confirmed,
        });
        true
    }
}

/// One worker's part in it.
#[derive(Debug)]
pub struct Seat {
    modules: Arc<Modules>,
    number: u32,
    seen: u64,
    /// Something is offered, for when records come.
    is_offered: bool,
}

impl Seat {
    /// The part of the worker with this number.
    pub fn new(modules: &Arc<Modules>, number: u32) -> Seat {
        // Whatever was said before is news.
        Seat { modules: modules.clone(), number, seen: u64::MAX, is_offered: false }
    }

    /// The module that stands.
    pub fn standing(&self) -> Arc<Version> {
        self.modules.current()
    }

    /// True when there may be new orders for a worker that has records, or has none.
    pub fn is_called(&self, has_records: bool) -> bool {
        self.modules.turns.load(Ordering::Acquire) != self.seen || (has_records && self.is_offered)
    }

    /// What to run from here on. A worker that has records takes what is offered.
    pub fn orders(&mut self, has_records: bool) -> Orders {
        let mut state = self.modules.lock();
        self.seen = self.modules.turns.load(Ordering::Acquire);
        self.is_offered = false;
        let standing = state.current.clone();
        let shadow = state.shadow.as_ref().filter(|shadow| shadow.is_running());
        let shadow = shadow.map(|shadow| (shadow.number, shadow.version.clone(), shadow.of()));
        let current = Orders { version: standing.clone(), before: None, shadow };
        let Some(trial) = &mut state.trial else { return current };
        if trial.step == Step::Offered && has_records {
            trial.step = Step::Taken(self.number);
        }
        self.is_offered = trial.step == Step::Offered;
        match trial.step {
            Step::Taken(number) if number != self.number => current,
            Step::Offered => current,
            Step::Taken(_) | Step::Followed(_) => {
                Orders { version: trial.version.clone(), before: Some(standing), shadow: None }
            }
        }
    }

    /// It runs this one now; the change took so long.
    pub fn runs(&self, version: &Arc<Version>, pause: Duration) {
        let mut state = self.modules.lock();
        state.run.insert(self.number, version.clone());
        if let Some(trial) = &mut state.trial
            && Arc::ptr_eq(&trial.version, version)
            && trial.step == Step::Taken(self.number)
        {
            trial.done.pause = pause;
        }
        drop(state);
        self.modules.bell.notify_all();
    }

    /// A probation may be over by its time alone.
    pub fn look(&self, now: Duration) {
        self.modules.look(now);
    }

    /// What it did with this module on trial is committed.
    pub fn committed(&self, version: &Arc<Version>, tried: &Tried, progress: &Progress, now: Duration) {
        let mut state = self.modules.lock();
        let Some(trial) = state.trial.as_mut().filter(|trial| Arc::ptr_eq(&trial.version, version)) else { return };
        if tried.records == 0 {
            // All that it has is waited for: another one may have more luck.
            if trial.step == Step::Taken(self.number) {
                trial.step = Step::Offered;
                self.modules.call(state);
            }
            return;
        }
        let done = &mut trial.done;
        done.records += tried.records;
        done.stricter += tried.stricter;
        for (partition, first) in &tried.first {
            let next = progress.get(*partition).unwrap_or(NextOffset(first.0));
            let range = done.offsets.entry(*partition).or_insert((*first, next));
            *range = (range.0.min(*first), range.1.max(next));
        }
        let follows = trial.step == Step::Taken(self.number);
        if follows {
            trial.step = Step::Followed(now);
        }
        if state.judge(now) || follows {
            self.modules.call(state);
        }
    }

    /// What was looked at beside it is committed.
    pub fn watched(&self, watched: &mut Watched) {
        let mut state = self.modules.lock();
        let Some(shadow) = state.shadow.as_mut().filter(|shadow| shadow.is_running()) else { return };
        shadow.add(watched);
        if !shadow.is_running() {
            self.modules.call(state);
        }
    }

    /// That one ran into its limits, where the one that stands does not.
    pub fn exceeds(&self, number: u64) {
        let mut state = self.modules.lock();
        let Some(shadow) = state.shadow.as_mut().filter(|shadow| shadow.number == number) else { return };
        shadow.exceed();
        if !shadow.is_running() {
            self.modules.call(state);
        }
    }

    /// That one does not even start here.
    pub fn does_not_look_on(&self, number: u64, why: &str) {
        let mut state = self.modules.lock();
        let shadow = state.shadow.as_mut().filter(|shadow| shadow.number == number && shadow.is_running());
        if let Some(shadow) = shadow {
            shadow.end(why);
            self.modules.call(state);
        }
    }

    /// True unless this one was on trial and has lost: what it did and has not committed is not to be.
    pub fn is_wanted(&self, version: &Arc<Version>) -> bool {
        let state = self.modules.lock();
        let is_on_trial = state.trial.as_ref().is_some_and(|trial| Arc::ptr_eq(&trial.version, version));
        is_on_trial || Arc::ptr_eq(&state.current, version)
    }

    /// To be asked again at the next transaction, whatever happens.
    pub fn ask_again(&mut self) {
        self.seen = u64::MAX;
    }

    /// The module on trial did what it must not: all go back.
    pub fn blame(&self, version: &Arc<Version>, why: &str) {
        let mut state = self.modules.lock();
        if state.trial.as_ref().is_some_and(|trial| Arc::ptr_eq(&trial.version, version)) {
            state.end(Verdict::RolledBack(why.to_owned()));
            self.modules.call(state);
        }
    }

    /// Its partitions may be another's by now: whoever has records may try in its place.
    pub fn let_go(&self) {
        let mut state = self.modules.lock();
        if let Some(trial) = &mut state.trial
            && trial.step == Step::Taken(self.number)
        {
            trial.step = Step::Offered;
            self.modules.call(state);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.let_go();
        self.modules.lock().run.remove(&self.number);
        self.modules.bell.notify_all();
    }
}

/// What a transaction did by a module on trial.
#[derive(Debug, Default)]
pub struct Tried {
    /// How many records it did.
    pub records: u64,
    /// How many of them it rejected, where the module before does not.
    pub stricter: u64,
    /// The first of them in each partition.
    pub first: BTreeMap<Partition, Offset>,
}
