//! Plugins: sandboxed code between a batch and the next. The only user of wasmtime.
//!
//! [`step`] is what the pipeline sees: it runs batches through an instance, and when the instance traps it finds the
//! record to blame. It knows instances only by the two traits here; the simulation has instances of its own.

pub mod bisect;
pub mod bundle;
pub mod catalog;
pub mod compile;
pub mod engine;
pub mod inspect;
pub mod instance;
pub mod load;
mod lookup;
pub mod precompile;
pub mod sample;
pub mod step;
pub mod versions;
pub mod wrap;

mod bindings;
mod cache;
mod database;
mod http;
mod kudu;
mod limits;
mod reach;
mod slack;
mod tables;
mod turn;
mod validate;
mod wasi;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use catalog::Catalog;
pub use engine::Engine;
pub use instance::StepContext;
pub use load::{LoadError, Plugin, World};

use crate::record::{Batch, Reject, Timestamp};
use crate::state::{TableSpec, Tables};

/// What became of a batch; checked, so indices and columns hold what the WIT promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What goes on.
    pub answer: Answer,
    /// What could not be dealt with, by strictly ascending index.
    pub rejects: Vec<Reject>,
    /// How many records came too late to count.
    pub late: u32,
    /// How many records at the end of the batch are to be given again, once time has passed up to the watermark of the first.
    pub postponed: u32,
    /// When the plugin wants to be called though no record comes.
    pub alarms: Alarms,
}

impl Outcome {
    /// Of a plugin that knows nothing of time.
    pub fn of(answer: Answer, rejects: Vec<Reject>) -> Self {
        Outcome { answer, rejects, late: 0, postponed: 0, alarms: Alarms::default() }
    }
}

/// When a plugin wants to be called though no record comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Alarms {
    /// As soon as the watermark has reached this event time.
    pub event_time: Option<Timestamp>,
    /// At this time of the clock.
    pub clock_time: Option<Timestamp>,
}

/// What a plugin made of the passing of time; checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Advanced {
    /// The records. Their offsets are still to be set.
    pub records: Batch,
    /// For each what brought it about: the place of an event time in `fired`, or their number for the clock.
    pub origin: Vec<u32>,
    /// The event times, ascending.
    pub fired: Vec<Timestamp>,
    /// When the plugin wants to be called again.
    pub alarms: Alarms,
}

/// The records that go on. See `wit/step.wit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// All but the rejected ones, as they came.
    Unchanged,
    /// These, as they came.
    Select(Vec<u32>),
    /// New ones, each with the index of the record that it comes from. Their offsets are those of their origins.
    Replaced {
        /// The new records.
        records: Batch,
        /// For each, its origin: a record, or the batch's length and more for the event time that fired.
        origin: Vec<u32>,
        /// The event times that brought about records, ascending.
        fired: Vec<Timestamp>,
    },
}

/// What a plugin says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Description {
    /// The names of its ports beside the main one: the first has number 1.
    pub ports: Vec<String>,
    /// Whether it gives records their event time.
    pub sets_time: bool,
    /// Its tables, where it has keyed state; `None`: it has none, and need not be told of time.
    pub tables: Option<Vec<TableSpec>>,
    /// The schema of what its tables hold.
    pub schema: u32,
}

/// Why a call into a plugin failed. The instance is done for; nothing of the call remains.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It trapped: a panic, an access out of bounds, an exhausted stack.
    #[error("the plugin trapped: {0}")]
    Trap(String),
    /// It used more time than a call may: a batch, or its start.
    #[error(
        "the plugin used more than {limit_ms} ms for one call: give the step a larger `batch_time_max`, if it needs that"
    )]
    Time {
        /// The limit.
        limit_ms: u64,
    },
    /// It wanted more memory than the step may have, and trapped.
    #[error(
        "the plugin wanted more than {limit_bytes} bytes of memory ({trap}): give the step a larger `memory_bytes_max`, if it needs that"
    )]
    Memory {
        /// The limit.
        limit_bytes: usize,
        /// How it ended.
        trap: String,
    },
    /// It answered with more bytes than the step may. They are not even read, so nobody knows how many.
    #[error(
        "the plugin answered with more than {limit_bytes} bytes for one batch: give the step a larger `output_bytes_max`, if it needs that"
    )]
    Output {
        /// The limit.
        limit_bytes: usize,
    },
    /// Its answer breaks the contract.
    #[error("the plugin's answer breaks the contract: {0}")]
    Answer(String),
    /// It cannot go on for now, and asks to begin again from the last commit.
    #[error("the plugin cannot go on for now: {0}")]
    Again(String),
    /// It cannot go on before its operator has done something.
    #[error("the plugin cannot go on: {0}")]
    Stop(String),
}

impl Failure {
    /// What its operator can do about it, where its words do not say so.
    fn remedy(&self) -> &'static str {
        match self {
            Failure::Trap(_) | Failure::Answer(_) => {
                "; this is a defect of the plugin: use another version of it, or ask its author"
            }
            Failure::Time { .. }
            | Failure::Memory { .. }
            | Failure::Output { .. }
            | Failure::Again(_)
            | Failure::Stop(_) => "",
        }
    }
}

/// Why a plugin cannot start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// It refuses its configuration.
    #[error("{}{message}", if path.is_empty() { String::new() } else { format!("config.{path}: ") })]
    Config {
        /// The offending setting, parts divided by dots; empty: the whole.
        path: String,
        /// What was expected and what came.
        message: String,
    },
    /// It failed while starting.
    #[error("{}{}", .0, .0.remedy())]
    Failed(#[from] Failure),
    /// The appliance runs as many instances as it can.
    #[error("all {max} instances of plugins are in use: fewer steps or partitions are needed")]
    Full {
        /// How many there may be.
        max: u32,
    },
}

/// Which plugin something runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub plugin: Arc<str>,
    /// The blake3 hash of its component, in hexadecimal.
    pub hash: Arc<str>,
}

/// A batch as a step is given it.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// Which of the inputs it is from: those of `from`, and behind them the tables of the step.
    pub input: u32,
    /// The records.
    pub batch: &'a Batch,
    /// For each what the watermark is once it has come. Empty where no step of the chain asks for it.
    pub watermarks: &'a [Timestamp],
}

/// A running plugin of one step and one partition.
#[async_trait]
pub trait Instance: Send {
    /// Runs a batch, or the beginning of it. What it writes to the tables is undone by the caller where it fails.
    async fn process(&mut self, given: Given<'_>, tables: &mut Tables) -> Result<Outcome, Failure>;

    /// Lets time pass. Called only where the plugin has tables.
    async fn advance(
        &mut self,
        watermark: Option<Timestamp>,
        clock: Timestamp,
        tables: &mut Tables,
    ) -> Result<Advanced, Failure> {
        let _ = (watermark, clock, tables);
        Ok(Advanced::default())
    }

    /// Brings a part of what its tables hold from another schema into its own. Whether there is more to do, or why it cannot.
    async fn migrate(&mut self, from: u32, tables: &mut Tables) -> Result<Result<bool, String>, Failure> {
        let _ = tables;
        Ok(Err(format!("it cannot read what is remembered by schema {from}")))
    }

    /// The processor time that its calls have used.
    fn processor_time(&self) -> Duration {
        Duration::ZERO
    }

    /// The bytes of its memory; 0 where it has none of its own.
    fn memory_bytes(&self) -> u64 {
        0
    }
}

/// Starts instances of one step, for one partition.
#[async_trait]
pub trait Factory: Send + Sync + 'static {
    /// A fresh instance, configured, and what it says of itself.
    async fn start(&self) -> Result<(Box<dyn Instance>, Description), StartError>;
}
