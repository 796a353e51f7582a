//! What one instance may use: memory, time, stack, bytes of an answer, lines of log.
//!
//! Time is counted in ticks of the engine's ticker thread while a call runs, so it is the guest's own time: while the
//! guest has yielded to other tasks nothing is counted against it. Knows nothing of records.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wasmtime::component::{Linker, WasmStr};
use wasmtime::{ResourceLimiter, Result, StoreContextMut, UpdateDeadline};

use super::bindings::{LOG, Level};
use super::database::Databases;
use super::http::Web;
use super::kudu::Clusters;
use super::lookup::Lookups;
use super::slack::Workspaces;
use super::wasi::Wasi;
use crate::metrics::Counter;
use crate::record::Partition;
use crate::state::Tables;

/// How often a running guest is interrupted: it yields to other tasks, and its time is checked.
pub(super) const TICK: Duration = Duration::from_millis(10);
/// The stack that a guest's own frames may take. Past it the call traps.
pub(super) const STACK_BYTES_MAX: usize = 1 << 20;
/// The whole stack of a call: the guest's frames, and the host functions that it calls.
pub(super) const CALL_STACK_BYTES: usize = 2 << 20;
/// Elements of all tables of an instance: its indirect functions.
pub(super) const TABLE_ELEMENTS_MAX: usize = 1 << 16;
/// Core instances, memories and tables that one plugin may be made of.
pub(super) const PARTS_MAX: usize = 32;
/// Longer texts of a guest (log messages, reasons, errors) are cut here, as the WIT says.
pub(super) const TEXT_BYTES_MAX: usize = 4 << 10;

const TICKS_PER_SECOND: u64 = 1_000 / TICK.as_millis() as u64;

/// The ticks since the engine began: the only clock that plugins are measured by.
#[derive(Debug, Clone, Default)]
pub(super) struct Ticks(Arc<AtomicU64>);

impl Ticks {
    pub(super) fn advance(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn second(&self) -> u64 {
        self.0.load(Ordering::Relaxed) / TICKS_PER_SECOND
    }
}

/// What an instance's store holds for the host.
pub(super) struct State {
    pub(super) budget: Budget,
    /// The keyed state, while a call may use it.
    pub(super) tables: Tables,
    pub(super) web: Web,
    pub(super) databases: Databases,
    pub(super) clusters: Clusters,
    pub(super) workspaces: Workspaces,
    pub(super) lookups: Lookups,
    /// What WASI is to the guest, where it was built against it.
    pub(super) wasi: Option<Box<Wasi>>,
    log: Log,
}

impl State {
    pub(super) fn new(memory_bytes_max: usize, log: Log, wasi: Option<Box<Wasi>>) -> Self {
        State {
            budget: Budget::new(memory_bytes_max),
            tables: Tables::default(),
            web: Web::default(),
            databases: Databases::default(),
            clusters: Clusters::default(),
            workspaces: Workspaces::default(),
            lookups: Lookups::default(),
            wasi,
            log,
        }
    }
}

/// The memory of an instance and the time of the call that it is in.
#[derive(Debug)]
pub(super) struct Budget {
    memory_bytes_max: usize,
    memory_bytes: usize,
    table_elements: usize,
    ticks_left: u64,
    memory_refused: bool,
    time_is_up: bool,
}

impl Budget {
    fn new(memory_bytes_max: usize) -> Self {
        Budget {
            memory_bytes_max,
            memory_bytes: 0,
            table_elements: 0,
            ticks_left: 0,
            memory_refused: false,
            time_is_up: false,
        }
    }

    /// Begins a call that may take so long. One tick more than that is given, as the first may come at once.
    pub(super) fn begin(&mut self, time_max: Duration) {
        self.ticks_left = time_max.as_nanos().div_ceil(TICK.as_nanos()).try_into().unwrap_or(u64::MAX);
        self.memory_refused = false;
        self.time_is_up = false;
    }

    /// Whether the call was ended because its time was up.
    pub(super) fn time_is_up(&self) -> bool {
        self.time_is_up
    }

    /// The linear memory that the instance has.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory_bytes as u64
    }

    /// Whether the call was refused memory that it asked for.
    pub(super) fn memory_refused(&self) -> bool {
        self.memory_refused
    }
}

impl ResourceLimiter for Budget {
    /// Counts all memories of the instance together. A refused guest sees its `memory.grow` fail.
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        let total = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if total > self.memory_bytes_max {
            self.memory_refused = true;
            return Ok(false);
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        let total = self.table_elements.saturating_add(desired.saturating_sub(current));
        if total > TABLE_ELEMENTS_MAX {
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        PARTS_MAX
    }

    fn tables(&self) -> usize {
        PARTS_MAX
    }

    fn memories(&self) -> usize {
        PARTS_MAX
    }
}

/// The call's time was up. Never shown: the instance asks [`Budget::time_is_up`].
#[derive(Debug, thiserror::Error)]
#[error("the call's time is up")]
struct TimeIsUp;

/// Called at each tick while a guest runs: ends the call, or lets other tasks have the thread.
pub(super) fn on_tick(mut store: StoreContextMut<'_, State>) -> Result<UpdateDeadline> {
    let budget = &mut store.data_mut().budget;
    match budget.ticks_left.checked_sub(1) {
        None => {
            budget.time_is_up = true;
            Err(TimeIsUp.into())
        }
        Some(left) => {
            budget.ticks_left = left;
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        }
    }
}

/// The log of one step and partition. Its instances share it, so a plugin that traps does not begin a new allowance.
#[derive(Clone)]
pub(super) struct Log(Arc<LogInner>);

struct LogInner {
    pipeline: Arc<str>,
    step: Arc<str>,
    partition: Partition,
    rate_max: u32,
    ticks: Ticks,
    allowance: Mutex<Allowance>,
    dropped: Counter,
}

/// What was written and dropped in a second.
#[derive(Default)]
struct Allowance {
    second: u64,
    written: u32,
    dropped: u64,
}

impl State {
    /// Whose instance it is: of which pipeline or sink, and which step.
    pub(super) fn whose(&self) -> String {
        format!("{}/{}", self.log.0.pipeline, self.log.0.step)
    }
}

impl Log {
    pub(super) fn new(pipeline: Arc<str>, step: Arc<str>, partition: Partition, rate_max: u32, ticks: Ticks) -> Self {
        let allowance = Mutex::new(Allowance::default());
        Log(Arc::new(LogInner { pipeline, step, partition, rate_max, ticks, allowance, dropped: Counter::default() }))
    }

    /// How many messages were dropped because there were too many in their second.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.get()
    }

    /// Whether one more message may be written now; if not it is counted as dropped.
    pub(super) fn admit(&self) -> bool {
        let second = self.0.ticks.second();
        let mut allowance = self.0.allowance.lock().unwrap_or_else(PoisonError::into_inner);
        if allowance.second != second {
            self.0.report(allowance.dropped);
            *allowance = Allowance { second, ..Allowance::default() };
        }
        if allowance.written < self.0.rate_max {
            allowance.written += 1;
            return true;
        }
        allowance.dropped += 1;
        self.0.dropped.add(1);
        false
    }

    pub(super) fn write(&self, level: Level, message: &str) {
        self.0.write(level, &one_line(cut(message)));
    }
}

impl LogInner {
    fn report(&self, dropped: u64) {
        if dropped > 0 {
            self.write(
                Level::Warn,
                &format!("{dropped} log messages dropped: more than {} in a second", self.rate_max),
            );
        }
    }

    fn write(&self, level: Level, message: &str) {
        let (pipeline, step, partition) = (&*self.pipeline, &*self.step, self.partition.0);
        match level {
            Level::Error => tracing::error!(target: "weir::plugin", pipeline, step, partition, "{message}"),
            Level::Warn => tracing::warn!(target: "weir::plugin", pipeline, step, partition, "{message}"),
            Level::Info => tracing::info!(target: "weir::plugin", pipeline, step, partition, "{message}"),
            Level::Debug => tracing::debug!(target: "weir::plugin", pipeline, step, partition, "{message}"),
        }
    }
}

impl Drop for LogInner {
    fn drop(&mut self) {
        let dropped = self.allowance.get_mut().unwrap_or_else(PoisonError::into_inner).dropped;
        self.report(dropped);
    }
}

/// Links the log, where the component wants it.
pub(super) fn link_log(linker: &mut Linker<State>) -> Result<()> {
    linker.instance(LOG)?.func_wrap("write", |store: StoreContextMut<'_, State>, (level, message): (Level, WasmStr)| {
        let log = store.data().log.clone();
        if log.admit() {
            // Only now is the message read: a flood costs no more than its calls.
            log.write(level, message.to_str(&store).as_deref().unwrap_or("(a message that is not UTF-8)"));
        }
        Ok(())
    })
}

/// A text of a guest, no longer than the WIT allows.
pub(super) fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or_default()
}

/// A text of a guest as one line: a guest must not be able to forge lines of the log or to move a terminal's cursor.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() && c != '\t' {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    line
}
