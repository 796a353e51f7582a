//! The SDK's sources, which this program carries, and where a plugin's crate finds them.
//!
//! They are put into the crate itself, as `.weir/sdk`: so it builds wherever it is moved or checked out, also where several
//! versions of Weir are used side by side, and cargo's path to it means the same on each machine. A directory of the user's would
//! tie the crate to one machine by an absolute path. The copy is no part of the crate's repository: whichever `weir` builds
//! the crate puts its own there, so a plugin always speaks the contract of the Weir that it is built by.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// Where a crate has the SDK.
const DIRECTORY: &str = ".weir/sdk";
/// The file that tells which SDK it is.
const STAMP: &str = "VERSION";

/// Whether a crate takes the SDK from its own directory.
pub fn is_used_by(manifest: &str) -> bool {
    manifest.contains(DIRECTORY)
}

/// Puts the SDK of this program into a crate, where another or none is there.
pub fn put(crate_dir: &Path) -> io::Result<()> {
    let (sdk, stamp) = (crate_dir.join(DIRECTORY), stamp());
    if fs::read_to_string(sdk.join(STAMP)).is_ok_and(|present| present == stamp) {
        return Ok(());
    }
    // Written beside it and moved there, so that what is there is whole.
    let new = crate_dir.join(DIRECTORY.to_owned() + ".new");
    absent(&new)?;
    for (name, text) in FILES.iter().copied().chain([(STAMP, stamp.as_str())]) {
        let path = new.join(name);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, text)?;
    }
    absent(&sdk)?;
    fs::rename(&new, &sdk)
}

fn absent(directory: &PathBuf) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Weir's version, and a hash of the sources.
fn stamp() -> String {
    let mut hasher = blake3::Hasher::new();
    for text in FILES.iter().flat_map(|(name, text)| [name, text]) {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    format!("{} {}\n", env!("CARGO_PKG_VERSION"), hasher.finalize().to_hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_is_whole_and_stands_alone() {
        let manifest = FILES.iter().find(|(name, _)| *name == "Cargo.toml").unwrap().1;
        assert!(manifest.contains("name = \"weir-plugin\"") && manifest.contains("serde_json = \"1\""), "{manifest}");
        assert!(!manifest.contains("workspace") && !manifest.contains("dev-"), "{manifest}");
        for name in ["src/lib.rs", "src/bindings/transform.rs", "src/state/windows.rs"] {
            assert!(FILES.iter().any(|(file, _)| *file == name), "{name} is missing");
        }
    }

    #[test]
    fn another_sdk_is_replaced_and_the_same_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let lib = directory.path().join(".weir/sdk/src/lib.rs");
        put(directory.path()).unwrap();
        let whole = fs::read_to_string(&lib).unwrap();
        fs::write(&lib, "mine").unwrap();
        put(directory.path()).unwrap();
        assert_eq!(fs::read_to_string(&lib).unwrap(), "mine");
        fs::write(directory.path().join(".weir/sdk/VERSION"), "0.0.1").unwrap();
        fs::write(directory.path().join(".weir/sdk/src/gone.rs"), "").unwrap();
        put(directory.path()).unwrap();
        assert_eq!(fs::read_to_string(&lib).unwrap(), whole);
        assert!(!directory.path().join(".weir/sdk/src/gone.rs").exists());
    }
}
