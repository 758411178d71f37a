//! What a case expects beside what came.

use super::{
    bench::{Bench, Came},
    cases::Case,
    form::{Event, FailureForm},
};
use crate::lines::Given;
use std::fmt;

/// How a case went.
#[derive(Debug)]
pub struct Verdict {
    /// What was expected and what came, in order.
    pub lines: Vec<Line>,
    /// The case did not say what it expects.
    is_silent: bool,
    pub(super) came: Vec<Event>,
}

/// One thing that was expected, or came, or both.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// It was expected, and came.
    Same(Event),
    /// It was expected, and did not come.
    Missing(Event),
    /// It came, and was not expected.
    Extra(Event),
}

impl Verdict {
    /// Runs a case.
    pub fn of(bench: &Bench<'_>, case: &Case) -> Verdict {
        let mut came = bench.run(case).into_iter();
        let mut expected = case.expected.iter().flatten();
        let (mut lines, mut all) = (Vec::new(), Vec::new());
        loop {
            match (expected.next(), came.next()) {
                (None, None) => return Verdict { lines, is_silent: case.expected.is_none(), came: all },
                (expected, came) => {
                    let same = match (expected, &came) {
                        (Some(expected), Some(came)) => fits(expected, came, &case.given, bench.first_output()),
                        _ => false,
                    };
                    all.extend(came.as_ref().map(|came| came.event.clone()));
                    if same {
                        lines.extend(came.map(|came| Line::Same(came.event)));
                    } else {
                        lines.extend(expected.cloned().map(Line::Missing));
                        lines.extend(came.map(|came| Line::Extra(came.event)));
                    }
                }
            }
        }
    }

    /// True when what came is what was expected.
    pub fn is_good(&self) -> bool {
        !self.is_silent && self.lines.iter().all(|line| matches!(line, Line::Same(_)))
    }
}

fn fits(expected: &Event, came: &Came, given: &[Given], first_output: &str) -> bool {
    match (expected, &came.event) {
        (Event::Record(expected), Event::Record(record)) => {
            given.get(came.origin).is_some_and(|origin| expected.clone().short(origin, first_output) == *record)
        }
        (Event::Failure(expected), Event::Failure(failure)) => expected.fits(failure),
        _ => false,
    }
}

impl FailureForm {
    /// What is not expected may be anything.
    fn fits(&self, came: &FailureForm) -> bool {
        self.kind == came.kind
            && (self.code.is_none() || self.code == came.code)
            && (self.message.is_none() || self.message == came.message)
            && (self.after_ms.is_none() || self.after_ms == came.after_ms)
    }
}

/// `- ` was expected, `+ ` came, two spaces both.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (mark, event) = match self {
            Line::Same(event) => (' ', event),
            Line::Missing(event) => ('-', event),
            Line::Extra(event) => ('+', event),
        };
        write!(f, "{mark} {}", event.json())
    }
}
