//! The storage engine and how it is set up. The only file, with its parent, that knows of fjall.
//!
//! Batches are compressed once, by [`super::codec`], so the journal, the memtables and the files hold them small and the
//! engine compresses none of them again. They lie in files of their own, apart from the keys, and so are written twice in
//! all: to the journal and to such a file. Compaction moves keys alone. A batch that is trimmed leaves a hole; a file that
//! is all holes is deleted, which for a log happens from the front on.
//!
//! The engine finds the holes when it compacts, and it compacts after every few memtables: the disk takes up to about
//! 200 MiB more than what is kept, and what is trimmed while nothing is written is given back once something is.
//! Measured with four partitions of 64 MiB each, 200-byte lines from sshd, 8 million of them: 5 MiB of memory when
//! opened, 58 MiB at most, 200 MiB of disk at most; 0.7 us of processor time for each record appended, 0.24 us for each
//! read from disk; 0.2 s to open it again.

use std::path::Path;

use fjall::config::{FilterPolicy, FilterPolicyEntry, PartitioningPolicy, PinningPolicy};
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, LsmError, OwnedWriteBatch,
};

use crate::store::{DiskUse, Error};

/// Memory for blocks and batches read from disk.
const CACHE_BYTES: u64 = 32 << 20;
/// Files that are kept open.
const FILES_MAX: usize = 256;
/// Threads that write memtables to disk and compact.
const WORKERS: usize = 2;
/// Disk that sealed journals may take before memtables are written out to let them go: the least the engine allows.
const JOURNALS_BYTES_MAX: u64 = 64 << 20;
/// Memory that the newest of each keyspace takes. Up to four times as much is taken while the disk does not keep up.
const STREAMS_MEMTABLE_BYTES: u64 = 16 << 20;
const STATE_MEMTABLE_BYTES: u64 = 8 << 20;
const SMALL_MEMTABLE_BYTES: u64 = 1 << 20;
/// Packed batches of this size lie apart from their keys.
const SEPARATE_BYTES_MIN: u32 = 4096;
/// The size of the files that hold batches: also what a trimmed stream may take longer than it needs to.
const BATCH_FILE_BYTES: u64 = 16 << 20;
/// The part of such a file that must be holes before the rest of it is moved.
const HOLES_MAX: f32 = 0.5;
/// With so many memtables waiting to be written, the committer waits. The engine itself would wait at four, and for
/// ever where its workers have failed.
const SEALED_MAX: usize = 3;
const SEALED_WAIT: std::time::Duration = std::time::Duration::from_millis(5);

/// The engine and its keyspaces; what each holds is said in [`super::codec`].
pub(super) struct Engine {
    pub db: Database,
    pub streams: Keyspace,
    pub positions: Keyspace,
    pub state: Keyspace,
    pub meta: Keyspace,
}

impl Engine {
    /// Opens the engine's files, or makes them.
    pub fn open(path: &Path) -> Result<Engine, Error> {
        let open = || {
            let db = Database::builder(path)
                .cache_size(CACHE_BYTES)
                .max_cached_files(Some(FILES_MAX))
                .worker_threads(WORKERS)
                .max_journaling_size(JOURNALS_BYTES_MAX)
                .journal_compression(CompressionType::None)
                .open()?;
            Ok(Engine {
                streams: db.keyspace("streams", streams_options)?,
                positions: db.keyspace("positions", || memtable(SMALL_MEMTABLE_BYTES))?,
                state: db.keyspace("state", state_options)?,
                meta: db.keyspace("meta", || memtable(SMALL_MEMTABLE_BYTES))?,
                db,
            })
        };
        open().map_err(|error| failed(&path.display().to_string(), error))
    }

    /// What the files take.
    pub fn disk_use(&self) -> Result<DiskUse, Error> {
        let all = self.db.disk_space().map_err(|error| failed("the files of the store", error))?;
        Ok(DiskUse { all, state: self.state.disk_space() })
    }

    /// Waits while the engine does not keep up with writing memtables out, and fails where it has given up.
    pub fn wait_for_room(&self) -> Result<(), Error> {
        let keyspaces = [&self.streams, &self.positions, &self.state, &self.meta];
        while keyspaces.iter().any(|keyspace| keyspace.sealed_memtable_count() >= SEALED_MAX) {
            self.db.persist(fjall::PersistMode::Buffer).map_err(storage)?;
            std::thread::sleep(SEALED_WAIT);
        }
        Ok(())
    }

    /// Writes a batch and makes it durable with one fsync.
    pub fn commit(&self, batch: OwnedWriteBatch) -> Result<(), Error> {
        self.wait_for_room()?;
        batch.durability(Some(fjall::PersistMode::SyncData)).commit().map_err(storage)
    }

    /// Writes a batch that becomes durable with the next one that is committed.
    pub fn write(&self, batch: OwnedWriteBatch) -> Result<(), Error> {
        self.wait_for_room()?;
        batch.durability(Some(fjall::PersistMode::Buffer)).commit().map_err(storage)
    }
}

fn memtable(bytes: u64) -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(bytes)
}

/// Keyed state is read by single keys, and may be far larger than memory. As the engine comes, filters and indexes of the upper
/// levels are blocks of up to a megabyte each: a table of 10 million keys was read at 2,000 keys a second, each with half a
/// megabyte from disk or its cache. In parts of a few kilobytes, a key costs one of each.
fn state_options() -> KeyspaceCreateOptions {
    memtable(STATE_MEMTABLE_BYTES)
        .filter_block_partitioning_policy(PartitioningPolicy::all(true))
        .index_block_partitioning_policy(PartitioningPolicy::all(true))
        .filter_block_pinning_policy(PinningPolicy::all(false))
        .index_block_pinning_policy(PinningPolicy::all(false))
}

fn streams_options() -> KeyspaceCreateOptions {
    let separate = KvSeparationOptions::default()
        .compression(CompressionType::None)
        .separation_threshold(SEPARATE_BYTES_MIN)
        .file_target_size(BATCH_FILE_BYTES)
        .staleness_threshold(HOLES_MAX);
    memtable(STREAMS_MEMTABLE_BYTES)
        .with_kv_separation(Some(separate))
        // Batches are found by range, never by a whole key.
        .filter_policy(FilterPolicy::all(FilterPolicyEntry::None))
}

/// The error of a write: nothing is known of what is on disk.
pub(super) fn storage(error: fjall::Error) -> Error {
    Error::Storage(error.to_string())
}

/// The error of a read: the disk failed, or what it gave is not what was written.
pub(super) fn failed(place: &str, error: fjall::Error) -> Error {
    use std::io::ErrorKind::UnexpectedEof;
    let io = match &error {
        fjall::Error::Io(io) | fjall::Error::Storage(LsmError::Io(io)) => io.kind() != UnexpectedEof,
        fjall::Error::Poisoned => true,
        _ => false,
    };
    if io { Error::Storage(format!("{place}: {error}")) } else { damaged(place, &error.to_string()) }
}

pub(super) fn damaged(place: &str, what: &str) -> Error {
    Error::Damaged { place: place.into(), what: what.into() }
}
