//! Settings of RabbitMQ's source and sink: what they are, how they are read, and the rules that need more than one key.

use super::Secret;
use super::build::Secrets;
use super::client::{ClientTls, client_tls, half_identity, secret};
use super::report::Problem;
use super::shape::{self, DECLARE, ROUTING_KEY_OF_FIELD, ROUTING_KEY_OF_HEADER};
use super::units;
use super::view::{Result, View};
use super::yaml::{Entry, Node, Value};
use crate::field::FieldPath;
use crate::record::Timestamp;

/// The user that every new broker has, with a password of the same name.
const GUEST: &str = "guest";
/// What AMQP gives the length of a short text one byte for.
pub const SHORT_BYTES_MAX: usize = 255;

/// A broker and how to log in to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RabbitmqServer {
    /// Its name or address.
    pub host: String,
    /// Its port. Default 5672, with TLS 5671.
    pub port: u16,
    /// The virtual host. Default `/`.
    pub vhost: String,
    /// TLS, where the URL is `amqps://`.
    pub tls: Option<ClientTls>,
    /// How to log in.
    pub login: RabbitmqLogin,
}

/// How to log in to a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RabbitmqLogin {
    /// By user and password (SASL PLAIN). Without a password it is the default user, `guest`.
    Plain {
        /// The user.
        user: String,
        /// The password.
        password: Option<Secret>,
    },
    /// By the client certificate (SASL EXTERNAL).
    External,
}

/// A queue or stream to consume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RabbitmqSource {
    /// The broker.
    pub server: RabbitmqServer,
    /// Its name.
    pub queue: String,
    /// Where a stream is begun. `None`: it is a queue.
    pub stream: Option<StreamStart>,
    /// Messages that may be unacknowledged. Default 2,000.
    pub prefetch: u16,
    /// What becomes the record's key.
    pub key: MessageKey,
    /// What to create.
    pub declare: Option<Declare>,
    /// Message ids that are remembered. Default 100,000.
    pub message_ids_max: usize,
}

/// Where to begin with a stream that has no position yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamStart {
    /// With all that it holds.
    First,
    /// With its last chunk.
    Last,
    /// With what is published from now on.
    Next,
    /// With the chunk of this time.
    Time(Timestamp),
}

/// What becomes a record's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageKey {
    /// Nothing.
    None,
    /// The property message-id.
    MessageId,
    /// The routing key that it was published with.
    RoutingKey,
    /// A header.
    Header(String),
}

/// A queue to create, and what feeds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declare {
    /// `classic`, `quorum` or `stream`.
    pub queue_type: String,
    /// The exchange.
    pub exchange: Option<DeclareExchange>,
}

/// An exchange to create, and its bindings to the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclareExchange {
    /// Its name.
    pub name: String,
    /// `direct`, `fanout`, `topic` or `headers`.
    pub kind: String,
    /// The routing keys of the bindings.
    pub bindings: Vec<String>,
}

/// An exchange to publish to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RabbitmqSink {
    /// The broker.
    pub server: RabbitmqServer,
    /// The exchange; empty: the default one.
    pub exchange: String,
    /// Where a record's routing key comes from.
    pub routing_key: RoutingKey,
}

/// Where a record's routing key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoutingKey {
    /// It is always this.
    Text(String),
    /// The record's key.
    Key,
    /// A header of the record.
    Header(String),
    /// A field of the record's JSON value.
    Field(FieldPath),
}

/// A broker's address as it stands in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Whether it is `amqps://`.
    pub is_tls: bool,
    /// The user, where it names one.
    pub user: Option<String>,
    /// Whether it holds a password.
    pub has_password: bool,
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The virtual host.
    pub vhost: String,
}

/// Reads a URL. An error says nothing of what it holds, as that may be a password.
pub fn url(text: &str) -> std::result::Result<Url, String> {
    let (is_tls, rest) = match (text.strip_prefix("amqp://"), text.strip_prefix("amqps://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return Err("the URL does not begin with `amqp://` or `amqps://`".into()),
    };
    if rest.contains(['?', '#']) {
        return Err("the URL has options behind a `?`; they are keys of their own here".into());
    }
    let (authority, vhost) = match rest.split_once('/') {
        None => (rest, "/".to_owned()),
        Some((_, "")) => {
            return Err("the URL ends with an empty virtual host: leave the last `/` out, or write `/%2f`".into());
        }
        Some((_, vhost)) if vhost.contains('/') => return Err("a `/` in a virtual host's name is written `%2f`".into()),
        Some((authority, vhost)) => (authority, decoded(vhost)?),
    };
    let (login, address) = authority.rsplit_once('@').map_or((None, authority), |(login, rest)| (Some(login), rest));
    let (user, password) = match login.map(|login| login.split_once(':').map_or((login, None), |(u, p)| (u, Some(p)))) {
        None => (None, None),
        Some((user, password)) => (Some(decoded(user)?).filter(|user| !user.is_empty()), password),
    };
    let (host, port) = host_and_port(address)?;
    let port = port.unwrap_or(if is_tls { 5671 } else { 5672 });
    Ok(Url { is_tls, user, has_password: password.is_some(), host, port, vhost: short(&vhost).map(|()| vhost)? })
}

/// A host, which stands in brackets where it is an address of IPv6, and a port.
fn host_and_port(address: &str) -> std::result::Result<(String, Option<u16>), String> {
    let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':').or(if rest.is_empty() { None } else { Some("") })),
        None => address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err("the URL names no host".into());
    }
    let port = port.map(|port| port.parse().map_err(|_| "the URL's port is not a number up to 65535".to_owned()));
    Ok((host.to_owned(), port.transpose()?))
}

/// A text whose `%xx` stand for bytes.
fn decoded(text: &str) -> std::result::Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
            return Err("a `%` of the URL is not followed by two hexadecimal digits".into());
        };
        bytes.push((high << 4 | low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| "the URL is not UTF-8 once its `%` are read".into())
}

/// Reads what becomes a record's key.
pub fn message_key(text: &str) -> std::result::Result<MessageKey, String> {
    match text {
        "none" => Ok(MessageKey::None),
        "message-id" => Ok(MessageKey::MessageId),
        "routing-key" => Ok(MessageKey::RoutingKey),
        _ => match text.strip_prefix("header:").map(str::trim) {
            Some(name) if !name.is_empty() => Ok(MessageKey::Header(name.into())),
            _ => Err(format!("{text:?} is nothing that becomes a key")),
        },
    }
}

/// Reads where a stream is begun.
pub fn stream_start(text: &str) -> std::result::Result<StreamStart, String> {
    match text {
        "first" => Ok(StreamStart::First),
        "last" => Ok(StreamStart::Last),
        "next" => Ok(StreamStart::Next),
        _ => units::time(text).map(StreamStart::Time).map_err(|_| format!("{text:?} is no place to begin")),
    }
}

/// Checks a text whose length AMQP gives one byte.
pub fn short(text: &str) -> std::result::Result<(), String> {
    match text.len() {
        0..=SHORT_BYTES_MAX => Ok(()),
        len => Err(format!("it has {len} bytes")),
    }
}

/// Settings of a source that was checked.
pub fn source(view: View<'_>, secrets: &Secrets) -> Result<RabbitmqSource> {
    let is_stream = view.text("queue_type")? == "stream";
    let start = if view.has("start") { view.text("start")? } else { "first".into() };
    let start = stream_start(&start).map_err(|_| view.unread("start"))?;
    Ok(RabbitmqSource {
        server: server(view, secrets)?,
        queue: view.text("queue")?,
        stream: is_stream.then_some(start),
        prefetch: view.number("prefetch")?,
        key: message_key(&view.text("key")?).map_err(|_| view.unread("key"))?,
        declare: view.has("declare").then(|| declare(view, is_stream)).transpose()?,
        message_ids_max: view.number("message_ids_max")?,
    })
}

fn declare(source: View<'_>, is_stream: bool) -> Result<Declare> {
    let view = source.group("declare", &DECLARE);
    let otherwise = if is_stream { "stream" } else { "quorum" };
    let queue_type = if view.has("type") { view.text("type")? } else { otherwise.into() };
    if !view.has("exchange") {
        return Ok(Declare { queue_type, exchange: None });
    }
    let kind = view.text("exchange_type")?;
    let mut bindings: Vec<String> = view.texts("bindings").into_iter().map(str::to_owned).collect();
    if bindings.is_empty() {
        bindings.push(match kind.as_str() {
            "topic" => "#".into(),
            "direct" => source.text("queue")?,
            _ => String::new(),
        });
    }
    Ok(Declare { queue_type, exchange: Some(DeclareExchange { name: view.text("exchange")?, kind, bindings }) })
}

/// Settings of a sink that was checked.
pub fn sink(view: View<'_>, secrets: &Secrets) -> Result<RabbitmqSink> {
    let exchange = if view.has("exchange") { view.text("exchange")? } else { String::new() };
    Ok(RabbitmqSink { server: server(view, secrets)?, exchange, routing_key: routing_key(view)? })
}

fn routing_key(view: View<'_>) -> Result<RoutingKey> {
    let Some(node) = view.get("routing_key") else { return Ok(RoutingKey::Text(String::new())) };
    if !matches!(node.value, Value::Map(_)) {
        return view.text("routing_key").map(RoutingKey::Text);
    }
    if node.get("header").is_some() {
        return view.of(Some(node), &ROUTING_KEY_OF_HEADER).text("header").map(RoutingKey::Header);
    }
    if node.get("field").is_some() {
        let path = view.of(Some(node), &ROUTING_KEY_OF_FIELD).text("field")?;
        return Ok(RoutingKey::Field(FieldPath::new(&path)));
    }
    Ok(RoutingKey::Key)
}

fn server(view: View<'_>, secrets: &Secrets) -> Result<RabbitmqServer> {
    let url = url(&view.text("url")?).map_err(|_| view.unread("url"))?;
    let login = if view.text("auth")? == "external" {
        RabbitmqLogin::External
    } else {
        let password = view.has("password").then(|| secret(view, "password", secrets)).transpose()?;
        RabbitmqLogin::Plain { user: url.user.unwrap_or_else(|| GUEST.into()), password }
    };
    let tls = if url.is_tls { Some(client_tls(view.group("tls", &shape::CLIENT_TLS))?) } else { None };
    Ok(RabbitmqServer { host: url.host, port: url.port, vhost: url.vhost, tls, login })
}

/// What is wrong with the sources and sinks of this type beyond single keys.
pub fn problems(root: &Node) -> Vec<Problem> {
    let section = |key: &str| root.get(key).map(Node::entries).unwrap_or_default();
    let ours = |entry: &&Entry| entry.value.get("type").and_then(Node::text) == Some("rabbitmq");
    let all = section("sources").iter().chain(section("sinks")).filter(ours);
    all.flat_map(|entry| server_problems(entry).into_iter().chain(source_problems(&entry.value))).collect()
}

fn server_problems(entry: &Entry) -> Vec<Problem> {
    let node = &entry.value;
    let Some((text, url)) = node.get("url").and_then(|node| Some((node, url(node.text()?).ok()?))) else {
        return Vec::new(); // Told by the check of the shape.
    };
    let mut problems = Vec::new();
    let external = node.get("auth").and_then(Node::text) == Some("external");
    if url.has_password {
        let message = format!("the URL of `{}` holds a password ({:?})", entry.key, text.place);
        problems.push(Problem::error("secret-in-file", message).at(&text.place, "here").hidden().help(
            "write `password: {secret: NAME}` instead, with `secrets: {NAME: {file: /run/secrets/NAME}}`; and change it, for it is no secret any more",
        ));
    }
    let named = url.user.filter(|user| user != GUEST);
    if let (Some(user), false, None, false) = (named, external, node.entry("password"), url.has_password) {
        problems.push(
            Problem::error("missing-password", format!("`{}` logs in as `{user}` and has no password", entry.key))
                .at(&text.place, "no `password`")
                .help("add `password: {secret: NAME}`, and the secret under `secrets`"),
        );
    }
    problems.extend(tls_problems(node, text, url.is_tls, external));
    problems
}

fn tls_problems(node: &Node, url: &Node, is_tls: bool, external: bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    let tls = node.entry("tls");
    if let (Some(tls), false) = (tls, is_tls) {
        problems.push(
            Problem::error("tls-unused", "`tls` is set, and the URL is `amqp://`, which has none")
                .at(&tls.place, "not used")
                .at(&url.place, "without TLS")
                .help("write `amqps://`; the port for TLS is 5671 as a rule"),
        );
    }
    let has = |key: &str| tls.and_then(|tls| tls.value.entry(key));
    if external && has("certificate").is_none() {
        let place = node.entry("auth").map_or(&node.place, |auth| &auth.place);
        problems.push(
            Problem::error(
                "missing-certificate",
                "`auth: external` logs in by a client certificate, and there is none",
            )
            .at(place, "by certificate")
            .help("write `tls: {certificate: FILE, key: FILE}`, and `amqps://` in the URL"),
        );
    }
    problems.extend(half_identity(tls));
    problems
}

fn source_problems(node: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    let is_stream = node.get("queue_type").and_then(Node::text) == Some("stream");
    let of_other_kind: &[(&str, &str)] = match is_stream {
        true => &[
            ("message_ids_max", "a stream is read by its offsets, so no message id is remembered"),
            ("retention", "a stream is read in place, so there is no intake stream"),
        ],
        false => &[("start", "only a stream can be begun at a place; a queue is taken from its head")],
    };
    for (entry, why) in of_other_kind.iter().filter_map(|(key, why)| Some((node.entry(key)?, why))) {
        problems.push(
            Problem::error("queue-type", format!("`{}` has no meaning here: {why}", entry.key))
                .at(&entry.place, "remove it")
                .maybe_help((!is_stream).then(|| "if it is a stream, add `queue_type: stream`".into())),
        );
    }
    let Some(declare) = node.get("declare") else { return problems };
    if let Some(declared) = declare.get("type").filter(|kind| (kind.text() == Some("stream")) != is_stream) {
        let message = "`queue_type` and `declare` speak of different things: a stream and a queue";
        problems.push(
            Problem::error("queue-type", message)
                .at(&declared.place, "not the same")
                .help("a stream has `queue_type: stream`, and `type: stream` or no `type` in `declare`"),
        );
    }
    if let (Some(bindings), None) = (declare.entry("bindings"), declare.get("exchange")) {
        problems.push(
            Problem::error("missing-key", "there are `bindings`, and no `exchange` to bind to")
                .at(&bindings.place, "to which exchange?")
                .help("add `exchange: NAME`; it is created if it is not there"),
        );
    }
    problems
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn urls_are_read() {
        let read = |text: &str| url(text).unwrap();
        let plain = read("amqp://weir@broker:5673/%2f");
        assert_eq!((plain.is_tls, plain.user.as_deref(), plain.has_password), (false, Some("weir"), false));
        assert_eq!((plain.host.as_str(), plain.port, plain.vhost.as_str()), ("broker", 5673, "/"));
        let short = read("amqps://broker");
        assert_eq!((short.is_tls, short.user, short.port, short.vhost.as_str()), (true, None, 5671, "/"));
        let odd = read("amqp://a%40b@[::1]/logs%2Fa%C3%A4");
        assert_eq!((odd.user.as_deref(), odd.host.as_str(), odd.vhost.as_str()), (Some("a@b"), "::1", "logs/aä"));
        assert!(read("amqp://weir:hunter2@broker").has_password);
    }

    #[test]
    fn what_is_no_url_is_refused_without_a_word_of_its_password() {
        let wrong = [
            "http://weir:hunter2@broker",
            "amqp://weir:hunter2@broker/",
            "amqp://weir:hunter2@broker/a/b",
            "amqp://weir:hunter2@broker/%2",
            "amqp://weir:hunter2@broker/%ff",
            "amqp://weir:hunter2@:5672",
            "amqp://weir:hunter2@broker:port",
            "amqp://weir:hunter2@broker:70000",
            "amqp://weir:hunter2@broker?heartbeat=10",
            "amqp://weir:hunter2@[::1]5672",
        ];
        for text in wrong {
            let error = url(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn keys_and_starts_are_read() {
        assert_eq!(message_key("header:tenant"), Ok(MessageKey::Header("tenant".into())));
        assert!(message_key("header:").is_err() && message_key("key").is_err());
        assert_eq!(stream_start("2026-03-01T00:00:00Z"), Ok(StreamStart::Time(Timestamp(1_772_323_200_000))));
        assert!(stream_start("begin").is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(amqps?://)?.{0,60}") {
            let _ = (url(&text), message_key(&text), stream_start(&text), short(&text));
        }
    }
}
