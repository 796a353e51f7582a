//! What is read from disk. All of it may block.

use std::borrow::Cow;
use std::ops::Bound;

use bytes::Bytes;
use fjall::Readable;

use super::Inner;
use super::catalog::{Catalog, Stream};
use super::codec::{self, Place, StreamId, TableNumber};
use super::engine::{Engine, damaged, failed};
use crate::record::{Batch, Offset, Partition, Position};
use crate::store::log::{Reading, Stored, check_start};
use crate::store::{Bounds, Entries, Error, PositionKey, StreamName, StreamSpec, TableId};

/// Where a read goes.
pub(super) struct Wanted {
    pub stream: StreamName,
    pub place: Place,
    /// The partition's end: what lies behind it is not asked for.
    pub end: Offset,
}

impl Wanted {
    /// The place in words, for errors.
    fn at(&self, offset: Offset) -> String {
        place_text(&self.stream, self.place.1, offset)
    }
}

pub(super) fn place_text(stream: &str, partition: Partition, offset: Offset) -> String {
    format!("stream {stream}, partition {partition}, offset {offset}")
}

impl Inner {
    /// Reads batches as long as the reading wants more and there are some.
    pub fn read(&self, wanted: &Wanted, mut reading: Reading) -> Result<Batch, Error> {
        let from = reading.wanted();
        // Compaction may put other batches in the place of these.
        let snapshot = self.engine.db.snapshot();
        let Some(first) = self.first_batch(&snapshot, wanted, from)? else {
            return Err(self.gap(wanted, from, "none"));
        };
        for guard in snapshot.range(&self.engine.streams, batches(wanted.place, first)) {
            let offset = reading.wanted();
            let (key, value) = guard.into_inner().map_err(|error| failed(&wanted.at(offset), error))?;
            let stored = read_key(&key, || wanted.at(offset))?;
            if stored.base > offset || stored.end <= offset {
                return Err(self.gap(wanted, offset, &format!("one at {}", stored.base)));
            }
            let batch = codec::unpack(&value, &stored).map_err(|what| damaged(&wanted.at(stored.base), &what))?;
            if !reading.take(stored.end, Cow::Owned(batch)) || reading.wanted() >= wanted.end {
                return Ok(reading.finish());
            }
        }
        Err(self.gap(wanted, reading.wanted(), "none"))
    }

    /// The base of the batch that holds an offset: of the last one that does not begin behind it.
    fn first_batch(&self, snapshot: &fjall::Snapshot, wanted: &Wanted, from: Offset) -> Result<Option<Offset>, Error> {
        let start = codec::batch_key_from(wanted.place, Offset(0));
        let behind = codec::batch_key_from(wanted.place, Offset(from.0.saturating_add(1)));
        let Some(guard) = snapshot.range(&self.engine.streams, start..behind).next_back() else { return Ok(None) };
        let key = guard.key().map_err(|error| failed(&wanted.at(from), error))?;
        Ok(Some(read_key(&key, || wanted.at(from))?.base))
    }

    /// The error for a batch that is not there: it was trimmed while it was looked for, or it is lost.
    fn gap(&self, wanted: &Wanted, offset: Offset, found: &str) -> Error {
        let (stream, partition) = (&wanted.stream, wanted.place.1);
        let trimmed = self.catalog().place(stream, partition).and_then(|(_, bounds)| {
            // Trims move the start before they remove anything.
            check_start(stream, partition, offset, &bounds)
        });
        match trimmed {
            Err(trimmed) => trimmed,
            Ok(_) => damaged(&wanted.at(offset), &format!("expected a batch with this offset, found {found}")),
        }
    }

    /// The batches at the front of a partition as long as they may go, at most `limit`.
    pub fn front(
        &self,
        stream: &str,
        place: Place,
        start: Offset,
        limit: usize,
        mut may_go: impl FnMut(&Stored) -> bool,
    ) -> Result<Vec<Stored>, Error> {
        let mut front = Vec::new();
        for guard in self.engine.streams.range(batches(place, start)).take(limit) {
            let at = || place_text(stream, place.1, start);
            let stored = read_key(&guard.key().map_err(|error| failed(&at(), error))?, at)?;
            if !may_go(&stored) {
                break;
            }
            front.push(stored);
        }
        Ok(front)
    }

    pub fn position(&self, key: &PositionKey) -> Result<Option<Position>, Error> {
        let found = self.engine.positions.get(codec::position_key(key));
        Ok(found.map_err(|error| failed(&format!("position {key}"), error))?.map(|value| Position(value.to_vec())))
    }

    /// All positions of one moment: a commit that goes on is seen as a whole or not at all.
    pub fn positions(&self, snapshot: &fjall::Snapshot) -> Result<Vec<(PositionKey, Position)>, Error> {
        let mut positions = Vec::new();
        for guard in snapshot.iter(&self.engine.positions) {
            let (key, value) = guard.into_inner().map_err(|error| failed("positions", error))?;
            let key =
                codec::read_position_key(&key).ok_or_else(|| damaged("positions", "expected a position's key"))?;
            positions.push((key, Position(value.to_vec())));
        }
        positions.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(positions)
    }

    pub fn state_get(
        &self,
        snapshot: &fjall::Snapshot,
        table: &TableId,
        number: TableNumber,
        keys: &[Bytes],
        bytes_max: usize,
    ) -> Result<Vec<Option<Bytes>>, Error> {
        let mut values = Vec::with_capacity(keys.len());
        let mut bytes = 0;
        for key in keys {
            let found = snapshot.get(&self.engine.state, codec::state_key(number, key));
            // A copy: what the engine gives is a part of a block of 4 KiB, and would keep all of it in memory.
            let value =
                found.map_err(|error| failed(&table_text(table), error))?.map(|value| Bytes::copy_from_slice(&value));
            bytes += value.as_ref().map_or(0, Bytes::len);
            values.push(value);
            if bytes > bytes_max {
                break;
            }
        }
        Ok(values)
    }

    /// The entries whose key begins with a prefix, behind a key.
    pub fn state_scan(
        &self,
        snapshot: &fjall::Snapshot,
        table: &TableId,
        number: TableNumber,
        (prefix, after): (&[u8], Option<&[u8]>),
        limit: usize,
        bytes_max: usize,
    ) -> Result<Entries, Error> {
        let prefix_key = codec::state_key(number, prefix);
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(codec::state_key(number, after)),
            _ => Bound::Included(prefix_key.clone()),
        };
        let entries =
            snapshot.range(&self.engine.state, (from, Bound::Unbounded)).map_while(|guard| match guard.into_inner() {
                Err(error) => Some(Err(failed(&table_text(table), error))),
                Ok((key, _)) if !key.starts_with(&prefix_key) => None,
                Ok((key, value)) => Some(Ok((codec::read_state_key(&Bytes::from(key)), Bytes::from(value)))),
            });
        Entries::page(entries, limit, bytes_max)
    }
}

fn table_text(table: &TableId) -> String {
    let TableId { pipeline, step, table, partition } = table;
    format!("table {table} of {pipeline}/{step}, partition {partition}")
}

/// The keys of a partition's batches that begin at an offset or behind it.
pub(super) fn batches(place: Place, from: Offset) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let from = Bound::Included(codec::batch_key_from(place, from));
    // No batch begins at the last offset there is, as it would end behind it.
    (from, Bound::Excluded(codec::batch_key_from(place, Offset(u64::MAX))))
}

pub(super) fn read_key(key: &[u8], at: impl FnOnce() -> String) -> Result<Stored, Error> {
    codec::read_batch_key(key).ok_or_else(|| damaged(&at(), "expected the key of a batch"))
}

/// Reads the catalog of a store that is being opened.
pub(super) fn catalog(engine: &Engine) -> Result<Catalog, Error> {
    let mut catalog = Catalog::default();
    let mut names = std::collections::HashMap::<StreamId, StreamName>::new();
    // Streams come after bounds in the order of keys, so bounds are kept until all streams are known.
    let (mut all_bounds, mut all_compacted) = (Vec::new(), Vec::new());
    for guard in engine.meta.iter() {
        let (key, value) = guard.into_inner().map_err(|error| failed("the list of streams", error))?;
        let read = match key.first().copied() {
            Some(codec::META_STREAM) => codec::read_stream(&key, &value).map(|(name, id, partitions, retention)| {
                let spec = StreamSpec { name: name.into(), partitions, retention };
                names.insert(id, spec.name.clone());
                catalog.streams.insert(spec.name.clone(), Stream::new(id, spec));
            }),
            Some(codec::META_BOUNDS) => codec::read_bounds(&key, &value).map(|found| all_bounds.push(found)),
            Some(codec::META_COMPACTED) => codec::read_compacted(&key, &value).map(|found| all_compacted.push(found)),
            Some(codec::META_TABLE) => codec::read_table(&key, &value).map(|(table, number)| {
                catalog.tables.insert(table, number);
            }),
            _ => None,
        };
        read.ok_or_else(|| {
            damaged("the list of streams", &format!("expected a stream, bounds or a table, found {key:?}"))
        })?;
    }
    let name_of = |id: StreamId| {
        names.get(&id).ok_or_else(|| damaged("the list of streams", &format!("no stream has number {}", id.0)))
    };
    for ((id, partition), bounds) in all_bounds {
        catalog.set_bounds(name_of(id)?, partition, bounds);
    }
    for ((id, partition), compacted) in all_compacted {
        catalog.set_compacted(name_of(id)?, partition, compacted);
    }
    Ok(catalog)
}

/// Looks at the first and the last batch of each partition: where a part of the journal or a file is lost, they are not
/// what the bounds say, and nobody should go on as if they were.
pub(super) fn check_streams(engine: &Engine, catalog: &Catalog) -> Result<(), Error> {
    for (stream, partition, bounds) in catalog.partitions() {
        let place = (stream.id, partition);
        let at = || place_text(&stream.spec.name, partition, bounds.start);
        let keys = || engine.streams.range(batches(place, Offset(0)));
        let read = |guard: Option<fjall::Guard>| -> Result<Option<Stored>, Error> {
            let key = guard.map(fjall::Guard::key).transpose().map_err(|error| failed(&at(), error))?;
            key.map(|key| read_key(&key, at)).transpose()
        };
        let (first, last) = (read(keys().next())?, read(keys().next_back())?);
        let start = first.map_or(bounds.end, |first| first.base);
        let end = last.map_or(bounds.end, |last| last.end);
        if (start, end) != (bounds.start, bounds.end) {
            let Bounds { start: wanted_start, end: wanted_end, .. } = bounds;
            let what = format!("expected records {wanted_start} up to {wanted_end}, found {start} up to {end}");
            return Err(damaged(&at(), &what));
        }
    }
    Ok(())
}
