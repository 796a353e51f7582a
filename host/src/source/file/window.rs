//! The part of a file that is in memory. One for all files of a source: they are read in turn.

use std::fs::File;
use std::io;

use super::identity::{FileKey, read_full_at};

/// How much is read at a time: enough that the system call does not count, little enough to stay in the cache.
pub const BLOCK_BYTES: usize = 256 * 1024;

/// Bytes of one file, from an offset on.
#[derive(Debug, Default)]
pub struct Window {
    owner: Option<FileKey>,
    offset: u64,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Window {
    /// Moves the window forward to this place, and keeps what it holds of what follows.
    pub fn move_to(&mut self, owner: FileKey, offset: u64) {
        let held = self.end - self.start;
        let passed = offset.checked_sub(self.offset).and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= held);
        match passed {
            Some(passed) if self.owner == Some(owner) => self.start += passed,
            _ => (self.start, self.end) = (0, 0),
        }
        (self.owner, self.offset) = (Some(owner), offset);
    }

    /// Drops what it holds: the file is not what it was.
    pub fn forget(&mut self) {
        *self = Window { bytes: std::mem::take(&mut self.bytes), ..Window::default() };
    }

    /// What it holds.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Reads one block more; returns how many bytes came, 0 at the end of the file.
    pub fn extend(&mut self, file: &File) -> io::Result<usize> {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.bytes.len() < self.end + BLOCK_BYTES {
            self.bytes.resize(self.end + BLOCK_BYTES, 0);
        }
        let room = self.bytes.get_mut(self.end..self.end + BLOCK_BYTES).unwrap_or_default();
        let n = read_full_at(file, room, self.offset + self.end as u64)?;
        self.end += n;
        Ok(n)
    }
}
