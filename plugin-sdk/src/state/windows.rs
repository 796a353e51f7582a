//! Windows of a fixed size: an aggregate per key and window, until the window closes.

use super::{Key, State, Table, Timer, Timers, Value};
use crate::{ConfigError, Event, Migration, Result};

/// A stretch of event time: from `start` to before `end`, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// The first millisecond in it.
    pub start: i64,
    /// The first behind it.
    pub end: i64,
}

/// Windows of a fixed size; [`State::tumbling`] and [`State::hopping`] make them.
pub struct Windows<K, V> {
    size_ms: i64,
    advance_ms: i64,
    grace_ms: i64,
    aggregates: Table<(K, i64), V>,
    closing: Timers<(i64, K)>,
}

impl<K: Key + Clone, V: Value + Default> Windows<K, V> {
    /// Puts a record into its windows: `update` changes the aggregate of each. Returns how many are still open, which is
    /// none where the record came too late.
    pub fn add(&mut self, key: &K, event: &Event<'_>, mut update: impl FnMut(Window, &mut V)) -> usize {
        let mut added = 0;
        for window in self.of(event.timestamp()) {
            if window.end.saturating_add(self.grace_ms) <= event.watermark() {
                continue;
            }
            let entry = (key.clone(), window.start);
            let known = self.aggregates.get(&entry, event.watermark());
            if known.is_none() {
                self.closing.set(window.end.saturating_add(self.grace_ms), &(window.start, key.clone()));
            }
            let mut aggregate = known.unwrap_or_default();
            update(window, &mut aggregate);
            self.aggregates.put(&entry, &aggregate, event.timestamp());
            added += 1;
        }
        added
    }

    /// The aggregate of a key in the window that begins at `start`, while it is open.
    pub fn get(&mut self, key: &K, start: i64) -> Option<V> {
        self.aggregates.get(&(key.clone(), start), i64::MIN)
    }

    /// The window that a timer closes, where it is one of these: its key, itself and its aggregate.
    pub fn closed(&mut self, timer: &Timer<'_>) -> Option<(K, Window, V)> {
        let (start, key) = self.closing.key_of(timer)?;
        let entry = (key, start);
        let aggregate = self.aggregates.get(&entry, i64::MIN)?;
        self.aggregates.delete(&entry);
        Some((entry.0, Window { start, end: start.saturating_add(self.size_ms) }, aggregate))
    }

    /// Has aggregates be what this version makes of them, where another version wrote values of the type `Old`; as
    /// [`Table::rewrite`].
    ///
    /// # Errors
    /// As there.
    pub fn rewrite<Old: Value>(&mut self, mut change: impl FnMut(&K, Window, Old) -> V) -> Result<Migration> {
        let size_ms = self.size_ms;
        self.aggregates.rewrite(|(key, start), old| {
            Some(change(key, Window { start: *start, end: start.saturating_add(size_ms) }, old))
        })
    }

    /// The windows that a time lies in, the earliest first.
    pub fn of(&self, time: i64) -> impl Iterator<Item = Window> + use<K, V> {
        let (size_ms, advance_ms) = (self.size_ms, self.advance_ms);
        let last = time.saturating_sub(time.rem_euclid(advance_ms));
        let before = (size_ms - 1 - time.rem_euclid(advance_ms)).div_euclid(advance_ms).max(0);
        let starts = (0..=before).rev().map(move |n| last.saturating_sub(n * advance_ms));
        starts.map(move |start| Window { start, end: start.saturating_add(size_ms) })
    }
}

impl<K: Key, V: Value> Windows<K, V> {
    pub(super) fn new(state: &mut State, name: &str, lengths: [u64; 3]) -> Result<Self, ConfigError> {
        let [size_ms, advance_ms, grace_ms] = lengths.map(length);
        if size_ms == 0 || advance_ms == 0 || advance_ms > size_ms {
            return Err(format_args!(
                "expected windows of 1 ms or more, one every 1 ms to their size, got {size_ms} ms every {advance_ms} ms"
            )
            .into());
        }
        let (aggregates, closing) = (state.table(name)?, state.timers(name)?);
        Ok(Windows { size_ms, advance_ms, grace_ms, aggregates, closing })
    }
}

/// A length of time as it is added to times. No pipeline lives to see the difference.
pub(super) fn length(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
