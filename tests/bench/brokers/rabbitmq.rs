//! What the measurements do with RabbitMQ.

use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

use crate::{kind, runtime, value};

/// Messages that are confirmed together.
const WINDOW: u64 = 1_000;
const PERSISTENT: u8 = 2;

/// A connection with a channel whose publishes are confirmed.
pub async fn channel(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    (connection, channel)
}

/// A durable classic queue.
pub async fn declare(channel: &Channel, queue: &str) {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap();
}

/// Puts numbered messages into a new queue, each persistent and with an id.
pub fn fill(url: &str, queue: &str, messages: u64) {
    runtime().block_on(async {
        let (_connection, channel) = channel(url).await;
        declare(&channel, queue).await;
        let mut number = 0;
        while number < messages {
            for _ in 0..WINDOW.min(messages - number) {
                publish(&channel, queue, number, kind(number)).await;
                number += 1;
            }
            assert!(channel.wait_for_confirms().await.unwrap().is_empty());
        }
    });
}

/// Publishes one message; its confirm comes later.
pub async fn publish(channel: &Channel, queue: &str, number: u64, kind: &str) {
    let properties =
        BasicProperties::default().with_delivery_mode(PERSISTENT).with_message_id(number.to_string().into());
    let value = value(number, kind);
    let options = BasicPublishOptions::default();
    let confirm = channel.basic_publish("".into(), queue.into(), options, value.as_bytes(), properties).await;
    // It is waited for with others.
    drop(confirm.unwrap());
}

/// How many messages wait in a queue.
pub fn waiting(url: &str, queue: &str) -> u32 {
    runtime().block_on(async {
        let (_connection, channel) = channel(url).await;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap().message_count()
    })
}

/// Publishes at an even rate for a time.
pub fn publish_evenly(url: &str, queue: &str, per_second: u64, time: Duration) {
    runtime().block_on(async {
        let (_connection, channel) = channel(url).await;
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second as u32);
        for number in 0..per_second * time.as_secs() {
            ticks.tick().await;
            publish(&channel, queue, number, "order").await;
        }
        assert!(channel.wait_for_confirms().await.unwrap().is_empty());
    });
}
