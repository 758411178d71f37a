//! Ways to say that a record could not be transformed, or a source not be polled.

use crate::{Failure, Later, PollFailure, Reason};
use std::fmt::Display;

impl<E: Display> From<E> for Reason {
    fn from(error: E) -> Self {
        Reason { code: None, message: error.to_string() }
    }
}

/// A reason with a code, which groups failures: `reject(code("unknown-currency", error))`.
pub fn code(code: impl Into<String>, message: impl Display) -> Reason {
    Reason { code: Some(code.into()), message: message.to_string() }
}

/// The record is wrong and always will be.
pub fn reject(reason: impl Into<Reason>) -> Failure {
    Failure::Reject(reason.into())
}

/// It may go through later: the manifest says when it is tried again.
pub fn retry(reason: impl Into<Reason>) -> Failure {
    Failure::Retry(Later { reason: reason.into(), after_ms: None })
}

/// It may go through after that many milliseconds.
pub fn retry_after(after_ms: u64, reason: impl Into<Reason>) -> Failure {
    Failure::Retry(Later { reason: reason.into(), after_ms: Some(after_ms) })
}

/// The stage's own code failed. Counts as a panic does.
pub fn fault(reason: impl Into<Reason>) -> Failure {
    Failure::Fault(reason.into())
}

/// A source's: there may be something later.
pub fn poll_later(reason: impl Into<Reason>) -> PollFailure {
    PollFailure::Retry(Later { reason: reason.into(), after_ms: None })
}

/// A source's: there never will be anything more, and that is not as it should be. The source ends as failed.
pub fn stop(reason: impl Into<Reason>) -> PollFailure {
    PollFailure::Stop(reason.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_error_is_a_reason_without_a_code() {
        let error = "x".parse::<u8>().unwrap_err();
        let message = error.to_string();
        assert_eq!(reject(error), Failure::Reject(Reason { code: None, message }));
    }

    #[test]
    fn a_code_stands_beside_the_words() {
        let reason = Reason { code: Some("late".into()), message: "too late".into() };
        assert_eq!(retry_after(250, code("late", "too late")), Failure::Retry(Later { reason, after_ms: Some(250) }));
    }
}
