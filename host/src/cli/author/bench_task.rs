//! A task of a pipeline on a bench: the real loop, with records at hand in place of sources, and notes in place of sinks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::FutureExt as _;

use crate::appliance::first_task;
use crate::case::line::Body;
use crate::clock::Clock;
use crate::config::{Config, Source};
use crate::dlq::desk::Desk;
use crate::metrics::PipelineMetrics;
use crate::pipeline::{Chain, Task, TaskInput, TaskSpec, Wiring};
use crate::plugin::step::{self, Step};
use crate::plugin::{Plugin, StartError, StepContext};
use crate::record::{Batch, Offset, Output, Partition, Position, Timestamp};
use crate::sink::{Confirm, Delivery, Sink};
use crate::source::table::TableReader;
use crate::source::{BATCH_RECORDS_MAX, Chunk, Error, Mode, Reader};
use crate::stop::stop_signal;
use crate::store::committer::Committer;
use crate::store::memory::MemoryStore;
use crate::store::{DEAD_LETTERS, Store};

/// A record that came out.
pub(super) type Came = Body;

/// Bytes that are read of a stream at a time.
const READ_BYTES: usize = 1 << 20;

/// Runs the first task of a pipeline over these records, to their end; gives what came out, by sink and stream. The clock stands
/// still.
pub(super) async fn run(
    config: &Config,
    pipeline: &Arc<str>,
    given: BTreeMap<Arc<str>, Batch>,
    plugins: &BTreeMap<Arc<str>, Plugin>,
    clock: Timestamp,
) -> Result<BTreeMap<Arc<str>, Vec<Came>>, String> {
    let settings = config.pipelines.get(pipeline).ok_or_else(|| format!("there is no pipeline {pipeline}"))?;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    for spec in config.streams.values() {
        store.create_stream(spec).await.map_err(|error| error.to_string())?;
    }
    let clock: Arc<dyn Clock> = Arc::new(StandingClock(clock));
    let (committer, commits) = Committer::new(store.clone(), clock.clone(), Default::default());
    let (_stopper, stop) = stop_signal();
    let commits = tokio::spawn(commits.run(stop.clone()));
    let spec = first_task(config, Mode::Drain, (pipeline, settings));
    let noted: Noted = Arc::default();
    let wiring = Arc::new(Bench {
        config: config.clone(),
        given,
        plugins: plugins.clone(),
        store: store.clone(),
        noted: noted.clone(),
    });
    let metrics = Arc::new(PipelineMetrics::default());
    let desk = Desk::default();
    let task = Task { spec, wiring, store: store.clone(), committer, metrics, clock, desk };
    let ended = task.run(stop).await;
    commits.abort();
    ended.map_err(|error| error.to_string())?;
    let mut came = std::mem::take(&mut *noted.lock().unwrap_or_else(PoisonError::into_inner));
    let streams = settings.outputs().filter(|name| config.streams.contains_key(*name));
    for stream in streams.cloned().chain([Arc::from(DEAD_LETTERS)]) {
        let records = read(&*store, config, &stream).await?;
        came.entry(stream).or_default().extend(records);
    }
    Ok(came)
}

/// All records of a stream, partition by partition.
async fn read(store: &dyn Store, config: &Config, stream: &Arc<str>) -> Result<Vec<Came>, String> {
    let partitions = config.streams.get(stream).map_or(0, |spec| spec.partitions);
    let mut records = Vec::new();
    for partition in (0..partitions).map(Partition) {
        let mut from = Offset(0);
        loop {
            let batch = store.read(stream, partition, from, READ_BYTES).await.map_err(|error| error.to_string())?;
            let Some(last) = batch.last_offset() else { break };
            records.extend(batch.iter().map(|record| Body::of(&record)));
            from = Offset(last.0 + 1);
        }
    }
    Ok(records)
}

struct StandingClock(Timestamp);

impl Clock for StandingClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// What came out by sink.
type Noted = Arc<Mutex<BTreeMap<Arc<str>, Vec<Came>>>>;

/// Opens what the task works with.
struct Bench {
    config: Config,
    given: BTreeMap<Arc<str>, Batch>,
    plugins: BTreeMap<Arc<str>, Plugin>,
    store: Arc<dyn Store>,
    noted: Noted,
}

#[async_trait]
impl Wiring for Bench {
    async fn reader(&self, _: &TaskSpec, input: &TaskInput, at: Option<&Position>) -> Result<Box<dyn Reader>, Error> {
        let name = &input.name;
        // A table's own file is read where the test has no rows of it.
        if let (None, Some(Source::Table(settings))) = (self.given.get(name), self.config.sources.get(name)) {
            return Ok(Box::new(TableReader::open(name, settings, at, Mode::Drain, input.table.is_some())?));
        }
        let records = self.given.get(name).filter(|_| input.partition == Partition(0)).cloned().unwrap_or_default();
        let next = at.and_then(Position::offset).unwrap_or_default().0;
        Ok(Box::new(GivenReader { source: format!("{name}/{}", input.partition).into(), records, next }))
    }

    async fn chain(&self, task: &TaskSpec) -> Result<Chain, step::Error> {
        let refused = |message: String| StartError::Config { path: String::new(), message };
        let known = self.config.pipelines.get(&task.pipeline);
        let pipeline = known.ok_or_else(|| refused(format!("there is no pipeline {}", task.pipeline)))?;
        let home = task.home(&self.store);
        let mut steps = Vec::new();
        for step in &pipeline.steps {
            let context = StepContext {
                pipeline: task.pipeline.clone(),
                step: step.name.clone(),
                partition: task.partition,
                inputs: pipeline.from.clone(),
                tables: step.table_names(),
            };
            let plugin = self.plugins.get(&step.plugin);
            let plugin = plugin.ok_or_else(|| refused(format!("plugin {} is not loaded", step.plugin)))?;
            let factory = plugin.step(context, step.config.clone(), step.limits.clone());
            let factory = factory.map_err(|error| refused(error.to_string()))?;
            steps.push(Step::start(step.name.clone(), factory, step.limits.retries, &home).await?);
        }
        let routes = pipeline.ports.keys().cloned().zip(1..).collect();
        let unknown = |ports: Vec<Arc<str>>| refused(format!("no step has a port named {}", ports.join(" or ")));
        Ok(Chain::new(steps, &routes).map_err(unknown)?)
    }

    async fn sink(&self, _: &TaskSpec, name: &str) -> Result<Box<dyn Sink>, Error> {
        Ok(Box::new(NotingSink { name: name.into(), noted: self.noted.clone() }))
    }
}

/// Gives records that are at hand. Positions count them.
struct GivenReader {
    source: Arc<str>,
    records: Batch,
    next: u64,
}

#[async_trait]
impl Reader for GivenReader {
    async fn next(&mut self) -> Result<Option<Chunk>, Error> {
        let from = usize::try_from(self.next).unwrap_or(usize::MAX).min(self.records.len());
        let to = (from + BATCH_RECORDS_MAX).min(self.records.len());
        if from == to {
            return Ok(None);
        }
        self.next = to as u64;
        let position = Position::at(Offset(self.next));
        Ok(Some(Chunk { source: self.source.clone(), records: self.records.slice(from..to), position }))
    }
}

/// Notes what it is given. A record that is sent again, after a failure of another part, is noted again: nothing here fails.
struct NotingSink {
    name: Arc<str>,
    noted: Noted,
}

#[async_trait]
impl Sink for NotingSink {
    async fn send(&mut self, output: Arc<Output>) -> Result<Confirm, Error> {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let records = output.records.iter().map(|record| Body::of(&record));
        noted.entry(self.name.clone()).or_default().extend(records);
        Ok(async { Ok(Delivery::default()) }.boxed())
    }
}
