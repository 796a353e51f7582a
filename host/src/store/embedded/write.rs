//! What is written to disk: one writer at a time, and after a write that failed nobody.

use std::collections::{BTreeMap, HashMap};
use std::sync::PoisonError;

use bytes::Bytes;
use fjall::OwnedWriteBatch;

use super::Inner;
use super::catalog::Stream;
use super::codec::{self, Place, TableNumber};
use crate::record::{Batch, Offset, Partition, Position, Timestamp};
use crate::store::log::{self, Trim, without_front};
use crate::store::{Appended, Bounds, Changes, Error, PositionKey, StreamName, StreamSpec, TableId};

/// The batches that one write lets go at most.
pub(super) const TRIM_BATCHES_MAX: usize = 1000;

/// A group of changes as it is written: each key once.
pub(super) struct Group {
    appends: BTreeMap<(StreamName, Partition), Vec<Batch>>,
    positions: BTreeMap<PositionKey, Position>,
    /// The engine has no order among writes to one key in one batch: only the last may be in it.
    state: BTreeMap<TableId, HashMap<Bytes, Option<Bytes>>>,
}

impl Group {
    pub fn of(group: &[Changes]) -> Group {
        let mut state = BTreeMap::<TableId, HashMap<_, _>>::new();
        for change in group.iter().flat_map(|changes| &changes.state) {
            let table = match state.get_mut(&change.table) {
                Some(table) => table,
                None => state.entry(change.table.clone()).or_default(),
            };
            table.insert(change.key.clone(), change.value.clone());
        }
        let positions = group.iter().flat_map(|changes| changes.positions.iter().cloned()).collect();
        Group { appends: log::merge(group), positions, state }
    }
}

/// What memory learns once a group is on disk.
#[derive(Default)]
struct Learned {
    appended: Vec<Appended>,
    batches: Vec<(Place, Offset, Batch)>,
    tables: Vec<(TableId, TableNumber)>,
}

impl Inner {
    /// Makes a group durable.
    pub fn commit(&self, group: Group, now: Timestamp) -> Result<Vec<Appended>, Error> {
        self.write(|| {
            let mut batch = self.engine.db.batch();
            let mut learned = Learned::default();
            for ((stream, partition), records) in group.appends {
                self.append(&mut batch, &mut learned, stream, partition, records, now)?;
            }
            for (key, position) in group.positions {
                batch.insert(&self.engine.positions, codec::position_key(&key), position.0);
            }
            for (table, changes) in group.state {
                self.change_state(&mut batch, &mut learned, table, changes);
            }
            self.engine.commit(batch)?;
            Ok(self.learn(learned))
        })
    }

    fn append(
        &self,
        batch: &mut OwnedWriteBatch,
        learned: &mut Learned,
        stream: StreamName,
        partition: Partition,
        records: Vec<Batch>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (place, mut bounds) = self.catalog().place(&stream, partition)?;
        for mut records in records {
            let stored = log::place(&mut records, &mut bounds, now);
            batch.insert(&self.engine.streams, codec::batch_key(place, &stored), codec::pack(&records, &stored));
            learned.batches.push((place, stored.base, records));
        }
        batch.insert(&self.engine.meta, codec::bounds_key(place), codec::bounds_value(&bounds));
        learned.appended.push(Appended { stream, partition, bounds });
        Ok(())
    }

    fn change_state(
        &self,
        batch: &mut OwnedWriteBatch,
        learned: &mut Learned,
        table: TableId,
        changes: HashMap<Bytes, Option<Bytes>>,
    ) {
        let known = self.catalog().tables.get(&table).copied();
        let number = known.unwrap_or_else(|| {
            let number = TableNumber(self.catalog().next_table_number().0 + learned.tables.len() as u32);
            batch.insert(&self.engine.meta, codec::table_key(&table), codec::table_value(number));
            learned.tables.push((table, number));
            number
        });
        for (key, value) in changes {
            let key = codec::state_key(number, &key);
            match value {
                Some(value) => batch.insert(&self.engine.state, key, value),
                None => batch.remove(&self.engine.state, key),
            }
        }
    }

    /// What is durable may be seen.
    fn learn(&self, learned: Learned) -> Vec<Appended> {
        let mut tail = self.tail();
        learned.batches.into_iter().for_each(|(place, base, batch)| tail.push(place, base, batch));
        drop(tail);
        let mut catalog = self.catalog_mut();
        for Appended { stream, partition, bounds } in &learned.appended {
            catalog.set_bounds(stream, *partition, *bounds);
        }
        catalog.tables.extend(learned.tables);
        learned.appended
    }

    /// Makes a stream, or changes it.
    pub fn create_stream(&self, spec: &StreamSpec) -> Result<(), Error> {
        self.write(|| {
            let existing = self.catalog().streams.get(&spec.name).cloned();
            let spec = log::adapt(existing.as_ref().map(|existing| &existing.spec), spec);
            if existing.as_ref().is_some_and(|existing| existing.spec == spec) {
                return Ok(());
            }
            let id = existing.as_ref().map_or_else(|| self.catalog().next_stream_id(), |existing| existing.id);
            let mut batch = self.engine.db.batch();
            let value = codec::stream_value(id, spec.partitions, &spec.retention);
            batch.insert(&self.engine.meta, codec::stream_key(&spec.name), value);
            self.engine.commit(batch)?;
            let mut stream = Stream::new(id, spec);
            if let Some(existing) = existing {
                stream.bounds.iter_mut().zip(existing.bounds).for_each(|(new, known)| *new = known);
                stream.compacted.iter_mut().zip(existing.compacted).for_each(|(new, known)| *new = known);
            }
            self.catalog_mut().streams.insert(stream.spec.name.clone(), stream);
            Ok(())
        })
    }

    /// Lets the batches go that may, of each of these partitions.
    pub fn trim(&self, rules: &[(StreamName, Partition, Trim)]) -> Result<Vec<Appended>, Error> {
        let mut trimmed = Vec::new();
        for (stream, partition, rule) in rules {
            let mut changed = None;
            while let Some(bounds) = self.trim_some(stream, *partition, rule)? {
                changed = Some(bounds);
            }
            trimmed.extend(changed.map(|bounds| Appended { stream: stream.clone(), partition: *partition, bounds }));
        }
        Ok(trimmed)
    }

    /// Lets some batches go, and says what the partition holds then; `None` where none may go.
    fn trim_some(&self, stream: &str, partition: Partition, rule: &Trim) -> Result<Option<Bounds>, Error> {
        self.write(|| {
            let (place, mut bounds) = self.catalog().place(stream, partition)?;
            let front = self.front(stream, place, bounds.start, TRIM_BATCHES_MAX, |stored| {
                let goes = rule.lets_go(&bounds, stored);
                if goes {
                    bounds = without_front(bounds, stored);
                }
                goes
            })?;
            if front.is_empty() {
                return Ok(None);
            }
            // First memory, then disk: a reader that finds a batch gone knows then that it was trimmed.
            self.catalog_mut().set_bounds(stream, partition, bounds);
            let mut batch = self.engine.db.batch();
            for stored in &front {
                batch.remove(&self.engine.streams, codec::batch_key(place, stored));
            }
            batch.insert(&self.engine.meta, codec::bounds_key(place), codec::bounds_value(&bounds));
            self.engine.write(batch)?;
            Ok(Some(bounds))
        })
    }

    /// Does something that writes, alone. Where it fails nothing is known of what is on disk, so nothing is done after it.
    pub fn write<T>(&self, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_works()?;
        work().inspect_err(|error| {
            if error.is_fatal() {
                let _ = self.failed.set(error.to_string());
            }
        })
    }
}
