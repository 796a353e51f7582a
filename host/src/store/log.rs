//! What all stores have in common: how appends become stored batches, what may be trimmed, how a read is put together.
//!
//! Pure computation. It keeps the stores equal to each other, so that what the simulation shows in memory holds on disk.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{
    Bounds, Changes, Error, Retention, STATE_KEY_BYTES_MAX, STATE_VALUE_BYTES_MAX, StateChange, StreamName, StreamSpec,
};
use crate::record::{Batch, Offset, Partition, Timestamp};

/// The bytes up to which appends are merged into one stored batch, and into pieces of which larger ones are cut. A record
/// is never cut: one alone may be larger.
pub(super) const STORED_BATCH_BYTES_MAX: usize = 1 << 20;

/// The bytes that the names in one key may have together. File paths are the longest of them.
const NAMES_BYTES_MAX: usize = 16 * 1024;

/// What an encoded batch has beside its columns: version and number of records.
const ENCODING_HEAD_BYTES: usize = 8;
/// What a record takes in the index and meta columns.
const RECORD_COLUMN_BYTES: usize = 32;

/// What is known of a stored batch without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stored {
    /// Its first record's offset, counting those that compaction has let go.
    pub base: Offset,
    /// The offset behind its last record, counting those that compaction has let go.
    pub end: Offset,
    /// Its encoded bytes, before compression.
    pub bytes: u64,
    /// When it was appended.
    pub at: Timestamp,
}

/// Gives a batch its place at the end of a partition.
pub(super) fn place(batch: &mut Batch, bounds: &mut Bounds, at: Timestamp) -> Stored {
    let base = bounds.end;
    batch.set_offsets_from(base);
    let end = Offset(base.0 + batch.len() as u64);
    let bytes = encoded_bytes(batch);
    bounds.end = end;
    bounds.bytes += bytes;
    Stored { base, end, bytes, at }
}

/// The bytes of a batch's encoding.
pub(super) fn encoded_bytes(batch: &Batch) -> u64 {
    (ENCODING_HEAD_BYTES + batch.bytes()) as u64
}

/// The bounds of a partition that has let its first batch go.
pub(super) fn without_front(bounds: Bounds, front: &Stored) -> Bounds {
    Bounds { start: front.end, end: bounds.end, bytes: bounds.bytes.saturating_sub(front.bytes) }
}

/// By which rule the batches of a partition go.
pub(super) struct Trim {
    /// What the stream keeps.
    pub retention: Retention,
    /// The lowest offset that somebody has still to read.
    pub unread: Option<Offset>,
    /// The time.
    pub now: Timestamp,
}

impl Trim {
    /// Whether the first batch of a partition may go.
    pub fn lets_go(&self, bounds: &Bounds, front: &Stored) -> bool {
        let unread = self.unread.is_some_and(|unread| front.end > unread);
        !unread && (self.is_too_old(front.at) || bounds.is_full(&self.retention))
    }

    /// Whether the first batch has to be looked at: it may be too old, or there is too much, and not all is unread.
    pub fn concerns(&self, bounds: &Bounds) -> bool {
        let some_read = self.unread.is_none_or(|unread| unread > bounds.start);
        bounds.start < bounds.end && some_read && (self.retention.age_ms.is_some() || bounds.is_full(&self.retention))
    }

    fn is_too_old(&self, at: Timestamp) -> bool {
        let age_ms = u64::try_from(self.now.0.saturating_sub(at.0)).unwrap_or(0);
        self.retention.age_ms.is_some_and(|age_ms_max| age_ms > age_ms_max)
    }
}

/// The batches that a group stores, by partition, in order; their offsets are still to be given. Small appends to one
/// partition become one batch.
pub(super) fn merge(group: &[Changes]) -> BTreeMap<(StreamName, Partition), Vec<Batch>> {
    let mut merged: BTreeMap<_, Vec<Batch>> = BTreeMap::new();
    for append in group.iter().flat_map(|changes| &changes.appends).filter(|append| !append.records.is_empty()) {
        let batches = merged.entry((append.stream.clone(), append.partition)).or_default();
        if append.records.bytes() <= STORED_BATCH_BYTES_MAX {
            add(batches, Cow::Borrowed(&append.records));
        } else {
            cut(&append.records).for_each(|piece| add(batches, Cow::Owned(piece)));
        }
    }
    merged
}

fn add(batches: &mut Vec<Batch>, records: Cow<'_, Batch>) {
    match batches.last_mut() {
        Some(last) if last.bytes() + records.bytes() <= STORED_BATCH_BYTES_MAX => last.append(&records),
        _ => batches.push(records.into_owned()),
    }
}

/// Cuts a large batch into pieces of the size of a stored batch.
fn cut(records: &Batch) -> impl Iterator<Item = Batch> + '_ {
    let mut from = 0;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |at: &usize| {
            bytes += RECORD_COLUMN_BYTES + records.get(*at).map_or(0, |record| record.data_len());
            *at == from || bytes <= STORED_BATCH_BYTES_MAX
        };
        let to = from + (from..records.len()).take_while(fits).count();
        let piece = records.slice(from..to);
        from = to;
        (!piece.is_empty()).then_some(piece)
    })
}

/// A read as it is put together from stored batches.
pub(super) struct Reading {
    next: Offset,
    bytes_max: usize,
    records: Batch,
}

impl Reading {
    /// A read of the records from an offset on.
    pub fn new(from: Offset, bytes_max: usize) -> Self {
        Reading { next: from, bytes_max, records: Batch::default() }
    }

    /// The offset that is read next.
    pub fn wanted(&self) -> Offset {
        self.next
    }

    /// Takes the stored batch that holds the wanted offset and ends before another, and says whether more is wanted.
    pub fn take(&mut self, end: Offset, batch: Cow<'_, Batch>) -> bool {
        let passed = batch.iter().take_while(|record| record.offset < self.next).count();
        self.next = end;
        if passed > 0 {
            self.records.append(&batch.slice(passed..batch.len()));
        } else if self.records.is_empty() {
            self.records = batch.into_owned();
        } else {
            self.records.append(&batch);
        }
        self.records.is_empty() || self.records.bytes() < self.bytes_max
    }

    /// The records that were read.
    pub fn finish(self) -> Batch {
        self.records
    }
}

/// Checks where a read begins, and says whether there is something to read.
pub(super) fn check_start(stream: &str, partition: Partition, from: Offset, bounds: &Bounds) -> Result<bool, Error> {
    if from < bounds.start {
        return Err(Error::Trimmed { stream: stream.into(), partition, wanted: from, start: bounds.start });
    }
    Ok(from < bounds.end)
}

/// Checks the sizes of everything but records.
pub(super) fn check_sizes(changes: &Changes) -> Result<(), Error> {
    for (key, _) in &changes.positions {
        check_names(&[&key.owner, &key.input])?;
    }
    for StateChange { table, key, value } in &changes.state {
        check_names(&[&table.pipeline, &table.step, &table.table])?;
        let place = || format!("in table {} of step {}", table.table, table.step);
        check_size(|| format!("a key {}", place()), key.len(), STATE_KEY_BYTES_MAX)?;
        let value_bytes = value.as_ref().map_or(0, |value| value.len());
        check_size(|| format!("a value {}", place()), value_bytes, STATE_VALUE_BYTES_MAX)?;
    }
    Ok(())
}

/// Checks names that together are to be one key.
pub(super) fn check_names(names: &[&str]) -> Result<(), Error> {
    let bytes = names.iter().map(|name| name.len()).sum();
    let what = || format!("the name {}...", names.concat().chars().take(80).collect::<String>());
    check_size(what, bytes, NAMES_BYTES_MAX)
}

fn check_size(what: impl FnOnce() -> String, bytes: usize, max: usize) -> Result<(), Error> {
    if bytes <= max { Ok(()) } else { Err(Error::TooLarge { what: what(), bytes, max }) }
}

/// What a stream is once a setting was applied to it: partitions are never taken away.
pub(super) fn adapt(existing: Option<&StreamSpec>, spec: &StreamSpec) -> StreamSpec {
    let existing = existing.map_or(1, |existing| existing.partitions);
    if spec.partitions < existing {
        tracing::warn!(stream = %spec.name, partitions = existing, wanted = spec.partitions, "a stream keeps its partitions");
    }
    StreamSpec { partitions: spec.partitions.max(existing), ..spec.clone() }
}

/// The error for a place that does not exist.
pub(super) fn no_partition(stream: &str, partition: Partition) -> Error {
    Error::NoPartition { stream: stream.into(), partition }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use crate::store::Append;
    use proptest::prelude::*;

    fn batch(lens: &[usize]) -> Batch {
        let mut batch = Batch::default();
        for (n, len) in lens.iter().enumerate() {
            batch.push(&Record::of(&vec![n as u8; *len], Timestamp(n as i64)));
        }
        batch
    }

    proptest! {
        /// Whatever is appended comes out in the same order, and no batch is larger than it may be.
        #[test]
        fn merging_keeps_records_and_bounds(
            appends in proptest::collection::vec(proptest::collection::vec(0usize..400_000, 0..8), 0..8),
        ) {
            let stream = StreamName::from("s");
            let group: Vec<_> = appends
                .iter()
                .map(|lens| Append { stream: stream.clone(), partition: Partition(0), records: batch(lens) })
                .map(|append| Changes { appends: vec![append], ..Changes::default() })
                .collect();
            let mut expected = Batch::default();
            group.iter().flat_map(|changes| &changes.appends).for_each(|append| expected.append(&append.records));
            let merged = merge(&group).into_values().next().unwrap_or_default();
            let mut got = Batch::default();
            for batch in &merged {
                prop_assert!(batch.bytes() <= STORED_BATCH_BYTES_MAX || batch.len() == 1);
                prop_assert!(!batch.is_empty());
                got.append(batch);
            }
            prop_assert_eq!(got, expected);
        }
    }

    #[test]
    fn small_appends_become_one_batch() {
        let append = Append { stream: "s".into(), partition: Partition(0), records: batch(&[10, 20]) };
        let group = vec![Changes { appends: vec![append], ..Changes::default() }; 100];
        let merged = merge(&group);
        assert_eq!(merged.values().map(Vec::len).collect::<Vec<_>>(), [1]);
        assert_eq!(merged.values().next().unwrap()[0].len(), 200);
    }

    #[test]
    fn the_bytes_of_a_stored_batch_are_those_of_its_encoding() {
        let mut records = batch(&[3, 0, 50]);
        let stored = place(&mut records, &mut Bounds::default(), Timestamp(0));
        assert_eq!(stored.bytes, records.encode().len() as u64);
    }
}
