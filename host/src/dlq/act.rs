//! Asks tasks to replay dead letters, drops them, and forgets what is settled of letters that retention has let go.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::desk::Desk;
use super::view::{Found, Scan, Select, replaying};
use super::{Id, Request, Settled, requests_table, settle, settled_table};
use crate::record::{Partition, Timestamp};
use crate::store::committer::{Commit, CommitError, Committer, Lane};
use crate::store::{self, Changes, DEAD_LETTERS, StateChange, Store, TableId};

/// Letters that tasks are asked to replay at a time; the next are asked for once these are settled.
const WAVE: usize = 1_000;
/// The bytes of records after which no more are asked for at a time.
const WAVE_BYTES: usize = 4 << 20;
/// How long is waited for letters to be settled while none is.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Settled letters that are forgotten at a time.
const PRUNE: usize = 1_000;
/// The reasons that are told of why letters cannot be replayed.
const REFUSALS_MAX: usize = 10;

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is asked for does not fit what is there.
    #[error("{0}")]
    Wrong(String),
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The change was not made.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// What became of a replay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replayed {
    /// Letters whose records went through.
    pub replayed: u64,
    /// Letters whose records were refused again, and are other letters now.
    pub refused: u64,
    /// Letters that wait for their tasks, and will be replayed.
    pub waiting: u64,
    /// Letters that cannot be replayed, and stay as they were.
    pub impossible: u64,
    /// Why: a few of the reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
}

/// What became of letters that were to be dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dropped {
    /// Letters that are gone.
    pub dropped: u64,
    /// Letters that are being replayed, and stay.
    pub replaying: u64,
}

/// Who commits a change.
#[async_trait]
pub trait Commits: Send + Sync {
    /// Makes a change durable.
    async fn commit(&self, changes: Changes) -> Result<(), Error>;
}

#[async_trait]
impl Commits for Committer {
    async fn commit(&self, changes: Changes) -> Result<(), Error> {
        Ok(self.submit(&Lane::default(), Commit { changes, staged: Vec::new() }).await.await?)
    }
}

/// Commits to a store where no appliance runs.
pub struct Alone<'a>(pub &'a dyn Store);

#[async_trait]
impl Commits for Alone<'_> {
    async fn commit(&self, changes: Changes) -> Result<(), Error> {
        // No stream is appended to, so the time of the commit is of no use.
        self.0.commit(&[changes], Timestamp(0)).await?;
        Ok(())
    }
}

/// Has the letters that are selected replayed, and waits until they are, or nothing happens for a while. One at a time may.
pub async fn replay(store: &dyn Store, commits: &dyn Commits, desk: &Desk, select: &Select) -> Result<Replayed, Error> {
    let mut done = Replayed::default();
    let mut scan = Scan::open(store, select).await?;
    let mut wave = Wave { number: next_number(store, commits).await?, ..Wave::default() };
    let mut found_any = false;
    while let Some(found) = scan.next().await? {
        found_any = true;
        if found.is_replaying {
            done.waiting += 1;
            done.explain(format!("{}: it waits for its task already", found.id));
        } else if let Some(why) = desk.refuses(&found.letter) {
            done.impossible += 1;
            done.explain(format!("{}: {why}", found.id));
        } else if wave.add(&found) && !wave.run(store, commits, desk, &mut done).await? {
            done.explain("the rest was not asked for, as nothing happens".into());
            return Ok(done);
        }
    }
    wave.run(store, commits, desk, &mut done).await?;
    if found_any { Ok(done) } else { Err(nothing(select)) }
}

/// Drops the letters that are selected. Those that are being replayed stay, where a task runs that does so.
pub async fn drop_letters(
    store: &dyn Store,
    commits: &dyn Commits,
    desk: &Desk,
    select: &Select,
) -> Result<Dropped, Error> {
    let mut done = Dropped::default();
    let mut scan = Scan::open(store, select).await?;
    let mut changes = Vec::new();
    while let Some(found) = scan.next().await? {
        if found.is_replaying && desk.is_running(&found.letter.pipeline, Partition(found.letter.partition)) {
            done.replaying += 1;
            continue;
        }
        if found.is_replaying {
            changes.extend(requests_of(store, &found).await?);
        }
        changes.push(settle(found.id, Settled::Dropped));
        done.dropped += 1;
        if changes.len() >= WAVE {
            let state = std::mem::take(&mut changes);
            commits.commit(Changes { state, ..Changes::default() }).await?;
        }
    }
    if !changes.is_empty() {
        commits.commit(Changes { state: changes, ..Changes::default() }).await?;
    }
    if done == Dropped::default() { Err(nothing(select)) } else { Ok(done) }
}

/// Forgets what is settled of letters that are not there any more.
pub async fn prune(store: &dyn Store, commits: &dyn Commits) -> Result<(), Error> {
    let partitions = store.stream(DEAD_LETTERS).await?.map_or(0, |spec| spec.partitions);
    for partition in (0..partitions).map(Partition) {
        let (table, start) = (settled_table(partition), store.bounds(DEAD_LETTERS, partition).await?.start);
        loop {
            let page = store.state_scan(&table, &[], None, PRUNE, usize::MAX).await?;
            let is_gone = |key: &Bytes| key.first_chunk().is_none_or(|key| u64::from_be_bytes(*key) < start.0);
            let gone: Vec<_> = page.entries.into_iter().map(|(key, _)| key).filter(is_gone).collect();
            if gone.is_empty() {
                break;
            }
            let state = gone.into_iter().map(|key| delete(&table, key)).collect();
            commits.commit(Changes { state, ..Changes::default() }).await?;
        }
    }
    Ok(())
}

fn delete(table: &TableId, key: Bytes) -> StateChange {
    StateChange { table: table.clone(), key, value: None }
}

fn nothing(select: &Select) -> Error {
    Error::Wrong(match (&*select.ids, &select.group) {
        ("", None) => "there are no such dead letters".into(),
        ("", Some(group)) => format!("there is no dead letter of the group {group} (see `weir dlq ls --group`)"),
        (ids, _) => format!("there is no dead letter {ids}: it is settled, or never was (see `weir dlq ls`)"),
    })
}

impl Replayed {
    fn explain(&mut self, why: String) {
        if self.why.len() < REFUSALS_MAX {
            self.why.push(why);
        }
    }
}

/// The number of a replay. None is given twice, in all the lives of a store.
async fn next_number(store: &dyn Store, commits: &dyn Commits) -> Result<u64, Error> {
    let table =
        TableId { pipeline: "".into(), step: DEAD_LETTERS.into(), table: "number".into(), partition: Partition(0) };
    let key = Bytes::from_static(b"n");
    let last = store.state_get(&table, std::slice::from_ref(&key), usize::MAX).await?.into_iter().next().flatten();
    let number = last.and_then(|last| Some(u64::from_be_bytes(*last.first_chunk()?))).unwrap_or(0) + 1;
    let value = Some(Bytes::copy_from_slice(&number.to_be_bytes()));
    commits.commit(Changes { state: vec![StateChange { table, key, value }], ..Changes::default() }).await?;
    Ok(number)
}

/// What asks a task to replay a letter, to be deleted.
async fn requests_of(store: &dyn Store, found: &Found) -> Result<Vec<StateChange>, Error> {
    let table = requests_table(&found.letter.pipeline.as_str().into(), Partition(found.letter.partition));
    let (mut changes, mut after) = (Vec::new(), None::<Bytes>);
    loop {
        let page = store.state_scan(&table, &[], after.as_deref(), WAVE, WAVE_BYTES).await?;
        after = page.entries.last().map(|(key, _)| key.clone());
        let is_meant = |(key, value): &(Bytes, Bytes)| Request::read(key, value).is_some_and(|of| of.id == found.id);
        let meant = page.entries.into_iter().filter(is_meant);
        changes.extend(meant.map(|(key, _)| delete(&table, key)));
        if !page.has_more {
            return Ok(changes);
        }
    }
}

/// Letters that are asked for at a time.
#[derive(Default)]
struct Wave {
    number: u64,
    changes: Vec<StateChange>,
    ids: Vec<Id>,
    tasks: BTreeSet<(Arc<str>, Partition)>,
    bytes: usize,
}

impl Wave {
    /// Adds a letter. Whether that is enough.
    fn add(&mut self, found: &Found) -> bool {
        let (pipeline, partition) = (Arc::from(found.letter.pipeline.as_str()), Partition(found.letter.partition));
        let request = Request { number: self.number, id: found.id, record: found.record.clone() };
        let (key, value) = request.entry();
        self.bytes += value.len();
        self.changes.push(StateChange { table: requests_table(&pipeline, partition), key, value: Some(value) });
        self.tasks.insert((pipeline, partition));
        self.ids.push(found.id);
        self.ids.len() >= WAVE || self.bytes >= WAVE_BYTES
    }

    /// Asks, and waits until all is settled. `false`: it is not, and nothing happens.
    async fn run(
        &mut self,
        store: &dyn Store,
        commits: &dyn Commits,
        desk: &Desk,
        done: &mut Replayed,
    ) -> Result<bool, Error> {
        let wave = std::mem::replace(self, Wave { number: self.number, ..Wave::default() });
        if wave.ids.is_empty() {
            return Ok(true);
        }
        let mut settled = desk.watch();
        commits.commit(Changes { state: wave.changes, ..Changes::default() }).await?;
        wave.tasks.iter().for_each(|(pipeline, partition)| desk.ring(pipeline, *partition));
        let mut left = wave.ids.len();
        loop {
            settled.borrow_and_update();
            let replaying = replaying(&*store.snapshot().await?).await?;
            let waiting = wave.ids.iter().filter(|id| replaying.contains(id)).count();
            let is_over = waiting == 0;
            let is_moving = std::mem::replace(&mut left, waiting) != waiting;
            if is_over || tokio::time::timeout(WAIT_MAX, settled.changed()).await.is_err() && !is_moving {
                done.waiting += waiting as u64;
                count(store, &wave.ids, &|id| replaying.contains(id), done).await?;
                return Ok(is_over);
            }
        }
    }
}

/// Counts what became of letters.
async fn count(
    store: &dyn Store,
    ids: &[Id],
    is_waiting: &(dyn Fn(&Id) -> bool + Sync),
    done: &mut Replayed,
) -> Result<(), Error> {
    for id in ids.iter().filter(|id| !is_waiting(id)) {
        let key = Bytes::copy_from_slice(&id.offset.0.to_be_bytes());
        let how = store.state_get(&settled_table(id.partition), &[key], usize::MAX).await?.into_iter().next().flatten();
        match how.as_deref() {
            Some(b"a") => done.refused += 1,
            Some(_) => done.replayed += 1,
            None => {
                done.impossible += 1;
                done.explain(format!("{id}: what refused it is not there any more; it is kept"));
            }
        }
    }
    Ok(())
}
