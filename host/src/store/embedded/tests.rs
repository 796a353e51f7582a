//! Tests of the embedded store: the suite of all stores, and what only one on disk can show.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::record::Record;
use crate::store::compaction::Compacted;
use crate::store::log::Stored;
use crate::store::memory::MemoryStore;
use crate::store::suite::{self, ALL, KEEP, P0, append, batch, position_key, spec, state, table, values};
use crate::store::{Append, Retention};

async fn fresh() -> (EmbeddedStore, TempDir) {
    let data = tempfile::tempdir().unwrap();
    (EmbeddedStore::open(data.path()).unwrap(), data)
}

suite::store_tests!(fresh());

/// The same store, which forgets before each read what it holds in memory.
mod from_disk {
    use super::*;

    suite::store_tests!(async {
        let (store, data) = fresh().await;
        (Forgetful(store), data)
    });
}

struct Forgetful(EmbeddedStore);

impl EmbeddedStore {
    fn forget_tail(&self) {
        *self.0.tail() = Tail::default();
    }

    /// Writes all memtables to their files.
    fn flush(&self) {
        let Engine { streams, positions, state, meta, .. } = &self.0.engine;
        for keyspace in [streams, positions, state, meta] {
            keyspace.rotate_memtable_and_wait().unwrap();
        }
    }
}

#[async_trait]
impl Store for Forgetful {
    fn id(&self) -> String {
        self.0.id()
    }

    async fn create_stream(&self, spec: &StreamSpec) -> Result<(), Error> {
        self.0.create_stream(spec).await
    }
    async fn streams(&self) -> Result<Vec<StreamSpec>, Error> {
        self.0.streams().await
    }
    async fn stream(&self, name: &str) -> Result<Option<StreamSpec>, Error> {
        self.0.stream(name).await
    }
    async fn bounds(&self, stream: &str, partition: Partition) -> Result<Bounds, Error> {
        self.0.bounds(stream, partition).await
    }
    async fn read(&self, stream: &str, partition: Partition, from: Offset, bytes_max: usize) -> Result<Batch, Error> {
        self.0.forget_tail();
        self.0.flush();
        self.0.read(stream, partition, from, bytes_max).await
    }
    async fn position(&self, key: &PositionKey) -> Result<Option<Position>, Error> {
        self.0.flush();
        self.0.position(key).await
    }
    async fn positions(&self) -> Result<Vec<(PositionKey, Position)>, Error> {
        self.0.positions().await
    }
    async fn state_get(&self, table: &TableId, keys: &[Bytes], bytes_max: usize) -> Result<Vec<Option<Bytes>>, Error> {
        self.0.flush();
        self.0.state_get(table, keys, bytes_max).await
    }
    async fn state_scan(
        &self,
        table: &TableId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Entries, Error> {
        self.0.state_scan(table, prefix, after, limit, bytes_max).await
    }
    async fn disk_use(&self) -> Result<DiskUse, Error> {
        self.0.disk_use().await
    }
    async fn snapshot(&self) -> Result<Arc<dyn Snapshot>, Error> {
        self.0.snapshot().await
    }
    async fn check(&self, changes: &Changes) -> Result<(), Error> {
        self.0.check(changes).await
    }
    async fn commit(&self, group: &[Changes], now: Timestamp) -> Result<Vec<Appended>, Error> {
        self.0.commit(group, now).await
    }
    async fn trim(
        &self,
        now: Timestamp,
        unread: &(dyn for<'a> Fn(&'a str, Partition) -> Option<Offset> + Sync),
    ) -> Result<Vec<Appended>, Error> {
        self.0.trim(now, unread).await
    }
    async fn compact(
        &self,
        new_bytes_min: u64,
        unread: &(dyn for<'a> Fn(&'a str, Partition) -> Option<Offset> + Sync),
    ) -> Result<Vec<Appended>, Error> {
        self.0.flush();
        self.0.compact(new_bytes_min, unread).await
    }
}

/// What may be asked of a store.
#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Changes>),
    Read { partition: u32, from: u64, bytes_max: usize },
    Trim { now: i64, unread: Option<u64> },
    Scan { prefix: String, after: Option<String>, limit: usize },
    Partitions(u32),
    Flush,
    Reopen,
}

fn changes() -> impl Strategy<Value = Changes> {
    let value = prop_oneof![8 => "[a-c]{0,4}", 1 => "[a-z]{3000,9000}"];
    let append = (0u32..2, proptest::collection::vec(value, 0..5)).prop_map(|(partition, values)| Append {
        stream: "s".into(),
        partition: Partition(partition),
        records: batch(&values.iter().map(String::as_str).collect::<Vec<_>>()),
    });
    let state_change = ("[ab]{0,2}", proptest::option::of("[a-z]{0,3}"), 0u32..2)
        .prop_map(|(key, value, partition)| state(&table("t", partition), &key, value.as_deref()));
    let position =
        (0u32..3, any::<u8>()).prop_map(|(partition, at)| (position_key("p", "in", partition), Position(vec![at])));
    let vec = |len| 0..len;
    (
        proptest::collection::vec(append, vec(3)),
        proptest::collection::vec(state_change, vec(4)),
        proptest::collection::vec(position, vec(3)),
    )
        .prop_map(|(appends, state, positions)| Changes { positions, appends, state })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => proptest::collection::vec(changes(), 1..4).prop_map(Step::Commit),
        6 => (0u32..3, 0u64..40, 0usize..2000).prop_map(|(partition, from, bytes_max)| Step::Read { partition, from, bytes_max }),
        2 => (0i64..50, proptest::option::of(0u64..40)).prop_map(|(now, unread)| Step::Trim { now, unread }),
        2 => ("[ab]{0,2}", proptest::option::of("[ab]{0,2}"), 0usize..4)
            .prop_map(|(prefix, after, limit)| Step::Scan { prefix, after, limit }),
        1 => (1u32..4).prop_map(Step::Partitions),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ]
}

const SMALL: Retention = Retention { age_ms: Some(10), bytes_max: 400, compact: false };

/// Does a step that every store can do, and tells all that it answered.
async fn answer(store: &dyn Store, step: &Step, now: i64) -> String {
    let shown = |answer: &dyn std::fmt::Debug| format!("{answer:?}");
    match step {
        Step::Commit(group) => shown(&store.commit(group, Timestamp(now)).await),
        Step::Read { partition, from, bytes_max } => {
            shown(&store.read("s", Partition(*partition), Offset(*from), *bytes_max).await)
        }
        Step::Trim { now, unread } => shown(&store.trim(Timestamp(*now), &|_, _| unread.map(Offset)).await),
        Step::Scan { prefix, after, limit } => {
            let after = after.as_deref().map(str::as_bytes);
            let scanned = store.state_scan(&table("t", 0), prefix.as_bytes(), after, *limit, limit * 2).await;
            let keys = [Bytes::from("a"), Bytes::from("b"), Bytes::from("")];
            shown(&(scanned, store.state_get(&table("t", 1), &keys, *limit).await, store.positions().await))
        }
        Step::Partitions(partitions) => {
            let created = store.create_stream(&spec("s", *partitions, SMALL)).await;
            shown(&(created, store.streams().await, store.bounds("s", P0).await))
        }
        Step::Flush | Step::Reopen => String::new(),
    }
}

async fn compare(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let memory = suite::with_stream(MemoryStore::new(), "s", 2).await;
    let (mut embedded, data) = fresh().await;
    embedded.create_stream(&spec("s", 2, KEEP)).await.unwrap();
    for (now, step) in (0..).zip(&steps) {
        match step {
            Step::Flush => embedded.flush(),
            Step::Reopen => {
                drop(embedded);
                embedded = EmbeddedStore::open(data.path()).unwrap();
            }
            step => {
                let expected = answer(&memory, step, now).await;
                prop_assert_eq!(answer(&embedded, step, now).await, expected, "step {}: {:?}", now, step);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The store on disk and the one in memory give the same answers to everything.
    #[test]
    fn it_answers_as_the_store_in_memory_does(steps in proptest::collection::vec(step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(compare(steps))?;
    }
}

#[tokio::test]
async fn what_is_on_disk_is_counted() {
    let (store, _data) = fresh().await;
    let before = store.disk_use().await.unwrap();
    let state = (0..500).map(|n| state(&table("t", 0), &format!("key-{n}"), Some(&"x".repeat(n)))).collect();
    store.commit(&[Changes { state, ..Changes::default() }], Timestamp(0)).await.unwrap();
    store.flush();
    let after = store.disk_use().await.unwrap();
    assert!(before.state == 0 && after.state > 1_000 && after.all >= before.all + after.state, "{before:?} {after:?}");
}

#[tokio::test]
async fn how_far_a_partition_was_compacted_is_known_when_it_is_opened_again() {
    let data = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(data.path()).unwrap();
    store.create_stream(&spec("s", 2, suite::COMPACT)).await.unwrap();
    for _ in 0..3 {
        store.commit(&[suite::keyed("s", 1, &[("a", Some("1")), ("b", Some("2"))])], Timestamp(0)).await.unwrap();
    }
    assert_eq!(store.compact(1, &|_, _| None).await.unwrap().len(), 1);
    let before = store.0.catalog().compacted("s", Partition(1));
    assert_eq!((before.until, before.bytes > 0), (Offset(4), true));
    drop(store);
    let store = EmbeddedStore::open(data.path()).unwrap();
    assert_eq!(store.0.catalog().compacted("s", Partition(1)), before);
    assert_eq!(store.0.catalog().compacted("s", Partition(0)), Compacted::default());
    let read = store.read("s", Partition(1), Offset(0), usize::MAX).await.unwrap();
    assert_eq!(read.iter().map(|record| record.offset.0).collect::<Vec<_>>(), [2, 3, 4, 5]);
    assert_eq!(store.compact(1, &|_, _| None).await.unwrap(), [], "nothing is new");
    assert!(store.stream("s").await.unwrap().unwrap().retention.compact);
}

#[test]
fn a_piece_spans_no_more_than_can_be_counted() {
    use crate::store::compaction::{Newest, Piece};
    let stored = |base: u64, end: u64| Stored { base: Offset(base), end: Offset(end), bytes: 8, at: Timestamp(0) };
    let mut piece = Piece::default();
    assert!(piece.has_room_for(&stored(5, 6)));
    piece.take(stored(5, 6), &Batch::default(), &Newest::default());
    let last = 5 + u64::from(u32::MAX);
    assert!(piece.has_room_for(&stored(last - 1, last)) && !piece.has_room_for(&stored(last, last + 1)));
}

#[tokio::test]
async fn compaction_goes_on_beside_what_is_damaged_and_ends_where_nobody_waits_for_it() {
    let (store, _data) = fresh().await;
    for stream in ["a", "b"] {
        store.create_stream(&spec(stream, 1, suite::COMPACT)).await.unwrap();
        for _ in 0..3 {
            store.commit(&[suite::keyed(stream, 0, &[("k", Some("v"))])], Timestamp(0)).await.unwrap();
        }
    }
    let targets: Vec<_> = store.0.catalog().compactions(&|_, _| None);
    assert_eq!(store.0.compact(&targets, 1, &|| false).unwrap(), []);
    let place = store.0.catalog().place("a", P0).unwrap().0;
    let first = store.0.front("a", place, Offset(0), 1, |_| true).unwrap()[0];
    store.0.engine.streams.insert(codec::batch_key(place, &first), b"?").unwrap();
    let compacted = store.compact(1, &|_, _| None).await.unwrap();
    assert_eq!(compacted.iter().map(|appended| &*appended.stream).collect::<Vec<_>>(), ["b"]);
    let busy = store.0.compacting.lock().unwrap();
    assert_eq!(store.0.compact(&targets, 1, &|| true).unwrap(), [], "one at a time");
    drop(busy);
}

/// Batches of a megabyte are not gathered in memory: each that is large enough is put back before the next is read.
#[tokio::test]
async fn large_partitions_are_compacted_piece_by_piece() {
    let (store, _data) = fresh().await;
    store.create_stream(&spec("s", 1, suite::COMPACT)).await.unwrap();
    let large = "x".repeat(200_000);
    let key = |n: usize| format!("{}", n % 25);
    for n in 0..41 {
        let keys = [key(2 * n), key(2 * n + 1)];
        let records = keys.each_ref().map(|key| (key.as_str(), Some(large.as_str())));
        store.commit(&[suite::keyed("s", 0, &records)], Timestamp(n as i64)).await.unwrap();
    }
    let bounds = store.compact(1, &|_, _| None).await.unwrap()[0].bounds;
    assert_eq!((bounds.start, bounds.end), (Offset(0), Offset(82)));
    let read = store.read("s", P0, Offset(0), usize::MAX).await.unwrap();
    let offsets: Vec<_> = read.iter().map(|record| record.offset.0).collect();
    assert_eq!(offsets, (55..82).collect::<Vec<_>>(), "25 keys, and the newest batch");
    let place = store.0.catalog().place("s", P0).unwrap().0;
    let stored = store.0.front("s", place, Offset(0), 99, |_| true).unwrap();
    assert!((6..20).contains(&stored.len()), "{stored:?}");
    assert_eq!(stored.iter().map(|stored| stored.bytes).sum::<u64>(), bounds.bytes);
    assert!(stored.windows(2).all(|pair| pair[0].end == pair[1].base && pair[0].at < pair[1].at));
}

#[tokio::test]
async fn everything_is_there_after_it_was_closed() {
    let (store, data) = fresh().await;
    store.create_stream(&spec("s", 2, SMALL)).await.unwrap();
    let mut changes = append("s", 1, &["a", "b"]);
    changes.positions.push((position_key("p", "s", 1), Position(vec![1])));
    changes.state.push(state(&table("t", 0), "k", Some("v")));
    store.commit(&[changes], Timestamp(5)).await.unwrap();
    drop(store);
    let store = EmbeddedStore::open(data.path()).unwrap();
    assert_eq!(store.streams().await.unwrap(), [spec("s", 2, SMALL)]);
    let read = store.read("s", Partition(1), Offset(0), 1000).await.unwrap();
    assert_eq!(values(&read), [(0, "a".to_owned()), (1, "b".to_owned())]);
    assert_eq!(store.position(&position_key("p", "s", 1)).await.unwrap(), Some(Position(vec![1])));
    assert_eq!(store.state_get(&table("t", 0), &["k".into()], ALL).await.unwrap(), [Some("v".into())]);
    let later = Changes { state: vec![state(&table("u", 0), "k", Some("w"))], ..append("s", 1, &["c"]) };
    store.commit(&[later], Timestamp(6)).await.unwrap();
    assert_eq!(store.bounds("s", Partition(1)).await.unwrap().end, Offset(3));
    assert_eq!(store.state_get(&table("t", 0), &["k".into()], ALL).await.unwrap(), [Some("v".into())]);
    assert_eq!(
        store.trim(Timestamp(16), &|_, _| None).await.unwrap()[0].bounds.start,
        Offset(2),
        "the time of append is kept"
    );
}

#[tokio::test]
async fn a_second_opening_is_refused_until_the_first_is_closed() {
    let (store, data) = fresh().await;
    let Err(Error::Locked { pid, .. }) = EmbeddedStore::open(data.path()).map(drop) else { panic!("must be locked") };
    assert_eq!(pid, Some(std::process::id()));
    drop(store);
    EmbeddedStore::open(data.path()).map(drop).unwrap();
}

/// Copies a store that nobody writes to, with this many bytes of its journal; behind them it is as it was made: empty.
fn image(data: &Path, journal_bytes: usize) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for path in files(data) {
        let to = copy.path().join(path.strip_prefix(data).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        if path == journal(data) {
            let mut file = fs::File::create(to).unwrap();
            file.write_all(&fs::read(&path).unwrap()[..journal_bytes]).unwrap();
            file.set_len(path.metadata().unwrap().len()).unwrap();
        } else {
            fs::copy(path, to).unwrap();
        }
    }
    copy
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn journal(data: &Path) -> PathBuf {
    let journals: Vec<_> =
        files(data).into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "jnl")).collect();
    assert_eq!(journals.len(), 1, "so few bytes are in one journal");
    journals[0].clone()
}

/// Where the journal's content ends. It is made at its full size.
fn journal_bytes(data: &Path) -> usize {
    let bytes = fs::read(journal(data)).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

#[tokio::test]
async fn a_group_that_was_cut_off_anywhere_is_gone_as_a_whole() {
    let (store, data) = fresh().await;
    store.create_stream(&spec("s", 2, KEEP)).await.unwrap();
    let group = |n: u8| {
        let position =
            Changes { positions: vec![(position_key("p", "s", 0), Position(vec![n]))], ..Changes::default() };
        let state = Changes { state: vec![state(&table("t", 0), "k", Some(&n.to_string()))], ..Changes::default() };
        [append("s", 0, &["a", "b"]), position, append("s", 1, &["c"]), state]
    };
    store.commit(&group(1), Timestamp(0)).await.unwrap();
    let first = journal_bytes(data.path());
    store.commit(&group(2), Timestamp(0)).await.unwrap();
    let second = journal_bytes(data.path());
    drop(store);
    for cut in (first..second).step_by(23).chain([second - 1, second]) {
        let copy = image(data.path(), cut);
        let store = EmbeddedStore::open(copy.path()).unwrap();
        let n = if cut == second { 2 } else { 1 };
        let end = async |partition| store.bounds("s", Partition(partition)).await.unwrap().end.0;
        assert_eq!((end(0).await, end(1).await), (2 * n, n), "cut at byte {} of {second}", cut);
        assert_eq!(store.position(&position_key("p", "s", 0)).await.unwrap(), Some(Position(vec![n as u8])));
        assert_eq!(store.state_get(&table("t", 0), &["k".into()], ALL).await.unwrap(), [Some(n.to_string().into())]);
        assert_eq!(store.commit(&group(3), Timestamp(0)).await.unwrap()[0].bounds.end, Offset(2 * n + 2));
    }
}

/// Bytes that cannot be compressed.
fn noise(len: usize) -> Batch {
    let mut state = 1u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(len)
    .collect();
    let mut batch = Batch::default();
    batch.push(&Record::of(&bytes, Timestamp(0)));
    batch
}

#[tokio::test]
async fn damage_on_disk_is_reported_with_its_place() {
    let (store, data) = fresh().await;
    store.create_stream(&spec("s", 1, KEEP)).await.unwrap();
    for _ in 0..3 {
        let records = Append { stream: "s".into(), partition: P0, records: noise(100_000) };
        store.commit(&[Changes { appends: vec![records], ..Changes::default() }], Timestamp(0)).await.unwrap();
    }
    store.flush();
    drop(store);
    let blobs: Vec<_> =
        files(data.path()).into_iter().filter(|path| path.metadata().unwrap().len() > 300_000).collect();
    let blobs: Vec<_> = blobs.iter().filter(|path| path.extension().is_none()).collect();
    assert_eq!(blobs.len(), 1, "the batches are in one file");
    let mut bytes = fs::read(blobs[0]).unwrap();
    bytes[150_000] ^= 1;
    fs::write(blobs[0], bytes).unwrap();
    let store = EmbeddedStore::open(data.path()).unwrap();
    assert_eq!(store.read("s", P0, Offset(0), 1).await.unwrap().len(), 1);
    let damaged = store.read("s", P0, Offset(1), 1).await.unwrap_err();
    assert!(
        matches!(&damaged, Error::Damaged { place, .. } if place == "stream s, partition 0, offset 1"),
        "{damaged}"
    );
    assert!(!damaged.is_fatal());
    assert_eq!(store.read("s", P0, Offset(2), 1).await.unwrap().len(), 1, "the rest can be read");
    let damaged = store.read("s", P0, Offset(0), usize::MAX).await.unwrap_err();
    assert!(damaged.to_string().starts_with("stream s, partition 0, offset 1 is damaged: "), "{damaged}");
}

async fn three_batches() -> (EmbeddedStore, TempDir, [Vec<u8>; 3]) {
    let (store, data) = fresh().await;
    store.create_stream(&spec("s", 1, KEEP)).await.unwrap();
    for _ in 0..3 {
        store.commit(&[append("s", 0, &["a", "b"])], Timestamp(0)).await.unwrap();
    }
    store.forget_tail();
    let keys: Vec<_> = store.0.engine.streams.iter().map(|guard| guard.key().unwrap().to_vec()).collect();
    (store, data, keys.try_into().unwrap())
}

#[tokio::test]
async fn a_value_that_is_no_batch_is_reported() {
    let (store, _data, keys) = three_batches().await;
    store.0.engine.streams.insert(keys[1].as_slice(), "nonsense").unwrap();
    let damaged = store.read("s", P0, Offset(3), 1).await.unwrap_err();
    assert!(
        matches!(&damaged, Error::Damaged { place, .. } if place == "stream s, partition 0, offset 2"),
        "{damaged}"
    );
}

#[tokio::test]
async fn a_batch_that_is_lost_is_reported_when_it_is_read() {
    let (store, _data, keys) = three_batches().await;
    store.0.engine.streams.remove(keys[1].as_slice()).unwrap();
    for from in [2, 3] {
        let damaged = store.read("s", P0, Offset(from), 1).await.unwrap_err();
        assert!(matches!(&damaged, Error::Damaged { what, .. } if what.contains("found")), "{damaged}");
    }
    assert_eq!(store.read("s", P0, Offset(4), 1).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_store_that_lost_its_first_or_last_batch_is_not_opened() {
    for lost in [0, 2] {
        let (store, data, keys) = three_batches().await;
        store.0.engine.streams.remove(keys[lost].as_slice()).unwrap();
        drop(store);
        let damaged = EmbeddedStore::open(data.path()).map(drop).unwrap_err();
        let found = if lost == 0 { "found 2 up to 6" } else { "found 0 up to 4" };
        assert!(matches!(&damaged, Error::Damaged { what, .. } if what.ends_with(found)), "{damaged}");
    }
}

#[tokio::test]
async fn a_reader_that_a_trim_overtakes_is_told_so() {
    let (store, _data, _) = three_batches().await;
    store.create_stream(&spec("s", 1, Retention { age_ms: Some(0), bytes_max: 1, compact: false })).await.unwrap();
    let (place, bounds) = store.0.catalog().place("s", P0).unwrap();
    let wanted = read::Wanted { stream: "s".into(), place, end: bounds.end };
    store.trim(Timestamp(1), &|_, _| Some(Offset(4))).await.unwrap();
    let trimmed = store.0.read(&wanted, Reading::new(Offset(1), 1)).unwrap_err();
    assert!(matches!(trimmed, Error::Trimmed { wanted: Offset(1), start: Offset(4), .. }), "{trimmed}");
}

#[tokio::test]
async fn more_batches_are_trimmed_than_go_into_one_write() {
    let (store, data) = fresh().await;
    store
        .create_stream(&spec("s", 1, Retention { age_ms: Some(0), bytes_max: u64::MAX, compact: false }))
        .await
        .unwrap();
    // As from so many commits, but with one fsync.
    let (place, mut bounds) = store.0.catalog().place("s", P0).unwrap();
    let mut write = store.0.engine.db.batch();
    for _ in 0..2 * write::TRIM_BATCHES_MAX + 1 {
        let mut records = batch(&["a"]);
        let stored = crate::store::log::place(&mut records, &mut bounds, Timestamp(0));
        write.insert(&store.0.engine.streams, codec::batch_key(place, &stored), codec::pack(&records, &stored));
    }
    store.0.engine.commit(write).unwrap();
    store.0.catalog_mut().set_bounds("s", P0, bounds);
    let trimmed = store.trim(Timestamp(1), &|_, _| None).await.unwrap();
    let empty = Bounds { start: bounds.end, end: bounds.end, bytes: 0 };
    assert_eq!(trimmed.iter().map(|a| a.bounds).collect::<Vec<_>>(), [empty]);
    assert_eq!(store.0.engine.streams.iter().count(), 0, "nothing is left behind");
    drop(store);
    let store = EmbeddedStore::open(data.path()).unwrap();
    assert_eq!(store.bounds("s", P0).await.unwrap(), empty);
}
