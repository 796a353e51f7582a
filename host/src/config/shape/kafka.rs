//! The keys of Kafka sources and sinks.

use super::Need::{Default, Optional, Required};
use super::{CLIENT_TLS, Key, Kind, Shape, key};

const BROKERS: Key =
    key("brokers", Kind::OneOrMany(&Kind::Text), Required, "Where to begin to look for the cluster: `host:port`.");
const TLS: Key =
    key("tls", Kind::Group(&CLIENT_TLS), Optional, "Encrypts connections; `{}` trusts what the system trusts.");
const SASL: Key = key("sasl", Kind::Group(&SASL_LOGIN), Optional, "Logs in to the brokers.");
const PROPERTIES: Key =
    key("properties", Kind::Free, Optional, "Settings of librdkafka by name, out of those that are safe.");

/// Topics that are read in place.
pub static SOURCE: Shape = Shape {
    what: "a kafka source",
    doc: "Topics of Kafka, read in place: positions are kept with the pipeline's commits.",
    keys: &[
        key("type", Kind::Word("kafka"), Required, "The type of source."),
        BROKERS,
        key(
            "topics",
            Kind::OneOrMany(&Kind::Text),
            Required,
            "A topic, or a list of them; one that begins with `^` is a regular expression.",
        ),
        key(
            "group",
            Kind::Text,
            Optional,
            "The group that positions are told to, for lag tools; `weir-PIPELINE` without it.",
        ),
        key(
            "start",
            Kind::WordOrTime(&["earliest", "latest"]),
            Default("earliest"),
            "Where to begin with topics that were never read: `earliest`, `latest` or a time.",
        ),
        key(
            "on_lost",
            Kind::Choice(&["stop", "earliest", "latest"]),
            Default("stop"),
            "What to do when the records at the position are gone: stop, or go on from there.",
        ),
        TLS,
        SASL,
        PROPERTIES,
    ],
};

/// A topic that is written to.
pub static SINK: Shape = Shape {
    what: "a kafka sink",
    doc: "A topic of Kafka.",
    keys: &[
        key("type", Kind::Word("kafka"), Required, "The type of sink."),
        BROKERS,
        key("topic", Kind::Text, Required, "The topic."),
        key(
            "delivery",
            Kind::Choice(&["exactly_once", "at_least_once"]),
            Default("exactly_once"),
            "`exactly_once` writes in transactions; `at_least_once` may repeat records after a crash.",
        ),
        key(
            "compression",
            Kind::Choice(&["none", "gzip", "snappy", "lz4", "zstd"]),
            Default("none"),
            "How batches are compressed.",
        ),
        key(
            "create",
            Kind::Group(&CREATE),
            Optional,
            "Makes the topic where there is none; without it, it has to exist.",
        ),
        key(
            "transactional_id",
            Kind::Text,
            Default("weir"),
            "What the names of transactions begin with: what an ACL allows by prefix.",
        ),
        TLS,
        SASL,
        PROPERTIES,
    ],
};

/// How a topic is made.
pub static CREATE: Shape = Shape {
    what: "the group `create`",
    doc: "How a topic is made where there is none.",
    keys: &[
        key("partitions", Kind::Number(1..=100_000), Default("1"), "How many partitions it gets."),
        key(
            "replication",
            Kind::Number(1..=32_767),
            Optional,
            "How many brokers hold each partition; what the cluster does by itself, without it.",
        ),
        key("config", Kind::Free, Optional, "Settings of the topic, as Kafka names them: `{retention.ms: 86400000}`."),
    ],
};

/// A login by SASL.
pub static SASL_LOGIN: Shape = Shape {
    what: "the group `sasl`",
    doc: "A login by SASL.",
    keys: &[
        key(
            "mechanism",
            Kind::Choice(&["plain", "scram-sha-256", "scram-sha-512"]),
            Required,
            "How the password is shown. With `plain` it is sent as it is: use it with `tls`.",
        ),
        key("user", Kind::Text, Required, "The user."),
        key("password", Kind::Secret, Required, "The password: `{secret: NAME}`, with NAME under `secrets`."),
    ],
};
