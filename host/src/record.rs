//! Records and batches: plain data, no I/O.
//!
//! A batch is held in the three columns that cross the WASM boundary and lie on disk (see `wit/types.wit`), so that a
//! record is copied as part of its batch and never on its own. This file owns that layout; it knows nothing of where
//! records come from or go to.

use std::fmt;
use std::sync::Arc;

/// The flag of a record whose key is absent.
pub const KEY_NULL: u32 = 1;
/// The flag of a record whose value is absent: a tombstone.
pub const VALUE_NULL: u32 = 1 << 1;
/// Where the output port stands in the flags.
const PORT_SHIFT: u32 = 8;
const FLAGS_KNOWN: u32 = KEY_NULL | VALUE_NULL | (0xff << PORT_SHIFT);

/// `index` numbers per record: end of key, end of value, end of headers, flags.
const INDEX_WIDTH: usize = 4;
/// `meta` numbers per record: offset, timestamp.
const META_WIDTH: usize = 2;
/// A header value of this length is null.
const HEADER_NULL: u32 = u32::MAX;

/// The place of a record in its partition, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub u64);

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

/// The number of a partition of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Partition(pub u32);

/// The number of a step's output port; 0 is the main one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Port(pub u8);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How far an input partition was read, in the terms of whoever reads it: an offset, or a file and a place in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Position(pub Vec<u8>);

impl Position {
    /// The position of a reader that counts offsets: the next offset to read.
    pub fn at(offset: Offset) -> Self {
        Position(offset.0.to_le_bytes().to_vec())
    }

    /// The next offset to read, where the position is one of [`Position::at`].
    pub fn offset(&self) -> Option<Offset> {
        Some(Offset(u64::from_le_bytes(self.0.as_slice().try_into().ok()?)))
    }
}

/// One record, seen in its batch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// What the record is about; decides its partition.
    pub key: Option<&'a [u8]>,
    /// The content; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers as they stand in the batch; [`Record::headers`] reads them.
    pub headers_raw: &'a [u8],
    /// Place in the partition that it was read from.
    pub offset: Offset,
    /// When it happened, as far as the source knows.
    pub timestamp: Timestamp,
    /// The port by which it left a step.
    pub port: Port,
}

impl<'a> Record<'a> {
    /// A record with a value and nothing else.
    pub fn of(value: &'a [u8], timestamp: Timestamp) -> Self {
        Record { key: None, value: Some(value), headers_raw: &[], offset: Offset(0), timestamp, port: Port(0) }
    }

    /// The headers in order: name, and value or null.
    pub fn headers(&self) -> Headers<'a> {
        Headers { rest: self.headers_raw }
    }

    /// The bytes that it takes in the data column.
    pub fn data_len(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len) + self.headers_raw.len()
    }

    fn flags(&self) -> u32 {
        let null = |absent: bool, flag: u32| if absent { flag } else { 0 };
        null(self.key.is_none(), KEY_NULL)
            | null(self.value.is_none(), VALUE_NULL)
            | u32::from(self.port.0) << PORT_SHIFT
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: Option<&[u8]>| bytes.map(|b| String::from_utf8_lossy(b).into_owned());
        f.debug_struct("Record")
            .field("offset", &self.offset.0)
            .field("timestamp", &self.timestamp.0)
            .field("key", &text(self.key))
            .field("value", &text(self.value))
            .field("headers", &self.headers().map(|(n, v)| (n, text(v))).collect::<Vec<_>>())
            .field("port", &self.port.0)
            .finish()
    }
}

/// The headers of a record, in order. Ends early where they are malformed, which a valid batch never is.
#[derive(Debug, Clone)]
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Headers<'a> {
    /// The headers that lie in these bytes, as a batch holds them.
    pub fn of(raw: &'a [u8]) -> Self {
        Headers { rest: raw }
    }

    fn number(&mut self) -> Option<u32> {
        let (bytes, rest) = self.rest.split_first_chunk::<4>()?;
        self.rest = rest;
        Some(u32::from_le_bytes(*bytes))
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
        let value_len = self.number()?;
        let value = if value_len == HEADER_NULL { None } else { Some(self.bytes(value_len)?) };
        Some((name, value))
    }
}

/// Appends a header in the form in which a batch holds it.
pub fn push_header(headers: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    headers.extend_from_slice(&(name.len() as u32).to_le_bytes());
    headers.extend_from_slice(name.as_bytes());
    match value {
        None => headers.extend_from_slice(&HEADER_NULL.to_le_bytes()),
        Some(value) => {
            headers.extend_from_slice(&(value.len() as u32).to_le_bytes());
            headers.extend_from_slice(value);
        }
    }
}

/// What is wrong with columns that do not make a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The columns do not speak of the same number of records.
    #[error("index has {index} numbers and meta has {meta}: expected 4 and 2 for each record")]
    Shape {
        /// Length of the index column.
        index: usize,
        /// Length of the meta column.
        meta: usize,
    },
    /// The ends of a record decrease, or go past the data.
    #[error(
        "record {record}: the ends {ends:?} must not decrease, must start at {start} or later and lie within {len} bytes of data"
    )]
    Ends {
        /// Which record of the batch.
        record: usize,
        /// End of key, value and headers.
        ends: [u32; 3],
        /// Where the record begins.
        start: u32,
        /// Length of the data column.
        len: usize,
    },
    /// Data that belongs to no record.
    #[error("the records end at byte {end} of {len} bytes of data")]
    Rest {
        /// Where the last record ends.
        end: usize,
        /// Length of the data column.
        len: usize,
    },
    /// Unknown flags, or a null key or value that has bytes.
    #[error(
        "record {record}: flags {flags:#x} are unknown or contradict the lengths {key_len} (key) and {value_len} (value)"
    )]
    Flags {
        /// Which record of the batch.
        record: usize,
        /// Its flags.
        flags: u32,
        /// Bytes of its key.
        key_len: u32,
        /// Bytes of its value.
        value_len: u32,
    },
    /// Headers that are not pairs of name and value.
    #[error("record {record}: headers are not pairs of a UTF-8 name and a value, each with its length before it")]
    Headers {
        /// Which record of the batch.
        record: usize,
    },
    /// More data than a column's 32-bit ends can speak of.
    #[error("{len} bytes of data: a batch holds 4 GiB at most")]
    TooLarge {
        /// Length of the data column.
        len: usize,
    },
    /// Bytes that are not an encoded batch.
    #[error("not an encoded batch: {0}")]
    Encoding(&'static str),
}

/// A run of records in order, in columns. Valid by construction: every record can be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    index: Vec<u32>,
    meta: Vec<i64>,
    data: Vec<u8>,
}

impl Batch {
    /// An empty batch with room for so many records and bytes of data.
    pub fn with_capacity(records: usize, bytes: usize) -> Self {
        Batch {
            index: Vec::with_capacity(records * INDEX_WIDTH),
            meta: Vec::with_capacity(records * META_WIDTH),
            data: Vec::with_capacity(bytes),
        }
    }

    /// Checks columns that came from outside and makes a batch of them.
    pub fn from_columns(index: Vec<u32>, meta: Vec<i64>, data: Vec<u8>) -> Result<Self, Invalid> {
        if !index.len().is_multiple_of(INDEX_WIDTH) || index.len() / INDEX_WIDTH * META_WIDTH != meta.len() {
            return Err(Invalid::Shape { index: index.len(), meta: meta.len() });
        }
        if u32::try_from(data.len()).is_err() {
            return Err(Invalid::TooLarge { len: data.len() });
        }
        let mut start = 0;
        for (record, row) in index.as_chunks::<INDEX_WIDTH>().0.iter().enumerate() {
            check_row(record, *row, start, &data)?;
            start = row[2];
        }
        if start as usize != data.len() {
            return Err(Invalid::Rest { end: start as usize, len: data.len() });
        }
        Ok(Batch { index, meta, data })
    }

    /// The three columns: index, meta, data.
    pub fn columns(&self) -> (&[u32], &[i64], &[u8]) {
        (&self.index, &self.meta, &self.data)
    }

    /// The three columns, given away.
    pub fn into_columns(self) -> (Vec<u32>, Vec<i64>, Vec<u8>) {
        (self.index, self.meta, self.data)
    }

    /// How many records it holds.
    pub fn len(&self) -> usize {
        self.index.len() / INDEX_WIDTH
    }

    /// Whether it holds no record.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The memory that its records take, in bytes: what budgets count.
    pub fn bytes(&self) -> usize {
        self.index.len() * 4 + self.meta.len() * 8 + self.data.len()
    }

    /// Appends a record. The caller keeps a batch under 4 GiB, which every budget does.
    pub fn push(&mut self, record: &Record<'_>) {
        self.data.extend_from_slice(record.key.unwrap_or_default());
        let key_end = self.data.len() as u32;
        self.data.extend_from_slice(record.value.unwrap_or_default());
        let value_end = self.data.len() as u32;
        self.data.extend_from_slice(record.headers_raw);
        let headers_end = self.data.len() as u32;
        self.index.extend_from_slice(&[key_end, value_end, headers_end, record.flags()]);
        self.meta.extend_from_slice(&[record.offset.0 as i64, record.timestamp.0]);
    }

    /// Appends all records of another batch, as they are.
    pub fn append(&mut self, other: &Batch) {
        let base = self.data.len() as u32;
        self.data.extend_from_slice(&other.data);
        self.meta.extend_from_slice(&other.meta);
        self.index.reserve(other.index.len());
        for row in other.index.as_chunks::<INDEX_WIDTH>().0 {
            self.index.extend_from_slice(&[row[0] + base, row[1] + base, row[2] + base, row[3]]);
        }
    }

    /// The record at a place in the batch.
    pub fn get(&self, at: usize) -> Option<Record<'_>> {
        let rows = self.index.as_chunks::<INDEX_WIDTH>().0;
        let [key_end, value_end, headers_end, flags] = *rows.get(at)?;
        let start = match at.checked_sub(1) {
            None => 0,
            Some(before) => rows.get(before)?[2],
        };
        let [offset, timestamp] = *self.meta.as_chunks::<META_WIDTH>().0.get(at)?;
        let bytes = |from: u32, to: u32| self.data.get(from as usize..to as usize);
        Some(Record {
            key: if flags & KEY_NULL == 0 { bytes(start, key_end) } else { None },
            value: if flags & VALUE_NULL == 0 { bytes(key_end, value_end) } else { None },
            headers_raw: bytes(value_end, headers_end)?,
            offset: Offset(offset as u64),
            timestamp: Timestamp(timestamp),
            port: Port((flags >> PORT_SHIFT) as u8),
        })
    }

    /// The records in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Record<'_>> + ExactSizeIterator {
        (0..self.len()).map(|at| self.get(at).unwrap_or(Record::of(&[], Timestamp(0))))
    }

    /// The records at these places, in this order; places outside the batch are passed over.
    pub fn select(&self, places: &[u32]) -> Batch {
        let mut selected = Batch::with_capacity(places.len(), self.data.len() * places.len() / self.len().max(1));
        for record in places.iter().filter_map(|at| self.get(*at as usize)) {
            selected.push(&record);
        }
        selected
    }

    /// The records from one place up to, not including, another.
    pub fn slice(&self, range: std::ops::Range<usize>) -> Batch {
        let mut slice = Batch::with_capacity(range.len(), 0);
        for record in range.filter_map(|at| self.get(at)) {
            slice.push(&record);
        }
        slice
    }

    /// Gives a record the offset of the record that it comes from.
    pub fn set_offset(&mut self, at: usize, offset: Offset) {
        if let Some(row) = self.meta.as_chunks_mut::<META_WIDTH>().0.get_mut(at) {
            row[0] = offset.0 as i64;
        }
    }

    /// Numbers the records from an offset on, as a partition that they are appended to does.
    pub fn set_offsets_from(&mut self, base: Offset) {
        for (row, offset) in self.meta.as_chunks_mut::<META_WIDTH>().0.iter_mut().zip(base.0..) {
            row[0] = offset as i64;
        }
    }

    /// Sends all records to a port.
    pub fn set_port(&mut self, port: Port) {
        for row in self.index.as_chunks_mut::<INDEX_WIDTH>().0 {
            row[3] = row[3] & (KEY_NULL | VALUE_NULL) | u32::from(port.0) << PORT_SHIFT;
        }
    }

    /// The first record's offset.
    pub fn first_offset(&self) -> Option<Offset> {
        self.get(0).map(|record| record.offset)
    }

    /// The last record's offset.
    pub fn last_offset(&self) -> Option<Offset> {
        self.len().checked_sub(1).and_then(|at| self.get(at)).map(|record| record.offset)
    }

    /// The first record's timestamp: what decides which of several inputs is read next.
    pub fn first_timestamp(&self) -> Option<Timestamp> {
        self.get(0).map(|record| record.timestamp)
    }

    /// Whether every record leaves by the main port.
    pub fn is_main_port_only(&self) -> bool {
        self.index.as_chunks::<INDEX_WIDTH>().0.iter().all(|row| row[3] >> PORT_SHIFT == 0)
    }

    /// The batch as bytes on disk: a version, the number of records, the columns; all numbers lowest byte first.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + self.bytes());
        out.extend_from_slice(&ENCODING_VERSION.to_le_bytes());
        out.extend_from_slice(&(self.len() as u32).to_le_bytes());
        self.index.iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
        self.meta.iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
        out.extend_from_slice(&self.data);
        out
    }

    /// Reads what [`Batch::encode`] wrote, and checks it as if it came from outside: disks lie.
    pub fn decode(bytes: &[u8]) -> Result<Self, Invalid> {
        let (version, rest) = bytes.split_first_chunk::<4>().ok_or(Invalid::Encoding("it has no version"))?;
        if u32::from_le_bytes(*version) != ENCODING_VERSION {
            return Err(Invalid::Encoding("its version is unknown"));
        }
        let (count, rest) = rest.split_first_chunk::<4>().ok_or(Invalid::Encoding("it has no record count"))?;
        let count = u32::from_le_bytes(*count) as usize;
        let columns_len = count.checked_mul(INDEX_WIDTH * 4 + META_WIDTH * 8).filter(|len| *len <= rest.len());
        let Some(columns_len) = columns_len else {
            return Err(Invalid::Encoding("it is shorter than its records"));
        };
        let (columns, data) = rest.split_at(columns_len);
        let (index, meta) = columns.split_at(count * INDEX_WIDTH * 4);
        let index = index.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        let meta = meta.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect();
        Batch::from_columns(index, meta, data.to_vec())
    }
}

const ENCODING_VERSION: u32 = 1;

fn check_row(record: usize, row: [u32; INDEX_WIDTH], start: u32, data: &[u8]) -> Result<(), Invalid> {
    let [key_end, value_end, headers_end, flags] = row;
    if start > key_end || key_end > value_end || value_end > headers_end || headers_end as usize > data.len() {
        return Err(Invalid::Ends { record, ends: [key_end, value_end, headers_end], start, len: data.len() });
    }
    let (key_len, value_len) = (key_end - start, value_end - key_end);
    let null_with_bytes = (flags & KEY_NULL != 0 && key_len > 0) || (flags & VALUE_NULL != 0 && value_len > 0);
    if flags & !FLAGS_KNOWN != 0 || null_with_bytes {
        return Err(Invalid::Flags { record, flags, key_len, value_len });
    }
    if headers_end > value_end {
        let mut headers = Headers { rest: data.get(value_end as usize..headers_end as usize).unwrap_or_default() };
        while !headers.rest.is_empty() {
            if headers.next().is_none() {
                return Err(Invalid::Headers { record });
            }
        }
    }
    Ok(())
}

/// Records on their way out of a pipeline, with what their ids are made of.
///
/// The id of an output is (`source`, its offset, its ordinal). It derives from the input's place alone, so a replay
/// gives the same ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Where the input was read from: the stream or source, the partition or file.
    pub source: Arc<str>,
    /// The records. Their offsets are those of the input records that they come from.
    pub records: Batch,
    /// For each record, which of its input record's outputs it is, from 0.
    pub ordinals: Vec<u32>,
}

impl Output {
    /// Several of one source as one: those of a batch that go to one sink by whatever routes, as a sink that remembers how far it
    /// has delivered can only tell whole batches, or batches that wait for the same sink. `None`: there are none.
    pub fn joined(mut outputs: Vec<Arc<Output>>) -> Option<Arc<Output>> {
        if outputs.len() < 2 {
            return outputs.pop();
        }
        let source = outputs.first()?.source.clone();
        let mut all = Output { source, records: Batch::default(), ordinals: Vec::new() };
        for output in &outputs {
            all.records.append(&output.records);
            all.ordinals.extend_from_slice(&output.ordinals);
        }
        Some(Arc::new(all))
    }
}

/// A record that a step or a sink could not deal with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Which record of the batch, from 0.
    pub index: u32,
    /// What was expected and what came.
    pub reason: String,
    /// Whether the same record may succeed later.
    pub retriable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Owned = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>, i64, u8);

    fn records() -> impl Strategy<Value = Vec<Owned>> {
        let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20));
        let headers = proptest::collection::vec((".{0,5}", bytes()), 0..3);
        proptest::collection::vec((bytes(), bytes(), headers, any::<i64>(), any::<u8>()), 0..20)
    }

    fn batch_of(records: &[Owned]) -> Batch {
        let mut batch = Batch::default();
        for (n, (key, value, headers, timestamp, port)) in records.iter().enumerate() {
            let mut headers_raw = Vec::new();
            headers.iter().for_each(|(name, value)| push_header(&mut headers_raw, name, value.as_deref()));
            batch.push(&Record {
                key: key.as_deref(),
                value: value.as_deref(),
                headers_raw: &headers_raw,
                offset: Offset(n as u64),
                timestamp: Timestamp(*timestamp),
                port: Port(*port),
            });
        }
        batch
    }

    proptest! {
        #[test]
        fn what_is_pushed_is_read(records in records()) {
            let batch = batch_of(&records);
            prop_assert_eq!(batch.len(), records.len());
            for (got, (key, value, headers, timestamp, port)) in batch.iter().zip(&records) {
                prop_assert_eq!(got.key, key.as_deref());
                prop_assert_eq!(got.value, value.as_deref());
                prop_assert_eq!(got.timestamp.0, *timestamp);
                prop_assert_eq!(got.port.0, *port);
                let got_headers: Vec<_> = got.headers().map(|(n, v)| (n.to_owned(), v.map(<[u8]>::to_vec))).collect();
                prop_assert_eq!(&got_headers, headers);
            }
        }

        #[test]
        fn encoding_round_trips(records in records()) {
            let batch = batch_of(&records);
            prop_assert_eq!(Batch::decode(&batch.encode()), Ok(batch));
        }

        #[test]
        fn appending_is_pushing_one_after_the_other(a in records(), b in records()) {
            let mut joined = batch_of(&a);
            joined.append(&batch_of(&b));
            let mut pushed = batch_of(&a);
            batch_of(&b).iter().for_each(|record| pushed.push(&record));
            prop_assert_eq!(joined, pushed);
        }

        /// Whatever columns come, they are refused or every record of them can be read.
        #[test]
        fn hostile_columns_are_refused_or_readable(
            index in proptest::collection::vec(prop_oneof![0u32..40, any::<u32>()], 0..24),
            meta in proptest::collection::vec(any::<i64>(), 0..12),
            data in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            if let Ok(batch) = Batch::from_columns(index, meta, data) {
                let total: usize = batch.iter().map(|record| record.data_len()).sum();
                prop_assert_eq!(total, batch.columns().2.len());
                prop_assert_eq!(Batch::decode(&batch.encode()), Ok(batch));
            }
        }

        #[test]
        fn damaged_encodings_are_refused_or_readable(records in records(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = batch_of(&records).encode();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(batch) = Batch::decode(&bytes) {
                batch.iter().for_each(|record| { record.headers().count(); });
            }
        }
    }

    #[test]
    fn each_rule_of_the_columns_has_its_error() {
        let refuse = |index: &[u32], meta: &[i64], data: &[u8]| {
            Batch::from_columns(index.to_vec(), meta.to_vec(), data.to_vec()).expect_err("must be refused")
        };
        assert!(matches!(refuse(&[0, 0, 0], &[0, 0], b""), Invalid::Shape { .. }));
        assert!(matches!(refuse(&[0, 0, 0, 0], &[0], b""), Invalid::Shape { .. }));
        assert!(matches!(refuse(&[2, 1, 2, 0], &[0, 0], b"ab"), Invalid::Ends { record: 0, .. }));
        assert!(matches!(refuse(&[1, 1, 1, 0, 0, 1, 1, 0], &[0; 4], b"a"), Invalid::Ends { record: 1, .. }));
        assert!(matches!(refuse(&[0, u32::MAX, u32::MAX, 0], &[0, 0], b"a"), Invalid::Ends { record: 0, .. }));
        assert!(matches!(refuse(&[0, 1, 1, 0], &[0, 0], b"ab"), Invalid::Rest { end: 1, len: 2 }));
        assert!(matches!(refuse(&[1, 1, 1, KEY_NULL], &[0, 0], b"a"), Invalid::Flags { record: 0, .. }));
        assert!(matches!(refuse(&[0, 1, 1, 4], &[0, 0], b"a"), Invalid::Flags { record: 0, .. }));
        assert!(matches!(refuse(&[0, 0, 3, 0], &[0, 0], b"abc"), Invalid::Headers { record: 0 }));
    }

    #[test]
    fn several_outputs_are_one() {
        let output = |offset: u64, ordinal| {
            let mut records = Batch::default();
            records.push(&Record { offset: Offset(offset), ..Record::of(b"a", Timestamp(0)) });
            Arc::new(Output { source: "s".into(), records, ordinals: vec![ordinal] })
        };
        let all = Output::joined(vec![output(5, 0), output(3, 1)]).unwrap();
        assert_eq!((all.records.len(), all.records.first_offset().unwrap().0, &all.ordinals[..]), (2, 5, &[0, 1][..]));
        assert!(Arc::ptr_eq(&Output::joined(vec![all.clone()]).unwrap(), &all));
        assert!(Output::joined(Vec::new()).is_none());
    }
}
