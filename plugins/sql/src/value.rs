//! A value while a statement is being evaluated. Knows JSON and the types, and nothing of statements.
//!
//! Fields of a record arrive as [`Raw`]: bytes of the record that nobody has decoded yet. They have no declared type,
//! so each takes the type of what it meets: text where text is wanted, a number where a number is wanted.

use std::borrow::Cow;

use weir_plugin::json::push_string;

use crate::decimal::Decimal;
use crate::json::{Malformed, check, number, scan, text};
use crate::time;

/// One JSON value of a record, as it stands there: without white space around it, and never `null`.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'v> {
    /// Its bytes.
    pub bytes: &'v [u8],
    /// Where it begins in the record's value.
    pub start: usize,
}

/// A value.
#[derive(Clone, Debug)]
pub enum Value<'v> {
    /// Nothing.
    Null,
    /// TRUE or FALSE.
    Boolean(bool),
    /// INTEGER or BIGINT.
    Whole(i64),
    /// DOUBLE.
    Double(f64),
    /// DECIMAL.
    Decimal(Decimal),
    /// VARCHAR.
    Text(Cow<'v, str>),
    /// BYTES.
    Bytes(Cow<'v, [u8]>),
    /// DATE: days since 1970-01-01.
    Date(i64),
    /// TIME: milliseconds since midnight.
    Time(i64),
    /// TIMESTAMP: milliseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64),
    /// ARRAY.
    Array(Vec<Value<'v>>),
    /// MAP or STRUCT, in order.
    Object(Members<'v>),
    /// What a record holds, not decoded yet.
    Json(Raw<'v>),
}

/// The members of a map or a struct, in order.
pub type Members<'v> = Vec<(Cow<'v, str>, Value<'v>)>;

/// A value, or the reason why the record cannot be read.
pub type Outcome<'v> = Result<Value<'v>, Malformed>;

impl<'v> Raw<'v> {
    /// The part of it from `from` to `to`, counted from its own start; `null` becomes NULL.
    pub fn part(self, from: usize, to: usize) -> Value<'v> {
        let bytes = self.bytes.get(from..to).unwrap_or_default();
        if bytes == b"null" { Value::Null } else { Value::Json(Raw { bytes, start: self.start + from }) }
    }

    /// What stands between the quotes, when it is a string.
    #[inline]
    pub fn string(self) -> Option<&'v [u8]> {
        match self.bytes {
            [b'"', inner @ .., b'"'] => Some(inner),
            _ => None,
        }
    }

    /// Whether it is an object.
    pub fn is_object(self) -> bool {
        self.bytes.first() == Some(&b'{')
    }

    /// Whether it is an array.
    pub fn is_array(self) -> bool {
        self.bytes.first() == Some(&b'[')
    }

    /// Moves the place of a fault from this value to its record.
    pub fn fault(self, inside: usize, fault: Malformed) -> Malformed {
        fault.within(self.start + inside)
    }

    /// Decodes a scalar. Objects and arrays stay as they are.
    #[inline]
    pub fn decode(self) -> Outcome<'v> {
        match self.bytes.first() {
            Some(b'"') => self.decode_string(),
            Some(b'-' | b'0'..=b'9') => Ok(self.decode_number()),
            Some(b't') => Ok(Value::Boolean(true)),
            Some(b'f') => Ok(Value::Boolean(false)),
            _ => Ok(Value::Json(self)),
        }
    }

    #[inline]
    fn decode_string(self) -> Outcome<'v> {
        let inner = self.string().unwrap_or_default();
        text::decode(inner).map(Value::Text).map_err(|e| self.fault(1, e))
    }

    /// Whole numbers are BIGINT, or DECIMAL when they are too large for it; those with a fraction or an exponent are
    /// DOUBLE.
    fn decode_number(self) -> Value<'v> {
        if let Some(whole) = number::whole(self.bytes) {
            return Value::Whole(whole);
        }
        let text = std::str::from_utf8(self.bytes).unwrap_or_default();
        if !text.contains(['.', 'e', 'E'])
            && let Some(decimal) = Decimal::parse(text)
        {
            return Value::Decimal(decimal);
        }
        text.parse().map_or(Value::Null, Value::Double)
    }

    /// Its text: a string's content, and anything else as it is written in the record.
    pub fn text(self) -> Result<Cow<'v, str>, Malformed> {
        match self.string() {
            Some(inner) => text::decode(inner).map_err(|e| self.fault(1, e)),
            None => match std::str::from_utf8(self.bytes) {
                Ok(text) => Ok(Cow::Borrowed(text)),
                Err(e) => Err(self.fault(0, Malformed::new(e.valid_up_to(), "the value is not UTF-8"))),
            },
        }
    }

    /// Its elements, not decoded, when it is an array.
    pub fn elements(self) -> Result<Option<Vec<Value<'v>>>, Malformed> {
        if !self.is_array() {
            return Ok(None);
        }
        let mut walk = scan::Elements::begin(self.bytes, 0).map_err(|e| self.fault(0, e))?;
        let mut elements = Vec::new();
        while let Some(place) = walk.next(self.bytes).map_err(|e| self.fault(0, e))? {
            elements.push(self.part(place.start, place.end));
        }
        Ok(Some(elements))
    }

    /// Its members, values not decoded, when it is an object.
    pub fn members(self) -> Result<Option<Members<'v>>, Malformed> {
        if !self.is_object() {
            return Ok(None);
        }
        let mut walk = scan::Members::begin(self.bytes, 0).map_err(|e| self.fault(0, e))?;
        let mut members = Vec::new();
        while let Some(member) = walk.next(self.bytes).map_err(|e| self.fault(0, e))? {
            let name = self.bytes.get(member.name.clone()).unwrap_or_default();
            let name = text::decode(name).map_err(|e| self.fault(member.name.start, e))?;
            members.push((name, self.part(member.value.start, member.value.end)));
        }
        Ok(Some(members))
    }
}

impl<'v> Value<'v> {
    /// Wraps text that is made anew.
    pub fn text_of(text: impl Into<String>) -> Value<'v> {
        Value::Text(Cow::Owned(text.into()))
    }

    /// Turns `None` into NULL.
    pub fn or_null(value: Option<Value<'v>>) -> Value<'v> {
        value.unwrap_or(Value::Null)
    }

    /// Whether it is NULL.
    #[inline]
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// Decodes it when it is a scalar that nobody has decoded yet.
    #[inline]
    pub fn decode(self) -> Outcome<'v> {
        match self {
            Value::Json(raw) => raw.decode(),
            other => Ok(other),
        }
    }

    /// Decodes all of it, to the leaves.
    pub fn decode_deep(self) -> Outcome<'v> {
        match self.decode()? {
            Value::Json(raw) if raw.is_array() => deep_elements(raw.elements()?.unwrap_or_default()).map(Value::Array),
            Value::Json(raw) => deep_members(raw.members()?.unwrap_or_default()).map(Value::Object),
            Value::Array(elements) => deep_elements(elements).map(Value::Array),
            Value::Object(members) => deep_members(members).map(Value::Object),
            other => Ok(other),
        }
    }

    /// Its text, as `CAST(.. AS VARCHAR)` gives it; `None` for NULL.
    pub fn into_text(self) -> Result<Option<Cow<'v, str>>, Malformed> {
        Ok(Some(match self {
            Value::Null => return Ok(None),
            Value::Text(text) => text,
            Value::Json(raw) => return raw.text().map(Some),
            Value::Boolean(flag) => Cow::Borrowed(if flag { "true" } else { "false" }),
            Value::Whole(whole) => Cow::Owned(whole.to_string()),
            Value::Double(double) => Cow::Owned(number::double_text(double)),
            Value::Decimal(decimal) => Cow::Owned(decimal.to_string()),
            Value::Bytes(bytes) => Cow::Owned(crate::bytes::base64(&bytes)),
            Value::Date(days) => Cow::Owned(time::iso::date_text(days)),
            Value::Time(ms) => Cow::Owned(time::iso::time_text(ms)),
            Value::Timestamp(ms) => Cow::Owned(time::iso::timestamp_text(ms)),
            collection @ (Value::Array(_) | Value::Object(_)) => {
                let mut json = Vec::new();
                collection.write(&mut json)?;
                Cow::Owned(String::from_utf8_lossy(&json).into_owned())
            }
        }))
    }

    /// Its elements, when it is an array; `None` when it is not.
    pub fn into_elements(self) -> Result<Option<Vec<Value<'v>>>, Malformed> {
        match self {
            Value::Array(elements) => Ok(Some(elements)),
            Value::Json(raw) => raw.elements(),
            _ => Ok(None),
        }
    }

    /// Its members, when it is a map or a struct; `None` when it is not.
    pub fn into_members(self) -> Result<Option<Members<'v>>, Malformed> {
        match self {
            Value::Object(members) => Ok(Some(members)),
            Value::Json(raw) => raw.members(),
            _ => Ok(None),
        }
    }

    /// A value that lends what this one holds.
    pub fn borrow(&'v self) -> Value<'v> {
        match self {
            Value::Text(text) => Value::Text(Cow::Borrowed(text)),
            Value::Bytes(bytes) => Value::Bytes(Cow::Borrowed(bytes)),
            Value::Array(elements) => Value::Array(elements.iter().map(Value::borrow).collect()),
            Value::Object(members) => Value::Object(
                members.iter().map(|(name, value)| (Cow::Borrowed(name.as_ref()), value.borrow())).collect(),
            ),
            other => other.clone(),
        }
    }

    /// A value that borrows nothing.
    pub fn into_owned(self) -> Result<Value<'static>, Malformed> {
        Ok(match self.decode_deep()? {
            Value::Null | Value::Json(_) => Value::Null,
            Value::Boolean(flag) => Value::Boolean(flag),
            Value::Whole(whole) => Value::Whole(whole),
            Value::Double(double) => Value::Double(double),
            Value::Decimal(decimal) => Value::Decimal(decimal),
            Value::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Value::Bytes(bytes) => Value::Bytes(Cow::Owned(bytes.into_owned())),
            Value::Date(days) => Value::Date(days),
            Value::Time(ms) => Value::Time(ms),
            Value::Timestamp(ms) => Value::Timestamp(ms),
            Value::Array(elements) => {
                Value::Array(elements.into_iter().map(Value::into_owned).collect::<Result<_, _>>()?)
            }
            Value::Object(members) => Value::Object(
                members
                    .into_iter()
                    .map(|(name, value)| Ok((Cow::Owned(name.into_owned()), value.into_owned()?)))
                    .collect::<Result<_, Malformed>>()?,
            ),
        })
    }

    /// Writes it as JSON. What was never decoded is checked and copied as it stands.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        match self {
            Value::Null => out.extend_from_slice(b"null"),
            Value::Json(raw) => return copy(*raw, out),
            Value::Boolean(flag) => out.extend_from_slice(if *flag { b"true" } else { b"false" }),
            Value::Whole(number) | Value::Date(number) | Value::Time(number) | Value::Timestamp(number) => {
                out.extend_from_slice(number.to_string().as_bytes());
            }
            Value::Double(double) if double.is_finite() => {
                out.extend_from_slice(number::double_text(*double).as_bytes());
            }
            // JSON has no word for infinity.
            Value::Double(_) => out.extend_from_slice(b"null"),
            Value::Decimal(decimal) => out.extend_from_slice(decimal.to_string().as_bytes()),
            Value::Text(text) => push_string(out, text),
            Value::Bytes(bytes) => push_string(out, &crate::bytes::base64(bytes)),
            Value::Array(elements) => return write_array(elements, out),
            Value::Object(members) => return write_object(members, out),
        }
        Ok(())
    }
}

fn copy(raw: Raw<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    match raw.bytes.first() {
        Some(b'"') => check::string(raw.string().unwrap_or_default()).map_err(|e| raw.fault(1, e))?,
        Some(b'{' | b'[') => check::value(raw.bytes).map_err(|e| raw.fault(0, e))?,
        // Numbers and words were checked when they were found.
        _ => {}
    }
    out.extend_from_slice(raw.bytes);
    Ok(())
}

fn write_array(elements: &[Value<'_>], out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.push(b'[');
    for (place, element) in elements.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        element.write(out)?;
    }
    out.push(b']');
    Ok(())
}

fn write_object(members: &[(Cow<'_, str>, Value<'_>)], out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.push(b'{');
    for (place, (name, value)) in members.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        push_string(out, name);
        out.push(b':');
        value.write(out)?;
    }
    out.push(b'}');
    Ok(())
}

fn deep_elements(elements: Vec<Value<'_>>) -> Result<Vec<Value<'_>>, Malformed> {
    elements.into_iter().map(Value::decode_deep).collect()
}

fn deep_members(members: Members<'_>) -> Result<Members<'_>, Malformed> {
    members.into_iter().map(|(name, value)| Ok((name, value.decode_deep()?))).collect()
}
