//! One value in one column: checked against the column's type, and as bytes, in rows, keys and predicates.

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::schema::{Column, ColumnType};
use crate::value::{Date, Decimal, ValueRef};

/// A value as its column stores it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// In the row: little-endian, so many bytes of them.
    Fixed([u8; 16], usize),
    /// Beside the row.
    Bytes(&'a [u8]),
}

impl Cell<'_> {
    /// The bytes without their place in a row.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Cell::Fixed(bytes, width) => bytes.get(..*width).unwrap_or_default(),
            Cell::Bytes(bytes) => bytes,
        }
    }

    /// Appends it to a key, in which the order of bytes is that of values. All but the last part of a key are told apart from
    /// what follows.
    pub fn write_key(&self, is_last: bool, key: &mut Vec<u8>) {
        match self {
            Cell::Fixed(..) => {
                let begin = key.len();
                key.extend(self.bytes().iter().rev());
                // Signed numbers: negative ones come first.
                if let Some(first) = key.get_mut(begin) {
                    *first ^= 0x80;
                }
            }
            Cell::Bytes(bytes) if is_last => key.extend_from_slice(bytes),
            Cell::Bytes(bytes) => {
                for byte in *bytes {
                    key.push(*byte);
                    if *byte == 0 {
                        key.push(1);
                    }
                }
                key.extend([0, 0]);
            }
        }
    }
}

fn fixed<'a, const N: usize>(bytes: [u8; N]) -> Cell<'a> {
    let mut all = [0; 16];
    for (to, from) in all.iter_mut().zip(bytes) {
        *to = from;
    }
    Cell::Fixed(all, N)
}

/// The value as the column stores it. Whole numbers of any width are taken where they are in range, by columns of decimals
/// and floats too; a double is rounded to a float.
pub fn of<'a>(column: &Column, value: ValueRef<'a>) -> Result<Cell<'a>> {
    let kind = column.column_type;
    let fits = match (kind, value) {
        (ColumnType::Bool, ValueRef::Bool(value)) => Some(fixed([u8::from(value)])),
        (ColumnType::Int8, _) => {
            narrow(column, value, |value| i8::try_from(value).ok().map(|v| fixed(v.to_le_bytes())))?
        }
        (ColumnType::Int16, _) => {
            narrow(column, value, |value| i16::try_from(value).ok().map(|v| fixed(v.to_le_bytes())))?
        }
        (ColumnType::Int32, _) => {
            narrow(column, value, |value| i32::try_from(value).ok().map(|v| fixed(v.to_le_bytes())))?
        }
        (ColumnType::Int64, _) => value.integer().map(|value| fixed(value.to_le_bytes())),
        (ColumnType::Float, _) => float(column, value)?,
        (ColumnType::Double, _) => double(column, value)?,
        (ColumnType::String, ValueRef::String(text)) => Some(Cell::Bytes(text.as_bytes())),
        (ColumnType::Varchar { length }, ValueRef::String(text)) => Some(varchar(column, length, text)?),
        (ColumnType::Binary, ValueRef::Binary(bytes)) => Some(Cell::Bytes(bytes)),
        (ColumnType::Binary, ValueRef::String(text)) => Some(Cell::Bytes(text.as_bytes())),
        (ColumnType::UnixtimeMicros, ValueRef::UnixtimeMicros(micros)) => Some(fixed(micros.to_le_bytes())),
        (ColumnType::Decimal { precision, scale }, _) => decimal(column, precision, scale, value)?,
        (ColumnType::Date, ValueRef::Date(date)) => Some(fixed(date.days().to_le_bytes())),
        _ => None,
    };
    fits.ok_or_else(|| Error::column(&column.name, format!("expected {kind}, got {}", value.kind())))
}

fn narrow<'a>(
    column: &Column,
    value: ValueRef<'a>,
    cell: impl Fn(i64) -> Option<Cell<'a>>,
) -> Result<Option<Cell<'a>>> {
    let Some(number) = value.integer() else { return Ok(None) };
    cell(number).map(Some).ok_or_else(|| out_of_range(column, number))
}

fn out_of_range(column: &Column, got: impl std::fmt::Display) -> Error {
    Error::column(&column.name, format!("expected a value in the range of {}, got {got}", column.column_type))
}

fn float<'a>(column: &Column, value: ValueRef<'a>) -> Result<Option<Cell<'a>>> {
    let number = match value {
        ValueRef::Float(value) => value,
        ValueRef::Double(value) => {
            let rounded = value as f32;
            if value.is_finite() && rounded.is_infinite() {
                return Err(out_of_range(column, value));
            }
            rounded
        }
        _ => {
            let Some(whole) = value.integer() else { return Ok(None) };
            let number = whole as f32;
            if number as i128 != i128::from(whole) {
                return Err(out_of_range(column, whole));
            }
            number
        }
    };
    Ok(Some(fixed(number.to_le_bytes())))
}

fn double<'a>(column: &Column, value: ValueRef<'a>) -> Result<Option<Cell<'a>>> {
    let number = match value {
        ValueRef::Double(value) => value,
        ValueRef::Float(value) => value.into(),
        _ => {
            let Some(whole) = value.integer() else { return Ok(None) };
            let number = whole as f64;
            if number as i128 != i128::from(whole) {
                return Err(out_of_range(column, whole));
            }
            number
        }
    };
    Ok(Some(fixed(number.to_le_bytes())))
}

fn varchar<'a>(column: &Column, length: u16, text: &'a str) -> Result<Cell<'a>> {
    // A text with no more bytes than that has no more characters either.
    if text.len() > usize::from(length) {
        let count = text.chars().count();
        if count > usize::from(length) {
            let reason = format!("expected at most {length} characters, got {count}");
            return Err(Error::column(&column.name, reason));
        }
    }
    Ok(Cell::Bytes(text.as_bytes()))
}

fn decimal<'a>(column: &Column, precision: u8, scale: u8, value: ValueRef<'a>) -> Result<Option<Cell<'a>>> {
    let number = match value {
        ValueRef::Decimal(number) => number,
        _ => match value.integer() {
            Some(whole) => Decimal { unscaled: whole.into(), scale: 0 },
            None => return Ok(None),
        },
    };
    let fitting = number.rescaled(scale).filter(|number| number.fits(precision));
    let unscaled = fitting.ok_or_else(|| out_of_range(column, number))?.unscaled;
    // The digits were counted, so the low bytes hold them all.
    Ok(Some(match column.column_type.width() {
        4 => fixed((unscaled as i32).to_le_bytes()),
        8 => fixed((unscaled as i64).to_le_bytes()),
        _ => fixed(unscaled.to_le_bytes()),
    }))
}

/// The bytes of a value that is not null, as predicates and defaults hold them.
pub fn raw(column: &Column, value: ValueRef<'_>) -> Result<Bytes> {
    Ok(Bytes::copy_from_slice(of(column, value)?.bytes()))
}

/// Reads what [`raw`] wrote, and cells of rows. Nothing where the bytes are none of this type.
pub fn parse(kind: ColumnType, bytes: &[u8]) -> Option<ValueRef<'_>> {
    Some(match kind {
        ColumnType::Bool => ValueRef::Bool(u8::from_le_bytes(bytes.try_into().ok()?) != 0),
        ColumnType::Int8 => ValueRef::Int8(i8::from_le_bytes(bytes.try_into().ok()?)),
        ColumnType::Int16 => ValueRef::Int16(i16::from_le_bytes(bytes.try_into().ok()?)),
        ColumnType::Int32 => ValueRef::Int32(i32::from_le_bytes(bytes.try_into().ok()?)),
        ColumnType::Int64 => ValueRef::Int64(i64::from_le_bytes(bytes.try_into().ok()?)),
        ColumnType::Float => ValueRef::Float(f32::from_le_bytes(bytes.try_into().ok()?)),
        ColumnType::Double => ValueRef::Double(f64::from_le_bytes(bytes.try_into().ok()?)),
        ColumnType::String | ColumnType::Varchar { .. } => ValueRef::String(std::str::from_utf8(bytes).ok()?),
        ColumnType::Binary => ValueRef::Binary(bytes),
        ColumnType::UnixtimeMicros => ValueRef::UnixtimeMicros(i64::from_le_bytes(bytes.try_into().ok()?)),
        ColumnType::Decimal { scale, .. } => {
            let unscaled = match kind.width() {
                4 => i32::from_le_bytes(bytes.try_into().ok()?).into(),
                8 => i64::from_le_bytes(bytes.try_into().ok()?).into(),
                _ => i128::from_le_bytes(bytes.try_into().ok()?),
            };
            ValueRef::Decimal(Decimal { unscaled, scale })
        }
        ColumnType::Date => ValueRef::Date(Date::from_days(i32::from_le_bytes(bytes.try_into().ok()?))?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(kind: ColumnType) -> Column {
        Column::new("c", kind)
    }

    fn message(kind: ColumnType, value: ValueRef<'_>) -> String {
        of(&column(kind), value).unwrap_err().to_string()
    }

    #[test]
    fn numbers_are_little_endian() {
        assert_eq!(of(&column(ColumnType::Int32), ValueRef::Int8(-2)).unwrap().bytes(), [0xfe, 0xff, 0xff, 0xff]);
        assert_eq!(of(&column(ColumnType::Int16), ValueRef::Int64(258)).unwrap().bytes(), [2, 1]);
        let days = ValueRef::Date(Date::from_days(1).unwrap());
        assert_eq!(of(&column(ColumnType::Date), days).unwrap().bytes(), [1, 0, 0, 0]);
        let price = ValueRef::Decimal(Decimal { unscaled: 15, scale: 1 });
        let kind = ColumnType::Decimal { precision: 10, scale: 2 };
        assert_eq!(of(&column(kind), price).unwrap().bytes(), [150, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn what_does_not_fit_names_the_column_and_both_sides() {
        assert_eq!(
            message(ColumnType::Int8, ValueRef::Int64(128)),
            "column c: expected a value in the range of int8, got 128"
        );
        assert_eq!(message(ColumnType::Int64, ValueRef::String("1")), "column c: expected int64, got a string");
        assert_eq!(
            message(ColumnType::Varchar { length: 2 }, ValueRef::String("äöü")),
            "column c: expected at most 2 characters, got 3"
        );
        let kind = ColumnType::Decimal { precision: 3, scale: 1 };
        assert!(message(kind, ValueRef::Int32(100)).contains("decimal(3, 1), got 100"));
        assert!(message(kind, ValueRef::Decimal(Decimal { unscaled: 105, scale: 2 })).contains("got 1.05"));
        assert!(message(ColumnType::Float, ValueRef::Double(1e300)).contains("float"));
        assert!(message(ColumnType::Double, ValueRef::Int64(i64::MAX)).contains("double"));
        assert!(of(&column(ColumnType::Varchar { length: 3 }), ValueRef::String("äöü")).is_ok());
    }

    #[test]
    fn keys_sort_as_their_values_do() {
        let key = |kind, value, is_last| {
            let mut key = Vec::new();
            of(&column(kind), value).unwrap().write_key(is_last, &mut key);
            key
        };
        assert_eq!(key(ColumnType::Int32, ValueRef::Int32(1), true), [0x80, 0, 0, 1]);
        assert_eq!(key(ColumnType::Int32, ValueRef::Int32(-1), true), [0x7f, 0xff, 0xff, 0xff]);
        assert_eq!(key(ColumnType::Int8, ValueRef::Int8(i8::MIN), false), [0]);
        assert_eq!(key(ColumnType::String, ValueRef::String("a\0b"), true), *b"a\0b");
        assert_eq!(key(ColumnType::String, ValueRef::String("a\0b"), false), *b"a\0\x01b\0\0");
    }
}
