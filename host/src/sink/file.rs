//! A file that holds each record exactly once, rotated by size or time.
//!
//! The committer writes the bytes of all tasks here, in commit order, and the place that the file has reached (a
//! [`mark`]) is part of the commit. What a crash leaves behind the mark is cut off on restart. While it is in use the
//! file belongs to the sink: bytes that others append are cut off as well.
//!
//! # Files that change
//!
//! A file's first bytes are written before any mark names it. So that nobody can take them for committed ones, a file
//! bears the hidden name `.NAME.uncommitted-BASE` until its first commit; BASE is its length before the sink's first
//! byte. A new file has base 0; a file that was at the path already (of an earlier program, or put there by logrotate)
//! is taken over with what it holds, and goes on behind that. This is how every switch to another file works: at the
//! first record, after a rotation, and after an operator moved the file away. A rotation is then one rename.
//!
//! A file is rotated after the commit that brought it to its size, so it may be larger by what one commit group holds;
//! by time with the first commit that finds it due, so an idle sink leaves its file alone. Tools that rotate are welcome
//! where they rename (logrotate's default); one that cuts the file off in place (`copytruncate`) takes committed bytes
//! away, and the sink stops and says so.
//!
//! The windows in which `kill -9` may strike, and what [`recover`] does on the next start. M is the committed mark; `k`
//! stands for bytes that are not committed:
//!
//! | struck | on disk | done |
//! |---|---|---|
//! | between commits | NAME is M | nothing |
//! | within or after a write, before the commit | NAME is M + k | k is cut off |
//! | after the commit, before a due rotation | NAME is M | the next commit rotates |
//! | after the rotation's rename | no NAME, NAME.TIME is M | nothing; the next record begins a file |
//! | while old files are deleted | as above, some old ones left | the next rotation deletes them |
//! | after a new file is created, or written to | hidden file with base 0 + k | k is cut off, the empty file gets its name |
//! | after a file was taken over, or written to | hidden file with its base + k | k is cut off, it gets its name back |
//! | after the commit, before the file gets its name | hidden file is M | it gets its name |
//! | after it got its name, before the rename is on disk (loss of power) | either name is M | as above, or nothing |
//! | moved by an operator before the restart | NAME* elsewhere is M + k | k is cut off there, a new file is begun |
//!
//! A file that was moved to another directory, or compressed, before the restart cannot be cut back: that takes a crash
//! within a write and an operator before the restart.
//!
//! This file knows nothing of tasks and pipelines; [`disk`] makes the changes on disk, [`names`] knows the names.

mod disk;
mod mark;
mod names;
mod recover;
mod state;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::FutureExt;

use self::state::State;
use super::lines::encode;
use super::{Confirm, Delivery, Error, Sink};
use crate::clock::Clock;
use crate::config::{FileSink, LineFormat};
use crate::record::{Output, Partition, Position};
use crate::store::PositionKey;
use crate::store::committer::{Participant, Staged};

/// A file on its way through commits. One serves all tasks that write to the sink.
pub struct FileParticipant {
    key: PositionKey,
    format: LineFormat,
    state: Mutex<State>,
}

impl FileParticipant {
    /// Under which key the sink's position is committed.
    pub fn key(name: &str, settings: &FileSink) -> PositionKey {
        let input = settings.path.to_string_lossy();
        PositionKey { owner: name.into(), input: input.into(), partition: Partition(0) }
    }

    /// Brings the files on disk to the position that is committed under [`FileParticipant::key`], and goes on from
    /// there. Blocks on the disk. Every error calls for an operator: the path cannot be written, or committed bytes are
    /// gone.
    pub fn open(
        name: &str,
        settings: &FileSink,
        position: Option<Position>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<FileParticipant>, Error> {
        let fail = |reason: String| Error::stop(format!("{}: {reason}", settings.path.display()));
        let state = State::open(settings, position, clock).map_err(|error| fail(error.to_string()))?;
        let key = FileParticipant::key(name, settings);
        Ok(Arc::new(FileParticipant { key, format: settings.format, state: Mutex::new(state) }))
    }

    /// A task's connection.
    pub fn sink(self: &Arc<Self>) -> FileTask {
        FileTask(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Participant for FileParticipant {
    fn position_key(&self) -> PositionKey {
        self.key.clone()
    }

    fn position(&self) -> Position {
        self.state().position()
    }

    fn write(&self, bytes: &[u8]) -> std::io::Result<Position> {
        self.state().write(bytes)
    }

    fn cut_back(&self, to: &Position) -> std::io::Result<()> {
        self.state().cut_back(to)
    }

    fn sync(&self) -> std::io::Result<()> {
        self.state().sync()
    }

    fn committed(&self) {
        self.state().committed();
    }
}

/// A task's connection to a file: makes lines of its records, for the committer to write.
pub struct FileTask(Arc<FileParticipant>);

#[async_trait]
impl Sink for FileTask {
    async fn send(&mut self, output: Arc<Output>) -> Result<Confirm, Error> {
        if let Some(lost) = self.0.state().lost() {
            return Err(Error::stop(lost.to_owned()));
        }
        let bytes = encode(self.0.format, &output);
        let staged = if bytes.is_empty() {
            Vec::new()
        } else {
            vec![Staged { participant: self.0.clone(), bytes: bytes.into() }]
        };
        Ok(std::future::ready(Ok(Delivery { staged, ..Delivery::default() })).boxed())
    }
}
