//! How far event time has come in a task, and what it remembers of it from one start to the next.

use std::sync::Arc;

use bytes::Bytes;

use super::chain::NOT_YET;
use crate::record::{Batch, Offset, Timestamp};
use crate::state::Home;
use crate::store::{Error, StateChange, TableId};

/// The table in which a task keeps its time. No step has an empty name.
const TABLE: &str = "time";
/// The key under which it is kept how often time alone brought something about.
const CALLS: Bytes = Bytes::from_static(b"n");

/// The event time of a task.
///
/// The watermark of an input is the highest timestamp that it has given. That of the task is the lowest of its inputs'.
pub struct EventTime {
    table: TableId,
    /// For each input the key under which its watermark is kept, and the watermark.
    inputs: Vec<(Bytes, Timestamp)>,
    calls: u64,
}

impl EventTime {
    /// Goes on where the last commit has left it.
    pub async fn open<'a>(home: &Home, inputs: impl Iterator<Item = &'a Arc<str>>) -> Result<Self, Error> {
        let table = home.id(&"".into(), &TABLE.into());
        let mut keys = vec![CALLS];
        keys.extend(inputs.map(|name| Bytes::from([b"w", name.as_bytes()].concat())));
        let values = home.store.state_get(&table, &keys).await?;
        let number = |value: &Option<Bytes>| value.as_ref().and_then(|value| value.first_chunk().copied());
        let calls = values.first().and_then(number).map_or(0, u64::from_be_bytes);
        let watermarks = values.iter().skip(1).map(|value| number(value).map_or(NOT_YET.0, i64::from_be_bytes));
        let inputs = keys.into_iter().skip(1).zip(watermarks.map(Timestamp)).collect();
        Ok(EventTime { table, inputs, calls })
    }

    /// The watermark; `None` while an input has given nothing.
    pub fn watermark(&self) -> Option<Timestamp> {
        self.inputs.iter().map(|(_, watermark)| *watermark).min().filter(|watermark| *watermark > NOT_YET)
    }

    /// Takes notice of a batch: for each record, what the task's watermark is once it has come.
    pub fn observe(&mut self, input: usize, batch: &Batch) -> Vec<Timestamp> {
        let others =
            self.inputs.iter().enumerate().filter(|(at, _)| *at != input).map(|(_, (_, watermark))| *watermark);
        let others = others.min().unwrap_or(Timestamp(i64::MAX));
        let Some((_, own)) = self.inputs.get_mut(input) else { return Vec::new() };
        let after = |record: crate::record::Record<'_>| {
            *own = record.timestamp.max(*own);
            others.min(*own)
        };
        batch.iter().map(after).collect()
    }

    /// The number of the next time that time alone brings something about.
    pub fn next_call(&self) -> Offset {
        Offset(self.calls)
    }

    /// Counts such a time; what is to be kept of it.
    pub fn count_call(&mut self) -> StateChange {
        self.calls += 1;
        self.change(CALLS, self.calls.to_be_bytes())
    }

    /// What is to be kept of the time of an input.
    pub fn change_of(&self, input: usize) -> Option<StateChange> {
        let (key, watermark) = self.inputs.get(input)?;
        Some(self.change(key.clone(), watermark.0.to_be_bytes()))
    }

    fn change(&self, key: Bytes, number: [u8; 8]) -> StateChange {
        StateChange { table: self.table.clone(), key, value: Some(Bytes::copy_from_slice(&number)) }
    }
}
