//! What goes into records, and what becomes of those that have no row.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::{reasons, row, start, tombstone};
use weir_plugin::serde_json::json;
use weir_plugin::testing::{Answer, TestRecord};

#[test]
fn fields_are_added_and_the_rest_stays_as_it_came() {
    let lookup =
        json!({"table": "hosts", "key": {"field": "src.mac"}, "take": {"owner": "user.name", "os.version": "host_os"}});
    let mut step = start(json!({"lookups": [lookup]}));
    let rows =
        [row("m1", "{ \"owner\": \"eve\",\n \"os\": {\"version\": 1.50}, \"x\": 1 }"), row("m2", r#"{"os":null}"#)];
    let run = step.process_input(1, rows);
    assert!(run.outputs.is_empty() && run.rejects.is_empty() && run.filtered == [0, 1], "rows go no further");
    let first = " {\"n\" : 1e2, \"src\":{\"mac\":\"m1\"} }";
    let run = step.process([
        TestRecord::of(first).key("k").header("h", "v").timestamp(7),
        TestRecord::of(r#"{"src":{"mac":"m1"},"user":{"id":5},"host_os":"?"}"#),
        TestRecord::of(r#"{"src":{"mac":"m2"}}"#),
        TestRecord::of(r#"{"src":{"mac":"m3"}}"#),
    ]);
    assert_eq!(
        run.values(),
        [
            " {\"n\" : 1e2, \"src\":{\"mac\":\"m1\"} ,\"host_os\":1.50,\"user\":{\"name\":\"eve\"}}",
            r#"{"src":{"mac":"m1"},"user":{"id":5,"name":"eve"},"host_os":1.50}"#,
            r#"{"src":{"mac":"m2"}}"#,
            r#"{"src":{"mac":"m3"}}"#,
        ]
    );
    let record = &run.outputs[0].record;
    assert_eq!((record.key.as_deref(), record.timestamp), (Some(&b"k"[..]), 7));
    assert_eq!(record.headers, [("h".to_owned(), Some(b"v".to_vec()))]);
    assert_eq!(step.process([r#"{"src":{"mac":"m3"}}"#, r#"{"src":1}"#]).answer, Answer::Unchanged);
}

#[test]
fn what_is_taken_goes_under_a_field_where_that_is_said() {
    for (take, into, value) in [
        (json!(["a", "b.c"]), json!(null), r#"{"k":1,"a":1,"b":{"c":2}}"#),
        (json!(["b.c", "a"]), json!("x.y"), r#"{"k":1,"x":{"y":{"b":{"c":2},"a":1}}}"#),
        (json!({"a": "k"}), json!(null), r#"{"k":1}"#),
        (json!(["d", "a.b", "b.c.d"]), json!("x"), r#"{"k":1}"#),
        (json!(null), json!("x"), r#"{"k":1,"x":{"a":1,"b":{"c":2}}}"#),
        (json!(null), json!("x.y"), r#"{"k":1,"x":{"y":{"a":1,"b":{"c":2}}}}"#),
        (json!(null), json!("k"), r#"{"k":{"a":1,"b":{"c":2}}}"#),
    ] {
        let lookup = json!({"table": "hosts", "key": {"field": "k"}, "take": take, "into": into});
        let mut step = start(json!({"lookups": [lookup]}));
        step.process_input(1, [row("1", r#"{"a": 1, "b": {"c": 2}}"#)]);
        assert_eq!(step.process([r#"{"k":1}"#]).values(), [value]);
    }
}

#[test]
fn keys_are_made_of_what_is_said() {
    let found = |key: weir_plugin::serde_json::Value, record: TestRecord| {
        let mut step = start(json!({"lookups": [{"table": "hosts", "key": key, "take": ["f"], "on_miss": "drop"}]}));
        let keys = ["1.50", "text", "a\"b", "true", "x/7", "x-7", "", "null", "{}"];
        step.process_input(1, keys.map(|key| row(key, r#"{"f":0}"#)));
        step.process([record]).outputs.len() == 1
    };
    let field = |doc: &str| found(json!({"field": "a.b"}), TestRecord::of(doc));
    for doc in [
        r#"{"a":{"b":1.50}}"#,
        r#"{"a":{"b":"text"}}"#,
        r#"{"a":{"b":"a\"\u0062"}}"#,
        r#"{"a":{"b":true}}"#,
        r#"{"a":{"b":""}}"#,
    ] {
        assert!(field(doc), "{doc}");
    }
    for doc in [
        r#"{"a":{"b":1.5}}"#,
        r#"{"a":{"b":null}}"#,
        r#"{"a":{"b":{}}}"#,
        r#"{"a":{"b":[]}}"#,
        r#"{"a":{}}"#,
        "{}",
        r#"{"a":{"b":"Text"}}"#,
    ] {
        assert!(!field(doc), "{doc}");
    }
    let doc = TestRecord::of(r#"{"a":"x","b":{"c":7}}"#);
    assert!(found(json!({"fields": ["a", "b.c"]}), doc.clone()));
    assert!(found(json!({"fields": ["a", "b.c"], "separator": "-"}), doc.clone()));
    assert!(!found(json!({"fields": ["a", "b.d"]}), doc.clone()));
    assert!(!found(json!({"fields": ["b.c", "a"]}), doc.clone()));
    assert!(found(json!({"header": "h"}), doc.clone().header("h", "text")));
    assert!(!found(json!({"header": "h"}), doc.clone().header("i", "text")));
    assert!(found(json!("key"), doc.clone().key("text")) && found(json!("key"), doc.clone().key("")));
    assert!(!found(json!("key"), doc.clone()) && !found(json!("key"), doc.key([255])));
    assert!(!found(json!({"field": "a"}), TestRecord::of(format!("{{\"a\":{:?}}}", "x".repeat(40_000)))));
}

#[test]
fn keys_are_compared_without_case_where_that_is_said() {
    for (folds, values) in [
        (true, [r#"{"mac":"aa:BB","f":1}"#, r#"{"mac":"ÄÖ","f":2}"#]),
        (false, [r#"{"mac":"aa:BB"}"#, r#"{"mac":"ÄÖ"}"#]),
    ] {
        let lookup = json!({"table": "hosts", "key": {"field": "mac"}, "take": ["f"], "case_insensitive": folds});
        let mut step = start(json!({"lookups": [lookup]}));
        step.process_input(1, [row("AA:bb", r#"{"f":1}"#), row("äÖ", r#"{"f":2}"#)]);
        assert_eq!(step.process([r#"{"mac":"aa:BB"}"#, r#"{"mac":"ÄÖ"}"#]).values(), values);
        step.process_input(1, [tombstone("Aa:Bb")]);
        assert_eq!(step.table("hosts").len(), if folds { 1 } else { 2 });
    }
}

#[test]
fn a_record_without_a_row_becomes_what_is_said() {
    let run = |on_miss: &str| {
        let hosts = json!({"table": "hosts", "key": {"field": "a"}, "take": ["f"]});
        let sites = json!({"table": "sites", "key": {"field": "b"}, "take": ["g"], "on_miss": on_miss});
        let mut step = start(json!({"lookups": [hosts, sites]}));
        step.process_input(1, [row("1", r#"{"f":1}"#)]);
        step.process_input(2, [row("1", r#"{"g":1}"#)]);
        step.process([r#"{"a":1,"b":1}"#, r#"{"a":1,"b":2}"#, r#"{"a":2}"#])
    };
    let (both, one, none) = (r#"{"a":1,"b":1,"f":1,"g":1}"#, r#"{"a":1,"b":2,"f":1}"#, r#"{"a":2}"#);
    assert_eq!(run("pass").values(), [both, one, none]);
    assert_eq!((run("drop").values(), run("drop").filtered), (vec![both.to_owned()], vec![1, 2]));
    let rejecting = run("dead_letter");
    assert_eq!(rejecting.values(), [both]);
    assert_eq!(
        reasons(&rejecting),
        [
            "expected a row of the table sites with the key \"2\", found none",
            "expected a key for the table sites, found none",
        ]
    );
    assert!(rejecting.rejects.iter().all(|reject| !reject.retriable));
    let by_port = run("port");
    assert_eq!(
        (by_port.values(), by_port.values_of(1)),
        (vec![both.to_owned()], vec![one.to_owned(), none.to_owned()])
    );
}

#[test]
fn a_lookup_sees_what_those_before_it_added() {
    let hosts = json!({"table": "hosts", "key": {"field": "mac"}, "into": "host"});
    let sites = json!({"table": "sites", "key": {"field": "host.site"}, "take": {"city": "host.city"}});
    let again = json!({"table": "hosts", "key": {"fields": ["host.city", "n"]}, "take": {"x": "n"}});
    let mut step = start(json!({"lookups": [hosts, sites, again]}));
    step.process_input(1, [row("m", r#"{"site":"s"}"#), row("Graz/1", r#"{"x":2}"#)]);
    step.process_input(2, [row("s", r#"{"city":"Graz"}"#), row("t", r#"{"city":"Linz"}"#)]);
    let run = step.process([r#"{"mac":"m","n":1}"#, r#"{"mac":"?","n":1,"host":{"site":"t"}}"#]);
    assert_eq!(
        run.values(),
        [
            r#"{"mac":"m","n":2,"host":{"site":"s","city":"Graz"}}"#,
            r#"{"mac":"?","n":1,"host":{"site":"t","city":"Linz"}}"#,
        ]
    );
}

#[test]
fn malformed_records_are_rejected_and_tombstones_go_on() {
    let lookup = json!({"table": "hosts", "key": "key", "take": {"f": "a.b"}});
    let mut step = start(json!({"lookups": [lookup]}));
    step.process_input(1, [row("k", r#"{"f":1}"#)]);
    let of = |value: &str| TestRecord::of(value).key("k");
    let bad = ["", "[1]", "{\"a\":1", "{\"a\":{}} x", "{\"a\":\"x\"}", "{\"a\":null}", "{\"a\":[{}]}"];
    let records = bad.iter().map(|value| of(value)).chain([of(r#"{"a":{}}"#), of("").tombstone()]);
    let run = step.process(records);
    assert_eq!(
        reasons(&run),
        [
            "malformed JSON at byte 0: expected a JSON object, and nothing came",
            "malformed JSON at byte 0: expected a JSON object",
            "malformed JSON at byte 6: expected a comma or the end of the object",
            "malformed JSON at byte 9: nothing may follow the object",
            "the field a.b from the table hosts: expected an object on the way, got a text",
            "the field a.b from the table hosts: expected an object on the way, got null",
            "the field a.b from the table hosts: expected an object on the way, got an array",
        ]
    );
    assert_eq!(run.values(), [r#"{"a":{"b":1}}"#, ""]);
    assert_eq!(run.outputs[1].record.value, None);
}
