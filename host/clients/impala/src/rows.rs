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
