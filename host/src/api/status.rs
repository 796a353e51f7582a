//! What the API says of a running appliance: plain data, and how it is gathered.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ApiState, lag};
use crate::metrics::histogram::{BOUNDS_S, Times};
use crate::metrics::vitals::Vitals;
use crate::metrics::{PartitionLag, PipelineMetrics, Pipelines};
use crate::plugin::versions::{StepVersion, Versions};
use crate::record::Partition;
use crate::store::{Error, Store, StreamSpec};

/// A running appliance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The version of Weir.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// Its pipelines by name.
    pub pipelines: Vec<PipelineStatus>,
    /// Its streams by name.
    pub streams: Vec<StreamStatus>,
    /// What their steps have counted, in the order of their names.
    pub steps: Vec<StepCounts>,
    /// How long commits took, by pipeline.
    pub commits: Vec<CommitTimes>,
    /// How far pipelines are behind the ends of what they read: one entry a partition of a topic of Kafka, or of a stream.
    pub lag: Vec<LagStatus>,
    /// What is taken on disk.
    pub disk: DiskStatus,
    /// What the steps of each pipeline run.
    pub versions: Vec<VersionStatus>,
    /// What keeps pipelines from running now; empty where all is well.
    #[serde(default)]
    pub troubles: Vec<TroubleStatus>,
}

/// What keeps a task of a pipeline from running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TroubleStatus {
    /// The pipeline.
    pub pipeline: String,
    /// The task's partition.
    pub partition: u32,
    /// What it failed of. It begins again by itself after a pause.
    pub why: String,
}

/// What the steps of a pipeline run, and how they came to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VersionStatus {
    /// The pipeline.
    pub pipeline: String,
    /// Counted up from 1 with each change since the appliance started.
    pub version: u64,
    /// Whether it is still to prove itself.
    pub is_on_probation: bool,
    /// The steps in their order.
    pub steps: Vec<StepStatus>,
    /// How often a new version took the place of another.
    pub installed: u64,
    /// How often one failed its probation, and the one before came back.
    pub failed: u64,
    /// How often somebody brought the one before back.
    pub rolled_back: u64,
    /// For how long tasks did nothing else as they went over to another version: the median, in microseconds.
    pub pause_p50_us: u64,
    /// And what 99 of 100 were not longer than.
    pub pause_p99_us: u64,
    /// Why the version that was tried last is not to run, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What a step runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepStatus {
    /// Its name.
    pub step: String,
    /// Its plugin.
    pub plugin: String,
    /// The blake3 hash of the plugin's component, in hexadecimal.
    pub hash: String,
}

impl VersionStatus {
    /// What there is to say of the versions of a pipeline.
    pub fn of(pipeline: &str, versions: &Versions) -> VersionStatus {
        let (current, swaps, pauses) = (versions.current(), versions.swaps(), versions.pauses());
        let quantile = |percent: usize| {
            let at = (pauses.len() * percent).div_ceil(100).saturating_sub(1);
            pauses.get(at).map_or(0, |pause| u64::try_from(pause.as_micros()).unwrap_or(u64::MAX))
        };
        let step = |of: &StepVersion| StepStatus {
            step: of.step.to_string(),
            plugin: of.plugin.to_string(),
            hash: of.hash.clone(),
        };
        VersionStatus {
            pipeline: pipeline.into(),
            version: current.number,
            is_on_probation: versions.is_on_probation(),
            steps: current.steps.iter().map(step).collect(),
            installed: swaps.installed,
            failed: swaps.failed,
            rolled_back: swaps.rolled_back,
            pause_p50_us: quantile(50),
            pause_p99_us: quantile(99),
            refused: versions.refused(),
        }
    }
}

/// What the data takes on disk, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskStatus {
    /// All of it: streams, state, positions, and the journal.
    pub bytes: u64,
    /// What pipelines remember, beside what is in the journal alone.
    pub state_bytes: u64,
}

/// How far a pipeline is behind the end of a partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LagStatus {
    /// The pipeline.
    pub pipeline: String,
    /// The source or stream that it reads.
    pub source: String,
    /// The topic; empty for a stream.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// Records between what is committed and the end of the partition, as last known.
    pub records: u64,
}

/// What a pipeline has counted since the appliance started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PipelineStatus {
    /// Its name.
    pub name: String,
    /// Records read.
    pub records_in: u64,
    /// Records written, counted once for each output.
    pub records_out: u64,
    /// Records that a step dropped by intent.
    pub filtered: u64,
    /// Records that came too late for what they belong to. Each is counted elsewhere as well.
    pub late: u64,
    /// Records that became dead letters.
    pub dead: u64,
    /// Times that it began again from its last commit.
    pub restarts: u64,
}

/// What a step has counted since the appliance started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepCounts {
    /// The pipeline.
    pub pipeline: String,
    /// The step.
    pub step: String,
    /// Records that it was given.
    pub records_in: u64,
    /// Records that went on.
    pub records_out: u64,
    /// Records that it dropped by intent.
    pub filtered: u64,
    /// Records that it rejected.
    pub rejected: u64,
    /// Calls that trapped, took too long, or failed otherwise.
    pub failures: u64,
    /// Calls with a batch.
    pub calls: u64,
    /// What half of them did not take longer than, in microseconds, as far as the bounds of a histogram tell; at most 10 s.
    pub call_p50_us: u64,
    /// And 99 of 100.
    pub call_p99_us: u64,
    /// The linear memory of its instances.
    pub memory_bytes: u64,
}

/// How long the commits of a pipeline took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommitTimes {
    /// The pipeline.
    pub pipeline: String,
    /// How many there were.
    pub count: u64,
    /// What half of them did not take longer than, in microseconds; as for the calls of a step.
    pub p50_us: u64,
    /// And 99 of 100.
    pub p99_us: u64,
}

/// A stream and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamStatus {
    /// Its name.
    pub name: String,
    /// Its partitions in order.
    pub partitions: Vec<PartitionStatus>,
    /// How long records are kept, in milliseconds; absent: no limit.
    pub retention_ms: Option<u64>,
    /// How many bytes each partition may hold.
    pub retention_bytes: u64,
}

/// A partition and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartitionStatus {
    /// Its number.
    pub partition: u32,
    /// The offset of the oldest record.
    pub start: u64,
    /// The offset that the next record will have.
    pub end: u64,
    /// The encoded bytes that are held.
    pub bytes: u64,
}

impl Status {
    pub(super) async fn of(state: &ApiState) -> Result<Status, Error> {
        let pipeline = |(name, metrics): (&Arc<str>, &Arc<PipelineMetrics>)| PipelineStatus::of(name, metrics);
        let disk = state.store.disk_use().await?;
        Ok(Status {
            disk: DiskStatus { bytes: disk.all, state_bytes: disk.state },
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            pipelines: state.pipelines.all().iter().map(pipeline).collect(),
            streams: StreamStatus::all(&*state.store).await?,
            versions: state.operator.as_ref().map(|operator| operator.versions()).unwrap_or_default(),
            troubles: state.pipelines.all().iter().flat_map(TroubleStatus::of).collect(),
            steps: StepCounts::all(&state.pipelines),
            commits: CommitTimes::all(&state.pipelines),
            lag: lag::all(state).await.into_iter().map(LagStatus::of).collect(),
        })
    }
}

impl TroubleStatus {
    fn of((pipeline, metrics): (&Arc<str>, &Arc<PipelineMetrics>)) -> Vec<TroubleStatus> {
        let of = |(partition, task): (&u32, &Arc<Vitals>)| {
            Some(TroubleStatus { pipeline: pipeline.to_string(), partition: *partition, why: task.failure()? })
        };
        metrics.tasks().iter().filter_map(of).collect()
    }
}

/// What a part of the times did not exceed, in microseconds; the highest bound stands for all above it, 0 for none.
fn quantile_us(times: &Times, part: f64) -> u64 {
    let highest = BOUNDS_S.last().copied().unwrap_or_default();
    let bound_s = if times.count == 0 { 0.0 } else { times.quantile_s(part).unwrap_or(highest) };
    (bound_s * 1e6).round() as u64
}

impl StepCounts {
    fn all(pipelines: &Pipelines) -> Vec<StepCounts> {
        let mut all = Vec::new();
        for (pipeline, metrics) in &*pipelines.all() {
            for (step, of) in &*metrics.steps() {
                let times = of.calls.times();
                all.push(StepCounts {
                    pipeline: pipeline.to_string(),
                    step: step.to_string(),
                    records_in: of.records_in.get(),
                    records_out: of.records_out.get(),
                    filtered: of.filtered.get(),
                    rejected: of.rejected.get(),
                    failures: of.traps.get() + of.timeouts.get() + of.other_failures.get(),
                    calls: times.count,
                    call_p50_us: quantile_us(&times, 0.5),
                    call_p99_us: quantile_us(&times, 0.99),
                    memory_bytes: of.memory_bytes(),
                });
            }
        }
        all
    }
}

impl CommitTimes {
    fn all(pipelines: &Pipelines) -> Vec<CommitTimes> {
        let of = |(pipeline, metrics): (&Arc<str>, &Arc<PipelineMetrics>)| {
            let times = metrics.commit_time.times();
            CommitTimes {
                pipeline: pipeline.to_string(),
                count: times.count,
                p50_us: quantile_us(&times, 0.5),
                p99_us: quantile_us(&times, 0.99),
            }
        };
        pipelines.all().iter().map(of).collect()
    }
}

impl LagStatus {
    fn of(lag: PartitionLag) -> LagStatus {
        LagStatus {
            pipeline: lag.pipeline.to_string(),
            source: lag.source.to_string(),
            topic: lag.topic,
            partition: lag.partition.0,
            records: lag.records,
        }
    }
}

impl PipelineStatus {
    /// What a pipeline's counters say now.
    pub fn of(name: &str, metrics: &PipelineMetrics) -> PipelineStatus {
        PipelineStatus {
            name: name.into(),
            records_in: metrics.records_in.get(),
            records_out: metrics.records_out.get(),
            filtered: metrics.filtered.get(),
            late: metrics.late.get(),
            dead: metrics.dead.get(),
            restarts: metrics.restarts.get(),
        }
    }
}

impl StreamStatus {
    pub(super) async fn all(store: &dyn Store) -> Result<Vec<StreamStatus>, Error> {
        let mut all = Vec::new();
        for spec in store.streams().await? {
            all.push(StreamStatus::of(store, &spec).await?);
        }
        Ok(all)
    }

    async fn of(store: &dyn Store, spec: &StreamSpec) -> Result<StreamStatus, Error> {
        let mut partitions = Vec::new();
        for partition in 0..spec.partitions {
            let bounds = store.bounds(&spec.name, Partition(partition)).await?;
            let (start, end) = (bounds.start.0, bounds.end.0);
            partitions.push(PartitionStatus { partition, start, end, bytes: bounds.bytes });
        }
        Ok(StreamStatus {
            name: spec.name.to_string(),
            partitions,
            retention_ms: spec.retention.age_ms,
            retention_bytes: spec.retention.bytes_max,
        })
    }
}
