//! What a stateful plugin remembers: tables by key, timers, windows.
//!
//! All of it is keyed state of the host (`wit/state.wit`): it is committed together with the records that it belongs to, so
//! after a crash each record has changed it exactly once. What is read and written is kept in the instance as well, so a key
//! in use costs no call into the host; what was written goes to the host at the end of each batch, all at once.

mod codec;
mod host;
mod raw;
mod sessions;
mod table;
mod timers;
mod windows;

use std::cell::RefCell;
use std::rc::Rc;

pub use codec::{Format, Json, Key, Value};
pub use sessions::{Session, Sessions};
pub use table::Table;
pub use timers::{Timer, Timers};
pub use windows::{Window, Windows};

use crate::ConfigError;
use crate::bindings::stateful_transform::exports::weir::plugin::stateful_step as wit;
#[cfg(not(target_family = "wasm"))]
pub(crate) use host::{Fake, written};
use raw::RawTable;
use timers::TimerTable;
pub(crate) use timers::{Clock, Due};

/// The most tables that a plugin may have: what `wit/stateful-step.wit` says.
const TABLES_MAX: usize = 64;

/// Where a plugin names its tables, timers and windows, when it is made.
///
/// A name is what the state is found by after a restart or an upgrade: two versions of a plugin that give a name to
/// different things do not understand each other.
#[derive(Default)]
pub struct State {
    described: Vec<wit::Table>,
    tables: Vec<Rc<RefCell<RawTable>>>,
    timers: Vec<Rc<RefCell<TimerTable>>>,
}

impl State {
    /// A table, whose entries stay until they are deleted.
    ///
    /// # Errors
    /// Where the name is taken, or is not 1 to 64 letters, digits, `-` and `_`.
    pub fn table<K: Key, V: Value>(&mut self, name: &str) -> Result<Table<K, V>, ConfigError> {
        Ok(Table::new(self.raw(name, K::FORMAT, V::FORMAT, None)?, None))
    }

    /// A table, each of whose entries is gone once the watermark is more than `ttl_ms` past the event time of its writing.
    ///
    /// # Errors
    /// As for [`State::table`].
    pub fn table_with_ttl<K: Key, V: Value>(&mut self, name: &str, ttl_ms: u64) -> Result<Table<K, V>, ConfigError> {
        Ok(Table::new(self.raw(name, K::FORMAT, V::FORMAT, Some(ttl_ms))?, Some(ttl_ms)))
    }

    /// Timers that fire once the watermark has reached their time. They are handed to
    /// [`Stateful::timer`](crate::Stateful::timer).
    ///
    /// # Errors
    /// As for [`State::table`].
    pub fn timers<K: Key>(&mut self, name: &str) -> Result<Timers<K>, ConfigError> {
        self.timers_by(name, Clock::EventTime)
    }

    /// Timers that fire at a time of the clock, or soon after. What they bring about differs from run to run.
    ///
    /// # Errors
    /// As for [`State::table`].
    pub fn clock_timers<K: Key>(&mut self, name: &str) -> Result<Timers<K>, ConfigError> {
        self.timers_by(name, Clock::ClockTime)
    }

    /// Windows of a fixed size, side by side: an aggregate of type `V` for each key and window.
    ///
    /// A window is open until the watermark is past its end by `grace_ms`.
    ///
    /// # Errors
    /// As for [`State::table`], and where `size_ms` is 0.
    pub fn tumbling<K: Key, V: Value + Default>(
        &mut self,
        name: &str,
        size_ms: u64,
        grace_ms: u64,
    ) -> Result<Windows<K, V>, ConfigError> {
        self.hopping(name, size_ms, size_ms, grace_ms)
    }

    /// Windows of a fixed size, one beginning every `advance_ms`, so that they overlap: as [`State::tumbling`].
    ///
    /// # Errors
    /// As for [`State::tumbling`], and where `advance_ms` is 0 or more than `size_ms`.
    pub fn hopping<K: Key, V: Value + Default>(
        &mut self,
        name: &str,
        size_ms: u64,
        advance_ms: u64,
        grace_ms: u64,
    ) -> Result<Windows<K, V>, ConfigError> {
        Windows::new(self, name, [size_ms, advance_ms, grace_ms])
    }

    /// Windows that last as long as no two records of a key that follow each other are more than `gap_ms` apart.
    ///
    /// A session is open until the watermark is past its last record by more than `gap_ms` and `grace_ms` together.
    ///
    /// # Errors
    /// As for [`State::table`].
    pub fn sessions<K: Key, V: Value + Default>(
        &mut self,
        name: &str,
        gap_ms: u64,
        grace_ms: u64,
    ) -> Result<Sessions<K, V>, ConfigError> {
        Sessions::new(self, name, gap_ms, grace_ms)
    }

    fn timers_by<K: Key>(&mut self, name: &str, clock: Clock) -> Result<Timers<K>, ConfigError> {
        let raw = self.raw(&format!("-timers-{name}"), Format::Bytes, Format::Bytes, None)?;
        let table = Rc::new(RefCell::new(TimerTable::new(raw, clock)));
        self.timers.push(table.clone());
        Ok(Timers::new(table))
    }

    fn raw(
        &mut self,
        name: &str,
        key: Format,
        value: Format,
        ttl_ms: Option<u64>,
    ) -> Result<Rc<RefCell<RawTable>>, ConfigError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
            return Err(
                format_args!("expected a table's name of 1 to 64 letters, digits, - and _, got {name:?}").into()
            );
        }
        if self.described.iter().any(|table| table.name == name) {
            return Err(format_args!("two tables are named {name:?}").into());
        }
        if self.described.len() == TABLES_MAX {
            return Err(format_args!("expected at most {TABLES_MAX} tables").into());
        }
        self.described.push(wit::Table { name: name.to_owned(), key: key.into(), value: value.into(), ttl_ms });
        let raw = Rc::new(RefCell::new(RawTable::new(self.tables.len() as u32)));
        self.tables.push(raw.clone());
        Ok(raw)
    }

    /// What the host is told of the tables.
    pub(crate) fn describe(&self) -> Vec<wit::Table> {
        self.described.clone()
    }

    /// Hands over what was written, once a batch is done.
    pub(crate) fn flush(&self) {
        self.tables.iter().for_each(|table| table.borrow_mut().flush());
    }

    /// Takes the timer that is due first, of all whose clock is this one.
    pub(crate) fn take_due(&self, clock: Clock, until: i64) -> Option<Due> {
        let first = self.timers.iter().filter_map(|timers| Some((timers.borrow_mut().first(clock)?, timers)));
        let (at, timers) = first.min_by_key(|(at, _)| *at)?;
        if at > until { None } else { timers.borrow_mut().take_first() }
    }

    /// When the next timer of a clock is due.
    pub(crate) fn next_due(&self, clock: Clock) -> Option<i64> {
        self.timers.iter().filter_map(|timers| timers.borrow_mut().first(clock)).min()
    }
}
