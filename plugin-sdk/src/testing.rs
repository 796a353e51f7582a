//! A native fake host: runs a plugin in plain `cargo test`, and checks its answers as the real host does.
//!
//! ```
//! use weir_plugin::serde_json::json;
//! use weir_plugin::testing::{Answer, Harness};
//! # use weir_plugin::{ConfigError, Context, NoConfig, Output, Record, Result, Transform};
//! # struct Shout;
//! # impl Transform for Shout {
//! #     type Config = NoConfig;
//! #     fn new(_: NoConfig, _: &Context) -> Result<Self, ConfigError> { Ok(Shout) }
//! #     fn process(&mut self, record: Record<'_>, out: &mut Output) -> Result<()> {
//! #         let text = record.text()?;
//! #         Ok(if !text.is_empty() { out.emit(record, text.to_uppercase()) })
//! #     }
//! # }
//!
//! let mut shout = Harness::<Shout>::new(json!({})).unwrap();
//! let run = shout.process([&b"hey"[..], b"", b"\xff"]);
//! assert_eq!(run.values(), ["HEY"]);
//! assert_eq!(run.filtered, [1]);
//! assert!(run.rejects[0].reason.contains("UTF-8"));
//! assert_eq!(run.answer, Answer::Replaced);
//! ```

use std::cell::RefCell;
use std::collections::VecDeque;

use serde::Serialize;

use crate::bindings::stateful_transform::exports::weir::plugin::stateful_step::{self, Alarms};
use crate::bindings::transform::exports::weir::plugin::step;
use crate::bindings::types;
use crate::log::Level;
use crate::record::{INDEX_WIDTH, KEY_NULL, META_WIDTH, PORT_SHIFT, VALUE_NULL, push_header};
use crate::state::{Fake, written};
use crate::{
    Batch, ConfigError, Context, Record, Sink, Stateful, Transform, bindings, http, sink, stateful, transform,
};

pub use crate::database::fake::serve_database;
pub use crate::kudu::fake::{KuduAnswer, KuduCall, serve_kudu};
pub use crate::lookup::fake::{LookupCall, serve_lookup};
pub use crate::slack::fake::serve_slack;

/// How many log messages are kept; the oldest go first.
const LOGS_MAX: usize = 10_000;

/// Answers requests.
type HttpServer = Box<dyn FnMut(&http::Request) -> Result<http::Response, http::Failure>>;

thread_local! {
    static HTTP: RefCell<Option<HttpServer>> = const { RefCell::new(None) };
    static LOGS: RefCell<VecDeque<(Level, String)>> = const { RefCell::new(VecDeque::new()) };
}

/// Keeps what a plugin said on this thread.
pub(crate) fn capture(level: Level, message: &str) {
    LOGS.with_borrow_mut(|logs| {
        if logs.len() == LOGS_MAX {
            logs.pop_front();
        }
        logs.push_back((level, message.to_owned()));
    });
}

/// Takes what the plugins on this thread said since the last call.
pub fn take_logs() -> Vec<(Level, String)> {
    LOGS.take().into()
}

/// Has the requests of plugins on this thread answered by a function, from now on. Without one they are refused.
pub fn serve_http(serve: impl FnMut(&http::Request) -> Result<http::Response, http::Failure> + 'static) {
    HTTP.set(Some(Box::new(serve)));
}

/// Answers requests of a plugin on this thread.
pub(crate) fn answer(
    requests: Vec<bindings::http::Request>,
) -> Vec<Result<bindings::http::Response, bindings::http::Failure>> {
    HTTP.with_borrow_mut(|server| match server {
        Some(serve) => http::by(serve, requests),
        None => http::by(&mut |_| Err(http::Failure::Refused("no endpoint is granted".into())), requests),
    })
}

/// A record to give to a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TestRecord {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub timestamp: i64,
    /// Its place in the partition; the harness counts on when it is `None`.
    pub offset: Option<u64>,
}

impl TestRecord {
    /// A record with a value and nothing else.
    pub fn of(value: impl AsRef<[u8]>) -> Self {
        TestRecord { value: Some(value.as_ref().to_vec()), ..TestRecord::default() }
    }

    /// Gives it a key.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.key = Some(key.as_ref().to_vec());
        self
    }

    /// Takes its value away.
    pub fn tombstone(mut self) -> Self {
        self.value = None;
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), Some(value.as_ref().to_vec())));
        self
    }

    /// Says when it happened: milliseconds since 1970-01-01T00:00:00Z.
    pub fn timestamp(mut self, timestamp: i64) -> Self {
        self.timestamp = timestamp;
        self
    }
}

impl From<&str> for TestRecord {
    fn from(value: &str) -> Self {
        TestRecord::of(value)
    }
}

impl From<String> for TestRecord {
    fn from(value: String) -> Self {
        TestRecord::of(value)
    }
}

impl From<&[u8]> for TestRecord {
    fn from(value: &[u8]) -> Self {
        TestRecord::of(value)
    }
}

impl<const N: usize> From<&[u8; N]> for TestRecord {
    fn from(value: &[u8; N]) -> Self {
        TestRecord::of(value)
    }
}

impl From<Record<'_>> for TestRecord {
    fn from(record: Record<'_>) -> Self {
        TestRecord {
            key: record.key().map(<[u8]>::to_vec),
            value: record.value().map(<[u8]>::to_vec),
            headers: record.headers().map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec))).collect(),
            timestamp: record.timestamp(),
            offset: Some(record.offset()),
        }
    }
}

/// A record that a transform let go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestOutput {
    /// The record.
    pub record: TestRecord,
    /// Which record of the batch it comes from; their number and more: of the passing of time.
    pub origin: u32,
    /// The port by which it left; 0 is the main one.
    pub port: u8,
}

impl TestOutput {
    /// Its value as text; what is not UTF-8 shows as U+FFFD, and a tombstone as nothing.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.record.value.as_deref().unwrap_or_default()).into_owned()
    }
}

/// How a transform answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// All went on as they came, but for the rejected ones.
    Unchanged,
    /// Some went on as they came.
    Select,
    /// New records went on.
    Replaced,
}

/// A record that a plugin could not deal with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestReject {
    /// Which record of the batch.
    pub index: u32,
    /// Why.
    pub reason: String,
    /// Whether the same record may succeed later.
    pub retriable: bool,
}

impl From<types::Reject> for TestReject {
    fn from(types::Reject { index, reason, retriable }: types::Reject) -> Self {
        TestReject { index, reason, retriable }
    }
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The records that went on, in order.
    pub outputs: Vec<TestOutput>,
    /// The records that were rejected.
    pub rejects: Vec<TestReject>,
    /// The records that were filtered out.
    pub filtered: Vec<u32>,
    /// How the host was told.
    pub answer: Answer,
}

impl Run {
    /// The values that left by the main port, as text.
    pub fn values(&self) -> Vec<String> {
        self.values_of(0)
    }

    /// The values that left by a port, as text.
    pub fn values_of(&self, port: u8) -> Vec<String> {
        self.outputs.iter().filter(|output| output.port == port).map(TestOutput::text).collect()
    }

    /// Adds what became of the records from `from` on, which were given apart.
    fn append(&mut self, rest: Run, from: u32) {
        self.outputs
            .extend(rest.outputs.into_iter().map(|output| TestOutput { origin: output.origin + from, ..output }));
        self.rejects.extend(rest.rejects.into_iter().map(|reject| TestReject { index: reject.index + from, ..reject }));
        self.filtered.extend(rest.filtered.into_iter().map(|at| at + from));
        self.answer = rest.answer;
    }
}

/// Runs a transform.
pub struct Harness<T> {
    slot: transform::Slot<T>,
    ports: Vec<String>,
    next_offset: u64,
}

impl<T: Transform> Harness<T> {
    /// Starts the transform with a configuration, as the pipeline `test` on partition 0 with one input.
    pub fn new(config: impl Serialize) -> Result<Self, ConfigError> {
        Self::with_context(config, &test_context())
    }

    /// Starts the transform with a configuration in a context.
    pub fn with_context(config: impl Serialize, context: &Context) -> Result<Self, ConfigError> {
        let slot = transform::Slot::empty();
        let step::Description { ports, .. } =
            slot.init(&serde_json::to_string(&config)?, context).map_err(read_error)?;
        Ok(Harness { slot, ports, next_offset: 0 })
    }

    /// The names of its ports beside the main one.
    pub fn ports(&self) -> &[String] {
        &self.ports
    }

    /// Runs a batch from the first input.
    pub fn process<R: Into<TestRecord>>(&mut self, records: impl IntoIterator<Item = R>) -> Run {
        self.process_input(0, records)
    }

    /// Runs a batch from an input.
    ///
    /// # Panics
    /// When the answer breaks the contract; the real host would discard the instance.
    pub fn process_input<R: Into<TestRecord>>(&mut self, input: u32, records: impl IntoIterator<Item = R>) -> Run {
        let columns = columns_of(records, &mut self.next_offset);
        let outcome = self.slot.process(input, columns.clone());
        let run = read_outcome(&columns, outcome);
        for output in &run.outputs {
            assert!(output.port as usize <= self.ports.len(), "{output:?} left by a port that has no name");
        }
        run
    }
}

/// Runs a stateful transform: with tables in memory, and a clock that only tests move.
///
/// The watermark is the highest timestamp that was given, as for a task with one input.
pub struct StatefulHarness<T> {
    slot: stateful::Slot<T>,
    tables: Vec<stateful_step::Table>,
    state: Fake,
    next_offset: u64,
    watermark: Option<i64>,
    alarms: Alarms,
    late: u64,
    writes: u64,
}

impl<T: Stateful> StatefulHarness<T> {
    /// Starts the transform with a configuration, as the pipeline `test` on partition 0 with one input.
    pub fn new(config: impl Serialize) -> Result<Self, ConfigError> {
        Self::with_context(config, &test_context())
    }

    /// Starts the transform with a configuration in a context.
    pub fn with_context(config: impl Serialize, context: &Context) -> Result<Self, ConfigError> {
        let (slot, mut state) = (stateful::Slot::empty(), Fake::default());
        let started = state.enter(|| slot.init(&serde_json::to_string(&config)?, context).map_err(read_error))?;
        let alarms = Alarms { event_time: None, clock_time: None };
        let tables = started.tables;
        Ok(StatefulHarness { slot, tables, state, next_offset: 0, watermark: None, alarms, late: 0, writes: 0 })
    }

    /// Goes on in a fresh instance with the state that the last one left, as after a restart.
    pub fn restart(self, config: impl Serialize) -> Result<Self, ConfigError> {
        self.restart_with_context(config, &test_context())
    }

    /// As [`StatefulHarness::restart`], in a context.
    pub fn restart_with_context(self, config: impl Serialize, context: &Context) -> Result<Self, ConfigError> {
        let fresh = Self::with_context(config, context)?;
        Ok(StatefulHarness { slot: fresh.slot, tables: fresh.tables, ..self })
    }

    /// Goes on with another version, which migrates what the last one left where it has another schema.
    ///
    /// # Errors
    /// Where it refuses its configuration, or what is remembered.
    pub fn upgrade<U: Stateful>(self, config: impl Serialize) -> Result<StatefulHarness<U>, ConfigError> {
        let mut fresh = StatefulHarness::<U>::new(config)?;
        fresh.state = self.state;
        if U::SCHEMA != T::SCHEMA {
            while fresh.state.enter(|| fresh.slot.migrate(T::SCHEMA)).map_err(ConfigError::from)? {}
        }
        let StatefulHarness { slot, tables, state, .. } = fresh;
        let StatefulHarness { next_offset, watermark, alarms, late, writes, .. } = self;
        Ok(StatefulHarness { slot, tables, state, next_offset, watermark, alarms, late, writes })
    }

    /// Runs a batch from the first input.
    pub fn process<R: Into<TestRecord>>(&mut self, records: impl IntoIterator<Item = R>) -> Run {
        self.process_input(0, records)
    }

    /// Runs a batch from an input.
    ///
    /// # Panics
    /// When the answer breaks the contract; the real host would discard the instance.
    pub fn process_input<R: Into<TestRecord>>(&mut self, input: u32, records: impl IntoIterator<Item = R>) -> Run {
        let columns = columns_of(records, &mut self.next_offset);
        let mut watermarks = Vec::new();
        for record in &Batch::new(&columns, input) {
            let watermark = self.watermark.map_or(record.timestamp(), |highest| highest.max(record.timestamp()));
            self.watermark = Some(watermark);
            watermarks.push(watermark);
        }
        let mut run = Run { outputs: Vec::new(), rejects: Vec::new(), filtered: Vec::new(), answer: Answer::Unchanged };
        let mut from = 0;
        loop {
            let given = columns_from(&columns, input, from);
            let before = written();
            let stateful_step::Outcome { answer, rejects, late, postponed, alarms } = self
                .state
                .enter(|| self.slot.process(input, given.clone(), watermarks.get(from..).unwrap_or_default()));
            self.writes += written() - before;
            self.alarms = alarms;
            self.late += u64::from(late);
            let (answer, fired) = match answer {
                stateful_step::Answer::Unchanged => (step::Answer::Unchanged, Vec::new()),
                stateful_step::Answer::Select(kept) => (step::Answer::Select(kept), Vec::new()),
                stateful_step::Answer::Replaced(stateful_step::Replacement { origin, fired, records }) => {
                    (step::Answer::Replaced(step::Replacement { origin, records }), fired)
                }
            };
            check_fired(&fired, self.watermark);
            let done = watermarks.len() - from - postponed as usize;
            let outcome = step::Outcome { answer, rejects };
            run.append(read_outcome_with(&given, outcome, fired.len(), done as u32), from as u32);
            from += done;
            let Some(watermark) = watermarks.get(from) else { return run };
            let is_due = alarms.event_time.is_some_and(|due| due <= *watermark);
            assert!(is_due, "records are postponed where something is due before them: {alarms:?}, {watermark}");
            let passed = self.let_time_pass(Some(*watermark), i64::MIN).into_iter();
            run.outputs
                .extend(passed.map(|output| TestOutput { origin: output.origin + watermarks.len() as u32, ..output }));
        }
    }

    /// Lets time pass: event time up to `watermark`, and the clock to `clock`. Returns what was made.
    ///
    /// # Panics
    /// When the answer breaks the contract.
    pub fn advance(&mut self, watermark: impl Into<Option<i64>>, clock: i64) -> Vec<TestOutput> {
        self.watermark = self.watermark.max(watermark.into());
        self.let_time_pass(self.watermark, clock)
    }

    fn let_time_pass(&mut self, watermark: Option<i64>, clock: i64) -> Vec<TestOutput> {
        let mut outputs = Vec::new();
        loop {
            let before = written();
            let stateful_step::Advanced { origin, fired, records, alarms } =
                self.state.enter(|| self.slot.advance(watermark, clock));
            self.writes += written() - before;
            self.alarms = alarms;
            check_fired(&fired, watermark);
            outputs.extend(read_replacement(&records, &origin, fired.len() + 1));
            if alarms.event_time.is_none_or(|due| Some(due) > watermark) {
                return outputs;
            }
        }
    }

    /// When it wants to be called though no record comes: at an event time, and at a time of the clock.
    pub fn alarms(&self) -> (Option<i64>, Option<i64>) {
        (self.alarms.event_time, self.alarms.clock_time)
    }

    /// How many records were counted as late.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// How many entries of tables it put or deleted so far, those of timers counted.
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// The entries of a table as they are stored, by key.
    pub fn table(&self, name: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
        let number = (0..).zip(&self.tables).find(|(_, table)| table.name == name).map(|(number, _)| number);
        number.map(|number| self.state.table(number).into_iter().collect()).unwrap_or_default()
    }
}

fn check_fired(fired: &[i64], watermark: Option<i64>) {
    assert!(fired.is_sorted(), "event times that fired ascend: {fired:?}");
    assert!(fired.last().copied() <= watermark, "what fired is not above the watermark {watermark:?}: {fired:?}");
}

/// Runs a sink.
pub struct SinkHarness<T> {
    slot: sink::Slot<T>,
    next_offset: u64,
}

impl<T: Sink> SinkHarness<T> {
    /// Starts the sink with a configuration.
    pub fn new(config: impl Serialize) -> Result<Self, ConfigError> {
        let slot = sink::Slot::empty();
        slot.init(&serde_json::to_string(&config)?, &test_context()).map_err(read_error)?;
        Ok(SinkHarness { slot, next_offset: 0 })
    }

    /// Has it deliver a batch that was read from `test:0`, each record being the first output of its input.
    pub fn write<R: Into<TestRecord>>(&mut self, records: impl IntoIterator<Item = R>) -> Vec<TestReject> {
        let columns = columns_of(records, &mut self.next_offset);
        let ordinals = vec![0; columns.index.len() / INDEX_WIDTH];
        let rejects = self.slot.write("test:0", &columns, &ordinals);
        check_rejects(&rejects, ordinals.len());
        rejects.into_iter().map(TestReject::from).collect()
    }
}

/// The context in which a plugin is started when the test does not give one.
pub fn test_context() -> Context {
    Context {
        pipeline: "test".to_owned(),
        step: "test".to_owned(),
        partition: 0,
        inputs: vec!["input".to_owned()],
        tables: Vec::new(),
    }
}

fn read_error(types::ConfigError { path, message }: types::ConfigError) -> ConfigError {
    ConfigError::at(path, message)
}

/// The columns that the host would send for these records.
pub(crate) fn columns_of<R: Into<TestRecord>>(
    records: impl IntoIterator<Item = R>,
    next_offset: &mut u64,
) -> types::Batch {
    let mut columns = types::Batch::default();
    for record in records.into_iter().map(Into::into) {
        let offset = record.offset.unwrap_or(*next_offset);
        *next_offset = offset + 1;
        columns.data.extend_from_slice(record.key.as_deref().unwrap_or_default());
        let key_end = columns.data.len() as u32;
        columns.data.extend_from_slice(record.value.as_deref().unwrap_or_default());
        let value_end = columns.data.len() as u32;
        record.headers.iter().for_each(|(name, value)| push_header(&mut columns.data, name, value.as_deref()));
        let null = |is_null: bool, flag: u32| if is_null { flag } else { 0 };
        let flags = null(record.key.is_none(), KEY_NULL) | null(record.value.is_none(), VALUE_NULL);
        columns.index.extend_from_slice(&[key_end, value_end, columns.data.len() as u32, flags]);
        columns.meta.extend_from_slice(&[offset.cast_signed(), record.timestamp]);
    }
    columns
}

/// The columns of the records from a place on.
fn columns_from(columns: &types::Batch, input: u32, from: usize) -> types::Batch {
    let records = Batch::new(columns, input).iter().skip(from).map(TestRecord::from);
    columns_of(records, &mut 0)
}

/// Reads an outcome, holding it to every rule of the contract.
pub(crate) fn read_outcome(given: &types::Batch, outcome: step::Outcome) -> Run {
    read_outcome_with(given, outcome, 0, (given.index.len() / INDEX_WIDTH) as u32)
}

/// As [`read_outcome`], where so many event times may be origins as well, and only so many records were dealt with.
fn read_outcome_with(given: &types::Batch, outcome: step::Outcome, fired: usize, done: u32) -> Run {
    let batch = Batch::new(given, 0);
    let step::Outcome { answer, rejects } = outcome;
    check_rejects(&rejects, batch.len());
    let is_rejected = |at: u32| rejects.iter().any(|reject| reject.index == at);
    let as_it_came =
        |at: u32| batch.get(at as usize).map(|record| TestOutput { record: record.into(), origin: at, port: 0 });
    let (answer, outputs): (Answer, Vec<TestOutput>) = match answer {
        step::Answer::Unchanged => {
            let kept = (0..done).filter(|at| !is_rejected(*at));
            (Answer::Unchanged, kept.filter_map(as_it_came).collect())
        }
        step::Answer::Select(kept) => {
            assert!(kept.is_sorted_by(|a, b| a < b), "selected indices ascend: {kept:?}");
            assert!(kept.iter().all(|at| (*at as usize) < batch.len()), "selected indices exist: {kept:?}");
            (Answer::Select, kept.into_iter().filter_map(as_it_came).collect())
        }
        step::Answer::Replaced(step::Replacement { origin, records }) => {
            (Answer::Replaced, read_replacement(&records, &origin, batch.len() + fired))
        }
    };
    for output in &outputs {
        assert!(!is_rejected(output.origin), "{output:?} goes on, and what it comes from is rejected");
        let is_postponed = (done..batch.len() as u32).contains(&output.origin);
        assert!(!is_postponed, "{output:?} goes on, and what it comes from is postponed");
    }
    assert!(rejects.iter().all(|reject| reject.index < done), "no postponed record is rejected: {rejects:?}");
    let goes_on = |at: &u32| outputs.iter().any(|output| output.origin == *at);
    let filtered = (0..done).filter(|at| !is_rejected(*at) && !goes_on(at)).collect();
    Run { outputs, rejects: rejects.into_iter().map(TestReject::from).collect(), filtered, answer }
}

fn check_rejects(rejects: &[types::Reject], len: usize) {
    assert!(rejects.is_sorted_by(|a, b| a.index < b.index), "rejects ascend by index: {rejects:?}");
    assert!(rejects.iter().all(|reject| (reject.index as usize) < len), "rejected records exist: {rejects:?}");
}

fn read_replacement(columns: &types::Batch, origin: &[u32], len: usize) -> Vec<TestOutput> {
    let types::Batch { index, meta, data } = columns;
    assert_eq!(index.len(), origin.len() * INDEX_WIDTH, "each record has one origin and four numbers in index");
    assert_eq!(meta.len(), origin.len() * META_WIDTH, "each record has two numbers in meta");
    assert!(origin.iter().all(|from| (*from as usize) < len), "origins exist: {origin:?}");
    let rows = index.as_chunks::<INDEX_WIDTH>().0;
    let mut start = 0;
    for [key_end, value_end, end, flags] in rows {
        assert!(start <= *key_end && key_end <= value_end && value_end <= end, "the ends of a record never decrease");
        assert!(flags & !(KEY_NULL | VALUE_NULL | 0xff << PORT_SHIFT) == 0, "flags {flags:#x} are known");
        assert!(flags & KEY_NULL == 0 || *key_end == start, "a null key has no bytes");
        assert!(flags & VALUE_NULL == 0 || key_end == value_end, "a null value has no bytes");
        start = *end;
    }
    assert_eq!(start as usize, data.len(), "the last record ends with the data");
    let outputs = Batch::new(columns, 0).iter().zip(origin).zip(rows);
    outputs
        .map(|((record, from), row)| {
            let used: usize = record.headers().map(|(name, value)| 8 + name.len() + value.map_or(0, <[u8]>::len)).sum();
            assert_eq!(used, record.headers_raw().len(), "headers are pairs of name and value");
            TestOutput { record: record.into(), origin: *from, port: (row[3] >> PORT_SHIFT) as u8 }
        })
        .collect()
}
