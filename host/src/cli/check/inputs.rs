//! What the inputs of a pipeline have to have in common, where its steps remember.

use crate::config::{KafkaDelivery, Loaded, Pipeline, Problem, Sink, Source, StepOwner};
use crate::plugin::Description;

/// Tables of steps that remember nothing, and inputs whose partitions do not belong together.
pub fn problems(loaded: &Loaded, name: &str, pipeline: &Pipeline, steps: &[&Description]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (at, (step, described)) in pipeline.steps.iter().zip(steps).enumerate() {
        if !step.tables.is_empty() && described.tables.is_none() {
            let message = format!("`{}` has no state, so it can read no tables", step.plugin);
            let here = loaded.origin.plugin(StepOwner::Pipeline(name, at));
            problems.push(Problem::error("tables-unread", message).at(&here, "has `tables`"));
        }
    }
    if steps.iter().any(|described| described.tables.is_some()) {
        problems.extend(not_copartitioned(loaded, name, pipeline));
        problems.extend(not_repeatable(loaded, name, pipeline));
    }
    problems
}

/// A step that remembers sees the records of a key in one task alone, so all inputs need the same partitions. How many a
/// topic of Kafka has is only known once the cluster was asked.
fn not_copartitioned(loaded: &Loaded, name: &str, pipeline: &Pipeline) -> Option<Problem> {
    let partitions = |input: &str| match loaded.config.streams.get(input) {
        Some(stream) => Some(stream.partitions),
        None => loaded.config.sources.get(input).and_then(|source| (!source.is_kafka()).then_some(1)),
    };
    let known: Vec<_> = pipeline.partitioned().filter_map(|input| Some((input, partitions(input)?))).collect();
    let (most, wanted) = known.iter().max_by_key(|(_, partitions)| *partitions)?;
    let (input, has) = known.iter().find(|(_, partitions)| partitions != wanted)?;
    let message = format!(
        "the inputs of `{name}` have different partitions: `{most}` {wanted}, `{input}` {has}; records of one key would be in different tasks"
    );
    let help = format!(
        "let a pipeline bring `{input}` into a stream that is partitioned as `{most}` is, and read that: `streams: {{ {input}-by-key: {{ partitions: {wanted}, key: FIELD }} }}`, `pipelines: {{ rekey-{input}: {{ from: {input}, to: {input}-by-key }} }}`"
    );
    Some(Problem::error("not-copartitioned", message).at(&loaded.origin.from(name), "read together").help(help))
}

/// What a step that remembers makes of several places depends on the order in which their records come, and that may be
/// another one after a crash. Kafka would then not know again what it was sent in the moment of the crash.
fn not_repeatable(loaded: &Loaded, name: &str, pipeline: &Pipeline) -> Option<Problem> {
    let config = &loaded.config;
    let is_one_place = |input: &str| match config.sources.get(input) {
        Some(Source::Kafka(settings)) => {
            settings.topics.iter().all(|topic| !topic.starts_with('^')) && settings.topics.len() == 1
        }
        Some(Source::File(settings)) => {
            settings.paths.len() == 1 && settings.paths.iter().all(|path| !path.contains(['*', '?', '[']))
        }
        _ => true,
    };
    let inputs: Vec<_> = pipeline.partitioned().collect();
    let is_repeatable = inputs.len() == 1 && inputs.iter().all(|input| is_one_place(input));
    let is_exact =
        |sink: &Sink| matches!(sink, Sink::Kafka(settings) if settings.delivery == KafkaDelivery::ExactlyOnce);
    let (sink, _) = config.sinks.iter().find(|(sink, settings)| pipeline.writes(sink) && is_exact(settings))?;
    let message = format!(
        "after a crash `{sink}` may get some records of `{name}` twice: it joins several places, whose records may then come in another order"
    );
    let help = format!(
        "let `{name}` write to a stream, and another pipeline bring that to `{sink}`: `{name}: {{ ..., to: {name}-out }}`, `{name}-to-{sink}: {{ from: {name}-out, to: {sink} }}`"
    );
    let problem =
        || Problem::warning("not-repeatable", message).at(&loaded.origin.from(name), "read together").help(help);
    (!is_repeatable).then(problem)
}
