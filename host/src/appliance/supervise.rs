//! A pipeline that reads topics of Kafka: how many tasks it has is known by the cluster alone, and may change.
//!
//! Its tasks follow partitions: task i reads partition i of every topic. They are started once the cluster has said how
//! many there are. Where topics or partitions are added, the tasks are told to stop, finish what they have begun, and are
//! started anew with the new layout, from their commits. This file knows tasks only by what they are made of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{DRAIN_TIME_MAX, Error};
use crate::kafka::topics::Topics;
use crate::metrics::PipelineMetrics;
use crate::pipeline::{self, Task};
use crate::record::Partition;
use crate::source::kafka::partitions::Scout;
use crate::source::{self, Disposition, Mode};
use crate::stop::{Stop, stop_signal};
use crate::store::committer::Committer;

/// How often topics and partitions are looked for that were added, unless the pipeline file says otherwise.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The pause before a cluster that could not be asked is asked again; doubled each time.
const ASK_AGAIN_PAUSE: Duration = Duration::from_millis(500);
/// No pause is longer.
const ASK_AGAIN_PAUSE_MAX: Duration = Duration::from_secs(10);

/// The topics of each input that is a Kafka source.
pub(super) type Layout = BTreeMap<Arc<str>, Topics>;

/// Makes the tasks of a layout.
pub(super) type MakeTasks = Box<dyn Fn(&Layout) -> Vec<Task> + Send + Sync>;

/// Runs the tasks of one pipeline.
pub(super) struct Supervisor {
    pub(super) pipeline: Arc<str>,
    pub(super) mode: Mode,
    pub(super) metrics: Arc<PipelineMetrics>,
    /// Who asks for the topics of each Kafka source that is read.
    pub(super) scouts: Vec<(Arc<str>, Scout)>,
    pub(super) look_every: Duration,
    pub(super) committer: Committer,
    pub(super) make_tasks: MakeTasks,
}

/// The number of tasks that a topic map of a source calls for.
pub(super) fn partitions(topics: &Topics) -> u32 {
    topics.values().copied().max().unwrap_or(0).max(0) as u32
}

/// Whether a source has any topic with this partition.
pub(super) fn has(topics: &Topics, partition: Partition) -> bool {
    partition.0 < partitions(topics)
}

impl Supervisor {
    /// Runs until told to stop, until the inputs end, or until something fails that only an operator can mend.
    pub(super) async fn run(self, mut stop: Stop) -> Result<(), Error> {
        let asked = self.first_layout(&mut stop).await;
        self.metrics.task(0).ended();
        let Some(mut layout) = asked? else { return Ok(()) };
        while let Some(changed) = self.work(&layout, &mut stop).await? {
            let (pipeline, tasks) = (&self.pipeline, changed.values().map(partitions).max().unwrap_or(0));
            tracing::info!(%pipeline, tasks, "topics or partitions have changed: beginning again with them");
            layout = changed;
        }
        Ok(())
    }

    /// Asks until the cluster says which topics there are. `None`: told to stop before.
    async fn first_layout(&self, stop: &mut Stop) -> Result<Option<Layout>, Error> {
        let mut pause = ASK_AGAIN_PAUSE;
        loop {
            let asked = tokio::select! { biased;
                () = stop.stopped() => return Ok(None),
                asked = self.layout() => asked,
            };
            let (name, error) = match asked {
                Ok(layout) => return Ok(Some(layout)),
                Err(failed) => failed,
            };
            if error.disposition == Disposition::Stop {
                let error = pipeline::Error::Source { name, error };
                return Err(Error::Pipeline { pipeline: self.pipeline.clone(), error });
            }
            tracing::warn!(pipeline = %self.pipeline, "{name}: {error}; trying again in {pause:?}");
            self.metrics.task(0).failed(format!("{name}: {error}"));
            tokio::select! { biased;
                () = stop.stopped() => return Ok(None),
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(ASK_AGAIN_PAUSE_MAX),
            }
        }
    }

    async fn layout(&self) -> Result<Layout, (Arc<str>, source::Error)> {
        let mut layout = Layout::new();
        for (name, scout) in &self.scouts {
            let topics = scout.topics().await.map_err(|error| (name.clone(), error))?;
            layout.insert(name.clone(), topics);
        }
        Ok(layout)
    }

    /// Runs the tasks of a layout to their end. Returns the layout to go on with, where it has changed.
    async fn work(&self, layout: &Layout, stop: &mut Stop) -> Result<Option<Layout>, Error> {
        let (stop_tasks, tasks_stop) = stop_signal();
        let mut tasks = JoinSet::new();
        for task in (self.make_tasks)(layout) {
            let stop = tasks_stop.clone();
            tasks.spawn(async move { task.run(stop).await });
        }
        let waits_for_topics = tasks.is_empty() && self.mode == Mode::Follow;
        if waits_for_topics {
            tracing::warn!(pipeline = %self.pipeline, "no topic matches yet; looking again every {:?}", self.look_every);
        }
        let mut result = Ok(());
        let mut next = None;
        // When tasks are stopped that have not ended by themselves.
        let mut deadline = None;
        let changed = self.changed(layout);
        tokio::pin!(changed);
        while !tasks.is_empty() || (waits_for_topics && deadline.is_none()) {
            tokio::select! { biased;
                Some(ended) = tasks.join_next() => {
                    let ended = ended.unwrap_or_else(|defect| {
                        std::panic::resume_unwind(defect.try_into_panic().unwrap_or_else(|other| Box::new(other.to_string())))
                    });
                    if let Err(error) = ended {
                        result = result.and(Err(Error::Pipeline { pipeline: self.pipeline.clone(), error }));
                        stop_tasks.stop();
                        deadline.get_or_insert_with(super::drain_deadline);
                    }
                }
                // They may wait for what never comes, as a sink that is down.
                () = super::wait_for(deadline), if deadline.is_some() => {
                    tracing::warn!(pipeline = %self.pipeline, "not all that was on its way was committed in {DRAIN_TIME_MAX:?}; it is read again");
                    tasks.shutdown().await;
                    break;
                }
                () = stop.stopped(), if deadline.is_none() => {
                    stop_tasks.stop();
                    deadline = Some(super::drain_deadline());
                }
                layout = &mut changed, if deadline.is_none() => {
                    next = Some(layout);
                    stop_tasks.stop();
                    deadline = Some(super::drain_deadline());
                }
            }
        }
        // Whoever begins from the last commit has to find what was handed over before.
        self.committer.settled().await;
        result.map(|()| next.filter(|_| !stop.is_stopped()))
    }

    /// Resolves once the cluster has other topics or partitions. A cluster that cannot be asked has not changed.
    async fn changed(&self, layout: &Layout) -> Layout {
        if self.mode == Mode::Drain {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(self.look_every).await;
            match self.layout().await {
                Ok(now) if now != *layout => return now,
                Ok(_) => {}
                Err((name, error)) => tracing::debug!(pipeline = %self.pipeline, "{name}: {error}"),
            }
        }
    }
}
