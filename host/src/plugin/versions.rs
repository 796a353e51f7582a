//! What the steps of a pipeline run, shared by its tasks: replaced while they work, and on probation until it has done so for
//! a while. A version that fails before that makes room for the one that it replaced.
//!
//! Knows plugins by their factories alone, and tasks not at all: they look here between two batches.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::step::Started;
use super::{Factory, Identity, StartError};
use crate::config::{self, Grants, StepLimits};
use crate::record::Partition;

/// The pauses that are remembered, the latest of all.
const PAUSES_MAX: usize = 10_000;
/// The records after which the rejects of a version on probation are compared with those of the one before.
const JUDGED_AFTER: u64 = 50;

/// Makes the factories of a step, one for each partition.
pub trait Factories: Send + Sync + 'static {
    /// The factory of a partition.
    fn of(&self, partition: Partition) -> Result<Arc<dyn Factory>, StartError>;
}

/// What one step runs.
#[derive(Clone)]
pub struct StepVersion {
    /// The step.
    pub step: Arc<str>,
    /// The plugin.
    pub plugin: Arc<str>,
    /// The hash of its component, in hexadecimal.
    pub hash: String,
    /// Its configuration.
    pub config: serde_json::Value,
    /// What it may reach.
    pub grants: Grants,
    /// Its bounds.
    pub limits: StepLimits,
    /// Starts its instances.
    pub factories: Arc<dyn Factories>,
}

impl PartialEq for StepVersion {
    /// Whether both do the same.
    fn eq(&self, other: &Self) -> bool {
        (&self.step, &self.plugin, &self.hash, &self.grants, &self.limits, &self.config)
            == (&other.step, &other.plugin, &other.hash, &other.grants, &other.limits, &other.config)
    }
}

impl StepVersion {
    /// What it runs.
    pub fn identity(&self) -> Identity {
        Identity { plugin: self.plugin.clone(), hash: self.hash.as_str().into() }
    }

    /// Starts an instance for a partition.
    pub async fn start(&self, partition: Partition) -> Result<Started, StartError> {
        Started::by(self.factories.of(partition)?, self.limits.retries).await
    }
}

/// What all steps of a pipeline run.
pub struct Version {
    /// Counted up from 1 with each change.
    pub number: u64,
    /// The steps, in their order.
    pub steps: Vec<StepVersion>,
}

/// What a new version has to do before it is relied on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Probation {
    /// The records that it must have processed, by all tasks together.
    pub records: u64,
    /// The part of the records that it may reject beyond what the version before rejected: 0 to 1.
    pub rejects_margin: f64,
}

impl From<config::Probation> for Probation {
    fn from(of: config::Probation) -> Self {
        Probation { records: of.records, rejects_margin: f64::from(of.rejects_percent) / 100.0 }
    }
}

/// The versions of a pipeline.
pub struct Versions {
    pipeline: Arc<str>,
    current: watch::Sender<Arc<Version>>,
    past: Mutex<Past>,
}

struct Past {
    probation: Probation,
    /// The last that was relied on, unless that is the current one: what a failure goes back to.
    before: Option<Arc<Version>>,
    is_on_probation: bool,
    now: Counts,
    earlier: Counts,
    /// What failed last, and why.
    failed: Option<(Vec<StepVersion>, String)>,
    counts: Swaps,
    pauses: VecDeque<Duration>,
}

/// The version that a step runs, as the step knows it.
#[derive(Clone)]
pub struct Trial {
    /// The versions of its pipeline.
    pub versions: Arc<Versions>,
    /// Which of them it runs.
    pub number: u64,
}

impl Trial {
    /// Says that the step failed. Whether the task has to begin again with another version.
    pub fn failed(&self, step: &str, why: &dyn std::fmt::Display) -> bool {
        self.versions.failed(self.number, &format!("step {step}: {why}"))
    }
}

/// How often versions were replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swaps {
    /// By a new one.
    pub installed: u64,
    /// By the one before, because the new one failed.
    pub failed: u64,
    /// By the one before, because somebody asked for it.
    pub rolled_back: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    records: u64,
    rejects: u64,
}

impl Counts {
    fn rate(self) -> f64 {
        if self.records == 0 { 0.0 } else { self.rejects as f64 / self.records as f64 }
    }
}

impl Versions {
    /// The first version of a pipeline's steps. It is relied on: there is none to go back to.
    pub fn new(pipeline: Arc<str>, steps: Vec<StepVersion>) -> Arc<Self> {
        let (current, _) = watch::channel(Arc::new(Version { number: 1, steps }));
        let past = Past {
            probation: Probation { records: 0, rejects_margin: 0.0 },
            before: None,
            is_on_probation: false,
            now: Counts::default(),
            earlier: Counts::default(),
            failed: None,
            counts: Swaps::default(),
            pauses: VecDeque::new(),
        };
        Arc::new(Versions { pipeline, current, past: Mutex::new(past) })
    }

    /// What is to run now.
    pub fn current(&self) -> Arc<Version> {
        self.current.borrow().clone()
    }

    /// Tells of new versions.
    pub fn watch(&self) -> watch::Receiver<Arc<Version>> {
        self.current.subscribe()
    }

    /// Has all tasks run these steps, between two batches of theirs, and puts them on probation. The steps have the names of
    /// those before.
    pub fn install(&self, steps: Vec<StepVersion>, probation: Probation) {
        let mut past = self.past();
        past.probation = probation;
        past.counts.installed += 1;
        past.failed = None;
        // What is still on probation is nothing to go back to.
        if !past.is_on_probation {
            past.before = Some(self.current());
            past.earlier = past.now;
        }
        past.is_on_probation = probation.records > 0;
        self.replace(&mut past, steps);
    }

    /// Says that a version failed. Where it is on probation the one before comes back. Whether tasks that run it have to
    /// begin again with another.
    pub fn failed(&self, number: u64, why: &str) -> bool {
        let mut past = self.past();
        if self.current().number != number {
            // Another task may have said so before.
            return past.failed.is_some();
        }
        past.is_on_probation && self.go_back(&mut past, why)
    }

    /// Counts what a version did. As [`Versions::failed`], where it rejected too much.
    pub fn count(&self, number: u64, records: u64, rejects: u64) -> bool {
        let mut past = self.past();
        if self.current().number != number {
            return false;
        }
        past.now.records += records;
        past.now.rejects += rejects;
        if !past.is_on_probation {
            return false;
        }
        let (now, allowed) = (past.now.rate(), past.earlier.rate() + past.probation.rejects_margin);
        if past.now.records >= JUDGED_AFTER.min(past.probation.records) && now > allowed {
            let why = format!(
                "it rejected {} of its first {} records, and at most {:.1} % were expected",
                past.now.rejects,
                past.now.records,
                allowed * 100.0
            );
            return self.go_back(&mut past, &why);
        }
        if past.now.records >= past.probation.records {
            past.is_on_probation = false;
            tracing::info!(pipeline = %self.pipeline, version = number, "has passed its probation");
        }
        false
    }

    /// Says that a version has changed what a step remembers in a way that the one before cannot read: there is no way back.
    pub fn no_way_back(&self, number: u64, step: &str) {
        let mut past = self.past();
        if self.current().number == number && past.before.take().is_some() {
            past.is_on_probation = false;
            tracing::info!(
                pipeline = %self.pipeline, step, version = number,
                "remembers in a way that the version before it cannot read: its probation is over"
            );
        }
    }

    /// Brings back what a step ran before, because somebody asks for it. `false`: it has run nothing else. Asked again, it takes
    /// that back.
    pub fn roll_back(&self, step: &str) -> bool {
        let mut past = self.past();
        let replaced = self.current();
        let of = |version: &Version| version.steps.iter().position(|other| &*other.step == step);
        let Some((before, at)) = past.before.clone().and_then(|before| of(&before).map(|at| (before, at))) else {
            return false;
        };
        let mut steps = replaced.steps.clone();
        match (steps.get_mut(at), before.steps.get(at)) {
            (Some(now), Some(before)) if now != before => *now = before.clone(),
            _ => return false,
        }
        past.counts.rolled_back += 1;
        past.is_on_probation = false;
        past.failed = Some((replaced.steps.clone(), "it was rolled back by hand".into()));
        past.before = Some(replaced);
        self.replace(&mut past, steps);
        true
    }

    /// What a step runs, ran before, or was to run: of this hash where there is such a one, or else what it runs now.
    pub fn find(&self, step: &str, hash: Option<&str>) -> Option<StepVersion> {
        let (past, current) = (self.past(), self.current());
        let before = past.before.iter().flat_map(|before| &before.steps);
        let failed = past.failed.iter().flat_map(|(failed, _)| failed);
        let known: Vec<_> = current.steps.iter().chain(before).chain(failed).filter(|of| &*of.step == step).collect();
        known.iter().find(|of| Some(&*of.hash) == hash).or(known.first()).map(|of| (*of).clone())
    }

    /// Why these steps are not to be installed again without being asked for, if so.
    pub fn why_not(&self, steps: &[StepVersion]) -> Option<String> {
        let past = self.past();
        past.failed.as_ref().filter(|(failed, _)| failed == steps).map(|(_, why)| why.clone())
    }

    /// Why what was tried last is not to run, where it is not.
    pub fn refused(&self) -> Option<String> {
        self.past().failed.as_ref().map(|(_, why)| why.clone())
    }

    /// Keeps for how long a task did nothing else as it went over to another version.
    pub fn paused(&self, pause: Duration) {
        let mut past = self.past();
        if past.pauses.len() == PAUSES_MAX {
            past.pauses.pop_front();
        }
        past.pauses.push_back(pause);
    }

    /// For how long tasks paused to go over to another version: of the latest 10,000 times, ascending.
    pub fn pauses(&self) -> Vec<Duration> {
        let mut pauses: Vec<_> = self.past().pauses.iter().copied().collect();
        pauses.sort_unstable();
        pauses
    }

    /// How often versions were replaced.
    pub fn swaps(&self) -> Swaps {
        self.past().counts
    }

    /// Whether the current version is on probation.
    pub fn is_on_probation(&self) -> bool {
        self.past().is_on_probation
    }

    /// Lets the version before run again in place of one that failed.
    fn go_back(&self, past: &mut Past, why: &str) -> bool {
        let Some(before) = past.before.take() else { return false };
        let replaced = self.current();
        tracing::warn!(
            pipeline = %self.pipeline,
            version = replaced.number,
            "failed its probation: {why}; the version before it is back"
        );
        past.counts.failed += 1;
        past.is_on_probation = false;
        past.failed = Some((replaced.steps.clone(), why.to_owned()));
        self.replace(past, before.steps.clone());
        // What it did before counts on.
        past.now = past.earlier;
        true
    }

    fn replace(&self, past: &mut Past, steps: Vec<StepVersion>) {
        past.now = Counts::default();
        let number = self.current().number + 1;
        self.current.send_replace(Arc::new(Version { number, steps }));
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Unstartable;

    impl Factories for Unstartable {
        fn of(&self, _: Partition) -> Result<Arc<dyn Factory>, StartError> {
            Err(StartError::Full { max: 0 })
        }
    }

    fn steps(config: u64) -> Vec<StepVersion> {
        vec![StepVersion {
            step: "s".into(),
            plugin: "p".into(),
            hash: String::new(),
            config: config.into(),
            grants: Grants::default(),
            limits: StepLimits {
                memory_bytes_max: 1 << 20,
                batch_time_max: Duration::from_secs(1),
                output_bytes_max: 1 << 20,
                log_rate_max: 1,
                wait_time_max: Duration::from_secs(60),
                retries: 0,
            },
            factories: Arc::new(Unstartable),
        }]
    }

    const TRIAL: Probation = Probation { records: 100, rejects_margin: 0.1 };

    fn versions() -> Arc<Versions> {
        Versions::new("p".into(), steps(1))
    }

    fn runs(versions: &Versions) -> u64 {
        versions.current().steps[0].config.as_u64().unwrap()
    }

    #[test]
    fn one_that_fails_its_probation_goes() {
        let versions = versions();
        assert!(!versions.failed(1, "a trap"), "there is nothing to go back to");
        versions.install(steps(2), TRIAL);
        assert!(!versions.failed(1, "a trap"), "the one before may fail as it always did");
        assert!(versions.failed(2, "a trap"));
        assert!(versions.failed(2, "a trap"), "another task that runs it has to begin again too");
        assert_eq!((runs(&versions), versions.current().number), (1, 3));
        assert_eq!(versions.why_not(&steps(2)).as_deref(), Some("a trap"));
        assert_eq!(versions.why_not(&steps(3)), None);
        assert_eq!(versions.find("s", Some("other")).unwrap().config, 1, "what runs, where there is no such one");
        assert!(versions.find("t", None).is_none());
        assert!(!versions.failed(3, "a trap"));
        assert_eq!(versions.swaps(), Swaps { installed: 1, failed: 1, rolled_back: 0 });
    }

    #[test]
    fn one_that_passes_stays() {
        let versions = versions();
        versions.install(steps(2), TRIAL);
        assert!(!versions.count(2, 99, 9));
        assert!(versions.is_on_probation());
        assert!(!versions.count(2, 1, 0));
        assert!(!versions.failed(2, "a trap"));
        assert_eq!(runs(&versions), 2);
    }

    #[test]
    fn rejects_are_compared_with_those_of_the_one_before() {
        for (earlier, now, is_too_many) in [(0, 5, false), (0, 6, true), (20, 15, false), (20, 16, true)] {
            let versions = versions();
            versions.count(1, 100, earlier);
            versions.install(steps(2), TRIAL);
            assert!(!versions.count(2, 49, now - 1), "too early to say");
            assert_eq!(versions.count(2, 1, 1), is_too_many, "{earlier} before, {now} now");
            assert_eq!(runs(&versions), if is_too_many { 1 } else { 2 });
        }
    }

    #[test]
    fn a_version_on_probation_is_nothing_to_go_back_to() {
        let versions = versions();
        versions.install(steps(2), TRIAL);
        versions.install(steps(3), TRIAL);
        assert!(!versions.failed(2, "a trap"), "it is replaced already");
        assert!(versions.failed(3, "a trap"));
        assert_eq!(runs(&versions), 1);
    }

    #[test]
    fn what_has_changed_the_state_stays() {
        let versions = versions();
        versions.install(steps(2), TRIAL);
        versions.no_way_back(1, "s");
        assert!(versions.is_on_probation(), "that was said of the one before");
        versions.no_way_back(2, "s");
        assert!(!versions.is_on_probation());
        assert!(!versions.failed(2, "a trap") && !versions.roll_back("s"));
        assert_eq!(runs(&versions), 2);
    }

    #[test]
    fn somebody_may_go_back_and_forth() {
        let versions = versions();
        assert!(!versions.roll_back("s"));
        versions.install(steps(2), TRIAL);
        assert!(!versions.roll_back("t"));
        assert!(versions.roll_back("s"));
        assert_eq!((runs(&versions), versions.is_on_probation()), (1, false));
        assert!(versions.why_not(&steps(2)).is_some());
        assert!(versions.roll_back("s"));
        assert_eq!(runs(&versions), 2);
    }
}
