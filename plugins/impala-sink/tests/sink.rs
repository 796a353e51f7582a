//! The sink before a server that is made up: what it says there, in the words of Impala and of Spark, and what it rejects.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::cell::RefCell;
use std::rc::Rc;

use weir_impala_sink::ImpalaSink;
use weir_plugin::database::{Cell, Dialect, Failure, Outcome, Statement};
use weir_plugin::serde_json::{Value, json};
use weir_plugin::testing::{SinkHarness, TestRecord, serve_database};

/// A server with one table, or none.
#[derive(Default)]
struct Made {
    columns: Vec<(&'static str, &'static str)>,
    is_kudu: bool,
    said: Vec<String>,
}

impl Made {
    fn transact(&mut self, statements: &[Statement]) -> Result<Vec<Outcome>, Failure> {
        let [statement] = statements else { panic!("{statements:?}") };
        let values: Vec<String> = statement.values.iter().map(|cell| format!("{cell:?}")).collect();
        let text = &statement.text;
        let rows = |pairs: &[(&str, &str)]| Outcome {
            columns: ["col_name", "data_type"].map(str::to_owned).to_vec(),
            rows: pairs.iter().flat_map(|(name, kind)| [Cell::Text(name), Cell::Text(kind)]).collect(),
            affected: 0,
        };
        if text.starts_with("DESCRIBE FORMATTED") {
            return Ok(vec![rows(&[("Provider", if self.is_kudu { "kudu" } else { "parquet" })])]);
        }
        if text.starts_with("DESCRIBE") {
            return match self.columns.is_empty() {
                true => Err(Failure::Missing("no such table".into())),
                false => Ok(vec![rows(&self.columns)]),
            };
        }
        if text.starts_with("CREATE") {
            self.columns = vec![("id", "bigint"), ("name", "string")];
        }
        if text.starts_with("ALTER") {
            self.columns.push(("more", "boolean"));
        }
        if values.iter().any(|value| value.contains("wrong")) {
            return Err(Failure::Wrong { statement: 0, row: 0, message: "too wrong".into() });
        }
        self.said.push(format!("{text} {}", values.join(" ")).trim_end().to_owned());
        Ok(vec![Outcome::default()])
    }
}

fn serve(dialect: Dialect, columns: &[(&'static str, &'static str)], is_kudu: bool) -> Rc<RefCell<Made>> {
    let made = Rc::new(RefCell::new(Made { columns: columns.to_vec(), is_kudu, said: Vec::new() }));
    let served = made.clone();
    serve_database(dialect, move |statements| served.borrow_mut().transact(statements));
    made
}

fn config(more: &Value) -> Value {
    let mut config = json!({ "table": "shop.t", "pk": { "mode": "record_key", "fields": ["id"] } });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

fn record(key: &str, name: Option<&str>) -> TestRecord {
    let record = TestRecord::of(json!({ "name": name }).to_string()).key(key);
    if name.is_none() { record.tombstone() } else { record }
}

#[test]
fn impala_upserts_deletes_creates_and_adds() {
    let made = serve(Dialect::Impala, &[], true);
    let more = json!({ "deletes": true, "create_table": true, "add_columns": true, "replicas": 3 });
    let mut sink = SinkHarness::<ImpalaSink>::new(config(&more)).unwrap();
    let rows = [
        record("1", Some("a")),
        record("2", Some("b")),
        record("1", Some("it's")),
        record("2", None),
        record("3", None),
    ];
    assert_eq!(sink.write(rows), []);
    let more = TestRecord::of(r#"{"more":true}"#).key("4");
    assert_eq!(sink.write([more]), []);
    assert_eq!(
        made.borrow().said,
        [
            "CREATE TABLE IF NOT EXISTS `shop`.`t` (`id` BIGINT NOT NULL, `name` STRING, PRIMARY KEY (`id`)) PARTITION BY HASH (`id`) \
             PARTITIONS 4 STORED AS KUDU TBLPROPERTIES ('kudu.num_tablet_replicas' = '3')",
            "UPSERT INTO `shop`.`t` (`id`, `name`) VALUES (CAST(? AS BIGINT), ?), (CAST(? AS BIGINT), ?) \
             Text(\"2\") Text(\"b\") Text(\"1\") Text(\"it's\")",
            "DELETE FROM `shop`.`t` WHERE (`id` = CAST(? AS BIGINT)) OR (`id` = CAST(? AS BIGINT)) Text(\"2\") Text(\"3\")",
            "ALTER TABLE `shop`.`t` ADD COLUMNS (`more` BOOLEAN)",
            "UPSERT INTO `shop`.`t` (`id`, `more`) VALUES (CAST(? AS BIGINT), CAST(? AS BOOLEAN)) Text(\"4\") Text(\"true\")",
        ]
    );
}

#[test]
fn a_row_that_is_wrong_is_rejected_alone() {
    let made = serve(Dialect::Impala, &[("id", "int"), ("name", "string")], true);
    let mut sink = SinkHarness::<ImpalaSink>::new(config(&json!({}))).unwrap();
    let rows = (0..10).map(|n| record(&n.to_string(), Some(if n == 4 { "wrong" } else { "fine" })));
    let rejects = sink.write(rows.chain([record("3000000000", Some("large"))]));
    assert_eq!(rejects.iter().map(|reject| reject.index).collect::<Vec<_>>(), [4, 10]);
    assert!(
        rejects[1].reason.contains("a whole number of 32 bits") && rejects[0].reason.contains("too wrong"),
        "{rejects:?}"
    );
    let written: usize = made.borrow().said.iter().map(|said| said.matches("fine").count()).sum();
    assert_eq!(written, 9);
}

#[test]
fn spark_inserts_into_tables_of_kudu_and_upserts_nowhere_else() {
    let columns = [("id", "bigint"), ("name", "string"), ("", ""), ("# Partition Information", "")];
    let made = serve(Dialect::Spark, &columns, true);
    let mut sink = SinkHarness::<ImpalaSink>::new(config(&json!({}))).unwrap();
    assert_eq!(sink.write([record("1", Some("a"))]), []);
    assert_eq!(
        made.borrow().said,
        ["INSERT INTO `shop`.`t` (`id`, `name`) VALUES (CAST(? AS BIGINT), ?) Text(\"1\") Text(\"a\")"]
    );
    for (is_kudu, more, words) in [
        (false, json!({}), "tables of Kudu alone"),
        (true, json!({ "create_table": true }), "`create_table` is of Impala alone"),
        (true, json!({ "deletes": true }), "`deletes` is of Impala alone"),
    ] {
        serve(Dialect::Spark, &columns, is_kudu);
        let mut sink = SinkHarness::<ImpalaSink>::new(config(&more)).unwrap();
        let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| sink.write([record("1", Some("a"))])));
        let why = again.unwrap_err();
        assert!(why.downcast_ref::<String>().unwrap().contains(words), "{words}");
    }
}

#[test]
fn what_does_not_fit_together_is_refused() {
    for (more, path) in [
        (json!({ "table": "a.b.c" }), "table"),
        (json!({ "pk": { "mode": "none" } }), "pk.mode"),
        (json!({ "batch_rows_max": 0 }), "batch_rows_max"),
        (json!({ "replicas": 2 }), "replicas"),
    ] {
        assert_eq!(SinkHarness::<ImpalaSink>::new(config(&more)).err().unwrap().path(), path, "{more}");
    }
}
