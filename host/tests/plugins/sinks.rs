//! Plugins of the world `sink`.

use serde_json::json;
use weir::plugin::load::Problem;
use weir::plugin::{Failure, StartError};
use weir::record::Reject;

use crate::guests::{batch, context, limits, load, sink, stock};

/// Rejects the record whose index is the second ordinal, and gives the source as the reason.
const REJECT: &str = "
    (i32.store (i32.const 2048) (i32.const 3000))
    (i32.store (i32.const 2052) (i32.const 1))
    (i32.store (i32.const 3000) (i32.load offset=4 (local.get $ordinals)))
    (i32.store (i32.const 3004) (local.get $source))
    (i32.store (i32.const 3008) (local.get $source-len))
    (i32.store (i32.const 3012) (i32.const 1))";

#[tokio::test]
async fn a_sink_sees_source_and_ordinals_and_says_what_it_refused() {
    let factory = load(sink(REJECT)).await.sink(context(), json!({}), limits()).unwrap();
    let mut instance = factory.start().await.unwrap();
    let rejects = instance.write("logins/3", &batch(&["a", "b"]), &[0, 1]).await.unwrap();
    assert_eq!(rejects, [Reject { index: 1, reason: "logins/3".into(), retriable: true }]);
}

#[tokio::test]
async fn a_sink_that_names_no_record_is_at_fault_and_not_asked_again() {
    let factory = load(sink(REJECT)).await.sink(context(), json!({}), limits()).unwrap();
    let mut instance = factory.start().await.unwrap();
    let failure = instance.write("logins/3", &batch(&["a", "b"]), &[0, 2]).await.unwrap_err();
    assert_eq!(failure, Failure::Answer("rejects[0] is record 2, but the batch has 2 records".into()));
    let failure = instance.write("logins/3", &batch(&["a", "b"]), &[0, 1]).await.unwrap_err();
    assert!(matches!(failure, Failure::Trap(_)), "{failure}");
    let fresh = factory.start().await.unwrap().write("logins/3", &batch(&["a", "b"]), &[0, 1]).await;
    assert_eq!(fresh.unwrap().len(), 1);
}

#[tokio::test]
async fn a_sink_may_refuse_its_configuration() {
    let factory = load(sink("")).await.sink(context(), json!({"a": 1}), limits()).unwrap();
    let text = r#"{"a":1}"#.to_owned();
    assert_eq!(factory.start().await.err(), Some(StartError::Config { path: text.clone(), message: text }));
}

#[tokio::test]
async fn stock_sinks_reach_nothing_that_their_step_was_not_granted() {
    for (name, capability) in
        [("sql-sink", "database"), ("impala-sink", "database"), ("kudu-sink", "kudu"), ("slack-notifier", "slack")]
    {
        let refused = load(stock(name)).await.sink(context(), json!({}), limits()).err().unwrap();
        let imports = vec![format!("weir:plugin/{capability}@0.1.0")];
        assert_eq!(refused.problem, Problem::NotGranted { imports }, "{name}");
        assert!(refused.to_string().contains(&format!("grants: {{{capability}: NAME}}")), "{refused}");
    }
}
