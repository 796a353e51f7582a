//! Runs a case on the real engine, through the same steps and sinks as a pipeline, without any broker or file.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::line::{Body, Origin};
use super::{Case, Outcome};
use crate::pipeline::chain::{Arrival, Chain, Now, Processed};
use crate::pipeline::time::EventTime;
use crate::plugin::step::Step;
use crate::plugin::{Plugin, StepContext, World};
use crate::record::{Batch, Output, Timestamp};
use crate::sink::Sink as _;
use crate::sink::plugin::PluginTask;
use crate::state::Home;
use crate::store::memory::MemoryStore;
use crate::store::{Changes, Store as _};

/// How the records of a case are given. What comes out must not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As many at once as come of one input.
    Straight,
    /// One by one.
    OneByOne,
    /// Straight, but the second half goes to fresh instances, on what the first ones have put into their tables.
    Restarted,
}

impl Way {
    /// The ways that a plugin is run in: one that remembers all of them.
    pub fn of(world: World) -> &'static [Way] {
        match world {
            World::StatefulTransform => &[Way::Straight, Way::OneByOne, Way::Restarted],
            World::Transform | World::Sink => &[Way::Straight],
        }
    }
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Way::Straight => "all at once",
            Way::OneByOne => "record by record",
            Way::Restarted => "restarted midway",
        })
    }
}

/// What comes out of a case, in the order of the records that it comes of. Where the plugin does not start, or has to be given
/// up, the last outcome says so.
pub async fn run(plugin: &Plugin, case: &Case, way: Way) -> Vec<Outcome> {
    let mut out = Vec::new();
    let done = match plugin.world() {
        World::Sink => deliver(plugin, case, way, &mut out).await,
        World::Transform | World::StatefulTransform => process(plugin, case, way, &mut out).await,
    };
    if let Err(why) = done {
        out.push(Outcome::Failed(why));
    }
    out
}

/// Some records of one input, as they are given.
struct Piece {
    input: usize,
    records: Batch,
}

/// The records of a case as they are given, and before which piece the instances are replaced.
fn pieces(case: &Case, way: Way) -> (Vec<Piece>, Option<usize>) {
    let inputs = || case.settings.inputs.iter().chain(&case.settings.tables);
    let count: usize = case.given.iter().map(|given| given.records.len()).sum();
    let half = (way == Way::Restarted).then_some(count / 2);
    let (mut pieces, mut restart, mut seen) = (Vec::new(), None, 0);
    for given in &case.given {
        let input = inputs().position(|name| *name == given.input).unwrap_or_default();
        let len = given.records.len();
        let mut cuts = match way {
            Way::OneByOne => (0..=len).collect(),
            Way::Straight | Way::Restarted => vec![0, len],
        };
        if let Some(at) = half.and_then(|half| half.checked_sub(seen)).filter(|at| *at < len) {
            restart = Some(pieces.len() + usize::from(at > 0));
            cuts.insert(1, at);
            cuts.dedup();
        }
        for (from, to) in cuts.iter().zip(cuts.iter().skip(1)) {
            pieces.push(Piece { input, records: given.records.slice(*from..*to) });
        }
        seen += len;
    }
    (pieces, restart)
}

/// Whose record it is, where there are several inputs.
fn label(case: &Case, input: usize) -> Option<String> {
    let name = case.settings.inputs.iter().chain(&case.settings.tables).nth(input);
    name.filter(|_| case.has_many_inputs()).map(|name| name.to_string())
}

fn context(case: &Case) -> StepContext {
    let settings = &case.settings;
    StepContext {
        pipeline: settings.pipeline.clone(),
        step: settings.step.clone(),
        partition: settings.partition,
        inputs: settings.inputs.clone(),
        tables: settings.tables.clone(),
    }
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A step at work, and the time of its inputs.
struct Running {
    chain: Chain,
    time: EventTime,
    ports: Vec<String>,
}

impl Running {
    async fn start(plugin: &Plugin, case: &Case, home: &Home) -> Result<Self, String> {
        let settings = &case.settings;
        let factory = plugin.step(context(case), settings.config.clone(), settings.limits.clone()).map_err(told)?;
        let step = Step::start(settings.step.clone(), factory, settings.limits.retries, home).await.map_err(told)?;
        let ports = step.description().ports.clone();
        let routes: BTreeMap<Arc<str>, usize> = ports.iter().map(|port| Arc::from(port.as_str())).zip(1..).collect();
        let chain = Chain::new(vec![step], &routes).map_err(|_| "its ports cannot be told apart".to_owned())?;
        let time = EventTime::open(home, settings.inputs.iter()).await.map_err(told)?;
        Ok(Running { chain, time, ports })
    }

    /// Gives records of an input, or rows of a table, and commits what is remembered of them.
    async fn give(&mut self, store: &MemoryStore, given: Arrival, idle: &[bool]) -> Result<Processed, String> {
        let (time, input, is_table) = (&mut self.time, given.input as usize, given.table_of.is_some());
        let observe = |times: &[Option<Timestamp>]| match is_table {
            true => vec![time.reached(); times.len()],
            false => time.observe(input, times, idle),
        };
        let mut done = self.chain.process(given, observe).await.map_err(told)?;
        let mut state = std::mem::take(&mut done.state);
        state.extend(self.time.changes_of(input));
        store.commit(&[Changes { state, ..Changes::default() }], Timestamp(0)).await.map_err(told)?;
        self.chain.committed();
        Ok(done)
    }
}

async fn process(plugin: &Plugin, case: &Case, way: Way, out: &mut Vec<Outcome>) -> Result<(), String> {
    let (store, settings) = (MemoryStore::new(), &case.settings);
    let (pipeline, partition) = (settings.pipeline.clone(), settings.partition);
    let home = Home { store: Arc::new(store.clone()), pipeline, partition };
    let mut running = Running::start(plugin, case, &home).await?;
    let (pieces, restart) = pieces(case, way);
    let mut late = 0;
    for (at, Piece { input, records }) in pieces.iter().enumerate() {
        if restart == Some(at) {
            running = Running::start(plugin, case, &home).await?;
        }
        // An input that gives nothing more holds the others' time back no longer.
        let rest = pieces.get(at..).unwrap_or_default();
        let idle = (0..settings.inputs.len()).map(|input| !rest.iter().any(|piece| piece.input == input));
        let idle: Vec<bool> = idle.collect();
        let table_of = (*input >= settings.inputs.len()).then_some(0);
        let given = Arrival { input: *input as u32, table_of, source: "case".into(), batch: records.clone() };
        let done = running.give(&store, given, &idle).await?;
        late += done.late;
        out.extend(outcomes(done, records, &label(case, *input), &running.ports));
    }
    if let Some(clock) = settings.clock {
        let now = Now { watermark: running.time.watermark(), clock };
        let (number, _) = running.time.count_call(clock);
        let done = running.chain.advance(&"case".into(), number, now).await.map_err(told)?;
        out.extend(outcomes(done, &Batch::default(), &None, &running.ports));
    }
    if late > 0 {
        out.push(Outcome::Late(late));
    }
    Ok(())
}

/// What became of some records, in their order; what a record gives comes in the order in which it gave it.
fn outcomes(done: Processed, given: &Batch, input: &Option<String>, ports: &[String]) -> Vec<Outcome> {
    let places: HashMap<u64, usize> = given.iter().enumerate().map(|(at, record)| (record.offset.0, at)).collect();
    let place = |offset: u64| places.get(&offset).copied().unwrap_or(usize::MAX);
    let mut found = Vec::new();
    for (route, output) in &done.outputs {
        let port = route.checked_sub(1).and_then(|at| ports.get(at)).cloned();
        for (record, ordinal) in output.records.iter().zip(&output.ordinals) {
            let of = Origin { input: input.clone(), offset: record.offset };
            let outcome = Outcome::Record { of, port: port.clone(), body: Body::of(&record) };
            found.push(((place(record.offset.0), *ordinal), outcome));
        }
    }
    for refused in &done.refused {
        for (record, reason) in refused.records.iter().zip(&refused.reasons) {
            let of = Origin { input: input.clone(), offset: record.offset };
            found.push(((place(record.offset.0), u32::MAX), Outcome::Reject { of, reason: reason.clone() }));
        }
    }
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().map(|(_, outcome)| outcome).collect()
}

async fn deliver(plugin: &Plugin, case: &Case, way: Way, out: &mut Vec<Outcome>) -> Result<(), String> {
    let settings = &case.settings;
    let factory = plugin.sink(context(case), settings.config.clone(), settings.limits.clone()).map_err(told)?;
    let mut sink = PluginTask::start(settings.pipeline.clone(), Arc::new(factory)).await.map_err(told)?;
    for piece in pieces(case, way).0 {
        let input = label(case, piece.input);
        let source = settings.inputs.get(piece.input).cloned().unwrap_or_else(|| "input".into());
        let records = piece.records;
        let output = Output { source, ordinals: vec![0; records.len()], records };
        let output = Arc::new(output);
        let delivery = sink.send(output.clone()).await.map_err(told)?.await.map_err(told)?;
        let mut rejects = delivery.rejects.into_iter().peekable();
        for (index, record) in (0..).zip(output.records.iter()) {
            let of = Origin { input: input.clone(), offset: record.offset };
            out.push(match rejects.next_if(|reject| reject.index == index) {
                Some(reject) => Outcome::Refused { of, reason: reject.reason, retriable: reject.retriable },
                None => Outcome::Delivered(of),
            });
        }
    }
    Ok(())
}

/// A plugin that is given batch after batch of the first input, for measurements.
pub struct Bench {
    at: At,
    store: MemoryStore,
    source: Arc<str>,
}

enum At {
    Step(Box<Running>),
    Sink(PluginTask),
}

impl Bench {
    /// Starts the plugin as the case says.
    pub async fn start(plugin: &Plugin, case: &Case) -> Result<Bench, String> {
        let (store, settings) = (MemoryStore::new(), &case.settings);
        let source = settings.inputs.first().cloned().unwrap_or_else(|| "input".into());
        let at = if plugin.world() == World::Sink {
            let factory = plugin.sink(context(case), settings.config.clone(), settings.limits.clone()).map_err(told)?;
            At::Sink(PluginTask::start(settings.pipeline.clone(), Arc::new(factory)).await.map_err(told)?)
        } else {
            let (pipeline, partition) = (settings.pipeline.clone(), settings.partition);
            let home = Home { store: Arc::new(store.clone()), pipeline, partition };
            At::Step(Box::new(Running::start(plugin, case, &home).await?))
        };
        Ok(Bench { at, store, source })
    }

    /// The bytes of the instance's memory; a sink does not tell.
    pub fn memory_bytes(&self) -> Option<u64> {
        match &self.at {
            At::Step(running) => Some(running.chain.memory_bytes()),
            At::Sink(_) => None,
        }
    }

    /// Gives a batch; says how many records came out, and how many were rejected.
    pub async fn give(&mut self, batch: &Batch) -> Result<(u64, u64), String> {
        match &mut self.at {
            At::Step(running) => {
                let (source, batch) = (self.source.clone(), batch.clone());
                let given = Arrival { input: 0, table_of: None, source, batch };
                let done = running.give(&self.store, given, &[]).await?;
                let out = done.outputs.iter().map(|(_, output)| output.records.len() as u64).sum();
                Ok((out, done.refused.iter().map(|refused| refused.reasons.len() as u64).sum()))
            }
            At::Sink(sink) => {
                let ordinals = vec![0; batch.len()];
                let output = Output { source: self.source.clone(), records: batch.clone(), ordinals };
                let delivery = sink.send(Arc::new(output)).await.map_err(told)?.await.map_err(told)?;
                Ok((0, delivery.rejects.len() as u64))
            }
        }
    }
}
