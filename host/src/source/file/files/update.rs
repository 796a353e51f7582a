//! What a scan changes: new files, renamed ones, and those that are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::super::identity::{FileKey, Fingerprint};
use super::super::scan::{Found, Scan, find_renamed};
use super::super::table::Entry;
use super::super::tail::Tail;
use super::{FILES_MAX, FILES_OPEN_MAX, Files, MISSING_SCANS, ROTATED_SCANS};
use crate::config::FileStart;
use crate::record::push_header;
use crate::source::{Error, HEADER_PATH, Mode};

impl Files {
    /// Finds the files that a position speaks of, wherever in their directories they lie now.
    pub(super) fn take_up(&mut self, entries: Vec<Entry>, scan: &Scan) {
        let known: BTreeSet<FileKey> = entries.iter().map(|entry| entry.key).collect();
        let found: BTreeMap<FileKey, &Found> = scan.found.iter().map(|found| (found.key, found)).collect();
        for mut entry in entries {
            if let Some(found) = found.get(&entry.key) {
                self.add(entry, found.path.clone());
                continue;
            }
            // A device may get another number when the machine starts again; the fingerprint tells whether it did.
            let renumbered = |other: &&Found| {
                other.key.inode == entry.key.inode && other.path == entry.path && !known.contains(&other.key)
            };
            match (find_renamed(entry.key, &entry.path), scan.found.iter().find(renumbered)) {
                (Some(renamed), _) if renamed.path != entry.path => self.add(entry, renamed.path),
                (Some(_), _) => {
                    tracing::info!(source = %self.name, path = %entry.path.display(), "the file is no longer asked for");
                }
                (None, Some(found)) => {
                    entry.key = found.key;
                    self.add(entry, found.path.clone());
                }
                (None, None) => warn_gone(&self.name, &entry),
            }
        }
    }

    /// Takes in what a scan found. New files begin at `start`.
    pub(super) fn update(&mut self, scan: Scan, start: FileStart) -> Result<(), Error> {
        self.warn_of(&scan.failed)?;
        let front = self.tails.front().map(|tail| tail.serial);
        let found: BTreeMap<FileKey, &Found> = scan.found.iter().map(|found| (found.key, found)).collect();
        for tail in &mut self.tails {
            place_anew(tail, found.get(&tail.entry.key).copied());
        }
        self.forget_gone();
        let known: BTreeSet<FileKey> = self.tails.iter().map(|tail| tail.entry.key).collect();
        for found in scan.found.into_iter().filter(|found| !known.contains(&found.key)) {
            self.begin(found, start);
        }
        if self.tails.front().map(|tail| tail.serial) != front {
            self.turn_bytes = 0;
        }
        Ok(())
    }

    /// Bounds what is read of each file to what it holds now.
    pub(super) fn bound(&mut self) -> Result<(), Error> {
        let line_bytes_max = self.settings.line_bytes_max;
        for (nth, tail) in self.tails.iter_mut().enumerate() {
            let opened = if nth < FILES_OPEN_MAX { tail.open(FileStart::Beginning, line_bytes_max) } else { Ok(()) };
            let bounded = opened.and_then(|()| tail.bound());
            bounded.map_err(|error| Error::stop(format!("{} cannot be read: {error}", tail.path.display())))?;
        }
        Ok(())
    }

    /// What to say where the patterns gave no file.
    pub(super) fn nothing_found(&self, scan: &Scan) -> Option<String> {
        let patterns = self.patterns.describe();
        match (scan.found.is_empty(), scan.matched) {
            (false, _) => None,
            (true, 0) => Some(format!("no file matches {patterns}")),
            (true, _) => Some(format!("what matches {patterns} is excluded, or no regular file")),
        }
    }

    fn begin(&mut self, found: Found, start: FileStart) {
        if self.tails.len() >= FILES_MAX {
            if !std::mem::replace(&mut self.is_full_said, true) {
                tracing::warn!(source = %self.name, "more than {FILES_MAX} files match: the others wait until some are gone");
            }
            return;
        }
        let entry = Entry {
            key: found.key,
            generation: 0,
            position: 0,
            fingerprint: Fingerprint::EMPTY,
            unfinished: false,
            place: None,
            path: found.path.clone(),
        };
        self.add(entry, found.path);
        if start == FileStart::End {
            self.move_to_end();
        }
    }

    /// Moves the newest file to its end.
    fn move_to_end(&mut self) {
        let Some(tail) = self.tails.back_mut() else { return };
        match tail.open(FileStart::End, self.settings.line_bytes_max) {
            Ok(()) => self.is_moved |= tail.entry.is_begun(),
            Err(error) => {
                let path = tail.path.display();
                tracing::error!(source = %self.name, "{path} cannot be read: {error}; it will be read from its beginning");
            }
        }
        self.close_some();
    }

    fn add(&mut self, entry: Entry, path: PathBuf) {
        let headers = if self.patterns.is_one_path() { Vec::new() } else { path_header(&entry.path) };
        self.serials += 1;
        self.tails.push_back(Tail::new(entry, path, self.serials, headers));
    }

    fn forget_gone(&mut self) {
        let name = &self.name;
        self.tails.retain(|tail| {
            let scans = if tail.is_deleted() { ROTATED_SCANS } else { MISSING_SCANS };
            let is_read = tail.is_settled() && !tail.has_rest();
            let is_lost = !tail.is_open() && !tail.path.exists();
            if tail.is_missing && is_lost && !tail.is_settled() {
                warn_gone(name, &tail.entry);
            }
            !tail.is_missing || !(is_lost || is_read && tail.quiet_scans > scans)
        });
    }

    fn warn_of(&mut self, failed: &[(PathBuf, io::Error)]) -> Result<(), Error> {
        let failing = |path: &PathBuf| failed.iter().any(|(other, _)| other == path);
        let blocked: BTreeSet<&PathBuf> =
            self.tails.iter().filter(|tail| tail.blocked.is_some()).map(|tail| &tail.path).collect();
        self.warned.retain(|path| blocked.contains(path) || failing(path));
        for (path, error) in failed {
            let message = format!("{} cannot be looked at: {error}", path.display());
            if self.mode == Mode::Drain {
                return Err(Error::stop(message));
            }
            if self.warned.insert(path.clone()) {
                tracing::error!(source = %self.name, "{message}; trying again with every scan");
            }
        }
        Ok(())
    }
}

/// Notes where a file lies now, or that it does not match any more.
fn place_anew(tail: &mut Tail, found: Option<&Found>) {
    let was = (tail.is_missing, tail.path.clone());
    tail.blocked = None;
    tail.is_missing = found.is_none();
    match found {
        Some(found) => tail.path.clone_from(&found.path),
        None if !tail.is_open() => {
            if let Some(renamed) = find_renamed(tail.entry.key, &tail.entry.path) {
                tail.path = renamed.path;
            }
        }
        None => {}
    }
    if was != (tail.is_missing, tail.path.clone()) {
        tail.unsettle();
    } else if tail.is_rotated() && tail.is_settled() {
        tail.quiet_scans = tail.quiet_scans.saturating_add(1);
    }
}

fn path_header(path: &Path) -> Vec<u8> {
    let mut headers = Vec::new();
    push_header(&mut headers, HEADER_PATH, Some(path.as_os_str().as_bytes()));
    headers
}

fn warn_gone(source: &str, entry: &Entry) {
    let path = entry.path.display();
    tracing::warn!(source, "{path} is gone: what it held beyond byte {} was not read", entry.position);
}
