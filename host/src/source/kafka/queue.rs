//! One partition of one topic: messages out of librdkafka's queue into chunks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use tokio::time::Instant;

use crate::kafka::{Context, Signals};
use crate::record::{Batch, Offset, Port, Record, Timestamp, push_header};
use crate::source::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX};

/// How long a partition has to be quiet before a position is moved past what holds no records.
const QUIET: Duration = Duration::from_secs(1);

/// A partition that is read.
pub struct Queue {
    pub topic: String,
    pub source: Arc<str>,
    queue: PartitionQueue<Context>,
    /// The offset to read next.
    pub next: u64,
    /// Where to stop, where the source is drained.
    until: Option<u64>,
    /// The end, if it was met since the last record: up to here there is nothing to read.
    end: Option<(u64, Instant)>,
    headers: Vec<u8>,
    /// An error that came behind records.
    failed: Option<KafkaError>,
}

/// What a look at a queue found.
pub enum Found {
    /// Nothing now.
    Nothing,
    /// Records.
    Records(Batch),
    /// The position is not there any more, or the end is lost.
    OutOfRange,
    /// Something else that needs a look.
    Failed(KafkaError),
}

impl Queue {
    /// A queue that was split from its consumer.
    pub fn new(queue: PartitionQueue<Context>, topic: String, source: Arc<str>, next: u64, until: Option<u64>) -> Self {
        Queue { topic, source, queue, next, until, end: None, headers: Vec::new(), failed: None }
    }

    /// Calls this whenever the queue has something to look at.
    pub fn on_ready(&mut self, call: impl Fn() + Send + Sync + 'static) {
        self.queue.set_nonempty_callback(call);
    }

    /// Whether all was read that was to be read.
    pub fn is_done(&self) -> bool {
        self.until.is_some_and(|until| self.next >= until)
    }

    /// Takes what is there, up to a chunk of it. Never waits.
    pub fn take(&mut self, signals: &Signals) -> Found {
        let mut records = Batch::default();
        let has_room = |records: &Batch| records.len() < BATCH_RECORDS_MAX && records.bytes() < BATCH_BYTES_MAX;
        while has_room(&records) && self.failed.is_none() && !self.is_done() {
            match self.queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    let offset = message.offset().max(0) as u64;
                    if self.until.is_some_and(|until| offset >= until) {
                        self.next = self.until.unwrap_or(offset);
                        break;
                    }
                    push(&mut records, &message, &mut self.headers);
                    self.next = offset + 1;
                    self.end = None;
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    let end = signals.take_end().map_or(self.next, |end| end as u64);
                    self.end = Some((end.max(self.next), Instant::now()));
                    if self.until.is_some_and(|until| end >= until) {
                        self.next = self.next.max(end);
                    }
                    break;
                }
                // What was taken before goes first.
                Some(Err(error)) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        match self.failed.take() {
            Some(error) if records.is_empty() => failure(error),
            held => {
                self.failed = held;
                if records.is_empty() { Found::Nothing } else { Found::Records(records) }
            }
        }
    }

    /// Moves the position to the end of a partition that has been quiet, past the marks that transactions leave there.
    /// Returns whether it moved.
    pub fn rest(&mut self) -> bool {
        match self.end {
            Some((end, since)) if end > self.next && since.elapsed() >= QUIET => {
                self.next = end;
                true
            }
            _ => false,
        }
    }
}

fn failure(error: KafkaError) -> Found {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::LogTruncation,
        ) => Found::OutOfRange,
        _ => Found::Failed(error),
    }
}

fn push(records: &mut Batch, message: &BorrowedMessage<'_>, headers: &mut Vec<u8>) {
    headers.clear();
    if let Some(from) = message.headers() {
        for at in 0..from.count() {
            // The binding panics where a name is not UTF-8, and a record cannot have such a name here.
            match catch_unwind(AssertUnwindSafe(|| from.try_get(at))) {
                Ok(Some(header)) => push_header(headers, header.key, header.value),
                Ok(None) => {}
                Err(_) => {
                    let (topic, offset) = (message.topic(), message.offset());
                    tracing::warn!(topic, offset, "a header was left out: its name is not UTF-8");
                }
            }
        }
    }
    records.push(&Record {
        key: message.key(),
        value: message.payload(),
        headers_raw: headers,
        offset: Offset(message.offset().max(0) as u64),
        timestamp: Timestamp(message.timestamp().to_millis().unwrap_or(0)),
        port: Port(0),
    });
}
