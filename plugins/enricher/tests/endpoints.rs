//! Rows of directories and databases: what is asked for, how often, and what becomes of records while there is no answer.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::cell::RefCell;
use std::rc::Rc;

use common::{context, reasons, row, start};
use weir_enricher::Enricher;
use weir_plugin::lookup::{Answer, Cell, Failure};
use weir_plugin::serde_json::{Value, json};
use weir_plugin::testing::{StatefulHarness, serve_lookup};

/// What was asked for: the endpoint, the query, and the values of all keys.
type Asked = Rc<RefCell<Vec<(String, String, Vec<String>)>>>;

fn text(cell: Cell<'_>) -> String {
    match cell {
        Cell::Null => "null".into(),
        Cell::Text(text) => text.into(),
        Cell::Bytes(bytes) => format!("{bytes:?}"),
    }
}

/// Serves a directory of `ada` and whoever is asked for as `ada/x`; `bad` is no key that it takes.
fn serve() -> Asked {
    let asked = Asked::default();
    let tell = asked.clone();
    serve_lookup(move |call| {
        if call.endpoint == "other" {
            return Err(Failure::Refused("the step was not granted an endpoint \"other\"".into()));
        }
        let values: Vec<String> = call.keys.iter().map(text).collect();
        if values.is_empty() {
            return Ok(Vec::new());
        }
        if values.iter().any(|value| value == "away") {
            return Err(Failure::Unavailable("the directory does not answer".into()));
        }
        let answer = |key: &[String]| match key[0].as_str() {
            "ada" => Answer::Found(r#"{"cn": "Ada", "mail": ["a@x", "b@x"], "n": 7}"#.into()),
            "bad" => Answer::Wrong("invalid input syntax".into()),
            _ => Answer::Missing,
        };
        let answers = values.chunks(call.width).map(answer).collect();
        tell.borrow_mut().push((call.endpoint.to_owned(), call.query.to_owned(), values));
        Ok(answers)
    });
    asked
}

fn config(more: &Value) -> Value {
    let mut lookup = json!({"endpoint": "staff", "key": {"field": "user"}, "into": "who"});
    lookup.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"lookups": [lookup]})
}

#[test]
fn a_batch_is_asked_for_once_and_each_key_once() {
    let asked = serve();
    let mut step = start(config(&json!({"take": ["cn", "n"]})));
    let run = step.process([r#"{"user":"ada"}"#, r#"{"user":"bob"}"#, r#"{"user":"ada","k":1}"#, r#"{"k":2}"#]);
    assert_eq!(
        run.values(),
        [
            r#"{"user":"ada","who":{"cn":"Ada","n":7}}"#,
            r#"{"user":"bob"}"#,
            r#"{"user":"ada","k":1,"who":{"cn":"Ada","n":7}}"#,
            r#"{"k":2}"#
        ]
    );
    assert_eq!(*asked.borrow(), [("staff".into(), String::new(), vec!["ada".into(), "bob".into()])]);
    // The next batch is asked for anew: what is kept is the host's.
    step.process([r#"{"user":"ada"}"#]);
    assert_eq!(asked.borrow().len(), 2);
}

#[test]
fn keys_of_several_fields_stay_apart_and_one_that_is_not_taken_is_alone_to_blame() {
    let asked = serve();
    let more = json!({"key": {"fields": ["user", "site"]}, "query": "SELECT * FROM t WHERE a = ? AND b = ?", "on_miss": "dead_letter"});
    let mut step = start(config(&more));
    let run =
        step.process([r#"{"user":"ada","site":5}"#, r#"{"user":"bad","site":"x/y"}"#, r#"{"user":"no","site":"x"}"#]);
    let who = r#"{"user":"ada","site":5,"who":{"cn":"Ada","mail":["a@x","b@x"],"n":7}}"#;
    assert_eq!(run.values(), [who]);
    assert_eq!(
        reasons(&run),
        [
            r#"the endpoint staff does not take the key "bad/x/y": invalid input syntax"#,
            r#"expected a row of the endpoint staff with the key "no/x", found none"#
        ]
    );
    let mut values = asked.borrow()[0].2.clone();
    values.sort();
    assert_eq!(values, ["5", "ada", "bad", "no", "x", "x/y"]);
}

#[test]
fn tables_and_endpoints_go_together() {
    serve();
    let lookups = json!([
        {"table": "hosts", "key": {"field": "host"}, "take": {"owner": "user"}},
        {"endpoint": "staff", "key": {"field": "user"}, "take": ["cn"]},
    ]);
    let mut step = start(json!({"lookups": lookups}));
    step.process_input(1, [row("h1", r#"{"owner":"ada"}"#)]);
    assert_eq!(step.process([r#"{"host":"h1"}"#]).values(), [r#"{"host":"h1","user":"ada","cn":"Ada"}"#]);
}

#[test]
fn without_an_answer_records_wait_or_go_on() {
    serve();
    let mut step = start(config(&json!({"on_unavailable": "miss"})));
    assert_eq!(step.process([r#"{"user":"away"}"#]).values(), [r#"{"user":"away"}"#]);
    let mut step = start(config(&json!({})));
    let begins_again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| step.process([r#"{"user":"away"}"#])));
    let why = begins_again.unwrap_err();
    assert!(why.downcast_ref::<String>().unwrap().contains("begins again: the lookup is not available"));
}

#[test]
fn what_does_not_fit_together_is_refused_where_it_stands() {
    serve();
    let wrong = |more: Value, path: &str, words: &str| {
        let error = StatefulHarness::<Enricher>::with_context(config(&more), &context()).err().unwrap();
        assert!(error.path() == path && error.message().contains(words), "{more}: {error:?}");
    };
    wrong(json!({"table": "hosts"}), "lookups.0", "expected one of `table` and `endpoint`");
    wrong(json!({"endpoint": "other"}), "lookups.0.endpoint", "was not granted");
    wrong(json!({"case_insensitive": true}), "lookups.0.case_insensitive", "for a table alone");
    wrong(json!({"on_miss": {"wait": "5s"}}), "lookups.0.on_miss", "no endpoint tells when a row comes");
    wrong(json!({"key": {"fields": ["a", "b"], "separator": "/"}}), "lookups.0.key", "for a table alone");
    let of_table = json!({"lookups": [{"table": "hosts", "key": "key", "into": "x", "query": "SELECT 1"}]});
    let error = StatefulHarness::<Enricher>::with_context(of_table, &context()).err().unwrap();
    assert_eq!(error.path(), "lookups.0.query");
}
