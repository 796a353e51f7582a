//! The topic that a sink writes to: whether it is there, how it is made, and what it takes.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::runtime::Handle;

use crate::config::{CreateTopic, KafkaSink};
use crate::kafka::topics::{self, ANSWER_TIME_MAX};
use crate::kafka::words::{self, Doing};
use crate::kafka::{Context, client};
use crate::record::Record;
use crate::source::Error;

/// `max.message.bytes` of a topic where nobody has set it.
const MESSAGE_BYTES_MAX: usize = 1_048_588;
/// What a batch of one record has beside the record's data, at most: 61 bytes of its own, and lengths.
const OVERHEAD_BYTES: usize = 61 + 40;
/// What a header has beside its name and value, at most.
const HEADER_OVERHEAD_BYTES: usize = 10;
/// How long a topic that was made may take to be seen.
const SEEN_TIME_MAX: Duration = Duration::from_secs(30);

/// What a topic takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Bytes of a record, alone in its batch, as the broker counts them.
    pub bytes_max: usize,
    /// Whether each record needs a key, as older ones with the same key are deleted.
    pub needs_key: bool,
    /// Whether the broker has said so; otherwise it is what topics take that nobody has changed.
    pub are_known: bool,
}

impl Rules {
    /// Why a topic will never take a record, where it will not.
    pub fn refuse(&self, topic: &str, record: &Record<'_>) -> Option<String> {
        let headers = record.headers().count() * HEADER_OVERHEAD_BYTES;
        let bytes = record.data_len() + headers + OVERHEAD_BYTES;
        if bytes > self.bytes_max {
            let max = self.bytes_max;
            return Some(format!(
                "the record takes {bytes} bytes, and the topic {topic} takes {max} (`max.message.bytes`)"
            ));
        }
        (self.needs_key && record.key.is_none()).then(|| {
            format!("the record has no key, and the topic {topic} is compacted: it takes only records with one")
        })
    }
}

/// Makes sure of the topic and asks what it takes. Blocks.
pub fn open(settings: &KafkaSink, consumer: &BaseConsumer<Context>, runtime: &Handle) -> Result<Rules, Error> {
    let topic = &settings.topic;
    let (what, needs) = (format!("write to the topic {topic}"), format!("Describe and Write on the topic {topic}"));
    let doing = Doing { cluster: &settings.cluster, what: &what, needs: &needs };
    let found = topics::partitions_if_there(consumer, topic, &doing)?;
    let partitions = match (found, &settings.create) {
        (Some(partitions), _) => partitions,
        (None, Some(create)) => make(settings, create, consumer, runtime)?,
        (None, None) => return Err(missing(settings)),
    };
    if let Some(create) = settings.create.as_ref().filter(|create| create.partitions != partitions) {
        tracing::warn!(
            topic,
            partitions,
            "the topic has another number of partitions than `create` says ({}); it stays as it is",
            create.partitions
        );
    }
    Ok(runtime.block_on(rules(settings)))
}

/// Whether the topic is there, or may be made.
pub fn check(settings: &KafkaSink, consumer: &BaseConsumer<Context>) -> Result<(), Error> {
    let topic = &settings.topic;
    let (what, needs) = (format!("write to the topic {topic}"), format!("Describe and Write on the topic {topic}"));
    let doing = Doing { cluster: &settings.cluster, what: &what, needs: &needs };
    match topics::partitions_if_there(consumer, topic, &doing)? {
        None if settings.create.is_none() => Err(missing(settings)),
        _ => Ok(()),
    }
}

fn missing(settings: &KafkaSink) -> Error {
    let (topic, brokers) = (&settings.topic, settings.cluster.brokers.join(", "));
    let message =
        format!("there is no topic {topic} at {brokers}: make it, or let weir make it by `create` at the sink");
    Error::stop(message)
}

fn make(
    settings: &KafkaSink,
    create: &CreateTopic,
    consumer: &BaseConsumer<Context>,
    runtime: &Handle,
) -> Result<i32, Error> {
    let topic = &settings.topic;
    let (what, needs) = (format!("make the topic {topic}"), format!("Create on the topic {topic}, or on the cluster"));
    let doing = Doing { cluster: &settings.cluster, what: &what, needs: &needs };
    let admin = admin(settings)?;
    let replication = TopicReplication::Fixed(create.replication.unwrap_or(-1));
    let new = create
        .config
        .iter()
        .fold(NewTopic::new(topic, create.partitions, replication), |new, (name, value)| new.set(name, value));
    let options = AdminOptions::new().request_timeout(Some(ANSWER_TIME_MAX)).operation_timeout(Some(ANSWER_TIME_MAX));
    let made = runtime.block_on(admin.create_topics([&new], &options));
    let made = made.map_err(|error| doing.failed(&error, &consumer.context().0))?;
    match made.into_iter().next() {
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => {}
        Some(Err((_, code))) if is_wrong(code) => {
            let message = format!("cannot make the topic {topic}: {}; look at `create`", words::meaning(code));
            return Err(Error::stop(message));
        }
        Some(Err((_, code))) => return Err(doing.failed_with(code, &words::meaning(code))),
        Some(Ok(_)) | None => tracing::info!(topic, partitions = create.partitions, "the topic was made"),
    }
    let end = tokio::time::Instant::now() + SEEN_TIME_MAX;
    loop {
        match topics::partitions_if_there(consumer, topic, &doing)? {
            Some(partitions) => return Ok(partitions),
            None if tokio::time::Instant::now() < end => std::thread::sleep(Duration::from_millis(100)),
            None => return Err(Error::retry(format!("the topic {topic} was made and cannot be seen yet"))),
        }
    }
}

fn is_wrong(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{InvalidConfig, InvalidPartitions, InvalidReplicationFactor, InvalidTopic, PolicyViolation};
    matches!(code, InvalidConfig | InvalidPartitions | InvalidReplicationFactor | InvalidTopic | PolicyViolation)
}

fn admin(settings: &KafkaSink) -> Result<AdminClient<DefaultClientContext>, Error> {
    client::settings(&settings.cluster)?.create().map_err(|error| words::not_created(&error))
}

/// What the broker says that the topic takes. It may not say it to everybody.
async fn rules(settings: &KafkaSink) -> Rules {
    let unknown = Rules { bytes_max: MESSAGE_BYTES_MAX, needs_key: false, are_known: false };
    let Ok(admin) = admin(settings) else { return unknown };
    let options = AdminOptions::new().request_timeout(Some(ANSWER_TIME_MAX));
    let topic = [ResourceSpecifier::Topic(&settings.topic)];
    let described = match admin.describe_configs(&topic, &options).await {
        Ok(described) => described.into_iter().next().unwrap_or(Err(RDKafkaErrorCode::Unknown)),
        Err(error) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)),
    };
    let config = match described {
        Ok(config) => config,
        Err(code) => {
            let reason = words::reason_of(&KafkaError::AdminOpCreation(words::meaning(code)));
            tracing::debug!(topic = settings.topic, "what the topic takes is not known: {reason}");
            return unknown;
        }
    };
    let value = |name| config.get(name).and_then(|entry| entry.value.as_deref());
    Rules {
        bytes_max: value("max.message.bytes").and_then(|text| text.parse().ok()).unwrap_or(MESSAGE_BYTES_MAX),
        needs_key: value("cleanup.policy").is_some_and(|policy| policy.contains("compact")),
        are_known: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Timestamp;

    #[test]
    fn what_a_topic_never_takes_is_refused_in_words() {
        let rules = Rules { bytes_max: 1_000, needs_key: true, are_known: true };
        let large = vec![b'x'; 950];
        let keyed = |value| Record { key: Some(b"k"), ..Record::of(value, Timestamp(0)) };
        assert!(rules.refuse("t", &keyed(&large)).unwrap().contains("topic t takes 1000"));
        assert!(rules.refuse("t", &Record::of(b"a", Timestamp(0))).unwrap().contains("no key"));
        assert_eq!(rules.refuse("t", &keyed(b"a")), None);
        assert_eq!(Rules { needs_key: false, ..rules }.refuse("t", &Record::of(b"a", Timestamp(0))), None);
    }
}
