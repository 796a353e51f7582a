//! Opens what tasks work with, as the pipeline file says: sources, steps, sinks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::budget::{self, Budget};
use super::supervise::Layout;
use crate::clock::Clock;
use crate::config::{
    Config, FileSink, KafkaSource, Pipeline, Sink as SinkConfig, Source as SourceConfig, Step as StepConfig,
};
use crate::endpoint::archive::Archive;
use crate::kafka::Threads;
use crate::metrics::Lags;
use crate::pipeline::{self, Chain, TaskInput, TaskSpec, Wiring};
use crate::plugin::versions::{Factories, StepVersion, Versions};
use crate::plugin::{Factory, Identity, Plugin, StartError, StepContext, step};
use crate::rabbitmq::Broker;
use crate::record::{Partition, Position};
use crate::sink::Sink;
use crate::sink::file::FileParticipant;
use crate::sink::kafka::{self, KafkaTask};
use crate::sink::plugin::PluginTask;
use crate::sink::rabbitmq::RabbitmqExchange;
use crate::sink::stdout::Stdout;
use crate::source::dead_letters::ConnectReader;
use crate::source::demo::DemoReader;
use crate::source::file::FileReader;
use crate::source::kafka::{KafkaReader, Opening};
use crate::source::rabbitmq::{RabbitmqListener, RabbitmqReader};
use crate::source::stdin::StdinListener;
use crate::source::stream::{StreamReader, Writers};
use crate::source::syslog::SyslogListener;
use crate::source::table::TableReader;
use crate::source::{Error, Listener, Mode, Reader, Received};
use crate::store::committer::Committer;
use crate::store::{DEAD_LETTERS, PositionKey, Store};

/// What the tasks of an appliance are opened from.
pub(super) struct Wires {
    pub(super) config: Arc<Config>,
    pub(super) mode: Mode,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) store: Arc<dyn Store>,
    pub(super) committer: Committer,
    pub(super) writers: BTreeMap<Arc<str>, Writers>,
    /// The plugins of sinks, by name.
    pub(super) plugins: BTreeMap<Arc<str>, Plugin>,
    /// What the steps of each pipeline run.
    pub(super) versions: BTreeMap<Arc<str>, Arc<Versions>>,
    pub(super) stdout: Stdout,
    pub(super) files: BTreeMap<Arc<str>, Arc<FileParticipant>>,
    pub(super) kafka: Arc<Kafka>,
    pub(super) brokers: Brokers,
}

/// What sources and sinks of Kafka share.
pub(super) struct Kafka {
    /// How far tasks are behind.
    pub(super) lags: Arc<Lags>,
    /// The threads of the clients.
    pub(super) threads: Threads,
    /// Who writes in transactions.
    writers: Arc<kafka::Writers>,
    /// How many topics each source reads.
    topics: Mutex<BTreeMap<Arc<str>, usize>>,
}

impl Kafka {
    pub(super) fn new(lags: Arc<Lags>) -> Self {
        Kafka { lags, threads: Threads::default(), writers: Arc::default(), topics: Mutex::default() }
    }

    /// Keeps how many topics there are, for the share of the budget that each gets.
    pub(super) fn set_layout(&self, layout: &Layout) {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.extend(layout.iter().map(|(input, of)| (input.clone(), of.len())));
    }

    fn topics_of(&self, input: &str) -> usize {
        let topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.get(input).copied().unwrap_or(1).max(1)
    }
}

/// What the tasks of an appliance know together of its brokers: whether each was ever well.
#[derive(Default)]
pub(super) struct Brokers {
    streams: BTreeMap<Arc<str>, Arc<Broker>>,
    exchanges: BTreeMap<Arc<str>, Arc<RabbitmqExchange>>,
}

/// Makes the factories of one step.
struct StepFactories {
    plugin: Plugin,
    pipeline: Arc<str>,
    inputs: Vec<Arc<str>>,
    step: StepConfig,
}

impl Factories for StepFactories {
    fn of(&self, partition: Partition) -> Result<Arc<dyn Factory>, StartError> {
        let context = StepContext {
            pipeline: self.pipeline.clone(),
            step: self.step.name.clone(),
            partition,
            inputs: self.inputs.clone(),
            tables: self.step.table_names(),
        };
        let plugin = self.plugin.granted(&self.step.grants);
        let factory = plugin.step(context, self.step.config.clone(), self.step.limits.clone());
        factory.map_err(|error| refused(error.to_string()))
    }
}

/// What the steps of a pipeline are to run.
pub(super) fn steps(
    name: &Arc<str>,
    pipeline: &Pipeline,
    plugins: &BTreeMap<Arc<str>, Plugin>,
) -> Result<Vec<StepVersion>, StartError> {
    let version = |step: &StepConfig| {
        let loaded = plugins.get(&step.plugin);
        let plugin = loaded.ok_or_else(|| refused(format!("plugin {} is not loaded", step.plugin)))?;
        let (pipeline, inputs) = (name.clone(), pipeline.from.clone());
        Ok(StepVersion {
            step: step.name.clone(),
            plugin: step.plugin.clone(),
            hash: plugin.hash(),
            config: step.config.clone(),
            grants: step.grants.clone(),
            limits: step.limits.clone(),
            factories: Arc::new(StepFactories { plugin: plugin.clone(), pipeline, inputs, step: step.clone() }),
        })
    };
    pipeline.steps.iter().map(version).collect()
}

/// What the steps of each pipeline run: what is kept of before, or else a first version of them.
pub(super) fn versions(
    config: &Config,
    plugins: &BTreeMap<Arc<str>, Plugin>,
    kept: &BTreeMap<Arc<str>, Arc<Versions>>,
) -> Result<BTreeMap<Arc<str>, Arc<Versions>>, super::Error> {
    let mut versions = BTreeMap::new();
    for (name, of) in &config.pipelines {
        let versions_of = match kept.get(name) {
            Some(kept) => kept.clone(),
            None => {
                let steps = steps(name, of, plugins).map_err(|error| super::Error::Pipeline {
                    pipeline: name.clone(),
                    error: pipeline::Error::Plugin(error),
                })?;
                Versions::new(name.clone(), steps)
            }
        };
        versions.insert(name.clone(), versions_of);
    }
    Ok(versions)
}

impl Wires {
    /// Opens what its tasks share of sinks and brokers. What has not changed since `before` is gone on with.
    pub(super) async fn with_sinks_of(mut self, before: Option<&Wires>) -> Result<Self, super::Error> {
        let config = self.config.clone();
        for plugin in self.plugins.values() {
            plugin.keep_in(Archive { store: self.store.clone(), committer: self.committer.clone() });
        }
        for (name, source) in &config.sources {
            if let SourceConfig::Rabbitmq(settings) = source {
                let known = before.filter(|before| before.config.sources.get(name) == Some(source));
                let broker = known.and_then(|before| before.brokers.streams.get(name).cloned());
                let broker = broker.unwrap_or_else(|| Arc::new(Broker::new(name, &settings.server)));
                self.brokers.streams.insert(name.clone(), broker);
            }
        }
        for (name, sink) in &config.sinks {
            let known = before.filter(|before| before.config.sinks.get(name) == Some(sink));
            match sink {
                SinkConfig::Rabbitmq(settings) => {
                    let exchange = known.and_then(|before| before.brokers.exchanges.get(name).cloned());
                    let exchange = exchange.unwrap_or_else(|| RabbitmqExchange::new(name, settings));
                    self.brokers.exchanges.insert(name.clone(), exchange);
                }
                SinkConfig::File(settings) => {
                    let file = match known.and_then(|before| before.files.get(name).cloned()) {
                        Some(file) => file,
                        None => self.open_file(name, settings).await?,
                    };
                    self.files.insert(name.clone(), file);
                }
                SinkConfig::Stdout(_) | SinkConfig::Kafka(_) | SinkConfig::Plugin(_) => {}
            }
        }
        Ok(self)
    }

    /// Opens a file sink at its committed position.
    async fn open_file(&self, name: &Arc<str>, settings: &FileSink) -> Result<Arc<FileParticipant>, super::Error> {
        let position = self.store.position(&FileParticipant::key(name, settings)).await?;
        let opened = FileParticipant::open(name, settings, position, self.clock.clone());
        opened.map_err(|error| super::Error::Sink { name: name.clone(), error })
    }

    /// Opens a source that cannot be read again. `None`: it can, or it is not needed, as a listener on the network waits for
    /// what is still to come and a drained appliance does not.
    pub(super) async fn listener(
        &self,
        name: &Arc<str>,
        source: &SourceConfig,
        received: Arc<Received>,
    ) -> Result<Option<Box<dyn Listener>>, Error> {
        let (mode, clock) = (self.mode, self.clock.clone());
        Ok(match source {
            SourceConfig::Stdin(settings) => Some(Box::new(StdinListener::new(settings, clock, received)?)),
            SourceConfig::Syslog(settings) if mode == Mode::Follow => {
                Some(Box::new(SyslogListener::bind(name, settings, clock, received)?))
            }
            SourceConfig::Rabbitmq(settings) if settings.stream.is_none() => {
                let listener = RabbitmqListener::open(name, settings, mode, clock, &*self.store, received);
                Some(Box::new(listener.await?))
            }
            SourceConfig::Syslog(_)
            | SourceConfig::Rabbitmq(_)
            | SourceConfig::File(_)
            | SourceConfig::Demo(_)
            | SourceConfig::Kafka(_)
            | SourceConfig::Table(_) => None,
        })
    }
}

#[async_trait]
impl Wiring for Wires {
    async fn reader(
        &self,
        task: &TaskSpec,
        input: &TaskInput,
        at: Option<&Position>,
    ) -> Result<Box<dyn Reader>, Error> {
        let name = &input.name;
        if let Some(writers) = self.writers.get(name) {
            let (store, committer) = (self.store.clone(), &self.committer);
            let opened = StreamReader::open(store, committer, name.clone(), input.partition, at, self.mode, writers);
            let opened: Box<dyn Reader> = Box::new(opened.await?);
            let hands_on = *task.pipeline == *DEAD_LETTERS;
            return Ok(if hands_on { Box::new(ConnectReader(opened)) } else { opened });
        }
        let (mode, clock) = (self.mode, self.clock.clone());
        match self.config.sources.get(name) {
            Some(SourceConfig::File(settings)) => Ok(Box::new(FileReader::open(name, settings, at, mode, clock)?)),
            Some(SourceConfig::Demo(settings)) => Ok(Box::new(DemoReader::open(name, settings, at, mode, clock)?)),
            Some(SourceConfig::Table(settings)) => {
                Ok(Box::new(TableReader::open(name, settings, at, mode, input.table.is_some())?))
            }
            Some(SourceConfig::Kafka(settings)) => self.kafka_reader(task, input, settings, at).await,
            Some(SourceConfig::Rabbitmq(settings)) => match (settings.stream, self.brokers.streams.get(name)) {
                (Some(start), Some(broker)) => {
                    let opened = RabbitmqReader::open(name, settings, start, at, mode, clock, broker.clone());
                    Ok(Box::new(opened?))
                }
                _ => Err(unknown(name)),
            },
            _ => Err(unknown(name)),
        }
    }

    async fn chain(&self, task: &TaskSpec) -> Result<Chain, step::Error> {
        let known = self.config.pipelines.get(&task.pipeline).zip(self.versions.get(&task.pipeline));
        let Some((pipeline, versions)) = known else {
            return Err(refused(format!("pipeline {} is not in the configuration", task.pipeline)).into());
        };
        let routes = pipeline.ports.keys().cloned().zip(1..).collect();
        Chain::following(versions, &routes, &task.home(&self.store)).await
    }

    async fn sink(&self, task: &TaskSpec, name: &str) -> Result<Box<dyn Sink>, Error> {
        match self.config.sinks.get(name) {
            Some(SinkConfig::Stdout(settings)) => Ok(Box::new(self.stdout.open(settings))),
            Some(SinkConfig::File(_)) => match self.files.get(name) {
                Some(file) => Ok(Box::new(file.sink())),
                None => Err(unknown(name)),
            },
            Some(SinkConfig::Rabbitmq(_)) => match self.brokers.exchanges.get(name) {
                Some(exchange) => Ok(Box::new(exchange.open(name, &task.pipeline).await?)),
                None => Err(unknown(name)),
            },
            Some(SinkConfig::Plugin(step)) => {
                let context = StepContext {
                    pipeline: name.into(),
                    step: step.name.clone(),
                    partition: task.partition,
                    inputs: vec![task.pipeline.clone()],
                    tables: Vec::new(),
                };
                let plugin = self.plugin(step).map_err(|error| Error::stop(error.to_string()))?;
                let identity = Identity { plugin: step.plugin.clone(), hash: plugin.hash().into() };
                let factory = plugin.granted(&step.grants).sink(context, step.config.clone(), step.limits.clone());
                let factory = factory.map_err(|error| Error::stop(error.to_string()))?;
                let task = PluginTask::start(name.into(), Arc::new(factory)).await?;
                Ok(Box::new(task.with_identity(identity)))
            }
            Some(SinkConfig::Kafka(settings)) => {
                let opening = kafka::Opening {
                    name: name.into(),
                    pipeline: task.pipeline.clone(),
                    partition: task.partition,
                    settings: (**settings).clone(),
                    store: self.store.clone(),
                    bytes_max: self.budget(task).produced,
                    writers: self.kafka.writers.clone(),
                    alive: self.kafka.threads.join(),
                };
                Ok(Box::new(KafkaTask::open(opening).await?))
            }
            None => Err(unknown(name)),
        }
    }
}

impl Wires {
    async fn kafka_reader(
        &self,
        task: &TaskSpec,
        input: &TaskInput,
        settings: &KafkaSource,
        at: Option<&Position>,
    ) -> Result<Box<dyn Reader>, Error> {
        let name = input.name.clone();
        let key = PositionKey { partition: Partition(0), ..task.position_key(input) };
        let first = self.store.position(&key).await;
        let first = first.map_err(|error| Error::stop(error.to_string()))?;
        let opening = Opening {
            pipeline: task.pipeline.clone(),
            partition: task.partition,
            settings: settings.clone(),
            mode: self.mode,
            position: at.cloned(),
            first,
            bytes_max: self.budget(task).fetched / self.kafka.topics_of(&name),
            lags: self.kafka.lags.clone(),
            alive: self.kafka.threads.join(),
            name,
        };
        Ok(Box::new(KafkaReader::open(opening)?))
    }

    fn budget(&self, task: &TaskSpec) -> Budget {
        let pipeline = self.config.pipelines.get(&task.pipeline);
        pipeline.map_or_else(Budget::default, |pipeline| budget::of(&self.config, pipeline))
    }

    fn plugin(&self, step: &StepConfig) -> Result<&Plugin, StartError> {
        self.plugins.get(&step.plugin).ok_or_else(|| refused(format!("plugin {} is not loaded", step.plugin)))
    }
}

fn unknown(name: &str) -> Error {
    Error::stop(format!("{name} is not in the configuration"))
}

fn refused(message: String) -> StartError {
    StartError::Config { path: String::new(), message }
}

/// What an error of the system at start calls for: an operator.
pub(super) fn io(error: &std::io::Error) -> Error {
    Error::stop(error.to_string())
}
