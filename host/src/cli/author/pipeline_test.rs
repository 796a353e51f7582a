//! `weir test`: runs the tests of a pipeline file, through the task loop that `weir run` has, without brokers, files or a data
//! directory.

use std::path::PathBuf;

use tokio::time::Instant;

use super::bench_task::{self, Came};
use super::diff::diff;
use super::{EXIT_FAILED, Failed, junit};
use crate::case::line::Body;
use crate::case::{self, CaseFile};
use crate::cli::{check, say};
use crate::config::scenario::{Test, TestRecord, TestRecords, TestValue};
use crate::config::{self, Loaded, Overrides, Report};
use crate::plugin::Engine;
use crate::record::{Batch, Offset, Timestamp, push_header};

/// The time of the first record that has none: 2026-01-01T00:00:00Z.
const FIRST_TIME: Timestamp = Timestamp(1_767_225_600_000);
/// The time between two of them, in milliseconds.
const STEP_MS: i64 = 1_000;

/// What `weir test` is told.
#[derive(Debug, Clone, clap::Args)]
pub struct PipelineTestArgs {
    /// A pipeline file, or a directory of them
    pub path: PathBuf,
    /// Write the results as JUnit XML too
    #[arg(long, value_name = "PATH")]
    pub junit: Option<PathBuf>,
    /// A directory with plugins, searched before those of the file; may be given again
    #[arg(long = "plugins", value_name = "DIR")]
    pub plugins: Vec<PathBuf>,
}

/// Runs the tests; gives the exit code: 1 where one fails.
pub async fn run(args: PipelineTestArgs) -> u8 {
    super::start_log();
    match run_all(&args).await {
        Ok(code) => code,
        Err(failed) => failed.tell(),
    }
}

/// What became of a test.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    /// The pipeline.
    pub pipeline: String,
    /// What the test shows.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
    /// What is wrong.
    pub failure: Option<String>,
}

async fn run_all(args: &PipelineTestArgs) -> Result<u8, Failed> {
    let overrides = Overrides { data: None, plugins: args.plugins.clone() };
    let loaded = config::load(&args.path, &overrides).map_err(|report| wrong(&report))?;
    let engine = Engine::new(Some(loaded.config.plugin_cache())).map_err(Failed::unavailable)?;
    let found = check::plugins(&loaded, &engine).await;
    let report = Report::new(found.problems);
    if report.exit_code() != 0 {
        return Err(wrong(&report));
    }
    let mut verdicts = Vec::new();
    for test in &loaded.tests {
        let begun = Instant::now();
        let failure = one(&loaded, test, &found.loaded).await.err();
        let (pipeline, name) = (test.pipeline.to_string(), test.name.clone());
        match &failure {
            None => say(&format!("ok     {pipeline}: {name}")),
            Some(why) => say(&format!("FAILED {pipeline}: {name}: {}", why.trim_end())),
        }
        verdicts.push(Verdict { pipeline, name, seconds: begun.elapsed().as_secs_f64(), failure });
    }
    let failed = verdicts.iter().filter(|verdict| verdict.failure.is_some()).count();
    let s = if verdicts.len() == 1 { "" } else { "s" };
    say(&format!("{} test{s}, {failed} failed", verdicts.len()));
    if let Some(path) = &args.junit {
        let xml = junit::xml(&args.path.display().to_string(), &verdicts);
        let written = std::fs::write(path, xml);
        written.map_err(|error| Failed::unavailable(format_args!("{}: {error}", path.display())))?;
    }
    Ok(if failed > 0 { EXIT_FAILED } else { 0 })
}

fn wrong(report: &Report) -> Failed {
    say(report.render(check::look()).trim_end());
    Failed::new(report.exit_code(), report)
}

/// Runs a test; the error is what is wrong.
async fn one(
    loaded: &Loaded,
    test: &Test,
    plugins: &std::collections::BTreeMap<std::sync::Arc<str>, crate::plugin::Plugin>,
) -> Result<(), String> {
    let mut given = std::collections::BTreeMap::new();
    for (input, records) in &test.given {
        given.insert(input.clone(), batch(records)?);
    }
    let latest = given.values().flat_map(Batch::iter).map(|record| record.timestamp).max();
    let clock = test.clock.or(latest).unwrap_or(FIRST_TIME);
    let came = bench_task::run(&loaded.config, &test.pipeline, given, plugins, clock).await?;
    let mut wrong = String::new();
    for (output, records) in &test.expect {
        let came = came.get(output).map(Vec::as_slice).unwrap_or_default();
        let expected = expected(records)?;
        if let Some(text) = compare(&expected, came) {
            wrong.push_str(&format!("`{output}`: what is expected (-) is not what came (+)\n{text}"));
        }
    }
    // Dead letters that nobody expects are a failure of the test, whatever else came.
    if !test.expect.contains_key(crate::store::DEAD_LETTERS)
        && let Some(dead) = came.get(crate::store::DEAD_LETTERS).filter(|dead| !dead.is_empty())
    {
        wrong.push_str("`dead-letters`: none is expected, and there came\n");
        dead.iter().for_each(|record| wrong.push_str(&format!("  +       {}\n", line(record))));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// Records as they are given.
fn batch(records: &TestRecords) -> Result<Batch, String> {
    let mut batch = Batch::default();
    match records {
        TestRecords::File(path) => {
            for given in of_file(path)? {
                batch.append(&given.records);
            }
        }
        TestRecords::Here(records) => {
            for (at, record) in (0..).zip(records) {
                let time = Timestamp(FIRST_TIME.0 + at * STEP_MS);
                batch.push(&body(record, time).record(Offset(at.cast_unsigned())));
            }
        }
    }
    Ok(batch)
}

fn of_file(path: &PathBuf) -> Result<Vec<case::Given>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    case::given(&CaseFile::default(), path, &bytes).map_err(|error| error.to_string())
}

fn body(record: &TestRecord, time: Timestamp) -> Body {
    let mut headers_raw = Vec::new();
    for (name, value) in record.headers.iter().flatten() {
        push_header(&mut headers_raw, name, Some(value.as_bytes()));
    }
    let value = match &record.value {
        Some(TestValue::Text(text)) => Some(text.clone().into_bytes()),
        Some(TestValue::Json(json)) => Some(json.to_string().into_bytes()),
        Some(TestValue::Tombstone) | None => None,
    };
    let key = record.key.clone().map(String::into_bytes);
    Body { key, value, headers_raw, timestamp: record.timestamp.unwrap_or(time) }
}

/// A record that is expected.
enum Expected {
    /// By what the pipeline file says of it.
    Some(TestRecord),
    /// In every part.
    All(Body),
}

fn expected(records: &TestRecords) -> Result<Vec<Expected>, String> {
    Ok(match records {
        TestRecords::Here(records) => records.iter().cloned().map(Expected::Some).collect(),
        TestRecords::File(path) => {
            let given = of_file(path)?;
            let bodies = given.iter().flat_map(|given| given.records.iter().map(|record| Body::of(&record)));
            bodies.map(Expected::All).collect()
        }
    })
}

impl Expected {
    fn fits(&self, came: &Came) -> bool {
        let record = match self {
            Expected::All(body) => return body == came,
            Expected::Some(record) => record,
        };
        let value = match &record.value {
            None => true,
            Some(TestValue::Tombstone) => came.value.is_none(),
            Some(TestValue::Text(text)) => came.value.as_deref() == Some(text.as_bytes()),
            Some(TestValue::Json(json)) => {
                let parsed = came.value.as_deref().and_then(|value| serde_json::from_slice(value).ok());
                parsed.as_ref() == Some(json)
            }
        };
        let record_came = came.record(Offset(0));
        let has = |name: &str, wanted: &str| {
            record_came.headers().any(|(other, value)| other == name && value == Some(wanted.as_bytes()))
        };
        value
            && record.key.as_ref().is_none_or(|key| came.key.as_deref() == Some(key.as_bytes()))
            && record.timestamp.is_none_or(|time| came.timestamp == time)
            && record.headers.iter().flatten().all(|(name, value)| has(name, value))
    }

    /// What is expected, as far as it is said.
    fn line(&self) -> String {
        let record = match self {
            Expected::All(body) => return line(body),
            Expected::Some(record) => record,
        };
        let mut parts = serde_json::Map::new();
        let mut put =
            |name: &str, value: Option<serde_json::Value>| value.map(|value| parts.insert(name.into(), value));
        put("key", record.key.clone().map(Into::into));
        put(
            "value",
            record.value.as_ref().map(|value| match value {
                TestValue::Tombstone => serde_json::Value::Null,
                TestValue::Text(text) => text.clone().into(),
                TestValue::Json(json) => json.clone(),
            }),
        );
        put("headers", record.headers.as_ref().map(|headers| serde_json::json!(headers)));
        put("timestamp", record.timestamp.and_then(crate::sink::lines::iso).map(Into::into));
        serde_json::Value::Object(parts).to_string()
    }
}

fn line(body: &Body) -> String {
    let mut out = b"{".to_vec();
    case::line::push_body(&mut out, &body.record(Offset(0)));
    out.push(b'}');
    String::from_utf8_lossy(&out).into_owned()
}

/// How what came differs from what is expected, in this order; `None`: not at all.
fn compare(expected: &[Expected], came: &[Came]) -> Option<String> {
    let lines: Vec<String> = came.iter().map(line).collect();
    let mut next = 0;
    // One that fits is shown as it came, so that only what does not fit differs.
    let wanted: Vec<String> = expected
        .iter()
        .map(|expected| {
            let found = came.iter().enumerate().skip(next).find(|(_, came)| expected.fits(came));
            match found.and_then(|(at, _)| Some((at, lines.get(at)?))) {
                Some((at, line)) => {
                    next = at + 1;
                    line.clone()
                }
                None => expected.line(),
            }
        })
        .collect();
    diff(&wanted, &lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn came(value: &str) -> Came {
        Body { value: Some(value.into()), ..Body::default() }
    }

    fn wanted(value: TestValue) -> Expected {
        Expected::Some(TestRecord { value: Some(value), ..TestRecord::default() })
    }

    #[test]
    fn json_is_compared_as_such_and_text_byte_for_byte() {
        let json = || wanted(TestValue::Json(serde_json::json!({"a": 1, "b": 2})));
        assert!(json().fits(&came("{\"b\":2, \"a\":1}")));
        assert!(!json().fits(&came("{\"b\":2}")));
        let text = wanted(TestValue::Text("{\"a\":1}".into()));
        assert!(text.fits(&came("{\"a\":1}")) && !text.fits(&came("{\"a\": 1}")));
    }

    #[test]
    fn only_what_differs_is_shown() {
        let text = |text: &str| wanted(TestValue::Text(text.into()));
        assert_eq!(compare(&[text("a"), text("b")], &[came("a"), came("b")]), None);
        let difference = compare(&[text("a"), text("c")], &[came("a"), came("x"), came("c")]).unwrap();
        assert_eq!(difference, "  +    2  {\"value\":\"x\",\"timestamp\":\"1970-01-01T00:00:00.000Z\"}\n");
        let difference = compare(&[text("a")], &[]).unwrap();
        assert_eq!(difference, "  -    1  {\"value\":\"a\"}\n");
    }
}
