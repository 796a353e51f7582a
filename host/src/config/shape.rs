//! The shape of a pipeline file as tables: every key with its kind, default and meaning.
//!
//! The one place that knows which keys there are. The check of a file, its reading and the published JSON Schema all
//! follow these tables.

pub mod case;
mod dead_letters;
mod endpoint;
pub mod http;
pub mod kafka;
mod limits;
mod rabbitmq;
pub mod tests;

use std::ops::RangeInclusive;

pub use dead_letters::DEAD_LETTERS;
pub use endpoint::{
    ENDPOINTS, GRANTS_KEY, HIVE_ENDPOINT, HTTP_BASIC, HTTP_BEARER, HTTP_ENDPOINT, HTTP_HEADER, IMPALA_ENDPOINT,
    KUDU_ENDPOINT, KUDU_TLS, LDAP_ENDPOINT, LOOKUP_CACHE, MYSQL_ENDPOINT, POSTGRES_ENDPOINT, SLACK_ENDPOINT,
    SPARK_ENDPOINT,
};
pub use limits::{LIMITS, PROBATION, STEP_LIMITS};
pub use rabbitmq::{DECLARE, RABBITMQ_SINK, RABBITMQ_SOURCE, ROUTING_KEY_OF_FIELD, ROUTING_KEY_OF_HEADER};

/// A group of keys.
#[derive(Debug)]
pub struct Shape {
    /// What it describes, with its article: `a file source`.
    pub what: &'static str,
    /// Its meaning, a sentence.
    pub doc: &'static str,
    /// The keys that it may have.
    pub keys: &'static [Key],
}

/// A key of a group.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// What holds where it is left out.
    pub need: Need,
    /// Its meaning, a sentence.
    pub doc: &'static str,
}

/// What holds where a key is left out.
#[derive(Debug, Clone, Copy)]
pub enum Need {
    /// It cannot be left out.
    Required,
    /// Nothing; the doc line says what that means.
    Optional,
    /// This value, written as in a file.
    Default(&'static str),
}

/// What a value may be.
#[derive(Debug)]
pub enum Kind {
    /// The version of this format.
    Version,
    /// This word.
    Word(&'static str),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any text but an empty one.
    Text,
    /// The name of a source, stream, sink or plugin.
    Name,
    /// The path of a file or directory, relative to the pipeline file.
    Path,
    /// A path, or a pattern of paths.
    Pattern,
    /// A whole number.
    Number(RangeInclusive<u64>),
    /// Bytes.
    Size(RangeInclusive<u64>),
    /// A duration; the bounds are milliseconds.
    Duration(RangeInclusive<u64>),
    /// A duration, or `forever`; the bounds are milliseconds.
    Age(RangeInclusive<u64>),
    /// An IP address and a port.
    Address,
    /// A time with its zone.
    Time,
    /// One of these words, or a time with its zone.
    WordOrTime(&'static [&'static str]),
    /// The name of a secret: `{secret: NAME}`.
    Secret,
    /// `true`, and nothing else.
    True,
    /// A text of a certain form.
    Form(&'static Form),
    /// Any keys and values: they are for a plugin.
    Free,
    /// A list, perhaps an empty one.
    List(&'static Kind),
    /// One, or a list of at least one, none of them twice.
    OneOrMany(&'static Kind),
    /// Names of the user's choice, each with a value; and what such a name stands for, without an article.
    Named(&'static Kind, &'static str),
    /// A group of keys.
    Group(&'static Shape),
    /// A group of keys, whose first key says which.
    Variants(&'static str, &'static [Variant]),
    /// One of two, told apart by whether it is one value, a list or a group of keys.
    Either(&'static Kind, &'static Kind),
}

/// A form that a text has to have.
#[derive(Debug)]
pub struct Form {
    /// What it is, with its article.
    pub what: &'static str,
    /// A regular expression that every such text matches, for editors.
    pub pattern: &'static str,
    /// The name of the rule.
    pub rule: &'static str,
    /// Says what is wrong with a text.
    pub check: fn(&str) -> Result<(), String>,
    /// How it is to be written.
    pub help: &'static str,
}

/// One of several groups of keys.
#[derive(Debug)]
pub struct Variant {
    /// The key that tells it from the others.
    pub key: &'static str,
    /// The value of that key, where the key alone does not tell.
    pub word: Option<&'static str>,
    /// The keys.
    pub shape: &'static Shape,
}

impl Shape {
    /// The key of this name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

const fn key(name: &'static str, kind: Kind, need: Need, doc: &'static str) -> Key {
    Key { name, kind, need, doc }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const YEARS_100: u64 = 24 * HOUR * 36_525;

use Need::{Default, Optional, Required};

/// The whole file.
pub static ROOT: Shape = Shape {
    what: "a pipeline file",
    doc: "A pipeline file of Weir.",
    keys: &[
        key("version", Kind::Version, Required, "The version of this format: 1."),
        key("data", Kind::Path, Default("weir-data"), "Where streams, positions and compiled plugins are kept."),
        key(
            "plugins",
            Kind::OneOrMany(&Kind::Path),
            Optional,
            "Directories with plugins; the stock plugins come after them.",
        ),
        key(
            "secrets",
            Kind::Named(&Kind::Variants(SECRET, SECRETS), "secret"),
            Optional,
            "Passwords and tokens by name, kept outside this file.",
        ),
        key(
            "sources",
            Kind::Named(&Kind::Variants("source", SOURCES), "source"),
            Optional,
            "Where records enter, by name.",
        ),
        key(
            "streams",
            Kind::Named(&Kind::Group(&STREAM), "stream"),
            Optional,
            "Settings of streams, by name. A stream named in a `to` needs none.",
        ),
        key("pipelines", Kind::Named(&Kind::Group(&PIPELINE), "pipeline"), Required, "Chains of steps, by name."),
        key("sinks", Kind::Named(&Kind::Variants("sink", SINKS), "sink"), Optional, "Where records leave, by name."),
        key(
            "endpoints",
            Kind::Named(&Kind::Variants("endpoint", ENDPOINTS), "endpoint"),
            Optional,
            "Services outside that plugins may be granted, by name.",
        ),
        key("http", Kind::Group(&http::HTTP), Optional, "The HTTP API over TCP; without it there is none."),
        key("limits", Kind::Group(&LIMITS), Optional, "Bounds of the whole appliance."),
        key("probation", Kind::Group(&PROBATION), Optional, "What a new version of a plugin has to do to stay."),
        key(
            "dead_letters",
            Kind::Group(&DEAD_LETTERS),
            Optional,
            "How long dead letters are kept, and where they go as well.",
        ),
        key(
            "tests",
            Kind::List(&Kind::Group(&tests::TEST)),
            Optional,
            "Records that a pipeline is given, and what has to come out of it; `weir test` runs them.",
        ),
    ],
};

/// What a value under `secrets` describes; such a value is never shown.
pub const SECRET: &str = "secret";

static SECRETS: &[Variant] =
    &[Variant { key: "file", word: None, shape: &SECRET_FILE }, Variant { key: "env", word: None, shape: &SECRET_ENV }];

/// A secret in a file.
pub static SECRET_FILE: Shape = Shape {
    what: "a secret in a file",
    doc: "A secret in a file; a newline at its end is left out.",
    keys: &[key("file", Kind::Path, Required, "The file that holds it.")],
};

/// A secret in the environment.
pub static SECRET_ENV: Shape = Shape {
    what: "a secret in the environment",
    doc: "A secret in an environment variable.",
    keys: &[key("env", Kind::Text, Required, "The name of the environment variable.")],
};

/// The name of a secret, in the place of its value.
pub static SECRET_NAME: Shape = Shape {
    what: "a secret's name",
    doc: "The name of a secret, in the place of its value.",
    keys: &[key("secret", Kind::Name, Required, "Its name under `secrets`.")],
};

/// TLS towards a server.
pub static CLIENT_TLS: Shape = Shape {
    what: "the group `tls` of a client",
    doc: "TLS towards a server.",
    keys: &[
        key("ca", Kind::Path, Optional, "Certificate authorities to trust, PEM; those of the system, without it."),
        key("certificate", Kind::Path, Optional, "The client's certificate chain, PEM."),
        key("key", Kind::Path, Optional, "The client's private key, PEM."),
    ],
};

/// The types of sources.
pub static SOURCES: &[Variant] = &[
    Variant { key: "type", word: Some("file"), shape: &FILE_SOURCE },
    Variant { key: "type", word: Some("stdin"), shape: &STDIN_SOURCE },
    Variant { key: "type", word: Some("syslog"), shape: &SYSLOG_SOURCE },
    Variant { key: "type", word: Some("rabbitmq"), shape: &RABBITMQ_SOURCE },
    Variant { key: "type", word: Some("demo"), shape: &DEMO_SOURCE },
    Variant { key: "type", word: Some("kafka"), shape: &kafka::SOURCE },
    Variant { key: "type", word: Some("table"), shape: &TABLE_SOURCE },
];

const LINE_BYTES: Kind = Kind::Size(16..=256 * MIB);
static RETENTION_AGE: Kind = Kind::Age(SECOND..=YEARS_100);
static RETENTION_GROUP: Kind = Kind::Group(&RETENTION);
const INTAKE_RETENTION: Key = key(
    "retention",
    Kind::Either(&RETENTION_AGE, &RETENTION_GROUP),
    Optional,
    "What the intake stream keeps: an age, or `{age, bytes}`; as for a stream.",
);

/// Lines of files.
pub static FILE_SOURCE: Shape = Shape {
    what: "a file source",
    doc: "Lines of files, followed as they grow and rotate.",
    keys: &[
        key("type", Kind::Word("file"), Required, "The type of source."),
        key(
            "path",
            Kind::OneOrMany(&Kind::Pattern),
            Required,
            "A path or pattern (`/var/log/*.log`), or a list of them.",
        ),
        key("exclude", Kind::OneOrMany(&Kind::Pattern), Optional, "Paths or patterns to leave out."),
        key(
            "start",
            Kind::Choice(&["beginning", "end"]),
            Default("beginning"),
            "Where to begin with a file that was never read.",
        ),
        key("line_bytes_max", LINE_BYTES, Default("1MiB"), "Longer lines are cut."),
        key("scan", Kind::Duration(10..=24 * HOUR), Default("1s"), "How often to look for new files."),
    ],
};

/// The extensions of files that tell how they are written, and the words for it.
pub static TABLE_FORMATS: &[(&str, &str)] =
    &[("csv", "csv"), ("json", "json"), ("ndjson", "ndjson"), ("jsonl", "ndjson"), ("keyed", "keyed")];

/// Rows of a file.
pub static TABLE_SOURCE: Shape = Shape {
    what: "a table source",
    doc: "Rows of a file, for steps to look things up in; read anew as a whole when the file changes.",
    keys: &[
        key("type", Kind::Word("table"), Required, "The type of source."),
        key("path", Kind::Path, Required, "The file."),
        key(
            "format",
            Kind::Choice(&["csv", "json", "ndjson", "keyed"]),
            Optional,
            "CSV with a header; a JSON list of objects, or object of them by key; a JSON object a line; or a key, a colon and a JSON object a line. Told by the extension of the path, without it.",
        ),
        key("key", Kind::Text, Optional, "The field that is a row's key; parts of a path are divided by dots."),
        key("bytes_max", Kind::Size(KIB..=GIB), Default("64MiB"), "A larger file is not read."),
        key("scan", Kind::Duration(10..=24 * HOUR), Default("1s"), "How often to look whether it has changed."),
    ],
};

/// Lines of standard input.
pub static STDIN_SOURCE: Shape = Shape {
    what: "a stdin source",
    doc: "Lines of standard input.",
    keys: &[
        key("type", Kind::Word("stdin"), Required, "The type of source."),
        key("line_bytes_max", LINE_BYTES, Default("1MiB"), "Longer lines are cut."),
        INTAKE_RETENTION,
    ],
};

/// Syslog over the network.
pub static SYSLOG_SOURCE: Shape = Shape {
    what: "a syslog source",
    doc: "Syslog messages over the network, kept as they came. At least one of udp, tcp and tls.",
    keys: &[
        key("type", Kind::Word("syslog"), Required, "The type of source."),
        key("udp", Kind::Address, Optional, "Where to listen for datagrams."),
        key("tcp", Kind::Address, Optional, "Where to listen for connections."),
        key("tls", Kind::Group(&TLS), Optional, "Where to listen for connections with TLS."),
        key("message_bytes_max", Kind::Size(480..=256 * MIB), Default("64KiB"), "Longer messages are cut."),
        key("connections_max", Kind::Number(1..=65_536), Default("1024"), "Connections at once."),
        INTAKE_RETENTION,
    ],
};

/// A listener with TLS.
pub static TLS: Shape = Shape {
    what: "the group `tls`",
    doc: "A TCP listener with TLS.",
    keys: &[
        key("address", Kind::Address, Required, "Where to listen."),
        key("certificate", Kind::Path, Required, "Certificate chain, PEM."),
        key("key", Kind::Path, Required, "Private key, PEM."),
        key("client_ca", Kind::Path, Optional, "Clients must show a certificate that one of these signed, PEM."),
    ],
};

/// Generated auth logs.
pub static DEMO_SOURCE: Shape = Shape {
    what: "a demo source",
    doc: "Generated auth logs with bursts of attacks.",
    keys: &[
        key("type", Kind::Word("demo"), Required, "The type of source."),
        key("seed", Kind::Number(0..=u64::MAX), Default("1"), "The same seed gives the same records."),
        key(
            "rate",
            Kind::Number(1..=u32::MAX as u64),
            Optional,
            "Records a second; without it as fast as they are taken.",
        ),
        key("count", Kind::Number(1..=u64::MAX), Optional, "How many records; without it there is no end."),
        key("start", Kind::Time, Optional, "The time of the first record; without it, when it first ran."),
    ],
};

/// A stream's settings.
pub static STREAM: Shape = Shape {
    what: "a stream",
    doc: "A partitioned, ordered log of records.",
    keys: &[
        key(
            "partitions",
            Kind::Number(1..=4_096),
            Default("1"),
            "How many partitions; never lowered once the stream exists.",
        ),
        key(
            "retention",
            Kind::Either(&RETENTION_AGE, &RETENTION_GROUP),
            Optional,
            "What it keeps: an age, or `{age, bytes}`.",
        ),
        key(
            "cleanup",
            Kind::Choice(&["delete", "compact"]),
            Optional,
            "Whether only what is past its retention goes, or also each record that a newer one with its key has replaced. `compact` where the stream is a step's table, `delete` elsewhere.",
        ),
        key(
            "key",
            Kind::Either(&Kind::Text, &Kind::Group(&STREAM_KEY_OF_HEADER)),
            Optional,
            "What becomes the key of its records: a field of their JSON value, parts of a path divided by dots, or `{header: NAME}`. The key they have, without it. It decides the partition.",
        ),
    ],
};

/// A header as key.
pub static STREAM_KEY_OF_HEADER: Shape = Shape {
    what: "a key of a header",
    doc: "A header of the record becomes its key.",
    keys: &[key("header", Kind::Text, Required, "The header's name.")],
};

/// What a stream keeps.
pub static RETENTION: Shape = Shape {
    what: "the group `retention`",
    doc: "What a stream keeps. A record that a pipeline has still to read is always kept.",
    keys: &[
        key("age", Kind::Age(SECOND..=YEARS_100), Default("7d"), "Older records go; `forever` for no limit."),
        key("bytes", Kind::Size(MIB..=1_024 * TIB), Default("1GiB"), "What each partition holds at most."),
    ],
};

/// A chain of steps.
pub static PIPELINE: Shape = Shape {
    what: "a pipeline",
    doc: "A chain of steps from inputs to outputs.",
    keys: &[
        key("from", Kind::OneOrMany(&Kind::Name), Required, "What it reads: a source or a stream, or a list of them."),
        key(
            "steps",
            Kind::List(&Kind::Either(&Kind::Name, &Kind::Variants("step", STEPS))),
            Optional,
            "Its steps in order; a plugin's name alone is a step.",
        ),
        key(
            "to",
            Kind::Either(&Kind::OneOrMany(&Kind::Name), &Kind::Named(&Kind::OneOrMany(&Kind::Name), "port")),
            Required,
            "Where records go: streams and sinks, or a map from ports to them with `main` for the main port. A stream named here is created.",
        ),
    ],
};

static STEPS: &[Variant] =
    &[Variant { key: "plugin", word: None, shape: &PLUGIN_STEP }, Variant { key: "sql", word: None, shape: &SQL_STEP }];

/// A step that names its plugin.
pub static PLUGIN_STEP: Shape = Shape {
    what: "a step",
    doc: "One configured use of a plugin.",
    keys: &[
        key("plugin", Kind::Name, Required, "The plugin: NAME.wasm in a plugin directory, or a stock plugin."),
        key("config", Kind::Free, Optional, "The plugin's configuration."),
        key(
            "tables",
            Kind::OneOrMany(&Kind::Either(&Kind::Name, &Kind::Group(&STEP_TABLE))),
            Optional,
            "Streams and table sources that it reads as tables, for plugins that look things up.",
        ),
        key("limits", Kind::Group(&STEP_LIMITS), Optional, "Bounds of one instance of the plugin."),
        GRANTS_KEY,
    ],
};

/// A table of a step.
pub static STEP_TABLE: Shape = Shape {
    what: "a table of a step",
    doc: "A stream or table source that a step reads as a table.",
    keys: &[
        key("name", Kind::Name, Required, "The stream or source."),
        key(
            "partitioned",
            Kind::True,
            Optional,
            "`true`: each task reads its own partition, merged with the other inputs by time. Without it every task reads all of it, before the first record.",
        ),
    ],
};

/// A step that is an SQL statement.
pub static SQL_STEP: Shape = Shape {
    what: "an sql step",
    doc: "An SQL statement: short for the plugin `sql`.",
    keys: &[
        key("sql", Kind::Text, Required, "The statement."),
        key("limits", Kind::Group(&STEP_LIMITS), Optional, "Bounds of one instance of the plugin."),
        GRANTS_KEY,
    ],
};

static SINKS: &[Variant] = &[
    Variant { key: "type", word: Some("stdout"), shape: &STDOUT_SINK },
    Variant { key: "type", word: Some("file"), shape: &FILE_SINK },
    Variant { key: "type", word: Some("kafka"), shape: &kafka::SINK },
    Variant { key: "type", word: Some("rabbitmq"), shape: &RABBITMQ_SINK },
    Variant { key: "plugin", word: None, shape: &PLUGIN_SINK },
];

const FORMAT: Key = key(
    "format",
    Kind::Choice(&["value", "record"]),
    Default("value"),
    "A line: the record's value, or a JSON object with key, value, headers, timestamp and place.",
);

/// Standard output.
pub static STDOUT_SINK: Shape = Shape {
    what: "a stdout sink",
    doc: "Standard output.",
    keys: &[key("type", Kind::Word("stdout"), Required, "The type of sink."), FORMAT],
};

/// A file.
pub static FILE_SINK: Shape = Shape {
    what: "a file sink",
    doc: "A file: each record exactly once.",
    keys: &[
        key("type", Kind::Word("file"), Required, "The type of sink."),
        key("path", Kind::Path, Required, "The file."),
        FORMAT,
        key("rotate", Kind::Group(&ROTATE), Optional, "When a new file is begun; never, without it."),
    ],
};

/// When a new file is begun.
pub static ROTATE: Shape = Shape {
    what: "the group `rotate`",
    doc: "When a new file is begun; the old one gets the time as a suffix.",
    keys: &[
        key("bytes", Kind::Size(1..=1_024 * TIB), Optional, "At this size."),
        key("every", Kind::Duration(SECOND..=YEARS_100), Optional, "After this time since the file was begun."),
        key("keep", Kind::Number(1..=u32::MAX as u64), Optional, "How many old files are kept; all, without it."),
    ],
};

/// A plugin of the world `sink`.
pub static PLUGIN_SINK: Shape = Shape {
    what: "a plugin sink",
    doc: "A plugin that delivers records.",
    keys: &[
        key("plugin", Kind::Name, Required, "The plugin: NAME.wasm in a plugin directory, or a stock plugin."),
        key("config", Kind::Free, Optional, "The plugin's configuration."),
        key("limits", Kind::Group(&STEP_LIMITS), Optional, "Bounds of one instance of the plugin."),
        GRANTS_KEY,
    ],
};
