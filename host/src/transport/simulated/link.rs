//! The seam's third side: a link whose cluster is a [`World`](super::world::World), and whose every call may go wrong.

use super::{
    faults::{Event, Moment, Strike},
    log::Data,
    reader::{Change, Reader, SimulatedBatch},
    simulation::Simulation,
    writer::{State, Writer},
};
use crate::manifest::Delivery;
use crate::transport::{Assignment, Fault, Link, NextOffset, Outgoing, Partition, Progress, Taken};
use std::{rc::Rc, time::Duration};

/// How long an answer is waited for before there is none.
const PATIENCE: Duration = Duration::from_secs(10);

/// A worker's connection to a simulated cluster.
pub(super) struct SimulatedLink {
    pub(super) simulation: Rc<Simulation>,
    pub(super) name: String,
    /// The name that it writes under.
    pub(super) writes_as: String,
    shared: bool,
    pub(super) process: usize,
    pub(super) reader: Option<Reader>,
    pub(super) writer: Option<Writer>,
    faulted: bool,
    /// What became of a commit, until somebody asks.
    begun: Option<Result<(), Fault>>,
}

impl SimulatedLink {
    /// A link that is not connected yet: its first recovery connects it.
    pub(super) fn new(simulation: Rc<Simulation>, name: String, process: usize) -> SimulatedLink {
        let shared = simulation.shared_writer();
        SimulatedLink::writing_as(shared, simulation, name, process)
    }

    /// The same, and which name it shares with others, if any, is said.
    pub(super) fn writing_as(
        shared: Option<&str>,
        simulation: Rc<Simulation>,
        name: String,
        process: usize,
    ) -> SimulatedLink {
        let writes_as = shared.map_or_else(|| name.clone(), str::to_owned);
        let shared = shared.is_some();
        let (reader, writer, begun) = (None, None, None);
        SimulatedLink { simulation, name, writes_as, shared, process, reader, writer, faulted: false, begun }
    }

    /// One call of the seam. What is dead does nothing.
    fn call<T>(&mut self, call: &str, work: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        self.alive()?;
        if self.faulted {
            let mut world = self.simulation.world.borrow_mut();
            if world.settings.strict {
                let name = &self.name;
                world.audit.blame(format!("{name} called {call} after a fault"));
            }
        }
        self.simulation.pass(Duration::from_micros(100));
        let result = work(self);
        self.alive()?;
        if let Err(fault) = &result {
            self.faulted = true;
            let mut world = self.simulation.world.borrow_mut();
            world.note(|| format!("{}: {call}: {fault:?}", self.name));
        }
        result
    }

    /// What goes wrong here. Deaths and delays happen here; the rest is the caller's to make something of.
    pub(super) fn at(&mut self, moment: Moment) -> Result<Option<Strike>, Fault> {
        let strike = {
            let mut world = self.simulation.world.borrow_mut();
            let strike = world.strike(&self.name, moment);
            if let Some(strike) = strike {
                world.note(|| format!("{}: {strike:?} at {moment:?}", self.name));
                match strike {
                    Strike::Kill => world.count(Event::Killed),
                    Strike::KillHost => world.count(Event::HostKilled),
                    Strike::Stall(_) => world.count(Event::Stalled),
                    Strike::Meanwhile => world.count(Event::Meanwhile),
                    Strike::Fail | Strike::Late => {}
                }
            }
            match strike {
                Some(Strike::Kill) => world.kill(self.process),
                Some(Strike::KillHost) => {
                    let host = world.processes[self.process].host;
                    for process in 0..world.processes.len() {
                        if world.processes[process].host == host {
                            world.kill(process);
                        }
                    }
                }
                _ => {}
            }
            strike
        };
        match strike {
            Some(Strike::Stall(time)) => self.simulation.stall(self.process, time),
            Some(Strike::Meanwhile) => self.simulation.meanwhile(),
            _ => {}
        }
        self.alive()?;
        Ok(strike.filter(|strike| matches!(strike, Strike::Fail | Strike::Late)))
    }

    pub(super) fn fails_at(&mut self, moment: Moment, event: Event) -> Result<bool, Fault> {
        let fails = self.at(moment)?.is_some();
        if fails {
            self.count(event);
        }
        Ok(fails)
    }

    fn alive(&self) -> Result<(), Fault> {
        match self.simulation.world.borrow().processes[self.process].alive {
            true => Ok(()),
            false => Err(Fault::Fatal("killed".into())),
        }
    }

    pub(super) fn count(&self, event: Event) {
        self.simulation.world.borrow_mut().count(event);
    }

    /// True when the last commit has failed, and nobody was told: nothing that is sent now leaves the client.
    fn fails_later(&self) -> bool {
        self.begun.as_ref().is_some_and(Result::is_err)
    }

    fn end(&mut self, progress: &Progress) -> Result<(), Fault> {
        match self.delivery() {
            Delivery::ExactlyOnce => self.commit_transaction(progress)?,
            Delivery::AtLeastOnce => self.commit_at_least_once(progress)?,
        }
        self.writer()?.state = State::Closed;
        Ok(())
    }

    fn delivery(&self) -> Delivery {
        self.simulation.world.borrow().settings.delivery
    }

    pub(super) fn flip(&self) -> bool {
        self.simulation.world.borrow_mut().rng.bool()
    }

    pub(super) fn reader(&mut self) -> Result<&mut Reader, Fault> {
        self.reader.as_mut().ok_or_else(unconnected)
    }

    pub(super) fn writer(&mut self) -> Result<&mut Writer, Fault> {
        self.writer.as_mut().ok_or_else(unconnected)
    }

    /// Waits, at most so long, until the brokers answer; whether they do then.
    pub(super) fn await_brokers(&self, patience: Duration) -> bool {
        let away = self.simulation.world.borrow().away;
        let left = away.saturating_sub(self.simulation.now());
        self.simulation.pass(left.min(patience));
        self.simulation.now() >= away
    }

    /// Begins to take from the partitions that were given, at what the group has committed.
    fn start(&mut self) -> Result<Assignment, Fault> {
        let simulation = self.simulation.clone();
        let name = self.name.clone();
        let reader = self.reader()?;
        reader.started = false;
        if reader.change(&name, &mut simulation.world.borrow_mut())? != Change::None || reader.given.is_empty() {
            return Ok(Assignment::default());
        }
        let failed = self.fails_at(Moment::Starts, Event::StartsFailed)?;
        if failed || !self.await_brokers(PATIENCE) {
            return Err(Fault::Unavailable("the group does not answer".into()));
        }
        let given = self.reader()?.given.clone();
        let since = simulation.now();
        while simulation.world.borrow().unstable(&given) {
            self.count(Event::Unstable);
            if simulation.now() - since > PATIENCE {
                return Err(Fault::Unavailable("the group's offsets are open".into()));
            }
            simulation.pass(Duration::from_millis(100));
        }
        let mut assignment = Assignment::default();
        for partition in given {
            let (start, chosen) = simulation.world.borrow().start_of(partition)?;
            assignment.starts.reach(partition, start);
            if chosen {
                assignment.chosen.reach(partition, start);
            }
        }
        self.reader()?.start(&assignment.starts);
        Ok(assignment)
    }

    fn settle(&mut self, writer: &Writer) -> Result<(), Fault> {
        if writer.state == State::Open
            && self.delivery() == Delivery::ExactlyOnce
            && !self.fails_at(Moment::Settle, Event::AbortLost)?
            && self.await_brokers(PATIENCE)
        {
            let mut world = self.simulation.world.borrow_mut();
            world.end((&self.writes_as, writer.epoch), false).ok();
        }
        Ok(())
    }

    /// A new writer is let in, and whatever the one before left open is settled.
    fn open_writer(&mut self) -> Result<(), Fault> {
        let mut epoch = 0;
        if self.delivery() == Delivery::ExactlyOnce {
            let failed = self.fails_at(Moment::Init, Event::InitFailed)?;
            if failed || !self.await_brokers(PATIENCE) {
                return Err(Fault::Unavailable("the transaction coordinator does not answer".into()));
            }
            epoch = self.simulation.world.borrow_mut().init_writer(&self.writes_as);
        }
        self.writer = Some(Writer::new(epoch));
        Ok(())
    }

    /// Becomes the writer that all share the name of, if the group gave this one the input, and only then reads.
    fn take_over(&mut self) -> Result<Assignment, Fault> {
        if let Some(writer) = self.writer.take() {
            self.settle(&writer)?;
        }
        let (simulation, name) = (self.simulation.clone(), self.name.clone());
        let reader = self.reader()?;
        let stays = reader.change(&name, &mut simulation.world.borrow_mut())? == Change::None;
        if stays && !reader.given.is_empty() && !simulation.fences_late() {
            self.open_writer()?;
        }
        self.start()
    }
}

impl Link for SimulatedLink {
    type Batch = SimulatedBatch;

    fn take(&mut self, limit: usize, wait: Duration) -> Result<Taken<SimulatedBatch>, Fault> {
        self.call("take", |link| {
            if link.fails_at(Moment::Take, Event::TakeFailed)? {
                return Err(match link.flip() {
                    true => Fault::Aborted("a record came unasked".into()),
                    false => Fault::Unavailable("the group does not answer".into()),
                });
            }
            let simulation = link.simulation.clone();
            let name = link.name.clone();
            let reader = link.reader()?;
            let batch = {
                let mut world = simulation.world.borrow_mut();
                let world = &mut *world;
                if reader.change(&name, world)? != Change::None {
                    return Ok(Taken::Rebalance);
                }
                reader.check_positions(world)?;
                match limit > 0 && reader.started && world.away <= world.now() {
                    true => reader.fetch(world, limit),
                    false => None,
                }
            };
            Ok(match batch {
                Some(batch) => Taken::Records(batch),
                None => {
                    simulation.pass(wait);
                    Taken::Nothing
                }
            })
        })
    }

    fn rebalance(&mut self) -> Result<Assignment, Fault> {
        self.call("rebalance", |link| {
            if link.fails_at(Moment::Rebalance, Event::RebalanceFailed)? {
                return Err(Fault::Aborted("the assignment failed".into()));
            }
            let simulation = link.simulation.clone();
            let (name, process) = (link.name.clone(), link.process);
            link.reader()?.follow(&name, process, &mut simulation.world.borrow_mut())?;
            match link.shared {
                true => link.take_over(),
                false => link.start(),
            }
        })
    }

    fn hold(&mut self, partition: Partition) -> Result<(), Fault> {
        self.call("hold", |link| {
            if link.fails_at(Moment::Hold, Event::HoldFailed)? {
                return Err(Fault::Aborted("the partition could not be held".into()));
            }
            link.count(Event::Held);
            link.reader()?.hold(partition)
        })
    }

    fn release(&mut self, partition: Partition, from: NextOffset) -> Result<(), Fault> {
        self.call("release", |link| {
            if link.fails_at(Moment::Release, Event::ReleaseFailed)? {
                return Err(Fault::Aborted("the partition could not be moved".into()));
            }
            link.count(Event::Released);
            link.reader()?.release(partition, from)
        })
    }

    fn begin(&mut self) -> Result<(), Fault> {
        self.call("begin", |link| {
            if link.fails_at(Moment::Begin, Event::BeginFailed)? {
                return Err(Fault::Aborted("no transaction could be opened".into()));
            }
            if link.fails_later() {
                return Ok(());
            }
            if link.writer.is_none() && link.simulation.fences_late() {
                link.open_writer()?;
            }
            let now = link.simulation.now();
            link.writer()?.begin(now);
            Ok(())
        })
    }

    fn send(&mut self, record: &Outgoing<'_>, origin: Option<(&SimulatedBatch, usize)>) -> Result<(), Fault> {
        self.call("send", |link| {
            if link.fails_later() {
                return Ok(());
            }
            let fails = link.fails_at(Moment::Send, Event::SendFailed)?;
            let (at_once, now) = (link.flip(), link.flip());
            let simulation = link.simulation.clone();
            let name = link.writes_as.clone();
            let writer = link.writer()?;
            if fails {
                // Some failures come to light at once, others with the commit.
                let fault = Fault::Aborted("a record was not delivered".into());
                match at_once {
                    true => return Err(fault),
                    false => drop(writer.failed.get_or_insert(fault)),
                }
            }
            let mut world = simulation.world.borrow_mut();
            writer.accept(record, origin.map(|(batch, index)| &**batch.data(index)), &mut world, at_once)?;
            if now {
                writer.flush(&name, &mut world, usize::MAX);
            }
            Ok(())
        })
    }

    fn is_waiting(&mut self) -> bool {
        self.begun.is_some() && self.flip()
    }

    fn commit(&mut self, progress: &Progress) -> Result<(), Fault> {
        self.call("commit", |link| link.end(progress))
    }

    fn start_commit(&mut self, progress: &Progress) -> Result<(), Fault> {
        if !self.simulation.world.borrow().settings.tells_late {
            return self.commit(progress);
        }
        self.call("start_commit", |link| {
            if link.begun.is_some() {
                let blame = format!("{} began a commit before it knew of the one before", link.name);
                link.simulation.world.borrow_mut().audit.blame(blame);
            }
            link.begun = Some(link.end(progress));
            Ok(())
        })
    }

    fn finish_commit(&mut self) -> Result<(), Fault> {
        let Some(outcome) = self.begun.take() else { return Ok(()) };
        self.alive()?;
        if let Err(fault) = &outcome {
            self.faulted = true;
            self.count(Event::ToldLate);
            self.simulation.world.borrow_mut().note(|| format!("{}: finish_commit: {fault:?}", self.name));
        }
        outcome
    }

    fn recover(&mut self) -> Result<Assignment, Fault> {
        (self.faulted, self.begun) = (false, None);
        self.call("recover", |link| {
            if let Some(writer) = link.writer.take() {
                link.settle(&writer)?;
            }
            let simulation = link.simulation.clone();
            if link.reader.is_none() {
                let mut world = simulation.world.borrow_mut();
                let reader = Reader::open(&link.name, link.process, &mut world);
                link.reader = Some(reader);
            }
            if link.shared {
                return link.take_over();
            }
            link.open_writer()?;
            link.start()
        })
    }

    fn close(self) {}
}

pub(super) fn unconnected() -> Fault {
    Fault::Aborted("the link is not connected".into())
}

impl SimulatedBatch {
    fn data(&self, index: usize) -> &Rc<Data> {
        &self.records[index].2
    }
}
