//! A task's inputs: readers that run ahead by a bounded number of bytes, merged by timestamp.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::record::Position;
use crate::source::{Chunk, Error, Mode, OnCommit, Reader};

/// Chunks that a reader may have ready. What bounds memory is the budget in bytes; this bounds the queue's length.
const CHUNKS_AHEAD_MAX: usize = 64;
/// How long an input that holds nothing may keep the others waiting, where the task follows its inputs. It is what a
/// record may come too late by and still be merged in order.
const MERGE_WAIT: Duration = Duration::from_millis(100);
/// The unit in which the budget is counted, so that budgets past 4 GiB fit a semaphore's 32-bit permits.
const BUDGET_UNIT: usize = 1024;

/// A chunk, and the part of the budget that it holds until it is committed.
pub struct Incoming {
    /// Which input of the task it is from.
    pub input: usize,
    /// The records.
    pub chunk: Chunk,
    /// Gives the bytes back to the budget when dropped.
    pub budget: OwnedSemaphorePermit,
}

/// All inputs of one task.
pub struct Inputs {
    inputs: Vec<Input>,
    mode: Mode,
    waiting_since: Option<Instant>,
}

struct Input {
    chunks: mpsc::Receiver<Result<(Chunk, OwnedSemaphorePermit), Error>>,
    head: Option<(Chunk, OwnedSemaphorePermit)>,
    ended: bool,
    on_commit: Option<OnCommit>,
    reading: JoinHandle<()>,
}

impl Inputs {
    /// Starts reading. Each reader may hold its share of the budget, and one chunk beyond it.
    pub fn start(readers: Vec<Box<dyn Reader>>, bytes_max: usize, mode: Mode) -> Self {
        let share = bytes_max / readers.len().max(1);
        Inputs { inputs: readers.into_iter().map(|r| Input::start(r, share)).collect(), mode, waiting_since: None }
    }

    /// The next chunk: of the heads of all inputs the one with the lowest timestamp. `None`: all inputs have ended.
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<Incoming>, (usize, Error)> {
        loop {
            poll_fn(|cx| self.poll_heads(cx)).await?;
            let lacking = self.inputs.iter().any(|input| input.head.is_none() && !input.ended);
            if !lacking || !self.must_wait().await? {
                self.waiting_since = None;
                return Ok(self.take_lowest());
            }
        }
    }

    /// Tells an input that a position of its is committed.
    pub fn committed(&self, input: usize, position: &Position) {
        if let Some(on_commit) = self.inputs.get(input).and_then(|input| input.on_commit.as_ref()) {
            on_commit(position);
        }
    }

    /// Waits for the heads that are lacking. Returns whether to look again.
    async fn must_wait(&mut self) -> Result<bool, (usize, Error)> {
        let have_one = self.inputs.iter().any(|input| input.head.is_some());
        if !have_one || self.mode == Mode::Drain {
            poll_fn(|cx| self.poll_lacking(cx)).await?;
            return Ok(true);
        }
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        match tokio::time::timeout_at(since + MERGE_WAIT, poll_fn(|cx| self.poll_lacking(cx))).await {
            Ok(result) => result.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// Takes what is ready; never waits.
    fn poll_heads(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), (usize, Error)>> {
        match self.poll_lacking(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Ready when an input that lacked a head has got one, or has ended.
    fn poll_lacking(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), (usize, Error)>> {
        let mut progress = false;
        for (at, input) in self.inputs.iter_mut().enumerate() {
            if input.head.is_some() || input.ended {
                continue;
            }
            match input.chunks.poll_recv(cx) {
                Poll::Pending => continue,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err((at, error))),
                Poll::Ready(Some(Ok(head))) => input.head = Some(head),
                Poll::Ready(None) => input.ended = true,
            }
            progress = true;
        }
        if progress { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn take_lowest(&mut self) -> Option<Incoming> {
        let timestamp = |input: &Input| input.head.as_ref().and_then(|(chunk, _)| chunk.records.first_timestamp());
        let with_head = self.inputs.iter_mut().enumerate().filter(|(_, input)| input.head.is_some());
        let (at, input) = with_head.min_by_key(|(_, input)| timestamp(input))?;
        let (chunk, budget) = input.head.take()?;
        Some(Incoming { input: at, chunk, budget })
    }
}

impl Input {
    fn start(mut reader: Box<dyn Reader>, bytes_max: usize) -> Self {
        let on_commit = reader.on_commit();
        let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD_MAX);
        let reading = tokio::spawn(read_ahead(reader, bytes_max, sender));
        Input { chunks, head: None, ended: false, on_commit, reading }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn read_ahead(
    mut reader: Box<dyn Reader>,
    bytes_max: usize,
    chunks: mpsc::Sender<Result<(Chunk, OwnedSemaphorePermit), Error>>,
) {
    let units_max = bytes_max.div_ceil(BUDGET_UNIT).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
    let budget = Arc::new(Semaphore::new(units_max));
    loop {
        let item = match reader.next().await {
            Ok(None) => return,
            Err(error) => Err(error),
            Ok(Some(chunk)) => {
                // A chunk larger than the whole budget goes alone.
                let units = chunk.records.bytes().div_ceil(BUDGET_UNIT).min(units_max) as u32;
                let Ok(permit) = budget.clone().acquire_many_owned(units).await else { return };
                Ok((chunk, permit))
            }
        };
        let failed = item.is_err();
        if chunks.send(item).await.is_err() || failed {
            return;
        }
    }
}
