//! What a transform says becomes the answer that the contract wants: checked by plugins whose records are scripts.

#![allow(clippy::indexing_slicing, reason = "a test may panic")]

use proptest::prelude::*;
use weir_plugin::serde_json::json;
use weir_plugin::testing::{Answer, Harness, Run, TestRecord, take_logs};
use weir_plugin::{Batch, ConfigError, Context, NoConfig, Output, Port, Record, Reject, Result, Transform};

/// Does what each record's value says, letter by letter.
struct Scripted {
    in_batches: bool,
}

fn act(letter: u8, record: Record<'_>, out: &mut Output<'_>) -> Result<()> {
    match letter {
        b'k' => out.keep(record),
        b'p' => out.keep_to(Port(1), record),
        b'e' => out.emit(record, "made"),
        b'w' => out.emit_with(record, |buffer| buffer.extend_from_slice(b"written")),
        b'd' => out.build(record).key("other").timestamp(7).header("more", "x").port(Port(2)).value("built"),
        b'n' => out.build(record).no_key().no_headers().null_header("none").tombstone(),
        b's' => out.build(record).key("moved").same_value(),
        b'f' => {
            let failed = out.build(record).key("lost").try_value_with(|buffer| {
                buffer.extend_from_slice(b"half");
                Err("stopped halfway")
            });
            assert_eq!(failed, Err("stopped halfway"));
        }
        b'r' => return Err("malformed".into()),
        b't' => return Err(Reject::retriable("away")),
        _ => {}
    }
    Ok(())
}

impl Transform for Scripted {
    type Config = NoConfig;

    fn new(_: NoConfig, context: &Context) -> Result<Self, ConfigError> {
        Ok(Scripted { in_batches: context.step == "batches" })
    }

    fn process(&mut self, record: Record<'_>, out: &mut Output<'_>) -> Result<()> {
        record.bytes().iter().try_for_each(|letter| act(*letter, record, out))
    }

    /// Goes through the batch from its end, so that nothing comes in order.
    fn process_batch(&mut self, batch: &Batch<'_>, out: &mut Output<'_>) {
        let records: Vec<_> = batch.iter().collect();
        let in_order: Box<dyn Iterator<Item = _>> =
            if self.in_batches { Box::new(records.iter().rev()) } else { Box::new(records.iter()) };
        for record in in_order {
            if let Err(reject) = self.process(*record, out) {
                out.reject(*record, reject);
            }
        }
    }

    fn ports(&self) -> Vec<&str> {
        vec!["one", "two"]
    }
}

/// What a record gives, by the letters of its script; `None` when it is rejected.
fn gives(script: &str, given: &TestRecord) -> Option<Vec<(u8, TestRecord)>> {
    let mut outputs = Vec::new();
    for letter in script.bytes() {
        let like = |value: &str| TestRecord { value: Some(value.as_bytes().to_vec()), ..given.clone() };
        match letter {
            b'k' => outputs.push((0, given.clone())),
            b'p' => outputs.push((1, given.clone())),
            b'e' => outputs.push((0, like("made"))),
            b'w' => outputs.push((0, like("written"))),
            b'd' => outputs.push((2, like("built").key("other").timestamp(7).header("more", "x"))),
            b'n' => {
                let headers = vec![("none".to_owned(), None)];
                outputs.push((0, TestRecord { key: None, headers, ..given.clone().tombstone() }));
            }
            b's' => outputs.push((0, given.clone().key("moved"))),
            b'r' | b't' => return None,
            _ => {}
        }
    }
    Some(outputs)
}

fn given(scripts: &[String]) -> Vec<TestRecord> {
    let given = scripts.iter().enumerate().map(|(n, script)| {
        let record = TestRecord::of(script).timestamp(100 + n as i64).header("h", "v");
        TestRecord { offset: Some(40 + n as u64), ..if n % 3 == 0 { record } else { record.key(format!("key {n}")) } }
    });
    given.collect()
}

fn check(run: &Run, given: &[TestRecord], scripts: &[String], order: impl Iterator<Item = usize>) {
    let mut expected = Vec::new();
    for n in order {
        expected
            .extend(gives(&scripts[n], &given[n]).unwrap_or_default().into_iter().map(|(port, r)| (n as u32, port, r)));
    }
    let got: Vec<_> = run.outputs.iter().map(|out| (out.origin, out.port, out.record.clone())).collect();
    assert_eq!(got, expected);
    let rejected: Vec<_> = run.rejects.iter().map(|reject| (reject.index, reject.retriable)).collect();
    let expected_rejects: Vec<_> = (0..scripts.len())
        .filter(|n| gives(&scripts[*n], &given[*n]).is_none())
        .map(|n| (n as u32, scripts[n].find(['r', 't']).is_some_and(|at| scripts[n].as_bytes()[at] == b't')))
        .collect();
    assert_eq!(rejected, expected_rejects);
}

proptest! {
    #[test]
    fn scripts_give_what_they_say(batches in prop::collection::vec(prop::collection::vec("[kpewdnsfrt ]{0,3}", 0..12), 1..4)) {
        let mut harness = Harness::<Scripted>::new(json!({})).unwrap();
        for scripts in batches {
            let given = given(&scripts);
            let run = harness.process(given.clone());
            check(&run, &given, &scripts, 0..scripts.len());
        }
    }

    #[test]
    fn keeping_alone_copies_nothing(batches in prop::collection::vec(prop::collection::vec("[kr ]?", 0..12), 1..4)) {
        let mut harness = Harness::<Scripted>::new(json!({})).unwrap();
        for scripts in batches {
            let given = given(&scripts);
            let run = harness.process(given.clone());
            check(&run, &given, &scripts, 0..scripts.len());
            let expected = if run.filtered.is_empty() { Answer::Unchanged } else { Answer::Select };
            prop_assert_eq!(run.answer, expected);
        }
    }

    #[test]
    fn a_batch_may_be_gone_through_in_any_order(scripts in prop::collection::vec("[kpewdnsfrt ]{0,3}", 0..12)) {
        let context = Context { step: "batches".into(), ..weir_plugin::testing::test_context() };
        let mut harness = Harness::<Scripted>::with_context(json!({}), &context).unwrap();
        let given = given(&scripts);
        let run = harness.process(given.clone());
        check(&run, &given, &scripts, (0..scripts.len()).rev());
    }
}

#[test]
fn a_record_shows_all_that_the_host_sent() {
    struct Look;
    impl Transform for Look {
        type Config = NoConfig;
        fn new(_: NoConfig, context: &Context) -> Result<Self, ConfigError> {
            weir_plugin::info!("serving {} of {}", context.partition, context.pipeline);
            Ok(Look)
        }
        fn process(&mut self, record: Record<'_>, out: &mut Output<'_>) -> Result<()> {
            let headers: Vec<_> =
                record.headers().map(|(name, value)| (name.to_owned(), value.map(<[u8]>::len))).collect();
            let text = format!(
                "{} {} {} {} {:?} {:?} {:?} {:?}",
                record.index(),
                record.input(),
                record.offset(),
                record.timestamp(),
                record.key(),
                record.value(),
                headers,
                record.header("a"),
            );
            out.emit(record, text);
            Ok(())
        }
    }
    take_logs();
    let mut look = Harness::<Look>::new(json!({})).unwrap();
    let full = TestRecord { offset: Some(u64::MAX - 1), ..TestRecord::of("v").key("").timestamp(-5).header("a", "bc") };
    let bare = TestRecord { offset: Some(3), ..TestRecord::default() };
    let run = look.process_input(2, [full, bare]);
    assert_eq!(
        run.values(),
        [
            "0 2 18446744073709551614 -5 Some([]) Some([118]) [(\"a\", Some(2))] Some([98, 99])",
            "1 2 3 0 None None [] None",
        ]
    );
    assert_eq!(take_logs(), [(weir_plugin::log::Level::Info, "serving 0 of test".to_owned())]);
}

#[test]
fn text_and_json_reject_what_they_cannot_read() {
    struct Read;
    impl Transform for Read {
        type Config = NoConfig;
        fn new(_: NoConfig, _: &Context) -> Result<Self, ConfigError> {
            Ok(Read)
        }
        fn process(&mut self, record: Record<'_>, out: &mut Output<'_>) -> Result<()> {
            record.text()?;
            let number: u8 = record.json()?;
            out.emit(record, number.wrapping_add(1).to_string());
            Ok(())
        }
    }
    let mut read = Harness::<Read>::new(json!({})).unwrap();
    let run = read.process([TestRecord::of("1"), b"\xff".into(), "many".into(), TestRecord::default()]);
    assert_eq!(run.values(), ["2"]);
    let reasons: Vec<_> = run.rejects.iter().map(|reject| reject.reason.as_str()).collect();
    assert_eq!(reasons.len(), 3);
    assert!(reasons[0].starts_with("expected UTF-8 text: "), "{reasons:?}");
    assert!(reasons[1].starts_with("expected JSON: "), "{reasons:?}");
    assert_eq!(reasons[2], "expected text, got a tombstone");
    assert!(run.rejects.iter().all(|reject| !reject.retriable));
}

#[test]
#[should_panic(expected = "removed bytes")]
fn a_writer_that_removes_bytes_is_stopped() {
    struct Clear;
    impl Transform for Clear {
        type Config = NoConfig;
        fn new(_: NoConfig, _: &Context) -> Result<Self, ConfigError> {
            Ok(Clear)
        }
        fn process(&mut self, record: Record<'_>, out: &mut Output<'_>) -> Result<()> {
            out.emit_with(record, Vec::clear);
            Ok(())
        }
    }
    Harness::<Clear>::new(json!({})).unwrap().process(["a", "b"].map(|value| TestRecord::of(value).key("k")));
}
