//! Guests that lie about memory: lengths that are not there, pointers to nowhere, components that begin too large.
//!
//! Each is a component as text, as no compiler would make it.

use serde_json::json;
use weir::plugin::{Factory, Failure, StartError};

use crate::guests::{Runs as _, Text, answering, batch, engine, factory, hurried, limits, resident_bytes};

async fn failure(wasm: Vec<u8>) -> Failure {
    let factory = factory(wasm, json!({}), limits()).await;
    let (mut instance, _) = factory.start_transform().await.unwrap();
    let failure = instance.run(&batch(&["a", "b", "c"])).await.expect_err("must fail");
    assert!(matches!(instance.run(&batch(&["a"])).await, Err(Failure::Trap(_))), "a failed guest ran on");
    let (mut fresh, _) = factory.start_transform().await.unwrap();
    assert_eq!(fresh.run(&batch(&["a", "b", "c"])).await, Err(failure.clone()), "the next one fails otherwise");
    failure
}

async fn start_error(text: Text<'_>) -> StartError {
    factory(text.component(), json!({}), hurried()).await.start().await.err().expect("must not start")
}

fn store(at: u32, number: u32) -> String {
    format!("(i32.store (i32.const {}) (i32.const {number}))\n", 2048 + at)
}

/// An answer of a case, with a list at 4.
fn answer(case: u32, pointer: u32, len: u32) -> String {
    store(0, case) + &store(4, pointer) + &store(8, len)
}

const SELECT: u32 = 1;
const REPLACED: u32 = 2;

#[tokio::test]
async fn lists_longer_than_the_memory_are_not_read() {
    let before = resident_bytes();
    for len in [u32::MAX, u32::MAX / 4, 1 << 30, (2 << 20) / 4 + 1] {
        let lists = [answer(SELECT, 0, len), answer(REPLACED, 0, len)];
        let columns = [12, 20, 28].map(|column| store(0, REPLACED) + &store(column, 0) + &store(column + 4, len));
        let rejects = [store(36, 0) + &store(40, len)];
        for process in lists.iter().chain(&columns).chain(&rejects) {
            let failure = failure(answering(process)).await;
            let is_refused = matches!(failure, Failure::Answer(_) | Failure::Output { .. });
            assert!(is_refused, "{len}: {failure:?}");
        }
    }
    assert!(resident_bytes().saturating_sub(before) < 64 << 20);
}

#[tokio::test]
async fn a_list_past_the_end_of_memory_breaks_the_contract() {
    for (pointer, len) in [(0, u32::MAX), (u32::MAX - 3, 1), (32 * 65_536 - 4, 2)] {
        let failure = failure(answering(&answer(SELECT, pointer, len))).await;
        assert_eq!(failure, Failure::Answer("list pointer/length out of bounds of memory".into()));
    }
    let failure = failure(answering(&answer(SELECT, 2, 1))).await;
    assert_eq!(failure, Failure::Answer("list pointer is not aligned".into()));
}

/// 2 MiB of memory are enough to speak of gigabytes: 60,000 rejects that all point at the same megabyte.
#[tokio::test]
async fn many_texts_over_the_same_bytes_count_each() {
    let process = store(36, 1 << 20)
        + &store(40, 60_000)
        + "(loop $each
          (i32.store offset=1048576 (i32.mul (local.get $n) (i32.const 16)) (local.get $n))
          (i32.store offset=1048580 (i32.mul (local.get $n) (i32.const 16)) (i32.const 0))
          (i32.store offset=1048584 (i32.mul (local.get $n) (i32.const 16)) (i32.const 1024))
          (i32.store offset=1048588 (i32.mul (local.get $n) (i32.const 16)) (i32.const 0))
          (local.set $n (i32.add (local.get $n) (i32.const 1)))
          (br_if $each (i32.lt_u (local.get $n) (i32.const 60000))))";
    let before = resident_bytes();
    assert_eq!(failure(answering(&process)).await, Failure::Output { limit_bytes: 1 << 20 });
    assert!(resident_bytes().saturating_sub(before) < 64 << 20);
}

#[tokio::test]
async fn values_that_are_no_values_break_the_contract() {
    assert!(matches!(failure(answering(&store(0, 3))).await, Failure::Answer(_)), "no such case");
    let not_utf8 = store(36, 3000 + 4)
        + &store(40, 1)
        + "(i32.store8 (i32.const 4000) (i32.const 0xff))
           (i32.store (i32.const 3008) (i32.const 4000)) (i32.store (i32.const 3012) (i32.const 1))";
    assert!(matches!(failure(answering(&not_utf8)).await, Failure::Answer(_)), "not UTF-8");
    let nowhere = failure(answering("(return (i32.const -4))")).await;
    assert!(matches!(nowhere, Failure::Answer(_)), "{nowhere:?}");
    let unaligned = failure(answering("(return (i32.const 2049))")).await;
    assert!(matches!(unaligned, Failure::Answer(_)), "{unaligned:?}");
}

#[tokio::test]
async fn an_access_outside_of_memory_traps() {
    for address in ["-1", "0x7fffffff"] {
        let failure = failure(answering(&format!("(drop (i32.load (i32.const {address})))"))).await;
        assert_eq!(failure, Failure::Trap("out of bounds memory access".into()));
    }
}

#[tokio::test]
async fn a_component_that_begins_too_large_does_not_start() {
    let memory_error = |error: &StartError| matches!(error, StartError::Failed(Failure::Memory { limit_bytes, .. }) if *limit_bytes == 16 << 20);
    let error = start_error(Text { pages: Some(257), ..Text::default() }).await;
    assert!(memory_error(&error), "{error:?}");
    let two = "(core module $second (memory 200)) (core instance $second (instantiate $second))";
    let error = start_error(Text { imports: two, pages: Some(200), ..Text::default() }).await;
    assert!(memory_error(&error), "{error:?}");
    let table = Text { code: "(table 1000000 funcref)", ..Text::default() }.component();
    let error = engine().load("guest", table).await.unwrap_err().to_string();
    assert!(error.contains("table index 0 has a minimum element size of 1000000"), "{error}");
}

#[tokio::test]
async fn a_start_function_has_limits_too() {
    let endless = "(func $begin (loop $again (br $again))) (start $begin)";
    let error = start_error(Text { code: endless, ..Text::default() }).await;
    assert_eq!(error, StartError::Failed(Failure::Time { limit_ms: 200 }));
    let trapping = "(func $begin unreachable) (start $begin)";
    let error = start_error(Text { code: trapping, ..Text::default() }).await;
    assert!(matches!(error, StartError::Failed(Failure::Trap(_))), "{error}");
}
