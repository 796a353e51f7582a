//! How the steps of a task come to run other versions: instances of those are started while the old ones work, and take their
//! places between two batches.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::plugin::StartError;
use crate::plugin::step::{Error, Started, Step};
use crate::plugin::versions::{Trial, Version, Versions};
use crate::record::Partition;
use crate::state::{Home, kept};

/// The pause before instances are started again that did not start.
const START_AGAIN_PAUSE: Duration = Duration::from_secs(1);

/// The versions that a task's steps run.
pub(super) struct Follow {
    versions: Arc<Versions>,
    running: Arc<Version>,
    changes: watch::Receiver<Arc<Version>>,
    partition: Partition,
    /// The instances of the next, while they start.
    starting: Option<JoinHandle<Result<Next, (u64, StartError)>>>,
    /// How long to wait before they are started.
    pause: Duration,
}

/// A version whose instances are ready.
pub struct Next {
    version: Arc<Version>,
    /// For each step; `None`: what runs is what is wanted.
    steps: Vec<Option<Started>>,
}

impl Follow {
    /// Starts the steps as they are to run now.
    pub(super) async fn start(versions: &Arc<Versions>, home: &Home) -> Result<(Self, Vec<Step>), Error> {
        let changes = versions.watch();
        let running = versions.current();
        let trial = Trial { versions: versions.clone(), number: running.number };
        let known = kept::kept(home).await?;
        let mut steps = Vec::new();
        for wanted in &running.steps {
            let started = wanted.start(home.partition).await;
            // Where it has another schema it is asked to migrate, and says itself what it can read.
            let from = |started: &Started| known.schema(&wanted.step).filter(|schema| *schema != started.schema());
            let started = started.and_then(|started| match kept::mismatch(&wanted.step, started.tables(), &known) {
                Some(message) if from(&started).is_none() => Err(StartError::Config { path: String::new(), message }),
                _ => Ok(started),
            });
            let started = started.map_err(|error| match trial.failed(&wanted.step, &error) {
                true => Error::Superseded,
                false => Error::Start(error),
            })?;
            let from = from(&started);
            let mut step = Step::of(wanted.step.clone(), started, home);
            step.set_trial(trial.clone(), wanted.identity());
            if let Some(from) = from {
                step.migrate(from).await?;
                versions.no_way_back(running.number, &wanted.step);
            }
            steps.push(step);
        }
        let (versions, partition, pause) = (versions.clone(), home.partition, Duration::ZERO);
        let follow = Follow { versions, running, changes, partition, starting: None, pause };
        Ok((follow, steps))
    }

    /// Waits until the instances of another version are ready. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Next {
        loop {
            let starting = match &mut self.starting {
                Some(starting) => starting,
                None => {
                    let running = self.running.number;
                    // The sender is here.
                    let Ok(version) = self.changes.wait_for(|version| version.number != running).await else {
                        continue;
                    };
                    let started = start(version.clone(), self.running.clone(), self.partition);
                    // Not here, where a record that comes would cut it short.
                    let pause = std::mem::take(&mut self.pause);
                    self.starting.insert(tokio::spawn(async move {
                        tokio::time::sleep(pause).await;
                        started.await
                    }))
                }
            };
            let started = starting.await;
            self.starting = None;
            match started {
                Ok(Ok(next)) if next.version.number == self.versions.current().number => return next,
                // It was replaced meanwhile.
                Ok(Ok(_)) => {}
                // What runs runs on, and it is tried again where the version is still wanted.
                Ok(Err((number, error))) => {
                    if !self.versions.failed(number, &error.to_string()) {
                        tracing::warn!(version = number, "does not start yet: {error}");
                        self.pause = START_AGAIN_PAUSE;
                    }
                }
                Err(defect) => std::panic::resume_unwind(
                    defect.try_into_panic().unwrap_or_else(|other| Box::new(other.to_string())),
                ),
            }
        }
    }

    /// Has the steps run another version. Where one of them describes other ports or tables the task has to begin again.
    pub(super) fn replace(&mut self, steps: &mut [Step], next: Next) -> Result<(), Error> {
        for ((step, started), wanted) in steps.iter_mut().zip(next.steps).zip(&next.version.steps) {
            if let Some(started) = started
                && !step.replace(started)
            {
                return Err(Error::Superseded);
            }
            let trial = Trial { versions: self.versions.clone(), number: next.version.number };
            step.set_trial(trial, wanted.identity());
        }
        self.running = next.version;
        Ok(())
    }

    /// Counts what the steps have done. Where they rejected too much the task has to begin again, with another version.
    pub(super) fn count(&self, records: usize, rejects: usize) -> Result<(), Error> {
        if self.versions.count(self.running.number, records as u64, rejects as u64) {
            return Err(Error::Superseded);
        }
        Ok(())
    }

    /// The versions that it follows.
    pub(super) fn versions(&self) -> &Arc<Versions> {
        &self.versions
    }
}

async fn start(version: Arc<Version>, running: Arc<Version>, partition: Partition) -> Result<Next, (u64, StartError)> {
    let mut steps = Vec::new();
    for (at, wanted) in version.steps.iter().enumerate() {
        if running.steps.get(at) == Some(wanted) {
            steps.push(None);
            continue;
        }
        let started = wanted.start(partition).await;
        steps.push(Some(started.map_err(|error| (version.number, error))?));
    }
    Ok(Next { version, steps })
}
