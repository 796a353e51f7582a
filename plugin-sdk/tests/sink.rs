//! A sink sees each record under its id, and its rejects come back as the contract wants them.

use weir_plugin::serde_json::json;
use weir_plugin::testing::{SinkHarness, TestRecord, take_logs};
use weir_plugin::{ConfigError, Context, Delivery, NoConfig, Record, RecordId, Reject, Rejects, Result, Sink};

struct ByRecord;

impl Sink for ByRecord {
    type Config = NoConfig;

    fn new(_: NoConfig, _: &Context) -> Result<Self, ConfigError> {
        Ok(ByRecord)
    }

    fn write(&mut self, record: Record<'_>, id: RecordId<'_>) -> Result<()> {
        match record.text()? {
            "away" => Err(Reject::retriable("the service is away")),
            text => {
                weir_plugin::debug!("{id} {text}");
                Ok(())
            }
        }
    }
}

struct ByBatch;

impl Sink for ByBatch {
    type Config = NoConfig;

    fn new(_: NoConfig, _: &Context) -> Result<Self, ConfigError> {
        Ok(ByBatch)
    }

    fn write(&mut self, _: Record<'_>, _: RecordId<'_>) -> Result<()> {
        Err("only batches".into())
    }

    fn write_batch(&mut self, delivery: &Delivery<'_>, rejects: &mut Rejects) {
        let all: Vec<_> = delivery.iter().collect();
        for (record, id) in all.iter().rev() {
            rejects.add(*record, format!("first of {id}"));
            rejects.add(*record, Reject::retriable("second"));
        }
    }
}

#[test]
fn records_are_written_under_their_ids() {
    take_logs();
    let mut sink = SinkHarness::<ByRecord>::new(json!({})).unwrap();
    let rejects = sink.write([TestRecord::of("one"), TestRecord::of("away"), TestRecord::default(), "two".into()]);
    let messages: Vec<_> = take_logs().into_iter().map(|(_, message)| message).collect();
    assert_eq!(messages, ["test:0:0:0 one", "test:0:3:0 two"]);
    let rejects: Vec<_> = rejects.iter().map(|r| (r.index, r.reason.as_str(), r.retriable)).collect();
    assert_eq!(rejects, [(1, "the service is away", true), (2, "expected text, got a tombstone", false)]);
}

#[test]
fn rejects_of_a_batch_ascend_and_the_first_of_a_record_counts() {
    let mut sink = SinkHarness::<ByBatch>::new(json!({})).unwrap();
    let rejects = sink.write(["a", "b"]);
    let rejects: Vec<_> = rejects.iter().map(|r| (r.index, r.reason.as_str(), r.retriable)).collect();
    assert_eq!(rejects, [(0, "first of test:0:0:0", false), (1, "first of test:0:1:0", false)]);
}
