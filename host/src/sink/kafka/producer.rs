//! A producer: records in, refusals out. Blocks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};

use super::topic::Rules;
use super::{Opening, transactional_id};
use crate::config::KafkaDelivery;
use crate::kafka::{Signals, client, words};
use crate::record::Record;
use crate::source::Error;

/// How long the queue of librdkafka is left to itself before it is looked at again.
const LOOK_EVERY: Duration = Duration::from_micros(500);
/// Events that are taken in at a look: errors, which come while brokers are away.
const EVENTS_PER_LOOK: usize = 16;
/// How long records wait for others to share a batch, unless the pipeline file says otherwise.
const LINGER_MS: &str = "1";
/// Bytes of a batch, where what the topic takes is not known: small enough for nearly every one.
const BATCH_BYTES_UNKNOWN: usize = 16 << 10;
/// Bytes of a batch otherwise, at most.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// The bounds that librdkafka sets for `message.max.bytes`.
const MESSAGE_BYTES: (usize, usize) = (1_000, 1_000_000_000);

/// Why librdkafka does not take a record.
pub const TOO_LARGE: &str = "the record is too large for one request";

/// The header of an output's id, where a crash may repeat it: `SOURCE@OFFSET.ORDINAL`.
pub const HEADER_ID: &str = "weir-id";

/// Which record of which batch: the batch's number in the upper half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    pub batch: u32,
    pub index: u32,
}

/// What a producer has reported.
#[derive(Debug)]
pub struct Reports {
    pub signals: Arc<Signals>,
    failed: Mutex<Vec<Failed>>,
}

/// A record that was not taken.
#[derive(Debug, Clone)]
pub struct Failed {
    pub tag: Tag,
    pub code: RDKafkaErrorCode,
    pub bytes: usize,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.signals.on_log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.signals.on_error(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, tag: usize) {
        let tag = Tag { batch: (tag >> 32) as u32, index: tag as u32 };
        if let Err((error, message)) = result {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
            let bytes = message.key().map_or(0, <[u8]>::len) + message.payload().map_or(0, <[u8]>::len);
            self.lock().push(Failed { tag, code, bytes });
        }
    }
}

impl Reports {
    fn lock(&self) -> MutexGuard<'_, Vec<Failed>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How handing over a record ended.
pub enum Handed {
    /// It is on its way.
    Over,
    /// The library itself refuses it: it is too large.
    Refused,
}

/// A producer to one topic.
pub struct Producer {
    pub native: BaseProducer<Reports>,
    topic: String,
}

impl Producer {
    /// A producer that takes what the topic takes.
    pub fn new(opening: &Opening, rules: &Rules, signals: &Arc<Signals>) -> Result<Producer, Error> {
        let settings = &opening.settings;
        let mut config = client::settings(&settings.cluster)?;
        let batch = if rules.are_known { BATCH_BYTES_MAX.min(rules.bytes_max) } else { BATCH_BYTES_UNKNOWN };
        for (name, value) in [("linger.ms", LINGER_MS.to_owned()), ("batch.size", batch.to_string())] {
            if !settings.cluster.properties.contains_key(name) {
                config.set(name, value);
            }
        }
        if settings.delivery == KafkaDelivery::ExactlyOnce {
            config.set("transactional.id", transactional_id(opening));
        }
        // What was taken is known once nothing is in flight; only what was not has to be reported.
        config.set("delivery.report.only.error", "true");
        config.set("enable.idempotence", "true");
        config.set("partitioner", "murmur2_random");
        config.set("compression.type", &settings.compression);
        config.set("message.max.bytes", rules.bytes_max.clamp(MESSAGE_BYTES.0, MESSAGE_BYTES.1).to_string());
        config.set("queue.buffering.max.messages", "0");
        config.set("queue.buffering.max.kbytes", (opening.bytes_max / 1024).max(64).to_string());
        let reports = Reports { signals: signals.clone(), failed: Mutex::default() };
        let native = config.create_with_context(reports).map_err(|error| words::not_created(&error))?;
        Ok(Producer { native, topic: settings.topic.clone() })
    }

    /// Hands a record over; waits while the queue is full. `id` becomes a header.
    pub fn send(&self, record: &Record<'_>, tag: Tag, id: Option<&str>) -> Result<Handed, KafkaError> {
        let mut to_send = BaseRecord::with_opaque_to(&self.topic, (tag.batch as usize) << 32 | tag.index as usize);
        to_send.key = record.key;
        to_send.payload = record.value;
        // A record without a time gets that of sending, as librdkafka reads 0.
        to_send.timestamp = Some(record.timestamp.0.max(0));
        to_send.headers = headers(record, id);
        loop {
            let Err((error, unsent)) = self.native.send(to_send) else { return Ok(Handed::Over) };
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => self.look(),
                Some(RDKafkaErrorCode::MessageSizeTooLarge) => return Ok(Handed::Refused),
                _ => return Err(error),
            }
            to_send = unsent;
        }
    }

    /// Waits a moment, and lets librdkafka report. Its binding is not asked to wait: what is left of a millisecond it takes for
    /// none, and goes round until it is over. Without a time to wait, it takes one event.
    pub fn look(&self) {
        std::thread::sleep(LOOK_EVERY);
        for _ in 0..EVENTS_PER_LOOK {
            self.native.poll(Duration::ZERO);
        }
    }

    /// The records that were refused since the last call.
    pub fn reports(&self) -> Vec<Failed> {
        std::mem::take(&mut *self.native.context().lock())
    }
}

fn headers(record: &Record<'_>, id: Option<&str>) -> Option<OwnedHeaders> {
    if record.headers_raw.is_empty() && id.is_none() {
        return None;
    }
    let mut headers = OwnedHeaders::new();
    for (name, value) in record.headers() {
        headers = headers.insert(Header { key: name, value });
    }
    if let Some(id) = id {
        headers = headers.insert(Header { key: HEADER_ID, value: Some(id) });
    }
    Some(headers)
}

/// Whether a broker refuses the record itself: trying again gives the same answer.
pub fn is_for_good(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{InvalidMessageSize, InvalidRecord, InvalidTimestamp, MessageSizeTooLarge};
    matches!(code, MessageSizeTooLarge | InvalidMessageSize | InvalidRecord | InvalidTimestamp)
}

/// The records to blame among those that were refused. Of those that were refused for their size it is the largest: the
/// others were in its batch.
pub fn to_blame(failed: &[Failed]) -> Vec<&Failed> {
    let too_large = |failed: &&Failed| failed.code == RDKafkaErrorCode::MessageSizeTooLarge;
    let mut blamed: Vec<&Failed> = failed.iter().filter(|of| is_for_good(of.code) && !too_large(of)).collect();
    blamed.extend(failed.iter().filter(too_large).max_by_key(|failed| failed.bytes));
    blamed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_is_to_blame_for_a_batch_that_is_too_large() {
        let failed = |index, code, bytes| Failed { tag: Tag { batch: 0, index }, code, bytes };
        let all = [
            failed(0, RDKafkaErrorCode::MessageSizeTooLarge, 5),
            failed(1, RDKafkaErrorCode::MessageSizeTooLarge, 9),
            failed(2, RDKafkaErrorCode::InvalidRecord, 1),
            failed(3, RDKafkaErrorCode::InvalidDifferentRecord, 1),
        ];
        let blamed: Vec<u32> = to_blame(&all).iter().map(|failed| failed.tag.index).collect();
        assert_eq!(blamed, [2, 1]);
    }
}
