//! A worker's connection to an embedded log.

use super::{
    LocalBatch, LocalLog,
    locks::GroupLock,
    reader::Reader,
    scribe::{self, Answer, Job, Scribe},
    writer::Writer,
};
use crate::{
    manifest::Delivery,
    transport::{Assignment, Births, Fault, Link, LinkSettings, NextOffset, Outgoing, Partition, Progress, Taken},
};
use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

/// How long to wait for the writing thread before looking whether the process is to end.
const STEP: Duration = Duration::from_millis(100);

/// A worker's connection to an embedded log.
pub struct LocalLink {
    // In this order: only who may write, and closes the log last, leaves no -wal.
    parts: Option<Parts>,
    log: LocalLog,
    settings: Arc<LinkSettings>,
    /// The group is this process's, as long as one of its workers lives.
    lock: Option<Arc<GroupLock>>,
    /// A commit that has no answer yet.
    begun: Option<Begun>,
}

struct Begun {
    answer: Receiver<Answer>,
    progress: Progress,
}

struct Parts {
    reader: Reader,
    writer: Writer,
    scribe: Arc<Scribe>,
    /// Exactly once, what it writes as.
    admitted: Option<scribe::Writer>,
}

impl LocalLink {
    /// A link that is not connected yet: its first [`Link::recover`] connects it.
    pub fn new(log: LocalLog, settings: LinkSettings) -> LocalLink {
        LocalLink { parts: None, log, settings: Arc::new(settings), lock: None, begun: None }
    }

    fn parts(&mut self) -> Result<&mut Parts, Fault> {
        self.parts.as_mut().ok_or_else(|| Fault::Aborted("the link is not connected".into()))
    }
}

impl Link for LocalLink {
    type Batch = LocalBatch;

    fn take(&mut self, limit: usize, wait: Duration) -> Result<Taken<LocalBatch>, Fault> {
        self.parts()?.reader.take(limit, wait)
    }

    fn rebalance(&mut self) -> Result<Assignment, Fault> {
        let reader = &mut self.parts()?.reader;
        let assignment = reader.start()?;
        reader.say_gone();
        Ok(assignment)
    }

    fn births(&mut self, partitions: &Progress) -> Result<Births, Fault> {
        let reader = &self.parts()?.reader;
        Ok(partitions.iter().filter_map(|(partition, _)| Some((partition, reader.birth(partition)?))).collect())
    }

    fn hold(&mut self, partition: Partition) -> Result<(), Fault> {
        self.parts()?.reader.hold(partition)
    }

    fn release(&mut self, partition: Partition, from: NextOffset) -> Result<(), Fault> {
        self.parts()?.reader.release(partition, from)
    }

    fn begin(&mut self) -> Result<(), Fault> {
        let settings = self.settings.clone();
        let Parts { reader, writer, .. } = self.parts()?;
        if reader.topics_version() != writer.version() {
            writer.refresh(reader.topics(&settings.outputs)?, reader.topics_version());
        }
        writer.begin();
        Ok(())
    }

    fn send(&mut self, record: &Outgoing<'_>, origin: Option<(&LocalBatch, usize)>) -> Result<(), Fault> {
        let headers = origin.map(|(batch, index)| batch.raw_headers(index));
        self.parts()?.writer.send(record, headers.unwrap_or_default())
    }

    fn is_full(&self) -> bool {
        self.parts.as_ref().is_some_and(|parts| parts.writer.is_full())
    }

    fn commit(&mut self, progress: &Progress) -> Result<(), Fault> {
        self.start_commit(progress)?;
        self.finish_commit()
    }

    fn start_commit(&mut self, progress: &Progress) -> Result<(), Fault> {
        // One step of the group goes from where the one before came to.
        self.finish_commit()?;
        let lock = self.lock.clone();
        let Parts { reader, writer, scribe, admitted } = self.parts()?;
        let (appends, steps) = (writer.finish(), reader.steps(progress)?);
        if !appends.is_empty() || !steps.is_empty() {
            let answer = scribe.submit(Job { appends, steps, writer: admitted.clone(), _lock: lock })?;
            self.begun = Some(Begun { answer, progress: progress.clone() });
        }
        Ok(())
    }

    fn finish_commit(&mut self) -> Result<(), Fault> {
        let Some(Begun { answer, progress }) = self.begun.take() else { return Ok(()) };
        let control = self.settings.control.clone();
        let reader = &mut self.parts()?.reader;
        let mut reads_ahead = true;
        loop {
            // While the disk is at work, there is time to read what comes next.
            reads_ahead = reads_ahead && reader.read_ahead();
            match answer.recv_timeout(if reads_ahead { Duration::ZERO } else { STEP }) {
                Ok(answer) => {
                    answer?;
                    return reader.committed(&progress);
                }
                Err(RecvTimeoutError::Timeout) if !control.out_of_patience() => {}
                Err(_) => return Err(Fault::Unknown("there was no answer to the commit".into())),
            }
        }
    }

    fn recover(&mut self) -> Result<Assignment, Fault> {
        (self.parts, self.begun) = (None, None);
        if self.lock.is_none() {
            self.lock = self.log.share(&self.settings.group)?;
        }
        if self.lock.is_none() {
            return Err(Fault::Unavailable(format!(
                "group {} is another process's on this log, and one at a time has it",
                self.settings.group
            )));
        }
        let scribe = self.log.scribe()?;
        // Before anything is read: nobody else under this name adds to it from here on.
        let name = self.settings.shared_writer.as_ref().unwrap_or(&self.settings.name);
        let admitted = match self.settings.delivery {
            Delivery::ExactlyOnce => {
                let control = self.settings.control.clone();
                let admitted = scribe.admit(name, || control.out_of_patience())?;
                Some(admitted.ok_or_else(|| Fault::Unavailable("another process keeps the log to itself".into()))?)
            }
            Delivery::AtLeastOnce => None,
        };
        let mut reader = Reader::open(&self.log, self.settings.clone())?;
        let assignment = reader.start()?;
        reader.say_gone();
        let outputs = reader.topics(&self.settings.outputs)?;
        let writer = Writer::new(&self.settings.outputs, outputs, reader.topics_version(), self.settings.place.0);
        self.parts = Some(Parts { reader, writer, scribe, admitted });
        Ok(assignment)
    }

    fn close(self) {}
}
