//! Kafka sources and sinks: their settings, and what is checked of them beyond the shape of the file.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::build::Secrets;
use super::client::{ClientTls, client_tls, half_identity, secret};
use super::report::Problem;
use super::shape::CLIENT_TLS;
use super::shape::kafka as shape;
use super::view::{Result, View};
use super::yaml::{Entry, Node, Value};
use super::{Secret, suggest};
use crate::record::Timestamp;

/// How a cluster is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaCluster {
    /// Where to begin to look for it: `host:port`.
    pub brokers: Vec<String>,
    /// Encryption; `None`: none.
    pub tls: Option<ClientTls>,
    /// The login; `None`: none, or by the certificate.
    pub sasl: Option<SaslLogin>,
    /// Further settings of librdkafka, all of them on the list of those that are safe.
    pub properties: BTreeMap<String, String>,
}

impl KafkaCluster {
    /// How often to look for new topics and partitions, where the file says it.
    pub fn look_every(&self) -> Option<std::time::Duration> {
        let ms = self.properties.get("topic.metadata.refresh.interval.ms")?.parse().ok()?;
        Some(std::time::Duration::from_millis(ms)).filter(|every| !every.is_zero())
    }
}

/// A login by SASL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaslLogin {
    /// As librdkafka names it: `SCRAM-SHA-512`.
    pub mechanism: String,
    /// The user.
    pub user: String,
    /// Where the password is.
    pub password: Secret,
}

/// Topics that are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaSource {
    /// Where.
    pub cluster: KafkaCluster,
    /// Names, and regular expressions that begin with `^`.
    pub topics: Vec<String>,
    /// The group that positions are told to. `None`: `weir-PIPELINE`.
    pub group: Option<String>,
    /// Where to begin with topics that were never read.
    pub start: KafkaStart,
    /// What to do when the records at the position are gone.
    pub on_lost: OnLost,
}

/// Where to begin with a topic that was never read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KafkaStart {
    /// With its oldest record.
    Earliest,
    /// With what comes from now on.
    Latest,
    /// With the first record of this time or a later one.
    Time(Timestamp),
}

/// What to do when the records at the position are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLost {
    /// Stop: an operator decides.
    Stop,
    /// Go on with the oldest record there is.
    Earliest,
    /// Go on with what comes from now on.
    Latest,
}

/// A topic that is written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaSink {
    /// Where.
    pub cluster: KafkaCluster,
    /// Its name.
    pub topic: String,
    /// Whether a crash may repeat records.
    pub delivery: KafkaDelivery,
    /// `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    pub compression: String,
    /// How it is made where there is none. `None`: it has to exist.
    pub create: Option<CreateTopic>,
    /// What the names of transactions begin with.
    pub transactional_id: String,
}

/// Whether a crash may repeat records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KafkaDelivery {
    /// It does not: records are written in transactions.
    ExactlyOnce,
    /// It may.
    AtLeastOnce,
}

/// How a topic is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTopic {
    /// How many partitions it gets.
    pub partitions: i32,
    /// How many brokers hold each. `None`: what the cluster does by itself.
    pub replication: Option<i32>,
    /// Settings as Kafka names them.
    pub config: BTreeMap<String, String>,
}

/// Which side a property is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Both,
    Source,
    Sink,
}

/// The settings of librdkafka that a pipeline file may set: none of them loads code or files, speaks of secrets, or
/// touches what the guarantees rest on.
const PROPERTIES: &[(&str, Side)] = &[
    ("batch.num.messages", Side::Sink),
    ("batch.size", Side::Sink),
    ("broker.address.family", Side::Both),
    ("broker.address.ttl", Side::Both),
    ("client.dns.lookup", Side::Both),
    ("client.id", Side::Both),
    ("client.rack", Side::Source),
    ("compression.level", Side::Sink),
    ("connections.max.idle.ms", Side::Both),
    ("fetch.error.backoff.ms", Side::Source),
    ("fetch.max.bytes", Side::Source),
    ("fetch.min.bytes", Side::Source),
    ("fetch.queue.backoff.ms", Side::Source),
    ("fetch.wait.max.ms", Side::Source),
    ("linger.ms", Side::Sink),
    ("max.in.flight.requests.per.connection", Side::Sink),
    ("max.partition.fetch.bytes", Side::Source),
    ("message.timeout.ms", Side::Sink),
    ("receive.message.max.bytes", Side::Both),
    ("reconnect.backoff.max.ms", Side::Both),
    ("reconnect.backoff.ms", Side::Both),
    ("request.timeout.ms", Side::Sink),
    ("retry.backoff.max.ms", Side::Both),
    ("retry.backoff.ms", Side::Both),
    ("socket.connection.setup.timeout.ms", Side::Both),
    ("socket.keepalive.enable", Side::Both),
    ("socket.nagle.disable", Side::Both),
    ("socket.receive.buffer.bytes", Side::Both),
    ("socket.send.buffer.bytes", Side::Both),
    ("socket.timeout.ms", Side::Both),
    ("sticky.partitioning.linger.ms", Side::Sink),
    ("topic.metadata.refresh.interval.ms", Side::Both),
    ("transaction.timeout.ms", Side::Sink),
];

pub(super) fn source(view: View<'_>, secrets: &Secrets) -> Result<KafkaSource> {
    let start = match view.time_or_none("start") {
        Ok(Some(time)) => KafkaStart::Time(time),
        _ if view.text("start")? == "latest" => KafkaStart::Latest,
        _ => KafkaStart::Earliest,
    };
    let on_lost = match view.text("on_lost")?.as_str() {
        "earliest" => OnLost::Earliest,
        "latest" => OnLost::Latest,
        _ => OnLost::Stop,
    };
    Ok(KafkaSource {
        cluster: cluster(view, secrets)?,
        topics: view.texts("topics").into_iter().map(str::to_owned).collect(),
        group: view.has("group").then(|| view.text("group")).transpose()?,
        start,
        on_lost,
    })
}

pub(super) fn sink(view: View<'_>, secrets: &Secrets) -> Result<KafkaSink> {
    let create = view.has("create").then(|| create(view.group("create", &shape::CREATE))).transpose()?;
    Ok(KafkaSink {
        cluster: cluster(view, secrets)?,
        topic: view.text("topic")?,
        delivery: match view.text("delivery")?.as_str() {
            "at_least_once" => KafkaDelivery::AtLeastOnce,
            _ => KafkaDelivery::ExactlyOnce,
        },
        compression: view.text("compression")?,
        create,
        transactional_id: view.text("transactional_id")?,
    })
}

fn create(view: View<'_>) -> Result<CreateTopic> {
    Ok(CreateTopic {
        partitions: view.number("partitions")?,
        replication: view.number_or_none("replication")?,
        config: scalars(view.get("config")),
    })
}

fn cluster(view: View<'_>, secrets: &Secrets) -> Result<KafkaCluster> {
    let tls = view.has("tls").then(|| client_tls(view.group("tls", &CLIENT_TLS))).transpose()?;
    let sasl = view.has("sasl").then(|| sasl(view.group("sasl", &shape::SASL_LOGIN), secrets)).transpose()?;
    Ok(KafkaCluster {
        brokers: view.texts("brokers").into_iter().map(str::to_owned).collect(),
        tls,
        sasl,
        properties: scalars(view.get("properties")),
    })
}

fn sasl(view: View<'_>, secrets: &Secrets) -> Result<SaslLogin> {
    Ok(SaslLogin {
        mechanism: view.text("mechanism")?.to_ascii_uppercase(),
        user: view.text("user")?,
        password: secret(view, "password", secrets)?,
    })
}

/// Keys with one value each, as texts. Values of another form were refused by the check.
fn scalars(node: Option<&Node>) -> BTreeMap<String, String> {
    let entries = node.map(Node::entries).unwrap_or_default();
    entries.iter().filter_map(|entry| Some((entry.key.clone(), scalar(&entry.value)?))).collect()
}

fn scalar(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(value) => Some(value.to_string()),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}

/// What is wrong with the Kafka sources and sinks of a merged file, beyond its shape.
pub(super) fn problems(root: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (section, side) in [("sources", Side::Source), ("sinks", Side::Sink)] {
        let entries = root.get(section).map(Node::entries).unwrap_or_default();
        for node in entries.iter().map(|entry| &entry.value).filter(|node| is_kafka(node)) {
            problems.extend(node.get("properties").into_iter().flat_map(|node| property_problems(node, side)));
            problems.extend(node.get("topics").into_iter().flat_map(pattern_problems));
            problems
                .extend(node.get("create").and_then(|create| create.get("config")).into_iter().flat_map(not_scalar));
            problems.extend(half_identity(node.entry("tls")));
        }
    }
    problems
}

fn is_kafka(node: &Node) -> bool {
    node.get("type").and_then(Node::text) == Some("kafka")
}

fn property_problems(properties: &Node, side: Side) -> Vec<Problem> {
    let known = PROPERTIES.iter().filter(|(_, of)| *of == Side::Both || *of == side).map(|(name, _)| *name);
    let mut problems = not_scalar(properties);
    for entry in properties.entries() {
        if known.clone().any(|name| name == entry.key) {
            problems.extend(invalid_value(entry));
        } else {
            problems.push(unknown_property(entry, side, known.clone()));
        }
    }
    problems
}

fn unknown_property<'a>(entry: &Entry, side: Side, known: impl Iterator<Item = &'a str> + Clone) -> Problem {
    let what = if side == Side::Source { "source" } else { "sink" };
    let other = PROPERTIES.iter().any(|(name, _)| *name == entry.key);
    let message = match other {
        true => format!("the property `{}` means nothing for a {what}", entry.key),
        false => format!("a kafka {what} may not set the property `{}`", entry.key),
    };
    Problem::error("unknown-property", message).at(&entry.place, "not on the list").help(suggest::help(
        &entry.key,
        &format!("properties of a {what}"),
        known,
    ))
}

/// librdkafka itself knows what its settings may be.
fn invalid_value(entry: &Entry) -> Option<Problem> {
    let value = scalar(&entry.value)?;
    let error = rdkafka::ClientConfig::new().set(&entry.key, value).create_native_config().err()?;
    let reason = match error {
        rdkafka::error::KafkaError::ClientConfig(_, reason, _, _) => reason,
        other => other.to_string(),
    };
    Some(
        Problem::error("invalid-property", format!("the property `{}` cannot have this value", entry.key))
            .at(&entry.value.place, "refused by librdkafka")
            .help(reason),
    )
}

fn not_scalar(group: &Node) -> Vec<Problem> {
    let wrong = group.entries().iter().filter(|entry| scalar(&entry.value).is_none());
    let problem = |entry: &Entry| {
        let message = format!("`{}` takes one value, and here is {}", entry.key, entry.value.describe());
        Problem::error("wrong-type", message).at(&entry.value.place, "expected a text or a number")
    };
    wrong.map(problem).collect()
}

fn pattern_problems(topics: &Node) -> Vec<Problem> {
    let patterns = topics.texts().into_iter().filter(|(text, _)| text.starts_with('^'));
    let problem = |(text, place)| {
        let error: regex::Error = regex::Regex::new(text).err()?;
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Some(
            Problem::error("invalid-pattern", format!("`topics`: {text:?} is not a regular expression: {reason}"))
                .at(place, "cannot be read")
                .help("without `^` at the beginning it is the name of a topic"),
        )
    };
    patterns.filter_map(problem).collect()
}

/// The group that a source's positions are told to.
pub fn group_of(source: &KafkaSource, pipeline: &str) -> Arc<str> {
    source.group.as_deref().map_or_else(|| format!("weir-{pipeline}").into(), Arc::from)
}
