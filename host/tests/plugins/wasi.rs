//! What a plugin that was built against WASI finds there: nothing of the host, and the same each time.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir::config::StepLimits;
use weir::plugin::load::Problem;
use weir::plugin::{Answer, Engine, Failure, Outcome, StepContext};
use weir::record::{Batch, Offset, Partition, Record, Timestamp};

use crate::guests::{Runs as _, Text, batch, built, context, engine, factory, hurried, limits, load};
use crate::logs::Lines;

/// What the guest in tests/guests-in-c/wasi-probe.c saw of a batch, in a fresh instance on an engine of its own, which is
/// what a restart comes to.
async fn seen_by(engine: &Engine, step: StepContext, batch: &Batch) -> Value {
    let plugin = engine.load("probe", built("wasi-probe")).await.unwrap();
    let factory = plugin.transform(step, json!({"do": "see"}), limits()).unwrap();
    let (mut instance, _) = factory.start_transform().await.unwrap();
    report(&instance.run(batch).await.unwrap())
}

fn report(outcome: &Outcome) -> Value {
    let Answer::Replaced { records, .. } = &outcome.answer else { panic!("{outcome:?}") };
    serde_json::from_slice(records.columns().2).unwrap()
}

fn at(offset: u64, time: i64) -> Batch {
    let mut batch = Batch::default();
    for n in 0..3 {
        batch.push(&Record { offset: Offset(offset + n), ..Record::of(b"value", Timestamp(time + n as i64)) });
    }
    batch
}

#[tokio::test]
async fn a_program_finds_nothing_of_the_host() {
    let seen = seen_by(&engine(), context(), &at(7, 1_700_000_000_000)).await;
    let nothing =
        json!({"arguments": 0, "variables": 0, "path": false, "stdin": 0, "directory": false, "time_in_init": 0});
    for (what, expected) in nothing.as_object().unwrap() {
        assert_eq!(&seen[what], expected, "{what}: {seen}");
    }
}

#[tokio::test]
async fn files_are_errors_of_the_guest() {
    let factory = factory(built("wasi-probe"), json!({"do": "deny"}), limits()).await;
    let (mut instance, _) = factory.start_transform().await.unwrap();
    for _ in 0..2 {
        let seen = report(&instance.run(&at(1, 1)).await.unwrap());
        let failed = seen.as_object().unwrap().values().all(|error| error.as_i64() != Some(0));
        assert!(failed && seen["read"].is_i64(), "{seen}");
    }
    assert!(!Path::new("/tmp/weir-probe").exists());
}

#[tokio::test]
async fn time_is_the_records_and_waiting_takes_none() {
    let begun = Instant::now();
    let seen = seen_by(&engine(), context(), &at(7, 1_700_000_000_000)).await;
    let wall = 1_700_000_000_002_000_000_i64;
    assert_eq!((&seen["wall"], &seen["first"]), (&json!(wall), &json!(wall + 1_000)));
    assert_eq!(seen["step"], 1_000);
    let slept = seen["slept"].as_i64().unwrap();
    assert!((3_600_000_000_000..3_600_001_000_000).contains(&slept), "{slept}");
    assert!(begun.elapsed() < Duration::from_secs(600), "it slept");
    let before_the_epoch = seen_by(&engine(), context(), &at(7, -10)).await;
    assert_eq!(before_the_epoch["wall"], 0);
}

#[tokio::test]
async fn the_same_batch_is_seen_the_same_again_and_another_is_not() {
    let first = seen_by(&engine(), context(), &at(7, 5)).await;
    let restarted = Engine::new(None).unwrap();
    assert_eq!(seen_by(&restarted, context(), &at(7, 5)).await, first);

    let plugin = restarted.load("probe", built("wasi-probe")).await.unwrap();
    let factory = plugin.transform(context(), json!({"do": "see"}), limits()).unwrap();
    let (mut instance, _) = factory.start_transform().await.unwrap();
    for (offset, is_same) in [(3, false), (7, true), (8, false), (7, true)] {
        let seen = report(&instance.run(&at(offset, 5)).await.unwrap());
        assert_eq!(seen == first, is_same, "{seen}");
        assert_eq!(seen["random"] == first["random"], is_same);
    }

    let other = StepContext { partition: Partition(1), ..context() };
    let elsewhere = seen_by(&restarted, other, &at(7, 5)).await;
    assert_ne!(elsewhere["random"], first["random"]);
    assert_ne!(elsewhere["random_in_init"], first["random_in_init"]);
    assert_ne!(first["random"], first["random_in_init"]);
}

async fn failure(deed: &str, limits: StepLimits) -> Failure {
    let factory = factory(built("wasi-probe"), json!({ "do": deed }), limits).await;
    let (mut instance, _) = factory.start_transform().await.unwrap();
    let failure = instance.run(&batch(&["a"])).await.expect_err("must fail");
    assert!(matches!(instance.run(&batch(&["a"])).await, Err(Failure::Trap(_))));
    failure
}

#[tokio::test]
async fn a_program_that_sleeps_or_prints_for_ever_is_ended() {
    assert_eq!(failure("sleep", hurried()).await, Failure::Time { limit_ms: 200 });
    assert_eq!(failure("print", hurried()).await, Failure::Time { limit_ms: 200 });
}

#[tokio::test]
async fn a_program_that_exits_ends_its_instance_alone() {
    match failure("exit", limits()).await {
        Failure::Trap(why) => assert!(why.starts_with("it ended itself, which a plugin does not"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_it_prints_is_in_its_log() {
    let lines = Lines::default();
    let _guard = lines.capture();
    let factory = factory(built("wasi-probe"), json!({"do": "escape"}), limits()).await;
    let (mut instance, _) = factory.start_transform().await.unwrap();
    instance.run(&at(1, 9)).await.unwrap();
    let printed: Vec<(String, String)> = lines.read().iter().map(level_and_message).collect();
    let expected = [
        ("INFO", "started to escape"),
        ("INFO", "\\u{1b}[2Jforged\\rline \u{fffd}"),
        ("INFO", "no end"),
        ("WARN", "seen by 11000000"),
    ];
    // What has no line break is a line once the call has ended.
    let mut expected = expected.map(|(level, message)| (level.to_owned(), message.to_owned()));
    expected.swap(2, 3);
    assert_eq!(printed, expected);
}

fn level_and_message(line: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    assert_eq!(line["fields"]["step"], "step");
    (text(&line["level"]), text(&line["fields"]["message"]))
}

#[tokio::test]
async fn a_flood_of_prints_is_cut_and_counted() {
    let lines = Lines::default();
    let _guard = lines.capture();
    let factory = factory(built("wasi-probe"), json!({"do": "print"}), hurried()).await;
    let (mut instance, _) = factory.start_transform().await.unwrap();
    instance.run(&at(1, 9)).await.unwrap_err();
    let shown = lines.read().len();
    assert!(shown <= 200 && factory.log_dropped() > 1_000, "{shown} shown, {} dropped", factory.log_dropped());
}

/// A guest that imports pollables, which stand in for all handles. `$subscribe` takes nanoseconds and gives a handle,
/// `$drop` and `$block` take one, `$poll` takes a list of them.
const POLLS: Text<'static> = Text {
    imports: r#"
      (core module $own-memory (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 256)))
      (core instance $own-memory (instantiate $own-memory))
      (alias core export $own-memory "memory" (core memory $own))
      (alias core export $own-memory "realloc" (core func $own-realloc))
      (import "wasi:io/poll@0.2.0" (instance $poll
        (export "pollable" (type $p (sub resource)))
        (export "[method]pollable.block" (func (param "self" (borrow $p))))
        (export "poll" (func (param "in" (list (borrow $p))) (result (list u32))))))
      (alias export $poll "pollable" (type $pollable))
      (import "wasi:clocks/monotonic-clock@0.2.99" (instance $clock
        (alias outer 1 $pollable (type $outer))
        (export "pollable" (type $p (eq $outer)))
        (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
      (core func $subscribe (canon lower (func $clock "subscribe-duration")))
      (core func $block (canon lower (func $poll "[method]pollable.block")))
      (core func $poll-all (canon lower (func $poll "poll") (memory $own) (realloc (func $own-realloc))))
      (core func $drop (canon resource.drop $pollable))
      (core instance $wasi (export "subscribe" (func $subscribe)) (export "block" (func $block))
        (export "drop" (func $drop)) (export "poll" (func $poll-all)))"#,
    with: r#"(with "wasi" (instance $wasi))"#,
    code: r#"(import "wasi" "subscribe" (func $subscribe (param i64) (result i32)))
      (import "wasi" "block" (func $block (param i32))) (import "wasi" "drop" (func $drop (param i32)))
      (import "wasi" "poll" (func $poll (param i32 i32 i32)))"#,
    pages: None,
    init: "",
    process: "",
};

async fn answer(text: Text<'_>, process: &str) -> Result<Outcome, Failure> {
    let factory = factory(Text { process, ..text }.component(), json!({}), limits()).await;
    let (mut instance, _) = factory.start_transform().await.unwrap();
    instance.run(&batch(&["a"])).await
}

/// A trap, and how it begins.
fn assert_trap(result: &Result<Outcome, Failure>, begins: &str) {
    assert!(matches!(result, Err(Failure::Trap(why)) if why.starts_with(begins)), "{result:?}");
}

#[tokio::test]
async fn handles_are_bounded() {
    let hoard = "(loop $more (drop (call $subscribe (i64.const 1))) (br $more))";
    assert_trap(
        &answer(POLLS, hoard).await,
        "it holds 1024 handles of WASI (streams, pollables) and asked for one more",
    );
    let thrifty = "(loop $more (call $drop (call $subscribe (i64.const 1)))
        (local.set $n (i32.add (local.get $n) (i32.const 1))) (br_if $more (i32.lt_u (local.get $n) (i32.const 100000))))";
    assert_eq!(answer(POLLS, thrifty).await.unwrap().answer, Answer::Unchanged);
}

#[tokio::test]
async fn waiting_for_centuries_takes_no_time() {
    let begun = Instant::now();
    let wait = "(call $block (call $subscribe (i64.const -1)))";
    assert_eq!(answer(POLLS, wait).await.unwrap().answer, Answer::Unchanged);
    assert!(begun.elapsed() < Duration::from_secs(600));
}

#[tokio::test]
async fn polling_nothing_or_no_handles_ends_the_guest() {
    assert_trap(&answer(POLLS, "(call $poll (i32.const 0) (i32.const 0) (i32.const 64))").await, "it polls nothing");
    let strange = answer(POLLS, "(call $block (i32.const 77))").await;
    assert!(matches!(strange, Err(Failure::Trap(_) | Failure::Answer(_))), "{strange:?}");
    let many = answer(POLLS, "(call $poll (i32.const 0) (i32.const 1000000000) (i32.const 64))").await;
    assert!(many.is_err(), "{many:?}");
}

/// A guest that imports one interface, with a function that it calls as `call` of `wasi`. What that writes is read by `at`.
fn calling(imports: &str) -> String {
    format!(
        r#"
      (core module $own-memory (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 256))
        (func (export "at") (param i32) (result i32) (i32.load8_u (local.get 0))))
      (core instance $own-memory (instantiate $own-memory))
      (alias core export $own-memory "memory" (core memory $own))
      (alias core export $own-memory "realloc" (core func $own-realloc))
      (alias core export $own-memory "at" (core func $at))
      {imports}
      (core instance $wasi (export "call" (func $lowered)) (export "at" (func $at)))"#
    )
}

#[tokio::test]
async fn too_many_random_bytes_are_not_made() {
    let imports = calling(
        r#"(import "wasi:random/random@0.2.3" (instance $random
             (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
           (core func $lowered (canon lower (func $random "get-random-bytes") (memory $own) (realloc (func $own-realloc))))"#,
    );
    let text = Text { imports: &imports, code: r#"(import "wasi" "call" (func $call (param i64 i32)))"#, ..POLLS };
    let asked = |count: &str| format!("(call $call (i64.const {count}) (i32.const 8))");
    assert_eq!(answer(text, &asked("1000")).await.unwrap().answer, Answer::Unchanged);
    assert_trap(&answer(text, &asked("-1")).await, "it asked for 18446744073709551615 random bytes at once");
}

#[tokio::test]
async fn a_socket_is_an_error_of_the_guest() {
    let errors = r#"(enum "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"
        "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit" "address-not-bindable"
        "address-in-use" "remote-unreachable" "connection-refused" "connection-reset" "connection-aborted"
        "datagram-too-large" "name-unresolvable" "temporary-resolver-failure" "permanent-resolver-failure")"#;
    for kind in ["tcp", "udp"] {
        let imports = calling(&format!(
            r#"(import "wasi:sockets/{kind}-create-socket@0.2.0" (instance $sockets
                 (export "{kind}-socket" (type $socket (sub resource)))
                 (type $errors {errors}) (export "error-code" (type $error (eq $errors)))
                 (type $families (enum "ipv4" "ipv6")) (export "ip-address-family" (type $family (eq $families)))
                 (export "create-{kind}-socket" (func (param "address-family" $family)
                   (result (result (own $socket) (error $error)))))))
               (core func $lowered (canon lower (func $sockets "create-{kind}-socket") (memory $own)))"#
        ));
        let code = r#"(import "wasi" "call" (func $call (param i32 i32)))
            (import "wasi" "at" (func $at (param i32) (result i32)))"#;
        // An error (1), and which: access-denied (1).
        let process = "(call $call (i32.const 0) (i32.const 8))
            (if (i32.ne (call $at (i32.const 8)) (i32.const 1)) (then unreachable))
            (if (i32.ne (call $at (i32.const 12)) (i32.const 1)) (then unreachable))";
        let text = Text { imports: &imports, code, ..POLLS };
        assert_eq!(answer(text, process).await.unwrap().answer, Answer::Unchanged, "{kind}");
    }
}

#[tokio::test]
async fn what_weir_does_not_know_of_wasi_is_there_and_ends_who_calls_it() {
    let imports = calling(
        r#"(import "wasi:clocks/timezone@0.2.1" (instance $zone (export "utc-offset" (func (param "when" u32) (result s32)))))
           (core func $lowered (canon lower (func $zone "utc-offset")))"#,
    );
    let code = r#"(import "wasi" "call" (func $call (param i32) (result i32)))"#;
    let text = Text { imports: &imports, code, ..POLLS };
    assert_eq!(answer(text, "").await.unwrap().answer, Answer::Unchanged);
    let called = answer(text, "(drop (call $call (i32.const 0)))").await;
    assert_trap(&called, "it called utc-offset of wasi:clocks/timezone, which plugins do not have");
}

#[tokio::test]
async fn a_function_of_another_type_is_refused() {
    let imports = r#"(import "wasi:random/random@0.2.0" (instance (export "get-random-u64" (func (result u32)))))"#;
    let refused = engine().load("guest", Text { imports, ..Text::default() }.component()).await.unwrap_err().problem;
    assert!(matches!(&refused, Problem::Type { function, .. } if function.contains("wasi:random")), "{refused}");
}

#[tokio::test]
async fn other_interfaces_of_wasi_are_refused_by_name() {
    for name in ["wasi:http/outgoing-handler@0.2.0", "wasi:io/streams@0.3.0", "wasi:keyvalue/store@0.2.0"] {
        let imports = format!(r#"(import "{name}" (instance (export "f" (func))))"#);
        let refused = engine().load("guest", Text { imports: &imports, ..Text::default() }.component()).await;
        let refused = refused.unwrap_err().problem;
        assert_eq!(refused, Problem::NotGranted { imports: vec![name.into()] });
        let text = refused.to_string();
        assert!(text.contains("version 0.2 of cli, clocks, filesystem, io, random and sockets"), "{text}");
    }
}

#[tokio::test]
async fn its_imports_are_shown() {
    let plugin = load(built("wasi-probe")).await;
    for expected in ["wasi:cli/environment@0.2.", "wasi:filesystem/types@0.2.", "wasi:random/random@0.2."] {
        assert!(plugin.imports().iter().any(|import| import.starts_with(expected)), "{:?}", plugin.imports());
    }
}
