//! Which files a source means: patterns, minus what is excluded. Looks at names and metadata, never inside.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use glob::{GlobError, MatchOptions, Pattern, PatternError};

use super::identity::FileKey;

/// A shell's rules: `*` and `?` stay within a directory and do not match a leading dot.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// What to look for.
#[derive(Debug)]
pub struct Patterns {
    paths: Vec<String>,
    exclude: Vec<Pattern>,
}

/// A file that matches.
#[derive(Debug, Clone)]
pub struct Found {
    /// Which file.
    pub key: FileKey,
    /// Its first path, where it has several.
    pub path: PathBuf,
    /// When it was written last.
    pub modified: SystemTime,
}

/// What a look at the patterns gave.
#[derive(Debug, Default)]
pub struct Scan {
    /// Regular files, each once, the one that was written longest ago first.
    pub found: Vec<Found>,
    /// Paths that could not be looked at.
    pub failed: Vec<(PathBuf, io::Error)>,
    /// How many paths matched before the excluded ones were taken out.
    pub matched: usize,
}

impl Patterns {
    /// Checks the patterns; an error comes with the pattern that it is about.
    pub fn new(paths: &[String], exclude: &[String]) -> Result<Self, (String, PatternError)> {
        let parse = |text: &String| Pattern::new(text).map_err(|error| (text.clone(), error));
        paths.iter().try_for_each(|path| parse(path).map(drop))?;
        Ok(Patterns { paths: paths.to_vec(), exclude: exclude.iter().map(parse).collect::<Result<_, _>>()? })
    }

    /// Whether at most one file can match.
    pub fn is_one_path(&self) -> bool {
        matches!(self.paths.as_slice(), [path] if !path.contains(['*', '?', '[']))
    }

    /// The patterns as a person wrote them.
    pub fn describe(&self) -> String {
        self.paths.join(", ")
    }

    /// Looks for files.
    pub fn scan(&self) -> Scan {
        let mut scan = Scan::default();
        let mut by_key = BTreeMap::new();
        for pattern in &self.paths {
            // The pattern was checked when it was taken in.
            let Ok(paths) = glob::glob_with(pattern, OPTIONS) else { continue };
            for path in paths {
                scan.matched += 1;
                match path.map_err(of_glob).and_then(|path| self.look(path)) {
                    Ok(Some(found)) => _ = by_key.entry(found.key).or_insert(found),
                    Ok(None) => {}
                    Err(failed) => scan.failed.push(failed),
                }
            }
        }
        scan.found = by_key.into_values().collect();
        scan.found.sort_by(|a, b| (a.modified, &a.path).cmp(&(b.modified, &b.path)));
        scan
    }

    fn look(&self, path: PathBuf) -> Result<Option<Found>, (PathBuf, io::Error)> {
        if self.exclude.iter().any(|pattern| pattern.matches_path_with(&path, OPTIONS)) {
            return Ok(None);
        }
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(Some(found(path, &metadata))),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err((path, error)),
        }
    }
}

/// Looks for a file that was renamed within its directory.
pub fn find_renamed(key: FileKey, known_as: &Path) -> Option<Found> {
    let entries = fs::read_dir(known_as.parent()?).ok()?;
    let mut same_inode = entries.filter_map(Result::ok).filter(|entry| entry.ino() == key.inode);
    same_inode.find_map(|entry| {
        let metadata = entry.metadata().ok()?;
        (metadata.is_file() && FileKey::of(&metadata) == key).then(|| found(entry.path(), &metadata))
    })
}

fn found(path: PathBuf, metadata: &Metadata) -> Found {
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    Found { key: FileKey::of(metadata), path, modified }
}

fn of_glob(error: GlobError) -> (PathBuf, io::Error) {
    (error.path().to_owned(), error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(paths: &[&str], exclude: &[&str], dir: &Path) -> Vec<String> {
        let absolute = |texts: &[&str]| -> Vec<String> {
            texts.iter().map(|text| dir.join(text).to_str().unwrap().to_owned()).collect()
        };
        let scan = Patterns::new(&absolute(paths), &absolute(exclude)).unwrap().scan();
        assert!(scan.failed.is_empty());
        let name = |found: &Found| found.path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
        let mut names: Vec<_> = scan.found.iter().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn patterns_match_regular_files_as_a_shell_does() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("sub/deep")).unwrap();
        for name in ["a.log", "b.log", "c.txt", ".hidden.log", "sub/d.log", "sub/deep/e.log"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        fs::create_dir(dir.path().join("dir.log")).unwrap();
        std::os::unix::net::UnixListener::bind(dir.path().join("socket.log")).unwrap();
        assert_eq!(names(&["*.log"], &[], dir.path()), ["a.log", "b.log"]);
        assert_eq!(names(&["**/*.log"], &[], dir.path()), ["a.log", "b.log", "sub/d.log", "sub/deep/e.log"]);
        assert_eq!(names(&["**/*.log"], &["b.*", "sub/*"], dir.path()), ["a.log", "sub/deep/e.log"]);
        assert_eq!(names(&["c.txt", "[ab].log"], &[], dir.path()), ["a.log", "b.log", "c.txt"]);
        assert_eq!(names(&["nothing*"], &[], dir.path()), Vec::<String>::new());
    }

    #[test]
    fn one_file_with_many_paths_is_found_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.log"), "x").unwrap();
        fs::hard_link(dir.path().join("a.log"), dir.path().join("b.log")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("a.log"), dir.path().join("c.log")).unwrap();
        assert_eq!(names(&["*.log", "a.log"], &[], dir.path()).len(), 1);
    }

    #[test]
    fn a_bad_pattern_is_named() {
        assert_eq!(Patterns::new(&["/a/**b".into()], &[]).unwrap_err().0, "/a/**b");
        assert_eq!(Patterns::new(&["/a".into()], &["[".into()]).unwrap_err().0, "[");
    }

    #[test]
    fn a_renamed_file_is_found_by_its_inode() {
        let dir = tempfile::tempdir().unwrap();
        let (before, after) = (dir.path().join("app.log"), dir.path().join("app.log.1"));
        fs::write(&before, "x").unwrap();
        let key = FileKey::of(&fs::metadata(&before).unwrap());
        fs::rename(&before, &after).unwrap();
        fs::write(&before, "y").unwrap();
        assert_eq!(find_renamed(key, &before).unwrap().path, after);
        fs::remove_file(&after).unwrap();
        assert!(find_renamed(key, &before).is_none_or(|found| found.path != after));
    }
}
