//! Gives a value the type that is wanted where it stands: the rule by which fields without a declared type are read.
//!
//! `None` is NULL: the value is NULL, or cannot be read as what is wanted.

use super::cast;
use crate::decimal::Decimal;
use crate::json::{Malformed, number};
use crate::value::Value;

/// Reads a whole number: itself, a double or decimal without a fraction, or text that is one.
pub fn whole(value: Value<'_>) -> Result<Option<i64>, Malformed> {
    Ok(match number_of(value)? {
        Some(Value::Whole(whole)) => Some(whole),
        Some(Value::Double(double)) => whole_double(double),
        Some(Value::Decimal(decimal)) => whole_double(decimal.to_double()),
        _ => None,
    })
}

fn whole_double(double: f64) -> Option<i64> {
    // 2^63 is the first double that does not fit.
    let fits = double.fract() == 0.0 && (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&double);
    fits.then_some(double as i64)
}

/// Reads a number of any type.
pub fn number_of(value: Value<'_>) -> Result<Option<Value<'_>>, Malformed> {
    Ok(match value.decode()? {
        number @ (Value::Whole(_) | Value::Double(_) | Value::Decimal(_)) => Some(number),
        Value::Text(text) => number_in(&text),
        Value::Date(number) | Value::Time(number) | Value::Timestamp(number) => Some(Value::Whole(number)),
        _ => None,
    })
}

/// Reads a number out of text.
pub fn number_in(text: &str) -> Option<Value<'static>> {
    let text = text.trim();
    if let Some(whole) = number::whole(text.as_bytes()) {
        return Some(Value::Whole(whole));
    }
    if !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'+' | b'-' | b'e' | b'E')) {
        // Rust would read "inf" and "nan", which are no numbers here.
        return None;
    }
    if let (false, Some(decimal)) = (text.contains(['.', 'e', 'E']), Decimal::parse(text)) {
        return Some(Value::Decimal(decimal));
    }
    text.parse().ok().map(Value::Double)
}

/// The double nearest to a number.
pub fn double_of(number: &Value<'_>) -> Option<f64> {
    match number {
        Value::Whole(whole) => Some(*whole as f64),
        Value::Double(double) => Some(*double),
        Value::Decimal(decimal) => Some(decimal.to_double()),
        _ => None,
    }
}

/// A number as a decimal.
pub fn decimal_of(number: &Value<'_>) -> Option<Decimal> {
    match number {
        Value::Whole(whole) => Some(Decimal::from_whole(*whole)),
        Value::Double(double) => Decimal::from_double(*double),
        Value::Decimal(decimal) => Some(*decimal),
        _ => None,
    }
}

/// Reads a boolean: itself, or text that is one.
pub fn boolean(value: Value<'_>) -> Result<Option<bool>, Malformed> {
    Ok(match value.decode()? {
        Value::Boolean(flag) => Some(flag),
        Value::Text(text) => boolean_in(&text),
        _ => None,
    })
}

/// Reads a boolean out of text: `true`, `yes`, `t` and `y`, or `false`, `no`, `f` and `n`, in either case.
pub fn boolean_in(text: &str) -> Option<bool> {
    let is_one_of = |words: [&str; 4]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_one_of(["true", "yes", "t", "y"]) {
        Some(true)
    } else if is_one_of(["false", "no", "f", "n"]) {
        Some(false)
    } else {
        None
    }
}

/// Reads a moment: itself, milliseconds, a date's midnight, or text in ISO form.
pub fn timestamp(value: Value<'_>) -> Result<Option<i64>, Malformed> {
    Ok(match value.decode()? {
        Value::Timestamp(ms) | Value::Whole(ms) => Some(ms),
        Value::Date(days) => days.checked_mul(crate::time::DAY_MS),
        Value::Text(text) => crate::time::iso::timestamp_in(&text),
        _ => None,
    })
}

/// Reads a date: itself, days, the date of a moment, or text in ISO form.
pub fn date(value: Value<'_>) -> Result<Option<i64>, Malformed> {
    Ok(match value.decode()? {
        Value::Date(days) | Value::Whole(days) => Some(days),
        Value::Timestamp(ms) => Some(ms.div_euclid(crate::time::DAY_MS)),
        Value::Text(text) => crate::time::iso::date_in(&text),
        _ => None,
    })
}

/// Reads a time of day: itself, milliseconds, the time of a moment, or text in ISO form.
pub fn time(value: Value<'_>) -> Result<Option<i64>, Malformed> {
    Ok(match value.decode()? {
        Value::Time(ms) => Some(ms),
        Value::Whole(ms) => (0..crate::time::DAY_MS).contains(&ms).then_some(ms),
        Value::Timestamp(ms) => Some(ms.rem_euclid(crate::time::DAY_MS)),
        Value::Text(text) => crate::time::iso::time_in(&text),
        _ => None,
    })
}

/// Reads bytes: themselves, or base64 text.
pub fn bytes(value: Value<'_>) -> Result<Option<Value<'_>>, Malformed> {
    match value.decode()? {
        bytes @ Value::Bytes(_) => Ok(Some(bytes)),
        Value::Text(text) => Ok(cast::bytes_in(&text)),
        _ => Ok(None),
    }
}
