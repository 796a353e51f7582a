//! How far event time has come in a task, and what it remembers of it from one start to the next.

use std::sync::Arc;

use bytes::Bytes;

use super::chain::NOT_YET;
use crate::record::{Offset, Timestamp};
use crate::state::Home;
use crate::store::{Error, StateChange, TableId};

/// The table in which a task keeps its time. No step has an empty name.
const TABLE: &str = "time";
/// The key under which it is kept how often time alone brought something about.
const CALLS: Bytes = Bytes::from_static(b"n");

/// The key under which the task's watermark is kept.
const WATERMARK: Bytes = Bytes::from_static(b"w");

/// The event time of a task.
///
/// The watermark of an input is the highest timestamp that it has given. That of the task is the lowest of its inputs', those
/// not counted that hold nothing and were not waited for; it never goes back.
pub struct EventTime {
    table: TableId,
    watermark: Timestamp,
    inputs: Vec<InputTime>,
    calls: u64,
}

struct InputTime {
    /// The key under which it is kept.
    key: Bytes,
    watermark: Timestamp,
    /// The records behind the committed position that were taken as well.
    taken: u64,
}

impl EventTime {
    /// Goes on where the last commit has left it.
    pub async fn open<'a>(home: &Home, inputs: impl Iterator<Item = &'a Arc<str>>) -> Result<Self, Error> {
        let table = home.id(&"".into(), &TABLE.into());
        let mut keys = vec![CALLS, WATERMARK];
        keys.extend(inputs.map(|name| Bytes::from([b"i", name.as_bytes()].concat())));
        let values = home.store.state_get(&table, &keys).await?;
        let numbers = |value: &Option<Bytes>| {
            let numbers = value.as_deref().unwrap_or_default().as_chunks::<8>().0.iter();
            numbers.map(|number| u64::from_be_bytes(*number)).collect::<Vec<_>>()
        };
        let values: Vec<_> = values.iter().map(numbers).collect();
        let number = |at: usize, part: usize| values.get(at).and_then(|numbers| numbers.get(part)).copied();
        let time = |at, part| number(at, part).map_or(NOT_YET, |number| Timestamp(number.cast_signed()));
        let input = |(at, key)| InputTime { key, watermark: time(at, 0), taken: number(at, 1).unwrap_or(0) };
        let inputs = keys.into_iter().enumerate().skip(2).map(input).collect();
        Ok(EventTime { table, watermark: time(1, 0), inputs, calls: number(0, 0).unwrap_or(0) })
    }

    /// How many records of each input were taken behind its committed position.
    pub fn taken(&self) -> impl Iterator<Item = u64> {
        self.inputs.iter().map(|input| input.taken)
    }

    /// The watermark; `None` while an input has given nothing.
    pub fn watermark(&self) -> Option<Timestamp> {
        Some(self.watermark).filter(|watermark| *watermark > NOT_YET)
    }

    /// Takes notice of records, by the event time of those that have one: for each, what the task's watermark is once it has
    /// come.
    pub fn observe(&mut self, input: usize, times: &[Option<Timestamp>], idle: &[bool], taken: u64) -> Vec<Timestamp> {
        let is_idle = |at: usize| idle.get(at).copied().unwrap_or(false);
        let others = self.inputs.iter().enumerate().filter(|(at, _)| *at != input && !is_idle(*at));
        let others = others.map(|(_, other)| other.watermark).min().unwrap_or(Timestamp(i64::MAX));
        let (Some(own), watermark) = (self.inputs.get_mut(input), &mut self.watermark) else { return Vec::new() };
        own.taken = taken;
        let after = |time: &Option<Timestamp>| {
            own.watermark = time.map_or(own.watermark, |time| time.max(own.watermark));
            *watermark = others.min(own.watermark).max(*watermark);
            *watermark
        };
        times.iter().map(after).collect()
    }

    /// The number of the next time that time alone brings something about.
    pub fn next_call(&self) -> Offset {
        Offset(self.calls)
    }

    /// Counts such a time; what is to be kept of it.
    pub fn count_call(&mut self) -> StateChange {
        self.calls += 1;
        self.change(CALLS, &self.calls.to_be_bytes())
    }

    /// What is to be kept once records of an input are committed.
    pub fn changes_of(&self, input: usize) -> impl Iterator<Item = StateChange> {
        let own = self.inputs.get(input).map(|own| {
            let numbers = [own.watermark.0.cast_unsigned().to_be_bytes(), own.taken.to_be_bytes()];
            self.change(own.key.clone(), numbers.as_flattened())
        });
        own.into_iter().chain([self.change(WATERMARK, &self.watermark.0.to_be_bytes())])
    }

    fn change(&self, key: Bytes, value: &[u8]) -> StateChange {
        StateChange { table: self.table.clone(), key, value: Some(Bytes::copy_from_slice(value)) }
    }
}
