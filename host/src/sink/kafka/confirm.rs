//! At least once: an idempotent producer, which confirms each record by itself.

use std::collections::BTreeMap;

use rdkafka::producer::Producer as _;
use tokio::sync::oneshot;

use super::producer::{Failed, Handed, Producer, Tag, is_for_good};
use super::topic::Rules;
use super::{Opening, Request, Requests};
use crate::kafka::words::{self, Doing};
use crate::record::{Output, Reject};
use crate::sink::{Delivery, Error};

/// Batches on their way to their confirmations.
pub(super) struct Confirmations<'a> {
    opening: &'a Opening,
    rules: Rules,
    producer: Producer,
    next: u32,
    under_way: BTreeMap<u32, UnderWay>,
}

/// A batch that was handed over.
struct UnderWay {
    answer: oneshot::Sender<Result<Delivery, Error>>,
    /// Records without an answer.
    open: usize,
    rejects: Vec<Reject>,
}

impl<'a> Confirmations<'a> {
    pub(super) fn new(opening: &'a Opening, rules: Rules, producer: Producer) -> Self {
        Confirmations { opening, rules, producer, next: 0, under_way: BTreeMap::new() }
    }

    /// Delivers until nobody sends any more, or something fails that a new producer may mend.
    pub(super) fn run(mut self, mut requests: Requests) {
        loop {
            let request = match self.under_way.is_empty() {
                true => match requests.blocking_recv() {
                    None => return,
                    request => request,
                },
                false => requests.try_recv().ok(),
            };
            let done = match request {
                Some(request) => self.begin(request),
                None => {
                    self.producer.look();
                    self.settle()
                }
            };
            if let Err(error) = done {
                return self.fail(&error);
            }
            // The task has gone, and nobody waits for answers.
            if requests.is_closed() {
                return;
            }
        }
    }

    fn begin(&mut self, Request { output, answer }: Request) -> Result<(), Error> {
        let (batch, mut open, mut rejects) = (self.next, 0, Vec::new());
        self.next = self.next.wrapping_add(1);
        for (index, record) in (0..).zip(output.records.iter()) {
            let refused = match self.rules.refuse(&self.opening.settings.topic, &record) {
                Some(reason) => Some(reason),
                None => match self.producer.send(&record, Tag { batch, index }, Some(&id_of(&output, index))) {
                    Ok(Handed::Over) => None,
                    Ok(Handed::Refused) => Some("the record is too large for one request".into()),
                    Err(error) => return Err(self.failed(&words::reason_of(&error))),
                },
            };
            match refused {
                None => open += 1,
                Some(reason) => rejects.push(Reject { index, reason, retriable: false }),
            }
        }
        self.under_way.insert(batch, UnderWay { answer, open, rejects });
        self.settle()
    }

    /// Takes in what was reported, and answers for the batches of which every record is accounted for.
    fn settle(&mut self) -> Result<(), Error> {
        let (answered, failed) = self.producer.reports();
        for Failed { tag, code, .. } in failed {
            if !is_for_good(code) {
                return Err(self.failed(&words::meaning(code)));
            }
            if let Some(batch) = self.under_way.get_mut(&tag.batch) {
                let reason = format!("the broker refused the record: {}", words::meaning(code));
                batch.rejects.push(Reject { index: tag.index, reason, retriable: false });
            }
        }
        for (batch, count) in answered {
            if let Some(batch) = self.under_way.get_mut(&batch) {
                batch.open = batch.open.saturating_sub(count);
            }
        }
        while let Some(first) = self.under_way.first_entry().filter(|first| first.get().open == 0) {
            let UnderWay { answer, mut rejects, .. } = first.remove();
            rejects.sort_by_key(|reject| reject.index);
            let _ = answer.send(Ok(Delivery { rejects, ..Delivery::default() }));
        }
        Ok(())
    }

    fn failed(&self, reason: &str) -> Error {
        let topic = &self.opening.settings.topic;
        let (what, needs) = (format!("write to the topic {topic}"), format!("Write on the topic {topic}"));
        let doing = Doing { cluster: &self.opening.settings.cluster, what: &what, needs: &needs };
        match self.producer.native.client().context().signals.trouble() {
            Some((code, why)) => doing.failed_with(code, &format!("{reason} ({why})")),
            None => Error::retry(format!("cannot {what}: {reason}")),
        }
    }

    fn fail(self, error: &Error) {
        for batch in self.under_way.into_values() {
            let error = Error { message: error.message.clone(), disposition: error.disposition };
            let _ = batch.answer.send(Err(error));
        }
    }
}

/// The id of an output, as its header bears it.
fn id_of(output: &Output, index: u32) -> String {
    let offset = output.records.get(index as usize).map_or(0, |record| record.offset.0);
    let ordinal = output.ordinals.get(index as usize).copied().unwrap_or_default();
    format!("{}@{offset}.{ordinal}", output.source)
}
