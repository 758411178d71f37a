//! How a simulated link commits, and everything that may become of it on the way.

use super::{
    faults::{Event, Moment, Strike},
    link::{SimulatedLink, unconnected},
    writer::State,
};
use crate::transport::{Fault, Progress};
use std::time::Duration;

/// How long the outcome of a commit is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

impl SimulatedLink {
    /// Records, progress and the request to commit, in one transaction.
    pub(super) fn commit_transaction(&mut self, progress: &Progress) -> Result<(), Fault> {
        let simulation = self.simulation.clone();
        let fails = self.fails_at(Moment::Flush, Event::FlushFailed)?;
        let (name, writes_as) = (self.name.clone(), self.writes_as.clone());
        self.writer()?.flush(&writes_as, &mut simulation.world.borrow_mut(), usize::MAX);
        if let Some(fault) = self.writer()?.failed.take() {
            return Err(fault);
        }
        if fails {
            return Err(Fault::Unavailable("a broker took no records".into()));
        }
        if self.writer()?.is_too_large(&simulation.world.borrow()) {
            self.count(Event::TooLarge);
            let timeout = simulation.world.borrow().settings.transaction_timeout;
            simulation.pass(timeout * 8 / 10);
            return Err(Fault::TimedOut("no broker took the records in time".into()));
        }
        if self.fails_at(Moment::Offsets, Event::OffsetsRefused)? {
            return Err(Fault::Aborted("the group is rebalancing".into()));
        }
        let (Some(reader), Some(writer)) = (&self.reader, &mut self.writer) else {
            return Err(unconnected());
        };
        let epoch = writer.epoch;
        if !progress.is_empty() {
            let mut world = simulation.world.borrow_mut();
            reader.accepted(&name, &mut world)?;
            if world.write_offsets((&writes_as, epoch), progress).is_err() {
                return Err(writer.fenced(&mut world));
            }
        }
        let end = self.at(Moment::End)?;
        if !self.await_brokers(PATIENCE) {
            return self.lose(Event::UnknownLost);
        }
        match end {
            Some(Strike::Fail) => return self.lose(Event::UnknownLost),
            Some(Strike::Late) => {
                simulation.world.borrow_mut().end_late((&writes_as, epoch));
                return self.lose(Event::UnknownLate);
            }
            _ => {}
        }
        if simulation.world.borrow_mut().end((&writes_as, epoch), true).is_err() {
            return Err(self.writer()?.fenced(&mut simulation.world.borrow_mut()));
        }
        match self.at(Moment::Answer)? {
            Some(_) => self.lose(Event::UnknownCommitted),
            None => Ok(()),
        }
    }

    /// There is no answer to a commit.
    fn lose(&mut self, event: Event) -> Result<(), Fault> {
        self.count(event);
        self.writer()?.state = State::Doubtful;
        if self.flip() {
            self.simulation.pass(PATIENCE);
        }
        Err(Fault::Unknown("there was no answer to the commit".into()))
    }

    /// Progress after the records, without a transaction.
    pub(super) fn commit_at_least_once(&mut self, progress: &Progress) -> Result<(), Fault> {
        let simulation = self.simulation.clone();
        let name = self.name.clone();
        let most = match self.fails_at(Moment::Flush, Event::FlushFailed)? {
            true => simulation.world.borrow_mut().rng.usize(0..4),
            false => usize::MAX,
        };
        let writer = self.writer()?;
        writer.flush(&name, &mut simulation.world.borrow_mut(), most);
        if let Some(fault) = writer.failed.take() {
            return Err(fault);
        }
        if most < usize::MAX {
            return Err(Fault::Unavailable("a broker took no records".into()));
        }
        if self.fails_at(Moment::Offsets, Event::OffsetsRefused)? {
            return Err(Fault::Aborted("the group is rebalancing".into()));
        }
        let lost = || Fault::Unavailable("there was no answer to the commit".into());
        let end = self.at(Moment::End)?;
        if end.is_some() || !self.await_brokers(PATIENCE) {
            self.count(Event::UnknownLost);
            return Err(lost());
        }
        {
            let world = &mut *simulation.world.borrow_mut();
            self.reader()?.accepted(&name, world)?;
            world.audit.progressed(progress, &world.inputs);
            world.group.committed.extend(progress.iter());
        }
        if self.fails_at(Moment::Answer, Event::UnknownCommitted)? {
            return Err(lost());
        }
        Ok(())
    }
}
