//! What stands under `config`, and what of it does not fit together.

use std::collections::BTreeMap;

use weir_plugin::rows::{Column, Mapping, Pk, PkMode, declared};
use weir_plugin::{ConfigError, serde};

use crate::value::Kind;

/// What stands under `config`.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(crate = "weir_plugin::serde", deny_unknown_fields)]
pub struct Config {
    /// The endpoint, where more than one is granted.
    #[serde(default)]
    pub endpoint: String,
    /// The table.
    pub table: String,
    /// What becomes of a record.
    #[serde(default)]
    pub mode: Mode,
    /// What identifies a row.
    #[serde(default)]
    pub pk: Pk,
    /// Whether a record without a value deletes the row of its key.
    #[serde(default)]
    pub deletes: bool,
    /// Whether a table that is not there is created.
    #[serde(default)]
    pub create_table: bool,
    /// Whether a column that is not there is added.
    #[serde(default)]
    pub add_columns: bool,
    /// What is known of fields.
    #[serde(default)]
    pub columns: BTreeMap<String, Column<Kind>>,
    /// Rows of a transaction.
    #[serde(default = "batch_rows_max")]
    pub batch_rows_max: usize,
    /// The table that says how far each source was written.
    #[serde(default = "progress_table")]
    pub progress_table: String,
}

fn batch_rows_max() -> usize {
    500
}

fn progress_table() -> String {
    "weir_progress".into()
}

/// What becomes of a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(crate = "weir_plugin::serde", rename_all = "snake_case")]
pub enum Mode {
    /// A new row.
    #[default]
    Insert,
    /// A new row, or other values in the one with its key.
    Upsert,
    /// Other values in the row with its key.
    Update,
}

impl Config {
    /// How records become rows. Refuses what does not fit together.
    pub fn check(&self) -> Result<Mapping, ConfigError> {
        if self.table.is_empty() || self.table.chars().count() > 63 {
            return Err(ConfigError::at("table", "expected the name of a table, of at most 63 characters"));
        }
        if !(1..=10_000).contains(&self.batch_rows_max) {
            return Err(ConfigError::at("batch_rows_max", "expected a number from 1 to 10000"));
        }
        let mapping = Mapping::new(self.pk.clone(), self.deletes, &self.columns)?;
        if self.pk.mode == PkMode::None && self.mode != Mode::Insert {
            return Err(ConfigError::at("pk.mode", "`upsert` and `update` need a primary key"));
        }
        Ok(mapping)
    }

    /// The declared type of a column.
    pub fn kind(&self, column: &str) -> Option<Kind> {
        declared(&self.columns, column).copied()
    }
}
