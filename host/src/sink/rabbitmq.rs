//! An exchange of RabbitMQ: every message confirmed, none lost for want of a queue.
//!
//! Messages are persistent and mandatory, and the channel confirms. Batches are published one behind the other without
//! waiting; a batch is delivered when the broker has confirmed all of it. What it returns because no queue takes it, and
//! what it refuses, is rejected with its words. A message's id derives from the output's, so a repetition bears it again.

mod confirms;
mod publication;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::FutureExt;
use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use tokio::sync::{mpsc, oneshot};

use self::confirms::{Job, Worker};
use super::{Confirm, Error, Sink};
use crate::config::RabbitmqSink;
use crate::rabbitmq::{Broker, Failure, Link, answer, topology};
use crate::record::Output;

/// Batches that may wait to be published; the task waits behind them. Its own budget bounds their bytes.
const QUEUE_BATCHES_MAX: usize = 16;

/// An exchange, as all tasks that write to it share it.
#[derive(Debug)]
pub struct RabbitmqExchange {
    broker: Broker,
    settings: RabbitmqSink,
    /// The bytes that a message may have, once the broker has said so.
    message_bytes_max: AtomicUsize,
}

/// A task's connection to an exchange. Dropping it abandons what is on its way.
pub struct RabbitmqTask {
    jobs: mpsc::Sender<Job>,
}

impl RabbitmqExchange {
    /// The exchange of a sink.
    pub fn new(name: &Arc<str>, settings: &RabbitmqSink) -> Arc<Self> {
        Arc::new(RabbitmqExchange {
            broker: Broker::new(name, &settings.server),
            settings: settings.clone(),
            message_bytes_max: AtomicUsize::new(usize::MAX),
        })
    }

    /// Connects for a task of a pipeline.
    pub async fn open(self: &Arc<Self>, sink: &str, pipeline: &Arc<str>) -> Result<RabbitmqTask, Error> {
        let link = self.link().await.map_err(|failure| self.broker.error(failure))?;
        let channel = async {
            let channel = link.channel().await?;
            answer("the wish for confirms", channel.confirm_select(ConfirmSelectOptions::default())).await?;
            Ok(channel)
        };
        let channel = channel.await.map_err(|failure| self.broker.error(failure))?;
        tracing::info!("sink {sink}: publishing to {}", self.broker.address());
        let (jobs, requests) = mpsc::channel(QUEUE_BATCHES_MAX);
        tokio::spawn(Worker::new(self.clone(), sink, pipeline, link, channel).run(requests));
        Ok(RabbitmqTask { jobs })
    }

    async fn link(&self) -> Result<Link, Failure> {
        let link = self.broker.connect().await?;
        topology::exchange(&link, &self.settings.exchange).await?;
        Ok(link)
    }

    /// Keeps in mind how large a message may be, where a failure says that one was too large: the broker ends the channel
    /// over it, and would do so again.
    fn learn(&self, failure: &Failure) {
        if let Some(max) = size_max(&failure.message) {
            self.message_bytes_max.store(max, Ordering::Relaxed);
        }
    }
}

/// Looks whether a sink could publish: the broker lets us in, the exchange is there, and we may write to it.
pub async fn check(name: &Arc<str>, settings: &RabbitmqSink) -> Result<(), Failure> {
    let link = RabbitmqExchange::new(name, settings).link().await?;
    let mut looked = may_write(&link, &settings.exchange).await;
    for _ in 1..LOOKS_MAX {
        // The refusal may arrive between two questions, and is the answer to neither then.
        if !looked.as_ref().is_err_and(Failure::hides_the_reason) {
            break;
        }
        looked = may_write(&link, &settings.exchange).await;
    }
    link.close().await;
    looked
}

/// How often the broker is asked whether it lets us write, where its reason passes by.
const LOOKS_MAX: u32 = 10;

/// Publishes a message in a transaction that is rolled back: the broker looks at the permission at once, and routes nothing
/// before the commit that never comes.
async fn may_write(link: &Link, exchange: &str) -> Result<(), Failure> {
    let channel = link.channel().await?;
    answer("the wish for a transaction", channel.tx_select()).await?;
    let options = BasicPublishOptions::default();
    let publish = channel.basic_publish(exchange.into(), "".into(), options, &[], BasicProperties::default());
    answer("a message", publish).await?;
    // A refusal closes the channel, and is the answer to this.
    answer("the end of a transaction", channel.tx_rollback()).await
}

#[async_trait]
impl Sink for RabbitmqTask {
    async fn send(&mut self, output: Arc<Output>) -> Result<Confirm, Error> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job { output, answer }).await.map_err(|_| ended())?;
        Ok(async move { answered.await.unwrap_or_else(|_| Err(ended())) }.boxed())
    }
}

fn ended() -> Error {
    Error::retry("the connection has ended after an earlier error")
}

/// The size that RabbitMQ names when a message is too large: `message size 300 is larger than configured max size 100`.
fn size_max(text: &str) -> Option<usize> {
    let (_, rest) = text.split_once("larger than")?;
    let (_, rest) = rest.split_once("max size ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_size_is_learned_from_the_brokers_words() {
        let text =
            "the broker answered 406 PRECONDITION_FAILED - message size 300 is larger than configured max size 100";
        assert_eq!(size_max(text), Some(100));
        assert_eq!(size_max("message size 300 is larger than max size 17'"), Some(17));
        assert_eq!(size_max("inequivalent arg 'x-max-length'"), None);
    }
}
