//! What is on its way from the steps to its commit, and what brought it about.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::chain::{Chain, Processed, Refused};
use super::deliver::{self, Confirmed, Origin};
use super::replay::Wave;
use super::spec::TaskSpec;
use crate::metrics::PipelineMetrics;
use crate::metrics::steps::StepTally;
use crate::record::{Offset, Position, Timestamp};
use crate::store::{Append, StateChange};

/// Something that was processed, on its way to its commit.
pub(super) struct InFlight {
    pub(super) cause: Cause,
    pub(super) appends: Vec<Append>,
    pub(super) state: Vec<StateChange>,
    pub(super) tally: Tally,
    pub(super) source: Arc<str>,
    /// The offsets of replayed letters that were refused again.
    pub(super) again: BTreeSet<u64>,
}

/// What brought it about.
pub(super) enum Cause {
    /// A chunk of an input.
    Read(Read),
    /// Time alone.
    Time,
    /// Dead letters that are replayed.
    Replay(Wave),
}

/// How far an input was read with a chunk.
pub(super) struct Read {
    pub(super) input: usize,
    /// Behind the last chunk that is read whole; `None`: that is committed already.
    pub(super) position: Option<Position>,
    /// Held until the chunk is committed.
    pub(super) budget: Arc<OwnedSemaphorePermit>,
}

/// A chunk whose sinks have all answered.
pub(super) struct Delivered {
    pub(super) chunk: InFlight,
    pub(super) confirmed: Vec<Confirmed>,
}

/// Something that is committed.
pub(super) struct Committed {
    pub(super) cause: Cause,
    pub(super) tally: Tally,
    /// How long the commit took.
    pub(super) took: Duration,
}

/// What a chunk adds to the metrics once it is committed.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) records_in: u64,
    pub(super) records_out: u64,
    pub(super) filtered: u64,
    pub(super) late: u64,
    pub(super) dead: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    /// In the order of the steps.
    pub(super) steps: Vec<StepTally>,
}

impl InFlight {
    /// What a cause has brought about, before anything of it was delivered.
    pub(super) fn new(cause: Cause, source: Arc<str>, tally: Tally) -> Self {
        InFlight { cause, appends: Vec::new(), state: Vec::new(), tally, source, again: BTreeSet::new() }
    }

    /// Puts records among the dead letters.
    pub(super) fn bury(&mut self, spec: &TaskSpec, now: Timestamp, refused: &Refused) {
        self.tally.dead += refused.records.len() as u64;
        let input = match &self.cause {
            Cause::Read(read) => spec.inputs.get(read.input).map(|input| input.key()),
            Cause::Time | Cause::Replay(_) => None,
        };
        let own =
            |offset: Offset| Origin { source: &self.source, offset: offset.0, input: input.as_deref(), replays: 0 };
        let origin = |offset| match &self.cause {
            Cause::Replay(wave) => wave.origin(offset).unwrap_or_else(|| own(offset)),
            Cause::Read(_) | Cause::Time => own(offset),
        };
        self.appends.push(deliver::dead_letters(spec, now, refused, origin));
        self.again.extend(refused.records.iter().map(|record| record.offset.0));
    }
}

impl Tally {
    /// What steps have done with their records.
    pub(super) fn of(done: &mut Processed) -> Self {
        let steps = std::mem::take(&mut done.steps);
        Tally { filtered: done.filtered, late: done.late, steps, ..Tally::default() }
    }

    pub(super) fn add_to(&self, metrics: &PipelineMetrics, chain: &Chain) {
        metrics.bytes_in.add(self.bytes_in);
        metrics.bytes_out.add(self.bytes_out);
        chain.add(&self.steps);
        metrics.commits.add(1);
        metrics.records_in.add(self.records_in);
        metrics.records_out.add(self.records_out);
        metrics.filtered.add(self.filtered);
        metrics.late.add(self.late);
        metrics.dead.add(self.dead);
    }
}
