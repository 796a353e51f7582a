//! A table of bytes: what the instance has seen of it, and what it has written and not yet handed over.

use foldhash::fast::FixedState;
use indexmap::IndexMap;

use super::host;
use crate::bindings::state::Strings;

/// The bytes of keys and values that an instance keeps of one table beside what it has just written.
const KEPT_BYTES_MAX: usize = 16 << 20;
/// What an entry costs beside its bytes.
const ENTRY_BYTES: usize = 64;
/// The entries that are asked for at a time.
const PAGE: u32 = 1024;

/// A key and its value.
pub(super) type Owned = (Vec<u8>, Vec<u8>);

/// A table of the host.
pub(super) struct RawTable {
    number: u32,
    /// None goes but with all others, once all are handed over: their places hold until then.
    entries: IndexMap<Box<[u8]>, Entry, FixedState>,
    /// The places of those that are to be handed over.
    written: Vec<usize>,
    bytes: usize,
}

struct Entry {
    /// `None`: there is no such entry.
    value: Option<Box<[u8]>>,
    is_written: bool,
}

impl RawTable {
    pub(super) fn new(number: u32) -> Self {
        RawTable { number, entries: IndexMap::default(), written: Vec::new(), bytes: 0 }
    }

    /// The value of a key.
    pub(super) fn get(&mut self, key: &[u8]) -> Option<&[u8]> {
        let place = match self.entries.get_index_of(key) {
            Some(place) => place,
            None => {
                let value = host::get_one(self.number, key);
                self.remember(key, value.map(Vec::into_boxed_slice))
            }
        };
        self.entries.get_index(place)?.1.value.as_deref()
    }

    /// Asks for many keys at once, so that [`RawTable::get`] finds them here.
    pub(super) fn prefetch(&mut self, keys: &Strings) {
        let mut unknown = Strings::none();
        for key in keys.iter().filter(|key| !self.entries.contains_key(*key)) {
            unknown.push(key);
        }
        if unknown.ends.is_empty() {
            return;
        }
        let found = host::get(self.number, &unknown);
        let mut missing = found.missing.iter().copied().peekable();
        for (at, (key, value)) in (0..).zip(unknown.iter().zip(found.values.iter())) {
            let value = if missing.next_if_eq(&at).is_some() { None } else { Some(value.into()) };
            self.remember(key, value);
        }
    }

    /// Writes, or with no value deletes.
    pub(super) fn set(&mut self, key: &[u8], value: Option<&[u8]>) {
        let (place, entry) = match self.entries.get_full_mut(key) {
            Some((place, _, entry)) => (place, entry),
            None => {
                let place = self.remember(key, None);
                let Some((_, entry)) = self.entries.get_index_mut(place) else { return };
                (place, entry)
            }
        };
        self.bytes += value.map_or(0, <[u8]>::len);
        self.bytes -= entry.value.as_deref().map_or(0, <[u8]>::len);
        match (&mut entry.value, value) {
            // Most values of a table are of one length, and the memory for them is there.
            (Some(old), Some(new)) if old.len() == new.len() => old.copy_from_slice(new),
            (old, new) => *old = new.map(Box::from),
        }
        if !std::mem::replace(&mut entry.is_written, true) {
            self.written.push(place);
        }
    }

    /// Shows each entry whose key begins with a prefix, in order, until told to stop.
    pub(super) fn scan(&mut self, prefix: &[u8], after: Option<&[u8]>, mut show: impl FnMut(&[u8], &[u8]) -> bool) {
        self.flush();
        let mut after = after.map(<[u8]>::to_vec);
        loop {
            let page = host::scan(self.number, prefix, after.as_deref(), PAGE);
            if !page.keys.iter().zip(page.values.iter()).all(|(key, value)| show(key, value)) || !page.more {
                return;
            }
            after = page.keys.iter().last().map(<[u8]>::to_vec);
        }
    }

    /// The first keys, at most so many, and whether there are more.
    pub(super) fn first(&mut self, max: u32) -> (Vec<Vec<u8>>, bool) {
        let (entries, has_more) = self.page(None, max);
        (entries.into_iter().map(|(key, _)| key).collect(), has_more)
    }

    /// The entries behind a key, or the first, at most so many, and whether there are more.
    pub(super) fn page(&mut self, after: Option<&[u8]>, max: u32) -> (Vec<Owned>, bool) {
        self.flush();
        let page = host::scan(self.number, &[], after, max);
        let owned = |(key, value): (&[u8], &[u8])| (key.to_vec(), value.to_vec());
        (page.keys.iter().zip(page.values.iter()).map(owned).collect(), page.more)
    }

    /// Hands over what was written.
    pub(super) fn flush(&mut self) {
        if !self.written.is_empty() {
            self.hand_over();
        }
        if self.bytes > KEPT_BYTES_MAX {
            self.entries = IndexMap::default();
            self.bytes = 0;
        }
    }

    fn hand_over(&mut self) {
        let (mut keys, mut values, mut deleted) = (Strings::none(), Strings::none(), Strings::none());
        for place in self.written.drain(..) {
            let Some((key, entry)) = self.entries.get_index_mut(place) else { continue };
            entry.is_written = false;
            match &entry.value {
                Some(value) => {
                    keys.push(key);
                    values.push(value);
                }
                None => deleted.push(key),
            }
        }
        if !keys.ends.is_empty() {
            host::put(self.number, &keys, &values);
        }
        if !deleted.ends.is_empty() {
            host::delete(self.number, &deleted);
        }
    }

    /// Adds an entry that is not here yet; says where.
    fn remember(&mut self, key: &[u8], value: Option<Box<[u8]>>) -> usize {
        self.bytes += ENTRY_BYTES + key.len() + value.as_deref().map_or(0, <[u8]>::len);
        self.entries.insert_full(key.into(), Entry { value, is_written: false }).0
    }
}
