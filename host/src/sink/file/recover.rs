//! Brings the files on disk to the committed mark, whatever a crash or an operator left. See the table in [`super`].

use std::io::{ErrorKind, Result};
use std::path::Path;

use super::disk;
use super::mark::{Identity, Mark};
use super::names::{Names, Pending};
use super::state::{Current, too_short};
use crate::record::Timestamp;

/// Cuts off what is not committed, gives files their names, and returns the file to go on with, if it is there.
pub fn recover(names: &Names, mark: Option<Mark>, now: Timestamp) -> Result<Option<Current>> {
    let mut current = None;
    for pending in names.pending()? {
        match named_by(&pending, mark)? {
            Some(mark) => current = Some(go_on(names, &pending.path, mark, now)?),
            None => put_back(names, &pending, now)?,
        }
    }
    let Some(mark) = mark.filter(|_| current.is_none()) else { return Ok(current) };
    current = at_path(names, mark, now)?;
    cut_moved(names, mark)?;
    Ok(current)
}

/// The mark, where it names a file that has not got its name yet.
fn named_by(pending: &Pending, mark: Option<Mark>) -> Result<Option<Mark>> {
    let identity = Identity::of(&pending.path.metadata()?);
    Ok(mark.filter(|mark| mark.identity == identity))
}

/// Cuts a file to the mark and goes on with it.
fn go_on(names: &Names, path: &Path, mark: Mark, now: Timestamp) -> Result<Current> {
    let file = disk::open(path)?;
    let found = file.metadata()?.len();
    if found < mark.len {
        return Err(too_short(found, mark.len));
    }
    let mut current = Current::at(file, path.to_owned(), mark.len, mark.begun)?;
    if found > mark.len {
        current.cut(mark.len)?;
    }
    current.publish(names, now)?;
    Ok(current)
}

/// Undoes the begin of every file that has not got its name; none of them is in use or committed.
pub fn put_back_all(names: &Names, now: Timestamp) -> Result<()> {
    names.pending()?.iter().try_for_each(|pending| put_back(names, pending, now))
}

/// Undoes the begin of a file that was never committed.
fn put_back(names: &Names, pending: &Pending, now: Timestamp) -> Result<()> {
    let file = disk::open(&pending.path)?;
    disk::cut(&file, pending.base.min(file.metadata()?.len()))?;
    match disk::rename(&pending.path, names.path()) {
        // The path has been given to another file. An empty one has nothing to keep.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && pending.base == 0 => disk::remove(&pending.path),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let to = names.next_rotated(now)?;
            disk::rename(&pending.path, &names.rotated_path(&to))
        }
        renamed => renamed,
    }
}

/// Goes on with the file at the path, where it holds what was committed.
fn at_path(names: &Names, mark: Mark, now: Timestamp) -> Result<Option<Current>> {
    let file = match disk::open(names.path()) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let metadata = file.metadata()?;
    if mark.is_in(&file)? {
        drop(file);
        return go_on(names, names.path(), mark, now).map(Some);
    }
    if Identity::of(&metadata) == mark.identity && metadata.len() < mark.len {
        return Err(too_short(metadata.len(), mark.len));
    }
    tracing::info!("{} is not the file that was written before: going on behind what it holds", names.path().display());
    Ok(None)
}

/// Cuts the file back where an operator has moved it after the crash.
fn cut_moved(names: &Names, mark: Mark) -> Result<()> {
    for path in names.siblings()? {
        let metadata = path.metadata()?;
        if Identity::of(&metadata) != mark.identity || metadata.len() <= mark.len {
            continue;
        }
        let file = disk::open(&path)?;
        if mark.len == 0 || mark.is_in(&file)? {
            tracing::info!("{} was moved away with bytes that were not committed: they are cut off", path.display());
            disk::cut(&file, mark.len)?;
        }
    }
    Ok(())
}
