//! Exactly once into a database that keeps, in the transaction of the rows, how far the sink is.
//!
//! What stands there counts, and the group's offsets in the log follow it: they are committed afterwards, for lag and for
//! whoever looks from outside. A step is compared and set, so one who goes on from what is not true any more (a member
//! that lost the partition and does not know it, a host that was taken for dead) changes nothing.

use crate::transport::{Assignment, Births, Fault, Link, NextOffset, Outgoing, Partition, Progress, Taken};
use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

/// A step of a sink in one partition: from where it was to where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The partition.
    pub partition: Partition,
    /// What must stand there.
    pub from: NextOffset,
    /// What stands there afterwards.
    pub to: NextOffset,
}

/// A database that keeps how far a sink is.
pub trait Ledger {
    /// Connects, where it is not connected.
    fn connect(&mut self) -> Result<(), Fault>;
    /// How far the sink is in these partitions. Where that is not known yet, or of a partition of another birth, it is here
    /// from now on. Whoever is about to take a step there is waited for: afterwards what is found cannot be changed by what
    /// began before.
    fn claim(&mut self, starts: &Progress, births: &Births) -> Result<Progress, Fault>;
    /// Ends the transaction that what was put is in, and takes these steps in it.
    fn commit(&mut self, steps: &[Step]) -> Result<(), Fault>;
}

/// What is done wrong with a ledger, as somebody could have written it.
#[cfg(any(test, feature = "mutants"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The rows and the step are two transactions.
    StepsOutside,
    /// It begins where the group is, and tells the database so.
    TrustsTheGroup,
    /// Dead letters are written after the step.
    LettersLast,
}

#[cfg(any(test, feature = "mutants"))]
impl Mutant {
    /// Every mutant.
    pub const ALL: [Mutant; 3] = [Mutant::StepsOutside, Mutant::TrustsTheGroup, Mutant::LettersLast];

    /// The one of this name.
    pub fn named(name: &str) -> Option<Mutant> {
        Mutant::ALL.into_iter().find(|mutant| format!("{mutant:?}") == name)
    }
}

/// A link to a log whose progress a ledger keeps.
pub struct LedgerLink<L, K> {
    link: L,
    ledger: Rc<RefCell<K>>,
    /// What the ledger has.
    at: Progress,
    /// Something was sent in the open transaction: dead letters.
    has_sent: bool,
    /// The group's offsets could not be committed. The ledger has the step, so it is done; this is for the next call.
    late: Option<Fault>,
    #[cfg(any(test, feature = "mutants"))]
    mutant: Option<(Mutant, Duration)>,
}

impl<L: Link, K: Ledger> LedgerLink<L, K> {
    /// Goes by this ledger.
    pub fn new(link: L, ledger: Rc<RefCell<K>>) -> LedgerLink<L, K> {
        LedgerLink {
            link,
            ledger,
            at: Progress::default(),
            has_sent: false,
            late: None,
            #[cfg(any(test, feature = "mutants"))]
            mutant: None,
        }
    }

    /// Does one thing wrong, and stands still for so long where it does.
    #[cfg(any(test, feature = "mutants"))]
    pub fn broken(self, mutant: Option<Mutant>, pause: Duration) -> LedgerLink<L, K> {
        LedgerLink { mutant: mutant.map(|mutant| (mutant, pause)), ..self }
    }

    fn heard(&mut self) -> Result<(), Fault> {
        self.late.take().map_or(Ok(()), Err)
    }

    /// Begins where the ledger is. Where the group is elsewhere, it is told, and so the log's own rules for offsets that are
    /// gone hold for those of the ledger too.
    fn follow(&mut self, assignment: Assignment) -> Result<Assignment, Fault> {
        self.at = Progress::default();
        if assignment.starts.is_empty() {
            return Ok(assignment);
        }
        let births = self.link.births(&assignment.starts)?;
        self.at = self.ledger.borrow_mut().claim(&assignment.starts, &births)?;
        #[cfg(any(test, feature = "mutants"))]
        if let Some((Mutant::TrustsTheGroup, _)) = self.mutant {
            return Ok(assignment);
        }
        let known = self.at.iter();
        let behind: Progress = known.filter(|(p, next)| assignment.starts.get(*p) != Some(*next)).collect();
        if behind.is_empty() {
            return Ok(assignment);
        }
        self.link.begin()?;
        self.link.commit(&behind)?;
        let mut assignment = self.link.rebalance()?;
        // Partitions may have come and gone with it.
        if assignment.starts.iter().any(|(partition, _)| self.at.get(partition).is_none()) {
            return Err(Fault::Aborted("the partitions changed while they were looked at".into()));
        }
        // One that was lost, and for which the manifest says where to go on: soon, so that it is not chosen anew.
        for (partition, start) in assignment.starts.clone().iter() {
            if self.at.get(partition) != Some(start) {
                assignment.chosen.reach(partition, start);
            }
        }
        Ok(assignment)
    }

    fn steps(&self, progress: &Progress) -> Result<Vec<Step>, Fault> {
        let step = |(partition, to)| {
            let from = self.at.get(partition);
            let from = from.ok_or_else(|| Fault::Aborted("the partition is not read any more".into()))?;
            Ok(Step { partition, from, to })
        };
        progress.iter().map(step).collect()
    }

    /// The end of the transaction, in this order. Dead letters are there for good before the records that they are of are
    /// done, and come twice when it ends in between; the rows and the step are one; the group's offsets follow.
    fn end(&mut self, progress: &Progress) -> Result<(), Fault> {
        let steps = self.steps(progress)?;
        #[cfg(any(test, feature = "mutants"))]
        if self.mutant.is_some() {
            return self.end_wrong(progress, &steps);
        }
        if std::mem::take(&mut self.has_sent) {
            self.link.commit(&Progress::default())?;
            self.link.begin()?;
        }
        self.ledger.borrow_mut().commit(&steps)?;
        self.at.replace(progress);
        Ok(())
    }

    #[cfg(any(test, feature = "mutants"))]
    fn end_wrong(&mut self, progress: &Progress, steps: &[Step]) -> Result<(), Fault> {
        let (mutant, pause) = self.mutant.expect("it does something wrong");
        if mutant != Mutant::LettersLast && std::mem::take(&mut self.has_sent) {
            self.link.commit(&Progress::default())?;
            self.link.begin()?;
        }
        if mutant == Mutant::StepsOutside {
            self.ledger.borrow_mut().commit(&[])?;
            std::thread::sleep(pause);
        }
        self.ledger.borrow_mut().commit(steps)?;
        self.at.replace(progress);
        std::thread::sleep(pause);
        Ok(())
    }
}

impl<L: Link, K: Ledger> Link for LedgerLink<L, K> {
    type Batch = L::Batch;

    fn take(&mut self, limit: usize, wait: Duration) -> Result<Taken<Self::Batch>, Fault> {
        self.heard()?;
        self.link.take(limit, wait)
    }

    fn rebalance(&mut self) -> Result<Assignment, Fault> {
        self.heard()?;
        let assignment = self.link.rebalance()?;
        self.follow(assignment)
    }

    fn births(&mut self, partitions: &Progress) -> Result<Births, Fault> {
        self.link.births(partitions)
    }

    fn hold(&mut self, partition: Partition) -> Result<(), Fault> {
        self.heard()?;
        self.link.hold(partition)
    }

    fn release(&mut self, partition: Partition, from: NextOffset) -> Result<(), Fault> {
        self.heard()?;
        self.link.release(partition, from)
    }

    fn begin(&mut self) -> Result<(), Fault> {
        self.heard()?;
        self.has_sent = false;
        self.link.begin()
    }

    fn send(&mut self, record: &Outgoing<'_>, origin: Option<(&Self::Batch, usize)>) -> Result<(), Fault> {
        self.heard()?;
        self.has_sent = true;
        self.link.send(record, origin)
    }

    fn is_waiting(&mut self) -> bool {
        self.link.is_waiting()
    }

    fn is_full(&self) -> bool {
        self.link.is_full()
    }

    fn commit(&mut self, progress: &Progress) -> Result<(), Fault> {
        self.start_commit(progress)?;
        self.finish_commit()
    }

    fn start_commit(&mut self, progress: &Progress) -> Result<(), Fault> {
        self.heard()?;
        self.end(progress)?;
        self.late = self.link.start_commit(progress).err();
        Ok(())
    }

    fn finish_commit(&mut self) -> Result<(), Fault> {
        if self.late.is_none() {
            self.late = self.link.finish_commit().err();
        }
        Ok(())
    }

    fn committed_at(&self) -> Option<Instant> {
        self.link.committed_at()
    }

    fn recover(&mut self) -> Result<Assignment, Fault> {
        (self.late, self.has_sent) = (None, false);
        // Whoever has no use for records takes none from the others of its group.
        self.ledger.borrow_mut().connect()?;
        let assignment = self.link.recover()?;
        self.follow(assignment)
    }

    fn close(self) {
        self.link.close();
    }
}
