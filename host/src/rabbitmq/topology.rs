//! Queues and exchanges: whether they are there, and creating what a source declares.

use lapin::options::{BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPHardError};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ErrorKind, ExchangeKind, Queue};

use super::{Failure, Link, answer, explain};
use crate::config::rabbitmq::{Declare, DeclareExchange, RabbitmqSource};

/// Makes sure that a source's queue is there: creates what `declare` says, or looks.
pub async fn queue(link: &Link, settings: &RabbitmqSource) -> Result<(), Failure> {
    let channel = link.channel().await?;
    if let Some(declare) = &settings.declare {
        create(&channel, &settings.queue, declare).await?;
    }
    waiting(&channel, &settings.queue).await.map(drop)
}

/// How many messages wait in a queue, which has to be there.
pub async fn waiting(channel: &Channel, queue: &str) -> Result<u32, Failure> {
    look(channel, queue).await.map(|queue| queue.message_count())
}

/// How many consume a queue, which has to be there.
pub async fn consumers(channel: &Channel, queue: &str) -> Result<u32, Failure> {
    look(channel, queue).await.map(|queue| queue.consumer_count())
}

async fn look(channel: &Channel, queue: &str) -> Result<Queue, Failure> {
    let look = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    answer("a look at the queue", channel.queue_declare(queue.into(), look, FieldTable::default())).await
}

/// Looks whether an exchange is there. The default exchange always is.
pub async fn exchange(link: &Link, name: &str) -> Result<(), Failure> {
    if name.is_empty() {
        return Ok(());
    }
    let channel = link.channel().await?;
    let look = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    // A passive declaration does not look at the type.
    let declared = channel.exchange_declare(name.into(), ExchangeKind::Direct, look, FieldTable::default());
    answer("a look at the exchange", declared).await
}

async fn create(channel: &Channel, queue: &str, declare: &Declare) -> Result<(), Failure> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(declare.queue_type.as_str().into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    answer("the declaration of the queue", channel.queue_declare(queue.into(), durable, arguments)).await?;
    let Some(DeclareExchange { name, kind, bindings }) = &declare.exchange else { return Ok(()) };
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let declared = channel.exchange_declare(name.as_str().into(), kind_of(kind), durable, FieldTable::default());
    answer("the declaration of the exchange", declared).await?;
    for key in bindings {
        let (to, from, by) = (queue.into(), name.as_str().into(), key.as_str().into());
        let bound = channel.queue_bind(to, from, by, QueueBindOptions::default(), FieldTable::default());
        answer("a binding", bound).await?;
    }
    Ok(())
}

fn kind_of(kind: &str) -> ExchangeKind {
    match kind {
        "direct" => ExchangeKind::Direct,
        "fanout" => ExchangeKind::Fanout,
        "headers" => ExchangeKind::Headers,
        _ => ExchangeKind::Topic,
    }
}

/// What a single message was asked for by `basic.get`.
#[derive(Debug)]
pub enum Got {
    /// The first message of the queue, if there is one. It is unacknowledged on the channel.
    Message(Option<Box<lapin::message::Delivery>>),
    /// The queue is a stream, which gives no single messages. The broker has ended the connection.
    Stream,
}

/// Takes one message. It is the only question whose answer says whether a queue is a stream, without the permission to
/// declare it.
pub async fn get(channel: &Channel, queue: &str) -> Result<Got, Failure> {
    let asked = channel.basic_get(queue.into(), BasicGetOptions::default());
    match tokio::time::timeout(super::ANSWER_TIME_MAX, asked).await {
        Ok(Ok(got)) => Ok(Got::Message(got.map(|got| Box::new(got.delivery)))),
        Ok(Err(error)) if is_not_implemented(&error) => Ok(Got::Stream),
        Ok(Err(error)) => Err(explain(&error)),
        Err(_) => Err(Failure::passing(format!(
            "the broker did not say what the queue {queue} holds; if it is a quorum queue, a majority of its nodes has to be up"
        ))),
    }
}

fn is_not_implemented(error: &lapin::Error) -> bool {
    let ErrorKind::ProtocolError(error) = error.kind() else { return false };
    matches!(error.kind(), AMQPErrorKind::Hard(AMQPHardError::NOTIMPLEMENTED))
}

/// The failure of a source that takes a stream for a queue.
pub fn is_a_stream(queue: &str) -> Failure {
    Failure::lasting(format!("{queue} is a stream: add `queue_type: stream`, so that it is read by its offsets"))
}

/// The failure of a source that takes a queue for a stream.
pub fn is_no_stream(queue: &str) -> Failure {
    Failure::lasting(format!("{queue} is a classic or quorum queue, not a stream: remove `queue_type: stream`"))
}
