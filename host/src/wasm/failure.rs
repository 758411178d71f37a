//! From the way a call ended to what a record's fate, or a poll's, is told.

use super::limits::{Exceeded, Limits};
use crate::{record::Reason, source::poller::PollFailed, stage::guest::Failed};
use wasmtime::Trap;
use wasmtime_wasi::I32Exit;

/// What wasmtime says when a guest hands over more than it may. Its error has no type of its own to ask for.
const TOO_MUCH: &str = "fuel allocated for hostcalls has been exhausted";

/// The longest message that is made here.
const MESSAGE_BYTES: usize = 1024;

/// What an instance did that is of no use any more.
pub(super) enum Spoilt {
    /// Its own code failed.
    Fault(Reason),
    /// It hit one of its limits.
    Limit(Reason),
}

impl From<Exceeded> for Spoilt {
    fn from(exceeded: Exceeded) -> Self {
        Spoilt::Limit(Reason { code: Some(exceeded.code().into()), message: exceeded.to_string() })
    }
}

impl From<Spoilt> for Failed {
    fn from(spoilt: Spoilt) -> Self {
        match spoilt {
            Spoilt::Fault(reason) => Failed::Fault(reason),
            Spoilt::Limit(reason) => Failed::Limit(reason),
        }
    }
}

impl From<Spoilt> for PollFailed {
    fn from((Spoilt::Fault(reason) | Spoilt::Limit(reason)): Spoilt) -> Self {
        PollFailed::Fault(reason)
    }
}

/// Why a call was ended by the engine. `last_words` is the error that the guest wrote to its log just before.
pub(super) fn failed(error: &wasmtime::Error, limits: &Limits, last_words: Option<&str>) -> Spoilt {
    if let Some(exceeded) = exceeded(error, limits) {
        return exceeded.into();
    }
    let (code, end) = match error.downcast_ref::<I32Exit>() {
        Some(I32Exit(status)) => ("exit", format!("ended itself with exit code {status}")),
        None => ("trap", one_line(error)),
    };
    let message = match last_words {
        Some(words) => format!("{} ({end})", clean(words)),
        None => end,
    };
    Spoilt::Fault(Reason { code: Some(code.into()), message })
}

fn exceeded(error: &wasmtime::Error, limits: &Limits) -> Option<Exceeded> {
    if let Some(exceeded) = error.downcast_ref::<Exceeded>() {
        Some(*exceeded)
    } else if let Some(Trap::StackOverflow) = error.downcast_ref::<Trap>() {
        Some(Exceeded::Stack)
    } else if error.root_cause().to_string().contains(TOO_MUCH) {
        Some(Exceeded::Transfer { outputs: limits.outputs, bytes: limits.output_bytes })
    } else {
        None
    }
}

/// An engine's error without its trace.
pub(super) fn one_line(error: &wasmtime::Error) -> String {
    clean(&error.root_cause().to_string())
}

/// Words of a guest or a library as one line of bounded length.
pub(super) fn clean(words: &str) -> String {
    let mut line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    line.retain(|c| !c.is_control());
    line.truncate(line.floor_char_boundary(MESSAGE_BYTES));
    line
}
