//! A test plugin: a sink that delivers to the appliance's log, one message a record: its id, and its value.
//!
//! A value that contains `reject-me` is rejected for good, and `retry-me` with the hope that a later try succeeds.

use weir_plugin::{ConfigError, Context, NoConfig, Record, RecordId, Reject, Result, Sink};

/// Writes records to the log.
#[derive(Debug)]
pub struct LogSink;

impl Sink for LogSink {
    type Config = NoConfig;

    fn new(_: NoConfig, _: &Context) -> Result<Self, ConfigError> {
        Ok(LogSink)
    }

    fn write(&mut self, record: Record<'_>, id: RecordId<'_>) -> Result<()> {
        let text = record.text()?;
        if text.contains("reject-me") {
            return Err(Reject::permanent("the record asked to be rejected"));
        }
        if text.contains("retry-me") {
            return Err(Reject::retriable("the record asked to be tried again"));
        }
        weir_plugin::info!("{id} {text}");
        Ok(())
    }
}

weir_plugin::export_sink!(LogSink);

#[cfg(test)]
mod tests {
    use weir_plugin::serde_json::json;
    use weir_plugin::testing::{SinkHarness, take_logs};

    use super::*;

    #[test]
    fn each_record_is_one_message() {
        let rejects = SinkHarness::<LogSink>::new(json!({})).unwrap().write(["a", "retry-me", "reject-me", "b"]);
        let messages: Vec<_> = take_logs().into_iter().map(|(_, message)| message).collect();
        assert_eq!(messages, ["test:0:0:0 a", "test:0:3:0 b"]);
        let rejects: Vec<_> = rejects.iter().map(|reject| (reject.index, reject.retriable)).collect();
        assert_eq!(rejects, [(1, true), (2, false)]);
    }
}
