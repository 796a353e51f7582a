//! Reads a partition of an embedded stream: the hop between two pipelines.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::{BATCH_BYTES_MAX, Chunk, Error, Mode, Reader};
use crate::record::{Offset, Partition, Position};
use crate::store::committer::Committer;
use crate::store::{self, Bounds, Store, StreamName};

/// Who may still append to a stream. A reader that drains the stream ends when nobody may.
#[derive(Debug, Clone, Default)]
pub struct Writers(Arc<watch::Sender<usize>>);

/// One who may append; dropped when it will not any more and all that it appended is committed.
#[derive(Debug)]
pub struct Writing(Writers);

impl Writers {
    /// Counts one more in. Readers are opened after all writers that exist at the start have been counted in.
    pub fn join(&self) -> Writing {
        self.0.send_modify(|writers| *writers += 1);
        Writing(self.clone())
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.0.send_modify(|writers| *writers = writers.saturating_sub(1));
    }
}

/// A partition of an embedded stream, read from an offset on.
pub struct StreamReader {
    store: Arc<dyn Store>,
    stream: StreamName,
    partition: Partition,
    next: Offset,
    /// The partition's end when it was opened.
    end: Offset,
    source: Arc<str>,
    bounds: watch::Receiver<Bounds>,
    drain: Option<watch::Receiver<usize>>,
}

impl StreamReader {
    /// Opens a partition at a committed position, or at its oldest record. `writers` is looked at in [`Mode::Drain`].
    pub async fn open(
        store: Arc<dyn Store>,
        committer: &Committer,
        stream: StreamName,
        partition: Partition,
        position: Option<&Position>,
        mode: Mode,
        writers: &Writers,
    ) -> Result<Self, Error> {
        let bounds = store.bounds(&stream, partition).await.map_err(failed)?;
        let next = position.and_then(Position::offset).unwrap_or(bounds.start);
        if next < bounds.start {
            // Retention waits for the pipelines that run, so this one did not run at the time.
            let lost = bounds.start.0 - next.0;
            tracing::warn!(%stream, %partition, lost, "records were trimmed while the pipeline that reads them was not running");
        }
        let next = next.max(bounds.start);
        let source = source(&*store, &stream, partition).into();
        let drain = (mode == Mode::Drain).then(|| writers.0.subscribe());
        Ok(StreamReader {
            bounds: committer.watch(&stream, partition).await.map_err(failed)?,
            store,
            stream,
            partition,
            next,
            end: bounds.end,
            source,
            drain,
        })
    }

    /// Waits for more records. Returns whether there may be any.
    async fn wait(&mut self) -> bool {
        let next = self.next;
        let Some(writers) = &mut self.drain else {
            return self.bounds.wait_for(|bounds| bounds.end > next).await.is_ok();
        };
        tokio::select! { biased;
            more = self.bounds.wait_for(|bounds| bounds.end > next) => return more.is_ok(),
            _ = writers.wait_for(|writers| *writers == 0) => {}
        }
        // What the last writer appended was announced before it was counted out.
        self.bounds.borrow().end > next
    }
}

#[async_trait]
impl Reader for StreamReader {
    async fn next(&mut self) -> Result<Option<Chunk>, Error> {
        loop {
            let read = self.store.read(&self.stream, self.partition, self.next, BATCH_BYTES_MAX).await;
            let records = read.map_err(failed)?;
            if let Some(last) = records.last_offset() {
                self.next = Offset(last.0 + 1);
                let position = Position::at(self.next);
                return Ok(Some(Chunk { source: self.source.clone(), records, position }));
            }
            if !self.wait().await {
                return Ok(None);
            }
        }
    }

    fn is_caught_up(&self) -> bool {
        self.next >= self.end
    }
}

/// What ids of the records of a stream derive from. Offsets begin anew in an empty data directory, so the store is named: else other
/// records would bear the ids of those that systems outside have kept.
pub fn source(store: &dyn Store, stream: &str, partition: Partition) -> String {
    format!("{stream}/{partition}~{}", store.id())
}

fn failed(error: store::Error) -> Error {
    Error::stop(error.to_string())
}
