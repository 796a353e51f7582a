//! How the bytes that a task may hold are shared out among those who hold them.

use crate::config::{Config, Pipeline, Sink, Source};

/// The shares of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Budget {
    /// Records between reading and commit.
    pub(super) records: usize,
    /// Records that a client library has fetched ahead of reading, for each input that has one.
    pub(super) fetched: usize,
    /// Records that a client library has taken to send, for each sink that has one.
    pub(super) produced: usize,
}

/// Half of what a task may hold is for its own records, as long as client libraries hold records too: theirs are a
/// quarter each for all inputs and all sinks. Without them, all of it is for the task.
pub(super) fn of(config: &Config, pipeline: &Pipeline) -> Budget {
    let all = config.limits.task_bytes_in_flight_max;
    let inputs =
        pipeline.partitioned().filter(|name| matches!(config.sources.get(*name), Some(Source::Kafka(_)))).count();
    let is_kafka = |name: &str, sink: &Sink| matches!(sink, Sink::Kafka(_)) && pipeline.writes(name);
    let sinks = config.sinks.iter().filter(|(name, sink)| is_kafka(name, sink)).count();
    let parts = 2 + inputs.min(1) + sinks.min(1);
    let part = all / parts;
    Budget { records: all - part * (parts - 2), fetched: part / inputs.max(1), produced: part / sinks.max(1) }
}
