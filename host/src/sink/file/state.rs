//! The file that is being written: append, cut back, commit, rotate. [`super::recover`] finds it on start.

use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::Access;

use super::disk;
use super::mark::{Identity, Mark, Tail};
use super::names::{Names, Rotated};
use super::recover::{put_back_all, recover};
use crate::clock::Clock;
use crate::config::{FileSink, Rotate};
use crate::record::{Position, Timestamp};

/// How many names are tried for a rotated file, should others take them at the same moment.
const ROTATED_TRIES_MAX: usize = 100;

/// A sink's file and what is due to it.
pub struct State {
    names: Names,
    rotate: Rotate,
    clock: Arc<dyn Clock>,
    /// `None`: the next record begins a file.
    current: Option<Current>,
    /// The mark of the last file, while there is no current one.
    last: Option<Mark>,
    /// Why the sink cannot go on without an operator.
    lost: Option<String>,
}

/// A file that is written to.
pub struct Current {
    file: File,
    identity: Identity,
    /// Where it is now: the sink's path, or its hidden name until its first commit.
    path: PathBuf,
    len: u64,
    committed: u64,
    begun: Timestamp,
    tail: Tail,
    /// Whether its name may not be on disk yet.
    is_name_new: bool,
}

impl State {
    /// Brings the disk to a committed position.
    pub fn open(settings: &FileSink, position: Option<Position>, clock: Arc<dyn Clock>) -> Result<State> {
        // A link is followed once, so that renaming changes the file and not the link.
        let is_link = settings.path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
        let path = if is_link { settings.path.canonicalize()? } else { settings.path.clone() };
        let names = Names::of(&path)?;
        disk::create_directory(names.directory())?;
        let mark = match position.filter(|position| *position != Position::default()) {
            None => None,
            Some(position) => Some(Mark::read(&position).ok_or_else(unreadable_position)?),
        };
        let current = recover(&names, mark, clock.now())?;
        check_path(&names, current.is_some())?;
        Ok(State { names, rotate: settings.rotate, clock, current, last: mark, lost: None })
    }

    /// Why the sink cannot go on without an operator.
    pub fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }

    /// The position behind what is held now; empty where there was never anything.
    pub fn position(&self) -> Position {
        let mark = self.current.as_ref().map(Current::mark).or(self.last);
        mark.map_or_else(Position::default, |mark| mark.position())
    }

    /// Appends bytes, or changes nothing.
    pub fn write(&mut self, bytes: &[u8]) -> Result<Position> {
        if let Some(lost) = &self.lost {
            return Err(Error::other(lost.clone()));
        }
        self.leave_moved_file()?;
        self.rotate_if_due();
        if self.current.is_none() {
            self.current = Some(self.begin()?);
        }
        self.check_length()?;
        if let Some(current) = &mut self.current {
            current.append(bytes)?;
        }
        Ok(self.position())
    }

    /// Forgets what was written behind a position.
    pub fn cut_back(&mut self, to: &Position) -> Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let same_file = Mark::read(to).filter(|mark| mark.identity == current.identity);
        // A position in the file before this one lies before all that was written to this one.
        let len = same_file.map_or(current.committed, |mark| mark.len);
        current.cut(len.clamp(current.committed, current.len))
    }

    /// Makes everything durable: the bytes, and the name of the file.
    pub fn sync(&mut self) -> Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        disk::sync(&current.file)?;
        if current.is_name_new {
            disk::sync_directory(self.names.directory())?;
            current.is_name_new = false;
        }
        Ok(())
    }

    /// Takes note that everything is committed: gives a new file its name, and rotates where it is due.
    pub fn committed(&mut self) {
        let Some(current) = &mut self.current else { return };
        current.committed = current.len;
        if let Err(error) = current.publish(&self.names, self.clock.now()) {
            let (path, to) = (current.path.display(), self.names.path().display());
            tracing::warn!("{path} could not be renamed to {to}, which is tried again at the next commit: {error}");
            return;
        }
        self.rotate_if_due();
    }

    /// Cuts off what is too much (of a failed write, or by another writer); what is missing cannot be mended.
    fn check_length(&mut self) -> Result<()> {
        let Some(current) = &self.current else { return Ok(()) };
        let found = current.file.metadata()?.len();
        if found > current.len {
            let surplus = found - current.len;
            tracing::warn!("{}: {surplus} bytes that no commit knows of are cut off", current.path.display());
            return disk::cut(&current.file, current.len);
        }
        if found < current.len {
            let short = too_short(found, current.len);
            self.lost = Some(format!("{}: {short}", self.names.path().display()));
            return Err(short);
        }
        Ok(())
    }

    fn is_between_commits(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.len == current.committed)
    }

    /// Lets a file go that an operator has moved away, deleted or replaced.
    fn leave_moved_file(&mut self) -> Result<()> {
        let Some(current) = self.current.as_ref().filter(|_| self.is_between_commits()) else { return Ok(()) };
        match current.path.metadata() {
            Ok(metadata) if Identity::of(&metadata) == current.identity => return Ok(()),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        tracing::info!("{} was moved away: going on in a new file", current.path.display());
        self.leave();
        Ok(())
    }

    fn leave(&mut self) {
        self.last = self.current.take().map(|current| current.mark()).or(self.last);
    }

    /// Begins a file under a hidden name: the one that is at the path, or a new one.
    fn begin(&self) -> Result<Current> {
        let path = self.names.path();
        disk::create_directory(self.names.directory())?;
        put_back_all(&self.names, self.clock.now())?;
        let (file, hidden) = match disk::open(path) {
            Ok(file) => {
                let hidden = self.names.pending_path(file.metadata()?.len());
                disk::rename(path, &hidden)?;
                (file, hidden)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let hidden = self.names.pending_path(0);
                (disk::create(&hidden)?, hidden)
            }
            Err(error) => return Err(error),
        };
        let len = file.metadata()?.len();
        Current::at(file, hidden, len, self.clock.now())
    }

    fn rotate_if_due(&mut self) {
        let Some(current) = self.current.as_ref().filter(|_| self.is_between_commits()) else { return };
        let now = self.clock.now();
        let by_size = self.rotate.bytes.is_some_and(|max| current.len >= max);
        let age_ms = u64::try_from(now.0.saturating_sub(current.begun.0)).unwrap_or_default();
        let by_time = self.rotate.every.is_some_and(|every| u128::from(age_ms) >= every.as_millis());
        if !(by_size || by_time) || current.len == 0 || current.path != self.names.path() {
            return;
        }
        match rotate(&self.names, now) {
            Ok(()) => self.leave(),
            Err(error) => tracing::warn!("{} could not be rotated: {error}", self.names.path().display()),
        }
        if let Err(error) = self.delete_old() {
            tracing::warn!("old files of {} could not be deleted: {error}", self.names.path().display());
        }
    }

    fn delete_old(&self) -> Result<()> {
        let Some(keep) = self.rotate.keep else { return Ok(()) };
        let rotated = self.names.rotated()?;
        let surplus = rotated.len().saturating_sub(keep as usize);
        rotated.iter().take(surplus).try_for_each(|(_, path)| disk::remove(path))
    }
}

/// Refuses at once what no write could succeed with.
fn check_path(names: &Names, is_open: bool) -> Result<()> {
    if !is_open && names.path().symlink_metadata().is_ok() {
        drop(disk::open(names.path())?);
    }
    rustix::fs::access(names.directory(), Access::WRITE_OK | Access::EXEC_OK)?;
    Ok(())
}

/// Renames what is at the sink's path to a rotated file's name.
fn rotate(names: &Names, now: Timestamp) -> Result<()> {
    let mut to: Rotated = names.next_rotated(now)?;
    for _ in 0..ROTATED_TRIES_MAX {
        match disk::rename(names.path(), &names.rotated_path(&to)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => to = to.after(),
            Err(error) => return Err(error),
            Ok(()) => return disk::sync_directory(names.directory()),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

impl Current {
    /// A file of which so many bytes are committed; what is behind them is not looked at.
    pub fn at(file: File, path: PathBuf, len: u64, begun: Timestamp) -> Result<Current> {
        let identity = Identity::of(&file.metadata()?);
        let tail = Tail::read(&file, len)?;
        Ok(Current { file, identity, path, len, committed: len, begun, tail, is_name_new: true })
    }

    /// The place that it has reached.
    pub fn mark(&self) -> Mark {
        Mark { identity: self.identity, len: self.len, begun: self.begun, tail: self.tail.hash() }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        // A file that was taken over may end within a line.
        let line_end: &[u8] = if self.tail.is_within_line() { b"\n" } else { b"" };
        let joined;
        let bytes = if line_end.is_empty() {
            bytes
        } else {
            joined = [line_end, bytes].concat();
            &joined
        };
        if let Err(error) = disk::write(&self.file, bytes, self.len) {
            // Where this fails too, the surplus goes before the next write.
            let _ = disk::cut(&self.file, self.len);
            return Err(error);
        }
        self.len += bytes.len() as u64;
        self.tail.push(bytes);
        Ok(())
    }

    /// Cuts the file to a length that it had.
    pub fn cut(&mut self, len: u64) -> Result<()> {
        disk::cut(&self.file, len)?;
        self.tail = Tail::read(&self.file, len)?;
        self.len = len;
        Ok(())
    }

    /// Gives the file the sink's path. Another file that has come to be there is rotated away.
    pub fn publish(&mut self, names: &Names, now: Timestamp) -> Result<()> {
        if self.path == names.path() {
            return Ok(());
        }
        match disk::rename(&self.path, names.path()) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                rotate(names, now)?;
                disk::rename(&self.path, names.path())?;
            }
            renamed => renamed?,
        }
        self.path = names.path().to_owned();
        self.is_name_new = true;
        Ok(())
    }
}

/// What to say when committed bytes are gone.
pub fn too_short(found: u64, committed: u64) -> Error {
    let gone = committed.saturating_sub(found);
    Error::new(
        ErrorKind::UnexpectedEof,
        format!(
            "it holds {found} bytes, expected the {committed} that were committed: the last {gone} are gone, cut off \
             by something else; move the file away to go on with a new one"
        ),
    )
}

fn unreadable_position() -> Error {
    Error::new(ErrorKind::InvalidData, "its committed position is not one that this version can read")
}
