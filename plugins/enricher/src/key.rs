//! What of a record is the key of its row.

use weir_plugin::json::text;
use weir_plugin::{Record, Result};

use crate::config;
use crate::fields::{Names, Way};
use crate::rows::RowKey;
use crate::waiting::Waited;

/// A record that is looked up for: one that has come, or one that has waited.
#[derive(Clone, Copy)]
pub enum Subject<'a> {
    Come(Record<'a>),
    Waited(&'a Waited),
}

/// Where the key stands.
#[derive(Debug)]
pub enum KeyPlace {
    Record,
    Header(String),
    Fields { ways: Vec<Way>, separator: String },
}

impl<'a> Subject<'a> {
    fn key(&self) -> Option<&'a [u8]> {
        match self {
            Subject::Come(record) => record.key(),
            Subject::Waited(waited) => waited.key.as_deref(),
        }
    }

    fn header(&self, name: &str) -> Option<&'a [u8]> {
        match self {
            Subject::Come(record) => record.header(name),
            Subject::Waited(waited) => waited.header(name),
        }
    }
}

impl KeyPlace {
    pub fn new(key: config::Key, names: &mut Names) -> Self {
        match key {
            config::Key::Record => KeyPlace::Record,
            config::Key::Header(name) => KeyPlace::Header(name),
            config::Key::Fields { paths, separator } => {
                KeyPlace::Fields { ways: paths.iter().map(|path| names.way(path)).collect(), separator }
            }
        }
    }

    /// The fields of which it is made.
    pub fn ways(&self) -> &[Way] {
        match self {
            KeyPlace::Fields { ways, .. } => ways,
            KeyPlace::Record | KeyPlace::Header(_) => &[],
        }
    }

    /// Reads the key. False: the record has none.
    pub fn read<'v>(
        &self,
        subject: Subject<'_>,
        value_of: impl Fn(&Way) -> Result<Option<&'v [u8]>>,
        key: &mut RowKey,
    ) -> Result<bool> {
        key.0.clear();
        match self {
            KeyPlace::Record => Ok(copy(subject.key(), key)),
            KeyPlace::Header(name) => Ok(copy(subject.header(name), key)),
            KeyPlace::Fields { ways, separator } => {
                for (at, way) in ways.iter().enumerate() {
                    if at > 0 {
                        key.0.extend_from_slice(separator.as_bytes());
                    }
                    let Some(value) = value_of(way)? else { return Ok(false) };
                    if !push_scalar(value, key)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }
}

fn copy(bytes: Option<&[u8]>, key: &mut RowKey) -> bool {
    key.0.extend_from_slice(bytes.unwrap_or_default());
    bytes.is_some()
}

/// Appends a text as it is, and a number or boolean as its JSON text. False: `null`, an object or an array is no key.
fn push_scalar(value: &[u8], key: &mut RowKey) -> Result<bool> {
    match value {
        [b'"', inner @ .., b'"'] => key.0.extend_from_slice(text::decode(inner)?.as_bytes()),
        [b'n' | b'{' | b'[', ..] => return Ok(false),
        _ => key.0.extend_from_slice(value),
    }
    Ok(true)
}
