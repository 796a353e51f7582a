//! Records as rows of a table, for sinks: which columns a row has, and what identifies it.
//!
//! A record's value is a JSON object, whose fields are columns; some are left out or have other names. The primary key is as in Kafka
//! Connect's JDBC sink ([`PkMode`]). A record without a value deletes the row of its key.
//!
//! ```
//! use weir_plugin::rows::{Mapping, Pk, PkMode};
//!
//! let pk = Pk { mode: PkMode::RecordValue, fields: vec!["id".into()] };
//! let mapping = Mapping::new(pk, false, &std::collections::BTreeMap::<_, weir_plugin::rows::Column<String>>::new())?;
//! # let _ = mapping;
//! # Ok::<(), weir_plugin::ConfigError>(())
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use crate::json::{self, check, scan};
use crate::{ConfigError, Record, RecordId, Reject, Result};

/// What identifies a row.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pk {
    /// Where its values are.
    #[serde(default)]
    pub mode: PkMode,
    /// The names of its fields.
    #[serde(default)]
    pub fields: Vec<String>,
}

/// Where the values of the primary key are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
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

/// What is known of a field, its type among it.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Column<K> {
    /// Its type.
    Type(K),
    /// More.
    More(More<K>),
}

/// More about a field.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct More<K> {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: Option<K>,
    /// The name of its column.
    pub name: Option<String>,
    /// Whether it is left out.
    #[serde(default)]
    pub drop: bool,
}

/// The columns of an id.
pub const ID_COLUMNS: [&str; 3] = ["weir_source", "weir_offset", "weir_ordinal"];

/// How records become rows.
#[derive(Debug, Clone)]
pub struct Mapping {
    pk: Pk,
    deletes: bool,
    /// The columns of fields that have other names; `None`: such a field is left out.
    names: BTreeMap<String, Option<String>>,
}

impl Mapping {
    /// A mapping. The error says what does not fit together, by the path of the setting: `pk`, `deletes`.
    pub fn new<K>(mut pk: Pk, deletes: bool, columns: &BTreeMap<String, Column<K>>) -> Result<Mapping, ConfigError> {
        match (pk.mode, pk.fields.len()) {
            (PkMode::None, 0) | (PkMode::Id, 0 | 3) | (PkMode::RecordKey | PkMode::RecordValue, 1..) => {}
            (PkMode::None, _) => return Err(ConfigError::at("pk.mode", "there are `fields`, but no `mode`")),
            (PkMode::RecordKey, _) => {
                return Err(ConfigError::at("pk.fields", "expected the name of a column, or fields of the key"));
            }
            (PkMode::RecordValue, _) => return Err(ConfigError::at("pk.fields", "expected fields of the value")),
            (PkMode::Id, _) => return Err(ConfigError::at("pk.fields", "expected three names, or none")),
        }
        if pk.mode == PkMode::Id && pk.fields.is_empty() {
            pk.fields = ID_COLUMNS.map(str::to_owned).to_vec();
        }
        if deletes && pk.mode != PkMode::RecordKey {
            return Err(ConfigError::at("deletes", "only with `pk: {mode: record_key}` a tombstone says which row"));
        }
        let named = |(field, column): (&String, &Column<K>)| match column {
            Column::More(More { drop: true, .. }) => Some((field.clone(), None)),
            Column::More(More { name: Some(name), .. }) => Some((field.clone(), Some(name.clone()))),
            Column::More(_) | Column::Type(_) => None,
        };
        Ok(Mapping { pk, deletes, names: columns.iter().filter_map(named).collect() })
    }

    /// Where the primary key is.
    pub fn pk_mode(&self) -> PkMode {
        self.pk.mode
    }

    /// The columns of the primary key.
    pub fn key_columns(&self) -> impl Iterator<Item = &str> {
        self.pk.fields.iter().map(|field| self.column(field).unwrap_or(field))
    }

    /// The column of a field; none, where it is left out.
    pub fn column<'a>(&'a self, field: &'a str) -> Option<&'a str> {
        self.names.get(field).map_or(Some(field), Option::as_deref)
    }

    /// Reads a record.
    pub fn row<'a>(&'a self, record: Record<'a>, id: RecordId<'a>) -> Result<Row<'a>> {
        let Some(value) = record.value() else {
            if !self.deletes {
                let help = "it has no value; with `deletes: true` it would delete the row of its key";
                return Err(Reject::permanent(help));
            }
            let cells = self.of_key(record)?;
            return Ok(Row { record, id, is_delete: true, keys: cells.len(), cells });
        };
        let mut fields = members(value)?;
        let mut cells = match self.pk.mode {
            PkMode::None => Vec::new(),
            PkMode::Id => {
                let number = |number: u64| Value(Cow::Owned(number.to_string()));
                let values = [Value::of_text(id.source), number(id.offset), number(u64::from(id.ordinal))];
                self.pk.fields.iter().map(|name| Cow::Borrowed(name.as_str())).zip(values).collect()
            }
            PkMode::RecordKey => self.of_key(record)?,
            PkMode::RecordValue => self.taken(&mut fields)?,
        };
        let keys = cells.len();
        for (field, value) in fields {
            let name = match field {
                Cow::Borrowed(field) => self.column(field).map(Cow::Borrowed),
                Cow::Owned(field) => self.column(&field).map(|name| Cow::Owned(name.to_owned())),
            };
            let Some(name) = name else { continue };
            match cells.iter().position(|(known, _)| *known == name) {
                // What is in the key already counts there.
                Some(at) if at < keys => {}
                Some(_) => return Err(Reject::permanent(format!("two of its fields go to the column {name:?}"))),
                None => cells.push((name, value)),
            }
        }
        cells.get_mut(keys..).unwrap_or_default().sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Row { record, id, is_delete: false, cells, keys })
    }

    /// The columns of the primary key, of the record's key.
    fn of_key<'a>(&'a self, record: Record<'a>) -> Result<Vec<(Cow<'a, str>, Value<'a>)>> {
        let key = record.key().ok_or("it has no key")?;
        if key.first() == Some(&b'{') {
            return self.taken(&mut members(key)?);
        }
        let [name] = self.pk.fields.as_slice() else {
            let fields = self.pk.fields.join(", ");
            return Err(Reject::permanent(format!("its key is no JSON object with the fields {fields}")));
        };
        let text = std::str::from_utf8(key)?;
        let is_json = check::value(key).is_ok() && !text.starts_with('n');
        let value = if is_json { Value(Cow::Borrowed(text)) } else { Value::of_text(text) };
        Ok(vec![(Cow::Borrowed(self.column(name).unwrap_or(name)), value)])
    }

    /// Takes the fields of the primary key out of others.
    fn taken<'a>(&'a self, fields: &mut Vec<(Cow<'a, str>, Value<'a>)>) -> Result<Vec<(Cow<'a, str>, Value<'a>)>> {
        let take = |name: &'a String| {
            let at = fields.iter().position(|(field, value)| field == name && !value.is_null());
            let at = at.ok_or_else(|| Reject::permanent(format!("it lacks the field {name:?} of the primary key")))?;
            Ok((Cow::Borrowed(self.column(name).unwrap_or(name)), fields.remove(at).1))
        };
        self.pk.fields.iter().map(take).collect()
    }
}

/// The declared type of a column.
pub fn declared<'a, K>(columns: &'a BTreeMap<String, Column<K>>, column: &str) -> Option<&'a K> {
    columns.iter().find_map(|(field, of)| match of {
        Column::Type(kind) => (field == column).then_some(kind),
        Column::More(more) => (more.name.as_deref().unwrap_or(field) == column).then_some(more.kind.as_ref())?,
    })
}

/// What a record asks for.
#[derive(Debug, Clone)]
pub struct Row<'a> {
    /// The record.
    pub record: Record<'a>,
    /// What stays the same when it comes again.
    pub id: RecordId<'a>,
    /// Whether it deletes.
    pub is_delete: bool,
    /// The columns of the primary key and then all others, by name, each once. Nulls are among them.
    pub cells: Vec<(Cow<'a, str>, Value<'a>)>,
    /// How many of them are of the primary key.
    pub keys: usize,
}

/// A value of a record: JSON that is well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value<'a>(Cow<'a, str>);

impl<'a> Value<'a> {
    /// Of JSON, which has to be well formed, without space around it.
    pub fn of_json(json: &'a str) -> Result<Self> {
        check::value(json.as_bytes())?;
        Ok(Value(Cow::Borrowed(json)))
    }

    /// Of a text.
    pub fn of_text(text: &str) -> Value<'static> {
        let mut quoted = Vec::with_capacity(text.len() + 2);
        json::push_string(&mut quoted, text);
        Value(Cow::Owned(String::from_utf8_lossy(&quoted).into_owned()))
    }

    /// As it stands in JSON.
    pub fn json(&self) -> &str {
        &self.0
    }

    /// Its first byte, which says what it is.
    pub fn first(&self) -> u8 {
        self.0.as_bytes().first().copied().unwrap_or(b'n')
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        self.first() == b'n'
    }

    /// The text of a string; otherwise the JSON.
    pub fn text(&self) -> Result<Cow<'_, str>, String> {
        let inner = self.0.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        inner.map_or(Ok(Cow::Borrowed(&*self.0)), |inner| {
            json::text::decode(inner.as_bytes()).map_err(|error| error.to_string())
        })
    }

    /// The bytes of a string in base64, with its padding or without.
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        base64(&self.text()?).ok_or_else(|| self.expected("base64"))
    }

    /// The words for something else than what was expected.
    pub fn expected(&self, what: &str) -> String {
        let shown: String = self.0.chars().take(80).collect();
        format!("expected {what}, got {shown}")
    }
}

/// The members of a JSON object; of several of one name the last counts.
fn members(doc: &[u8]) -> Result<Vec<(Cow<'_, str>, Value<'_>)>> {
    let mut members = scan::Members::begin(doc, 0)?;
    let mut fields: Vec<(Cow<'_, str>, Value<'_>)> = Vec::new();
    while let Some(member) = members.next(doc)? {
        let slice = |range| doc.get(range).unwrap_or_default();
        let name = json::text::decode(slice(member.name))?;
        let raw = slice(member.value);
        check::value(raw)?;
        let value = Value(Cow::Borrowed(std::str::from_utf8(raw)?));
        match fields.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => fields.push((name, value)),
        }
    }
    members.end(doc)?;
    Ok(fields)
}

/// Bytes of base64, with its padding or without.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    (text.len() % 4 != 1).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_with_and_without_its_padding() {
        let bytes = |json| Value::of_json(json).unwrap().bytes();
        assert_eq!(bytes(r#""AP8=""#), Ok(vec![0, 255]));
        assert_eq!(bytes(r#""AP8""#), Ok(vec![0, 255]));
        assert_eq!(bytes(r#""_-8""#), Ok(vec![255, 239]));
        assert!(bytes(r#""A""#).is_err() && bytes("7").is_err() && bytes(r#""ä""#).is_err());
    }

    #[test]
    fn a_declared_type_is_found_by_the_name_of_the_column() {
        let columns: BTreeMap<String, Column<u8>> =
            serde_json::from_str(r#"{"a":1,"b":{"type":2,"name":"c"},"d":{"name":"e"}}"#).unwrap();
        let found = ["a", "b", "c", "e"].map(|column| declared(&columns, column).copied());
        assert_eq!(found, [Some(1), None, Some(2), None]);
        let mapping = Mapping::new(Pk::default(), false, &columns).unwrap();
        assert_eq!(
            ["a", "b", "d", "x"].map(|field| mapping.column(field)),
            [Some("a"), Some("c"), Some("e"), Some("x")]
        );
    }
}
