//! The sink before a database that is made up: what it says there, what it passes over, and what it rejects.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::cell::RefCell;
use std::rc::Rc;

use weir_plugin::database::{Cell, Cells, Dialect, Failure, Outcome, Statement};
use weir_plugin::serde_json::{Value, json};
use weir_plugin::testing::{SinkHarness, TestRecord, serve_database};
use weir_sql_sink::SqlSink;

/// A database that knows one table, keeps one row of progress, and takes no value that holds `wrong`.
#[derive(Default)]
struct Made {
    /// Offset, ordinal, and what was refused.
    progress: Option<[String; 3]>,
    /// What was committed: the beginning of a statement, and the values of its rows.
    done: Vec<String>,
    /// What the next commits tell, the last one first.
    failures: Vec<Failure>,
}

fn texts(cells: &Cells) -> Vec<String> {
    let text = |cell: Cell<'_>| match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Text(text) => text.to_owned(),
        Cell::Bytes(bytes) => format!("{bytes:?}"),
    };
    cells.iter().map(text).collect()
}

impl Made {
    fn transact(&mut self, statements: &[Statement]) -> Result<Vec<Outcome>, Failure> {
        let mut next = Made { progress: self.progress.clone(), ..Made::default() };
        let mut outcomes = Vec::new();
        for (number, statement) in (0..).zip(statements) {
            outcomes.push(next.execute(number, statement)?);
        }
        let failure = if next.done.is_empty() { None } else { self.failures.pop() };
        // A commit that is lost may have been done.
        if failure.is_none() || matches!(&failure, Some(Failure::Unknown(why)) if why == "done") {
            self.progress = next.progress;
            self.done.append(&mut next.done);
        }
        failure.map_or(Ok(outcomes), Err)
    }

    fn execute(&mut self, number: u32, statement: &Statement) -> Result<Outcome, Failure> {
        let values = texts(&statement.values);
        let returned = |width: usize, values: &[&str]| Outcome {
            columns: vec![String::new(); width],
            rows: values.iter().map(|value| Cell::Text(value)).collect(),
            affected: 0,
        };
        let text = &statement.text;
        if text.starts_with("INSERT INTO \"weir_progress\"") {
            self.progress.get_or_insert_with(|| ["-1", "0", ""].map(str::to_owned));
            return Ok(Outcome::default());
        }
        if text.starts_with("SELECT record_offset") {
            let row = self.progress.clone().unwrap();
            return Ok(returned(3, &[&row[0], &row[1], &row[2]]));
        }
        if text.starts_with("UPDATE \"weir_progress\"") {
            let row = self.progress.clone().unwrap();
            if [&row[0], &row[1]] != [&values[5], &values[6]] {
                return Err(Failure::Unexpected(0));
            }
            self.progress = Some([values[0].clone(), values[1].clone(), values[2].clone()]);
            return Ok(Outcome { affected: 1, ..Outcome::default() });
        }
        if text.starts_with("SELECT column_name") {
            return Ok(returned(2, &["id", "bigint", "name", "text"]));
        }
        if values.iter().any(|value| value.contains("wrong")) {
            return Err(Failure::Wrong { statement: number, row: 0, message: "too wrong".into() });
        }
        let words: Vec<&str> = text.split(' ').take(if text.starts_with("UPDATE") { 1 } else { 2 }).collect();
        self.done.push(format!("{} {}", words.join(" "), values.join(" ")));
        Ok(Outcome::default())
    }
}

fn serve(made: &Rc<RefCell<Made>>) {
    let made = made.clone();
    serve_database(Dialect::Postgres, move |statements| made.borrow_mut().transact(statements));
}

fn by_key(more: Value) -> Value {
    let mut config = json!({ "table": "t", "mode": "upsert", "pk": { "mode": "record_key", "fields": ["id"] } });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

fn record(offset: u64, key: &str, name: Option<&str>) -> TestRecord {
    let record = TestRecord { offset: Some(offset), ..TestRecord::of(json!({ "name": name }).to_string()) }.key(key);
    if name.is_none() { record.tombstone() } else { record }
}

#[test]
fn rows_are_put_and_tombstones_delete_them_in_their_order() {
    let made = Rc::new(RefCell::new(Made::default()));
    serve(&made);
    let mut sink = SinkHarness::<SqlSink>::new(by_key(json!({ "deletes": true }))).unwrap();
    let records = [
        record(0, "1", Some("a")),
        record(1, "2", Some("b")),
        record(2, "1", None),
        record(3, r#"{"id":3}"#, Some("c")),
    ];
    assert_eq!(sink.write(records), []);
    assert_eq!(made.borrow().done, ["INSERT INTO 1 a 2 b", "DELETE FROM 1", "INSERT INTO 3 c"]);
    let mut without = SinkHarness::<SqlSink>::new(by_key(json!({}))).unwrap();
    assert_eq!(without.write([record(9, "1", None)]).len(), 1);
}

#[test]
fn what_was_written_is_passed_over_and_what_was_refused_is_refused_again() {
    let made = Rc::new(RefCell::new(Made::default()));
    let records = || (0..10).map(|n| record(n, &n.to_string(), Some(if n == 4 { "wrong" } else { "fine" })));
    for _ in 0..2 {
        // A fresh instance knows what the database knows.
        serve(&made);
        let rejects = SinkHarness::<SqlSink>::new(by_key(json!({}))).unwrap().write(records());
        assert_eq!(rejects.iter().map(|reject| reject.index).collect::<Vec<_>>(), [4]);
        assert!(rejects[0].reason.contains("too wrong") && !rejects[0].retriable, "{rejects:?}");
    }
    let rows: usize = made.borrow().done.iter().map(|done| done.matches("fine").count()).sum();
    assert_eq!(rows, 9);
    assert_eq!(made.borrow().progress, Some(["9", "0", "4:0"].map(str::to_owned)));
}

#[test]
fn a_commit_that_was_lost_is_asked_for_before_it_is_repeated() {
    for was_done in ["done", "not done"] {
        let made = Rc::new(RefCell::new(Made { failures: vec![Failure::Unknown(was_done.into())], ..Made::default() }));
        serve(&made);
        let mut sink = SinkHarness::<SqlSink>::new(json!({ "table": "t" })).unwrap();
        assert_eq!(sink.write([r#"{"id":1}"#, r#"{"id":2}"#]), []);
        assert_eq!(made.borrow().done, ["INSERT INTO 1 2"], "{was_done}");
    }
}

#[test]
#[should_panic(expected = "begins again")]
fn where_the_database_is_away_the_task_begins_again() {
    let failures = vec![Failure::Unavailable("gone".into())];
    serve(&Rc::new(RefCell::new(Made { failures, ..Made::default() })));
    SinkHarness::<SqlSink>::new(json!({ "table": "t" })).unwrap().write([r#"{"id":1}"#]);
}

#[test]
fn a_column_that_is_not_there_is_no_matter_of_the_others() {
    let made = Rc::new(RefCell::new(Made::default()));
    serve(&made);
    let mut sink = SinkHarness::<SqlSink>::new(json!({ "table": "t" })).unwrap();
    let rejects = sink.write([r#"{"id":1,"more":1}"#, r#"{"id":2,"more":null}"#, "[]", r#"{"id":"x"}"#]);
    assert_eq!(rejects.iter().map(|reject| reject.index).collect::<Vec<_>>(), [0, 2, 3]);
    assert!(rejects[0].reason.contains("add_columns"), "{rejects:?}");
    assert_eq!(made.borrow().done, ["INSERT INTO 2"]);
}

#[test]
fn a_configuration_that_does_not_fit_together_is_refused() {
    let wrong = [
        (json!({ "table": "" }), "table"),
        (json!({ "table": "t", "mode": "upsert" }), "pk.mode"),
        (json!({ "table": "t", "deletes": true }), "deletes"),
        (json!({ "table": "t", "pk": { "mode": "record_value" } }), "pk.fields"),
        (json!({ "table": "t", "batch_rows_max": 0 }), "batch_rows_max"),
    ];
    for (config, path) in wrong {
        let error = SinkHarness::<SqlSink>::new(config).err().unwrap();
        assert_eq!(error.path(), path);
    }
}
