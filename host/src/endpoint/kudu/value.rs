//! From what a plugin hands over to what a column stores.

use std::fmt::Display;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date as Day;
use kudu_client::{ColumnType, Date, Decimal, ValueRef};

use crate::endpoint::cells::Cell;

/// Reads a value for a column of a type. Whether it is in the type's range is the client's to judge.
pub fn read(kind: ColumnType, cell: Cell<'_>) -> Result<ValueRef<'_>, String> {
    let text = match cell {
        Cell::Null => return Ok(ValueRef::Null),
        Cell::Bytes(bytes) => {
            let is_binary = kind == ColumnType::Binary;
            return is_binary.then_some(ValueRef::Binary(bytes)).ok_or_else(|| format!("expected {kind}, got bytes"));
        }
        Cell::Text(text) => text,
    };
    match kind {
        ColumnType::Bool => match text {
            "true" | "1" => Ok(ValueRef::Bool(true)),
            "false" | "0" => Ok(ValueRef::Bool(false)),
            _ => Err(expected("true or false", text)),
        },
        ColumnType::Int8 | ColumnType::Int16 | ColumnType::Int32 | ColumnType::Int64 => match text {
            "true" => Ok(ValueRef::Int64(1)),
            "false" => Ok(ValueRef::Int64(0)),
            _ => parsed("a whole number of 64 bits", text).map(ValueRef::Int64),
        },
        ColumnType::Float | ColumnType::Double => parsed("a number", text).map(ValueRef::Double),
        ColumnType::Decimal { .. } => parsed::<Decimal>("a decimal number", text).map(ValueRef::Decimal),
        ColumnType::String | ColumnType::Varchar { .. } | ColumnType::Binary => Ok(ValueRef::String(text)),
        ColumnType::Date => {
            let day: Option<Day> = text.parse().ok();
            let day = day.and_then(|day| Date::from_ymd(day.year().into(), day.month() as u8, day.day() as u8));
            day.map(ValueRef::Date).ok_or_else(|| expected("a day like 2026-03-01", text))
        }
        ColumnType::UnixtimeMicros => moment(text).map(ValueRef::UnixtimeMicros),
    }
}

/// Microseconds since 1970 of RFC 3339, or of milliseconds since then.
fn moment(text: &str) -> Result<i64, String> {
    let error = || expected("a time like 2026-03-01T12:00:00Z, or milliseconds since 1970", text);
    if let Ok(ms) = text.parse::<i64>() {
        return ms.checked_mul(1_000).ok_or_else(error);
    }
    text.parse::<Timestamp>().map(|time| time.as_microsecond()).map_err(|_| error())
}

fn parsed<T: FromStr>(what: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| expected(what, text))
}

fn expected(what: impl Display, got: &str) -> String {
    let shown: String = got.chars().take(80).collect();
    format!("expected {what}, got {shown:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_what_its_column_takes_or_is_refused() {
        let text = Cell::Text;
        let right = [
            (ColumnType::Int64, text("-9223372036854775808"), ValueRef::Int64(i64::MIN)),
            (ColumnType::Int8, text("true"), ValueRef::Int64(1)),
            (ColumnType::Double, text("1e-3"), ValueRef::Double(0.001)),
            (ColumnType::Bool, text("false"), ValueRef::Bool(false)),
            (ColumnType::String, text("ä"), ValueRef::String("ä")),
            (ColumnType::Binary, Cell::Bytes(b"\xff"), ValueRef::Binary(b"\xff")),
            (ColumnType::UnixtimeMicros, text("1767225600001"), ValueRef::UnixtimeMicros(1_767_225_600_001_000)),
            (
                ColumnType::UnixtimeMicros,
                text("2026-01-01T01:00:00.000001+01:00"),
                ValueRef::UnixtimeMicros(1_767_225_600_000_001),
            ),
            (ColumnType::Date, text("1970-01-02"), ValueRef::Date(Date::from_days(1).unwrap())),
            (ColumnType::Int16, Cell::Null, ValueRef::Null),
        ];
        for (kind, cell, value) in right {
            assert_eq!(read(kind, cell), Ok(value), "{kind} {cell:?}");
        }
        let decimal = ColumnType::Decimal { precision: 10, scale: 2 };
        assert_eq!(read(decimal, text("-1.5")), Ok(ValueRef::Decimal(Decimal { unscaled: -15, scale: 1 })));
        let wrong = [
            (ColumnType::Int32, text("1.5")),
            (ColumnType::Int64, text("9223372036854775808")),
            (ColumnType::Bool, text("yes")),
            (decimal, text("1e3")),
            (ColumnType::Date, text("2026-02-30")),
            (ColumnType::UnixtimeMicros, text("soon")),
            (ColumnType::UnixtimeMicros, text("9223372036854775807")),
            (ColumnType::String, Cell::Bytes(b"a")),
        ];
        for (kind, cell) in wrong {
            assert!(read(kind, cell).is_err(), "{kind} {cell:?}");
        }
    }
}
