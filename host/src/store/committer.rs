//! Gathers the commits of all tasks into one atomic, durable group: one fsync for many batches.
//!
//! Also the only writer of transactional sinks (files): their bytes are written in the order of the commits and synced
//! before the group commits, and the length that a sink has reached is part of the commit. So a file never holds a
//! record twice, however many tasks write to it: on restart it is cut back to the committed length.
//!
//! This file is what tasks see: [`Committer::submit`] and the ways to wait. [`commit_loop`] does the work. Neither knows
//! which store it writes to.

mod commit_loop;
mod readers;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use self::readers::{Readers, Unread};
use super::{Appended, Bounds, Changes, Error, PositionKey, Store, StreamName, log};
use crate::clock::Clock;
use crate::record::{Partition, Position};

pub use self::commit_loop::CommitLoop;
pub use self::readers::StreamRead;

/// What a commit is taken to need beside its records: its place in queues and maps.
const COMMIT_BYTES: usize = 256;
/// What a change of keyed state is taken to need beside its bytes: its place in lists, what its names and bytes cost to hold.
const CHANGE_BYTES: usize = 192;
/// The unit in which the queue's bytes are counted.
const BUDGET_UNIT_BYTES: usize = 1024;

/// A local file-like sink that takes part in commits. The committer calls it from one place only, in commit order.
pub trait Participant: Send + Sync + 'static {
    /// Under which key its position is committed.
    fn position_key(&self) -> PositionKey;

    /// The position behind what it holds now.
    fn position(&self) -> Position;

    /// Writes bytes at the end, not yet durable, and returns the position behind them. On an error it has cut itself
    /// back to what it held before, and the commit fails and is tried again by its task.
    fn write(&self, bytes: &[u8]) -> std::io::Result<Position>;

    /// Forgets what was written behind a position that [`Participant::position`] gave since it was last told that a
    /// group committed: another participant of the same commit could not write. An error is fatal to the process, as
    /// the bytes would stay in the middle of the file; on restart it is cut back.
    fn cut_back(&self, to: &Position) -> std::io::Result<()>;

    /// Makes all that was written durable. An error is fatal to the process, as for the store.
    fn sync(&self) -> std::io::Result<()>;

    /// Told after the group that holds its last write was committed: rotation happens here.
    fn committed(&self);
}

/// Bytes on their way to a participant.
#[derive(Clone)]
pub struct Staged {
    /// Who will write them.
    pub participant: Arc<dyn Participant>,
    /// The bytes.
    pub bytes: Bytes,
}

/// The order domain of a task: after one of its commits fails, later ones of the same lane fail too, so that nothing is
/// committed past a hole. A task that starts again takes a new lane.
#[derive(Debug, Clone, Default)]
pub struct Lane {
    failed: Arc<AtomicBool>,
}

impl Lane {
    /// Whether one of its commits failed.
    pub fn is_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }
}

/// One commit of a task.
#[derive(Clone, Default)]
pub struct Commit {
    /// Positions, appends, state.
    pub changes: Changes,
    /// Bytes for transactional sinks.
    pub staged: Vec<Staged>,
}

impl Commit {
    /// The memory that it holds, as the queue counts it.
    pub fn bytes(&self) -> usize {
        let appends: usize = self.changes.appends.iter().map(|append| append.records.bytes()).sum();
        let state = self
            .changes
            .state
            .iter()
            .map(|change| CHANGE_BYTES + change.key.len() + change.value.as_ref().map_or(0, Bytes::len));
        let positions = self.changes.positions.iter().map(|(_, position)| position.0.len());
        let staged = self.staged.iter().map(|staged| staged.bytes.len());
        COMMIT_BYTES + appends + state.sum::<usize>() + positions.sum::<usize>() + staged.sum::<usize>()
    }
}

/// Why a commit did not happen.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// A transactional sink could not write (disk full, file gone). Nothing of this commit happened: try again.
    #[error("{sink}: {reason}")]
    Sink {
        /// The sink's position key.
        sink: String,
        /// What the system said.
        reason: String,
    },
    /// The store does not take such a commit: it names a partition that does not exist, or a key or value is too large.
    /// Nothing of it happened, and trying again gives the same answer.
    #[error("{0}")]
    Refused(String),
    /// An earlier commit of the lane failed.
    #[error("an earlier commit of the same task failed")]
    Lane,
    /// The store failed, or the committer has ended: the process must end.
    #[error("{0}")]
    Fatal(String),
}

/// The bounds of the committer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitLimits {
    /// Bytes of commits that may be queued or on their way to disk. Submitters wait behind them. Default 64 MiB.
    pub queue_bytes_max: usize,
    /// Bytes of commits after which a group is closed. One commit alone may be larger. Default 8 MiB.
    pub group_bytes_max: usize,
    /// How often streams are trimmed when nobody waits for room. Default 5 s.
    pub trim_every: Duration,
    /// The bytes after which it is worth looking for records of a compacted partition to let go. Default 16 MiB.
    pub compact_bytes_min: u64,
}

impl Default for CommitLimits {
    fn default() -> Self {
        CommitLimits {
            queue_bytes_max: 64 << 20,
            group_bytes_max: 8 << 20,
            trim_every: Duration::from_secs(5),
            compact_bytes_min: 16 << 20,
        }
    }
}

/// The way of tasks to the commit loop. Clones lead to the same one.
#[derive(Clone)]
pub struct Committer {
    requests: mpsc::UnboundedSender<Request>,
    shared: Arc<Shared>,
}

/// Resolves when the commit is durable, or with the reason why it did not happen.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Result<(), CommitError>>);

/// A commit in the queue.
struct Request {
    commit: Commit,
    bytes: usize,
    lane: Lane,
    answer: oneshot::Sender<Result<(), CommitError>>,
    /// Its share of the queue, given back when it is answered.
    budget: OwnedSemaphorePermit,
}

/// What handles and loop share.
struct Shared {
    store: Arc<dyn Store>,
    limits: CommitLimits,
    /// The room in the queue, in units of [`BUDGET_UNIT_BYTES`].
    budget: Arc<Semaphore>,
    readers: Mutex<Readers>,
    watched: Mutex<BTreeMap<StreamName, BTreeMap<Partition, watch::Sender<Bounds>>>>,
    /// Somebody waits in [`Committer::room`], or a reader is gone: trim now.
    trim_wanted: Notify,
    /// How many wait in [`Committer::room`].
    waiting: AtomicUsize,
}

impl Committer {
    /// A committer, and its loop, which somebody has to run. All readers of the embedded streams are to be added before
    /// it runs, as from then on what nobody reads may be trimmed.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, limits: CommitLimits) -> (Committer, CommitLoop) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            store,
            limits,
            budget: Arc::new(Semaphore::new(units(limits.queue_bytes_max) as usize)),
            readers: Mutex::default(),
            watched: Mutex::default(),
            trim_wanted: Notify::new(),
            waiting: AtomicUsize::new(0),
        });
        (Committer { requests: sender, shared: shared.clone() }, CommitLoop::new(shared, clock, receiver))
    }

    /// Hands a commit over, behind all that were handed over before, and returns; what it returns resolves when the
    /// commit is durable. Waits while the queue is full. Once it has returned the commit happens or fails even if the
    /// answer is dropped.
    pub async fn submit(&self, lane: &Lane, commit: Commit) -> Pending {
        let (answer, pending) = oneshot::channel();
        let bytes = commit.bytes();
        let units = units(bytes.min(self.shared.limits.queue_bytes_max));
        // Where the loop has ended, the answer is dropped with the request: that is a fatal answer.
        if let Ok(budget) = self.shared.budget.clone().acquire_many_owned(units).await {
            let _ = self.requests.send(Request { commit, bytes, lane: lane.clone(), answer, budget });
        }
        Pending(pending)
    }

    /// Resolves when all that was handed over before is durable, or has failed.
    pub async fn settled(&self) {
        // It has nothing of its own that could fail.
        let _ = self.submit(&Lane::default(), Commit::default()).await.await;
    }

    /// What a partition holds, now and after each commit or trim that changes it. Readers of embedded streams wait on it
    /// for new records: a bound that is seen here can be read.
    pub async fn watch(&self, stream: &str, partition: Partition) -> Result<watch::Receiver<Bounds>, Error> {
        // Subscribed first, then read: so no change falls between the two.
        let receiver = self.shared.subscribe(stream, partition);
        let bounds = self.shared.store.bounds(stream, partition).await?;
        self.shared.publish(&[Appended { stream: stream.into(), partition, bounds }]);
        Ok(receiver)
    }

    /// Resolves when a partition is not full: it holds less than its retention allows. Writers wait here **before** they
    /// process a batch, so a full stream holds its readers back by nothing. Several writers that wait are let go
    /// together, so a partition may come to hold a batch of each more than its retention says.
    pub async fn room(&self, stream: &str, partition: Partition) -> Result<(), Error> {
        let mut bounds = self.watch(stream, partition).await?;
        let waiting = Waiting::new(&self.shared);
        loop {
            let spec = self.shared.store.stream(stream).await?;
            let retention = spec.ok_or_else(|| log::no_partition(stream, partition))?.retention;
            if !bounds.borrow_and_update().is_full(&retention) {
                return Ok(());
            }
            if self.requests.is_closed() {
                return Err(Error::Storage("the committer has ended".into()));
            }
            waiting.0.trim_wanted.notify_one();
            // The retention may be changed by a reload, which no watch tells of: so look again now and then.
            let _ = tokio::time::timeout(self.shared.limits.trim_every, bounds.changed()).await;
        }
    }

    /// Compacts streams, as far as their readers have committed, while commits go on.
    pub async fn compact(&self) -> Result<(), Error> {
        let unread = self.shared.unread().await?;
        let lowest = |stream: &str, partition: Partition| unread.get(stream)?.get(&partition).copied();
        let compacted = self.shared.store.compact(self.shared.limits.compact_bytes_min, &lowest).await?;
        self.shared.publish(&compacted);
        Ok(())
    }

    /// Makes a reader of an embedded stream's partition known. From now on nothing goes that lies behind the position that it
    /// last committed; where it has not committed any, nothing at all. Adding it again changes nothing.
    pub fn add_reader(&self, read: StreamRead) {
        self.shared.readers().add(read);
    }

    /// Forgets a reader: what it has not read may go.
    pub fn remove_reader(&self, key: &PositionKey) {
        self.shared.readers().remove(key);
        self.shared.trim_wanted.notify_one();
    }
}

/// The share of the queue that so many bytes take.
fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(BUDGET_UNIT_BYTES)).unwrap_or(u32::MAX).max(1)
}

impl Future for Pending {
    type Output = Result<(), CommitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = |_| Err(CommitError::Fatal("the committer has ended".into()));
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or_else(ended))
    }
}

/// Counts who waits for room, as long as it waits.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.waiting.fetch_add(1, Ordering::AcqRel);
        Waiting(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Shared {
    fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lowest offset of each place that some reader has still to read.
    async fn unread(&self) -> Result<Unread, Error> {
        let unknown = self.readers().unknown();
        for key in unknown {
            let position = self.store.position(&key).await?;
            self.readers().found(&key, position.as_ref());
        }
        Ok(self.readers().unread())
    }

    fn subscribe(&self, stream: &str, partition: Partition) -> watch::Receiver<Bounds> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let partitions = watched.entry(stream.into()).or_default();
        partitions.entry(partition).or_insert_with(|| watch::Sender::new(Bounds::default())).subscribe()
    }

    /// Tells those who watch. Both ends of a partition only grow, and while they stay its bytes only shrink, so that an old
    /// answer that comes late is known as such.
    fn publish(&self, changed: &[Appended]) {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        for Appended { stream, partition, bounds } in changed {
            let Some(sender) = watched.get(stream).and_then(|partitions| partitions.get(partition)) else { continue };
            sender.send_if_modified(|known| {
                let age = |bounds: &Bounds| (bounds.end, bounds.start, std::cmp::Reverse(bounds.bytes));
                let newer = age(bounds) > age(known);
                if newer {
                    *known = *bounds;
                }
                newer
            });
        }
    }
}
