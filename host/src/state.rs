//! The keyed state of one step in one partition, as its task sees it: what is committed, and what is on its way there.
//!
//! Entries in use are held in memory, so that they cost no look into the store. What a call of the plugin writes is kept
//! when the call succeeds and undone when it fails; what a chunk has written goes into its commit. Until that is durable the
//! entries stay here, as the store does not have them yet. Knows nothing of plugins and of time.

pub mod kept;
pub mod view;

use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::{Partition, Timestamp};
use crate::store::{self, Entries, STATE_KEY_BYTES_MAX, StateChange, Store, TableId};

/// The bytes that a value may have.
pub const VALUE_BYTES_MAX: usize = 16 << 20;
/// The bytes of committed entries that are kept in memory for one step and partition.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// What an entry takes in memory beside its key and value.
const ENTRY_BYTES: usize = 120;
/// What a write counts beside its key and value.
const WRITE_BYTES: usize = 32;
/// The entries that are read of the store at a time.
const PAGE: usize = 256;
/// The entries that are written to a table before some of those whose time is over are looked for.
const SWEEP_EVERY: usize = 256;
/// The bytes after which a scan answers with what it has.
const SCAN_BYTES: usize = 1 << 20;
/// The bytes of values that are read of the store at a time.
const LOAD_BYTES: usize = 16 << 20;
/// The bytes of values that one call is answered with at most.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;

/// How bytes are to be shown to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Bytes, of which nothing is known.
    Bytes,
    /// UTF-8.
    Text,
    /// JSON in UTF-8.
    Json,
    /// An unsigned number of eight bytes, highest first.
    Unsigned,
    /// A signed number of eight bytes, highest first, its sign bit inverted.
    Signed,
}

/// A table as the plugin describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSpec {
    /// Its name in the step.
    pub name: Arc<str>,
    /// What its keys are.
    pub key: Format,
    /// What its values are.
    pub value: Format,
    /// How long its entries live, in event time after their writing.
    pub ttl_ms: Option<u64>,
}

/// Where the state of a task lies.
#[derive(Clone)]
pub struct Home {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The pipeline.
    pub pipeline: Arc<str>,
    /// The partition.
    pub partition: Partition,
}

impl Home {
    /// The tables of a step.
    pub fn tables(&self, step: &Arc<str>, specs: &[TableSpec]) -> Tables {
        Tables::new(self.store.clone(), specs.iter().map(|spec| (self.id(step, &spec.name), spec.ttl_ms)))
    }

    /// The id of a table.
    pub fn id(&self, step: &Arc<str>, table: &Arc<str>) -> TableId {
        TableId { pipeline: self.pipeline.clone(), step: step.clone(), table: table.clone(), partition: self.partition }
    }
}

/// Why a call may not do what it asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misuse {
    /// No such table.
    #[error("it names table {table}, but {} described, which can be used once init has returned", count(*.tables))]
    NoTable {
        /// The number that it gave.
        table: u32,
        /// How many it has.
        tables: usize,
    },
    /// A key or value is too long.
    #[error("it uses a {what} of {bytes} bytes in a table: at most {max} are allowed")]
    TooLong {
        /// A key, or a value.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// A call writes too much.
    #[error("it writes more than {max} bytes to its tables in one call")]
    WritesTooMuch {
        /// The bound.
        max: usize,
    },
    /// A call asks for too much.
    #[error("it asks for more than {ANSWER_BYTES_MAX} bytes at once")]
    AsksTooMuch,
}

fn count(tables: usize) -> String {
    if tables == 1 { "1 was".into() } else { format!("{tables} were") }
}

/// The tables of a step.
#[derive(Default)]
pub struct Tables {
    store: Option<Arc<dyn Store>>,
    tables: Vec<Table>,
    /// What the call under way has replaced, the latest last.
    undo: Vec<Undo>,
    /// The bytes that the call under way may still write, and may write in all.
    allowed: (usize, usize),
    /// The number of the chunk under way. Chunks are counted from 1.
    chunk: u64,
    /// What the chunk under way has written.
    written: Vec<Place>,
    /// What earlier chunks have written, the oldest first, until it is committed.
    in_flight: VecDeque<(u64, Vec<Place>)>,
    /// The bytes of all entries here.
    bytes: usize,
    /// The bytes of them that are kept where they are committed.
    kept_bytes_max: usize,
    /// Why the store could not be read.
    error: Option<store::Error>,
}

type Place = (usize, Bytes);

struct Table {
    id: TableId,
    entries: HashMap<Bytes, Entry, RandomState>,
    /// The keys whose entries are not committed, once somebody has scanned the table.
    uncommitted: Option<BTreeSet<Bytes>>,
    /// Where its entries do not live for ever.
    sweep: Option<Sweep>,
}

/// The search for entries whose time is over. It goes through a table again and again, twice as fast as entries are written:
/// so a table is never much larger than what lives in it.
struct Sweep {
    ttl_ms: u64,
    /// The key behind which it goes on.
    after: Option<Bytes>,
    /// The entries that were written since it last went on.
    writes: usize,
}

#[derive(Clone)]
struct Entry {
    /// `None`: there is no such entry.
    value: Option<Bytes>,
    /// The chunk that wrote it; 0 once it is committed.
    chunk: u64,
    /// Whether it was asked for since the last time that memory was short.
    is_used: bool,
}

struct Undo {
    place: Place,
    before: Option<Entry>,
}

impl Tables {
    /// The tables with these ids, as they are committed. Where an entry's time to live is given (in milliseconds), its value
    /// begins with the event time of its writing: eight bytes, highest first, the sign bit inverted.
    pub fn new(store: Arc<dyn Store>, tables: impl IntoIterator<Item = (TableId, Option<u64>)>) -> Self {
        let sweep = |ttl_ms| Sweep { ttl_ms, after: None, writes: 0 };
        let table = |(id, ttl_ms): (_, Option<u64>)| Table {
            id,
            entries: HashMap::default(),
            uncommitted: None,
            sweep: ttl_ms.map(sweep),
        };
        let tables = tables.into_iter().map(table).collect();
        let allowed = (usize::MAX, usize::MAX);
        let kept_bytes_max = KEPT_BYTES_MAX;
        Tables { store: Some(store), tables, allowed, chunk: 1, kept_bytes_max, ..Tables::default() }
    }

    /// The bytes that its entries take here: those that are not committed, and some of the others.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Begins a call that may write this many bytes.
    pub fn allow(&mut self, bytes: usize) {
        self.allowed = (bytes, bytes);
    }

    /// A key's value, where it is known here: `Some(None)` says that it has none.
    pub fn find(&mut self, table: u32, key: &[u8]) -> Result<Option<Option<&Bytes>>, Misuse> {
        let at = self.at(table)?;
        check_key(key)?;
        let entry = self.tables.get_mut(at).and_then(|table| table.entries.get_mut(key));
        Ok(entry.map(|entry| {
            entry.is_used = true;
            entry.value.as_ref()
        }))
    }

    /// Reads from the store keys that [`Tables::find`] does not know, and keeps their values here if there is room. Where the
    /// store cannot be read there are no values, and [`Tables::take_error`] says why.
    pub async fn load(&mut self, table: u32, keys: Vec<Bytes>) -> Result<Vec<Option<Bytes>>, Misuse> {
        let at = self.at(table)?;
        keys.iter().try_for_each(|key| check_key(key))?;
        let (Some(store), Some(table)) = (&self.store, self.tables.get_mut(at)) else { return Ok(Vec::new()) };
        let (mut values, mut bytes) = (Vec::with_capacity(keys.len()), 0);
        while let Some(rest) = keys.get(values.len()..).filter(|rest| !rest.is_empty()) {
            match store.state_get(&table.id, rest, LOAD_BYTES).await {
                Ok(found) => {
                    bytes += found.iter().flatten().map(Bytes::len).sum::<usize>();
                    values.extend(found);
                }
                Err(error) => {
                    self.error = Some(error);
                    return Ok(Vec::new());
                }
            }
            if bytes > ANSWER_BYTES_MAX {
                return Err(Misuse::AsksTooMuch);
            }
        }
        for (key, value) in keys.into_iter().zip(&values) {
            self.bytes += weight(&key, value.as_ref());
            let entry = Entry { value: value.clone(), chunk: 0, is_used: true };
            // A key may have been asked for twice.
            let before = table.entries.insert(key.clone(), entry);
            self.bytes -= before.map_or(0, |before| weight(&key, before.value.as_ref()));
        }
        self.shrink();
        Ok(values)
    }

    /// Writes an entry, or with no value deletes it.
    pub fn write(&mut self, table: u32, key: &[u8], value: Option<&[u8]>) -> Result<(), Misuse> {
        let at = self.at(table)?;
        check_key(key)?;
        let bytes = value.map_or(0, <[u8]>::len);
        if bytes > VALUE_BYTES_MAX {
            return Err(Misuse::TooLong { what: "value", bytes, max: VALUE_BYTES_MAX });
        }
        let (left, max) = self.allowed;
        let left = left.checked_sub(WRITE_BYTES + key.len() + bytes).ok_or(Misuse::WritesTooMuch { max })?;
        self.allowed = (left, max);
        self.put(at, key, value);
        Ok(())
    }

    fn put(&mut self, at: usize, key: &[u8], value: Option<&[u8]>) {
        let Some(table) = self.tables.get_mut(at) else { return };
        if let Some(sweep) = table.sweep.as_mut().filter(|_| value.is_some()) {
            sweep.writes += 1;
        }
        let entry = Entry { value: value.map(Bytes::copy_from_slice), chunk: self.chunk, is_used: true };
        let (key, before) = match table.entries.get_key_value_mut(key) {
            Some((key, known)) => {
                self.bytes += entry.value.as_ref().map_or(0, Bytes::len);
                self.bytes -= known.value.as_ref().map_or(0, Bytes::len);
                (key.clone(), Some(std::mem::replace(known, entry)))
            }
            None => {
                let key = Bytes::copy_from_slice(key);
                self.bytes += weight(&key, entry.value.as_ref());
                table.entries.insert(key.clone(), entry);
                (key, None)
            }
        };
        if let Some(uncommitted) = &mut table.uncommitted {
            uncommitted.insert(key.clone());
        }
        if before.as_ref().is_none_or(|before| before.chunk != self.chunk) {
            self.written.push((at, key.clone()));
        }
        self.undo.push(Undo { place: (at, key), before });
    }

    /// The entries whose key begins with a prefix, in order, behind `after` where it is given: at most `max` and about 1 MiB,
    /// at least one where there is one.
    pub async fn scan(
        &mut self,
        table: u32,
        prefix: &[u8],
        after: Option<&[u8]>,
        max: usize,
    ) -> Result<Entries, Misuse> {
        let at = self.at(table)?;
        check_key(prefix)?;
        after.map_or(Ok(()), check_key)?;
        let (Some(store), Some(table)) = (&self.store, self.tables.get_mut(at)) else { return Ok(Entries::default()) };
        let mut scanned = Entries::default();
        let mut bytes = 0;
        let mut after = after.map(Bytes::copy_from_slice);
        while scanned.entries.len() < max {
            let limit = PAGE.min(max - scanned.entries.len());
            let bytes_max = SCAN_BYTES.saturating_sub(bytes);
            let page = match store.state_scan(&table.id, prefix, after.as_deref(), limit, bytes_max).await {
                Ok(page) => page,
                Err(error) => {
                    self.error = Some(error);
                    return Ok(scanned);
                }
            };
            let last = page.entries.last().filter(|_| page.has_more).map(|(key, _)| key.clone());
            for entry in table.overlaid(page.entries, prefix, after.as_deref(), last.as_deref()) {
                if scanned.entries.len() == max || bytes > SCAN_BYTES {
                    scanned.has_more = true;
                    return Ok(scanned);
                }
                bytes += entry.0.len() + entry.1.len();
                scanned.entries.push(entry);
            }
            if last.is_none() {
                return Ok(scanned);
            }
            after = last;
        }
        scanned.has_more = true;
        Ok(scanned)
    }

    /// Deletes some of the entries whose time to live is over. To be called between calls of the plugin.
    pub async fn sweep(&mut self, watermark: Timestamp) -> Result<(), Misuse> {
        for (at, number) in (0..self.tables.len()).zip(0..) {
            let Some(sweep) = self.tables.get_mut(at).and_then(|table| table.sweep.as_mut()) else { continue };
            if sweep.writes < SWEEP_EVERY {
                continue;
            }
            let (ttl_ms, mut count, mut after) = (sweep.ttl_ms, 2 * sweep.writes, sweep.after.take());
            sweep.writes = 0;
            while count > 0 {
                let Entries { mut entries, has_more } = self.scan(number, &[], after.as_deref(), count).await?;
                count = count.saturating_sub(entries.len());
                after = entries.last().filter(|_| has_more).map(|(key, _)| key.clone());
                entries.retain(|(_, value)| is_over(value, ttl_ms, watermark));
                entries.iter().for_each(|(key, _)| self.put(at, key, None));
                if after.is_none() {
                    break;
                }
            }
            if let Some(sweep) = self.tables.get_mut(at).and_then(|table| table.sweep.as_mut()) {
                sweep.after = after;
            }
        }
        self.keep();
        Ok(())
    }

    /// Keeps what the last call wrote.
    pub fn keep(&mut self) {
        self.undo.clear();
    }

    /// Undoes what the last call wrote.
    pub fn undo(&mut self) {
        for Undo { place: (at, key), before } in std::mem::take(&mut self.undo).into_iter().rev() {
            let Some(table) = self.tables.get_mut(at) else { continue };
            let is_uncommitted = before.as_ref().is_some_and(|before| before.chunk > 0);
            if let Some(uncommitted) = table.uncommitted.as_mut().filter(|_| !is_uncommitted) {
                uncommitted.remove(&key);
            }
            self.bytes += before.as_ref().map_or(0, |before| weight(&key, before.value.as_ref()));
            let undone = match before {
                Some(before) => table.entries.insert(key.clone(), before),
                None => table.entries.remove(&key),
            };
            self.bytes -= undone.map_or(0, |undone| weight(&key, undone.value.as_ref()));
        }
    }

    /// Whether the store could not be read.
    pub fn has_error(&self) -> bool {
        self.error.is_some()
    }

    /// Why the store could not be read, if so: what the plugin was told since is not to be relied on.
    pub fn take_error(&mut self) -> Option<store::Error> {
        self.error.take()
    }

    /// Ends the chunk: what it wrote, for its commit.
    pub fn take_changes(&mut self) -> Vec<StateChange> {
        let mut changes = Vec::with_capacity(self.written.len());
        // What was undone is as an earlier chunk left it.
        self.written.retain(|(at, key)| {
            let Some(table) = self.tables.get(*at) else { return false };
            let entry = table.entries.get(key).filter(|entry| entry.chunk == self.chunk);
            changes.extend(entry.map(|entry| StateChange {
                table: table.id.clone(),
                key: key.clone(),
                value: entry.value.clone(),
            }));
            entry.is_some()
        });
        self.in_flight.push_back((self.chunk, std::mem::take(&mut self.written)));
        self.chunk += 1;
        changes
    }

    /// The changes that were taken last were none, and there will be no commit of them.
    pub fn nothing_to_commit(&mut self) {
        self.in_flight.pop_back();
    }

    /// The oldest chunk whose changes were taken is committed.
    pub fn committed(&mut self) {
        let Some((chunk, written)) = self.in_flight.pop_front() else { return };
        for (at, key) in written {
            let Some(table) = self.tables.get_mut(at) else { continue };
            let Some(entry) = table.entries.get_mut(&key).filter(|entry| entry.chunk == chunk) else { continue };
            entry.chunk = 0;
            if let Some(uncommitted) = &mut table.uncommitted {
                uncommitted.remove(&key);
            }
        }
        self.shrink();
    }

    fn at(&self, table: u32) -> Result<usize, Misuse> {
        let (at, tables) = (table as usize, self.tables.len());
        if at < tables { Ok(at) } else { Err(Misuse::NoTable { table, tables }) }
    }

    /// Where there is too much here, lets go what the store has and nobody has asked for of late.
    fn shrink(&mut self) {
        if self.bytes <= self.kept_bytes_max {
            return;
        }
        let mut kept = 0;
        for table in &mut self.tables {
            table.entries.retain(|key, entry| {
                let stays =
                    entry.chunk > 0 || std::mem::replace(&mut entry.is_used, false) && kept < self.kept_bytes_max / 2;
                kept += if stays { weight(key, entry.value.as_ref()) } else { 0 };
                stays
            });
        }
        self.bytes = kept;
    }
}

impl Table {
    /// Puts what is not committed over a page of what is: the entries behind `after`, up to `last` where there is one.
    fn overlaid(
        &mut self,
        page: Vec<(Bytes, Bytes)>,
        prefix: &[u8],
        after: Option<&[u8]>,
        last: Option<&[u8]>,
    ) -> Vec<(Bytes, Bytes)> {
        let entries = &self.entries;
        let uncommitted = self.uncommitted.get_or_insert_with(|| {
            entries.iter().filter(|(_, entry)| entry.chunk > 0).map(|(key, _)| key.clone()).collect()
        });
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let above = uncommitted.range::<[u8], _>((from, Bound::Unbounded));
        let within = above.take_while(|key| key.starts_with(prefix) && last.is_none_or(|last| key.as_ref() <= last));
        let mut over = within.filter_map(|key| Some((key, entries.get(key)?.value.as_ref()))).peekable();
        let mut merged = Vec::with_capacity(page.len());
        for (key, value) in page {
            while let Some((new, value)) = over.next_if(|(new, _)| **new < key) {
                merged.extend(value.map(|value| (new.clone(), value.clone())));
            }
            match over.next_if(|(new, _)| **new == key) {
                Some((_, value)) => merged.extend(value.map(|value| (key, value.clone()))),
                None => merged.push((key, value)),
            }
        }
        merged.extend(over.filter_map(|(key, value)| Some((key.clone(), value?.clone()))));
        merged
    }
}

/// Whether the time to live of an entry is over. One that has no time is left alone.
fn is_over(value: &[u8], ttl_ms: u64, watermark: Timestamp) -> bool {
    let written = value.first_chunk().map(|time| (u64::from_be_bytes(*time) ^ (1 << 63)).cast_signed());
    written.is_some_and(|written| watermark.0 > written.saturating_add_unsigned(ttl_ms))
}

/// What is longer could not be written, and the store could not look for it.
fn check_key(key: &[u8]) -> Result<(), Misuse> {
    let (bytes, max) = (key.len(), STATE_KEY_BYTES_MAX);
    if bytes > max { Err(Misuse::TooLong { what: "key", bytes, max }) } else { Ok(()) }
}

fn weight(key: &Bytes, value: Option<&Bytes>) -> usize {
    ENTRY_BYTES + key.len() + value.map_or(0, Bytes::len)
}

#[cfg(test)]
mod tests;
