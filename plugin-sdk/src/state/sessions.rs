//! Windows that last as long as records keep coming.

use super::windows::length;
use super::{Key, State, Table, Timer, Timers, Value};
use crate::{ConfigError, Event, Migration, Result};

/// Records of one key, none further than the gap from the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session {
    /// The time of its first event.
    pub first: i64,
    /// The time of its last event.
    pub last: i64,
}

/// Sessions by key; [`State::sessions`] makes them.
pub struct Sessions<K, V> {
    gap_ms: i64,
    grace_ms: i64,
    /// By key and first time: the last time and the aggregate.
    open: Table<(K, i64), (i64, V)>,
    closing: Timers<(i64, K)>,
}

impl<K: Key + Clone, V: Value + Default> Sessions<K, V> {
    /// Puts a record into its session. Where it joins several, `merge` adds the aggregate of a later one to that of an
    /// earlier one; `update` then changes the aggregate of the whole. Returns whether the session is open still: if not, the
    /// record came too late and nothing was changed.
    pub fn add(
        &mut self,
        key: &K,
        event: &Event<'_>,
        mut merge: impl FnMut(&mut V, V),
        update: impl FnOnce(&mut V),
    ) -> bool {
        let time = event.timestamp();
        let joined = self.near(key, time);
        let whole = joined.iter().fold(Session { first: time, last: time }, |whole, (session, _)| Session {
            first: whole.first.min(session.first),
            last: whole.last.max(session.last),
        });
        if self.closes_at(whole) <= event.watermark() {
            return false;
        }
        let mut aggregate = None;
        for (session, part) in joined {
            self.open.delete(&(key.clone(), session.first));
            self.closing.cancel(self.closes_at(session), &(session.first, key.clone()));
            match &mut aggregate {
                None => aggregate = Some(part),
                Some(aggregate) => merge(aggregate, part),
            }
        }
        let mut aggregate = aggregate.unwrap_or_default();
        update(&mut aggregate);
        self.open.put(&(key.clone(), whole.first), &(whole.last, aggregate), time);
        self.closing.set(self.closes_at(whole), &(whole.first, key.clone()));
        true
    }

    /// Has aggregates be what this version makes of them, where another version wrote values of the type `Old`; as
    /// [`Table::rewrite`].
    ///
    /// # Errors
    /// As there.
    pub fn rewrite<Old: Value>(&mut self, mut change: impl FnMut(&K, Session, Old) -> V) -> Result<Migration> {
        self.open.rewrite(|(key, first), (last, old)| Some((last, change(key, Session { first: *first, last }, old))))
    }

    /// The session that a timer closes, where it is one of these: its key, itself and its aggregate.
    pub fn closed(&mut self, timer: &Timer<'_>) -> Option<(K, Session, V)> {
        let (first, key) = self.closing.key_of(timer)?;
        let entry = (key, first);
        let (last, aggregate) = self.open.get(&entry, i64::MIN)?;
        self.open.delete(&entry);
        Some((entry.0, Session { first, last }, aggregate))
    }

    /// The open sessions of a key that a time joins, the earliest first.
    fn near(&mut self, key: &K, time: i64) -> Vec<(Session, V)> {
        let (gap_ms, mut near) = (self.gap_ms, Vec::new());
        self.open.scan_while(key, i64::MIN, |(_, first), (last, aggregate)| {
            if first > time.saturating_add(gap_ms) {
                return false;
            }
            if last >= time.saturating_sub(gap_ms) {
                near.push((Session { first, last }, aggregate));
            }
            true
        });
        near
    }

    /// The watermark at which a session is closed: the first past the gap and the grace.
    fn closes_at(&self, session: Session) -> i64 {
        session.last.saturating_add(self.gap_ms).saturating_add(self.grace_ms).saturating_add(1)
    }
}

impl<K: Key, V: Value> Sessions<K, V> {
    pub(super) fn new(state: &mut State, name: &str, gap_ms: u64, grace_ms: u64) -> Result<Self, ConfigError> {
        let (open, closing) = (state.table(name)?, state.timers(name)?);
        Ok(Sessions { gap_ms: length(gap_ms), grace_ms: length(grace_ms), open, closing })
    }
}
