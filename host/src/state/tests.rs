//! The tables against a plain map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::store::Changes;
use crate::store::memory::MemoryStore;

fn home(store: &Arc<MemoryStore>) -> Home {
    Home { store: store.clone(), pipeline: "p".into(), partition: Partition(0) }
}

fn spec(name: &str, ttl_ms: Option<u64>) -> TableSpec {
    TableSpec { name: name.into(), key: Format::Bytes, value: Format::Bytes, ttl_ms }
}

fn bytes(number: u8) -> Bytes {
    Bytes::from(vec![b'k', number / 4, number])
}

/// What happens to the tables of a task.
#[derive(Debug, Clone)]
enum Event {
    Put(u8, u8),
    Delete(u8),
    Get(u8),
    Scan(u8, Option<u8>, usize),
    /// The call succeeded, or not.
    End(bool),
    /// The chunk is over.
    Chunk,
    /// The oldest chunk's commit is durable.
    Commit,
    /// The task begins again from its last commit.
    Restart,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let key = 0..16u8;
    let event = prop_oneof![
        6 => (key.clone(), any::<u8>()).prop_map(|(key, value)| Event::Put(key, value)),
        2 => key.clone().prop_map(Event::Delete),
        4 => key.clone().prop_map(Event::Get),
        3 => (0..6u8, proptest::option::of(key), 1..6usize).prop_map(|(at, after, max)| Event::Scan(at, after, max)),
        3 => prop_oneof![3 => Just(true), 1 => Just(false)].prop_map(Event::End),
        2 => Just(Event::Chunk),
        2 => Just(Event::Commit),
        1 => Just(Event::Restart),
    ];
    proptest::collection::vec(event, 0..120)
}

type Map = BTreeMap<Bytes, Bytes>;

async fn commit(store: &MemoryStore, state: Vec<StateChange>) {
    let changes = Changes { state, ..Changes::default() };
    store.commit(&[changes], Timestamp(0)).await.unwrap();
}

async fn check(events: Vec<Event>) {
    let store = Arc::new(MemoryStore::new());
    let mut tables = home(&store).tables(&"s".into(), &[spec("t", None)]);
    // As of the last commit, of the last call that succeeded, and now; and the changes of chunks on their way.
    let (mut committed, mut kept, mut now) = (Map::new(), Map::new(), Map::new());
    let mut in_flight: VecDeque<(Vec<StateChange>, Map)> = VecDeque::new();
    for event in events {
        match event {
            Event::Put(key, value) => {
                let value = Bytes::from(vec![value]);
                tables.write(0, &bytes(key), Some(&value)).unwrap();
                now.insert(bytes(key), value);
            }
            Event::Delete(key) => {
                tables.write(0, &bytes(key), None).unwrap();
                now.remove(&bytes(key));
            }
            Event::Get(key) => {
                let key = bytes(key);
                if tables.find(0, &key).unwrap().is_none() {
                    tables.load(0, vec![key.clone()]).await.unwrap();
                }
                assert_eq!(tables.find(0, &key).unwrap().unwrap(), now.get(&key));
            }
            Event::Scan(at, after, max) => {
                let prefix = if at == 5 { vec![] } else { vec![b'k', at] };
                let after = after.map(bytes);
                let scanned = tables.scan(0, &prefix, after.as_deref(), max).await.unwrap();
                let within = now.iter().filter(|(key, _)| key.starts_with(&prefix));
                let all: Vec<_> = within.filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after)).collect();
                let expected: Vec<_> = all.iter().take(max).map(|(k, v)| ((*k).clone(), (*v).clone())).collect();
                assert_eq!(scanned.entries, expected);
                assert!(scanned.has_more || all.len() <= max, "there is more behind them");
            }
            Event::End(true) => {
                tables.keep();
                kept = now.clone();
            }
            Event::End(false) => {
                tables.undo();
                now = kept.clone();
            }
            Event::Chunk => {
                tables.keep();
                kept = now.clone();
                in_flight.push_back((tables.take_changes(), kept.clone()));
            }
            Event::Commit => {
                if let Some((changes, after)) = in_flight.pop_front() {
                    commit(&store, changes).await;
                    tables.committed();
                    committed = after;
                }
            }
            Event::Restart => {
                in_flight.clear();
                tables = home(&store).tables(&"s".into(), &[spec("t", None)]);
                (kept, now) = (committed.clone(), committed.clone());
            }
        }
    }
}

proptest! {
    #[test]
    fn tables_are_what_was_written_and_kept(events in events()) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(check(events));
    }
}

#[tokio::test]
async fn what_is_over_goes_from_the_store_in_time() {
    const TTL_MS: i64 = 1_000;
    let store = Arc::new(MemoryStore::new());
    let mut tables = home(&store).tables(&"s".into(), &[spec("t", Some(TTL_MS as u64))]);
    let id = home(&store).id(&"s".into(), &"t".into());
    for time in 0..20_000_i64 {
        let written = Bytes::copy_from_slice(&(time.cast_unsigned() ^ 1 << 63).to_be_bytes());
        let key = Bytes::from(time.wrapping_mul(0x9e37_79b9).to_le_bytes().to_vec());
        tables.write(0, &key, Some(&written)).unwrap();
        tables.keep();
        if time % 100 == 0 {
            tables.sweep(Timestamp(time)).await.unwrap();
            commit(&store, tables.take_changes()).await;
            tables.committed();
        }
    }
    let left = store.state_scan(&id, &[], None, 100_000, usize::MAX).await.unwrap().entries;
    assert!(left.len() < 3_000, "{} entries are left, of which {TTL_MS} live", left.len());
    let lives = |(_, value): &&(Bytes, Bytes)| !is_over(value, TTL_MS as u64, Timestamp(19_999));
    assert!(left.iter().filter(lives).count() >= 900, "entries are gone before their time");
}

#[tokio::test]
async fn what_may_not_be_is_said() {
    let mut tables = home(&Arc::default()).tables(&"s".into(), &[spec("t", None)]);
    let long = tables.write(0, &[0; STATE_KEY_BYTES_MAX + 1], None).unwrap_err();
    assert_eq!(long.to_string(), "it uses a key of 32769 bytes in a table: at most 32768 are allowed");
    let large = tables.write(0, &bytes(1), Some(&vec![0; VALUE_BYTES_MAX + 1])).unwrap_err();
    assert!(large.to_string().starts_with("it uses a value of 16777217 bytes"), "{large}");
    let other = tables.find(1, b"k").unwrap_err();
    assert_eq!(other.to_string(), "it names table 1, but 1 was described, which can be used once init has returned");
}

#[tokio::test]
async fn what_a_call_writes_is_bounded() {
    let mut tables = home(&Arc::default()).tables(&"s".into(), &[spec("t", None)]);
    let write = |tables: &mut Tables, len| tables.write(0, &bytes(1), Some(&vec![0; len]));
    tables.allow(1_000);
    write(&mut tables, 400).unwrap();
    // The same entry again: what it replaces is kept until the call has ended.
    write(&mut tables, 400).unwrap();
    let refused = write(&mut tables, 400).unwrap_err();
    assert_eq!(refused.to_string(), "it writes more than 1000 bytes to its tables in one call");
    tables.undo();
    tables.allow(1_000);
    write(&mut tables, 900).unwrap();
}

#[tokio::test]
async fn large_entries_are_read_in_pages() {
    let store = Arc::new(MemoryStore::new());
    let value = || Some(Bytes::from(vec![7; 1 << 20]));
    let mut tables = home(&store).tables(&"s".into(), &[spec("t", Some(1_000))]);
    (0..100).for_each(|key| tables.write(0, &bytes(key), value().as_deref()).unwrap());
    commit(&store, tables.take_changes()).await;
    let mut tables = home(&store).tables(&"s".into(), &[spec("t", Some(1_000))]);
    let scanned = tables.scan(0, &[], None, 100).await.unwrap();
    assert!(scanned.has_more && scanned.entries.len() <= 2, "{} of 1 MiB each", scanned.entries.len());
    assert_eq!(tables.load(0, (0..60).map(bytes).collect()).await.unwrap().len(), 60);
    assert_eq!(tables.load(0, (0..100).map(bytes).collect()).await.unwrap_err(), Misuse::AsksTooMuch);
}

/// What is committed may go from memory, in whatever order it is used; what is not stays.
#[tokio::test]
async fn memory_is_bounded_and_forgets_nothing() {
    let store = Arc::new(MemoryStore::new());
    let mut tables = home(&store).tables(&"s".into(), &[spec("t", None)]);
    tables.kept_bytes_max = 10_000;
    let key = |n: u32| Bytes::from(n.to_be_bytes().to_vec());
    for round in 0..20_u32 {
        for n in 0..100_u32 {
            let at = (n * 37 + round * 11) % 400;
            let known = tables.find(0, &key(at)).unwrap().map(Option::<&Bytes>::cloned);
            let before = match known {
                Some(known) => known,
                None => tables.load(0, vec![key(at)]).await.unwrap().remove(0),
            };
            let before = before.map_or(0, |value| value[0]);
            tables.write(0, &key(at), Some(&[before + 1; 40])).unwrap();
        }
        tables.keep();
        commit(&store, tables.take_changes()).await;
        tables.committed();
        assert!(tables.bytes <= 10_000, "{} bytes are kept", tables.bytes);
    }
    let mut counted = 0;
    for n in 0..400 {
        let found = tables.load(0, vec![key(n)]).await.unwrap().remove(0);
        counted += found.map_or(0, |value| u32::from(value[0]));
    }
    assert_eq!(counted, 2_000);
}
