//! What stands under `config`, as it is written there.

use std::fmt;

use weir_plugin::Duration;
use weir_plugin::json::Path;
use weir_plugin::serde::de::value::MapAccessDeserializer;
use weir_plugin::serde::de::{Error, MapAccess, SeqAccess, Visitor};
use weir_plugin::serde::{self, Deserialize, Deserializer};

/// What can be set.
#[derive(Debug, Deserialize)]
#[serde(crate = "weir_plugin::serde", deny_unknown_fields)]
pub struct Config {
    /// What is looked up, in this order: one sees the fields that those before it added.
    pub lookups: Vec<Lookup>,
    /// How many records of an instance may wait for their rows; for those beyond, `then` holds at once. Default: 10000.
    #[serde(default = "wait_records_max")]
    pub wait_records_max: u64,
}

fn wait_records_max() -> u64 {
    10_000
}

/// Where rows are found, and what of them goes into which records.
#[derive(Debug, Deserialize)]
#[serde(crate = "weir_plugin::serde", deny_unknown_fields)]
pub struct Lookup {
    /// The name of a table under `tables` of the step: or else `endpoint`.
    #[serde(default)]
    pub table: Option<String>,
    /// The name of a directory or database that is granted by `lookup`: or else `table`.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// The query whose first row is the row, with a placeholder for each value of the key. Of a database.
    #[serde(default)]
    pub query: Option<String>,
    /// What becomes of records while the endpoint does not answer. Default: `wait`.
    #[serde(default)]
    pub on_unavailable: Option<OnUnavailable>,
    /// What of a record is the key of its row.
    pub key: Key,
    /// Which fields of the row are added. Default: the row as a whole, under `into`.
    #[serde(default)]
    pub take: Option<Take>,
    /// The field under which all that is taken goes. Default: none, where there is `take`.
    #[serde(default)]
    pub into: Option<Path>,
    /// What becomes of a record that has no row. Default: `pass`.
    #[serde(default)]
    pub on_miss: OnMiss,
    /// Whether keys are compared in lower case. Default: false.
    #[serde(default)]
    pub case_insensitive: bool,
}

/// What of a record is the key of its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// The record's key.
    Record,
    /// A header.
    Header(String),
    /// Fields of the value, one or more, with a separator between them.
    Fields {
        /// Where they stand.
        paths: Vec<Path>,
        /// What stands between them in the key of a table. Default: `/`.
        separator: Option<String>,
    },
}

/// Fields of a row, and where they go in a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Take(pub Vec<(Path, Path)>);

/// What becomes of records while an endpoint does not answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(crate = "weir_plugin::serde", rename_all = "snake_case")]
pub enum OnUnavailable {
    /// The pipeline waits until it does.
    #[default]
    Wait,
    /// They have no row.
    Miss,
}

/// What becomes of a record that has no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnMiss {
    /// How long it waits for the row to come.
    pub wait_ms: Option<u64>,
    /// What becomes of it then.
    pub then: Miss,
}

/// What becomes of a record that has no row and does not wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(crate = "weir_plugin::serde", rename_all = "snake_case")]
pub enum Miss {
    /// It goes on, to the lookups behind this one.
    #[default]
    Pass,
    /// It is dropped.
    Drop,
    /// It becomes a dead letter.
    DeadLetter,
    /// It leaves by the port `missed`, with what the lookups before this one added.
    Port,
}

impl Default for OnMiss {
    fn default() -> Self {
        OnMiss { wait_ms: None, then: Miss::Pass }
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyVisitor)
    }
}

struct KeyVisitor;

/// The forms of a key that are a map.
#[derive(Deserialize)]
#[serde(crate = "weir_plugin::serde", deny_unknown_fields)]
struct KeyParts {
    field: Option<Path>,
    fields: Option<Vec<Path>>,
    header: Option<String>,
    separator: Option<String>,
}

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`key`, { field: PATH }, { fields: [PATH, ...] } or { header: NAME }")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Key, E> {
        if text == "key" { Ok(Key::Record) } else { Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)) }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Key, A::Error> {
        let parts = KeyParts::deserialize(MapAccessDeserializer::new(map))?;
        if parts.separator.is_some() && parts.fields.is_none() {
            return Err(A::Error::custom("expected `separator` beside `fields` alone"));
        }
        match parts {
            KeyParts { field: Some(path), fields: None, header: None, .. } => {
                Ok(Key::Fields { paths: vec![path], separator: None })
            }
            KeyParts { field: None, fields: Some(paths), header: None, separator } if !paths.is_empty() => {
                Ok(Key::Fields { paths, separator })
            }
            KeyParts { field: None, fields: None, header: Some(name), .. } => Ok(Key::Header(name)),
            KeyParts { fields: Some(paths), .. } if paths.is_empty() => {
                Err(A::Error::custom("expected at least one of `fields`"))
            }
            _ => Err(A::Error::custom("expected one of `field`, `fields` and `header`")),
        }
    }
}

impl<'de> Deserialize<'de> for Take {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TakeVisitor)
    }
}

struct TakeVisitor;

impl<'de> Visitor<'de> for TakeVisitor {
    type Value = Take;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of fields of the row, or a map from them to fields of the record")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Take, A::Error> {
        let mut taken = Vec::new();
        while let Some(path) = list.next_element::<Path>()? {
            taken.push((path.clone(), path));
        }
        some(taken)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Take, A::Error> {
        let mut taken = Vec::new();
        while let Some(pair) = map.next_entry::<Path, Path>()? {
            taken.push(pair);
        }
        some(taken)
    }
}

fn some<E: Error>(taken: Vec<(Path, Path)>) -> Result<Take, E> {
    if taken.is_empty() { Err(E::custom("expected at least one field of the row")) } else { Ok(Take(taken)) }
}

impl<'de> Deserialize<'de> for OnMiss {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OnMissVisitor)
    }
}

struct OnMissVisitor;

#[derive(Deserialize)]
#[serde(crate = "weir_plugin::serde", deny_unknown_fields)]
struct Wait {
    wait: Duration,
    #[serde(default)]
    then: Miss,
}

impl<'de> Visitor<'de> for OnMissVisitor {
    type Value = OnMiss;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`pass`, `drop`, `dead_letter`, `port`, or { wait: 5s, then: pass }")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<OnMiss, E> {
        let miss = Miss::deserialize(serde::de::value::StrDeserializer::<E>::new(text));
        let wrong = |_| E::invalid_value(serde::de::Unexpected::Str(text), &self);
        Ok(OnMiss { wait_ms: None, then: miss.map_err(wrong)? })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OnMiss, A::Error> {
        let Wait { wait, then } = Wait::deserialize(MapAccessDeserializer::new(map))?;
        Ok(OnMiss { wait_ms: Some(wait.as_ms()), then })
    }
}
