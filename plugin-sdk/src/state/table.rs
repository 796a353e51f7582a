//! A table as a plugin sees it: keys and values of types.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;

use super::raw::RawTable;
use super::{Key, Value};
use crate::bindings::state::Strings;

/// The latest value per key. Belongs to one step and partition, and to nobody else.
///
/// Where an entry cannot be read as what the types say, another version of the plugin wrote it: it is taken for absent, and
/// the log says so.
pub struct Table<K, V> {
    raw: Rc<RefCell<RawTable>>,
    ttl_ms: Option<u64>,
    key: Vec<u8>,
    value: Vec<u8>,
    types: PhantomData<fn(K) -> V>,
}

impl<K: Key, V: Value> Table<K, V> {
    pub(super) fn new(raw: Rc<RefCell<RawTable>>, ttl_ms: Option<u64>) -> Self {
        Table { raw, ttl_ms, key: Vec::new(), value: Vec::new(), types: PhantomData }
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
