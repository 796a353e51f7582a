//! Every change that the file sink makes on disk, one function a system call. Decides nothing.
//!
//! They stand together so that a test can end the "process" between any two of them, or fill the disk: see [`fault`].

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{CWD, FlockOperation, OFlags, RenameFlags};
use rustix::io::Errno;

/// Opens a regular file that exists, for reading and writing.
pub fn open(path: &Path) -> Result<File> {
    // A pipe would make us wait for its other end; a link would be renamed instead of the file.
    let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits() as i32;
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    lock(file)
}

/// Creates a file that must not exist.
pub fn create(path: &Path) -> Result<File> {
    fault::step()?;
    lock(OpenOptions::new().read(true).write(true).create_new(true).open(path)?)
}

/// Holds off other processes that write the same file and ask, as another appliance does.
fn lock(file: File) -> Result<File> {
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(Error::new(ErrorKind::ResourceBusy, "another process has locked it")),
        // Some network file systems have no locks.
        Err(Errno::NOTSUP | Errno::NOLCK | Errno::NOSYS) => Ok(file),
        Err(error) => Err(error.into()),
    }
}

/// Makes a directory and those above it, durably.
pub fn create_directory(directory: &Path) -> Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(above) = directory.parent() {
        create_directory(above)?;
        fault::step()?;
        match std::fs::create_dir(directory) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && directory.is_dir() => {}
            made => made?,
        }
        sync_directory(above)?;
    }
    Ok(())
}

/// Writes bytes at a place, all of them unless it fails.
pub fn write(file: &File, bytes: &[u8], at: u64) -> Result<()> {
    let room = fault::room(bytes.len());
    let (fitting, rest) = bytes.split_at(room);
    file.write_all_at(fitting, at)?;
    fault::step()?;
    if rest.is_empty() { Ok(()) } else { Err(ErrorKind::StorageFull.into()) }
}

/// Cuts a file to a length.
pub fn cut(file: &File, len: u64) -> Result<()> {
    fault::step()?;
    file.set_len(len)
}

/// Makes a file's bytes and length durable.
pub fn sync(file: &File) -> Result<()> {
    fault::step()?;
    file.sync_data()
}

/// Makes the names in a directory durable.
pub fn sync_directory(directory: &Path) -> Result<()> {
    fault::step()?;
    File::open(directory)?.sync_all()
}

/// Renames a file to a name that is free, or fails with [`ErrorKind::AlreadyExists`].
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fault::step()?;
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system can do it in one step; nobody else uses our names, so two steps do as well.
        Err(Errno::INVAL | Errno::NOSYS) if to.symlink_metadata().is_ok() => Err(ErrorKind::AlreadyExists.into()),
        Err(Errno::INVAL | Errno::NOSYS) => std::fs::rename(from, to),
        renamed => Ok(renamed?),
    }
}

/// Removes a file.
pub fn remove(path: &Path) -> Result<()> {
    fault::step()?;
    std::fs::remove_file(path)
}

#[cfg(not(test))]
mod fault {
    pub fn step() -> std::io::Result<()> {
        Ok(())
    }

    pub fn room(bytes: usize) -> usize {
        bytes
    }
}

/// Crashes and full disks for tests, by thread.
#[cfg(test)]
pub mod fault {
    use std::cell::Cell;
    use std::io::{Error, Result};

    thread_local! {
        static STEPS: Cell<Option<u32>> = const { Cell::new(None) };
        static ROOM: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// Lets this many changes happen, then none: the process has ended. `None`: all.
    pub fn crash_after(steps: Option<u32>) {
        STEPS.set(steps);
    }

    /// How many of the granted changes were not made.
    pub fn steps_left() -> Option<u32> {
        STEPS.get()
    }

    /// Lets this many bytes be written, then the disk is full. `None`: it never is.
    pub fn full_after(bytes: Option<usize>) {
        ROOM.set(bytes);
    }

    pub fn step() -> Result<()> {
        match STEPS.get() {
            None => Ok(()),
            Some(0) => Err(Error::other("the test has crashed the process")),
            Some(left) => {
                STEPS.set(Some(left - 1));
                Ok(())
            }
        }
    }

    /// A crash in the midst of a write leaves half of it.
    pub fn room(bytes: usize) -> usize {
        let room = match STEPS.get() {
            Some(0) => 0,
            Some(1) => bytes / 2,
            _ => bytes,
        };
        let fitting = room.min(ROOM.get().unwrap_or(usize::MAX));
        ROOM.set(ROOM.get().map(|left| left - fitting));
        fitting
    }
}
