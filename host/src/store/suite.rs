//! What every store must do: the same tests run over each of them.

use bytes::Bytes;

use super::{Append, Bounds, Changes, Entries, Error, PositionKey, Retention, StateChange, Store, StreamSpec, TableId};
use crate::record::{Batch, Offset, Partition, Position, Record, Timestamp};

/// No bound.
pub const ALL: usize = usize::MAX;

/// Makes the tests of this file for a store. The expression gives the store and something that lives as long.
macro_rules! store_tests {
    ($store:expr) => {
        $crate::store::suite::store_tests!(
            $store,
            appended_records_are_read_with_their_offsets,
            a_read_may_begin_within_a_batch,
            a_read_ends_once_it_has_passed_its_bytes,
            a_place_that_does_not_exist_is_an_error,
            a_refused_group_changes_nothing,
            too_large_state_is_refused,
            streams_keep_their_partitions,
            positions_are_kept,
            state_is_kept_and_scanned,
            a_snapshot_stays_as_it_was,
            the_last_change_of_a_key_holds,
            tables_do_not_see_each_other,
            trim_by_age,
            trim_by_bytes_until_there_is_room,
            trim_never_passes_unread_records,
            offsets_go_on_after_everything_was_trimmed,
            compaction_keeps_the_newest_of_each_key,
            compaction_never_passes_unread_records,
            compaction_comes_before_retention,
            whatever_is_compacted_the_table_is_the_same
        );
    };
    ($store:expr, $($name:ident),*) => {
        $(
            #[tokio::test]
            async fn $name() {
                let (store, _guard) = $store.await;
                $crate::store::suite::$name(store).await;
            }
        )*
    };
}
pub(crate) use store_tests;

pub const P0: Partition = Partition(0);

/// A retention that lets nothing go.
pub const KEEP: Retention = Retention { age_ms: None, bytes_max: u64::MAX, compact: false };

/// A retention that keeps the newest of each key.
pub const COMPACT: Retention = Retention { compact: true, ..KEEP };

pub fn spec(name: &str, partitions: u32, retention: Retention) -> StreamSpec {
    StreamSpec { name: name.into(), partitions, retention }
}

/// Makes a stream that keeps everything.
pub async fn with_stream<S: Store>(store: S, name: &str, partitions: u32) -> S {
    store.create_stream(&spec(name, partitions, KEEP)).await.unwrap();
    store
}

pub fn batch(values: &[&str]) -> Batch {
    let mut batch = Batch::default();
    for (n, value) in values.iter().enumerate() {
        batch.push(&Record::of(value.as_bytes(), Timestamp(n as i64)));
    }
    batch
}

pub fn append(stream: &str, partition: u32, values: &[&str]) -> Changes {
    let append = Append { stream: stream.into(), partition: Partition(partition), records: batch(values) };
    Changes { appends: vec![append], ..Changes::default() }
}

/// Records with keys; without a value it is a tombstone.
pub fn keyed(stream: &str, partition: u32, records: &[(&str, Option<&str>)]) -> Changes {
    let mut batch = Batch::default();
    for (key, value) in records {
        let key = (!key.is_empty()).then_some(key.as_bytes());
        batch.push(&Record { key, value: value.map(str::as_bytes), ..Record::of(b"", Timestamp(0)) });
    }
    let append = Append { stream: stream.into(), partition: Partition(partition), records: batch };
    Changes { appends: vec![append], ..Changes::default() }
}

pub fn position_key(owner: &str, input: &str, partition: u32) -> PositionKey {
    PositionKey { owner: owner.into(), input: input.into(), partition: Partition(partition) }
}

pub fn table(name: &str, partition: u32) -> TableId {
    TableId { pipeline: "p".into(), step: "s".into(), table: name.into(), partition: Partition(partition) }
}

pub fn state(table: &TableId, key: &str, value: Option<&str>) -> StateChange {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    StateChange { table: table.clone(), key: bytes(key), value: value.map(bytes) }
}

/// The values and offsets of a batch.
pub fn values(batch: &Batch) -> Vec<(u64, String)> {
    let text = |record: Record<'_>| String::from_utf8(record.value.unwrap().to_vec()).unwrap();
    batch.iter().map(|record| (record.offset.0, text(record))).collect()
}

async fn commit(store: &impl Store, changes: Changes) {
    store.commit(&[changes], Timestamp(0)).await.unwrap();
}

async fn read(store: &impl Store, from: u64, bytes_max: usize) -> Vec<(u64, String)> {
    values(&store.read("s", P0, Offset(from), bytes_max).await.unwrap())
}

fn numbered(values: &[&str], from: u64) -> Vec<(u64, String)> {
    values.iter().zip(from..).map(|(value, offset)| (offset, (*value).to_owned())).collect()
}

pub async fn appended_records_are_read_with_their_offsets(store: impl Store) {
    let store = with_stream(store, "s", 2).await;
    assert_eq!(read(&store, 0, 1000).await, []);
    let group = [append("s", 0, &["a", "b"]), append("s", 1, &["x"]), append("s", 0, &["c"])];
    let appended = store.commit(&group, Timestamp(0)).await.unwrap();
    let ends: Vec<_> = appended.iter().map(|a| (a.stream.to_string(), a.partition, a.bounds.end)).collect();
    assert_eq!(ends, [("s".into(), P0, Offset(3)), ("s".into(), Partition(1), Offset(1))]);
    commit(&store, append("s", 0, &["d"])).await;
    assert_eq!(read(&store, 0, 1_000_000).await, numbered(&["a", "b", "c", "d"], 0));
    assert_eq!(values(&store.read("s", Partition(1), Offset(0), 1).await.unwrap()), numbered(&["x"], 0));
    assert_eq!(read(&store, 4, 1000).await, [], "the end is empty");
    assert_eq!(store.bounds("s", P0).await.unwrap(), appended_bounds(&store).await);
}

async fn appended_bounds(store: &impl Store) -> Bounds {
    let all = store.read("s", P0, Offset(0), 1_000_000).await.unwrap();
    // Two stored batches, each with eight bytes before its columns.
    Bounds { start: Offset(0), end: Offset(all.len() as u64), bytes: all.bytes() as u64 + 16 }
}

pub async fn a_read_may_begin_within_a_batch(store: impl Store) {
    let store = with_stream(store, "s", 1).await;
    commit(&store, append("s", 0, &["a", "b", "c"])).await;
    commit(&store, append("s", 0, &["d", "e"])).await;
    for from in 0..5 {
        assert_eq!(read(&store, from, 1_000_000).await, numbered(&["a", "b", "c", "d", "e"][from as usize..], from));
    }
}

pub async fn a_read_ends_once_it_has_passed_its_bytes(store: impl Store) {
    let store = with_stream(store, "s", 1).await;
    for value in ["a", "b", "c"] {
        commit(&store, append("s", 0, &[value])).await;
    }
    assert_eq!(read(&store, 0, 0).await, numbered(&["a"], 0), "at least one record");
    let one = batch(&["a"]).bytes();
    assert_eq!(read(&store, 0, one).await, numbered(&["a"], 0));
    assert_eq!(read(&store, 0, one + 1).await, numbered(&["a", "b"], 0));
    assert_eq!(read(&store, 1, 10 * one).await, numbered(&["b", "c"], 1));
}

pub async fn a_place_that_does_not_exist_is_an_error(store: impl Store) {
    let store = with_stream(store, "s", 1).await;
    let missing = |result: Result<(), Error>| assert!(matches!(result, Err(Error::NoPartition { .. })));
    missing(store.bounds("s", Partition(1)).await.map(drop));
    missing(store.bounds("t", P0).await.map(drop));
    missing(store.read("t", P0, Offset(0), 1).await.map(drop));
    missing(store.check(&append("s", 1, &["a"])).await);
    assert_eq!(store.stream("t").await.unwrap(), None);
}

pub async fn a_refused_group_changes_nothing(store: impl Store) {
    let store = with_stream(store, "s", 1).await;
    let group = [append("s", 0, &["a"]), append("t", 0, &["b"])];
    let refused = store.commit(&group, Timestamp(0)).await.unwrap_err();
    assert!(matches!(refused, Error::NoPartition { .. }) && !refused.is_fatal());
    assert_eq!(store.bounds("s", P0).await.unwrap(), Bounds::default());
    commit(&store, append("s", 0, &["a"])).await;
    assert_eq!(read(&store, 0, 1000).await, numbered(&["a"], 0));
}

pub async fn too_large_state_is_refused(store: impl Store) {
    let key = "k".repeat(super::STATE_KEY_BYTES_MAX);
    let largest = Changes { state: vec![state(&table("t", 0), &key, Some("v"))], ..Changes::default() };
    commit(&store, largest).await;
    let got = store.state_get(&table("t", 0), &[key.clone().into()], ALL).await.unwrap();
    assert_eq!(got, [Some(Bytes::from("v"))]);
    let larger = Changes { state: vec![state(&table("t", 0), &(key + "k"), None)], ..Changes::default() };
    assert!(matches!(store.check(&larger).await, Err(Error::TooLarge { .. })));
    assert!(matches!(store.commit(&[larger], Timestamp(0)).await, Err(Error::TooLarge { .. })));
}

pub async fn streams_keep_their_partitions(store: impl Store) {
    let store = with_stream(store, "s", 2).await;
    commit(&store, append("s", 1, &["a"])).await;
    let retention = Retention { age_ms: Some(5), bytes_max: 7, compact: false };
    store.create_stream(&spec("s", 1, retention)).await.unwrap();
    assert_eq!(store.streams().await.unwrap(), [spec("s", 2, retention)]);
    store.create_stream(&spec("s", 3, KEEP)).await.unwrap();
    store.create_stream(&spec("a", 1, KEEP)).await.unwrap();
    assert_eq!(store.streams().await.unwrap(), [spec("a", 1, KEEP), spec("s", 3, KEEP)]);
    assert_eq!(store.stream("s").await.unwrap(), Some(spec("s", 3, KEEP)));
    assert_eq!(store.bounds("s", Partition(1)).await.unwrap().end, Offset(1));
    commit(&store, append("s", 2, &["b"])).await;
}

pub async fn positions_are_kept(store: impl Store) {
    let (a, b) = (position_key("a", "in/put", 1), position_key("a", "in", 300));
    assert_eq!(store.position(&a).await.unwrap(), None);
    let first = Changes {
        positions: vec![(a.clone(), Position(vec![1])), (b.clone(), Position(vec![]))],
        ..Default::default()
    };
    let second = Changes { positions: vec![(a.clone(), Position(vec![2; 100]))], ..Default::default() };
    store.commit(&[first, second], Timestamp(0)).await.unwrap();
    assert_eq!(store.position(&a).await.unwrap(), Some(Position(vec![2; 100])));
    let all = [(b, Position(vec![])), (a, Position(vec![2; 100]))];
    assert_eq!(store.positions().await.unwrap(), all);
}

pub async fn state_is_kept_and_scanned(store: impl Store) {
    let table = table("t", 0);
    let set = ["a1", "a2", "a3", "b", ""].map(|key| state(&table, key, Some(key)));
    commit(&store, Changes { state: set.to_vec(), ..Changes::default() }).await;
    let keys = ["b", "x", ""].map(Bytes::from);
    let got = store.state_get(&table, &keys, ALL).await.unwrap();
    assert_eq!(got, [Some(Bytes::from("b")), None, Some(Bytes::from(""))]);
    let scan = async |prefix: &str, after: Option<&str>, limit| {
        let found = store.state_scan(&table, prefix.as_bytes(), after.map(str::as_bytes), limit, ALL).await.unwrap();
        found.entries.into_iter().map(|(key, _)| String::from_utf8(key.to_vec()).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(scan("a", None, 10).await, ["a1", "a2", "a3"]);
    assert_eq!(scan("a", None, 2).await, ["a1", "a2"]);
    assert_eq!(scan("a", Some("a1"), 10).await, ["a2", "a3"]);
    assert_eq!(scan("b", Some("a1"), 10).await, ["b"]);
    assert_eq!(scan("a", Some("b"), 10).await, [""; 0]);
    assert_eq!(scan("", None, 10).await, ["", "a1", "a2", "a3", "b"]);
    assert_eq!(scan("c", None, 10).await, [""; 0]);
    // What passes the bound is the last.
    let page = |limit, bytes_max| store.state_scan(&table, b"a", None, limit, bytes_max);
    for (limit, bytes_max, entries, has_more) in
        [(3, ALL, 3, false), (2, ALL, 2, true), (9, 0, 1, true), (9, 4, 2, true), (9, 12, 3, false)]
    {
        let page = page(limit, bytes_max).await.unwrap();
        assert_eq!((page.entries.len(), page.has_more), (entries, has_more), "{limit} {bytes_max}");
    }
    assert_eq!(store.state_get(&table, &keys, 0).await.unwrap(), [Some(Bytes::from("b"))]);
}

pub async fn a_snapshot_stays_as_it_was(store: impl Store) {
    let table = table("t", 0);
    let change = |value: &str, position| Changes {
        state: vec![state(&table, "k", Some(value))],
        positions: vec![(position_key("a", "in", 0), Position(vec![position]))],
        ..Changes::default()
    };
    commit(&store, change("1", 1)).await;
    let before = store.snapshot().await.unwrap();
    commit(&store, change("2", 2)).await;
    let values = |of: &super::Entries| of.entries.iter().map(|(_, value)| value.clone()).collect::<Vec<_>>();
    for (snapshot, value, position) in [(before, "1", 1), (store.snapshot().await.unwrap(), "2", 2)] {
        let found = snapshot.state_scan(&table, b"", None, 9, ALL).await.unwrap();
        assert_eq!(values(&found), [Bytes::from(value)]);
        assert_eq!(snapshot.state_get(&table, &["k".into()], ALL).await.unwrap(), [Some(Bytes::from(value))]);
        assert_eq!(snapshot.positions().await.unwrap(), [(position_key("a", "in", 0), Position(vec![position]))]);
        assert_eq!(snapshot.tables().await.unwrap(), std::slice::from_ref(&table));
    }
}

pub async fn the_last_change_of_a_key_holds(store: impl Store) {
    let table = table("t", 0);
    let changes = |values: &[Option<&str>]| Changes {
        state: values.iter().map(|value| state(&table, "k", *value)).collect(),
        ..Changes::default()
    };
    let group = [changes(&[Some("1"), None]), changes(&[Some("2"), Some("3")])];
    store.commit(&group, Timestamp(0)).await.unwrap();
    assert_eq!(store.state_get(&table, &["k".into()], ALL).await.unwrap(), [Some(Bytes::from("3"))]);
    commit(&store, changes(&[Some("4"), None])).await;
    assert_eq!(store.state_get(&table, &["k".into()], ALL).await.unwrap(), [None]);
    assert_eq!(store.state_scan(&table, b"", None, 9, ALL).await.unwrap(), Entries::default());
}

pub async fn tables_do_not_see_each_other(store: impl Store) {
    let tables = [table("t", 0), table("t", 1), table("u", 0)];
    let set = tables.iter().map(|table| state(table, "k", Some(&table.partition.to_string()))).collect();
    commit(&store, Changes { state: set, ..Changes::default() }).await;
    for table in &tables {
        let found = store.state_scan(table, b"", None, 9, ALL).await.unwrap();
        assert_eq!(found.entries, [(Bytes::from("k"), Bytes::from(table.partition.to_string()))]);
    }
    assert_eq!(store.state_scan(&table("v", 0), b"", None, 9, ALL).await.unwrap(), Entries::default());
}

pub async fn trim_by_age(store: impl Store) {
    let retention = Retention { age_ms: Some(100), bytes_max: u64::MAX, compact: false };
    store.create_stream(&spec("s", 1, retention)).await.unwrap();
    for at in [0, 50, 100] {
        store.commit(&[append("s", 0, &["a", "b"])], Timestamp(at)).await.unwrap();
    }
    assert_eq!(store.trim(Timestamp(100), &|_, _| None).await.unwrap(), [], "as old as is allowed");
    let trimmed = store.trim(Timestamp(151), &|_, _| None).await.unwrap();
    assert_eq!(trimmed.iter().map(|a| a.bounds.start).collect::<Vec<_>>(), [Offset(4)]);
    assert_eq!(store.bounds("s", P0).await.unwrap(), trimmed[0].bounds);
    assert!(matches!(
        store.read("s", P0, Offset(3), 1).await,
        Err(Error::Trimmed { wanted: Offset(3), start: Offset(4), .. })
    ));
    assert_eq!(read(&store, 4, 1000).await, numbered(&["a", "b"], 4));
    assert_eq!(store.trim(Timestamp(-5), &|_, _| None).await.unwrap(), [], "a clock that was set back lets nothing go");
}

pub async fn trim_by_bytes_until_there_is_room(store: impl Store) {
    let one = batch(&["a"]).encode().len() as u64;
    let retention = Retention { age_ms: None, bytes_max: 3 * one, compact: false };
    store.create_stream(&spec("s", 2, retention)).await.unwrap();
    let full = async |partition| store.bounds("s", partition).await.unwrap().is_full(&retention);
    for n in 0..5 {
        assert_eq!(full(P0).await, n >= 3);
        commit(&store, append("s", 0, &["a"])).await;
    }
    commit(&store, append("s", 1, &["a"])).await;
    let trimmed = store.trim(Timestamp(0), &|_, _| None).await.unwrap();
    let expected = Bounds { start: Offset(3), end: Offset(5), bytes: 2 * one };
    assert_eq!(trimmed.iter().map(|a| (a.partition, a.bounds)).collect::<Vec<_>>(), [(P0, expected)]);
    assert!(!full(P0).await, "a trimmed partition has room");
}

pub async fn trim_never_passes_unread_records(store: impl Store) {
    let retention = Retention { age_ms: Some(1), bytes_max: 1, compact: false };
    store.create_stream(&spec("s", 1, retention)).await.unwrap();
    for _ in 0..3 {
        commit(&store, append("s", 0, &["a", "b"])).await;
    }
    let start = async |unread| {
        store.trim(Timestamp(1000), &|stream, _| (stream == "s").then_some(Offset(unread))).await.unwrap();
        store.bounds("s", P0).await.unwrap().start.0
    };
    assert_eq!(start(0).await, 0);
    assert_eq!(start(3).await, 2, "a batch goes as a whole or not at all");
    assert_eq!(start(4).await, 4);
    assert_eq!(start(6).await, 6);
}

pub async fn offsets_go_on_after_everything_was_trimmed(store: impl Store) {
    let retention = Retention { age_ms: None, bytes_max: 1, compact: false };
    store.create_stream(&spec("s", 1, retention)).await.unwrap();
    commit(&store, append("s", 0, &["a", "b"])).await;
    store.trim(Timestamp(0), &|_, _| None).await.unwrap();
    let empty = Bounds { start: Offset(2), end: Offset(2), bytes: 0 };
    assert_eq!(store.bounds("s", P0).await.unwrap(), empty);
    assert!(!empty.is_full(&retention));
    assert_eq!(read(&store, 2, 1000).await, []);
    commit(&store, append("s", 0, &["c"])).await;
    assert_eq!(read(&store, 2, 1000).await, numbered(&["c"], 2));
}

pub async fn compaction_keeps_the_newest_of_each_key(store: impl Store) {
    store.create_stream(&spec("s", 2, COMPACT)).await.unwrap();
    store.create_stream(&spec("kept", 1, KEEP)).await.unwrap();
    assert_eq!(store.compact(0, &|_, _| None).await.unwrap(), []);
    let records =
        [("a", Some("0")), ("b", Some("1")), ("", Some("2")), ("a", Some("3")), ("b", None), ("c", Some("5"))];
    for record in records {
        commit(&store, keyed("s", 0, &[record])).await;
        commit(&store, keyed("kept", 0, &[("a", record.1)])).await;
    }
    let before = store.bounds("s", P0).await.unwrap();
    assert_eq!(store.compact(before.bytes, &|_, _| None).await.unwrap(), [], "not worth it: the newest does not count");
    commit(&store, keyed("s", 0, &[("a", Some("6")), ("a", Some("7"))])).await;
    let compacted = store.compact(before.bytes, &|_, _| None).await.unwrap();
    assert_eq!(compacted.iter().map(|a| (&*a.stream, a.partition)).collect::<Vec<_>>(), [("s", P0)]);
    let bounds = store.bounds("s", P0).await.unwrap();
    assert_eq!((bounds, bounds.start, bounds.end), (compacted[0].bounds, Offset(0), Offset(8)));
    assert!(bounds.bytes < before.bytes);
    let left = ["2", "3", "5", "6", "7"].map(|value| (value.parse().unwrap(), value.to_owned()));
    for from in 0..8 {
        let expected: Vec<_> = left.iter().filter(|(offset, _)| *offset >= from).cloned().collect();
        assert_eq!(read(&store, from, ALL).await, expected);
        assert_eq!(read(&store, from, 0).await.first(), expected.first(), "a read gives something");
    }
    assert_eq!(store.compact(1, &|_, _| None).await.unwrap(), [], "the same again is worth nothing");
    assert_eq!(store.read("kept", P0, Offset(0), ALL).await.unwrap().len(), 6);
}

pub async fn compaction_never_passes_unread_records(store: impl Store) {
    store.create_stream(&spec("s", 1, COMPACT)).await.unwrap();
    for _ in 0..4 {
        commit(&store, keyed("s", 0, &[("a", Some("x")), ("a", Some("y"))])).await;
    }
    let left = async |unread: u64| {
        store.compact(1, &|_, _| Some(Offset(unread))).await.unwrap();
        read(&store, 0, ALL).await.into_iter().map(|(offset, _)| offset).collect::<Vec<_>>()
    };
    assert_eq!(left(0).await, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(left(3).await, [1, 2, 3, 4, 5, 6, 7], "a batch of which something is unread is left alone");
    assert_eq!(left(8).await, [5, 6, 7], "and so is the newest");
}

pub async fn compaction_comes_before_retention(store: impl Store) {
    let value = "x".repeat(100);
    let rows: Vec<String> = (0..10).map(|n| format!("row {n}")).collect();
    let rows: Vec<_> = rows.iter().map(|key| (key.as_str(), Some(value.as_str()))).collect();
    let one = keyed("s", 0, &rows[..1]).appends[0].records.encode().len() as u64;
    store.create_stream(&spec("s", 1, Retention { bytes_max: 15 * one, ..COMPACT })).await.unwrap();
    for row in &rows {
        commit(&store, keyed("s", 0, &[*row])).await;
    }
    commit(&store, keyed("s", 0, &rows[..1])).await;
    store.compact(1, &|_, _| None).await.unwrap();
    // One row changes all the time: there is never as much new as old, but there is not much room either.
    for _ in 0..50 {
        commit(&store, keyed("s", 0, &rows[..1])).await;
        store.compact(1, &|_, _| None).await.unwrap();
        store.trim(Timestamp(0), &|_, _| None).await.unwrap();
    }
    let batch = store.read("s", P0, Offset(0), ALL).await.unwrap();
    let keys: std::collections::BTreeSet<_> = batch.iter().map(|record| record.key.unwrap().to_vec()).collect();
    assert_eq!(keys.len(), 10, "no row is lost");
}

pub async fn whatever_is_compacted_the_table_is_the_same(store: impl Store) {
    // Numbers that follow from each other (xorshift).
    let mut state = 88_172_645_463_325_252u64;
    let mut below = |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % n
    };
    store.create_stream(&spec("s", 1, COMPACT)).await.unwrap();
    let (mut all, mut compactions) = (Vec::<(String, Option<String>)>::new(), 0);
    for _ in 0..150 {
        let records: Vec<(String, Option<String>)> = (0..1 + below(6))
            .map(|n| {
                let key = if below(9) == 0 { String::new() } else { format!("k{}", below(7)) };
                (key, (below(4) > 0).then(|| format!("{}", all.len() as u64 + n)))
            })
            .collect();
        let given: Vec<_> = records.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        commit(&store, keyed("s", 0, &given)).await;
        all.extend(records);
        let unread = (below(2) == 0).then(|| Offset(below(all.len() as u64 + 1)));
        if below(3) > 0 {
            compactions += store.compact(1, &|_, _| unread).await.unwrap().len();
        }
        let batch = store.read("s", P0, Offset(0), ALL).await.unwrap();
        let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
        let (mut table, mut expected) = (std::collections::BTreeMap::new(), std::collections::BTreeMap::new());
        let mut before = None;
        for record in batch.iter() {
            let key = text(record.key).unwrap_or_default();
            assert!(before < Some(record.offset), "offsets ascend");
            before = Some(record.offset);
            assert_eq!((&key, &text(record.value)), {
                let (key, value) = &all[record.offset.0 as usize];
                (key, value)
            });
            table.insert(key, text(record.value));
        }
        all.iter().for_each(|(key, value)| drop(expected.insert(key.clone(), value.clone())));
        table.retain(|key, value| !key.is_empty() && value.is_some());
        expected.retain(|key, value| !key.is_empty() && value.is_some());
        assert_eq!(table, expected);
        let keyless = |values: &[(String, Option<String>)]| values.iter().filter(|(key, _)| key.is_empty()).count();
        assert_eq!(batch.iter().filter(|record| record.key.is_none()).count(), keyless(&all));
    }
    assert!(compactions > 10, "{compactions}");
    store.compact(1, &|_, _| None).await.unwrap();
    assert!(store.read("s", P0, Offset(0), ALL).await.unwrap().len() < all.len() / 2);
}
