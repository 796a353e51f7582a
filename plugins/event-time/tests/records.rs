//! Which times records are given, and what becomes of those that tell none.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use weir_event_time::EventTime;
use weir_plugin::serde_json::{Value, json};
use weir_plugin::testing::{Answer, Harness, TestRecord};

/// 2024-07-03T09:46:00Z.
const MOMENT: i64 = 1_719_999_960_000;

fn start(config: Value) -> Harness<EventTime> {
    Harness::new(config).unwrap()
}

fn refused(config: Value) -> (String, String) {
    let error = Harness::<EventTime>::new(config).err().unwrap();
    (error.path().to_owned(), error.message().to_owned())
}

/// The time that a record gets whose field `t` is this value, or why it gets none.
fn read(config: Value, value: Value) -> Result<i64, String> {
    let mut config = config;
    config["field"] = json!("t");
    let run = start(config).process([json!({ "t": value }).to_string()]);
    match run.rejects.first() {
        Some(reject) => Err(reject.reason.clone()),
        None => Ok(run.outputs[0].record.timestamp),
    }
}

fn time(config: Value, value: impl Into<Value>) -> i64 {
    read(config, value.into()).unwrap()
}

fn wrong(config: Value, value: impl Into<Value>) -> String {
    read(config, value.into()).unwrap_err()
}

#[test]
fn only_the_time_of_a_record_changes() {
    let value = "{ \"a\": {\"t\":\"2024-07-03T09:46:00Z\"},  \"n\": 1.50 }";
    let record = TestRecord::of(value).key("k").header("h", "v").timestamp(7);
    let run = start(json!({"field": "a.t"})).process([record.clone(), record.clone().timestamp(MOMENT)]);
    assert_eq!(
        run.outputs.iter().map(|output| output.record.clone()).collect::<Vec<_>>(),
        [
            TestRecord { offset: Some(0), ..record.clone().timestamp(MOMENT) },
            TestRecord { offset: Some(1), ..record.timestamp(MOMENT) },
        ]
    );
    let run = start(json!({"field": "t", "format": "unix_ms"})).process([TestRecord::of(r#"{"t":7}"#).timestamp(7)]);
    assert_eq!(run.answer, Answer::Unchanged, "where the time is right already nothing is copied");
}

#[test]
fn times_as_in_rfc_3339_are_read_with_and_without_a_zone() {
    for text in [
        "2024-07-03T09:46:00Z",
        "2024-07-03t09:46:00z",
        "2024-07-03 09:46:00Z",
        "2024-07-03T11:46:00+02:00",
        " 2024-07-03T04:16:00-05:30 ",
        "2024-07-03T09:46:00.000000000Z",
        "2024-07-03T09:46:00",
        "2024-07-03 09:46",
        "2024-07-03T11:46:00+02:00[Europe/Vienna]",
    ] {
        assert_eq!(time(json!({}), text), MOMENT, "{text}");
    }
    assert_eq!(time(json!({}), "2024-07-03"), time(json!({}), "2024-07-03T00:00:00Z"));
    assert_eq!(time(json!({}), "2024-07-03T09:46:00.2509Z"), MOMENT + 250);
    assert_eq!(time(json!({}), "1969-12-31T23:59:59.9999Z"), -1, "the millisecond in which it lies");
    assert_eq!(time(json!({"timezone": "Europe/Vienna"}), "2024-07-03 11:46:00"), MOMENT);
    assert_eq!(time(json!({"timezone": "+0530"}), "2024-07-03 15:16:00"), MOMENT);
    assert_eq!(time(json!({"timezone": "-05"}), "2024-07-03T09:46:00Z"), MOMENT, "what the text says counts");
    // In Vienna 02:30 does not exist on the first of these days, and is there twice on the second.
    assert_eq!(
        time(json!({"timezone": "Europe/Vienna"}), "2024-03-31 02:30:00"),
        time(json!({}), "2024-03-31T01:30:00Z")
    );
    assert_eq!(
        time(json!({"timezone": "Europe/Vienna"}), "2024-10-27 02:30:00"),
        time(json!({}), "2024-10-27T00:30:00Z")
    );
}

#[test]
fn numbers_are_read_as_numbers_and_as_text() {
    for (format, number) in [
        ("unix", "1719999960"),
        ("unix", "1719999960.0009"),
        ("unix", "1.71999996e9"),
        ("unix_ms", "1719999960000"),
        ("unix_us", "1719999960000999"),
        ("unix_ns", "1719999960000000001"),
    ] {
        assert_eq!(time(json!({ "format": format }), number), MOMENT, "{format} {number}");
        let run = start(json!({"field": "t", "format": format})).process([format!("{{\"t\":{number}}}")]);
        assert_eq!(run.outputs[0].record.timestamp, MOMENT, "{format} {number}");
    }
}

#[test]
fn times_are_read_by_a_pattern() {
    let pattern = |format: &str, text: &str| time(json!({ "format": format }), text);
    assert_eq!(pattern("%d/%b/%Y:%H:%M:%S %z", "03/Jul/2024:11:46:00 +0200"), MOMENT);
    assert_eq!(pattern("%Y-%m-%dT%H:%M:%S%.f%:z", "2024-07-03T04:46:00.125-05:00"), MOMENT + 125);
    assert_eq!(pattern("%Y-%m-%d %H:%M:%S %Q", "2024-07-03 11:46:00 Europe/Vienna"), MOMENT);
    assert_eq!(pattern("%a, %d %b %Y %I:%M %p", "Wed, 03 Jul 2024 09:46 AM"), MOMENT);
    assert_eq!(pattern("%s", "1719999960"), MOMENT);
    assert_eq!(pattern("%Y%m%d%H%M", "202407030946"), MOMENT);
    assert_eq!(time(json!({"format": "%Y%m%d%H%M"}), 202_407_030_946_u64), MOMENT, "a number as its text");
    assert_eq!(time(json!({"format": "%d.%m.%Y %H:%M", "timezone": "Europe/Vienna"}), "03.07.2024 11:46"), MOMENT);
}

#[test]
fn a_header_tells_the_time_of_any_value() {
    let mut by_header = start(json!({"header": "at"}));
    let of = |value: &str| TestRecord::of("no JSON").header("at", value);
    let null = TestRecord { headers: vec![("at".to_owned(), None)], ..TestRecord::of("") };
    let records = [
        of("2024-07-03T09:46:00Z"),
        of("2024-07-03T09:46:00Z").tombstone(),
        of("x"),
        null,
        "".into(),
        TestRecord { headers: vec![("at".to_owned(), Some(vec![255]))], ..TestRecord::of("") },
    ];
    let run = by_header.process(records);
    let times: Vec<i64> = run.outputs.iter().map(|output| output.record.timestamp).collect();
    assert_eq!(times, [MOMENT, MOMENT]);
    assert_eq!(run.outputs[1].record.value, None);
    let reasons: Vec<&str> = run.rejects.iter().map(|reject| reject.reason.as_str()).collect();
    assert!(reasons[0].starts_with("the header at: expected a time as in RFC 3339, got \"x\": "), "{}", reasons[0]);
    assert_eq!(reasons[1], "the header at: expected a time, got null");
    assert_eq!(reasons[2], "the header at: expected a time, found no such header");
    assert!(reasons[3].starts_with("the header at: invalid utf-8"), "{}", reasons[3]);
}

#[test]
fn what_tells_no_time_says_where_and_why() {
    let none = json!({});
    assert_eq!(wrong(none.clone(), Value::Null), "the field t: expected a time, got null");
    assert_eq!(wrong(none.clone(), true), "the field t: expected a text or a number, got a boolean");
    assert_eq!(wrong(none.clone(), json!({})), "the field t: expected a text or a number, got an object");
    assert_eq!(wrong(none.clone(), json!([])), "the field t: expected a text or a number, got an array");
    for text in [
        "",
        "yesterday",
        "2024-02-30T00:00:00Z",
        "2024-07-03T09:46:00X",
        "09:46",
        "99999-01-01T00:00:00Z",
        "2024-07-03T09:46:00+99:00",
        "9999-12-31T23:59:59-12:00",
        "2024-07-03T09:46[Europe/Vienna]",
    ] {
        let reason = wrong(none.clone(), text);
        assert!(
            reason.starts_with(&format!("the field t: expected a time as in RFC 3339, got {text:?}: ")),
            "{reason}"
        );
    }
    assert!(wrong(none, 5).starts_with("the field t: expected a time as in RFC 3339, got \"5\": "));
    let unix = json!({"format": "unix"});
    assert_eq!(
        wrong(unix.clone(), "x"),
        "the field t: expected a number of seconds since 1970, got \"x\": not a number"
    );
    assert_eq!(
        wrong(unix, "9223372036854776"),
        "the field t: expected a number of seconds since 1970, got \"9223372036854776\": too far from 1970 for milliseconds of 64 bits"
    );
    let reason = wrong(json!({"format": "%Y-%m-%d"}), "03.07.2024");
    assert!(reason.starts_with("the field t: expected a time as in %Y-%m-%d, got \"03.07.2024\": "), "{reason}");
    let reason = wrong(json!({}), "x".repeat(10_000));
    assert!(reason.len() < 400 && reason.contains("x\"...: "), "{reason}");
    let mut by_field = start(json!({"field": "a.t"}));
    let run = by_field.process([TestRecord::of("[1]"), TestRecord::of(r#"{"a":1}"#), TestRecord::of("").tombstone()]);
    let reasons: Vec<&str> = run.rejects.iter().map(|reject| reject.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "the field a.t: malformed JSON at byte 0: expected a JSON object",
            "the field a.t: expected a time, found no such field",
            "expected a JSON object, got a tombstone",
        ]
    );
}

#[test]
fn records_without_a_time_go_on_as_they_came_where_that_is_said() {
    let mut passing = start(json!({"field": "t", "on_error": "pass"}));
    let records = ["no JSON", r#"{"t":"soon"}"#, r#"{"t":"2024-07-03T09:46:00Z"}"#]
        .map(|value| TestRecord::of(value).timestamp(5));
    let run = passing.process(records);
    let times: Vec<i64> = run.outputs.iter().map(|output| output.record.timestamp).collect();
    assert_eq!((times.as_slice(), run.rejects.len()), ([5, 5, MOMENT].as_slice(), 0));
    let mut rejecting = start(json!({"field": "t", "on_error": "dead_letter"}));
    assert_eq!(rejecting.process(["no JSON"]).rejects.len(), 1);
}

#[test]
fn a_wrong_configuration_names_the_setting() {
    assert_eq!(refused(json!({})), (String::new(), "expected `field` or `header`, got neither".to_owned()));
    let both = refused(json!({"field": "a", "header": "b"}));
    assert_eq!(both, ("header".to_owned(), "expected `field` or `header`, got both".to_owned()));
    assert_eq!(refused(json!({"field": "a..b"})).0, "field");
    let (path, message) = refused(json!({"field": "a", "format": "iso"}));
    assert_eq!(path, "format");
    assert!(message.starts_with("expected rfc3339, unix, unix_ms") && message.ends_with("got \"iso\""), "{message}");
    for pattern in ["%H:%M:%S", "%b %d %H:%M:%S", "%!", "%Y-%m", "100%"] {
        let (path, message) = refused(json!({"field": "a", "format": pattern}));
        let expected = format!("expected a pattern that tells a date and a time, got {pattern:?}: ");
        assert!(path == "format" && message.starts_with(&expected), "{path}: {message}");
    }
    for zone in ["Mars/Olympus", "", "+1", "+19:00", "+02:60", "02:00", "+02:00:00"] {
        let (path, message) = refused(json!({"field": "a", "timezone": zone}));
        assert_eq!(path, "timezone");
        assert!(message.ends_with(&format!("such as +02:00, got `{zone}`")), "{message}");
    }
    assert_eq!(refused(json!({"field": "a", "on_error": "drop"})).0, "on_error");
    assert_eq!(refused(json!({"feild": "a"})).0, "feild");
}

proptest! {
    /// What jiff writes is read again, by each format that can tell it.
    #[test]
    fn what_was_written_is_read(ms in -60_000_000_000_000i64..200_000_000_000_000, zone in 0usize..4) {
        let zone = ["UTC", "Europe/Vienna", "America/St_Johns", "Pacific/Apia"][zone];
        let moment = Timestamp::from_millisecond(ms).unwrap();
        let local = moment.to_zoned(TimeZone::get(zone).unwrap());
        let seconds = local.strftime("%Y-%m-%d %H:%M:%S %Q").to_string();
        prop_assert_eq!(time(json!({"format": "%Y-%m-%d %H:%M:%S%.f %:z"}), local.strftime("%Y-%m-%d %H:%M:%S%.f +00:00").to_string()),
            local.datetime().to_zoned(TimeZone::UTC).unwrap().timestamp().as_millisecond());
        prop_assert_eq!(time(json!({}), moment.to_string()), ms);
        prop_assert_eq!(time(json!({"format": "unix_ms"}), ms), ms);
        // Where summer time ends, a time without offset means the first of two.
        let is_unique = !TimeZone::get(zone).unwrap().to_ambiguous_timestamp(local.datetime()).is_ambiguous();
        if is_unique {
            prop_assert_eq!(time(json!({"format": "%Y-%m-%d %H:%M:%S %Q"}), seconds), ms.div_euclid(1000) * 1000);
            prop_assert_eq!(time(json!({ "timezone": zone }), local.datetime().to_string()), ms);
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,30}", near in "[-+0-9:TZ. /e]{0,30}", format in 0usize..4) {
        let format = ["rfc3339", "unix", "%d/%b/%Y:%H:%M:%S %z", "%s"][format];
        for text in [text, near] {
            let _ = read(json!({ "format": format }), text.into());
        }
    }
}
