//! Publishes batches and gathers the broker's confirms, so that each batch is answered for when all of it is.
//!
//! The broker returns a message that no queue takes before it confirms it, and does not say by a tag which one it was.
//! lapin hands it to whichever confirm comes next. So returned messages are told apart by their ids here, and a batch is
//! answered for only after the channel has answered one more question: by then every return before it has been seen.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::poll;
use futures_util::stream::{FuturesUnordered, StreamExt};
use lapin::options::{BasicPublishOptions, BasicQosOptions};
use lapin::types::ShortString;
use lapin::{Channel, Confirmation, Event};
use tokio::sync::{mpsc, oneshot};

use super::RabbitmqExchange;
use super::publication::{Publication, Rules};
use crate::rabbitmq::{Failure, Link, explain, tell};
use crate::record::{Output, Reject};
use crate::sink::{Delivery, Error};

/// A batch to publish.
pub struct Job {
    /// The records.
    pub output: Arc<Output>,
    /// Answered when all of it is confirmed.
    pub answer: oneshot::Sender<Result<Delivery, Error>>,
}

/// Owns a task's channel.
pub struct Worker {
    exchange: Arc<RabbitmqExchange>,
    sink: Arc<str>,
    pipeline: Arc<str>,
    link: Link,
    channel: Channel,
    /// Batches that are published and not answered for, by their number.
    batches: BTreeMap<u64, Batch>,
    next: u64,
    confirms: FuturesUnordered<BoxFuture<'static, Confirmed>>,
    questions: FuturesUnordered<BoxFuture<'static, (u64, lapin::Result<()>)>>,
    /// The broker's words for messages that it returned, by their ids.
    returned: HashMap<ShortString, String>,
}

/// A batch that was published.
struct Batch {
    answer: oneshot::Sender<Result<Delivery, Error>>,
    /// Messages that are not confirmed yet.
    left: usize,
    rejects: BTreeMap<u32, Reject>,
    /// The ids of its messages.
    ids: Vec<(u32, ShortString)>,
}

/// The broker's answer to one message.
struct Confirmed {
    batch: u64,
    index: u32,
    result: lapin::Result<Confirmation>,
}

impl Worker {
    /// A worker on an open channel in confirm mode.
    pub fn new(exchange: Arc<RabbitmqExchange>, sink: &str, pipeline: &Arc<str>, link: Link, channel: Channel) -> Self {
        Worker {
            exchange,
            sink: sink.into(),
            pipeline: pipeline.clone(),
            link,
            channel,
            batches: BTreeMap::new(),
            next: 0,
            confirms: FuturesUnordered::new(),
            questions: FuturesUnordered::new(),
            returned: HashMap::new(),
        }
    }

    /// Publishes until the task is gone or the connection fails; then everything that is not confirmed fails with it.
    pub async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let Err(failure) = self.work(&mut jobs).await else {
            if self.batches.is_empty() {
                self.link.close().await;
            }
            return;
        };
        self.exchange.learn(&failure);
        let Worker { exchange, link, batches, .. } = self;
        drop(link);
        // The task drops the answers only when it drops the sink.
        for batch in batches.into_values() {
            let _ = batch.answer.send(Err(exchange.broker.error(failure.clone())));
        }
        while let Some(job) = jobs.recv().await {
            let _ = job.answer.send(Err(exchange.broker.error(failure.clone())));
        }
    }

    async fn work(&mut self, jobs: &mut mpsc::Receiver<Job>) -> Result<(), Failure> {
        let connection = self.link.connection();
        let mut events = pin!(connection.events_listener());
        loop {
            tokio::select! { biased;
                Some(confirmed) = self.confirms.next() => self.confirmed(confirmed)?,
                Some((batch, answered)) = self.questions.next() => {
                    answered.map_err(|error| explain(&error))?;
                    self.settle(batch)?;
                }
                job = jobs.recv() => match job {
                    Some(job) => self.publish(job).await?,
                    None => return Ok(()),
                },
                Some(event) = events.next() => match event {
                    Event::Error(error) => return Err(explain(&error)),
                    event => tell("sink", &self.sink, &event),
                },
            }
        }
    }

    /// Publishes a batch in order. Nothing is waited for: what the broker does not take yet waits in memory, which the
    /// task's budget bounds.
    async fn publish(&mut self, job: Job) -> Result<(), Failure> {
        let number = self.next;
        self.next += 1;
        let Job { output, answer } = job;
        let mut batch = Batch { answer, left: 0, rejects: BTreeMap::new(), ids: Vec::new() };
        let mut at_once = Vec::new();
        for (index, record) in (0u32..).zip(output.records.iter()) {
            match self.rules().publication(&output, index as usize, &record) {
                Err(reason) => drop(batch.rejects.insert(index, Reject { index, reason, retriable: false })),
                Ok(publication) => {
                    batch.ids.extend(publication.properties.message_id().clone().map(|id| (index, id)));
                    batch.left += 1;
                    let mut confirm = self.confirm(number, index, &output, publication);
                    // Polled here, once, as that is what puts it on its way: so messages go out in their order.
                    match poll!(&mut confirm) {
                        std::task::Poll::Ready(confirmed) => at_once.push(confirmed),
                        std::task::Poll::Pending => self.confirms.push(confirm),
                    }
                }
            }
        }
        let nothing_to_confirm = batch.left == 0;
        self.batches.insert(number, batch);
        at_once.into_iter().try_for_each(|confirmed| self.confirmed(confirmed))?;
        if nothing_to_confirm { self.settle(number) } else { Ok(()) }
    }

    fn rules(&self) -> Rules<'_> {
        Rules {
            pipeline: &self.pipeline,
            routing_key: &self.exchange.settings.routing_key,
            frame_bytes_max: self.link.frame_bytes_max(),
            message_bytes_max: self.exchange.message_bytes_max.load(Ordering::Relaxed),
        }
    }

    fn confirm(
        &self,
        batch: u64,
        index: u32,
        output: &Arc<Output>,
        publication: Publication,
    ) -> BoxFuture<'static, Confirmed> {
        let (channel, output) = (self.channel.clone(), output.clone());
        let exchange = ShortString::from(self.exchange.settings.exchange.as_str());
        let confirm = async move {
            let record = output.records.get(index as usize);
            let body = record.and_then(|record| record.value).unwrap_or_default();
            let Publication { routing_key, properties } = publication;
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            channel.basic_publish(exchange, routing_key, options, body, properties).await?.await
        };
        confirm.map(move |result| Confirmed { batch, index, result }).boxed()
    }

    fn confirmed(&mut self, confirmed: Confirmed) -> Result<(), Failure> {
        let Confirmed { batch: number, index, result } = confirmed;
        let confirmation = result.map_err(|error| explain(&error))?;
        let Some(batch) = self.batches.get_mut(&number) else { return Ok(()) };
        if confirmation.is_nack() {
            let reason = "the broker refused it (basic.nack): its queue is full, or could not store it".to_owned();
            batch.rejects.insert(index, Reject { index, reason, retriable: true });
        }
        batch.left -= 1;
        if batch.left == 0 {
            let channel = self.channel.clone();
            // What is asked does not matter, only that it is answered after all that came before.
            let question = async move { (number, channel.basic_qos(0, BasicQosOptions::default()).await) };
            self.questions.push(question.boxed());
        }
        if let Some(message) = confirmation.take_message() {
            let reason = format!("the broker returned it: {} {}", message.reply_code, message.reply_text);
            self.returned.extend(message.delivery.properties.message_id().clone().map(|id| (id, reason)));
        }
        Ok(())
    }

    /// Answers for a batch whose messages are all confirmed and whose returns have all come.
    fn settle(&mut self, number: u64) -> Result<(), Failure> {
        // A return may lie with a confirm of a later batch.
        while let Some(Some(confirmed)) = self.confirms.next().now_or_never() {
            self.confirmed(confirmed)?;
        }
        let Some(mut batch) = self.batches.remove(&number) else { return Ok(()) };
        if !self.returned.is_empty() {
            for (index, id) in &batch.ids {
                if let Some(reason) = self.returned.remove(id) {
                    batch.rejects.insert(*index, Reject { index: *index, reason, retriable: true });
                }
            }
        }
        self.exchange.broker.prove();
        let delivery = Delivery { rejects: batch.rejects.into_values().collect(), ..Delivery::default() };
        // The task drops the answer only when it drops the sink.
        let _ = batch.answer.send(Ok(delivery));
        Ok(())
    }
}
