//! One file that is followed: whether it is still the file that was read, and what there is to read in it.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::OFlags;

use super::identity::{FINGERPRINT_BYTES, FileKey, Fingerprint, place, read_full_at};
use super::read::{Progress, Reached, Reading, last_line_start};
use super::table::Entry;
use super::window::Window;
use crate::config::FileStart;
use crate::record::{Batch, Timestamp};

/// What a file looks like from outside. Where this has not changed, there is nothing new inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    len: u64,
    modified: Option<SystemTime>,
}

/// What a look at a file came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// There may be something to read.
    New,
    /// It is as it was.
    Same,
    /// It is closed, and its path leads nowhere, or to another file.
    Lost,
}

/// What is the same for every file of a source, at the time of a read.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The source's name.
    pub source: &'a str,
    /// Longer lines are cut.
    pub line_bytes_max: usize,
    /// The time of the records.
    pub timestamp: Timestamp,
}

/// A file that is followed.
#[derive(Debug)]
pub struct Tail {
    /// What was read of it; what the position holds.
    pub entry: Entry,
    /// The entry as bytes.
    pub encoded: Vec<u8>,
    /// Where it lies now.
    pub path: PathBuf,
    /// Counts the files in the order in which they were found.
    pub serial: u64,
    /// It is no longer among the files that match: renamed away, or deleted.
    pub is_missing: bool,
    /// How many scans in a row found it renamed or missing, and read to its end.
    pub quiet_scans: u32,
    /// Why it could not be read; not tried again before the next scan.
    pub blocked: Option<String>,
    /// When it held something new last, in turns.
    pub turn: u64,
    /// Where to stop; no limit where it is followed.
    pub end: u64,
    /// It was read to where it was to be read.
    pub is_done: bool,
    headers: Vec<u8>,
    handle: Option<File>,
    scanned: u64,
    /// How it looked when this turn at it began.
    looked: Option<Stamp>,
    /// How it looked when all that it held was read.
    settled: Option<Stamp>,
}

impl Tail {
    /// A file to be read from its entry's position on.
    pub fn new(entry: Entry, path: PathBuf, serial: u64, headers: Vec<u8>) -> Self {
        Tail {
            encoded: if entry.is_begun() { entry.encode() } else { Vec::new() },
            scanned: entry.position,
            entry,
            path,
            serial,
            is_missing: false,
            quiet_scans: 0,
            blocked: None,
            turn: 0,
            end: u64::MAX,
            is_done: false,
            headers,
            handle: None,
            looked: None,
            settled: None,
        }
    }

    /// Whether it no longer lies where it was found first: whoever wrote to it will go on in a new file.
    pub fn is_rotated(&self) -> bool {
        self.is_missing || self.path != self.entry.path
    }

    /// Whether all complete lines were read when it was looked at last.
    pub fn is_settled(&self) -> bool {
        self.is_done || self.settled.is_some()
    }

    /// Has it looked at again, even if it seems unchanged.
    pub fn unsettle(&mut self) {
        self.settled = None;
        self.quiet_scans = 0;
    }

    /// Whether bytes are left behind the last complete line.
    pub fn has_rest(&self) -> bool {
        self.scanned > self.entry.position
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.handle.is_some()
    }

    /// Sets where reading is to stop: where the file ends now.
    pub fn bound(&mut self) -> io::Result<()> {
        self.end = self.stamp()?.map_or(u64::MAX, |stamp| stamp.len);
        Ok(())
    }

    /// Closes it; it is opened again when it changes.
    pub fn close(&mut self) {
        self.handle = None;
    }

    /// Whether it is open and its last name is gone. What is written to it now, nobody will ever find.
    pub fn is_deleted(&self) -> bool {
        let nlink = |file: &File| file.metadata().map(|metadata| metadata.nlink());
        self.handle.as_ref().is_some_and(|file| nlink(file).is_ok_and(|nlink| nlink == 0))
    }

    /// Opens it, and where it is a new one that is to be read from its end, moves there. Where its path leads to another
    /// file by now, it is left closed: the next scan tells where it went.
    pub fn open(&mut self, start: FileStart, line_bytes_max: usize) -> io::Result<()> {
        if self.handle.is_some() {
            return Ok(());
        }
        // Without O_NONBLOCK, a pipe that took the file's place would make the opening wait for a writer.
        let nonblocking = OFlags::NONBLOCK.bits() as i32;
        let file = match OpenOptions::new().read(true).custom_flags(nonblocking).open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let metadata = file.metadata()?;
        if FileKey::of(&metadata) != self.entry.key {
            return Ok(());
        }
        if start == FileStart::End && !self.entry.is_begun() {
            self.entry.position = last_line_start(&file, metadata.len(), line_bytes_max)?;
            self.entry.fingerprint = Fingerprint::read(&file, self.entry.position)?;
            self.encoded = self.entry.encode();
            self.scanned = self.entry.position;
        }
        self.handle = Some(file);
        Ok(())
    }

    /// Looks whether there may be something to read. Begins again at 0 where the file is not what was read: it was
    /// truncated, or written anew.
    pub fn look(&mut self, window: &mut Window, line_bytes_max: usize) -> io::Result<Look> {
        if self.is_done {
            return Ok(Look::Same);
        }
        let Some(stamp) = self.stamp()? else { return Ok(Look::Lost) };
        if self.settled == Some(stamp) {
            return Ok(Look::Same);
        }
        self.open(FileStart::Beginning, line_bytes_max)?;
        let Some(file) = &self.handle else { return Ok(Look::Lost) };
        let position = self.entry.position;
        if stamp.len < position || Fingerprint::read(file, position)? != self.entry.fingerprint {
            self.begin_again(window);
        }
        self.looked = Some(stamp);
        if stamp.len > self.entry.position {
            return Ok(Look::New);
        }
        self.settled = Some(stamp);
        Ok(Look::Same)
    }

    /// Reads lines into a batch. Where it fails, neither the batch nor the progress count.
    pub fn read(&mut self, window: &mut Window, terms: &Terms<'_>, batch: &mut Batch) -> io::Result<Reached> {
        let before = self.progress();
        let mut progress = before;
        let Some(reading) = self.reading(terms) else { return Ok(Reached::End) };
        let reached = reading.lines(&mut progress, window, batch)?;
        self.advance(progress, terms, batch)?;
        if progress != before {
            self.quiet_scans = 0;
        }
        self.settled = if reached == Reached::End { self.looked } else { None };
        Ok(reached)
    }

    /// Takes the bytes behind the last complete line as a record. Where it fails, nothing has happened.
    pub fn read_rest(&mut self, terms: &Terms<'_>, batch: &mut Batch) -> io::Result<()> {
        let mut progress = self.progress();
        let Some(reading) = self.reading(terms) else { return Ok(()) };
        reading.rest(&mut progress, batch)?;
        self.advance(progress, terms, batch)
    }

    fn stamp(&self) -> io::Result<Option<Stamp>> {
        let stamp = |metadata: Metadata| Stamp { len: metadata.len(), modified: metadata.modified().ok() };
        if let Some(file) = &self.handle {
            return file.metadata().map(|metadata| Some(stamp(metadata)));
        }
        match fs::metadata(&self.path) {
            Ok(metadata) if FileKey::of(&metadata) == self.entry.key => Ok(Some(stamp(metadata))),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn begin_again(&mut self, window: &mut Window) {
        let path = &self.path;
        tracing::info!(path = %path.display(), "the file was truncated or written anew: reading from its beginning");
        window.forget();
        self.entry.generation += 1;
        self.entry.position = 0;
        self.entry.fingerprint = Fingerprint::EMPTY;
        self.entry.unfinished = false;
        self.entry.place = None;
        self.encoded = self.entry.encode();
        self.scanned = 0;
    }

    fn progress(&self) -> Progress {
        Progress { position: self.entry.position, scanned: self.scanned, unfinished: self.entry.unfinished }
    }

    fn reading<'a>(&'a self, terms: &Terms<'_>) -> Option<Reading<'a>> {
        Some(Reading {
            file: self.handle.as_ref()?,
            key: self.entry.key,
            headers: &self.headers,
            timestamp: terms.timestamp,
            line_bytes_max: terms.line_bytes_max,
            end: self.end,
        })
    }

    /// Makes the progress of a read that succeeded the tail's own.
    fn advance(&mut self, progress: Progress, terms: &Terms<'_>, batch: &Batch) -> io::Result<()> {
        let Some(file) = &self.handle else { return Ok(()) };
        if progress.position > self.entry.position {
            let from = self.entry.position;
            let fingerprint = self.entry.fingerprint.advance(from, file, progress.position)?;
            if self.entry.place.is_none() && !batch.is_empty() {
                self.entry.place = Some(self.make_place(file, terms.source, progress.position)?);
            }
            self.entry.fingerprint = fingerprint;
            self.entry.position = progress.position;
            self.entry.unfinished = progress.unfinished;
            self.encoded = self.entry.encode();
        }
        self.scanned = progress.scanned;
        Ok(())
    }

    fn make_place(&self, file: &File, source: &str, position: u64) -> io::Result<Arc<str>> {
        let mut head = vec![0; position.min(FINGERPRINT_BYTES as u64) as usize];
        let filled = read_full_at(file, &mut head, 0)?;
        head.truncate(filled);
        let first_line = head.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
        let born = file.metadata()?.created().ok();
        Ok(place(source, self.entry.key, self.entry.generation, born, first_line).into())
    }
}
