//! Compaction on disk. It reads beside everything else, and writes piece by piece between the commits.

use super::Inner;
use super::codec;
use super::engine::{damaged, failed};
use super::read::{batches, place_text, read_key};
use crate::record::{Batch, Offset, Partition};
use crate::store::compaction::{Compacted, KEYS_MAX, Newest, Piece, is_worth_it};
use crate::store::log::Stored;
use crate::store::{Appended, Bounds, Error, StreamName};

/// A partition that may be compacted up to an offset.
pub(super) type Target = (StreamName, Partition, Offset);

impl Inner {
    /// Compacts the partitions for which it is worth it, as long as it is wanted. What is damaged is told, and left as it is.
    pub fn compact(
        &self,
        targets: &[Target],
        new_bytes_min: u64,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<Vec<Appended>, Error> {
        // Two passes over one partition would both put something in the place of the same batches.
        let Ok(_alone) = self.compacting.try_lock() else { return Ok(Vec::new()) };
        let mut changed = Vec::new();
        for (stream, partition, limit) in targets {
            let mut last = None;
            loop {
                match self.compact_once(stream, *partition, *limit, new_bytes_min, is_wanted) {
                    Ok(Some(bounds)) => last = Some(bounds),
                    Ok(None) => break,
                    Err(error) if error.is_fatal() => return Err(error),
                    Err(error) => {
                        tracing::warn!(%stream, %partition, "it cannot be compacted: {error}");
                        break;
                    }
                }
            }
            changed.extend(last.map(|bounds| Appended { stream: stream.clone(), partition: *partition, bounds }));
        }
        Ok(changed)
    }

    /// One pass. `None`: it is not worth one, or it was given up.
    fn compact_once(
        &self,
        stream: &str,
        partition: Partition,
        limit: Offset,
        new_bytes_min: u64,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<Option<Bounds>, Error> {
        let (place, bounds) = self.catalog().place(stream, partition)?;
        let before = self.catalog().compacted(stream, partition);
        // The newest batch is left alone: the last record of a partition is always there.
        let is_within = |stored: &Stored| stored.end <= limit && stored.end < bounds.end;
        let scan = Scan { inner: self, stream, place, snapshot: self.engine.db.snapshot() };
        let new = scan.keys(before.until)?.take_while(|stored| stored.as_ref().is_ok_and(is_within));
        let new = new.map(|stored| stored.map(|stored| stored.bytes)).sum::<Result<u64, Error>>()?;
        let retention = self.catalog().streams.get(stream).map(|stream| stream.spec.retention);
        if !is_wanted() || !retention.is_some_and(|retention| is_worth_it(&before, new, new_bytes_min, &retention)) {
            return Ok(None);
        }
        let (mut newest, mut until) = (Newest::default(), before.until);
        for found in scan.batches(before.until)? {
            let (stored, batch) = found?;
            if !is_wanted() {
                return Ok(None);
            }
            if !is_within(&stored) || newest.is_full(KEYS_MAX) {
                break;
            }
            newest.note(&batch);
            until = stored.end;
        }
        let (mut piece, mut bytes) = (Piece::default(), 0);
        for found in scan.batches(bounds.start)? {
            let (stored, batch) = found?;
            if stored.base >= until {
                break;
            }
            if !is_wanted() {
                return Ok(None);
            }
            if !piece.has_room_for(&stored) {
                let Some(taken) = self.put(stream, place, &std::mem::take(&mut piece))? else { return Ok(None) };
                bytes += taken;
            }
            piece.take(stored, &batch, &newest);
            if piece.is_whole() {
                let Some(taken) = self.put(stream, place, &std::mem::take(&mut piece))? else { return Ok(None) };
                bytes += taken;
            }
        }
        let Some(taken) = self.put(stream, place, &piece)? else { return Ok(None) };
        self.set_compacted(stream, place, Compacted { until, bytes: bytes + taken })?;
        self.catalog().place(stream, partition).map(|(_, bounds)| Some(bounds))
    }

    /// Puts a piece in the place of what it was made of, and returns its bytes; `None` where retention has let some of that go.
    fn put(&self, stream: &str, place: codec::Place, piece: &Piece) -> Result<Option<u64>, Error> {
        let Some(stored) = piece.stored() else { return Ok(Some(piece.bytes_before())) };
        self.write(|| {
            let (_, mut bounds) = self.catalog().place(stream, place.1)?;
            if bounds.start > stored.base {
                return Ok(None);
            }
            bounds.bytes = (bounds.bytes + stored.bytes).saturating_sub(piece.bytes_before());
            let mut batch = self.engine.db.batch();
            let key = codec::batch_key(place, &stored);
            let old = piece.old.iter().map(|old| codec::batch_key(place, old));
            old.filter(|old| *old != key).for_each(|old| batch.remove(&self.engine.streams, old));
            batch.insert(&self.engine.streams, key, codec::pack(&piece.records, &stored));
            batch.insert(&self.engine.meta, codec::bounds_key(place), codec::bounds_value(&bounds));
            self.engine.write(batch)?;
            self.catalog_mut().set_bounds(stream, place.1, bounds);
            Ok(Some(stored.bytes))
        })
    }

    fn set_compacted(&self, stream: &str, place: codec::Place, compacted: Compacted) -> Result<(), Error> {
        self.write(|| {
            let mut batch = self.engine.db.batch();
            batch.insert(&self.engine.meta, codec::compacted_key(place), codec::compacted_value(&compacted));
            self.engine.write(batch)?;
            self.catalog_mut().set_compacted(stream, place.1, compacted);
            self.tail().forget(place, compacted.until);
            Ok(())
        })
    }
}

/// The stored batches of a partition as they were at one moment.
struct Scan<'a> {
    inner: &'a Inner,
    stream: &'a str,
    place: codec::Place,
    snapshot: fjall::Snapshot,
}

impl Scan<'_> {
    fn at(&self, offset: Offset) -> String {
        place_text(self.stream, self.place.1, offset)
    }

    /// What is known of those from an offset on, which one of them begins at.
    fn keys(&self, from: Offset) -> Result<impl Iterator<Item = Result<Stored, Error>> + '_, Error> {
        use fjall::Readable as _;
        let guards = self.snapshot.range(&self.inner.engine.streams, batches(self.place, from));
        Ok(guards.map(move |guard| {
            let key = guard.key().map_err(|error| failed(&self.at(from), error))?;
            read_key(&key, || self.at(from))
        }))
    }

    /// They.
    fn batches(&self, from: Offset) -> Result<impl Iterator<Item = Result<(Stored, Batch), Error>> + '_, Error> {
        use fjall::Readable as _;
        let guards = self.snapshot.range(&self.inner.engine.streams, batches(self.place, from));
        Ok(guards.map(move |guard| {
            let (key, value) = guard.into_inner().map_err(|error| failed(&self.at(from), error))?;
            let stored = read_key(&key, || self.at(from))?;
            let batch = codec::unpack(&value, &stored).map_err(|what| damaged(&self.at(stored.base), &what))?;
            Ok((stored, batch))
        }))
    }
}
