//! The memory of message ids that were appended lately, by which a message that is delivered again is recognised.
//!
//! It is keyed state that is committed together with the records, so after a crash it knows exactly the messages that the
//! intake stream holds. What is kept of an id is a hash of 16 bytes, and what is written is one entry for each batch:
//! the hashes of its ids under the batch's number. Whole batches are forgotten from the front, and only as long as the
//! newest `max` ids are left. Knows nothing of AMQP.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::record::Partition;
use crate::store::{self, StateChange, Store, TableId};

/// Entries that are read at a time when the memory is restored.
const READ_ENTRIES: usize = 1_000;
/// The bytes after which no more are.
const READ_BYTES: usize = 16 << 20;
/// The bytes that are kept of an id. Two ids have the same ones by a chance of 1 in 10^38.
const HASH_BYTES: usize = 16;

type Hash = [u8; HASH_BYTES];

/// The newest message ids of a source.
#[derive(Debug)]
pub struct Recent {
    table: TableId,
    max: usize,
    /// How often each is held: a sender may use an id twice.
    known: HashMap<Hash, u32>,
    /// The batches, oldest first: number, and hashes of their ids.
    batches: VecDeque<(u64, Vec<Hash>)>,
    held: usize,
    next: u64,
}

/// The ids of a batch that is being made.
#[derive(Debug, Default)]
pub struct Noted(Vec<Hash>);

impl Recent {
    /// What a source remembers of its former runs. `max` is how many ids it keeps.
    pub async fn restore(store: &dyn Store, source: &Arc<str>, max: usize) -> Result<Recent, store::Error> {
        let table = TableId {
            pipeline: source.clone(),
            // No step can have this name, so no pipeline has the same table.
            step: "source:rabbitmq".into(),
            table: "message-ids".into(),
            partition: Partition(0),
        };
        let mut recent = Recent { table, max, known: HashMap::new(), batches: VecDeque::new(), held: 0, next: 0 };
        let mut after: Option<Bytes> = None;
        loop {
            let page = store.state_scan(&recent.table, &[], after.as_deref(), READ_ENTRIES, READ_BYTES).await?;
            let Some((last, _)) = page.entries.last() else { return Ok(recent) };
            after = Some(last.clone());
            for (key, value) in &page.entries {
                // The table is this file's alone; what is not of its form is no batch and costs nothing but its place.
                if let Ok(number) = <[u8; 8]>::try_from(&**key) {
                    recent.hold(u64::from_be_bytes(number), value.as_chunks::<HASH_BYTES>().0.to_vec());
                }
            }
        }
    }

    /// Whether an id is remembered.
    pub fn knows(&self, id: &[u8]) -> bool {
        self.known.contains_key(&hash(id))
    }

    /// Takes in the ids of a batch, and gives what is to be committed with it.
    pub fn remember(&mut self, noted: Noted) -> Vec<StateChange> {
        let mut changes = Vec::new();
        if self.max > 0 && !noted.0.is_empty() {
            let number = self.next;
            changes.push(self.change(number, Some(Bytes::from(noted.0.concat()))));
            self.hold(number, noted.0);
        }
        while let Some(oldest) = self.forget() {
            changes.push(self.change(oldest, None));
        }
        changes
    }

    /// Forgets the oldest batch where enough ids are left without it.
    fn forget(&mut self) -> Option<u64> {
        let (_, hashes) = self.batches.front()?;
        if self.held - hashes.len() < self.max {
            return None;
        }
        let (number, hashes) = self.batches.pop_front()?;
        self.held -= hashes.len();
        for hash in hashes {
            if let Some(times) = self.known.get_mut(&hash) {
                *times -= 1;
                if *times == 0 {
                    self.known.remove(&hash);
                }
            }
        }
        Some(number)
    }

    fn hold(&mut self, number: u64, hashes: Vec<Hash>) {
        for hash in &hashes {
            *self.known.entry(*hash).or_default() += 1;
        }
        self.held += hashes.len();
        self.next = number + 1;
        self.batches.push_back((number, hashes));
    }

    fn change(&self, number: u64, value: Option<Bytes>) -> StateChange {
        StateChange { table: self.table.clone(), key: Bytes::copy_from_slice(&number.to_be_bytes()), value }
    }
}

impl Noted {
    /// Notes an id.
    pub fn add(&mut self, id: &[u8]) {
        self.0.push(hash(id));
    }

    /// Whether an id was noted.
    pub fn has(&self, id: &[u8]) -> bool {
        self.0.contains(&hash(id))
    }
}

fn hash(id: &[u8]) -> Hash {
    let mut short = [0; HASH_BYTES];
    let hash = blake3::hash(id);
    short.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::Timestamp;
    use crate::store::Changes;
    use crate::store::memory::MemoryStore;

    struct Rig {
        store: MemoryStore,
        recent: Recent,
    }

    impl Rig {
        async fn new(max: usize) -> Rig {
            let store = MemoryStore::new();
            let recent = Recent::restore(&store, &"auth".into(), max).await.unwrap();
            Rig { store, recent }
        }

        async fn append(&mut self, ids: &[u32]) {
            let mut noted = Noted::default();
            ids.iter().for_each(|id| noted.add(&id.to_be_bytes()));
            let changes = Changes { state: self.recent.remember(noted), ..Changes::default() };
            self.store.commit(&[changes], Timestamp(0)).await.unwrap();
        }

        async fn restart(&mut self, max: usize) {
            self.recent = Recent::restore(&self.store, &"auth".into(), max).await.unwrap();
        }

        fn knows(&self, id: u32) -> bool {
            self.recent.knows(&id.to_be_bytes())
        }

        async fn stored(&self) -> usize {
            self.store.state_scan(&self.recent.table, &[], None, usize::MAX, usize::MAX).await.unwrap().entries.len()
        }
    }

    /// A batch of ids, or a restart.
    fn histories() -> impl Strategy<Value = Vec<Option<Vec<u32>>>> {
        let batch = proptest::collection::vec(0u32..60, 0..8);
        proptest::collection::vec(prop_oneof![5 => batch.prop_map(Some), 1 => Just(None)], 0..40)
    }

    proptest! {
        /// Whatever was appended and however often it was restarted: the newest ids are known, and what is known was
        /// appended and takes no more room than it has to.
        #[test]
        fn the_newest_ids_are_known(history in histories(), max in 0usize..20) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let mut rig = Rig::new(max).await;
                let mut appended: Vec<u32> = Vec::new();
                let mut largest = 0;
                for step in history {
                    match step {
                        None => rig.restart(max).await,
                        Some(ids) => {
                            rig.append(&ids).await;
                            largest = largest.max(ids.len());
                            appended.extend(ids);
                        }
                    }
                    let newest = &appended[appended.len().saturating_sub(max)..];
                    prop_assert!(newest.iter().all(|id| rig.knows(*id)));
                    let kept = &appended[appended.len().saturating_sub(max + largest)..];
                    prop_assert!((0..60).filter(|id| rig.knows(*id)).all(|id| kept.contains(&id)));
                    prop_assert!(rig.recent.held <= max + largest);
                    prop_assert_eq!(rig.stored().await, rig.recent.batches.len());
                }
                Ok(())
            })?;
        }
    }

    #[tokio::test]
    async fn a_lower_bound_holds_with_the_next_batch() {
        let mut rig = Rig::new(100).await;
        for id in 0..50 {
            rig.append(&[id]).await;
        }
        rig.restart(10).await;
        rig.append(&[50]).await;
        assert_eq!((rig.stored().await, rig.knows(40), rig.knows(41)), (10, false, true));
        rig.restart(0).await;
        rig.append(&[51]).await;
        assert_eq!((rig.stored().await, rig.knows(51)), (0, false));
    }

    #[tokio::test]
    async fn more_entries_than_are_read_at_a_time_are_restored() {
        let mut rig = Rig::new(usize::MAX >> 1).await;
        for id in 0..READ_ENTRIES as u32 + 5 {
            rig.append(&[id]).await;
        }
        rig.restart(usize::MAX >> 1).await;
        assert!((0..READ_ENTRIES as u32 + 5).all(|id| rig.knows(id)));
        assert_eq!(rig.recent.next, READ_ENTRIES as u64 + 5);
    }
}
