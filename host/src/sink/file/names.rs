//! The names that a file sink uses beside its path. Reads directories, changes nothing.
//!
//! - `.NAME.uncommitted-BASE`: a file between its begin and its first commit. BASE is the length that it had when the
//!   sink took it over, 0 for a new one.
//! - `NAME.YYYYmmddTHHMMSSZ`, `NAME.YYYYmmddTHHMMSSZ.N`: a rotated file. Their order by time and N is the order of
//!   their records, even when the clock goes back.

use std::ffi::{OsStr, OsString};
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

use crate::record::Timestamp;

const STAMP_FORMAT: &str = "%Y%m%dT%H%M%SZ";
const STAMP_PATTERN: &str = "dddddddd.dddddd.";

/// The path of a sink's file, and the names around it.
#[derive(Debug, Clone)]
pub struct Names {
    path: PathBuf,
    directory: PathBuf,
    name: OsString,
}

/// A file between its begin and its first commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Where it is.
    pub path: PathBuf,
    /// The length that it had before.
    pub base: u64,
}

/// What orders rotated files: the time in their name, and the number behind it (0: none).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rotated {
    stamp: String,
    number: u64,
}

impl Names {
    /// The names around a path, which must end in a file name.
    pub fn of(path: &Path) -> Result<Names> {
        let no_name = || Error::new(ErrorKind::InvalidInput, "it has no file name");
        let name = path.file_name().ok_or_else(no_name)?.to_owned();
        let directory = path.parent().ok_or_else(no_name)?.to_owned();
        Ok(Names { path: path.to_owned(), directory, name })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that it is in.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where a file stays until its first commit.
    pub fn pending_path(&self, base: u64) -> PathBuf {
        let mut name = self.pending_prefix();
        name.push(base.to_string());
        self.directory.join(name)
    }

    fn pending_prefix(&self) -> OsString {
        [OsStr::new("."), &self.name, OsStr::new(".uncommitted-")].into_iter().collect()
    }

    /// The files that have not seen their first commit.
    pub fn pending(&self) -> Result<Vec<Pending>> {
        let prefix = self.pending_prefix();
        let base = |name: &OsStr| suffix(name, &prefix)?.parse().ok();
        Ok(self.files()?.filter_map(|(name, path)| Some(Pending { path, base: base(&name)? })).collect())
    }

    /// The rotated files, in the order of their records.
    pub fn rotated(&self) -> Result<Vec<(Rotated, PathBuf)>> {
        let prefix = self.rotated_prefix();
        let rotated = |name: &OsStr| Rotated::read(suffix(name, &prefix)?);
        let mut all: Vec<_> = self.files()?.filter_map(|(name, path)| Some((rotated(&name)?, path))).collect();
        all.sort();
        Ok(all)
    }

    fn rotated_prefix(&self) -> OsString {
        [&self.name, OsStr::new(".")].into_iter().collect()
    }

    /// The name for the next rotated file: after all that there are.
    pub fn next_rotated(&self, now: Timestamp) -> Result<Rotated> {
        let next = Rotated { stamp: stamp(now), number: 0 };
        Ok(match self.rotated()?.pop() {
            Some((last, _)) if last >= next => last.after(),
            _ => next,
        })
    }

    /// Where a rotated file is.
    pub fn rotated_path(&self, rotated: &Rotated) -> PathBuf {
        let mut name = self.rotated_prefix();
        name.push(&rotated.stamp);
        if rotated.number > 0 {
            name.push(format!(".{}", rotated.number));
        }
        self.directory.join(name)
    }

    /// The files whose names begin with the file's name, itself left out: what operators and their tools make of it when
    /// they move it.
    pub fn siblings(&self) -> Result<Vec<PathBuf>> {
        let is_sibling = |name: &OsStr| {
            let longer = name.as_encoded_bytes().strip_prefix(self.name.as_encoded_bytes());
            longer.is_some_and(|rest| !rest.is_empty())
        };
        Ok(self.files()?.filter(|(name, _)| is_sibling(name)).map(|(_, path)| path).collect())
    }

    fn files(&self) -> Result<impl Iterator<Item = (OsString, PathBuf)>> {
        let entries = std::fs::read_dir(&self.directory)?.collect::<Result<Vec<_>>>()?;
        let files = entries.into_iter().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
        Ok(files.map(|entry| (entry.file_name(), entry.path())))
    }
}

impl Rotated {
    fn read(suffix: &str) -> Option<Rotated> {
        let (stamp, rest) = suffix.split_at_checked(STAMP_PATTERN.len())?;
        let digits_agree = stamp.chars().zip(STAMP_PATTERN.chars()).all(|(c, p)| c.is_ascii_digit() == (p == 'd'));
        let letters_agree = stamp.chars().filter(|c| !c.is_ascii_digit()).eq(['T', 'Z']);
        let number = if rest.is_empty() { Some(0) } else { rest.strip_prefix('.')?.parse().ok().filter(|n| *n > 0) };
        let number = number.filter(|_| digits_agree && letters_agree)?;
        Some(Rotated { stamp: stamp.to_owned(), number })
    }

    /// The next name at the same time.
    pub fn after(self) -> Rotated {
        Rotated { number: self.number + 1, ..self }
    }
}

fn suffix<'a>(name: &'a OsStr, prefix: &OsStr) -> Option<&'a str> {
    std::str::from_utf8(name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes())?).ok()
}

fn stamp(now: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(now.0).unwrap_or_default().strftime(STAMP_FORMAT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_with(files: &[&str]) -> (tempfile::TempDir, Names) {
        let directory = tempfile::tempdir().unwrap();
        files.iter().for_each(|name| std::fs::write(directory.path().join(name), "").unwrap());
        let names = Names::of(&directory.path().join("out.log")).unwrap();
        (directory, names)
    }

    fn file_names(paths: impl IntoIterator<Item = PathBuf>) -> Vec<String> {
        paths.into_iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn rotated_files_are_told_from_others_and_ordered() {
        let (_directory, names) = names_with(&[
            "out.log",
            "out.log.1",
            "out.log.20260301T120000Z.10",
            "out.log.20260301T120000Z.9",
            "out.log.20260301T120000Z",
            "out.log.20260228T235959Z",
            "out.log.20260301T120000Z.gz",
            "out.log.20260301T120000Z.0",
            "out.log.20260301X120000Z",
            "out.log.2026030AT120000Z",
            "other.log.20260301T120000Z",
            "out.log.20260301T1200000",
        ]);
        let rotated = file_names(names.rotated().unwrap().into_iter().map(|(_, path)| path));
        let expected = ["20260228T235959Z", "20260301T120000Z", "20260301T120000Z.9", "20260301T120000Z.10"];
        assert_eq!(rotated, expected.map(|stamp| format!("out.log.{stamp}")));
        assert_eq!(names.siblings().unwrap().len(), 10);
    }

    #[test]
    fn the_next_rotated_name_is_behind_all_others_even_when_the_clock_goes_back() {
        let (directory, names) = names_with(&[]);
        let noon = Timestamp(1_772_366_400_000);
        for (now, expected) in [
            (noon, "out.log.20260301T120000Z"),
            (noon, "out.log.20260301T120000Z.1"),
            (Timestamp(0), "out.log.20260301T120000Z.2"),
            (Timestamp(noon.0 + 1000), "out.log.20260301T120001Z"),
        ] {
            let path = names.rotated_path(&names.next_rotated(now).unwrap());
            assert_eq!(path, directory.path().join(expected));
            std::fs::write(path, "").unwrap();
        }
    }

    #[test]
    fn pending_files_tell_their_base() {
        let (directory, names) = names_with(&[".out.log.uncommitted-x", ".other.log.uncommitted-1", "out.log"]);
        assert_eq!(names.pending().unwrap(), []);
        let path = names.pending_path(17);
        assert_eq!(path, directory.path().join(".out.log.uncommitted-17"));
        std::fs::write(&path, "").unwrap();
        assert_eq!(names.pending().unwrap(), [Pending { path, base: 17 }]);
    }

    #[test]
    fn a_path_without_a_file_name_is_refused() {
        assert!(Names::of(Path::new("/")).is_err());
        assert!(Names::of(Path::new("/a/..")).is_err());
    }
}
