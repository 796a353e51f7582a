//! What each use of a plugin was accepted to be: its code, what it imports, may reach and may use.
//!
//! A new version of a plugin that wants more than the one before did needs somebody's yes. What was accepted is kept in the data
//! directory; `weir.lock`, beside the pipeline file, pins it instead, where there is one. Knows nothing of how plugins are loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Step;

/// The file that pins plugins, beside the pipeline file.
pub const LOCK_FILE: &str = "weir.lock";
/// Where what was accepted is kept, in the data directory.
const ACCEPTED_FILE: &str = "accepted.json";
/// Such a file has at most as many bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// The version of the format.
const VERSION: u32 = 1;
/// How much of a hash is shown.
const HASH_SHOWN: usize = 12;

/// Whether what wants more is to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consent {
    /// Somebody has to say so.
    #[default]
    Needed,
    /// Somebody said so.
    Given,
}

/// One use of a plugin, as it was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Used {
    /// The plugin.
    pub plugin: String,
    /// The blake3 hash of its component, in hexadecimal.
    pub hash: String,
    /// The interfaces that it imports.
    pub imports: BTreeSet<String>,
    /// What it was granted: `http: NAME`.
    pub grants: BTreeSet<String>,
    /// Its bounds: bytes, milliseconds, messages a second.
    pub limits: BTreeMap<String, u64>,
}

/// Uses of plugins by `PIPELINE/STEP`, or by the name of a sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    version: u32,
    /// The uses.
    pub uses: BTreeMap<String, Used>,
}

/// Why such a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It does not hold what it should.
    #[error("{} is not what `weir lock` writes: {why}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What was expected and what came.
        why: String,
    },
}

impl Used {
    /// A use of a plugin of this hash and these imports.
    pub fn of(step: &Step, hash: String, imports: &[String]) -> Self {
        let limits = &step.limits;
        let ms = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let limits = [
            ("memory_bytes_max", limits.memory_bytes_max as u64),
            ("batch_time_max_ms", ms(limits.batch_time_max)),
            ("output_bytes_max", limits.output_bytes_max as u64),
            ("wait_time_max_ms", ms(limits.wait_time_max)),
            ("log_rate_max", u64::from(limits.log_rate_max)),
        ];
        let http = step.grants.http.iter().map(|endpoint| format!("http: {}", endpoint.name));
        let databases = step.grants.database.iter().map(|endpoint| format!("database: {}", endpoint.name));
        let clusters = step.grants.kudu.iter().map(|endpoint| format!("kudu: {}", endpoint.name));
        let slack = step.grants.slack.iter().map(|endpoint| format!("slack: {}", endpoint.name));
        let lookups = step.grants.lookup.iter().map(|endpoint| format!("lookup: {}", endpoint.name()));
        Used {
            plugin: step.plugin.to_string(),
            hash,
            imports: imports.iter().cloned().collect(),
            grants: http.chain(databases).chain(clusters).chain(slack).chain(lookups).collect(),
            limits: limits.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        }
    }

    /// What it wants beyond what another was accepted with.
    pub fn beyond(&self, other: &Used) -> Vec<String> {
        let imports = self.imports.difference(&other.imports).map(|name| format!("imports {name}"));
        let grants = self.grants.difference(&other.grants).map(|grant| format!("may reach {grant}"));
        let limits = self.limits.iter().filter_map(|(name, limit)| {
            let before = other.limits.get(name).copied().unwrap_or(u64::MAX);
            (*limit > before).then(|| format!("{name} {limit}, {before} before"))
        });
        imports.chain(grants).chain(limits).collect()
    }

    /// How it differs from another, for people: what it wants more, and what it does without.
    pub fn difference(&self, other: &Used) -> Vec<String> {
        let signed = |sign: &'static str| move |what: String| format!("{sign} {what}");
        let code = (self.hash != other.hash).then(|| format!("  code {}, {} before", self.short(), other.short()));
        let less = other.beyond(self).into_iter().filter(|what| !what.contains(" before")).map(signed("-"));
        code.into_iter().chain(self.beyond(other).into_iter().map(signed("+"))).chain(less).collect()
    }

    /// The beginning of its hash.
    pub fn short(&self) -> &str {
        self.hash.get(..HASH_SHOWN).unwrap_or(&self.hash)
    }
}

impl Accepted {
    /// These uses.
    pub fn new(uses: BTreeMap<String, Used>) -> Self {
        Accepted { version: VERSION, uses }
    }

    /// What a file holds; `None` where there is none.
    pub fn read(path: &Path) -> Result<Option<Self>, Error> {
        let failed = |error| Error::Io { path: path.to_path_buf(), error };
        let content = |why: String| Error::Content { path: path.to_path_buf(), why };
        let text = match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
            Ok(metadata) if metadata.len() > FILE_BYTES_MAX => {
                return Err(content(format!("it has {} bytes, at most {FILE_BYTES_MAX} are read", metadata.len())));
            }
            Ok(_) => std::fs::read_to_string(path).map_err(failed)?,
        };
        let read: Accepted = serde_json::from_str(&text).map_err(|error| content(error.to_string()))?;
        if read.version != VERSION {
            return Err(content(format!("it is of version {}, expected {VERSION}", read.version)));
        }
        Ok(Some(read))
    }

    /// Writes a file anew, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let failed = |error| Error::Io { path: path.to_path_buf(), error };
        let new = path.with_extension("new");
        let text = serde_json::to_string_pretty(self).map_err(|error| failed(error.into()))?;
        let mut file = std::fs::File::create(&new).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n")).map_err(failed)?;
        file.sync_all().and_then(|()| std::fs::rename(&new, path)).map_err(failed)
    }
}

/// Where a pipeline file's plugins are pinned, if they are.
pub fn lock_file(pipeline_file: &Path) -> PathBuf {
    match pipeline_file.is_dir() {
        true => pipeline_file.join(LOCK_FILE),
        false => pipeline_file.with_file_name(LOCK_FILE),
    }
}

/// Where what was accepted is kept.
pub fn accepted_file(data: &Path) -> PathBuf {
    data.join(ACCEPTED_FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(imports: &[&str], memory: u64) -> Used {
        Used {
            plugin: "geo".into(),
            hash: format!("{}{memory}", imports.len()),
            imports: imports.iter().map(|name| name.to_string()).collect(),
            grants: BTreeSet::new(),
            limits: BTreeMap::from([("memory_bytes_max".into(), memory)]),
        }
    }

    #[test]
    fn what_wants_more_is_told_apart_from_what_wants_less() {
        let (small, large) = (used(&["log"], 1), used(&["log", "http"], 2));
        assert_eq!(large.beyond(&small), ["imports http", "memory_bytes_max 2, 1 before"]);
        assert_eq!(small.beyond(&large), Vec::<String>::new());
        assert_eq!(small.difference(&large), ["  code 11, 22 before", "- imports http"]);
        assert_eq!(small.difference(&small), Vec::<String>::new());
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_nothing_else_is_taken_for_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(LOCK_FILE);
        assert!(Accepted::read(&path).unwrap().is_none());
        let accepted = Accepted::new(BTreeMap::from([("p/geo".into(), used(&["log"], 1))]));
        accepted.write(&path).unwrap();
        assert_eq!(Accepted::read(&path).unwrap(), Some(accepted));
        for wrong in ["", "{}", r#"{"version":2,"uses":{}}"#, r#"{"version":1,"uses":{},"more":1}"#] {
            std::fs::write(&path, wrong).unwrap();
            let error = Accepted::read(&path).unwrap_err().to_string();
            assert!(error.contains("is not what `weir lock` writes"), "{error}");
        }
    }
}
