//! Builds and runs what a pipeline file describes.
//!
//! Starting opens everything that can be wrong before the first record is read: the store, the plugins, files, ports.
//! Running spawns a task for each partition of each pipeline and waits until all have ended or one has failed for good.
//! What a task does is `pipeline.rs`; this file only says which tasks there are.

mod budget;
mod plan;
pub mod reload;
mod supervise;
mod units;
mod wires;

pub(crate) use plan::first_task;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::mpsc;

use plan::{downstream_of_dead_letters, kafka_inputs, partitions, readers, spec};
use reload::Control;
use supervise::{Layout, Supervisor};
use units::{Unit, Units};
use wires::Wires;

use crate::api::http::Endpoint;
use crate::api::{self, ApiState};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config};
use crate::dlq::{self, desk::Desk};
use crate::metrics::{Lags, Pipelines, Reloads};
use crate::pipeline::{self, Destination, Task, TaskSpec};
use crate::plugin::Plugin;
use crate::plugin::versions::Versions;
use crate::record::Partition;
use crate::sink::stdout::Stdout;
use crate::source::kafka::partitions::Scout;
use crate::source::stream::{Writers, Writing};
use crate::source::{self, Intake, Listener, Mode, Received, intake};
use crate::stop::{Stop, stop_signal};
use crate::store::committer::{CommitLoop, Committer};
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
    /// The HTTP API could not be served.
    #[error(transparent)]
    Http(#[from] api::http::Error),
    /// A part of the appliance panicked: a defect.
    #[error("a part of the appliance failed: {0}")]
    Defect(String),
}

/// An appliance that is ready to run.
pub struct Appliance {
    running: Running,
    listeners: Vec<(Arc<str>, Box<dyn Listener>)>,
    commits: CommitLoop,
    control: api::Listening,
    http: Option<api::http::Server>,
    reloads: (mpsc::Sender<reload::Request>, mpsc::Receiver<reload::Request>),
}

/// What runs, and what it is made of.
struct Running {
    mode: Mode,
    store: Arc<dyn Store>,
    committer: Committer,
    wires: Arc<Wires>,
    units: Units,
    status: Arc<Status>,
    http: Endpoint,
}

/// What can be known of a running appliance.
pub struct Status {
    /// What each pipeline counts.
    pub pipelines: Arc<Pipelines>,
    /// Where streams and positions are.
    pub store: Arc<dyn Store>,
    /// Tells of new records.
    pub committer: Committer,
    /// How far pipelines are behind in topics that they read in place.
    pub lags: Arc<Lags>,
    /// How often it was to go over to another configuration.
    pub reloads: Reloads,
    /// Where tasks are asked to replay dead letters.
    pub desk: Desk,
    known: RwLock<Arc<Known>>,
}

/// What changes with the configuration.
#[derive(Clone, Default)]
pub struct Known {
    /// What each listener counts.
    pub received: BTreeMap<Arc<str>, Arc<Received>>,
    /// Which stream partitions each pipeline reads.
    pub reads: Vec<PositionKey>,
    /// What the steps of each pipeline run.
    pub versions: BTreeMap<Arc<str>, Arc<Versions>>,
}

impl Status {
    /// What is known before anything runs.
    pub fn new(store: Arc<dyn Store>, committer: Committer) -> Self {
        Status {
            pipelines: Arc::default(),
            store,
            committer,
            lags: Arc::default(),
            reloads: Reloads::default(),
            desk: Desk::default(),
            known: RwLock::default(),
        }
    }

    /// What goes with the configuration that runs now.
    pub fn known(&self) -> Arc<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_known(&self, known: Known) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
    }
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
        let endpoint = Endpoint::default();
        // Beside a run to the end of what there is another one may run, which serves.
        let http = config.http.as_ref().filter(|_| mode == Mode::Follow);
        let http = http.map(|settings| endpoint.open(settings)).transpose()?;
        let (committer, commits) = Committer::new(store.clone(), clock.clone(), Default::default());
        let status = Status::new(store.clone(), committer.clone());
        let stdout =
            Stdout::process().map_err(|error| Error::Sink { name: "stdout".into(), error: wires::io(&error) })?;
        let wires = Wires {
            config: config.clone(),
            mode,
            clock,
            store: store.clone(),
            committer: committer.clone(),
            writers: config.streams.keys().map(|name| (name.clone(), Writers::default())).collect(),
            versions: wires::versions(&config, &plugins, &BTreeMap::new())?,
            plugins,
            stdout,
            files: BTreeMap::new(),
            kafka: Arc::new(wires::Kafka::new(status.lags.clone())),
            brokers: wires::Brokers::default(),
        };
        let wires = Arc::new(wires.with_sinks_of(None).await?);
        let mut running = Running {
            mode,
            store,
            committer,
            wires,
            units: Units::default(),
            status: Arc::new(status),
            http: endpoint,
        };
        let names: BTreeSet<Arc<str>> = config.sources.keys().cloned().collect();
        let listeners = running.make_known(&names).await?;
        Ok(Appliance { running, listeners, commits, control, http, reloads: mpsc::channel(1) })
    }

    /// Standard output as its sinks share it. It knows whether its reader has closed it, which is no failure of a sink.
    pub fn stdout(&self) -> Stdout {
        self.running.wires.stdout.clone()
    }

    /// What can be known of it while it runs.
    pub fn status(&self) -> Arc<Status> {
        self.running.status.clone()
    }

    /// Where it is told of new configurations while it runs.
    pub fn control(&self) -> Control {
        Control::new(self.reloads.0.clone(), self.running.status.clone())
    }

    /// Runs until `stop`, or until all inputs have ended, or until something fails that only an operator can mend. What
    /// is on its way is committed before it returns. `operator` is asked by the control socket.
    pub async fn run(self, mut stop: Stop, operator: Option<Arc<dyn api::Operator>>) -> Result<(), Error> {
        let Appliance { mut running, listeners, commits, control, http, mut reloads } = self;
        let (stop_commits, commits_stop) = stop_signal();
        let (stop_api, api_stop) = stop_signal();
        let pipelines = running.wires.config.pipelines.keys().cloned().collect();
        running.spawn(listeners, &pipelines)?;
        let threads = running.wires.kafka.threads.clone();
        let mut commits = tokio::spawn(commits.run(commits_stop));
        let compaction = tokio::spawn(compact(running.store.clone(), running.committer.clone()));
        let api = ApiState {
            store: running.store.clone(),
            committer: running.committer.clone(),
            pipelines: running.status.pipelines.clone(),
            lags: running.status.lags.clone(),
            status: running.status.clone(),
            desk: running.status.desk.clone(),
            replays: Arc::default(),
            operator,
        };
        running.http.begin(http, api.clone())?;
        let mut control = tokio::spawn(api::serve(control, api, api_stop));
        let mut result = Ok(());
        let mut deadline = None;
        loop {
            let ending = tokio::select! { biased;
                ended = &mut commits => {
                    running.units.abort().await;
                    return Err(commit_failure(ended));
                }
                ended = running.units.ended() => match ended {
                    None => break,
                    Some(ended) => ended.err().map(Err),
                },
                () = stop.stopped(), if deadline.is_none() => Some(Ok(())),
                Some(request) = reloads.1.recv(), if deadline.is_none() => {
                    running.reload(request, &mut stop).await.err().map(Err)
                }
                () = wait_for(deadline), if deadline.is_some() => {
                    tracing::warn!("not all that was on its way was committed in {DRAIN_TIME_MAX:?}; the next run reads it again");
                    break;
                }
            };
            if let Some(ending) = ending {
                result = result.and(ending);
                stop_api.stop();
                running.http.serve(None)?;
                running.units.stop_all();
                deadline.get_or_insert_with(drain_deadline);
            }
        }
        running.units.abort().await;
        compaction.abort();
        let _ = tokio::time::timeout(GOODBYE_TIME_MAX, threads.ended()).await;
        stop_api.stop();
        if let Ok(Err(error)) = (&mut control).await {
            tracing::warn!("the control socket failed: {error}");
        }
        stop_commits.stop();
        match commits.await {
            Ok(Ok(())) => result,
            ended => result.and(Err(commit_failure(ended))),
        }
    }
}

impl Running {
    /// Opens the listeners of some sources, and makes known what goes with the configuration: who reads the streams, and
    /// where is counted.
    async fn make_known(&mut self, sources: &BTreeSet<Arc<str>>) -> Result<Vec<(Arc<str>, Box<dyn Listener>)>, Error> {
        let (config, before) = (self.wires.config.clone(), self.status.known());
        let received = |name: &Arc<str>| (name.clone(), before.received.get(name).cloned().unwrap_or_default());
        let received: BTreeMap<_, _> = config.sources.keys().map(received).collect();
        let listeners = open_listeners(&self.wires, sources, &received).await?;
        let readers = readers(&config, &*self.store).await?;
        // What waits for tables is no lag.
        let reads = readers.iter().filter(|read| read.position.input == read.stream);
        let reads = reads.map(|read| read.position.clone()).collect();
        readers.into_iter().for_each(|read| self.committer.add_reader(read));
        self.status.pipelines.set_names(config.pipelines.keys());
        self.status.set_known(Known { received, reads, versions: self.wires.versions.clone() });
        Ok(listeners)
    }

    /// Runs listeners and pipelines.
    fn spawn(
        &mut self,
        listeners: Vec<(Arc<str>, Box<dyn Listener>)>,
        pipelines: &BTreeSet<Arc<str>>,
    ) -> Result<(), Error> {
        // All writers are counted in before the first reader looks.
        let mut supervisors = Vec::new();
        for name in pipelines {
            supervisors.extend(self.supervisor(name)?);
        }
        for (name, listener) in listeners {
            let writing = self.wires.writers.get(&name).map(Writers::join);
            let (intake, requests) = Intake::channel();
            let partitions = self.wires.config.streams.get(&name).map_or(1, |stream| stream.partitions);
            let serve = intake::serve(requests, name.clone(), partitions, self.committer.clone());
            self.units.spawn(Unit::Listener(name.clone()), |stop| async move {
                let (received, ()) = tokio::join!(listener.run(intake, stop), serve);
                drop(writing);
                received.map_err(|error| Error::Source { name, error })
            });
        }
        for (supervisor, writing) in supervisors {
            self.units.spawn(Unit::Pipeline(supervisor.pipeline.clone()), |stop| async move {
                let result = supervisor.run(stop).await;
                drop(writing);
                result
            });
        }
        Ok(())
    }

    /// Who runs the tasks of a pipeline, and what they write to.
    fn supervisor(&self, name: &Arc<str>) -> Result<Option<(Supervisor, Vec<Writing>)>, Error> {
        let Some(pipeline) = self.wires.config.pipelines.get(name).cloned() else { return Ok(None) };
        let mut scouts = Vec::new();
        let inputs = kafka_inputs(&self.wires.config, &pipeline);
        for (input, settings) in &inputs {
            let failed = |error| Error::Source { name: input.clone(), error };
            let scout = Scout::new(input, settings, self.wires.kafka.threads.join()).map_err(failed)?;
            scouts.push((input.clone(), scout));
        }
        let intervals = inputs.iter().filter_map(|(_, settings)| settings.cluster.look_every());
        let look_every = intervals.min().unwrap_or(supervise::LOOK_EVERY);
        let (parts, of) = (self.parts(), name.clone());
        let writing =
            self.writes(name, &spec(&self.wires.config, self.mode, (name, &pipeline), Partition(0), &Layout::new()));
        let make_tasks = Box::new(move |layout: &Layout| {
            parts.wires.kafka.set_layout(layout);
            let all = 0..partitions(&parts.wires.config, &pipeline, layout);
            all.map(|partition| parts.task(&of, &pipeline, Partition(partition), layout)).collect()
        });
        let (pipeline, metrics) = (name.clone(), self.status.pipelines.of(name));
        let (mode, committer) = (self.mode, self.committer.clone());
        let supervisor = Supervisor { pipeline, mode, metrics, scouts, look_every, committer, make_tasks };
        Ok(Some((supervisor, writing)))
    }

    fn parts(&self) -> Parts {
        Parts {
            wires: self.wires.clone(),
            store: self.store.clone(),
            committer: self.committer.clone(),
            pipelines: self.status.pipelines.clone(),
            desk: self.status.desk.clone(),
            mode: self.mode,
        }
    }

    /// Counts a pipeline in as a writer of its streams, and of the dead letters unless it hangs on them itself.
    fn writes(&self, pipeline: &Arc<str>, spec: &TaskSpec) -> Vec<Writing> {
        let mut streams: BTreeSet<&str> = BTreeSet::new();
        for destination in spec.routes.iter().flatten() {
            if let Destination::Stream(stream) = destination {
                streams.insert(&stream.name);
            }
        }
        if !downstream_of_dead_letters(&self.wires.config).contains(pipeline) {
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
    pipelines: Arc<Pipelines>,
    desk: Desk,
    mode: Mode,
}

impl Parts {
    fn task(&self, name: &Arc<str>, pipeline: &config::Pipeline, partition: Partition, layout: &Layout) -> Task {
        let spec = spec(&self.wires.config, self.mode, (name, pipeline), partition, layout);
        // How many tasks there are may be known only now.
        spec.reads(|input| self.wires.config.streams.contains_key(input))
            .for_each(|read| self.committer.add_reader(read));
        let metrics = self.pipelines.of(name);
        let (store, committer, desk) = (self.store.clone(), self.committer.clone(), self.desk.clone());
        Task { spec, wiring: self.wires.clone(), store, committer, metrics, clock: self.wires.clock.clone(), desk }
    }
}

async fn open_listeners(
    wires: &Wires,
    sources: &BTreeSet<Arc<str>>,
    received: &BTreeMap<Arc<str>, Arc<Received>>,
) -> Result<Vec<(Arc<str>, Box<dyn Listener>)>, Error> {
    let mut listeners = Vec::new();
    for (name, source) in wires.config.sources.iter().filter(|(name, _)| sources.contains(*name)) {
        let received = received.get(name).cloned().unwrap_or_default();
        match wires.listener(name, source, received).await {
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

/// Compacts streams now and then, and forgets dead letters that are settled and gone. Where the store has failed the commits fail as well, and end the appliance.
async fn compact(store: Arc<dyn Store>, committer: Committer) {
    loop {
        tokio::time::sleep(COMPACT_EVERY).await;
        if let Err(error) = committer.compact().await {
            tracing::warn!("streams could not be compacted: {error}");
        }
        if let Err(error) = dlq::act::prune(&*store, &committer).await {
            tracing::warn!("settled dead letters could not be forgotten: {error}");
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
