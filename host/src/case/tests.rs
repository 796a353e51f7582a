//! What is written is read back, whatever the bytes; what is wrong is told with its line.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::StepLimits;
use crate::record::{Partition, Port, Record, Timestamp, push_header};

type Bytes = Option<Vec<u8>>;

fn bytes() -> impl Strategy<Value = Bytes> {
    proptest::option::of(prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..9),
        "[\\[{][\"a1:,\\n\\r }\\]]{0,8}".prop_map(String::into_bytes),
        ".{0,6}".prop_map(String::into_bytes),
        Just(b" {\"a\": [1.10]}".to_vec()),
        Just(b"{\"a\":\t[1.10]}".to_vec()),
        Just(b"{\"a\":\n[1.10]}".to_vec()),
    ])
}

fn records() -> impl Strategy<Value = Batch> {
    let headers = proptest::collection::vec(("[ab]", bytes()), 0..4);
    let record = (bytes(), bytes(), headers, any::<i64>(), any::<u64>());
    proptest::collection::vec(record, 1..6).prop_map(|records| {
        let mut batch = Batch::default();
        for (key, value, headers, timestamp, offset) in &records {
            let mut headers_raw = Vec::new();
            headers.iter().for_each(|(name, value)| push_header(&mut headers_raw, name, value.as_deref()));
            batch.push(&Record {
                key: key.as_deref(),
                value: value.as_deref(),
                headers_raw: &headers_raw,
                offset: Offset(*offset),
                timestamp: Timestamp(*timestamp),
                port: Port(0),
            });
        }
        batch
    })
}

fn configs() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        prop_oneof!["null", "~", "yes", "1e3", "0x10", "- a", "a: b", "#c", " x", "x\\n", "012", "2026-01-01"]
            .prop_map(Value::from),
    ];
    let tree = leaf.prop_recursive(2, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z#:. -]{1,6}", inner, 0..4)
                .prop_map(|map| map.into_iter().collect::<Value>()),
        ]
    });
    proptest::collection::btree_map("[a-z_]{1,6}", tree, 0..4).prop_map(|map| map.into_iter().collect())
}

proptest! {
    #[test]
    fn every_record_comes_back(runs in proptest::collection::vec((any::<bool>(), records()), 1..4)) {
        let settings = CaseFile { inputs: vec!["a".into(), "b/0".into()], ..CaseFile::default() };
        let mut given: Vec<Given> = Vec::new();
        for (is_first, records) in runs {
            let input = &settings.inputs[usize::from(!is_first)];
            match given.last_mut().filter(|last| last.input == *input) {
                Some(last) => last.records.append(&records),
                None => given.push(Given { input: input.clone(), records }),
            }
        }
        let case = Case { settings, given, ..Case::default() };
        let directory = tempfile::tempdir().unwrap();
        case.write(directory.path()).unwrap();
        prop_assert_eq!(Case::read(directory.path()).unwrap(), case);
    }

    #[test]
    fn every_outcome_comes_back(records in records(), port in proptest::option::of(".{0,4}"), reason in ".{0,9}") {
        let mut outcomes = vec![Outcome::Late(3), Outcome::Failed(reason.clone())];
        for record in records.iter() {
            let of = line::Origin { input: port.clone(), offset: record.offset };
            outcomes.push(Outcome::Record { of: of.clone(), port: port.clone(), body: line::Body::of(&record) });
            outcomes.push(Outcome::Reject { of: of.clone(), reason: reason.clone() });
            outcomes.push(Outcome::Refused { of: of.clone(), reason: reason.clone(), retriable: port.is_some() });
            outcomes.push(Outcome::Delivered(of));
        }
        let read = super::outcomes(Path::new("expected.jsonl"), &lines(&outcomes)).unwrap();
        prop_assert_eq!(read, outcomes);
    }

    #[test]
    fn every_configuration_comes_back(config in configs(), notes in "[a-z:# \\n-]{0,20}[a-z]", limit in 1usize..9_000_000) {
        let limits = StepLimits { memory_bytes_max: (1 << 20) + limit, ..StepLimits::default() };
        let settings = CaseFile {
            config, limits, notes: Some(notes), partition: Partition(7), clock: Some(Timestamp(1_772_366_400_007)),
            tables: vec!["owners".into()], hash: Some("00ff".into()), step: "parser-2".into(), ..CaseFile::default()
        };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(CASE_FILE);
        fs::write(&path, settings.to_yaml()).unwrap();
        let read = CaseFile::read(&path).map_err(|report| TestCaseError::fail(format!("{report:?}\n{}", settings.to_yaml())))?;
        prop_assert_eq!(read, settings);
    }
}

fn read_of(files: &[(&str, &str)]) -> Result<Case, String> {
    let directory = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, text)| fs::write(directory.path().join(name), text).unwrap());
    let shown = |error: Error| match error {
        Error::Settings(report) => report.render(crate::config::Look { color: false, width: 100 }),
        other => other.to_string(),
    };
    let base = format!("{}/", directory.path().display());
    Case::read(directory.path()).map_err(|error| shown(error).replace(&base, ""))
}

#[test]
fn a_case_needs_no_more_than_values() {
    let case =
        read_of(&[("input.jsonl", "{\"value\":\"a\"}\n\n{\"value\":{\"b\": 1}}\n{\"value\":null,\"offset\":9}\n")]);
    let case = case.unwrap();
    assert_eq!(case.settings, CaseFile::default());
    let records: Vec<_> = case.given[0].records.iter().map(|record| (record.offset.0, record.value)).collect();
    assert_eq!(records, [(0, Some(&b"a"[..])), (1, Some(b"{\"b\": 1}")), (9, None)]);
}

#[test]
fn what_tap_and_sinks_print_can_be_put_in() {
    let line = r#"{"key":null,"value":"x","headers":{"a":["1",null]},"timestamp":"2026-03-01T12:00:00.007Z","source":"s/0","offset":7,"ordinal":0}"#;
    let tapped = r#"{"partition":0,"offset":8,"timestamp":7,"key":"k","value":"y","headers":{}}"#;
    let case = read_of(&[("input.jsonl", &format!("{line}\n{tapped}\n"))]).unwrap();
    let record = case.given[0].records.get(0).unwrap();
    assert_eq!(
        (record.offset, record.timestamp, record.headers().count()),
        (Offset(7), Timestamp(1_772_366_400_007), 2)
    );
    assert_eq!(case.given[0].records.get(1).unwrap().timestamp, Timestamp(7));
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    let wrong = |text: &str| read_of(&[("input.jsonl", text)]).unwrap_err();
    assert_eq!(
        wrong("{\"value\":1}"),
        "input.jsonl:1: `value` is 1: expected a text (\"1\"), an object, a list, or null"
    );
    assert_eq!(wrong("{\"key\":\"a\"}"), "input.jsonl:1: it has no `value` (null for none), and no `value_base64`");
    let text = wrong("\n{\"value\":\"\",\"valeu\":\"\"}");
    assert!(
        text.starts_with("input.jsonl:2: expected a record as a JSON object, at column 19: unknown field `valeu`"),
        "{text}"
    );
    let text = wrong("{\"value\":\"\",\"timestamp\":\"noon\"}");
    assert!(text.contains("\"noon\" is not a time"), "{text}");
    let text = wrong("{\"value\":\"\",\"reject\":\"\"}");
    assert!(text.contains("`reject` says what became of a record"), "{text}");
    let text = wrong("{\"value_base64\":\"?\"}");
    assert!(text.contains("`value_base64` is not base64"), "{text}");
    let text = read_of(&[]).unwrap_err();
    assert!(text.starts_with("input.jsonl: there is no such file"), "{text}");
    let settings = ("case.yaml", "inputs: [a, b]\n");
    let text = read_of(&[settings, ("input.jsonl", "{\"value\":\"\"}")]).unwrap_err();
    assert_eq!(text, "input.jsonl:1: it has to say by `input` which it is from: `a` and `b`");
    let text = read_of(&[settings, ("input.jsonl", "{\"value\":\"\",\"input\":\"c\"}")]).unwrap_err();
    assert_eq!(text, "input.jsonl:1: there is no input \"c\": expected `a` and `b`");
    let text = read_of(&[("case.yaml", "confg: {}\n"), ("input.jsonl", "")]).unwrap_err();
    assert!(text.contains("case.yaml:1:1") && text.contains("`config`"), "{text}");
    let text = read_of(&[("expected.jsonl", "{\"reject\":\"x\"}\n"), ("input.jsonl", "")]).unwrap_err();
    assert_eq!(text, "expected.jsonl:1: it has to say by `offset` of which record it comes");
}

#[test]
fn what_is_at_its_default_is_not_written() {
    assert_eq!(CaseFile::default().to_yaml(), "{}\n");
    let settings = CaseFile { config: json!({"needle": "root"}), ..CaseFile::default() };
    assert_eq!(settings.to_yaml(), "config:\n  needle: root\n");
}
