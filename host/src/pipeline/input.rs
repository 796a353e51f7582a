//! A task's inputs: readers that run ahead by a bounded number of bytes, merged by timestamp.
//!
//! Where a step remembers, records are merged one by one, so that the same inputs give the same order however they are cut
//! into chunks. A chunk is then given out in runs; `ahead.rs` knows what was taken of one that is not given out whole.
//! Tables that every task reads in full are read first, and then whenever there is more of them.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::ahead::Ahead;
use crate::record::{Batch, Position, Timestamp};
use crate::source::{Chunk, Error, Mode, OnCommit, Reader};
use crate::store::StateChange;

/// Chunks that a reader may have ready. What bounds memory is the budget in bytes; this bounds the queue's length.
const CHUNKS_AHEAD_MAX: usize = 64;
/// How long an input that holds nothing may keep a record of another waiting, where the task follows its inputs: from when the
/// record was read, and the input was emptied. It is what a record may come too late by and still be merged in order.
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
    /// The position behind them; `None`: as it was, as there is more of their chunk.
    pub position: Option<Position>,
    /// What is to be kept of how far the input was read past its position.
    pub ahead: Option<StateChange>,
    /// The other inputs that hold nothing and were not waited for any longer, or have ended: they hold back no watermark.
    pub idle: Vec<bool>,
    /// Gives the bytes of the chunk back to the budget when it is dropped by all runs of it.
    pub budget: Arc<OwnedSemaphorePermit>,
}

/// An input that is about to be read.
pub struct Opened {
    /// Reads it.
    pub reader: Box<dyn Reader>,
    /// What was taken of it past the reader's position.
    pub ahead: Ahead,
    /// Whether it is read before all others, and then whenever it has more: a table that every task reads in full.
    pub is_first: bool,
}

/// All inputs of one task.
pub struct Inputs {
    inputs: Vec<Input>,
    mode: Mode,
    /// Whether to merge record by record.
    is_exact: bool,
}

struct Input {
    chunks: mpsc::Receiver<Result<ReadAhead, Error>>,
    head: Option<Head>,
    /// When its last chunk was given out whole.
    empty_since: Instant,
    ended: bool,
    ahead: Ahead,
    is_first: bool,
    /// Whether all was given out that there was when it was opened.
    is_caught_up: bool,
    on_commit: Option<OnCommit>,
    reading: JoinHandle<()>,
}

/// A chunk that a reader has ready.
struct ReadAhead {
    chunk: Chunk,
    budget: OwnedSemaphorePermit,
    /// Whether the reader has given with it all that there was when it was opened.
    is_caught_up: bool,
    /// When it was read.
    read_at: Instant,
}

/// A chunk, of which some records may have been given out.
struct Head {
    chunk: Chunk,
    budget: Arc<OwnedSemaphorePermit>,
    read_at: Instant,
    taken: usize,
}

impl Inputs {
    /// Starts reading. Each reader may hold its share of the budget, and one chunk beyond it. `is_exact`: records are merged
    /// one by one.
    pub fn start(opened: Vec<Opened>, bytes_max: usize, mode: Mode, is_exact: bool) -> Self {
        let share = bytes_max / opened.len().max(1);
        let inputs: Vec<_> = opened.into_iter().map(|opened| Input::start(opened, share, mode)).collect();
        let is_exact = is_exact && inputs.iter().filter(|input| !input.is_first).count() > 1;
        Inputs { inputs, mode, is_exact }
    }

    /// The next records: of the heads of all inputs those with the lowest timestamp. `None`: all inputs have ended.
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<Incoming>, (usize, Error)> {
        loop {
            poll_fn(|cx| self.poll_heads(cx)).await?;
            if let Some(at) = self.inputs.iter().position(|input| input.is_first && input.head.is_some()) {
                return Ok(self.take(at, |_| true));
            }
            if self.inputs.iter().any(Input::comes_first) {
                poll_fn(|cx| self.poll_lacking(cx)).await?;
                continue;
            }
            let lacking = self.inputs.iter().any(|input| !input.is_first && input.head.is_none() && !input.ended);
            if !lacking || !self.must_wait().await? {
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
        let next = self.in_order().first().and_then(|(_, at)| self.inputs.get(*at)?.head.as_ref());
        let Some(read_at) = next.map(|head| head.read_at).filter(|_| self.mode == Mode::Follow) else {
            poll_fn(|cx| self.poll_lacking(cx)).await?;
            return Ok(true);
        };
        // What was read ahead has waited while it lay there. An input that was emptied just now may have more in a moment.
        let lacking = self.inputs.iter().filter(|input| !input.is_first && input.head.is_none() && !input.ended);
        let since = lacking.map(|input| input.empty_since).fold(read_at, Instant::max);
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
                Poll::Ready(Some(Ok(read))) => input.set_head(read),
                Poll::Ready(None) => input.ended = true,
            }
            progress = true;
        }
        if progress { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// The inputs that have something, by the timestamps of what comes next.
    fn in_order(&self) -> Vec<(Timestamp, usize)> {
        let mut heads: Vec<_> =
            self.inputs.iter().enumerate().filter_map(|(at, input)| Some((input.next_timestamp()?, at))).collect();
        heads.sort_unstable();
        heads
    }

    fn take_lowest(&mut self) -> Option<Incoming> {
        let heads = self.in_order();
        let (_, at) = *heads.first()?;
        let until = heads.get(1).copied().filter(|_| self.is_exact);
        self.take(at, |timestamp| until.is_none_or(|until| (timestamp, at) < until))
    }

    fn take(&mut self, at: usize, wanted: impl Fn(Timestamp) -> bool) -> Option<Incoming> {
        let idle = self.inputs.iter().map(|input| input.head.is_none()).collect();
        let taken = self.inputs.get_mut(at)?.take(wanted)?;
        Some(Incoming { input: at, idle, ..taken })
    }
}

impl Input {
    fn start(opened: Opened, bytes_max: usize, mode: Mode) -> Self {
        let Opened { mut reader, ahead, is_first } = opened;
        let on_commit = reader.on_commit();
        // A drained table is read to its end, whoever is still to write to it.
        let is_caught_up = mode == Mode::Follow && reader.is_caught_up();
        let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD_MAX);
        let reading = tokio::spawn(read_ahead(reader, bytes_max, mode, sender));
        let empty_since = Instant::now();
        Input { chunks, head: None, empty_since, ended: false, ahead, is_first, is_caught_up, on_commit, reading }
    }

    /// Whether the others have to wait for it.
    fn comes_first(&self) -> bool {
        self.is_first && !self.is_caught_up && !self.ended
    }

    /// Takes the next chunk, without those of its records that were taken before.
    fn set_head(&mut self, read: ReadAhead) {
        let ReadAhead { chunk, budget, is_caught_up, read_at } = read;
        let taken = self.ahead.again(&chunk.source, &chunk.records);
        self.is_caught_up |= is_caught_up;
        self.head = Some(Head { chunk, budget: Arc::new(budget), read_at, taken });
    }

    /// The timestamp of the next record. A chunk of which nothing is left only moves the position, and goes first.
    fn next_timestamp(&self) -> Option<Timestamp> {
        let head = self.head.as_ref()?;
        Some(head.chunk.records.get(head.taken).map_or(Timestamp(i64::MIN), |record| record.timestamp))
    }

    /// Gives out the next records, as long as they are wanted: one at least.
    fn take(&mut self, wanted: impl Fn(Timestamp) -> bool) -> Option<Incoming> {
        let mut head = self.head.take()?;
        let (from, len) = (head.taken, head.chunk.records.len());
        let is_wanted = |at: &usize| head.chunk.records.get(*at).is_some_and(|record| wanted(record.timestamp));
        let end = (from + 1..len).find(|at| !is_wanted(at)).unwrap_or(len);
        let (source, budget) = (head.chunk.source.clone(), head.budget.clone());
        let of = |records, position, ahead| Incoming {
            input: 0,
            source: source.clone(),
            records,
            position,
            ahead,
            idle: Vec::new(),
            budget,
        };
        if let Some(next) = head.chunk.records.get(end) {
            let ahead = self.ahead.take_part(&source, next.offset);
            let records = head.chunk.records.slice(from..end);
            head.taken = end;
            self.head = Some(head);
            return Some(of(records, None, ahead));
        }
        self.empty_since = Instant::now();
        let Chunk { records, position, .. } = head.chunk;
        let ahead = self.ahead.take_all(&source, records.last_offset(), &position);
        Some(of(if from == 0 { records } else { records.slice(from..len) }, Some(position), ahead))
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
    mode: Mode,
    chunks: mpsc::Sender<Result<ReadAhead, Error>>,
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
                let Ok(budget) = budget.clone().acquire_many_owned(units).await else { return };
                let is_caught_up = mode == Mode::Follow && reader.is_caught_up();
                Ok(ReadAhead { chunk, budget, is_caught_up, read_at: Instant::now() })
            }
        };
        let failed = item.is_err();
        if chunks.send(item).await.is_err() || failed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::record::{Offset, Partition, Record};
    use crate::state::Home;
    use crate::store::memory::MemoryStore;

    /// Gives records with these times, one a chunk, each after a pause; then nothing.
    struct Timed(std::vec::IntoIter<(u64, i64)>);

    #[async_trait]
    impl Reader for Timed {
        async fn next(&mut self) -> Result<Option<Chunk>, Error> {
            let Some((pause, time)) = self.0.next() else { return std::future::pending().await };
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let mut records = Batch::default();
            records.push(&Record { offset: Offset(time as u64), ..Record::of(b"", Timestamp(time)) });
            Ok(Some(Chunk { source: "s".into(), records, position: Position::at(Offset(time as u64 + 1)) }))
        }
    }

    async fn merge(inputs: [Vec<(u64, i64)>; 2]) -> Inputs {
        let store = Arc::new(MemoryStore::new());
        let home = Home { store, pipeline: "p".into(), partition: Partition(0) };
        let mut opened = Vec::new();
        for (name, records) in ["a", "b"].into_iter().zip(inputs) {
            let ahead = Ahead::open(&home, name, None).await.unwrap();
            opened.push(Opened { reader: Box::new(Timed(records.into_iter())), ahead, is_first: false });
        }
        Inputs::start(opened, 1 << 20, Mode::Follow, true)
    }

    async fn take(inputs: &mut Inputs, count: usize) -> Vec<i64> {
        let mut times = Vec::new();
        while times.len() < count {
            let Ok(Some(incoming)) = inputs.next().await else { panic!("it has not ended") };
            times.extend(incoming.records.iter().map(|record| record.timestamp.0));
        }
        times
    }

    #[tokio::test(start_paused = true)]
    async fn an_input_that_has_nothing_costs_what_is_read_ahead_no_time() {
        let mut inputs = merge([(0..1000).map(|time| (0, time)).collect(), Vec::new()]).await;
        let began = Instant::now();
        assert_eq!(take(&mut inputs, 1000).await, (0..1000).collect::<Vec<_>>());
        let waits = 1000 / CHUNKS_AHEAD_MAX as u32 + 2;
        assert!(began.elapsed() <= MERGE_WAIT * waits, "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn an_input_that_was_emptied_just_now_is_waited_for() {
        // The second gives a record every 50 ms, while all of the first is there.
        let first = (0..10).map(|n| (0, 10 * n)).collect();
        let second = (0..10).map(|n| (50, 10 * n + 5)).collect();
        let mut inputs = merge([first, second]).await;
        assert_eq!(take(&mut inputs, 20).await, (0..20).map(|n| 5 * n).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_waits_for_one_that_comes_a_little_late() {
        // The second was silent for long when a record of the first comes, and has one of the same time 90 ms later.
        let mut inputs = merge([vec![(10_000, 7)], vec![(10_090, 6)]]).await;
        assert_eq!(take(&mut inputs, 2).await, [6, 7]);
        let mut inputs = merge([vec![(10_000, 7)], vec![(10_110, 6)]]).await;
        assert_eq!(take(&mut inputs, 2).await, [7, 6], "but not for ever");
    }
}
