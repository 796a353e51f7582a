//! Looks at dead letters: those that are not settled, one by one or by their kinds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::signature::Signature;
use super::{Id, Letter, Request, is_requests, original, settled_table};
use crate::record::{Batch, Offset, Partition, Record};
use crate::sink::lines::push_record_line;
use crate::store::pages::Pages;
use crate::store::{DEAD_LETTERS, Error, Snapshot, Store};

/// Bytes of the stream that are read at a time.
const READ_BYTES: usize = 256 << 10;
/// The bytes of answers after which no more are read.
const PAGE_BYTES: usize = 4 << 20;
/// Kinds of errors that are told apart. What comes beyond them is counted with the last.
const GROUPS_MAX: usize = 10_000;

/// Which letters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Select {
    /// These, divided by commas; all of them, without any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ids: String,
    /// Of one kind: the id of its signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Of one pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// Of one step, sink or stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
}

impl Select {
    /// The ids, each once, in the order of the stream.
    pub fn ids(&self) -> Result<BTreeSet<Id>, String> {
        self.ids.split(',').filter(|id| !id.is_empty()).map(str::parse).collect()
    }

    fn takes(&self, letter: &Letter) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        is(&self.pipeline, &letter.pipeline)
            && is(&self.step, &letter.step)
            && self.group.as_ref().is_none_or(|group| *group == Signature::of(letter).id)
    }
}

/// A letter that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its id.
    pub id: Id,
    /// What is known of it.
    pub letter: Letter,
    /// Its record as it lies in the stream, alone.
    pub record: Batch,
    /// Where in the record's headers the letter begins.
    pub letter_at: usize,
    /// Whether its task is asked to replay it.
    pub is_replaying: bool,
}

/// A letter as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Its id.
    pub id: String,
    /// The id of its signature.
    pub group: String,
    /// Whether its task is asked to replay it.
    pub replaying: bool,
    /// The stream or topic of the input record.
    pub topic: String,
    /// The partition there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_partition: Option<u32>,
    /// What is known of it.
    #[serde(flatten)]
    pub letter: Letter,
}

impl Found {
    /// As it is shown.
    pub fn shown(&self) -> Shown {
        let (topic, topic_partition) = self.letter.place();
        Shown {
            id: self.id.to_string(),
            group: Signature::of(&self.letter).id,
            replaying: self.is_replaying,
            topic: topic.to_owned(),
            topic_partition,
            letter: self.letter.clone(),
        }
    }

    /// The record as it came to who refused it, at the offset of its input record.
    pub fn record(&self) -> Option<Record<'_>> {
        let record = self.record.get(0)?;
        Some(Record { offset: Offset(self.letter.offset), ..original(&record, self.letter_at) })
    }

    /// A line of an export: the whole letter, in the form of `weir tap`.
    pub fn export_line(&self) -> Vec<u8> {
        let mut line = Vec::new();
        if let Some(record) = self.record.get(0) {
            push_record_line(&mut line, DEAD_LETTERS, self.id.partition, &record);
        }
        line
    }

    /// All of it as one line: what is known, and under `record` the record in the form of `weir tap`.
    pub fn whole_line(&self) -> Vec<u8> {
        // Text and numbers always can be written.
        let mut line = serde_json::to_vec(&self.shown()).unwrap_or_default();
        if let Some(record) = self.record() {
            line.pop();
            line.extend_from_slice(b",\"record\":");
            let (topic, partition) = self.letter.place();
            push_record_line(&mut line, topic, Partition(partition.unwrap_or_default()), &record);
            line.pop();
            line.push(b'}');
        }
        line.push(b'\n');
        line
    }

    /// A line of a list.
    pub fn list_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(&self.shown()).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// All letters of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// The id of its signature.
    pub group: String,
    /// The reason without its variable parts.
    pub pattern: String,
    /// The pipelines.
    pub pipelines: BTreeSet<String>,
    /// The step, sink or stream.
    pub step: String,
    /// The plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// How many letters.
    pub count: u64,
    /// When the first came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// When the last came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// The id of the last.
    pub example: String,
}

/// The kinds of the letters that are selected, those with the most first.
pub async fn groups(store: &dyn Store, select: &Select) -> Result<Vec<Group>, super::act::Error> {
    let mut groups: BTreeMap<Signature, Group> = BTreeMap::new();
    let mut scan = Scan::open(store, select).await?;
    while let Some(found) = scan.next().await? {
        let signature = Signature::of(&found.letter);
        let Letter { pipeline, step, plugin, time, .. } = found.letter;
        if groups.len() >= GROUPS_MAX && !groups.contains_key(&signature) {
            return Err(super::act::Error::Wrong(format!(
                "there are more than {GROUPS_MAX} kinds of errors: select a pipeline or step"
            )));
        }
        let group = groups.entry(signature.clone()).or_insert_with(|| Group {
            group: signature.id,
            pattern: signature.pattern,
            pipelines: BTreeSet::new(),
            step,
            plugin,
            count: 0,
            first: time.clone(),
            last: None,
            example: String::new(),
        });
        group.pipelines.insert(pipeline);
        group.count += 1;
        group.last = time;
        group.example = found.id.to_string();
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    Ok(groups)
}

/// Goes through the letters that are selected and not settled, in order.
pub struct Scan<'a> {
    store: &'a dyn Store,
    snapshot: std::sync::Arc<dyn Snapshot>,
    select: Select,
    /// The letters that tasks are asked to replay.
    replaying: BTreeSet<Id>,
    ids: Option<BTreeSet<Id>>,
    /// The partitions that are still to be read, with the offset to go on at, and their ends.
    left: VecDeque<(Partition, Offset, Offset)>,
    found: VecDeque<Found>,
}

impl<'a> Scan<'a> {
    /// Begins. What comes from now on is not seen.
    pub async fn open(store: &'a dyn Store, select: &Select) -> Result<Scan<'a>, super::act::Error> {
        let ids = select.ids().map_err(super::act::Error::Wrong)?;
        let snapshot = store.snapshot().await?;
        let replaying = replaying(&*snapshot).await?;
        let partitions = store.stream(DEAD_LETTERS).await?.map_or(0, |spec| spec.partitions);
        let mut left = VecDeque::new();
        for partition in (0..partitions).map(Partition) {
            let bounds = store.bounds(DEAD_LETTERS, partition).await?;
            left.push_back((partition, bounds.start, bounds.end));
        }
        let ids = (!ids.is_empty()).then_some(ids);
        Ok(Scan { store, snapshot, select: select.clone(), replaying, ids, left, found: VecDeque::new() })
    }

    /// The next letter.
    pub async fn next(&mut self) -> Result<Option<Found>, Error> {
        while self.found.is_empty() {
            let Some((partition, from, end)) = self.left.pop_front() else { return Ok(None) };
            let Some(from) = self.seek(partition, from).filter(|from| *from < end) else { continue };
            match self.store.read(DEAD_LETTERS, partition, from, READ_BYTES).await {
                Ok(batch) => self.look(partition, &batch, end).await?,
                // Retention was faster.
                Err(Error::Trimmed { start, .. }) => self.left.push_front((partition, start, end)),
                Err(error) => return Err(error),
            }
        }
        Ok(self.found.pop_front())
    }

    /// Where to go on: of letters that are named at the next.
    fn seek(&self, partition: Partition, from: Offset) -> Option<Offset> {
        let Some(ids) = &self.ids else { return Some(from) };
        let next = ids.range(Id { partition, offset: from }..).next();
        next.filter(|id| id.partition == partition).map(|id| id.offset)
    }

    async fn look(&mut self, partition: Partition, batch: &Batch, end: Offset) -> Result<(), Error> {
        let Some(last) = batch.last_offset() else { return Ok(()) };
        self.left.push_front((partition, Offset(last.0 + 1), end));
        let keys: Vec<_> = batch.iter().map(|record| Bytes::from(record.offset.0.to_be_bytes().to_vec())).collect();
        let mut settled = Vec::new();
        while let Some(rest) = keys.get(settled.len()..).filter(|rest| !rest.is_empty()) {
            settled.extend(self.snapshot.state_get(&settled_table(partition), rest, PAGE_BYTES).await?);
        }
        for ((at, record), settled) in (0..).zip(batch.iter()).zip(settled) {
            let id = Id { partition, offset: record.offset };
            let is_named = self.ids.as_ref().is_none_or(|ids| ids.contains(&id));
            let Some((letter, letter_at)) = Letter::of(&record) else { continue };
            if settled.is_none() && is_named && record.offset < end && self.select.takes(&letter) {
                let is_replaying = self.replaying.contains(&id);
                self.found.push_back(Found { id, letter, record: batch.select(&[at]), letter_at, is_replaying });
            }
        }
        Ok(())
    }
}

/// The letters that tasks are asked to replay.
pub(super) async fn replaying(snapshot: &dyn Snapshot) -> Result<BTreeSet<Id>, Error> {
    let mut ids = BTreeSet::new();
    for table in snapshot.tables().await?.iter().filter(|table| is_requests(table)) {
        let mut pages = Pages::of(snapshot, table);
        while let Some(page) = pages.next(usize::MAX).await? {
            ids.extend(page.iter().filter_map(|(key, value)| Some(Request::read(key, value)?.id)));
        }
    }
    Ok(ids)
}
