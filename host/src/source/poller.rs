//! The seam to a module that is a source: what is asked of it, whatever it is made of.

use crate::record::{Later, Polled, Reason};

/// A module that is ready to be polled.
pub trait Poller {
    /// Asks for what comes behind this position; none is the beginning. After a [`PollFailed::Fault`] the instance is
    /// gone, and the next call makes a fresh one.
    fn poll(&mut self, position: Option<&[u8]>) -> Result<Polled, PollFailed>;
}

/// Why there is nothing.
#[derive(Clone, Debug)]
pub enum PollFailed {
    /// There may be something later.
    Retry(Later),
    /// There never will be: the source ends.
    Stop(Reason),
    /// The module's own code failed, or hit one of its limits.
    Fault(Reason),
}
