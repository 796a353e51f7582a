//! Cases: one plugin, its configuration and its input, kept in a folder so that it can be run again by itself.
//!
//! A case is a folder:
//!
//! | file | what it holds |
//! |---|---|
//! | `case.yaml` | the configuration and where the plugin stands (`config/shape/case.rs` has its keys); may be absent |
//! | `input.jsonl` | the records, one a line, in the order in which they come |
//! | `expected.jsonl` | what comes out of it, one outcome a line; absent until somebody has accepted it |
//! | `plugin.wasm` | the component; may be absent where a crate has it |
//!
//! A line of `input.jsonl` is a record in the form of `weir tap --json` and of sinks with `format: record` (see
//! `sink/lines.rs`), so what these print can be put in as it is. `value` alone has to be there. Where the case has several
//! inputs, `input` says which one the record is from; a table is an input too. Without an `offset` a record has the one behind
//! that of the record before it of the same input; without a `timestamp` it is of 1970.
//!
//! What bytes a record has is kept exactly: those that are no UTF-8 stand base64-coded, a document whose line breaks would be
//! lost stands as text, and headers whose order would be lost stand as a list of pairs.
//!
//! A line of `expected.jsonl` is one of
//!
//! ```json
//! {"offset":0,"value":"what goes on","timestamp":"2026-03-01T12:00:00.000Z"}
//! {"offset":1,"port":"repeated","value":"what leaves by a port","timestamp":"2026-03-01T12:00:00.000Z"}
//! {"offset":2,"reject":"why the step could not deal with it"}
//! {"offset":3,"delivered":true}
//! {"offset":4,"refused":"why the sink did not take it","retriable":true}
//! {"late":2}
//! {"failed":"why the plugin did not start, or had to be given up"}
//! ```
//!
//! `offset`, and `input` where there are several, tell the input record that it comes from. Absent `key` and `headers` mean that
//! there are none. A record that was dropped by intent has no line.

pub mod line;
pub mod run;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Report;
pub use crate::config::case::CaseFile;
use crate::record::{Batch, Offset};
pub use line::Outcome;

/// The name of the file with the configuration.
pub const CASE_FILE: &str = "case.yaml";
/// The name of the file with the records.
pub const INPUT_FILE: &str = "input.jsonl";
/// The name of the file with what comes out.
pub const EXPECTED_FILE: &str = "expected.jsonl";
/// The name of the component.
pub const PLUGIN_FILE: &str = "plugin.wasm";
/// A larger file of a case is taken for a mistake.
pub const CASE_BYTES_MAX: u64 = 256 << 20;

/// A case.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Case {
    /// The configuration and where the plugin stands.
    pub settings: CaseFile,
    /// The records in the order in which they come, in runs of one input.
    pub given: Vec<Given>,
    /// What comes out; `None` until somebody has accepted it.
    pub expected: Option<Vec<Outcome>>,
    /// The component.
    pub plugin: Option<Vec<u8>>,
}

/// Records of one input that come one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The name of the input or table.
    pub input: Arc<str>,
    /// The records.
    pub records: Batch,
}

/// Why a case cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// `case.yaml` is wrong.
    #[error("{0}")]
    Settings(Box<Report>),
    /// A line is wrong.
    #[error("{}:{line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What was expected and what came.
        problem: String,
    },
}

impl Case {
    /// Whether a directory is a case.
    pub fn is_at(directory: &Path) -> bool {
        directory.join(INPUT_FILE).is_file()
    }

    /// Reads the case of a directory.
    pub fn read(directory: &Path) -> Result<Case, Error> {
        let settings =
            CaseFile::read(&directory.join(CASE_FILE)).map_err(|report| Error::Settings(Box::new(report)))?;
        let path = directory.join(INPUT_FILE);
        let bytes = read(&path)?.ok_or_else(|| missing(&path))?;
        let given = given(&settings, &path, &bytes)?;
        let path = directory.join(EXPECTED_FILE);
        let expected = read(&path)?.map(|bytes| outcomes(&path, &bytes)).transpose()?;
        let plugin = read(&directory.join(PLUGIN_FILE))?;
        Ok(Case { settings, given, expected, plugin })
    }

    /// Writes the case into a directory, which is made where it does not exist. What the case lacks is not written, and left as
    /// it is.
    pub fn write(&self, directory: &Path) -> Result<(), Error> {
        fs::create_dir_all(directory).map_err(|error| Error::File { path: directory.to_path_buf(), error })?;
        write(&directory.join(CASE_FILE), self.settings.to_yaml().as_bytes())?;
        write(&directory.join(INPUT_FILE), &self.input_lines())?;
        if let Some(expected) = &self.expected {
            write(&directory.join(EXPECTED_FILE), &lines(expected))?;
        }
        if let Some(plugin) = &self.plugin {
            write(&directory.join(PLUGIN_FILE), plugin)?;
        }
        Ok(())
    }

    /// Whether records have to say which input they are from.
    pub fn has_many_inputs(&self) -> bool {
        self.settings.inputs.len() + self.settings.tables.len() > 1
    }

    fn input_lines(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for Given { input, records } in &self.given {
            let input = self.has_many_inputs().then_some(&**input);
            for record in records.iter() {
                line::push_given(&mut out, input, &record);
            }
        }
        out
    }
}

/// Outcomes as lines.
pub fn lines(outcomes: &[Outcome]) -> Vec<u8> {
    let mut out = Vec::new();
    for outcome in outcomes {
        outcome.push(&mut out);
        out.push(b'\n');
    }
    out
}

/// Reads records, one a line; `path` is for errors.
pub fn given(settings: &CaseFile, path: &Path, bytes: &[u8]) -> Result<Vec<Given>, Error> {
    let inputs: Vec<&Arc<str>> = settings.inputs.iter().chain(&settings.tables).collect();
    let mut next = vec![Offset(0); inputs.len()];
    let mut given: Vec<Given> = Vec::new();
    for (number, text) in numbered(bytes) {
        let wrong = |problem| Error::Line { path: path.to_path_buf(), line: number, problem };
        let read = line::Given::read(text).map_err(wrong)?;
        let at = which(&inputs, read.input.as_deref()).map_err(wrong)?;
        let (Some(input), Some(next)) = (inputs.get(at), next.get_mut(at)) else { continue };
        let offset = read.offset.unwrap_or(*next);
        *next = Offset(offset.0.saturating_add(1));
        if given.last().is_none_or(|last| last.input != **input) {
            given.push(Given { input: (*input).clone(), records: Batch::default() });
        }
        if let Some(last) = given.last_mut() {
            read.push(offset, &mut last.records);
        }
    }
    Ok(given)
}

/// Reads outcomes, one a line; `path` is for errors.
pub fn outcomes(path: &Path, bytes: &[u8]) -> Result<Vec<Outcome>, Error> {
    let read =
        |(line, text)| Outcome::read(text).map_err(|problem| Error::Line { path: path.to_path_buf(), line, problem });
    numbered(bytes).map(read).collect()
}

/// The place of the input that a line names.
fn which(inputs: &[&Arc<str>], name: Option<&str>) -> Result<usize, String> {
    let listed = || crate::config::listed(inputs.iter().map(|name| &***name));
    match name {
        None if inputs.len() == 1 => Ok(0),
        None => Err(format!("it has to say by `input` which it is from: {}", listed())),
        Some(name) => inputs
            .iter()
            .position(|input| &***input == name)
            .ok_or_else(|| format!("there is no input {name:?}: expected {}", listed())),
    }
}

/// Lines that hold something, with their numbers from 1.
fn numbered(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    lines.map(|(at, line)| (at + 1, line.trim_ascii())).filter(|(_, line)| !line.is_empty())
}

/// A file's bytes; `None`: there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let failed = |error| Error::File { path: path.to_path_buf(), error };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
        Ok(metadata) if metadata.len() > CASE_BYTES_MAX => {
            let message = format!("{} bytes, more than a file of a case may have ({CASE_BYTES_MAX})", metadata.len());
            Err(failed(io::Error::other(message)))
        }
        Ok(_) => fs::read(path).map(Some).map_err(failed),
    }
}

fn missing(path: &Path) -> Error {
    let error = io::Error::other("there is no such file: a case has its records there, one a line");
    Error::File { path: path.to_path_buf(), error }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).map_err(|error| Error::File { path: path.to_path_buf(), error })
}

#[cfg(test)]
mod tests;
