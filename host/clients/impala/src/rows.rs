//! Rows of an answer: names and types of columns, and values, which come by columns or, from old servers, by rows.

use thrift::protocol::TType;

use crate::codec::{Reader, Writer};
use crate::error::{Error, Result};
use crate::message::{Operation, read_checked};

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The name of its type in SQL, such as BIGINT; without precision.
    pub type_name: String,
}

/// A value. What is neither a number nor a truth value nor binary comes as the server writes it: decimals, times, arrays, maps.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// NULL.
    Null,
    /// BOOLEAN.
    Bool(bool),
    /// TINYINT to BIGINT.
    I64(i64),
    /// FLOAT, as the double next to what it shows, and DOUBLE.
    F64(f64),
    /// All that is told as text.
    Text(String),
    /// BINARY, and a STRING that is no UTF-8.
    Bytes(Vec<u8>),
}

/// The answer to a statement.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// None where the statement has no rows.
    pub columns: Vec<Column>,
    /// Each with a value for each column.
    pub rows: Vec<Vec<Value>>,
    /// How many rows were changed, where the server says so.
    pub affected: Option<u64>,
}

/// The names of types in the order of TTypeId.
const TYPES: [&str; 23] = [
    "BOOLEAN",
    "TINYINT",
    "SMALLINT",
    "INT",
    "BIGINT",
    "FLOAT",
    "DOUBLE",
    "STRING",
    "TIMESTAMP",
    "BINARY",
    "ARRAY",
    "MAP",
    "STRUCT",
    "UNION",
    "USER_DEFINED",
    "DECIMAL",
    "NULL",
    "DATE",
    "VARCHAR",
    "CHAR",
    "INTERVAL_YEAR_MONTH",
    "INTERVAL_DAY_TIME",
    "TIMESTAMP WITH LOCAL TIME ZONE",
];

/// Reads the columns of an operation's rows.
pub fn read_columns(reader: &mut Reader<'_>) -> Result<Vec<Column>> {
    let mut columns = Vec::new();
    read_checked(reader, |reader, id, kind| {
        if (id, kind) != (2, TType::Struct) {
            return Ok(false);
        }
        reader.fields(|reader, id, kind| {
            let is_columns = (id, kind) == (1, TType::List);
            if is_columns {
                columns = reader.list(TType::Struct, read_column)?;
            }
            Ok(is_columns)
        })?;
        Ok(true)
    })?;
    Ok(columns)
}

fn read_column(reader: &mut Reader<'_>) -> Result<Column> {
    let mut column = Column { name: String::new(), type_name: "UNKNOWN".to_owned() };
    reader.fields(|reader, id, kind| {
        match (id, kind) {
            (1, TType::String) => column.name = reader.text()?,
            (2, TType::Struct) => reader.fields(|reader, id, kind| {
                let is_types = (id, kind) == (1, TType::List);
                if is_types {
                    let types = reader.list(TType::Struct, read_type)?;
                    if let Some(Some(first)) = types.first() {
                        column.type_name = (*first).to_owned();
                    }
                }
                Ok(is_types)
            })?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(column)
}

/// Reads a TTypeEntry, of which all servers use the primitive one alone.
fn read_type(reader: &mut Reader<'_>) -> Result<Option<&'static str>> {
    let mut found = None;
    reader.fields(|reader, id, kind| {
        if (id, kind) != (1, TType::Struct) {
            return Ok(false);
        }
        reader.fields(|reader, id, kind| {
            let is_number = (id, kind) == (1, TType::I32);
            if is_number {
                found = usize::try_from(reader.i32()?).ok().and_then(|number| TYPES.get(number).copied());
            }
            Ok(is_number)
        })?;
        Ok(true)
    })?;
    Ok(found)
}

/// Rows that are asked for at a time.
const ROWS_MAX: i64 = 4096;

/// Asks for the next rows.
pub fn write_fetch(writer: &mut Writer, operation: &Operation) -> Result<()> {
    operation.write(writer)?;
    writer.i32(2, 0)?;
    writer.i64(3, ROWS_MAX)?;
    writer.i16(4, 0)
}

/// What an answer may still take.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    left: usize,
    max: usize,
}

impl Budget {
    /// Room for an answer of so many bytes.
    pub fn new(max: usize) -> Self {
        Budget { left: max, max }
    }

    /// All of it.
    pub fn max(&self) -> usize {
        self.max
    }

    fn take(&mut self, value: Value) -> Result<Value> {
        let heap = match &value {
            Value::Text(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::Null | Value::Bool(_) | Value::I64(_) | Value::F64(_) => 0,
        };
        let left = self.left.checked_sub(heap.saturating_add(size_of::<Value>()));
        self.left = left.ok_or(Error::TooLarge(self.max))?;
        Ok(value)
    }
}

/// Rows of one fetch.
#[derive(Debug, Default)]
pub struct Fetched {
    /// The rows.
    pub rows: Vec<Vec<Value>>,
    /// What Impala says of more to come. Hive and Spark never do: there an empty fetch is the last.
    pub has_more: bool,
}

/// Reads rows of so many columns.
pub fn read_fetch(reader: &mut Reader<'_>, width: usize, budget: &mut Budget) -> Result<Fetched> {
    let mut fetched = Fetched::default();
    read_checked(reader, |reader, id, kind| {
        match (id, kind) {
            (2, TType::Bool) => fetched.has_more = reader.bool()?,
            (3, TType::Struct) => fetched.rows = read_row_set(reader, width, budget)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(fetched)
}

fn read_row_set(reader: &mut Reader<'_>, width: usize, budget: &mut Budget) -> Result<Vec<Vec<Value>>> {
    let (mut rows, mut columns) = (Vec::new(), Vec::new());
    reader.fields(|reader, id, kind| {
        match (id, kind) {
            (2, TType::List) => rows = reader.list(TType::Struct, |reader| read_row(reader, width, budget))?,
            (3, TType::List) => columns = reader.list(TType::Struct, |reader| read_values(reader, budget))?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if columns.is_empty() { Ok(rows) } else { turned(columns, width) }
}

/// Columns as rows.
fn turned(columns: Vec<Vec<Value>>, width: usize) -> Result<Vec<Vec<Value>>> {
    let height = columns.first().map_or(0, Vec::len);
    if columns.len() != width || columns.iter().any(|column| column.len() != height) {
        let lengths: Vec<usize> = columns.iter().map(Vec::len).take(width.saturating_add(1)).collect();
        return Err(Error::protocol(&format!("{width} columns of one length"), format_args!("{lengths:?}")));
    }
    let mut columns: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
    Ok((0..height).map(|_| columns.iter_mut().filter_map(Iterator::next).collect()).collect())
}

/// Reads a TColumn: a list of values of one type, and bits that say which of them are NULL.
fn read_values(reader: &mut Reader<'_>, budget: &mut Budget) -> Result<Vec<Value>> {
    let mut found = None;
    reader.fields(|reader, id, kind| {
        if kind != TType::Struct || !(1..=8).contains(&id) {
            return Ok(false);
        }
        let (mut values, mut nulls) = (Vec::new(), Vec::new());
        reader.fields(|reader, part, kind| {
            match (part, kind) {
                (1, TType::List) => values = read_list(reader, id, budget)?,
                (2, TType::String) => nulls = reader.bytes()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        for (index, value) in values.iter_mut().enumerate() {
            if nulls.get(index / 8).is_some_and(|bits| bits & (1 << (index % 8)) != 0) {
                *value = Value::Null;
            }
        }
        found = Some(values);
        Ok(true)
    })?;
    found.ok_or_else(|| Error::protocol("a column of a known type", "another"))
}

/// The type on the wire of a column or a value, by its place in the union.
fn kind_of(id: i16) -> Option<TType> {
    Some(match id {
        1 => TType::Bool,
        2 => TType::I08,
        3 => TType::I16,
        4 => TType::I32,
        5 => TType::I64,
        6 => TType::Double,
        7 | 8 => TType::String,
        _ => return None,
    })
}

fn read_list(reader: &mut Reader<'_>, id: i16, budget: &mut Budget) -> Result<Vec<Value>> {
    let kind = kind_of(id).ok_or_else(|| Error::protocol("a column of a known type", id))?;
    reader.list(kind, |reader| budget.take(read_value(reader, id)?))
}

fn read_value(reader: &mut Reader<'_>, id: i16) -> Result<Value> {
    Ok(match id {
        1 => Value::Bool(reader.bool()?),
        2 => Value::I64(reader.i8()?.into()),
        3 => Value::I64(reader.i16()?.into()),
        4 => Value::I64(reader.i32()?.into()),
        5 => Value::I64(reader.i64()?),
        6 => Value::F64(reader.f64()?),
        7 => String::from_utf8(reader.bytes()?).map_or_else(|error| Value::Bytes(error.into_bytes()), Value::Text),
        _ => Value::Bytes(reader.bytes()?),
    })
}

/// Reads a TRow, of servers that do not send columns.
fn read_row(reader: &mut Reader<'_>, width: usize, budget: &mut Budget) -> Result<Vec<Value>> {
    let mut row = Vec::new();
    reader.fields(|reader, id, kind| {
        let is_values = (id, kind) == (1, TType::List);
        if is_values {
            row = reader.list(TType::Struct, |reader| budget.take(read_cell(reader)?))?;
        }
        Ok(is_values)
    })?;
    if row.len() == width { Ok(row) } else { Err(Error::protocol(&format!("{width} values"), row.len())) }
}

/// Reads a TColumnValue. One without a value is NULL.
fn read_cell(reader: &mut Reader<'_>) -> Result<Value> {
    let mut value = Value::Null;
    reader.fields(|reader, id, kind| {
        if kind != TType::Struct || kind_of(id).is_none() {
            return Ok(false);
        }
        reader.fields(|reader, part, kind| {
            let is_value = part == 1 && Some(kind) == kind_of(id);
            if is_value {
                value = read_value(reader, id)?;
            }
            Ok(is_value)
        })?;
        Ok(true)
    })?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message;
    use crate::scan::Scan;

    const FETCH: &str = "FetchResults";

    /// An answer to the call 7 of a method, of these fields.
    fn reply(method: &str, fields: &[u8]) -> Vec<u8> {
        let size = u32::try_from(method.len()).unwrap().to_be_bytes();
        [b"\x80\x01\0\x02", &size[..], method.as_bytes(), b"\0\0\0\x07\x0c\0\0", fields, b"\0\0"].concat()
    }

    const FINE: &[u8] = b"\x0c\0\x01\x08\0\x01\0\0\0\0\0";

    /// Two columns of three values, the second of which is NULL in the first.
    fn columns() -> Vec<u8> {
        let numbers =
            b"\x0c\0\x04\x0f\0\x01\x08\0\0\0\x03\0\0\0\x01\0\0\0\x02\xff\xff\xff\xff\x0b\0\x02\0\0\0\x01\x02\0\0";
        let texts = b"\x0c\0\x07\x0f\0\x01\x0b\0\0\0\x03\0\0\0\x01a\0\0\0\0\0\0\0\x01\xff\x0b\0\x02\0\0\0\0\0\0";
        [FINE, b"\x02\0\x02\x01\x0c\0\x03\x0a\0\x01\0\0\0\0\0\0\0\0\x0f\0\x03\x0c\0\0\0\x02", numbers, texts, b"\0"]
            .concat()
    }

    fn fetched(answer: &[u8], width: usize, bytes_max: usize) -> Result<Fetched> {
        let mut budget = Budget::new(bytes_max);
        Reader::new(answer)?.reply(FETCH, 7, |reader| read_fetch(reader, width, &mut budget))
    }

    #[test]
    fn columns_become_rows() {
        let fetched = fetched(&reply(FETCH, &columns()), 2, 1 << 10).unwrap();
        assert!(fetched.has_more);
        let text = |text: &str| Value::Text(text.to_owned());
        let expected =
            [[Value::I64(1), text("a")], [Value::Null, text("")], [Value::I64(-1), Value::Bytes(vec![0xff])]];
        assert_eq!(fetched.rows, expected);
    }

    #[test]
    fn rows_of_old_servers_are_rows() {
        let row = b"\x0f\0\x01\x0c\0\0\0\x02\x0c\0\x05\x0a\0\x01\0\0\0\0\0\0\0\x09\0\0\x0c\0\x07\0\0\0";
        let fields = [FINE, b"\x0c\0\x03\x0f\0\x02\x0c\0\0\0\x01", row, b"\0"].concat();
        let fetched = fetched(&reply(FETCH, &fields), 2, 1 << 10).unwrap();
        assert_eq!(fetched.rows, [[Value::I64(9), Value::Null]]);
    }

    #[test]
    fn answers_that_are_not_as_expected_are_refused() {
        let answer = reply(FETCH, &columns());
        for width in [0, 1, 3] {
            assert!(matches!(fetched(&answer, width, 1 << 10), Err(Error::Protocol(_))), "{width}");
        }
        assert!(matches!(fetched(&answer, 2, 60), Err(Error::TooLarge(60))));
        assert!(matches!(fetched(&reply("Other", &columns()), 2, 1 << 10), Err(Error::Protocol(_))));
        assert!(matches!(fetched(&reply(FETCH, b""), 2, 1 << 10), Err(Error::Protocol(_))));
        for size in 0..answer.len() {
            assert!(matches!(fetched(&answer[..size], 2, 1 << 10), Err(Error::Protocol(_))), "{size}");
        }
        // A list that says that it has two thousand million values, and a text as long.
        for list in
            [&b"\x0f\0\x01\x02\x7f\xff\xff\xff"[..], b"\x0b\0\x02\x7f\xff\xff\xff", b"\x0f\0\x01\x02\xff\xff\xff\xff"]
        {
            let fields = [FINE, b"\x0c\0\x03\x0f\0\x03\x0c\0\0\0\x01\x0c\0\x01", list, b"\0\0\0"].concat();
            assert!(matches!(fetched(&reply(FETCH, &fields), 1, 1 << 10), Err(Error::Protocol(_))), "{list:?}");
        }
        // What nobody knows may be nested, but not without end.
        let nested = b"\x0c\0\x63".repeat(100);
        assert!(matches!(fetched(&reply(FETCH, &nested), 1, 1 << 10), Err(Error::Protocol(_))));
    }

    #[test]
    fn failures_are_told_as_the_server_tells_them() {
        let status =
            b"\x0c\0\x01\x08\0\x01\0\0\0\x03\x0b\0\x03\0\0\0\x0542P01\x08\0\x04\0\0\0\x05\x0b\0\x05\0\0\0\x02no\0";
        let error = Reader::new(&reply("A", status)).unwrap().reply("A", 7, message::read_status).unwrap_err();
        assert_eq!(error.to_string(), "the server says: no (SQLSTATE 42P01)");
        assert!(matches!(error, Error::Server { code: Some(5), .. }));
        let exception = b"\x80\x01\0\x03\0\0\0\x01A\0\0\0\x07\x0b\0\x01\0\0\0\x02no\x08\0\x02\0\0\0\x01\0";
        let error = Reader::new(exception).unwrap().reply("A", 7, message::read_status).unwrap_err();
        assert_eq!(error.to_string(), "the server says: no");
        let forgotten = b"\x0c\0\x01\x08\0\x01\0\0\0\x04\0";
        let error = Reader::new(&reply("A", forgotten)).unwrap().reply("A", 7, message::read_status).unwrap_err();
        assert!(matches!(error, Error::Broken { .. }), "{error}");
    }

    /// Reads bytes as each of the answers.
    fn read_all(answer: &[u8]) {
        let _ = fetched(answer, 2, 1 << 10);
        let reader = || Reader::new(answer).unwrap();
        let _ = reader().reply(FETCH, 7, read_columns);
        let _ = reader().reply(FETCH, 7, message::read_open);
        let _ = reader().reply(FETCH, 7, message::read_execute);
        let _ = reader().reply(FETCH, 7, message::read_progress);
        let _ = reader().reply(FETCH, 7, message::read_status);
        let _ = Scan::new().end(answer);
    }

    proptest! {
        #[test]
        fn nothing_that_a_server_sends_is_more_than_an_error(
            fields in proptest::collection::vec(prop_oneof![0..16_u8, any::<u8>()], 0..200),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            read_all(&fields);
            read_all(&reply(FETCH, &fields));
            let mut answer = reply(FETCH, &columns());
            for (at, byte) in changes {
                let at = at.index(answer.len());
                answer[at] = byte;
            }
            read_all(&answer);
        }

        #[test]
        fn the_end_of_a_message_is_found_wherever_it_is_cut(cut in any::<prop::sample::Index>()) {
            let answer = reply(FETCH, &columns());
            let mut scan = Scan::new();
            let cut = cut.index(answer.len());
            prop_assert_eq!(scan.end(&answer[..cut]).unwrap(), None);
            let more = [&answer[..], b"more"].concat();
            prop_assert_eq!(scan.end(&more).unwrap(), Some(answer.len()));
        }
    }
}
