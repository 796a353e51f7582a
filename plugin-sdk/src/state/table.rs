//! A table as a plugin sees it: keys and values of types.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;

use super::raw::RawTable;
use super::{Key, Value};
use crate::bindings::state::Strings;
use crate::{Migration, Result};

/// The entries that are rewritten in one call.
const REWRITTEN_AT_ONCE: u32 = 1_000;
/// The bytes of the time of writing, before a value that has a time to live.
const WRITTEN_BYTES: usize = 8;

/// The latest value per key. Belongs to one step and partition, and to nobody else.
///
/// Where an entry cannot be read as what the types say, another version of the plugin wrote it: it is taken for absent, and
/// the log says so.
pub struct Table<K, V> {
    raw: Rc<RefCell<RawTable>>,
    ttl_ms: Option<u64>,
    /// The key up to which it is rewritten.
    rewritten: Option<Vec<u8>>,
    key: Vec<u8>,
    value: Vec<u8>,
    types: PhantomData<fn(K) -> V>,
}

impl<K: Key, V: Value> Table<K, V> {
    pub(super) fn new(raw: Rc<RefCell<RawTable>>, ttl_ms: Option<u64>) -> Self {
        Table { raw, ttl_ms, rewritten: None, key: Vec::new(), value: Vec::new(), types: PhantomData }
    }

    /// The value of a key. `watermark` says what is gone by its time to live; without one it is not looked at.
    pub fn get(&mut self, key: &K, watermark: i64) -> Option<V> {
        encode(key, &mut self.key);
        let mut raw = self.raw.borrow_mut();
        read(raw.get(&self.key)?, self.ttl_ms, watermark)
    }

    /// Whether a key has a value.
    pub fn contains(&mut self, key: &K, watermark: i64) -> bool {
        self.get(key, watermark).is_some()
    }

    /// Gives a key a value. `time` is the event time of the writing, from which its time to live counts.
    pub fn put(&mut self, key: &K, value: &V, time: i64) {
        encode(key, &mut self.key);
        self.value.clear();
        if self.ttl_ms.is_some() {
            Key::encode(&time, false, &mut self.value);
        }
        value.encode(&mut self.value);
        self.raw.borrow_mut().set(&self.key, Some(&self.value));
    }

    /// Deletes a key, where it is.
    pub fn delete(&mut self, key: &K) {
        encode(key, &mut self.key);
        self.raw.borrow_mut().set(&self.key, None);
    }

    /// Asks for many keys at once: cheaper than one by one, for those that are not here yet.
    pub fn prefetch<B: Borrow<K>>(&mut self, keys: impl IntoIterator<Item = B>) {
        let mut wanted = Strings::none();
        for key in keys {
            encode(key.borrow(), &mut self.key);
            wanted.push(&self.key);
        }
        self.raw.borrow_mut().prefetch(&wanted);
    }

    /// The entries whose key begins with these parts of a key, in the order of the keys.
    pub fn scan(&mut self, prefix: &impl Key, watermark: i64) -> Vec<(K, V)> {
        let mut entries = Vec::new();
        self.scan_while(prefix, watermark, |key, value| {
            entries.push((key, value));
            true
        });
        entries
    }

    /// Shows the entries whose key begins with these parts of a key, in the order of the keys, until told to stop.
    pub fn scan_while(&mut self, prefix: &impl Key, watermark: i64, mut show: impl FnMut(K, V) -> bool) {
        let mut start = Vec::new();
        prefix.encode(false, &mut start);
        self.raw.borrow_mut().scan(&start, None, |mut key, value| {
            match (K::decode(&mut key, true), read(value, self.ttl_ms, watermark)) {
                (Some(key), Some(value)) => show(key, value),
                _ => true,
            }
        });
    }

    /// Has entries hold what this version writes, where another version wrote values of the type `Old`: for
    /// [`Stateful::migrate`](crate::Stateful::migrate). What `change` makes nothing of is deleted; when an entry was written stays as it was.
    /// Goes on at each call, a thousand entries at a time.
    ///
    /// # Errors
    /// Where an entry is not of the types `K` and `Old`.
    pub fn rewrite<Old: Value>(&mut self, mut change: impl FnMut(&K, Old) -> Option<V>) -> Result<Migration> {
        let mut raw = self.raw.borrow_mut();
        let (entries, has_more) = raw.page(self.rewritten.as_deref(), REWRITTEN_AT_ONCE);
        for (key, value) in &entries {
            let (written, old) = match self.ttl_ms {
                Some(_) => value.split_at_checked(WRITTEN_BYTES).unwrap_or_default(),
                None => value.split_at(0),
            };
            let read = K::decode(&mut key.as_slice(), true).zip(Old::decode(old));
            let Some((decoded, old)) = read else {
                return Err(format!("an entry of {} bytes is not of the types it is to be read by", value.len()).into());
            };
            let new = change(&decoded, old).map(|new| {
                self.value.clear();
                self.value.extend_from_slice(written);
                new.encode(&mut self.value);
                self.value.as_slice()
            });
            raw.set(key, new);
        }
        self.rewritten = entries.into_iter().next_back().map(|(key, _)| key).filter(|_| has_more);
        Ok(if has_more { Migration::More } else { Migration::Done })
    }
}

fn encode(key: &impl Key, buffer: &mut Vec<u8>) {
    buffer.clear();
    key.encode(true, buffer);
}

fn read<V: Value>(mut bytes: &[u8], ttl_ms: Option<u64>, watermark: i64) -> Option<V> {
    if let Some(ttl_ms) = ttl_ms {
        let written = <i64 as Key>::decode(&mut bytes, false)?;
        if watermark > written.saturating_add_unsigned(ttl_ms) {
            return None;
        }
    }
    let value = V::decode(bytes);
    if value.is_none() {
        crate::warn!("an entry of {} bytes is not what this version of the plugin writes: passed over", bytes.len());
    }
    value
}
