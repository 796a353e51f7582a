//! All lookups of a step, one after the other, on one record.

use weir_plugin::json::Malformed;
use weir_plugin::{Batch, Result};

use crate::config::Miss;
use crate::endpoint::{Endpoint, Found};
use crate::fields::{Changes, Names, Places};
use crate::key::Subject;
use crate::lookup::{Lookup, Place};
use crate::rows::{RowKey, Rows};

/// The lookups, their tables and endpoints, and what the record at hand has become.
pub struct Chain {
    pub names: Names,
    pub lookups: Vec<Lookup>,
    pub tables: Vec<Rows>,
    pub endpoints: Vec<Endpoint>,
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
    pub fn new(names: Names, lookups: Vec<Lookup>, tables: Vec<Rows>, endpoints: Vec<Endpoint>) -> Self {
        Chain { names, lookups, tables, endpoints, changes: Changes::default(), row_places: Places::default() }
    }

    /// Forgets what endpoints have answered: time has passed.
    pub fn forget(&mut self) {
        self.endpoints.iter_mut().for_each(Endpoint::forget);
    }

    /// Finds the fields of all records of a batch and the keys of their rows, and asks each table and endpoint once for all rows.
    ///
    /// Nothing changes the tables until the batch is done, so what is found holds for all of it.
    pub fn look_ahead(&mut self, batch: &Batch<'_>, opened: &mut Vec<Opened>) {
        if opened.len() < batch.len() {
            opened.resize_with(batch.len(), Opened::default);
        }
        self.forget();
        for (record, opened) in batch.iter().zip(opened.iter_mut()) {
            opened.open(self, record.bytes());
        }
        for at in 0..self.lookups.len() {
            for (record, opened) in batch.iter().zip(opened.iter_mut()).filter(|(_, opened)| opened.fault.is_none()) {
                self.find_key(at, Subject::Come(record), record.bytes(), opened);
            }
            let keys = opened.iter().take(batch.len()).filter_map(|opened| opened.keys.get(at)?.get());
            let Some(lookup) = self.lookups.get(at) else { continue };
            match lookup.place {
                Place::Table(table) => {
                    self.tables.get_mut(table).into_iter().for_each(|table| table.prefetch(keys.clone()));
                }
                Place::Endpoint(endpoint) => {
                    let endpoint = self.endpoints.get_mut(endpoint);
                    endpoint.into_iter().for_each(|endpoint| endpoint.prefetch(&lookup.key, keys.clone()));
                }
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
        let table = if let Place::Table(table) = lookup.place { self.tables.get(table) } else { None };
        if table.is_some_and(Rows::folds_case) {
            key.fold();
        }
        *known = if is_there && !key.is_too_long() { Known::Key } else { Known::Absent };
        Ok(())
    }

    /// Puts the row of a key into the record. False: there is no row.
    fn put_row(&mut self, at: usize, key: &RowKey, places: &Places, doc: &[u8]) -> Result<bool> {
        let Chain { lookups, tables, endpoints, changes, row_places, .. } = self;
        let Some(lookup) = lookups.get(at) else { return Ok(false) };
        let row = match lookup.place {
            Place::Table(table) => tables.get_mut(table).and_then(|table| table.get(key)),
            Place::Endpoint(endpoint) => {
                let found = endpoints.get_mut(endpoint).map(|endpoint| endpoint.get(&lookup.key, key));
                match found.unwrap_or(Found::Missing) {
                    Found::Missing => None,
                    Found::Row(row) => Some(row),
                    Found::Wrong(why) => return Err(lookup.wrong(key, &why)),
                }
            }
        };
        let Some(row) = row else { return Ok(false) };
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
