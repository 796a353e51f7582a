//! Compiled plugins on disk, so that a restart does not compile them again, and the components that they were made of, so that
//! the very one that refused a record can be looked at once another has taken its place.
//!
//! What lies here is native code that the process will run, so nothing is trusted for being there: the directory and the
//! file must be ours alone, and the content must be what was written under this key. Anything else is passed over and
//! compiled anew. Whoever can write as this user can replace the binary itself, so a hash is enough and a signature
//! would add nothing. Code is mapped from its file and not read, so that only what runs takes memory. Knows nothing of
//! what a component does.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use blake3::Hash;

/// The files that are kept; the oldest go when one is added.
const FILES_MAX: usize = 64;
/// A larger file is no compiled plugin.
const FILE_BYTES_MAX: u64 = 1 << 30;
const MAGIC: &[u8; 16] = b"weir cwasm v2\0\0\n";
const SUFFIX: &str = "cwasm";
/// Of components.
const COMPONENT_SUFFIX: &str = "wasm";
const TRAILER_BYTES: usize = MAGIC.len() + 2 * blake3::OUT_LEN;

/// A directory of compiled plugins. Also knows the settings of the compiler, which are part of every key.
#[derive(Debug)]
pub(super) struct Cache {
    directory: PathBuf,
    settings: Hash,
}

/// Which plugin, compiled by what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key(Hash);

impl Cache {
    /// A cache in a directory, which is made when it is needed.
    pub(super) fn new(directory: PathBuf, settings: Hash) -> Self {
        Cache { directory, settings }
    }

    /// The key of a plugin by the hash of its bytes.
    pub(super) fn key(&self, content: &Hash) -> Key {
        let mut hasher = blake3::Hasher::new();
        hasher.update(content.as_bytes()).update(self.settings.as_bytes());
        Key(hasher.finalize())
    }

    /// The file of a compiled plugin, where it is there and holds what was written: the machine code, and behind it what
    /// it was checked by. `Err`: something is there that is not.
    pub(super) fn find(&self, key: Key) -> io::Result<Option<File>> {
        let mut file = match self.open(&self.path(key)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        if verify(&mut file, key)? {
            return Ok(Some(file));
        }
        Err(io::Error::other("the file is damaged or belongs to something else"))
    }

    /// The machine code of a compiled plugin; as [`Cache::find`].
    pub(super) fn read(&self, key: Key) -> io::Result<Option<Vec<u8>>> {
        let Some(mut file) = self.find(key)? else { return Ok(None) };
        file.rewind()?;
        let mut bytes = Vec::with_capacity(file.metadata()?.len() as usize);
        file.read_to_end(&mut bytes)?;
        bytes.truncate(bytes.len().saturating_sub(TRAILER_BYTES));
        Ok(Some(bytes))
    }

    /// Keeps a compiled plugin. `fill` writes its machine code, in pieces: it is never held as a whole.
    pub(super) fn write(&self, key: Key, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        self.put(&self.path(key), |temporary| write_new(temporary, key, fill))
    }

    /// Keeps a component, where it is not there yet.
    pub(super) fn keep_component(&self, content: &Hash, wasm: &[u8]) -> io::Result<()> {
        let path = self.component_path(content.to_hex().as_str());
        if path.exists() {
            return Ok(());
        }
        self.put(&path, |temporary| {
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?.write_all(wasm)
        })
    }

    /// The component with this hash, in hexadecimal, where it was kept and is what it was.
    pub(super) fn component(&self, hash: &str) -> io::Result<Option<Vec<u8>>> {
        // It becomes the name of a file.
        let Ok(content) = Hash::from_hex(hash) else { return Ok(None) };
        let mut file = match self.open(&self.component_path(content.to_hex().as_str())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut wasm = Vec::new();
        file.read_to_end(&mut wasm)?;
        Ok((blake3::hash(&wasm) == content).then_some(wasm))
    }

    fn component_path(&self, hash: &str) -> PathBuf {
        self.directory.join(hash).with_extension(COMPONENT_SUFFIX)
    }

    /// Puts a file into the directory, whole, once there is room for it.
    fn put(&self, path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        check_owner(&fs::metadata(&self.directory)?)?;
        self.make_room(path.extension())?;
        let temporary = self.directory.join(temporary_name());
        let written = write(&temporary).and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary); // It may never have come to be; the first error is the one that counts.
        }
        written
    }

    /// Where a compiled plugin lies.
    pub(super) fn path(&self, key: Key) -> PathBuf {
        self.directory.join(key.0.to_hex().as_str()).with_extension(SUFFIX)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        check_owner(&fs::metadata(&self.directory)?)?;
        let no_follow = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(no_follow).open(path)?;
        let metadata = file.metadata()?;
        check_owner(&metadata)?;
        if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
            return Err(io::Error::other("not a file of a compiled plugin"));
        }
        Ok(file)
    }

    /// Removes the oldest files of a kind until one more fits.
    fn make_room(&self, suffix: Option<&OsStr>) -> io::Result<()> {
        let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.extension() == suffix || path.extension().is_some_and(|suffix| suffix == "new") {
                files.push((fs::symlink_metadata(&path)?.modified()?, path));
            }
        }
        files.sort();
        let too_many = (files.len() + 1).saturating_sub(FILES_MAX);
        files.iter().take(too_many).try_for_each(|(_, path)| fs::remove_file(path))
    }
}

/// A name that no other writer uses, in this process or another.
fn temporary_name() -> String {
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}.new", std::process::id(), WRITTEN.fetch_add(1, Ordering::Relaxed))
}

/// A crash may leave it half written under its own name: no fsync, as the hash will tell.
fn write_new(path: &Path, key: Key, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut hashing = Hashing { file, hasher: blake3::Hasher::new() };
    fill(&mut hashing)?;
    let Hashing { mut file, hasher } = hashing;
    file.write_all(&trailer(key, &hasher.finalize()))
}

/// A file and the hash of what was written to it.
struct Hashing {
    file: File,
    hasher: blake3::Hasher,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or(bytes));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// What stands behind the machine code, which itself has to begin where the file does: it is mapped from there.
fn trailer(key: Key, content: &Hash) -> Vec<u8> {
    [key.0.as_bytes(), content.as_bytes(), MAGIC.as_slice()].concat()
}

/// Whether a file ends with the trailer of its content under this key. Read in small pieces: it may be large.
fn verify(file: &mut File, key: Key) -> io::Result<bool> {
    let Some(code_bytes) = file.metadata()?.len().checked_sub(TRAILER_BYTES as u64) else { return Ok(false) };
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut (&mut *file).take(code_bytes), &mut hasher)?;
    let mut found = Vec::with_capacity(TRAILER_BYTES);
    file.take(TRAILER_BYTES as u64).read_to_end(&mut found)?;
    Ok(found == trailer(key, &hasher.finalize()))
}

fn check_owner(metadata: &fs::Metadata) -> io::Result<()> {
    let ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if ours && metadata.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "owner {} and mode {:o}: compiled plugins must belong to this user and be writable by nobody else",
            metadata.uid(),
            metadata.mode() & 0o7777
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn cache() -> (tempfile::TempDir, Cache, Key) {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().join("compiled"), blake3::hash(b"settings"));
        let key = cache.key(&blake3::hash(b"content"));
        (directory, cache, key)
    }

    #[test]
    fn what_is_written_is_read_and_belongs_to_us_alone() {
        let (_directory, cache, key) = cache();
        assert_eq!(cache.read(key).unwrap(), None);
        cache.write(key, |out| out.write_all(b"code")).unwrap();
        assert_eq!(cache.read(key).unwrap().as_deref(), Some(b"code".as_slice()));
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&cache.directory), mode(&cache.path(key))), (0o700, 0o600));
    }

    #[test]
    fn a_component_is_found_by_its_hash_as_long_as_it_is_what_it_was() {
        let (_directory, cache, _) = cache();
        let hash = blake3::hash(b"component");
        let find = || cache.component(hash.to_hex().as_str()).unwrap();
        assert_eq!(find(), None);
        cache.keep_component(&hash, b"component").unwrap();
        cache.keep_component(&hash, b"component").unwrap();
        assert_eq!(find().as_deref(), Some(b"component".as_slice()));
        fs::write(cache.component_path(hash.to_hex().as_str()), "other").unwrap();
        assert_eq!(find(), None);
        assert_eq!(cache.component("../compiled/x").unwrap(), None);
    }

    #[test]
    fn each_damaged_byte_is_noticed() {
        let (_directory, cache, key) = cache();
        cache.write(key, |out| out.write_all(b"code")).unwrap();
        let good = fs::read(cache.path(key)).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(cache.path(key), &bad).unwrap();
            assert!(cache.read(key).is_err(), "byte {at}");
            fs::write(cache.path(key), &good[..at]).unwrap();
            assert!(cache.read(key).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_file_under_another_key_is_refused() {
        let (_directory, cache, key) = cache();
        let other = cache.key(&blake3::hash(b"other"));
        cache.write(other, |out| out.write_all(b"code")).unwrap();
        fs::rename(cache.path(other), cache.path(key)).unwrap();
        assert!(cache.read(key).is_err());
    }

    #[test]
    fn what_others_may_write_is_refused() {
        let (_directory, cache, key) = cache();
        cache.write(key, |out| out.write_all(b"code")).unwrap();
        fs::set_permissions(cache.path(key), fs::Permissions::from_mode(0o620)).unwrap();
        assert_eq!(cache.read(key).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        fs::set_permissions(cache.path(key), fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(&cache.directory, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(cache.read(key).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(cache.write(key, |out| out.write_all(b"code")).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_link_is_not_followed() {
        let (directory, cache, key) = cache();
        cache.write(key, |out| out.write_all(b"code")).unwrap();
        let elsewhere = directory.path().join("elsewhere");
        fs::rename(cache.path(key), &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, cache.path(key)).unwrap();
        assert!(cache.read(key).is_err());
    }

    #[test]
    fn the_number_of_files_is_bounded() {
        let (_directory, cache, _) = cache();
        for n in 0..FILES_MAX + 5 {
            cache.write(cache.key(&blake3::hash(&n.to_le_bytes())), |out| out.write_all(b"code")).unwrap();
        }
        assert_eq!(fs::read_dir(&cache.directory).unwrap().count(), FILES_MAX);
        let newest = cache.key(&blake3::hash(&(FILES_MAX + 4).to_le_bytes()));
        assert!(cache.read(newest).unwrap().is_some());
    }
}
