//! The store in memory, for simulation.
//!
//! Its contents outlive its handles as a disk outlives a process: [`MemoryStore::reopen`] is the restart after a crash.
//! It is deterministic: no threads, no clock, sorted maps. It knows nothing of files.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::compaction::{self, Compacted, KEYS_MAX, Newest, Piece};
use super::log::{
    Reading, Stored, Trim, adapt, check_names, check_sizes, check_start, merge, no_partition, place, without_front,
};
use super::{
    Appended, Bounds, Changes, DiskUse, Entries, Error, PositionKey, Retention, Snapshot, Store, StreamName,
    StreamSpec, TableId,
};
use crate::record::{Batch, Offset, Partition, Position, Timestamp};

/// A handle to the contents of a store in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    contents: Arc<Mutex<Contents>>,
    /// Which opening of the contents this handle belongs to: those of an earlier one are refused.
    opening: u64,
}

/// How a commit fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Nothing of it was applied.
    BeforeApply,
    /// All of it was applied, and the process died before it learned of it.
    AfterApply,
}

#[derive(Debug, Default)]
struct Contents {
    opening: u64,
    /// The current opening had a failed commit: as the embedded store, it refuses everything.
    failed: bool,
    fail_next: Option<Failure>,
    /// How long a commit takes before it is applied.
    commit_time: Duration,
    commits: u64,
    /// Drawn when it is first asked for, where it was not given.
    id: Option<u64>,
    streams: BTreeMap<StreamName, Stream>,
    positions: BTreeMap<PositionKey, Position>,
    state: BTreeMap<TableId, BTreeMap<Bytes, Bytes>>,
}

#[derive(Debug)]
struct Stream {
    spec: StreamSpec,
    partitions: Vec<Log>,
}

#[derive(Debug, Clone, Default)]
struct Log {
    bounds: Bounds,
    batches: VecDeque<(Stored, Batch)>,
    compacted: Compacted,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store that bears this id, for what must come out the same again.
    pub fn named(id: u64) -> Self {
        let store = MemoryStore::default();
        store.lock().id = Some(id);
        store
    }

    /// A handle to the same contents, as after a restart. All earlier handles are refused from now on, so that what is
    /// left of a crashed appliance can change nothing. An injected failure that has not struck is forgotten.
    pub fn reopen(&self) -> Self {
        let mut contents = self.lock();
        contents.opening += 1;
        contents.failed = false;
        contents.fail_next = None;
        contents.commit_time = Duration::ZERO;
        MemoryStore { contents: self.contents.clone(), opening: contents.opening }
    }

    /// Makes the next commit fail. As with a disk, nothing works after it until [`MemoryStore::reopen`].
    pub fn fail_next(&self, failure: Failure) {
        self.lock().fail_next = Some(failure);
    }

    /// Makes commits take so long, as on a slow disk, until [`MemoryStore::reopen`].
    pub fn slow_down(&self, commit_time: Duration) {
        self.lock().commit_time = commit_time;
    }

    /// How many groups were committed since the contents were made.
    pub fn commits(&self) -> u64 {
        self.lock().commits
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Result<MutexGuard<'_, Contents>, Error> {
        let contents = self.lock();
        if contents.opening != self.opening {
            return Err(Error::Storage("the store was opened again elsewhere".into()));
        }
        if contents.failed {
            return Err(Error::Storage("an earlier commit failed".into()));
        }
        Ok(contents)
    }
}

impl Contents {
    fn log(&self, stream: &str, partition: Partition) -> Result<&Log, Error> {
        let found = self.streams.get(stream).and_then(|found| found.partitions.get(partition.0 as usize));
        found.ok_or_else(|| no_partition(stream, partition))
    }

    fn log_mut(&mut self, stream: &str, partition: Partition) -> Result<&mut Log, Error> {
        let found = self.streams.get_mut(stream).and_then(|found| found.partitions.get_mut(partition.0 as usize));
        found.ok_or_else(|| no_partition(stream, partition))
    }

    fn check(&self, changes: &Changes) -> Result<(), Error> {
        changes.appends.iter().try_for_each(|append| self.log(&append.stream, append.partition).map(drop))?;
        check_sizes(changes)
    }

    fn apply(&mut self, group: &[Changes], now: Timestamp) -> Result<Vec<Appended>, Error> {
        let mut appended = Vec::new();
        for ((stream, partition), batches) in merge(group) {
            let log = self.log_mut(&stream, partition)?;
            for mut batch in batches {
                let stored = place(&mut batch, &mut log.bounds, now);
                log.batches.push_back((stored, batch));
            }
            appended.push(Appended { bounds: log.bounds, stream, partition });
        }
        for changes in group {
            self.positions.extend(changes.positions.iter().cloned());
            for change in &changes.state {
                let table = self.state.entry(change.table.clone()).or_default();
                match &change.value {
                    Some(value) => drop(table.insert(change.key.clone(), value.clone())),
                    None => drop(table.remove(&change.key)),
                }
            }
        }
        self.commits += 1;
        Ok(appended)
    }
}

impl Log {
    fn read(&self, from: Offset, bytes_max: usize) -> Batch {
        let mut reading = Reading::new(from, bytes_max);
        let first = self.batches.partition_point(|(stored, _)| stored.end <= from);
        for (stored, batch) in self.batches.range(first..) {
            if !reading.take(stored.end, Cow::Borrowed(batch)) {
                break;
            }
        }
        reading.finish()
    }

    fn trim(&mut self, rule: &Trim) -> bool {
        let before = self.bounds.start;
        while let Some((front, _)) = self.batches.front().filter(|(front, _)| rule.lets_go(&self.bounds, front)) {
            self.bounds = without_front(self.bounds, front);
            self.batches.pop_front();
        }
        self.bounds.start != before
    }

    fn compact(&mut self, limit: Offset, new_bytes_min: u64, retention: &Retention) -> bool {
        let is_within = |stored: &Stored| stored.end <= limit && stored.end < self.bounds.end;
        let new = || self.batches.iter().filter(|(stored, _)| stored.base >= self.compacted.until && is_within(stored));
        let new_bytes = new().map(|(stored, _)| stored.bytes).sum();
        if !compaction::is_worth_it(&self.compacted, new_bytes, new_bytes_min, retention) {
            return false;
        }
        let (mut newest, mut until) = (Newest::default(), self.compacted.until);
        for (stored, batch) in new() {
            if newest.is_full(KEYS_MAX) {
                break;
            }
            newest.note(batch);
            until = stored.end;
        }
        let mut piece = Piece::default();
        for (stored, batch) in self.batches.iter().take_while(|(stored, _)| stored.base < until) {
            piece.take(*stored, batch, &newest);
        }
        let (before, kept) = (piece.bytes_before(), piece.stored());
        self.compacted = Compacted { until, bytes: kept.map_or(before, |kept| kept.bytes) };
        if let Some(kept) = kept {
            self.bounds.bytes = (self.bounds.bytes + kept.bytes).saturating_sub(before);
            self.batches.drain(..piece.old.len());
            self.batches.push_front((kept, piece.records));
        }
        true
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn id(&self) -> String {
        format!("{:016x}", *self.lock().id.get_or_insert_with(super::random))
    }

    async fn create_stream(&self, spec: &StreamSpec) -> Result<(), Error> {
        check_names(&[&spec.name])?;
        let mut contents = self.open()?;
        let existing = contents.streams.remove(&spec.name);
        let spec = adapt(existing.as_ref().map(|existing| &existing.spec), spec);
        let mut partitions = existing.map(|existing| existing.partitions).unwrap_or_default();
        partitions.resize_with(spec.partitions as usize, Log::default);
        contents.streams.insert(spec.name.clone(), Stream { spec, partitions });
        Ok(())
    }

    async fn streams(&self) -> Result<Vec<StreamSpec>, Error> {
        Ok(self.open()?.streams.values().map(|stream| stream.spec.clone()).collect())
    }

    async fn stream(&self, name: &str) -> Result<Option<StreamSpec>, Error> {
        Ok(self.open()?.streams.get(name).map(|stream| stream.spec.clone()))
    }

    async fn bounds(&self, stream: &str, partition: Partition) -> Result<Bounds, Error> {
        Ok(self.open()?.log(stream, partition)?.bounds)
    }

    async fn read(&self, stream: &str, partition: Partition, from: Offset, bytes_max: usize) -> Result<Batch, Error> {
        let contents = self.open()?;
        let log = contents.log(stream, partition)?;
        let some = check_start(stream, partition, from, &log.bounds)?;
        Ok(if some { log.read(from, bytes_max) } else { Batch::default() })
    }

    async fn position(&self, key: &PositionKey) -> Result<Option<Position>, Error> {
        Ok(self.open()?.positions.get(key).cloned())
    }

    async fn positions(&self) -> Result<Vec<(PositionKey, Position)>, Error> {
        Ok(self.open()?.positions.iter().map(|(key, position)| (key.clone(), position.clone())).collect())
    }

    async fn state_get(&self, table: &TableId, keys: &[Bytes], bytes_max: usize) -> Result<Vec<Option<Bytes>>, Error> {
        let contents = self.open()?;
        let table = contents.state.get(table);
        let mut bytes = 0;
        let value = |key| table?.get(key).cloned();
        let within = |value: &Option<Bytes>| {
            let goes_on = bytes <= bytes_max;
            bytes += value.as_ref().map_or(0, Bytes::len);
            goes_on
        };
        Ok(keys.iter().map(value).take_while(within).collect())
    }

    async fn state_scan(
        &self,
        table: &TableId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Entries, Error> {
        let contents = self.open()?;
        let Some(table) = contents.state.get(table) else { return Ok(Entries::default()) };
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let all = table.range::<[u8], _>((from, Bound::Unbounded)).take_while(|(key, _)| key.starts_with(prefix));
        Entries::page(all.map(|(key, value)| Ok((key.clone(), value.clone()))), limit, bytes_max)
    }

    async fn disk_use(&self) -> Result<DiskUse, Error> {
        Ok(DiskUse::default())
    }

    async fn snapshot(&self) -> Result<Arc<dyn Snapshot>, Error> {
        let contents = self.open()?;
        let copy =
            Contents { positions: contents.positions.clone(), state: contents.state.clone(), ..Contents::default() };
        Ok(Arc::new(MemoryStore { contents: Arc::new(Mutex::new(copy)), opening: 0 }))
    }

    async fn check(&self, changes: &Changes) -> Result<(), Error> {
        self.open()?.check(changes)
    }

    async fn commit(&self, group: &[Changes], now: Timestamp) -> Result<Vec<Appended>, Error> {
        let commit_time = self.open()?.commit_time;
        if !commit_time.is_zero() {
            tokio::time::sleep(commit_time).await;
        }
        let mut contents = self.open()?;
        group.iter().try_for_each(|changes| contents.check(changes))?;
        let failure = contents.fail_next.take();
        contents.failed = failure.is_some();
        if failure == Some(Failure::BeforeApply) {
            return Err(Error::Storage("a failure was injected before the commit".into()));
        }
        let appended = contents.apply(group, now)?;
        match failure {
            Some(_) => Err(Error::Storage("a failure was injected after the commit".into())),
            None => Ok(appended),
        }
    }

    async fn trim(
        &self,
        now: Timestamp,
        unread: &(dyn for<'a> Fn(&'a str, Partition) -> Option<Offset> + Sync),
    ) -> Result<Vec<Appended>, Error> {
        let mut contents = self.open()?;
        let mut trimmed = Vec::new();
        for (name, stream) in &mut contents.streams {
            for (partition, log) in (0..).map(Partition).zip(&mut stream.partitions) {
                let rule = Trim { retention: stream.spec.retention, unread: unread(name, partition), now };
                if log.trim(&rule) {
                    trimmed.push(Appended { stream: name.clone(), partition, bounds: log.bounds });
                }
            }
        }
        Ok(trimmed)
    }

    async fn compact(
        &self,
        new_bytes_min: u64,
        unread: &(dyn for<'a> Fn(&'a str, Partition) -> Option<Offset> + Sync),
    ) -> Result<Vec<Appended>, Error> {
        let mut contents = self.open()?;
        let mut compacted = Vec::new();
        for (name, stream) in &mut contents.streams {
            for (partition, log) in (0..).map(Partition).zip(&mut stream.partitions) {
                let limit = compaction::limit(&stream.spec.retention, &log.bounds, unread(name, partition));
                if limit.is_some_and(|limit| log.compact(limit, new_bytes_min, &stream.spec.retention)) {
                    compacted.push(Appended { stream: name.clone(), partition, bounds: log.bounds });
                }
            }
        }
        Ok(compacted)
    }
}

/// A store that nobody else has.
#[async_trait]
impl Snapshot for MemoryStore {
    async fn tables(&self) -> Result<Vec<TableId>, Error> {
        Ok(self.open()?.state.keys().cloned().collect())
    }

    async fn positions(&self) -> Result<Vec<(PositionKey, Position)>, Error> {
        Store::positions(self).await
    }

    async fn state_get(&self, table: &TableId, keys: &[Bytes], bytes_max: usize) -> Result<Vec<Option<Bytes>>, Error> {
        Store::state_get(self, table, keys, bytes_max).await
    }

    async fn state_scan(
        &self,
        table: &TableId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Entries, Error> {
        Store::state_scan(self, table, prefix, after, limit, bytes_max).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::suite;

    suite::store_tests!(async { (MemoryStore::new(), ()) });

    #[tokio::test]
    async fn a_failure_before_applies_nothing_and_one_after_applies_all() {
        for (failure, expected) in [(Failure::BeforeApply, 0), (Failure::AfterApply, 2)] {
            let store = suite::with_stream(MemoryStore::new(), "s", 1).await;
            store.fail_next(failure);
            let group = [suite::append("s", 0, &["a", "b"])];
            assert!(store.commit(&group, Timestamp(0)).await.unwrap_err().is_fatal());
            assert!(store.bounds("s", Partition(0)).await.unwrap_err().is_fatal(), "it must refuse everything");
            let store = store.reopen();
            assert_eq!(store.bounds("s", Partition(0)).await.unwrap().end, Offset(expected));
        }
    }

    #[tokio::test]
    async fn handles_from_before_a_restart_are_refused() {
        let store = suite::with_stream(MemoryStore::new(), "s", 1).await;
        let reopened = store.reopen();
        let group = [suite::append("s", 0, &["a"])];
        assert!(store.commit(&group, Timestamp(0)).await.unwrap_err().is_fatal());
        assert_eq!(reopened.commit(&group, Timestamp(0)).await.unwrap().len(), 1);
    }
}
