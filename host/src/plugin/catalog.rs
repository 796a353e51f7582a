//! Finds plugins by name: in the plugin directories in their order, then among those that the binary carries.
//!
//! Knows files and names; what a plugin is made of is `engine.rs`'s business.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bundle::Bundle;
use super::engine::Code;

/// A larger file is taken for a mistake.
pub const PLUGIN_BYTES_MAX: u64 = 256 << 20;
/// Names that differ from the wanted one by more than this (0: altogether, 1: not at all) are not proposed.
const LIKENESS_MIN: f64 = 0.6;

/// Where plugins are looked for.
#[derive(Debug, Clone)]
pub struct Catalog {
    directories: Vec<PathBuf>,
    stock: Arc<Bundle>,
}

/// A plugin that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// Where it was.
    pub place: Place,
    /// Its code.
    pub code: Code,
}

/// Where a plugin was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a plugin directory.
    File(PathBuf),
    /// In the binary.
    Stock,
}

/// Why there is no such plugin. An operator has to act.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// No place has it.
    #[error("no plugin {name}: looked for {}{}", searched(directories, name, *stock), nearest_hint(nearest))]
    NotFound {
        /// What was looked for.
        name: String,
        /// Where, before the binary.
        directories: Vec<PathBuf>,
        /// How many plugins the binary carries.
        stock: usize,
        /// The most similar name that there is.
        nearest: Option<String>,
    },
    /// Not a name.
    #[error("{name:?} is not a plugin's name: expected the name of a file without .wasm, without a directory")]
    Name {
        /// What came.
        name: String,
    },
    /// There is a file, but it cannot be read.
    #[error("plugin {name}: {} cannot be read: {error}", path.display())]
    Unreadable {
        /// What was looked for.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

fn searched(directories: &[PathBuf], name: &str, stock: usize) -> String {
    let mut places: Vec<String> =
        directories.iter().map(|directory| directory.join(name).display().to_string() + ".wasm").collect();
    places.push(match stock {
        0 => "the stock plugins (this build carries none: `cargo xtask build` makes one that does)".into(),
        n => format!("the {n} stock plugins of this binary"),
    });
    places.join(", ")
}

fn nearest_hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |nearest| format!("; is {nearest} meant?"))
}

impl Catalog {
    /// A catalog of these directories and of the plugins that the binary carries.
    pub fn new(directories: Vec<PathBuf>) -> Self {
        Catalog::with_stock(directories, Bundle::of_this_program())
    }

    /// A catalog of these directories and of these stock plugins.
    pub fn with_stock(directories: Vec<PathBuf>, stock: Arc<Bundle>) -> Self {
        Catalog { directories, stock }
    }

    /// The directories, in the order in which they are searched.
    pub fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// Finds a plugin and reads it.
    pub fn find(&self, name: &str) -> Result<Found, CatalogError> {
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
            return Err(CatalogError::Name { name: name.to_owned() });
        }
        let found = |place, code| Ok(Found { name: name.to_owned(), place, code });
        for directory in &self.directories {
            let path = file(directory, name);
            match read(&path) {
                Ok(wasm) => return found(Place::File(path), wasm.into()),
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(CatalogError::Unreadable { name: name.to_owned(), path, error }),
            }
        }
        match self.stock.read(name) {
            Ok(Some(code)) => found(Place::Stock, code),
            Ok(None) => Err(self.not_found(name)),
            Err(error) => {
                let path = self.stock.program().to_owned();
                Err(CatalogError::Unreadable { name: name.to_owned(), path, error })
            }
        }
    }

    /// The names of all plugins that could be found, in order. Directories that cannot be read hold none.
    pub fn names(&self) -> BTreeSet<String> {
        self.directories.iter().flat_map(|directory| names_in(directory)).chain(self.stock.names()).collect()
    }

    fn not_found(&self, name: &str) -> CatalogError {
        let likeness = |other: &String| strsim::jaro_winkler(other, name);
        let nearest = self
            .names()
            .into_iter()
            .filter(|other| likeness(other) >= LIKENESS_MIN)
            .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        let directories = self.directories.clone();
        CatalogError::NotFound { name: name.to_owned(), directories, stock: self.stock.names().len(), nearest }
    }
}

fn file(directory: &Path, name: &str) -> PathBuf {
    // Not `with_extension`, which would take a dot in the name for the beginning of one.
    directory.join(format!("{name}.wasm"))
}

/// A directory that does not exist yet holds no plugins: one may be made while the appliance runs.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    if metadata.len() > PLUGIN_BYTES_MAX {
        return Err(io::Error::other(format!("{} bytes, more than a plugin may have", metadata.len())));
    }
    fs::read(path)
}

fn names_in(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let name = |path: PathBuf| Some(path.file_name()?.to_str()?.strip_suffix(".wasm")?.to_owned());
    entries.filter_map(|entry| name(entry.ok()?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::bundle;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, content)| fs::write(directory.path().join(name), content).unwrap());
        directory
    }

    #[test]
    fn the_first_directory_that_has_it_wins() {
        let (first, second) = (directory(&[("a.wasm", "first")]), directory(&[("a.wasm", "2nd"), ("b.c.wasm", "b")]));
        let missing = first.path().join("missing");
        let catalog = Catalog::new(vec![missing, first.path().into(), second.path().into()]);
        let found = catalog.find("a").unwrap();
        assert_eq!((&*found.code.wasm, found.place), (b"first".as_slice(), Place::File(first.path().join("a.wasm"))));
        assert_eq!(&*catalog.find("b.c").unwrap().code.wasm, b"b");
        assert!(catalog.names().is_superset(&["a".to_owned(), "b.c".to_owned()].into()));
    }

    /// A program that carries a plugin `carried`.
    fn stock() -> (tempfile::TempDir, Arc<Bundle>) {
        let directory = directory(&[("program", "x")]);
        let (program, output) = (directory.path().join("program"), directory.path().join("bundled"));
        let carried = [("carried".to_owned(), Code::from(b"stock".as_slice()))];
        bundle::write(&Bundle::open(&program).unwrap(), &carried, &output).unwrap();
        let bundle = Bundle::open(&output).unwrap();
        (directory, Arc::new(bundle))
    }

    #[test]
    fn stock_plugins_are_found_last() {
        let (_program, stock) = stock();
        let found = Catalog::with_stock(vec![], stock.clone()).find("carried").unwrap();
        assert_eq!((&*found.code.wasm, found.place), (b"stock".as_slice(), Place::Stock));
        let own = directory(&[("carried.wasm", "own"), ("other.wasm", "")]);
        let catalog = Catalog::with_stock(vec![own.path().into()], stock);
        assert_eq!(&*catalog.find("carried").unwrap().code.wasm, b"own");
        assert_eq!(catalog.names(), ["carried".to_owned(), "other".to_owned()].into());
        let error = catalog.find("caried").unwrap_err().to_string();
        assert!(error.contains("the 1 stock plugins of this binary; is carried meant?"), "{error}");
    }

    #[test]
    fn a_missing_plugin_is_answered_with_the_places_and_the_nearest_name() {
        let plugins = directory(&[("geo-lookup.wasm", ""), ("notes.txt", "")]);
        let error = Catalog::new(vec![plugins.path().into()]).find("geo-lokup").unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("no plugin geo-lokup: looked for {}/geo-lokup.wasm", plugins.path().display()))
        );
        assert!(error.ends_with("; is geo-lookup meant?"), "{error}");
        assert!(error.contains("this build carries none"), "{error}");
        let error = Catalog::new(vec![]).find("zzzz").unwrap_err().to_string();
        assert!(!error.contains("meant"), "{error}");
    }

    #[test]
    fn names_do_not_leave_the_directories() {
        let plugins = directory(&[("a.wasm", "")]);
        let below = Catalog::new(vec![plugins.path().join("below")]);
        for name in ["", "../a", "/etc/a", "..", ".hidden", "a/b", "a\\b", "a\0"] {
            assert!(matches!(below.find(name), Err(CatalogError::Name { .. })), "{name:?}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_passed_over() {
        let plugins = directory(&[]);
        fs::create_dir(plugins.path().join("a.wasm")).unwrap();
        let error = Catalog::new(vec![plugins.path().into()]).find("a").unwrap_err();
        assert!(matches!(error, CatalogError::Unreadable { .. }), "{error}");
    }
}
