//! A task's steps, one after the other: a batch in, the records for each route out, and an account of all others.
//!
//! Knows steps and routes; not where records come from, nor what stands at the end of a route.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use tokio::time::Instant;

use super::follow::{Follow, Next};
use crate::dlq::Stage;
use crate::metrics::PipelineMetrics;
use crate::metrics::steps::StepTally;
use crate::plugin::step::{Error, Step};
use crate::plugin::versions::Versions;
use crate::plugin::{Advanced, Answer, Given, Identity, Outcome, StartError};
use crate::record::{Batch, Offset, Output, Port, Record, Reject, Timestamp};
use crate::state::{Home, kept};
use crate::store::StateChange;

/// The number of a route: a set of destinations. Route 0 is where the last step's main port leads.
pub type Route = usize;

/// The steps of one task.
pub struct Chain {
    steps: Vec<Step>,
    /// For each step the routes of its ports, the first of which has number 1.
    ports: Vec<Vec<Option<Route>>>,
    /// Where the steps may come to run other versions.
    follow: Option<Follow>,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Processed {
    /// The records that leave, by route. No route comes twice, and none is empty.
    pub outputs: Vec<(Route, Output)>,
    /// Records that a step refused.
    pub refused: Vec<Refused>,
    /// How many records were dropped by intent: filtered, or sent to a port that leads nowhere.
    pub filtered: u64,
    /// How many records a step counted as having come too late.
    pub late: u64,
    /// What the steps remember.
    pub state: Vec<StateChange>,
    /// What each step did, in their order.
    pub steps: Vec<StepTally>,
}

/// Records of one place, as they are given to the chain.
pub struct Arrival {
    /// Which of the inputs that steps know of they are from.
    pub input: u32,
    /// The step that reads them as rows of a table, by its place. They go to no step before it, and time does not go on with
    /// them.
    pub table_of: Option<usize>,
    /// Where they were read, for ids.
    pub source: Arc<str>,
    /// The records.
    pub batch: Batch,
}

/// How far time has come.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// The watermark; absent where some input has given nothing yet.
    pub watermark: Option<Timestamp>,
    /// The time of the clock.
    pub clock: Timestamp,
}

/// The watermark before any.
pub const NOT_YET: Timestamp = Timestamp(i64::MIN);

/// What outputs get of the records that they come from.
struct Origins {
    offsets: Vec<Offset>,
    watermarks: Vec<Timestamp>,
}

/// Records that a step or sink refused, as they came to it.
#[derive(Debug)]
pub struct Refused {
    /// Who refused them.
    pub by: By,
    /// The records.
    pub records: Batch,
    /// For each, why.
    pub reasons: Vec<String>,
}

/// Who refuses records.
#[derive(Debug, Clone)]
pub struct By {
    /// What it is.
    pub stage: Stage,
    /// Its name.
    pub name: Arc<str>,
    /// The plugin that it runs, where that is known.
    pub plugin: Option<Identity>,
}

impl Refused {
    /// The refused records of a batch.
    pub fn of(by: By, batch: &Batch, rejects: Vec<Reject>) -> Self {
        let places: Vec<u32> = rejects.iter().map(|reject| reject.index).collect();
        Refused { by, records: batch.select(&places), reasons: rejects.into_iter().map(|r| r.reason).collect() }
    }
}

/// One way through the steps.
struct Pass {
    input: u32,
    now: Now,
    origins: Origins,
    exits: Exits,
    /// Whether it is time that calls, and not records.
    is_called_by_time: bool,
    done: Processed,
}

/// The records on their way through the steps.
struct Flow {
    records: Batch,
    /// For each, the record of the input batch that it comes from; `None`: they are the input batch.
    origin: Option<Vec<u32>>,
}

/// Outputs gathered by route.
struct Exits {
    by_route: BTreeMap<Route, (Batch, Vec<u32>)>,
    /// How many outputs each record of the input batch has had.
    outputs: Vec<u32>,
}

impl Chain {
    /// Puts steps together. `routes` says where their named ports lead; a port that it does not name leads nowhere.
    /// Fails with the names that no step has a port for.
    pub fn new(steps: Vec<Step>, routes: &BTreeMap<Arc<str>, Route>) -> Result<Self, Vec<Arc<str>>> {
        let ports_of = |step: &Step| step.description().ports.iter().map(|p| routes.get(p.as_str()).copied()).collect();
        let ports = steps.iter().map(ports_of).collect();
        let known = |name: &str| steps.iter().any(|step| step.description().ports.iter().any(|port| port == name));
        let unknown: Vec<_> = routes.keys().filter(|name| !known(name)).cloned().collect();
        if unknown.is_empty() { Ok(Chain { steps, ports, follow: None }) } else { Err(unknown) }
    }

    /// The steps of a pipeline as they are to run now, and as they come to run later.
    pub async fn following(
        versions: &Arc<Versions>,
        routes: &BTreeMap<Arc<str>, Route>,
        home: &Home,
    ) -> Result<Self, Error> {
        let (follow, steps) = Follow::start(versions, home).await?;
        let unknown_port = |unknown: Vec<Arc<str>>| {
            let message = format!("no step has a port named {}", unknown.join(" or "));
            let number = versions.current().number;
            match versions.failed(number, &message) {
                true => Error::Superseded,
                false => Error::Start(StartError::Config { path: String::new(), message }),
            }
        };
        let chain = Chain::new(steps, routes).map_err(unknown_port)?;
        Ok(Chain { follow: Some(follow), ..chain })
    }

    /// Waits until its steps are to run another version, and can.
    pub async fn next_version(&mut self) -> Next {
        match &mut self.follow {
            Some(follow) => follow.next().await,
            None => std::future::pending().await,
        }
    }

    /// Has its steps run another version. Where that cannot take over what they remember, the task has to begin again.
    pub fn replace(&mut self, next: Next) -> Result<(), Error> {
        let Some(follow) = &mut self.follow else { return Ok(()) };
        let begun = Instant::now();
        follow.replace(&mut self.steps, next)?;
        follow.versions().paused(begun.elapsed());
        Ok(())
    }

    /// Has its steps count there from now on.
    pub fn count_in(&mut self, metrics: &PipelineMetrics) {
        for step in &mut self.steps {
            let counted = metrics.step(step.name());
            step.count_in(counted);
        }
    }

    /// Counts what a chunk brought about that is committed.
    pub fn add(&self, tallies: &[StepTally]) {
        self.steps.iter().zip(tallies).for_each(|(step, tally)| step.add(tally));
    }

    /// Whether a step has keyed state, and is to be told of time.
    pub fn is_stateful(&self) -> bool {
        self.steps.iter().any(Step::is_stateful)
    }

    /// What is to be kept of the tables of its steps, for those who look at them.
    pub fn describe(&self, home: &Home) -> Vec<StateChange> {
        let kept = |step: &Step| {
            let of = step.description();
            kept::described(home, step.name(), of.schema, of.tables.as_deref().unwrap_or_default())
        };
        self.steps.iter().flat_map(kept).collect()
    }

    /// When a step wants to be called by the clock.
    pub fn clock_alarm(&self) -> Option<Timestamp> {
        self.steps.iter().filter_map(|step| step.alarms().clock_time).min()
    }

    /// Runs a batch from an input through all steps. `observe` is asked once, where a step is stateful: given the event time
    /// of each record that has one, it says for each record what the watermark is once it has come.
    pub async fn process(
        &mut self,
        arrival: Arrival,
        observe: impl FnOnce(&[Option<Timestamp>]) -> Vec<Timestamp>,
    ) -> Result<Processed, Error> {
        let Arrival { input, table_of, source, batch } = arrival;
        let mut pass = Pass {
            input,
            // The clock calls between records alone: what it brings about has ids of its own.
            now: Now { watermark: None, clock: Timestamp(i64::MIN) },
            origins: Origins { offsets: Vec::new(), watermarks: Vec::new() },
            exits: Exits { by_route: BTreeMap::new(), outputs: vec![0; batch.len()] },
            is_called_by_time: false,
            done: Processed::default(),
        };
        let given = batch.len();
        let mut flow = Flow { records: batch, origin: None };
        let mut at = 0;
        if self.is_stateful() {
            pass.origins.offsets = flow.records.iter().map(|record| record.offset).collect();
            // Records have their event time once they leave the last step before it that gives it, where there is one.
            let before = self.steps.iter().take_while(|step| !step.is_stateful());
            let sets_time = before.enumerate().filter(|(_, step)| step.description().sets_time);
            at = table_of.unwrap_or_else(|| sets_time.last().map_or(0, |(at, _)| at + 1));
            if table_of.is_none() {
                self.run(0..at, &mut flow, &mut pass).await?;
            }
            pass.origins.watermarks = observe(&flow.times(given));
            pass.now.watermark = pass.origins.watermarks.last().copied().filter(|watermark| *watermark > NOT_YET);
        }
        self.run(at..self.steps.len(), &mut flow, &mut pass).await?;
        if let Some(follow) = &self.follow {
            follow.count(given, pass.done.refused.iter().map(|refused| refused.reasons.len()).sum())?;
        }
        Ok(self.finish(flow, pass, &source))
    }

    /// Runs records that a step refused before through that step and those behind it. Time does not go on with them. What
    /// they do is no matter of the probation of a version: it was known that they may be refused.
    pub async fn replay(
        &mut self,
        from: usize,
        arrival: Arrival,
        reached: Option<Timestamp>,
    ) -> Result<Processed, Error> {
        let Arrival { input, source, batch, .. } = arrival;
        let mut pass = Pass {
            input,
            now: Now { watermark: reached, clock: Timestamp(i64::MIN) },
            origins: Origins {
                offsets: batch.iter().map(|record| record.offset).collect(),
                watermarks: vec![reached.unwrap_or(NOT_YET); batch.len()],
            },
            exits: Exits { by_route: BTreeMap::new(), outputs: vec![0; batch.len()] },
            is_called_by_time: false,
            done: Processed::default(),
        };
        let mut flow = Flow { records: batch, origin: None };
        self.run(from..self.steps.len(), &mut flow, &mut pass).await?;
        Ok(self.finish(flow, pass, &source))
    }

    /// The names of its steps, in their order.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.steps.iter().map(Step::name)
    }

    /// Lets time pass without a record. The ids of the outputs are of the place `number` of `source`.
    pub async fn advance(&mut self, source: &Arc<str>, number: Offset, now: Now) -> Result<Processed, Error> {
        let mut pass = Pass {
            input: 0,
            now,
            origins: Origins { offsets: vec![number], watermarks: vec![now.watermark.unwrap_or(NOT_YET)] },
            exits: Exits { by_route: BTreeMap::new(), outputs: vec![0] },
            is_called_by_time: true,
            done: Processed::default(),
        };
        let mut flow = Flow { records: Batch::default(), origin: Some(Vec::new()) };
        self.run(0..self.steps.len(), &mut flow, &mut pass).await?;
        Ok(self.finish(flow, pass, source))
    }

    /// Runs records through some of the steps.
    async fn run(&mut self, steps: Range<usize>, flow: &mut Flow, pass: &mut Pass) -> Result<(), Error> {
        let Pass { input, now, origins, exits, is_called_by_time, done } = pass;
        done.steps.resize(self.steps.len(), StepTally::default());
        let all = self.steps.iter_mut().zip(&self.ports).zip(&mut done.steps);
        for ((step, ports), tally) in all.take(steps.end).skip(steps.start) {
            let mut filtered = 0;
            tally.records_in += flow.records.len() as u64;
            tally.bytes_in += flow.records.bytes() as u64;
            if !flow.records.is_empty() {
                let watermarks = if step.is_stateful() { flow.watermarks(origins) } else { Vec::new() };
                let given = Given { input: *input, batch: &flow.records, watermarks: &watermarks };
                let outcome = step.run(given).await?;
                tally.rejected += outcome.rejects.len() as u64;
                if !outcome.rejects.is_empty() {
                    let (name, plugin) = (step.name().clone(), step.identity().cloned());
                    let by = By { stage: Stage::Step, name, plugin };
                    done.refused.push(Refused::of(by, &flow.records, outcome.rejects.clone()));
                }
                done.late += u64::from(outcome.late);
                filtered += flow.apply(outcome, origins);
            }
            // Time has also gone on with records that the step did not see.
            let is_due = step.alarms().event_time.is_some_and(|due| Some(due) <= now.watermark);
            if step.is_stateful() && (*is_called_by_time || is_due) {
                flow.append(&step.advance(now.watermark, now.clock).await?, origins);
            }
            let made = flow.records.len() as u64;
            tally.bytes_out += flow.records.bytes() as u64;
            let nowhere = flow.split_off(ports, exits);
            filtered += nowhere;
            tally.records_out += made - nowhere;
            tally.filtered += filtered;
            done.filtered += filtered;
        }
        Ok(())
    }

    fn finish(&mut self, flow: Flow, pass: Pass, source: &Arc<str>) -> Processed {
        let Pass { mut exits, mut done, .. } = pass;
        exits.take_all(0, flow);
        done.outputs = exits.into_outputs(source);
        done.state = self.steps.iter_mut().flat_map(Step::take_changes).collect();
        done
    }

    /// The bytes of memory of its steps' instances.
    pub fn memory_bytes(&self) -> u64 {
        self.steps.iter().map(Step::memory_bytes).sum()
    }

    /// What was processed last brought about nothing, and will not be committed.
    pub fn nothing_to_commit(&mut self) {
        self.steps.iter_mut().for_each(Step::nothing_to_commit);
    }

    /// The oldest of what was processed is committed.
    pub fn committed(&mut self) {
        self.steps.iter_mut().for_each(Step::committed);
    }
}

impl Origins {
    /// The first record with which the watermark reached a time.
    fn at(&self, time: Timestamp) -> u32 {
        let at = self.watermarks.partition_point(|watermark| *watermark < time);
        at.min(self.watermarks.len().saturating_sub(1)) as u32
    }

    fn offset(&self, origin: u32) -> Offset {
        self.offsets.get(origin as usize).copied().unwrap_or_default()
    }
}

impl Flow {
    fn origin_of(&self, at: u32) -> u32 {
        match &self.origin {
            None => at,
            Some(origin) => origin.get(at as usize).copied().unwrap_or(at),
        }
    }

    /// For each of the records that were given, the highest timestamp of what it has become; `None`: nothing is left of it.
    fn times(&self, given: usize) -> Vec<Option<Timestamp>> {
        let mut times = vec![None; given];
        for (at, record) in (0..).zip(self.records.iter()) {
            if let Some(time) = times.get_mut(self.origin_of(at) as usize) {
                *time = (*time).max(Some(record.timestamp));
            }
        }
        times
    }

    /// For each record the watermark once it has come.
    fn watermarks(&self, origins: &Origins) -> Vec<Timestamp> {
        let mut highest = NOT_YET;
        // A step may give records in another order than it was given those that they come from; time never goes back.
        let watermark = |at| {
            highest = highest.max(origins.watermarks.get(self.origin_of(at) as usize).copied().unwrap_or(NOT_YET));
            highest
        };
        (0..self.records.len() as u32).map(watermark).collect()
    }

    /// Goes on with what a step made of the passing of time as well.
    fn append(&mut self, advanced: &Advanced, origins: &Origins) {
        if advanced.records.is_empty() {
            return;
        }
        let records = self.records.len() as u32;
        let mut origin = self.origin.take().unwrap_or_else(|| (0..records).collect());
        for (record, from) in advanced.records.iter().zip(&advanced.origin) {
            // The clock is no time of these records; it comes alone, with one origin.
            let at = advanced.fired.get(*from as usize).map_or(0, |time| origins.at(*time));
            origin.push(at);
            self.records.push(&Record { offset: origins.offset(at), ..record });
        }
        self.origin = Some(origin);
    }

    /// Goes on with what a step answered; returns how many records it filtered out.
    fn apply(&mut self, outcome: Outcome, origins: &Origins) -> u64 {
        let before = self.records.len() - outcome.rejects.len();
        match outcome.answer {
            Answer::Unchanged if outcome.rejects.is_empty() => 0,
            Answer::Unchanged => {
                let mut rejected = outcome.rejects.iter().map(|reject| reject.index).peekable();
                let all = 0..self.records.len() as u32;
                self.keep(&all.filter(|at| rejected.next_if_eq(at).is_none()).collect::<Vec<_>>());
                0
            }
            Answer::Select(kept) => {
                self.keep(&kept);
                (before - kept.len()) as u64
            }
            Answer::Replaced { mut records, origin, fired } => {
                let given = self.records.len();
                let filtered = before - distinct(&origin, given);
                let mut places = Vec::with_capacity(origin.len());
                for (at, from) in origin.iter().enumerate() {
                    places.push(match fired.get((*from as usize).wrapping_sub(given)) {
                        None => self.origin_of(*from),
                        Some(time) => {
                            let origin = origins.at(*time);
                            records.set_offset(at, origins.offset(origin));
                            origin
                        }
                    });
                }
                self.origin = Some(places);
                self.records = records;
                filtered as u64
            }
        }
    }

    fn keep(&mut self, places: &[u32]) {
        self.origin = Some(places.iter().map(|at| self.origin_of(*at)).collect());
        self.records = self.records.select(places);
    }

    /// Sends records that left by another port than the main one where it leads; returns how many led nowhere.
    fn split_off(&mut self, ports: &[Option<Route>], exits: &mut Exits) -> u64 {
        if self.records.is_main_port_only() {
            return 0;
        }
        let mut stay = Vec::new();
        let mut nowhere = 0;
        for (at, record) in (0..).zip(self.records.iter()) {
            match record.port {
                Port(0) => stay.push(at),
                Port(port) => match ports.get(usize::from(port) - 1).copied().flatten() {
                    Some(route) => exits.push(route, &record, self.origin_of(at)),
                    None => nowhere += 1,
                },
            }
        }
        self.keep(&stay);
        nowhere
    }
}

fn distinct(origin: &[u32], len: usize) -> usize {
    let mut seen = vec![false; len];
    origin.iter().filter(|at| seen.get_mut(**at as usize).is_some_and(|seen| !std::mem::replace(seen, true))).count()
}

impl Exits {
    /// Counts one more output of a record; returns which one it is.
    fn next_ordinal(&mut self, origin: u32) -> u32 {
        self.outputs.get_mut(origin as usize).map_or(0, |count| {
            *count += 1;
            *count - 1
        })
    }

    fn push(&mut self, route: Route, record: &Record<'_>, origin: u32) {
        let ordinal = self.next_ordinal(origin);
        let (records, ordinals) = self.by_route.entry(route).or_default();
        records.push(&Record { port: Port(0), ..*record });
        ordinals.push(ordinal);
    }

    fn take_all(&mut self, route: Route, flow: Flow) {
        if flow.records.is_empty() {
            return;
        }
        let ordinals: Vec<u32> =
            (0..flow.records.len() as u32).map(|at| self.next_ordinal(flow.origin_of(at))).collect();
        let (records, all_ordinals) = self.by_route.entry(route).or_default();
        if records.is_empty() {
            *records = flow.records;
        } else {
            records.append(&flow.records);
        }
        all_ordinals.extend(ordinals);
    }

    fn into_outputs(self, source: &Arc<str>) -> Vec<(Route, Output)> {
        let output = |records, ordinals| Output { source: source.clone(), records, ordinals };
        self.by_route.into_iter().map(|(route, (records, ordinals))| (route, output(records, ordinals))).collect()
    }
}
