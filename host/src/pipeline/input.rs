//! A task's inputs: readers that run ahead by a bounded number of bytes, merged by timestamp.
//!
//! Where a step remembers, records are merged one by one, so that the same inputs give the same order however they are cut
//! into chunks. A chunk is then given out in runs, and what is committed with a run that does not end it is the position
//! before the chunk and how many records were taken since.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::record::{Batch, Position, Timestamp};
use crate::source::{Chunk, Error, Mode, OnCommit, Reader};

/// Chunks that a reader may have ready. What bounds memory is the budget in bytes; this bounds the queue's length.
const CHUNKS_AHEAD_MAX: usize = 64;
/// How long an input that holds nothing may keep the others waiting, where the task follows its inputs. It is what a
/// record may come too late by and still be merged in order.
const MERGE_WAIT: Duration = Duration::from_millis(100);
/// The unit in which the budget is counted, so that budgets past 4 GiB fit a semaphore's 32-bit permits.
const BUDGET_UNIT: usize = 1024;

/// Records of one input, and the part of the budget that they hold until they are committed.
pub struct Incoming {
    /// Which input of the task they are from.
    pub input: usize,
    /// Where they were read.
    pub source: Arc<str>,
    /// The records.
    pub records: Batch,
    /// How far the input is read with them.
    pub progress: Progress,
    /// The other inputs that hold nothing and were not waited for any longer, or have ended: they hold back no watermark.
    pub idle: Vec<bool>,
    /// Gives the bytes of the chunk back to the budget when it is dropped by all runs of it.
    pub budget: Arc<OwnedSemaphorePermit>,
}

/// How far an input was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The reader's position; `None`: as it was.
    pub position: Option<Position>,
    /// The records behind that position that were taken as well.
    pub taken: u64,
}

/// All inputs of one task.
pub struct Inputs {
    inputs: Vec<Input>,
    mode: Mode,
    /// Whether to merge record by record.
    is_exact: bool,
    waiting_since: Option<Instant>,
}

struct Input {
    chunks: mpsc::Receiver<Result<(Chunk, OwnedSemaphorePermit), Error>>,
    head: Option<Head>,
    ended: bool,
    /// Records that were taken behind the reader's position before, and come again.
    again: u64,
    /// Records that were taken behind the position that was given out last, those of the head not counted.
    before_head: u64,
    on_commit: Option<OnCommit>,
    reading: JoinHandle<()>,
}

/// A chunk, of which some records may have been given out.
struct Head {
    chunk: Chunk,
    budget: Arc<OwnedSemaphorePermit>,
    taken: usize,
}

impl Inputs {
    /// Starts reading. Each reader may hold its share of the budget, and one chunk beyond it. With each comes how many
    /// records behind its position were taken before. `is_exact`: records are merged one by one.
    pub fn start(readers: Vec<(Box<dyn Reader>, u64)>, bytes_max: usize, mode: Mode, is_exact: bool) -> Self {
        let share = bytes_max / readers.len().max(1);
        let inputs: Vec<_> = readers.into_iter().map(|(reader, taken)| Input::start(reader, taken, share)).collect();
        let is_exact = is_exact && inputs.len() > 1;
        Inputs { inputs, mode, is_exact, waiting_since: None }
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
                Poll::Ready(Some(Ok((chunk, budget)))) => input.set_head(chunk, budget),
                Poll::Ready(None) => input.ended = true,
            }
            progress = true;
        }
        if progress { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn take_lowest(&mut self) -> Option<Incoming> {
        let idle = self.inputs.iter().map(|input| input.head.is_none()).collect();
        let mut heads: Vec<_> =
            self.inputs.iter().enumerate().filter_map(|(at, input)| Some((input.next_timestamp()?, at))).collect();
        heads.sort_unstable();
        let (_, at) = *heads.first()?;
        let until = heads.get(1).copied().filter(|_| self.is_exact);
        let input = self.inputs.get_mut(at)?;
        let (source, records, progress, budget) =
            input.take(|timestamp| until.is_none_or(|until| (timestamp, at) < until))?;
        Some(Incoming { input: at, source, records, progress, idle, budget })
    }
}

impl Input {
    fn start(mut reader: Box<dyn Reader>, taken: u64, bytes_max: usize) -> Self {
        let on_commit = reader.on_commit();
        let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD_MAX);
        let reading = tokio::spawn(read_ahead(reader, bytes_max, sender));
        Input { chunks, head: None, ended: false, again: taken, before_head: 0, on_commit, reading }
    }

    /// Takes the next chunk, without those of its records that were taken before.
    fn set_head(&mut self, chunk: Chunk, budget: OwnedSemaphorePermit) {
        let taken = self.again.min(chunk.records.len() as u64);
        self.again -= taken;
        if taken > 0 && taken == chunk.records.len() as u64 {
            // Nothing of it is left, and its position is not committed: that comes with the next.
            self.before_head += taken;
            return;
        }
        self.head = Some(Head { chunk, budget: Arc::new(budget), taken: taken as usize });
    }

    /// The timestamp of the next record. A chunk without records only moves the position, and goes first.
    fn next_timestamp(&self) -> Option<Timestamp> {
        let head = self.head.as_ref()?;
        Some(head.chunk.records.get(head.taken).map_or(Timestamp(i64::MIN), |record| record.timestamp))
    }

    /// Gives out the next records, as long as they are wanted: one at least.
    fn take(
        &mut self,
        wanted: impl Fn(Timestamp) -> bool,
    ) -> Option<(Arc<str>, Batch, Progress, Arc<OwnedSemaphorePermit>)> {
        let mut head = self.head.take()?;
        let (from, len) = (head.taken, head.chunk.records.len());
        let is_wanted = |at: &usize| head.chunk.records.get(*at).is_some_and(|record| wanted(record.timestamp));
        let end = (from + 1..len).find(|at| !is_wanted(at)).unwrap_or(len);
        let (source, budget) = (head.chunk.source.clone(), head.budget.clone());
        if end < len {
            head.taken = end;
            let progress = Progress { position: None, taken: self.before_head + end as u64 };
            let records = head.chunk.records.slice(from..end);
            self.head = Some(head);
            return Some((source, records, progress, budget));
        }
        self.before_head = 0;
        let records = if from == 0 { head.chunk.records } else { head.chunk.records.slice(from..len) };
        // What was taken before and has not come again yet lies behind this position as well.
        let progress = Progress { position: Some(head.chunk.position), taken: self.again };
        Some((source, records, progress, budget))
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
