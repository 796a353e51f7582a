//! What stands under `config`, and what of it does not fit together.

use std::collections::BTreeMap;

use weir_plugin::rows::{Column, Mapping, Pk, PkMode, declared};
use weir_plugin::serde::de::Error as _;
use weir_plugin::serde::{Deserialize, Deserializer};
use weir_plugin::{ConfigError, serde};

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
    /// How the rows of a table that is created are spread.
    #[serde(default)]
    pub hash: Hash,
    /// Copies of each tablet of a table that is created.
    pub replicas: Option<u8>,
    /// Rows of one call.
    #[serde(default = "batch_rows_max")]
    pub batch_rows_max: usize,
}

fn batch_rows_max() -> usize {
    10_000
}

/// What becomes of a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(crate = "weir_plugin::serde", rename_all = "snake_case")]
pub enum Mode {
    /// A new row, or other values in the one with its key.
    #[default]
    Upsert,
    /// A new row; where there is one with its key, that stays as it is.
    Insert,
    /// Other values in the row with its key.
    Update,
}

/// How rows are spread over tablets.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(crate = "weir_plugin::serde", deny_unknown_fields)]
pub struct Hash {
    /// Columns of the primary key; all of them, where none is named.
    #[serde(default)]
    pub columns: Vec<String>,
    /// Into how many parts.
    #[serde(default = "buckets")]
    pub buckets: u16,
}

impl Default for Hash {
    fn default() -> Self {
        Hash { columns: Vec::new(), buckets: buckets() }
    }
}

fn buckets() -> u16 {
    4
}

/// The type of a column, as Kudu writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind(String);

/// Types without numbers.
const PLAIN: [&str; 11] =
    ["bool", "int8", "int16", "int32", "int64", "float", "double", "string", "binary", "unixtime_micros", "date"];

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text: String = Deserialize::deserialize(deserializer)?;
        let numbers = |name: &str| text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
        let decimal = || {
            let (precision, scale) = numbers("decimal")?.split_once(',')?;
            let (precision, scale) = (precision.trim().parse::<u8>().ok()?, scale.trim().parse::<u8>().ok()?);
            ((1..=38).contains(&precision) && scale <= precision).then_some(())
        };
        let varchar = || numbers("varchar")?.trim().parse::<u16>().ok().filter(|length| *length > 0).map(drop);
        if PLAIN.contains(&text.as_str()) || decimal().or_else(varchar).is_some() {
            return Ok(Kind(text));
        }
        let plain = PLAIN.join(", ");
        Err(D::Error::custom(format!("expected {plain}, decimal(P, S) or varchar(N), got {text:?}")))
    }
}

impl Kind {
    /// One of those without numbers.
    pub fn plain(name: &'static str) -> Kind {
        Kind(name.to_owned())
    }

    /// As Kudu writes it.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl Config {
    /// How records become rows. Refuses what does not fit together.
    pub fn check(&self) -> Result<Mapping, ConfigError> {
        if self.table.is_empty() || self.table.len() > 256 {
            return Err(ConfigError::at("table", "expected the name of a table, of at most 256 bytes"));
        }
        if self.pk.mode == PkMode::None {
            return Err(ConfigError::at(
                "pk.mode",
                "every table of Kudu has a primary key: record_key, record_value or id",
            ));
        }
        let mapping = Mapping::new(self.pk.clone(), self.deletes, &self.columns)?;
        if !(1..=100_000).contains(&self.batch_rows_max) {
            return Err(ConfigError::at("batch_rows_max", "expected a number from 1 to 100000"));
        }
        if self.hash.buckets < 2 {
            return Err(ConfigError::at("hash.buckets", "expected 2 at least"));
        }
        if let Some(strange) = self.hash.columns.iter().find(|column| !mapping.key_columns().any(|key| key == *column))
        {
            return Err(ConfigError::at("hash.columns", format!("{strange:?} is no column of the primary key")));
        }
        if self.replicas.is_some_and(|count| count.is_multiple_of(2)) {
            return Err(ConfigError::at("replicas", "expected an odd number"));
        }
        Ok(mapping)
    }

    /// The declared type of a column.
    pub fn kind(&self, column: &str) -> Option<&Kind> {
        declared(&self.columns, column)
    }

    /// The columns whose types are declared, and that are not left out.
    pub fn declared(&self) -> impl Iterator<Item = (&str, &Kind)> {
        self.columns.iter().filter_map(|(field, column)| match column {
            Column::Type(kind) => Some((field.as_str(), kind)),
            Column::More(more) if more.drop => None,
            Column::More(more) => Some((more.name.as_deref().unwrap_or(field), more.kind.as_ref()?)),
        })
    }
}
