//! A plugin that breaks the rules of state and time, for the host's tests. Its configuration `{"do": ...}` says which one.
//!
//! Built on the SDK's raw bindings, as the SDK itself gives no way to do so.

use std::cell::{Cell, RefCell};

use serde::Deserialize;
use weir_plugin::bindings::state::{self, Strings};
use weir_plugin::bindings::stateful_transform::exports::weir::plugin::stateful_step::{
    Advanced, Alarms, Answer, Batch, Context, Description, Format, Guest, Outcome, Table,
};
use weir_plugin::bindings::types::{ConfigError, Reject};

/// What to do to the host.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
enum Deed {
    /// Nothing bad: keep the last value of each batch under `key`, and answer `unchanged`.
    #[default]
    Keep,
    /// Reject all records for what lies under `key`, and under other keys that another step may have.
    Peek,
    /// Use a table that was not described.
    WrongTable { table: u32 },
    /// Write a key of so many bytes.
    LongKey { bytes: usize },
    /// Write a value of so many bytes.
    LongValue { bytes: usize },
    /// Write without end, under one key or under as many as it takes.
    WriteForEver { keys: u64 },
    /// Write columns that are no strings.
    BadStrings { ends: Vec<u32> },
    /// Ask for so many entries at once.
    ScanAll { max: u32 },
    /// Use the state in `init`.
    StateInInit,
    /// Ask to be called again, whenever it was called.
    AdvanceForEver,
    /// Trap as time passes.
    TrapInAdvance,
    /// Make a record of a time that has not come.
    FireTomorrow,
    /// Postpone everything.
    PostponeAll,
    /// Postpone more than there is.
    PostponeMore,
    /// Describe so many tables.
    ManyTables { tables: usize },
    /// Describe a table with this name, twice.
    TableNamed { name: String },
}

/// What it describes, and how it migrates.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default)]
struct Schema {
    /// The schema that it says it has.
    schema: u32,
    /// What it does when it is to migrate.
    migrate: Migrate,
}

impl Default for Schema {
    fn default() -> Self {
        Schema { schema: 1, migrate: Migrate::Refuse }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Migrate {
    /// Say that it cannot, once it has written.
    Refuse,
    /// Write the schema behind what lies under `key`, in a second call.
    Mark,
    /// Trap in the second call.
    Trap,
    /// Ask to be called again, whenever it was called.
    ForEver,
    /// Not return.
    Spin,
}

thread_local! {
    static SCHEMA: Cell<(Schema, u32)> = Cell::new((Schema::default(), 0));
    static DEED: RefCell<Deed> = const { RefCell::new(Deed::Keep) };
}

struct HostileState;

impl Guest for HostileState {
    fn init(config: String, _context: Context) -> Result<Description, ConfigError> {
        let refused = |message: String| ConfigError { path: String::from("do"), message };
        let deed: Deed = serde_json::from_str(&config).map_err(|error| refused(error.to_string()))?;
        let schema: Schema = serde_json::from_str(&config).map_err(|error| refused(error.to_string()))?;
        SCHEMA.set((schema, 0));
        let names = match &deed {
            Deed::ManyTables { tables } => (0..*tables).map(|n| format!("table-{n}")).collect(),
            Deed::TableNamed { name } => vec![name.clone(), name.clone()],
            _ => vec![String::from("kept")],
        };
        if matches!(deed, Deed::StateInInit) {
            state::put_one(0, b"key", b"value");
        }
        DEED.set(deed);
        let tables = names.into_iter().map(table).collect();
        Ok(Description { ports: Vec::new(), sets_time: false, tables, schema: schema.schema })
    }

    fn migrate(from: u32) -> Result<bool, String> {
        let (Schema { schema, migrate }, calls) = SCHEMA.get();
        SCHEMA.set((Schema { schema, migrate }, calls + 1));
        match (migrate, calls) {
            (Migrate::Refuse, _) => {
                state::put_one(0, b"key", b"refused");
                Err(format!("it never heard of {from}"))
            }
            (Migrate::ForEver, _) | (_, 0) => {
                state::put_one(0, b"calls", &calls.to_be_bytes());
                Ok(true)
            }
            (Migrate::Trap, _) => die(),
            (Migrate::Spin, _) => loop {
                std::hint::black_box(calls);
            },
            (Migrate::Mark, _) => {
                let mut value = state::get_one(0, b"key").unwrap_or_default();
                value.extend_from_slice(format!(" {from}>{schema}").as_bytes());
                state::put_one(0, b"key", &value);
                Ok(false)
            }
        }
    }

    fn process(_input: u32, batch: Batch, watermarks: Vec<i64>) -> Outcome {
        let records = watermarks.len() as u32;
        match DEED.with_borrow(Clone::clone) {
            Deed::Keep => state::put_one(0, b"key", &batch.data),
            Deed::Peek => return Outcome { rejects: peek(records), ..unchanged() },
            Deed::WrongTable { table } => state::put_one(table, b"key", b"value"),
            Deed::LongKey { bytes } => state::put_one(0, &vec![0; bytes], b""),
            Deed::LongValue { bytes } => state::put_one(0, b"key", &vec![0; bytes]),
            Deed::WriteForEver { keys } => write_for_ever(keys),
            Deed::BadStrings { ends } => {
                let strings = Strings { ends, data: b"data".to_vec() };
                state::put(0, &strings, &strings);
            }
            Deed::ScanAll { max } => drop(state::scan(0, b"", None, max)),
            Deed::PostponeAll => return Outcome { postponed: records, alarms: at(i64::MIN), ..unchanged() },
            Deed::PostponeMore => return Outcome { postponed: records + 1, alarms: at(i64::MIN), ..unchanged() },
            Deed::AdvanceForEver | Deed::TrapInAdvance | Deed::FireTomorrow => {
                return Outcome { alarms: at(watermarks.last().map_or(0, |last| last + 1)), ..unchanged() };
            }
            _ => {}
        }
        unchanged()
    }

    fn advance(watermark: Option<i64>, _clock: i64) -> Advanced {
        let nothing = Batch { index: Vec::new(), meta: Vec::new(), data: Vec::new() };
        let advanced = Advanced { origin: Vec::new(), fired: Vec::new(), records: nothing, alarms: at(i64::MAX) };
        match (DEED.with_borrow(Clone::clone), watermark) {
            (Deed::AdvanceForEver, Some(_)) => Advanced { alarms: at(i64::MIN), ..advanced },
            (Deed::TrapInAdvance, Some(_)) => die(),
            (Deed::FireTomorrow, Some(watermark)) => {
                let records = Batch { index: vec![0, 1, 1, 1], meta: vec![0, 0], data: vec![b'x'] };
                Advanced { origin: vec![0], fired: vec![watermark + 1], records, ..advanced }
            }
            _ => advanced,
        }
    }
}

fn table(name: String) -> Table {
    Table { name, key: Format::Bytes, value: Format::Bytes, ttl_ms: None }
}

fn at(time: i64) -> Alarms {
    Alarms { event_time: Some(time), clock_time: None }
}

fn unchanged() -> Outcome {
    let alarms = Alarms { event_time: None, clock_time: None };
    Outcome { answer: Answer::Unchanged, rejects: Vec::new(), late: 0, postponed: 0, alarms }
}

/// All that can be found by keys, and by going through the table.
fn peek(records: u32) -> Vec<Reject> {
    let found = state::scan(0, b"", None, u32::MAX);
    let names = [b"key".as_slice(), b"", b"../kept", b"\0", b"other/kept/key"];
    let known = names.iter().filter_map(|name| state::get_one(0, name)).count();
    let reason = format!("{} by scan, {known} by key", found.keys.ends.len());
    (0..records).map(|index| Reject { index, reason: reason.clone(), retriable: false }).collect()
}

fn write_for_ever(keys: u64) -> ! {
    let mut turn = 0_u64;
    loop {
        state::put_one(0, &(turn % keys).to_be_bytes(), &[7; 1000]);
        turn += 1;
    }
}

#[expect(clippy::panic, reason = "that is what it is for")]
fn die() -> ! {
    panic!("as time passed")
}

// Named, as only a guest calls them: else a native build takes them for dead code.
#[cfg(not(target_family = "wasm"))]
const _: fn(String, Context) -> Result<Description, ConfigError> = HostileState::init;
#[cfg(not(target_family = "wasm"))]
const _: fn(u32, Batch, Vec<i64>) -> Outcome = HostileState::process;
#[cfg(not(target_family = "wasm"))]
const _: fn(Option<i64>, i64) -> Advanced = HostileState::advance;

#[cfg(target_family = "wasm")]
weir_plugin::bindings::stateful_transform::export!(HostileState with_types_in weir_plugin::bindings::stateful_transform);
