//! A stream of RabbitMQ, read in place: its offset is the position.
//!
//! Messages are acknowledged as they are read, which tells the broker to send more and nothing else: a stream keeps them,
//! and what was read and not committed is read again from the committed offset.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::FutureExt;
use futures_util::stream::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Consumer};
use tokio::time::{Instant, timeout};

use super::session::{WAITING_BYTES_MAX, lower_prefetch};
use crate::clock::Clock;
use crate::config::RabbitmqSource;
use crate::config::rabbitmq::StreamStart;
use crate::rabbitmq::message::{Message, Reading, STREAM_OFFSET, stream_offset};
use crate::rabbitmq::{Broker, Failure, Link, Pauses, answer, explain, topology};
use crate::record::{Batch, Offset, Position};
use crate::source::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, Chunk, Disposition, Error, Mode, Reader};

/// How long a stream that is drained has to be silent before it counts as read to its end.
const DRAIN_SILENCE: Duration = Duration::from_secs(1);
/// A connection that lasted this long was no failed attempt.
const LASTED: Duration = Duration::from_secs(15);

/// Reads a stream from an offset on.
pub struct RabbitmqReader {
    name: Arc<str>,
    settings: RabbitmqSource,
    start: StreamStart,
    mode: Mode,
    clock: Arc<dyn Clock>,
    broker: Arc<Broker>,
    source: Arc<str>,
    /// The offset to read next, once one is known.
    next: Option<u64>,
    prefetch: u16,
    reading: Reading,
    pauses: Pauses,
    open: Option<Open>,
    /// What happened behind the messages that were read last.
    failure: Option<Failure>,
}

struct Open {
    link: Link,
    channel: Channel,
    consumer: Consumer,
    since: Instant,
    /// The offset that was asked for, until the first message has come.
    wanted: Option<u64>,
}

/// What comes of a stream.
enum Came {
    Message(Result<Box<Delivery>, Failure>),
    /// Nothing more for now.
    Nothing,
    /// Nothing more at all.
    End,
}

impl RabbitmqReader {
    /// A reader that begins at a committed position, or where the settings say.
    pub fn open(
        name: &str,
        settings: &RabbitmqSource,
        start: StreamStart,
        position: Option<&Position>,
        mode: Mode,
        clock: Arc<dyn Clock>,
        broker: Arc<Broker>,
    ) -> Result<Self, Error> {
        let next = position.map(|position| {
            position.offset().map(|offset| offset.0).ok_or_else(|| {
                Error::stop(format!("source {name}: the committed position is not one of a stream of RabbitMQ"))
            })
        });
        Ok(RabbitmqReader {
            name: name.into(),
            settings: settings.clone(),
            start,
            mode,
            clock,
            broker,
            source: format!("{name}/0").into(),
            next: next.transpose()?,
            prefetch: settings.prefetch,
            reading: Reading::new(settings.key.clone()),
            pauses: Pauses::default(),
            open: None,
            failure: None,
        })
    }

    /// Waits before the next attempt, or gives up.
    async fn failed(&mut self, failure: Failure) -> Result<(), Error> {
        self.failure = None;
        if let Some(open) = self.open.take()
            && open.since.elapsed() > LASTED
        {
            self.pauses = Pauses::default();
        }
        if self.broker.disposition(&failure) == Disposition::Stop {
            return Err(self.broker.error(failure));
        }
        self.broker.lost();
        let pause = self.pauses.next();
        tracing::warn!("source {}: {failure}; trying again in {pause:.1?}", self.name);
        tokio::time::sleep(pause).await;
        Ok(())
    }

    async fn connect(&self) -> Result<Open, Failure> {
        let queue = &self.settings.queue;
        let link = self.broker.connect().await?;
        topology::queue(&link, &self.settings).await?;
        // The broker ends a connection on which a stream was asked for a single message.
        match topology::get(&link.channel().await?, queue).await? {
            topology::Got::Stream => {}
            topology::Got::Message(_) => return Err(topology::is_no_stream(queue)),
        }
        drop(link);
        let link = self.broker.connect().await?;
        let channel = link.channel().await?;
        answer("the prefetch", channel.basic_qos(self.prefetch, BasicQosOptions::default())).await?;
        let mut arguments = FieldTable::default();
        arguments.insert(STREAM_OFFSET.into(), self.begin());
        let (tag, options) = (format!("weir-{}", self.name), BasicConsumeOptions::default());
        let consumer = channel.basic_consume(queue.as_str().into(), tag.into(), options, arguments);
        let consumer = answer("the wish to consume", consumer).await?;
        tracing::info!("source {}: reading {queue} of {}", self.name, self.broker.address());
        Ok(Open { link, channel, consumer, since: Instant::now(), wanted: self.next })
    }

    /// Where to begin, as the broker wants to be told.
    fn begin(&self) -> AMQPValue {
        let word = |word: &str| AMQPValue::LongString(word.into());
        match (self.next, self.start) {
            (Some(offset), _) => AMQPValue::LongLongInt(i64::try_from(offset).unwrap_or(i64::MAX)),
            (None, StreamStart::First) => word("first"),
            (None, StreamStart::Last) => word("last"),
            (None, StreamStart::Next) => word("next"),
            (None, StreamStart::Time(time)) => {
                AMQPValue::Timestamp(u64::try_from(time.0.div_euclid(1_000)).unwrap_or(0))
            }
        }
    }

    /// What has come, at least one message, though perhaps none that was asked for. `None`: the stream is drained.
    async fn read(&mut self) -> Result<Option<Batch>, Failure> {
        let mut batch = Batch::default();
        let mut last_tag = None;
        while self.failure.is_none() && batch.len() < BATCH_RECORDS_MAX && batch.bytes() < BATCH_BYTES_MAX {
            let came = match self.came(last_tag.is_some()).await {
                Came::Nothing => break,
                Came::End => return Ok(None),
                Came::Message(came) => came,
            };
            match came.and_then(|delivery| self.take(&delivery, &mut batch).map(|()| delivery.delivery_tag)) {
                Ok(tag) => last_tag = Some(tag),
                Err(failure) => self.failure = Some(failure),
            }
        }
        if let (Some(tag), Some(open)) = (last_tag, &self.open) {
            let acked = open.channel.basic_ack(tag, BasicAckOptions { multiple: true });
            if let Err(failure) = answer("an acknowledgement", acked).await {
                self.failure.get_or_insert(failure);
            }
        }
        // What was read before is not lost by what happened then.
        match self.failure.take_if(|_| batch.is_empty()) {
            Some(failure) => Err(failure),
            None => Ok(Some(batch)),
        }
    }

    /// The next message. Does not wait for it where there are some already.
    async fn came(&mut self, have_some: bool) -> Came {
        let Some(open) = &mut self.open else { return Came::Message(Err(Failure::passing("there is no connection"))) };
        let came = match open.consumer.next().now_or_never() {
            Some(came) => came,
            None if have_some => return Came::Nothing,
            None if self.mode == Mode::Follow => open.consumer.next().await,
            None => match timeout(DRAIN_SILENCE, open.consumer.next()).await {
                Ok(came) => came,
                Err(_) => return Came::End,
            },
        };
        Came::Message(match came {
            Some(delivery) => delivery.map(Box::new).map_err(|error| explain(&error)),
            None => Err(self.cancelled()),
        })
    }

    fn take(&mut self, delivery: &Delivery, batch: &mut Batch) -> Result<(), Failure> {
        let Some(offset) = stream_offset(&delivery.properties) else {
            return Err(topology::is_no_stream(&self.settings.queue));
        };
        if let Some(wanted) = self.open.as_mut().and_then(|open| open.wanted.take())
            && offset > wanted
        {
            tracing::warn!(
                "source {}: the stream {} no longer holds the offsets from {wanted} to {}: its retention passed them before they were read",
                self.name,
                self.settings.queue,
                offset - 1
            );
        }
        // A stream is delivered by whole chunks, so the first ones may lie before what was asked for.
        if self.next.is_none_or(|next| offset >= next) {
            let message = Message {
                routing_key: delivery.routing_key.as_str(),
                properties: &delivery.properties,
                body: &delivery.data,
            };
            self.reading.push(batch, message, Offset(offset), self.clock.now());
            self.next = Some(offset + 1);
        }
        Ok(())
    }

    fn cancelled(&self) -> Failure {
        let queue = &self.settings.queue;
        Failure::passing(format!(
            "the broker ended the reading of {queue}: the stream was deleted, or its node is gone"
        ))
    }

    /// Lowers the prefetch where messages of this size could take too much memory ahead of the pipeline.
    fn bound(&mut self, batch: &Batch) {
        let message_bytes = batch.bytes() / batch.len().max(1);
        if message_bytes * usize::from(self.prefetch) > WAITING_BYTES_MAX && self.prefetch > 1 {
            self.prefetch = lower_prefetch(message_bytes).min(self.prefetch);
            tracing::info!(
                "source {}: messages have some {message_bytes} bytes; the prefetch is lowered to {}",
                self.name,
                self.prefetch
            );
            self.open = None;
        }
    }
}

#[async_trait]
impl Reader for RabbitmqReader {
    async fn next(&mut self) -> Result<Option<Chunk>, Error> {
        loop {
            if self.open.is_none() {
                match self.connect().await {
                    Ok(open) => self.open = Some(open),
                    Err(failure) => {
                        self.failed(failure).await?;
                        continue;
                    }
                }
                self.broker.prove();
            }
            match self.read().await {
                Ok(Some(records)) if records.is_empty() => {}
                Ok(Some(records)) => {
                    self.bound(&records);
                    let position = Position::at(Offset(self.next.unwrap_or_default()));
                    return Ok(Some(Chunk { source: self.source.clone(), records, position }));
                }
                Ok(None) => {
                    if let Some(open) = self.open.take() {
                        open.link.close().await;
                    }
                    return Ok(None);
                }
                Err(failure) => self.failed(failure).await?,
            }
        }
    }
}
