//! The thread of a reader: it polls librdkafka, makes chunks, and tells the group what is committed.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::place::{Place, Places};
use super::queue::{Found, Queue};
use super::start::{Begin, Start};
use super::{Advice, Item, Opening};
use crate::config::group_of;
use crate::kafka::topics::{self, Wanted};
use crate::kafka::words::{self, Doing};
use crate::kafka::{Context, Signals, client};
use crate::metrics::Lags;
use crate::record::{Batch, Position};
use crate::source::{Chunk, Disposition, Error, Mode};

/// How long the thread sleeps at most while there is nothing to read.
const SLEEP_MAX: Duration = Duration::from_millis(100);
/// How often positions are told to the group.
const ADVISE_EVERY: Duration = Duration::from_secs(1);
/// How often librdkafka tells the ends of partitions, for the lag.
const STATISTICS_EVERY_MS: &str = "5000";
/// Records of a partition that librdkafka has ready at most, beside the bound in bytes.
const QUEUED_RECORDS_MAX: &str = "10000";
/// The pause before a queue that was full is looked at again. librdkafka's own is a second, in which a queue of this length
/// runs dry: it made 60,000 records a second of what is more than 300,000.
const FETCH_PAUSE_MS: u32 = 5;
/// Bytes of a partition that are asked for at once, where the budget allows it.
const FETCH_BYTES_MAX: usize = 1 << 20;
/// Bytes of one answer of a broker.
const ANSWER_BYTES_MAX: usize = 50 << 20;
/// The bound that librdkafka sets for `queued.max.messages.kbytes`.
const QUEUED_KIB_MAX: usize = 2_097_151;
/// The pause before a partition is looked for again whose position was refused and is there.
const AGAIN_PAUSE: Duration = Duration::from_millis(500);

/// Reads until all is read, the task has gone, or an error; then tells the group what is still being committed.
pub fn run(opening: Opening, items: &mpsc::Sender<Item>, advice: &Arc<Advice>) {
    let mut work = match Work::new(&opening, items, advice) {
        Ok(work) => work,
        Err(error) => return drop(items.blocking_send(Item::Failed(error))),
    };
    let last = loop {
        match work.read() {
            Ok(Ended::Again) => std::thread::sleep(AGAIN_PAUSE),
            Ok(Ended::All) => break Some(Item::End),
            Ok(Ended::Gone) => break None,
            Err(error) => break Some(Item::Failed(error)),
        }
    };
    if let Some(last) = last {
        let _ = items.blocking_send(last);
    }
    work.advise_to_the_end();
}

/// How reading ended.
enum Ended {
    /// All was read that was there at the start.
    All,
    /// Nobody takes chunks any more.
    Gone,
    /// A partition has to be looked for again.
    Again,
}

struct Work<'a> {
    opening: &'a Opening,
    items: &'a mpsc::Sender<Item>,
    wanted: Wanted,
    config: ClientConfig,
    signals: Arc<Signals>,
    /// What was read so far; before that, what was committed.
    places: Option<Places>,
    adviser: GroupAdviser<'a>,
}

impl<'a> Work<'a> {
    fn new(opening: &'a Opening, items: &'a mpsc::Sender<Item>, advice: &'a Arc<Advice>) -> Result<Self, Error> {
        let wanted = Wanted::of(&opening.settings.topics)?;
        let places = opening.position.as_ref().map(|position| {
            Places::decode(position).ok_or_else(|| {
                Error::stop(
                    "the committed position is none of a kafka source: give the source another name to begin anew",
                )
            })
        });
        let lags = LagKey { lags: &opening.lags, opening };
        Ok(Work {
            opening,
            items,
            wanted,
            config: config(opening)?,
            signals: Signals::new(format!("source {}", opening.name)),
            places: places.transpose()?,
            adviser: GroupAdviser { advice, told: None, since: Instant::now(), consumer: None, lag: lags },
        })
    }

    /// Finds the topics and reads them, with a consumer of its own.
    fn read(&mut self) -> Result<Ended, Error> {
        let created = self.config.create_with_context(Context(self.signals.clone()));
        let consumer: Arc<BaseConsumer<Context>> = Arc::new(created.map_err(|error| words::not_created(&error))?);
        let names = self.opening.settings.topics.join(", ");
        let (what, needs) = (format!("read {names}"), format!("Describe and Read on the topics {names}"));
        let doing = Doing { cluster: &self.opening.settings.cluster, what: &what, needs: &needs };
        let topics = topics::find(&consumer, &self.wanted, &doing)?;
        let begins = self.start(&consumer).places(&topics, &doing)?;
        let places = Places(begins.iter().map(|begin| (begin.topic.clone(), begin.place)).collect());
        let moved = self.places.as_ref() != Some(&places);
        self.places = Some(places);
        self.adviser.consumer = Some(consumer.clone());
        // Committed at once, so that `latest` means the same after a crash.
        if moved && !begins.is_empty() && !self.give(Batch::default(), "") {
            return Ok(Ended::Gone);
        }
        let mut reading = Reading::of(self, &consumer, begins)?;
        let ended = reading.run(self, &consumer, &doing);
        drop(reading);
        let _ = consumer.unassign();
        ended
    }

    fn start<'s>(&'s self, consumer: &'s BaseConsumer<Context>) -> Start<'s> {
        Start {
            consumer,
            source: &self.opening.name,
            partition: self.opening.partition,
            start: self.opening.settings.start,
            on_lost: self.opening.settings.on_lost,
            known: self.places.clone(),
            first: self.opening.first.as_ref().and_then(Places::decode),
        }
    }

    /// Gives records to the task, with the position behind them. Waits while it has enough. Returns whether it took them.
    fn give(&self, records: Batch, source: &str) -> bool {
        let position = self.places.as_ref().map(Places::encode).unwrap_or_default();
        self.items.blocking_send(Item::Chunk(Chunk { source: source.into(), records, position })).is_ok()
    }

    fn read_up_to(&mut self, topic: &str, next: u64) {
        if let Some(place) = self.places.as_mut().and_then(|places| places.0.get_mut(topic)) {
            place.next = next;
        }
    }

    fn advise_to_the_end(&mut self) {
        while !self.adviser.advice.is_over() {
            self.adviser.advise(&self.signals);
            std::thread::sleep(SLEEP_MAX / 2);
        }
        self.adviser.finish();
    }
}

/// The partitions at work, from one consumer to the next.
struct Reading {
    queues: Vec<Queue>,
    bell: Arc<Bell>,
}

impl Reading {
    /// Splits each partition's queue off before it is assigned, so that none of its messages goes to the consumer's own.
    fn of(work: &Work<'_>, consumer: &Arc<BaseConsumer<Context>>, begins: Vec<Begin>) -> Result<Reading, Error> {
        let partition = work.opening.partition.0 as i32;
        let mut assignment = TopicPartitionList::new();
        let bell = Arc::new(Bell::default());
        let mut queues = Vec::new();
        for Begin { topic, place: Place { next, .. }, there } in begins {
            let added = assignment.add_partition_offset(&topic, partition, Offset::Offset(next as i64));
            added.map_err(|error| Error::retry(format!("topic {topic}: {error}")))?;
            let source = format!("{}/{topic}/{partition}", work.opening.name).into();
            let split = consumer.split_partition_queue(&topic, partition);
            let split = split.ok_or_else(|| Error::retry(format!("topic {topic} has no queue")))?;
            let until = (work.opening.mode == Mode::Drain).then_some(there.high);
            let mut queue = Queue::new(split, topic, source, next, until);
            let ring = bell.clone();
            queue.on_ready(move || ring.ring());
            queues.push(queue);
        }
        consumer.assign(&assignment).map_err(|error| Error::retry(error.to_string()))?;
        Ok(Reading { queues, bell })
    }

    fn run(
        &mut self,
        work: &mut Work<'_>,
        consumer: &BaseConsumer<Context>,
        doing: &Doing<'_>,
    ) -> Result<Ended, Error> {
        loop {
            match consumer.poll(Duration::ZERO) {
                Some(Err(error)) => trouble(&error, doing, &work.signals)?,
                // It went past its queue, so its order is lost.
                Some(Ok(_)) => return Ok(Ended::Again),
                None => {}
            }
            let mut found_any = false;
            for queue in &mut self.queues {
                let before = queue.next;
                let found = queue.take(&work.signals);
                work.read_up_to(&queue.topic, queue.next);
                match found {
                    Found::Nothing => found_any |= queue.next != before,
                    Found::OutOfRange => return Ok(Ended::Again),
                    Found::Failed(error) => return Err(failed(&error, queue, work, doing)),
                    Found::Records(records) => {
                        work.signals.works();
                        found_any = true;
                        if !work.give(records, &queue.source) {
                            return Ok(Ended::Gone);
                        }
                    }
                }
            }
            work.adviser.advise(&work.signals);
            if self.is_over(work) {
                // The last position may be past the last record.
                return Ok(if work.give(Batch::default(), "") { Ended::All } else { Ended::Gone });
            }
            if !found_any && !self.idle(work) {
                return Ok(Ended::Gone);
            }
        }
    }

    fn is_over(&self, work: &Work<'_>) -> bool {
        work.opening.mode == Mode::Drain && self.queues.iter().all(Queue::is_done)
    }

    /// Waits for something to do. Returns whether there is still somebody to do it for.
    fn idle(&mut self, work: &mut Work<'_>) -> bool {
        let mut moved = false;
        for queue in &mut self.queues {
            if queue.rest() {
                moved = true;
                work.read_up_to(&queue.topic, queue.next);
            }
        }
        if moved && !work.give(Batch::default(), "") {
            return false;
        }
        self.bell.wait();
        !work.items.is_closed()
    }
}

/// An error of the client as a whole. Lost connections are its own to mend; what a broker refuses is not.
fn trouble(error: &KafkaError, doing: &Doing<'_>, signals: &Signals) -> Result<(), Error> {
    let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
    if words::is_refusal(code) || matches!(error, KafkaError::MessageConsumptionFatal(_)) {
        // A broker that starts may refuse what it takes a moment later: the next attempt decides.
        return Err(Error { disposition: Disposition::Retry, ..doing.failed(error, signals) });
    }
    Ok(())
}

fn failed(error: &KafkaError, queue: &Queue, work: &Work<'_>, doing: &Doing<'_>) -> Error {
    let what =
        format!("read the topic {}, partition {}, from offset {}", queue.topic, work.opening.partition, queue.next);
    let doing = Doing { what: &what, ..*doing };
    // Whether it is there at all, and may be read, is asked by the next attempt.
    Error { disposition: Disposition::Retry, ..doing.failed(error, &work.signals) }
}

fn config(opening: &Opening) -> Result<ClientConfig, Error> {
    let settings = &opening.settings;
    let mut config = client::settings(&settings.cluster)?;
    for (name, value) in limits(opening.bytes_max) {
        if !settings.cluster.properties.contains_key(name) {
            config.set(name, value);
        }
    }
    config.set("group.id", &*group_of(settings, &opening.pipeline));
    for (name, value) in [
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "error"),
        ("isolation.level", "read_committed"),
        ("check.crcs", "true"),
        ("enable.partition.eof", "true"),
        ("allow.auto.create.topics", "false"),
        ("queued.min.messages", QUEUED_RECORDS_MAX),
        ("statistics.interval.ms", STATISTICS_EVERY_MS),
    ] {
        config.set(name, value);
    }
    Ok(config)
}

/// What librdkafka may fetch and hold, so that it keeps to a budget and librdkafka's own bounds.
fn limits(bytes_max: usize) -> [(&'static str, String); 4] {
    [
        ("fetch.queue.backoff.ms", FETCH_PAUSE_MS.to_string()),
        ("queued.max.messages.kbytes", (bytes_max / 1024).clamp(1, QUEUED_KIB_MAX).to_string()),
        ("max.partition.fetch.bytes", bytes_max.clamp(1024, FETCH_BYTES_MAX).to_string()),
        ("fetch.max.bytes", bytes_max.clamp(FETCH_BYTES_MAX, ANSWER_BYTES_MAX).to_string()),
    ]
}

/// Wakes the thread when a queue has something.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.heard.notify_one();
    }

    fn wait(&self) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.heard.wait_timeout_while(rung, SLEEP_MAX, |rung| !*rung);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

/// Tells the group what is committed, and the metrics how far that is from the ends.
struct GroupAdviser<'a> {
    advice: &'a Advice,
    told: Option<Position>,
    since: Instant,
    consumer: Option<Arc<BaseConsumer<Context>>>,
    lag: LagKey<'a>,
}

impl GroupAdviser<'_> {
    fn advise(&mut self, signals: &Signals) {
        if self.since.elapsed() < ADVISE_EVERY {
            return;
        }
        self.since = Instant::now();
        let new = self.advice.take();
        if let Some(position) = &new {
            self.commit(position, CommitMode::Async);
        }
        self.told = new.or(self.told.take());
        let ends = signals.take_ends();
        if let Some(places) = self.told.as_ref().or(self.lag.opening.position.as_ref()).and_then(Places::decode) {
            self.lag.tell(&places, &ends);
        }
    }

    fn finish(&mut self) {
        if let Some(position) = self.advice.take() {
            self.commit(&position, CommitMode::Sync);
            if let Some(places) = Places::decode(&position) {
                self.lag.tell(&places, &[]);
            }
        }
    }

    fn commit(&self, position: &Position, mode: CommitMode) {
        let (Some(consumer), Some(places)) = (&self.consumer, Places::decode(position)) else { return };
        let partition = self.lag.opening.partition.0 as i32;
        let mut offsets = TopicPartitionList::new();
        for (topic, place) in &places.0 {
            let _ = offsets.add_partition_offset(topic, partition, Offset::Offset(place.next as i64));
        }
        if let Err(error) = consumer.commit(&offsets, mode) {
            let source = &*self.lag.opening.name;
            tracing::debug!(source, "the group's offsets, which are advice, could not be committed: {error}");
        }
    }
}

/// Under which names a task's lag is told.
struct LagKey<'a> {
    lags: &'a Lags,
    opening: &'a Opening,
}

impl LagKey<'_> {
    fn tell(&self, committed: &Places, ends: &[(String, i32, i64)]) {
        let Opening { pipeline, name, partition, .. } = self.opening;
        for (topic, place) in &committed.0 {
            let of_topic = |(name, number, _): &&(String, i32, i64)| name == topic && *number == partition.0 as i32;
            let end = ends.iter().find(of_topic).map(|(_, _, end)| (*end).max(0) as u64);
            self.lags.tell(pipeline, name, topic, *partition, place.next, end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_budget_is_one_that_librdkafka_takes() {
        for bytes_max in [0, 1, 1 << 20, 8 << 20, 64 << 30] {
            let config: ClientConfig =
                limits(bytes_max).map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
            let consumer: Result<BaseConsumer, _> = config.create();
            assert!(consumer.is_ok(), "{bytes_max}: {:?}", consumer.err());
        }
    }
}
