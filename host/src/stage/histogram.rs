//! How long things took, in a few numbers.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Upper bounds, in nanoseconds: from a microsecond to ten seconds.
const BOUNDS: [u64; 22] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Counts by upper bounds, and the sum; the last count is of what took longer than any bound.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BOUNDS.len() + 1],
    sum: AtomicU64,
}

impl Histogram {
    /// So many things took this long, each.
    pub fn note(&self, each: Duration, count: u64) {
        let nanos = u64::try_from(each.as_nanos()).unwrap_or(u64::MAX);
        let place = BOUNDS.partition_point(|bound| *bound < nanos);
        self.counts[place].fetch_add(count, Ordering::Relaxed);
        self.sum.fetch_add(nanos.saturating_mul(count), Ordering::Relaxed);
    }

    /// How many took at most so many seconds, for each bound; how many there were; and how many seconds they took together.
    pub fn read(&self) -> (Vec<(f64, u64)>, u64, f64) {
        let mut all = 0;
        let mut count = |place: usize| {
            all += self.counts[place].load(Ordering::Relaxed);
            all
        };
        let below = BOUNDS.iter().enumerate().map(|(place, bound)| (*bound as f64 / 1e9, count(place))).collect();
        let total = count(BOUNDS.len());
        (below, total, self.sum.load(Ordering::Relaxed) as f64 / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_counts_all_below() {
        let histogram = Histogram::default();
        histogram.note(Duration::from_micros(1), 3);
        histogram.note(Duration::from_micros(2), 1);
        histogram.note(Duration::from_secs(60), 1);
        let (below, count, sum) = histogram.read();
        assert_eq!((below[0], below[1], below[21]), ((0.000_001, 3), (0.000_002_5, 4), (10.0, 4)));
        assert_eq!((count, sum), (5, 60.000_005));
    }
}
