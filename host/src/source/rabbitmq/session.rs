//! One connection of a listener: from opening it to its end, whatever that is.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use tokio::time::{Instant, sleep_until, timeout};

use super::intake::{Delivered, Way};
use crate::clock::Clock;
use crate::config::RabbitmqSource;
use crate::rabbitmq::message::{Message, Reading};
use crate::rabbitmq::{Broker, Failure, Link, Pauses, answer, explain, tell, topology};
use crate::source::intake::Room;
use crate::source::{Error, Mode};
use crate::stop::Stop;

/// Bytes of messages that may wait for the intake. If the prefetch lets more of them come, it is lowered.
pub const WAITING_BYTES_MAX: usize = 64 << 20;
/// How long a queue that is drained has to be silent before it is asked whether it is empty.
const DRAIN_SILENCE: Duration = Duration::from_millis(300);
/// How long to wait for the reason why a channel is closed.
const REASON_TIME_MAX: Duration = Duration::from_secs(1);
/// A session that lasted this long was no failed attempt.
const LASTED: Duration = Duration::from_secs(15);

/// How long a session waits for other consumers of its queue to go before it begins. The one before it may be among them: the
/// broker gives out its messages again once it has seen that it is gone, and what was given out before that would overtake
/// them.
const ALONE_WAIT: Duration = Duration::from_secs(5);
/// How often it looks.
const ALONE_LOOK: Duration = Duration::from_millis(50);

/// What a session is made of.
pub struct Session<'a> {
    pub name: &'a Arc<str>,
    pub settings: &'a RabbitmqSource,
    pub mode: Mode,
    pub clock: &'a dyn Clock,
    pub prefetch: u16,
}

/// How a session ended.
pub enum Ended {
    /// It was told to stop, or the queue is drained. All that was handed over is durable and acknowledged.
    Done,
    /// The intake failed.
    Intake(Error),
    /// The messages are so large that the prefetch has to be lowered to this.
    Large(u16),
    /// Something with the broker.
    Broker(Failure),
}

struct Open {
    link: Link,
    channel: Channel,
    consumer: Consumer,
    first: Option<Box<Delivery>>,
}

impl Session<'_> {
    /// Connects and receives, until something ends it.
    pub async fn run(&self, broker: &Broker, way: &mut Way, stop: &mut Stop, pauses: &mut Pauses) -> Ended {
        let opened = tokio::select! { biased;
            () = stop.stopped() => return Ended::Done,
            opened = self.open(broker) => opened,
        };
        let open = match opened {
            Ok(open) => open,
            Err(failure) => return Ended::Broker(failure),
        };
        broker.prove();
        let began = Instant::now();
        tracing::info!("source {}: consuming {} of {}", self.name, self.settings.queue, broker.address());
        way.begin();
        let Open { link, channel, consumer, first } = open;
        let mut receiving = Receiving {
            session: self,
            acks: Acks { channel, wanted: None, under_way: None },
            consumer,
            reading: Reading::new(self.settings.key.clone()),
            way,
            stopping: false,
            progressed: false,
            last_came: began,
        };
        let ended = receiving.run(&link, first, stop).await;
        if receiving.progressed || began.elapsed() > LASTED {
            *pauses = Pauses::default();
        }
        if matches!(ended, Ended::Done) {
            receiving.close().await;
            link.close().await;
        }
        ended
    }

    async fn open(&self, broker: &Broker) -> Result<Open, Failure> {
        let queue = &self.settings.queue;
        let link = broker.connect().await?;
        topology::queue(&link, self.settings).await?;
        let channel = link.channel().await?;
        answer("the prefetch", channel.basic_qos(self.prefetch, BasicQosOptions::default())).await?;
        self.wait_for_others(&channel).await?;
        let first = match topology::get(&channel, queue).await? {
            topology::Got::Stream => return Err(topology::is_a_stream(queue)),
            topology::Got::Message(first) => first,
        };
        let (tag, options) = (format!("weir-{}", self.name), BasicConsumeOptions::default());
        let consumer = channel.basic_consume(queue.as_str().into(), tag.into(), options, FieldTable::default());
        let consumer = answer("the wish to consume", consumer).await?;
        Ok(Open { link, channel, consumer, first })
    }

    /// Waits until nobody else consumes the queue, or long enough.
    async fn wait_for_others(&self, channel: &Channel) -> Result<(), Failure> {
        let (name, queue, began) = (self.name, &self.settings.queue, Instant::now());
        let mut is_told = false;
        loop {
            let others = topology::consumers(channel, queue).await?;
            if others == 0 {
                return Ok(());
            }
            if began.elapsed() >= ALONE_WAIT {
                tracing::info!("source {name}: {others} more consume {queue}: each has a part, in an order of its own");
                return Ok(());
            }
            if !std::mem::replace(&mut is_told, true) {
                tracing::info!(
                    "source {name}: waiting up to {ALONE_WAIT:?} for {others} more that consume {queue} to go"
                );
            }
            tokio::time::sleep(ALONE_LOOK).await;
        }
    }
}

/// A session at work.
struct Receiving<'a> {
    session: &'a Session<'a>,
    way: &'a mut Way,
    acks: Acks,
    consumer: Consumer,
    reading: Reading,
    stopping: bool,
    progressed: bool,
    last_came: Instant,
}

impl Receiving<'_> {
    async fn run(&mut self, link: &Link, first: Option<Box<Delivery>>, stop: &mut Stop) -> Ended {
        let connection = link.connection();
        let mut events = pin!(connection.events_listener());
        let intake = self.way.intake();
        let mut ended = first.and_then(|first| self.take(&first));
        while ended.is_none() {
            let draining = self.session.mode == Mode::Drain && self.is_settled();
            ended = tokio::select! { biased;
                durable = self.way.durable() => self.durable(durable),
                acked = self.acks.next() => match acked {
                    Ok(()) => None,
                    Err(error) => Some(Ended::Broker(self.reason(&error).await)),
                },
                () = stop.stopped(), if !self.stopping => { self.stop(&intake); None }
                room = intake.room(), if self.way.has_full() => self.send(room),
                came = self.consumer.next(), if !self.stopping => self.came(came),
                room = intake.room(), if self.way.has_due() => self.send(room),
                Some(event) = events.next() => { tell("source", self.session.name, &event); None }
                () = sleep_until(self.last_came + DRAIN_SILENCE), if draining => self.look().await,
            };
            if ended.is_none() && self.stopping && self.is_settled() {
                return Ended::Done;
            }
        }
        ended.unwrap_or(Ended::Done)
    }

    /// Takes what has come, and what lies ready behind it up to a full batch: to look at everything else after each
    /// message would cost more than the message.
    fn came(&mut self, first: Option<lapin::Result<Delivery>>) -> Option<Ended> {
        self.last_came = Instant::now();
        let mut next = Some(first);
        while let Some(came) = next {
            let ended = match came {
                Some(Ok(delivery)) => self.take(&delivery),
                Some(Err(error)) => Some(Ended::Broker(explain(&error))),
                None => Some(Ended::Broker(self.cancelled())),
            };
            if ended.is_some() {
                return ended;
            }
            next = if self.way.has_full() { None } else { self.consumer.next().now_or_never() };
        }
        None
    }

    fn take(&mut self, delivery: &Delivery) -> Option<Ended> {
        let Delivery { delivery_tag, redelivered, routing_key, properties, data, .. } = delivery;
        let message = Message { routing_key: routing_key.as_str(), properties, body: data };
        let delivered = Delivered { tag: *delivery_tag, redelivered: *redelivered, message };
        self.way.take(delivered, &mut self.reading, self.session.clock.now());
        let (bytes, messages) = self.way.unsent();
        if bytes <= WAITING_BYTES_MAX || messages <= 1 {
            return None;
        }
        let lower = lower_prefetch(bytes / messages);
        tracing::info!(
            "source {}: messages have some {} bytes; the prefetch is lowered to {lower}",
            self.session.name,
            bytes / messages
        );
        Some(Ended::Large(lower))
    }

    fn send(&mut self, room: Result<Room<'_>, Error>) -> Option<Ended> {
        match room {
            Ok(room) => self.way.send(room),
            Err(error) => return Some(Ended::Intake(error)),
        }
        None
    }

    fn durable(&mut self, durable: Result<Option<u64>, Error>) -> Option<Ended> {
        match durable {
            Ok(tag) => {
                self.progressed = true;
                self.acks.wanted = tag.or(self.acks.wanted);
                None
            }
            Err(error) => Some(Ended::Intake(error)),
        }
    }

    /// Takes in what has come, as far as there is room; the broker will give the rest to the next consumer.
    fn stop(&mut self, intake: &crate::source::Intake) {
        self.stopping = true;
        while self.way.has_unsent()
            && let Some(Ok(room)) = intake.room().now_or_never()
        {
            self.way.send(room);
        }
        self.way.drop_unsent();
    }

    fn is_settled(&self) -> bool {
        !self.way.has_unsent() && self.way.is_settled() && self.acks.is_settled()
    }

    /// Ends the draining of a queue that is empty.
    async fn look(&mut self) -> Option<Ended> {
        self.last_came = Instant::now();
        match topology::waiting(&self.acks.channel, &self.session.settings.queue).await {
            Ok(0) => Some(Ended::Done),
            Ok(_) => None,
            Err(failure) => Some(Ended::Broker(failure)),
        }
    }

    fn cancelled(&self) -> Failure {
        let queue = &self.session.settings.queue;
        Failure::passing(format!(
            "the broker ended the consumption of {queue}: the queue was deleted, or the node that holds it is gone"
        ))
    }

    /// Why the channel is closed: the consumer is told.
    async fn reason(&mut self, error: &lapin::Error) -> Failure {
        let told = async {
            while let Some(came) = self.consumer.next().await {
                if let Err(error) = came {
                    return Some(explain(&error));
                }
            }
            None
        };
        timeout(REASON_TIME_MAX, told).await.ok().flatten().unwrap_or_else(|| explain(error))
    }

    /// Closes the channel, so that its acknowledgements are known to have arrived.
    async fn close(&mut self) {
        // Where that fails, the broker delivers again, and the message ids tell.
        let _ = timeout(REASON_TIME_MAX, self.acks.channel.close(200, "weir ends".into())).await;
    }
}

/// The prefetch by which messages of this size stay well within what may wait.
pub fn lower_prefetch(message_bytes: usize) -> u16 {
    u16::try_from(WAITING_BYTES_MAX / 2 / message_bytes.max(1)).unwrap_or(u16::MAX).max(1)
}

/// Acknowledgements on their way: one at a time, and the newest takes in all that came to be wanted meanwhile.
struct Acks {
    channel: Channel,
    wanted: Option<u64>,
    under_way: Option<BoxFuture<'static, lapin::Result<()>>>,
}

impl Acks {
    /// Resolves when one is with the broker; never, where none is wanted. Dropping the future loses nothing.
    async fn next(&mut self) -> lapin::Result<()> {
        if self.under_way.is_none() {
            let Some(tag) = self.wanted.take() else { return std::future::pending().await };
            let channel = self.channel.clone();
            let ack = async move { channel.basic_ack(tag, BasicAckOptions { multiple: true }).await };
            self.under_way = Some(ack.boxed());
        }
        let Some(under_way) = self.under_way.as_mut() else { return Ok(()) };
        let acked = under_way.await;
        self.under_way = None;
        acked
    }

    fn is_settled(&self) -> bool {
        self.wanted.is_none() && self.under_way.is_none()
    }
}
