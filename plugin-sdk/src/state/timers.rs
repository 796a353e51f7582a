//! Timers: entries of a table whose keys begin with their time.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::rc::Rc;

use super::Key;
use super::raw::RawTable;

/// The timers that are due next which an instance keeps at hand.
const FRONT: u32 = 256;
/// When they are fewer again than they were, those at the end are let go.
const FRONT_MAX: usize = 4 * FRONT as usize;

/// By which time timers fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    EventTime,
    ClockTime,
}

/// All timers of one name.
pub(super) struct TimerTable {
    raw: Rc<RefCell<RawTable>>,
    clock: Clock,
    /// The first timers, once they were asked for.
    front: Option<Front>,
}

struct Front {
    keys: BTreeSet<Vec<u8>>,
    /// Whether there are timers behind these.
    has_more: bool,
}

/// A timer that is to fire.
pub(crate) struct Due {
    table: Rc<RefCell<RawTable>>,
    pub(crate) at: i64,
    key: Vec<u8>,
}

/// A timer that fires.
#[derive(Clone, Copy)]
pub struct Timer<'a> {
    due: &'a Due,
    /// Up to where its clock has come.
    until: i64,
}

/// Timers by key and time. A key may have several, at different times.
pub struct Timers<K> {
    table: Rc<RefCell<TimerTable>>,
    key: PhantomData<fn(K) -> K>,
}

impl<K: Key> Timers<K> {
    pub(super) fn new(table: Rc<RefCell<TimerTable>>) -> Self {
        Timers { table, key: PhantomData }
    }

    /// Asks to be called at a time, in milliseconds since 1970-01-01T00:00:00Z; at once where that is past.
    pub fn set(&mut self, at: i64, key: &K) {
        self.table.borrow_mut().set(encode(at, key));
    }

    /// Takes that back.
    pub fn cancel(&mut self, at: i64, key: &K) {
        self.table.borrow_mut().cancel(&encode(at, key));
    }

    /// The key of a timer that fires, where it is one of these.
    pub fn key_of(&self, timer: &Timer<'_>) -> Option<K> {
        if !Rc::ptr_eq(&self.table.borrow().raw, &timer.due.table) {
            return None;
        }
        K::decode(&mut timer.due.key.as_slice(), true)
    }
}

impl Timer<'_> {
    pub(crate) fn new(due: &Due, until: i64) -> Timer<'_> {
        Timer { due, until }
    }

    /// The time for which it was set.
    pub fn at(&self) -> i64 {
        self.due.at
    }

    /// The watermark at which it fires; for a timer of the clock, see [`Timer::now`].
    pub fn watermark(&self) -> i64 {
        self.until
    }

    /// What its clock shows as it fires: the watermark, or the time of the clock. A timer of the clock that was set for a time
    /// that is past so tells what time it is.
    pub fn now(&self) -> i64 {
        self.until
    }
}

impl TimerTable {
    pub(super) fn new(raw: Rc<RefCell<RawTable>>, clock: Clock) -> Self {
        TimerTable { raw, clock, front: None }
    }

    fn set(&mut self, key: Vec<u8>) {
        self.raw.borrow_mut().set(&key, Some(&[]));
        let Some(front) = &mut self.front else { return };
        if !front.has_more || front.keys.last().is_some_and(|last| key < *last) {
            front.keys.insert(key);
            if front.keys.len() > FRONT_MAX {
                front.keys.pop_last();
                front.has_more = true;
            }
        }
    }

    fn cancel(&mut self, key: &[u8]) {
        self.raw.borrow_mut().set(key, None);
        if let Some(front) = &mut self.front {
            front.keys.remove(key);
        }
    }

    fn front(&mut self) -> &mut Front {
        let is_used_up = |front: &Front| front.keys.is_empty() && front.has_more;
        if self.front.as_ref().is_none_or(is_used_up) {
            self.front = None;
        }
        let raw = &self.raw;
        self.front.get_or_insert_with(|| {
            let (keys, has_more) = raw.borrow_mut().first(FRONT);
            Front { keys: keys.into_iter().collect(), has_more }
        })
    }

    /// When the first is due, where these are timers of that clock.
    pub(super) fn first(&mut self, clock: Clock) -> Option<i64> {
        if self.clock != clock {
            return None;
        }
        self.front().keys.first().and_then(|key| <i64 as Key>::decode(&mut key.as_slice(), false))
    }

    /// Takes the first.
    pub(super) fn take_first(&mut self) -> Option<Due> {
        let key = self.front().keys.pop_first()?;
        self.raw.borrow_mut().set(&key, None);
        let mut rest = key.as_slice();
        let at = <i64 as Key>::decode(&mut rest, false)?;
        Some(Due { table: self.raw.clone(), at, key: rest.to_vec() })
    }
}

fn encode(at: i64, key: &impl Key) -> Vec<u8> {
    let mut bytes = Vec::new();
    Key::encode(&at, false, &mut bytes);
    key.encode(true, &mut bytes);
    bytes
}
