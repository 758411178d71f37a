//! What a case expects beside what came.

use super::{
    bench::{Bench, Came, origin_of},
    cases::Case,
    form::{Event, FailureForm, Origin, Then},
};
use crate::{lines::Given, stage::Outcome};
use std::fmt;

/// So many pairs are looked at for one case. Beyond, what stands at the same place is compared.
const MOST_COMPARED: usize = 1 << 20;

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
        let came = bench.run(case);
        let expected = case.expected.as_deref().unwrap_or_default();
        let first_output = bench.first_output();
        let pairs = pairs(expected.len(), came.len(), |e, c| fits(&expected[e], &came[c], &case.given, first_output));
        let came: Vec<_> = came.into_iter().map(|came| came.event).collect();
        Verdict { lines: lines(expected, &came, &pairs), is_silent: case.expected.is_none(), came }
    }

    /// True when what came is what was expected.
    pub fn is_good(&self) -> bool {
        !self.is_silent && self.lines.iter().all(|line| matches!(line, Line::Same(_)))
    }
}

/// What came of a record before and what comes of it now, in one order.
pub fn difference((before, after): (&Outcome, &Outcome), origin: &Origin, first_output: &str) -> Vec<Line> {
    let (before, after) = (Event::of(before, origin, first_output), Event::of(after, origin, first_output));
    let pairs = pairs(before.len(), after.len(), |b, a| before[b].is_like(&after[a]));
    lines(&before, &after, &pairs)
}

/// The most pairs that fit in the order of both sides, as places there: a longest common subsequence.
fn pairs(expected: usize, came: usize, fits: impl Fn(usize, usize) -> bool) -> Vec<(usize, usize)> {
    // None is lost by pairing at once what fits at the front.
    let same = (0..expected.min(came)).take_while(|at| fits(*at, *at)).count();
    let front = (0..same).map(|at| (at, at));
    if (expected - same) * (came - same) > MOST_COMPARED {
        let rest = (same..expected.min(came)).filter(|at| fits(*at, *at)).map(|at| (at, at));
        return front.chain(rest).collect();
    }
    // How many pairs there are from here on.
    let mut most = vec![vec![(0_u32, false); came + 1]; expected + 1];
    for e in (same..expected).rev() {
        for c in (same..came).rev() {
            most[e][c] = match fits(e, c) {
                true => (most[e + 1][c + 1].0 + 1, true),
                false => (most[e + 1][c].0.max(most[e][c + 1].0), false),
            };
        }
    }
    let mut pairs: Vec<_> = front.collect();
    let (mut e, mut c) = (same, same);
    while e < expected && c < came {
        match most[e][c] {
            (_, true) => {
                pairs.push((e, c));
                (e, c) = (e + 1, c + 1);
            }
            (left, false) if most[e + 1][c].0 == left => e += 1,
            _ => c += 1,
        }
    }
    pairs
}

/// Both sides in one order. What stands between two pairs alternates.
fn lines(expected: &[Event], came: &[Event], pairs: &[(usize, usize)]) -> Vec<Line> {
    let mut lines = Vec::new();
    let (mut e, mut c) = (0, 0);
    for &(to_e, to_c) in pairs.iter().chain([&(expected.len(), came.len())]) {
        let (missing, extra) = (&expected[e..to_e], &came[c..to_c]);
        for at in 0..missing.len().max(extra.len()) {
            lines.extend(missing.get(at).cloned().map(Line::Missing));
            lines.extend(extra.get(at).cloned().map(Line::Extra));
        }
        lines.extend(came.get(to_c).cloned().map(Line::Same));
        (e, c) = (to_e + 1, to_c + 1);
    }
    lines
}

fn fits(expected: &Event, came: &Came, given: &[Given], first_output: &str) -> bool {
    match (expected, &came.event) {
        (Event::Record(expected), Event::Record(record)) => {
            let given = given.get(came.origin);
            given.is_some_and(|given| expected.clone().short(&origin_of(given), first_output) == *record)
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
            && self.then.is_none_or(|then| then == came.then.unwrap_or(Then::default_of(came.kind)))
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::form::{Bytes, RecordForm};

    /// What is shown of values that were expected and that came, a letter each.
    fn shown(expected: &str, came: &str) -> String {
        let events = |letters: &str| -> Vec<_> {
            let value = |letter: char| Some(Bytes(vec![u8::try_from(letter).unwrap()]));
            letters.chars().map(|c| Event::Record(RecordForm { value: value(c), ..RecordForm::default() })).collect()
        };
        let (expected, came) = (events(expected), events(came));
        let pairs = pairs(expected.len(), came.len(), |e, c| expected[e] == came[c]);
        let mark = |line: &Line| {
            let shown = line.to_string();
            format!("{}{} ", &shown[..1], &shown[r#"- {"value":""#.len()..][..1])
        };
        lines(&expected, &came, &pairs).iter().map(mark).collect::<String>().trim_end().to_owned()
    }

    #[test]
    fn what_is_missing_or_more_leaves_the_others_in_step() {
        for (expected, came, lines) in [
            ("abc", "abc", " a  b  c"),
            ("abc", "bc", "-a  b  c"),
            ("bc", "abc", "+a  b  c"),
            ("abc", "ac", " a -b  c"),
            ("abc", "axc", " a -b +x  c"),
            ("abcd", "bxd", "-a  b -c +x  d"),
            ("ab", "cde", "-a +c -b +d +e"),
            ("a", "", "-a"),
            ("", "a", "+a"),
            ("", "", ""),
        ] {
            assert_eq!(shown(expected, came), lines.trim_end(), "{expected} {came}");
        }
        let many = |first: &str| first.to_owned() + &"a".repeat(1100);
        let shown = shown(&many("x"), &many(""));
        assert!(shown.starts_with("-x +a  a  a") && shown.ends_with(" a -a"), "{shown}");
    }
}
