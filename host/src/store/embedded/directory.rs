//! The data directory: who has it, and which format it is in.
//!
//! ```text
//! DATA/lock           held by the process that has the directory; its pid as text
//! DATA/store/FORMAT   the version of everything in store/
//! DATA/store/ID       what tells this store from every other, as 16 hex digits
//! DATA/store/db/      the engine's files
//! DATA/store.new/     a store that is being made; whoever finds one begins anew
//! ```
//!
//! A new store is made beside its place, synced, and renamed into it. So where `store` exists it is whole, and a crash at
//! any moment of its making leaves nothing behind that has to be understood. This file knows nothing of what is stored.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::store::Error;

/// The version of keys and values. A store of another version is refused.
pub(super) const FORMAT_VERSION: u32 = 1;

const LOCK: &str = "lock";
const STORE: &str = "store";
const STORE_NEW: &str = "store.new";
const FORMAT: &str = "FORMAT";
const DB: &str = "db";
const ID: &str = "ID";
const ID_NEW: &str = "ID.new";
/// What the FORMAT file says before the version.
const FORMAT_TEXT: &str = "weir store ";
/// More than this is not read of files that hold one short line.
const LINE_BYTES_MAX: u64 = 256;

/// A data directory that this process has until this is dropped.
pub(super) struct Directory {
    /// Where the engine's files are.
    pub db: PathBuf,
    /// What tells this store from every other.
    pub id: String,
    /// The lock lives as long as the open file. The file itself stays: removing it would let two processes lock two files.
    _lock: File,
}

impl Directory {
    /// Takes the directory, and makes a store in it where there is none: `create` makes the engine's files.
    pub fn open(data: &Path, create: impl FnOnce(&Path) -> Result<(), Error>) -> Result<Directory, Error> {
        make_dir(data).map_err(|error| io("make", data, &error))?;
        let lock = lock(data)?;
        let store = data.join(STORE);
        if !store.try_exists().map_err(|error| io("look at", &store, &error))? {
            make_store(data, create)?;
        }
        check_format(&store)?;
        let id = id(&store).map_err(|error| io("read or make", &store.join(ID), &error))?;
        Ok(Directory { db: store.join(DB), id, _lock: lock })
    }
}

fn lock(data: &Path) -> Result<File, Error> {
    let path = data.join(LOCK);
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = opened.map_err(|error| io("open", &path, &error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let pid = read_line(&mut file).ok().and_then(|text| text.trim().parse().ok());
            return Err(Error::Locked { directory: data.display().to_string(), pid });
        }
        Err(TryLockError::Error(error)) => return Err(io("lock", &path, &error)),
    }
    write_pid(&mut file).map_err(|error| io("write", &path, &error))?;
    Ok(file)
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn make_store(data: &Path, create: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
    let (new, store) = (data.join(STORE_NEW), data.join(STORE));
    match std::fs::remove_dir_all(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(io("remove", &new, &error)),
        _ => {}
    }
    make_dir(&new).map_err(|error| io("make", &new, &error))?;
    create(&new.join(DB))?;
    let format = new.join(FORMAT);
    write_format(&format).map_err(|error| io("write", &format, &error))?;
    let publish = || {
        sync_dir(&new)?;
        std::fs::rename(&new, &store)?;
        sync_dir(data)
    };
    publish().map_err(|error| io("rename", &new, &error))
}

fn write_format(path: &Path) -> std::io::Result<()> {
    let mut file = File::create_new(path)?;
    writeln!(file, "{FORMAT_TEXT}{FORMAT_VERSION}")?;
    file.sync_all()
}

fn check_format(store: &Path) -> Result<(), Error> {
    let path = store.join(FORMAT);
    let text = File::open(&path).and_then(|mut file| read_line(&mut file));
    let found = match text {
        Ok(text) => text.trim().strip_prefix(FORMAT_TEXT).unwrap_or("unknown").to_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => "missing".to_owned(),
        Err(error) => return Err(io("read", &path, &error)),
    };
    if found == FORMAT_VERSION.to_string() {
        return Ok(());
    }
    Err(Error::Format { directory: store.display().to_string(), found, expected: FORMAT_VERSION })
}

/// The store's id. One is drawn where there is none: the store is new, or of a version that had none.
fn id(store: &Path) -> std::io::Result<String> {
    let path = store.join(ID);
    match File::open(&path).and_then(|mut file| read_line(&mut file)) {
        Ok(text) if is_id(text.trim()) => return Ok(text.trim().to_owned()),
        Ok(text) => return Err(std::io::Error::other(format!("expected 16 hex digits, found {:?}", text.trim()))),
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Err(_) => {}
    }
    let id = format!("{:016x}", crate::store::random());
    let mut file = File::create(store.join(ID_NEW))?;
    writeln!(file, "{id}")?;
    file.sync_all()?;
    std::fs::rename(store.join(ID_NEW), path)?;
    sync_dir(store)?;
    Ok(id)
}

fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn read_line(file: &mut File) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    file.take(LINE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Records may be secret, so what is made is for the owner alone.
fn make_dir(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn sync_dir(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()
}

fn io(doing: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::Storage(format!("could not {doing} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(data: &Path) -> Result<Directory, Error> {
        Directory::open(data, |db| {
            std::fs::create_dir(db).unwrap();
            Ok(())
        })
    }

    #[test]
    fn a_second_opening_is_refused_with_the_pid_of_the_first() {
        let data = tempfile::tempdir().unwrap();
        let first = open(data.path()).unwrap();
        let Err(Error::Locked { pid, .. }) = open(data.path()).map(drop) else { panic!("must be locked") };
        assert_eq!(pid, Some(std::process::id()));
        drop(first);
        open(data.path()).map(drop).unwrap();
    }

    #[test]
    fn a_longer_pid_from_before_leaves_nothing_behind() {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join(LOCK), "99999999999999999999\n").unwrap();
        let _first = open(data.path()).unwrap();
        let text = std::fs::read_to_string(data.path().join(LOCK)).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
    }

    #[test]
    fn the_id_is_drawn_once_and_kept() {
        let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = open(data.path()).unwrap().id;
        assert!(is_id(&id), "{id}");
        assert_eq!(open(data.path()).unwrap().id, id);
        assert_ne!(open(other.path()).unwrap().id, id);
        std::fs::write(data.path().join("store/ID"), "something else\n").unwrap();
        assert!(open(data.path()).is_err());
    }

    #[test]
    fn other_formats_are_refused() {
        for (text, expected) in [("weir store 2\n", "2"), ("something else", "unknown"), ("", "unknown")] {
            let data = tempfile::tempdir().unwrap();
            drop(open(data.path()).unwrap());
            std::fs::write(data.path().join("store/FORMAT"), text).unwrap();
            let refused = open(data.path()).map(drop);
            assert!(matches!(refused, Err(Error::Format { found, expected: 1, .. }) if found == expected));
        }
        let data = tempfile::tempdir().unwrap();
        std::fs::create_dir(data.path().join(STORE)).unwrap();
        assert!(matches!(open(data.path()).map(drop), Err(Error::Format { found, .. }) if found == "missing"));
    }

    #[test]
    fn a_store_that_was_not_finished_is_made_again() {
        let data = tempfile::tempdir().unwrap();
        let failed = Directory::open(data.path(), |db| {
            std::fs::create_dir(db).unwrap();
            std::fs::write(db.join("half"), "x").unwrap();
            Err(Error::Storage("killed".into()))
        });
        assert!(failed.is_err() && !data.path().join(STORE).exists());
        let directory = open(data.path()).unwrap();
        assert_eq!(std::fs::read_dir(&directory.db).unwrap().count(), 0);
        assert!(!data.path().join(STORE_NEW).exists());
    }
}
