//! What is counted of a step of a pipeline, by all of its tasks together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Counter;
use super::histogram::Histogram;

/// What a step did. Records are counted with the commit, so a replay counts none twice; calls and failures when they happen,
/// as a replay is work too.
#[derive(Debug, Default)]
pub struct StepMetrics {
    /// Records that it was given.
    pub records_in: Counter,
    /// Records that went on from it, by any of its ports.
    pub records_out: Counter,
    /// Records that it dropped by intent, or that left by a port that leads nowhere.
    pub filtered: Counter,
    /// Records that it rejected.
    pub rejected: Counter,
    /// The bytes of the records that it was given.
    pub bytes_in: Counter,
    /// The bytes of the records that it answered with.
    pub bytes_out: Counter,
    /// The processor time of its calls, in nanoseconds.
    pub processor_ns: Counter,
    /// How long each call with a batch took, waiting for its turn on the processor included.
    pub calls: Histogram,
    /// Calls that trapped.
    pub traps: Counter,
    /// Calls that took more time than they may.
    pub timeouts: Counter,
    /// Calls that wanted more memory than they may, answered with too much, or broke the contract.
    pub other_failures: Counter,
    memory_bytes: AtomicU64,
}

/// What a chunk adds to a step's metrics once it is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepTally {
    /// Records that it was given.
    pub records_in: u64,
    /// Records that went on.
    pub records_out: u64,
    /// Records that it dropped by intent.
    pub filtered: u64,
    /// Records that it rejected.
    pub rejected: u64,
    /// The bytes of the records that it was given.
    pub bytes_in: u64,
    /// The bytes of the records that it answered with.
    pub bytes_out: u64,
}

/// The memory of one instance, as a part of its step's. Given back when this is dropped.
#[derive(Debug)]
pub struct Memory {
    step: Arc<StepMetrics>,
    bytes: u64,
}

impl StepMetrics {
    /// The memory of all of its instances.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    /// Counts what a committed chunk brought about.
    pub fn add(&self, tally: &StepTally) {
        self.records_in.add(tally.records_in);
        self.records_out.add(tally.records_out);
        self.filtered.add(tally.filtered);
        self.rejected.add(tally.rejected);
        self.bytes_in.add(tally.bytes_in);
        self.bytes_out.add(tally.bytes_out);
    }
}

impl Memory {
    /// None yet.
    pub fn of(step: Arc<StepMetrics>) -> Self {
        Memory { step, bytes: 0 }
    }

    /// The step.
    pub fn step(&self) -> &StepMetrics {
        &self.step
    }

    /// Says how much it is now.
    pub fn set(&mut self, bytes: u64) {
        // The sum never shows less than nothing: what was added before is what is taken off.
        self.step.memory_bytes.fetch_add(bytes.wrapping_sub(self.bytes), Ordering::Relaxed);
        self.bytes = bytes;
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_that_of_the_instances_that_there_are() {
        let step = Arc::<StepMetrics>::default();
        let (mut one, mut other) = (Memory::of(step.clone()), Memory::of(step.clone()));
        one.set(100);
        other.set(50);
        one.set(80);
        assert_eq!(step.memory_bytes(), 130);
        drop(one);
        assert_eq!(step.memory_bytes(), 50);
    }
}
