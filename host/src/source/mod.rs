//! Where records enter: one file per system.
//!
//! A source that can be read again from a position is a [`Reader`]: its place is committed by the pipeline that reads it.
//! A source that cannot is a [`Listener`]: what it receives enters the intake stream of the same name through an
//! [`Intake`], and pipelines read that.

pub mod dead_letters;
pub mod demo;
pub mod file;
pub mod intake;
pub mod kafka;
pub mod lines;
pub mod rabbitmq;
pub mod stdin;
pub mod stream;
pub mod syslog;
pub mod table;
pub mod unconfirmed;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use async_trait::async_trait;

pub use intake::Intake;

use crate::record::{Batch, Position};
use crate::stop::Stop;
use crate::tls;

/// Records read from one place.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The place, for ids and dead letters: the stream and partition, or the file's identity. The same place gives the
    /// same text after a restart.
    pub source: Arc<str>,
    /// The records, with their offsets in that place. None, where only the position moved.
    pub records: Batch,
    /// The reader's position behind them.
    pub position: Position,
}

/// Why reading or receiving stopped.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Where, what was expected and what came.
    pub message: String,
    /// What is to be done.
    pub disposition: Disposition,
}

impl Error {
    /// One that may heal.
    pub fn retry(message: impl Into<String>) -> Self {
        Error { message: message.into(), disposition: Disposition::Retry }
    }

    /// One that an operator has to act on.
    pub fn stop(message: impl Into<String>) -> Self {
        Error { message: message.into(), disposition: Disposition::Stop }
    }
}

impl From<tls::Error> for Error {
    fn from(error: tls::Error) -> Self {
        Error::stop(error.to_string())
    }
}

/// What an error at a source or sink calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Try again from the last commit, after a pause: it may heal.
    Retry,
    /// An operator has to act: the appliance stops (exit code 69).
    Stop,
}

/// A source that can be read again from a position.
///
/// Runs in a task of its own, ahead of the pipeline by a bounded number of bytes.
#[async_trait]
pub trait Reader: Send + 'static {
    /// The next records, at most about 1,000 of them or `BATCH_BYTES_MAX`; waits where there are none yet. `None`: there
    /// will be no more (the source ended, or it holds no more now and was opened to be drained).
    async fn next(&mut self) -> Result<Option<Chunk>, Error>;

    /// Whether all that there was when it was opened has been given. A table is read that far before what is looked up in it.
    fn is_caught_up(&self) -> bool {
        true
    }

    /// What is to be called with each position once it is committed; asked for once, before the first `next`.
    fn on_commit(&mut self) -> Option<OnCommit> {
        None
    }
}

/// Tells a source that a position was committed, so that it may let go of what lies before. Must not block.
pub type OnCommit = Box<dyn Fn(&Position) + Send>;

/// The records that a reader puts in a chunk at most.
pub const BATCH_RECORDS_MAX: usize = 1_000;
/// The bytes after which a reader closes a chunk. One record alone may be larger.
pub const BATCH_BYTES_MAX: usize = 1 << 20;

/// The header with the path of the file that a record was read from.
pub const HEADER_PATH: &str = "weir-path";
/// The header with the address of the peer that a record was received from, without its port.
pub const HEADER_PEER: &str = "weir-peer";
/// The header of a record that was cut: how many bytes its value had, as decimal digits.
pub const HEADER_TRUNCATED: &str = "weir-truncated";

/// How a source is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Go on as records come.
    Follow,
    /// Read what is there and end (`--once`).
    Drain,
}

/// A source that pushes its records and cannot be read again.
#[async_trait]
pub trait Listener: Send + 'static {
    /// Receives until `stop` resolves, then takes in what has been received and returns.
    async fn run(self: Box<Self>, intake: Intake, stop: Stop) -> Result<(), Error>;
}

/// What a listener counts, for metrics and the progress line.
#[derive(Debug, Default)]
pub struct Received {
    /// Records that were made durable in the intake stream.
    pub records: AtomicU64,
    /// Records lost before that, by overflow of a socket or queue (UDP).
    pub dropped: AtomicU64,
    /// Records handed to the intake that are not durable yet. Where peers get no acknowledgement (syslog, standard
    /// input), a sudden end loses these, and what lay in the buffers of the sockets.
    pub window_records: AtomicU64,
    /// The most there ever were of them.
    pub window_records_max: AtomicU64,
    /// The bytes of their data.
    pub window_bytes: AtomicU64,
    /// The most there ever were of them.
    pub window_bytes_max: AtomicU64,
}
