//! Messages of RabbitMQ: queues by a listener, streams by a reader.
//!
//! A queue forgets what is acknowledged, so its messages enter the intake stream and are acknowledged once they are
//! durable there ([`RabbitmqListener`]). A stream can be read again from any offset, so it is read in place
//! ([`RabbitmqReader`]). Both reconnect by themselves: a new connection and new channels after a pause.

mod intake;
mod recent;
mod session;
mod stream;

pub use stream::RabbitmqReader;

use std::sync::Arc;

use async_trait::async_trait;

use self::intake::Way;
use self::recent::Recent;
use self::session::{Ended, Session};
use super::{Disposition, Error, Intake, Listener, Mode, Received};
use crate::clock::Clock;
use crate::config::RabbitmqSource;
use crate::rabbitmq::{Broker, Failure, Link, Pauses, topology};
use crate::stop::Stop;
use crate::store::Store;

/// Takes in the messages of a queue.
pub struct RabbitmqListener {
    name: Arc<str>,
    settings: RabbitmqSource,
    mode: Mode,
    clock: Arc<dyn Clock>,
    received: Arc<Received>,
    recent: Recent,
    broker: Broker,
}

impl RabbitmqListener {
    /// A listener that remembers what it took in before.
    pub async fn open(
        name: &Arc<str>,
        settings: &RabbitmqSource,
        mode: Mode,
        clock: Arc<dyn Clock>,
        store: &dyn Store,
        received: Arc<Received>,
    ) -> Result<Self, Error> {
        let recent = Recent::restore(store, name, settings.message_ids_max).await;
        let recent = recent.map_err(|error| Error::stop(error.to_string()))?;
        let broker = Broker::new(name, &settings.server);
        Ok(RabbitmqListener { name: name.clone(), settings: settings.clone(), mode, clock, received, recent, broker })
    }
}

#[async_trait]
impl Listener for RabbitmqListener {
    async fn run(self: Box<Self>, intake: Intake, mut stop: Stop) -> Result<(), Error> {
        let RabbitmqListener { name, settings, mode, clock, received, recent, broker } = *self;
        let mut way = Way::new(intake, recent, received);
        let mut prefetch = settings.prefetch;
        let mut pauses = Pauses::default();
        loop {
            let session = Session { name: &name, settings: &settings, mode, clock: &*clock, prefetch };
            let ended = session.run(&broker, &mut way, &mut stop, &mut pauses).await;
            let recognised = way.forget_unsent();
            if recognised > 0 {
                tracing::info!("source {name}: {recognised} messages came again and are in the intake stream already");
            }
            let failure = match ended {
                Ended::Done => return way.finish().await,
                Ended::Intake(error) => return Err(error),
                Ended::Large(lower) => {
                    prefetch = lower;
                    continue;
                }
                Ended::Broker(failure) => failure,
            };
            if broker.disposition(&failure) == Disposition::Stop {
                return Err(broker.error(failure));
            }
            broker.lost();
            let pause = pauses.next();
            tracing::warn!("source {name}: {failure}; trying again in {pause:.1?}");
            tokio::select! { biased;
                () = stop.stopped() => return way.finish().await,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

/// Looks whether a source could be consumed: the broker lets us in, the queue is there and of the kind that is said.
pub async fn check(name: &Arc<str>, settings: &RabbitmqSource) -> Result<(), Failure> {
    let link = Broker::new(name, &settings.server).connect().await?;
    let looked = look(&link, settings).await;
    link.close().await;
    looked
}

async fn look(link: &Link, settings: &RabbitmqSource) -> Result<(), Failure> {
    let channel = link.channel().await?;
    let queue = &settings.queue;
    match topology::waiting(&channel, queue).await {
        // What is not there will be created.
        Err(_) if settings.declare.is_some() => return Ok(()),
        looked => looked.map(drop)?,
    }
    // A message that is asked for and not acknowledged goes back to its place, marked as delivered before.
    match (topology::get(&channel, queue).await?, settings.stream) {
        (topology::Got::Stream, None) => Err(topology::is_a_stream(queue)),
        (topology::Got::Message(_), Some(_)) => Err(topology::is_no_stream(queue)),
        _ => Ok(()),
    }
}
