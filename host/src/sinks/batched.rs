//! A guest that collects records, and hands them over together when it is settled.

use crate::{
    record::Record,
    stage::guest::{Failed, Guest, InHand, Returned},
    transport::{Batch, Fault},
};
use std::{cell::RefCell, rc::Rc};

/// Where records go in batches.
pub trait Target {
    /// Takes a record into the batch; false when there is nothing to be done for it. A record that is seen to be wrong
    /// is refused at once.
    fn take(&mut self, record: &InHand<'_>) -> Result<bool, Failed>;
    /// Hands the batch over. What comes back are the places of those in it that are wrong, in their order: all others
    /// are in.
    fn put(&mut self) -> Result<Vec<(usize, Failed)>, Fault>;
    /// Forgets the batch, and whatever was handed over and is not yet there for good.
    fn withdraw(&mut self);
    /// True when the batch is as large as it may be.
    fn is_full(&self) -> bool;
}

/// A sink's guest.
pub struct Batched<T> {
    target: Rc<RefCell<T>>,
    /// The records of the batch.
    taken: Vec<(Rc<dyn Batch>, usize, u32)>,
}

impl<T: Target> Batched<T> {
    /// A guest that hands its records over there.
    pub fn new(target: Rc<RefCell<T>>) -> Batched<T> {
        Batched { target, taken: Vec::new() }
    }
}

impl<T: Target> Guest for Batched<T> {
    fn transform(&mut self, record: InHand<'_>) -> Result<Vec<Record>, Failed> {
        if self.target.borrow_mut().take(&record)? {
            self.taken.push((record.batch, record.index, record.attempt));
        }
        Ok(Vec::new())
    }

    fn settle(&mut self) -> Result<Vec<Returned>, Fault> {
        let wrong = self.target.borrow_mut().put()?;
        let returned = wrong.into_iter().map(|(place, failed)| {
            let (batch, index, attempt) = &self.taken[place];
            Returned { batch: batch.clone(), index: *index, attempt: *attempt, failed }
        });
        let returned = returned.collect();
        self.taken.clear();
        Ok(returned)
    }

    fn is_full(&self) -> bool {
        self.target.borrow().is_full()
    }

    fn withdraw(&mut self) {
        self.taken.clear();
        self.target.borrow_mut().withdraw();
    }
}
