//! Topics of Kafka: each record exactly once in transactions, or at least once without.
//!
//! Keys, headers and timestamps go along, a record without a value is a tombstone, and a key lands in the partition where
//! Kafka's own clients put it (murmur2). Records that the topic never takes are refused, each with the reason.
//!
//! `exactly_once` ([`transaction`]): what gathers while one transaction commits is the next one. Each carries a marker of
//! what it delivered, as an offset that it commits for a group named after the transactional id; [`ledger`] says what that
//! is good for. `at_least_once` ([`confirm`]): an idempotent producer; what gathers while one group is confirmed is the next,
//! and each output bears its id in the header `weir-id`.
//!
//! librdkafka blocks, so each task's sink has a thread. What it is given is bounded by the task's budget.

mod confirm;
mod ledger;
mod producer;
mod topic;
mod transaction;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::FutureExt;
use rdkafka::consumer::BaseConsumer;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::{Confirm, Delivery, Error, Sink};
use crate::config::{KafkaDelivery, KafkaSink};
use crate::kafka::{Alive, Context, Signals, Threads, client, words};
use crate::record::{Output, Partition};
use crate::store::{PositionKey, Store};

pub use producer::HEADER_ID;

/// What a task's sink is opened with.
pub struct Opening {
    /// The sink.
    pub name: Arc<str>,
    /// The pipeline that writes to it.
    pub pipeline: Arc<str>,
    /// The task of the pipeline.
    pub partition: Partition,
    /// The settings.
    pub settings: KafkaSink,
    /// Where the epoch is.
    pub store: Arc<dyn Store>,
    /// Bytes of records that librdkafka may hold.
    pub bytes_max: usize,
    /// Who else wrote.
    pub writers: Arc<Writers>,
    /// Held as long as the thread lives.
    pub alive: Alive,
}

/// Who writes under which transactional id, as far as this process has seen: its own mark, and the mark and epoch that it
/// found when it came. Whoever writes another one is a copy of this appliance.
#[derive(Debug)]
pub struct Writers {
    own: u32,
    found: Mutex<BTreeMap<String, Option<(u32, u64)>>>,
}

impl Default for Writers {
    fn default() -> Self {
        Writers { own: crate::store::random() as u32, found: Mutex::default() }
    }
}

/// Bytes of records that are delivered together. One batch alone may be larger.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// A task's connection to a topic.
pub struct KafkaTask {
    // The pipeline bounds the bytes that are not confirmed. A bound here would make it wait for what may wait for it.
    requests: mpsc::UnboundedSender<Request>,
}

/// A batch, and who waits for it.
struct Request {
    output: Arc<Output>,
    answer: oneshot::Sender<Result<Delivery, Error>>,
}

type Requests = mpsc::UnboundedReceiver<Request>;

impl KafkaTask {
    /// Connects, makes sure of the topic and, for transactions, settles what an earlier life left behind.
    pub async fn open(opening: Opening) -> Result<Self, Error> {
        let (requests, waiting) = mpsc::unbounded_channel();
        let (opened, answer) = oneshot::channel();
        let runtime = Handle::current();
        let thread = std::thread::Builder::new().name(format!("kafka-{}", opening.partition));
        let spawned = thread.spawn(move || run(&opening, &runtime, waiting, opened));
        spawned.map_err(|error| Error::retry(format!("no thread for writing could be started: {error}")))?;
        answer.await.unwrap_or_else(|_| Err(ended()))?;
        Ok(KafkaTask { requests })
    }
}

#[async_trait]
impl Sink for KafkaTask {
    async fn send(&mut self, output: Arc<Output>) -> Result<Confirm, Error> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request { output, answer }).map_err(|_| ended())?;
        Ok(async move { answered.await.unwrap_or_else(|_| Err(ended())) }.boxed())
    }
}

fn run(opening: &Opening, runtime: &Handle, requests: Requests, opened: oneshot::Sender<Result<(), Error>>) {
    let signals = Signals::new(format!("sink {}", opening.name));
    let worker = connect(opening, runtime, &signals);
    match worker {
        Err(error) => drop(opened.send(Err(error))),
        Ok(worker) => {
            // Where nobody waits any more, the requests are closed too.
            let _ = opened.send(Ok(()));
            match worker {
                Worker::ExactlyOnce(worker) => worker.run(requests),
                Worker::AtLeastOnce(worker) => worker.run(requests),
            }
        }
    }
}

/// Takes all batches that are there, up to a bound, delivers them together and answers for each; until nobody sends any more,
/// or delivering fails.
fn serve(
    mut requests: Requests,
    mut deliver: impl FnMut(&[Request], &Requests) -> Result<Vec<Delivery>, Error>,
) -> Result<(), ()> {
    while let Some(first) = requests.blocking_recv() {
        let mut bytes = first.output.records.bytes();
        let mut group = vec![first];
        while bytes < GROUP_BYTES_MAX {
            let Ok(next) = requests.try_recv() else { break };
            bytes += next.output.records.bytes();
            group.push(next);
        }
        match deliver(&group, &requests) {
            Ok(deliveries) => {
                for (request, delivery) in group.into_iter().zip(deliveries) {
                    let _ = request.answer.send(Ok(delivery));
                }
            }
            Err(error) => {
                for request in group {
                    let error = Error { message: error.message.clone(), disposition: error.disposition };
                    let _ = request.answer.send(Err(error));
                }
                return Err(());
            }
        }
    }
    Ok(())
}

enum Worker<'a> {
    ExactlyOnce(Box<transaction::Transactions<'a>>),
    AtLeastOnce(confirm::Confirmations<'a>),
}

fn connect<'a>(opening: &'a Opening, runtime: &'a Handle, signals: &Arc<Signals>) -> Result<Worker<'a>, Error> {
    let consumer = consumer(opening, signals)?;
    let rules = topic::open(&opening.settings, &consumer, runtime)?;
    let producer = producer::Producer::new(opening, &rules, signals)?;
    Ok(match opening.settings.delivery {
        KafkaDelivery::AtLeastOnce => Worker::AtLeastOnce(confirm::Confirmations::new(opening, rules, producer)),
        KafkaDelivery::ExactlyOnce => {
            let transactions = transaction::Transactions::open(opening, rules, producer, &consumer, runtime)?;
            Worker::ExactlyOnce(Box::new(transactions))
        }
    })
}

/// A consumer that consumes nothing: it asks for metadata and for the marker.
fn consumer(opening: &Opening, signals: &Arc<Signals>) -> Result<BaseConsumer<Context>, Error> {
    let mut config = client::settings(&opening.settings.cluster)?;
    config.set("allow.auto.create.topics", "false");
    config.set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed");
    if opening.settings.delivery == KafkaDelivery::ExactlyOnce {
        config.set("group.id", transactional_id(opening));
    }
    config.create_with_context(Context(signals.clone())).map_err(|error| words::not_created(&error))
}

/// The name under which a task's transactions are known to the brokers, and the group of its marker.
fn transactional_id(opening: &Opening) -> String {
    let Opening { settings, store, pipeline, partition, name, .. } = opening;
    format!("{}-{}-{pipeline}-{partition}-{name}", settings.transactional_id, store.id())
}

/// Under which key a task's epoch is in the store.
fn position_key(opening: &Opening) -> PositionKey {
    let input = transactional_id(opening).into();
    PositionKey { owner: opening.name.clone(), input, partition: opening.partition }
}

fn ended() -> Error {
    Error::retry("the sink ended early")
}

/// Whether a sink could be written to now: a broker answers, takes the login, and has the topic or may be asked to make it.
pub async fn check(name: &str, settings: &KafkaSink) -> Result<(), Error> {
    let (name, settings) = (name.to_owned(), settings.clone());
    let alive = Threads::default().join();
    let checked = tokio::task::spawn_blocking(move || {
        let _alive = alive;
        let mut config = client::settings(&settings.cluster)?;
        config.set("allow.auto.create.topics", "false");
        let signals = Signals::new(format!("sink {name}"));
        let consumer: BaseConsumer<Context> =
            config.create_with_context(Context(signals)).map_err(|error| words::not_created(&error))?;
        topic::check(&settings, &consumer)
    });
    checked.await.unwrap_or_else(|error| Err(Error::retry(format!("the check ended early: {error}"))))
}
