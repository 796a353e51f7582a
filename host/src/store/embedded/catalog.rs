//! What the embedded store holds in memory of what is on disk: streams, the bounds of partitions, the numbers of tables.
//!
//! It is read at opening and follows each commit. It knows nothing of batches and does no I/O.

use std::collections::{BTreeMap, HashMap};

use super::codec::{Place, StreamId, TableNumber};
use crate::record::{Offset, Partition, Timestamp};
use crate::store::compaction::{self, Compacted};
use crate::store::log::{self, Trim};
use crate::store::{Bounds, Changes, Error, StreamName, StreamSpec, TableId};

/// Streams and tables.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    pub streams: BTreeMap<StreamName, Stream>,
    pub tables: HashMap<TableId, TableNumber>,
}

/// One stream.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub id: StreamId,
    pub spec: StreamSpec,
    /// By partition.
    pub bounds: Vec<Bounds>,
    /// How far each was compacted.
    pub compacted: Vec<Compacted>,
}

impl Stream {
    /// A stream whose partitions are empty.
    pub fn new(id: StreamId, spec: StreamSpec) -> Stream {
        let partitions = spec.partitions as usize;
        let (bounds, compacted) = (vec![Bounds::default(); partitions], vec![Compacted::default(); partitions]);
        Stream { id, spec, bounds, compacted }
    }
}

impl Catalog {
    /// Where a partition is on disk, and what it holds.
    pub fn place(&self, stream: &str, partition: Partition) -> Result<(Place, Bounds), Error> {
        let found = self.streams.get(stream).and_then(|stream| {
            let bounds = stream.bounds.get(partition.0 as usize)?;
            Some(((stream.id, partition), *bounds))
        });
        found.ok_or_else(|| log::no_partition(stream, partition))
    }

    /// Whether changes can be made: their places exist, and nothing is too large.
    pub fn check(&self, changes: &Changes) -> Result<(), Error> {
        changes.appends.iter().try_for_each(|append| self.place(&append.stream, append.partition).map(drop))?;
        log::check_sizes(changes)
    }

    pub fn set_bounds(&mut self, stream: &str, partition: Partition, bounds: Bounds) {
        let known = self.streams.get_mut(stream).and_then(|stream| stream.bounds.get_mut(partition.0 as usize));
        if let Some(known) = known {
            *known = bounds;
        }
    }

    pub fn compacted(&self, stream: &str, partition: Partition) -> Compacted {
        let known = self.streams.get(stream).and_then(|stream| stream.compacted.get(partition.0 as usize));
        known.copied().unwrap_or_default()
    }

    pub fn set_compacted(&mut self, stream: &str, partition: Partition, compacted: Compacted) {
        let known = self.streams.get_mut(stream).and_then(|stream| stream.compacted.get_mut(partition.0 as usize));
        if let Some(known) = known {
            *known = compacted;
        }
    }

    /// The partitions that may be compacted, and up to where.
    pub fn compactions(
        &self,
        unread: &dyn for<'a> Fn(&'a str, Partition) -> Option<Offset>,
    ) -> Vec<(StreamName, Partition, Offset)> {
        let targets = self.partitions().filter_map(|(stream, partition, bounds)| {
            let unread = unread(&stream.spec.name, partition);
            let limit = compaction::limit(&stream.spec.retention, &bounds, unread)?;
            Some((stream.spec.name.clone(), partition, limit))
        });
        targets.collect()
    }

    pub fn next_stream_id(&self) -> StreamId {
        StreamId(self.streams.values().map(|stream| stream.id.0 + 1).max().unwrap_or_default())
    }

    pub fn next_table_number(&self) -> TableNumber {
        TableNumber(self.tables.values().map(|number| number.0 + 1).max().unwrap_or_default())
    }

    /// The partitions from whose front something may have to go, and by which rule.
    pub fn trims(
        &self,
        now: Timestamp,
        unread: &dyn for<'a> Fn(&'a str, Partition) -> Option<Offset>,
    ) -> Vec<(StreamName, Partition, Trim)> {
        let rules = self.partitions().map(|(stream, partition, bounds)| {
            let unread = unread(&stream.spec.name, partition);
            (bounds, stream.spec.name.clone(), partition, Trim { retention: stream.spec.retention, unread, now })
        });
        let rules = rules.filter(|(bounds, _, _, rule)| rule.concerns(bounds));
        rules.map(|(_, stream, partition, rule)| (stream, partition, rule)).collect()
    }

    /// All partitions: the stream, where it is on disk, and what it holds.
    pub fn partitions(&self) -> impl Iterator<Item = (&Stream, Partition, Bounds)> {
        self.streams.values().flat_map(|stream| {
            (0..).map(Partition).zip(&stream.bounds).map(move |(partition, bounds)| (stream, partition, *bounds))
        })
    }
}
