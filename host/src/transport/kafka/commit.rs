//! The end of a transaction, on a thread of its own: while the library waits for the cluster, the worker goes on.

use super::{
    raw::{self, Answer, End},
    writer::Reports,
};
use crate::{
    transport::Fault,
    worker::control::{Control, GRACE},
};
use rdkafka::{
    consumer::ConsumerGroupMetadata,
    error::KafkaError,
    producer::{BaseProducer, Producer},
    topic_partition_list::TopicPartitionList,
};
use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// A step of a call whose outcome is waited for: between two steps failed deliveries are served.
pub(super) const STEP: Duration = Duration::from_millis(100);
/// How long the group's coordinator may take for a transaction's progress: the library aborts the transaction when it
/// takes longer.
const PROGRESS: Duration = Duration::from_secs(5);
/// How long an outcome is waited for before it counts as unknown.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a commit is not known to be done.
pub(super) enum Undone {
    /// What the library answered.
    Answered(Answer),
    /// The group did not take the progress.
    Group(Fault),
    /// There was no answer in time.
    Silence,
}

/// A commit that has begun. Dropped, it is waited for all the same: its group must not be left before it is done.
pub(super) struct Commit(Option<JoinHandle<(Result<(), Undone>, Instant)>>);

impl Commit {
    /// Begins it.
    pub(super) fn start(
        ending: Ending,
        end: impl FnOnce(&Ending) -> Result<(), Undone> + Send + 'static,
    ) -> io::Result<Commit> {
        let work = move || {
            let health = ending.producer.context().health();
            (health.watch_over(|| end(&ending)), Instant::now())
        };
        Ok(Commit(Some(thread::Builder::new().name("commit".into()).spawn(work)?)))
    }

    /// True when its outcome can be had without waiting.
    pub(super) fn is_known(&self) -> bool {
        self.0.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for its outcome; and when there was one.
    pub(super) fn outcome(mut self) -> (Result<(), Undone>, Instant) {
        let told = self.0.take().and_then(|thread| thread.join().ok());
        // A thread that panicked has told nobody what it came to.
        told.unwrap_or_else(|| (Err(Undone::Silence), Instant::now()))
    }
}

impl Drop for Commit {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            thread.join().ok();
        }
    }
}

/// What a commit does its work with.
pub(super) struct Ending {
    pub(super) producer: Arc<BaseProducer<Reports>>,
    pub(super) control: Arc<Control>,
}

impl Ending {
    /// Progress and commit, in the transaction.
    pub(super) fn commit(&self, offsets: &TopicPartitionList, group: &ConsumerGroupMetadata) -> Result<(), Undone> {
        if offsets.count() > 0 {
            // At an orderly end there is less time.
            let left = self.control.stopped_at().map_or(PROGRESS, |since| GRACE.saturating_sub(since.elapsed()));
            let patience = left.clamp(STEP, PROGRESS);
            self.until_known(|producer| match producer.send_offsets_to_transaction(offsets, group, patience) {
                Ok(()) => Answer::Done,
                Err(KafkaError::Transaction(error)) => raw::answer(&error),
                Err(error) => Answer::Fatal(error.to_string()),
            })?;
        }
        self.until_known(|producer| raw::end_transaction(producer, End::Commit, STEP))
    }

    /// Waits until everything sent is acknowledged, outside of transactions.
    pub(super) fn flush(&self) -> Result<(), Undone> {
        self.until_known(|producer| {
            let done = raw::flush(producer, STEP);
            raw::serve(producer);
            match (producer.context().has_failed(), done) {
                (true, _) => Answer::Abort("a record was not delivered".into()),
                (false, true) => Answer::Done,
                (false, false) => Answer::Pending,
            }
        })
    }

    /// Calls until the outcome is known, serving the client's events between two calls: it waits for them itself.
    fn until_known(&self, call: impl Fn(&BaseProducer<Reports>) -> Answer) -> Result<(), Undone> {
        let since = Instant::now();
        loop {
            let answer = call(&self.producer);
            raw::serve(&self.producer);
            match answer {
                Answer::Done => return Ok(()),
                Answer::Pending if since.elapsed() > PATIENCE || self.control.out_of_patience() => {
                    return Err(Undone::Silence);
                }
                Answer::Pending => {}
                other => return Err(Undone::Answered(other)),
            }
        }
    }
}
