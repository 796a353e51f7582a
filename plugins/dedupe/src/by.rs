//! What two records have in common when one repeats the other.

use weir_plugin::serde_json::{self, Value};
use weir_plugin::{Record, Reject, Result, serde};

/// The part of a record that is compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(crate = "weir_plugin::serde", rename_all = "snake_case")]
pub enum By {
    /// The whole value.
    #[default]
    Value,
    /// The key. Records without one are all different from those with one, and the same among themselves.
    Key,
    /// A header. Records without it are rejected.
    Header(String),
    /// Fields of the JSON value; dots lead into objects. What is absent is `null`.
    Fields(Vec<String>),
}

impl By {
    /// Appends what is compared.
    pub fn write(&self, record: &Record<'_>, out: &mut Vec<u8>) -> Result<()> {
        match self {
            By::Value => out.extend_from_slice(record.value().ok_or_else(tombstone)?),
            By::Key => {
                out.push(u8::from(record.key().is_some()));
                out.extend_from_slice(record.key().unwrap_or_default());
            }
            By::Header(name) => {
                let absent = || Reject::permanent(format_args!("expected a header {name}, found none"));
                out.extend_from_slice(record.header(name).ok_or_else(absent)?);
            }
            By::Fields(paths) => {
                let value: Value = record.json()?;
                for path in paths {
                    let found = path.split('.').try_fold(&value, |value, name| value.get(name));
                    serde_json::to_writer(&mut *out, found.unwrap_or(&Value::Null))?;
                    out.push(b'\n');
                }
            }
        }
        Ok(())
    }
}

fn tombstone() -> Reject {
    Reject::permanent("expected a value, got a tombstone")
}
