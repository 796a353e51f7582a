//! What sources and sinks of Kafka share: how a cluster is reached, what it is asked for, and errors in words.
//!
//! With `source/kafka` and `sink/kafka` the only user of librdkafka. All its calls may block: they are made on threads of
//! their own, never on the runtime's.

pub mod client;
pub mod topics;
pub mod words;

pub use client::{Context, Signals};

use std::sync::Arc;

use tokio::sync::watch;

/// The threads of clients that are at work. They end by themselves once nobody needs them; at the end of the process they
/// are waited for, so that they can say goodbye to the brokers.
#[derive(Debug, Clone, Default)]
pub struct Threads(Arc<watch::Sender<usize>>);

/// A thread that is at work.
#[derive(Debug)]
pub struct Alive(Threads);

impl Threads {
    /// Counts a thread in.
    pub fn join(&self) -> Alive {
        self.0.send_modify(|alive| *alive += 1);
        Alive(self.clone())
    }

    /// Resolves when none is left.
    pub async fn ended(&self) {
        let mut alive = self.0.subscribe();
        // The sender is held by this handle.
        let _ = alive.wait_for(|alive| *alive == 0).await;
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.0.send_modify(|alive| *alive = alive.saturating_sub(1));
    }
}
