//! What a cluster says of its topics: which there are, and how many partitions they have.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::client::Client;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use regex::Regex;
use tokio::time::Instant;

use super::Context;
use super::words::{self, Doing};
use crate::source::Error;

/// How long a cluster may take to answer before the attempt is given up.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// How often the client is asked in between why there is no answer.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Topics by name, with the number of their partitions.
pub type Topics = BTreeMap<String, i32>;

/// Which topics are meant.
#[derive(Debug, Clone)]
pub struct Wanted {
    names: Vec<String>,
    patterns: Vec<Regex>,
}

impl Wanted {
    /// By names, and regular expressions that begin with `^`.
    pub fn of(topics: &[String]) -> Result<Wanted, Error> {
        let (patterns, names): (Vec<_>, Vec<_>) = topics.iter().cloned().partition(|topic| topic.starts_with('^'));
        let patterns: Result<_, _> = patterns.iter().map(|pattern| Regex::new(pattern)).collect();
        let patterns = patterns.map_err(|error| words::not_created(&KafkaError::Subscription(error.to_string())))?;
        Ok(Wanted { names, patterns })
    }

    /// The names that are given as such.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether a topic that exists is meant. What Kafka keeps for itself is meant by its name alone.
    fn matches(&self, topic: &str) -> bool {
        !topic.starts_with("__") && self.patterns.iter().any(|pattern| pattern.is_match(topic))
    }
}

/// Finds the wanted topics. Blocks, for up to [`ANSWER_TIME_MAX`] a question.
pub fn find(consumer: &BaseConsumer<Context>, wanted: &Wanted, doing: &Doing<'_>) -> Result<Topics, Error> {
    let mut found = Topics::new();
    for name in wanted.names() {
        found.insert(name.clone(), partitions(consumer, name, doing)?);
    }
    if !wanted.patterns.is_empty() {
        let metadata = ask(consumer, doing, |client| client.fetch_metadata(None, LOOK_EVERY))?;
        let matching = metadata.topics().iter().filter(|topic| wanted.matches(topic.name()));
        found.extend(matching.filter(|topic| is_there(topic)).map(|topic| (topic.name().to_owned(), count(topic))));
    }
    Ok(found)
}

/// How many partitions a topic has. Blocks.
pub fn partitions(consumer: &BaseConsumer<Context>, topic: &str, doing: &Doing<'_>) -> Result<i32, Error> {
    let missing = || doing.failed_with(RDKafkaErrorCode::UnknownTopicOrPartition, "");
    partitions_if_there(consumer, topic, doing)?.ok_or_else(missing)
}

/// How many partitions a topic has, where there is such a topic. Blocks.
pub fn partitions_if_there(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    doing: &Doing<'_>,
) -> Result<Option<i32>, Error> {
    ask(consumer, doing, |client| {
        let metadata = client.fetch_metadata(Some(topic), LOOK_EVERY)?;
        let Some(topic) = metadata.topics().first() else { return Ok(None) };
        match topic.error().map(RDKafkaErrorCode::from) {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
            Some(code) => Err(KafkaError::MetadataFetch(code)),
            None if topic.partitions().is_empty() => {
                Err(KafkaError::MetadataFetch(RDKafkaErrorCode::LeaderNotAvailable))
            }
            None => Ok(Some(count(topic))),
        }
    })
}

fn is_there(topic: &MetadataTopic) -> bool {
    topic.error().is_none() && !topic.partitions().is_empty()
}

fn count(topic: &MetadataTopic) -> i32 {
    topic.partitions().len() as i32
}

/// Asks until there is an answer, the time is up, or the client knows that there will be none.
pub fn ask<T>(
    consumer: &BaseConsumer<Context>,
    doing: &Doing<'_>,
    question: impl Fn(&Client<Context>) -> Result<T, KafkaError>,
) -> Result<T, Error> {
    let end = Instant::now() + ANSWER_TIME_MAX;
    let signals = &consumer.context().0;
    loop {
        let error = match question(consumer.client()) {
            Ok(answer) => {
                signals.works();
                return Ok(answer);
            }
            Err(error) => error,
        };
        // The client's errors wait in its queue until it is polled.
        while consumer.poll(Duration::ZERO).is_some() {}
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        let told = signals.trouble().is_some_and(|(why, _)| words::is_refusal(why));
        if told || !is_passing(code) || Instant::now() >= end {
            return Err(doing.failed(&error, signals));
        }
        if code != RDKafkaErrorCode::OperationTimedOut {
            std::thread::sleep(LOOK_EVERY / 5);
        }
    }
}

/// Whether the same question may get another answer in a moment.
fn is_passing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{
        AllBrokersDown, BrokerNotAvailable, BrokerTransportFailure, CoordinatorLoadInProgress, CoordinatorNotAvailable,
        LeaderNotAvailable, NetworkException, NotCoordinator, NotLeaderForPartition, OperationTimedOut,
        RequestTimedOut, UnstableOffsetCommit, WaitingForCoordinator,
    };
    matches!(
        code,
        AllBrokersDown
            | BrokerNotAvailable
            | BrokerTransportFailure
            | CoordinatorLoadInProgress
            | CoordinatorNotAvailable
            | LeaderNotAvailable
            | NetworkException
            | NotCoordinator
            | NotLeaderForPartition
            | OperationTimedOut
            | RequestTimedOut
            | UnstableOffsetCommit
            | WaitingForCoordinator
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_meant_by_name_or_pattern() {
        let wanted = Wanted::of(&["orders".into(), "^logs-.*".into(), "^.*$".into()]).unwrap();
        assert_eq!(wanted.names(), ["orders"]);
        assert!(wanted.matches("logs-a") && wanted.matches("other"));
        assert!(!wanted.matches("__consumer_offsets"));
        assert!(Wanted::of(&["^(".into()]).is_err());
    }
}
