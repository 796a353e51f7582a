//! Where a transform puts what becomes of its records.
//!
//! The answer to the host is chosen here: as long as records are only kept, in their order, it is `unchanged` or
//! `select` and no byte is copied; the first record that is made, or sent to a port, turns it into `replaced`.

use crate::bindings::types;
use crate::record::{INDEX_WIDTH, KEY_NULL, META_WIDTH, PORT_SHIFT, VALUE_NULL, push_header};
use crate::reject::Rejects;
use crate::{Batch, Record, Reject};

/// The number of an output port: a name of [`Transform::ports`](crate::Transform::ports), counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Port(pub u8);

impl Port {
    /// The port that needs no name.
    pub const MAIN: Port = Port(0);
}

/// What goes on of a batch, in the words of every world.
pub(crate) enum Going {
    /// All but the rejected records.
    Unchanged,
    /// These.
    Selected(Vec<u32>),
    /// Others: for each its origin, the event times that fired, the records.
    Replaced(Vec<u32>, Vec<i64>, types::Batch),
}

/// What became of a batch.
pub(crate) struct Done {
    pub(crate) going: Going,
    pub(crate) rejects: Vec<types::Reject>,
    pub(crate) late: u32,
}

/// What records are made of, while none is said to be: what [`Output::make`] takes as their origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The record with this index.
    Record(u32),
    /// The watermark's reaching of a time.
    EventTime(i64),
    /// The time of the clock.
    ClockTime,
}

/// Memory that goes from one batch to the next, so that a plugin at work hardly allocates.
#[derive(Default)]
pub(crate) struct Buffers {
    kept: Vec<u32>,
    columns: types::Batch,
    headers: Vec<u8>,
    /// How long the data column of the last replacement was: what the next one will need, more or less.
    data_len: usize,
}

#[expect(clippy::derivable_impls, reason = "the type is generated")]
impl Default for types::Batch {
    fn default() -> Self {
        types::Batch { index: Vec::new(), meta: Vec::new(), data: Vec::new() }
    }
}

impl Buffers {
    /// Takes over the columns of a batch that is done with: the next answer is written into them.
    pub(crate) fn recycle(&mut self, columns: types::Batch) {
        self.columns = columns;
    }
}

/// Takes what becomes of the records of a batch: kept, made anew, rejected. What is neither is filtered out.
///
/// Records go on in the order in which they are kept and made. What a record gave before it was rejected is taken
/// back.
pub struct Output<'a> {
    batch: Batch<'a>,
    /// While nothing is replaced: the records that go on, ascending.
    kept: Vec<u32>,
    is_replaced: bool,
    origin: Vec<u32>,
    fired: Vec<i64>,
    cause: Cause,
    columns: types::Batch,
    headers: Vec<u8>,
    data_len_hint: usize,
    rejects: Rejects,
    late: u32,
}

impl<'a> Output<'a> {
    pub(crate) fn new(batch: Batch<'a>, buffers: Buffers) -> Self {
        let Buffers { mut kept, columns, headers, data_len } = buffers;
        kept.clear();
        Output {
            batch,
            kept,
            is_replaced: false,
            origin: Vec::new(),
            fired: Vec::new(),
            cause: Cause::Record(0),
            columns,
            headers,
            data_len_hint: data_len,
            rejects: Rejects::default(),
            late: 0,
        }
    }

    /// Lets a record go on as it came.
    #[inline]
    pub fn keep(&mut self, record: Record<'_>) {
        if !self.is_replaced && self.kept.last().is_none_or(|last| *last < record.index()) {
            self.kept.push(record.index());
        } else {
            self.keep_to(Port::MAIN, record);
        }
    }

    /// Lets a record go on as it came, by a port.
    pub fn keep_to(&mut self, port: Port, record: Record<'_>) {
        self.replace();
        self.origin.push(record.index());
        record.copy_to(&mut self.columns, port.0);
    }

    /// Makes a record with a new value; key, headers and timestamp are those of the record it comes from.
    #[inline]
    pub fn emit(&mut self, from: Record<'_>, value: impl AsRef<[u8]>) {
        self.build(from).value(value);
    }

    /// Makes a record as [`Output::emit`] does; the value is written in its place, which saves a copy.
    ///
    /// `write` appends to the buffer it is given, and leaves alone what is in it.
    #[inline]
    pub fn emit_with(&mut self, from: Record<'_>, write: impl FnOnce(&mut Vec<u8>)) {
        self.build(from).value_with(write);
    }

    /// Begins a record that differs in more than its value from the one it comes from.
    #[inline]
    pub fn build<'o>(&'o mut self, from: Record<'o>) -> Draft<'o, 'a> {
        self.headers.clear();
        Draft {
            key: from.key_column(),
            value: from.value(),
            timestamp: from.timestamp(),
            headers: from.headers_raw(),
            port: Port::MAIN,
            origin: from.index(),
            offset: from.offset().cast_signed(),
            out: self,
        }
    }

    /// Begins a record that comes of no other: of a timer that fires, or of all that was before. It has no key and no headers,
    /// and happened at `timestamp` (milliseconds since 1970-01-01T00:00:00Z).
    ///
    /// Its id derives from the record that is being processed, or from the timer's time.
    pub fn make<'o>(&'o mut self, timestamp: i64) -> Draft<'o, 'a> {
        self.headers.clear();
        Draft {
            key: (&[], KEY_NULL),
            value: None,
            timestamp,
            headers: &[],
            port: Port::MAIN,
            origin: self.origin_of_cause(),
            offset: 0,
            out: self,
        }
    }

    /// Counts a record as having come too late, for the operator. What else becomes of it is for the plugin to say.
    pub fn count_late(&mut self) {
        self.late = self.late.saturating_add(1);
    }

    /// Says what the next records come of.
    pub(crate) fn set_cause(&mut self, cause: Cause) {
        self.cause = cause;
    }

    fn origin_of_cause(&mut self) -> u32 {
        let records = self.batch.len() as u32;
        match self.cause {
            Cause::Record(at) => at,
            Cause::EventTime(time) => {
                if self.fired.last() != Some(&time) {
                    self.fired.push(time);
                }
                records + self.fired.len() as u32 - 1
            }
            // Only where no event time fires: see `wit/stateful-step.wit`.
            Cause::ClockTime => records + self.fired.len() as u32,
        }
    }

    /// Rejects a record. [`Transform::process`](crate::Transform::process) returns an error instead; this is for
    /// [`Transform::process_batch`](crate::Transform::process_batch).
    pub fn reject(&mut self, record: Record<'_>, reject: impl Into<Reject>) {
        self.rejects.add(record, reject);
    }

    /// Turns the answer into a replacement, which begins with the records that were kept so far.
    #[inline]
    fn replace(&mut self) {
        if !self.is_replaced {
            self.begin_replacement();
        }
    }

    #[cold]
    fn begin_replacement(&mut self) {
        self.is_replaced = true;
        let records = self.batch.len();
        self.origin.reserve(records);
        empty_with_room(&mut self.columns.index, records * INDEX_WIDTH);
        empty_with_room(&mut self.columns.meta, records * META_WIDTH);
        empty_with_room(&mut self.columns.data, self.data_len_hint.max(self.batch.data_len()));
        for record in self.kept.drain(..).filter_map(|at| self.batch.get(at as usize)) {
            self.origin.push(record.index());
            record.copy_to(&mut self.columns, Port::MAIN.0);
        }
    }

    /// What became of the batch, and the memory for the next one.
    pub(crate) fn finish(mut self) -> (Done, Buffers) {
        let mut data_len = self.data_len_hint;
        let rejects = std::mem::take(&mut self.rejects).finish();
        let going = if self.is_replaced {
            data_len = self.columns.data.len();
            self.replacement(&rejects)
        } else {
            self.selection(&rejects)
        };
        let buffers = Buffers { kept: self.kept, columns: self.columns, headers: self.headers, data_len };
        (Done { going, rejects, late: self.late }, buffers)
    }

    fn selection(&mut self, rejects: &[types::Reject]) -> Going {
        if !rejects.is_empty() {
            self.kept.retain(|at| !is_rejected(rejects, *at));
        }
        if self.kept.len() + rejects.len() == self.batch.len() {
            Going::Unchanged
        } else {
            Going::Selected(std::mem::take(&mut self.kept))
        }
    }

    fn replacement(&mut self, rejects: &[types::Reject]) -> Going {
        let mut origin = std::mem::take(&mut self.origin);
        let mut records = std::mem::take(&mut self.columns);
        if origin.iter().any(|from| is_rejected(rejects, *from)) {
            records = without(&records, |at| origin.get(at).is_some_and(|from| is_rejected(rejects, *from)));
            origin.retain(|from| !is_rejected(rejects, *from));
        }
        Going::Replaced(origin, std::mem::take(&mut self.fired), records)
    }
}

/// `rejects` is ascending by index.
fn is_rejected(rejects: &[types::Reject], at: u32) -> bool {
    rejects.binary_search_by_key(&at, |reject| reject.index).is_ok()
}

/// Rare enough to be done by copying: a record gave something and was rejected afterwards.
fn without(columns: &types::Batch, is_dropped: impl Fn(usize) -> bool) -> types::Batch {
    let mut left = types::Batch::default();
    for (at, record) in Batch::new(columns, 0).iter().enumerate().filter(|(at, _)| !is_dropped(*at)) {
        let port = columns.index.as_chunks::<INDEX_WIDTH>().0.get(at).map_or(0, |row| row[3] >> PORT_SHIFT);
        record.copy_to(&mut left, port as u8);
    }
    left
}

/// Growing an old buffer would copy what it holds, so a too small one is replaced.
fn empty_with_room<T>(buffer: &mut Vec<T>, room: usize) {
    buffer.clear();
    if buffer.capacity() < room {
        *buffer = Vec::with_capacity(room);
    }
}

/// A record in the making. It goes out when its value is given.
#[must_use = "the record goes out when its value is given"]
pub struct Draft<'o, 'a> {
    out: &'o mut Output<'a>,
    origin: u32,
    offset: i64,
    key: (&'o [u8], u32),
    /// The value of the record it comes from.
    value: Option<&'o [u8]>,
    headers: &'o [u8],
    timestamp: i64,
    port: Port,
}

impl<'o> Draft<'o, '_> {
    /// Gives it a key.
    pub fn key(mut self, key: &'o (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.key = (key.as_ref(), 0);
        self
    }

    /// Gives it no key.
    pub fn no_key(mut self) -> Self {
        self.key = (&[], KEY_NULL);
        self
    }

    /// Says when it happened: milliseconds since 1970-01-01T00:00:00Z.
    pub fn timestamp(mut self, timestamp: i64) -> Self {
        self.timestamp = timestamp;
        self
    }

    /// Sends it to a port.
    pub fn port(mut self, port: Port) -> Self {
        self.port = port;
        self
    }

    /// Adds a header after those that it has.
    pub fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        push_header(&mut self.out.headers, name, Some(value.as_ref()));
        self
    }

    /// Adds a header whose value is null.
    pub fn null_header(self, name: &str) -> Self {
        push_header(&mut self.out.headers, name, None);
        self
    }

    /// Drops the headers of the record it comes from.
    pub fn no_headers(mut self) -> Self {
        self.headers = &[];
        self
    }

    /// Gives it a value, and lets it go out.
    pub fn value(self, value: impl AsRef<[u8]>) {
        self.value_with(|buffer| buffer.extend_from_slice(value.as_ref()));
    }

    /// Gives it the value of the record it comes from, and lets it go out.
    pub fn same_value(self) {
        match self.value {
            Some(value) => self.value(value),
            None => self.tombstone(),
        }
    }

    /// Makes it a tombstone, and lets it go out.
    pub fn tombstone(self) {
        let written: Result<(), std::convert::Infallible> = self.send(VALUE_NULL, |_| Ok(()));
        let Ok(()) = written;
    }

    /// Lets the value be written in its place, and the record go out.
    #[inline]
    pub fn value_with(self, write: impl FnOnce(&mut Vec<u8>)) {
        let written: Result<(), std::convert::Infallible> = self.send(0, |buffer| {
            write(buffer);
            Ok(())
        });
        let Ok(()) = written;
    }

    /// Lets the value be written in its place; when that fails, no record goes out.
    #[inline]
    pub fn try_value_with<E>(self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        self.send(0, write)
    }

    /// # Panics
    /// When `write` removed what was in the buffer: other records' bytes, which no one can bring back.
    #[inline]
    fn send<E>(self, value_flag: u32, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let out = self.out;
        out.replace();
        let columns = &mut out.columns;
        let start = columns.data.len();
        columns.data.extend_from_slice(self.key.0);
        let key_end = columns.data.len();
        let written = write(&mut columns.data);
        assert!(columns.data.len() >= key_end, "a plugin removed bytes from the buffer it was to append to");
        if written.is_err() {
            columns.data.truncate(start);
            return written;
        }
        let value_end = columns.data.len();
        columns.data.extend_from_slice(self.headers);
        columns.data.extend_from_slice(&out.headers);
        let flags = self.key.1 | value_flag | u32::from(self.port.0) << PORT_SHIFT;
        columns.index.extend_from_slice(&[key_end as u32, value_end as u32, columns.data.len() as u32, flags]);
        columns.meta.extend_from_slice(&[self.offset, self.timestamp]);
        out.origin.push(self.origin);
        written
    }
}
