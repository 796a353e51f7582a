//! How a plugin says no: to a record, or to its configuration.

use std::fmt::Display;

use crate::bindings::types;

/// A result whose error rejects the record.
pub type Result<T, E = Reject> = std::result::Result<T, E>;

/// Why a plugin cannot deal with a record.
///
/// Anything that can be displayed becomes a permanent reject by `?`, so an error of a parser needs no mapping:
///
/// ```
/// fn port(text: &str) -> weir_plugin::Result<u16> {
///     Ok(text.parse()?)
/// }
/// assert_eq!(port("http").unwrap_err().reason(), "invalid digit found in string");
/// ```
///
/// It is not itself an error in the sense of the standard library: that is what lets every error convert into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    reason: String,
    retriable: bool,
}

impl Reject {
    /// Rejects for good: the record is malformed. It becomes a dead letter.
    ///
    /// The reason says what was expected and what came.
    pub fn permanent(reason: impl Display) -> Self {
        Reject { reason: reason.to_string(), retriable: false }
    }

    /// Rejects for now: the same record may succeed later, as when a service is away. The host tries it again.
    pub fn retriable(reason: impl Display) -> Self {
        Reject { reason: reason.to_string(), retriable: true }
    }

    /// Why.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether the same record may succeed later.
    pub fn is_retriable(&self) -> bool {
        self.retriable
    }
}

impl<E: Display> From<E> for Reject {
    fn from(reason: E) -> Self {
        Reject::permanent(reason)
    }
}

/// The rejected records of a batch.
#[derive(Debug, Default)]
pub struct Rejects {
    list: Vec<types::Reject>,
}

impl Rejects {
    /// Rejects a record. Of several rejects of one record, the first counts.
    pub fn add(&mut self, record: crate::Record<'_>, reject: impl Into<Reject>) {
        let Reject { reason, retriable } = reject.into();
        self.list.push(types::Reject { index: record.index(), reason, retriable });
    }

    /// How many there are; a record counts as often as it was rejected.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The rejects as the contract wants them: ascending, each record once.
    pub(crate) fn finish(mut self) -> Vec<types::Reject> {
        self.list.sort_by_key(|reject| reject.index);
        self.list.dedup_by_key(|reject| reject.index);
        self.list
    }
}

/// Why a plugin refuses its configuration.
///
/// Anything that can be displayed becomes one by `?`, about the configuration as a whole; [`ConfigError::at`] says
/// which setting is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    path: String,
    message: String,
}

impl ConfigError {
    /// Blames a setting, by its path: parts divided by dots, as in `fields.0.name`.
    pub fn at(path: impl Display, message: impl Display) -> Self {
        ConfigError { path: path.to_string(), message: message.to_string() }
    }

    /// The path of the setting; empty when the error is about the whole.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What was expected and what came.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl<E: Display> From<E> for ConfigError {
    fn from(message: E) -> Self {
        ConfigError::at("", message)
    }
}

impl From<ConfigError> for types::ConfigError {
    fn from(ConfigError { path, message }: ConfigError) -> Self {
        types::ConfigError { path, message }
    }
}
