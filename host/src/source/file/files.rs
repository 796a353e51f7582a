//! All files of a source: found, read in turn, rotated, forgotten.
//!
//! Owns the decisions, and blocks while the system answers: [`super::FileReader`] calls it from a thread for that.
//!
//! What rotation means here. A file that was renamed or deleted is read to its end through the handle that is open; the
//! file that took its path is begun after that. It is watched for some more scans, since whoever writes to it may not
//! have noticed yet; then a last line without an end becomes a record, and a file that is gone is forgotten. A file
//! that is shorter than what was read of it, or whose bytes are others, was truncated and begins again.

mod update;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::time::Instant;

use super::read::Reached;
use super::scan::{Patterns, find_renamed};
use super::table::{entries_of, position_of};
use super::tail::{Look, Tail, Terms};
use super::window::Window;
use crate::clock::Clock;
use crate::config::{FileSource, FileStart};
use crate::record::{Batch, Position};
use crate::source::{BATCH_RECORDS_MAX, Chunk, Error, Mode};

/// Files of one source. What matches beyond that waits until others are gone.
const FILES_MAX: usize = 4_096;
/// Files of one source that are open at a time. Beyond that, those are closed that did not change for longest.
const FILES_OPEN_MAX: usize = 512;
/// What is read of a file before it is the next one's turn.
const TURN_BYTES: usize = 4 << 20;
/// Scans after which a rotated file that did not grow has no more lines to come: its last one is complete as it is.
const ROTATED_SCANS: u32 = 5;
/// Scans after which a file that still exists, but does not match any more, is forgotten.
const MISSING_SCANS: u32 = 600;

/// What a step of reading came to.
#[derive(Debug)]
pub enum Step {
    /// Records.
    Chunk(Chunk),
    /// Nothing yet, but there is more to do.
    Working,
    /// All is read for now.
    Idle,
    /// All is read that was to be read.
    Finished,
}

/// All files of a source.
pub struct Files {
    name: Arc<str>,
    settings: FileSource,
    patterns: Patterns,
    mode: Mode,
    /// The one in front is being read.
    tails: VecDeque<Tail>,
    window: Window,
    turns: u64,
    /// What was read in this turn.
    turn_bytes: usize,
    serials: u64,
    next_scan: Instant,
    /// Paths that a warning was given for.
    warned: BTreeSet<PathBuf>,
    is_full_said: bool,
    /// New files were moved to their end, which no chunk has told yet.
    is_moved: bool,
    /// The largest batch so far: how much room the next one gets at once.
    data_bytes: usize,
    clock: Arc<dyn Clock>,
}

impl Files {
    /// Finds the files, and in them the places of the position.
    pub fn open(
        name: &str,
        settings: &FileSource,
        position: Option<&Position>,
        mode: Mode,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let patterns = Patterns::new(&settings.paths, &settings.exclude)
            .map_err(|(pattern, error)| Error::stop(format!("{pattern} is not a pattern: {error}")))?;
        let mut files = Files {
            name: name.into(),
            settings: settings.clone(),
            patterns,
            mode,
            tails: VecDeque::new(),
            window: Window::default(),
            turns: 0,
            turn_bytes: 0,
            serials: 0,
            next_scan: Instant::now() + settings.scan,
            warned: BTreeSet::new(),
            is_full_said: false,
            is_moved: false,
            data_bytes: 0,
            clock,
        };
        let scan = files.patterns.scan();
        if let Some(position) = position {
            let entries = entries_of(position)
                .ok_or_else(|| Error::stop("its committed position is not one that a file source wrote"))?;
            files.take_up(entries, &scan);
        }
        let start = if position.is_none() { settings.start } else { FileStart::Beginning };
        let nothing = files.nothing_found(&scan);
        files.update(scan, start)?;
        match nothing {
            Some(message) if files.tails.is_empty() && mode == Mode::Drain => return Err(Error::stop(message)),
            Some(message) if files.tails.is_empty() => tracing::warn!(source = name, "{message}; waiting for one"),
            _ => {}
        }
        if mode == Mode::Drain {
            files.bound()?;
        }
        Ok(files)
    }

    /// Reads the next chunk, if there is one.
    pub fn step(&mut self) -> Result<Step, Error> {
        if self.mode == Mode::Follow && Instant::now() >= self.next_scan {
            let scan = self.patterns.scan();
            self.update(scan, FileStart::Beginning)?;
            self.next_scan = Instant::now() + self.settings.scan;
        }
        if std::mem::take(&mut self.is_moved) {
            let chunk = Chunk { source: self.name.clone(), records: Batch::default(), position: self.position() };
            return Ok(Step::Chunk(chunk));
        }
        // One more than there are files: the one in front may have used up its turn.
        for _ in 0..=self.tails.len() {
            match self.read_front()? {
                Step::Idle => self.pass_turn(),
                other => return Ok(other),
            }
        }
        Ok(if self.mode == Mode::Drain && self.tails.iter().all(|tail| tail.is_done) {
            Step::Finished
        } else {
            Step::Idle
        })
    }

    /// Reads from the file in front. [`Step::Idle`]: it is the next one's turn.
    fn read_front(&mut self) -> Result<Step, Error> {
        if self.is_front_waiting() {
            return Ok(Step::Idle);
        }
        let records = BATCH_RECORDS_MAX.min(self.data_bytes / 16);
        let mut batch = Batch::with_capacity(records, self.data_bytes);
        let open_before = self.tails.front().is_some_and(Tail::is_open);
        let reached = self.try_read_front(&mut batch);
        if !open_before {
            self.close_some();
        }
        match reached {
            Ok(_) if !batch.is_empty() => {
                self.data_bytes = self.data_bytes.max(batch.columns().2.len());
                self.turn_bytes = self.turn_bytes.saturating_add(batch.bytes());
                Ok(Step::Chunk(self.chunk(batch)))
            }
            Ok(Reached::LongLine) => {
                self.pass_turn();
                Ok(Step::Working)
            }
            Ok(_) => Ok(Step::Idle),
            Err(error) => self.block_front(&error).map(|()| Step::Idle),
        }
    }

    fn try_read_front(&mut self, batch: &mut Batch) -> io::Result<Reached> {
        let Some(tail) = self.tails.front_mut() else { return Ok(Reached::End) };
        let line_bytes_max = self.settings.line_bytes_max;
        let terms = Terms { source: &self.name, line_bytes_max, timestamp: self.clock.now() };
        if self.turn_bytes > 0 && (self.turn_bytes > TURN_BYTES || tail.is_settled()) {
            return Ok(Reached::End);
        }
        if self.turn_bytes == 0 {
            match tail.look(&mut self.window, line_bytes_max)? {
                Look::New => tail.turn = self.turns,
                Look::Same => return finish(tail, self.mode, &terms, batch),
                Look::Lost => return find_again(tail, self.mode),
            }
        }
        let reached = tail.read(&mut self.window, &terms, batch)?;
        if reached == Reached::End && batch.is_empty() {
            return finish(tail, self.mode, &terms, batch);
        }
        Ok(reached)
    }

    fn chunk(&self, records: Batch) -> Chunk {
        let place = self.tails.front().and_then(|tail| tail.entry.place.clone());
        Chunk { source: place.unwrap_or_else(|| self.name.clone()), records, position: self.position() }
    }

    fn position(&self) -> Position {
        position_of(self.tails.iter().map(|tail| tail.encoded.as_slice()))
    }

    fn pass_turn(&mut self) {
        self.turn_bytes = 0;
        self.turns += 1;
        if !self.tails.is_empty() {
            self.tails.rotate_left(1);
        }
    }

    /// Closes what did not change for longest, where too many files are open.
    fn close_some(&mut self) {
        let mut open = self.tails.iter().filter(|tail| tail.is_open()).count();
        while open > FILES_OPEN_MAX {
            let closable = |tail: &&mut Tail| tail.is_open() && tail.is_settled() && !tail.is_rotated();
            let Some(tail) = self.tails.iter_mut().filter(closable).min_by_key(|tail| tail.turn) else { return };
            tail.close();
            open -= 1;
        }
    }

    /// Whether a file that had the same path must be read to its end before this one is begun.
    fn is_front_waiting(&self) -> bool {
        let Some(front) = self.tails.front() else { return false };
        let before = |tail: &Tail| tail.serial < front.serial && tail.entry.path == front.entry.path;
        let unread = |tail: &Tail| tail.is_rotated() && !tail.is_settled() && tail.blocked.is_none();
        front.blocked.is_some()
            || front.entry.position == 0 && self.tails.iter().any(|tail| before(tail) && unread(tail))
    }

    /// Keeps a file that cannot be read from holding up the others; in the end it is an error all the same.
    fn block_front(&mut self, error: &io::Error) -> Result<(), Error> {
        self.window.forget();
        let Some(tail) = self.tails.front_mut() else { return Ok(()) };
        let message = format!("{} cannot be read: {error}", tail.path.display());
        if self.mode == Mode::Drain {
            return Err(Error::stop(message));
        }
        if !tail.is_rotated() {
            tail.close();
        }
        if self.warned.insert(tail.path.clone()) {
            tracing::error!(source = %self.name, "{message}; trying again with every scan");
        }
        tail.blocked = Some(message);
        Ok(())
    }
}

/// Takes the bytes behind the last line of a file that will not grow any more.
fn finish(tail: &mut Tail, mode: Mode, terms: &Terms<'_>, batch: &mut Batch) -> io::Result<Reached> {
    let is_over = mode == Mode::Drain || tail.is_rotated() && tail.quiet_scans >= ROTATED_SCANS;
    if is_over && tail.has_rest() {
        tail.read_rest(terms, batch)?;
    }
    tail.is_done = mode == Mode::Drain;
    Ok(Reached::End)
}

/// Looks for a file that was renamed since the last scan. Where it is followed, the next scan does that.
fn find_again(tail: &mut Tail, mode: Mode) -> io::Result<Reached> {
    if mode == Mode::Drain {
        let found = find_renamed(tail.entry.key, &tail.entry.path).ok_or(io::ErrorKind::NotFound)?;
        tail.path = found.path;
    }
    Ok(Reached::End)
}
