//! What the measurements do with Kafka: topics, records to begin with, what came out.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::{kind, value};

pub const PARTITIONS: i32 = 2;

/// A producer that loses nothing without a word.
pub type Producer = BaseProducer<Strict>;

/// Ends the program where a record is not delivered.
pub struct Strict;

impl ClientContext for Strict {}

impl ProducerContext for Strict {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            panic!("a record was not delivered: {error}");
        }
    }
}

/// What is set for every client.
pub fn settings(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}

pub fn create(bootstrap: &str, topic: &str) {
    let admin: AdminClient<DefaultClientContext> = settings(bootstrap).create().unwrap();
    let wanted = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let created = runtime.block_on(admin.create_topics([&wanted], &AdminOptions::new())).unwrap();
    created.into_iter().next().unwrap().unwrap();
}

/// Puts numbered records into a topic.
pub fn fill(bootstrap: &str, topic: &str, records: u64) {
    let producer = settings(bootstrap).set("enable.idempotence", "true").create_with_context(Strict).unwrap();
    for number in 0..records {
        let key = format!("customer-{}", number % 1_000);
        send(&producer, BaseRecord::to(topic).key(&key).payload(&value(number, kind(number))));
    }
    flush(&producer);
}

/// Hands a record over, and waits where the producer has no room.
pub fn send(
    producer: &Producer,
    record: BaseRecord<
        '_,
        impl AsRef<[u8]> + ?Sized + rdkafka::message::ToBytes,
        impl rdkafka::message::ToBytes + ?Sized,
    >,
) {
    let mut left = record;
    while let Err((error, back)) = producer.send(left) {
        assert!(matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)), "{error}");
        std::thread::sleep(Duration::from_micros(500));
        producer.poll(Duration::ZERO);
        left = back;
    }
}

/// Waits until all that was handed over is delivered. The library's own `flush` waits in steps of 100 ms, which would slow
/// a loop down that has nothing else to do.
pub fn flush(producer: &Producer) {
    while producer.in_flight_count() > 0 {
        std::thread::sleep(Duration::from_micros(500));
        producer.poll(Duration::ZERO);
    }
}

/// A consumer of all partitions of a topic, from the start or from the end, that sees what is committed.
pub fn reader(bootstrap: &str, topic: &str, from: Offset) -> BaseConsumer {
    let mut config = settings(bootstrap);
    config.set("group.id", "bench-reader").set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed").set("fetch.wait.max.ms", "5");
    let reader: BaseConsumer = config.create().unwrap();
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset(topic, partition, from).unwrap();
    }
    reader.assign(&all).unwrap();
    reader
}

/// How many committed records a topic holds.
pub fn count(bootstrap: &str, topic: &str) -> u64 {
    let reader = reader(bootstrap, topic, Offset::Beginning);
    let mut count = 0;
    while let Some(message) = reader.poll(Duration::from_secs(2)) {
        count += u64::from(message.unwrap().payload().is_some());
    }
    count
}
