//! Statements, their values, and what they return: plain data, judged before it goes anywhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::value::RawValue;

use super::Failure;
use crate::endpoint::cells::{Cell, Cells};

/// Values of one execution: both protocols count them in 16 bits.
const VALUES_MAX: usize = 65_535;
/// Bytes of a statement's text.
const TEXT_BYTES_MAX: usize = 16 << 20;
/// What begins and ends transactions, or changes the connection for whoever has it next.
const NOT_ALLOWED: [&str; 21] = [
    "ABORT",
    "BEGIN",
    "COMMIT",
    "DEALLOCATE",
    "DISCARD",
    "END",
    "EXECUTE",
    "HANDLER",
    "LISTEN",
    "LOAD",
    "LOCK",
    "PREPARE",
    "RELEASE",
    "RESET",
    "ROLLBACK",
    "SAVEPOINT",
    "SET",
    "START",
    "UNLOCK",
    "USE",
    "XA",
];

/// A statement and its values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statement {
    /// What is to be done, with placeholders.
    pub text: String,
    /// How often.
    pub rows: usize,
    /// The values of all executions.
    pub values: Cells,
    /// The rows that have to be affected.
    pub expected: Option<u64>,
}

/// What a statement did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The rows that it affected.
    pub affected: u64,
    /// The names of what it returned.
    pub columns: Vec<String>,
    /// Of which of these the text is JSON as it stands: of numbers, truth values and JSON. None, where that is not known.
    pub verbatim: Vec<bool>,
    /// What it returned.
    pub rows: Cells,
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It reads, and the database refuses anything else.
    Read,
    /// It reads and writes.
    Write,
}

impl Outcome {
    /// A value that was returned, as JSON; bytes are base64.
    pub fn json(&self, at: usize) -> String {
        let is_verbatim = self.verbatim.get(at % self.columns.len().max(1)).copied().unwrap_or_default();
        match self.rows.get(at) {
            Cell::Null => "null".into(),
            // What is no JSON after all, as NaN, is text.
            Cell::Text(text) if is_verbatim && serde_json::from_str::<&RawValue>(text).is_ok() => text.into(),
            Cell::Text(text) => serde_json::Value::from(text).to_string(),
            Cell::Bytes(bytes) => serde_json::Value::from(BASE64.encode(bytes)).to_string(),
        }
    }
}

impl Statement {
    /// The values of each execution.
    pub fn width(&self) -> usize {
        self.values.len() / self.rows.max(1)
    }

    /// Refuses what may not be said, or does not fit together.
    pub fn check(&self) -> Result<(), Failure> {
        let refused = |what: String| Err(Failure::Refused(what));
        if self.text.len() > TEXT_BYTES_MAX {
            return refused(format!("a statement has {} bytes, {TEXT_BYTES_MAX} are allowed", self.text.len()));
        }
        let word: String =
            self.text.trim_start().chars().take_while(char::is_ascii_alphabetic).collect::<String>().to_uppercase();
        if word.is_empty() {
            return refused("a statement begins with its first word".into());
        }
        if NOT_ALLOWED.contains(&word.as_str()) {
            return refused(format!("a statement must not begin with {word}: a transaction is one call"));
        }
        if self.rows == 0 || self.width() * self.rows != self.values.len() {
            return refused(format!("{} values are not those of {} rows", self.values.len(), self.rows));
        }
        match self.width() {
            width if width > VALUES_MAX => refused(format!("{width} values at once, {VALUES_MAX} are allowed")),
            _ => Ok(()),
        }
    }

    /// Judges how many rows were affected.
    pub fn judge(&self, affected: u64) -> Result<(), Failure> {
        match self.expected {
            Some(expected) if expected != affected => Err(Failure::Unexpected(affected)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_touches_transactions_is_refused() {
        let of = |text: &str| Statement { text: text.into(), rows: 1, ..Statement::default() };
        for wrong in ["commit", " BEGIN work", "Set x = 1", "/* */ SELECT 1", "", "(SELECT 1)", "start transaction"] {
            assert!(of(wrong).check().is_err(), "{wrong}");
        }
        assert_eq!(of("SELECT 1").check(), Ok(()));
        assert!(Statement { rows: 0, ..of("SELECT 1") }.check().is_err());
    }
}
