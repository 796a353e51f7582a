//! Gathers the commits of all tasks into one atomic, durable group: one fsync for many batches.
//!
//! Also the only writer of transactional sinks (files): their bytes are written in the order of the commits and synced
//! before the group commits, and the length that a sink has reached is part of the commit. So a file never holds a
//! record twice, however many tasks write to it: on restart it is cut back to the committed length.

use std::sync::Arc;

use bytes::Bytes;

use super::{Bounds, Changes, Error, PositionKey, Store, StreamName};
use crate::clock::Clock;
use crate::record::{Partition, Position};

/// A local file-like sink that takes part in commits. The committer calls it from one place only, in commit order.
pub trait Participant: Send + Sync + 'static {
    /// Under which key its position is committed.
    fn position_key(&self) -> PositionKey;

    /// Writes bytes at the end, not yet durable, and returns the position behind them. On an error it has cut itself
    /// back to what it held before, and the commit fails and is tried again by its task.
    fn write(&self, bytes: &[u8]) -> std::io::Result<Position>;

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
#[derive(Clone, Default)]
pub struct Lane {
    failed: Arc<std::sync::atomic::AtomicBool>,
}

/// One commit of a task.
#[derive(Clone, Default)]
pub struct Commit {
    /// Positions, appends, state.
    pub changes: Changes,
    /// Bytes for transactional sinks.
    pub staged: Vec<Staged>,
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
    /// An earlier commit of the lane failed.
    #[error("an earlier commit of the same task failed")]
    Lane,
    /// The store failed: the process must end.
    #[error("{0}")]
    Fatal(String),
}
