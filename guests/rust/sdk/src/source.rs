//! The macro that makes a source of a function, and what that function gives back.

use crate::{Batch, PollFailure, Record, logging::say_panics, record::Bytes};

/// Makes a source of a function or closure that takes the position and gives a [`Batch`]: the records behind the
/// position, and the position behind those records. The host keeps that position, in one transaction with the records.
///
/// ```
/// use millstream::{Batch, Bytes, PollFailure, record};
///
/// millstream::source!(hours);
///
/// fn hours(position: Bytes) -> Result<Batch, PollFailure> {
///     let hour = position.map_or(0, |bytes| bytes.first().map_or(0, |hour| hour + 1));
///     if hour > 23 {
///         // It was done, and is asked again: the host was started anew.
///         return Ok(Batch::empty().done(true));
///     }
///     Ok(Batch::of([record(None, hour.to_string())]).at(vec![hour]).done(hour == 23))
/// }
/// # assert!(hours(Some(vec![22])).is_ok_and(|batch| batch.done && batch.position == Some(vec![23])));
/// # assert!(hours(Some(vec![23])).is_ok_and(|batch| batch == Batch::empty().done(true)));
/// ```
#[macro_export]
macro_rules! source {
    ($function:expr) => {
        const _: () = {
            struct Exported;
            impl $crate::macros::source::exports::millstream::stage::poller::Guest for Exported {
                fn poll(position: $crate::Bytes) -> ::std::result::Result<$crate::Batch, $crate::PollFailure> {
                    $crate::macros::poll($function, position)
                }
            }
    $crate::macros::source::export_source!(Exported with_types_in $crate::macros::source);
        };
    };
}

/// What `source!` calls.
pub fn poll(function: impl Fn(Bytes) -> Result<Batch, PollFailure>, position: Bytes) -> Result<Batch, PollFailure> {
    say_panics();
    function(position)
}

impl Batch {
    /// Records, with the position unchanged and more to come.
    pub fn of(records: impl IntoIterator<Item = Record>) -> Self {
        Batch { records: records.into_iter().collect(), position: None, done: false }
    }

    /// Nothing new.
    pub fn empty() -> Self {
        Batch::of([])
    }

    /// The position behind the records: the next poll gets it.
    pub fn at(mut self, position: impl Into<Vec<u8>>) -> Self {
        self.position = Some(position.into());
        self
    }

    /// Whether nothing more will ever come. The host does not keep this: after a restart, a handover or a fault it polls
    /// from the last position again, and whoever is done says so again.
    pub fn done(mut self, done: bool) -> Self {
        self.done = done;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record;

    #[test]
    fn a_batch_leaves_the_position_and_the_end_to_be_said() {
        let plain = Batch::of([record("k", "v")]);
        assert_eq!(plain, Batch { records: vec![record("k", "v")], position: None, done: false });
        let last = Batch::empty().at("7").done(true);
        assert_eq!(last, Batch { records: vec![], position: Some(b"7".to_vec()), done: true });
    }
}
