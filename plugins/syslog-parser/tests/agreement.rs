//! Where a line is as the documents want it, the parser here and crate syslog_loose say the same.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use chrono::FixedOffset;
use proptest::prelude::*;
use syslog_loose::{Message, Protocol, Variant, parse_message_with_year_exact_tz};
use weir_plugin::serde_json::{Map, Value, from_slice, json};
use weir_plugin::testing::{Harness, TestRecord};
use weir_syslog_parser::SyslogParser;

/// 2025-12-29T12:00:00Z: the generated days end with the 28th, so each lies in this year.
const RECEIVED: i64 = 1_767_009_600_000;
const YEAR: i32 = 2025;

fn ours(line: &str) -> Value {
    let mut parser = Harness::<SyslogParser>::new(json!({})).unwrap();
    let run = parser.process([TestRecord::of(line).timestamp(RECEIVED)]);
    from_slice(run.outputs.first().unwrap().record.value.as_deref().unwrap()).unwrap()
}

fn theirs(line: &str) -> Value {
    let utc = FixedOffset::east_opt(0).unwrap();
    let message = parse_message_with_year_exact_tz(line, |_| YEAR, Some(utc), Variant::Either).unwrap();
    let mut fields = Map::new();
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), Value::String(value));
        }
    };
    put("timestamp", message.timestamp.map(|time| time.to_rfc3339()));
    put("host", message.hostname.map(str::to_owned));
    put("appname", message.appname.map(str::to_owned));
    put("procid", message.procid.as_ref().map(ToString::to_string));
    put("msgid", message.msgid.map(str::to_owned));
    put("facility", message.facility.map(|facility| facility.as_str().to_owned()));
    put("severity", message.severity.map(|severity| severity.as_str().to_owned()));
    put("message", Some(message.msg.to_owned()));
    if let Protocol::RFC5424(version) = message.protocol {
        fields.insert("version".to_owned(), json!(version));
    }
    if !message.structured_data.is_empty() {
        fields.insert("structured_data".to_owned(), structured(&message));
    }
    Value::Object(fields)
}

fn structured(message: &Message<&str>) -> Value {
    let elements = message.structured_data.iter().map(|element| {
        let params = element.params().map(|(name, value)| ((*name).to_owned(), Value::String(value)));
        (element.id.to_owned(), Value::Object(params.collect()))
    });
    Value::Object(elements.collect())
}

/// Ours is written with the digits that the line had, theirs with as many as it takes; both mean a moment.
fn as_moment(mut fields: Value) -> Value {
    if let Some(Value::String(text)) = fields.get("timestamp") {
        let moment: jiff::Timestamp = text.parse().unwrap();
        fields["timestamp"] = json!(moment.to_string());
    }
    fields
}

fn priority() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), (0u8..=191).prop_map(|n| format!("<{n}>"))]
}

fn bsd_time() -> impl Strategy<Value = String> {
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "dec", "OCT"];
    let year = prop_oneof![Just(String::new()), (1970u16..2100).prop_map(|year| format!("{year} "))];
    let time = (0u8..24, 0u8..60, 0u8..60).prop_map(|(h, m, s)| format!("{h:02}:{m:02}:{s:02}"));
    (prop::sample::select(months.to_vec()), 1u8..=28, any::<bool>(), year, time).prop_map(
        |(month, day, padded, year, time)| {
            if padded { format!("{month} {day:2} {year}{time}") } else { format!("{month} {day} {year}{time}") }
        },
    )
}

fn iso_time() -> impl Strategy<Value = String> {
    let date = (1970u16..2100, 1u8..=12, 1u8..=28).prop_map(|(y, m, d)| format!("{y}-{m:02}-{d:02}"));
    let time = (0u8..24, 0u8..60, 0u8..60).prop_map(|(h, m, s)| format!("{h:02}:{m:02}:{s:02}"));
    let zone = prop_oneof![
        Just("Z".to_owned()),
        (any::<bool>(), 0u8..14, 0u8..60)
            .prop_map(|(east, h, m)| format!("{}{h:02}:{m:02}", if east { '+' } else { '-' }))
    ];
    (date, time, r"(\.[0-9]{1,9})?", zone)
        .prop_map(|(date, time, fraction, zone)| format!("{date}T{time}{fraction}{zone}"))
}

/// A host that is not mistaken for a zone or a year.
fn host() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z][a-z0-9.-]{0,12}", "192\\.0\\.2\\.[0-9]{1,2}", Just("2001:db8::17".to_owned())]
}

/// A process without leading zeros, which syslog_loose drops.
fn tag() -> impl Strategy<Value = String> {
    ("[a-z%][a-zA-Z0-9_/.-]{0,12}", prop_oneof![Just(String::new()), (1u32..99_999).prop_map(|pid| format!("[{pid}]"))])
        .prop_map(|(name, process)| format!("{name}{process}:"))
}

/// A message whose start and end are its own: not a dash or a bracket, which mean something to one or the other.
fn message() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-zA-Z0-9(\"é]([ -~é]{0,60}[!-~])?"]
}

/// A field that does not end with a colon, which syslog_loose takes for the end of the header.
fn field() -> impl Strategy<Value = String> {
    prop_oneof![Just("-".to_owned()), "[a-zA-Z]([a-zA-Z0-9.:/_-]{0,12}[a-zA-Z0-9])?"]
}

fn elements() -> impl Strategy<Value = String> {
    let value = r#"([a-zA-Z0-9 é=.]|\\"|\\\\|\\\]){0,12}"#;
    let params = prop::collection::btree_map("[a-z]{1,6}", value, 1..4);
    let element = prop::collection::btree_map("[a-z]{1,6}(@[0-9]{1,5})?", params, 1..3).prop_map(|elements| {
        let element = elements.iter().map(|(id, params)| {
            let params: Vec<_> = params.iter().map(|(name, value)| format!(" {name}=\"{value}\"")).collect();
            format!("[{id}{}]", params.concat())
        });
        element.collect::<String>()
    });
    prop_oneof![Just("-".to_owned()), element]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn on_rfc3164(priority in priority(), time in prop_oneof![bsd_time(), iso_time()], host in host(), tag in tag(), message in message()) {
        let line = format!("{priority}{time} {host} {tag} {message}");
        prop_assert_eq!(as_moment(ours(&line)), as_moment(theirs(&line)), "{}", line);
    }

    #[test]
    fn on_rfc3164_with_structured_data(priority in priority(), time in bsd_time(), host in host(), tag in tag(),
        elements in elements().prop_filter("a dash is a message", |text| text != "-"), message in message()) {
        let line = format!("{priority}{time} {host} {tag} {elements} {message}");
        prop_assert_eq!(as_moment(ours(&line)), as_moment(theirs(&line)), "{}", line);
    }

    #[test]
    fn on_rfc5424(priority in 0u8..=191, version in 1u16..=3, time in prop_oneof![Just("-".to_owned()), iso_time()],
        host in field(), app in field(), process in field(), msgid in field(), elements in elements(), message in message()) {
        let line = format!("<{priority}>{version} {time} {host} {app} {process} {msgid} {elements} {message}");
        prop_assert_eq!(as_moment(ours(&line)), as_moment(theirs(&line)), "{}", line);
    }

    /// Whatever comes, it is rejected or it is JSON with a message.
    #[test]
    fn any_line_is_rejected_or_becomes_json(
        start in "(<[0-9]{1,3}>)?(1 )?((Mar  9|2025-03-09)[ T]12:00:0[0-9](\\.[0-9])?)?(Z| UTC| 2025)?:?",
        rest in prop::collection::vec(prop_oneof![Just(b' '), Just(b':'), Just(b'['), Just(b']'), Just(b'"'), Just(b'='), any::<u8>()], 0..60),
        pass in any::<bool>(),
    ) {
        let mut parser = Harness::<SyslogParser>::new(json!({"on_error": if pass { "pass" } else { "dead_letter" }})).unwrap();
        let line = [start.as_bytes(), &rest].concat();
        let run = parser.process([TestRecord::of(&line).timestamp(RECEIVED)]);
        prop_assert_eq!(run.outputs.len() + run.rejects.len(), 1);
        prop_assert!(!(pass && run.outputs.is_empty()));
        for output in &run.outputs {
            let fields: Value = from_slice(output.record.value.as_deref().unwrap()).unwrap();
            prop_assert!(fields["message"].is_string());
        }
    }
}
