//! Topics of Kafka, read in place: the topic is the log, and the position in it is committed with what it brought about.
//!
//! Task i of a pipeline reads partition i of every topic of the source. It has a consumer of its own, which is assigned
//! its partitions and never joins a group: nobody else decides what a task reads. Only what was committed by transactions
//! is read. The offset of a record is Kafka's; its source is `SOURCE/TOPIC/PARTITION`. The positions are told to a
//! group as its committed offsets, once a second and for lag tools alone: nothing is read from there.
//!
//! librdkafka blocks, so each reader has a thread ([`work`]). [`place`] is what a position looks like, [`start`] how
//! a place is found to begin with, [`partitions`] what the appliance asks before there are tasks.

pub mod partitions;
mod place;
mod queue;
mod start;
mod work;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::{Chunk, Error, Mode, OnCommit, Reader};
use crate::config::KafkaSource;
use crate::kafka::Alive;
use crate::metrics::Lags;
use crate::record::{Partition, Position};

pub use partitions::check;

/// Chunks that may wait between the thread and the task. The task has its own, larger budget behind them.
const CHUNKS_AHEAD_MAX: usize = 2;

/// What a reader is opened with.
pub struct Opening {
    /// The source.
    pub name: Arc<str>,
    /// The pipeline that reads it.
    pub pipeline: Arc<str>,
    /// The partition that is read of each topic.
    pub partition: Partition,
    /// The settings.
    pub settings: KafkaSource,
    /// Whether to go on for ever.
    pub mode: Mode,
    /// The committed position of this task.
    pub position: Option<Position>,
    /// The committed position of the pipeline's first task: it knows which partitions there were to begin with.
    pub first: Option<Position>,
    /// Bytes of records that may wait in librdkafka.
    pub bytes_max: usize,
    /// Where the lag is told.
    pub lags: Arc<Lags>,
    /// Held as long as the thread lives.
    pub alive: Alive,
}

/// Reads one partition of each topic.
pub struct KafkaReader {
    items: mpsc::Receiver<Item>,
    adviser: Option<Adviser>,
}

/// What the thread gives to the task.
enum Item {
    Chunk(Chunk),
    Failed(Error),
    /// All is read that was there at the start.
    End,
}

/// Positions on their way from commits to the group.
#[derive(Default)]
struct Advice {
    position: Mutex<Option<Position>>,
    is_over: AtomicBool,
}

/// The end of it that takes positions; once it is gone, no more come.
struct Adviser(Arc<Advice>);

impl KafkaReader {
    /// Begins to read on a thread; what is wrong is told by the first `next`.
    pub fn open(opening: Opening) -> Result<Self, Error> {
        let (sender, items) = mpsc::channel(CHUNKS_AHEAD_MAX);
        let advice = Arc::new(Advice::default());
        let adviser = Some(Adviser(advice.clone()));
        let name = format!("kafka-{}", opening.partition);
        let thread = std::thread::Builder::new().name(name).spawn(move || work::run(opening, &sender, &advice));
        thread.map_err(|error| Error::retry(format!("no thread for reading could be started: {error}")))?;
        Ok(KafkaReader { items, adviser })
    }
}

#[async_trait]
impl Reader for KafkaReader {
    async fn next(&mut self) -> Result<Option<Chunk>, Error> {
        match self.items.recv().await {
            Some(Item::Chunk(chunk)) => Ok(Some(chunk)),
            Some(Item::Failed(error)) => Err(error),
            Some(Item::End) => Ok(None),
            None => Err(Error::retry("reading ended early")),
        }
    }

    fn on_commit(&mut self) -> Option<OnCommit> {
        let adviser = self.adviser.take()?;
        Some(Box::new(move |position| adviser.tell(position)))
    }
}

impl Adviser {
    fn tell(&self, position: &Position) {
        *self.0.position.lock().unwrap_or_else(PoisonError::into_inner) = Some(position.clone());
    }
}

impl Drop for Adviser {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Release);
    }
}

impl Advice {
    fn take(&self) -> Option<Position> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }
}
