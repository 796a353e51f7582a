//! All lookups of a step, one after the other, on one record.

use weir_plugin::json::Malformed;
use weir_plugin::{Batch, Result};

use crate::config::Miss;
use crate::fields::{Changes, Names, Places};
use crate::key::Subject;
use crate::lookup::Lookup;
use crate::rows::{RowKey, Rows};

/// The lookups, their tables, and what the record at hand has become.
pub struct Chain {
    pub names: Names,
    pub lookups: Vec<Lookup>,
    pub tables: Vec<Rows>,
    pub changes: Changes,
    row_places: Places,
}

/// What becomes of a record.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    GoesOn,
    Dropped,
    /// It leaves by the port `missed`.
    Missed,
    /// It waits for the row of a key.
    Waits {
        lookup: usize,
        key: RowKey,
    },
}

/// What is known of a record's value before its lookups are done.
#[derive(Debug, Default)]
pub struct Opened {
    pub places: Places,
    fault: Option<Malformed>,
    /// The key of each lookup, as far as it is known.
    keys: Vec<KeyAhead>,
}

#[derive(Debug, Default)]
struct KeyAhead {
    known: Known,
    key: RowKey,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Known {
    /// It has not been looked for.
    #[default]
    Not,
    /// There is none.
    Absent,
    Key,
}

impl Opened {
    /// Finds the fields of a value.
    pub fn open(&mut self, chain: &Chain, doc: &[u8]) {
        self.fault = self.places.find(&chain.names, doc).err();
        self.keys.resize_with(chain.lookups.len(), KeyAhead::default);
        self.keys.iter_mut().for_each(|key| key.known = Known::Not);
    }
}

impl KeyAhead {
    fn get(&self) -> Option<&RowKey> {
        (self.known == Known::Key).then_some(&self.key)
    }
}

impl Chain {
    pub fn new(names: Names, lookups: Vec<Lookup>, tables: Vec<Rows>) -> Self {
        Chain { names, lookups, tables, changes: Changes::default(), row_places: Places::default() }
    }

    /// Finds the fields of all records of a batch and the keys of their rows, and asks each table once for all rows.
    ///
    /// Nothing changes the tables until the batch is done, so what is found holds for all of it.
    pub fn look_ahead(&mut self, batch: &Batch<'_>, opened: &mut Vec<Opened>) {
        if opened.len() < batch.len() {
            opened.resize_with(batch.len(), Opened::default);
        }
        for (record, opened) in batch.iter().zip(opened.iter_mut()) {
            opened.open(self, record.bytes());
        }
        for at in 0..self.lookups.len() {
            for (record, opened) in batch.iter().zip(opened.iter_mut()).filter(|(_, opened)| opened.fault.is_none()) {
                self.find_key(at, Subject::Come(record), record.bytes(), opened);
            }
            let keys = opened.iter().take(batch.len()).filter_map(|opened| opened.keys.get(at)?.get());
            if let Some(table) = self.lookups.get(at).and_then(|lookup| self.tables.get_mut(lookup.table)) {
                table.prefetch(keys);
            }
        }
    }

    /// Finds the key of a lookup ahead. Where lookups before it add what it is made of, they are done for that.
    fn find_key(&mut self, at: usize, subject: Subject<'_>, doc: &[u8], opened: &mut Opened) {
        self.changes.clear(&self.names);
        let is_independent = self.lookups.get(at).is_some_and(|lookup| lookup.is_independent);
        if !is_independent {
            for before in 0..at {
                let key = opened.keys.get(before).and_then(KeyAhead::get);
                if key.is_some_and(|key| self.put_row(before, key, &opened.places, doc).is_err()) {
                    return;
                }
            }
        }
        let _ = self.read_key(at, subject, doc, opened);
    }

    /// Reads the key of a lookup from what the record has become.
    fn read_key(&mut self, at: usize, subject: Subject<'_>, doc: &[u8], opened: &mut Opened) -> Result<()> {
        let Opened { places, keys, .. } = opened;
        let (Some(lookup), Some(KeyAhead { known, key })) = (self.lookups.get(at), keys.get_mut(at)) else {
            return Ok(());
        };
        let changes = &self.changes;
        let is_there = lookup.key.read(subject, |way| Ok(changes.value(way, places, doc)?), key)?;
        if self.tables.get(lookup.table).is_some_and(Rows::folds_case) {
            key.fold();
        }
        *known = if is_there && !key.is_too_long() { Known::Key } else { Known::Absent };
        Ok(())
    }

    /// Puts the row of a key into the record. False: there is no row.
    fn put_row(&mut self, at: usize, key: &RowKey, places: &Places, doc: &[u8]) -> Result<bool> {
        let Chain { lookups, tables, changes, row_places, .. } = self;
        let Some(lookup) = lookups.get(at) else { return Ok(false) };
        let Some(row) = tables.get_mut(lookup.table).and_then(|table| table.get(key)) else { return Ok(false) };
        lookup.put(&row, row_places, changes, places, doc)?;
        Ok(true)
    }

    /// Does the lookups from one on. `has_room` says whether the record may wait.
    pub fn run(
        &mut self,
        from: usize,
        subject: Subject<'_>,
        doc: &[u8],
        opened: &mut Opened,
        mut has_room: impl FnMut() -> bool,
    ) -> Result<Fate> {
        self.changes.clear(&self.names);
        if let Some(fault) = opened.fault {
            return Err(fault.into());
        }
        for at in from..self.lookups.len() {
            if opened.keys.get(at).is_none_or(|key| key.known == Known::Not) {
                self.read_key(at, subject, doc, opened)?;
            }
            let key = opened.keys.get(at).and_then(KeyAhead::get);
            if key.map_or(Ok(false), |key| self.put_row(at, key, &opened.places, doc))? {
                continue;
            }
            let Some(lookup) = self.lookups.get(at) else { break };
            if let Some(key) = key.filter(|_| lookup.on_miss.wait_ms.is_some() && has_room()) {
                return Ok(Fate::Waits { lookup: at, key: key.clone() });
            }
            match lookup.on_miss.then {
                Miss::Pass => {}
                Miss::Drop => return Ok(Fate::Dropped),
                Miss::DeadLetter => return Err(lookup.missed(key)),
                Miss::Port => return Ok(Fate::Missed),
            }
        }
        Ok(Fate::GoesOn)
    }
}
