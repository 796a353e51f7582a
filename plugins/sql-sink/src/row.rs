//! From a record to a row: its columns and their values, or the key of what is to be deleted.

use std::borrow::Cow;

use weir_plugin::json::{self, check, scan};
use weir_plugin::{Record, RecordId, Reject, Result};

use crate::config::{Config, PkMode};
use crate::progress::Id;
use crate::value::Value;

/// What a record asks for.
#[derive(Clone)]
pub struct Row<'a> {
    /// The record.
    pub record: Record<'a>,
    /// Its place among those of its source.
    pub id: Id,
    /// Whether it deletes.
    pub is_delete: bool,
    /// The columns of the primary key and then all others, each once. Nulls are among them.
    pub cells: Vec<(Cow<'a, str>, Value<'a>)>,
    /// How many of them are of the primary key.
    pub keys: usize,
}

/// Reads a record.
pub fn read<'a>(config: &'a Config, record: Record<'a>, id: RecordId<'a>) -> Result<Row<'a>> {
    let place = Id { offset: id.offset, ordinal: id.ordinal };
    let Some(value) = record.value() else {
        if !config.deletes {
            return Err(Reject::permanent("it has no value; with `deletes: true` it would delete the row of its key"));
        }
        let cells = of_key(config, record)?;
        return Ok(Row { record, id: place, is_delete: true, keys: cells.len(), cells });
    };
    let mut fields = members(value)?;
    let mut cells = match config.pk.mode {
        PkMode::None => Vec::new(),
        PkMode::Id => {
            let values = [Value::of_text(id.source), number(id.offset), number(u64::from(id.ordinal))];
            config.pk.fields.iter().map(|name| Cow::Borrowed(name.as_str())).zip(values).collect()
        }
        PkMode::RecordKey => of_key(config, record)?,
        PkMode::RecordValue => {
            let taken = config.pk.fields.iter().map(|name| take(&mut fields, name));
            config.pk.fields.iter().map(|name| column(config, name)).zip(taken.collect::<Result<Vec<_>>>()?).collect()
        }
    };
    let keys = cells.len();
    for (field, value) in fields {
        let name = match field {
            Cow::Borrowed(field) => config.column(field).map(Cow::Borrowed),
            Cow::Owned(field) => config.column(&field).map(|name| Cow::Owned(name.to_owned())),
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
    Ok(Row { record, id: place, is_delete: false, cells, keys })
}

fn number(number: u64) -> Value<'static> {
    Value(Cow::Owned(number.to_string()))
}

fn column<'a>(config: &'a Config, field: &'a str) -> Cow<'a, str> {
    Cow::Borrowed(config.column(field).unwrap_or(field))
}

fn take<'a>(fields: &mut Vec<(Cow<'a, str>, Value<'a>)>, name: &str) -> Result<Value<'a>> {
    let at = fields.iter().position(|(field, value)| field == name && !value.is_null());
    let at = at.ok_or_else(|| Reject::permanent(format!("it lacks the field {name:?} of the primary key")))?;
    Ok(fields.remove(at).1)
}

/// The columns of the primary key, of the record's key.
fn of_key<'a>(config: &'a Config, record: Record<'a>) -> Result<Vec<(Cow<'a, str>, Value<'a>)>> {
    let key = record.key().ok_or("it has no key")?;
    let names = &config.pk.fields;
    if key.first() == Some(&b'{') {
        let mut fields = members(key)?;
        return names.iter().map(|name| Ok((column(config, name), take(&mut fields, name)?))).collect();
    }
    let [name] = names.as_slice() else {
        return Err(Reject::permanent(format!("its key is no JSON object with the fields {}", names.join(", "))));
    };
    let text = std::str::from_utf8(key)?;
    let is_json = check::value(key).is_ok() && !text.starts_with('n');
    let value = if is_json { Value(Cow::Borrowed(text)) } else { Value::of_text(text) };
    Ok(vec![(column(config, name), value)])
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
