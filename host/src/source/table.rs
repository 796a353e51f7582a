//! Rows of a file as a table: CSV, JSON, or a JSON object a line. When the file changes it is read anew, and replaces the
//! table as a whole.
//!
//! A version of the file is one chunk: its rows, in the order of the file. For a step that looks things up in them a record
//! comes before, which says that the table is replaced. A file that cannot be read as it should is an error at the start, and a warning later, when the rows that were
//! read before go on to hold. Knows nothing of who looks something up.

mod rows;

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use super::{Chunk, Error, Mode, Reader};
use crate::config::TableSource;
use crate::record::{Batch, Offset, Position, Record, Timestamp, push_header};

/// The header of the record before the rows of a table that is replaced by them.
pub const HEADER_TABLE: &str = "weir-table";
/// What it says.
pub const REPLACE: &str = "replace";
/// The bytes of a hash that stand in ids.
const HASH_DIGITS: usize = 16;

/// Reads the versions of one file.
pub struct TableReader {
    name: Arc<str>,
    settings: TableSource,
    mode: Mode,
    /// Whether to say that the rows are all that there are.
    replaces: bool,
    /// The hash of the version that was given out last.
    given: Option<blake3::Hash>,
    /// What the file looked like when it was last read, well or not.
    looked: Option<Look>,
    /// What was there at the start.
    first: Option<Chunk>,
}

/// What can be seen of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

impl Look {
    fn at(path: &Path) -> std::io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
        Ok(Look { modified: metadata.modified().ok(), bytes: metadata.len(), inode })
    }

    fn timestamp(&self) -> Timestamp {
        let since = self.modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

impl TableReader {
    /// Opens a file of which the version at a position was read before. `replaces`: a record before the rows says that they are
    /// all that there are.
    pub fn open(
        name: &str,
        settings: &TableSource,
        position: Option<&Position>,
        mode: Mode,
        replaces: bool,
    ) -> Result<Self, Error> {
        let given = position.and_then(|position| blake3::Hash::from_slice(&position.0).ok());
        let settings = settings.clone();
        let mut reader = TableReader { name: name.into(), settings, mode, replaces, given, looked: None, first: None };
        let look = Look::at(&reader.settings.path).map_err(|error| error.to_string());
        match look.and_then(|look| reader.read(look)) {
            Ok(first) => Ok(TableReader { first, ..reader }),
            Err(error) => Err(Error::stop(reader.failed(&error))),
        }
    }

    /// The file's rows, where it is not the version that was given out last.
    fn read(&mut self, look: Look) -> Result<Option<Chunk>, String> {
        self.looked = Some(look);
        let TableSource { path, bytes_max, .. } = &self.settings;
        if look.bytes > *bytes_max {
            return Err(format!("it has {} bytes, and `bytes_max` is {bytes_max}", look.bytes));
        }
        let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
        let hash = blake3::hash(&bytes);
        if self.given == Some(hash) {
            return Ok(None);
        }
        let mut records = Batch::default();
        let timestamp = look.timestamp();
        if self.replaces {
            let mut headers = Vec::new();
            push_header(&mut headers, HEADER_TABLE, Some(REPLACE.as_bytes()));
            records.push(&Record { value: None, headers_raw: &headers, ..Record::of(b"", timestamp) });
        }
        rows::each(&bytes, self.settings.format, &self.settings.key, |key, row| {
            let offset = Offset(records.len() as u64);
            records.push(&Record { key: Some(key), offset, ..Record::of(row, timestamp) });
        })?;
        self.given = Some(hash);
        let digits = hash.to_hex();
        let source = format!("{}/{}", self.name, digits.get(..HASH_DIGITS).unwrap_or(&digits)).into();
        Ok(Some(Chunk { source, records, position: Position(hash.as_bytes().to_vec()) }))
    }

    fn failed(&self, error: &str) -> String {
        format!("{}: {error}", self.settings.path.display())
    }
}

#[async_trait]
impl Reader for TableReader {
    async fn next(&mut self) -> Result<Option<Chunk>, Error> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let mut last = None;
        while self.mode == Mode::Follow {
            tokio::time::sleep(self.settings.scan).await;
            // One that is gone for a moment is being replaced.
            let look = Look::at(&self.settings.path).ok();
            // One that is still changing is being written.
            let settled = look.filter(|look| last.replace(*look) == Some(*look) && self.looked != Some(*look));
            match settled.map_or(Ok(None), |look| self.read(look)) {
                Ok(None) => {}
                Ok(chunk) => return Ok(chunk),
                Err(error) => {
                    let message = self.failed(&error);
                    tracing::warn!(source = %self.name, "{message}; the rows that were read before go on to hold");
                }
            }
        }
        Ok(None)
    }

    fn is_caught_up(&self) -> bool {
        self.first.is_none()
    }
}

#[cfg(test)]
mod tests;
