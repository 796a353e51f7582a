//! The keys of RabbitMQ's source and sink.

use super::{CLIENT_TLS, Form, INTAKE_RETENTION, Key, Kind, Need, SECRET_REFERENCE, Shape, Variant, key};
use crate::config::rabbitmq;
use Need::{Default, Optional, Required};

static URL: Form = Form {
    what: "a URL like `amqp://weir@broker:5672/%2f`",
    pattern: r"^amqps?://[^\s?#]+$",
    rule: "invalid-url",
    check: |text| rabbitmq::url(text).map(drop),
    help: "write `amqp://USER@HOST:PORT/VHOST`, or `amqps://` for TLS; the virtual host `/` is written `%2f`",
};

static MESSAGE_KEY: Form = Form {
    what: "`message-id`, `routing-key`, `header:NAME` or `none`",
    pattern: "^(message-id|routing-key|none|header:.+)$",
    rule: "unknown-word",
    check: |text| rabbitmq::message_key(text).map(drop),
    help: "words for `key`: `message-id`, `routing-key`, `header:NAME`, `none`",
};

static STREAM_START: Form = Form {
    what: "`first`, `last`, `next` or a time like `2026-03-01T12:00:00Z`",
    pattern: r"^(first|last|next|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ].+)$",
    rule: "invalid-start",
    check: |text| rabbitmq::stream_start(text).map(drop),
    help: "`first`: all that the stream holds; `last`: its last chunk; `next`: what is published from now on; or a time with its zone: `2026-03-01T12:00:00Z`",
};

/// A text of AMQP that has a length of one byte, and may be empty.
static SHORT: Form = Form {
    what: "a text of at most 255 bytes",
    pattern: "^.{0,255}$",
    rule: "too-long",
    check: rabbitmq::short,
    help: "AMQP gives names and keys at most 255 bytes",
};

const URL_KEY: Key = key(
    "url",
    Kind::Form(&URL),
    Required,
    "The broker: `amqp://USER@HOST:PORT/VHOST`; `amqps://` is TLS. The password has a key of its own.",
);
const PASSWORD: Key = key(
    "password",
    Kind::Group(&SECRET_REFERENCE),
    Optional,
    "The password: `{secret: NAME}`, of a secret under `secrets`.",
);
const AUTH: Key = key(
    "auth",
    Kind::Choice(&["plain", "external"]),
    Default("plain"),
    "How to log in: by user and password, or by the client certificate.",
);
const TLS: Key = key(
    "tls",
    Kind::Group(&CLIENT_TLS),
    Optional,
    "Whom to trust and what to show over `amqps://`; without it the system's certificate authorities are trusted.",
);

/// A queue of RabbitMQ.
pub static RABBITMQ_SOURCE: Shape = Shape {
    what: "a rabbitmq source",
    doc: "Messages of a queue or stream of RabbitMQ.",
    keys: &[
        key("type", Kind::Word("rabbitmq"), Required, "The type of source."),
        URL_KEY,
        PASSWORD,
        AUTH,
        TLS,
        key("queue", Kind::Text, Required, "The queue or stream to consume."),
        key(
            "queue_type",
            Kind::Choice(&["queue", "stream"]),
            Default("queue"),
            "`queue` for a classic or quorum queue; `stream` for a stream, which is read in place.",
        ),
        key(
            "prefetch",
            Kind::Number(1..=65_535),
            Default("2000"),
            "Messages that the broker sends ahead of their acknowledgement.",
        ),
        key(
            "key",
            Kind::Form(&MESSAGE_KEY),
            Default("none"),
            "What becomes the record's key: `message-id`, `routing-key`, `header:NAME` or `none`.",
        ),
        key("declare", Kind::Group(&DECLARE), Optional, "What to create if it is not there; nothing, without it."),
        key(
            "start",
            Kind::Form(&STREAM_START),
            Optional,
            "Where to begin with a stream that was never read: `first`, `last`, `next` or a time; `first`, without it.",
        ),
        key(
            "message_ids_max",
            Kind::Number(0..=10_000_000),
            Default("100000"),
            "Message ids that are remembered, to recognise a message that is delivered again. More than `prefetch`, to be of use.",
        ),
        INTAKE_RETENTION,
    ],
};

/// What a source creates.
pub static DECLARE: Shape = Shape {
    what: "the group `declare`",
    doc: "Creates a durable queue, and an exchange with bindings to it. What exists has to be the same.",
    keys: &[
        key(
            "type",
            Kind::Choice(&["classic", "quorum", "stream"]),
            Optional,
            "The type of queue; `quorum`, or `stream` for a stream, without it.",
        ),
        key("exchange", Kind::Text, Optional, "An exchange to create and to bind the queue to."),
        key(
            "exchange_type",
            Kind::Choice(&["direct", "fanout", "topic", "headers"]),
            Default("topic"),
            "The type of the exchange.",
        ),
        key(
            "bindings",
            Kind::OneOrMany(&Kind::Form(&SHORT)),
            Optional,
            "Routing keys of the bindings. Without it: all messages of a topic or fanout exchange, those for the queue's name of a direct one.",
        ),
    ],
};

/// An exchange of RabbitMQ.
pub static RABBITMQ_SINK: Shape = Shape {
    what: "a rabbitmq sink",
    doc: "An exchange of RabbitMQ, with publisher confirms.",
    keys: &[
        key("type", Kind::Word("rabbitmq"), Required, "The type of sink."),
        URL_KEY,
        PASSWORD,
        AUTH,
        TLS,
        key(
            "exchange",
            Kind::Form(&SHORT),
            Optional,
            "The exchange to publish to; the default exchange, without it, where the routing key is a queue's name.",
        ),
        key(
            "routing_key",
            Kind::Either(&Kind::Form(&SHORT), &Kind::Variants("routing key", ROUTING_KEYS)),
            Optional,
            "A text, or `{key: true}`, `{header: NAME}` or `{field: NAME}`: the record's key, a header of it, or a field of its JSON value. Empty, without it.",
        ),
    ],
};

/// The ways to find a routing key.
pub static ROUTING_KEYS: &[Variant] = &[
    Variant { key: "key", word: None, shape: &ROUTING_KEY_OF_KEY },
    Variant { key: "header", word: None, shape: &ROUTING_KEY_OF_HEADER },
    Variant { key: "field", word: None, shape: &ROUTING_KEY_OF_FIELD },
];

/// The record's key.
pub static ROUTING_KEY_OF_KEY: Shape = Shape {
    what: "a routing key of the record's key",
    doc: "The record's key is the routing key.",
    keys: &[key("key", Kind::True, Required, "`true`.")],
};

/// A header.
pub static ROUTING_KEY_OF_HEADER: Shape = Shape {
    what: "a routing key of a header",
    doc: "A header of the record is the routing key.",
    keys: &[key("header", Kind::Text, Required, "The header's name.")],
};

/// A field.
pub static ROUTING_KEY_OF_FIELD: Shape = Shape {
    what: "a routing key of a field",
    doc: "A field of the record's JSON value is the routing key.",
    keys: &[key("field", Kind::Text, Required, "The field's name; parts of a path are divided by dots.")],
};
