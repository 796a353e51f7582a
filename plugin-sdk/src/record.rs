//! Records and batches as a plugin sees them: views into the columns that the host sent.
//!
//! Nothing is copied: a key or a value is a slice of the batch. The layout is that of `wit/types.wit`; this file knows
//! it for reading and for writing, and nothing of what a plugin does with it.

use serde::Deserialize;

use crate::Reject;
use crate::bindings::types;

pub(crate) const KEY_NULL: u32 = 1;
pub(crate) const VALUE_NULL: u32 = 1 << 1;
pub(crate) const PORT_SHIFT: u32 = 8;
pub(crate) const INDEX_WIDTH: usize = 4;
pub(crate) const META_WIDTH: usize = 2;
/// A header value of this length is null.
const HEADER_NULL: u32 = u32::MAX;

#[cold]
fn not_text(error: std::str::Utf8Error) -> Reject {
    Reject::permanent(format_args!("expected UTF-8 text: {error}"))
}

/// A batch of records from one partition, in order.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    index: &'a [[u32; INDEX_WIDTH]],
    meta: &'a [[i64; META_WIDTH]],
    data: &'a [u8],
    input: u32,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(columns: &'a types::Batch, input: u32) -> Self {
        Batch {
            index: columns.index.as_chunks::<INDEX_WIDTH>().0,
            meta: columns.meta.as_chunks::<META_WIDTH>().0,
            data: &columns.data,
            input,
        }
    }

    /// How many records it holds.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether it holds no record.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Which of the step's inputs it is from, counted as in [`Context::inputs`](crate::Context::inputs), and behind them
    /// its tables.
    pub fn input(&self) -> u32 {
        self.input
    }

    /// The bytes of all its records: what their copies would take.
    pub fn data_len(&self) -> usize {
        self.data.len()
    }

    /// The record at a place in the batch.
    pub fn get(&self, at: usize) -> Option<Record<'a>> {
        let start = match at.checked_sub(1) {
            None => 0,
            Some(before) => self.index.get(before)?[2],
        };
        self.record(at, start, self.index.get(at)?, self.meta.get(at)?)
    }

    /// The records, in order.
    pub fn iter(&self) -> Records<'a> {
        Records { batch: *self, at: 0, start: 0 }
    }

    #[inline]
    fn record(
        &self,
        at: usize,
        start: u32,
        index: &[u32; INDEX_WIDTH],
        meta: &[i64; META_WIDTH],
    ) -> Option<Record<'a>> {
        let [key_end, value_end, headers_end, flags] = *index;
        Some(Record {
            data: self.data.get(start as usize..headers_end as usize)?,
            key_end: key_end.checked_sub(start)?,
            value_end: value_end.checked_sub(start)?,
            flags,
            at: u32::try_from(at).ok()?,
            input: self.input,
            offset: meta[0],
            timestamp: meta[1],
        })
    }
}

impl<'a> IntoIterator for &Batch<'a> {
    type Item = Record<'a>;
    type IntoIter = Records<'a>;

    fn into_iter(self) -> Records<'a> {
        self.iter()
    }
}

/// The records of a batch, in order.
#[derive(Clone)]
pub struct Records<'a> {
    batch: Batch<'a>,
    at: usize,
    start: u32,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        let index = self.batch.index.get(self.at)?;
        let record = self.batch.record(self.at, self.start, index, self.batch.meta.get(self.at)?);
        self.at += 1;
        self.start = index[2];
        record
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.batch.len() - self.at;
        (left, Some(left))
    }
}

/// One record, seen in its batch.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// Key, value and headers.
    data: &'a [u8],
    key_end: u32,
    value_end: u32,
    flags: u32,
    at: u32,
    input: u32,
    offset: i64,
    timestamp: i64,
}

impl<'a> Record<'a> {
    /// What the record is about; `None` when it has no key.
    #[inline]
    pub fn key(&self) -> Option<&'a [u8]> {
        if self.flags & KEY_NULL != 0 { None } else { Some(self.key_bytes()) }
    }

    /// The content; `None` for a tombstone, which says that the key has no value any more.
    #[inline]
    pub fn value(&self) -> Option<&'a [u8]> {
        if self.flags & VALUE_NULL != 0 { None } else { Some(self.bytes()) }
    }

    /// The bytes of the value; empty for a tombstone.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.data.get(self.key_end as usize..self.value_end as usize).unwrap_or_default()
    }

    /// The value as text; a reject when it is a tombstone or not UTF-8.
    #[inline]
    pub fn text(&self) -> Result<&'a str, Reject> {
        let value = self.value().ok_or_else(|| Reject::permanent("expected text, got a tombstone"))?;
        // The standard library looks at a few bytes at a time, which in WebAssembly costs more than most plugins' work.
        simdutf8::basic::from_utf8(value).or_else(|_| std::str::from_utf8(value).map_err(not_text))
    }

    /// The value read as JSON; may borrow from the batch. A reject when it does not fit.
    pub fn json<T: Deserialize<'a>>(&self) -> Result<T, Reject> {
        let value = self.value().ok_or_else(|| Reject::permanent("expected JSON, got a tombstone"))?;
        serde_json::from_slice(value).map_err(|error| Reject::permanent(format_args!("expected JSON: {error}")))
    }

    /// The headers, in order.
    pub fn headers(&self) -> Headers<'a> {
        Headers { rest: self.headers_raw() }
    }

    /// The value of the first header of a name; `None` when there is none, or it is null.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().find(|(given, _)| *given == name).and_then(|(_, value)| value)
    }

    /// Which record of its batch it is, from 0.
    #[inline]
    pub fn index(&self) -> u32 {
        self.at
    }

    /// Which of the step's inputs it is from, counted as in [`Context::inputs`](crate::Context::inputs), and behind them
    /// its tables.
    #[inline]
    pub fn input(&self) -> u32 {
        self.input
    }

    /// Its place in the partition it was read from.
    #[inline]
    pub fn offset(&self) -> u64 {
        self.offset.cast_unsigned()
    }

    /// When it happened: milliseconds since 1970-01-01T00:00:00Z.
    #[inline]
    pub fn timestamp(&self) -> i64 {
        self.timestamp
    }

    #[inline]
    fn key_bytes(&self) -> &'a [u8] {
        self.data.get(..self.key_end as usize).unwrap_or_default()
    }

    pub(crate) fn headers_raw(&self) -> &'a [u8] {
        self.data.get(self.value_end as usize..).unwrap_or_default()
    }

    /// Its key as it goes into the columns: the bytes and the flag that says whether it is null.
    pub(crate) fn key_column(&self) -> (&'a [u8], u32) {
        (self.key_bytes(), self.flags & KEY_NULL)
    }

    /// Appends the record as it is to columns, bound for a port.
    pub(crate) fn copy_to(&self, columns: &mut types::Batch, port: u8) {
        let start = columns.data.len() as u32;
        columns.data.extend_from_slice(self.data);
        let end = columns.data.len() as u32;
        let flags = self.flags & (KEY_NULL | VALUE_NULL) | u32::from(port) << PORT_SHIFT;
        columns.index.extend_from_slice(&[start + self.key_end, start + self.value_end, end, flags]);
        columns.meta.extend_from_slice(&[self.offset, self.timestamp]);
    }
}

impl std::fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("index", &self.at)
            .field("offset", &self.offset)
            .field("timestamp", &self.timestamp)
            .field("key", &self.key().map(String::from_utf8_lossy))
            .field("value", &self.value().map(String::from_utf8_lossy))
            .finish_non_exhaustive()
    }
}

/// The headers of a record: name, and value or null.
#[derive(Debug, Clone)]
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Headers<'a> {
    fn number(&mut self) -> Option<u32> {
        let (number, rest) = self.rest.split_first_chunk::<4>()?;
        self.rest = rest;
        Some(u32::from_le_bytes(*number))
    }

    fn bytes(&mut self, len: u32) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(len as usize)?;
        self.rest = rest;
        Some(bytes)
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let name_len = self.number()?;
        let name = std::str::from_utf8(self.bytes(name_len)?).ok()?;
        let value = match self.number()? {
            HEADER_NULL => None,
            len => Some(self.bytes(len)?),
        };
        Some((name, value))
    }
}

/// Appends a header in the form in which a batch holds it.
pub(crate) fn push_header(headers: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    headers.extend_from_slice(&(name.len() as u32).to_le_bytes());
    headers.extend_from_slice(name.as_bytes());
    headers.extend_from_slice(&value.map_or(HEADER_NULL, |value| value.len() as u32).to_le_bytes());
    headers.extend_from_slice(value.unwrap_or_default());
}
