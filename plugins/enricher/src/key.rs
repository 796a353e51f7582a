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

/// Of the length of a value, where values are to be told apart.
const LENGTH_BYTES: usize = 4;

/// Where the key stands.
#[derive(Debug)]
pub enum KeyPlace {
    Record,
    Header(String),
    Fields { ways: Vec<Way>, joint: Joint },
}

/// How the values of several fields become one key.
#[derive(Debug)]
pub enum Joint {
    /// With a text between them.
    Separator(String),
    /// Each behind its length, so that they can be told apart again.
    Length,
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
    /// Of a table, or of an endpoint, which takes the values apart.
    pub fn new(key: config::Key, is_table: bool, names: &mut Names) -> Self {
        match key {
            config::Key::Record => KeyPlace::Record,
            config::Key::Header(name) => KeyPlace::Header(name),
            config::Key::Fields { paths, separator } => {
                let joint = match separator {
                    _ if !is_table => Joint::Length,
                    given => Joint::Separator(given.unwrap_or_else(|| "/".to_owned())),
                };
                KeyPlace::Fields { ways: paths.iter().map(|path| names.way(path)).collect(), joint }
            }
        }
    }

    /// How many values it has for an endpoint.
    pub fn width(&self) -> usize {
        match self {
            KeyPlace::Record | KeyPlace::Header(_) => 1,
            KeyPlace::Fields { ways, .. } => ways.len(),
        }
    }

    /// The values of a key that was read for an endpoint.
    pub fn values<'k>(&self, key: &'k RowKey) -> Vec<&'k [u8]> {
        let KeyPlace::Fields { joint: Joint::Length, .. } = self else { return vec![&key.0] };
        let (mut values, mut rest) = (Vec::new(), key.0.as_slice());
        while let Some((length, behind)) = rest.split_first_chunk::<LENGTH_BYTES>() {
            let Some((value, behind)) = behind.split_at_checked(u32::from_le_bytes(*length) as usize) else { break };
            values.push(value);
            rest = behind;
        }
        values
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
            KeyPlace::Fields { ways, joint } => {
                for (at, way) in ways.iter().enumerate() {
                    match joint {
                        Joint::Separator(separator) if at > 0 => key.0.extend_from_slice(separator.as_bytes()),
                        Joint::Separator(_) => {}
                        Joint::Length => key.0.extend_from_slice(&[0; LENGTH_BYTES]),
                    }
                    let start = key.0.len();
                    let Some(value) = value_of(way)? else { return Ok(false) };
                    if !push_scalar(value, key)? {
                        return Ok(false);
                    }
                    if let Joint::Length = joint {
                        let length = (key.0.len() - start) as u32;
                        let place = key.0.get_mut(start - LENGTH_BYTES..start);
                        place.into_iter().for_each(|place| place.copy_from_slice(&length.to_le_bytes()));
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
