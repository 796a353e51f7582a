//! Which tasks a pipeline file calls for, what each reads and writes, and who waits for whom.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::supervise::{self, Layout};
use super::{Error, budget};
use crate::config::{self, Config, KafkaSource, Source as SourceConfig};
use crate::pipeline::{Destination, StreamTarget, TableInput, TaskInput, TaskSpec};
use crate::record::Partition;
use crate::source::Mode;
use crate::store::committer::StreamRead;
use crate::store::{DEAD_LETTERS, Store};

/// Who reads the embedded streams: all tasks, and of pipelines whose tasks only a cluster can count those that ever committed.
pub(super) async fn readers(config: &Config, store: &dyn Store) -> Result<Vec<StreamRead>, Error> {
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
pub(super) fn spec(
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

/// The task of the first partition, to be run without an appliance.
pub(crate) fn first_task(config: &Config, mode: Mode, pipeline: (&Arc<str>, &config::Pipeline)) -> TaskSpec {
    spec(config, mode, pipeline, Partition(0), &Layout::new())
}

/// The inputs of a pipeline that are topics of Kafka.
pub(super) fn kafka_inputs(config: &Config, pipeline: &config::Pipeline) -> Vec<(Arc<str>, KafkaSource)> {
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

pub(super) fn partitions(config: &Config, pipeline: &config::Pipeline, layout: &Layout) -> u32 {
    let of_input = |input: &Arc<str>| match layout.get(input) {
        Some(topics) => supervise::partitions(topics),
        None => input_partitions(config, input),
    };
    pipeline.from.iter().map(of_input).max().unwrap_or(1)
}

/// The pipelines that read the dead letters, or what comes of them.
pub(super) fn downstream_of_dead_letters(config: &Config) -> BTreeSet<Arc<str>> {
    let mut streams: BTreeSet<Arc<str>> = BTreeSet::from([DEAD_LETTERS.into()]);
    let mut pipelines = BTreeSet::new();
    loop {
        let before = pipelines.len();
        for (name, pipeline) in &config.pipelines {
            if pipeline.inputs().any(|input| streams.contains(input)) {
                pipelines.insert(name.clone());
                streams.extend(pipeline.outputs().cloned());
            }
        }
        if pipelines.len() == before {
            return pipelines;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;
    use crate::record::Position;
    use crate::store::memory::MemoryStore;
    use crate::store::{Changes, PositionKey, StreamSpec};

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
