//! A plain client of Kafka, as a user's own programs have it: makes topics, writes to them, and reads what is committed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::harness::PATIENCE;

/// A record as it is in a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<String>,
    pub value: Option<String>,
    pub timestamp: Option<i64>,
    pub headers: Vec<(String, Option<String>)>,
}

impl Read {
    /// The value as a number.
    pub fn number(&self) -> u64 {
        self.value.as_ref().unwrap().parse().unwrap_or_else(|_| panic!("{self:?} is no number"))
    }
}

/// A client of a broker.
pub struct Client {
    config: ClientConfig,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    pub fn new(address: &str) -> Client {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", address).set("isolation.level", "read_committed");
        Client { config, runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap() }
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config.create().unwrap()
    }

    /// Makes a topic with a name of its own that begins with this, and returns the name.
    pub fn topic(&self, name: &str, partitions: i32, config: &[(&str, &str)]) -> String {
        let name = unique(name);
        let mut new = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        new.config = config.to_vec();
        let made = self.runtime.block_on(self.admin().create_topics([&new], &AdminOptions::new())).unwrap();
        made.into_iter().for_each(|made| drop(made.unwrap()));
        name
    }

    pub fn add_partitions(&self, topic: &str, partitions: usize) {
        let new = NewPartitions::new(topic, partitions);
        let made = self.runtime.block_on(self.admin().create_partitions([&new], &AdminOptions::new())).unwrap();
        made.into_iter().for_each(|made| drop(made.unwrap()));
    }

    /// Deletes the records of a partition before an offset, as retention does.
    pub fn delete_before(&self, topic: &str, partition: i32, offset: i64) {
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
        self.runtime.block_on(self.admin().delete_records(&before, &AdminOptions::new())).unwrap();
    }

    pub fn producer(&self) -> BaseProducer {
        self.config.clone().set("partitioner", "murmur2_random").set("linger.ms", "2").create().unwrap()
    }

    /// Writes the numbers of a range, each with its key `kN`, N the number modulo `keys`.
    pub fn write_numbers(&self, topic: &str, numbers: std::ops::Range<u64>, keys: u64) {
        let producer = self.producer();
        numbers.for_each(|n| send_number(&producer, topic, n, keys));
        producer.flush(PATIENCE).unwrap();
    }

    /// What is committed in a topic now, in the order of partitions and offsets.
    pub fn read(&self, topic: &str) -> Vec<Read> {
        let mut config = self.config.clone();
        config.set("group.id", "reader").set("enable.partition.eof", "true").set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().unwrap();
        let partitions = partitions(&consumer, topic);
        let mut assignment = TopicPartitionList::new();
        for partition in 0..partitions {
            assignment.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&assignment).unwrap();
        let (mut read, mut open) = (Vec::new(), partitions);
        let end = Instant::now() + PATIENCE;
        while open > 0 {
            assert!(Instant::now() < end, "{topic} could not be read to its end");
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => read.push(of(&message)),
                Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
                Some(Err(error)) => panic!("{topic}: {error}"),
                None => {}
            }
        }
        read.sort_by_key(|record| (record.partition, record.offset));
        read
    }

    /// The offsets that a group has committed, by partition.
    pub fn committed(&self, group: &str, topic: &str, partitions: i32) -> BTreeMap<i32, i64> {
        let consumer: BaseConsumer = self.config.clone().set("group.id", group).create().unwrap();
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_range(topic, 0, partitions - 1);
        let found = consumer.committed_offsets(wanted, PATIENCE).unwrap();
        let offset = |offset| match offset {
            Offset::Offset(offset) => offset,
            _ => -1,
        };
        found.elements().iter().map(|element| (element.partition(), offset(element.offset()))).collect()
    }
}

/// How many partitions a topic has. A cluster that is busy with others may say for a moment that it has none.
fn partitions(consumer: &BaseConsumer, topic: &str) -> i32 {
    let end = Instant::now() + PATIENCE;
    loop {
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
        match metadata.topics() {
            [topic] if topic.error().is_none() && !topic.partitions().is_empty() => {
                return topic.partitions().len() as i32;
            }
            _ => assert!(Instant::now() < end, "{topic} does not come to be"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn send_number(producer: &BaseProducer, topic: &str, n: u64, keys: u64) {
    let (key, value) = (format!("k{}", n % keys), n.to_string());
    while producer.send(BaseRecord::to(topic).key(&key).payload(&value)).is_err() {
        producer.poll(Duration::from_millis(10));
    }
}

/// A name that no other test uses.
pub fn unique(name: &str) -> String {
    format!("{name}-{:08x}", weir::store::random() as u32)
}

pub fn headers(all: &[(&str, Option<&str>)]) -> OwnedHeaders {
    let add =
        |headers: OwnedHeaders, (key, value): &(&str, Option<&str>)| headers.insert(Header { key, value: *value });
    all.iter().fold(OwnedHeaders::new(), add)
}

fn of(message: &BorrowedMessage<'_>) -> Read {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let headers = message.headers().map(|headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.map(text))).collect::<Vec<_>>()
    });
    Read {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(text),
        value: message.payload().map(text),
        timestamp: message.timestamp().to_millis(),
        headers: headers.unwrap_or_default(),
    }
}
