//! A plugin that breaks every rule, for the host's tests. Its configuration `{"do": ...}` says which one.
//!
//! Built on the SDK's raw bindings, as the SDK itself gives no way to answer like this. What takes lies about memory
//! itself (lengths of 4 GiB) is done by components as text in the host's tests.

use std::cell::RefCell;
use std::hint::black_box;

use serde::Deserialize;
use weir_plugin::bindings::transform::exports::weir::plugin::step::{
    Answer, Batch, Context, Description, Guest, Outcome, Replacement,
};
use weir_plugin::bindings::types::{ConfigError, Reject};
use weir_plugin::log::{Level, write};

/// What to do to the host.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
enum Deed {
    /// Nothing bad: answer `unchanged`.
    #[default]
    Nothing,
    /// Keep all records by `select`.
    SelectAll,
    /// Answer with a copy of the batch.
    CopyAll,
    /// Never return from `init`.
    LoopInInit,
    /// Never return from `process`.
    Loop,
    /// Allocate without end.
    Grow,
    /// Allocate until it fails, give all back, and answer well.
    GrowAndRecover,
    /// Panic in `init`.
    PanicInInit,
    /// Panic in `process`.
    Panic,
    /// Call oneself without end.
    Recurse,
    /// Select a record that there is not.
    SelectOutOfRange,
    /// Select the records from the last to the first.
    SelectDescending,
    /// Select a record twice.
    SelectDouble,
    /// Select a record that is rejected.
    SelectRejected,
    /// Reject a record twice.
    RejectDouble,
    /// Reject a record before one that comes first.
    RejectDescending,
    /// Reject a record that there is not.
    RejectOutOfRange,
    /// Make a record of one that there is not.
    OriginOutOfRange,
    /// Make a record of one that is rejected.
    OriginRejected,
    /// Set flags that mean nothing.
    UnknownFlags,
    /// Say that a value is null that has bytes.
    BytesOfNull,
    /// Make headers that end before they say.
    BrokenHeaders,
    /// Make a header whose name is no text.
    HeaderNotText,
    /// Make records that lie over each other.
    OverlappingEnds,
    /// Name fewer origins than records.
    ShortOrigin,
    /// Leave out numbers of the meta column.
    ShortMeta,
    /// Send a record to a port that was not described.
    UnknownPort,
    /// Make so many bytes of each record.
    HugeOutput { bytes: usize },
    /// Reject each record with a reason of so many bytes.
    HugeReasons { bytes: usize },
    /// Log so many messages.
    LogFlood { messages: u32 },
    /// Log one message of so many bytes, with line breaks and terminal codes.
    LogLong { bytes: usize },
    /// Describe so many ports.
    ManyPorts { ports: usize },
    /// Refuse the configuration with so many bytes of explanation.
    RefuseLong { bytes: usize },
    /// Trap where a record has this value.
    TrapOn { value: String },
    /// Work for so many calls and trap at the next one.
    TrapAfter { calls: u32 },
    /// Trap where there is more than one record.
    TrapOnMany,
}

thread_local! {
    static STATE: RefCell<(Deed, u32)> = const { RefCell::new((Deed::Nothing, 0)) };
}

struct Hostile;

impl Guest for Hostile {
    fn init(config: String, _context: Context) -> Result<Description, ConfigError> {
        let refused = |message: String| ConfigError { path: String::from("do"), message };
        let deed: Deed = serde_json::from_str(&config).map_err(|error| refused(error.to_string()))?;
        let mut ports = Vec::new();
        match &deed {
            Deed::LoopInInit => endless(),
            Deed::PanicInInit => die("panic in init"),
            Deed::RefuseLong { bytes } => return Err(refused("x".repeat(*bytes))),
            Deed::ManyPorts { ports: n } => ports.extend((0..*n).map(|n| format!("port-{n}"))),
            _ => {}
        }
        STATE.with_borrow_mut(|state| *state = (deed, 0));
        Ok(Description { ports, sets_time: false })
    }

    fn process(_input: u32, batch: Batch) -> Outcome {
        let (deed, calls) = STATE.with_borrow_mut(|(deed, calls)| {
            *calls += 1;
            (deed.clone(), *calls)
        });
        do_it(deed, calls, batch)
    }
}

fn do_it(deed: Deed, calls: u32, batch: Batch) -> Outcome {
    let records = (batch.index.len() / 4) as u32;
    match deed {
        Deed::SelectAll => select((0..records).collect()),
        Deed::CopyAll => replaced((0..records).collect(), batch),
        Deed::Loop => endless(),
        Deed::Grow => grow(),
        Deed::GrowAndRecover => {
            grow_until_refused();
            unchanged()
        }
        Deed::Panic => die("panic in process"),
        Deed::Recurse => {
            recurse(&[calls; 64]);
            unchanged()
        }
        Deed::SelectOutOfRange => select(vec![records]),
        Deed::SelectDescending => select((0..records).rev().collect()),
        Deed::SelectDouble => select(vec![0, 0]),
        Deed::RejectDouble => rejecting(&[0, 0]),
        Deed::RejectDescending => rejecting(&[1, 0]),
        Deed::RejectOutOfRange => rejecting(&[records]),
        Deed::SelectRejected => Outcome { rejects: vec![reject(0, 1)], ..select(vec![0]) },
        Deed::HugeReasons { bytes } => {
            Outcome { rejects: (0..records).map(|n| reject(n, bytes)).collect(), ..unchanged() }
        }
        Deed::LogFlood { messages } => {
            (0..messages).for_each(|n| write(Level::Info, &format!("message {n}")));
            unchanged()
        }
        Deed::LogLong { bytes } => {
            write(Level::Warn, &"\n\x1b[2Jforged".repeat(bytes / 11));
            unchanged()
        }
        Deed::TrapOn { value } if holds(&batch, value.as_bytes()) => die("the value"),
        Deed::TrapAfter { calls: good } if calls > good => die("enough calls"),
        Deed::TrapOnMany if records > 1 => die("too many records"),
        other => lie(other, records, batch),
    }
}

/// The answers with columns that contradict each other.
fn lie(deed: Deed, records: u32, mut batch: Batch) -> Outcome {
    let mut origin: Vec<u32> = (0..records).collect();
    match deed {
        Deed::OverlappingEnds => batch.index.iter_mut().step_by(4).skip(1).for_each(|key_end| *key_end = 0),
        Deed::ShortOrigin => origin.truncate(1),
        Deed::ShortMeta => batch.meta.truncate(1),
        Deed::OriginOutOfRange => origin.iter_mut().for_each(|from| *from += 1),
        Deed::OriginRejected => return Outcome { rejects: vec![reject(0, 1)], ..replaced(origin, batch) },
        Deed::UnknownFlags => batch.index.iter_mut().skip(3).step_by(4).for_each(|flags| *flags |= 1 << 31),
        Deed::BytesOfNull => batch.index.iter_mut().skip(3).step_by(4).for_each(|flags| *flags |= 1 << 1),
        Deed::BrokenHeaders => return with_headers(&[9, 0, 0, 0, b'x']),
        Deed::HeaderNotText => return with_headers(&[1, 0, 0, 0, 0xff, 0, 0, 0, 0]),
        Deed::UnknownPort => batch.index.iter_mut().skip(3).step_by(4).for_each(|flags| *flags |= 1 << 8),
        Deed::HugeOutput { bytes } => return huge(origin, bytes),
        _ => return unchanged(),
    }
    replaced(origin, batch)
}

/// One record that is all headers.
fn with_headers(headers: &[u8]) -> Outcome {
    replaced(vec![0], Batch { index: vec![0, 0, headers.len() as u32, 0], meta: vec![0, 0], data: headers.to_vec() })
}

fn rejecting(places: &[u32]) -> Outcome {
    Outcome { rejects: places.iter().map(|place| reject(*place, 1)).collect(), ..unchanged() }
}

fn huge(origin: Vec<u32>, bytes: usize) -> Outcome {
    let mut batch =
        Batch { index: Vec::new(), meta: vec![0; origin.len() * 2], data: vec![b'x'; origin.len() * bytes] };
    for n in 1..=origin.len() {
        let (begin, end) = (((n - 1) * bytes) as u32, (n * bytes) as u32);
        batch.index.extend([begin, end, end, 0]);
    }
    replaced(origin, batch)
}

fn unchanged() -> Outcome {
    Outcome { answer: Answer::Unchanged, rejects: Vec::new() }
}

fn select(places: Vec<u32>) -> Outcome {
    Outcome { answer: Answer::Select(places), rejects: Vec::new() }
}

fn replaced(origin: Vec<u32>, records: Batch) -> Outcome {
    Outcome { answer: Answer::Replaced(Replacement { origin, records }), rejects: Vec::new() }
}

fn reject(index: u32, bytes: usize) -> Reject {
    Reject { index, reason: "x".repeat(bytes), retriable: false }
}

fn holds(batch: &Batch, value: &[u8]) -> bool {
    batch.index.chunks_exact(4).any(|row| {
        let (from, to) = (row.first().copied().unwrap_or(0), row.get(1).copied().unwrap_or(0));
        batch.data.get(from as usize..to as usize) == Some(value)
    })
}

fn endless() -> ! {
    let mut turns = 0u64;
    loop {
        turns = black_box(turns).wrapping_add(1);
    }
}

fn grow() -> ! {
    let mut taken = Vec::new();
    loop {
        taken.push(vec![1u8; 1 << 20]);
        black_box(&taken);
    }
}

fn grow_until_refused() {
    let mut taken = Vec::new();
    loop {
        let mut piece: Vec<u8> = Vec::new();
        if piece.try_reserve_exact(1 << 20).is_err() {
            return;
        }
        taken.push(piece);
    }
}

#[expect(unconditional_recursion, reason = "that is what it is for")]
fn recurse(numbers: &[u32; 64]) -> u32 {
    let next = numbers.map(|n| black_box(n) + 1);
    black_box(recurse(&next)) + next.iter().sum::<u32>()
}

#[expect(clippy::panic, reason = "that is what it is for")]
fn die(why: &str) -> ! {
    panic!("{why}")
}

#[cfg(target_family = "wasm")]
weir_plugin::bindings::transform::export!(Hostile with_types_in weir_plugin::bindings::transform);

// Named, as only a guest calls them: else a native build takes them for dead code.
#[cfg(not(target_family = "wasm"))]
const _: fn(String, Context) -> Result<Description, ConfigError> = Hostile::init;
#[cfg(not(target_family = "wasm"))]
const _: fn(u32, Batch) -> Outcome = Hostile::process;
