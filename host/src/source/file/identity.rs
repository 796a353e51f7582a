//! Which file is which, however it is called.
//!
//! A path says nothing of what was read: files are renamed, truncated, made anew, and inodes are used again. So a file
//! is known by device and inode, and what was read of it by fingerprints of the bytes at its head and right before the
//! position. Knows nothing of lines.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{SystemTime, UNIX_EPOCH};

/// How many bytes a fingerprint covers, where there are as many.
pub const FINGERPRINT_BYTES: usize = 256;

/// The number that the system knows a file by. It is given to another file once this one is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileKey {
    /// The device; may change when the machine starts again.
    pub device: u64,
    /// The inode on it.
    pub inode: u64,
}

impl FileKey {
    /// The key of the file that this describes.
    pub fn of(metadata: &Metadata) -> Self {
        FileKey { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// What the bytes before a position look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// Hash of the first bytes of the file, up to [`FINGERPRINT_BYTES`] and never past the position: what is behind it
    /// may still change.
    pub head: u64,
    /// Hash of as many bytes right before the position. Tells a file that was written anew with the same head.
    pub tail: u64,
}

impl Fingerprint {
    /// The fingerprint at the beginning of a file.
    pub const EMPTY: Fingerprint = Fingerprint { head: 0, tail: 0 };

    /// Reads the fingerprint of what lies before a position. A file that has become shorter gives another one.
    pub fn read(file: &File, position: u64) -> io::Result<Self> {
        if position == 0 {
            return Ok(Fingerprint::EMPTY);
        }
        let covered = position.min(FINGERPRINT_BYTES as u64);
        let tail = hash_at(file, position - covered, covered as usize)?;
        let head = if covered == position { tail } else { hash_at(file, 0, covered as usize)? };
        Ok(Fingerprint { head, tail })
    }

    /// Reads the fingerprint before a position, the earlier one being known: past the first bytes the head is settled.
    pub fn advance(self, from: u64, file: &File, position: u64) -> io::Result<Self> {
        if from < FINGERPRINT_BYTES as u64 {
            return Fingerprint::read(file, position);
        }
        let tail = hash_at(file, position - FINGERPRINT_BYTES as u64, FINGERPRINT_BYTES)?;
        Ok(Fingerprint { head: self.head, tail })
    }
}

/// The text that ids of records derive from: the same before and after a restart, and as the file grows.
///
/// It is made when the first line is read, of that line (up to [`FINGERPRINT_BYTES`], with its end) and the time at which
/// the file system made the file; from then on it is kept with the position. A file that is truncated goes on as the
/// next generation, since its byte positions begin again.
pub fn place(source: &str, key: FileKey, generation: u32, born: Option<SystemTime>, first_line: &[u8]) -> String {
    let born = born.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map_or(0, |since| since.as_nanos());
    let mut hasher = blake3::Hasher::new();
    hasher.update(&born.to_le_bytes());
    hasher.update(first_line.get(..FINGERPRINT_BYTES).unwrap_or(first_line));
    let hash = shorten(&hasher.finalize());
    let generation = if generation == 0 { String::new() } else { format!(".{generation}") };
    format!("{source}/{:x}-{}-{hash:016x}{generation}", key.device, key.inode)
}

/// Reads until the buffer is full or the file ends; returns how much came.
pub fn read_full_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn hash_at(file: &File, offset: u64, len: usize) -> io::Result<u64> {
    let mut bytes = [0; FINGERPRINT_BYTES];
    let wanted = bytes.get_mut(..len.min(FINGERPRINT_BYTES)).unwrap_or_default();
    let filled = read_full_at(file, wanted, offset)?;
    Ok(shorten(&blake3::hash(bytes.get(..filled).unwrap_or_default())))
}

fn shorten(hash: &blake3::Hash) -> u64 {
    hash.as_bytes().first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn growth_leaves_the_fingerprint_and_other_bytes_change_it() {
        let bytes: Vec<u8> = (0..2_000u32).map(|n| (n % 251) as u8).collect();
        let mut file = file_of(&bytes);
        let before: Vec<_> = [0, 1, 255, 256, 257, 1_999].map(|at| Fingerprint::read(&file, at).unwrap()).to_vec();
        file.write_all(b"more").unwrap();
        let after: Vec<_> = [0, 1, 255, 256, 257, 1_999].map(|at| Fingerprint::read(&file, at).unwrap()).to_vec();
        assert_eq!(before, after);
        let mut other = bytes.clone();
        other[1_800] ^= 1;
        let rewritten = Fingerprint::read(&file_of(&other), 1_999).unwrap();
        assert_eq!(rewritten.head, before[5].head);
        assert_ne!(rewritten.tail, before[5].tail, "same head, written anew");
        other[3] ^= 1;
        assert_ne!(Fingerprint::read(&file_of(&other), 1_999).unwrap().head, before[5].head);
        assert_ne!(Fingerprint::read(&file_of(&bytes[..1_000]), 1_999).unwrap().tail, before[5].tail, "shorter");
    }

    #[test]
    fn a_fingerprint_that_advances_is_the_one_that_is_read() {
        let file = file_of(&(0..2_000u32).map(|n| (n / 7) as u8).collect::<Vec<_>>());
        for (from, to) in [(0, 10), (10, 255), (200, 700), (255, 256), (256, 257), (300, 2_000)] {
            let before = Fingerprint::read(&file, from).unwrap();
            assert_eq!(before.advance(from, &file, to).unwrap(), Fingerprint::read(&file, to).unwrap());
        }
    }

    #[test]
    fn a_place_depends_on_file_generation_birth_and_first_line_alone() {
        let key = FileKey { device: 0xfd00, inode: 77 };
        let first = place("auth", key, 0, None, b"first\n");
        assert!(first.starts_with("auth/fd00-77-"), "{first}");
        assert_eq!(first, place("auth", key, 0, None, b"first\n"));
        assert_ne!(first, place("auth", key, 1, None, b"first\n"));
        assert_ne!(first, place("auth", key, 0, Some(UNIX_EPOCH + std::time::Duration::from_nanos(1)), b"first\n"));
        assert_ne!(first, place("auth", key, 0, None, b"other\n"));
        let long = [b'x'; 300];
        assert_eq!(place("auth", key, 0, None, &long), place("auth", key, 0, None, &long[..256]));
    }
}
