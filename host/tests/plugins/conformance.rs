//! The contract, case by case, which the same plugin keeps in Rust, C and JavaScript: deploy/examples/plugins.

use serde_json::{Value, json};
use tokio::sync::OnceCell;
use weir::config::StepLimits;
use weir::plugin::instance::TransformInstance;
use weir::plugin::{Answer, Description, Outcome, Plugin, StartError, World};
use weir::record::{Batch, Offset, Record, Reject, Timestamp, push_header};

use crate::guests::{Runs as _, built, context, limits, load};

const LANGUAGES: [&str; 3] = ["rust", "c", "javascript"];
const CRAB: &str = "\u{1f980}";

/// One of the plugins, compiled once for all tests.
async fn plugin(language: &str) -> &'static Plugin {
    static PLUGINS: [OnceCell<Plugin>; LANGUAGES.len()] = [const { OnceCell::const_new() }; LANGUAGES.len()];
    let at = LANGUAGES.iter().position(|other| *other == language).unwrap();
    PLUGINS[at].get_or_init(async || load(built(&format!("grep-{language}"))).await).await
}

async fn started(language: &str, config: &Value) -> Result<(TransformInstance, Description), StartError> {
    let roomy = StepLimits { memory_bytes_max: 128 << 20, output_bytes_max: 32 << 20, ..limits() };
    let factory = plugin(language).await.transform(context(), config.clone(), roomy).unwrap();
    factory.start_transform().await
}

/// What all plugins make of a batch: twice in one instance, and in a fresh one.
async fn outcomes(config: Value, batch: &Batch) -> Vec<(&'static str, Outcome)> {
    let mut all = Vec::new();
    for language in LANGUAGES {
        let (mut instance, description) = started(language, &config).await.unwrap();
        assert_eq!(description, Description::default(), "{language}");
        let outcome = instance.run(batch).await.unwrap();
        assert_eq!(instance.run(batch).await.unwrap(), outcome, "{language}: the same instance, again");
        let (mut fresh, _) = started(language, &config).await.unwrap();
        assert_eq!(fresh.run(batch).await.unwrap(), outcome, "{language}: a fresh instance");
        all.push((language, outcome));
    }
    all
}

/// Holds all plugins to an answer, and to which records they reject for now or for good.
async fn assert_outcome(config: Value, batch: &Batch, answer: &Answer, rejected: &[(u32, bool)]) {
    for (language, outcome) in outcomes(config, batch).await {
        assert_eq!(&outcome.answer, answer, "{language}");
        let rejects: Vec<(u32, bool)> = outcome.rejects.iter().map(|r| (r.index, r.retriable)).collect();
        assert_eq!(rejects, rejected, "{language}");
    }
}

fn record(offset: u64, key: Option<&'static str>, value: Option<&'static str>) -> Record<'static> {
    let (key, value) = (key.map(str::as_bytes), value.map(str::as_bytes));
    Record { key, value, offset: Offset(offset), ..Record::of(b"", Timestamp(1_000 + offset as i64)) }
}

fn batch(records: &[Record<'_>]) -> Batch {
    let mut batch = Batch::default();
    records.iter().for_each(|record| batch.push(record));
    batch
}

fn values(values: &[&'static str]) -> Batch {
    let records: Vec<_> = (10..).zip(values).map(|(offset, value)| record(offset, None, Some(value))).collect();
    batch(&records)
}

async fn refused(config: Value) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for language in LANGUAGES {
        match started(language, &config).await.err() {
            Some(StartError::Config { path, message }) => all.push((path, message)),
            other => panic!("{language} with {config}: {other:?}"),
        }
    }
    all
}

#[tokio::test]
async fn each_is_a_transform() {
    for language in LANGUAGES {
        let plugin = plugin(language).await;
        assert_eq!(plugin.world(), World::Transform, "{language}");
        let uses_wasi = plugin.imports().iter().any(|import| import.starts_with("wasi:"));
        assert_eq!(uses_wasi, language == "javascript", "{language}: {:?}", plugin.imports());
    }
}

#[tokio::test]
async fn a_wrong_setting_is_named_by_its_path() {
    let wrong = [
        (json!({"needle": 7}), "needle"),
        (json!({"needle": ""}), "needle"),
        (json!({"needle": ["a"]}), "needle"),
        (json!({"needle": "a", "nedle": "b"}), "nedle"),
        (json!({"needle": "a", "mark": {"b": "c"}}), "mark"),
        (json!({"needle": "a", "retry": ""}), "retry"),
        (json!({"needle": "a", "gr\u{fc}n\"": "c"}), "gr\u{fc}n\""),
        (json!({}), ""),
        (json!(null), ""),
    ];
    for (config, expected) in wrong {
        for (path, message) in refused(config.clone()).await {
            assert_eq!(path, expected, "{config}: {message}");
            let says_what = ["expected", "missing"].iter().any(|word| message.contains(word));
            assert!(says_what && (!path.is_empty() || message.contains("needle")), "{config}: {message}");
        }
    }
}

#[tokio::test]
async fn an_empty_batch_is_unchanged() {
    let none: [Record<'_>; 0] = [];
    assert_outcome(json!({"needle": "a"}), &batch(&none), &Answer::Unchanged, &[]).await;
    assert_outcome(json!({"needle": "a", "mark": "m"}), &batch(&none), &Answer::Unchanged, &[]).await;
}

#[tokio::test]
async fn all_some_or_none_are_kept() {
    let needle = || json!({"needle": "ab"});
    assert_outcome(needle(), &values(&["ab", "xab", "aab"]), &Answer::Unchanged, &[]).await;
    assert_outcome(needle(), &values(&["ab", "a b", "b", "aab"]), &Answer::Select(vec![0, 3]), &[]).await;
    assert_outcome(needle(), &values(&["a", "", "ba"]), &Answer::Select(vec![]), &[]).await;
}

#[tokio::test]
async fn tombstones_are_filtered_and_null_keys_are_not() {
    let given = batch(&[
        record(1, None, Some("yes")),
        record(2, Some(""), Some("yes")),
        record(3, Some("yes"), None),
        record(4, Some("yes"), Some("")),
        record(5, Some("key"), Some("yes")),
        record(6, None, None),
    ]);
    assert_outcome(json!({"needle": "yes"}), &given, &Answer::Select(vec![0, 1, 4]), &[]).await;
}

#[tokio::test]
async fn a_needle_lies_within_one_value() {
    let given =
        batch(&[record(1, Some("a"), Some("b")), record(2, Some("ab"), Some("x")), record(3, None, Some("ab"))]);
    assert_outcome(json!({"needle": "ab"}), &given, &Answer::Select(vec![2]), &[]).await;
}

#[tokio::test]
async fn text_is_bytes_in_utf_8() {
    let needle = format!("gr\u{fc}\u{df} \"{CRAB}\"\\\n");
    let whole: &'static str = Box::leak(format!("... {needle} ...").into_boxed_str());
    let given = values(&[whole, "gr\u{fc}\u{df}", CRAB, "grueB"]);
    assert_outcome(json!({ "needle": needle }), &given, &Answer::Select(vec![0]), &[]).await;
    let mut not_text = values(&["x"]);
    not_text.push(&Record { offset: Offset(11), ..Record::of(b"\xff\xfe\0needle\xff", Timestamp(5)) });
    assert_outcome(json!({"needle": "needle"}), &not_text, &Answer::Select(vec![1]), &[]).await;
}

#[tokio::test]
async fn rejects_are_for_now_or_for_good_and_the_others_go_on() {
    let config = || json!({"needle": "a", "reject": "bad\u{fc}", "retry": "later"});
    let given = values(&["a bad\u{fc}", "a", "later", "bad\u{fc} later", "a"]);
    assert_outcome(config(), &given, &Answer::Unchanged, &[(0, false), (2, true), (3, false)]).await;
    let given = values(&["later", "b", "a"]);
    assert_outcome(config(), &given, &Answer::Select(vec![2]), &[(0, true)]).await;
    let given = values(&["later", "bad\u{fc}"]);
    assert_outcome(config(), &given, &Answer::Unchanged, &[(0, true), (1, false)]).await;
    for (language, outcome) in outcomes(config(), &given).await {
        let expected = |index, text: &str, setting: &str, retriable| Reject {
            index,
            reason: format!("the value contains \"{text}\", which `{setting}` names"),
            retriable,
        };
        let all = [expected(0, "later", "retry", true), expected(1, "bad\u{fc}", "reject", false)];
        assert_eq!(outcome.rejects, all, "{language}");
    }
}

/// What `mark` makes of a batch.
fn marked(given: &Batch, name: &str, needle: &str) -> Answer {
    let (mut records, mut origin) = (Batch::default(), Vec::new());
    for (at, record) in (0..).zip(given.iter()) {
        let is_kept = record.value.is_some_and(|value| value.windows(needle.len()).any(|w| w == needle.as_bytes()));
        if is_kept {
            let mut headers = record.headers_raw.to_vec();
            push_header(&mut headers, name, Some(needle.as_bytes()));
            records.push(&Record { headers_raw: &headers, ..record });
            origin.push(at);
        }
    }
    Answer::Replaced { records, origin, fired: vec![] }
}

#[tokio::test]
async fn new_records_keep_key_headers_and_time() {
    let mut headers = Vec::new();
    push_header(&mut headers, "first", Some(b"1"));
    push_header(&mut headers, "null", None);
    push_header(&mut headers, "", Some(b""));
    let with_headers = |record| Record { headers_raw: &headers, ..record };
    let given = batch(&[
        record(1, Some("key"), Some("yes")),
        record(2, None, Some("no")),
        with_headers(record(3, Some(""), Some("oh yes"))),
        with_headers(record(4, None, Some("no"))),
        with_headers(record(5, None, Some("yes"))),
        record(6, Some("yes"), None),
    ]);
    let config = || json!({"needle": "yes", "mark": format!("found-{CRAB}")});
    assert_outcome(config(), &given, &marked(&given, &format!("found-{CRAB}"), "yes"), &[]).await;
    assert_outcome(config(), &values(&["no", "nor"]), &Answer::Select(vec![]), &[]).await;
    let rejecting = json!({"needle": "yes", "mark": "m", "reject": "oh"});
    let rest = batch(&[record(1, Some("key"), Some("yes")), record(2, None, Some("oh yes"))]);
    let kept = marked(&batch(&[record(1, Some("key"), Some("yes"))]), "m", "yes");
    assert_outcome(rejecting, &rest, &kept, &[(1, false)]).await;
}

#[tokio::test]
async fn a_large_batch_is_as_a_small_one() {
    let mut given = Batch::default();
    for n in 0..10_000_u64 {
        let value = format!("{}{n}", "some text before the number ".repeat(1 + n as usize % 9));
        let key = format!("key {n}");
        let key = (n % 3 > 0).then_some(key.as_bytes());
        given.push(&Record { key, offset: Offset(n), ..Record::of(value.as_bytes(), Timestamp(n as i64)) });
    }
    let sevens: Vec<u32> = (0..10_000).filter(|n| n.to_string().contains('7')).collect();
    assert_outcome(json!({"needle": "7"}), &given, &Answer::Select(sevens), &[]).await;
    assert_outcome(json!({"needle": "7", "mark": "m"}), &given, &marked(&given, "m", "7"), &[]).await;
}

#[tokio::test]
async fn many_batches_leave_nothing_behind() {
    for language in LANGUAGES {
        let (mut instance, _) = started(language, &json!({"needle": "a", "mark": "m", "reject": "bad"})).await.unwrap();
        let given = values(&["a", "bad", "b", "aa"]);
        let first = instance.run(&given).await.unwrap();
        for n in 0..20_000 {
            assert_eq!(instance.run(&given).await.unwrap(), first, "{language}: batch {n}");
        }
    }
}
