//! The parts of an appliance that run until they are told to stop: listeners, and the tasks of each pipeline.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::Error;
use crate::stop::{Stop, Stopper, stop_signal};

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unit {
    /// A source that listens.
    Listener(Arc<str>),
    /// The tasks of a pipeline.
    Pipeline(Arc<str>),
}

/// All of them.
#[derive(Default)]
pub(super) struct Units {
    work: JoinSet<(Unit, Result<(), Error>)>,
    /// How each is told to end.
    running: BTreeMap<Unit, Stopper>,
}

impl Units {
    /// Runs a unit. The signal to stop is its own.
    pub(super) fn spawn<F>(&mut self, unit: Unit, work: impl FnOnce(Stop) -> F)
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let (stopper, stop) = stop_signal();
        let work = work(stop);
        self.running.insert(unit.clone(), stopper);
        self.work.spawn(async move { (unit, work.await) });
    }

    /// Waits until one has ended; says how. `None`: none runs. Dropping the future loses nothing.
    pub(super) async fn ended(&mut self) -> Option<Result<(), Error>> {
        Some(match self.work.join_next().await? {
            Ok((unit, result)) => {
                self.running.remove(&unit);
                result
            }
            Err(defect) => Err(Error::Defect(defect.to_string())),
        })
    }

    /// Tells all to finish what they have begun and end.
    pub(super) fn stop_all(&self) {
        self.running.values().for_each(Stopper::stop);
    }

    /// Tells one to finish what it has begun and end.
    pub(super) fn stop(&self, unit: &Unit) {
        if let Some(stopper) = self.running.get(unit) {
            stopper.stop();
        }
    }

    /// Whether one of these has not ended yet.
    pub(super) fn is_any_running(&self, units: &[Unit]) -> bool {
        units.iter().any(|unit| self.running.contains_key(unit))
    }

    /// Ends all at once. What they have not committed is done again by the next run.
    pub(super) async fn abort(&mut self) {
        self.work.shutdown().await;
    }
}
