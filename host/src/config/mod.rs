//! The pipeline file: YAML to validated settings. No other file reads the environment or the file.
//!
//! What leaves this module is checked: every name that is referred to exists, every number is in range. So the rest of
//! the engine takes these types as facts.

mod build;
pub mod case;
mod check;
mod client;
mod conflicts;
pub mod endpoint;
pub mod http;
mod kafka;
mod load;
mod names;
mod paths;
pub mod rabbitmq;
mod read;
pub mod report;
pub mod scenario;
mod schema;
mod secret;
pub mod shape;
mod suggest;
mod units;
mod view;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use client::ClientTls;
pub use endpoint::{
    Cache, Database, Dialect, Filter, HttpAuth, HttpEndpoint, HttpMethod, Kudu, Ldap, LdapServer, Lookup, Scope,
    Search, Slack, SlackLogin,
};
pub use http::Http;
pub use kafka::{
    CreateTopic, KafkaCluster, KafkaDelivery, KafkaSink, KafkaSource, KafkaStart, OnLost, SaslLogin, group_of,
};
pub use load::{Loaded, Origin, Overrides, StepOwner, load};
pub use rabbitmq::{RabbitmqSink, RabbitmqSource};
pub use report::{Look, Place, Problem, Report};
pub use schema::json_schema;
pub use secret::Secret;
pub use suggest::{listed, nearest};
pub use units::name as is_name;

pub use crate::field::FieldPath;
use crate::record::Timestamp;
use crate::store::StreamSpec;

/// Whether colours may be used on a terminal: not where NO_COLOR is set to anything (no-color.org).
pub fn color_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Where what crates of plugins have in common is built, so that only the first has to wait for it; `None`: the user says
/// where (`CARGO_TARGET_DIR`), or has no place for it.
pub fn shared_builds() -> Option<PathBuf> {
    if std::env::var_os("CARGO_TARGET_DIR").is_some() {
        return None;
    }
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(cache.join("weir/plugin-builds"))
}

/// Says what is wrong with the name of a plugin, and what would do.
pub fn plugin_name(name: &str) -> Result<(), String> {
    units::name(name).map_err(|problem| format!("{problem}; {}", units::name_help(name)))
}

/// A validated pipeline file or directory.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the store, the compiled plugins and the control socket live.
    pub data: PathBuf,
    /// Plugin directories, first match wins; the stock plugins in the binary come last.
    pub plugins: Vec<PathBuf>,
    /// Passwords and tokens by name.
    pub secrets: BTreeMap<Arc<str>, Secret>,
    /// Sources by name.
    pub sources: BTreeMap<Arc<str>, Source>,
    /// Pipelines by name.
    pub pipelines: BTreeMap<Arc<str>, Pipeline>,
    /// What becomes the key of records that are appended to a stream, where it says so.
    pub stream_keys: BTreeMap<Arc<str>, StreamKey>,
    /// All embedded streams: declared, named in a `to`, and the intake streams of listeners, which bear the names of their sources.
    pub streams: BTreeMap<Arc<str>, StreamSpec>,
    /// Sinks by name.
    pub sinks: BTreeMap<Arc<str>, Sink>,
    /// The HTTP API over TCP. `None`: there is none.
    pub http: Option<Http>,
    /// Bounds of the whole appliance.
    pub limits: Limits,
    /// What a new version of a plugin has to do to stay.
    pub probation: Probation,
}

/// What a new version of a plugin has to do to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probation {
    /// For so many records it is on probation. Default 1,000.
    pub records: u64,
    /// By so much of its records its rejects may exceed those of the version before. Default 5.
    pub rejects_percent: u8,
}

/// What becomes the key of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamKey {
    /// A field of its JSON value.
    Field(FieldPath),
    /// A header.
    Header(String),
}

/// Bounds of the whole appliance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of records that each task may hold between reading and commit. Default 32 MiB.
    pub task_bytes_in_flight_max: usize,
}

/// Where records enter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Lines of files.
    File(FileSource),
    /// Lines of standard input.
    Stdin(StdinSource),
    /// Syslog over the network.
    Syslog(SyslogSource),
    /// A queue or stream of RabbitMQ.
    Rabbitmq(RabbitmqSource),
    /// Generated auth logs.
    Demo(DemoSource),
    /// Topics of Kafka.
    Kafka(KafkaSource),
    /// Rows of a file.
    Table(TableSource),
}

impl Source {
    /// Whether only a cluster of Kafka knows how many partitions it has.
    pub fn is_kafka(&self) -> bool {
        matches!(self, Source::Kafka(_))
    }

    /// Whether it cannot be read again, so that what it receives enters the intake stream of its name.
    pub fn listens(&self) -> bool {
        match self {
            Source::Stdin(_) | Source::Syslog(_) => true,
            Source::Rabbitmq(settings) => settings.stream.is_none(),
            Source::File(_) | Source::Demo(_) | Source::Kafka(_) | Source::Table(_) => false,
        }
    }
}

/// Rows of a file, as a table that is replaced when the file changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSource {
    /// Its path, absolute.
    pub path: PathBuf,
    /// How its rows are written.
    pub format: TableFormat,
    /// The field that is a row's key; `None` where the format has keys.
    pub key: Option<FieldPath>,
    /// A larger file is not read. Default 64 MiB.
    pub bytes_max: u64,
    /// How often to look whether it has changed. Default 1 s.
    pub scan: Duration,
}

/// How the rows of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFormat {
    /// CSV with a header.
    Csv,
    /// A list of JSON objects, or an object of them by key.
    Json,
    /// A JSON object a line.
    Ndjson,
    /// A key, a colon and a JSON object a line.
    Keyed,
}

/// Lines of files, followed as they grow and rotate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSource {
    /// Paths or glob patterns, absolute (the file's relative ones are resolved against its directory).
    pub paths: Vec<String>,
    /// Patterns of paths to leave out.
    pub exclude: Vec<String>,
    /// Where to begin with a file that has no position yet.
    pub start: FileStart,
    /// Lines longer than this are cut, and marked by a header `weir-truncated`. Default 1 MiB, so a 1 MiB line passes.
    pub line_bytes_max: usize,
    /// How often to look for new files. Default 1 s.
    pub scan: Duration,
}

/// Where to begin with a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileStart {
    /// With its first line.
    Beginning,
    /// With what is added from now on.
    End,
}

/// Lines of standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StdinSource {
    /// As for files.
    pub line_bytes_max: usize,
}

/// Syslog messages, kept as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogSource {
    /// UDP listener.
    pub udp: Option<SocketAddr>,
    /// TCP listener.
    pub tcp: Option<SocketAddr>,
    /// TCP listener with TLS.
    pub tls: Option<TlsListener>,
    /// Longer messages are cut and marked by a header `weir-truncated`. Default 64 KiB.
    pub message_bytes_max: usize,
    /// Connections at once. Default 1,024.
    pub connections_max: usize,
}

/// A TCP listener with TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsListener {
    /// Where to listen.
    pub address: SocketAddr,
    /// Certificate chain, PEM.
    pub certificate: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
    /// Where given, clients must show a certificate that one of these signed (PEM).
    pub client_ca: Option<PathBuf>,
}

/// A seeded generator of realistic auth logs with bursts of attacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoSource {
    /// The same seed gives the same records. Default 1.
    pub seed: u64,
    /// Records a second; `None`: as fast as they are taken.
    pub rate: Option<u32>,
    /// How many records; `None`: no end.
    pub count: Option<u64>,
    /// The time of the first record; `None`: when it first ran.
    pub start: Option<Timestamp>,
}

/// A chain of steps from inputs to outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// What it reads: sources and streams, at least one.
    pub from: Vec<Arc<str>>,
    /// Its steps in order; may be empty.
    pub steps: Vec<Step>,
    /// Where records go that pass the last step's main port: streams and sinks, at least one.
    pub to: Vec<Arc<str>>,
    /// Where records go that leave a step by one of its other ports, by the port's name.
    pub ports: BTreeMap<Arc<str>, Vec<Arc<str>>>,
}

impl Config {
    /// The plugins that its steps and sinks are.
    pub fn plugins_used(&self) -> BTreeSet<&str> {
        let steps = self.pipelines.values().flat_map(|pipeline| &pipeline.steps).map(|step| &*step.plugin);
        let sinks = self.sinks.values().filter_map(|sink| match sink {
            Sink::Plugin(step) => Some(&*step.plugin),
            _ => None,
        });
        steps.chain(sinks).collect()
    }

    /// Whether any step or sink is a plugin.
    pub fn uses_plugins(&self) -> bool {
        !self.plugins_used().is_empty()
    }

    /// Whether records go to standard output.
    pub fn writes_to_stdout(&self) -> bool {
        self.sinks.values().any(|sink| matches!(sink, Sink::Stdout(_)))
    }

    /// Where compiled plugins are kept.
    pub fn plugin_cache(&self) -> PathBuf {
        self.data.join("plugin-cache")
    }
}

impl Step {
    /// The names of its tables.
    pub fn table_names(&self) -> Vec<Arc<str>> {
        self.tables.iter().map(|table| table.name.clone()).collect()
    }
}

impl Pipeline {
    /// What it reads partition by partition: `from`, and the tables that are partitioned.
    pub fn partitioned(&self) -> impl Iterator<Item = &Arc<str>> {
        let tables = self.steps.iter().flat_map(|step| &step.tables);
        self.from.iter().chain(tables.filter(|table| table.is_partitioned).map(|table| &table.name))
    }

    /// Whether it writes to a stream or sink.
    pub fn writes(&self, name: &str) -> bool {
        self.outputs().any(|other| &**other == name)
    }

    /// All that it reads: `from`, and the tables of its steps.
    pub fn inputs(&self) -> impl Iterator<Item = &Arc<str>> {
        self.from.iter().chain(self.steps.iter().flat_map(|step| &step.tables).map(|table| &table.name))
    }

    /// All streams and sinks that it writes to.
    pub fn outputs(&self) -> impl Iterator<Item = &Arc<str>> {
        self.to.iter().chain(self.ports.values().flatten())
    }
}

/// One configured use of a plugin.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its name: the plugin's, with `-2` and so on where the pipeline uses the plugin again.
    pub name: Arc<str>,
    /// The plugin's name: `NAME.wasm` in a plugin directory, or a stock plugin.
    pub plugin: Arc<str>,
    /// Its configuration, a JSON object.
    pub config: serde_json::Value,
    /// What it reads as tables.
    pub tables: Vec<StepTable>,
    /// What it may reach.
    pub grants: Grants,
    /// Its bounds.
    pub limits: StepLimits,
}

/// What a plugin may reach beside the log and its own state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grants {
    /// Web services that it may send requests to.
    pub http: Vec<Arc<HttpEndpoint>>,
    /// Databases that it may run transactions in.
    pub database: Vec<Arc<Database>>,
    /// Kudu clusters whose tables it may read and write.
    pub kudu: Vec<Arc<Kudu>>,
    /// Workspaces of Slack that it may post to.
    pub slack: Vec<Arc<Slack>>,
    /// What it may look things up in.
    pub lookup: Vec<Lookup>,
}

/// A source or stream that a step reads as a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepTable {
    /// Its name.
    pub name: Arc<str>,
    /// Whether each task reads its own partition alone, merged with the other inputs by time. Otherwise every task reads all of
    /// it, and first.
    pub is_partitioned: bool,
}

/// Bounds of one instance of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepLimits {
    /// Linear memory. Default 256 MiB.
    pub memory_bytes_max: usize,
    /// Time for one batch. Default 5 s.
    pub batch_time_max: Duration,
    /// Bytes of the answer to one batch. Default 64 MiB.
    pub output_bytes_max: usize,
    /// How long one call may wait for services that the plugin was granted. Default 60 s.
    pub wait_time_max: Duration,
    /// Log messages a second. Default 10.
    pub log_rate_max: u32,
    /// How often a retriable reject is tried again before it becomes a dead letter. Default 3.
    pub retries: u32,
}

/// Where records leave.
#[derive(Debug, Clone, PartialEq)]
pub enum Sink {
    /// Standard output.
    Stdout(StdoutSink),
    /// A file, exactly once.
    File(FileSink),
    /// A topic of Kafka.
    Kafka(Box<KafkaSink>),
    /// An exchange of RabbitMQ.
    Rabbitmq(RabbitmqSink),
    /// A plugin of the world `sink`.
    Plugin(Step),
}

/// How a record is written as a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LineFormat {
    /// The value and a newline. A tombstone is not written.
    #[default]
    Value,
    /// A JSON object with key, value, headers, timestamp and place.
    Record,
}

/// Standard output.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StdoutSink {
    /// What a line is.
    pub format: LineFormat,
}

/// A file, exactly once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSink {
    /// Its path, absolute.
    pub path: PathBuf,
    /// What a line is.
    pub format: LineFormat,
    /// When a new file is begun; the old one gets the time as a suffix.
    pub rotate: Rotate,
}

/// When a new file is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rotate {
    /// At this size. `None`: never by size.
    pub bytes: Option<u64>,
    /// After this time since the file was begun. `None`: never by time.
    pub every: Option<Duration>,
    /// How many old files are kept. `None`: all.
    pub keep: Option<u32>,
}
