//! Positions and keyed state of one moment, on disk.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::EmbeddedStore;
use super::codec::TableNumber;
use crate::record::Position;
use crate::store::{Entries, Error, PositionKey, Snapshot, TableId};

/// A moment of a store. What it has is not given back to the disk before it is dropped.
pub(super) struct EmbeddedSnapshot {
    store: EmbeddedStore,
    at: Arc<fjall::Snapshot>,
    tables: HashMap<TableId, TableNumber>,
}

impl EmbeddedSnapshot {
    pub fn of(store: &EmbeddedStore) -> Self {
        let at = Arc::new(store.0.engine.db.snapshot());
        let tables = store.0.catalog().tables.clone();
        EmbeddedSnapshot { store: store.clone(), at, tables }
    }
}

#[async_trait]
impl Snapshot for EmbeddedSnapshot {
    async fn tables(&self) -> Result<Vec<TableId>, Error> {
        let mut tables: Vec<_> = self.tables.keys().cloned().collect();
        tables.sort_unstable();
        Ok(tables)
    }

    async fn positions(&self) -> Result<Vec<(PositionKey, Position)>, Error> {
        let at = self.at.clone();
        self.store.blocking(move |inner| inner.positions(&at)).await
    }

    async fn state_get(&self, table: &TableId, keys: &[Bytes], bytes_max: usize) -> Result<Vec<Option<Bytes>>, Error> {
        let Some(number) = self.tables.get(table).copied() else { return Ok(vec![None; keys.len()]) };
        let (table, keys, at) = (table.clone(), keys.to_vec(), self.at.clone());
        self.store.blocking(move |inner| inner.state_get(&at, &table, number, &keys, bytes_max)).await
    }

    async fn state_scan(
        &self,
        table: &TableId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Entries, Error> {
        let Some(number) = self.tables.get(table).copied() else { return Ok(Entries::default()) };
        let (table, at) = (table.clone(), self.at.clone());
        let (prefix, after) = (prefix.to_vec(), after.map(<[u8]>::to_vec));
        let scan = move |inner: &super::Inner| {
            inner.state_scan(&at, &table, number, (&prefix, after.as_deref()), limit, bytes_max)
        };
        self.store.blocking(scan).await
    }
}
