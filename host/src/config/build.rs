//! A file that was found right, as settings.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::endpoint::{self, Endpoints};
use super::paths::{resolve, resolve_pattern};
use super::view::{Result, View};
use super::yaml::{Node, Value};
use super::{
    Config, DemoSource, FileSink, FileSource, FileStart, Grants, Limits, LineFormat, Pipeline, Probation, Rotate,
    Secret, Sink, Source, StdinSource, StdoutSink, Step, StepLimits, StepTable, StreamKey, SyslogSource, TableFormat,
    TableSource, TlsListener,
};
use super::{FieldPath, conflicts, rabbitmq, shape};
use super::{http, kafka};
use crate::store::{DEAD_LETTERS, Retention, StreamSpec};

/// The plugin that an `sql` step is short for.
const SQL_PLUGIN: &str = "sql";
/// Its setting that takes the statement.
pub const SQL_STATEMENT: &str = "statement";
/// The port of a step whose records go on.
pub const MAIN_PORT: &str = "main";

/// Settings from a merged file. Fails only where the file was not checked before.
pub fn config(root: &Node, base: &Path) -> Result<Config> {
    let view = View { node: Some(root), shape: &shape::ROOT, base };
    let secrets = view.named("secrets", |_, node| secret(view, node))?;
    let sources = view.named("sources", |_, node| source(view, node, &secrets))?;
    let endpoints = view.named("endpoints", |name, node| endpoint::endpoint(view, name, node, &secrets))?;
    let mut pipelines =
        view.named("pipelines", |_, node| pipeline(view.of(Some(node), &shape::PIPELINE), &endpoints))?;
    let dead_letters = view.group("dead_letters", &shape::DEAD_LETTERS);
    if dead_letters.has("to") {
        // They are handed on by a pipeline like any other, which bears the name of their stream.
        let (name, to): (Arc<str>, _) = (DEAD_LETTERS.into(), dead_letters.names("to"));
        let handing_on = Pipeline { from: vec![name.clone()], steps: Vec::new(), to, ports: BTreeMap::new() };
        pipelines.insert(name, handing_on);
    }
    let sinks = view.named("sinks", |_, node| sink(view, node, &secrets, &endpoints))?;
    let mut streams = streams(view, &sources, &pipelines, &sinks)?;
    if let Some(kept) = streams.get_mut(DEAD_LETTERS).filter(|_| dead_letters.has("retention")) {
        kept.retention = Retention { compact: kept.retention.compact, ..retention(dead_letters)? };
    }
    let stream_keys = view.named("streams", |_, node| stream_key(view.of(Some(node), &shape::STREAM)))?;
    let probation = view.group("probation", &shape::PROBATION);
    let api = view.group("http", &shape::http::HTTP);
    Ok(Config {
        http: view.has("http").then(|| http::http(api, &secrets, &endpoints)).transpose()?,
        data: view.path("data")?,
        plugins: view.texts("plugins").into_iter().map(|path| resolve(base, path)).collect(),
        secrets,
        sources,
        pipelines,
        stream_keys: stream_keys.into_iter().filter_map(|(name, key)| Some((name, key?))).collect(),
        streams,
        sinks,
        limits: Limits {
            task_bytes_in_flight_max: view.group("limits", &shape::LIMITS).number("task_bytes_in_flight_max")?,
        },
        probation: Probation {
            records: probation.number("records")?,
            rejects_percent: probation.number("rejects_percent")?,
        },
    })
}

fn secret(view: View<'_>, node: &Node) -> Result<Secret> {
    if node.get("env").is_some() {
        let env = View { node: Some(node), shape: &shape::SECRET_ENV, ..view };
        return env.text("env").map(Secret::Env);
    }
    View { node: Some(node), shape: &shape::SECRET_FILE, ..view }.path("file").map(Secret::File)
}

/// Secrets by name.
pub(super) type Secrets = BTreeMap<Arc<str>, Secret>;

fn source(view: View<'_>, node: &Node, secrets: &Secrets) -> Result<Source> {
    let of = |shape| View { node: Some(node), shape, ..view };
    match node.get("type").and_then(Node::text) {
        Some("file") => file_source(of(&shape::FILE_SOURCE)).map(Source::File),
        Some("stdin") => stdin_source(of(&shape::STDIN_SOURCE)).map(Source::Stdin),
        Some("syslog") => syslog_source(of(&shape::SYSLOG_SOURCE)).map(Source::Syslog),
        Some("rabbitmq") => rabbitmq::source(of(&shape::RABBITMQ_SOURCE), secrets).map(Source::Rabbitmq),
        Some("demo") => demo_source(of(&shape::DEMO_SOURCE)).map(Source::Demo),
        Some("kafka") => kafka::source(of(&shape::kafka::SOURCE), secrets).map(Source::Kafka),
        Some("table") => table_source(of(&shape::TABLE_SOURCE)).map(Source::Table),
        _ => Err(view.unread("sources")),
    }
}

fn file_source(view: View<'_>) -> Result<FileSource> {
    let patterns = |key| view.texts(key).into_iter().map(|text| resolve_pattern(view.base, text)).collect();
    Ok(FileSource {
        paths: patterns("path"),
        exclude: patterns("exclude"),
        start: match view.text("start")?.as_str() {
            "end" => FileStart::End,
            _ => FileStart::Beginning,
        },
        line_bytes_max: view.number("line_bytes_max")?,
        scan: view.duration("scan")?,
    })
}

fn table_source(view: View<'_>) -> Result<TableSource> {
    let path = view.path("path")?;
    let format = match view.has("format") {
        true => view.text("format")?,
        false => conflicts::format_of(&path).ok_or_else(|| view.unread("format"))?.to_owned(),
    };
    Ok(TableSource {
        path,
        format: match format.as_str() {
            "csv" => TableFormat::Csv,
            "json" => TableFormat::Json,
            "keyed" => TableFormat::Keyed,
            _ => TableFormat::Ndjson,
        },
        key: view.has("key").then(|| view.text("key").map(|path| FieldPath::new(&path))).transpose()?,
        bytes_max: view.number("bytes_max")?,
        scan: view.duration("scan")?,
    })
}

fn stdin_source(view: View<'_>) -> Result<StdinSource> {
    Ok(StdinSource { line_bytes_max: view.number("line_bytes_max")? })
}

fn syslog_source(view: View<'_>) -> Result<SyslogSource> {
    Ok(SyslogSource {
        udp: view.address_or_none("udp")?,
        tcp: view.address_or_none("tcp")?,
        tls: view.has("tls").then(|| tls(view.group("tls", &shape::TLS))).transpose()?,
        message_bytes_max: view.number("message_bytes_max")?,
        connections_max: view.number("connections_max")?,
    })
}

fn tls(view: View<'_>) -> Result<TlsListener> {
    Ok(TlsListener {
        address: view.address_or_none("address")?.ok_or_else(|| view.unread("address"))?,
        certificate: view.path("certificate")?,
        key: view.path("key")?,
        client_ca: view.has("client_ca").then(|| view.path("client_ca")).transpose()?,
    })
}

fn demo_source(view: View<'_>) -> Result<DemoSource> {
    Ok(DemoSource {
        seed: view.number("seed")?,
        rate: view.number_or_none("rate")?,
        count: view.number_or_none("count")?,
        start: view.time_or_none("start")?,
    })
}

/// All streams: declared ones, and those that need no entry of their own: dead letters, what a `to` names, and the
/// intakes of listeners.
fn streams(
    view: View<'_>,
    sources: &BTreeMap<Arc<str>, Source>,
    pipelines: &BTreeMap<Arc<str>, Pipeline>,
    sinks: &BTreeMap<Arc<str>, Sink>,
) -> Result<BTreeMap<Arc<str>, StreamSpec>> {
    let mut streams = view.named("streams", |name, node| stream(name, view.of(Some(node), &shape::STREAM)))?;
    let written = pipelines.values().flat_map(|pipeline| pipeline.to.iter().chain(pipeline.ports.values().flatten()));
    let dead_letters: Arc<str> = DEAD_LETTERS.into();
    for name in written.filter(|name| !sinks.contains_key(*name)).chain([&dead_letters]) {
        if !streams.contains_key(name) {
            streams.insert(name.clone(), stream(name, view.of(None, &shape::STREAM))?);
        }
    }
    // A table has its rows for as long as nothing takes them back, and of each the newest state.
    let tables = pipelines.values().flat_map(|pipeline| pipeline.steps.iter().flat_map(|step| &step.tables));
    for table in tables {
        let says = |key| view.get("streams").and_then(|streams| streams.get(&table.name)?.get(key)).is_some();
        let Some(StreamSpec { retention, .. }) = streams.get_mut(&table.name) else { continue };
        if !says("retention") {
            *retention = Retention { age_ms: None, bytes_max: u64::MAX, ..*retention };
        }
        retention.compact |= !says("cleanup");
    }
    for (name, source) in sources {
        let shape = match source {
            Source::Stdin(_) => &shape::STDIN_SOURCE,
            Source::Syslog(_) => &shape::SYSLOG_SOURCE,
            Source::Rabbitmq(queue) if queue.stream.is_none() => &shape::RABBITMQ_SOURCE,
            Source::Rabbitmq(_) | Source::File(_) | Source::Demo(_) | Source::Kafka(_) | Source::Table(_) => continue,
        };
        let node = view.get("sources").and_then(|sources| sources.get(name));
        let retention = retention(view.of(node, shape))?;
        streams.insert(name.clone(), StreamSpec { name: name.clone(), partitions: 1, retention });
    }
    Ok(streams)
}

fn stream(name: &Arc<str>, view: View<'_>) -> Result<StreamSpec> {
    let retention =
        Retention { compact: view.get("cleanup").and_then(Node::text) == Some("compact"), ..retention(view)? };
    Ok(StreamSpec { name: name.clone(), partitions: view.number("partitions")?, retention })
}

fn stream_key(view: View<'_>) -> Result<Option<StreamKey>> {
    let Some(node) = view.get("key") else { return Ok(None) };
    if matches!(node.value, Value::Map(_)) {
        return view
            .of(Some(node), &shape::STREAM_KEY_OF_HEADER)
            .text("header")
            .map(|name| Some(StreamKey::Header(name)));
    }
    view.text("key").map(|path| Some(StreamKey::Field(FieldPath::new(&path))))
}

/// The retention that stands in a group: an age alone, or a group of age and bytes.
fn retention(view: View<'_>) -> Result<Retention> {
    let node = view.get("retention");
    let is_group = |node: &&Node| matches!(node.value, Value::Map(_));
    let group = view.of(node.filter(is_group), &shape::RETENTION);
    let age = if node.is_some() && group.node.is_none() { view.age("retention")? } else { group.age("age")? };
    let age_ms = age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    Ok(Retention { age_ms, bytes_max: group.number("bytes")?, compact: false })
}

fn pipeline(view: View<'_>, endpoints: &Endpoints) -> Result<Pipeline> {
    let (mut to, mut ports) = (view.names("to"), BTreeMap::new());
    for entry in view.get("to").map(Node::entries).unwrap_or_default() {
        let names = entry.value.texts().into_iter().map(|(name, _)| name.into()).collect();
        if entry.key == MAIN_PORT {
            to = names;
        } else {
            ports.insert(entry.key.as_str().into(), names);
        }
    }
    Ok(Pipeline { from: view.names("from"), steps: steps(view, endpoints)?, to, ports })
}

fn steps(view: View<'_>, endpoints: &Endpoints) -> Result<Vec<Step>> {
    let mut used: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    let mut steps = Vec::new();
    for node in view.get("steps").map(Node::elements).unwrap_or_default() {
        let mut step = step(view, node, endpoints)?;
        let times = used.entry(step.plugin.clone()).or_default();
        *times += 1;
        if *times > 1 {
            step.name = format!("{}-{times}", step.plugin).into();
        }
        steps.push(step);
    }
    Ok(steps)
}

/// A step of any of its forms: a plugin's name, a statement, or a group of keys.
fn step(view: View<'_>, node: &Node, endpoints: &Endpoints) -> Result<Step> {
    if let Some(plugin) = node.text() {
        return plugin_step(plugin, serde_json::json!({}), view.of(None, &shape::STEP_LIMITS));
    }
    let limits = view.of(node.get("limits"), &shape::STEP_LIMITS);
    let grants = endpoint::grants(node, endpoints);
    if node.get("sql").is_some() {
        let statement = View { node: Some(node), shape: &shape::SQL_STEP, ..view }.text("sql")?;
        let step = plugin_step(SQL_PLUGIN, serde_json::json!({ SQL_STATEMENT: statement }), limits)?;
        return Ok(Step { grants, ..step });
    }
    let plugin = View { node: Some(node), shape: &shape::PLUGIN_STEP, ..view }.text("plugin")?;
    let config = node.get("config").map_or_else(|| serde_json::json!({}), Node::to_json);
    Ok(Step { tables: tables(node), grants, ..plugin_step(&plugin, config, limits)? })
}

fn tables(step: &Node) -> Vec<StepTable> {
    let table = |node: &Node| {
        let (name, is_partitioned) = match node.text() {
            Some(name) => (name, false),
            None => (node.get("name")?.text()?, node.get("partitioned").is_some()),
        };
        Some(StepTable { name: name.into(), is_partitioned })
    };
    step.get("tables").map(Node::one_or_many).unwrap_or_default().iter().filter_map(table).collect()
}

fn plugin_step(plugin: &str, config: serde_json::Value, limits: View<'_>) -> Result<Step> {
    let plugin: Arc<str> = plugin.into();
    let (tables, grants) = (Vec::new(), Grants::default());
    Ok(Step { name: plugin.clone(), plugin, config, tables, grants, limits: step_limits(limits)? })
}

/// The bounds of a step.
pub(super) fn step_limits(view: View<'_>) -> Result<StepLimits> {
    Ok(StepLimits {
        memory_bytes_max: view.number("memory_bytes_max")?,
        batch_time_max: view.duration("batch_time_max")?,
        output_bytes_max: view.number("output_bytes_max")?,
        wait_time_max: view.duration("wait_time_max")?,
        log_rate_max: view.number("log_rate_max")?,
        retries: view.number("retries")?,
    })
}

fn sink(view: View<'_>, node: &Node, secrets: &Secrets, endpoints: &Endpoints) -> Result<Sink> {
    match node.get("type").and_then(Node::text) {
        Some("stdout") => {
            let view = View { node: Some(node), shape: &shape::STDOUT_SINK, ..view };
            Ok(Sink::Stdout(StdoutSink { format: format(view)? }))
        }
        Some("file") => file_sink(View { node: Some(node), shape: &shape::FILE_SINK, ..view }).map(Sink::File),
        Some("kafka") => kafka::sink(View { node: Some(node), shape: &shape::kafka::SINK, ..view }, secrets)
            .map(|sink| Sink::Kafka(Box::new(sink))),
        Some("rabbitmq") => {
            rabbitmq::sink(View { node: Some(node), shape: &shape::RABBITMQ_SINK, ..view }, secrets).map(Sink::Rabbitmq)
        }
        _ => step(view, node, endpoints).map(Sink::Plugin),
    }
}

fn file_sink(view: View<'_>) -> Result<FileSink> {
    let rotate = view.group("rotate", &shape::ROTATE);
    Ok(FileSink {
        path: view.path("path")?,
        format: format(view)?,
        rotate: Rotate {
            bytes: rotate.number_or_none("bytes")?,
            every: rotate.duration_or_none("every")?,
            keep: rotate.number_or_none("keep")?,
        },
    })
}

fn format(view: View<'_>) -> Result<LineFormat> {
    Ok(if view.text("format")? == "record" { LineFormat::Record } else { LineFormat::Value })
}
