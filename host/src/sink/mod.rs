//! Where records leave: one file per system.

pub mod file;
pub mod kafka;
pub mod lines;
pub mod plugin;
pub mod rabbitmq;
pub mod stdout;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

pub use crate::source::{Disposition, Error};

use crate::plugin::Identity;
use crate::record::{Output, Position, Reject};
use crate::store::PositionKey;
use crate::store::committer::Staged;

/// What became of a batch that a sink was given.
#[derive(Default)]
pub struct Delivery {
    /// Records that the system refused, by ascending index. All others are confirmed, or staged.
    pub rejects: Vec<Reject>,
    /// Bytes that become part of the commit (transactional sinks only).
    pub staged: Vec<Staged>,
    /// What the sink wants to know after a restart: it becomes part of the commit.
    pub positions: Vec<(PositionKey, Position)>,
}

/// Resolves when the system has confirmed. Several may be waited for at once; the pipeline commits in order.
pub type Confirm = BoxFuture<'static, Result<Delivery, Error>>;

/// A task's connection to a system outside. One is opened per task, so it needs no lock.
#[async_trait]
pub trait Sink: Send + 'static {
    /// Takes a batch, after all earlier ones; what it returns resolves when the batch is confirmed. The pipeline bounds
    /// the bytes that are unconfirmed. After an error the sink is dropped, and the task opens a new one and sends again
    /// what was not committed, under the same ids.
    async fn send(&mut self, output: Arc<Output>) -> Result<Confirm, Error>;

    /// The plugin that it runs, where it is one.
    fn identity(&self) -> Option<Identity> {
        None
    }
}
