//! Runs batches through a step's instance, and when the instance fails finds the record to blame.
//!
//! A failed call leaves nothing behind but a dead instance. What is due by time before its records is done apart, so that
//! no record answers for it, and the batch is tried once more in a fresh instance; if that fails too, its halves are tried,
//! and theirs, until a record that fails alone is rejected and all others have gone on. Knows instances only by their trait.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::bisect::Bisection;
use super::versions::Trial;
use super::{Advanced, Alarms, Answer, Description, Factory, Failure, Given, Identity, Instance, Outcome, StartError};
use crate::metrics::steps::{Memory, StepMetrics, StepTally};
use crate::record::{Batch, Record, Reject, Timestamp};
use crate::state::{Home, TableSpec, Tables};
use crate::store::{self, StateChange};

/// The pause before a retriable reject is tried again; doubled each time.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// No pause is longer.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(10);

/// How often a plugin is called for the passing of time up to one watermark before it is taken never to end.
const ADVANCES_MAX: u32 = 100_000;

/// The bytes that may come of one batch, however many calls it takes: what is answered with, and what is written to tables.
const BATCH_BYTES_MAX: usize = 1 << 30;

/// Why a step cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No fresh instance can be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Its state could not be read.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// It cannot go on for now, and asks to begin again from the last commit.
    #[error("{step}: {why}")]
    Again {
        /// The step.
        step: Arc<str>,
        /// In its words.
        why: String,
    },
    /// It failed on probation: another version is to run, from the last commit.
    #[error("another version of the steps is to run")]
    Superseded,
}

/// An instance that is ready to work.
pub struct Started {
    factory: Arc<dyn Factory>,
    instance: Box<dyn Instance>,
    description: Description,
    retries: u32,
}

impl Started {
    /// Starts an instance. A retriable reject will be tried again `retries` times.
    pub async fn by(factory: Arc<dyn Factory>, retries: u32) -> Result<Self, StartError> {
        let (instance, description) = factory.start().await?;
        Ok(Started { factory, instance, description, retries })
    }

    /// The tables that it has.
    pub fn tables(&self) -> &[TableSpec] {
        self.description.tables.as_deref().unwrap_or_default()
    }

    /// The schema of what they hold.
    pub fn schema(&self) -> u32 {
        self.description.schema
    }
}

/// One step of one task.
pub struct Step {
    name: Arc<str>,
    factory: Arc<dyn Factory>,
    instance: Option<Box<dyn Instance>>,
    description: Description,
    retries: u32,
    tables: Tables,
    alarms: Alarms,
    /// Where it may be replaced.
    trial: Option<Trial>,
    /// Where it is counted, and the memory of its instance.
    counted: Option<Memory>,
    /// What it runs, where that is a plugin.
    identity: Option<Identity>,
}

impl Step {
    /// Starts the step's first instance. A retriable reject will be tried again `retries` times. Its tables, if it has any,
    /// are at `home`.
    pub async fn start(
        name: Arc<str>,
        factory: Arc<dyn Factory>,
        retries: u32,
        home: &Home,
    ) -> Result<Self, StartError> {
        Ok(Step::of(name, Started::by(factory, retries).await?, home))
    }

    /// A step whose first instance was started. Its tables, if it has any, are at `home`.
    pub fn of(name: Arc<str>, started: Started, home: &Home) -> Self {
        let Started { factory, instance, description, retries } = started;
        let tables = home.tables(&name, description.tables.as_deref().unwrap_or_default());
        let alarms = Alarms::default();
        let (instance, trial, counted, identity) = (Some(instance), None, None, None);
        Step { name, factory, instance, description, retries, tables, alarms, trial, counted, identity }
    }

    /// Goes on with another instance, of another version perhaps. What it remembers stays. `false`: the other describes other
    /// ports or tables, and nothing was done.
    pub fn replace(&mut self, started: Started) -> bool {
        let is_alike = started.description == self.description;
        if is_alike {
            (self.factory, self.retries) = (started.factory, started.retries);
            self.instance = Some(started.instance);
        }
        is_alike
    }

    /// Has it counted there from now on.
    pub fn count_in(&mut self, metrics: Arc<StepMetrics>) {
        self.counted = Some(Memory::of(metrics));
    }

    /// Counts what a committed chunk brought about.
    pub fn add(&self, tally: &StepTally) {
        self.counted.iter().for_each(|counted| counted.step().add(tally));
    }

    /// Counts a call, when it is done.
    fn called(&mut self, took: Duration, used: Duration, failure: Option<&Failure>) {
        let Some(counted) = &mut self.counted else { return };
        counted.set(self.instance.as_ref().map_or(0, |instance| instance.memory_bytes()));
        let step = counted.step();
        step.calls.observe(took);
        step.processor_ns.add(used.as_nanos() as u64);
        match failure {
            None => {}
            Some(Failure::Trap(_)) => step.traps.add(1),
            Some(Failure::Time { .. }) => step.timeouts.add(1),
            Some(_) => step.other_failures.add(1),
        }
    }

    /// Says which version it runs, whose failures are told of from now on, and of what plugin.
    pub fn set_trial(&mut self, trial: Trial, identity: Identity) {
        self.trial = Some(trial);
        self.identity = Some(identity);
    }

    /// The plugin that it runs, where that is known.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Whether another version is to run, as this one failed.
    fn is_superseded(&self, why: &dyn std::fmt::Display) -> bool {
        self.trial.as_ref().is_some_and(|trial| trial.failed(&self.name, why))
    }

    /// Its name in the pipeline.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What the plugin says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Whether it has keyed state, and is to be told of time.
    pub fn is_stateful(&self) -> bool {
        self.description.tables.is_some()
    }

    /// When it wants to be called though no record comes.
    pub fn alarms(&self) -> Alarms {
        self.alarms
    }

    /// The bytes of its instance's memory.
    pub fn memory_bytes(&self) -> u64 {
        self.instance.as_ref().map_or(0, |instance| instance.memory_bytes())
    }

    /// What was written to its tables since the last time, for the commit of what was run since.
    pub fn take_changes(&mut self) -> Vec<StateChange> {
        self.tables.take_changes()
    }

    /// The changes that were taken last were none, and there will be no commit of them.
    pub fn nothing_to_commit(&mut self) {
        self.tables.nothing_to_commit();
    }

    /// The oldest changes that were taken are committed.
    pub fn committed(&mut self) {
        self.tables.committed();
    }

    /// Brings what its tables hold from another schema into its own, in as many calls as it takes. All that they write goes
    /// into the next commit. It is not tried again where it fails: the instance knows how far it was.
    pub async fn migrate(&mut self, from: u32) -> Result<(), Error> {
        let to = self.description.schema;
        for _ in 0..ADVANCES_MAX {
            self.check_bytes(0)?;
            let mut instance = self.instance().await?;
            let migrated = instance.migrate(from, &mut self.tables).await;
            let is_migrated = migrated.as_ref().is_ok_and(Result::is_ok);
            self.done(is_migrated.then_some(instance))?;
            let why = match migrated {
                Ok(Ok(true)) => continue,
                Ok(Ok(false)) => {
                    tracing::info!(step = %self.name, "what it remembers was brought from schema {from} to {to}");
                    return Ok(());
                }
                Ok(Err(why)) => why,
                Err(failure) => failure.to_string(),
            };
            return Err(self.not_migrated(from, &why));
        }
        Err(self.not_migrated(from, &format!("it was called {ADVANCES_MAX} times, and there was more to do")))
    }

    fn not_migrated(&self, from: u32, why: &str) -> Error {
        let to = self.description.schema;
        let message = format!("what it remembers is of schema {from}, its own is {to}, and it does not migrate: {why}");
        let error = StartError::Config { path: String::new(), message };
        if self.is_superseded(&error) { Error::Superseded } else { error.into() }
    }

    /// Runs a batch. Every record of it goes on, was filtered, or is among the rejects, none of which is to be tried
    /// again.
    pub async fn run(&mut self, given: Given<'_>) -> Result<Outcome, Error> {
        let mut outcome = self.run_or_bisect(given).await?;
        let mut pause = RETRY_PAUSE;
        for _ in 0..self.retries {
            let again: Vec<u32> = outcome.rejects.iter().filter(|r| r.retriable).map(|r| r.index).collect();
            if again.is_empty() {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
            let rest = settled_part(outcome, given.batch.len());
            let retried = self.run_or_bisect(given.select(&again).later(given).given()).await?;
            outcome = combine(given, vec![rest, Part { places: again, outcome: retried }]);
        }
        self.alarms = outcome.alarms;
        if let Some(watermark) = given.watermarks.last() {
            if let Err(misuse) = self.tables.sweep(*watermark).await {
                return Err(self.broken(Failure::Answer(misuse.to_string())));
            }
            self.tables.take_error().map_or(Ok(()), Err)?;
        }
        Ok(outcome)
    }

    /// Lets time pass, in as many calls as it takes.
    pub async fn advance(&mut self, watermark: Option<Timestamp>, clock: Timestamp) -> Result<Advanced, Error> {
        let mut all = self.advance_once(watermark, clock).await?;
        for _ in 1..ADVANCES_MAX {
            if !self.is_due(watermark) {
                return Ok(all);
            }
            self.check_bytes(all.records.bytes())?;
            all.append(self.advance_once(watermark, clock).await?);
        }
        let watermark = watermark.map_or_else(|| "none".into(), |watermark| watermark.0.to_string());
        let endless =
            format!("it was called {ADVANCES_MAX} times at the watermark {watermark}, and asks to be called again");
        Err(self.broken(Failure::Answer(endless)))
    }

    /// The error where it broke the contract in more than one call: another version is to run, where it is on probation.
    fn broken(&self, failure: Failure) -> Error {
        if self.is_superseded(&failure) { Error::Superseded } else { StartError::Failed(failure).into() }
    }

    fn again(&self, why: String) -> Error {
        Error::Again { step: self.name.clone(), why }
    }

    /// Whether there is room for more to come of a batch of which so many bytes have come.
    fn check_bytes(&self, answered: usize) -> Result<(), Error> {
        if answered + self.tables.bytes() <= BATCH_BYTES_MAX {
            return Ok(());
        }
        Err(self.broken(Failure::Output { limit_bytes: BATCH_BYTES_MAX }))
    }

    /// Whether it wants to be called at this watermark, or wanted before.
    fn is_due(&self, watermark: Option<Timestamp>) -> bool {
        self.alarms.event_time.is_some_and(|due| Some(due) <= watermark)
    }

    async fn advance_once(&mut self, watermark: Option<Timestamp>, clock: Timestamp) -> Result<Advanced, Error> {
        let mut failure = None;
        // Once more in a fresh instance: there is no record to blame.
        for _ in 0..2 {
            let mut instance = self.instance().await?;
            match instance.advance(watermark, clock, &mut self.tables).await {
                Ok(advanced) => {
                    self.done(Some(instance))?;
                    self.alarms = advanced.alarms;
                    return Ok(advanced);
                }
                Err(Failure::Again(why)) => {
                    self.done(None)?;
                    return Err(self.again(why));
                }
                Err(failed) => {
                    self.done(None)?;
                    if self.is_superseded(&failed) {
                        return Err(Error::Superseded);
                    }
                    tracing::warn!(step = %self.name, "as time passed {failed}; trying again in a fresh instance");
                    failure = Some(failed);
                }
            }
        }
        Err(failure.map_or_else(|| StartError::Failed(Failure::Trap(String::new())), StartError::Failed).into())
    }

    /// Runs a batch in one call where that will do.
    async fn run_or_bisect(&mut self, given: Given<'_>) -> Result<Outcome, Error> {
        match self.call(given).await? {
            Ok(outcome) if outcome.postponed == 0 => Ok(outcome),
            first => self.run_in_parts(given, first).await,
        }
    }

    /// Runs a batch of which the first call failed, or left some for later.
    async fn run_in_parts(&mut self, given: Given<'_>, first: Result<Outcome, Failure>) -> Result<Outcome, Error> {
        let mut search = Bisection::of(given.batch.len());
        let mut parts = Vec::new();
        let mut answer = Some(first);
        let mut is_first_failure = true;
        while let Some(range) = search.next_try() {
            self.check_bytes(parts.iter().map(Part::bytes).sum())?;
            let answered = match answer.take() {
                Some(first) => first,
                None => {
                    let places: Vec<u32> = (range.start as u32..range.end as u32).collect();
                    self.call(given.select(&places).given()).await?
                }
            };
            match answered {
                Ok(outcome) => {
                    let done = range.end - outcome.postponed as usize;
                    parts.push(Part { places: (range.start as u32..done as u32).collect(), outcome });
                    if done < range.end {
                        parts.push(self.catch_up(given, done).await?);
                        search.again(done..range.end);
                    }
                }
                Err(failure) => {
                    if is_first_failure {
                        let records = given.batch.len();
                        tracing::warn!(step = %self.name, records, "{failure}; trying again in a fresh instance");
                    }
                    if self.is_due(given.watermarks.get(range.start).copied()) {
                        parts.push(self.catch_up(given, range.start).await?);
                        search.again(range);
                    } else if std::mem::take(&mut is_first_failure) {
                        search.again(range);
                    } else if search.failed(range.clone()).is_some() {
                        let places = vec![range.start as u32];
                        parts.push(Part { places, outcome: blame(&failure, self.alarms) });
                    }
                }
            }
        }
        Ok(combine(given, parts))
    }

    /// Does what is due before a record comes.
    async fn catch_up(&mut self, given: Given<'_>, at: usize) -> Result<Part, Error> {
        let watermark = given.watermarks.get(at).copied();
        let Advanced { records, origin, fired, alarms } = self.advance(watermark, Timestamp(i64::MIN)).await?;
        if origin.iter().any(|from| *from as usize >= fired.len()) {
            let clock = "the clock brought about a record, and it shows no time between the records of a batch";
            return Err(self.broken(Failure::Answer(clock.into())));
        }
        let answer = Answer::Replaced { records, origin, fired };
        Ok(Part { places: Vec::new(), outcome: Outcome { answer, rejects: Vec::new(), late: 0, postponed: 0, alarms } })
    }

    async fn call(&mut self, given: Given<'_>) -> Result<Result<Outcome, Failure>, Error> {
        let was_due = self.is_due(given.watermarks.first().copied());
        let mut instance = self.instance().await?;
        let (begun, used_before) = (Instant::now(), instance.processor_time());
        let mut result = instance.process(given, &mut self.tables).await;
        let (took, used) = (begun.elapsed(), instance.processor_time().saturating_sub(used_before));
        if result.as_ref().is_ok_and(|outcome| outcome.postponed as usize == given.batch.len() && !was_due) {
            let idle = format!("it postponed all {} records, and nothing was due before them", given.batch.len());
            result = Err(Failure::Answer(idle));
        }
        let done = self.done(result.is_ok().then_some(instance));
        self.called(took, used, result.as_ref().err());
        done?;
        match &result {
            Ok(outcome) => self.alarms = outcome.alarms,
            Err(Failure::Again(why)) => return Err(self.again(why.clone())),
            Err(failure) if self.is_superseded(failure) => return Err(Error::Superseded),
            Err(_) => {}
        }
        Ok(result)
    }

    async fn instance(&mut self) -> Result<Box<dyn Instance>, Error> {
        if let Some(instance) = self.instance.take() {
            return Ok(instance);
        }
        let started = self.factory.start().await.and_then(|(instance, description)| {
            let different = "it describes other ports or tables than when it was started first";
            if description == self.description { Ok(instance) } else { Err(Failure::Answer(different.into()).into()) }
        });
        match started {
            Ok(instance) => Ok(instance),
            Err(error) if self.is_superseded(&error) => Err(Error::Superseded),
            Err(error) => Err(error.into()),
        }
    }

    /// After a call: keeps what it wrote, and its instance, or undoes it.
    fn done(&mut self, instance: Option<Box<dyn Instance>>) -> Result<(), Error> {
        match instance {
            Some(_) => self.tables.keep(),
            None => self.tables.undo(),
        }
        self.instance = instance;
        self.tables.take_error().map_or(Ok(()), |error| Err(error.into()))
    }
}

impl Advanced {
    /// Goes on with what another call made, later.
    fn append(&mut self, later: Advanced) {
        let (mine, theirs) = (self.fired.len() as u32, later.fired.len() as u32);
        // The clock is the number of all times that fired.
        for clock in self.origin.iter_mut().filter(|origin| **origin == mine) {
            *clock += theirs;
        }
        self.origin.extend(later.origin.iter().map(|origin| origin + mine));
        self.fired.extend(later.fired);
        self.records.append(&later.records);
        self.alarms = later.alarms;
    }
}

/// A part of what a step is given.
struct Selected {
    input: u32,
    batch: Batch,
    watermarks: Vec<Timestamp>,
}

impl Given<'_> {
    fn select(&self, places: &[u32]) -> Selected {
        let watermarks = places.iter().filter_map(|at| self.watermarks.get(*at as usize)).copied().collect();
        Selected { input: self.input, batch: self.batch.select(places), watermarks }
    }
}

impl Selected {
    /// The same records once all of a batch has come: time has gone on with those behind them.
    fn later(mut self, batch: Given<'_>) -> Self {
        if let Some(last) = batch.watermarks.last() {
            self.watermarks.fill(*last);
        }
        self
    }

    fn given(&self) -> Given<'_> {
        Given { input: self.input, batch: &self.batch, watermarks: &self.watermarks }
    }
}

/// The outcome of a part of a batch: its record `n` is the batch's record `places[n]`.
struct Part {
    places: Vec<u32>,
    outcome: Outcome,
}

fn blame(failure: &Failure, alarms: Alarms) -> Outcome {
    let reject = Reject { index: 0, reason: failure.to_string(), retriable: false };
    Outcome { answer: Answer::Unchanged, rejects: vec![reject], late: 0, postponed: 0, alarms }
}

/// What is settled of an outcome: all of it but the retriable rejects.
fn settled_part(outcome: Outcome, len: usize) -> Part {
    let places = (0..len as u32).collect();
    let rejected: BTreeSet<u32> = outcome.rejects.iter().map(|reject| reject.index).collect();
    let answer = match outcome.answer {
        Answer::Unchanged => Answer::Select((0..len as u32).filter(|at| !rejected.contains(at)).collect()),
        answer => answer,
    };
    let rejects = outcome.rejects.into_iter().filter(|reject| !reject.retriable).collect();
    Part { places, outcome: Outcome { answer, rejects, ..outcome } }
}

/// Puts the outcomes of parts together as if the batch had been answered at once, in the order of its records. The last
/// part is the one that was run last.
fn combine(given: Given<'_>, parts: Vec<Part>) -> Outcome {
    let batch = given.batch;
    let mut rejects: Vec<Reject> = parts.iter().flat_map(Part::rejects).collect();
    rejects.sort_by_key(|reject| reject.index);
    let late = parts.iter().map(|part| part.outcome.late).fold(0, u32::saturating_add);
    let alarms = parts.last().map(|part| part.outcome.alarms).unwrap_or_default();
    let answer = if parts.iter().any(|part| matches!(part.outcome.answer, Answer::Replaced { .. })) {
        replace(given, &parts)
    } else {
        let mut kept: Vec<u32> = parts.iter().flat_map(Part::kept).collect();
        kept.sort_unstable();
        if kept.len() + rejects.len() == batch.len() { Answer::Unchanged } else { Answer::Select(kept) }
    };
    Outcome { answer, rejects, late, postponed: 0, alarms }
}

impl Part {
    fn bytes(&self) -> usize {
        match &self.outcome.answer {
            Answer::Replaced { records, .. } => records.bytes(),
            Answer::Unchanged | Answer::Select(_) => 0,
        }
    }

    fn place(&self, index: u32) -> u32 {
        self.places.get(index as usize).copied().unwrap_or(index)
    }

    fn rejects(&self) -> impl Iterator<Item = Reject> {
        self.outcome.rejects.iter().map(|reject| Reject { index: self.place(reject.index), ..reject.clone() })
    }

    /// The records of the whole batch that this part keeps as they came.
    fn kept(&self) -> Vec<u32> {
        match &self.outcome.answer {
            Answer::Select(kept) => kept.iter().map(|index| self.place(*index)).collect(),
            Answer::Replaced { .. } => Vec::new(),
            Answer::Unchanged => {
                let rejected: BTreeSet<u32> = self.outcome.rejects.iter().map(|reject| reject.index).collect();
                let all = 0..self.places.len() as u32;
                all.filter(|index| !rejected.contains(index)).map(|index| self.place(index)).collect()
            }
        }
    }
}

/// Where a record of a replacement stands: at a record of the batch, and what comes of a time before what comes of the
/// record that brought it.
type Place = (u32, Option<Timestamp>);

fn replace(given: Given<'_>, parts: &[Part]) -> Answer {
    let mut rows: Vec<(Place, Record<'_>)> = Vec::new();
    for part in parts {
        match &part.outcome.answer {
            Answer::Replaced { records, origin, fired } => {
                let place = |from: &u32| match fired.get((*from as usize).wrapping_sub(part.places.len())) {
                    Some(time) => (given.watermarks.partition_point(|watermark| watermark < time) as u32, Some(*time)),
                    None => (part.place(*from), None),
                };
                rows.extend(origin.iter().map(place).zip(records.iter()));
            }
            _ => {
                let kept = part.kept().into_iter();
                rows.extend(kept.filter_map(|at| Some(((at, None), given.batch.get(at as usize)?))));
            }
        }
    }
    // A stable sort: outputs of one record keep their order.
    rows.sort_by_key(|((record, time), _)| (*record, time.is_none(), *time));
    let mut records = Batch::with_capacity(rows.len(), given.batch.columns().2.len());
    let (mut origin, mut fired) = (Vec::with_capacity(rows.len()), Vec::<Timestamp>::new());
    for ((at, time), record) in &rows {
        records.push(record);
        origin.push(match time {
            None => *at,
            Some(time) => {
                if fired.last() != Some(time) {
                    fired.push(*time);
                }
                (given.batch.len() + fired.len() - 1) as u32
            }
        });
    }
    Answer::Replaced { records, origin, fired }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Offset, Partition};
    use crate::store::memory::MemoryStore;
    use async_trait::async_trait;
    use proptest::prelude::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// What the scripted plugin does with a record, said by the record's own value.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Do {
        Keep,
        Drop,
        Double,
        Reject,
        RetryOnce,
        Trap,
    }

    #[derive(Default)]
    struct Scripted {
        replaces: bool,
        seen_retries: Arc<Mutex<BTreeSet<u64>>>,
    }

    fn action(record: &Record<'_>) -> Do {
        match record.value {
            Some(b"drop") => Do::Drop,
            Some(b"double") => Do::Double,
            Some(b"reject") => Do::Reject,
            Some(b"retry") => Do::RetryOnce,
            Some(b"trap") => Do::Trap,
            _ => Do::Keep,
        }
    }

    #[async_trait]
    impl Instance for Scripted {
        async fn process(&mut self, given: Given<'_>, _: &mut Tables) -> Result<Outcome, Failure> {
            let (mut kept, mut records, mut rejects) = (Vec::new(), Batch::default(), Vec::new());
            for (index, record) in (0..).zip(given.batch.iter()) {
                match action(&record) {
                    Do::Trap => return Err(Failure::Trap("scripted".into())),
                    Do::Reject => rejects.push(Reject { index, reason: "no".into(), retriable: false }),
                    Do::RetryOnce if self.seen_retries.lock().unwrap().insert(record.offset.0) => {
                        rejects.push(Reject { index, reason: "later".into(), retriable: true });
                    }
                    Do::Drop => {}
                    Do::Double if self.replaces => {
                        kept.extend([index, index]);
                        (0..2).for_each(|_| records.push(&record));
                    }
                    _ => {
                        kept.push(index);
                        records.push(&record);
                    }
                }
            }
            let replaced = |origin| Answer::Replaced { records, origin, fired: Vec::new() };
            Ok(Outcome::of(if self.replaces { replaced(kept) } else { Answer::Select(kept) }, rejects))
        }
    }

    #[derive(Default)]
    struct Scripts {
        replaces: bool,
        started: AtomicU32,
        seen_retries: Arc<Mutex<BTreeSet<u64>>>,
    }

    #[async_trait]
    impl Factory for Scripts {
        async fn start(&self) -> Result<(Box<dyn Instance>, Description), StartError> {
            self.started.fetch_add(1, Ordering::Relaxed);
            let instance = Scripted { replaces: self.replaces, seen_retries: self.seen_retries.clone() };
            Ok((Box::new(instance), Description::default()))
        }
    }

    fn batch(values: &[&str]) -> Batch {
        let mut batch = Batch::default();
        for (n, value) in values.iter().enumerate() {
            batch.push(&Record { offset: Offset(n as u64), ..Record::of(value.as_bytes(), Timestamp(0)) });
        }
        batch
    }

    async fn run(values: &[&str], replaces: bool, retries: u32) -> (Vec<(u64, String)>, Vec<u32>, u32) {
        let scripts = Arc::new(Scripts { replaces, ..Scripts::default() });
        let home =
            Home { store: Arc::new(MemoryStore::default()), pipeline: "p".into(), partition: Partition::default() };
        let mut step = Step::start("s".into(), scripts.clone(), retries, &home).await.unwrap();
        let batch = batch(values);
        let outcome = step.run(Given { input: 0, batch: &batch, watermarks: &[] }).await.unwrap();
        let out = match outcome.answer {
            Answer::Unchanged => {
                let rejected: BTreeSet<u32> = outcome.rejects.iter().map(|r| r.index).collect();
                batch.select(&(0..batch.len() as u32).filter(|n| !rejected.contains(n)).collect::<Vec<_>>())
            }
            Answer::Select(kept) => batch.select(&kept),
            Answer::Replaced { records, .. } => records,
        };
        let text = |v: Option<&[u8]>| String::from_utf8(v.unwrap().to_vec()).unwrap();
        let out = out.iter().map(|r| (r.offset.0, text(r.value))).collect();
        let rejects = outcome.rejects.iter().map(|r| r.index).collect();
        (out, rejects, scripts.started.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn the_record_that_traps_is_rejected_alone() {
        let (out, rejects, started) = run(&["a", "b", "trap", "c", "drop"], false, 0).await;
        assert_eq!(out.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [0, 1, 3]);
        assert_eq!(rejects, [2]);
        assert!(started > 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_retriable_reject_is_tried_again_and_takes_its_place() {
        let (out, rejects, started) = run(&["a", "retry", "b"], true, 3).await;
        assert_eq!(out.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(rejects.is_empty());
        assert_eq!(started, 1);
    }

    #[tokio::test]
    async fn without_retries_a_retriable_reject_stays() {
        let (out, rejects, _) = run(&["retry", "b"], false, 0).await;
        assert_eq!(out.len(), 1);
        assert_eq!(rejects, [0]);
    }

    /// Has a timer due at each of the times 1 to 100, and does some of them in a call: what is more makes a record fail.
    struct Timed {
        /// How many timers it does before it postpones the rest; `None`: it traps where more are due than it may do.
        postpones_after: Option<i64>,
        done: Arc<Mutex<i64>>,
    }

    /// How many timers it may do in a call.
    const MANY: i64 = 10;

    #[async_trait]
    impl Instance for Timed {
        async fn process(&mut self, given: Given<'_>, _: &mut Tables) -> Result<Outcome, Failure> {
            let (mut records, mut origin, mut fired) = (Batch::default(), Vec::new(), Vec::new());
            let mut done = *self.done.lock().unwrap();
            let (begun_at, mut postponed) = (done, 0);
            let len = given.batch.len() as u32;
            for ((at, record), watermark) in (0..).zip(given.batch.iter()).zip(given.watermarks) {
                let until = self.postpones_after.map_or(100, |many| begun_at + many).min(100);
                for time in done + 1..=watermark.0.min(until) {
                    fired.push(Timestamp(time));
                    origin.push((true, fired.len() as u32 - 1));
                    records.push(&Record::of(b"fired", Timestamp(time)));
                }
                done = done.max(watermark.0.min(until));
                if done < watermark.0.min(100) {
                    postponed = len - at;
                    break;
                }
                if record.value == Some(b"trap") || done - begun_at > MANY {
                    return Err(Failure::Trap("scripted".into()));
                }
                origin.push((false, at));
                records.push(&record);
            }
            *self.done.lock().unwrap() = done;
            let origin = origin.iter().map(|(is_time, at)| if *is_time { len - postponed + at } else { *at }).collect();
            let answer = Answer::Replaced { records, origin, fired };
            let alarms = Alarms { event_time: (done < 100).then_some(Timestamp(done + 1)), clock_time: None };
            Ok(Outcome { answer, rejects: Vec::new(), late: 0, postponed, alarms })
        }

        async fn advance(
            &mut self,
            watermark: Option<Timestamp>,
            _: Timestamp,
            _: &mut Tables,
        ) -> Result<Advanced, Failure> {
            let mut done = self.done.lock().unwrap();
            let times = *done + 1..=watermark.unwrap().0.min(*done + MANY).min(100);
            let mut records = Batch::default();
            times.clone().for_each(|time| records.push(&Record::of(b"fired", Timestamp(time))));
            let (fired, origin) = (times.clone().map(Timestamp).collect(), (0..times.count() as u32).collect());
            *done += records.len() as i64;
            let alarms = Alarms { event_time: (*done < 100).then_some(Timestamp(*done + 1)), clock_time: None };
            Ok(Advanced { records, origin, fired, alarms })
        }
    }

    struct TimedFactory(Option<i64>, Arc<Mutex<i64>>);

    #[async_trait]
    impl Factory for TimedFactory {
        async fn start(&self) -> Result<(Box<dyn Instance>, Description), StartError> {
            let timed = Timed { postpones_after: self.0, done: self.1.clone() };
            Ok((Box::new(timed), Description { tables: Some(Vec::new()), ..Description::default() }))
        }
    }

    #[tokio::test]
    async fn no_record_is_blamed_for_what_was_due_before_it() {
        for postpones_after in [None, Some(1), Some(7), Some(MANY), Some(1_000)] {
            let factory = Arc::new(TimedFactory(postpones_after, Arc::default()));
            let home =
                Home { store: Arc::new(MemoryStore::default()), pipeline: "p".into(), partition: Partition::default() };
            let mut step = Step::start("s".into(), factory, 0, &home).await.unwrap();
            step.advance(Some(Timestamp(0)), Timestamp(0)).await.unwrap();
            let (batch, watermarks) = (batch(&["a", "b", "trap", "c", "d"]), [3, 48, 60, 61, 200].map(Timestamp));
            let given = Given { input: 0, batch: &batch, watermarks: &watermarks };
            let outcome = step.run(given).await.unwrap();
            let Answer::Replaced { records, origin, fired } = outcome.answer else { unreachable!() };
            let expected: Vec<(u32, Option<i64>)> = (1..=3)
                .map(|time| (0, Some(time)))
                .chain([(0, None)])
                .chain((4..=48).map(|time| (1, Some(time))))
                .chain([(1, None)])
                .chain((49..=60).map(|time| (2, Some(time))))
                .chain([(3, Some(61)), (3, None)])
                .chain((62..=100).map(|time| (4, Some(time))))
                .chain([(4, None)])
                .collect();
            let came: Vec<(u32, Option<i64>)> = origin
                .iter()
                .map(|from| match fired.get((*from as usize).wrapping_sub(batch.len())) {
                    Some(time) => (watermarks.partition_point(|watermark| watermark < time) as u32, Some(time.0)),
                    None => (*from, None),
                })
                .collect();
            assert_eq!((came, records.len()), (expected, 104), "{postpones_after:?}");
            assert_eq!(outcome.rejects.iter().map(|reject| reject.index).collect::<Vec<_>>(), [2]);
        }
    }

    proptest! {
        /// However traps, rejects and retries are strewn, each record ends in exactly the way that it asks for.
        #[test]
        fn every_record_is_accounted_for(
            values in proptest::collection::vec(
                prop_oneof![4 => Just("keep"), 1 => Just("drop"), 1 => Just("double"), 1 => Just("reject"), 1 => Just("retry"), 1 => Just("trap")], 0..40),
            replaces: bool,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let (out, rejects, _) = runtime.block_on(run(&values, replaces, 2));
            let mut expected = Vec::new();
            let mut dead = Vec::new();
            for (n, value) in values.iter().enumerate() {
                match *value {
                    "drop" => {}
                    "reject" | "trap" => dead.push(n as u32),
                    "double" if replaces => expected.extend([n as u64, n as u64]),
                    _ => expected.push(n as u64),
                }
            }
            prop_assert_eq!(out.iter().map(|(n, _)| *n).collect::<Vec<_>>(), expected);
            prop_assert_eq!(rejects, dead);
        }
    }
}
