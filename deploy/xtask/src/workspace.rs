//! Where things are: the clone, the target directory, the cache, and the crates that become plugins.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};

/// The clone and the directories that the commands write to.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// The root of the clone.
    pub root: PathBuf,
    /// Cargo's target directory: `$CARGO_TARGET_DIR`, or `target` in the clone.
    pub target: PathBuf,
    /// Tools and packages that are fetched once: `weir` in the user's cache directory, never in the clone.
    pub cache: PathBuf,
}

/// A crate that is built as a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// The package, such as `weir-syslog-parser`.
    pub package: String,
    /// The component's name, such as `syslog-parser`.
    pub name: String,
}

impl Workspace {
    /// Finds the workspace from where Cargo runs this crate. Where it was built may be another clone, as clones that share
    /// a target directory share its programs.
    pub fn find() -> Result<Self> {
        let run_from = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let here = run_from.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
        let root = here.ancestors().nth(2).filter(|root| root.join("Cargo.toml").is_file());
        let root = root.ok_or_else(|| Error::new(format_args!("no workspace two levels above {}", here.display())))?;
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let target = std::path::absolute(&target).context(|| format!("target directory {}", target.display()))?;
        Ok(Workspace { root: root.to_owned(), target, cache: cache_dir()? })
    }

    /// Waits until nobody else installs what bears this name into the cache, and keeps others waiting while it is held.
    pub fn lock(&self, name: &str) -> Result<File> {
        fs::create_dir_all(&self.cache).context(|| self.cache.display())?;
        let path = self.cache.join(name).with_extension("lock");
        let lock = File::create(&path).context(|| path.display())?;
        lock.lock().context(|| "waiting for another installation")?;
        Ok(lock)
    }

    /// Where the components of the stock plugins are put.
    pub fn stock_plugins(&self) -> PathBuf {
        self.target.join("plugins")
    }

    /// Where the components of the guests in `tests/guests` are put.
    pub fn test_plugins(&self) -> PathBuf {
        self.target.join("plugins-test")
    }

    /// The crates below a directory of the clone, by name. A directory without a manifest may hold several crates.
    pub fn guests(&self, directory: &str) -> Result<Vec<Guest>> {
        let mut found = Vec::new();
        for crate_dir in subdirectories(&self.root.join(directory))? {
            if crate_dir.join("Cargo.toml").is_file() {
                found.push(guest(&crate_dir)?);
            } else {
                for nested in subdirectories(&crate_dir)? {
                    if nested.join("Cargo.toml").is_file() {
                        found.push(guest(&nested)?);
                    }
                }
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }
}

fn guest(crate_dir: &Path) -> Result<Guest> {
    let manifest = crate_dir.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).context(|| manifest.display())?;
    let package =
        package_name(&text).ok_or_else(|| Error::new(format_args!("{}: no package name", manifest.display())))?;
    let name = package.strip_prefix("weir-").unwrap_or(package).to_owned();
    Ok(Guest { package: package.to_owned(), name })
}

/// The `name` of a manifest's `[package]` table. Reading one key of our own manifests needs no TOML parser.
fn package_name(manifest: &str) -> Option<&str> {
    let package = manifest.split("[package]").nth(1)?;
    let package = package.split("\n[").next()?;
    let value = package.lines().find_map(|line| line.strip_prefix("name")?.trim_start().strip_prefix('='))?;
    value.trim().strip_prefix('"')?.strip_suffix('"')
}

fn subdirectories(directory: &Path) -> Result<Vec<PathBuf>> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).context(|| directory.display())? {
        let path = entry.context(|| directory.display())?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn cache_dir() -> Result<PathBuf> {
    let absolute = |value: OsString| Some(PathBuf::from(value)).filter(|path| path.is_absolute());
    let base = env::var_os("XDG_CACHE_HOME").and_then(absolute);
    let base = base.or_else(|| env::var_os("HOME").and_then(absolute).map(|home| home.join(".cache")));
    let base = base.ok_or_else(|| Error::new("expected HOME or XDG_CACHE_HOME to name a directory for tools"))?;
    Ok(base.join("weir"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_name_is_found_among_other_tables_and_names() {
        let manifest = "[package]\nname = \"weir-sql\"\nversion = \"1\"\n\n[lib]\nname = \"other\"\n";
        assert_eq!(package_name(manifest), Some("weir-sql"));
        assert_eq!(package_name("[lib]\nname = \"other\"\n"), None);
    }

    #[test]
    fn the_stock_plugins_of_this_clone_are_found_by_their_short_names() {
        let guests = Workspace::find().unwrap().guests("plugins").unwrap();
        let names: Vec<&str> = guests.iter().map(|guest| guest.name.as_str()).collect();
        assert!(names.contains(&"sql") && names.contains(&"syslog-parser"), "found {names:?}");
    }
}
