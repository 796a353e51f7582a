//! What the tests share: a step with the tables `hosts` and `sites`, which are its inputs 1 and 2.
#![allow(dead_code, reason = "each test uses some of it")]

use weir_enricher::Enricher;
use weir_plugin::Context;
use weir_plugin::serde_json::Value;
use weir_plugin::testing::{Run, StatefulHarness, TestRecord, test_context};

pub type Step = StatefulHarness<Enricher>;

pub fn context() -> Context {
    Context { tables: ["hosts", "sites"].map(str::to_owned).to_vec(), ..test_context() }
}

pub fn start(config: Value) -> Step {
    StatefulHarness::with_context(config, &context()).unwrap()
}

pub fn restart(step: Step, config: Value) -> Step {
    step.restart_with_context(config, &context()).unwrap()
}

pub fn row(key: &str, value: &str) -> TestRecord {
    TestRecord::of(value).key(key)
}

pub fn tombstone(key: &str) -> TestRecord {
    TestRecord::of("").key(key).tombstone()
}

/// What says that a table is replaced by the rows behind it.
pub fn replace() -> TestRecord {
    TestRecord::of("").tombstone().header("weir-table", "replace")
}

pub fn reasons(run: &Run) -> Vec<&str> {
    run.rejects.iter().map(|reject| reject.reason.as_str()).collect()
}

/// The entries of a table, as text.
pub fn entries(step: &Step, table: &str) -> Vec<(String, String)> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    step.table(table).into_iter().map(|(key, value)| (text(key), text(value))).collect()
}
