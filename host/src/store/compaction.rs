//! Which records of a compacted stream stay: the newest of each key.
//!
//! Pure computation, for all stores. Compaction goes by passes: a pass notes the keys of records that came since the last
//! one, as many as fit into memory, then goes through all records up to there and drops those that one of the noted ones
//! has replaced. Offsets stay as they are, so a compacted partition has gaps.

use std::collections::HashMap;

use super::log::Stored;
use super::{Bounds, Retention};
use crate::record::{Batch, Offset, Record};

/// The keys that a pass notes: with 40 bytes each and room to grow, some 80 MiB at most.
pub(super) const KEYS_MAX: usize = 1_000_000;

/// How far a partition was compacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Compacted {
    /// The offset behind the last pass.
    pub until: Offset,
    /// The bytes that the pass left before it.
    pub bytes: u64,
}

/// Whether a partition is worth a pass: `new` bytes since the last one are enough at all, and as many as it left, or half of
/// the room that it left, so that what is replaced goes before retention takes the oldest.
pub(super) fn is_worth_it(compacted: &Compacted, new: u64, new_min: u64, retention: &Retention) -> bool {
    let room = retention.bytes_max.saturating_sub(compacted.bytes);
    new >= new_min.max(1) && new >= compacted.bytes.min(room / 2)
}

/// Where a pass may go up to: what some reader has not read stays as it is, and so does a partition that does not compact.
pub(super) fn limit(retention: &Retention, bounds: &Bounds, unread: Option<Offset>) -> Option<Offset> {
    let limit = unread.unwrap_or(bounds.end).min(bounds.end);
    (retention.compact && limit > bounds.start).then_some(limit)
}

/// The newest record of each key, of those that a pass has looked at.
#[derive(Debug, Default)]
pub(super) struct Newest {
    /// By a hash of the key of 16 bytes: two keys have the same one by a chance of 1 in 10^24, with a million million pairs.
    offsets: HashMap<[u8; 16], Offset>,
}

impl Newest {
    /// Notes the keys of records that are newer than all that were noted before.
    pub fn note(&mut self, batch: &Batch) {
        for record in batch.iter() {
            if let Some(key) = record.key {
                self.offsets.insert(hash(key), record.offset);
            }
        }
    }

    /// Whether no more keys are to be noted.
    pub fn is_full(&self, keys_max: usize) -> bool {
        self.offsets.len() >= keys_max
    }

    /// Which records of a batch stay.
    pub fn stay(&self, batch: &Batch) -> Vec<u32> {
        (0..).zip(batch.iter()).filter(|(_, record)| self.stays(record)).map(|(at, _)| at).collect()
    }

    /// A record stays if none with its key was noted behind it. A tombstone does not stay either: what it takes back is gone,
    /// and all who read the stream have read it.
    fn stays(&self, record: &Record<'_>) -> bool {
        let Some(key) = record.key else { return true };
        match self.offsets.get(&hash(key)) {
            None => true,
            Some(newest) => *newest == record.offset && record.value.is_some(),
        }
    }
}

fn hash(key: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short.iter_mut().zip(blake3::hash(key).as_bytes()).for_each(|(to, from)| *to = *from);
    short
}

/// Stored batches that become one.
#[derive(Debug, Default)]
pub(super) struct Piece {
    /// What was there.
    pub old: Vec<Stored>,
    /// What stays of it.
    pub records: Batch,
    /// Whether it would be other than what is there.
    pub is_changed: bool,
}

impl Piece {
    /// Takes what stays of one more stored batch, which follows those that it has.
    pub fn take(&mut self, stored: Stored, batch: &Batch, newest: &Newest) {
        let stay = newest.stay(batch);
        self.is_changed |= stay.len() < batch.len();
        self.records.append(&batch.select(&stay));
        self.old.push(stored);
    }

    /// Whether one more stored batch can become a part of it: what a stored batch spans is counted with 32 bits.
    pub fn has_room_for(&self, stored: &Stored) -> bool {
        self.old.first().is_none_or(|first| stored.end.0 - first.base.0 <= u64::from(u32::MAX))
    }

    /// Whether it is large enough to be stored.
    pub fn is_whole(&self) -> bool {
        // What does not change is not written again, so nothing is to be gathered behind it.
        !self.is_changed || self.records.bytes() >= super::log::STORED_BATCH_BYTES_MAX / 2
    }

    /// The stored batch that it becomes, with the time of the newest: `None` where there is nothing to be done.
    pub fn stored(&self) -> Option<Stored> {
        let (first, last) = (self.old.first()?, self.old.last()?);
        let bytes = super::log::encoded_bytes(&self.records);
        let at = self.old.iter().map(|old| old.at).max()?;
        self.is_changed.then_some(Stored { base: first.base, end: last.end, bytes, at })
    }

    /// The bytes that it takes back.
    pub fn bytes_before(&self) -> u64 {
        self.old.iter().map(|old| old.bytes).sum()
    }
}
