//! Records that wait for rows.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::{Step, restart, row, start, tombstone};
use weir_plugin::log::Level;
use weir_plugin::serde_json::{Value, json};
use weir_plugin::testing::{TestOutput, TestRecord, take_logs};

fn config(then: &str) -> Value {
    let lookup =
        json!({"table": "hosts", "key": {"field": "k"}, "take": ["f"], "on_miss": {"wait": "5s", "then": then}});
    json!({"lookups": [lookup], "wait_records_max": 3})
}

fn texts(outputs: &[TestOutput]) -> Vec<String> {
    outputs.iter().map(TestOutput::text).collect()
}

/// Lets the clock come to a time; returns what left by the main port and by `missed`.
fn at(step: &mut Step, clock: i64) -> (Vec<String>, Vec<String>) {
    let (main, missed): (Vec<_>, Vec<_>) = step.advance(None, clock).into_iter().partition(|output| output.port == 0);
    (texts(&main), texts(&missed))
}

const NOTHING: (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());

#[test]
fn records_go_on_in_their_order_when_the_row_comes() {
    let mut step = start(config("drop"));
    let null = TestRecord { headers: vec![("n".to_owned(), None)], ..TestRecord::of(r#"{"k":"a","n":2}"#) };
    let run = step.process([
        TestRecord::of(r#"{"k":"a","n":1.0}"#).key("key").header("h", "v").timestamp(7),
        TestRecord::of(r#"{"k":"b"}"#),
        null.timestamp(8),
    ]);
    assert_eq!((run.filtered.as_slice(), run.outputs.len()), ([0, 1, 2].as_slice(), 0));
    assert_eq!(at(&mut step, 1000), NOTHING);
    let mut step = restart(step, config("drop"));
    assert!(step.process_input(1, [row("c", "{}"), tombstone("a")]).outputs.is_empty());
    let run = step.process_input(1, [row("c", "{}"), row("a", r#"{"f":1}"#), row("a", r#"{"f":2}"#)]);
    assert_eq!(run.values(), [r#"{"k":"a","n":1.0,"f":1}"#, r#"{"k":"a","n":2,"f":1}"#]);
    let records: Vec<&TestRecord> = run.outputs.iter().map(|output| &output.record).collect();
    assert_eq!((records[0].key.as_deref(), records[0].timestamp), (Some(&b"key"[..]), 7));
    assert_eq!(records[0].headers, [("h".to_owned(), Some(b"v".to_vec()))]);
    assert_eq!((records[1].key.as_deref(), records[1].timestamp), (None, 8));
    assert_eq!(records[1].headers, [("n".to_owned(), None)]);
    assert_eq!(run.outputs[0].origin, 1, "they come of the row");
    assert_eq!(at(&mut step, 100_000), NOTHING, "they do not go on twice");
    assert_eq!(step.table("-waiting"), [], "and nothing is left of them");
    assert_eq!(step.alarms(), (None, None));
}

#[test]
fn records_that_have_waited_long_enough_become_what_is_said() {
    for (then, expected) in [
        ("pass", (vec![r#"{"k":"b"}"#, r#"{"k":"a"}"#], vec![])),
        ("drop", (vec![], vec![])),
        ("port", (vec![], vec![r#"{"k":"b"}"#, r#"{"k":"a"}"#])),
    ] {
        let expected =
            (expected.0.into_iter().map(str::to_owned).collect(), expected.1.into_iter().map(str::to_owned).collect());
        let mut step = start(config(then));
        step.process([r#"{"k":"b"}"#, r#"{"k":"a"}"#]);
        assert_eq!(step.alarms().1, Some(0), "it wants to know what time it is");
        assert_eq!(at(&mut step, 1_000_000), NOTHING);
        assert_eq!(step.alarms().1, Some(1_005_000));
        let mut step = restart(step, config(then));
        assert_eq!(at(&mut step, 1_004_999), NOTHING);
        assert_eq!(at(&mut step, 1_005_000), expected, "in the order in which they came");
        assert_eq!((step.table("-waiting").len(), step.alarms().1), (0, None));
        assert!(step.process_input(1, [row("a", "{}"), row("b", "{}")]).outputs.is_empty());
    }
}

#[test]
fn a_record_without_a_key_does_not_wait() {
    let mut step = start(config("port"));
    let run = step.process(["{}", r#"{"k":null}"#]);
    assert_eq!((run.values_of(1), step.alarms()), (vec!["{}".to_owned(), r#"{"k":null}"#.to_owned()], (None, None)));
}

#[test]
fn no_more_records_wait_than_may() {
    let mut step = start(config("pass"));
    take_logs();
    let run = step.process([r#"{"k":1}"#, r#"{"k":1}"#, r#"{"k":2}"#, r#"{"k":1,"n":4}"#, r#"{"k":3,"n":5}"#]);
    assert_eq!(run.values(), [r#"{"k":1,"n":4}"#, r#"{"k":3,"n":5}"#]);
    let warnings = take_logs().into_iter().filter(|(level, _)| *level == Level::Warn).count();
    assert_eq!(warnings, 1, "it says so once");
    let mut step = restart(step, config("pass"));
    assert_eq!(step.process([r#"{"k":4}"#]).values(), [r#"{"k":4}"#], "those from before count as well");
    assert_eq!(step.process_input(1, [row("1", "{}")]).values().len(), 2);
    assert!(step.process([r#"{"k":5}"#, r#"{"k":6}"#]).outputs.is_empty(), "there is room again");
    at(&mut step, 0);
    assert_eq!(at(&mut step, 5000).0.len(), 3);
    assert!(step.process([r#"{"k":7}"#, r#"{"k":8}"#, r#"{"k":9}"#]).outputs.is_empty());
}

#[test]
fn one_that_waits_anew_under_the_same_key_waits_its_own_time() {
    let mut step = start(config("pass"));
    step.process([r#"{"k":1}"#]);
    at(&mut step, 0);
    step.process_input(1, [row("1", "{}"), tombstone("1")]);
    let mut step = restart(step, config("pass"));
    step.process([r#"{"k":1,"n":2}"#]);
    assert_eq!(at(&mut step, 4000), NOTHING);
    assert_eq!(at(&mut step, 5000), NOTHING, "this was the time of the one before");
    assert_eq!(at(&mut step, 9000).0, [r#"{"k":1,"n":2}"#]);
}

/// Two lookups of which the second depends on what the first adds, and both wait.
fn both() -> Value {
    let hosts =
        json!({"table": "hosts", "key": {"field": "k"}, "take": ["site"], "on_miss": {"wait": "5s", "then": "pass"}});
    let sites = json!({"table": "sites", "key": {"field": "site"}, "take": {"city": "at.city"}, "on_miss": {"wait": "10s", "then": "port"}});
    json!({"lookups": [hosts, sites]})
}

#[test]
fn the_lookups_that_remain_are_done_for_a_record_that_waited() {
    let mut step = start(both());
    step.process([r#"{"k":"h"}"#, r#"{"k":"i"}"#, r#"{"k":"j","site":"s"}"#]);
    at(&mut step, 0);
    step.process_input(2, [row("s", r#"{"city":"Graz"}"#)]);
    let run = step.process_input(1, [row("h", r#"{"site":"s"}"#), row("i", r#"{"site":"t"}"#)]);
    assert_eq!(run.values(), [r#"{"k":"h","site":"s","at":{"city":"Graz"}}"#], "the other waits for its site");
    assert_eq!(at(&mut step, 1000), NOTHING);
    assert_eq!(at(&mut step, 5000).0, [r#"{"k":"j","site":"s","at":{"city":"Graz"}}"#]);
    let mut step = restart(step, both());
    assert_eq!(at(&mut step, 10_999), NOTHING);
    assert_eq!(at(&mut step, 11_000).1, [r#"{"k":"i","site":"t"}"#]);
}

#[test]
fn what_cannot_be_put_into_a_record_that_waited_is_told_and_the_record_goes_on() {
    let mut step = start(both());
    take_logs();
    step.process([r#"{"k":"h","at":5}"#]);
    step.process_input(2, [row("s", r#"{"city":"Graz"}"#)]);
    assert_eq!(step.process_input(1, [row("h", r#"{"site":"s"}"#)]).values(), [r#"{"k":"h","at":5}"#]);
    let told = take_logs();
    assert!(told[0].1.contains("the field at.city from the table sites: expected an object on the way"), "{told:?}");
}

#[test]
fn records_that_waited_are_not_forgotten_when_the_configuration_changes() {
    let mut step = start(config("drop"));
    step.process([r#"{"k":"a"}"#, r#"{"k":"b"}"#]);
    at(&mut step, 0);
    let changed =
        json!({"lookups": [{"table": "hosts", "key": {"field": "k"}, "take": ["f"], "on_miss": "dead_letter"}]});
    let mut step = restart(step, changed);
    assert_eq!(step.process_input(1, [row("a", r#"{"f":1}"#)]).values(), [r#"{"k":"a","f":1}"#]);
    assert_eq!(at(&mut step, 5000).0, [r#"{"k":"b"}"#], "it is too late to reject it");
}

#[test]
fn keys_without_case_are_waited_for_so() {
    let lookup = json!({"table": "hosts", "key": {"field": "k"}, "into": "h", "on_miss": {"wait": "5s"}, "case_insensitive": true});
    let mut step = start(json!({"lookups": [lookup]}));
    step.process([r#"{"k":"Aa"}"#]);
    assert_eq!(step.process_input(1, [row("aA", "{}")]).values(), [r#"{"k":"Aa","h":{}}"#]);
}

#[test]
fn the_key_of_a_record_that_waited_may_be_its_own_or_a_header() {
    let by_key = json!({"table": "hosts", "key": "key", "take": ["f"], "on_miss": {"wait": "5s"}});
    let by_header = json!({"table": "sites", "key": {"header": "s"}, "take": ["g"]});
    let mut step = start(json!({"lookups": [by_key, by_header]}));
    step.process_input(2, [row("x", r#"{"g":2}"#)]);
    step.process([TestRecord::of("{}").key("a").header("s", "x")]);
    assert_eq!(step.process_input(1, [row("a", r#"{"f":1}"#)]).values(), [r#"{"f":1,"g":2}"#]);
}
