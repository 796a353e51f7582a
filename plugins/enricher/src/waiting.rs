//! Records that wait for a row: kept in state until it comes, or until they have waited long enough.

use std::collections::BTreeMap;

use weir_plugin::state::{Format, State, Table, Timer, Timers, Value};
use weir_plugin::{ConfigError, Output, Port, Record, warn};

use crate::rows::{RowKey, VALUE_BYTES_MAX};

/// What the entries of the table with the next number are found by: there is one.
const NEXT: u64 = 0;
/// For when the first timer of a record is set: it fires at once, and tells what time it is.
const AT_ONCE: i64 = 0;
const ANY_TIME: i64 = i64::MIN;
const NULL: u32 = u32::MAX;

/// The table, the key of the row, and a number that ascends with the order in which records came.
type Place = (String, RowKey, u64);

/// A record that waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waited {
    /// Which lookup it waits in.
    pub lookup: u64,
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    /// With what the lookups before that one added.
    pub value: Vec<u8>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Waited {
    /// Takes down a record.
    pub fn new(lookup: usize, record: Record<'_>, value: Vec<u8>) -> Self {
        let headers = record.headers().map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec))).collect();
        let key = record.key().map(<[u8]>::to_vec);
        Waited { lookup: lookup as u64, timestamp: record.timestamp(), key, value, headers }
    }

    /// The value of the first header of a name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(given, _)| given == name).and_then(|(_, value)| value.as_deref())
    }

    /// Lets it go on by a port with a value.
    pub fn go_on(&self, port: Port, out: &mut Output<'_>, write: impl FnOnce(&mut Vec<u8>)) {
        let mut draft = out.make(self.timestamp).port(port);
        if let Some(key) = &self.key {
            draft = draft.key(key);
        }
        for (name, value) in &self.headers {
            draft = match value {
                Some(value) => draft.header(name, value),
                None => draft.null_header(name),
            };
        }
        draft.value_with(write);
    }
}

impl Value for Waited {
    const FORMAT: Format = Format::Bytes;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.lookup.to_le_bytes());
        out.extend_from_slice(&self.timestamp.to_le_bytes());
        push(self.key.as_deref(), out);
        push(Some(&self.value), out);
        for (name, value) in &self.headers {
            push(Some(name.as_bytes()), out);
            push(value.as_deref(), out);
        }
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let (lookup, rest) = bytes.split_first_chunk()?;
        let (timestamp, rest) = rest.split_first_chunk()?;
        bytes = rest;
        let (lookup, timestamp) = (u64::from_le_bytes(*lookup), i64::from_le_bytes(*timestamp));
        let (key, value) = (take(&mut bytes)?, take(&mut bytes)??);
        let mut headers = Vec::new();
        while !bytes.is_empty() {
            headers.push((String::from_utf8(take(&mut bytes)??).ok()?, take(&mut bytes)?));
        }
        Some(Waited { lookup, timestamp, key, value, headers })
    }
}

fn push(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(&bytes.map_or(NULL, |bytes| bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn take(bytes: &mut &[u8]) -> Option<Option<Vec<u8>>> {
    let (len, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    let len = u32::from_le_bytes(*len);
    if len == NULL {
        return Some(None);
    }
    let (taken, rest) = bytes.split_at_checked(len as usize)?;
    *bytes = rest;
    Some(Some(taken.to_vec()))
}

/// All records that wait.
pub struct Waiting {
    records: Table<Place, Waited>,
    next: Table<u64, u64>,
    timers: Timers<(u64, String, RowKey)>,
    records_max: u64,
    /// What of it is asked for at every row; read when it is first needed.
    index: Option<Index>,
    has_told_bound: bool,
}

struct Index {
    numbers: BTreeMap<(String, RowKey), Vec<u64>>,
    count: u64,
    next: u64,
}

impl Waiting {
    /// Declares the tables. They begin with `-`, as no table of a step does.
    pub fn new(records_max: u64, state: &mut State) -> Result<Self, ConfigError> {
        Ok(Waiting {
            records: state.table("-waiting")?,
            next: state.table("-waiting-next")?,
            timers: state.clock_timers("waiting")?,
            records_max,
            index: None,
            has_told_bound: false,
        })
    }

    fn index(&mut self) -> &mut Index {
        self.index.get_or_insert_with(|| {
            let mut numbers = BTreeMap::<_, Vec<u64>>::new();
            let mut count = 0;
            self.records.scan_while(&(), ANY_TIME, |(table, key, number), _| {
                numbers.entry((table, key)).or_default().push(number);
                count += 1;
                true
            });
            Index { numbers, count, next: self.next.get(&NEXT, ANY_TIME).unwrap_or_default() }
        })
    }

    /// Whether a record of this size may wait as well.
    pub fn has_room(&mut self, bytes: usize) -> bool {
        let has_room = self.index().count < self.records_max;
        if !has_room && !self.has_told_bound {
            self.has_told_bound = true;
            warn!("{} records wait for rows, as many as may: others do not wait", self.records_max);
        }
        has_room && bytes <= VALUE_BYTES_MAX
    }

    /// Lets a record wait for the row of a key.
    pub fn add(&mut self, table: &str, key: RowKey, waited: &Waited) {
        let index = self.index();
        let number = index.next;
        index.next += 1;
        index.count += 1;
        index.numbers.entry((table.to_owned(), key.clone())).or_default().push(number);
        self.next.put(&NEXT, &(number + 1), ANY_TIME);
        self.timers.set(AT_ONCE, &(number, table.to_owned(), key.clone()));
        self.records.put(&(table.to_owned(), key, number), waited, ANY_TIME);
    }

    /// Takes the records that wait for the row of a key, in the order in which they came.
    pub fn take(&mut self, table: &str, key: &RowKey) -> Vec<Waited> {
        let index = self.index();
        if index.numbers.is_empty() {
            return Vec::new();
        }
        let numbers = index.numbers.remove(&(table.to_owned(), key.clone())).unwrap_or_default();
        index.count -= numbers.len() as u64;
        let mut taken = Vec::new();
        for number in numbers {
            let place = (table.to_owned(), key.clone(), number);
            taken.extend(self.records.get(&place, ANY_TIME));
            self.records.delete(&place);
        }
        taken
    }

    /// Takes the record whose time has come by a timer. `wait_ms` says how long a lookup lets records wait.
    ///
    /// A plugin learns what time it is when a timer fires. So the first timer of a record, which fires at once, sets the one
    /// at which it has waited long enough.
    pub fn take_due(&mut self, timer: &Timer<'_>, wait_ms: impl Fn(u64) -> Option<u64>) -> Option<Waited> {
        let due = self.timers.key_of(timer)?;
        let place = (due.1.clone(), due.2.clone(), due.0);
        let waited = self.records.get(&place, ANY_TIME)?;
        if let Some(wait_ms) = wait_ms(waited.lookup).filter(|_| timer.at() == AT_ONCE) {
            self.timers.set(timer.now().saturating_add_unsigned(wait_ms), &due);
            return None;
        }
        self.records.delete(&place);
        self.forget((place.0, place.1), place.2);
        Some(waited)
    }

    fn forget(&mut self, row: (String, RowKey), number: u64) {
        let index = self.index();
        let Some(numbers) = index.numbers.get_mut(&row) else { return };
        let before = numbers.len();
        numbers.retain(|known| *known != number);
        index.count -= (before - numbers.len()) as u64;
        if numbers.is_empty() {
            index.numbers.remove(&row);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..8)
    }

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(
            lookup: u64,
            timestamp: i64,
            key in prop::option::of(bytes()),
            value in bytes(),
            headers in prop::collection::vec((".{0,4}", prop::option::of(bytes())), 0..4),
        ) {
            let waited = Waited { lookup, timestamp, key, value, headers };
            let mut out = Vec::new();
            waited.encode(&mut out);
            prop_assert_eq!(Waited::decode(&out), Some(waited));
        }

        #[test]
        fn any_bytes_are_a_record_or_none(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Waited::decode(&bytes);
        }
    }
}
