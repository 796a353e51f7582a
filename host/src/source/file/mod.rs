//! Lines of files, followed as they grow and rotate.
//!
//! Each line is a record: its offset is the byte at which the line begins, its time the time of reading (a parser that
//! knows better sets another), its key null. Empty lines are records too, with an empty value: the file has them, and a
//! step that does not want them can say so. A last line without an end is a record when the file is drained, or was
//! rotated and does not grow any more; before that, its end is waited for. Bytes are kept as they are. Where several
//! files can match, each record has a header with the path at which its file was found first; it costs its length.
//!
//! The files are asked for changes at short intervals rather than by notification: that works on every file system.
//!
//! What cannot be told apart is documented here: a copy that copytruncate makes is another file, so a pattern must not
//! match it; what was written between the last read and a truncation is only in the copy; and a file that was both renamed
//! out of its directory and never matched again while the appliance was down is not found.

mod files;
mod identity;
mod read;
mod scan;
mod table;
mod tail;
mod window;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinHandle;

use files::{Files, Step};

use super::{BATCH_BYTES_MAX, Chunk, Error, Mode, Reader};
use crate::clock::Clock;
use crate::config::FileSource;
use crate::record::Position;

/// The first pause after a look at the files that found nothing new; doubled from look to look.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// No pause is longer: how late a line may be seen.
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// Chunks that are read in one go, within [`BATCH_BYTES_MAX`] of them: a change of threads costs as much as 50 lines.
const CHUNKS_AHEAD_MAX: usize = 8;

/// Reads lines of files.
pub struct FileReader {
    scan: Duration,
    ready: VecDeque<Chunk>,
    work: Work,
    failed: Option<Error>,
    pause: Duration,
}

/// Who has the files: they block, so a thread for blocking work reads them.
enum Work {
    /// Nobody; `None` once all is read.
    Waiting(Option<Box<Files>>),
    Reading(JoinHandle<(Box<Files>, Read)>),
}

/// What a read gave, and how it ended.
type Read = (VecDeque<Chunk>, Last);

/// How a read ended.
enum Last {
    Working,
    Idle,
    Finished,
    Failed(Error),
}

impl FileReader {
    /// Finds the files, and in them the places of the position; without one, all files are new. Fails where a pattern is
    /// malformed, and where the files are to be drained and there are none.
    pub fn open(
        name: &str,
        settings: &FileSource,
        position: Option<&Position>,
        mode: Mode,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let files = Files::open(name, settings, position, mode, clock)?;
        let work = Work::Waiting(Some(Box::new(files)));
        Ok(FileReader { scan: settings.scan, ready: VecDeque::new(), work, failed: None, pause: PAUSE_MIN })
    }

    /// Waits for what is being read, and has more read while that is on its way. Dropping the future loses nothing: the
    /// next call waits for the same read.
    async fn read(&mut self) -> Result<Last, Error> {
        if let Work::Waiting(files) = &mut self.work
            && let Some(files) = files.take()
        {
            self.work = begin(files);
        }
        let Work::Reading(reading) = &mut self.work else { return Ok(Last::Finished) };
        let read = reading.await;
        self.work = Work::Waiting(None);
        let (files, (chunks, last)) = read.map_err(|error| Error::retry(format!("reading ended early: {error}")))?;
        self.ready = chunks;
        self.work = match last {
            Last::Working => begin(files),
            Last::Idle => Work::Waiting(Some(files)),
            Last::Finished | Last::Failed(_) => Work::Waiting(None),
        };
        Ok(last)
    }
}

#[async_trait]
impl Reader for FileReader {
    async fn next(&mut self) -> Result<Option<Chunk>, Error> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                self.pause = PAUSE_MIN;
                return Ok(Some(chunk));
            }
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            match self.read().await? {
                Last::Finished if self.ready.is_empty() => return Ok(None),
                Last::Failed(error) if self.ready.is_empty() => return Err(error),
                Last::Failed(error) => self.failed = Some(error),
                Last::Idle if self.ready.is_empty() => {
                    tokio::time::sleep(self.pause).await;
                    self.pause = (self.pause * 2).min(PAUSE_MAX).min(self.scan);
                }
                Last::Working | Last::Idle | Last::Finished => {}
            }
        }
    }
}

/// Reads on a thread for blocking work.
fn begin(mut files: Box<Files>) -> Work {
    Work::Reading(tokio::task::spawn_blocking(move || {
        let read = read_ahead(&mut files);
        (files, read)
    }))
}

fn read_ahead(files: &mut Files) -> Read {
    let (mut chunks, mut bytes) = (VecDeque::new(), 0);
    while bytes < BATCH_BYTES_MAX && chunks.len() < CHUNKS_AHEAD_MAX {
        match files.step() {
            Ok(Step::Chunk(chunk)) => {
                bytes += chunk.records.bytes();
                chunks.push_back(chunk);
            }
            Ok(Step::Working) => break,
            Ok(Step::Idle) => return (chunks, Last::Idle),
            Ok(Step::Finished) => return (chunks, Last::Finished),
            Err(error) => return (chunks, Last::Failed(error)),
        }
    }
    (chunks, Last::Working)
}
