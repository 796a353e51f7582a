//! CAST.

use std::borrow::Cow;

use super::coerce;
use crate::decimal::Decimal;
use crate::json::Malformed;
use crate::time::{self, iso};
use crate::types::Type;
use crate::value::{Outcome, Value};

/// Converts a value to a type; NULL when it cannot be.
pub fn cast<'v>(value: Value<'v>, wanted: &Type) -> Outcome<'v> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    Ok(Value::or_null(match wanted {
        Type::Any => Some(value),
        Type::Varchar => value.into_text()?.map(Value::Text),
        Type::Boolean => coerce::boolean(value)?.map(Value::Boolean),
        // A number that is too large keeps its low 32 bits, as Java's narrowing does; text that is too large is NULL.
        Type::Integer => match value.decode()? {
            Value::Text(text) => cut_text(&text).filter(|whole| i32::try_from(*whole).is_ok()).map(Value::Whole),
            value => cut(value)?.map(|whole| Value::Whole(i64::from(whole as i32))),
        },
        Type::Bigint => match value.decode()? {
            Value::Text(text) => cut_text(&text).map(Value::Whole),
            value => cut(value)?.map(Value::Whole),
        },
        Type::Double => coerce::number_of(value)?.and_then(|number| coerce::double_of(&number)).map(Value::Double),
        Type::Decimal(precision, scale) => to_decimal(value, *precision, *scale)?,
        Type::Bytes => coerce::bytes(value)?,
        Type::Date => coerce::date(value)?.map(Value::Date),
        Type::Time => coerce::time(value)?.map(Value::Time),
        Type::Timestamp => coerce::timestamp(value)?.map(Value::Timestamp),
        Type::Array(of) => cast_elements(value, of)?,
        Type::Map(of) => cast_members(value, of)?,
        Type::Struct(fields) => cast_fields(value, fields)?,
    }))
}

/// Cuts a number to a whole one, towards zero. Doubles beyond the range become its ends, as in Java.
fn cut(value: Value<'_>) -> Result<Option<i64>, Malformed> {
    Ok(match coerce::number_of(value)? {
        Some(Value::Whole(whole)) => Some(whole),
        Some(Value::Double(double)) => Some(double as i64),
        Some(Value::Decimal(decimal)) => decimal.to_whole(),
        _ => None,
    })
}

/// Reads a whole number, or a number with a fraction that is cut off.
fn cut_text(text: &str) -> Option<i64> {
    match coerce::number_in(text)? {
        Value::Whole(whole) => Some(whole),
        Value::Double(double) if double.abs() < 9.2e18 => Some(double as i64),
        _ => None,
    }
}

fn to_decimal<'v>(value: Value<'v>, precision: u8, scale: u8) -> Result<Option<Value<'v>>, Malformed> {
    let decimal = match value {
        // The number as it is written in the record, not the double that it would be rounded to first.
        Value::Json(raw) if !raw.is_object() && !raw.is_array() => Decimal::parse(raw.text()?.trim()),
        Value::Text(text) => Decimal::parse(text.trim()),
        number => coerce::number_of(number)?.and_then(|number| coerce::decimal_of(&number)),
    };
    Ok(decimal.and_then(|decimal| decimal.fit(precision, scale)).map(Value::Decimal))
}

fn cast_elements<'v>(value: Value<'v>, of: &Type) -> Result<Option<Value<'v>>, Malformed> {
    let Some(elements) = value.into_elements()? else { return Ok(None) };
    let cast: Result<Vec<_>, _> = elements.into_iter().map(|element| cast(element, of)).collect();
    Ok(Some(Value::Array(cast?)))
}

fn cast_members<'v>(value: Value<'v>, of: &Type) -> Result<Option<Value<'v>>, Malformed> {
    let Some(members) = value.into_members()? else { return Ok(None) };
    let cast: Result<Vec<_>, _> = members.into_iter().map(|(name, value)| Ok((name, cast(value, of)?))).collect();
    Ok(Some(Value::Object(cast?)))
}

fn cast_fields<'v>(value: Value<'v>, fields: &[(String, Type)]) -> Result<Option<Value<'v>>, Malformed> {
    let Some(members) = value.into_members()? else { return Ok(None) };
    let mut result = Vec::with_capacity(fields.len());
    for (name, wanted) in fields {
        let found = members.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = found.map_or(Value::Null, |(_, value)| value.clone());
        result.push((Cow::Owned(name.clone()), cast(value, wanted)?));
    }
    Ok(Some(Value::Object(result)))
}

/// Reads a date out of text in ISO form.
pub fn date_in(text: &str) -> Option<Value<'static>> {
    iso::date_in(text).map(Value::Date)
}

/// Reads a time of day out of text in ISO form.
pub fn time_in(text: &str) -> Option<Value<'static>> {
    iso::time_in(text).map(Value::Time)
}

/// Reads a moment out of text in ISO form.
pub fn timestamp_in(text: &str) -> Option<Value<'static>> {
    time::iso::timestamp_in(text).map(Value::Timestamp)
}

/// Reads bytes out of base64.
pub fn bytes_in(text: &str) -> Option<Value<'static>> {
    crate::bytes::from_base64(text).map(|bytes| Value::Bytes(Cow::Owned(bytes)))
}
