//! What clients of services keep for the next start: entries of the embedded store, durable before they count.
//!
//! They lie beside the tables of pipelines, under names that no pipeline has, and are no part of any task's commit: what a
//! service was told cannot be taken back when a task begins again.

use std::sync::Arc;

use bytes::Bytes;

use crate::record::Partition;
use crate::store::committer::{Commit, CommitError, Committer, Lane};
use crate::store::pages::Pages;
use crate::store::{Changes, Error, StateChange, Store, TableId};

/// In the place of a pipeline's name, where no name begins so.
const OWNER: &str = "-endpoint";

/// Where clients keep what they want to know at the next start.
#[derive(Clone)]
pub struct Archive {
    /// Where it lies.
    pub store: Arc<dyn Store>,
    /// The way there.
    pub committer: Committer,
}

/// A change of an entry of a table; no value deletes it.
pub type Change = (&'static str, Bytes, Option<Bytes>);

impl Archive {
    /// All entries of an endpoint's table.
    pub async fn all(&self, endpoint: &Arc<str>, table: &'static str) -> Result<Vec<(Bytes, Bytes)>, Error> {
        let (snapshot, id) = (self.store.snapshot().await?, id(endpoint, table));
        let (mut all, mut pages) = (Vec::new(), Pages::of(&*snapshot, &id));
        while let Some(page) = pages.next(usize::MAX).await? {
            all.extend(page);
        }
        Ok(all)
    }

    /// Changes entries of an endpoint, all of them or none, and returns once that is durable.
    pub async fn change(&self, endpoint: &Arc<str>, changes: Vec<Change>) -> Result<(), CommitError> {
        let change = |(table, key, value)| StateChange { table: id(endpoint, table), key, value };
        let changes = Changes { state: changes.into_iter().map(change).collect(), ..Changes::default() };
        self.committer.submit(&Lane::default(), Commit { changes, staged: Vec::new() }).await.await
    }
}

fn id(endpoint: &Arc<str>, table: &'static str) -> TableId {
    TableId { pipeline: OWNER.into(), step: endpoint.clone(), table: table.into(), partition: Partition(0) }
}
