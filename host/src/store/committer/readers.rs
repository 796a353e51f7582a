//! Who reads which embedded stream, and how far each has committed: what may not be trimmed.

use std::collections::BTreeMap;

use crate::record::{Offset, Partition, Position};
use crate::store::{PositionKey, StreamName};

/// The lowest offset that is still to be read, by stream and partition.
pub(super) type Unread = BTreeMap<StreamName, BTreeMap<Partition, Offset>>;

/// Who reads a partition of an embedded stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRead {
    /// Under which its position is committed.
    pub position: PositionKey,
    /// The stream.
    pub stream: StreamName,
    /// The partition of it.
    pub partition: Partition,
}

/// The readers of embedded streams.
#[derive(Debug, Default)]
pub(super) struct Readers {
    /// By the key of its position.
    readers: BTreeMap<PositionKey, Reader>,
}

#[derive(Debug)]
struct Reader {
    stream: StreamName,
    partition: Partition,
    /// The next offset that it reads; `None` until it has committed one or the store was asked.
    next: Option<Offset>,
}

impl Readers {
    pub fn add(&mut self, StreamRead { position, stream, partition }: StreamRead) {
        self.readers.entry(position).or_insert(Reader { stream, partition, next: None });
    }

    pub fn remove(&mut self, key: &PositionKey) {
        self.readers.remove(key);
    }

    /// Those whose position the store has to be asked for.
    pub fn unknown(&self) -> Vec<PositionKey> {
        self.readers.iter().filter(|(_, reader)| reader.next.is_none()).map(|(key, _)| key.clone()).collect()
    }

    /// Takes what the store answered, unless a commit has told more since. Without a position, all is unread.
    pub fn found(&mut self, key: &PositionKey, position: Option<&Position>) {
        if let Some(Reader { next: next @ None, .. }) = self.readers.get_mut(key) {
            *next = Some(offset_of(position));
        }
    }

    /// Takes the positions of a group, and says whether a reader moved.
    pub fn committed<'a>(&mut self, positions: impl Iterator<Item = &'a (PositionKey, Position)>) -> bool {
        let mut moved = false;
        for (key, position) in positions {
            if let Some(reader) = self.readers.get_mut(key) {
                reader.next = Some(offset_of(Some(position)));
                moved = true;
            }
        }
        moved
    }

    /// The lowest offset of each place that some reader has still to read.
    pub fn unread(&self) -> Unread {
        let mut unread = Unread::new();
        for Reader { stream, partition, next } in self.readers.values() {
            let next = next.unwrap_or_default();
            let lowest = unread.entry(stream.clone()).or_default().entry(*partition).or_insert(next);
            *lowest = next.min(*lowest);
        }
        unread
    }
}

/// A position that is not an offset says nothing of what was read, so all is unread.
fn offset_of(position: Option<&Position>) -> Offset {
    position.and_then(Position::offset).unwrap_or_default()
}
