//! The seam to a module: what a stage asks of it, whatever it is made of.

use super::words;
use crate::{
    manifest::{OnError, Policy},
    record::{Later, Reason, Record},
    transport::{Batch, Fault, Incoming},
};
use std::{fmt, rc::Rc};

/// A record in the hands of a guest.
pub struct InHand<'a> {
    /// The record.
    pub record: Incoming<'a>,
    /// The batch that it lies in, and where: its headers are read from there when the guest asks.
    pub batch: Rc<dyn Batch>,
    /// Its place in the batch.
    pub index: usize,
    /// 1 at first, more when it is tried again.
    pub attempt: u32,
}

/// A record that its guest took, and that failed when the guest was settled.
pub struct Returned {
    /// The batch that it lies in.
    pub batch: Rc<dyn Batch>,
    /// Its place in the batch.
    pub index: usize,
    /// Which attempt it was.
    pub attempt: u32,
    /// How many records the guest took behind it.
    pub behind: u64,
    /// Why it failed. It is not tried again.
    pub failed: Failed,
}

/// A module that is ready to take records.
pub trait Guest {
    /// Hands it one record. After a [`Failed::Fault`] or [`Failed::Limit`] the instance is gone, and the next call
    /// makes a fresh one.
    fn transform(&mut self, record: InHand<'_>) -> Result<Vec<Record>, Failed>;

    /// Finds what it works with, before there is a record. It is asked again and again, and has done it once.
    fn prepare(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    /// Makes sure of what it did elsewhere for the records so far: when it says so, their progress is committed. Those
    /// that fail only now, it gives back.
    fn settle(&mut self) -> Result<Vec<Returned>, Fault> {
        Ok(Vec::new())
    }

    /// True when it holds back so much that it is to be settled.
    fn is_full(&self) -> bool {
        false
    }

    /// The records since the last progress that was committed come again: what it still holds back of them is void.
    fn withdraw(&mut self) {}
}

/// Why a record could not be transformed.
#[derive(Clone, Debug)]
pub enum Failed {
    /// The record is wrong and always will be.
    Reject(Reason),
    /// It may go through later.
    Retry(Later),
    /// The stage's own code failed: it said so, or it trapped.
    Fault(Reason),
    /// It hit one of its limits.
    Limit(Reason),
    /// The record is not what its schema says: the module never saw it.
    Decode(Reason),
    /// What the module made of it is not what the schema of its topic says.
    Encode(Reason),
}

impl Failed {
    /// What kind of failure it is, in one word.
    pub fn kind(&self) -> &'static str {
        match self {
            Failed::Reject(_) => "reject",
            Failed::Retry(_) => "retry",
            Failed::Fault(_) => "fault",
            Failed::Limit(_) => "limit",
            Failed::Decode(_) => "decode",
            Failed::Encode(_) => "encode",
        }
    }

    /// What becomes of its record for good.
    pub(crate) fn policy(&self, on_error: &OnError) -> Policy {
        match self {
            Failed::Reject(_) => on_error.reject,
            Failed::Retry(_) => on_error.retry_then,
            Failed::Fault(_) => on_error.fault,
            Failed::Limit(_) => on_error.limit,
            Failed::Decode(_) => on_error.decode,
            Failed::Encode(_) => on_error.encode,
        }
    }

    /// Why, as the guest or the host has it.
    pub fn reason(&self) -> &Reason {
        match self {
            Failed::Retry(later) => &later.reason,
            Failed::Reject(reason)
            | Failed::Fault(reason)
            | Failed::Limit(reason)
            | Failed::Decode(reason)
            | Failed::Encode(reason) => reason,
        }
    }
}

/// `reject unknown-currency: there is no XYZ`.
impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {}", self.kind(), words(self.reason()))
    }
}
