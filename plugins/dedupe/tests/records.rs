//! What goes on and what is dropped.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use weir_dedupe::Dedupe;
use weir_plugin::serde_json::{Value, json};
use weir_plugin::testing::{StatefulHarness, TestRecord};

fn start(config: Value) -> StatefulHarness<Dedupe> {
    StatefulHarness::new(config).unwrap()
}

fn at(value: &str, timestamp: i64) -> TestRecord {
    TestRecord::of(value).timestamp(timestamp)
}

#[test]
fn what_repeats_another_within_the_time_is_dropped() {
    let mut dedupe = start(json!({"within": "10ms"}));
    let run = dedupe.process([at("a", 0), at("a", 10), at("b", 3), at("a", 11), at("a", 12)]);
    assert_eq!(run.values(), ["a", "b", "a"]);
    assert_eq!(run.values_of(1), ["a", "a"]);
    let mut dedupe = dedupe.restart(json!({"within": "10ms"})).unwrap();
    assert_eq!(dedupe.process([at("a", 20), at("a", 30)]).values(), ["a"]);
}

#[test]
fn a_record_that_is_too_late_to_be_known_goes_on_or_not_as_is_said() {
    for (late, expected) in [("pass", 2), ("drop", 1)] {
        let mut dedupe = start(json!({"within": "10ms", "late": late}));
        assert_eq!(dedupe.process([at("a", 100), at("b", 89)]).values().len(), expected);
        assert_eq!(dedupe.late(), 1);
    }
}

#[test]
fn records_are_compared_by_what_is_said() {
    let mut by_fields = start(json!({"within": "1s", "by": {"fields": ["a.b", "c"]}}));
    let values =
        [r#"{"a":{"b":1},"c":2,"d":1}"#, r#"{"c":2,"d":2,"a":{"b":1}}"#, r#"{"a":{"b":"1"},"c":2}"#, r#"{"c":2}"#];
    let run = by_fields.process(values);
    assert_eq!(run.values(), [values[0], values[2], values[3]]);
    assert!(by_fields.process(["no JSON"]).rejects[0].reason.contains("expected JSON"));
    let mut by_key = start(json!({"within": "1s", "by": "key"}));
    let run = by_key.process([at("1", 0).key("k"), at("2", 0).key("k"), at("3", 0), at("4", 0).key("")]);
    assert_eq!(run.values(), ["1", "3", "4"]);
    let mut by_header = start(json!({"within": "1s", "by": {"header": "id"}}));
    let run = by_header.process([at("1", 0).header("id", "x"), at("2", 0).header("id", "x"), at("3", 0)]);
    assert_eq!((run.values(), run.rejects.len()), (vec!["1".to_owned()], 1));
}

#[test]
fn a_wrong_configuration_names_the_setting() {
    let refused = |config| StatefulHarness::<Dedupe>::new(config).err().unwrap();
    assert_eq!(refused(json!({"within": "soon"})).path(), "within");
    assert_eq!(refused(json!({"within": "1s", "by": "hash"})).path(), "by");
    assert!(refused(json!({})).message().contains("within"));
}

proptest! {
    /// The same as a computation that forgets nothing, however the records are cut into batches and whenever the plugin is
    /// started again.
    #[test]
    fn what_goes_on_is_what_a_long_memory_says(
        records in proptest::collection::vec((0..3u8, 0i64..6, 0i64..30), 0..60),
        cuts in proptest::collection::vec((1usize..6, any::<bool>()), 60),
        within in 0u64..12,
    ) {
        let config = json!({"within": format!("{within}ms")});
        let (mut time, mut watermark) = (0, i64::MIN);
        let mut firsts = BTreeMap::<u8, i64>::new();
        let (mut given, mut expected) = (Vec::new(), Vec::new());
        for (n, (key, step, late)) in records.iter().enumerate() {
            time += step;
            let at = time - if n % 3 == 0 { *late } else { 0 };
            watermark = watermark.max(at);
            given.push((*key, at));
            let is_known = watermark <= at + within as i64;
            if is_known && firsts.get(key).is_some_and(|first| at.abs_diff(*first) <= within) {
                continue;
            }
            expected.push(format!("{key}"));
            if is_known {
                firsts.insert(*key, at);
            }
        }
        let mut dedupe = start(config.clone());
        let (mut rest, mut cuts, mut values) = (given.as_slice(), cuts.iter(), Vec::new());
        while let Some((size, is_restarted)) = cuts.next().filter(|_| !rest.is_empty()) {
            let (batch, others) = rest.split_at((*size).min(rest.len()));
            rest = others;
            values.extend(dedupe.process(batch.iter().map(|(key, time)| at(&key.to_string(), *time))).values());
            if *is_restarted {
                dedupe = dedupe.restart(config.clone()).unwrap();
            }
        }
        prop_assert_eq!(values, expected);
    }
}
