//! Dead letters that a task is asked to replay: one more input, whose records enter where they were refused.
//!
//! What is asked lies in keyed state (`dlq.rs`), in order, and is deleted by the commit that makes its effects durable. So
//! after a crash what is left is what was not done, it is taken in the same order, and it bears the same ids: those of the
//! letter in the stream of dead letters, under the number of the time that it was asked for. One wave at a time is on its
//! way, which bounds it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::chain::{Arrival, Chain, Processed};
use super::deliver::Origin;
use super::flight::{Cause, InFlight, Tally};
use super::{Destination, Error, Run, TaskSpec};
use crate::dlq::desk::{Desk, Seat, Takes};
use crate::dlq::{self, Letter, Request, Settled, Stage};
use crate::record::{Batch, Offset, Output, Record};
use crate::source::{Mode, stream};
use crate::state::Home;
use crate::store::{DEAD_LETTERS, StateChange, Store, TableId};

/// Letters that are read at a time.
const PAGE: usize = 256;
/// The bytes after which no more are read.
const PAGE_BYTES: usize = 1 << 20;

/// What a task is asked to replay.
pub(super) struct Replays {
    store: Arc<dyn Store>,
    table: TableId,
    takes: Takes,
    /// The key behind which it goes on.
    after: Option<Bytes>,
    bell: watch::Receiver<u64>,
    desk: Desk,
    mode: Mode,
    is_in_flight: bool,
    is_over: bool,
}

/// Letters that enter at one place, as one chunk.
pub(super) struct Wave {
    table: TableId,
    source: Arc<str>,
    /// Who refused them; `None`: that is not there any more.
    entry: Option<(Stage, Arc<str>)>,
    /// By their offsets in the stream of dead letters.
    letters: BTreeMap<u64, (Bytes, dlq::Id, Letter)>,
    records: Batch,
    /// The keys of entries that are none, or not any more.
    unread: Vec<Bytes>,
}

impl Replays {
    /// Goes on where the last commit has left it.
    pub(super) fn open(home: &Home, seat: &Seat, spec: &TaskSpec, chain: &Chain) -> Self {
        let takes = Takes {
            steps: chain.names().cloned().collect(),
            sinks: spec.sinks(),
            streams: spec.streams().map(|(name, _)| name.clone()).collect(),
        };
        seat.takes(takes.clone());
        Replays {
            store: home.store.clone(),
            table: dlq::requests_table(&home.pipeline, home.partition),
            takes,
            after: None,
            bell: seat.bell(),
            desk: seat.desk().clone(),
            mode: spec.mode,
            is_in_flight: false,
            is_over: false,
        }
    }

    /// Whether the next may be taken.
    pub(super) fn is_ready(&self) -> bool {
        !self.is_in_flight && !self.is_over
    }

    /// The next letters, once there are some. `None`: a task that runs to the end of what there is has replayed all. Dropping
    /// the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<Wave>, Error> {
        loop {
            // Looked at before the store, so that nothing that is asked meanwhile is missed.
            self.bell.borrow_and_update();
            let page = self.store.state_scan(&self.table, &[], self.after.as_deref(), PAGE, PAGE_BYTES).await?;
            if !page.entries.is_empty() {
                let settled = self.settled(&page.entries).await?;
                return Ok(Some(self.wave(page.entries, &settled)));
            }
            if self.mode == Mode::Drain || self.bell.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    /// Which of the letters that are asked for are settled: two may have asked for one before the first was heard.
    async fn settled(&self, entries: &[(Bytes, Bytes)]) -> Result<BTreeSet<dlq::Id>, Error> {
        let mut settled = BTreeSet::new();
        for id in entries.iter().filter_map(|(key, value)| Some(Request::read(key, value)?.id)) {
            let key = Bytes::copy_from_slice(&id.offset.0.to_be_bytes());
            let found = self.store.state_get(&dlq::settled_table(id.partition), &[key], usize::MAX).await?;
            if found.into_iter().flatten().next().is_some() {
                settled.insert(id);
            }
        }
        Ok(settled)
    }

    /// Nothing more will be taken.
    pub(super) fn end(&mut self) {
        self.is_over = true;
    }

    /// What was taken last is committed.
    pub(super) fn committed(&mut self) {
        self.is_in_flight = false;
        self.desk.settled();
    }

    /// Of some entries those at the front that go the same way.
    fn wave(&mut self, entries: Vec<(Bytes, Bytes)>, settled: &BTreeSet<dlq::Id>) -> Wave {
        let mut wave = Wave {
            table: self.table.clone(),
            source: "".into(),
            entry: None,
            letters: BTreeMap::new(),
            records: Batch::default(),
            unread: Vec::new(),
        };
        let mut way = None;
        for (key, value) in entries {
            let request = Request::read(&key, &value).filter(|request| !settled.contains(&request.id));
            let letter = request.as_ref().and_then(|request| Letter::of(&request.record.get(0)?));
            let (Some(request), Some((letter, begins))) = (&request, letter) else {
                self.after = Some(key.clone());
                wave.unread.push(key);
                continue;
            };
            let own = (request.number, request.id.partition, letter.stage, letter.step.clone(), letter.input.clone());
            if *way.get_or_insert_with(|| own.clone()) != own {
                break;
            }
            let letters = stream::source(&*self.store, DEAD_LETTERS, request.id.partition);
            wave.source = format!("{letters}@{}", request.number).into();
            wave.entry = self.takes.entry(&letter);
            if let Some(record) = request.record.get(0) {
                wave.records.push(&Record { offset: request.id.offset, ..dlq::original(&record, begins) });
            }
            self.after = Some(key.clone());
            wave.letters.insert(request.id.offset.0, (key, request.id, letter));
        }
        wave
    }
}

impl Wave {
    /// Where the record of a letter came from first.
    pub(super) fn origin(&self, offset: Offset) -> Option<Origin<'_>> {
        let (_, _, letter) = self.letters.get(&offset.0)?;
        let Letter { source, offset, input, replays, .. } = letter;
        Some(Origin { source, offset: *offset, input: input.as_deref(), replays: replays.saturating_add(1) })
    }

    /// What settles the letters, those that were refused again too. Where nobody was there to take them they stay as they were.
    pub(super) fn settled(&self, is_again: impl Fn(&u64) -> bool) -> Vec<StateChange> {
        let done = |key: &Bytes| StateChange { table: self.table.clone(), key: key.clone(), value: None };
        let mut changes: Vec<_> = self.unread.iter().map(done).collect();
        for (offset, (key, id, _)) in &self.letters {
            changes.push(done(key));
            if self.entry.is_some() {
                let how = if is_again(offset) { Settled::Again } else { Settled::Replayed };
                changes.push(dlq::settle(*id, how));
            }
        }
        changes
    }

    /// The number of the input that the letters came by, among those that steps are told of.
    fn input(&self, spec: &TaskSpec) -> u32 {
        let letter = self.letters.values().next().and_then(|(_, _, letter)| letter.input.as_deref());
        spec.inputs.iter().find(|input| Some(&*input.key()) == letter).map_or(0, |input| input.number)
    }
}

impl Run<'_> {
    /// Steps 2 and 3 for dead letters: they enter at the step that refused them, and go from there to all that lies behind
    /// it; those that a sink or stream refused go there alone. Time does not go on with them.
    pub(super) async fn replay(&mut self, mut wave: Wave) -> Result<(), Error> {
        self.replays.is_in_flight = true;
        let records = std::mem::take(&mut wave.records);
        let (source, spec) = (wave.source.clone(), &self.task.spec);
        let records_in = if wave.entry.is_some() { records.len() as u64 } else { 0 };
        let mut done = Processed::default();
        let mut direct = None;
        match wave.entry.clone() {
            Some((Stage::Step, name)) => {
                let arrival =
                    Arrival { input: wave.input(spec), table_of: None, source: source.clone(), batch: records };
                let reached = self.time.as_ref().and_then(|time| time.watermark());
                let from = self.chain.names().position(|step| *step == name).unwrap_or_default();
                done = self.chain.replay(from, arrival, reached).await?;
            }
            Some((Stage::Sink | Stage::Stream, name)) => direct = Some((name, records)),
            None => wave.warn(spec),
        }
        let tally = Tally { records_in, ..Tally::of(&mut done) };
        let mut in_flight = InFlight::new(Cause::Replay(wave), source.clone(), tally);
        let mut by_sink = BTreeMap::new();
        if let Some((name, records)) = direct {
            let output = Arc::new(Output { source, ordinals: vec![0; records.len()], records });
            let is_meant = |of: &&Destination| match of {
                Destination::Sink(sink) => *sink == name,
                Destination::Stream(stream) => stream.name == name,
            };
            let destination = self.task.spec.routes.iter().flatten().find(is_meant);
            destination.into_iter().for_each(|of| self.dispatch_to(of, &output, &mut in_flight, &mut by_sink));
        }
        self.deliver(in_flight, done, by_sink).await
    }
}

impl Wave {
    fn warn(&self, spec: &TaskSpec) {
        for (_, id, letter) in self.letters.values() {
            tracing::warn!(
                pipeline = %spec.pipeline,
                partition = spec.partition.0,
                "the dead letter {id} is not replayed: there is no {} any more; it is kept", letter.step
            );
        }
    }
}
