//! Who reads which embedded stream, and how far each has committed: what may not be trimmed.

use std::collections::BTreeMap;

use crate::record::{Offset, Partition, Position};
use crate::store::{PositionKey, StreamName};

/// The lowest offset that is still to be read, by stream and partition.
pub(super) type Unread = BTreeMap<StreamName, BTreeMap<Partition, Offset>>;

/// The readers of embedded streams.
#[derive(Debug, Default)]
pub(super) struct Readers {
    /// The next offset that each reads; `None` until it has committed one or the store was asked.
    next: BTreeMap<PositionKey, Option<Offset>>,
}

impl Readers {
    pub fn add(&mut self, key: PositionKey) {
        self.next.entry(key).or_default();
    }

    pub fn remove(&mut self, key: &PositionKey) {
        self.next.remove(key);
    }

    /// Those whose position the store has to be asked for.
    pub fn unknown(&self) -> Vec<PositionKey> {
        self.next.iter().filter(|(_, next)| next.is_none()).map(|(key, _)| key.clone()).collect()
    }

    /// Takes what the store answered, unless a commit has told more since. Without a position, all is unread.
    pub fn found(&mut self, key: &PositionKey, position: Option<&Position>) {
        if let Some(next @ None) = self.next.get_mut(key) {
            *next = Some(offset_of(position));
        }
    }

    /// Takes the positions of a group, and says whether a reader moved.
    pub fn committed<'a>(&mut self, positions: impl Iterator<Item = &'a (PositionKey, Position)>) -> bool {
        let mut moved = false;
        for (key, position) in positions {
            if let Some(next) = self.next.get_mut(key) {
                *next = Some(offset_of(Some(position)));
                moved = true;
            }
        }
        moved
    }

    /// The lowest offset of each place that some reader has still to read.
    pub fn unread(&self) -> Unread {
        let mut unread = Unread::new();
        for (key, next) in &self.next {
            let next = next.unwrap_or_default();
            let lowest = unread.entry(key.input.clone()).or_default().entry(key.partition).or_insert(next);
            *lowest = next.min(*lowest);
        }
        unread
    }
}

/// A position that is not an offset says nothing of what was read, so all is unread.
fn offset_of(position: Option<&Position>) -> Offset {
    position.and_then(Position::offset).unwrap_or_default()
}
