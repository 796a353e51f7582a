//! The plain clients: what one writes around a client library, with the guarantees that the library has.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::producer::{BaseRecord, Producer as _};

use crate::kafka::Producer;
use crate::{kafka, rabbitmq, runtime};

/// Bytes of records that are committed together at most, as in Weir's transactions.
const GROUP_BYTES_MAX: usize = 8 << 20;
/// How often what is done at least once is committed.
const COMMIT_EVERY: Duration = Duration::from_millis(100);
const STEP_TIME_MAX: Duration = Duration::from_secs(60);
const IDLE: Duration = Duration::from_millis(100);
/// Messages that RabbitMQ sends ahead.
const PREFETCH: u16 = 2_000;
/// Messages that are acknowledged together at most.
const GROUP_MESSAGES_MAX: usize = 500;

#[derive(Args)]
pub struct Plain {
    kind: Kind,
    #[arg(long)]
    bootstrap: String,
    #[arg(long)]
    rabbitmq: String,
    #[arg(long)]
    source: String,
    #[arg(long)]
    target: String,
    /// Ends after so many.
    #[arg(long, default_value_t = u64::MAX)]
    records: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// Transactions that hold the records and the offsets.
    KafkaExactlyOnce,
    /// An idempotent producer; offsets are committed once it is flushed.
    KafkaAtLeastOnce,
    /// Acknowledges what it takes.
    RabbitmqAlone,
    /// Acknowledges what an idempotent producer has delivered.
    RabbitmqToKafka,
}

impl Plain {
    pub fn run(&self) {
        match self.kind {
            Kind::KafkaExactlyOnce => self.exactly_once(),
            Kind::KafkaAtLeastOnce => self.at_least_once(),
            Kind::RabbitmqAlone => self.take_messages(None),
            Kind::RabbitmqToKafka => self.take_messages(Some(&self.idempotent())),
        }
    }

    fn consumer(&self) -> BaseConsumer {
        let mut config = kafka::settings(&self.bootstrap);
        config.set("group.id", &self.target).set("enable.auto.commit", "false");
        config.set("auto.offset.reset", "earliest").set("isolation.level", "read_committed").set("check.crcs", "true");
        config.set("fetch.queue.backoff.ms", "5");
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.subscribe(&[&self.source]).unwrap();
        consumer
    }

    fn idempotent(&self) -> Producer {
        self.producer("enable.idempotence", "true")
    }

    /// A producer that is set as Weir's is.
    fn producer(&self, guarantee: &str, value: &str) -> Producer {
        let mut config = kafka::settings(&self.bootstrap);
        config.set(guarantee, value).set("partitioner", "murmur2_random").set("linger.ms", "1");
        config.set("queue.buffering.max.messages", "0").create_with_context(kafka::Strict).unwrap()
    }

    fn exactly_once(&self) {
        let consumer = self.consumer();
        let producer = self.producer("transactional.id", &self.target);
        producer.init_transactions(STEP_TIME_MAX).unwrap();
        let mut done = 0;
        while done < self.records {
            let Some(first) = consumer.poll(IDLE) else { continue };
            producer.begin_transaction().unwrap();
            let (mut next, mut bytes) = (Some(first), 0);
            while let Some(message) = next {
                let message = message.unwrap();
                bytes += message.payload_len();
                self.pass_on(&producer, &message);
                done += 1;
                let has_room = bytes < GROUP_BYTES_MAX && done < self.records;
                next = if has_room { consumer.poll(Duration::ZERO) } else { None };
            }
            // First: librdkafka waits longer where the offsets meet a transaction that is still ending.
            kafka::flush(&producer);
            let (offsets, group) = (consumer.position().unwrap(), consumer.group_metadata().unwrap());
            producer.send_offsets_to_transaction(&offsets, &group, STEP_TIME_MAX).unwrap();
            producer.commit_transaction(STEP_TIME_MAX).unwrap();
        }
    }

    fn at_least_once(&self) {
        let (consumer, producer) = (self.consumer(), self.idempotent());
        let (mut done, mut committed) = (0, Instant::now());
        while done < self.records {
            if let Some(message) = consumer.poll(COMMIT_EVERY) {
                self.pass_on(&producer, &message.unwrap());
                done += 1;
            }
            if committed.elapsed() > COMMIT_EVERY || done == self.records {
                kafka::flush(&producer);
                let offsets = consumer.position().unwrap();
                // Nothing is known of a partition before its first record.
                let _ = consumer.commit(&offsets, CommitMode::Sync);
                committed = Instant::now();
            }
        }
    }

    fn pass_on(&self, producer: &Producer, message: &BorrowedMessage<'_>) {
        let mut record = BaseRecord::<[u8], [u8]>::to(&self.target).payload(message.payload().unwrap());
        record.key = message.key();
        record.timestamp = message.timestamp().to_millis();
        kafka::send(producer, record);
    }

    fn take_messages(&self, producer: Option<&Producer>) {
        runtime().block_on(async {
            let (_connection, channel) = rabbitmq::channel(&self.rabbitmq).await;
            channel.basic_qos(PREFETCH, BasicQosOptions::default()).await.unwrap();
            let (queue, options) = (self.source.as_str().into(), BasicConsumeOptions::default());
            let consumer = channel.basic_consume(queue, "".into(), options, FieldTable::default()).await.unwrap();
            let mut groups = consumer.ready_chunks(GROUP_MESSAGES_MAX);
            let mut done = 0;
            while done < self.records {
                let group: Vec<Delivery> = groups.next().await.unwrap().into_iter().map(Result::unwrap).collect();
                for delivery in &group {
                    if let Some(producer) = producer {
                        let record = BaseRecord::<[u8], [u8]>::to(&self.target).payload(&delivery.data);
                        kafka::send(producer, record);
                    }
                }
                if let Some(producer) = producer {
                    kafka::flush(producer);
                }
                done += group.len() as u64;
                group.last().unwrap().ack(BasicAckOptions { multiple: true }).await.unwrap();
            }
        });
    }
}
