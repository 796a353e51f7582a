//! Records as lines of text: what the stdout and file sinks write. Knows nothing of where the lines go.
//!
//! Value format: the value as it is, and a newline. A newline inside a value is written as it is too: whoever chooses
//! this format has values that are lines, and wants them byte for byte; who cannot rule newlines out takes the record
//! format. A record without a value (a tombstone) has no line.
//!
//! Record format: one JSON object a line, never with a newline inside:
//!
//! ```json
//! {"key":"k","value":{"a":1},"headers":{"n":"v"},"timestamp":"2026-03-01T12:00:00.000Z","source":"s","offset":7,"ordinal":0}
//! ```
//!
//! - A value that is a JSON object or array is embedded as it stands (numbers keep their digits, keys their order; only
//!   line breaks between tokens go). Any other text is a JSON string, so `12` and `"a"` as values are told apart from an
//!   embedded document. No value is `null`. Bytes that are not UTF-8 stand base64-coded under `value_base64`.
//! - The key is a string, `null`, or `key_base64`; never embedded.
//! - A header's value is a string, `null`, or `{"base64": ...}`. A name that occurs again makes an array of its values.
//! - The timestamp is UTC in RFC 3339 form with milliseconds; a plain number of milliseconds where it is outside the
//!   years that the form can tell.
//! - (`source`, `offset`, `ordinal`) is the record's id: a replay repeats it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::LineFormat;
use crate::record::{Output, Partition, Record, Timestamp};

/// What a line of the record format has beside the record's own bytes, at the least: the room to set aside.
const FRAME_BYTES: usize = 160;

/// Writes a batch as lines.
pub fn encode(format: LineFormat, output: &Output) -> Vec<u8> {
    match format {
        LineFormat::Value => values(output),
        LineFormat::Record => records(output),
    }
}

fn values(output: &Output) -> Vec<u8> {
    let mut lines = Vec::with_capacity(output.records.bytes());
    for value in output.records.iter().filter_map(|record| record.value) {
        lines.extend_from_slice(value);
        lines.push(b'\n');
    }
    lines
}

fn records(output: &Output) -> Vec<u8> {
    let mut lines = Vec::with_capacity(output.records.bytes() + output.records.len() * FRAME_BYTES);
    for (at, record) in output.records.iter().enumerate() {
        let ordinal = output.ordinals.get(at).copied().unwrap_or_default();
        push_record(&mut lines, &output.source, &record, ordinal);
        lines.push(b'\n');
    }
    lines
}

fn push_record(out: &mut Vec<u8>, source: &str, record: &Record<'_>, ordinal: u32) {
    out.push(b'{');
    push_field(out, "key", record.key);
    out.push(b',');
    match record.value {
        Some(value) if is_document(value) => {
            out.extend_from_slice(b"\"value\":");
            out.extend(value.iter().filter(|byte| !matches!(byte, b'\n' | b'\r')));
        }
        value => push_field(out, "value", value),
    }
    out.extend_from_slice(b",\"headers\":");
    push_headers(out, record);
    out.extend_from_slice(b",\"timestamp\":");
    push_timestamp(out, record.timestamp);
    out.extend_from_slice(b",\"source\":");
    push_string(out, source);
    out.extend_from_slice(format!(",\"offset\":{},\"ordinal\":{ordinal}}}", record.offset).as_bytes());
}

/// Appends a value so that each of its bytes can be read back: a document is embedded only where that loses nothing of it.
pub(crate) fn push_value_exact(out: &mut Vec<u8>, value: Option<&[u8]>) {
    let is_bare = |value: &[u8]| matches!((value.first(), value.last()), (Some(b'{' | b'['), Some(b'}' | b']')));
    let is_line = |value: &[u8]| !value.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
    match value {
        Some(value) if is_bare(value) && is_line(value) && is_document(value) => {
            out.extend_from_slice(b"\"value\":");
            out.extend_from_slice(value);
        }
        value => push_field(out, "value", value),
    }
}

/// Whether a value is a JSON object or array. Line breaks in it can only stand between tokens, where they mean nothing.
fn is_document(value: &[u8]) -> bool {
    let first = value.iter().find(|byte| !byte.is_ascii_whitespace());
    if !matches!(first, Some(b'{' | b'[')) {
        return false;
    }
    // The parser does not look into strings that it passes over, so their encoding is checked before.
    std::str::from_utf8(value).is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok())
}

/// Appends a record of a stream as `weir tap` prints it, with a newline (see [`crate::api::tap`]).
pub(crate) fn push_record_line(out: &mut Vec<u8>, stream: &str, partition: Partition, record: &Record<'_>) {
    out.extend_from_slice(b"{\"stream\":");
    push_string(out, stream);
    out.extend_from_slice(format!(",\"partition\":{partition},\"offset\":{},\"timestamp\":", record.offset).as_bytes());
    push_timestamp(out, record.timestamp);
    out.push(b',');
    push_field(out, "key", record.key);
    out.push(b',');
    push_field(out, "value", record.value);
    out.extend_from_slice(b",\"headers\":");
    push_headers(out, record);
    out.extend_from_slice(b"}\n");
}

/// Appends `"name":"text"`, `"name":null`, or, for bytes that are not UTF-8, `"name_base64":"..."`.
pub(crate) fn push_field(out: &mut Vec<u8>, name: &str, bytes: Option<&[u8]>) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    match bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| bytes)) {
        None => out.extend_from_slice(b"\":null"),
        Some(Ok(text)) => {
            out.extend_from_slice(b"\":");
            push_string(out, text);
        }
        Some(Err(bytes)) => {
            out.extend_from_slice(b"_base64\":\"");
            out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
            out.push(b'"');
        }
    }
}

/// Appends a record's headers as an object.
pub(crate) fn push_headers(out: &mut Vec<u8>, record: &Record<'_>) {
    out.push(b'{');
    for (at, (name, _)) in record.headers().enumerate() {
        // Headers are few, so looking through them again is cheaper than a map.
        if record.headers().take(at).any(|(earlier, _)| earlier == name) {
            continue;
        }
        if out.last() != Some(&b'{') {
            out.push(b',');
        }
        push_string(out, name);
        out.push(b':');
        push_header_values(out, record, name);
    }
    out.push(b'}');
}

fn push_header_values(out: &mut Vec<u8>, record: &Record<'_>, name: &str) {
    let values = || record.headers().filter(|(other, _)| *other == name).map(|(_, value)| value);
    let repeated = values().nth(1).is_some();
    if repeated {
        out.push(b'[');
    }
    for (at, value) in values().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        push_header_value(out, value);
    }
    if repeated {
        out.push(b']');
    }
}

/// Appends the value of a header.
pub(crate) fn push_header_value(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value.map(|bytes| std::str::from_utf8(bytes).map_err(|_| bytes)) {
        None => out.extend_from_slice(b"null"),
        Some(Ok(text)) => push_string(out, text),
        Some(Err(bytes)) => out.extend_from_slice(format!("{{\"base64\":\"{}\"}}", STANDARD.encode(bytes)).as_bytes()),
    }
}

/// Appends a timestamp: a string in RFC 3339 form with milliseconds, or a number where there is no such form.
pub(crate) fn push_timestamp(out: &mut Vec<u8>, timestamp: Timestamp) {
    match iso(timestamp) {
        Some(text) => out.extend_from_slice(format!("\"{text}\"").as_bytes()),
        None => out.extend_from_slice(timestamp.0.to_string().as_bytes()),
    }
}

/// A timestamp in UTC, RFC 3339 form with milliseconds. `None`: outside the years -9999 to 9999.
pub(crate) fn iso(timestamp: Timestamp) -> Option<String> {
    jiff::Timestamp::from_millisecond(timestamp.0).ok().map(|time| format!("{time:.3}"))
}

/// Appends text as a JSON string.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    // Writing into memory does not fail, and a string has no form that JSON lacks.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::record::{Batch, Offset, Port, push_header};

    /// Key, value, headers.
    type Parts<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, &'a [(&'a str, Option<&'a [u8]>)]);

    fn output(records: &[Parts<'_>]) -> Output {
        let mut batch = Batch::default();
        for (n, (key, value, headers)) in records.iter().enumerate() {
            let mut headers_raw = Vec::new();
            headers.iter().for_each(|(name, value)| push_header(&mut headers_raw, name, *value));
            batch.push(&Record {
                key: *key,
                value: *value,
                headers_raw: &headers_raw,
                offset: Offset(n as u64),
                timestamp: Timestamp(1_772_366_400_007),
                port: Port(0),
            });
        }
        Output { source: Arc::from("auth/0"), ordinals: vec![0; batch.len()], records: batch }
    }

    fn record_line(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, Option<&[u8]>)]) -> String {
        String::from_utf8(encode(LineFormat::Record, &output(&[(key, value, headers)]))).unwrap()
    }

    #[test]
    fn values_are_written_byte_for_byte_and_tombstones_not_at_all() {
        let output = output(&[
            (None, Some(b"one"), &[]),
            (None, None, &[]),
            (None, Some(b""), &[]),
            (None, Some(b"\xff\0two\nlines"), &[]),
        ]);
        assert_eq!(encode(LineFormat::Value, &output), b"one\n\n\xff\0two\nlines\n");
    }

    #[test]
    fn a_record_line_holds_the_whole_record() {
        let line = record_line(Some(b"k\"1"), Some(b"plain\ntext"), &[("a", Some(b"x")), ("b", None)]);
        assert_eq!(
            line,
            "{\"key\":\"k\\\"1\",\"value\":\"plain\\ntext\",\"headers\":{\"a\":\"x\",\"b\":null},\
             \"timestamp\":\"2026-03-01T12:00:00.007Z\",\"source\":\"auth/0\",\"offset\":0,\"ordinal\":0}\n"
        );
    }

    #[test]
    fn json_documents_are_embedded_as_they_stand() {
        let line = record_line(None, Some(b" {\"b\":1.10,\r\n \"a\":12345678901234567890123}\n"), &[]);
        assert!(line.contains("\"value\": {\"b\":1.10, \"a\":12345678901234567890123},"), "{line}");
        assert_eq!(line.matches('\n').count(), 1);
        for text in ["12", "\\\"a\\\"", "{", "[1,", "null"] {
            let line = record_line(None, Some(text.replace('\\', "").as_bytes()), &[]);
            assert!(line.contains(&format!("\"value\":\"{text}\",")), "{line}");
        }
    }

    #[test]
    fn absent_and_binary_parts_are_told_apart_from_text() {
        let line = record_line(None, None, &[]);
        assert!(line.starts_with("{\"key\":null,\"value\":null,\"headers\":{},"), "{line}");
        let line = record_line(Some(b"\xff"), Some(b"\xfe\xff"), &[("h", Some(b"\xff"))]);
        let expected = "{\"key_base64\":\"/w==\",\"value_base64\":\"/v8=\",\"headers\":{\"h\":{\"base64\":\"/w==\"}},";
        assert!(line.starts_with(expected), "{line}");
    }

    #[test]
    fn a_repeated_header_becomes_an_array_in_order() {
        let line = record_line(None, None, &[("a", Some(b"1")), ("b", Some(b"2")), ("a", None), ("a", Some(b"3"))]);
        assert!(line.contains("\"headers\":{\"a\":[\"1\",null,\"3\"],\"b\":\"2\"}"), "{line}");
    }

    #[test]
    fn a_time_beyond_the_calendar_is_a_number() {
        let mut out = Vec::new();
        push_timestamp(&mut out, Timestamp(i64::MAX));
        assert_eq!(out, i64::MAX.to_string().as_bytes());
        assert_eq!(iso(Timestamp(-1)).as_deref(), Some("1969-12-31T23:59:59.999Z"));
    }

    proptest! {
        /// Whatever the bytes, each record is one line of JSON that gives key and value back.
        #[test]
        fn every_record_is_one_line_of_json(
            key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9)),
            value in proptest::option::of(prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..30),
                "[\\[{][\"a1:,\\n\\r }\\]]{0,8}".prop_map(String::into_bytes),
            ]),
            name in ".{0,4}",
        ) {
            let line = record_line(key.as_deref(), value.as_deref(), &[(&name, value.as_deref())]);
            prop_assert_eq!(line.matches('\n').count(), 1);
            prop_assert!(!line.contains('\r'));
            let json: serde_json::Value = serde_json::from_str(&line).unwrap();
            let bytes = |name: &str| match (&json[name], &json[format!("{name}_base64")]) {
                (serde_json::Value::String(text), _) => Some(text.clone().into_bytes()),
                (_, serde_json::Value::String(text)) => Some(STANDARD.decode(text).unwrap()),
                (serde_json::Value::Null, _) => None,
                (embedded, _) => Some(serde_json::to_vec(embedded).unwrap()),
            };
            prop_assert_eq!(bytes("key"), key);
            let is_document = value.as_deref().is_some_and(is_document);
            if is_document {
                let parsed: serde_json::Value = serde_json::from_slice(value.as_deref().unwrap()).unwrap();
                prop_assert_eq!(&json["value"], &parsed);
            } else {
                prop_assert_eq!(bytes("value"), value);
            }
        }
    }
}
