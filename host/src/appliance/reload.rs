//! Going over to another configuration while everything runs: what has changed is found, and nothing else notices.
//!
//! Where only what steps run has changed, tasks go over between two batches. Where a pipeline reads, writes or remembers
//! something else its tasks finish what they have begun and are started anew. What cannot be used is refused, and what ran
//! before runs on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::plan::readers;
use super::units::Unit;
use super::wires::{self, Wires};
use super::{Error, Running, Status};
use crate::api::VersionStatus;
use crate::config::{Config, Limits, Pipeline, Sink, Source, StepTable, StreamKey};
use crate::plugin::Plugin;
use crate::plugin::versions::StepVersion;
use crate::source::Mode;
use crate::source::stream::Writers;
use crate::stop::Stop;
use crate::store::StreamSpec;

/// What is to run from now on.
pub struct Wanted {
    /// The configuration.
    pub config: Config,
    /// All the plugins that it uses and that can be used, by name.
    pub plugins: BTreeMap<Arc<str>, Plugin>,
    /// The pipelines that cannot run so, and why.
    pub broken: BTreeMap<Arc<str>, String>,
    /// Whether somebody asks for it, so that what failed before is to be tried again.
    pub is_asked_for: bool,
}

/// What became of a reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// Of each pipeline, by name.
    pub pipelines: Vec<PipelineChange>,
    /// Why nothing was done, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What became of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PipelineChange {
    /// Its name.
    pub name: String,
    /// What was done.
    pub change: Change,
    /// Why.
    pub why: String,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Nothing.
    Unchanged,
    /// Its steps go over to other versions between two batches.
    Swapped,
    /// Its tasks were ended and started anew.
    Restarted,
    /// It is new.
    Started,
    /// It is gone.
    Stopped,
    /// It cannot be as it is wanted. What ran before runs on.
    Refused,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Change::Unchanged => "unchanged",
            Change::Swapped => "swapped",
            Change::Restarted => "restarted",
            Change::Started => "started",
            Change::Stopped => "stopped",
            Change::Refused => "refused",
        })
    }
}

impl Reloaded {
    /// Nothing was done with any of these pipelines.
    fn nothing<'a>(pipelines: impl Iterator<Item = &'a Arc<str>>, problem: String) -> Self {
        let of =
            |name: &Arc<str>| PipelineChange { name: name.to_string(), change: Change::Refused, why: String::new() };
        Reloaded { pipelines: pipelines.map(of).collect(), problem: Some(problem) }
    }

    /// Whether this pipeline was.
    pub fn refuses(&self, pipeline: &str) -> bool {
        self.problem.is_some() || self.pipelines.iter().any(|of| of.name == pipeline && of.change == Change::Refused)
    }

    /// Whether something was refused.
    pub fn is_refused(&self) -> bool {
        self.problem.is_some() || self.pipelines.iter().any(|of| of.change == Change::Refused)
    }
}

/// Where a running appliance is told what to do.
#[derive(Clone)]
pub struct Control {
    requests: mpsc::Sender<Request>,
    status: Arc<Status>,
}

/// A reload that was asked for.
pub(super) struct Request {
    wanted: Wanted,
    answer: oneshot::Sender<Reloaded>,
}

impl Control {
    pub(super) fn new(requests: mpsc::Sender<Request>, status: Arc<Status>) -> Self {
        Control { requests, status }
    }

    /// Goes over to another configuration.
    pub async fn reload(&self, wanted: Wanted) -> Reloaded {
        let ends = || self.refuse("the appliance ends");
        let (answer, answered) = oneshot::channel();
        if self.requests.send(Request { wanted, answer }).await.is_err() {
            return ends();
        }
        answered.await.unwrap_or_else(|_| ends())
    }

    /// What the steps of each pipeline run.
    pub fn versions(&self) -> Vec<VersionStatus> {
        self.status.known().versions.iter().map(|(name, versions)| VersionStatus::of(name, versions)).collect()
    }

    /// What a step of a pipeline runs, ran before, or was to run: of this hash where there is such a one.
    pub fn version(&self, pipeline: &str, step: &str, hash: Option<&str>) -> Option<StepVersion> {
        self.status.known().versions.get(pipeline)?.find(step, hash)
    }

    /// The answer where nothing is done.
    pub fn refuse(&self, problem: &str) -> Reloaded {
        Reloaded::nothing(self.status.pipelines.all().keys(), problem.to_owned())
    }

    /// Brings back what a step ran before. The step is `STEP`, where one pipeline alone has a step of the name, or
    /// `PIPELINE/STEP`. Says which, or why not.
    pub fn roll_back(&self, step: &str) -> Result<String, String> {
        let known = self.status.known();
        let all = known.versions.iter().flat_map(|(pipeline, versions)| {
            let steps = versions.current().steps.iter().map(|of| of.step.clone()).collect::<Vec<_>>();
            steps.into_iter().map(move |name| (format!("{pipeline}/{name}"), name, versions))
        });
        let meant: Vec<_> = all.filter(|(whole, name, _)| step == whole || step == &**name).collect();
        match &*meant {
            [(whole, name, versions)] if versions.roll_back(name) => Ok(whole.clone()),
            [(whole, _, _)] => Err(format!("{whole} has run nothing else before")),
            [] => Err(format!("there is no step {step}")),
            several => {
                let names = several.iter().map(|(whole, _, _)| whole.as_str()).collect::<Vec<_>>().join(" or ");
                Err(format!("which is meant: {names}?"))
            }
        }
    }
}

/// What is to be done with a pipeline.
enum Plan {
    Keep,
    Swap(Vec<StepVersion>),
    Restart(&'static str),
    Start,
    Stop,
    Refuse(String),
}

impl Plan {
    fn change(&self) -> (Change, &str) {
        match self {
            Plan::Keep => (Change::Unchanged, ""),
            Plan::Swap(_) => (Change::Swapped, "its steps run another version"),
            Plan::Restart(why) => (Change::Restarted, why),
            Plan::Start => (Change::Started, "it is new"),
            Plan::Stop => (Change::Stopped, "it is no longer in the pipeline file"),
            Plan::Refuse(why) => (Change::Refused, why),
        }
    }
}

/// All of a configuration that a pipeline's tasks depend on, beside what its steps run.
#[derive(PartialEq)]
struct Footprint<'a> {
    from: &'a [Arc<str>],
    to: &'a [Arc<str>],
    ports: &'a BTreeMap<Arc<str>, Vec<Arc<str>>>,
    steps: Vec<(&'a str, &'a [StepTable])>,
    sources: Vec<Option<&'a Source>>,
    streams: Vec<Option<(&'a StreamSpec, Option<&'a StreamKey>)>>,
    sinks: Vec<Option<(&'a Sink, Option<String>)>>,
    limits: &'a Limits,
}

impl<'a> Footprint<'a> {
    fn of(config: &'a Config, plugins: &BTreeMap<Arc<str>, Plugin>, pipeline: &'a Pipeline) -> Self {
        let hash = |sink: &Sink| match sink {
            Sink::Plugin(step) => plugins.get(&step.plugin).map(Plugin::hash),
            _ => None,
        };
        let read_in_place = |name| config.sources.get(name).filter(|source| !source.listens());
        let stream = |name| config.streams.get(name).map(|spec| (spec, config.stream_keys.get(name)));
        Footprint {
            from: &pipeline.from,
            to: &pipeline.to,
            ports: &pipeline.ports,
            steps: pipeline.steps.iter().map(|step| (&*step.name, &*step.tables)).collect(),
            sources: pipeline.inputs().map(read_in_place).collect(),
            streams: pipeline.inputs().chain(pipeline.outputs()).map(stream).collect(),
            sinks: pipeline.outputs().map(|name| config.sinks.get(name).map(|sink| (sink, hash(sink)))).collect(),
            limits: &config.limits,
        }
    }
}

/// Has the pipelines that are broken stay as they are: with all that they use, which may not have changed then.
fn keep_broken(
    (old, old_plugins): (&Config, &BTreeMap<Arc<str>, Plugin>),
    (new, new_plugins): (&mut Config, &BTreeMap<Arc<str>, Plugin>),
    broken: &BTreeMap<Arc<str>, String>,
) -> Result<(), String> {
    for (name, why) in broken {
        let Some(pipeline) = old.pipelines.get(name) else {
            new.pipelines.remove(name);
            // It may be meant to take the place of one that goes.
            if let Some(gone) = old.pipelines.keys().find(|gone| !new.pipelines.contains_key(*gone)) {
                return Err(format!("pipeline {name} cannot be as it is wanted, and pipeline {gone} is to go: {why}"));
            }
            continue;
        };
        if new.limits != old.limits {
            return Err(format!("pipeline {name} cannot be as it is wanted, and `limits` have changed: {why}"));
        }
        let changed = |kind: &str, other: &str| {
            Err(format!(
                "pipeline {name} cannot be as it is wanted, and the {kind} {other} that it uses has changed: {why}"
            ))
        };
        for used in pipeline.inputs().chain(pipeline.outputs()) {
            if let Some(source) = old.sources.get(used)
                && new.sources.entry(used.clone()).or_insert_with(|| source.clone()) != source
            {
                return changed("source", used);
            }
            if let Some(sink) = old.sinks.get(used)
                && new.sinks.entry(used.clone()).or_insert_with(|| sink.clone()) != sink
            {
                return changed("sink", used);
            }
            if let Some(stream) = old.streams.get(used)
                && new.streams.entry(used.clone()).or_insert_with(|| stream.clone()) != stream
            {
                return changed("stream", used);
            }
            if old.streams.contains_key(used) && old.stream_keys.get(used) != new.stream_keys.get(used) {
                if new.pipelines.values().any(|other| other.writes(used)) {
                    return changed("key of stream", used);
                }
                new.stream_keys.extend(old.stream_keys.get(used).map(|key| (used.clone(), key.clone())));
            }
            if let Some(Sink::Plugin(step)) = old.sinks.get(used) {
                let hash = |plugins: &BTreeMap<Arc<str>, Plugin>| plugins.get(&step.plugin).map(Plugin::hash);
                if hash(old_plugins) != hash(new_plugins) {
                    return changed("plugin of sink", used);
                }
            }
        }
        new.pipelines.insert(name.clone(), pipeline.clone());
    }
    let files = |config: &Config| -> Vec<_> {
        let path = |sink: &Sink| if let Sink::File(file) = sink { Some(file.path.clone()) } else { None };
        config.sinks.values().filter_map(path).collect()
    };
    let paths = files(new);
    match paths.iter().enumerate().find(|(at, path)| paths.iter().skip(at + 1).any(|other| other == *path)) {
        Some((_, path)) => Err(format!("what is refused still writes {}, and another sink is to", path.display())),
        None => Ok(()),
    }
}

impl Running {
    /// Goes over to another configuration and says what became of it. An error is one that ends the appliance.
    pub(super) async fn reload(&mut self, request: Request, stop: &mut Stop) -> Result<(), Error> {
        let Request { wanted, answer } = request;
        let reloaded = self.go_over(wanted, stop).await?;
        for PipelineChange { name, change, why } in &reloaded.pipelines {
            match change {
                Change::Unchanged => {}
                Change::Refused => tracing::warn!(pipeline = %name, "refused: {why}"),
                change => tracing::info!(pipeline = %name, "{change}: {why}"),
            }
        }
        let counts = &self.status.reloads;
        if reloaded.is_refused() { &counts.refused } else { &counts.done }.add(1);
        if let Some(problem) = &reloaded.problem {
            tracing::warn!("nothing was reloaded: {problem}");
        }
        let _ = answer.send(reloaded);
        Ok(())
    }

    async fn go_over(&mut self, wanted: Wanted, stop: &mut Stop) -> Result<Reloaded, Error> {
        let Wanted { mut config, mut plugins, mut broken, is_asked_for } = wanted;
        let old = self.wires.clone();
        let refused = |problem: String| Ok(Reloaded::nothing(old.config.pipelines.keys(), problem));
        if self.mode == Mode::Drain {
            return refused("it runs to the end of what there is (--once) and is not reloaded".into());
        }
        if config.data != old.config.data {
            return refused("`data` has changed: that takes a restart of the appliance".into());
        }
        for (name, plugin) in &old.plugins {
            plugins.entry(name.clone()).or_insert_with(|| plugin.clone());
        }
        if !is_asked_for {
            self.leave_failed(&config, &plugins, &mut broken);
        }
        if let Err(problem) = keep_broken((&old.config, &old.plugins), (&mut config, &plugins), &broken) {
            return refused(problem);
        }
        let plans = match self.plans(&config, &plugins, &broken) {
            Ok(plans) => plans,
            Err(problem) => return refused(problem),
        };
        let listeners = changed_listeners(&old.config, &config);
        let is_stdin = |name: &Arc<str>| matches!(old.config.sources.get(name), Some(Source::Stdin(_)));
        if let Some(name) = listeners.iter().find(|name| is_stdin(name)) {
            return refused(format!("source {name} has changed: standard input cannot be opened again"));
        }
        // What can be refused without a pause of anything is.
        let is_served = self.http.serves(config.http.as_ref());
        let http = config.http.as_ref().filter(|_| !is_served).map(|settings| self.http.open(settings));
        let http = match http.transpose() {
            Ok(http) => http,
            Err(error) => return refused(error.to_string()),
        };
        for spec in config.streams.values() {
            if let Err(error) = self.store.create_stream(spec).await {
                return refused(error.to_string());
            }
        }
        let of = |wanted: fn(&Plan) -> bool| -> BTreeSet<Arc<str>> {
            plans.iter().filter(|(_, plan)| wanted(plan)).map(|(name, _)| name.clone()).collect()
        };
        let ending = of(|plan| matches!(plan, Plan::Stop | Plan::Restart(_)));
        let starting = of(|plan| matches!(plan, Plan::Start | Plan::Restart(_)));
        if !self.end(&listeners, &ending, stop).await? {
            return refused("the appliance ends".into());
        }
        let tried = config.clone();
        if let Err(error) = self.start_anew(config, plugins, &listeners, &starting).await {
            self.wires = old.clone();
            for spec in old.config.streams.values() {
                self.store.create_stream(spec).await?;
            }
            self.forget_readers(&tried).await?;
            let opened = self.make_known(&listeners).await?;
            self.spawn(opened, &ending)?;
            return refused(error.to_string());
        }
        if !is_served {
            self.http.serve(http)?;
        }
        self.forget_readers(&old.config).await?;
        let mut reloaded = Reloaded { pipelines: Vec::new(), problem: None };
        for (name, plan) in plans {
            let (change, why) = plan.change();
            reloaded.pipelines.push(PipelineChange { name: name.to_string(), change, why: why.to_owned() });
            if let (Plan::Swap(steps), Some(versions)) = (plan, self.wires.versions.get(&name)) {
                versions.install(steps, self.wires.config.probation.into());
            }
        }
        Ok(reloaded)
    }

    /// Forgets those who read streams under another configuration and do not any more: they hold back nothing of them.
    async fn forget_readers(&self, other: &Config) -> Result<(), Error> {
        let now = readers(&self.wires.config, &*self.store).await?;
        let now: BTreeSet<_> = now.into_iter().map(|read| read.position).collect();
        let before = readers(other, &*self.store).await?.into_iter().map(|read| read.position);
        before.filter(|position| !now.contains(position)).for_each(|position| self.committer.remove_reader(&position));
        Ok(())
    }

    /// Takes pipelines for broken whose steps failed before as they are wanted now.
    fn leave_failed(
        &self,
        config: &Config,
        plugins: &BTreeMap<Arc<str>, Plugin>,
        broken: &mut BTreeMap<Arc<str>, String>,
    ) {
        for (name, versions) in &self.wires.versions {
            let steps = config.pipelines.get(name).and_then(|pipeline| wires::steps(name, pipeline, plugins).ok());
            let other = steps.filter(|steps| versions.current().steps != *steps);
            if let Some(why) = other.and_then(|steps| versions.why_not(&steps)) {
                broken.entry(name.clone()).or_insert_with(|| format!("it failed before: {why}"));
            }
        }
    }

    /// What is to be done with each pipeline, of before and from now on.
    fn plans(
        &self,
        config: &Config,
        plugins: &BTreeMap<Arc<str>, Plugin>,
        broken: &BTreeMap<Arc<str>, String>,
    ) -> Result<BTreeMap<Arc<str>, Plan>, String> {
        let (old, versions) = (&self.wires.config, &self.wires.versions);
        let mut plans = BTreeMap::new();
        for name in old.pipelines.keys().chain(config.pipelines.keys()).chain(broken.keys()) {
            let plan = match (broken.get(name), old.pipelines.get(name), config.pipelines.get(name)) {
                (Some(why), _, _) => Plan::Refuse(why.clone()),
                (None, _, None) => Plan::Stop,
                (None, None, Some(_)) => Plan::Start,
                (None, Some(before), Some(now)) => {
                    let is_same =
                        Footprint::of(old, &self.wires.plugins, before) == Footprint::of(config, plugins, now);
                    let steps = wires::steps(name, now, plugins).map_err(|error| error.to_string())?;
                    match versions.get(name) {
                        Some(versions) if is_same && versions.current().steps == steps => Plan::Keep,
                        Some(_) if is_same => Plan::Swap(steps),
                        _ => Plan::Restart("what it reads, writes or is made of has changed"),
                    }
                }
            };
            plans.insert(name.clone(), plan);
        }
        Ok(plans)
    }

    /// Has listeners and pipelines finish what they have begun. `false`: the whole appliance is to end meanwhile.
    async fn end(
        &mut self,
        listeners: &BTreeSet<Arc<str>>,
        pipelines: &BTreeSet<Arc<str>>,
        stop: &mut Stop,
    ) -> Result<bool, Error> {
        let listeners = listeners.iter().cloned().map(Unit::Listener);
        let units: Vec<Unit> = listeners.chain(pipelines.iter().cloned().map(Unit::Pipeline)).collect();
        units.iter().for_each(|unit| self.units.stop(unit));
        // What is on its way to a commit may not be begun again beside it. They see to it that they end.
        while self.units.is_any_running(&units) {
            tokio::select! { biased;
                () = stop.stopped() => return Ok(false),
                ended = self.units.ended() => ended.unwrap_or(Ok(()))?,
            }
        }
        Ok(true)
    }

    /// Opens what the new configuration asks for, and runs it.
    async fn start_anew(
        &mut self,
        config: Config,
        plugins: BTreeMap<Arc<str>, Plugin>,
        listeners: &BTreeSet<Arc<str>>,
        starting: &BTreeSet<Arc<str>>,
    ) -> Result<(), Error> {
        let old = &self.wires;
        let kept = old.versions.iter().filter(|(name, _)| !starting.contains(*name));
        let kept = kept.map(|(name, versions)| (name.clone(), versions.clone())).collect();
        let versions = wires::versions(&config, &plugins, &kept)?;
        let writers = |name: &Arc<str>| (name.clone(), old.writers.get(name).cloned().unwrap_or_default());
        let writers: BTreeMap<Arc<str>, Writers> = config.streams.keys().map(writers).collect();
        let wires = Wires {
            config: Arc::new(config),
            mode: old.mode,
            clock: old.clock.clone(),
            store: old.store.clone(),
            committer: old.committer.clone(),
            writers,
            plugins,
            versions,
            stdout: old.stdout.clone(),
            files: BTreeMap::new(),
            kafka: old.kafka.clone(),
            brokers: wires::Brokers::default(),
        };
        let wires = Arc::new(wires.with_sinks_of(Some(old)).await?);
        self.wires = wires;
        let opened = self.make_known(listeners).await?;
        self.spawn(opened, starting)
    }
}

/// The sources that listen, or listened before, and are not the same.
fn changed_listeners(old: &Config, new: &Config) -> BTreeSet<Arc<str>> {
    let names = old.sources.keys().chain(new.sources.keys());
    let is_changed = |name: &&Arc<str>| {
        let (old, new) = (old.sources.get(*name), new.sources.get(*name));
        old != new && old.into_iter().chain(new).any(Source::listens)
    };
    names.filter(is_changed).cloned().collect()
}
