//! A table: rows that came are kept in state, and found there.

use std::collections::HashSet;

use weir_plugin::json::{check, scan};
use weir_plugin::state::{Format, Key, State, Table, Value};
use weir_plugin::{Batch, ConfigError, Record, Reject, Result};

/// The header of the record that stands before all rows of a table that is replaced.
const MARK: &str = "weir-table";
const REPLACE: &[u8] = b"replace";
/// The bytes of a key. State has room for more, but a record that waits for a row is kept under more than its key.
pub const KEY_BYTES_MAX: usize = 8 << 10;
/// The bytes of a row, or of a record that waits: below what state has room for.
pub const VALUE_BYTES_MAX: usize = 15 << 20;
/// Rows have no time to live, so it does not matter which time it is.
const ANY_TIME: i64 = i64::MIN;

/// The key of a row: text.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey(pub Vec<u8>);

/// A row: a JSON object without white space between its tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row(pub Vec<u8>);

impl RowKey {
    /// Makes it equal to those that differ in upper and lower case alone.
    pub fn fold(&mut self) {
        if self.0.is_ascii() {
            self.0.make_ascii_lowercase();
        } else if let Ok(text) = std::str::from_utf8(&self.0) {
            self.0 = text.to_lowercase().into_bytes();
        }
    }

    pub fn is_too_long(&self) -> bool {
        self.0.len() > KEY_BYTES_MAX
    }
}

impl Key for RowKey {
    const FORMAT: Format = Format::Text;

    fn encode(&self, is_last: bool, out: &mut Vec<u8>) {
        Key::encode(&self.0, is_last, out);
    }

    fn decode(bytes: &mut &[u8], is_last: bool) -> Option<Self> {
        <Vec<u8> as Key>::decode(bytes, is_last).map(RowKey)
    }
}

impl Value for Row {
    const FORMAT: Format = Format::Json;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Row(bytes.to_vec()))
    }
}

/// The rows of a table.
pub struct Rows {
    name: String,
    /// Which input they come from.
    input: u32,
    folds_case: bool,
    table: Table<RowKey, Row>,
    /// Of the batch at hand: the place of each mark that the table is replaced, with the keys of the rows that follow it.
    replacements: Vec<(u32, HashSet<RowKey>)>,
    /// Whether such a mark has been met in this batch.
    is_replaced: bool,
}

/// What a record of a table says.
enum Change {
    Put(RowKey, Row),
    Delete(RowKey),
    Replace,
}

impl Rows {
    /// Declares the table.
    pub fn new(name: &str, input: u32, folds_case: bool, state: &mut State) -> Result<Self, ConfigError> {
        let table = state.table(name)?;
        let name = name.to_owned();
        Ok(Rows { name, input, folds_case, table, replacements: Vec::new(), is_replaced: false })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn input(&self) -> u32 {
        self.input
    }

    pub fn folds_case(&self) -> bool {
        self.folds_case
    }

    /// The row of a key.
    pub fn get(&mut self, key: &RowKey) -> Option<Row> {
        self.table.get(key, ANY_TIME)
    }

    /// Asks for the rows of many keys at once.
    pub fn prefetch<'k>(&mut self, keys: impl IntoIterator<Item = &'k RowKey>) {
        self.table.prefetch(keys);
    }

    /// Looks at a batch of rows before they are put in place one by one.
    ///
    /// Where the table is replaced, rows that were there and come again are left alone, so what comes has to be known ahead. If
    /// a batch is cut in two after a failure, the first half deletes what only the second half brings, which puts it back.
    pub fn look_ahead(&mut self, batch: &Batch<'_>) {
        self.is_replaced = false;
        self.replacements.clear();
        if !batch.iter().any(|record| is_mark(&record)) {
            return;
        }
        for record in batch {
            match (self.read(&record), self.replacements.last_mut()) {
                (Ok(Change::Replace), _) => self.replacements.push((record.index(), HashSet::new())),
                (Ok(Change::Put(key, _)), Some((_, keys))) => drop(keys.insert(key)),
                _ => {}
            }
        }
        self.table.prefetch(self.replacements.iter().flat_map(|(_, keys)| keys));
    }

    /// Puts a row in place, or takes it away. Returns the key of a row that is there now.
    pub fn apply(&mut self, record: &Record<'_>) -> Result<Option<RowKey>> {
        match self.read(record)? {
            Change::Replace => {
                self.keep_only(record.index());
                self.is_replaced = true;
                Ok(None)
            }
            Change::Delete(key) => {
                self.table.delete(&key);
                Ok(None)
            }
            Change::Put(key, row) => {
                let is_there = self.is_replaced && self.table.get(&key, ANY_TIME).is_some_and(|there| there == row);
                if !is_there {
                    self.table.put(&key, &row, record.timestamp());
                }
                Ok(Some(key))
            }
        }
    }

    /// Deletes all rows but those that follow the mark at a place of the batch.
    fn keep_only(&mut self, mark: u32) {
        let following = self.replacements.iter().find(|(at, _)| *at == mark).map(|(_, keys)| keys);
        let mut gone = Vec::new();
        self.table.scan_while(&(), ANY_TIME, |key, _| {
            if !following.is_some_and(|keys| keys.contains(&key)) {
                gone.push(key);
            }
            true
        });
        gone.iter().for_each(|key| self.table.delete(key));
    }

    fn read(&self, record: &Record<'_>) -> Result<Change> {
        let about =
            |wrong: Reject| Reject::permanent(format_args!("row of the table {}: {}", self.name, wrong.reason()));
        read(record, self.folds_case).map_err(about)
    }
}

fn is_mark(record: &Record<'_>) -> bool {
    record.key().is_none() && record.value().is_none() && record.header(MARK) == Some(REPLACE)
}

fn read(record: &Record<'_>, folds_case: bool) -> Result<Change> {
    let Some(key) = record.key() else {
        return if is_mark(record) {
            Ok(Change::Replace)
        } else {
            Err(Reject::permanent(format_args!(
                "expected a key, or no value and the header {MARK}: replace, got neither"
            )))
        };
    };
    std::str::from_utf8(key).map_err(|wrong| Reject::permanent(format_args!("expected a key in UTF-8: {wrong}")))?;
    let mut key = RowKey(key.to_vec());
    if folds_case {
        key.fold();
    }
    if key.is_too_long() {
        let len = key.0.len();
        return Err(Reject::permanent(format_args!("expected a key of at most {KEY_BYTES_MAX} bytes, got {len}")));
    }
    match record.value() {
        None => Ok(Change::Delete(key)),
        Some(value) => Ok(Change::Put(key, row(value)?)),
    }
}

/// Checks a row, so that what is copied from it needs no check, and leaves white space out.
pub fn row(value: &[u8]) -> Result<Row> {
    let object = value.trim_ascii();
    if object.first() != Some(&b'{') {
        return Err(Reject::permanent("expected a JSON object as value"));
    }
    check::value(object)?;
    if object.len() > VALUE_BYTES_MAX {
        let len = object.len();
        return Err(Reject::permanent(format_args!("expected a value of at most {VALUE_BYTES_MAX} bytes, got {len}")));
    }
    let mut row = Vec::with_capacity(object.len());
    let mut at = 0;
    while let Some(byte) = object.get(at) {
        let end = if *byte == b'"' { scan::string_end(object, at + 1)?.0 + 1 } else { at + 1 };
        if !byte.is_ascii_whitespace() {
            row.extend_from_slice(object.get(at..end).unwrap_or_default());
        }
        at = end;
    }
    Ok(Row(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_kept_without_white_space() {
        let text = "\n{ \"a b\" : [ 1 , 2.50 ] ,\t\"c\\\"  \":{ }\r\n} ";
        assert_eq!(row(text.as_bytes()).unwrap().0, b"{\"a b\":[1,2.50],\"c\\\"  \":{}}");
        for (wrong, reason) in [
            ("", "expected a JSON object as value"),
            ("[]", "expected a JSON object as value"),
            ("{\"a\" 1}", "malformed JSON at byte 5: expected a colon"),
            ("{\"a\":[1 2]}", "malformed JSON at byte 8: expected a comma or a closing bracket"),
            ("{} {}", "malformed JSON at byte 2: nothing may follow the value"),
        ] {
            assert_eq!(row(wrong.as_bytes()).unwrap_err().reason(), reason);
        }
    }

    #[test]
    fn keys_fold_as_text() {
        let fold = |key: &str| {
            let mut key = RowKey(key.as_bytes().to_vec());
            key.fold();
            String::from_utf8(key.0).unwrap()
        };
        assert_eq!(fold("AA:Bb"), "aa:bb");
        assert_eq!(fold("ÄB"), "äb");
        let mut no_text = RowKey(vec![b'A', 255]);
        no_text.fold();
        assert_eq!(no_text.0, [b'A', 255]);
    }
}
