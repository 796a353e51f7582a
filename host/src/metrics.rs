//! What is counted: for the progress line, the summary, and `/metrics`.

pub mod histogram;
pub mod links;
pub mod steps;
pub mod vitals;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use histogram::Histogram;
use steps::StepMetrics;
use vitals::Vitals;

use crate::record::{Partition, Timestamp};

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
    /// Records that came too late for what they belong to. They are counted elsewhere as well.
    pub late: Counter,
    /// Records that became dead letters.
    pub dead: Counter,
    /// Chunks that were committed.
    pub commits: Counter,
    /// Times the pipeline had to begin again from its last commit.
    pub restarts: Counter,
    /// Bytes of the records read.
    pub bytes_in: Counter,
    /// Bytes of the records written, once for each of the outputs.
    pub bytes_out: Counter,
    /// From handing a commit over until it is durable.
    pub commit_time: Histogram,
    steps: RwLock<Arc<BTreeMap<Arc<str>, Arc<StepMetrics>>>>,
    tasks: RwLock<Arc<BTreeMap<u32, Arc<Vitals>>>>,
}

impl PipelineMetrics {
    /// What its steps count, by name.
    pub fn steps(&self) -> Arc<BTreeMap<Arc<str>, Arc<StepMetrics>>> {
        self.steps.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How its tasks are, by partition.
    pub fn tasks(&self) -> Arc<BTreeMap<u32, Arc<Vitals>>> {
        self.tasks.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a step counts.
    pub fn step(&self, name: &Arc<str>) -> Arc<StepMetrics> {
        let mut steps = self.steps.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut steps).entry(name.clone()).or_default().clone()
    }

    /// How a task is.
    pub fn task(&self, partition: u32) -> Arc<Vitals> {
        let mut tasks = self.tasks.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut tasks).entry(partition).or_default().clone()
    }

    /// How far event time has come in the task where it has come least far; `None`: nowhere.
    pub fn watermark(&self) -> Option<Timestamp> {
        self.tasks().values().filter_map(|task| task.watermark()).min()
    }
}

/// How often the whole appliance was to go over to another configuration.
#[derive(Debug, Default)]
pub struct Reloads {
    /// It did, with all pipelines.
    pub done: Counter,
    /// Some or all pipelines were refused.
    pub refused: Counter,
}

/// What each pipeline counts, by name. Pipelines come and go.
#[derive(Debug, Default)]
pub struct Pipelines(RwLock<Arc<BTreeMap<Arc<str>, Arc<PipelineMetrics>>>>);

impl Pipelines {
    /// All that there are now.
    pub fn all(&self) -> Arc<BTreeMap<Arc<str>, Arc<PipelineMetrics>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those of one.
    pub fn of(&self, name: &str) -> Arc<PipelineMetrics> {
        self.all().get(name).cloned().unwrap_or_default()
    }

    /// Says which there are from now on. Those that were there before count on.
    pub fn set_names<'a>(&self, names: impl Iterator<Item = &'a Arc<str>>) {
        let before = self.all();
        let of = |name: &Arc<str>| (name.clone(), before.get(name).cloned().unwrap_or_default());
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(names.map(of).collect());
    }
}

/// How far pipelines are behind the ends of the topics that they read in place, by pipeline, source, topic and partition.
#[derive(Debug, Default)]
pub struct Lags(Mutex<BTreeMap<LagOf, Lag>>);

/// How far a pipeline is behind the end of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionLag {
    /// The pipeline.
    pub pipeline: Arc<str>,
    /// The source that it reads.
    pub source: Arc<str>,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: Partition,
    /// Records between what it has committed and the end, as last known.
    pub records: u64,
}

type LagOf = (Arc<str>, Arc<str>, String, Partition);

#[derive(Debug, Clone, Copy, Default)]
struct Lag {
    next: u64,
    end: u64,
}

impl Lags {
    /// Says what a pipeline has committed of a partition, and where the partition ends, where that is newly known.
    pub fn tell(
        &self,
        pipeline: &Arc<str>,
        source: &Arc<str>,
        topic: &str,
        partition: Partition,
        next: u64,
        end: Option<u64>,
    ) {
        let mut lags = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lag = lags.entry((pipeline.clone(), source.clone(), topic.to_owned(), partition)).or_default();
        lag.next = next;
        lag.end = end.unwrap_or(lag.end);
    }

    /// Each partition's lag, by pipeline, source, topic and partition.
    pub fn all(&self) -> Vec<PartitionLag> {
        let lags = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |((pipeline, source, topic, partition), lag): (&LagOf, &Lag)| PartitionLag {
            pipeline: pipeline.clone(),
            source: source.clone(),
            topic: topic.clone(),
            partition: *partition,
            records: lag.end.saturating_sub(lag.next),
        };
        lags.iter().map(of).collect()
    }

    /// The lag of all together, in records.
    pub fn total(&self) -> u64 {
        self.all().iter().map(|lag| lag.records).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_what_lies_between_the_commit_and_the_last_known_end() {
        let lags = Lags::default();
        let tell = |partition, next, end| lags.tell(&"p".into(), &"s".into(), "t", Partition(partition), next, end);
        tell(0, 5, Some(8));
        tell(1, 5, None);
        assert_eq!(lags.total(), 3);
        tell(0, 7, None);
        assert_eq!(lags.total(), 1);
        assert_eq!(lags.all().len(), 2);
    }
}
