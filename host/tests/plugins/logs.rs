//! What plugins may write to the log.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use weir::plugin::instance::TransformFactory;
use weir::plugin::{Answer, Failure};

use crate::guests::{LOG, Runs as _, Text, batch, factory, hostile, limits};

/// Lines that were logged.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Logs of this thread come here until the guard is dropped.
    pub fn capture(&self) -> tracing::subscriber::DefaultGuard {
        let lines = self.clone();
        let subscriber = tracing_subscriber::fmt().json().with_writer(move || lines.clone()).finish();
        tracing::subscriber::set_default(subscriber)
    }

    /// Those of plugins.
    pub fn read(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["target"] == "weir::plugin").collect()
    }
}

async fn logged(factory: TransformFactory) -> (Vec<Value>, u64) {
    let lines = Lines::default();
    let _guard = lines.capture();
    let (mut instance, _) = factory.start_transform().await.unwrap();
    assert_eq!(instance.run(&batch(&["a"])).await.unwrap().answer, Answer::Unchanged);
    (lines.read(), factory.log_dropped())
}

async fn text(process: &str) -> TransformFactory {
    factory(Text { process, ..LOG }.component(), json!({}), limits()).await
}

#[tokio::test]
async fn a_message_appears_under_the_step() {
    let process = "(call $log (i32.const 1) (i32.const 0) (i32.const 4))";
    let (lines, dropped) = logged(text(process).await).await;
    assert_eq!((lines.len(), dropped), (1, 0));
    assert_eq!((&lines[0]["level"], &lines[0]["fields"]["message"]), (&json!("WARN"), &json!("good")));
    assert_eq!((&lines[0]["fields"]["pipeline"], &lines[0]["fields"]["step"]), (&json!("pipeline"), &json!("step")));
}

#[tokio::test]
async fn a_flood_is_cut_and_counted() {
    let (lines, dropped) = logged(hostile(json!({"do": "log-flood", "messages": 1_000_000}), limits()).await).await;
    let flood = lines.iter().filter(|line| line["fields"]["message"].as_str().unwrap().starts_with("message "));
    let shown = flood.count() as u64;
    // Five for each second that the flood takes: a fraction of one, unless the machine stands still.
    assert!((5..=200).contains(&shown), "{shown}");
    assert_eq!(shown + dropped, 1_000_000);
}

#[tokio::test]
async fn a_fresh_instance_gets_no_new_allowance() {
    let lines = Lines::default();
    let _guard = lines.capture();
    let factory = hostile(json!({"do": "log-flood", "messages": 5}), limits()).await;
    for _ in 0..20 {
        let (mut instance, _) = factory.start_transform().await.unwrap();
        instance.run(&batch(&["a"])).await.unwrap();
    }
    assert!(factory.log_dropped() >= 50, "{}", factory.log_dropped());
    let before = lines.read().len();
    let dropped = factory.log_dropped();
    drop(factory);
    let last = lines.read();
    assert_eq!(last.len(), before + 1, "the end of the step tells what was dropped since the last report");
    let message = last[before]["fields"]["message"].as_str().unwrap();
    assert!(message.contains("log messages dropped: more than 5 in a second"), "{message}");
    assert!(dropped > 0);
}

#[tokio::test]
async fn a_long_message_is_one_short_line() {
    let (lines, _) = logged(hostile(json!({"do": "log-long", "bytes": 500_000}), limits()).await).await;
    let message = lines[0]["fields"]["message"].as_str().unwrap();
    assert!(!message.contains(char::is_control));
    // Each line break and escape takes a few characters more than it had.
    assert!(message.len() <= 4 * 4096 && message.starts_with("\\n\\u{1b}[2Jforged"), "{}", message.len());
}

#[tokio::test]
async fn a_message_that_is_no_text_is_said_to_be_none() {
    let process = "(call $log (i32.const 0) (i32.const 100) (i32.const 1))";
    let (lines, _) = logged(text(process).await).await;
    assert_eq!(lines[0]["fields"]["message"], "(a message that is not UTF-8)");
}

#[tokio::test]
async fn messages_out_of_nowhere_end_the_guest() {
    for call in ["(i32.const 0) (i32.const 0) (i32.const -1)", "(i32.const 9) (i32.const 0) (i32.const 1)"] {
        let process = format!("(call $log {call})");
        let factory = text(&process).await;
        let (mut instance, _) = factory.start_transform().await.unwrap();
        let failure = instance.run(&batch(&["a"])).await.unwrap_err();
        assert!(matches!(failure, Failure::Answer(_) | Failure::Trap(_)), "{failure:?}");
    }
}
