//! What keys and values look like on disk. All changes here need a new format version, from the first release on.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | streams | stream id u32, partition u32, base offset u64, offsets u32, encoded bytes u64, append time i64 | how it is packed u8, the encoded batch |
//! | positions | owner, input: length u32 and text each; partition u32 | the position |
//! | state | table id u32, key | value |
//! | meta | `s`, stream name | id u32, partitions u32, flags u8 (1: has an age, 2: is compacted), age u64, bytes u64 |
//! | meta | `b`, stream id u32, partition u32 | start u64, end u64, bytes u64 |
//! | meta | `c`, stream id u32, partition u32 | the offset up to which it was compacted u64, the bytes that were left u64 |
//! | meta | `t`, pipeline, step, table: length u32 and text each; partition u32 | table id u32 |
//!
//! Numbers have their highest byte first, so keys sort as numbers do. All that trimming asks of a batch is in its key,
//! so no batch is read to be trimmed.

use bytes::Bytes;

use super::super::compaction::Compacted;
use super::super::log::Stored;
use super::super::{Bounds, PositionKey, Retention, TableId};
use crate::record::{Batch, Offset, Partition, Timestamp};

/// The number of a stream on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct StreamId(pub u32);

/// The number of a table on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TableNumber(pub u32);

/// A partition on disk.
pub(super) type Place = (StreamId, Partition);

pub(super) const META_STREAM: u8 = b's';
pub(super) const META_BOUNDS: u8 = b'b';
pub(super) const META_COMPACTED: u8 = b'c';
pub(super) const META_TABLE: u8 = b't';

/// The batch as it is.
const PACKED_PLAIN: u8 = 0;
/// The batch compressed with LZ4 (block format).
const PACKED_LZ4: u8 = 1;
/// Added to how a batch is packed: compaction has let some of its records go.
const PACKED_WITH_GAPS: u8 = 0x80;
/// Smaller batches are not worth the trouble.
const PACK_BYTES_MIN: usize = 256;

/// The first key of a partition's batches from an offset on. Keys that begin with the same offset are behind it.
pub(super) fn batch_key_from((stream, partition): Place, base: Offset) -> Vec<u8> {
    let mut key = Vec::with_capacity(36);
    key.extend_from_slice(&stream.0.to_be_bytes());
    key.extend_from_slice(&partition.0.to_be_bytes());
    key.extend_from_slice(&base.0.to_be_bytes());
    key
}

/// The key of a stored batch.
pub(super) fn batch_key(place: Place, stored: &Stored) -> Vec<u8> {
    let mut key = batch_key_from(place, stored.base);
    key.extend_from_slice(&((stored.end.0 - stored.base.0) as u32).to_be_bytes());
    key.extend_from_slice(&stored.bytes.to_be_bytes());
    key.extend_from_slice(&stored.at.0.to_be_bytes());
    key
}

/// Reads the key of a stored batch. `None`: it is none.
pub(super) fn read_batch_key(key: &[u8]) -> Option<Stored> {
    let mut rest = Fields(key);
    let (_stream, _partition) = (rest.u32()?, rest.u32()?);
    let (base, records, bytes, at) = (rest.u64()?, rest.u32()?, rest.u64()?, rest.u64()?);
    let end = Offset(base.checked_add(records.into())?);
    rest.end(Stored { base: Offset(base), end, bytes, at: Timestamp(at as i64) })
}

/// Packs a batch, smaller where that is worth it.
pub(super) fn pack(batch: &Batch, stored: &Stored) -> Vec<u8> {
    let mut packed = pack_bytes(&batch.encode());
    if let Some(kind) = packed.first_mut().filter(|_| batch.len() as u64 != stored.end.0 - stored.base.0) {
        *kind |= PACKED_WITH_GAPS;
    }
    packed
}

fn pack_bytes(encoded: &[u8]) -> Vec<u8> {
    if encoded.len() >= PACK_BYTES_MIN {
        let mut packed = vec![0; 1 + lz4_flex::block::get_maximum_output_size(encoded.len())];
        if let Some((kind, room)) = packed.split_first_mut()
            && let Ok(len) = lz4_flex::block::compress_into(encoded, room)
            && len < encoded.len()
        {
            *kind = PACKED_LZ4;
            packed.truncate(1 + len);
            packed.shrink_to_fit();
            return packed;
        }
    }
    let mut packed = Vec::with_capacity(1 + encoded.len());
    packed.push(PACKED_PLAIN);
    packed.extend_from_slice(encoded);
    packed
}

/// Reads a packed batch, and checks it against its key. The error says what was expected and what came.
pub(super) fn unpack(packed: &[u8], stored: &Stored) -> Result<Batch, String> {
    let (kind, bytes) = packed.split_first().ok_or("expected a batch, found nothing")?;
    let has_gaps = kind & PACKED_WITH_GAPS != 0;
    let batch = match kind & !PACKED_WITH_GAPS {
        PACKED_PLAIN => Batch::decode(bytes),
        PACKED_LZ4 => Batch::decode(&decompress(bytes, stored)?),
        other => return Err(format!("expected a batch packed as 0 or 1, found {other}")),
    };
    let batch = batch.map_err(|invalid| invalid.to_string())?;
    let records = stored.end.0 - stored.base.0;
    if has_gaps {
        let offsets: Vec<u64> = batch.iter().map(|record| record.offset.0).collect();
        let is_within = offsets.iter().all(|offset| (stored.base.0..stored.end.0).contains(offset));
        if !is_within || !offsets.is_sorted_by(|a, b| a < b) {
            return Err(format!("expected offsets from {} up to {}, found {offsets:?}", stored.base, stored.end));
        }
        return Ok(batch);
    }
    if batch.len() as u64 != records || batch.first_offset() != Some(stored.base) {
        let (found, first) = (batch.len(), batch.first_offset().unwrap_or_default());
        return Err(format!("expected {records} records from offset {}, found {found} from {first}", stored.base));
    }
    Ok(batch)
}

fn decompress(bytes: &[u8], stored: &Stored) -> Result<Vec<u8>, String> {
    /// LZ4 cannot grow data by more than this, so a damaged length is seen before memory is taken for it.
    const RATIO_MAX: u64 = 256;
    let len = stored.bytes;
    if len > (bytes.len() as u64).saturating_mul(RATIO_MAX) {
        return Err(format!("expected {len} bytes, found {} compressed ones", bytes.len()));
    }
    let mut encoded = vec![0; len as usize];
    match lz4_flex::block::decompress_into(bytes, &mut encoded) {
        Ok(found) if found as u64 == len => Ok(encoded),
        Ok(found) => Err(format!("expected {len} bytes, found {found}")),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn position_key(key: &PositionKey) -> Vec<u8> {
    texts_and_partition(Vec::new(), &[&key.owner, &key.input], key.partition)
}

pub(super) fn read_position_key(key: &[u8]) -> Option<PositionKey> {
    let mut rest = Fields(key);
    let key = PositionKey { owner: rest.text()?.into(), input: rest.text()?.into(), partition: Partition(rest.u32()?) };
    rest.end(key)
}

pub(super) fn table_key(table: &TableId) -> Vec<u8> {
    texts_and_partition(vec![META_TABLE], &[&table.pipeline, &table.step, &table.table], table.partition)
}

pub(super) fn read_table(key: &[u8], value: &[u8]) -> Option<(TableId, TableNumber)> {
    let mut rest = Fields(key.get(1..)?);
    let table = TableId {
        pipeline: rest.text()?.into(),
        step: rest.text()?.into(),
        table: rest.text()?.into(),
        partition: Partition(rest.u32()?),
    };
    let mut value = Fields(value);
    let number = TableNumber(value.u32()?);
    Some((rest.end(table)?, value.end(number)?))
}

pub(super) fn table_value(number: TableNumber) -> Vec<u8> {
    number.0.to_be_bytes().to_vec()
}

/// A key of keyed state, or the beginning of one.
pub(super) fn state_key(table: TableNumber, key: &[u8]) -> Vec<u8> {
    [&table.0.to_be_bytes(), key].concat()
}

/// The key without the table.
pub(super) fn read_state_key(key: &Bytes) -> Bytes {
    key.slice(size_of::<u32>().min(key.len())..)
}

pub(super) fn stream_key(name: &str) -> Vec<u8> {
    [&[META_STREAM], name.as_bytes()].concat()
}

pub(super) fn stream_value(id: StreamId, partitions: u32, retention: &Retention) -> Vec<u8> {
    let mut value = Vec::new();
    value.extend_from_slice(&id.0.to_be_bytes());
    value.extend_from_slice(&partitions.to_be_bytes());
    value.push(u8::from(retention.age_ms.is_some()) | u8::from(retention.compact) << 1);
    value.extend_from_slice(&retention.age_ms.unwrap_or_default().to_be_bytes());
    value.extend_from_slice(&retention.bytes_max.to_be_bytes());
    value
}

pub(super) fn read_stream(key: &[u8], value: &[u8]) -> Option<(String, StreamId, u32, Retention)> {
    let name = std::str::from_utf8(key.get(1..)?).ok()?.to_owned();
    let mut rest = Fields(value);
    let (id, partitions, flags, age_ms) = (rest.u32()?, rest.u32()?, rest.u8()?, rest.u64()?);
    let (age_ms, compact) = ((flags & 1 != 0).then_some(age_ms), flags & 2 != 0);
    let retention = Retention { age_ms, bytes_max: rest.u64()?, compact };
    rest.end((name, StreamId(id), partitions, retention))
}

pub(super) fn bounds_key((stream, partition): Place) -> Vec<u8> {
    [&[META_BOUNDS][..], &stream.0.to_be_bytes(), &partition.0.to_be_bytes()].concat()
}

pub(super) fn bounds_value(bounds: &Bounds) -> Vec<u8> {
    [bounds.start.0, bounds.end.0, bounds.bytes].map(u64::to_be_bytes).concat()
}

pub(super) fn read_bounds(key: &[u8], value: &[u8]) -> Option<(Place, Bounds)> {
    let mut rest = Fields(key.get(1..)?);
    let place = (StreamId(rest.u32()?), Partition(rest.u32()?));
    let mut value = Fields(value);
    let bounds = Bounds { start: Offset(value.u64()?), end: Offset(value.u64()?), bytes: value.u64()? };
    Some((rest.end(place)?, value.end(bounds)?))
}

pub(super) fn compacted_key((stream, partition): Place) -> Vec<u8> {
    [&[META_COMPACTED][..], &stream.0.to_be_bytes(), &partition.0.to_be_bytes()].concat()
}

pub(super) fn compacted_value(compacted: &Compacted) -> Vec<u8> {
    [compacted.until.0, compacted.bytes].map(u64::to_be_bytes).concat()
}

pub(super) fn read_compacted(key: &[u8], value: &[u8]) -> Option<(Place, Compacted)> {
    let mut rest = Fields(key.get(1..)?);
    let place = (StreamId(rest.u32()?), Partition(rest.u32()?));
    let mut value = Fields(value);
    let compacted = Compacted { until: Offset(value.u64()?), bytes: value.u64()? };
    Some((rest.end(place)?, value.end(compacted)?))
}

fn texts_and_partition(mut key: Vec<u8>, texts: &[&str], partition: Partition) -> Vec<u8> {
    for text in texts {
        key.extend_from_slice(&(text.len() as u32).to_be_bytes());
        key.extend_from_slice(text.as_bytes());
    }
    key.extend_from_slice(&partition.0.to_be_bytes());
    key
}

/// Reads one field after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn u8(&mut self) -> Option<u8> {
        self.bytes(1)?.first().copied()
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.bytes(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.bytes(8)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = self.u32()?;
        std::str::from_utf8(self.bytes(len as usize)?).ok()
    }

    /// What was read, where nothing is left.
    fn end<T>(&self, read: T) -> Option<T> {
        self.0.is_empty().then_some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use proptest::prelude::*;

    fn stored(batch: &Batch, base: u64) -> Stored {
        let end = Offset(base + batch.len() as u64);
        Stored { base: Offset(base), end, bytes: batch.encode().len() as u64, at: Timestamp(-7) }
    }

    fn batch(base: u64, values: &[Vec<u8>]) -> Batch {
        let mut batch = Batch::default();
        values.iter().for_each(|value| batch.push(&Record::of(value, Timestamp(1))));
        batch.set_offsets_from(Offset(base));
        batch
    }

    proptest! {
        #[test]
        fn keys_round_trip_and_sort_as_offsets_do(a in any::<u64>(), b in any::<u64>(), records in 1u32.., at in any::<i64>()) {
            let place = (StreamId(3), Partition(7));
            let stored = |base: u64| Stored { base: Offset(base), end: Offset(base.saturating_add(records.into())), bytes: 9, at: Timestamp(at) };
            prop_assume!(a.checked_add(records.into()).is_some());
            prop_assert_eq!(read_batch_key(&batch_key(place, &stored(a))), Some(stored(a)));
            prop_assert_eq!(a.cmp(&b), batch_key_from(place, Offset(a)).cmp(&batch_key_from(place, Offset(b))));
        }

        #[test]
        fn packed_batches_are_unpacked(values in proptest::collection::vec(proptest::collection::vec(0u8..4, 0..200), 1..20)) {
            let batch = batch(5, &values);
            prop_assert_eq!(unpack(&pack(&batch, &stored(&batch, 5)), &stored(&batch, 5)), Ok(batch));
        }

        /// Whatever is on disk, it is refused or a whole batch, and memory is not taken for lengths that cannot be.
        #[test]
        fn damaged_batches_are_refused_or_readable(
            values in proptest::collection::vec(proptest::collection::vec(0u8..4, 0..200), 1..20),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            bytes in prop_oneof![Just(None), any::<u64>().prop_map(Some)],
        ) {
            let batch = batch(0, &values);
            let (mut packed, mut stored) = (pack(&batch, &stored(&batch, 0)), stored(&batch, 0));
            let at = at.index(packed.len());
            packed[at] = byte;
            stored.bytes = bytes.unwrap_or(stored.bytes);
            if let Ok(unpacked) = unpack(&packed, &stored) {
                prop_assert_eq!(unpacked.len(), batch.len());
            }
        }

        #[test]
        fn position_keys_and_tables_round_trip(owner in ".*", input in ".*", table in ".*", partition in any::<u32>()) {
            let partition = Partition(partition);
            let key = PositionKey { owner: owner.as_str().into(), input: input.as_str().into(), partition };
            prop_assert_eq!(read_position_key(&position_key(&key)), Some(key));
            let table = TableId { pipeline: owner.into(), step: input.into(), table: table.into(), partition };
            prop_assert_eq!(read_table(&table_key(&table), &table_value(TableNumber(4))), Some((table, TableNumber(4))));
        }
    }

    #[test]
    fn a_batch_in_the_place_of_another_is_refused() {
        let batch = batch(5, &[b"a".to_vec()]);
        let wrong = unpack(&pack(&batch, &stored(&batch, 6)), &stored(&batch, 6)).unwrap_err();
        assert_eq!(wrong, "expected 1 records from offset 6, found 1 from 5");
    }

    #[test]
    fn text_is_packed_smaller() {
        let batch =
            batch(0, &vec![b"Failed password for invalid user admin from 192.0.2.1 port 22 ssh2".to_vec(); 1000]);
        assert!(pack(&batch, &stored(&batch, 0)).len() < batch.bytes() / 3);
    }
}
