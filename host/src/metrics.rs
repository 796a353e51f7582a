//! What is counted, for the progress line and the summary.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// What it has come to.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What became of a pipeline's records. Counted with the commit, so a replay counts nothing twice.
#[derive(Debug, Default)]
pub struct PipelineMetrics {
    /// Records read.
    pub records_in: Counter,
    /// Records written to each of the outputs.
    pub records_out: Counter,
    /// Records that a step dropped by intent.
    pub filtered: Counter,
    /// Records that became dead letters.
    pub dead: Counter,
    /// Chunks that were committed.
    pub commits: Counter,
    /// Times the pipeline had to begin again from its last commit.
    pub restarts: Counter,
}
