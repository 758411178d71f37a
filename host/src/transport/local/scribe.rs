//! The one thread of a process that writes to the log.
//!
//! What waits is committed together, each job behind a savepoint of its own: one sync of the disk serves them all, and
//! no worker starves. Between two groups the pen is put down, for other processes.

use super::{
    bell::Bell,
    codec::Sealed,
    faults,
    locks::GroupLock,
    rows::{self, Step},
    schema::Store,
    tidy::{STEP_BYTES, Tidy},
    trouble::Trouble,
};
use rusqlite::Connection;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

/// How many jobs one commit takes.
const MOST_JOBS: usize = 64;
/// How many bytes one commit takes, unless one job alone has more.
const MOST_BYTES: usize = 4 << 20;
/// When nothing came for so long, there is time for other things.
const IDLE: Duration = Duration::from_millis(500);
/// How often it is looked for records that are too old, or too many.
const TIDY: Duration = Duration::from_secs(10);
/// How often a step of that is done while others wait.
const BETWEEN_STEPS: Duration = Duration::from_millis(200);
/// How many bytes may be written before they are brought from the -wal into the file.
const CHECKPOINT: usize = 4 << 20;
/// What a job writes beside its records: the pages that say how far its partitions and its group are.
const PAGES: usize = 4 * 4096;
/// A -wal that has become larger than this is cut back when a moment allows it.
const LARGE_WAL: u64 = 64 << 20;
/// Between two looks at whether somebody still waits.
const LOOK: Duration = Duration::from_millis(100);
/// How long the end of the process waits for the writer's.
const GRACE: Duration = Duration::from_secs(2);

/// What is to be written, all of it or nothing.
#[derive(Default)]
pub(super) struct Job {
    /// Records.
    pub(super) appends: Vec<Append>,
    /// What a group has done.
    pub(super) steps: Vec<Step>,
    /// Who writes it: nothing is written when another one has come under that name.
    pub(super) writer: Option<Writer>,
    /// Nobody else gets the group before this is settled.
    pub(super) _lock: Option<Arc<GroupLock>>,
}

/// Somebody who was let in under a name.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    name: String,
    epoch: u64,
}

/// Records for one partition.
pub(super) struct Append {
    pub(super) topic: String,
    pub(super) part: i64,
    pub(super) blobs: Vec<Sealed>,
}

/// Where the records of each [`Append`] begin, or why nothing was written.
pub(super) type Answer = Result<Vec<u64>, Trouble>;

enum Order {
    Write(Job, SyncSender<Answer>),
    /// Let somebody in under a name.
    Admit(String, SyncSender<Writer>),
    #[cfg(test)]
    LimitGrowth(Option<u64>),
}

/// The writing thread, from outside.
pub(super) struct Scribe {
    orders: Option<SyncSender<Order>>,
    ended: Mutex<Receiver<()>>,
}

impl Scribe {
    /// Starts it, with a connection of its own.
    pub(super) fn start(store: Store, bell: Arc<Bell>) -> Result<Scribe, Trouble> {
        store.keep_checkpoints()?;
        let (orders, taken) = mpsc::sync_channel(MOST_JOBS);
        let (end, ended): (Sender<()>, _) = mpsc::channel();
        let desk = Desk {
            store,
            bell,
            tidy: Tidy::default(),
            unchecked: 0,
            said_large: false,
            said: None,
            epochs: BTreeMap::new(),
        };
        thread::Builder::new()
            .name("log".into())
            .spawn(move || {
                desk.run(&taken);
                drop(end);
            })
            .map_err(|error| Trouble::passing(format!("the log's thread cannot be started: {error}")))?;
        Ok(Scribe { orders: Some(orders), ended: Mutex::new(ended) })
    }

    /// Hands a job in. The answer comes when it is on the disk.
    pub(super) fn submit(&self, job: Job) -> Result<Receiver<Answer>, Trouble> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.order(Order::Write(job, answer))?;
        Ok(answered)
    }

    /// Lets somebody in under a name. Nothing comes any more of whoever had it before, and all that came of them is
    /// there to be read.
    /// `None` when `gives_up` says so before there is an answer: another process may keep the file to itself.
    pub(super) fn admit(&self, name: &str, gives_up: impl Fn() -> bool) -> Result<Option<Writer>, Trouble> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.order(Order::Admit(name.to_owned(), answer))?;
        loop {
            match answered.recv_timeout(LOOK) {
                Ok(writer) => return Ok(Some(writer)),
                Err(RecvTimeoutError::Timeout) if gives_up() => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(ended()),
            }
        }
    }

    #[cfg(test)]
    pub(super) fn limit_growth(&self, pages: Option<u64>) {
        self.order(Order::LimitGrowth(pages)).unwrap();
    }

    fn order(&self, order: Order) -> Result<(), Trouble> {
        self.orders.as_ref().and_then(|orders| orders.send(order).ok()).ok_or_else(ended)
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        self.orders = None;
        // A process that stands still with the pen in its hand must not keep this one from ending.
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(GRACE).ok();
    }
}

/// It does not come again in this process; what became of its last jobs, whoever starts anew reads from the file.
fn ended() -> Trouble {
    Trouble::fatal("the thread that writes the log has ended")
}

/// What the writing thread works with.
struct Desk {
    store: Store,
    bell: Arc<Bell>,
    tidy: Tidy,
    /// Bytes that were written since the last checkpoint.
    unchecked: usize,
    said_large: bool,
    said: Option<String>,
    /// How many were let in under each name: the last one may write.
    epochs: BTreeMap<String, u64>,
}

impl Desk {
    fn run(mut self, orders: &Receiver<Order>) {
        let (mut tidied, mut stepped) = (Instant::now(), Instant::now());
        let mut waiting = None;
        loop {
            let order = match waiting.take() {
                Some(order) => Ok(order),
                // There is more to tidy up: only as long as nobody waits.
                None if self.tidy.is_at_it() => orders.try_recv().map_err(|error| match error {
                    mpsc::TryRecvError::Empty => RecvTimeoutError::Timeout,
                    mpsc::TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                }),
                None => orders.recv_timeout(IDLE),
            };
            match order {
                Ok(Order::Write(job, answer)) => {
                    let group = gather((job, answer), orders, &mut waiting);
                    self.commit(group);
                }
                Ok(Order::Admit(name, answer)) => {
                    let epoch = self.epochs.entry(name.clone()).or_default();
                    *epoch += 1;
                    answer.send(Writer { name, epoch: *epoch }).ok();
                }
                #[cfg(test)]
                Ok(Order::LimitGrowth(pages)) => self.store.limit_growth(pages),
                Err(RecvTimeoutError::Timeout) => self.rest(),
                Err(RecvTimeoutError::Disconnected) => return self.checkpoint(),
            }
            if tidied.elapsed() > TIDY {
                tidied = Instant::now();
                self.tidy.begin();
            }
            // However busy it is, a little of everything is done.
            if self.tidy.is_at_it() && stepped.elapsed() > BETWEEN_STEPS {
                stepped = Instant::now();
                self.tidy_step();
            }
            if self.unchecked >= CHECKPOINT {
                self.checkpoint();
            }
        }
    }

    /// One commit for all.
    fn commit(&mut self, group: Vec<(Job, SyncSender<Answer>)>) {
        let size: usize = group.iter().map(|(job, _)| job.size()).sum();
        faults::at("before-begin");
        let written = self.store.write(|tx| {
            let write = |(job, _): &(Job, _)| match fenced(&self.epochs, job) {
                Some(trouble) => Ok(Err(trouble)),
                None => write(tx, job),
            };
            let answers = group.iter().map(write).collect::<Result<Vec<_>, _>>()?;
            faults::at("before-commit");
            Ok(answers)
        });
        faults::at("before-answer");
        match written {
            Ok(answers) => {
                self.unchecked += size;
                // Who does not wait for the answer any more has given up.
                group.into_iter().zip(answers).for_each(|((_, to), answer)| drop(to.send(answer)));
                self.bell.ring();
            }
            Err(trouble) => group.into_iter().for_each(|(_, to)| drop(to.send(Err(trouble.clone())))),
        }
    }

    /// Nothing is to be written for the moment.
    fn rest(&mut self) {
        if self.tidy.is_at_it() {
            self.tidy_step();
        } else if self.unchecked > 0 {
            self.checkpoint();
        }
    }

    /// A step of tidying up, which is tried again later when it does not work.
    fn tidy_step(&mut self) {
        let changes = self.store.changes();
        if let Err(trouble) = self.tidy.step(&mut self.store) {
            // What is behind it may work all the same.
            self.tidy.skip();
            let words = trouble.to_string();
            if self.said.as_ref() != Some(&words) {
                tracing::warn!("old records cannot be removed: {words}");
                self.said = Some(words);
            }
        }
        // At most that: a pass over a large topic writes as much again.
        if self.store.changes() != changes {
            self.unchecked += STEP_BYTES as usize;
        }
    }

    fn checkpoint(&mut self) {
        self.unchecked = 0;
        faults::at("before-checkpoint");
        let size = self.store.wal_size();
        let done = match size > LARGE_WAL {
            true => self.store.cut_wal(),
            false => self.store.checkpoint(),
        };
        faults::at("after-checkpoint");
        done.unwrap_or_else(|trouble| tracing::debug!("{trouble}"));
        if size > 16 * LARGE_WAL && !std::mem::replace(&mut self.said_large, true) {
            tracing::warn!(
                "{}-wal has {} MiB: something reads the log for very long, and keeps it from being cut back",
                self.store.path().display(),
                size >> 20
            );
        }
    }
}

impl Job {
    /// About what it writes.
    fn size(&self) -> usize {
        PAGES + self.appends.iter().flat_map(|append| &append.blobs).map(|blob| blob.data.len()).sum::<usize>()
    }
}

/// The first job, and those that wait already; an order of another kind has to wait.
fn gather(
    first: (Job, SyncSender<Answer>),
    orders: &Receiver<Order>,
    waiting: &mut Option<Order>,
) -> Vec<(Job, SyncSender<Answer>)> {
    let mut size = first.0.size();
    let mut group = vec![first];
    while group.len() < MOST_JOBS && size < MOST_BYTES {
        match orders.try_recv() {
            Ok(Order::Write(job, answer)) => {
                size += job.size();
                group.push((job, answer));
            }
            Ok(other) => {
                *waiting = Some(other);
                break;
            }
            Err(_) => break,
        }
    }
    group
}

/// Whether another one has the name of a job's writer.
fn fenced(epochs: &BTreeMap<String, u64>, job: &Job) -> Option<Trouble> {
    let Writer { name, epoch } = job.writer.as_ref()?;
    (epochs.get(name) != Some(epoch)).then(|| Trouble::fenced(format!("another writer has the name {name}")))
}

/// Does one job of a group: what goes wrong with it is its own affair, unless the whole transaction went with it.
fn write(tx: &Connection, job: &Job) -> Result<Answer, Trouble> {
    let say = |words| Ok::<_, Trouble>(tx.prepare_cached(words)?.execute([])?);
    say("SAVEPOINT job")?;
    let done = write_all(tx, job);
    match &done {
        Err(trouble) if tx.is_autocommit() => return Err(trouble.clone()),
        Err(_) => say("ROLLBACK TO job")?,
        Ok(_) => 0,
    };
    say("RELEASE job")?;
    Ok(done)
}

fn write_all(tx: &Connection, job: &Job) -> Answer {
    let mut firsts = Vec::with_capacity(job.appends.len());
    for append in &job.appends {
        let first = rows::append(tx, append.part, &append.blobs)?;
        firsts.push(first.ok_or_else(|| Trouble::passing(format!("topic {} is not there any more", append.topic)))?);
    }
    faults::at("after-inserts");
    job.steps.iter().try_for_each(|step| rows::advance(tx, step))?;
    Ok(firsts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Fault;

    #[test]
    fn a_writing_thread_that_has_ended_is_not_asked_for_ever() {
        let (orders, ended) = (mpsc::sync_channel(1).0, mpsc::channel().1);
        let scribe = Scribe { orders: Some(orders), ended: Mutex::new(ended) };
        let why = scribe.admit("w", || false).unwrap_err();
        assert!(matches!(Fault::from(why), Fault::Fatal(_)));
    }
}
