//! What stands under `config`, and what of it does not fit together.

use std::collections::BTreeMap;

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
    pub columns: BTreeMap<String, Column>,
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

/// What identifies a row.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(crate = "weir_plugin::serde", deny_unknown_fields)]
pub struct Pk {
    /// Where its values are.
    #[serde(default)]
    pub mode: PkMode,
    /// The names of its columns.
    #[serde(default)]
    pub fields: Vec<String>,
}

/// Where the values of the primary key are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(crate = "weir_plugin::serde", rename_all = "snake_case")]
pub enum PkMode {
    /// There is no primary key.
    #[default]
    None,
    /// The record's key: all of it, or fields of it where it is a JSON object.
    RecordKey,
    /// Fields of the record's value.
    RecordValue,
    /// The record's id: where it was read, its offset there, and which output of that it is.
    Id,
}

/// What is known of a field.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(crate = "weir_plugin::serde", untagged)]
pub enum Column {
    /// Its type.
    Type(Kind),
    /// More.
    More(More),
}

/// More about a field.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(crate = "weir_plugin::serde", deny_unknown_fields)]
pub struct More {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: Option<Kind>,
    /// The name of its column.
    pub name: Option<String>,
    /// Whether it is left out.
    #[serde(default)]
    pub drop: bool,
}

/// The columns of an id.
pub const ID_COLUMNS: [&str; 3] = ["weir_source", "weir_offset", "weir_ordinal"];

impl Config {
    /// Refuses what does not fit together.
    pub fn check(mut self) -> Result<Self, ConfigError> {
        if self.table.is_empty() || self.table.chars().count() > 63 {
            return Err(ConfigError::at("table", "expected the name of a table, of at most 63 characters"));
        }
        if !(1..=10_000).contains(&self.batch_rows_max) {
            return Err(ConfigError::at("batch_rows_max", "expected a number from 1 to 10000"));
        }
        match (self.pk.mode, self.pk.fields.len()) {
            (PkMode::None | PkMode::RecordValue, 0) | (PkMode::Id, 0 | 3) => {}
            (PkMode::RecordKey, 1..) | (PkMode::RecordValue, 1..) => {}
            (PkMode::None, _) => return Err(ConfigError::at("pk.mode", "there are `fields`, but no `mode`")),
            (PkMode::RecordKey, _) => {
                return Err(ConfigError::at("pk.fields", "expected the name of a column, or fields of the key"));
            }
            (PkMode::Id, _) => return Err(ConfigError::at("pk.fields", "expected three names, or none")),
        }
        if self.pk.mode == PkMode::RecordValue && self.pk.fields.is_empty() {
            return Err(ConfigError::at("pk.fields", "expected fields of the value"));
        }
        if self.pk.mode == PkMode::Id && self.pk.fields.is_empty() {
            self.pk.fields = ID_COLUMNS.map(str::to_owned).to_vec();
        }
        if self.pk.mode == PkMode::None && self.mode != Mode::Insert {
            return Err(ConfigError::at("pk.mode", "`upsert` and `update` need a primary key"));
        }
        if self.deletes && self.pk.mode != PkMode::RecordKey {
            return Err(ConfigError::at("deletes", "only with `pk: {mode: record_key}` a tombstone says which row"));
        }
        Ok(self)
    }

    /// The declared type of a column.
    pub fn kind(&self, column: &str) -> Option<Kind> {
        self.columns.iter().find_map(|(field, of)| match of {
            Column::Type(kind) => (field == column).then_some(*kind),
            Column::More(more) => (more.name.as_deref().unwrap_or(field) == column).then_some(more.kind)?,
        })
    }

    /// The column of a field; none, where it is left out.
    pub fn column<'a>(&'a self, field: &'a str) -> Option<&'a str> {
        match self.columns.get(field) {
            Some(Column::More(More { drop: true, .. })) => None,
            Some(Column::More(More { name: Some(name), .. })) => Some(name),
            _ => Some(field),
        }
    }
}
