//! The host's side of keyed state: the import in a component, and in a native build a map that stands in for it.

use crate::bindings::state::Strings;

/// Byte strings on their way over the boundary.
impl Strings {
    /// None.
    pub(crate) fn none() -> Self {
        Strings { ends: Vec::new(), data: Vec::new() }
    }

    /// Appends one.
    pub(crate) fn push(&mut self, string: &[u8]) {
        self.data.extend_from_slice(string);
        self.ends.push(self.data.len() as u32);
    }

    /// The strings, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| self.data.get(start as usize..*end as usize).unwrap_or_default())
    }
}

#[cfg(target_family = "wasm")]
pub(crate) use crate::bindings::state::{delete, get, get_one, put, scan};

#[cfg(not(target_family = "wasm"))]
pub(crate) use fake::{Fake, delete, get, get_one, put, scan, written};

#[cfg(not(target_family = "wasm"))]
mod fake {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;

    use super::Strings;
    use crate::bindings::state::{Entries, Found};

    type Tables = BTreeMap<u32, BTreeMap<Vec<u8>, Vec<u8>>>;

    thread_local! {
        static TABLES: RefCell<Tables> = const { RefCell::new(BTreeMap::new()) };
        static WRITTEN: Cell<u64> = const { Cell::new(0) };
    }

    /// The state of one harness. While it is entered it is the state of the thread's plugin.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    pub(crate) struct Fake(Tables);

    impl Fake {
        /// Does something with this state in place.
        pub(crate) fn enter<T>(&mut self, work: impl FnOnce() -> T) -> T {
            TABLES.set(std::mem::take(&mut self.0));
            let done = work();
            self.0 = TABLES.take();
            done
        }

        /// The entries of a table.
        pub(crate) fn table(&self, number: u32) -> BTreeMap<Vec<u8>, Vec<u8>> {
            self.0.get(&number).cloned().unwrap_or_default()
        }
    }

    /// How many entries were put or deleted on this thread.
    pub(crate) fn written() -> u64 {
        WRITTEN.get()
    }

    fn count(keys: &Strings) {
        WRITTEN.set(WRITTEN.get() + keys.ends.len() as u64);
    }

    pub(crate) fn get_one(table: u32, key: &[u8]) -> Option<Vec<u8>> {
        TABLES.with_borrow(|tables| tables.get(&table)?.get(key).cloned())
    }

    pub(crate) fn get(table: u32, keys: &Strings) -> Found {
        let mut found = Found { values: Strings::none(), missing: Vec::new() };
        for (at, key) in (0..).zip(keys.iter()) {
            let value = get_one(table, key);
            found.values.push(value.as_deref().unwrap_or_default());
            found.missing.extend(value.is_none().then_some(at));
        }
        found
    }

    pub(crate) fn put(table: u32, keys: &Strings, values: &Strings) {
        assert_eq!(keys.ends.len(), values.ends.len(), "each key has a value");
        count(keys);
        let entries = keys.iter().zip(values.iter()).map(|(key, value)| (key.to_vec(), value.to_vec()));
        TABLES.with_borrow_mut(|tables| tables.entry(table).or_default().extend(entries));
    }

    pub(crate) fn delete(table: u32, keys: &Strings) {
        count(keys);
        TABLES.with_borrow_mut(|tables| {
            let table = tables.entry(table).or_default();
            keys.iter().for_each(|key| drop(table.remove(key)));
        });
    }

    pub(crate) fn scan(table: u32, prefix: &[u8], after: Option<&[u8]>, max: u32) -> Entries {
        TABLES.with_borrow(|tables| {
            let mut page = Entries { keys: Strings::none(), values: Strings::none(), more: false };
            let Some(table) = tables.get(&table) else { return page };
            let within = table.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
            let mut rest = within.filter(|(key, _)| after.is_none_or(|after| key.as_slice() > after));
            for (key, value) in rest.by_ref().take(max as usize) {
                page.keys.push(key);
                page.values.push(value);
            }
            page.more = rest.next().is_some();
            page
        })
    }
}
