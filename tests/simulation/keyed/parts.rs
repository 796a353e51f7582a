//! What stands around the tasks: readers whose chunks are cut anew each time, and a system outside.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use weir::record::{Batch, Offset, Output, Position, Record, Reject, Timestamp};
use weir::sink::{Confirm, Delivery, Sink};
use weir::source::{Chunk, Error, Mode, OnCommit, Reader};
use weir::store::PositionKey;

use super::plan::Input;
use super::world::World;

/// Which input of the plan a reader reads.
#[derive(Clone, Copy)]
pub enum Which {
    Stream { task: usize, input: usize },
    Table { task: usize },
    Global { partition: usize },
}

/// Reads the records of the plan: of one place after the other, in an order of its own, or of any.
pub struct PlanReader {
    world: Arc<World>,
    which: Which,
    key: PositionKey,
    mode: Mode,
    /// By place, the next offset.
    next: Vec<u64>,
}

/// The next offsets that a position says.
pub fn offsets(position: &Position) -> Vec<u64> {
    position.0.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect()
}

impl PlanReader {
    pub fn open(world: Arc<World>, which: Which, key: PositionKey, at: Option<&Position>, mode: Mode) -> Self {
        let places = world.input(which).places.len();
        let next = at.map_or(vec![0; places], offsets);
        PlanReader { world, which, key, mode, next }
    }

    fn input(&self) -> &Input {
        self.world.input(self.which)
    }

    /// How many records it has still to give, by place.
    fn left(&self, place: usize) -> usize {
        self.input().items.iter().filter(|item| item.place == place && item.offset >= self.next[place]).count()
    }

    fn position(&self) -> Position {
        Position(self.next.iter().flat_map(|next| next.to_le_bytes()).collect())
    }

    /// Waits as its system makes it wait.
    async fn pause(&self) {
        let rng = &self.world.rng;
        tokio::time::sleep(Duration::from_millis(rng.below(4))).await;
        if !self.world.plan.is_exact && self.world.fault(3) {
            tokio::time::sleep(Duration::from_millis(rng.below(300))).await;
        }
        // What a table gets later.
        if self.mode == Mode::Follow && self.is_caught_up() && matches!(self.which, Which::Global { .. }) {
            tokio::time::sleep(Duration::from_millis(rng.below(30))).await;
        }
    }
}

#[async_trait]
impl Reader for PlanReader {
    async fn next(&mut self) -> Result<Option<Chunk>, Error> {
        self.pause().await;
        if self.world.fault(1) {
            return Err(Error::retry("the source hiccups"));
        }
        let rng = &self.world.rng;
        let places: Vec<usize> = (0..self.next.len()).filter(|place| self.left(*place) > 0).collect();
        if places.is_empty() {
            if self.mode == Mode::Follow {
                std::future::pending::<()>().await;
            }
            return Ok(None);
        }
        let place = places[rng.below(places.len() as u64) as usize];
        let source = self.input().places[place].as_str().into();
        let mut records = Batch::default();
        // Now and then a position moves, and no record comes.
        let count = if rng.chance(4) { 0 } else { 1 + rng.below(12) };
        let mut next = self.next[place];
        let left = self.input().items.iter().filter(|item| item.place == place && item.offset >= self.next[place]);
        for item in left.take(count as usize) {
            let value = item.value();
            let record = Record::of(b"", Timestamp(item.read_time));
            let (key, value) = (Some(item.key.as_bytes()), value.as_ref().map(String::as_bytes));
            records.push(&Record { key, value, offset: Offset(item.offset), ..record });
            next = item.offset + 1;
        }
        self.next[place] = next;
        Ok(Some(Chunk { source, records, position: self.position() }))
    }

    fn is_caught_up(&self) -> bool {
        let input = self.input();
        self.next[0] >= input.at_first as u64 || self.left(0) == 0
    }

    fn on_commit(&mut self) -> Option<OnCommit> {
        let (world, key) = (self.world.clone(), self.key.clone());
        Some(Box::new(move |position| world.acknowledged(&key, position)))
    }
}

/// A system outside: it stalls, fails before or after it took a batch, and refuses records.
pub struct Outside(pub Arc<World>);

#[async_trait]
impl Sink for Outside {
    async fn send(&mut self, output: Arc<Output>) -> Result<Confirm, Error> {
        let world = self.0.clone();
        if world.fault(1) {
            return Err(Error::retry("cannot send"));
        }
        let delay = Duration::from_millis(if world.fault(10) { world.rng.below(100) } else { world.rng.below(5) });
        let (lose_batch, lose_answer) = (world.fault(1), world.fault(1));
        Ok(Box::pin(async move {
            tokio::time::sleep(delay).await;
            if lose_batch {
                return Err(Error::retry("the batch was lost"));
            }
            let mut rejects = Vec::new();
            for ((index, record), ordinal) in (0..).zip(output.records.iter()).zip(&output.ordinals) {
                if world.fault(1) {
                    rejects.push(Reject { index, reason: "not now".into(), retriable: true });
                } else {
                    world.delivered(&output.source, &record, *ordinal);
                }
            }
            if lose_answer {
                return Err(Error::retry("the answer was lost"));
            }
            Ok(Delivery { rejects, ..Delivery::default() })
        }))
    }
}
