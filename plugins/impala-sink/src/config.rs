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
    /// The table: `NAME`, or `DATABASE.NAME` where it is in another database than the endpoint's.
    pub table: String,
    /// What becomes of a record.
    #[serde(default)]
    pub mode: Mode,
    /// What identifies a row.
    #[serde(default)]
    pub pk: Pk,
    /// Whether a record without a value deletes the row of its key. Of Impala alone.
    #[serde(default)]
    pub deletes: bool,
    /// Whether a table that is not there is created, stored as Kudu. Of Impala alone.
    #[serde(default)]
    pub create_table: bool,
    /// Whether a column that is not there is added. Of Impala alone.
    #[serde(default)]
    pub add_columns: bool,
    /// What is known of fields.
    #[serde(default)]
    pub columns: BTreeMap<String, Column<Kind>>,
    /// Into how many parts the rows of a table that is created are spread, by the hash of their primary keys.
    #[serde(default = "partitions")]
    pub partitions: u16,
    /// Copies of each part of a table that is created; without it, as Kudu is set.
    pub replicas: Option<u8>,
    /// Rows of a statement.
    #[serde(default = "batch_rows_max")]
    pub batch_rows_max: usize,
}

fn partitions() -> u16 {
    4
}

fn batch_rows_max() -> usize {
    1_000
}

/// What becomes of a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(crate = "weir_plugin::serde", rename_all = "snake_case")]
pub enum Mode {
    /// A new row, or other values in the one with its key.
    #[default]
    Upsert,
    /// A new row. What is sent again after a crash is there twice.
    Insert,
}

impl Config {
    /// How records become rows. Refuses what does not fit together.
    pub fn check(&self) -> Result<Mapping, ConfigError> {
        if self.table.is_empty() || self.table.split('.').any(str::is_empty) || self.table.matches('.').count() > 1 {
            return Err(ConfigError::at("table", "expected the name of a table, or of a database, a dot and a table"));
        }
        if !(1..=10_000).contains(&self.batch_rows_max) {
            return Err(ConfigError::at("batch_rows_max", "expected a number from 1 to 10000"));
        }
        if !(1..=1_000).contains(&self.partitions) {
            return Err(ConfigError::at("partitions", "expected a number from 1 to 1000"));
        }
        if self.replicas.is_some_and(|replicas| replicas % 2 == 0 || replicas > 7) {
            return Err(ConfigError::at("replicas", "expected 1, 3, 5 or 7"));
        }
        if self.pk.mode == PkMode::None && (self.mode == Mode::Upsert || self.create_table) {
            return Err(ConfigError::at("pk.mode", "`upsert` and `create_table` need a primary key"));
        }
        Mapping::new(self.pk.clone(), self.deletes, &self.columns)
    }

    /// The declared type of a column.
    pub fn kind(&self, column: &str) -> Option<&Kind> {
        declared(&self.columns, column)
    }
}
