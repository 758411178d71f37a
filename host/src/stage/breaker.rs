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

/// The records of a worker's transaction that died, counted from 1. They count for the others when it is committed.
#[derive(Debug, Default)]
pub(super) struct Died(Vec<u64>);

impl Died {
    /// The record behind so many died. What a guest gives back late is told of behind others.
    pub(super) fn note(&mut self, taken: u64) {
        let place = self.0.partition_point(|died| *died <= taken);
        self.0.insert(place, taken + 1);
    }
}

/// So many records died among so many.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany {
    pub(super) died: u64,
    pub(super) of: u64,
}

impl Breaker {
    /// Whether the record behind those of the worker's last two transactions, each with how many it took, may not die
    /// too.
    pub(super) fn trips(&self, when: StopWhen, under_way: [(&Died, u64); 2]) -> Option<TooMany> {
        let committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        let number = committed.taken + under_way.iter().map(|(_, taken)| taken).sum::<u64>() + 1;
        let before = number.saturating_sub(when.of);
        let mut died = 1 + committed.died.iter().filter(|died| **died > before).count() as u64;
        let mut taken_before = committed.taken;
        for (open, taken) in under_way {
            died += open.0.iter().filter(|died| taken_before + **died > before).count() as u64;
            taken_before += taken;
        }
        (died >= when.dead_letters).then_some(TooMany { died, of: number.min(when.of) })
    }

    /// A transaction is committed: its records count.
    pub(super) fn commit(&self, when: StopWhen, died: Died, taken: u64) {
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        let before = committed.taken;
        committed.died.extend(died.0.into_iter().map(|died| before + died));
        committed.taken += taken;
        while committed.died.len() as u64 > when.dead_letters {
            committed.died.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first record in front of which a stage stops, and why, when these are committed: `x` died, `.` did not, `,`
    /// begins a commit, `|` is one, `!` an abort.
    fn trips(dead_letters: u64, of: u64, records: &str) -> Option<(usize, TooMany)> {
        let (breaker, when) = (Breaker::default(), StopWhen { dead_letters, of });
        let (mut begun, mut open) = ((Died::default(), 0), (Died::default(), 0));
        for (place, record) in records.chars().enumerate() {
            match record {
                ',' | '|' => {
                    let (died, taken) = std::mem::replace(&mut begun, std::mem::take(&mut open));
                    breaker.commit(when, died, taken);
                    if record == '|' {
                        let (died, taken) = std::mem::take(&mut begun);
                        breaker.commit(when, died, taken);
                    }
                }
                '!' => (begun, open) = Default::default(),
                'x' => {
                    if let Some(too_many) = breaker.trips(when, [(&begun.0, begun.1), (&open.0, open.1)]) {
                        return Some((place, too_many));
                    }
                    open.0.note(open.1);
                    open.1 += 1;
                }
                _ => open.1 += 1,
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
        assert_eq!(trips(3, 5, "x,x,..,x"), at(7, 3, 5));
        assert_eq!(trips(3, 5, "xx,...,xx,...,x"), None);
    }

    #[test]
    fn what_was_aborted_counts_when_it_is_done_again() {
        assert_eq!(trips(3, 10, "xx!xx!x.x|"), None);
        assert_eq!(trips(3, 10, "xx!xx|....|!x"), at(12, 3, 7));
        assert_eq!(trips(3, 10, "x,x!x.x|"), None);
    }
}
