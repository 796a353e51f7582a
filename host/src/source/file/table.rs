//! The position of a file source: what was read of each file, as bytes.
//!
//! Owns that encoding. Its version is the first byte; numbers are lowest byte first.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;

use super::identity::{FileKey, Fingerprint};
use crate::record::Position;

const VERSION: u8 = 1;
const UNFINISHED: u8 = 1;

/// How far a file was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which file.
    pub key: FileKey,
    /// How often it was truncated.
    pub generation: u32,
    /// The byte at which the next line begins.
    pub position: u64,
    /// What lies before that.
    pub fingerprint: Fingerprint,
    /// Whether the last record was taken from a line that had not ended: an end that comes now is no line of its own.
    pub unfinished: bool,
    /// What ids derive from; known once the first line was read.
    pub place: Option<Arc<str>>,
    /// Where it was found first. It may have been renamed since.
    pub path: PathBuf,
}

impl Entry {
    /// Whether there is something to remember: a file that was not begun is a new file after a restart too.
    pub fn is_begun(&self) -> bool {
        self.position > 0 || self.generation > 0
    }

    /// The entry as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let place = self.place.as_deref().unwrap_or_default().as_bytes();
        let path = self.path.as_os_str().as_bytes();
        let mut out = Vec::with_capacity(49 + place.len() + path.len());
        for number in [self.key.device, self.key.inode, self.position, self.fingerprint.head, self.fingerprint.tail] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.push(if self.unfinished { UNFINISHED } else { 0 });
        for text in [place, path] {
            out.extend_from_slice(&(text.len() as u32).to_le_bytes());
            out.extend_from_slice(text);
        }
        out
    }

    fn decode(bytes: &mut Bytes<'_>) -> Option<Self> {
        let key = FileKey { device: bytes.u64()?, inode: bytes.u64()? };
        let position = bytes.u64()?;
        let fingerprint = Fingerprint { head: bytes.u64()?, tail: bytes.u64()? };
        let generation = bytes.u32()?;
        let unfinished = match bytes.take(1)? {
            [0] => false,
            [UNFINISHED] => true,
            _ => return None,
        };
        let place = std::str::from_utf8(bytes.text()?).ok()?;
        let place = (!place.is_empty()).then(|| Arc::from(place));
        let path = PathBuf::from(OsString::from_vec(bytes.text()?.to_vec()));
        Some(Entry { key, generation, position, fingerprint, unfinished, place, path })
    }
}

/// A position made of encoded entries.
pub fn position_of<'a>(entries: impl Iterator<Item = &'a [u8]>) -> Position {
    let mut out = vec![VERSION];
    entries.for_each(|entry| out.extend_from_slice(entry));
    Position(out)
}

/// The entries of a position; `None` where these bytes are not one.
pub fn entries_of(position: &Position) -> Option<Vec<Entry>> {
    let mut bytes = Bytes { rest: &position.0 };
    if bytes.take(1)? != [VERSION] {
        return None;
    }
    let mut entries = Vec::new();
    while !bytes.rest.is_empty() {
        entries.push(Entry::decode(&mut bytes)?);
    }
    Some(entries)
}

struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        self.take(len as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry() -> impl Strategy<Value = Entry> {
        let path = proptest::collection::vec(1u8..=255, 0..30).prop_map(|bytes| OsString::from_vec(bytes).into());
        (any::<[u64; 5]>(), any::<u32>(), any::<bool>(), proptest::option::of("[a-z/]{1,9}"), path).prop_map(
            |([device, inode, position, head, tail], generation, unfinished, place, path)| Entry {
                key: FileKey { device, inode },
                generation,
                position,
                fingerprint: Fingerprint { head, tail },
                unfinished,
                place: place.map(Arc::from),
                path,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(entries in proptest::collection::vec(entry(), 0..5)) {
            let encoded: Vec<_> = entries.iter().map(Entry::encode).collect();
            let position = position_of(encoded.iter().map(Vec::as_slice));
            prop_assert_eq!(entries_of(&position), Some(entries));
        }

        #[test]
        fn damaged_bytes_are_refused_or_decoded(entry in entry(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let mut bytes = position_of([entry.encode().as_slice()].into_iter()).0;
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = entries_of(&Position(bytes.clone()));
            bytes.truncate(1 + cut.index(bytes.len() - 2) + 1);
            let whole = bytes.len() == 1;
            prop_assert!(whole || entries_of(&Position(bytes.clone())).is_none_or(|entries| entries.len() <= bytes.len()));
        }
    }

    #[test]
    fn no_bytes_and_another_version_are_refused() {
        assert_eq!(entries_of(&Position(Vec::new())), None);
        assert_eq!(entries_of(&Position(vec![2])), None);
        assert_eq!(entries_of(&Position(vec![VERSION])), Some(Vec::new()));
    }
}
