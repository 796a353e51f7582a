//! How a committed place in a file is told: which file, how long, and what stands before that length.
//!
//! A file is known again by its content where it has any: it is long enough, and the last bytes before the length are
//! those that were committed. That holds after a copy to another machine, where inodes and devices are new. An empty
//! file, and one that has been moved, is known by its inode and its time of birth; together they tell a file from a later
//! one that was given the same inode. The device is left out: its number may change with every boot.

use std::fs::File;
use std::io::Result;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::UNIX_EPOCH;

use crate::record::{Position, Timestamp};

/// The last bytes that are compared.
const TAIL_BYTES: u64 = 4096;
const VERSION: u8 = 1;
const HASH_BYTES: usize = 16;
const ENCODED_BYTES: usize = 1 + 4 * 8 + HASH_BYTES;

/// Which file it is, as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    inode: u64,
    /// Nanoseconds since 1970; 0 where the file system does not keep it.
    born_ns: u64,
}

impl Identity {
    /// Reads it from what the system says of a file.
    pub fn of(metadata: &std::fs::Metadata) -> Identity {
        let born = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Identity { inode: metadata.ino(), born_ns: born.map_or(0, |born| born.as_nanos() as u64) }
    }
}

/// The last bytes of what a file holds.
#[derive(Debug, Clone, Default)]
pub struct Tail(Vec<u8>);

impl Tail {
    /// Reads the bytes that end at a length.
    pub fn read(file: &File, len: u64) -> Result<Tail> {
        let mut bytes = vec![0; len.min(TAIL_BYTES) as usize];
        file.read_exact_at(&mut bytes, len.saturating_sub(TAIL_BYTES))?;
        Ok(Tail(bytes))
    }

    /// Takes note of bytes that were added.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes.get(bytes.len().saturating_sub(TAIL_BYTES as usize)..).unwrap_or_default());
        self.0.drain(..self.0.len().saturating_sub(TAIL_BYTES as usize));
    }

    /// Whether the bytes end within a line.
    pub fn is_within_line(&self) -> bool {
        self.0.last().is_some_and(|last| *last != b'\n')
    }

    /// What a mark keeps of it.
    pub fn hash(&self) -> [u8; HASH_BYTES] {
        let mut hash = [0; HASH_BYTES];
        hash.iter_mut().zip(blake3::hash(&self.0).as_bytes()).for_each(|(to, from)| *to = *from);
        hash
    }
}

/// A committed place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Which file.
    pub identity: Identity,
    /// Its committed length in bytes.
    pub len: u64,
    /// When it was begun, for rotation by time.
    pub begun: Timestamp,
    /// The hash of its last bytes.
    pub tail: [u8; HASH_BYTES],
}

impl Mark {
    /// The mark as the store keeps it: a version, inode, time of birth, length, begin, hash; numbers lowest byte first.
    pub fn position(&self) -> Position {
        let mut bytes = Vec::with_capacity(ENCODED_BYTES);
        bytes.push(VERSION);
        for number in [self.identity.inode, self.identity.born_ns, self.len, self.begun.0 as u64] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.tail);
        Position(bytes)
    }

    /// Reads what [`Mark::position`] wrote; `None` where it is something else.
    pub fn read(position: &Position) -> Option<Mark> {
        let (version, rest) = position.0.split_first()?;
        let (numbers, tail) = rest.split_at_checked(4 * 8)?;
        let mut numbers = numbers.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let identity = Identity { inode: numbers.next()?, born_ns: numbers.next()? };
        let (len, begun) = (numbers.next()?, Timestamp(numbers.next()? as i64));
        (*version == VERSION).then_some(Mark { identity, len, begun, tail: tail.try_into().ok()? })
    }

    /// Whether a file holds what was committed: it is the file of the mark, or a copy of it.
    pub fn is_in(&self, file: &File) -> Result<bool> {
        let metadata = file.metadata()?;
        if self.len == 0 || metadata.len() < self.len {
            return Ok(self.len == 0 && Identity::of(&metadata) == self.identity);
        }
        Ok(Tail::read(file, self.len)?.hash() == self.tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let identity = Identity { inode: 7, born_ns: u64::MAX };
        let mark = Mark { identity, len: 1 << 40, begun: Timestamp(-5), tail: Tail(b"abc".to_vec()).hash() };
        assert_eq!(Mark::read(&mark.position()), Some(mark));
        for len in 0..ENCODED_BYTES {
            assert_eq!(Mark::read(&Position(mark.position().0[..len].to_vec())), None);
        }
        let mut other = mark.position();
        other.0[0] = 2;
        assert_eq!(Mark::read(&other), None);
    }

    #[test]
    fn the_tail_is_the_same_pushed_or_read() {
        let file = tempfile::tempfile().unwrap();
        let (mut tail, mut len) = (Tail::default(), 0);
        for step in [0, 1, 100, 4000, 4095, 4096, 4097, 10_000, 3] {
            let bytes: Vec<u8> = (0..step).map(|n| (n * 7 + step) as u8).collect();
            file.write_all_at(&bytes, len).unwrap();
            len += bytes.len() as u64;
            tail.push(&bytes);
            assert_eq!(tail.0, Tail::read(&file, len).unwrap().0);
        }
    }
}
