//! From an AMQP message to a record: key, headers and time.
//!
//! A message's properties become headers `amqp-*`, its own headers keep their names. Text and bytes stay as they are,
//! numbers and truth values become text, nested tables and lists JSON.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldArray, FieldTable};
use serde_json::Value as Json;

use crate::config::rabbitmq::MessageKey;
use crate::record::{Batch, Offset, Port, Record, Timestamp, push_header};

/// The header with the message-id.
pub const MESSAGE_ID: &str = "amqp-message-id";
/// The header with the routing key that the message was published with.
pub const ROUTING_KEY: &str = "amqp-routing-key";
/// The header with the user-id, which the broker has verified.
pub const USER_ID: &str = "amqp-user-id";
/// The header with the content type.
pub const CONTENT_TYPE: &str = "amqp-content-type";
/// The header with the content encoding.
pub const CONTENT_ENCODING: &str = "amqp-content-encoding";
/// The header with the correlation id.
pub const CORRELATION_ID: &str = "amqp-correlation-id";
/// The header with the message's type.
pub const TYPE: &str = "amqp-type";
/// The header with the application's id.
pub const APP_ID: &str = "amqp-app-id";
/// The header with the queue for replies.
pub const REPLY_TO: &str = "amqp-reply-to";
/// The header with the expiration, in milliseconds.
pub const EXPIRATION: &str = "amqp-expiration";
/// The header with the priority.
pub const PRIORITY: &str = "amqp-priority";
/// The header of a message that stands for a tombstone: AMQP knows no absent body.
pub const TOMBSTONE: &str = "weir-tombstone";
/// The header by which a stream says a message's offset.
pub const STREAM_OFFSET: &str = "x-stream-offset";

/// What the headers that stand for properties begin with. A message's own headers of such names are left out, where the
/// property is there.
const OWN: &str = "amqp-";

/// A message as it came.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// The routing key.
    pub routing_key: &'a str,
    /// The properties.
    pub properties: &'a BasicProperties,
    /// The body.
    pub body: &'a [u8],
}

/// Turns messages into records.
#[derive(Debug)]
pub struct Reading {
    key: MessageKey,
    headers: Vec<u8>,
}

impl Reading {
    /// With what becomes the key.
    pub fn new(key: MessageKey) -> Self {
        Reading { key, headers: Vec::new() }
    }

    /// Adds a message to a batch. `now` is its time where it has none of its own.
    pub fn push(&mut self, batch: &mut Batch, message: Message<'_>, offset: Offset, now: Timestamp) {
        let Message { routing_key, properties, body } = message;
        self.headers.clear();
        push_header(&mut self.headers, ROUTING_KEY, Some(routing_key.as_bytes()));
        let mut there = vec![ROUTING_KEY];
        for (name, text) in texts(properties) {
            push_header(&mut self.headers, name, Some(text));
            there.push(name);
        }
        if let Some(priority) = properties.priority() {
            push_header(&mut self.headers, PRIORITY, Some(priority.to_string().as_bytes()));
            there.push(PRIORITY);
        }
        let is_tombstone = body.is_empty() && header(properties, TOMBSTONE).is_some();
        for (name, value) in properties.headers().iter().flat_map(FieldTable::inner) {
            let name = name.as_str();
            let clashes = name.starts_with(OWN) && there.contains(&name);
            if !clashes && name != STREAM_OFFSET && !(is_tombstone && name == TOMBSTONE) {
                push_value(&mut self.headers, name, value);
            }
        }
        let key = self.key_of(routing_key, properties);
        batch.push(&Record {
            key: key.as_deref(),
            value: (!is_tombstone).then_some(body),
            headers_raw: &self.headers,
            offset,
            timestamp: timestamp(properties).unwrap_or(now),
            port: Port(0),
        });
    }

    fn key_of(&self, routing_key: &str, properties: &BasicProperties) -> Option<Vec<u8>> {
        match &self.key {
            MessageKey::None => None,
            MessageKey::MessageId => properties.message_id().as_ref().map(|id| id.as_str().as_bytes().to_vec()),
            MessageKey::RoutingKey => Some(routing_key.as_bytes().to_vec()),
            MessageKey::Header(name) => header(properties, name).and_then(bytes_of),
        }
    }
}

/// The offset of a message of a stream.
pub fn stream_offset(properties: &BasicProperties) -> Option<u64> {
    match header(properties, STREAM_OFFSET)? {
        AMQPValue::LongLongInt(offset) => u64::try_from(*offset).ok(),
        AMQPValue::LongInt(offset) => u64::try_from(*offset).ok(),
        _ => None,
    }
}

fn header<'a>(properties: &'a BasicProperties, name: &str) -> Option<&'a AMQPValue> {
    properties.headers().as_ref()?.inner().get(name)
}

/// A message's time, to the second.
fn timestamp(properties: &BasicProperties) -> Option<Timestamp> {
    let seconds = i64::try_from((*properties.timestamp())?).ok()?;
    seconds.checked_mul(1_000).map(Timestamp)
}

/// The properties that are text, with the names of their headers.
fn texts(properties: &BasicProperties) -> impl Iterator<Item = (&'static str, &[u8])> {
    let all = [
        (MESSAGE_ID, properties.message_id()),
        (CONTENT_TYPE, properties.content_type()),
        (CONTENT_ENCODING, properties.content_encoding()),
        (CORRELATION_ID, properties.correlation_id()),
        (TYPE, properties.kind()),
        (APP_ID, properties.app_id()),
        (USER_ID, properties.user_id()),
        (REPLY_TO, properties.reply_to()),
        (EXPIRATION, properties.expiration()),
    ];
    all.into_iter().filter_map(|(name, text)| Some((name, text.as_ref()?.as_str().as_bytes())))
}

fn push_value(headers: &mut Vec<u8>, name: &str, value: &AMQPValue) {
    let bytes = bytes_of(value);
    push_header(headers, name, bytes.as_deref());
}

/// A value as bytes. `None`: it is void.
fn bytes_of(value: &AMQPValue) -> Option<Vec<u8>> {
    match value {
        AMQPValue::Void => None,
        AMQPValue::LongString(text) => Some(text.as_bytes().to_vec()),
        AMQPValue::ShortString(text) => Some(text.as_str().as_bytes().to_vec()),
        AMQPValue::ByteArray(bytes) => Some(bytes.as_slice().to_vec()),
        other => match json(other) {
            Json::String(text) => Some(text.into_bytes()),
            json => Some(json.to_string().into_bytes()),
        },
    }
}

fn json(value: &AMQPValue) -> Json {
    match value {
        AMQPValue::Void => Json::Null,
        AMQPValue::Boolean(truth) => (*truth).into(),
        AMQPValue::ShortShortInt(number) => (*number).into(),
        AMQPValue::ShortShortUInt(number) => (*number).into(),
        AMQPValue::ShortInt(number) => (*number).into(),
        AMQPValue::ShortUInt(number) => (*number).into(),
        AMQPValue::LongInt(number) => (*number).into(),
        AMQPValue::LongUInt(number) => (*number).into(),
        AMQPValue::LongLongInt(number) => (*number).into(),
        AMQPValue::Timestamp(seconds) => (*seconds).into(),
        AMQPValue::Float(number) => float(f64::from(*number), number.to_string()),
        AMQPValue::Double(number) => float(*number, number.to_string()),
        AMQPValue::DecimalValue(decimal) => decimal_text(decimal.scale, decimal.value).into(),
        AMQPValue::ShortString(text) => text.as_str().into(),
        AMQPValue::LongString(text) => String::from_utf8_lossy(text.as_bytes()).into(),
        AMQPValue::ByteArray(bytes) => String::from_utf8_lossy(bytes.as_slice()).into(),
        AMQPValue::FieldArray(array) => array_json(array),
        AMQPValue::FieldTable(table) => table_json(table),
    }
}

/// JSON has no number for what is not finite.
fn float(number: f64, text: String) -> Json {
    serde_json::Number::from_f64(number).map_or(Json::String(text), Json::Number)
}

fn array_json(array: &FieldArray) -> Json {
    array.as_slice().iter().map(json).collect()
}

fn table_json(table: &FieldTable) -> Json {
    Json::Object(table.inner().iter().map(|(name, value)| (name.to_string(), json(value))).collect())
}

/// A decimal number, whose last `scale` digits stand behind the point.
fn decimal_text(scale: u8, value: u32) -> String {
    let digits = format!("{value:0>width$}", width = usize::from(scale) + 1);
    let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
    if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use lapin::types::DecimalValue;

    use super::*;

    fn read(properties: &BasicProperties, body: &[u8], key: MessageKey) -> Batch {
        let mut batch = Batch::default();
        let message = Message { routing_key: "auth.info", properties, body };
        Reading::new(key).push(&mut batch, message, Offset(7), Timestamp(99));
        batch
    }

    fn headers(batch: &Batch) -> Vec<(String, Option<String>)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let record = batch.get(0).unwrap();
        record.headers().map(|(name, value)| (name.to_owned(), value.map(text))).collect()
    }

    fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, value) in entries {
            table.insert((*name).into(), value.clone());
        }
        table
    }

    #[test]
    fn properties_become_headers_and_time() {
        let properties = BasicProperties::default()
            .with_message_id("m-1".into())
            .with_content_type("text/plain".into())
            .with_priority(4)
            .with_timestamp(1_700_000_000);
        let batch = read(&properties, b"hello", MessageKey::MessageId);
        let record = batch.get(0).unwrap();
        assert_eq!((record.key, record.value), (Some(&b"m-1"[..]), Some(&b"hello"[..])));
        assert_eq!((record.timestamp.0, record.offset.0), (1_700_000_000_000, 7));
        let expected = [(ROUTING_KEY, "auth.info"), (MESSAGE_ID, "m-1"), (CONTENT_TYPE, "text/plain"), (PRIORITY, "4")];
        let expected = expected.map(|(name, text)| (name.to_owned(), Some(text.to_owned())));
        assert_eq!(headers(&batch), expected);
    }

    #[test]
    fn headers_keep_their_names_and_every_type_is_read() {
        let nested = table(&[("n", AMQPValue::LongInt(-1)), ("t", AMQPValue::Boolean(true))]);
        let headers_in = table(&[
            ("amqp-message-id", AMQPValue::LongString("forged".into())),
            ("amqp-other", AMQPValue::LongString("kept".into())),
            ("count", AMQPValue::LongLongInt(-5)),
            ("decimal", AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 5 })),
            ("flag", AMQPValue::Boolean(false)),
            ("nested", AMQPValue::FieldTable(nested)),
            ("ratio", AMQPValue::Double(f64::NAN)),
            ("text", AMQPValue::LongString("x".into())),
            ("void", AMQPValue::Void),
            ("x-stream-offset", AMQPValue::LongLongInt(3)),
        ]);
        let properties = BasicProperties::default().with_headers(headers_in).with_message_id("real".into());
        assert_eq!(stream_offset(&properties), Some(3));
        let batch = read(&properties, b"", MessageKey::Header("count".into()));
        assert_eq!(batch.get(0).unwrap().key, Some(&b"-5"[..]));
        let expected = [
            (ROUTING_KEY, Some("auth.info")),
            (MESSAGE_ID, Some("real")),
            ("amqp-other", Some("kept")),
            ("count", Some("-5")),
            ("decimal", Some("0.05")),
            ("flag", Some("false")),
            ("nested", Some(r#"{"n":-1,"t":true}"#)),
            ("ratio", Some("NaN")),
            ("text", Some("x")),
            ("void", None),
        ];
        let expected = expected.map(|(name, text)| (name.to_owned(), text.map(str::to_owned)));
        assert_eq!(headers(&batch), expected);
    }

    #[test]
    fn a_tombstone_is_one_again_and_an_empty_body_is_none() {
        let properties =
            BasicProperties::default().with_headers(table(&[(TOMBSTONE, AMQPValue::LongString("true".into()))]));
        let batch = read(&properties, b"", MessageKey::RoutingKey);
        let record = batch.get(0).unwrap();
        assert_eq!((record.key, record.value, record.timestamp.0), (Some(&b"auth.info"[..]), None, 99));
        assert_eq!(record.headers().count(), 1);
        let empty = read(&BasicProperties::default(), b"", MessageKey::Header("none".into()));
        assert_eq!(empty.get(0).map(|record| (record.key, record.value)), Some((None, Some(&b""[..]))));
    }
}
