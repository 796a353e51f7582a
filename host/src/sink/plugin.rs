//! Sinks that are plugins: batches in order through one instance, and the culprit alone when it fails.
//!
//! A failed call is repeated in a fresh instance; if that fails too, the halves of the batch are tried, and theirs, until
//! a record that fails alone is rejected and all others are delivered. What was delivered before a failure is delivered
//! again, under the same ids. Rejects that may succeed later are the pipeline's to send again. Where a plugin says that it cannot go
//! on for now, the task begins again from its last commit; where it says that it cannot go on at all, the appliance ends.
//!
//! What has come while the plugin was busy is given to it as one batch: the slower it is, the more it sees at once.
//!
//! Knows instances only by the two traits here; the real ones are those of [`crate::plugin::instance`].

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{Confirm, Delivery, Disposition, Error, Sink};
use crate::plugin::bisect::Bisection;
use crate::plugin::instance::{SinkFactory, SinkInstance};
use crate::plugin::{Failure, Identity, StartError};
use crate::record::{Batch, Output, Reject};
use crate::source::BATCH_RECORDS_MAX;

/// Batches that may wait for the instance; the task waits behind them. Its own budget bounds their bytes.
const QUEUE_BATCHES_MAX: usize = 64;
/// Bytes of those that are given to it as one, but for the last of them; their records are no more than one may have, so that the
/// limits of a call are what they are for one.
const JOINED_BYTES_MAX: usize = 1 << 20;

/// A running plugin that delivers.
#[async_trait]
pub trait Writer: Send + 'static {
    /// Delivers a batch and returns the records that were refused, by ascending index. A failure leaves a dead instance.
    async fn write(&mut self, source: &str, batch: &Batch, ordinals: &[u32]) -> Result<Vec<Reject>, Failure>;
}

/// Starts such plugins, for one sink and partition.
#[async_trait]
pub trait Start: Send + Sync + 'static {
    /// A fresh instance, configured.
    async fn start(&self) -> Result<Box<dyn Writer>, StartError>;
}

#[async_trait]
impl Writer for SinkInstance {
    async fn write(&mut self, source: &str, batch: &Batch, ordinals: &[u32]) -> Result<Vec<Reject>, Failure> {
        SinkInstance::write(self, source, batch, ordinals).await
    }
}

#[async_trait]
impl Start for SinkFactory {
    async fn start(&self) -> Result<Box<dyn Writer>, StartError> {
        Ok(Box::new(SinkFactory::start(self).await?))
    }
}

/// A task's connection to a sink plugin. Dropping it abandons what is on its way.
pub struct PluginTask {
    queue: mpsc::Sender<Request>,
    worker: JoinHandle<()>,
    identity: Option<Identity>,
}

struct Request {
    output: Arc<Output>,
    answer: oneshot::Sender<Result<Delivery, Error>>,
}

impl PluginTask {
    /// Starts the plugin's first instance and the worker that feeds it. `name` is the sink's.
    pub async fn start(name: Arc<str>, factory: Arc<dyn Start>) -> Result<PluginTask, Error> {
        let instance = Some(factory.start().await.map_err(|error| start_error(&error))?);
        let (queue, requests) = mpsc::channel(QUEUE_BATCHES_MAX);
        let worker = Worker { name, factory, instance };
        Ok(PluginTask { queue, worker: tokio::spawn(worker.run(requests)), identity: None })
    }

    /// Says which plugin it is.
    pub fn with_identity(mut self, identity: Identity) -> PluginTask {
        self.identity = Some(identity);
        self
    }
}

#[async_trait]
impl Sink for PluginTask {
    async fn send(&mut self, output: Arc<Output>) -> Result<Confirm, Error> {
        let (answer, answered) = oneshot::channel();
        self.queue.send(Request { output, answer }).await.map_err(|_| ended())?;
        Ok(async move { answered.await.unwrap_or_else(|_| Err(ended())) }.boxed())
    }

    fn identity(&self) -> Option<Identity> {
        self.identity.clone()
    }
}

impl Drop for PluginTask {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

struct Worker {
    name: Arc<str>,
    factory: Arc<dyn Start>,
    instance: Option<Box<dyn Writer>>,
}

impl Worker {
    /// Delivers what has come, and then what has come meanwhile, and ends with the first that it could not deal with.
    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut next = None;
        loop {
            let first = match next.take() {
                Some(request) => request,
                None => match requests.recv().await {
                    Some(request) => request,
                    None => return,
                },
            };
            let mut waiting = vec![first];
            next = gather(&mut waiting, &mut requests);
            let delivery = match Output::joined(waiting.iter().map(|request| request.output.clone()).collect()) {
                Some(all) => self.deliver(&all).await,
                None => return,
            };
            let is_over = delivery.is_err();
            answer(waiting, delivery);
            if is_over {
                return;
            }
        }
    }

    async fn deliver(&mut self, output: &Output) -> Result<Delivery, Error> {
        let rejects = match self.write(&output.source, &output.records, &output.ordinals).await? {
            Ok(rejects) => rejects,
            Err(failure) => {
                let records = output.records.len();
                tracing::warn!(sink = %self.name, records, "{failure}; trying again in a fresh instance");
                self.bisect(output).await?
            }
        };
        Ok(Delivery { rejects, ..Delivery::default() })
    }

    async fn bisect(&mut self, output: &Output) -> Result<Vec<Reject>, Error> {
        let mut search = Bisection::of(output.records.len());
        let mut rejects = Vec::new();
        while let Some(range) = search.next_try() {
            let ordinals = output.ordinals.get(range.clone()).unwrap_or_default();
            let first = range.start as u32;
            match self.write(&output.source, &output.records.slice(range.clone()), ordinals).await? {
                Ok(refused) => {
                    rejects.extend(refused.into_iter().map(|reject| Reject { index: reject.index + first, ..reject }));
                }
                Err(failure) => {
                    let blamed = |_| Reject { index: first, reason: failure.to_string(), retriable: false };
                    rejects.extend(search.failed(range).map(blamed));
                }
            }
        }
        Ok(rejects)
    }

    async fn write(
        &mut self,
        source: &str,
        batch: &Batch,
        ordinals: &[u32],
    ) -> Result<Result<Vec<Reject>, Failure>, Error> {
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => self.factory.start().await.map_err(|error| start_error(&error))?,
        };
        let result = instance.write(source, batch, ordinals).await;
        match &result {
            Err(Failure::Again(why)) => return Err(Error::retry(why.clone())),
            Err(Failure::Stop(why)) => return Err(Error::stop(why.clone())),
            _ => {}
        }
        if result.is_ok() {
            self.instance = Some(instance);
        }
        Ok(result)
    }
}

/// Adds to the first of some requests those that wait behind it and are of the same source, as many as go together. Returns the
/// next one, where it was taken from the queue and does not.
fn gather(waiting: &mut Vec<Request>, requests: &mut mpsc::Receiver<Request>) -> Option<Request> {
    let source = waiting.first()?.output.source.clone();
    let mut records: usize = waiting.iter().map(|request| request.output.records.len()).sum();
    let mut bytes: usize = waiting.iter().map(|request| request.output.records.bytes()).sum();
    while bytes < JOINED_BYTES_MAX {
        let request = requests.try_recv().ok()?;
        records += request.output.records.len();
        if request.output.source != source || records > BATCH_RECORDS_MAX {
            return Some(request);
        }
        bytes += request.output.records.bytes();
        waiting.push(request);
    }
    None
}

/// Answers requests that were delivered as one: each is told of its own rejects.
fn answer(requests: Vec<Request>, delivery: Result<Delivery, Error>) {
    let mut rejects = delivery.map(|delivery| delivery.rejects.into_iter().peekable());
    let mut first = 0;
    for Request { output, answer } in requests {
        let end = first + output.records.len() as u32;
        let own = match &mut rejects {
            Ok(rejects) => {
                let own = std::iter::from_fn(|| rejects.next_if(|reject| reject.index < end));
                let own = own.map(|reject| Reject { index: reject.index - first, ..reject }).collect();
                Ok(Delivery { rejects: own, ..Delivery::default() })
            }
            Err(error) => Err(error.clone()),
        };
        // The pipeline drops the answer only when it drops the sink.
        let _ = answer.send(own);
        first = end;
    }
}

/// A plugin that fails on its way up may do better the next time; one that refuses its configuration does not.
fn start_error(error: &StartError) -> Error {
    let disposition = match error {
        StartError::Failed(_) => Disposition::Retry,
        _ => Disposition::Stop,
    };
    Error { message: error.to_string(), disposition }
}

fn ended() -> Error {
    Error::retry("the plugin has ended after an earlier error")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;
    use crate::record::{Offset, Record, Timestamp};

    /// What the scripted plugin saw and did, over all its instances.
    #[derive(Default)]
    struct Seen {
        started: usize,
        calls: usize,
        /// Source, offset and ordinal of each record that was delivered.
        delivered: Vec<(String, u64, u32)>,
        /// Traps that come whatever the records are.
        traps_left: usize,
        refuses_to_start: Option<StartError>,
    }

    #[derive(Clone, Default)]
    struct Scripted(Arc<Mutex<Seen>>);

    #[async_trait]
    impl Start for Scripted {
        async fn start(&self) -> Result<Box<dyn Writer>, StartError> {
            let mut seen = self.0.lock().unwrap();
            seen.started += 1;
            seen.refuses_to_start.clone().map_or(Ok(Box::new(self.clone())), Err)
        }
    }

    #[async_trait]
    impl Writer for Scripted {
        async fn write(&mut self, source: &str, batch: &Batch, ordinals: &[u32]) -> Result<Vec<Reject>, Failure> {
            assert_eq!(batch.len(), ordinals.len());
            tokio::task::yield_now().await;
            let mut seen = self.0.lock().unwrap();
            seen.calls += 1;
            if seen.traps_left > 0 {
                seen.traps_left -= 1;
                return Err(Failure::Trap("by chance".into()));
            }
            let mut rejects = Vec::new();
            for ((index, record), ordinal) in (0..).zip(batch.iter()).zip(ordinals) {
                match record.value {
                    Some(b"again") => return Err(Failure::Again("again".into())),
                    Some(b"stop") => return Err(Failure::Stop("stop".into())),
                    Some(b"trap") => return Err(Failure::Trap("scripted".into())),
                    Some(b"no") => rejects.push(Reject { index, reason: "no".into(), retriable: false }),
                    Some(b"later") => rejects.push(Reject { index, reason: "later".into(), retriable: true }),
                    _ => seen.delivered.push((source.into(), record.offset.0, *ordinal)),
                }
            }
            Ok(rejects)
        }
    }

    fn output(first: u64, values: &[&str]) -> Arc<Output> {
        let mut records = Batch::default();
        for (offset, value) in (first..).zip(values) {
            records.push(&Record { offset: Offset(offset), ..Record::of(value.as_bytes(), Timestamp(0)) });
        }
        let ordinals = (0..records.len() as u32).map(|n| n + 7).collect();
        Arc::new(Output { source: "in/0".into(), records, ordinals })
    }

    async fn deliver(plugin: &Scripted, values: &[&str]) -> Vec<(u32, String, bool)> {
        let mut task = PluginTask::start("soc".into(), Arc::new(plugin.clone())).await.unwrap();
        let delivery = task.send(output(0, values)).await.unwrap().await.unwrap();
        assert!(delivery.staged.is_empty());
        delivery.rejects.into_iter().map(|reject| (reject.index, reject.reason, reject.retriable)).collect()
    }

    #[tokio::test]
    async fn batches_are_delivered_in_order_and_their_rejects_passed_on() {
        let plugin = Scripted::default();
        let mut task = PluginTask::start("soc".into(), Arc::new(plugin.clone())).await.unwrap();
        let first = task.send(output(0, &["a", "no"])).await.unwrap();
        let second = task.send(output(2, &["later", "b"])).await.unwrap();
        let rejects = second.await.unwrap().rejects;
        assert_eq!(rejects, [Reject { index: 0, reason: "later".into(), retriable: true }]);
        assert_eq!(first.await.unwrap().rejects, [Reject { index: 1, reason: "no".into(), retriable: false }]);
        let seen = plugin.0.lock().unwrap();
        assert_eq!(seen.delivered, [("in/0".to_owned(), 0, 7), ("in/0".to_owned(), 3, 8)]);
        assert_eq!(seen.started, 1);
    }

    #[tokio::test]
    async fn what_comes_while_the_plugin_is_busy_is_one_batch_and_each_is_told_its_own() {
        let (queue, requests) = mpsc::channel(8);
        let plugin = Scripted::default();
        let worker = Worker { name: "soc".into(), factory: Arc::new(plugin.clone()), instance: None };
        let mut answers = Vec::new();
        let other = Arc::new(Output { source: "other/0".into(), ..(*output(9, &["x", "no"])).clone() });
        for output in [output(0, &["a", "no"]), output(2, &["no"]), output(3, &["b", "c", "later"]), other] {
            let (answer, answered) = oneshot::channel();
            assert!(queue.send(Request { output, answer }).await.is_ok());
            answers.push(answered);
        }
        drop(queue);
        worker.run(requests).await;
        let mut told = Vec::new();
        for answered in answers {
            let rejects = answered.await.unwrap().unwrap().rejects;
            told.push(rejects.into_iter().map(|reject| (reject.index, reject.reason)).collect::<Vec<_>>());
        }
        let no = |index, why: &str| vec![(index, why.to_owned())];
        assert_eq!(told, [no(1, "no"), no(0, "no"), no(2, "later"), no(1, "no")]);
        let seen = plugin.0.lock().unwrap();
        let ids = |source: &str, offset: u64, ordinal| (source.to_owned(), offset, ordinal);
        let expected = [ids("in/0", 0, 7), ids("in/0", 3, 7), ids("in/0", 4, 8), ids("other/0", 9, 7)];
        assert_eq!((seen.calls, seen.delivered.clone()), (2, expected.to_vec()));
    }

    #[tokio::test]
    async fn a_plugin_that_cannot_go_on_has_the_task_begin_again_or_end() {
        for (value, disposition) in [("again", Disposition::Retry), ("stop", Disposition::Stop)] {
            let plugin = Scripted::default();
            let mut task = PluginTask::start("soc".into(), Arc::new(plugin)).await.unwrap();
            let error = task.send(output(0, &[value])).await.unwrap().await.err().unwrap();
            assert_eq!((error.message.as_str(), error.disposition), (value, disposition));
        }
    }

    #[tokio::test]
    async fn a_failure_by_chance_costs_no_record() {
        let plugin = Scripted::default();
        plugin.0.lock().unwrap().traps_left = 1;
        assert_eq!(deliver(&plugin, &["a", "b"]).await, []);
        let seen = plugin.0.lock().unwrap();
        assert_eq!((seen.started, seen.delivered.len()), (2, 2));
    }

    #[tokio::test]
    async fn a_plugin_that_refuses_its_configuration_stops_the_appliance() {
        let plugin = Scripted::default();
        let error = StartError::Config { path: "channel".into(), message: "missing".into() };
        plugin.0.lock().unwrap().refuses_to_start = Some(error);
        let error = PluginTask::start("soc".into(), Arc::new(plugin)).await.err().unwrap();
        assert_eq!((error.to_string().as_str(), error.disposition), ("config.channel: missing", Disposition::Stop));
    }

    #[tokio::test]
    async fn a_plugin_that_cannot_start_again_is_tried_later() {
        let plugin = Scripted::default();
        let mut task = PluginTask::start("soc".into(), Arc::new(plugin.clone())).await.unwrap();
        plugin.0.lock().unwrap().refuses_to_start = Some(StartError::Failed(Failure::Trap("in init".into())));
        let answers = [task.send(output(0, &["trap"])).await.unwrap(), task.send(output(1, &["a"])).await.unwrap()];
        for answer in answers {
            assert_eq!(answer.await.err().unwrap().disposition, Disposition::Retry);
        }
        assert!(task.send(output(2, &["b"])).await.is_err());
        assert!(plugin.0.lock().unwrap().delivered.is_empty());
    }

    #[tokio::test]
    async fn a_dropped_sink_writes_no_more() {
        let plugin = Scripted::default();
        let mut task = PluginTask::start("soc".into(), Arc::new(plugin.clone())).await.unwrap();
        let confirm = task.send(output(0, &["a"])).await.unwrap();
        drop(task);
        assert!(confirm.await.is_err());
        assert!(plugin.0.lock().unwrap().delivered.is_empty());
    }

    proptest! {
        /// Whichever records make the plugin fail, they alone are rejected, and every other one is delivered
        /// under its own id.
        #[test]
        fn only_culprits_are_rejected(values in prop::collection::vec(
            prop_oneof![6 => Just("a"), 1 => Just("trap"), 1 => Just("no"), 1 => Just("later")], 1..40)) {
            let plugin = Scripted::default();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let rejects = runtime.block_on(deliver(&plugin, &values));
            let expected = (0..).zip(&values).filter_map(|(index, value)| match *value {
                "trap" => Some((index, "the plugin trapped: scripted".to_owned(), false)),
                "no" => Some((index, "no".to_owned(), false)),
                "later" => Some((index, "later".to_owned(), true)),
                _ => None,
            });
            prop_assert_eq!(rejects, expected.collect::<Vec<_>>());
            let delivered: std::collections::BTreeSet<_> =
                plugin.0.lock().unwrap().delivered.iter().map(|(_, offset, ordinal)| (*offset, *ordinal)).collect();
            let expected = (0u64..).zip(&values).filter(|(_, value)| **value == "a").map(|(n, _)| (n, n as u32 + 7));
            prop_assert!(delivered.into_iter().eq(expected));
        }
    }
}
