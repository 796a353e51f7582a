//! The interface `state` as a guest calls it: keys and values are read where they lie in its memory.
//!
//! Judges what a guest hands over; the tables themselves are in `state.rs`.

use bytes::Bytes;
use wasmtime::component::{Linker, LinkerInstance, WasmList};
use wasmtime::{Result, StoreContextMut};

use super::bindings::{EntriesIn, FoundIn, STATE, StringsIn, StringsOut};
use super::limits::State;
use crate::state::{ANSWER_BYTES_MAX, Misuse, Tables};

/// The entries that one scan gives at most.
const SCAN_MAX: usize = 4096;

/// Why a call into the state ends the guest. Shown as its cause.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("state: {0}")]
    Misuse(#[from] Misuse),
    #[error("state: {0}")]
    Strings(String),
    /// Never shown: the tables keep the error of the store.
    #[error("the state could not be read")]
    Store,
}

/// Links the state.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    let mut state = linker.instance(STATE)?;
    link_reads(&mut state)?;
    link_scan(&mut state)?;
    link_writes(&mut state)
}

fn link_reads(state: &mut LinkerInstance<'_, State>) -> Result<()> {
    state.func_wrap_async("get", |mut store: StoreContextMut<'_, State>, (table, keys): (u32, StringsOut)| {
        Box::new(async move {
            let mut tables = std::mem::take(&mut store.data_mut().tables);
            let found = match Strings::of(&keys, &store) {
                Ok(keys) => get(&mut tables, table, &keys).await,
                Err(refused) => Err(refused),
            };
            store.data_mut().tables = tables;
            Ok((found?,))
        })
    })?;
    state.func_wrap_async("get-one", |mut store: StoreContextMut<'_, State>, (table, key): (u32, WasmList<u8>)| {
        Box::new(async move {
            let mut tables = std::mem::take(&mut store.data_mut().tables);
            let found = get_one(&mut tables, table, key.as_le_slice(&store)).await;
            store.data_mut().tables = tables;
            Ok((found?,))
        })
    })
}

fn link_scan(state: &mut LinkerInstance<'_, State>) -> Result<()> {
    type Params = (u32, WasmList<u8>, Option<WasmList<u8>>, u32);
    state.func_wrap_async("scan", |mut store: StoreContextMut<'_, State>, (table, prefix, after, max): Params| {
        Box::new(async move {
            let mut tables = std::mem::take(&mut store.data_mut().tables);
            let after = after.as_ref().map(|after| after.as_le_slice(&store));
            let scanned = scan(&mut tables, table, prefix.as_le_slice(&store), after, max).await;
            store.data_mut().tables = tables;
            Ok((scanned?,))
        })
    })
}

fn link_writes(state: &mut LinkerInstance<'_, State>) -> Result<()> {
    type Put = (u32, StringsOut, StringsOut);
    state.func_wrap("put", |mut store: StoreContextMut<'_, State>, (table, keys, values): Put| {
        write(&mut store, |store, tables| {
            let (keys, values) = (Strings::of(&keys, store)?, Strings::of(&values, store)?);
            if keys.len() != values.len() {
                let counts = format!("it puts {} values under {} keys", values.len(), keys.len());
                return Err(Refused::Strings(counts));
            }
            for (key, value) in keys.iter().zip(values.iter()) {
                tables.write(table, key, Some(value))?;
            }
            Ok(())
        })
    })?;
    type PutOne = (u32, WasmList<u8>, WasmList<u8>);
    state.func_wrap("put-one", |mut store: StoreContextMut<'_, State>, (table, key, value): PutOne| {
        write(&mut store, |store, tables| {
            Ok(tables.write(table, key.as_le_slice(store), Some(value.as_le_slice(store)))?)
        })
    })?;
    state.func_wrap("delete", |mut store: StoreContextMut<'_, State>, (table, keys): (u32, StringsOut)| {
        write(&mut store, |store, tables| {
            for key in Strings::of(&keys, store)?.iter() {
                tables.write(table, key, None)?;
            }
            Ok(())
        })
    })?;
    state.func_wrap("delete-one", |mut store: StoreContextMut<'_, State>, (table, key): (u32, WasmList<u8>)| {
        write(&mut store, |store, tables| Ok(tables.write(table, key.as_le_slice(store), None)?))
    })
}

/// Writes to the tables what lies in the guest's memory.
fn write(
    store: &mut StoreContextMut<'_, State>,
    work: impl FnOnce(&StoreContextMut<'_, State>, &mut Tables) -> Result<(), Refused>,
) -> Result<()> {
    let mut tables = std::mem::take(&mut store.data_mut().tables);
    let done = work(store, &mut tables);
    store.data_mut().tables = tables;
    Ok(done?)
}

async fn get(tables: &mut Tables, table: u32, keys: &Strings<'_>) -> Result<FoundIn, Refused> {
    let mut values = Vec::with_capacity(keys.len());
    let mut unknown = Vec::new();
    for key in keys.iter() {
        let known = tables.find(table, key)?.map(Option::<&Bytes>::cloned);
        if known.is_none() {
            unknown.push(Bytes::copy_from_slice(key));
        }
        values.push(known);
    }
    // What is read is answered with, whether or not there is room to keep it.
    let mut read = load(tables, table, unknown).await?.into_iter();
    let mut found = FoundIn::default();
    found.values.ends.reserve(keys.len());
    for (at, known) in (0..).zip(values) {
        let value = known.unwrap_or_else(|| read.next().flatten());
        if found.values.data.len() + value.as_ref().map_or(0, Bytes::len) > ANSWER_BYTES_MAX {
            return Err(Misuse::AsksTooMuch.into());
        }
        found.values.push(value.as_deref().unwrap_or_default());
        found.missing.extend(value.is_none().then_some(at));
    }
    Ok(found)
}

async fn get_one(tables: &mut Tables, table: u32, key: &[u8]) -> Result<Option<Vec<u8>>, Refused> {
    if let Some(known) = tables.find(table, key)? {
        return Ok(known.map(|value| value.to_vec()));
    }
    let mut read = load(tables, table, vec![Bytes::copy_from_slice(key)]).await?;
    Ok(read.pop().flatten().map(|value| value.to_vec()))
}

async fn load(tables: &mut Tables, table: u32, keys: Vec<Bytes>) -> Result<Vec<Option<Bytes>>, Refused> {
    let read = if keys.is_empty() { Vec::new() } else { tables.load(table, keys).await? };
    if tables.has_error() { Err(Refused::Store) } else { Ok(read) }
}

async fn scan(
    tables: &mut Tables,
    table: u32,
    prefix: &[u8],
    after: Option<&[u8]>,
    max: u32,
) -> Result<EntriesIn, Refused> {
    let scanned = tables.scan(table, prefix, after, SCAN_MAX.min(max as usize)).await?;
    if tables.has_error() {
        return Err(Refused::Store);
    }
    let mut entries = EntriesIn { more: scanned.has_more, ..EntriesIn::default() };
    for (key, value) in &scanned.entries {
        entries.keys.push(key);
        entries.values.push(value);
    }
    Ok(entries)
}

impl StringsIn {
    fn push(&mut self, string: &[u8]) {
        self.data.extend_from_slice(string);
        self.ends.push(self.data.len() as u32);
    }
}

/// Strings in a guest's memory that are what they should be.
struct Strings<'a> {
    ends: &'a [u32],
    data: &'a [u8],
}

impl<'a> Strings<'a> {
    fn of(strings: &StringsOut, store: &'a StoreContextMut<'_, State>) -> Result<Self, Refused> {
        let (ends, data) = (strings.ends.as_le_slice(store), strings.data.as_le_slice(store));
        let last = ends.last().copied().unwrap_or(0) as usize;
        if !ends.is_sorted() || last != data.len() {
            let count = ends.len();
            let bytes = data.len();
            return Err(Refused::Strings(format!(
                "expected {count} ends that never decrease, up to the {bytes} bytes that they divide; the last is {last}"
            )));
        }
        Ok(Strings { ends, data })
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let data = self.data;
        starts.zip(self.ends).map(move |(start, end)| data.get(start as usize..*end as usize).unwrap_or_default())
    }
}
