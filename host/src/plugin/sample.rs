//! Samples of what steps are given, for whoever compares versions of a plugin. No appliance keeps any unless it is asked to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Advanced, Description, Factory, Failure, Given, Instance, Outcome, StartError, StepContext};
use crate::config::StepLimits;
use crate::record::{Batch, Timestamp};
use crate::state::Tables;

/// Records that are kept of each step: the newest.
pub const SAMPLES_MAX: usize = 5;
/// Larger records are not kept.
const RECORD_BYTES_MAX: usize = 16 << 10;

/// One use of a plugin.
#[derive(Debug, Clone)]
pub struct Use {
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// Where it is used.
    pub context: StepContext,
    /// Its configuration.
    pub config: serde_json::Value,
    /// Its bounds.
    pub limits: StepLimits,
}

/// What a step was given lately.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Whose.
    pub used: Use,
    /// The records, the oldest first, each with the number of its input.
    pub records: VecDeque<(u32, Batch)>,
}

/// Keeps samples of the steps whose plugins an engine has loaded.
#[derive(Debug, Default)]
pub struct Sampler(Mutex<Samples>);

/// Samples by pipeline and step.
type Samples = BTreeMap<(Arc<str>, Arc<str>), Sample>;

impl Sampler {
    /// The samples of all steps that use a plugin.
    pub fn of(&self, plugin: &str) -> Vec<Sample> {
        self.samples().values().filter(|sample| &*sample.used.plugin == plugin).cloned().collect()
    }

    /// A factory whose instances' input is sampled.
    pub(super) fn watch(self: &Arc<Self>, used: Use, factory: Arc<dyn Factory>) -> Arc<dyn Factory> {
        Arc::new(Watched { sampler: self.clone(), used, factory })
    }

    fn note(&self, used: &Use, given: Given<'_>) {
        let mut samples = self.samples();
        let key = (used.context.pipeline.clone(), used.context.step.clone());
        let sample = samples.entry(key).or_insert_with(|| Sample { used: used.clone(), records: VecDeque::new() });
        sample.used = used.clone();
        for record in given.batch.iter().rev().take(SAMPLES_MAX).rev() {
            if record.data_len() > RECORD_BYTES_MAX {
                continue;
            }
            let mut one = Batch::default();
            one.push(&record);
            sample.records.push_back((given.input, one));
        }
        let surplus = sample.records.len().saturating_sub(SAMPLES_MAX);
        sample.records.drain(..surplus);
    }

    fn samples(&self) -> MutexGuard<'_, Samples> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Watched {
    sampler: Arc<Sampler>,
    used: Use,
    factory: Arc<dyn Factory>,
}

#[async_trait]
impl Factory for Watched {
    async fn start(&self) -> Result<(Box<dyn Instance>, Description), StartError> {
        let (instance, description) = self.factory.start().await?;
        let watched = WatchedInstance { sampler: self.sampler.clone(), used: self.used.clone(), instance };
        Ok((Box::new(watched), description))
    }
}

struct WatchedInstance {
    sampler: Arc<Sampler>,
    used: Use,
    instance: Box<dyn Instance>,
}

#[async_trait]
impl Instance for WatchedInstance {
    async fn process(&mut self, given: Given<'_>, tables: &mut Tables) -> Result<Outcome, Failure> {
        self.sampler.note(&self.used, given);
        self.instance.process(given, tables).await
    }

    async fn advance(
        &mut self,
        watermark: Option<Timestamp>,
        clock: Timestamp,
        tables: &mut Tables,
    ) -> Result<Advanced, Failure> {
        self.instance.advance(watermark, clock, tables).await
    }

    fn memory_bytes(&self) -> u64 {
        self.instance.memory_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Partition, Record};

    #[test]
    fn the_newest_records_of_a_step_are_kept() {
        let used = Use {
            plugin: "p".into(),
            context: StepContext {
                pipeline: "a".into(),
                step: "p-2".into(),
                partition: Partition(0),
                inputs: Vec::new(),
                tables: Vec::new(),
            },
            config: serde_json::Value::Null,
            limits: StepLimits::default(),
        };
        let sampler = Sampler::default();
        for values in [vec!["1", "2"], vec!["3"; 1], vec!["4", "5", "6", "7", "8", "9"]] {
            let mut batch = Batch::default();
            values.iter().for_each(|value| batch.push(&Record::of(value.as_bytes(), Timestamp(0))));
            sampler.note(&used, Given { input: 1, batch: &batch, watermarks: &[] });
        }
        let [sample] = &sampler.of("p")[..] else { panic!("one step was given something") };
        let values: Vec<_> = sample.records.iter().map(|(_, one)| one.get(0).unwrap().value.unwrap()[0]).collect();
        assert_eq!(values, b"56789");
        assert!(sampler.of("q").is_empty());
    }
}
