//! Columns and schemas: what the caller declares, what a master tells, and how both look on the wire.

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;

use crate::cell;
use crate::error::{Error, Result};
use crate::proto::common::{ColumnSchema, ColumnTypeAttributes, SchemaMessage, data_type};
use crate::value::{DECIMAL_DIGITS_MAX, Value};

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// True or false.
    Bool,
    /// 8 bits.
    Int8,
    /// 16 bits.
    Int16,
    /// 32 bits.
    Int32,
    /// 64 bits.
    Int64,
    /// Single precision.
    Float,
    /// Double precision.
    Double,
    /// Text.
    String,
    /// Text of at most so many characters.
    Varchar {
        /// From 1 to 65,535.
        length: u16,
    },
    /// Bytes.
    Binary,
    /// Microseconds since 1970-01-01 00:00 UTC.
    UnixtimeMicros,
    /// A decimal number. Kudu stores up to 9 digits in 4 bytes, up to 18 in 8, and more in 16.
    Decimal {
        /// The most digits, from 1 to 38.
        precision: u8,
        /// How many of them stand behind the point.
        scale: u8,
    },
    /// A day.
    Date,
}

impl ColumnType {
    /// Those without numbers.
    const PLAIN: [ColumnType; 11] = [
        ColumnType::Bool,
        ColumnType::Int8,
        ColumnType::Int16,
        ColumnType::Int32,
        ColumnType::Int64,
        ColumnType::Float,
        ColumnType::Double,
        ColumnType::String,
        ColumnType::Binary,
        ColumnType::UnixtimeMicros,
        ColumnType::Date,
    ];

    /// The width of a cell in a row. That of text and bytes is a place in a buffer beside the rows.
    pub(crate) fn width(self) -> usize {
        match self {
            ColumnType::Bool | ColumnType::Int8 => 1,
            ColumnType::Int16 => 2,
            ColumnType::Int32 | ColumnType::Float | ColumnType::Date => 4,
            ColumnType::Int64 | ColumnType::Double | ColumnType::UnixtimeMicros => 8,
            ColumnType::Decimal { precision: 0..=9, .. } => 4,
            ColumnType::Decimal { precision: 10..=18, .. } => 8,
            ColumnType::Decimal { .. } | ColumnType::String | ColumnType::Varchar { .. } | ColumnType::Binary => 16,
        }
    }

    /// Whether cells lie beside the rows.
    pub(crate) fn is_indirect(self) -> bool {
        matches!(self, ColumnType::String | ColumnType::Varchar { .. } | ColumnType::Binary)
    }

    fn wire(self) -> i32 {
        match self {
            ColumnType::Bool => data_type::BOOL,
            ColumnType::Int8 => data_type::INT8,
            ColumnType::Int16 => data_type::INT16,
            ColumnType::Int32 => data_type::INT32,
            ColumnType::Int64 => data_type::INT64,
            ColumnType::Float => data_type::FLOAT,
            ColumnType::Double => data_type::DOUBLE,
            ColumnType::String => data_type::STRING,
            ColumnType::Varchar { .. } => data_type::VARCHAR,
            ColumnType::Binary => data_type::BINARY,
            ColumnType::UnixtimeMicros => data_type::UNIXTIME_MICROS,
            ColumnType::Decimal { precision: 0..=9, .. } => data_type::DECIMAL32,
            ColumnType::Decimal { precision: 10..=18, .. } => data_type::DECIMAL64,
            ColumnType::Decimal { .. } => data_type::DECIMAL128,
            ColumnType::Date => data_type::DATE,
        }
    }

    fn attributes(self) -> Option<ColumnTypeAttributes> {
        match self {
            ColumnType::Decimal { precision, scale } => Some(ColumnTypeAttributes {
                precision: Some(precision.into()),
                scale: Some(scale.into()),
                length: None,
            }),
            ColumnType::Varchar { length } => {
                Some(ColumnTypeAttributes { length: Some(length.into()), ..ColumnTypeAttributes::default() })
            }
            _ => None,
        }
    }

    fn from_wire(column: &ColumnSchema) -> Result<Self> {
        let attributes = column.type_attributes.clone().unwrap_or_default();
        let found = match column.data_type {
            data_type::BOOL => ColumnType::Bool,
            data_type::INT8 => ColumnType::Int8,
            data_type::INT16 => ColumnType::Int16,
            data_type::INT32 => ColumnType::Int32,
            data_type::INT64 => ColumnType::Int64,
            data_type::FLOAT => ColumnType::Float,
            data_type::DOUBLE => ColumnType::Double,
            data_type::STRING => ColumnType::String,
            data_type::BINARY => ColumnType::Binary,
            data_type::UNIXTIME_MICROS => ColumnType::UnixtimeMicros,
            data_type::DATE => ColumnType::Date,
            data_type::VARCHAR => {
                let length = attributes.length.and_then(|length| u16::try_from(length).ok());
                ColumnType::Varchar { length: length.unwrap_or(u16::MAX) }
            }
            data_type::DECIMAL32 | data_type::DECIMAL64 | data_type::DECIMAL128 => {
                let digits = |count: Option<i32>| count.and_then(|count| u8::try_from(count).ok());
                let precision = digits(attributes.precision).ok_or_else(|| error(column))?;
                ColumnType::Decimal { precision, scale: digits(attributes.scale).unwrap_or(0) }
            }
            _ => return Err(error(column)),
        };
        if found.wire() == column.data_type { Ok(found) } else { Err(error(column)) }
    }
}

fn error(column: &ColumnSchema) -> Error {
    let (number, attributes) = (column.data_type, &column.type_attributes);
    Error::column(
        &column.name,
        format!("expected a type that this client knows, got number {number} with {attributes:?}"),
    )
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ColumnType::Bool => f.write_str("bool"),
            ColumnType::Int8 => f.write_str("int8"),
            ColumnType::Int16 => f.write_str("int16"),
            ColumnType::Int32 => f.write_str("int32"),
            ColumnType::Int64 => f.write_str("int64"),
            ColumnType::Float => f.write_str("float"),
            ColumnType::Double => f.write_str("double"),
            ColumnType::String => f.write_str("string"),
            ColumnType::Varchar { length } => write!(f, "varchar({length})"),
            ColumnType::Binary => f.write_str("binary"),
            ColumnType::UnixtimeMicros => f.write_str("unixtime_micros"),
            ColumnType::Decimal { precision, scale } => write!(f, "decimal({precision}, {scale})"),
            ColumnType::Date => f.write_str("date"),
        }
    }
}

impl std::str::FromStr for ColumnType {
    type Err = Error;

    /// Reads what is displayed; spaces do not matter.
    fn from_str(text: &str) -> Result<Self> {
        let error =
            || Error::Invalid(format!("expected the type of a column, like int64 or decimal(10, 2), got {text:?}"));
        let (name, numbers) = match text.trim().split_once('(') {
            Some((name, rest)) => (name.trim_end(), Some(rest.strip_suffix(')').ok_or_else(error)?)),
            None => (text.trim(), None),
        };
        let digits = |text: &str| text.trim().parse::<u8>().map_err(|_| error());
        match (name, numbers) {
            ("varchar", Some(length)) => {
                let length = length.trim().parse().ok().filter(|length| *length > 0);
                Ok(ColumnType::Varchar { length: length.ok_or_else(error)? })
            }
            ("decimal", Some(numbers)) => {
                let (precision, scale) = numbers.split_once(',').unwrap_or((numbers, "0"));
                let (precision, scale) = (digits(precision)?, digits(scale)?);
                let is_right = (1..=DECIMAL_DIGITS_MAX).contains(&precision) && scale <= precision;
                if is_right { Ok(ColumnType::Decimal { precision, scale }) } else { Err(error()) }
            }
            (name, None) => Self::PLAIN.into_iter().find(|kind| kind.to_string() == name).ok_or_else(error),
            _ => Err(error()),
        }
    }
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub column_type: ColumnType,
    /// Whether it is part of the primary key.
    pub is_key: bool,
    /// Whether it may hold no value.
    pub is_nullable: bool,
    /// What a new row gets that says nothing of it, as stored: see [`Column::with_default`].
    pub default: Option<Value>,
    /// Whether rows cannot change it once they are there.
    pub is_immutable: bool,
    /// Whether the server fills it in by counting. Rows say nothing of it.
    pub is_auto_incrementing: bool,
    /// For people.
    pub comment: String,
    pub(crate) id: Option<u32>,
}

impl Column {
    /// A column that is no part of the key and has a value in every row.
    pub fn new(name: impl Into<String>, column_type: ColumnType) -> Self {
        Column {
            name: name.into(),
            column_type,
            is_key: false,
            is_nullable: false,
            default: None,
            is_immutable: false,
            is_auto_incrementing: false,
            comment: String::new(),
            id: None,
        }
    }

    /// A column of the primary key.
    pub fn key(name: impl Into<String>, column_type: ColumnType) -> Self {
        Column { is_key: true, ..Column::new(name, column_type) }
    }

    /// A column that may hold no value.
    pub fn nullable(name: impl Into<String>, column_type: ColumnType) -> Self {
        Column { is_nullable: true, ..Column::new(name, column_type) }
    }

    /// The column with a value for rows that say nothing of it.
    #[must_use]
    pub fn with_default(mut self, value: Value) -> Self {
        self.default = Some(value);
        self
    }

    /// The column with a comment.
    #[must_use]
    pub fn with_comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = comment.into();
        self
    }

    /// As masters want it, for a table that is made or changed.
    pub(crate) fn declaration(&self) -> Result<ColumnSchema> {
        if let ColumnType::Decimal { precision, scale } = self.column_type
            && (precision == 0 || precision > DECIMAL_DIGITS_MAX || scale > precision)
        {
            let reason = format!("expected 1 to 38 digits, and no more behind the point, got {}", self.column_type);
            return Err(Error::column(&self.name, reason));
        }
        let default = self.default.as_ref().map(|value| cell::raw(self, value.as_ref())).transpose()?;
        Ok(ColumnSchema {
            read_default_value: default.clone(),
            write_default_value: default,
            comment: (!self.comment.is_empty()).then(|| self.comment.clone()),
            immutable: self.is_immutable.then_some(true),
            ..self.projection()
        })
    }

    /// As tablet servers want it beside rows and in scans.
    pub(crate) fn projection(&self) -> ColumnSchema {
        ColumnSchema {
            name: self.name.clone(),
            data_type: self.column_type.wire(),
            is_key: Some(self.is_key),
            is_nullable: Some(self.is_nullable),
            type_attributes: self.column_type.attributes(),
            is_auto_incrementing: self.is_auto_incrementing.then_some(true),
            immutable: self.is_immutable.then_some(true),
            ..ColumnSchema::default()
        }
    }

    fn from_wire(column: &ColumnSchema) -> Result<Self> {
        let column_type = ColumnType::from_wire(column)?;
        let mut found = Column {
            is_key: column.is_key(),
            is_nullable: column.is_nullable(),
            is_immutable: column.immutable(),
            is_auto_incrementing: column.is_auto_incrementing(),
            comment: column.comment().to_owned(),
            id: column.id,
            ..Column::new(column.name.clone(), column_type)
        };
        found.default = column.write_default_value.as_ref().map(|raw| default(&found, raw)).transpose()?;
        Ok(found)
    }
}

fn default(column: &Column, raw: &Bytes) -> Result<Value> {
    let value = cell::parse(column.column_type, raw).map(|value| value.to_owned());
    value.ok_or_else(|| Error::column(&column.name, format!("expected a default value, got {} bytes", raw.len())))
}

/// The columns of a table, those of the primary key first.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    columns: Vec<Column>,
    by_name: HashMap<String, usize>,
    /// Whether rows have a bitmap of nulls.
    pub(crate) has_nullable: bool,
}

impl Schema {
    /// A schema of columns. Those of the key come first, and names differ.
    pub fn new(columns: Vec<Column>) -> Result<Self> {
        let mut by_name = HashMap::with_capacity(columns.len());
        for (index, column) in columns.iter().enumerate() {
            if by_name.insert(column.name.clone(), index).is_some() {
                return Err(Error::column(&column.name, "expected each name once, got it twice"));
            }
        }
        let keys = columns.iter().take_while(|column| column.is_key).count();
        if keys == 0 {
            return Err(Error::Invalid("expected key columns in front, got none".to_owned()));
        }
        if let Some(late) = columns.iter().skip(keys).find(|column| column.is_key) {
            return Err(Error::column(&late.name, "expected key columns in front, got it behind another column"));
        }
        let has_nullable = columns.iter().any(|column| column.is_nullable);
        Ok(Schema { columns, by_name, has_nullable })
    }

    /// All columns, in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The place of a column.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// A column by its name.
    pub fn column(&self, name: &str) -> Result<&Column> {
        self.index(name).and_then(|index| self.columns.get(index)).ok_or_else(|| self.no_column(name))
    }

    pub(crate) fn no_column(&self, name: &str) -> Error {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        Error::column(name, format!("expected one of {}", names.join(", ")))
    }

    pub(crate) fn from_wire(schema: &SchemaMessage) -> Result<Self> {
        Schema::new(schema.columns.iter().map(Column::from_wire).collect::<Result<_>>()?)
    }

    pub(crate) fn declaration(&self) -> Result<SchemaMessage> {
        Ok(SchemaMessage { columns: self.columns.iter().map(Column::declaration).collect::<Result<_>>()? })
    }

    pub(crate) fn projection(&self) -> SchemaMessage {
        SchemaMessage { columns: self.columns.iter().map(Column::projection).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Decimal;

    #[test]
    fn a_type_is_read_as_it_is_written() {
        let numbered = [ColumnType::Varchar { length: 20 }, ColumnType::Decimal { precision: 38, scale: 9 }];
        for kind in ColumnType::PLAIN.into_iter().chain(numbered) {
            assert_eq!(kind.to_string().parse::<ColumnType>().unwrap(), kind);
        }
        assert_eq!("decimal(5)".parse::<ColumnType>().unwrap(), ColumnType::Decimal { precision: 5, scale: 0 });
        for wrong in ["", "int", "decimal", "decimal(0,0)", "decimal(5,6)", "varchar(0)", "varchar(70000)", "int8(1)"] {
            assert!(wrong.parse::<ColumnType>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_schema_is_the_same_after_a_trip_over_the_wire() {
        let types = [
            ColumnType::Bool,
            ColumnType::Int8,
            ColumnType::Int16,
            ColumnType::Int32,
            ColumnType::Int64,
            ColumnType::Float,
            ColumnType::Double,
            ColumnType::String,
            ColumnType::Varchar { length: 10 },
            ColumnType::Binary,
            ColumnType::UnixtimeMicros,
            ColumnType::Decimal { precision: 9, scale: 2 },
            ColumnType::Decimal { precision: 18, scale: 18 },
            ColumnType::Decimal { precision: 38, scale: 0 },
            ColumnType::Date,
        ];
        let mut columns = vec![Column::key("key", ColumnType::Int64)];
        columns.extend(types.iter().map(|kind| Column::nullable(kind.to_string(), *kind).with_comment("why")));
        let money = Value::Decimal(Decimal { unscaled: -1, scale: 1 });
        columns.push(Column::new("money", ColumnType::Decimal { precision: 5, scale: 1 }).with_default(money));
        let schema = Schema::new(columns).unwrap();
        assert_eq!(Schema::from_wire(&schema.declaration().unwrap()).unwrap(), schema);
    }

    #[test]
    fn a_type_that_is_not_known_names_its_column() {
        let mut wire = Column::key("odd", ColumnType::Int64).projection();
        wire.data_type = 14;
        let error = Schema::from_wire(&SchemaMessage { columns: vec![wire] }).unwrap_err().to_string();
        assert!(error.contains("odd") && error.contains("14"), "{error}");
    }

    #[test]
    fn columns_have_an_order_and_names() {
        let (key, other) = (Column::key("a", ColumnType::Int64), Column::new("b", ColumnType::Int64));
        assert!(Schema::new(vec![other.clone(), key.clone()]).is_err());
        assert!(Schema::new(vec![other.clone()]).is_err());
        assert!(Schema::new(vec![key.clone(), key.clone()]).is_err());
        let schema = Schema::new(vec![key, other]).unwrap();
        assert_eq!(schema.index("b"), Some(1));
        let error = schema.column("c").unwrap_err().to_string();
        assert_eq!(error, "column c: expected one of a, b");
    }
}
