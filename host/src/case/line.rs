//! A line of a case: a record that is given, or what became of one. The only reader of records in JSON; they are written by
//! the parts of `sink/lines.rs`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::record::{Batch, Offset, Port, Record, Timestamp, push_header};
use crate::sink::lines;

/// A record as a line gives it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Given {
    /// The input that it is from, where the line says so.
    pub input: Option<String>,
    /// Its place there, where the line says so.
    pub offset: Option<Offset>,
    /// The record itself.
    pub body: Body,
}

/// What a record holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Body {
    /// What it is about.
    pub key: Option<Vec<u8>>,
    /// The content.
    pub value: Option<Vec<u8>>,
    /// The headers as a batch holds them.
    pub headers_raw: Vec<u8>,
    /// When it happened.
    pub timestamp: Timestamp,
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A record came of it.
    Record {
        /// Of which.
        of: Origin,
        /// The port by which it left; `None`: the main one.
        port: Option<String>,
        /// The record.
        body: Body,
    },
    /// The step could not deal with it.
    Reject {
        /// With which.
        of: Origin,
        /// Why.
        reason: String,
    },
    /// The sink took it.
    Delivered(Origin),
    /// The sink did not take it.
    Refused {
        /// Which.
        of: Origin,
        /// Why.
        reason: String,
        /// Whether it may do so later.
        retriable: bool,
    },
    /// So many records came too late to count.
    Late(u64),
    /// The plugin did not start, or had to be given up.
    Failed(String),
}

/// The record that something comes of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// Its input, where there are several.
    pub input: Option<String>,
    /// Its place there.
    pub offset: Offset,
}

impl Given {
    /// Reads a line. The error says what was expected and what came.
    pub fn read(line: &[u8]) -> Result<Given, String> {
        let raw: Raw<'_> = parse(line)?;
        let unexpected = [
            ("port", raw.port.is_some()),
            ("reject", raw.reject.is_some()),
            ("delivered", raw.delivered.is_some()),
            ("refused", raw.refused.is_some()),
        ];
        if let Some((name, _)) = unexpected.iter().find(|(_, is_there)| *is_there) {
            return Err(format!("`{name}` says what became of a record, and this is one that is given"));
        }
        let (input, offset) = (raw.input.clone(), raw.offset.map(Offset));
        Ok(Given { input, offset, body: raw.body()? })
    }

    /// Appends the record to a batch.
    pub fn push(&self, offset: Offset, batch: &mut Batch) {
        batch.push(&self.body.record(offset));
    }
}

impl Body {
    /// What a record holds.
    pub fn of(record: &Record<'_>) -> Self {
        Body {
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers_raw: record.headers_raw.to_vec(),
            timestamp: record.timestamp,
        }
    }

    /// It as a record at a place.
    pub fn record(&self, offset: Offset) -> Record<'_> {
        Record {
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers_raw: &self.headers_raw,
            offset,
            timestamp: self.timestamp,
            port: Port(0),
        }
    }
}

/// Appends the line of a record that is given, with its newline.
pub fn push_given(out: &mut Vec<u8>, input: Option<&str>, record: &Record<'_>) {
    out.push(b'{');
    push_origin(out, input, record.offset);
    out.push(b',');
    push_body(out, record);
    out.extend_from_slice(b"}\n");
}

impl Outcome {
    /// Reads a line. The error says what was expected and what came.
    pub fn read(line: &[u8]) -> Result<Outcome, String> {
        let raw: Raw<'_> = parse(line)?;
        if let Some(late) = raw.late {
            return Ok(Outcome::Late(late));
        }
        if let Some(failed) = raw.failed {
            return Ok(Outcome::Failed(failed));
        }
        let offset = raw.offset.map(Offset).ok_or("it has to say by `offset` of which record it comes")?;
        let of = Origin { input: raw.input.clone(), offset };
        match (raw.reject.clone(), raw.refused.clone(), raw.delivered) {
            (Some(reason), None, None) => Ok(Outcome::Reject { of, reason }),
            (None, Some(reason), None) => {
                Ok(Outcome::Refused { of, reason, retriable: raw.retriable.unwrap_or_default() })
            }
            (None, None, Some(true)) => Ok(Outcome::Delivered(of)),
            (None, None, None) => Ok(Outcome::Record { of, port: raw.port.clone(), body: raw.body()? }),
            _ => Err("expected one of `reject`, `refused`, `delivered: true`, or a record".into()),
        }
    }

    /// The record that it comes of, where it is of one.
    pub fn origin(&self) -> Option<&Origin> {
        match self {
            Outcome::Record { of, .. }
            | Outcome::Reject { of, .. }
            | Outcome::Delivered(of)
            | Outcome::Refused { of, .. } => Some(of),
            Outcome::Late(_) | Outcome::Failed(_) => None,
        }
    }

    /// Appends the line, without a newline.
    pub fn push(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        match self {
            Outcome::Record { of, port, body } => {
                push_origin(out, of.input.as_deref(), of.offset);
                if let Some(port) = port {
                    push_text(out, ",\"port\":", port);
                }
                out.push(b',');
                push_body(out, &body.record(of.offset));
            }
            Outcome::Reject { of, reason } => {
                push_origin(out, of.input.as_deref(), of.offset);
                push_text(out, ",\"reject\":", reason);
            }
            Outcome::Delivered(of) => {
                push_origin(out, of.input.as_deref(), of.offset);
                out.extend_from_slice(b",\"delivered\":true");
            }
            Outcome::Refused { of, reason, retriable } => {
                push_origin(out, of.input.as_deref(), of.offset);
                push_text(out, ",\"refused\":", reason);
                if *retriable {
                    out.extend_from_slice(b",\"retriable\":true");
                }
            }
            Outcome::Late(count) => out.extend_from_slice(format!("\"late\":{count}").as_bytes()),
            Outcome::Failed(why) => push_text(out, "\"failed\":", why),
        }
        out.push(b'}');
    }

    /// The line as text.
    pub fn line(&self) -> String {
        let mut out = Vec::new();
        self.push(&mut out);
        // JSON is UTF-8: what is not stands base64-coded.
        String::from_utf8_lossy(&out).into_owned()
    }
}

fn push_text(out: &mut Vec<u8>, before: &str, text: &str) {
    out.extend_from_slice(before.as_bytes());
    lines::push_string(out, text);
}

fn push_origin(out: &mut Vec<u8>, input: Option<&str>, offset: Offset) {
    if let Some(input) = input {
        push_text(out, "\"input\":", input);
        out.push(b',');
    }
    out.extend_from_slice(format!("\"offset\":{offset}").as_bytes());
}

/// Appends the parts of a record: key, value, headers, timestamp.
pub(crate) fn push_body(out: &mut Vec<u8>, record: &Record<'_>) {
    if record.key.is_some() {
        lines::push_field(out, "key", record.key);
        out.push(b',');
    }
    lines::push_value_exact(out, record.value);
    if !record.headers_raw.is_empty() {
        out.extend_from_slice(b",\"headers\":");
        push_headers(out, record);
    }
    out.extend_from_slice(b",\"timestamp\":");
    lines::push_timestamp(out, record.timestamp);
}

/// An object, as sinks write it, where names that come again do so at once. Otherwise a list of pairs keeps the order.
fn push_headers(out: &mut Vec<u8>, record: &Record<'_>) {
    let names: Vec<&str> = record.headers().map(|(name, _)| name).collect();
    let comes_again_later = |(at, name): (usize, &&str)| {
        let rest = names.get(at + 1..).unwrap_or_default();
        rest.iter().skip_while(|other| *other == name).any(|other| other == name)
    };
    if !names.iter().enumerate().any(comes_again_later) {
        return lines::push_headers(out, record);
    }
    out.push(b'[');
    for (at, (name, value)) in record.headers().enumerate() {
        push_text(out, if at > 0 { ",[" } else { "[" }, name);
        out.push(b',');
        lines::push_header_value(out, value);
        out.push(b']');
    }
    out.push(b']');
}

/// All that a line may hold. `source`, `ordinal` and `partition` are what `weir tap` and sinks say beside a record.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw<'a> {
    input: Option<String>,
    offset: Option<u64>,
    key: Option<String>,
    key_base64: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<&'a RawValue>,
    value_base64: Option<String>,
    #[serde(default)]
    headers: Headers,
    timestamp: Option<Time>,
    port: Option<String>,
    reject: Option<String>,
    refused: Option<String>,
    retriable: Option<bool>,
    delivered: Option<bool>,
    late: Option<u64>,
    failed: Option<String>,
    #[serde(rename = "source")]
    _source: Option<String>,
    #[serde(rename = "ordinal")]
    _ordinal: Option<u64>,
    #[serde(rename = "partition")]
    _partition: Option<u64>,
}

/// A value that is null is there.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

fn parse(line: &[u8]) -> Result<Raw<'_>, String> {
    let text = std::str::from_utf8(line).map_err(|error| format!("it is not UTF-8: {error}"))?;
    serde_json::from_str(text).map_err(|error| {
        // The line of a text of one line is no news.
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        format!("expected a record as a JSON object, at column {}: {message}", error.column())
    })
}

impl Raw<'_> {
    fn body(self) -> Result<Body, String> {
        let key = match (self.key, self.key_base64) {
            (Some(_), Some(_)) => return Err("it has `key` and `key_base64`: expected one of them".into()),
            (key, coded) => key.map(String::into_bytes).or(coded.map(|coded| decode("key", &coded)).transpose()?),
        };
        let value = match (self.value, self.value_base64) {
            (Some(value), None) => plain(value.get())?,
            (None, Some(coded)) => Some(decode("value", &coded)?),
            (None, None) => return Err("it has no `value` (null for none), and no `value_base64`".into()),
            (Some(_), Some(_)) => return Err("it has `value` and `value_base64`: expected one of them".into()),
        };
        let timestamp = self.timestamp.map_or(Timestamp(0), |time| time.0);
        Ok(Body { key, value, headers_raw: self.headers.0, timestamp })
    }
}

/// The bytes of a value: a text's own, or a document's as it stands.
fn plain(json: &str) -> Result<Option<Vec<u8>>, String> {
    match json.as_bytes().first() {
        Some(b'{' | b'[') => Ok(Some(json.as_bytes().to_vec())),
        Some(b'n') => Ok(None),
        Some(b'"') => {
            let text: String = serde_json::from_str(json).map_err(|error| format!("`value`: {error}"))?;
            Ok(Some(text.into_bytes()))
        }
        _ => Err(format!("`value` is {json}: expected a text (\"{json}\"), an object, a list, or null")),
    }
}

fn decode(name: &str, coded: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(coded).map_err(|error| format!("`{name}_base64` is not base64: {error}"))
}

/// A time as RFC 3339 has it, or in milliseconds.
#[derive(Clone, Copy)]
struct Time(Timestamp);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a time like \"2026-03-01T12:00:00.000Z\", or milliseconds since 1970")]
        enum Form {
            Milliseconds(i64),
            Text(String),
        }
        match Form::deserialize(from)? {
            Form::Milliseconds(time) => Ok(Time(Timestamp(time))),
            Form::Text(text) => {
                let wrong = |error| D::Error::custom(format_args!("{text:?} is not a time: {error}"));
                let time: jiff::Timestamp = text.parse().map_err(wrong)?;
                Ok(Time(Timestamp(time.as_millisecond())))
            }
        }
    }
}

/// Headers as a batch holds them.
#[derive(Default)]
struct Headers(Vec<u8>);

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(HeadersVisitor)
    }
}

struct HeadersVisitor;

impl<'de> Visitor<'de> for HeadersVisitor {
    type Value = Headers;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("headers: an object of names and values, or a list of pairs")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
        let mut headers = Vec::new();
        while let Some((name, values)) = map.next_entry::<String, HeaderValues>()? {
            let values = match values {
                HeaderValues::Many(values) => values,
                HeaderValues::One(value) => vec![value],
            };
            for value in values {
                push_header(&mut headers, &name, value.bytes().map_err(A::Error::custom)?.as_deref());
            }
        }
        Ok(Headers(headers))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pairs: A) -> Result<Headers, A::Error> {
        let mut headers = Vec::new();
        while let Some((name, value)) = pairs.next_element::<(String, HeaderValue)>()? {
            push_header(&mut headers, &name, value.bytes().map_err(A::Error::custom)?.as_deref());
        }
        Ok(Headers(headers))
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a header's value: a text, null, {\"base64\": TEXT}, or a list of these")]
enum HeaderValues {
    Many(Vec<HeaderValue>),
    One(HeaderValue),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a header's value: a text, null, or {\"base64\": TEXT}")]
enum HeaderValue {
    Null(()),
    Text(String),
    Coded(Coded),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Coded {
    base64: String,
}

impl HeaderValue {
    fn bytes(self) -> Result<Option<Vec<u8>>, String> {
        match self {
            HeaderValue::Null(()) => Ok(None),
            HeaderValue::Text(text) => Ok(Some(text.into_bytes())),
            HeaderValue::Coded(Coded { base64 }) => decode("header", &base64).map(Some),
        }
    }
}
