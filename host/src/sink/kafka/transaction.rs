//! Exactly once: batches in transactions, each with a marker of what it delivered.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::ledger::{Id, Ledger, Settled, SourceHash, hash};
use super::producer::{Handed, Producer, TOO_LARGE, Tag, to_blame};
use super::topic::Rules;
use super::{Opening, Request, Requests, position_key, transactional_id};
use crate::kafka::topics::{ANSWER_TIME_MAX, ask};
use crate::kafka::words::{self, Doing};
use crate::kafka::{Context, Signals};
use crate::record::{Output, Reject};
use crate::sink::{Delivery, Error};

/// Bytes of a marker at most: brokers take 4,096 of text (`offset.metadata.max.bytes`), which is base64.
const MARKER_BYTES_MAX: usize = 3_000;
/// Bytes of a marker after which it is looked what of it the store has committed.
const MARKER_BYTES_SMALL: usize = MARKER_BYTES_MAX / 2;
/// How long one step of a transaction may take before a new producer tries.
const STEP_TIME_MAX: Duration = Duration::from_secs(60);
/// How long the store may take to commit what a marker has no room for.
const STORE_TIME_MAX: Duration = Duration::from_secs(20);
/// How long giving up an open transaction may take. It is done so that readers need not wait until it times out.
const ABORT_TIME_MAX: Duration = Duration::from_secs(5);
/// How often a transaction is tried again after brokers refused records of it. librdkafka does not count the records of the
/// transaction that it aborts then, so the next one fails too, for a gap in its sequence; after that it begins a new one.
const TRIES_AFTER_REFUSAL: u32 = 3;
/// The pause before the store is asked again what it has committed.
const STORE_PAUSE: Duration = Duration::from_millis(5);
/// The partition of the topic under which the marker is kept.
const MARKER_PARTITION: i32 = 0;

/// Transactions, one after the other.
pub(super) struct Transactions<'a> {
    opening: &'a Opening,
    runtime: &'a Handle,
    id: String,
    rules: Rules,
    producer: Producer,
    group: ConsumerGroupMetadata,
    ledger: Ledger,
    /// What the store was told last.
    told: Settled,
}

/// How trying a transaction ended.
enum Attempt {
    Committed,
    /// The brokers refused records, which are known now.
    Refused,
    /// Records could not be written, and none of them is to blame.
    Failed(Error),
}

/// A batch in a transaction.
struct Part {
    source: SourceHash,
    rejects: BTreeMap<u32, String>,
    /// Its records that are in Kafka already.
    known: Vec<bool>,
    settled: Settled,
}

impl<'a> Transactions<'a> {
    /// Fences an older self, settles its last transaction, and reads what it delivered.
    pub(super) fn open(
        opening: &'a Opening,
        rules: Rules,
        producer: Producer,
        consumer: &BaseConsumer<Context>,
        runtime: &'a Handle,
    ) -> Result<Self, Error> {
        let id = transactional_id(opening);
        let topic = &opening.settings.topic;
        let what = format!("begin transactions as {id}");
        let needs = format!(
            "Write and Describe on the transactional id {id}, Read on the group {id}, and Write on the topic {topic}"
        );
        let doing = Doing { cluster: &opening.settings.cluster, what: &what, needs: &needs };
        init(&producer, &doing)?;
        let marker = read_marker(consumer, topic, &doing)?;
        let stored = runtime.block_on(opening.store.position(&position_key(opening)));
        let stored = stored.map_err(|error| Error::stop(error.to_string()))?;
        let settled = match &stored {
            None => Settled::default(),
            Some(position) => Settled::decode(position)
                .ok_or_else(|| Error::stop(format!("the position of {id} is none of a kafka sink")))?,
        };
        opening.writers.admit(&id, marker.as_ref().map(|(ledger, nonce)| (*nonce, ledger.epoch())))?;
        if marker.is_none() && settled.epoch > 0 {
            tracing::warn!(
                sink = &*opening.name,
                "Kafka has forgotten the marker of the last transaction, as it does after `offsets.retention.minutes`; had the last run ended within a commit, its last records would come twice"
            );
        }
        let ledger = Ledger::open(marker.map(|(ledger, _)| ledger), &settled);
        if ledger.in_doubt() > 0 {
            tracing::info!(
                sink = &*opening.name,
                epoch = ledger.epoch(),
                "the last transaction was not committed here: what it delivered is not sent again"
            );
        }
        let group = consumer.group_metadata().ok_or_else(|| Error::stop("the marker's group is missing"))?;
        let told = ledger.settled(ledger.epoch());
        Ok(Transactions { opening, runtime, id, rules, producer, group, ledger, told })
    }

    /// Delivers until nobody sends any more, or something fails that a new producer may mend.
    pub(super) fn run(mut self, requests: Requests) {
        let ended = super::serve(requests, |group, requests| self.deliver(group, requests));
        if ended.is_err()
            && let Err(error) = self.producer.native.abort_transaction(ABORT_TIME_MAX)
        {
            tracing::debug!(sink = &*self.opening.name, "the transaction could not be aborted: {error}");
        }
    }

    /// Delivers a group of batches in one transaction, or without one where all of it is in Kafka already.
    fn deliver(&mut self, group: &[Request], requests: &Requests) -> Result<Vec<Delivery>, Error> {
        let mut parts: Vec<Part> = group.iter().map(|request| self.plan(&request.output)).collect();
        let is_new = |(request, part): (&Request, &Part)| part.to_send(&request.output).next().is_some();
        if group.iter().zip(&parts).any(is_new) {
            self.commit_parts(group, &mut parts, requests)?;
        } else {
            self.record(group, &mut parts);
        }
        let mut deliveries = Vec::with_capacity(parts.len());
        for part in parts {
            let rejects = part.rejects.into_iter().map(|(index, reason)| Reject { index, reason, retriable: false });
            let mut delivery = Delivery { rejects: rejects.collect(), ..Delivery::default() };
            if part.settled != self.told {
                delivery.positions.push((position_key(self.opening), part.settled.encode()));
                self.told = part.settled;
            }
            deliveries.push(delivery);
        }
        Ok(deliveries)
    }

    /// What is to be done with each record of a batch.
    fn plan(&self, output: &Output) -> Part {
        let source = hash(&output.source);
        let mut part = Part {
            source,
            rejects: BTreeMap::new(),
            known: vec![false; output.records.len()],
            settled: Settled::default(),
        };
        for (index, (record, known)) in (0..).zip(output.records.iter().zip(&mut part.known)) {
            *known = self.ledger.has(source, id_of(output, index));
            if !*known && let Some(reason) = self.rules.refuse(&self.opening.settings.topic, &record) {
                part.rejects.insert(index, reason);
            }
        }
        part
    }

    /// Tries until the transaction is committed, each time without the records that were refused by then.
    fn commit_parts(&mut self, group: &[Request], parts: &mut [Part], requests: &Requests) -> Result<(), Error> {
        let mut tries_left = 0;
        loop {
            match self.attempt(group, parts, requests)? {
                Attempt::Committed => return Ok(()),
                Attempt::Refused => tries_left = TRIES_AFTER_REFUSAL,
                Attempt::Failed(error) if tries_left == 0 => return Err(error),
                Attempt::Failed(_) => tries_left -= 1,
            }
            let aborted = self.producer.native.abort_transaction(STEP_TIME_MAX);
            aborted.map_err(|error| self.failed(&error))?;
        }
    }

    fn attempt(&mut self, group: &[Request], parts: &mut [Part], requests: &Requests) -> Result<Attempt, Error> {
        self.producer.native.begin_transaction().map_err(|error| self.failed(&error))?;
        self.produce(group, parts)?;
        if let Some(failed) = self.wait(parts, requests)? {
            return Ok(failed);
        }
        self.record(group, parts);
        let marker = self.marker()?;
        self.send_marker(&marker)?;
        self.commit()?;
        self.signals().works();
        self.ledger.committed();
        if let Some(last) = parts.last_mut() {
            last.settled = self.ledger.settled(self.ledger.epoch());
        }
        Ok(Attempt::Committed)
    }

    /// Hands the records over.
    fn produce(&self, group: &[Request], parts: &mut [Part]) -> Result<(), Error> {
        // What an earlier attempt reported late is of no use any more.
        let _ = self.producer.reports();
        for (batch, (request, part)) in (0..).zip(group.iter().zip(parts)) {
            let mut refused = Vec::new();
            for index in part.to_send(&request.output) {
                let Some(record) = request.output.records.get(index as usize) else { continue };
                match self.producer.send(&record, Tag { batch, index }, None) {
                    Ok(Handed::Over) => {}
                    Ok(Handed::Refused) => refused.push(index),
                    Err(error) => return Err(self.failed(&error)),
                }
            }
            // They were not sent, so the transaction is good without them.
            part.rejects.extend(refused.into_iter().map(|index| (index, TOO_LARGE.to_owned())));
        }
        Ok(())
    }

    /// Waits until nothing is on its way. Returns why the transaction has to be given up, where it has to.
    fn wait(&self, parts: &mut [Part], requests: &Requests) -> Result<Option<Attempt>, Error> {
        while self.producer.native.in_flight_count() > 0 {
            self.producer.look();
            // The task has gone, and nobody waits for the answer.
            if requests.is_closed() {
                return Err(super::ended());
            }
        }
        let failed = self.producer.reports();
        let Some(first) = failed.first() else { return Ok(None) };
        let blamed = to_blame(&failed);
        if blamed.is_empty() {
            return Ok(Some(Attempt::Failed(self.failed(&KafkaError::MessageProduction(first.code)))));
        }
        for failed in blamed {
            if let Some(part) = parts.get_mut(failed.tag.batch as usize) {
                part.rejects.insert(
                    failed.tag.index,
                    format!("the broker refused the record: {}", words::meaning(failed.code)),
                );
            }
        }
        Ok(Some(Attempt::Refused))
    }

    /// Keeps in the ledger what becomes of the batches.
    fn record(&mut self, group: &[Request], parts: &mut [Part]) {
        let epoch = self.ledger.epoch();
        for (request, part) in group.iter().zip(parts) {
            let rejects = &part.rejects;
            let indexes = 0..request.output.records.len() as u32;
            let mut outcomes: Vec<(Id, bool)> =
                indexes.map(|index| (id_of(&request.output, index), !rejects.contains_key(&index))).collect();
            outcomes.sort_unstable();
            self.ledger.record(part.source, &outcomes);
            part.settled = self.ledger.settled(epoch);
        }
    }

    /// The marker, small enough for the brokers: what the store has committed is left out once it grows.
    fn marker(&mut self) -> Result<Vec<u8>, Error> {
        let nonce = self.opening.writers.own;
        let mut marker = self.ledger.encode(nonce);
        let end = Instant::now() + STORE_TIME_MAX;
        while marker.len() > MARKER_BYTES_SMALL {
            let settled = self.runtime.block_on(self.opening.store.position(&position_key(self.opening)));
            let settled = settled.map_err(|error| Error::stop(error.to_string()))?;
            self.ledger.prune(&settled.and_then(|position| Settled::decode(&position)).unwrap_or_default());
            marker = self.ledger.encode(nonce);
            if marker.len() <= MARKER_BYTES_MAX {
                break;
            }
            if Instant::now() < end {
                std::thread::sleep(STORE_PAUSE);
            } else if self.ledger.forget_oldest_doubt() {
                tracing::warn!(
                    sink = &*self.opening.name,
                    "too much is in doubt to be remembered: some records may come twice"
                );
            } else {
                return Err(Error::stop(format!(
                    "the topic {} refuses too many records of one batch for all of them to be remembered; see why they are refused (`weir tap dead-letters`), or use `delivery: at_least_once`",
                    self.opening.settings.topic
                )));
            }
        }
        Ok(marker)
    }

    fn send_marker(&self, marker: &[u8]) -> Result<(), Error> {
        let mut offsets = TopicPartitionList::new();
        let mut element = offsets.add_partition(&self.opening.settings.topic, MARKER_PARTITION);
        element.set_metadata(BASE64.encode(marker));
        let epoch = i64::try_from(self.ledger.epoch() + 1).unwrap_or(i64::MAX);
        element.set_offset(Offset::Offset(epoch)).map_err(|error| self.failed(&error))?;
        self.step(|| self.producer.native.send_offsets_to_transaction(&offsets, &self.group, ANSWER_TIME_MAX))
    }

    fn commit(&self) -> Result<(), Error> {
        self.step(|| self.producer.native.commit_transaction(ANSWER_TIME_MAX))
    }

    /// Does a step of a transaction, again as long as that may help.
    fn step(&self, step: impl Fn() -> Result<(), KafkaError>) -> Result<(), Error> {
        let end = Instant::now() + STEP_TIME_MAX;
        loop {
            match step() {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) if error.is_retriable() && Instant::now() < end => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    /// The error in words. A new producer begins where the marker says.
    fn failed(&self, error: &KafkaError) -> Error {
        let (what, needs) = (
            format!("write to the topic {} in a transaction", self.opening.settings.topic),
            format!(
                "Write on the topic {}, and Write and Describe on the transactional id {}",
                self.opening.settings.topic, self.id
            ),
        );
        let doing = Doing { cluster: &self.opening.settings.cluster, what: &what, needs: &needs };
        doing.failed(error, self.signals())
    }

    fn signals(&self) -> &Signals {
        &self.producer.native.client().context().signals
    }
}

impl Part {
    /// The places of the records that are to be sent.
    fn to_send<'p>(&'p self, output: &Output) -> impl Iterator<Item = u32> + use<'p> {
        let known = |index: &u32| self.known.get(*index as usize).copied().unwrap_or(false);
        (0..output.records.len() as u32).filter(move |index| !known(index) && !self.rejects.contains_key(index))
    }
}

impl super::Writers {
    /// Whether the last transaction, by its writer and epoch, is by this process or was there when it came.
    fn admit(&self, id: &str, last: Option<(u32, u64)>) -> Result<(), Error> {
        let mut found = self.found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let first = *found.entry(id.to_owned()).or_insert(last);
        if last == first || last.is_none_or(|(nonce, _)| nonce == self.own) {
            return Ok(());
        }
        Err(Error::stop(format!(
            "another weir uses the transactional id {id}: it runs on a copy of this one's data; stop one of the two, and give a copy that is to live its own `transactional_id`"
        )))
    }
}

fn init(producer: &Producer, doing: &Doing<'_>) -> Result<(), Error> {
    let end = Instant::now() + STEP_TIME_MAX / 2;
    let signals = &producer.native.client().context().signals;
    loop {
        let error = match producer.native.init_transactions(ANSWER_TIME_MAX / 4) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        producer.look();
        let is_retriable = matches!(&error, KafkaError::Transaction(error) if error.is_retriable());
        let is_refused = signals.trouble().is_some_and(|(code, _)| words::is_refusal(code));
        if !is_retriable || is_refused || Instant::now() >= end {
            return Err(doing.failed(&error, signals));
        }
    }
}

/// The marker of the last transaction that was committed, and who wrote it.
fn read_marker(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    doing: &Doing<'_>,
) -> Result<Option<(Ledger, u32)>, Error> {
    let found = ask(consumer, doing, |_| {
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition(topic, MARKER_PARTITION);
        let found = consumer.committed_offsets(wanted, ANSWER_TIME_MAX / 4)?;
        let elements = found.elements();
        let Some(element) = elements.first() else { return Err(KafkaError::OffsetFetch(RDKafkaErrorCode::NoEnt)) };
        element.error().map(|()| (element.offset(), element.metadata().to_owned()))
    })?;
    let (Offset::Offset(epoch), text) = found else { return Ok(None) };
    let bytes = BASE64.decode(text).ok();
    let marker = bytes.and_then(|bytes| Ledger::decode(epoch.max(0) as u64, &bytes));
    let unread = || {
        Error::stop(format!(
            "the offset {epoch} that the transactional id keeps for topic {topic} is no marker of weir"
        ))
    };
    marker.ok_or_else(unread).map(Some)
}

fn id_of(output: &Output, index: u32) -> Id {
    let offset = output.records.get(index as usize).map_or(0, |record| record.offset.0);
    Id { offset, ordinal: output.ordinals.get(index as usize).copied().unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::super::Writers;

    #[test]
    fn a_writer_that_was_not_there_before_is_not_admitted() {
        let writers = Writers::default();
        let (own, other) = (writers.own, writers.own.wrapping_add(1));
        assert!(writers.admit("a", Some((other, 5))).is_ok(), "an earlier life");
        assert!(writers.admit("a", Some((other, 5))).is_ok());
        assert!(writers.admit("a", Some((own, 6))).is_ok());
        assert!(writers.admit("a", Some((other, 7))).unwrap_err().message.contains("another weir uses"));
        assert!(writers.admit("b", None).is_ok());
        assert!(writers.admit("b", Some((other, 1))).is_err());
    }
}
