//! All that a table holds, a page at a time: no table is held in memory as a whole.

use bytes::Bytes;

use super::{Error, Snapshot, TableId};

/// The entries of a page at most.
const ENTRIES_MAX: usize = 1_000;
/// The bytes after which it has no more.
const BYTES: usize = 4 << 20;

/// The entries of a table at one moment, by key.
pub struct Pages<'a> {
    snapshot: &'a dyn Snapshot,
    table: &'a TableId,
    prefix: &'a [u8],
    after: Option<Bytes>,
    is_over: bool,
}

impl<'a> Pages<'a> {
    /// All of a table.
    pub fn of(snapshot: &'a dyn Snapshot, table: &'a TableId) -> Self {
        Pages::with_prefix(snapshot, table, &[])
    }

    /// Those whose keys begin with a prefix.
    pub fn with_prefix(snapshot: &'a dyn Snapshot, table: &'a TableId, prefix: &'a [u8]) -> Self {
        Pages { snapshot, table, prefix, after: None, is_over: false }
    }

    /// The next page, with at most so many entries; `None` behind the last.
    pub async fn next(&mut self, max: usize) -> Result<Option<Vec<(Bytes, Bytes)>>, Error> {
        if self.is_over {
            return Ok(None);
        }
        let (after, limit) = (self.after.as_deref(), ENTRIES_MAX.min(max));
        let page = self.snapshot.state_scan(self.table, self.prefix, after, limit, BYTES).await?;
        self.after = page.entries.last().map(|(key, _)| key.clone());
        self.is_over = !page.has_more;
        Ok(Some(page.entries))
    }
}
