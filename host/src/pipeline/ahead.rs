//! What was taken of an input past its committed position, where a chunk was given out in part.
//!
//! A reader's position lies between chunks. Where chunks are cut is the reader's business, and after a restart it may cut them
//! otherwise, or give those of another place first. So what was taken past the position is kept by place: records whose
//! offsets are lower were taken, and are not given out again.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::record::{Batch, Offset, Position};
use crate::state::Home;
use crate::store::{Error, StateChange, TableId};

/// The table in which a task keeps it. No step has an empty name.
const TABLE: &str = "inputs";

/// What of one input was taken past its position.
pub struct Ahead {
    table: TableId,
    key: Bytes,
    taken: Taken,
    /// Whether the store holds something of it.
    is_kept: bool,
}

/// As it is kept.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Taken {
    /// A hash of the position past which it was taken. What belongs to another is of no use.
    position: String,
    /// By place, the first offset that was not.
    next: BTreeMap<String, u64>,
}

impl Ahead {
    /// What was kept of an input that is read on from a position.
    pub async fn open(home: &Home, input: &str, position: Option<&Position>) -> Result<Self, Error> {
        let table = home.id(&"".into(), &TABLE.into());
        let key = Bytes::copy_from_slice(input.as_bytes());
        let kept =
            home.store.state_get(&table, std::slice::from_ref(&key), usize::MAX).await?.into_iter().next().flatten();
        let taken = kept.as_deref().and_then(|kept| serde_json::from_slice::<Taken>(kept).ok()).unwrap_or_default();
        let position = hash(position);
        let next = if taken.position == position { taken.next } else { BTreeMap::new() };
        Ok(Ahead { table, key, taken: Taken { position, next }, is_kept: kept.is_some() })
    }

    /// How many of the records at the head of a chunk were taken before.
    pub fn again(&self, place: &str, records: &Batch) -> usize {
        let Some(next) = self.taken.next.get(place) else { return 0 };
        records.iter().take_while(|record| record.offset.0 < *next).count()
    }

    /// The records of a chunk are taken up to this offset.
    pub fn take_part(&mut self, place: &str, next: Offset) -> Option<StateChange> {
        self.taken.next.insert(place.to_string(), next.0);
        self.change()
    }

    /// All records of a chunk are taken, and the position is behind it.
    pub fn take_all(&mut self, place: &str, last: Option<Offset>, position: &Position) -> Option<StateChange> {
        self.taken.position = hash(Some(position));
        let is_behind = |next: &u64| last.is_some_and(|last| last.0 + 1 >= *next);
        if self.taken.next.get(place).is_some_and(is_behind) {
            self.taken.next.remove(place);
        }
        self.change()
    }

    /// What is to be kept from now on.
    fn change(&mut self) -> Option<StateChange> {
        let is_needed = !self.taken.next.is_empty();
        let was_kept = std::mem::replace(&mut self.is_kept, is_needed);
        // Serializing text and numbers cannot fail.
        let value = is_needed.then(|| Bytes::from(serde_json::to_vec(&self.taken).unwrap_or_default()));
        let change = || StateChange { table: self.table.clone(), key: self.key.clone(), value };
        (is_needed || was_kept).then(change)
    }
}

fn hash(position: Option<&Position>) -> String {
    position.map(|position| blake3::hash(&position.0).to_hex().to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::{Partition, Record, Timestamp};
    use crate::store::memory::MemoryStore;
    use crate::store::{Changes, Store};

    fn home(store: &Arc<MemoryStore>) -> Home {
        Home { store: store.clone(), pipeline: "p".into(), partition: Partition(0) }
    }

    fn records(offsets: std::ops::Range<u64>) -> Batch {
        let mut batch = Batch::default();
        offsets.for_each(|n| batch.push(&Record { offset: Offset(n), ..Record::of(b"", Timestamp(0)) }));
        batch
    }

    async fn keep(store: &MemoryStore, change: Option<StateChange>) {
        let changes = Changes { state: change.into_iter().collect(), ..Changes::default() };
        store.commit(&[changes], Timestamp(0)).await.unwrap();
    }

    #[tokio::test]
    async fn what_was_taken_of_one_place_is_known_after_a_restart_though_another_comes_first() {
        let store = Arc::new(MemoryStore::new());
        let (a, b, base): (Arc<str>, Arc<str>, _) = ("a".into(), "b".into(), Position(vec![1]));
        let mut ahead = Ahead::open(&home(&store), "in", Some(&base)).await.unwrap();
        keep(&store, ahead.take_part(&a, Offset(7))).await;

        let mut ahead = Ahead::open(&home(&store), "in", Some(&base)).await.unwrap();
        let behind_b = Position(vec![2]);
        keep(&store, ahead.take_all(&b, Some(Offset(90)), &behind_b)).await;

        let mut ahead = Ahead::open(&home(&store), "in", Some(&behind_b)).await.unwrap();
        assert_eq!(ahead.again("b", &records(0..9)), 0);
        assert_eq!(ahead.again("a", &records(5..9)), 2);
        // Cut otherwise: this chunk ends before what was taken does.
        let within = Position(vec![3]);
        keep(&store, ahead.take_all(&a, Some(Offset(5)), &within)).await;
        assert_eq!(ahead.again("a", &records(6..9)), 1);
        keep(&store, ahead.take_all(&a, Some(Offset(6)), &within)).await;
        assert_eq!(ahead.again("a", &records(0..9)), 0);
        let left = store.state_scan(&ahead.table, b"", None, 9, 9).await.unwrap();
        assert_eq!(left.entries, [], "nothing is kept where nothing is needed");
    }

    #[tokio::test]
    async fn what_belongs_to_another_position_is_not_used() {
        let store = Arc::new(MemoryStore::new());
        let mut ahead = Ahead::open(&home(&store), "in", None).await.unwrap();
        keep(&store, ahead.take_part("a", Offset(7))).await;
        assert_eq!(Ahead::open(&home(&store), "in", None).await.unwrap().again("a", &records(0..9)), 7);
        let elsewhere = Ahead::open(&home(&store), "in", Some(&Position(vec![1]))).await.unwrap();
        assert_eq!(elsewhere.again("a", &records(0..9)), 0);
    }
}
