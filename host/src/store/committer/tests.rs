//! Tests of the committer over the store in memory: what is grouped, what fails alone, who waits for whom.

use std::sync::Mutex;

use tokio::task::JoinHandle;

use super::*;
use crate::record::{Offset, Timestamp};
use crate::stop::{Stopper, stop_signal};
use crate::store::memory::{Failure, MemoryStore};
use crate::store::suite::{self, P0, append, position_key, spec};
use crate::store::{PositionKey, Retention};

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }
}

struct Rig {
    store: MemoryStore,
    committer: Committer,
    commit_loop: Option<CommitLoop>,
    stopper: Stopper,
    task: Option<JoinHandle<Result<(), Error>>>,
}

/// Trims only when it is asked to, unless the time is advanced.
const NO_TIMER: Duration = Duration::from_secs(1_000_000);

impl Rig {
    async fn new(retention: Retention) -> Rig {
        Rig::with(retention, CommitLimits { trim_every: NO_TIMER, ..CommitLimits::default() }).await
    }

    async fn with(retention: Retention, limits: CommitLimits) -> Rig {
        let store = MemoryStore::new();
        store.create_stream(&spec("s", 2, retention)).await.unwrap();
        let (committer, commit_loop) = Committer::new(Arc::new(store.clone()), Arc::new(FixedClock), limits);
        let (stopper, _) = stop_signal();
        Rig { store, committer, commit_loop: Some(commit_loop), stopper, task: None }
    }

    fn start(&mut self) {
        let (stopper, stop) = stop_signal();
        self.stopper = stopper;
        self.task = self.commit_loop.take().map(|commit_loop| tokio::spawn(commit_loop.run(stop)));
    }

    async fn started(retention: Retention) -> Rig {
        let mut rig = Rig::new(retention).await;
        rig.start();
        rig
    }

    async fn ended(&mut self) -> Result<(), Error> {
        self.task.take().unwrap().await.unwrap()
    }

    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        self.committer.submit(&Lane::default(), commit).await.await
    }

    async fn bounds(&self) -> (u64, u64) {
        let bounds = self.store.bounds("s", P0).await.unwrap();
        (bounds.start.0, bounds.end.0)
    }
}

fn record(value: &str) -> Commit {
    Commit { changes: append("s", 0, &[value]), staged: Vec::new() }
}

fn read_to(key: &PositionKey, offset: u64) -> Commit {
    let positions = vec![(key.clone(), Position::at(Offset(offset)))];
    Commit { changes: Changes { positions, ..Changes::default() }, staged: Vec::new() }
}

/// A file in memory: what is behind `synced` would be lost.
#[derive(Default)]
struct Fake {
    name: &'static str,
    file: Mutex<FakeFile>,
}

#[derive(Default)]
struct FakeFile {
    bytes: Vec<u8>,
    synced: usize,
    fail: Option<&'static str>,
    calls: Vec<String>,
}

impl Fake {
    fn new(name: &'static str) -> Arc<Fake> {
        Arc::new(Fake { name, ..Fake::default() })
    }

    fn fail(&self, what: Option<&'static str>) {
        self.file.lock().unwrap().fail = what;
    }

    fn staged(self: &Arc<Self>, bytes: &'static str) -> Staged {
        Staged { participant: self.clone(), bytes: bytes.into() }
    }

    fn text(&self) -> String {
        String::from_utf8(self.file.lock().unwrap().bytes.clone()).unwrap()
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.file.lock().unwrap().calls)
    }

    fn call(&self, what: &str) -> std::io::Result<std::sync::MutexGuard<'_, FakeFile>> {
        let mut file = self.file.lock().unwrap();
        file.calls.push(what.to_owned());
        match file.fail {
            Some(fail) if what.starts_with(fail) => Err(std::io::Error::other("no space left")),
            _ => Ok(file),
        }
    }
}

impl Participant for Fake {
    fn position_key(&self) -> PositionKey {
        position_key(self.name, "file", 0)
    }

    fn position(&self) -> Position {
        Position::at(Offset(self.file.lock().unwrap().bytes.len() as u64))
    }

    fn write(&self, bytes: &[u8]) -> std::io::Result<Position> {
        let mut file = self.call(&format!("write {}", String::from_utf8_lossy(bytes)))?;
        file.bytes.extend_from_slice(bytes);
        Ok(Position::at(Offset(file.bytes.len() as u64)))
    }

    fn cut_back(&self, to: &Position) -> std::io::Result<()> {
        let to = to.offset().unwrap().0 as usize;
        self.call(&format!("cut back to {to}"))?.bytes.truncate(to);
        Ok(())
    }

    fn sync(&self) -> std::io::Result<()> {
        let mut file = self.call("sync")?;
        file.synced = file.bytes.len();
        Ok(())
    }

    fn committed(&self) {
        let mut file = self.call("committed").unwrap();
        assert_eq!(file.synced, file.bytes.len(), "nothing is committed that is not synced");
        file.synced = file.bytes.len();
    }
}

#[tokio::test]
async fn what_is_queued_becomes_one_commit() {
    let mut rig = Rig::new(suite::KEEP).await;
    let mut pending = Vec::new();
    for _ in 0..100 {
        pending.push(rig.committer.submit(&Lane::default(), record("a")).await);
    }
    rig.start();
    for pending in pending {
        pending.await.unwrap();
    }
    assert_eq!((rig.store.commits(), rig.bounds().await), (1, (0, 100)));
}

#[tokio::test]
async fn a_group_is_closed_at_its_bytes_and_commits_keep_their_order() {
    let limits = CommitLimits { group_bytes_max: 10 * record("0").bytes(), ..CommitLimits::default() };
    let mut rig = Rig::with(suite::KEEP, limits).await;
    let lane = Lane::default();
    let mut pending = Vec::new();
    for n in 0..25 {
        pending.push(rig.committer.submit(&lane, record(&(n % 10).to_string())).await);
    }
    rig.start();
    for pending in pending {
        pending.await.unwrap();
    }
    assert_eq!(rig.store.commits(), 3);
    let read = rig.store.read("s", P0, Offset(0), usize::MAX).await.unwrap();
    let values: String = suite::values(&read).into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, "0123456789012345678901234");
}

#[tokio::test]
async fn submitters_wait_while_the_queue_is_full() {
    let limits = CommitLimits { queue_bytes_max: 3 * 1024, ..CommitLimits::default() };
    let mut rig = Rig::with(suite::KEEP, limits).await;
    let lane = Lane::default();
    for _ in 0..3 {
        drop(rig.committer.submit(&lane, record("a")).await);
    }
    let committer = rig.committer.clone();
    let mut fourth = Box::pin(committer.submit(&lane, record("b")));
    assert!(futures_util::poll!(fourth.as_mut()).is_pending());
    rig.start();
    fourth.await.await.unwrap();
    assert_eq!(rig.bounds().await, (0, 4), "a commit happens though its answer was dropped");
    let huge = "h".repeat(1 << 20);
    rig.commit(record(&huge)).await.expect("one commit alone may be larger than the queue");
}

#[tokio::test]
async fn after_a_failed_commit_its_lane_fails_and_others_go_on() {
    let mut rig = Rig::new(suite::KEEP).await;
    let (lane, other) = (Lane::default(), Lane::default());
    let unknown = Commit { changes: append("unknown", 0, &["a"]), staged: Vec::new() };
    let submit = async |lane, commit| rig.committer.submit(lane, commit).await;
    let first = submit(&lane, record("1")).await;
    let refused = submit(&lane, unknown).await;
    let behind = submit(&lane, record("2")).await;
    let beside = submit(&other, record("3")).await;
    rig.start();
    first.await.unwrap();
    assert!(matches!(refused.await, Err(CommitError::Refused(reason)) if reason.contains("unknown")));
    assert!(matches!(behind.await, Err(CommitError::Lane)));
    beside.await.unwrap();
    assert!(lane.is_failed() && !other.is_failed());
    assert_eq!((rig.store.commits(), rig.bounds().await), (1, (0, 2)));
}

#[tokio::test]
async fn participants_are_written_synced_and_told_in_this_order() {
    let mut rig = Rig::new(suite::KEEP).await;
    let file = Fake::new("file");
    let mut pending = Vec::new();
    for text in ["a", "bc"] {
        let commit = Commit { staged: vec![file.staged(text)], ..record(text) };
        pending.push(rig.committer.submit(&Lane::default(), commit).await);
    }
    rig.start();
    for pending in pending {
        pending.await.unwrap();
    }
    assert_eq!(file.calls(), ["write a", "write bc", "sync", "committed"]);
    let committed = rig.store.position(&file.position_key()).await.unwrap();
    assert_eq!(committed, Some(Position::at(Offset(3))));
    rig.commit(record("d")).await.unwrap();
    assert_eq!(file.calls(), [""; 0], "who is not written to is left alone");
}

#[tokio::test]
async fn when_a_participant_cannot_write_the_others_of_the_commit_are_cut_back() {
    let rig = Rig::started(suite::KEEP).await;
    let (a, b) = (Fake::new("a"), Fake::new("b"));
    let staged = |texts: [&'static str; 3]| vec![a.staged(texts[0]), a.staged(texts[1]), b.staged(texts[2])];
    rig.commit(Commit { staged: staged(["1", "2", "3"]), ..record("x") }).await.unwrap();
    a.calls();
    b.fail(Some("write"));
    let failed = rig.commit(Commit { staged: staged(["4", "5", "6"]), ..record("y") }).await;
    assert!(
        matches!(failed, Err(CommitError::Sink { sink, reason }) if sink == "b/file/0" && reason == "no space left")
    );
    assert_eq!(a.calls(), ["write 4", "write 5", "cut back to 3", "cut back to 2"]);
    assert_eq!((a.text(), b.text(), rig.bounds().await), ("12".into(), "3".into(), (0, 1)));
    b.fail(None);
    rig.commit(Commit { staged: staged(["7", "8", "9"]), ..record("z") }).await.unwrap();
    assert_eq!((a.text(), b.text(), rig.bounds().await), ("1278".into(), "39".into(), (0, 2)));
    let committed = rig.store.position(&a.position_key()).await.unwrap();
    assert_eq!(committed, Some(Position::at(Offset(4))));
}

#[tokio::test]
async fn a_failed_sync_or_cut_back_is_fatal_and_commits_nothing() {
    for fail in ["sync", "cut"] {
        let mut rig = Rig::started(suite::KEEP).await;
        let (a, b) = (Fake::new("a"), Fake::new("b"));
        a.fail(Some(fail));
        b.fail(Some("write").filter(|_| fail == "cut"));
        let answer = rig.commit(Commit { staged: vec![a.staged("1"), b.staged("2")], ..record("x") }).await;
        assert!(matches!(answer, Err(CommitError::Fatal(_))));
        assert!(rig.ended().await.unwrap_err().is_fatal());
        assert_eq!(rig.store.commits(), 0);
        assert!(!a.calls().contains(&"committed".to_owned()));
    }
}

#[tokio::test]
async fn when_the_store_fails_everybody_is_told() {
    let mut rig = Rig::new(suite::KEEP).await;
    let file = Fake::new("file");
    let mut pending = Vec::new();
    for _ in 0..3 {
        let commit = Commit { staged: vec![file.staged("a")], ..record("a") };
        pending.push(rig.committer.submit(&Lane::default(), commit).await);
    }
    rig.store.fail_next(Failure::AfterApply);
    rig.start();
    for pending in pending {
        assert!(matches!(pending.await, Err(CommitError::Fatal(reason)) if reason.contains("injected")));
    }
    assert!(rig.ended().await.unwrap_err().is_fatal());
    assert!(matches!(rig.commit(record("b")).await, Err(CommitError::Fatal(_))));
    assert!(!file.calls().contains(&"committed".to_owned()));
}

#[tokio::test]
async fn told_to_stop_it_commits_what_is_queued_and_takes_no_more() {
    let mut rig = Rig::new(suite::KEEP).await;
    let queued = rig.committer.submit(&Lane::default(), record("a")).await;
    rig.start();
    rig.stopper.stop();
    queued.await.unwrap();
    rig.ended().await.unwrap();
    assert!(matches!(rig.commit(record("b")).await, Err(CommitError::Fatal(_))));
    assert_eq!(rig.bounds().await, (0, 1));
}

#[tokio::test]
async fn a_watch_begins_with_what_is_there_and_tells_of_commits() {
    let rig = Rig::started(suite::KEEP).await;
    rig.commit(record("a")).await.unwrap();
    let mut watch = rig.committer.watch("s", P0).await.unwrap();
    assert_eq!(watch.borrow_and_update().end, Offset(1));
    rig.commit(record("b")).await.unwrap();
    assert_eq!(watch.wait_for(|bounds| bounds.end == Offset(2)).await.unwrap().start, Offset(0));
    assert!(matches!(rig.committer.watch("t", P0).await, Err(Error::NoPartition { .. })));
}

/// A reader whose input is the stream.
fn reads(position: PositionKey) -> StreamRead {
    StreamRead { stream: position.input.clone(), partition: position.partition, position }
}

/// Three batches of one record fill a partition.
fn three() -> Retention {
    Retention { age_ms: None, bytes_max: 3 * suite::batch(&["a"]).encode().len() as u64, compact: false }
}

#[tokio::test(start_paused = true)]
async fn writers_wait_until_the_slowest_reader_has_committed() {
    let mut rig = Rig::new(three()).await;
    let (slow, fast) = (position_key("slow", "s", 0), position_key("fast", "s", 0));
    rig.committer.add_reader(reads(slow.clone()));
    rig.committer.add_reader(reads(fast.clone()));
    rig.start();
    for _ in 0..3 {
        rig.committer.room("s", P0).await.unwrap();
        rig.commit(record("a")).await.unwrap();
    }
    let started = tokio::time::Instant::now();
    let mut room = Box::pin(rig.committer.room("s", P0));
    rig.commit(read_to(&fast, 3)).await.unwrap();
    assert!(futures_util::poll!(room.as_mut()).is_pending());
    rig.committer.room("s", Partition(1)).await.expect("another partition has room");
    assert!(futures_util::poll!(room.as_mut()).is_pending());
    assert_eq!(rig.bounds().await, (0, 3), "nothing unread is trimmed");
    rig.commit(read_to(&slow, 1)).await.unwrap();
    room.await.unwrap();
    assert_eq!(rig.bounds().await, (1, 3));
    assert!(started.elapsed() < NO_TIMER, "it was trimmed at once, not by the timer");
}

#[tokio::test(start_paused = true)]
async fn what_readers_have_committed_past_is_compacted_and_makes_room() {
    let keyed = || Commit { changes: suite::keyed("s", 0, &[("a", Some("x"))]), ..Commit::default() };
    let one = suite::keyed("s", 0, &[("a", Some("x"))]).appends[0].records.encode().len() as u64;
    let limits = CommitLimits { trim_every: NO_TIMER, compact_bytes_min: 1, ..CommitLimits::default() };
    let mut rig = Rig::with(Retention { bytes_max: 5 * one, ..suite::COMPACT }, limits).await;
    let reader = position_key("reader", "s", 0);
    rig.committer.add_reader(reads(reader.clone()));
    rig.start();
    for _ in 0..4 {
        rig.commit(keyed()).await.unwrap();
    }
    rig.committer.compact().await.unwrap();
    assert_eq!(rig.store.bounds("s", P0).await.unwrap().bytes, 4 * one, "nothing is read");
    rig.commit(read_to(&reader, 2)).await.unwrap();
    let watch = rig.committer.watch("s", P0).await.unwrap();
    rig.committer.compact().await.unwrap();
    assert_eq!(watch.borrow().bytes, 3 * one, "and who waits for room is told");
    assert_eq!(rig.bounds().await, (0, 4));
}

#[tokio::test(start_paused = true)]
async fn a_partition_full_of_read_records_is_trimmed_for_a_writer_at_once() {
    let rig = Rig::started(three()).await;
    let started = tokio::time::Instant::now();
    for n in 0..10 {
        rig.committer.room("s", P0).await.unwrap();
        rig.commit(record("a")).await.unwrap();
        assert_eq!(rig.bounds().await.1, n + 1);
    }
    assert_eq!(rig.bounds().await, (7, 10));
    assert!(started.elapsed() < NO_TIMER);
}

#[tokio::test(start_paused = true)]
async fn writers_go_on_when_the_reader_they_wait_for_is_gone() {
    let rig = Rig::started(three()).await;
    let reader = position_key("reader", "s", 0);
    rig.committer.add_reader(reads(reader.clone()));
    for _ in 0..3 {
        rig.commit(record("a")).await.unwrap();
    }
    let mut room = Box::pin(rig.committer.room("s", P0));
    assert!(futures_util::poll!(room.as_mut()).is_pending());
    rig.committer.remove_reader(&reader);
    room.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_larger_retention_lets_writers_go_on() {
    let limits = CommitLimits { trim_every: Duration::from_secs(5), ..CommitLimits::default() };
    let mut rig = Rig::with(three(), limits).await;
    rig.committer.add_reader(reads(position_key("reader", "s", 0)));
    rig.start();
    for _ in 0..3 {
        rig.commit(record("a")).await.unwrap();
    }
    let mut room = Box::pin(rig.committer.room("s", P0));
    assert!(futures_util::poll!(room.as_mut()).is_pending());
    rig.store.create_stream(&spec("s", 2, suite::KEEP)).await.unwrap();
    room.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_timer_trims_up_to_the_position_of_a_reader_from_before_a_restart() {
    let limits = CommitLimits { trim_every: Duration::from_secs(5), ..CommitLimits::default() };
    let retention = Retention { age_ms: None, bytes_max: 1, compact: false };
    let mut rig = Rig::with(retention, limits).await;
    let (known, new) = (position_key("known", "s", 0), position_key("new", "s", 1));
    let read = read_to(&known, 2).changes;
    let group = [append("s", 0, &["a"]), append("s", 1, &["a"]), read];
    rig.store.commit(&group[..2], Timestamp(0)).await.unwrap();
    rig.store.commit(&[append("s", 0, &["b"])], Timestamp(0)).await.unwrap();
    rig.store.commit(&[append("s", 0, &["c"]), group[2].clone()], Timestamp(0)).await.unwrap();
    rig.committer.add_reader(reads(known));
    rig.committer.add_reader(reads(new));
    let mut watch = rig.committer.watch("s", P0).await.unwrap();
    rig.start();
    watch.wait_for(|bounds| bounds.start == Offset(2)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(rig.bounds().await, (2, 3));
    assert_eq!(
        rig.store.bounds("s", Partition(1)).await.unwrap().start,
        Offset(0),
        "one without a position has read nothing"
    );
}
