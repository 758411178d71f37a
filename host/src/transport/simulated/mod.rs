//! A simulated log: the production worker, driven through what a real cluster does once a year.
//!
//! A schedule is drawn from a seed. In it workers are killed, stand still, lose their partitions and the answers to
//! their commits, and meanwhile the others go on; then everything must come to its end, and every record must have
//! had its outcome. The same seed gives the same schedule: `MILLSTREAM_SEED=7 cargo test simulated` tells the story
//! of number 7.

mod audit;
mod behaviours;
mod broken_source;
mod commit;
mod database;
mod faults;
mod group;
mod letters;
mod link;
mod log;
mod play;
mod reader;
mod records;
mod scene;
mod schedule;
mod seam;
mod simulation;
mod sources;
mod swaps;
mod transactions;
mod world;
mod writer;

use super::mutants::Mutant;
use std::fmt;

/// What happened in a schedule that kept every promise.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    counts: faults::Counts,
}

/// A promise that was broken.
pub(crate) struct Violation {
    seed: u64,
    what: String,
    story: Vec<String>,
}

impl Violation {
    /// Which promise it was.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "MILLSTREAM_SEED={}: {}", self.seed, self.what)?;
        for line in &self.story {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}

/// Runs the schedule of a seed, with the production worker or with a broken one. A schedule in which a promise was
/// broken is run once more to tell its story.
pub(crate) fn run(seed: u64, mutant: Option<Mutant>) -> Result<Outcome, Box<Violation>> {
    schedule::run(seed, mutant, false).map_err(|violation| match schedule::run(seed, mutant, true) {
        Ok(_) => Box::new(violation),
        Err(told) => Box::new(told),
    })
}

mod tests {
    use super::*;

    /// How many schedules a test run goes through.
    const SCHEDULES: u64 = 10_000;
    /// How often each kind of trouble must have come up in them.
    const OFTEN: u64 = 100;

    #[test]
    fn every_promise_is_kept_whatever_happens() {
        if let Ok(seed) = std::env::var("MILLSTREAM_SEED") {
            let seed = seed.parse().expect("MILLSTREAM_SEED is a number");
            match run(seed, None) {
                Ok(outcome) => println!("{outcome:?}"),
                Err(violation) => panic!("{violation}"),
            }
            return;
        }
        let mut counts = faults::Counts::default();
        for seed in 0..SCHEDULES {
            match run(seed, None) {
                Ok(outcome) => counts.merge(&outcome.counts),
                Err(violation) => panic!("{violation}"),
            }
        }
        for (event, count) in counts.iter() {
            println!("{count:8} {event:?}");
        }
        // A simulation in which nothing happens proves nothing.
        let seldom: Vec<_> = counts.iter().filter(|(_, count)| *count < OFTEN).collect();
        assert!(seldom.is_empty(), "hardly ever tried: {seldom:?}");
    }
}
