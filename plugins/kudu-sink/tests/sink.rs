//! The sink before a cluster that is made up: what it asks there, what it makes, and what it rejects.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use weir_kudu_sink::KuduSink;
use weir_plugin::kudu::{Cell, Column, Failure, Rows, WrongRow};
use weir_plugin::serde_json::{Value, json};
use weir_plugin::testing::{KuduAnswer, KuduCall, SinkHarness, TestRecord, serve_kudu};

/// A cluster with one table at most, which takes no value that holds `wrong`.
#[derive(Default)]
struct Made {
    /// The columns of the table, once it is there.
    table: Option<Vec<Column>>,
    /// The columns of the hash, and how many buckets, of the table that was created.
    hash: Option<(Vec<String>, u16)>,
    /// What was written: the operation, the columns and the values.
    done: Vec<String>,
    /// What the next writes tell, the last one first.
    failures: Vec<Failure>,
}

impl Made {
    fn answer(&mut self, call: &KuduCall<'_>) -> Result<KuduAnswer, Failure> {
        match call {
            KuduCall::Describe { .. } => return Ok(KuduAnswer::Columns(self.table.clone())),
            KuduCall::Create { definition, .. } => {
                self.table = Some(definition.columns.clone());
                self.hash = definition.hashes.first().map(|hash| (hash.columns.clone(), hash.buckets));
            }
            KuduCall::AddColumns { columns, .. } => {
                if columns[0].name.contains('!') {
                    return Err(Failure::Refused("no such names here".into()));
                }
                self.table.as_mut().unwrap().extend(columns.iter().cloned());
            }
            KuduCall::Write { rows, .. } => return self.write(rows),
        }
        Ok(KuduAnswer::Done)
    }

    fn write(&mut self, lists: &[Rows]) -> Result<KuduAnswer, Failure> {
        if let Some(failure) = self.failures.pop() {
            return Err(failure);
        }
        let mut wrong = Vec::new();
        for (number, list) in (0..).zip(lists) {
            for row in 0..list.len() {
                let cells = (0..list.columns.len()).map(|at| text(list.values.get(row * list.columns.len() + at)));
                let cells: Vec<String> = cells.collect();
                if cells.iter().any(|cell| cell.contains("wrong")) {
                    wrong.push(WrongRow { rows: number, row: row as u32, message: "too wrong".into() });
                } else {
                    let (operation, columns) = (list.operation, list.columns.join(","));
                    self.done.push(format!("{operation:?} {columns}={}", cells.join(",")));
                }
            }
        }
        Ok(KuduAnswer::Wrong(wrong))
    }

    fn kinds(&self) -> BTreeMap<String, String> {
        self.table.iter().flatten().map(|column| (column.name.clone(), column.kind.clone())).collect()
    }
}

fn text(cell: Cell<'_>) -> String {
    match cell {
        Cell::Null => "NULL".into(),
        Cell::Text(text) => text.into(),
        Cell::Bytes(bytes) => format!("{bytes:?}"),
    }
}

fn serve(made: Made) -> Rc<RefCell<Made>> {
    let made = Rc::new(RefCell::new(made));
    let served = made.clone();
    serve_kudu(move |call| served.borrow_mut().answer(call));
    made
}

/// A table with the columns `id` and `name`.
fn there() -> Made {
    let column =
        |name: &str, kind: &str, is_key| Column { name: name.into(), kind: kind.into(), is_key, is_nullable: !is_key };
    Made { table: Some(vec![column("id", "int64", true), column("name", "string", false)]), ..Made::default() }
}

fn by_id(more: Value) -> Value {
    let mut config = json!({ "table": "t", "pk": { "mode": "record_value", "fields": ["id"] } });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

#[test]
fn a_table_is_created_of_what_is_declared_and_what_comes() {
    let made = serve(Made::default());
    let config = by_id(json!({
        "create_table": true, "pk": { "mode": "record_value", "fields": ["at", "id"] }, "hash": { "columns": ["id"], "buckets": 7 },
        "columns": { "at": "unixtime_micros", "later": "decimal(9, 2)", "secret": { "drop": true }, "raw": { "name": "bytes", "type": "binary" } },
    }));
    let mut sink = SinkHarness::<KuduSink>::new(config).unwrap();
    let rejects = sink.write([
        r#"{"id":1,"at":2,"secret":"x","raw":"AP8","big":123456789012345678901,"none":null}"#,
        r#"{"id":2,"at":3,"some":{"a":1},"half":0.5,"is":true}"#,
    ]);
    assert_eq!(rejects, []);
    let made = made.borrow();
    let keys: Vec<&str> =
        made.table.iter().flatten().filter(|column| column.is_key).map(|column| column.name.as_str()).collect();
    assert_eq!(keys, ["at", "id"]);
    assert_eq!(made.hash, Some((vec!["id".to_owned()], 7)));
    let expected = [
        ("at", "unixtime_micros"),
        ("big", "decimal(38, 0)"),
        ("bytes", "binary"),
        ("half", "double"),
        ("id", "int64"),
        ("is", "bool"),
        ("later", "decimal(9, 2)"),
        ("some", "string"),
    ];
    assert_eq!(made.kinds(), expected.map(|(name, kind)| (name.to_owned(), kind.to_owned())).into());
    assert_eq!(made.done[0], "Operation::Upsert at,id,big,bytes=2,1,123456789012345678901,[0, 255]");
    assert_eq!(made.done[1], "Operation::Upsert at,id,half,is,some=3,2,0.5,true,{\"a\":1}");
}

#[test]
fn operations_follow_from_mode_and_tombstones_in_their_order() {
    let made = serve(there());
    let config = |mode: &str| json!({ "table": "t", "mode": mode, "deletes": true, "pk": { "mode": "record_key", "fields": ["id"] } });
    let put = |name: &str| TestRecord::of(json!({ "name": name }).to_string()).key("1");
    let mut sink = SinkHarness::<KuduSink>::new(config("insert")).unwrap();
    assert_eq!(sink.write([put("a"), put("").tombstone(), put("b")]), []);
    let mut sink = SinkHarness::<KuduSink>::new(config("update")).unwrap();
    assert_eq!(sink.write([put("c")]), []);
    let expected = [
        "Operation::InsertIgnore id,name=1,a",
        "Operation::DeleteIgnore id=1",
        "Operation::InsertIgnore id,name=1,b",
        "Operation::Update id,name=1,c",
    ];
    assert_eq!(made.borrow().done, expected);
}

#[test]
fn what_cannot_be_a_row_is_no_matter_of_the_others() {
    let made = serve(there());
    let mut sink = SinkHarness::<KuduSink>::new(by_id(json!({ "add_columns": true }))).unwrap();
    let rejects = sink.write([
        r#"{"id":1,"name":"fine"}"#,
        r#"{"id":2,"name":"wrong"}"#,
        r#"{"name":"no id"}"#,
        r#"{"id":4,"a!":1}"#,
        r#"{"id":5,"more":1}"#,
        "[]",
    ]);
    let mut indexes: Vec<u32> = rejects.iter().map(|reject| reject.index).collect();
    indexes.sort_unstable();
    assert_eq!(indexes, [1, 2, 3, 5]);
    let reason = |index: u32| &rejects.iter().find(|reject| reject.index == index).unwrap().reason;
    assert!(reason(1).contains("too wrong") && reason(3).contains("no such names"), "{rejects:?}");
    assert_eq!(made.borrow().done, ["Operation::Upsert id,name=1,fine", "Operation::Upsert id,more=5,1"]);
}

#[test]
fn a_table_that_was_changed_is_looked_at_again_and_a_refusal_is_halved() {
    let failures = vec![Failure::Refused("too much".into()), Failure::Missing("a column".into())];
    let made = serve(Made { failures, ..there() });
    let mut sink = SinkHarness::<KuduSink>::new(by_id(json!({}))).unwrap();
    assert_eq!(sink.write([r#"{"id":1}"#, r#"{"id":2}"#]), []);
    assert_eq!(made.borrow().done, ["Operation::Upsert id=1", "Operation::Upsert id=2"]);
}

#[test]
#[should_panic(expected = "create_table")]
fn without_a_table_the_task_begins_again_and_says_what_would_help() {
    serve(Made::default());
    SinkHarness::<KuduSink>::new(by_id(json!({}))).unwrap().write([r#"{"id":1}"#]);
}

#[test]
#[should_panic(expected = "begins again")]
fn where_the_cluster_is_away_the_task_begins_again() {
    serve(Made { failures: vec![Failure::Unavailable("gone".into())], ..there() });
    SinkHarness::<KuduSink>::new(by_id(json!({}))).unwrap().write([r#"{"id":1}"#]);
}

#[test]
fn a_configuration_that_does_not_fit_together_is_refused() {
    let wrong = [
        (json!({ "table": "", "pk": { "mode": "id" } }), "table"),
        (json!({ "table": "t", "pk": {} }), "pk.mode"),
        (json!({ "table": "t", "pk": { "mode": "id" }, "deletes": true }), "deletes"),
        (by_id(json!({ "hash": { "columns": ["name"] } })), "hash.columns"),
        (by_id(json!({ "hash": { "buckets": 1 } })), "hash.buckets"),
        (by_id(json!({ "replicas": 2 })), "replicas"),
        (by_id(json!({ "batch_rows_max": 0 })), "batch_rows_max"),
        (by_id(json!({ "columns": { "a": "integer" } })), "columns.a"),
    ];
    for (config, path) in wrong {
        let error = SinkHarness::<KuduSink>::new(config).err().unwrap();
        assert_eq!(error.path(), path, "{error:?}");
    }
}
