//! Durable streams, positions and keyed state, changed by one atomic commit.
//!
//! This file is what the engine may know of a store. Behind it stand the embedded store ([`embedded`]), the one in
//! memory ([`memory`]) for simulation, and later one whose streams are Kafka topics. [`committer`] gathers the commits
//! of all tasks into one fsync.

pub mod committer;
mod compaction;
pub mod embedded;
mod log;
pub mod memory;
pub mod pages;
#[cfg(test)]
mod suite;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::record::{Batch, Offset, Partition, Position, Timestamp};

/// The stream that holds every dead letter. It is read, tapped and trimmed like any other.
///
/// A dead letter is the record as it came, with these headers added: `weir-reason` (text), `weir-pipeline`, `weir-step`
/// (the step or sink that refused it), `weir-source`, `weir-partition` and `weir-offset` (its place).
pub const DEAD_LETTERS: &str = "dead-letters";

/// The bytes that a key of keyed state may have.
pub const STATE_KEY_BYTES_MAX: usize = 32 * 1024;

/// The bytes that a value of keyed state may have.
pub const STATE_VALUE_BYTES_MAX: usize = 256 << 20;

/// The name of a stream.
pub type StreamName = Arc<str>;

/// A stream as the pipeline file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSpec {
    /// Its name.
    pub name: StreamName,
    /// How many partitions it has; at least 1. Never lowered once the stream exists.
    pub partitions: u32,
    /// How long and how much of it is kept.
    pub retention: Retention,
}

/// What a stream keeps. Whole batches go from the front once they are past both `age_ms` or `bytes_max` **and** every
/// pipeline of the running appliance that reads the stream has committed past them: retention never loses a record that
/// is still to be processed. A stream that is full of unread records makes its writers wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Records older than this (by the time they were appended) may go. `None`: no limit of age.
    pub age_ms: Option<u64>,
    /// The bytes that each partition may hold before its oldest records go, or its writers wait. A partition that has
    /// reached them is full; one that holds nothing never is.
    pub bytes_max: u64,
    /// Whether of the records with one key only the newest is kept, once every pipeline of the running appliance that reads the
    /// stream has committed past them: see [`Store::compact`]. What then lies in one batch is as old as the newest of it.
    pub compact: bool,
}

/// The records that a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// The oldest record's offset.
    pub start: Offset,
    /// The offset that the next record will have.
    pub end: Offset,
    /// The encoded bytes that are held, before compression.
    pub bytes: u64,
}

impl Bounds {
    /// Whether writers have to wait: the partition holds what it may hold.
    pub fn is_full(&self, retention: &Retention) -> bool {
        self.start < self.end && self.bytes >= retention.bytes_max
    }
}

/// Whose position: a pipeline's, in one partition of one of its inputs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PositionKey {
    /// The pipeline, or the sink (for how much of a file is committed).
    pub owner: Arc<str>,
    /// The source or stream that is read, or the file that is written.
    pub input: Arc<str>,
    /// Its partition.
    pub partition: Partition,
}

/// A table of keyed state. It belongs to one step and one partition; nobody else writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableId {
    /// The pipeline.
    pub pipeline: Arc<str>,
    /// The step in it.
    pub step: Arc<str>,
    /// The table's name in the step.
    pub table: Arc<str>,
    /// The partition.
    pub partition: Partition,
}

/// Records for the end of a stream's partition.
#[derive(Debug, Clone)]
pub struct Append {
    /// Which stream. It exists: see [`Store::create_stream`].
    pub stream: StreamName,
    /// Which partition of it.
    pub partition: Partition,
    /// The records. The store gives them their offsets.
    pub records: Batch,
}

/// One change of keyed state.
#[derive(Debug, Clone)]
pub struct StateChange {
    /// Where.
    pub table: TableId,
    /// The key.
    pub key: Bytes,
    /// The new value; `None` deletes.
    pub value: Option<Bytes>,
}

/// Entries of a table of keyed state, by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entries {
    /// The entries.
    pub entries: Vec<(Bytes, Bytes)>,
    /// Whether there may be more behind them.
    pub has_more: bool,
}

impl Entries {
    /// As many of some entries as are wanted at a time: at most `limit`, and no more once `bytes_max` is passed.
    fn page(
        all: impl Iterator<Item = Result<(Bytes, Bytes), Error>>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Self, Error> {
        let (mut page, mut bytes) = (Entries::default(), 0);
        for entry in all {
            if page.entries.len() >= limit || bytes > bytes_max {
                page.has_more = true;
                break;
            }
            let (key, value) = entry?;
            bytes += key.len() + value.len();
            page.entries.push((key, value));
        }
        Ok(page)
    }
}

/// What a store takes on disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskUse {
    /// All of it.
    pub all: u64,
    /// Keyed state, as far as it is written to files of its own and not in the journal alone.
    pub state: u64,
}

/// Everything that one commit changes, all of it or nothing.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// How far inputs were read.
    pub positions: Vec<(PositionKey, Position)>,
    /// Records appended to streams, dead letters among them.
    pub appends: Vec<Append>,
    /// Keyed state, in the order in which it was written.
    pub state: Vec<StateChange>,
}

impl Changes {
    /// Whether there is nothing to be changed.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty() && self.appends.is_empty() && self.state.is_empty()
    }
}

/// The end of a partition after a commit that appended to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Which stream.
    pub stream: StreamName,
    /// Which partition.
    pub partition: Partition,
    /// What it holds now.
    pub bounds: Bounds,
}

/// Why a store could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has the directory.
    #[error("{directory} is in use by another process{}", pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Locked {
        /// The data directory.
        directory: String,
        /// Who has it, where that is known.
        pid: Option<u32>,
    },
    /// The directory was written by a version that this one does not understand.
    #[error("{directory} has format version {found}, expected {expected}")]
    Format {
        /// The data directory.
        directory: String,
        /// What it says.
        found: String,
        /// What this version writes.
        expected: u32,
    },
    /// No such stream or partition.
    #[error("stream {stream} has no partition {partition}")]
    NoPartition {
        /// The stream.
        stream: String,
        /// The partition.
        partition: Partition,
    },
    /// Something to be stored is larger than the store takes. Trying again gives the same answer.
    #[error("{what} has {bytes} bytes: at most {max} can be stored")]
    TooLarge {
        /// What it is.
        what: String,
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The wanted records are gone: retention passed them.
    #[error(
        "stream {stream}, partition {partition}: offset {wanted} was asked for, but the oldest record kept is {start}"
    )]
    Trimmed {
        /// The stream.
        stream: String,
        /// The partition.
        partition: Partition,
        /// The offset that was asked for.
        wanted: Offset,
        /// The oldest one there is.
        start: Offset,
    },
    /// What is on disk is not what was written.
    #[error("{place} is damaged: {what}")]
    Damaged {
        /// Which stream, partition and offset, or which file.
        place: String,
        /// What was expected and what came.
        what: String,
    },
    /// The disk, or the storage engine, failed. After a failed fsync nothing is known of what is on disk, so the
    /// process ends and starts again from what is there.
    #[error("storage failed: {0}")]
    Storage(String),
}

impl Error {
    /// Whether the process has to end. All others concern what was asked for, and the store goes on.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Error::Storage(_))
    }
}

/// A number that nobody could have guessed, for ids.
pub fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The keys of these hashers come from the system's source of randomness.
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

impl fmt::Display for PositionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.owner, self.input, self.partition)
    }
}

/// Positions and keyed state as they were committed at one moment.
#[async_trait]
pub trait Snapshot: Send + Sync {
    /// All tables that ever held something, by name.
    async fn tables(&self) -> Result<Vec<TableId>, Error>;

    /// As [`Store::positions`].
    async fn positions(&self) -> Result<Vec<(PositionKey, Position)>, Error>;

    /// As [`Store::state_get`].
    async fn state_get(&self, table: &TableId, keys: &[Bytes], bytes_max: usize) -> Result<Vec<Option<Bytes>>, Error>;

    /// As [`Store::state_scan`].
    async fn state_scan(
        &self,
        table: &TableId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Entries, Error>;
}

/// Streams with partitions, positions and keyed state.
///
/// Only the [`committer`] calls [`Store::commit`], one group at a time; everything else may be called from anywhere.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// What tells this store from every other: 16 hex digits, drawn when it was made. A copy of it has the same.
    fn id(&self) -> String;

    /// Makes a stream, or adds partitions to one, or changes its retention. Durable on return. Partitions are never taken
    /// away: where there are more than the setting says, they stay.
    async fn create_stream(&self, spec: &StreamSpec) -> Result<(), Error>;

    /// All streams, by name.
    async fn streams(&self) -> Result<Vec<StreamSpec>, Error>;

    /// One stream, where it exists.
    async fn stream(&self, name: &str) -> Result<Option<StreamSpec>, Error>;

    /// What a partition holds.
    async fn bounds(&self, stream: &str, partition: Partition) -> Result<Bounds, Error>;

    /// Records from an offset on, in order, with their offsets: whole stored batches until `bytes_max` is passed, at
    /// least one record where there is one. Empty at the end of the partition. Fails with [`Error::Trimmed`] where the
    /// offset is before the start, with [`Error::NoPartition`] where there is no such place.
    async fn read(&self, stream: &str, partition: Partition, from: Offset, bytes_max: usize) -> Result<Batch, Error>;

    /// A committed position.
    async fn position(&self, key: &PositionKey) -> Result<Option<Position>, Error>;

    /// All committed positions, by key.
    async fn positions(&self) -> Result<Vec<(PositionKey, Position)>, Error>;

    /// Committed values of keys, in the order of the keys: of as many as there are until `bytes_max` is passed, and of one at
    /// least. What is missing at the end is to be asked for again.
    async fn state_get(&self, table: &TableId, keys: &[Bytes], bytes_max: usize) -> Result<Vec<Option<Bytes>>, Error>;

    /// Committed entries whose key begins with a prefix, by key, after `after` where given: at most `limit`, and no more once
    /// `bytes_max` is passed.
    async fn state_scan(
        &self,
        table: &TableId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Entries, Error>;

    /// What it takes on disk; nothing where it has none.
    async fn disk_use(&self) -> Result<DiskUse, Error>;

    /// What is committed now, whatever is committed from now on.
    async fn snapshot(&self) -> Result<Arc<dyn Snapshot>, Error>;

    /// Whether [`Store::commit`] would take these changes: it fails with [`Error::NoPartition`] or [`Error::TooLarge`]
    /// where it would not. Once taken, always taken: streams do not go away.
    async fn check(&self, changes: &Changes) -> Result<(), Error>;

    /// Makes a group of changes durable, all or nothing, in order; appends get their offsets here, and `now` as the time
    /// by which retention counts. One answer for each partition that was appended to, by stream and partition. Where
    /// [`Store::check`] would refuse one of them, none happens. Any other error is fatal to the process: the store
    /// refuses everything from then on, and what is on disk is known only when it is opened again.
    async fn commit(&self, group: &[Changes], now: Timestamp) -> Result<Vec<Appended>, Error>;

    /// Lets whole stored batches go from the front of every partition, as [`Retention`] says: those that are too old, and
    /// as many as it takes for the partition not to be full. `unread` gives the lowest offset that is still to be read
    /// of a partition; `None`: nobody reads it. One answer for each partition that changed. What is let go may come back
    /// when the process is killed before the next commit.
    async fn trim(
        &self,
        now: Timestamp,
        unread: &(dyn for<'a> Fn(&'a str, Partition) -> Option<Offset> + Sync),
    ) -> Result<Vec<Appended>, Error>;

    /// Lets records go that newer ones with the same key have replaced, of partitions whose [`Retention`] compacts: below
    /// `unread`, and without the newest stored batch, the newest record of each key stays, or none where that is a tombstone,
    /// and so do records without a key. Offsets stay as they are. A partition is worth it once it has at least `new_bytes_min`
    /// bytes, and no fewer than the last time left, that were not looked at then. One answer for each that changed.
    async fn compact(
        &self,
        new_bytes_min: u64,
        unread: &(dyn for<'a> Fn(&'a str, Partition) -> Option<Offset> + Sync),
    ) -> Result<Vec<Appended>, Error>;
}
