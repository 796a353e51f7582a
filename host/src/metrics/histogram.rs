//! How long things took, counted by upper bounds: an addition for each, and no lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds in seconds. What took longer than the last is counted beyond them.
pub const BOUNDS_S: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How long something took, each time.
#[derive(Debug, Default)]
pub struct Histogram {
    /// For each bound how often it took no longer, and longer than the bound before.
    within: [AtomicU64; BOUNDS_S.len()],
    beyond: AtomicU64,
    nanoseconds: AtomicU64,
}

/// What a histogram has come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Times {
    /// By upper bound, how often it took no longer and longer than the bound before. The last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
    /// How often in all.
    pub count: u64,
    /// All together, in seconds.
    pub sum_s: f64,
}

impl Histogram {
    /// Counts one more.
    pub fn observe(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = BOUNDS_S.iter().zip(&self.within).find(|(bound, _)| seconds <= **bound);
        bucket.map_or(&self.beyond, |(_, bucket)| bucket).fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What it has come to.
    pub fn times(&self) -> Times {
        let counts = self.within.iter().chain([&self.beyond]).map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<_> = BOUNDS_S.into_iter().chain([f64::INFINITY]).zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        Times { buckets, count, sum_s: self.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9 }
    }
}

impl Times {
    /// The bound that a part of them, 0 to 1, did not exceed, in seconds; `None`: there were none, or it is beyond all bounds.
    pub fn quantile_s(&self, part: f64) -> Option<f64> {
        let rank = (self.count as f64 * part).ceil().max(1.0);
        let mut seen = 0;
        let reached = self.buckets.iter().find(|(_, count)| {
            seen += count;
            seen as f64 >= rank
        });
        reached.map(|(bound, _)| *bound).filter(|bound| bound.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_counted_under_the_first_bound_that_holds_it() {
        let histogram = Histogram::default();
        assert_eq!(histogram.times().quantile_s(0.5), None);
        for ms in [1, 2, 2, 3, 20_000] {
            histogram.observe(Duration::from_millis(ms));
        }
        let times = histogram.times();
        assert_eq!((times.count, times.sum_s), (5, 20.008));
        let counted: Vec<_> = times.buckets.iter().filter(|(_, count)| *count > 0).copied().collect();
        assert_eq!(counted, [(0.001, 1), (0.0025, 2), (0.005, 1), (f64::INFINITY, 1)]);
        assert_eq!(
            (times.quantile_s(0.5), times.quantile_s(0.75), times.quantile_s(0.99)),
            (Some(0.0025), Some(0.005), None)
        );
    }
}
