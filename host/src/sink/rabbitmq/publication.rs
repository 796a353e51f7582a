//! From a record to an AMQP message: routing key, properties and headers, or the reason why it cannot be one.
//!
//! Headers named after properties (`amqp-content-type` and the like) become those properties again, where their value is
//! one; all other headers are AMQP headers, long strings. A tombstone is an empty body with the header `weir-tombstone`.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::config::rabbitmq::{RoutingKey, SHORT_BYTES_MAX};
use crate::rabbitmq::message::{
    APP_ID, CONTENT_ENCODING, CONTENT_TYPE, CORRELATION_ID, EXPIRATION, PRIORITY, REPLY_TO, TOMBSTONE, TYPE,
};
use crate::record::{Output, Record};

/// The header by which other systems name the content type.
const CONTENT_TYPE_PLAIN: &str = "content-type";
/// Headers by which the broker would send copies to other queues: no record's header is to do that.
const COPIES: [&str; 2] = ["CC", "BCC"];
/// A delivery mode: survives a restart of the broker.
const PERSISTENT: u8 = 2;
/// What a frame has beside the properties, generously.
const FRAME_OVERHEAD_BYTES: usize = 4 * 1024;
/// What an AMQP header has beside its name and value.
const HEADER_OVERHEAD_BYTES: usize = 6;

/// What a message is made with.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The pipeline: part of the message's id.
    pub pipeline: &'a str,
    /// Where the routing key comes from.
    pub routing_key: &'a RoutingKey,
    /// The bytes that a frame may have: all headers have to fit in one.
    pub frame_bytes_max: usize,
    /// The bytes that a message may have.
    pub message_bytes_max: usize,
}

/// A message to publish, but for its body.
#[derive(Debug, Clone, PartialEq)]
pub struct Publication {
    /// The routing key.
    pub routing_key: ShortString,
    /// The properties, headers among them.
    pub properties: BasicProperties,
}

impl Rules<'_> {
    /// The message of a record of an output, or why there is none.
    pub fn publication(&self, output: &Output, at: usize, record: &Record<'_>) -> Result<Publication, String> {
        let bytes = record.value.map_or(0, <[u8]>::len);
        if bytes > self.message_bytes_max {
            return Err(format!("it has {bytes} bytes, and the broker takes {} at most", self.message_bytes_max));
        }
        let key = self.key(record)?;
        let routing_key = ShortString::from(short("the routing key", key)?);
        let id = message_id(self.pipeline, &output.source, record.offset.0, output.ordinals.get(at).copied());
        let mut properties = BasicProperties::default().with_delivery_mode(PERSISTENT).with_message_id(id.into());
        if let Ok(seconds @ 1..) = u64::try_from(record.timestamp.0.div_euclid(1_000)) {
            properties = properties.with_timestamp(seconds);
        }
        let (properties, headers) = headers(properties, record)?;
        let header_bytes: usize = headers.inner().iter().map(|(name, value)| header_bytes(name, value)).sum();
        if header_bytes + FRAME_OVERHEAD_BYTES > self.frame_bytes_max {
            let max = self.frame_bytes_max;
            return Err(format!("its headers have {header_bytes} bytes, more than the broker's frames of {max} hold"));
        }
        Ok(Publication { routing_key, properties: properties.with_headers(headers) })
    }

    fn key(&self, record: &Record<'_>) -> Result<String, String> {
        let text = |bytes: &[u8], what: &str| {
            String::from_utf8(bytes.to_vec()).map_err(|_| format!("{what} is to be the routing key and is no UTF-8"))
        };
        match self.routing_key {
            RoutingKey::Text(key) => Ok(key.clone()),
            RoutingKey::Key => match record.key {
                Some(key) => text(key, "the record's key"),
                None => Err("the record has no key, which is to be the routing key".into()),
            },
            RoutingKey::Header(name) => match record.headers().find(|(other, _)| other == name) {
                Some((_, Some(value))) => text(value, &format!("the header {name}")),
                _ => Err(format!("the record has no header {name}, which is to be the routing key")),
            },
            RoutingKey::Field(path) => {
                let missing = |error| format!("it has no routing key: {error}");
                path.text(record.value.unwrap_or_default()).map_err(missing)
            }
        }
    }
}

/// The id of a message: that of the output, and the pipeline, as two pipelines may read the same input. Where its source
/// has a name too long for AMQP, a hash stands for it.
fn message_id(pipeline: &str, source: &str, offset: u64, ordinal: Option<u32>) -> String {
    let place = format!("/{offset}/{}", ordinal.unwrap_or(0));
    let id = format!("{pipeline}/{source}{place}");
    if id.len() <= SHORT_BYTES_MAX {
        id
    } else {
        format!("{}{place}", blake3::hash(format!("{pipeline}/{source}").as_bytes()))
    }
}

fn short(what: &str, text: String) -> Result<String, String> {
    match text.len() {
        0..=SHORT_BYTES_MAX => Ok(text),
        len => Err(format!("{what} has {len} bytes, and AMQP allows {SHORT_BYTES_MAX}")),
    }
}

/// Sorts a record's headers into properties and AMQP headers. Of two with one name the last holds.
fn headers(mut properties: BasicProperties, record: &Record<'_>) -> Result<(BasicProperties, FieldTable), String> {
    let mut table = FieldTable::default();
    for (name, value) in record.headers().filter(|(name, _)| !COPIES.contains(name)) {
        let text = value.and_then(|value| std::str::from_utf8(value).ok());
        if let Some(text) = text.filter(|text| text.len() <= SHORT_BYTES_MAX) {
            let (taken, is_taken) = property(properties, name, text);
            properties = taken;
            if is_taken {
                continue;
            }
        }
        let value = value.map_or(AMQPValue::Void, |value| AMQPValue::LongString(value.into()));
        table.insert(short("the name of a header", name.to_owned())?.into(), value);
    }
    if record.value.is_none() {
        table.insert(TOMBSTONE.into(), AMQPValue::LongString("true".into()));
    }
    Ok((properties, table))
}

/// The properties with one more, where a header stands for one and its value can be one, and whether it does. The user-id
/// is not among them: the broker refuses any but that of the connection.
fn property(properties: BasicProperties, name: &str, text: &str) -> (BasicProperties, bool) {
    let with = match name {
        CONTENT_TYPE | CONTENT_TYPE_PLAIN => properties.with_content_type(text.into()),
        CONTENT_ENCODING => properties.with_content_encoding(text.into()),
        CORRELATION_ID => properties.with_correlation_id(text.into()),
        TYPE => properties.with_type(text.into()),
        APP_ID => properties.with_app_id(text.into()),
        REPLY_TO => properties.with_reply_to(text.into()),
        // A number of milliseconds; the broker ends the channel over anything else.
        EXPIRATION if text.parse::<u32>().is_ok() => properties.with_expiration(text.into()),
        PRIORITY => match text.parse() {
            Ok(priority) => properties.with_priority(priority),
            Err(_) => return (properties, false),
        },
        _ => return (properties, false),
    };
    (with, true)
}

fn header_bytes(name: &ShortString, value: &AMQPValue) -> usize {
    let value = if let AMQPValue::LongString(text) = value { text.as_bytes().len() } else { 0 };
    HEADER_OVERHEAD_BYTES + name.as_str().len() + value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::FieldPath;
    use crate::record::{Batch, Offset, Timestamp, push_header};

    struct Case<'a> {
        key: Option<&'a [u8]>,
        value: Option<&'a [u8]>,
        headers: &'a [(&'a str, Option<&'a [u8]>)],
    }

    fn publish(routing_key: &RoutingKey, case: &Case<'_>) -> Result<Publication, String> {
        let mut headers_raw = Vec::new();
        case.headers.iter().for_each(|(name, value)| push_header(&mut headers_raw, name, *value));
        let record = Record {
            key: case.key,
            value: case.value,
            headers_raw: &headers_raw,
            offset: Offset(17),
            ..Record::of(b"", Timestamp(1_700_000_000_999))
        };
        let mut records = Batch::default();
        records.push(&record);
        let output = Output { source: "auth/0".into(), records, ordinals: vec![3] };
        let rules = Rules { pipeline: "parse", routing_key, frame_bytes_max: 131_072, message_bytes_max: 100 };
        rules.publication(&output, 0, &record)
    }

    const PLAIN: Case<'_> = Case { key: Some(b"k"), value: Some(br#"{"a":{"b":7},"t":"x"}"#), headers: &[] };

    #[test]
    fn routing_keys_come_from_where_the_settings_say() {
        let key = |from: RoutingKey, case: &Case<'_>| publish(&from, case).map(|p| p.routing_key.to_string());
        let field = |path: &str| RoutingKey::Field(FieldPath::new(path));
        assert_eq!(key(RoutingKey::Text("t".into()), &PLAIN), Ok("t".into()));
        assert_eq!(key(RoutingKey::Key, &PLAIN), Ok("k".into()));
        assert_eq!(key(field("a.b"), &PLAIN), Ok("7".into()));
        assert_eq!(key(field("t"), &PLAIN), Ok("x".into()));
        let with_header = Case { headers: &[("to", Some(b"h"))], ..PLAIN };
        assert_eq!(key(RoutingKey::Header("to".into()), &with_header), Ok("h".into()));
        let refused = [
            key(RoutingKey::Key, &Case { key: None, ..PLAIN }),
            key(RoutingKey::Key, &Case { key: Some(&[0xff]), ..PLAIN }),
            key(RoutingKey::Key, &Case { key: Some(&[b'x'; 256]), ..PLAIN }),
            key(RoutingKey::Header("to".into()), &PLAIN),
            key(field("a"), &PLAIN),
            key(field("z"), &PLAIN),
            key(field("t"), &Case { value: Some(b"no json"), ..PLAIN }),
            key(field("t"), &Case { value: None, ..PLAIN }),
        ];
        for refused in refused {
            assert!(refused.unwrap_err().contains("routing key"));
        }
    }

    #[test]
    fn headers_become_properties_or_stay_headers() {
        let headers: &[(&str, Option<&[u8]>)] = &[
            ("amqp-content-type", Some(b"text/plain")),
            ("amqp-expiration", Some(b"soon")),
            ("amqp-message-id", Some(b"of the source")),
            ("amqp-priority", Some(b"4")),
            ("amqp-user-id", Some(b"root")),
            ("CC", Some(b"elsewhere")),
            ("bytes", Some(&[0xff, 0])),
            ("void", None),
        ];
        let published = publish(&RoutingKey::Key, &Case { headers, ..PLAIN }).unwrap();
        let properties = &published.properties;
        assert_eq!(properties.message_id().as_ref().unwrap().as_str(), "parse/auth/0/17/3");
        assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "text/plain");
        assert_eq!((*properties.priority(), *properties.delivery_mode()), (Some(4), Some(2)));
        assert_eq!(*properties.timestamp(), Some(1_700_000_000));
        assert!(properties.user_id().is_none() && properties.expiration().is_none());
        let table = properties.headers().as_ref().unwrap().inner();
        let names: Vec<&str> = table.keys().map(ShortString::as_str).collect();
        assert_eq!(names, ["amqp-expiration", "amqp-message-id", "amqp-user-id", "bytes", "void"]);
        assert_eq!(table["bytes"], AMQPValue::LongString(vec![0xff, 0].into()));
        assert_eq!(table["void"], AMQPValue::Void);
    }

    #[test]
    fn a_tombstone_is_marked() {
        let published = publish(&RoutingKey::Key, &Case { value: None, ..PLAIN }).unwrap();
        let table = published.properties.headers().as_ref().unwrap().inner();
        assert_eq!(table[TOMBSTONE], AMQPValue::LongString("true".into()));
    }

    #[test]
    fn what_the_broker_would_end_the_channel_over_is_refused_alone() {
        let reasons = [
            publish(&RoutingKey::Key, &Case { value: Some(&[b'x'; 101]), ..PLAIN }),
            publish(&RoutingKey::Key, &Case { headers: &[(&"n".repeat(256), None)], ..PLAIN }),
            publish(&RoutingKey::Key, &Case { headers: &[("big", Some(&[0; 131_072]))], ..PLAIN }),
        ];
        let reasons = reasons.map(Result::unwrap_err);
        assert_eq!(reasons[0], "it has 101 bytes, and the broker takes 100 at most");
        assert_eq!(reasons[1], "the name of a header has 256 bytes, and AMQP allows 255");
        assert!(reasons[2].contains("its headers have 131081 bytes"), "{}", reasons[2]);
    }

    #[test]
    fn ids_are_stable_and_never_too_long() {
        let long = format!("/var/log/{}", "x".repeat(300));
        let id = message_id("parse", &long, 17, Some(3));
        assert_eq!(id, message_id("parse", &long, 17, Some(3)));
        assert!(id.len() <= SHORT_BYTES_MAX && id.ends_with("/17/3"), "{id}");
        assert_ne!(id, message_id("other", &long, 17, Some(3)));
    }
}
