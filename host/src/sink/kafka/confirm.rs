//! At least once: an idempotent producer, and groups of batches that are confirmed together.

use std::fmt::Write as _;

use rdkafka::producer::Producer as _;

use super::producer::{Failed, Handed, Producer, TOO_LARGE, Tag, is_for_good};
use super::topic::Rules;
use super::{Opening, Request, Requests};
use crate::kafka::Signals;
use crate::kafka::words::{self, Doing};
use crate::record::{Offset, Output, Reject};
use crate::sink::{Delivery, Error};

/// Groups of batches, one after the other.
pub(super) struct Confirmations<'a> {
    opening: &'a Opening,
    rules: Rules,
    producer: Producer,
}

impl<'a> Confirmations<'a> {
    pub(super) fn new(opening: &'a Opening, rules: Rules, producer: Producer) -> Self {
        Confirmations { opening, rules, producer }
    }

    /// Delivers until nobody sends any more, or something fails that a new producer may mend.
    pub(super) fn run(self, requests: Requests) {
        // What failed was answered.
        let _ = super::serve(requests, |group, requests| self.deliver(group, requests));
    }

    fn deliver(&self, group: &[Request], requests: &Requests) -> Result<Vec<Delivery>, Error> {
        let mut rejects = Vec::with_capacity(group.len());
        for (batch, request) in (0..).zip(group) {
            rejects.push(self.hand_over(batch, &request.output)?);
        }
        let has_handed_over = |(of, refused): (&Request, &Vec<Reject>)| refused.len() < of.output.records.len();
        let any_handed_over = group.iter().zip(&rejects).any(has_handed_over);
        while self.producer.native.in_flight_count() > 0 {
            self.producer.look();
            self.take_in(&mut rejects)?;
            // The task has gone, and nobody waits for the answer.
            if requests.is_closed() {
                return Err(super::ended());
            }
        }
        self.take_in(&mut rejects)?;
        if any_handed_over {
            self.signals().works();
        }
        let delivered = |mut rejects: Vec<Reject>| {
            rejects.sort_by_key(|reject| reject.index);
            Delivery { rejects, ..Delivery::default() }
        };
        Ok(rejects.into_iter().map(delivered).collect())
    }

    /// Hands a batch over. Returns the records that are refused without asking a broker.
    fn hand_over(&self, batch: u32, output: &Output) -> Result<Vec<Reject>, Error> {
        let (mut rejects, mut id) = (Vec::new(), String::new());
        for (index, record) in (0..).zip(output.records.iter()) {
            let mut refused = self.rules.refuse(&self.opening.settings.topic, &record);
            if refused.is_none() {
                write_id(&mut id, output, index, record.offset);
                match self.producer.send(&record, Tag { batch, index }, Some(&id)) {
                    Ok(Handed::Over) => {}
                    Ok(Handed::Refused) => refused = Some(TOO_LARGE.to_owned()),
                    Err(error) => return Err(self.failed(&words::reason_of(&error))),
                }
            }
            rejects.extend(refused.map(|reason| Reject { index, reason, retriable: false }));
        }
        Ok(rejects)
    }

    /// Takes in which records the brokers refused. An error, where they did not refuse a record for good.
    fn take_in(&self, rejects: &mut [Vec<Reject>]) -> Result<(), Error> {
        for Failed { tag, code, .. } in self.producer.reports() {
            if !is_for_good(code) {
                return Err(self.failed(&words::meaning(code)));
            }
            if let Some(rejects) = rejects.get_mut(tag.batch as usize) {
                let reason = format!("the broker refused the record: {}", words::meaning(code));
                rejects.push(Reject { index: tag.index, reason, retriable: false });
            }
        }
        Ok(())
    }

    fn signals(&self) -> &Signals {
        &self.producer.native.client().context().signals
    }

    fn failed(&self, reason: &str) -> Error {
        let topic = &self.opening.settings.topic;
        let (what, needs) = (format!("write to the topic {topic}"), format!("Write on the topic {topic}"));
        let doing = Doing { cluster: &self.opening.settings.cluster, what: &what, needs: &needs };
        match self.signals().trouble() {
            Some((code, why)) => doing.failed_with(code, &format!("{reason} ({why})")),
            None => Error::retry(format!("cannot {what}: {reason}")),
        }
    }
}

/// The id of an output, as its header bears it, in the place of what was written before.
fn write_id(id: &mut String, output: &Output, index: u32, offset: Offset) {
    let ordinal = output.ordinals.get(index as usize).copied().unwrap_or_default();
    id.clear();
    // Writing to a string does not fail.
    let _ = write!(id, "{}@{}.{ordinal}", output.source, offset.0);
}
