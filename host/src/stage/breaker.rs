//! The breaker: when most of a stage's records die, the stage stops, rather than drain its topic into dead letters.

use crate::manifest::StopWhen;
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

/// Which of a stage's last records died, over all of its workers: those that are committed. Nobody remembers it longer
/// than the process lives.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    committed: Mutex<Committed>,
}

#[derive(Debug, Default)]
struct Committed {
    /// How many records there were.
    taken: u64,
    /// Which of them died, counted from 1: the last ones, as many as matter.
    died: VecDeque<u64>,
}

/// The records of a worker's open transaction that died, counted from 1. They count for the others when it is committed.
#[derive(Debug, Default)]
pub(super) struct Open {
    died: Vec<u64>,
}

impl Open {
    /// The record behind so many died.
    pub(super) fn note(&mut self, taken: u64) {
        self.died.push(taken + 1);
    }
}

/// So many records died among so many.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany {
    pub(super) died: u64,
    pub(super) of: u64,
}

impl Breaker {
    /// Whether the record behind the `taken` ones of an open transaction may not die too.
    pub(super) fn trips(&self, when: StopWhen, open: &Open, taken: u64) -> Option<TooMany> {
        let committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        let number = committed.taken + taken + 1;
        let before = number.saturating_sub(when.of);
        let died = committed.died.iter().copied().chain(open.died.iter().map(|died| committed.taken + died));
        let died = died.filter(|died| *died > before).count() as u64 + 1;
        (died >= when.dead_letters).then_some(TooMany { died, of: number.min(when.of) })
    }

    /// The open transaction is committed: its records count, and the next one begins.
    pub(super) fn commit(&self, when: StopWhen, open: &mut Open, taken: u64) {
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        let before = committed.taken;
        committed.died.extend(open.died.drain(..).map(|died| before + died));
        committed.taken += taken;
        while committed.died.len() as u64 > when.dead_letters {
            committed.died.pop_front();
        }
    }

    /// It is not: its records will come again.
    pub(super) fn abort(open: &mut Open) {
        open.died.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first record in front of which a stage stops, and why, when these are committed: `x` died, `.` did not, `|`
    /// is a commit, `!` an abort.
    fn trips(dead_letters: u64, of: u64, records: &str) -> Option<(usize, TooMany)> {
        let (breaker, when) = (Breaker::default(), StopWhen { dead_letters, of });
        let (mut open, mut taken) = (Open::default(), 0);
        for (place, record) in records.chars().enumerate() {
            match record {
                '|' => breaker.commit(when, &mut open, std::mem::take(&mut taken)),
                '!' => {
                    Breaker::abort(&mut open);
                    taken = 0;
                }
                'x' => {
                    if let Some(too_many) = breaker.trips(when, &open, taken) {
                        return Some((place, too_many));
                    }
                    open.note(taken);
                    taken += 1;
                }
                _ => taken += 1,
            }
        }
        None
    }

    fn at(place: usize, died: u64, of: u64) -> Option<(usize, TooMany)> {
        Some((place, TooMany { died, of }))
    }

    #[test]
    fn a_stage_stops_when_too_many_of_its_last_records_died() {
        assert_eq!(trips(3, 5, "xx...xx...x..x"), None);
        assert_eq!(trips(3, 5, "xx..x"), at(4, 3, 5));
        assert_eq!(trips(3, 5, "xx...x.xx"), at(8, 3, 5));
        assert_eq!(trips(3, 1000, "xxx"), at(2, 3, 3));
        assert_eq!(trips(1, 1, "...x"), at(3, 1, 1));
        assert_eq!(trips(2, 2, "x.x.x.xx"), at(7, 2, 2));
    }

    #[test]
    fn it_looks_back_over_commits() {
        assert_eq!(trips(3, 5, "x|x|..|x"), at(7, 3, 5));
        assert_eq!(trips(3, 5, "xx|...|xx|...|x"), None);
        assert_eq!(trips(3, 5, "xx|...|x|x|..|xxx"), at(14, 3, 5));
    }

    #[test]
    fn what_was_aborted_counts_when_it_is_done_again() {
        assert_eq!(trips(3, 10, "xx!xx!x.x|"), None);
        assert_eq!(trips(3, 10, "xx!xx|....|!x"), at(12, 3, 7));
    }
}
