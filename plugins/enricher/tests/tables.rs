//! What becomes of rows.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::{Step, entries, reasons, replace, restart, row, start, tombstone};
use proptest::prelude::*;
use weir_plugin::log::Level;
use weir_plugin::serde_json::{Value, json};
use weir_plugin::testing::{StatefulHarness, TestRecord, take_logs};

fn config() -> Value {
    json!({"lookups": [{"table": "hosts", "key": {"field": "k"}, "take": ["f"]}]})
}

fn keys(step: &Step) -> Vec<String> {
    entries(step, "hosts").into_iter().map(|(key, _)| key).collect()
}

#[test]
fn rows_come_change_and_go_and_outlive_the_instance() {
    let mut step = start(config());
    let find = |step: &mut Step| step.process([r#"{"k":"a"}"#, r#"{"k":"b"}"#]).values();
    step.process_input(1, [row("a", r#"{"f": 1}"#), row("b", r#"{"f":2}"#), row("a", r#"{"f": [3, 4]}"#)]);
    assert_eq!(find(&mut step), [r#"{"k":"a","f":[3,4]}"#, r#"{"k":"b","f":2}"#]);
    let stored = [("a", r#"{"f":[3,4]}"#), ("b", r#"{"f":2}"#)].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(entries(&step, "hosts"), stored, "as it can be looked at from outside");
    let mut step = restart(step, config());
    assert_eq!(find(&mut step), [r#"{"k":"a","f":[3,4]}"#, r#"{"k":"b","f":2}"#]);
    let run = step.process_input(1, [tombstone("a"), tombstone("c")]);
    assert_eq!((run.filtered.as_slice(), run.rejects.len(), step.late()), ([0, 1].as_slice(), 0, 0));
    assert_eq!(find(&mut step), [r#"{"k":"a"}"#, r#"{"k":"b","f":2}"#]);
    assert_eq!(keys(&restart(step, config())), ["b"]);
}

#[test]
fn a_row_that_is_none_is_rejected() {
    let mut step = start(config());
    let long = "k".repeat(8193);
    let run = step.process_input(
        1,
        [
            TestRecord::of(r#"{"f":1}"#),
            TestRecord::of("").tombstone(),
            TestRecord::of("").tombstone().header("weir-table", "delete"),
            TestRecord::of("").header("weir-table", "replace"),
            row("a", "[]"),
            row("a", "no JSON"),
            row("a", r#"{"f":1"#),
            row("a", ""),
            TestRecord::of("{}").key([b'a', 255]),
            row(&long, "{}"),
        ],
    );
    let keyless = "row of the table hosts: expected a key, or no value and the header weir-table: replace, got neither";
    let no_object = "row of the table hosts: expected a JSON object as value";
    assert_eq!(
        reasons(&run),
        [
            keyless,
            keyless,
            keyless,
            keyless,
            no_object,
            no_object,
            "row of the table hosts: malformed JSON at byte 6: the value does not end",
            no_object,
            "row of the table hosts: expected a key in UTF-8: invalid utf-8 sequence of 1 bytes from index 1",
            "row of the table hosts: expected a key of at most 8192 bytes, got 8193",
        ]
    );
    assert!(step.table("hosts").is_empty() && run.outputs.is_empty());
}

#[test]
fn a_table_is_replaced_as_a_whole_and_rows_that_stay_cost_no_write() {
    let mut step = start(config());
    let old = ["a", "b", "c"].map(|key| row(key, &format!("{{\"f\":\"{key}\"}}")));
    step.process_input(1, old.clone());
    assert_eq!(step.writes(), 3);
    let rows = [replace(), row("a", "{ \"f\": \"a\" }"), row("b", r#"{"f":2}"#), row("d", "{}"), row("c", "broken")];
    let run = step.process_input(1, rows);
    assert_eq!((run.filtered.as_slice(), run.rejects.len()), ([0, 1, 2, 3].as_slice(), 1));
    assert_eq!(keys(&step), ["a", "b", "d"], "a row that is rejected does not keep the old one");
    assert_eq!(step.writes(), 3 + 3, "b and d are put, c is deleted");
    let mut step = restart(step, config());
    step.process_input(1, [replace(), row("a", r#"{"f":"a"}"#), row("b", r#"{"f":2}"#), row("d", "{}")]);
    assert_eq!(step.writes(), 6);
    step.process_input(1, [row("e", "{}"), replace(), row("a", "{}"), tombstone("a"), replace(), row("b", "{}")]);
    assert_eq!(keys(&step), ["b"], "of two replacements in a batch the last counts");
    step.process_input(1, [replace()]);
    assert!(step.table("hosts").is_empty());
}

#[test]
fn other_tables_stay_when_one_is_replaced() {
    let sites = json!({"table": "sites", "key": "key", "into": "s"});
    let hosts = json!({"table": "hosts", "key": "key", "into": "h"});
    let mut step = start(json!({"lookups": [sites, hosts]}));
    step.process_input(1, [row("h", "{}")]);
    step.process_input(2, [row("s", "{}")]);
    step.process_input(1, [replace(), row("i", "{}")]);
    assert_eq!((keys(&step), entries(&step, "sites").len()), (vec!["i".to_owned()], 1));
}

/// A record of a table, in a few letters.
fn changes() -> impl Strategy<Value = Vec<TestRecord>> {
    let change = prop_oneof![
        8 => (0..6u8, 0..3u8).prop_map(|(key, value)| row(&key.to_string(), &format!("{{\"f\":{value}}}"))),
        2 => (0..6u8).prop_map(|key| tombstone(&key.to_string())),
        1 => (0..6u8).prop_map(|key| row(&key.to_string(), "broken")),
        2 => Just(replace()),
    ];
    prop::collection::vec(change, 0..24)
}

proptest! {
    /// The rows are those that a map would hold, and stay so when a batch is cut in two, as after a failure, or ends in a
    /// restart.
    #[test]
    fn rows_are_what_a_map_holds(before in changes(), batch in changes(), cut in 0usize..24) {
        let mut model = std::collections::BTreeMap::new();
        for record in before.iter().chain(&batch) {
            let value = record.value.as_deref().map(|value| String::from_utf8(value.to_vec()).unwrap());
            match (&record.key, value) {
                (None, _) => model.clear(),
                (Some(key), None) => drop(model.remove(key)),
                (Some(key), Some(value)) if value != "broken" => drop(model.insert(key.clone(), value.into_bytes())),
                _ => {}
            }
        }
        let model: Vec<_> = model.into_iter().collect();
        let start = || {
            let mut step = start(config());
            step.process_input(1, before.clone());
            step
        };
        let mut whole = start();
        whole.process_input(1, batch.clone());
        prop_assert_eq!(&whole.table("hosts"), &model);
        let (first, second) = batch.split_at(cut.min(batch.len()));
        let mut halved = start();
        halved.process_input(1, first.to_vec());
        let mut halved = restart(halved, config());
        halved.process_input(1, second.to_vec());
        prop_assert_eq!(&halved.table("hosts"), &model);
    }
}

/// Reads what was refused: the path of the setting, and the words.
fn refused(config: Value) -> (String, String) {
    let error = StatefulHarness::<weir_enricher::Enricher>::with_context(config, &common::context()).err().unwrap();
    (error.path().to_owned(), error.message().to_owned())
}

/// What is said to a configuration whose second lookup has this setting instead.
fn refused_with(setting: &str, value: Value) -> (String, String) {
    let fine = json!({"table": "hosts", "key": {"field": "k"}, "take": ["f"], "on_miss": {"wait": "5s"}});
    let mut second = fine.clone();
    second[setting] = value;
    refused(json!({"lookups": [fine, second]}))
}

#[test]
fn a_wrong_configuration_names_the_setting() {
    let long = "x".repeat(65);
    for (setting, value, path, message) in [
        (
            "table",
            json!("hots"),
            "table",
            "expected one of the `tables` of the step, got \"hots\": it has hosts, sites",
        ),
        (
            "table",
            json!("input"),
            "table",
            "expected one of the `tables` of the step, got \"input\": it has hosts, sites",
        ),
        ("table", json!(1), "table", "invalid type: integer `1`, expected a string"),
        (
            "key",
            json!("value"),
            "key",
            "invalid value: string \"value\", expected `key`, { field: PATH }, { fields: [PATH, ...] } or { header: NAME }",
        ),
        ("key", json!({}), "key", "expected one of `field`, `fields` and `header`"),
        ("key", json!({"field": "a", "header": "b"}), "key", "expected one of `field`, `fields` and `header`"),
        ("key", json!({"fields": []}), "key", "expected at least one of `fields`"),
        ("key", json!({"field": "a", "separator": "-"}), "key", "expected `separator` beside `fields` alone"),
        (
            "key",
            json!({"fields": ["a", "b..c"]}),
            "key.fields.1",
            "expected names of fields divided by dots, as in user.name, got \"b..c\"",
        ),
        (
            "key",
            json!({"feld": "a"}),
            "key.feld",
            "unknown field `feld`, expected one of `field`, `fields`, `header`, `separator`",
        ),
        ("take", json!(null), "", "expected `take` or `into`, got neither"),
        ("take", json!([]), "take", "expected at least one field of the row"),
        ("take", json!({}), "take", "expected at least one field of the row"),
        (
            "take",
            json!("f"),
            "take",
            "invalid type: string \"f\", expected a list of fields of the row, or a map from them to fields of the record",
        ),
        ("take", json!({"a": ""}), "take.a", "expected names of fields divided by dots, as in user.name, got \"\""),
        ("take", json!(["a", ".b"]), "take.1", "expected names of fields divided by dots, as in user.name, got \".b\""),
        (
            "take",
            json!({"a": "x", "b": "x.y"}),
            "take",
            "expected fields of the record beside each other, got x and x.y",
        ),
        ("take", json!({"a": "x", "b": "x"}), "take", "expected fields of the record beside each other, got x and x"),
        ("into", json!("a."), "into", "expected names of fields divided by dots, as in user.name, got \"a.\""),
        (
            "on_miss",
            json!("wait"),
            "on_miss",
            "invalid value: string \"wait\", expected `pass`, `drop`, `dead_letter`, `port`, or { wait: 5s, then: pass }",
        ),
        (
            "on_miss",
            json!("dead_letter"),
            "on_miss",
            "records may wait in lookups.0, and a record that has waited cannot become a dead letter: expected pass, drop, or port to let it leave by the port missed",
        ),
        (
            "on_miss",
            json!({"wait": "1s", "then": "dead_letter"}),
            "on_miss.then",
            "a record that has waited cannot become a dead letter: expected pass, drop, or port to let it leave by the port missed",
        ),
        ("on_miss", json!({"wait": "0s"}), "on_miss.wait", "expected more than 0"),
        (
            "on_miss",
            json!({"wait": "soon"}),
            "on_miss.wait",
            "expected a whole number and a unit of ms, s, m, h, d or w, as in 30s, got \"soon\"",
        ),
        ("on_miss", json!({"then": "pass"}), "on_miss", "missing field `wait`"),
        (
            "on_miss",
            json!({"wait": "1s", "than": "pass"}),
            "on_miss.than",
            "unknown field `than`, expected `wait` or `then`",
        ),
        ("case_insensitive", json!(true), "case_insensitive", "expected the same for all lookups in the table hosts"),
        (
            "tabel",
            json!("hosts"),
            "tabel",
            "unknown field `tabel`, expected one of `table`, `endpoint`, `query`, `on_unavailable`, `key`, `take`, `into`, `on_miss`, `case_insensitive`",
        ),
    ] {
        let path = if path.is_empty() { "lookups.1".to_owned() } else { format!("lookups.1.{path}") };
        assert_eq!(refused_with(setting, value.clone()), (path, message.to_owned()), "{setting}: {value}");
    }
    assert_eq!(refused(json!({"lookups": []})), ("lookups".to_owned(), "expected at least one lookup".to_owned()));
    assert_eq!(refused(json!({})), (String::new(), "missing field `lookups`".to_owned()));
    assert_eq!(refused(json!({"lookups": [], "wait_records_max": -1})).0, "wait_records_max");
    let context = weir_plugin::Context { tables: vec![long.clone()], ..common::context() };
    let config = json!({"lookups": [{"table": long, "key": "key", "into": "x"}]});
    let error = StatefulHarness::<weir_enricher::Enricher>::with_context(config, &context).err().unwrap();
    assert_eq!(error.path(), "lookups.0.table");
    assert!(error.message().starts_with("expected a table's name of 1 to 64 letters"), "{}", error.message());
    let error = StatefulHarness::<weir_enricher::Enricher>::new(self::config()).err().unwrap();
    assert!(error.message().ends_with("got \"hosts\": it has none"), "{}", error.message());
}

#[test]
fn rows_of_a_table_that_no_lookup_uses_go_nowhere() {
    take_logs();
    let mut step = start(config());
    assert_eq!(take_logs(), [(Level::Warn, "no lookup uses the table sites: its rows are dropped".to_owned())]);
    let run = step.process_input(2, [row("k", "{}"), row("k", "broken"), tombstone("k")]);
    assert_eq!((run.filtered.as_slice(), run.rejects.len()), ([0, 1, 2].as_slice(), 0));
}

#[test]
fn an_input_may_have_the_name_of_a_table() {
    let context = weir_plugin::Context { inputs: vec!["hosts".to_owned(), "more".to_owned()], ..common::context() };
    let mut step = StatefulHarness::<weir_enricher::Enricher>::with_context(config(), &context).unwrap();
    step.process_input(2, [row("a", r#"{"f":1}"#)]);
    let known = ([r#"{"k":"a","f":1}"#], [r#"{"k":"a"}"#]);
    assert_eq!(step.process(known.1).values(), known.0);
    assert_eq!(step.process_input(1, known.1).values(), known.0);
}
