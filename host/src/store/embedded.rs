//! The embedded store: fjall.
//!
//! One group of commits is one write batch of the engine and one fsync; a stored batch of records is one value, and a
//! read is one get. [`directory`] is what lies where, [`codec`] what keys and values look like, [`engine`] how fjall is
//! set up. What commits need to know of the disk ([`catalog`]) and what was written last ([`tail`]) is held in memory.
//! It knows nothing of pipelines, sources and sinks.

mod catalog;
mod codec;
mod compact;
mod directory;
mod engine;
mod read;
mod snapshot;
mod tail;
#[cfg(test)]
mod tests;
mod write;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use async_trait::async_trait;
use bytes::Bytes;

use self::catalog::Catalog;
use self::directory::Directory;
use self::engine::Engine;
use self::snapshot::EmbeddedSnapshot;
use self::tail::Tail;
use super::log::{Reading, check_names, check_start};
use super::{Appended, Bounds, Changes, DiskUse, Entries, Error, PositionKey, Snapshot, Store, StreamSpec, TableId};
use crate::record::{Batch, Offset, Partition, Position, Timestamp};

/// The store in a data directory. Clones are handles to the same one; it is closed when the last is gone.
#[derive(Clone)]
pub struct EmbeddedStore(Arc<Inner>);

/// The order of the fields is the order in which they are let go: the lock last.
struct Inner {
    engine: Engine,
    catalog: RwLock<Catalog>,
    tail: Mutex<Tail>,
    /// Held by whoever writes: commits, trims and new streams come one after the other.
    writing: Mutex<()>,
    /// Held by whoever compacts.
    compacting: Mutex<()>,
    /// Why everything is refused: a write failed.
    failed: OnceLock<String>,
    directory: Directory,
}

impl EmbeddedStore {
    /// Opens the store in a data directory, or makes one. Blocks, for up to a second where there is a journal to be read
    /// again. Fails with [`Error::Locked`] where another process has the directory, [`Error::Format`] where another
    /// version wrote it, and [`Error::Damaged`] where a stream is not what its bounds say.
    pub fn open(data: &Path) -> Result<Self, Error> {
        let directory = Directory::open(data, |db| Engine::open(db).map(drop))?;
        let engine = Engine::open(&directory.db)?;
        let catalog = read::catalog(&engine)?;
        read::check_streams(&engine, &catalog)?;
        Ok(EmbeddedStore(Arc::new(Inner {
            engine,
            catalog: RwLock::new(catalog),
            tail: Mutex::default(),
            writing: Mutex::default(),
            compacting: Mutex::default(),
            failed: OnceLock::new(),
            directory,
        })))
    }

    /// Does work that waits for the disk, away from the tasks. It is done to its end even if nobody waits for it.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let inner = self.0.clone();
        let done = tokio::task::spawn_blocking(move || {
            let done = inner.check_works().and_then(|()| work(&inner));
            // Before the answer is known: who has it and lets go of the store, has let go of the directory.
            drop(inner);
            done
        });
        done.await.unwrap_or_else(|error| Err(Error::Storage(format!("the storage engine gave up: {error}"))))
    }
}

impl Inner {
    fn check_works(&self) -> Result<(), Error> {
        match self.failed.get() {
            Some(reason) => Err(Error::Storage(format!("an earlier write failed: {reason}"))),
            None => Ok(()),
        }
    }

    fn catalog(&self) -> RwLockReadGuard<'_, Catalog> {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn catalog_mut(&self) -> RwLockWriteGuard<'_, Catalog> {
        self.catalog.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    fn id(&self) -> String {
        self.0.directory.id.clone()
    }

    async fn create_stream(&self, spec: &StreamSpec) -> Result<(), Error> {
        check_names(&[&spec.name])?;
        let spec = spec.clone();
        self.blocking(move |inner| inner.create_stream(&spec)).await
    }

    async fn streams(&self) -> Result<Vec<StreamSpec>, Error> {
        self.0.check_works()?;
        Ok(self.0.catalog().streams.values().map(|stream| stream.spec.clone()).collect())
    }

    async fn stream(&self, name: &str) -> Result<Option<StreamSpec>, Error> {
        self.0.check_works()?;
        Ok(self.0.catalog().streams.get(name).map(|stream| stream.spec.clone()))
    }

    async fn bounds(&self, stream: &str, partition: Partition) -> Result<Bounds, Error> {
        self.0.check_works()?;
        self.0.catalog().place(stream, partition).map(|(_, bounds)| bounds)
    }

    async fn read(&self, stream: &str, partition: Partition, from: Offset, bytes_max: usize) -> Result<Batch, Error> {
        self.0.check_works()?;
        let (place, bounds) = self.0.catalog().place(stream, partition)?;
        if !check_start(stream, partition, from, &bounds)? {
            return Ok(Batch::default());
        }
        let recent = self.0.tail().read(place, from, bytes_max);
        if recent.is_empty() {
            let wanted = read::Wanted { stream: stream.into(), place, end: bounds.end };
            return self.blocking(move |inner| inner.read(&wanted, Reading::new(from, bytes_max))).await;
        }
        let mut reading = Reading::new(from, bytes_max);
        let _ = recent.iter().all(|(end, batch)| reading.take(*end, std::borrow::Cow::Borrowed(batch)));
        Ok(reading.finish())
    }

    async fn position(&self, key: &PositionKey) -> Result<Option<Position>, Error> {
        let key = key.clone();
        self.blocking(move |inner| inner.position(&key)).await
    }

    async fn positions(&self) -> Result<Vec<(PositionKey, Position)>, Error> {
        self.blocking(|inner| inner.positions(&inner.engine.db.snapshot())).await
    }

    async fn state_get(&self, table: &TableId, keys: &[Bytes], bytes_max: usize) -> Result<Vec<Option<Bytes>>, Error> {
        self.0.check_works()?;
        let Some(number) = self.0.catalog().tables.get(table).copied() else {
            return Ok(vec![None; keys.len()]);
        };
        let (table, keys) = (table.clone(), keys.to_vec());
        let get = move |inner: &Inner| inner.state_get(&inner.engine.db.snapshot(), &table, number, &keys, bytes_max);
        self.blocking(get).await
    }

    async fn state_scan(
        &self,
        table: &TableId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Entries, Error> {
        self.0.check_works()?;
        let Some(number) = self.0.catalog().tables.get(table).copied() else {
            return Ok(Entries::default());
        };
        let table = table.clone();
        let (prefix, after) = (prefix.to_vec(), after.map(<[u8]>::to_vec));
        let scan = move |inner: &Inner| {
            let snapshot = inner.engine.db.snapshot();
            inner.state_scan(&snapshot, &table, number, (&prefix, after.as_deref()), limit, bytes_max)
        };
        self.blocking(scan).await
    }

    async fn disk_use(&self) -> Result<DiskUse, Error> {
        self.blocking(|inner| inner.engine.disk_use()).await
    }

    async fn snapshot(&self) -> Result<Arc<dyn Snapshot>, Error> {
        self.0.check_works()?;
        Ok(Arc::new(EmbeddedSnapshot::of(self)))
    }

    async fn check(&self, changes: &Changes) -> Result<(), Error> {
        self.0.check_works()?;
        self.0.catalog().check(changes)
    }

    async fn commit(&self, group: &[Changes], now: Timestamp) -> Result<Vec<Appended>, Error> {
        group.iter().try_for_each(|changes| self.0.catalog().check(changes))?;
        let group = write::Group::of(group);
        self.blocking(move |inner| inner.commit(group, now)).await
    }

    async fn trim(
        &self,
        now: Timestamp,
        unread: &(dyn for<'a> Fn(&'a str, Partition) -> Option<Offset> + Sync),
    ) -> Result<Vec<Appended>, Error> {
        self.0.check_works()?;
        let rules = self.0.catalog().trims(now, unread);
        if rules.is_empty() {
            return Ok(Vec::new());
        }
        self.blocking(move |inner| inner.trim(&rules)).await
    }

    async fn compact(
        &self,
        new_bytes_min: u64,
        unread: &(dyn for<'a> Fn(&'a str, Partition) -> Option<Offset> + Sync),
    ) -> Result<Vec<Appended>, Error> {
        self.0.check_works()?;
        let targets = self.0.catalog().compactions(unread);
        if targets.is_empty() {
            return Ok(Vec::new());
        }
        // Where nobody waits for it any more, it ends before its time.
        let wanted = Arc::new(());
        let is_wanted = Arc::downgrade(&wanted);
        let compact = move |inner: &Inner| inner.compact(&targets, new_bytes_min, &|| is_wanted.strong_count() > 0);
        let compacted = self.blocking(compact).await;
        drop(wanted);
        compacted
    }
}
