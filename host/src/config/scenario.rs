//! The `tests` of a pipeline file: their names held against its pipelines, and what they give and expect.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::report::{Place, Problem};
use super::shape::tests::{TEST, TEST_RECORD};
use super::suggest::{listed, nearest};
use super::view::{Result, View};
use super::yaml::{Node, Value};
use super::{Config, Pipeline, paths};
use crate::record::Timestamp;
use crate::store::DEAD_LETTERS;

/// A test of a pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Test {
    /// What it shows.
    pub name: String,
    /// The pipeline.
    pub pipeline: Arc<str>,
    /// The records by input.
    pub given: BTreeMap<Arc<str>, TestRecords>,
    /// What has to come out, by sink or stream.
    pub expect: BTreeMap<Arc<str>, TestRecords>,
    /// What the clock shows.
    pub clock: Option<Timestamp>,
}

/// Records of a test.
#[derive(Debug, Clone, PartialEq)]
pub enum TestRecords {
    /// In the pipeline file.
    Here(Vec<TestRecord>),
    /// In a file, one a line, in the form of [`crate::case`].
    File(PathBuf),
}

/// A record of a test; what is absent has a default where it is given, and is not compared where it is expected.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TestRecord {
    /// Its value.
    pub value: Option<TestValue>,
    /// Its key.
    pub key: Option<String>,
    /// Its headers.
    pub headers: Option<BTreeMap<String, String>>,
    /// When it happened.
    pub timestamp: Option<Timestamp>,
}

/// The value of a record of a test.
#[derive(Debug, Clone, PartialEq)]
pub enum TestValue {
    /// None.
    Tombstone,
    /// These bytes.
    Text(String),
    /// A JSON document, compared as such.
    Json(serde_json::Value),
}

/// The tests of a file whose shape is right, or what is wrong with their names.
pub(super) fn tests(root: &Node, config: &Config, base: &Path) -> std::result::Result<Vec<Test>, Problem> {
    let nodes = root.get("tests").map(Node::elements).unwrap_or_default();
    nodes.iter().map(|node| test(node, config, base)).collect()
}

fn test(node: &Node, config: &Config, base: &Path) -> std::result::Result<Test, Problem> {
    let view = View { node: Some(node), shape: &TEST, base };
    let (name, pipeline) = pipeline(view, node, config)?;
    let inputs: Vec<&str> = pipeline.inputs().map(|name| &**name).collect();
    let outputs: Vec<&str> = pipeline.outputs().map(|name| &**name).chain([DEAD_LETTERS]).collect();
    Ok(Test {
        name: view.text("name").map_err(|problem| *problem)?,
        pipeline: name.clone(),
        given: by_name(view, "given", &inputs, &pipeline.from)?,
        expect: by_name(view, "expect", &outputs, &pipeline.to)?,
        clock: view.time_or_none("clock").map_err(|problem| *problem)?,
    })
}

/// The pipeline that a test is of.
fn pipeline<'a>(
    view: View<'_>,
    node: &Node,
    config: &'a Config,
) -> std::result::Result<(&'a Arc<str>, &'a Pipeline), Problem> {
    let names = || config.pipelines.keys().map(|name| &**name);
    if !view.has("pipeline") {
        let mut all = config.pipelines.iter();
        return match (all.next(), all.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(Problem::error(
                "test-of-which",
                format!("the test has to say of which pipeline: {}", listed(names())),
            )
            .at(&node.place, "no `pipeline`")),
        };
    }
    let name = view.text("pipeline").map_err(|problem| *problem)?;
    config.pipelines.get_key_value(name.as_str()).ok_or_else(|| {
        let place = view.get("pipeline").map_or(&node.place, |node| &node.place);
        unknown("pipeline", &name, names(), place)
    })
}

/// The records under a key, by the names that there may be; without names they are of the only one.
fn by_name(
    view: View<'_>,
    key: &str,
    known: &[&str],
    main: &[Arc<str>],
) -> std::result::Result<BTreeMap<Arc<str>, TestRecords>, Problem> {
    let Some(node) = view.get(key) else { return Ok(BTreeMap::new()) };
    if !matches!(node.value, Value::Map(_)) {
        let [only] = main else {
            let message = format!("`{key}` has to say of which: {}", listed(known.iter().copied()));
            return Err(Problem::error("test-of-which", message).at(&node.place, "records without a name"));
        };
        return Ok(BTreeMap::from([(only.clone(), records(node, view.base).map_err(|problem| *problem)?)]));
    }
    let mut found = BTreeMap::new();
    for entry in node.entries() {
        if !known.contains(&entry.key.as_str()) {
            let what = if key == "given" { "input of this pipeline" } else { "output of this pipeline" };
            return Err(unknown(what, &entry.key, known.iter().copied(), &entry.place));
        }
        found.insert(entry.key.as_str().into(), records(&entry.value, view.base).map_err(|problem| *problem)?);
    }
    Ok(found)
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone, place: &Place) -> Problem {
    let help = match nearest(name, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there is {}", listed(known)),
    };
    Problem::error("unknown-name", format!("there is no {what} `{name}`")).at(place, "unknown name").help(help)
}

fn records(node: &Node, base: &Path) -> Result<TestRecords> {
    if let Some(path) = node.text() {
        return Ok(TestRecords::File(paths::resolve(base, path)));
    }
    node.elements().iter().map(|node| record(node, base)).collect::<Result<_>>().map(TestRecords::Here)
}

fn record(node: &Node, base: &Path) -> Result<TestRecord> {
    if let Some(text) = node.text() {
        return Ok(TestRecord { value: Some(TestValue::Text(text.into())), ..TestRecord::default() });
    }
    let view = View { node: Some(node), shape: &TEST_RECORD, base };
    let value = match (view.get("value"), view.has("tombstone")) {
        (_, true) => Some(TestValue::Tombstone),
        (Some(value), false) => Some(match value.text() {
            Some(text) => TestValue::Text(text.into()),
            None => TestValue::Json(value.to_json()),
        }),
        (None, false) => None,
    };
    let headers = view.get("headers").map(|headers| {
        let text = |value: &Node| value.text().map_or_else(|| value.to_json().to_string(), str::to_owned);
        headers.entries().iter().map(|entry| (entry.key.clone(), text(&entry.value))).collect()
    });
    let key = view.has("key").then(|| view.text("key")).transpose()?;
    Ok(TestRecord { value, key, headers, timestamp: view.time_or_none("timestamp")? })
}
