//! What the measurements do with Kafka: topics, records to begin with, what came out.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Message as _, ToBytes};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::{customer, kind, runtime, value};

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
    let created = runtime().block_on(admin.create_topics([&wanted], &AdminOptions::new())).unwrap();
    created.into_iter().next().unwrap().unwrap();
}

/// Deletes topics, so that the next measurement finds room.
pub fn delete(bootstrap: &str, topics: &[&str]) {
    let admin: AdminClient<DefaultClientContext> = settings(bootstrap).create().unwrap();
    for deleted in runtime().block_on(admin.delete_topics(topics, &AdminOptions::new())).unwrap() {
        deleted.unwrap();
    }
}

/// Puts numbered records into a topic.
pub fn fill(bootstrap: &str, topic: &str, records: u64) {
    let producer = settings(bootstrap).set("enable.idempotence", "true").create_with_context(Strict).unwrap();
    for number in 0..records {
        send_numbered(&producer, topic, number, kind(number));
    }
    flush(&producer);
}

/// Hands a record over that is made now.
pub fn send_numbered(producer: &Producer, topic: &str, number: u64, kind: &str) {
    let (key, value) = (customer(number), value(number, kind));
    send(producer, BaseRecord::<str, str>::to(topic).key(&key).payload(&value));
}

/// Hands a record over, and waits where the producer has no room.
pub fn send(producer: &Producer, record: BaseRecord<'_, impl ToBytes + ?Sized, impl ToBytes + ?Sized>) {
    let mut left = record;
    while let Err((error, back)) = producer.send(left) {
        assert!(matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)), "{error}");
        look(producer);
        left = back;
    }
}

/// Waits until all that was handed over is delivered. The library's own `flush` waits in steps of 100 ms, which would slow
/// a loop down that has nothing else to do.
pub fn flush(producer: &Producer) {
    while producer.in_flight_count() > 0 {
        look(producer);
    }
}

/// Lets the library report, after a moment: asked to wait itself for less than a millisecond, it would go round.
fn look(producer: &Producer) {
    std::thread::sleep(Duration::from_micros(500));
    producer.poll(Duration::ZERO);
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
