//! Builds and runs what a pipeline file describes.
//!
//! Starting opens everything that can be wrong before the first record is read: the store, the plugins, files, ports.
//! Running spawns a task for each partition of each pipeline and waits until all have ended or one has failed for good.
//! What a task does is `pipeline.rs`; this file only says which tasks there are.

mod budget;
mod supervise;
mod wires;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use supervise::{Layout, Supervisor};
use wires::Wires;

use crate::api::{self, ApiState};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config, KafkaSource, Source as SourceConfig};
use crate::metrics::{Lags, PipelineMetrics};
use crate::pipeline::{self, Destination, StreamTarget, TableInput, Task, TaskInput, TaskSpec};
use crate::plugin::Plugin;
use crate::record::Partition;
use crate::sink::stdout::Stdout;
use crate::source::kafka::partitions::Scout;
use crate::source::stream::{Writers, Writing};
use crate::source::{self, Intake, Listener, Mode, Received, intake};
use crate::stop::{Stop, stop_signal};
use crate::store::committer::{CommitLoop, Committer, StreamRead};
use crate::store::embedded::EmbeddedStore;
use crate::store::{self, DEAD_LETTERS, PositionKey, Store};

/// How often is looked whether streams are worth compacting.
const COMPACT_EVERY: Duration = Duration::from_secs(30);
/// How long after the signal to stop what is on its way may take to be committed. What is not is read again by the next
/// run.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(30);

/// How long clients of other systems may take to say goodbye to them. All that matters is committed by then.
const GOODBYE_TIME_MAX: Duration = Duration::from_secs(2);

/// Why an appliance did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store could not be opened, read or written.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The control socket could not be opened.
    #[error(transparent)]
    Control(#[from] api::socket::Error),
    /// A source could not be opened.
    #[error("source {name}: {error}")]
    Source {
        /// Its name.
        name: Arc<str>,
        /// What happened.
        error: source::Error,
    },
    /// A sink could not be opened.
    #[error("sink {name}: {error}")]
    Sink {
        /// Its name.
        name: Arc<str>,
        /// What happened.
        error: source::Error,
    },
    /// A pipeline cannot go on until somebody acts.
    #[error("pipeline {pipeline}: {error}")]
    Pipeline {
        /// Its name.
        pipeline: Arc<str>,
        /// What happened.
        error: pipeline::Error,
    },
    /// A part of the appliance panicked: a defect.
    #[error("a part of the appliance failed: {0}")]
    Defect(String),
}

/// An appliance that is ready to run.
pub struct Appliance {
    config: Arc<Config>,
    mode: Mode,
    store: Arc<dyn Store>,
    committer: Committer,
    commits: CommitLoop,
    wires: Arc<Wires>,
    listeners: Vec<(Arc<str>, Box<dyn Listener>)>,
    control: api::Listening,
    status: Arc<Status>,
}

/// What can be known of a running appliance.
pub struct Status {
    /// What each pipeline counts.
    pub pipelines: BTreeMap<Arc<str>, Arc<PipelineMetrics>>,
    /// What each listener counts.
    pub received: BTreeMap<Arc<str>, Arc<Received>>,
    /// Where streams and positions are.
    pub store: Arc<dyn Store>,
    /// Tells of new records.
    pub committer: Committer,
    /// Which stream partitions each pipeline reads.
    pub reads: Vec<PositionKey>,
    /// How far pipelines are behind in topics that they read in place.
    pub lags: Arc<Lags>,
}

impl Appliance {
    /// Opens everything. `plugins` holds, by name, all that the configuration uses. On an error nothing is left running.
    pub async fn start(config: Config, plugins: BTreeMap<Arc<str>, Plugin>, mode: Mode) -> Result<Self, Error> {
        let config = Arc::new(config);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&config.data)?);
        for spec in config.streams.values() {
            store.create_stream(spec).await?;
        }
        let control = api::listen(&config.data)?;
        let (committer, commits) = Committer::new(store.clone(), clock.clone(), Default::default());
        let received: BTreeMap<_, _> =
            config.sources.keys().map(|name| (name.clone(), Arc::new(Received::default()))).collect();
        let listeners = open_listeners(&config, mode, &clock, &*store, &received).await?;
        let readers = readers(&config, &*store).await?;
        // What waits for tables is no lag.
        let reads = readers.iter().filter(|read| read.position.input == read.stream);
        let reads = reads.map(|read| read.position.clone()).collect();
        readers.into_iter().for_each(|read| committer.add_reader(read));
        let pipelines = config.pipelines.keys().map(|name| (name.clone(), Arc::default())).collect();
        let lags = Arc::<Lags>::default();
        let (of_store, of_committer) = (store.clone(), committer.clone());
        let status =
            Status { pipelines, received, store: of_store, committer: of_committer, reads, lags: lags.clone() };
        let wires = Arc::new(Wires {
            config: config.clone(),
            mode,
            clock: clock.clone(),
            store: store.clone(),
            committer: committer.clone(),
            writers: config.streams.keys().map(|name| (name.clone(), Writers::default())).collect(),
            plugins,
            stdout: Stdout::process()
                .map_err(|error| Error::Sink { name: "stdout".into(), error: wires::io(&error) })?,
            files: wires::open_files(&config, &*store, &clock).await?,
            kafka: wires::Kafka::new(lags),
            brokers: wires::Brokers::of(&config),
        });
        let status = Arc::new(status);
        Ok(Appliance { config, mode, store, committer, commits, wires, listeners, control, status })
    }

    /// Standard output as its sinks share it. It knows whether its reader has closed it, which is no failure of a sink.
    pub fn stdout(&self) -> Stdout {
        self.wires.stdout.clone()
    }

    /// What can be known of it while it runs.
    pub fn status(&self) -> Arc<Status> {
        self.status.clone()
    }

    /// Runs until `stop`, or until all inputs have ended, or until something fails that only an operator can mend. What
    /// is on its way is committed before it returns.
    pub async fn run(mut self, mut stop: Stop) -> Result<(), Error> {
        let (stop_commits, commits_stop) = stop_signal();
        let (stop_work, work_stop) = stop_signal();
        let mut work = JoinSet::new();
        self.spawn_listeners(&mut work, &work_stop);
        self.spawn_tasks(&mut work, &work_stop);
        self.spawn_supervisors(&mut work, &work_stop)?;
        let threads = self.wires.kafka.threads.clone();
        let mut commits = tokio::spawn(self.commits.run(commits_stop));
        let compaction = tokio::spawn(compact(self.committer.clone()));
        let api = ApiState {
            store: self.store,
            committer: self.committer,
            pipelines: self.status.pipelines.clone(),
            lags: self.status.lags.clone(),
        };
        let mut control = tokio::spawn(api::serve(self.control, api, work_stop));
        let mut result = Ok(());
        let mut deadline = None;
        loop {
            tokio::select! { biased;
                ended = &mut commits => {
                    work.abort_all();
                    return Err(commit_failure(ended));
                }
                ended = work.join_next() => match ended {
                    None => break,
                    Some(ended) => if let Err(error) = flatten(ended) {
                        result = result.and(Err(error));
                        stop_work.stop();
                        deadline.get_or_insert_with(drain_deadline);
                    },
                },
                () = stop.stopped(), if deadline.is_none() => {
                    stop_work.stop();
                    deadline = Some(drain_deadline());
                }
                () = wait_for(deadline), if deadline.is_some() => {
                    tracing::warn!("not all that was on its way was committed in {DRAIN_TIME_MAX:?}; the next run reads it again");
                    break;
                }
            }
        }
        work.shutdown().await;
        compaction.abort();
        let _ = tokio::time::timeout(GOODBYE_TIME_MAX, threads.ended()).await;
        stop_work.stop();
        if let Ok(Err(error)) = (&mut control).await {
            tracing::warn!("the control socket failed: {error}");
        }
        stop_commits.stop();
        match commits.await {
            Ok(Ok(())) => result,
            ended => result.and(Err(commit_failure(ended))),
        }
    }

    fn spawn_listeners(&mut self, work: &mut JoinSet<Result<(), Error>>, stop: &Stop) {
        for (name, listener) in std::mem::take(&mut self.listeners) {
            let writing = self.wires.writers.get(&name).map(Writers::join);
            let (intake, requests) = Intake::channel();
            let partitions = self.config.streams.get(&name).map_or(1, |stream| stream.partitions);
            let serve = intake::serve(requests, name.clone(), partitions, self.committer.clone());
            let stop = stop.clone();
            work.spawn(async move {
                let (received, ()) = tokio::join!(listener.run(intake, stop), serve);
                drop(writing);
                received.map_err(|error| Error::Source { name, error })
            });
        }
    }

    fn spawn_tasks(&self, work: &mut JoinSet<Result<(), Error>>, stop: &Stop) {
        // All writers are counted in before the first reader looks.
        let mut tasks: Vec<(Task, Vec<Writing>)> = Vec::new();
        for (name, pipeline) in self.config.pipelines.iter().filter(|(_, of)| kafka_inputs(&self.config, of).is_empty())
        {
            for partition in 0..partitions(&self.config, pipeline, &Layout::new()) {
                let task = self.parts().task(name, pipeline, Partition(partition), &Layout::new());
                let writing = self.writes(name, &task.spec);
                tasks.push((task, writing));
            }
        }
        for (task, writing) in tasks {
            let stop = stop.clone();
            work.spawn(async move {
                let result = task.run(stop).await;
                drop(writing);
                result.map_err(|error| Error::Pipeline { pipeline: task.spec.pipeline.clone(), error })
            });
        }
    }

    /// Pipelines whose tasks only a cluster can count.
    fn spawn_supervisors(&self, work: &mut JoinSet<Result<(), Error>>, stop: &Stop) -> Result<(), Error> {
        for (name, pipeline) in &self.config.pipelines {
            let inputs = kafka_inputs(&self.config, pipeline);
            if inputs.is_empty() {
                continue;
            }
            let mut scouts = Vec::new();
            for (input, settings) in &inputs {
                let failed = |error| Error::Source { name: input.clone(), error };
                let scout = Scout::new(input, settings, self.wires.kafka.threads.join()).map_err(failed)?;
                scouts.push((input.clone(), scout));
            }
            let intervals = inputs.iter().filter_map(|(_, settings)| settings.cluster.look_every());
            let look_every = intervals.min().unwrap_or(supervise::LOOK_EVERY);
            let (parts, of, pipeline) = (self.parts(), name.clone(), pipeline.clone());
            let writing = self.writes(name, &parts.task(name, &pipeline, Partition(0), &Layout::new()).spec);
            let make_tasks = Box::new(move |layout: &Layout| {
                parts.wires.kafka.set_layout(layout);
                let all = 0..partitions(&parts.wires.config, &pipeline, layout);
                all.map(|partition| parts.task(&of, &pipeline, Partition(partition), layout)).collect()
            });
            let supervisor = Supervisor { pipeline: name.clone(), mode: self.mode, scouts, look_every, make_tasks };
            let stop = stop.clone();
            work.spawn(async move {
                let result = supervisor.run(stop).await;
                drop(writing);
                result
            });
        }
        Ok(())
    }

    fn parts(&self) -> Parts {
        Parts {
            wires: self.wires.clone(),
            store: self.store.clone(),
            committer: self.committer.clone(),
            pipelines: self.status.pipelines.clone(),
            mode: self.mode,
        }
    }

    /// Counts a task in as a writer of its streams, and of the dead letters unless it hangs on them itself.
    fn writes(&self, pipeline: &Arc<str>, spec: &TaskSpec) -> Vec<Writing> {
        let mut streams: BTreeSet<&str> = BTreeSet::new();
        for destination in spec.routes.iter().flatten() {
            if let Destination::Stream(stream) = destination {
                streams.insert(&stream.name);
            }
        }
        if !downstream_of_dead_letters(&self.config).contains(pipeline) {
            streams.insert(DEAD_LETTERS);
        }
        streams.into_iter().filter_map(|name| self.wires.writers.get(name)).map(Writers::join).collect()
    }
}

/// What tasks are made of.
struct Parts {
    wires: Arc<Wires>,
    store: Arc<dyn Store>,
    committer: Committer,
    pipelines: BTreeMap<Arc<str>, Arc<PipelineMetrics>>,
    mode: Mode,
}

impl Parts {
    fn task(&self, name: &Arc<str>, pipeline: &config::Pipeline, partition: Partition, layout: &Layout) -> Task {
        let spec = spec(&self.wires.config, self.mode, (name, pipeline), partition, layout);
        // How many tasks there are may be known only now.
        spec.reads(|input| self.wires.config.streams.contains_key(input))
            .for_each(|read| self.committer.add_reader(read));
        let metrics = self.pipelines.get(name).cloned().unwrap_or_default();
        let (store, committer) = (self.store.clone(), self.committer.clone());
        Task { spec, wiring: self.wires.clone(), store, committer, metrics, clock: self.wires.clock.clone() }
    }
}

/// Who reads the embedded streams: all tasks, and of pipelines whose tasks only a cluster can count those that ever committed.
async fn readers(config: &Config, store: &dyn Store) -> Result<Vec<StreamRead>, Error> {
    let positions = store.positions().await?;
    let mut readers = Vec::new();
    for (name, pipeline) in &config.pipelines {
        let committed = positions.iter().filter(|(key, _)| key.owner == *name).map(|(key, _)| key.partition.0 + 1);
        let tasks = partitions(config, pipeline, &Layout::new()).max(committed.max().unwrap_or(0));
        for partition in (0..tasks).map(Partition) {
            let spec = spec(config, Mode::Follow, (name, pipeline), partition, &Layout::new());
            readers.extend(spec.reads(|input| config.streams.contains_key(input)));
        }
    }
    Ok(readers)
}

/// What a task is. `layout` holds the topics of its inputs, where there are some.
fn spec(
    config: &Config,
    mode: Mode,
    (name, pipeline): (&Arc<str>, &config::Pipeline),
    partition: Partition,
    layout: &Layout,
) -> TaskSpec {
    let has = |input: &Arc<str>| match layout.get(input) {
        Some(topics) => supervise::has(topics, partition),
        None => partition.0 < input_partitions(config, input),
    };
    let streams = (0..).zip(&pipeline.from).filter(|(_, input)| has(input));
    let mut inputs: Vec<_> = streams.map(|(number, input)| TaskInput::of(number, input.clone(), partition)).collect();
    for (place, step) in pipeline.steps.iter().enumerate() {
        for (number, table) in (pipeline.from.len() as u32..).zip(&step.tables) {
            let is_global = !table.is_partitioned;
            let input = |partition| TaskInput {
                table: Some(TableInput { step: place, step_name: step.name.clone(), is_global }),
                ..TaskInput::of(number, table.name.clone(), partition)
            };
            if is_global {
                inputs.extend((0..input_partitions(config, &table.name)).map(Partition).map(input));
            } else if has(&table.name) {
                inputs.push(input(partition));
            }
        }
    }
    let routes = std::iter::once(&pipeline.to).chain(pipeline.ports.values());
    let destination = |name: &Arc<str>| match config.streams.get(name) {
        Some(stream) => Destination::Stream(StreamTarget {
            name: name.clone(),
            partitions: stream.partitions,
            key: config.stream_keys.get(name).cloned(),
        }),
        None => Destination::Sink(name.clone()),
    };
    TaskSpec {
        pipeline: name.clone(),
        partition,
        inputs,
        routes: routes.map(|to| to.iter().map(destination).collect()).collect(),
        bytes_in_flight_max: budget::of(config, pipeline).records,
        mode,
    }
}

/// The inputs of a pipeline that are topics of Kafka.
fn kafka_inputs(config: &Config, pipeline: &config::Pipeline) -> Vec<(Arc<str>, KafkaSource)> {
    let kafka = |name: &Arc<str>| match config.sources.get(name) {
        Some(SourceConfig::Kafka(settings)) => Some((name.clone(), settings.clone())),
        _ => None,
    };
    pipeline.partitioned().filter_map(kafka).collect()
}

/// How many partitions a source or stream has.
fn input_partitions(config: &Config, input: &str) -> u32 {
    config.streams.get(input).map_or(1, |stream| stream.partitions)
}

fn partitions(config: &Config, pipeline: &config::Pipeline, layout: &Layout) -> u32 {
    let of_input = |input: &Arc<str>| match layout.get(input) {
        Some(topics) => supervise::partitions(topics),
        None => input_partitions(config, input),
    };
    pipeline.from.iter().map(of_input).max().unwrap_or(1)
}

/// The pipelines that read the dead letters, or what comes of them.
fn downstream_of_dead_letters(config: &Config) -> BTreeSet<Arc<str>> {
    let mut streams: BTreeSet<Arc<str>> = BTreeSet::from([DEAD_LETTERS.into()]);
    let mut pipelines = BTreeSet::new();
    loop {
        let before = pipelines.len();
        for (name, pipeline) in &config.pipelines {
            let tables = pipeline.steps.iter().flat_map(|step| &step.tables).map(|table| &table.name);
            if pipeline.from.iter().chain(tables).any(|input| streams.contains(input)) {
                pipelines.insert(name.clone());
                streams.extend(pipeline.to.iter().chain(pipeline.ports.values().flatten()).cloned());
            }
        }
        if pipelines.len() == before {
            return pipelines;
        }
    }
}

async fn open_listeners(
    config: &Config,
    mode: Mode,
    clock: &Arc<dyn Clock>,
    store: &dyn Store,
    received: &BTreeMap<Arc<str>, Arc<Received>>,
) -> Result<Vec<(Arc<str>, Box<dyn Listener>)>, Error> {
    let mut listeners = Vec::new();
    for (name, source) in &config.sources {
        let received = received.get(name).cloned().unwrap_or_default();
        match wires::listener(name, source, mode, clock, store, received).await {
            Ok(listener) => listeners.extend(listener.map(|listener| (name.clone(), listener))),
            Err(error) => return Err(Error::Source { name: name.clone(), error }),
        }
    }
    Ok(listeners)
}

fn drain_deadline() -> tokio::time::Instant {
    tokio::time::Instant::now() + DRAIN_TIME_MAX
}

async fn wait_for(deadline: Option<tokio::time::Instant>) {
    if let Some(deadline) = deadline {
        tokio::time::sleep_until(deadline).await;
    }
}

fn flatten(ended: Result<Result<(), Error>, tokio::task::JoinError>) -> Result<(), Error> {
    ended.unwrap_or_else(|defect| Err(Error::Defect(defect.to_string())))
}

/// Compacts streams now and then. Where the store has failed the commits fail as well, and end the appliance.
async fn compact(committer: Committer) {
    loop {
        tokio::time::sleep(COMPACT_EVERY).await;
        if let Err(error) = committer.compact().await {
            tracing::warn!("streams could not be compacted: {error}");
        }
    }
}

fn commit_failure(ended: Result<Result<(), store::Error>, tokio::task::JoinError>) -> Error {
    match ended {
        Ok(Ok(())) => Error::Defect("the committer ended before the tasks".into()),
        Ok(Err(error)) => Error::Store(error),
        Err(defect) => Error::Defect(defect.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;
    use crate::record::Position;
    use crate::store::memory::MemoryStore;
    use crate::store::{Changes, StreamSpec};

    const PIPELINES: &str = "
version: 1
sources:
  lines: { type: file, path: in }
  topic: { type: kafka, brokers: ['127.0.0.1:1'], topics: [t] }
pipelines:
  load: { from: lines, to: hosts }
  fan: { from: lines, to: in }
  enrich: { from: in, steps: [ { plugin: enricher, tables: [hosts] } ], to: out }
  beside: { from: in, steps: [ { plugin: enricher, tables: [ { name: hosts, partitioned: true } ] } ], to: out }
  far: { from: topic, steps: [ { plugin: enricher, tables: [hosts] } ], to: out }
streams: { hosts: { partitions: 2 }, in: { partitions: 2 } }
sinks: { out: { type: stdout } }
";

    /// Retention and compaction wait for every reader, those of tables too, and those whose tasks a cluster is to count.
    #[tokio::test]
    async fn all_who_read_a_stream_are_known() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("weir.yaml");
        std::fs::write(&file, PIPELINES).unwrap();
        let config = config::load(&file, &Overrides::default()).unwrap().config;
        let store = MemoryStore::new();
        for spec in config.streams.values() {
            store.create_stream(&StreamSpec { ..spec.clone() }).await.unwrap();
        }
        let committed = PositionKey { owner: "far".into(), input: "hosts@enricher/0".into(), partition: Partition(1) };
        let changes = Changes { positions: vec![(committed, Position(vec![0; 8]))], ..Changes::default() };
        store.commit(&[changes], crate::record::Timestamp(0)).await.unwrap();
        let shown: BTreeSet<String> = readers(&config, &store)
            .await
            .unwrap()
            .iter()
            .map(|StreamRead { position, stream, partition }| format!("{position} reads {stream} {partition}"))
            .collect();
        let mut expected = BTreeSet::new();
        for task in 0..2 {
            for table in 0..2 {
                for pipeline in ["enrich", "far"] {
                    expected.insert(format!("{pipeline}/hosts@enricher/{table}/{task} reads hosts {table}"));
                }
            }
            expected.insert(format!("beside/hosts@enricher/{task} reads hosts {task}"));
            for pipeline in ["enrich", "beside"] {
                expected.insert(format!("{pipeline}/in/{task} reads in {task}"));
            }
        }
        assert_eq!(shown, expected);
    }
}
