//! Opens what tasks work with, as the pipeline file says: sources, steps, sinks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::budget::{self, Budget};
use super::supervise::Layout;
use crate::clock::Clock;
use crate::config::{Config, KafkaSource, Sink as SinkConfig, Source as SourceConfig, Step as StepConfig};
use crate::kafka::Threads;
use crate::metrics::Lags;
use crate::pipeline::{Chain, TaskInput, TaskSpec, Wiring};
use crate::plugin::StartError;
use crate::plugin::instance::StepContext;
use crate::plugin::load::Plugin;
use crate::plugin::step::Step;
use crate::rabbitmq::Broker;
use crate::record::{Partition, Position};
use crate::sink::Sink;
use crate::sink::file::FileParticipant;
use crate::sink::kafka::{self, KafkaTask};
use crate::sink::plugin::PluginTask;
use crate::sink::rabbitmq::RabbitmqExchange;
use crate::sink::stdout::Stdout;
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
use crate::store::{PositionKey, Store};

/// What the tasks of an appliance are opened from.
pub(super) struct Wires {
    pub(super) config: Arc<Config>,
    pub(super) mode: Mode,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) store: Arc<dyn Store>,
    pub(super) committer: Committer,
    pub(super) writers: BTreeMap<Arc<str>, Writers>,
    pub(super) plugins: BTreeMap<Arc<str>, Plugin>,
    pub(super) stdout: Stdout,
    pub(super) files: BTreeMap<Arc<str>, Arc<FileParticipant>>,
    pub(super) kafka: Kafka,
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

impl Brokers {
    pub(super) fn of(config: &Config) -> Self {
        let mut brokers = Brokers::default();
        for (name, source) in &config.sources {
            if let SourceConfig::Rabbitmq(settings) = source {
                brokers.streams.insert(name.clone(), Arc::new(Broker::new(name, &settings.server)));
            }
        }
        for (name, sink) in &config.sinks {
            if let SinkConfig::Rabbitmq(settings) = sink {
                brokers.exchanges.insert(name.clone(), RabbitmqExchange::new(name, settings));
            }
        }
        brokers
    }
}

/// Opens all file sinks at their committed positions.
pub(super) async fn open_files(
    config: &Config,
    store: &dyn Store,
    clock: &Arc<dyn Clock>,
) -> Result<BTreeMap<Arc<str>, Arc<FileParticipant>>, super::Error> {
    let mut files = BTreeMap::new();
    for (name, sink) in &config.sinks {
        if let SinkConfig::File(settings) = sink {
            let position = store.position(&FileParticipant::key(name, settings)).await?;
            let opened = FileParticipant::open(name, settings, position, clock.clone());
            let file = opened.map_err(|error| super::Error::Sink { name: name.clone(), error })?;
            files.insert(name.clone(), file);
        }
    }
    Ok(files)
}

/// Opens a source that cannot be read again. `None`: it can, or it is not needed, as a listener on the network waits for
/// what is still to come and a drained appliance does not.
pub(super) async fn listener(
    name: &Arc<str>,
    source: &SourceConfig,
    mode: Mode,
    clock: &Arc<dyn Clock>,
    store: &dyn Store,
    received: Arc<Received>,
) -> Result<Option<Box<dyn Listener>>, Error> {
    Ok(match source {
        SourceConfig::Stdin(settings) => Some(Box::new(StdinListener::new(settings, clock.clone(), received)?)),
        SourceConfig::Syslog(settings) if mode == Mode::Follow => {
            Some(Box::new(SyslogListener::bind(name, settings, clock.clone(), received)?))
        }
        SourceConfig::Rabbitmq(settings) if settings.stream.is_none() => {
            let listener = RabbitmqListener::open(name, settings, mode, clock.clone(), store, received);
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
            return Ok(Box::new(opened.await?));
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

    async fn chain(&self, task: &TaskSpec) -> Result<Chain, StartError> {
        let Some(pipeline) = self.config.pipelines.get(&task.pipeline) else {
            return Err(refused(format!("pipeline {} is not in the configuration", task.pipeline)));
        };
        let mut steps = Vec::new();
        for step in &pipeline.steps {
            let context = StepContext {
                pipeline: task.pipeline.clone(),
                step: step.name.clone(),
                partition: task.partition,
                inputs: pipeline.from.clone(),
                tables: step.table_names(),
            };
            let factory = self.plugin(step)?.step(context, step.config.clone(), step.limits.clone());
            let factory = factory.map_err(|error| refused(error.to_string()))?;
            let home = task.home(&self.store);
            steps.push(Step::start(step.name.clone(), factory, step.limits.retries, &home).await?);
        }
        let routes = pipeline.ports.keys().cloned().zip(1..).collect();
        Chain::new(steps, &routes)
            .map_err(|unknown| refused(format!("no step has a port named {}", unknown.join(" or "))))
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
                let factory = plugin.sink(context, step.config.clone(), step.limits.clone());
                let factory = factory.map_err(|error| Error::stop(error.to_string()))?;
                Ok(Box::new(PluginTask::start(name.into(), Arc::new(factory)).await?))
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
