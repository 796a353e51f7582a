//! Runs batches through a step's instance, and when the instance fails finds the record to blame.
//!
//! A failed call leaves nothing behind but a dead instance. The batch is tried once more in a fresh one; if that fails
//! too, its halves are tried, and theirs, until a record that fails alone is rejected and all others have gone on.
//! Knows instances only by their trait.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::bisect::Bisection;
use super::{Answer, Description, Factory, Failure, Instance, Outcome, StartError};
use crate::record::{Batch, Reject};

/// The pause before a retriable reject is tried again; doubled each time.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// No pause is longer.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(10);

/// One step of one task.
pub struct Step {
    name: Arc<str>,
    factory: Arc<dyn Factory>,
    instance: Option<Box<dyn Instance>>,
    description: Description,
    retries: u32,
}

impl Step {
    /// Starts the step's first instance. A retriable reject will be tried again `retries` times.
    pub async fn start(name: Arc<str>, factory: Arc<dyn Factory>, retries: u32) -> Result<Self, StartError> {
        let (instance, description) = factory.start().await?;
        Ok(Step { name, factory, instance: Some(instance), description, retries })
    }

    /// Its name in the pipeline.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What the plugin says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Runs a batch. Every record of it goes on, was filtered, or is among the rejects, none of which is to be tried
    /// again. Fails only where no fresh instance can be started.
    pub async fn run(&mut self, input: u32, batch: &Batch) -> Result<Outcome, StartError> {
        let mut outcome = self.run_or_bisect(input, batch).await?;
        let mut pause = RETRY_PAUSE;
        for _ in 0..self.retries {
            let again: Vec<u32> = outcome.rejects.iter().filter(|r| r.retriable).map(|r| r.index).collect();
            if again.is_empty() {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
            let rest = settled_part(outcome, batch.len());
            let retried = self.run_or_bisect(input, &batch.select(&again)).await?;
            outcome = combine(batch, vec![rest, Part { places: again, outcome: retried }]);
        }
        Ok(outcome)
    }

    async fn run_or_bisect(&mut self, input: u32, batch: &Batch) -> Result<Outcome, StartError> {
        match self.call(input, batch).await? {
            Ok(outcome) => Ok(outcome),
            Err(failure) => {
                tracing::warn!(step = %self.name, records = batch.len(), "{failure}; trying again in a fresh instance");
                self.bisect(input, batch).await
            }
        }
    }

    async fn bisect(&mut self, input: u32, batch: &Batch) -> Result<Outcome, StartError> {
        let mut search = Bisection::of(batch.len());
        let mut parts = Vec::new();
        while let Some(range) = search.next_try() {
            let places: Vec<u32> = (range.start as u32..range.end as u32).collect();
            match self.call(input, &batch.slice(range.clone())).await? {
                Ok(outcome) => parts.push(Part { places, outcome }),
                Err(failure) => {
                    let culprit = search.failed(range);
                    parts.extend(culprit.map(|_| Part { places, outcome: blame(&failure) }));
                }
            }
        }
        Ok(combine(batch, parts))
    }

    async fn call(&mut self, input: u32, batch: &Batch) -> Result<Result<Outcome, Failure>, StartError> {
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => self.factory.start().await?.0,
        };
        let result = instance.process(input, batch).await;
        if result.is_ok() {
            self.instance = Some(instance);
        }
        Ok(result)
    }
}

/// The outcome of a part of a batch: its record `n` is the batch's record `places[n]`.
struct Part {
    places: Vec<u32>,
    outcome: Outcome,
}

fn blame(failure: &Failure) -> Outcome {
    let reject = Reject { index: 0, reason: failure.to_string(), retriable: false };
    Outcome { answer: Answer::Unchanged, rejects: vec![reject] }
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
    Part { places, outcome: Outcome { answer, rejects } }
}

/// Puts the outcomes of parts together as if the batch had been answered at once, in the order of its records.
fn combine(batch: &Batch, parts: Vec<Part>) -> Outcome {
    let mut rejects: Vec<Reject> = parts.iter().flat_map(Part::rejects).collect();
    rejects.sort_by_key(|reject| reject.index);
    let answer = if parts.iter().any(|part| matches!(part.outcome.answer, Answer::Replaced { .. })) {
        replace(batch, &parts)
    } else {
        let mut kept: Vec<u32> = parts.iter().flat_map(Part::kept).collect();
        kept.sort_unstable();
        if kept.len() + rejects.len() == batch.len() { Answer::Unchanged } else { Answer::Select(kept) }
    };
    Outcome { answer, rejects }
}

impl Part {
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

fn replace(batch: &Batch, parts: &[Part]) -> Answer {
    let mut rows = Vec::new();
    for part in parts {
        match &part.outcome.answer {
            Answer::Replaced { records, origin } => {
                rows.extend(origin.iter().zip(records.iter()).map(|(index, record)| (part.place(*index), record)));
            }
            _ => rows.extend(part.kept().into_iter().filter_map(|at| Some((at, batch.get(at as usize)?)))),
        }
    }
    // A stable sort: outputs of one record keep their order.
    rows.sort_by_key(|(origin, _)| *origin);
    let mut records = Batch::with_capacity(rows.len(), batch.columns().2.len());
    rows.iter().for_each(|(_, record)| records.push(record));
    Answer::Replaced { records, origin: rows.iter().map(|(origin, _)| *origin).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Offset, Record, Timestamp};
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
        async fn process(&mut self, _input: u32, batch: &Batch) -> Result<Outcome, Failure> {
            let (mut kept, mut records, mut rejects) = (Vec::new(), Batch::default(), Vec::new());
            for (index, record) in (0..).zip(batch.iter()) {
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
            let answer = if self.replaces { Answer::Replaced { records, origin: kept } } else { Answer::Select(kept) };
            Ok(Outcome { answer, rejects })
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
        let mut step = Step::start("s".into(), scripts.clone(), retries).await.unwrap();
        let batch = batch(values);
        let outcome = step.run(0, &batch).await.unwrap();
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
