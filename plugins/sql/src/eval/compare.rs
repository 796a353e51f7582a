//! Compares two values of any types.
//!
//! Fields have no declared type, so values of unlike types meet. A string next to a number, a boolean or a time is read
//! as one; when it is none, the two are unequal, and neither is less than the other.

use std::cmp::Ordering;

use super::{cast, coerce};
use crate::decimal::{self, Decimal};
use crate::json::Malformed;
use crate::value::{Members, Value};

/// How two values stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// They can be ordered.
    Known(Ordering),
    /// They differ, and cannot be ordered.
    Unequal,
    /// One of them is NULL.
    Unknown,
}

/// Compares two values.
pub fn order(left: Value<'_>, right: Value<'_>) -> Result<Order, Malformed> {
    Ok(match (left.decode()?, right.decode()?) {
        (Value::Null, _) | (_, Value::Null) => Order::Unknown,
        (Value::Text(a), Value::Text(b)) => Order::Known(a.as_ref().cmp(b.as_ref())),
        (Value::Whole(a), Value::Whole(b)) => Order::Known(a.cmp(&b)),
        (Value::Boolean(a), Value::Boolean(b)) => Order::Known(a.cmp(&b)),
        (Value::Bytes(a), Value::Bytes(b)) => Order::Known(a.cmp(&b)),
        (Value::Text(text), other) => text_and_other(&text, &other)?,
        (other, Value::Text(text)) => reverse(text_and_other(&text, &other)?),
        (left, right) => match (instant(&left), instant(&right)) {
            (Some(a), Some(b)) => Order::Known(a.cmp(&b)),
            _ => match numbers(&left, &right) {
                Some(order) => Order::Known(order),
                None if is_container(&left) && is_container(&right) && same(left, right)? => {
                    Order::Known(Ordering::Equal)
                }
                None => Order::Unequal,
            },
        },
    })
}

fn is_container(value: &Value<'_>) -> bool {
    matches!(value, Value::Array(_) | Value::Object(_) | Value::Json(_))
}

fn reverse(order: Order) -> Order {
    match order {
        Order::Known(order) => Order::Known(order.reverse()),
        other => other,
    }
}

/// Reads the text as what the other value is.
fn text_and_other(text: &str, other: &Value<'_>) -> Result<Order, Malformed> {
    let read = match other {
        Value::Whole(_) | Value::Double(_) | Value::Decimal(_) => coerce::number_in(text),
        Value::Boolean(_) => coerce::boolean_in(text).map(Value::Boolean),
        Value::Date(_) => cast::date_in(text),
        Value::Time(_) => cast::time_in(text),
        Value::Timestamp(_) => cast::timestamp_in(text),
        Value::Bytes(_) => crate::bytes::from_base64(text).map(|bytes| Value::Bytes(bytes.into())),
        _ => None,
    };
    match read {
        Some(value) => order(value, other.clone()),
        None => Ok(Order::Unequal),
    }
}

/// Milliseconds of a moment or a date, or the plain number that stands for one next to it.
fn instant(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Timestamp(ms) | Value::Time(ms) => Some(*ms),
        Value::Date(days) => days.checked_mul(crate::time::DAY_MS),
        _ => None,
    }
}

fn numbers(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    match (left, right) {
        (Value::Whole(a), Value::Double(b)) => (*a as f64).partial_cmp(b),
        (Value::Double(a), Value::Whole(b)) => a.partial_cmp(&(*b as f64)),
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Decimal(a), Value::Double(b)) => a.to_double().partial_cmp(b),
        (Value::Double(a), Value::Decimal(b)) => a.partial_cmp(&b.to_double()),
        (Value::Decimal(a), Value::Decimal(b)) => Some(decimal::compare(*a, *b)),
        (Value::Decimal(a), Value::Whole(b)) => Some(decimal::compare(*a, Decimal::from_whole(*b))),
        (Value::Whole(a), Value::Decimal(b)) => Some(decimal::compare(Decimal::from_whole(*a), *b)),
        (Value::Whole(a), Value::Date(b) | Value::Time(b) | Value::Timestamp(b))
        | (Value::Date(a) | Value::Time(a) | Value::Timestamp(a), Value::Whole(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

/// Whether two values are the same, where NULL is the same as NULL. Maps are the same in any order.
pub fn same(left: Value<'_>, right: Value<'_>) -> Result<bool, Malformed> {
    Ok(match (left.decode_deep()?, right.decode_deep()?) {
        (Value::Null, Value::Null) => true,
        (Value::Array(a), Value::Array(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for (x, y) in a.into_iter().zip(b) {
                if !same(x, y)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Object(a), Value::Object(b)) => same_members(a, b)?,
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => false,
        (a, b) => order(a, b)? == Order::Known(Ordering::Equal),
    })
}

fn same_members(a: Members<'_>, b: Members<'_>) -> Result<bool, Malformed> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for (name, value) in a {
        let Some((_, other)) = b.iter().find(|(known, _)| *known == name) else { return Ok(false) };
        if !same(value, other.clone())? {
            return Ok(false);
        }
    }
    Ok(true)
}
