//! How far event time has come in a task, and what it remembers of it from one start to the next.

use std::sync::Arc;

use bytes::Bytes;

use super::chain::NOT_YET;
use crate::record::{Offset, Timestamp};
use crate::state::Home;
use crate::store::{Error, StateChange, TableId};

/// The table in which a task keeps its time. No step has an empty name.
const TABLE: &str = "time";
/// The key under which the number of the last time that time alone brought something about is kept.
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
    /// The number of the last time that time alone brought something about.
    last_call: u64,
}

struct InputTime {
    /// The key under which it is kept.
    key: Bytes,
    watermark: Timestamp,
}

impl EventTime {
    /// Goes on where the last commit has left it.
    pub async fn open<'a>(home: &Home, inputs: impl Iterator<Item = &'a Arc<str>>) -> Result<Self, Error> {
        let table = home.id(&"".into(), &TABLE.into());
        let mut keys = vec![CALLS, WATERMARK];
        keys.extend(inputs.map(|name| Bytes::from([b"i", name.as_bytes()].concat())));
        let values = home.store.state_get(&table, &keys, usize::MAX).await?;
        let number = |at: usize| values.get(at)?.as_deref()?.first_chunk().map(|number| u64::from_be_bytes(*number));
        let time = |at| number(at).map_or(NOT_YET, |number| Timestamp(number.cast_signed()));
        let input = |(at, key)| InputTime { key, watermark: time(at) };
        let inputs = keys.into_iter().enumerate().skip(2).map(input).collect();
        Ok(EventTime { table, watermark: time(1), inputs, last_call: number(0).unwrap_or(0) })
    }

    /// The watermark as records are told it.
    pub fn reached(&self) -> Timestamp {
        self.watermark
    }

    /// The watermark; `None` while an input has given nothing.
    pub fn watermark(&self) -> Option<Timestamp> {
        Some(self.watermark).filter(|watermark| *watermark > NOT_YET)
    }

    /// Takes notice of records, by the event time of those that have one: for each, what the task's watermark is once it has
    /// come.
    pub fn observe(&mut self, input: usize, times: &[Option<Timestamp>], idle: &[bool]) -> Vec<Timestamp> {
        let is_idle = |at: usize| idle.get(at).copied().unwrap_or(false);
        let others = self.inputs.iter().enumerate().filter(|(at, _)| *at != input && !is_idle(*at));
        let others = others.map(|(_, other)| other.watermark).min().unwrap_or(Timestamp(i64::MAX));
        let (Some(own), watermark) = (self.inputs.get_mut(input), &mut self.watermark) else { return Vec::new() };
        let after = |time: &Option<Timestamp>| {
            own.watermark = time.map_or(own.watermark, |time| time.max(own.watermark));
            *watermark = others.min(own.watermark).max(*watermark);
            *watermark
        };
        times.iter().map(after).collect()
    }

    /// Counts that time alone brings something about: its number, and what is to be kept of it. The number is the time of the
    /// clock or higher, so what was counted before a crash and not committed bears another.
    pub fn count_call(&mut self, clock: Timestamp) -> (Offset, StateChange) {
        self.last_call = u64::try_from(clock.0).unwrap_or(0).max(self.last_call + 1);
        (Offset(self.last_call), self.change(CALLS, &self.last_call.to_be_bytes()))
    }

    /// What is to be kept once records of an input are committed.
    pub fn changes_of(&self, input: usize) -> impl Iterator<Item = StateChange> {
        let own = self.inputs.get(input).map(|own| self.change(own.key.clone(), &own.watermark.0.to_be_bytes()));
        own.into_iter().chain([self.change(WATERMARK, &self.watermark.0.to_be_bytes())])
    }

    fn change(&self, key: Bytes, value: &[u8]) -> StateChange {
        StateChange { table: self.table.clone(), key, value: Some(Bytes::copy_from_slice(value)) }
    }
}
