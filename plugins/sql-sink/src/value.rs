//! From a value in JSON to one of a column: what types there are, what each takes, and what is made of a type.

use weir_plugin::rows::Value;
use weir_plugin::serde::{self, Deserialize, Deserializer, de::Error as _};
use weir_plugin::time;

use crate::dialect::Dialect;

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Whole numbers of 64 bits.
    Integer,
    /// Numbers of 64 bits with a binary point.
    Double,
    /// Numbers with so many digits, and so many of them behind the point.
    Decimal(u8, u8),
    /// True or false.
    Boolean,
    /// Text.
    Text,
    /// A moment: RFC 3339, or milliseconds since 1970.
    Timestamp,
    /// A day: `2026-03-01`.
    Date,
    /// Any value.
    Json,
    /// Bytes; in JSON they are base64.
    Binary,
    /// Of the database's own; it reads the text.
    Other,
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text: String = serde::Deserialize::deserialize(deserializer)?;
        let digits = || {
            let (digits, scale) = text.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
            let (digits, scale) = (digits.trim().parse().ok()?, scale.trim().parse().ok()?);
            (scale <= digits && digits <= 38 && digits > 0).then_some(Kind::Decimal(digits, scale))
        };
        match text.as_str() {
            "integer" => Ok(Kind::Integer),
            "double" => Ok(Kind::Double),
            "decimal" => Ok(Kind::Decimal(38, 9)),
            "boolean" => Ok(Kind::Boolean),
            "text" => Ok(Kind::Text),
            "timestamp" => Ok(Kind::Timestamp),
            "date" => Ok(Kind::Date),
            "json" => Ok(Kind::Json),
            "binary" => Ok(Kind::Binary),
            _ => digits().ok_or_else(|| {
                D::Error::custom(format!(
                    "expected integer, double, decimal, decimal(P,S), boolean, text, timestamp, date, json or binary, got {text:?}"
                ))
            }),
        }
    }
}

impl Kind {
    /// What a column of it is declared as. One of a key has to be of bounded length in MySQL.
    pub fn declared(self, dialect: Dialect, is_key: bool) -> String {
        let (mysql, postgres) = match self {
            Kind::Integer => ("BIGINT", "BIGINT"),
            Kind::Double => ("DOUBLE", "DOUBLE PRECISION"),
            Kind::Decimal(digits, scale) => match dialect {
                Dialect::Mysql => return format!("DECIMAL({digits},{scale})"),
                Dialect::Postgres => return format!("NUMERIC({digits},{scale})"),
            },
            Kind::Boolean => ("BOOLEAN", "BOOLEAN"),
            Kind::Text | Kind::Other if is_key => ("VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "TEXT"),
            Kind::Text | Kind::Other => ("LONGTEXT", "TEXT"),
            Kind::Timestamp => ("DATETIME(6)", "TIMESTAMPTZ"),
            Kind::Date => ("DATE", "DATE"),
            Kind::Json => ("JSON", "JSONB"),
            Kind::Binary if is_key => ("VARBINARY(255)", "BYTEA"),
            Kind::Binary => ("LONGBLOB", "BYTEA"),
        };
        match dialect {
            Dialect::Mysql => mysql.into(),
            Dialect::Postgres => postgres.into(),
        }
    }

    /// That of a column which is there, by what the database calls it.
    pub fn of_column(data_type: &str) -> Kind {
        match data_type.to_ascii_lowercase().as_str() {
            "tinyint" | "smallint" | "mediumint" | "int" | "integer" | "bigint" => Kind::Integer,
            "float" | "double" | "real" | "double precision" => Kind::Double,
            "decimal" | "numeric" => Kind::Decimal(38, 9),
            "boolean" => Kind::Boolean,
            "char" | "varchar" | "text" | "tinytext" | "mediumtext" | "longtext" | "character varying"
            | "character" => Kind::Text,
            "datetime" | "timestamp" | "timestamp with time zone" | "timestamp without time zone" => Kind::Timestamp,
            "date" => Kind::Date,
            "json" | "jsonb" => Kind::Json,
            "blob" | "tinyblob" | "mediumblob" | "longblob" | "binary" | "varbinary" | "bytea" => Kind::Binary,
            _ => Kind::Other,
        }
    }
}

/// What goes into a column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ready {
    /// Nothing.
    Null,
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// The type of a column that takes a value, where none was declared.
pub fn kind(value: &Value<'_>) -> Kind {
    match value.first() {
        b'"' => Kind::Text,
        b'{' | b'[' => Kind::Json,
        b't' | b'f' => Kind::Boolean,
        _ if value.json().contains(['.', 'e', 'E']) => Kind::Double,
        _ if value.json().parse::<i64>().is_ok() => Kind::Integer,
        _ => Kind::Decimal(38, 0),
    }
}

/// A value as a column of a type takes it.
pub fn ready(value: &Value<'_>, kind: Kind, dialect: Dialect) -> Result<Ready, String> {
    if value.is_null() {
        return Ok(Ready::Null);
    }
    let wrong = |what: &str| Err(value.expected(what));
    let text = value.text()?;
    let is_bool = matches!(value.first(), b't' | b'f');
    let is_number = || text.parse::<f64>().is_ok_and(f64::is_finite);
    Ok(Ready::Text(match kind {
        Kind::Integer if is_bool => u8::from(value.first() == b't').to_string(),
        Kind::Integer if text.parse::<i128>().is_err() => return wrong("a whole number"),
        Kind::Double | Kind::Decimal(..) if !is_number() => return wrong("a number"),
        Kind::Boolean => match (&*text, dialect) {
            ("true" | "1", Dialect::Mysql) => "1".into(),
            ("false" | "0", Dialect::Mysql) => "0".into(),
            ("true" | "1", Dialect::Postgres) => "true".into(),
            ("false" | "0", Dialect::Postgres) => "false".into(),
            _ => return wrong("true or false"),
        },
        Kind::Timestamp => match time::timestamp(&text) {
            Some(time) => time,
            None => return wrong("a time like 2026-03-01T12:00:00Z, or milliseconds since 1970"),
        },
        Kind::Json => value.json().to_owned(),
        Kind::Binary => return value.bytes().map(Ready::Bytes),
        Kind::Integer | Kind::Double | Kind::Decimal(..) | Kind::Text | Kind::Date | Kind::Other => text.into_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str, kind: Kind) -> Result<Ready, String> {
        ready(&Value::of_json(json).unwrap(), kind, Dialect::Mysql)
    }

    #[test]
    fn a_value_is_what_its_column_takes_or_is_refused() {
        let text = |text: &str| Ok(Ready::Text(text.into()));
        assert_eq!(of("12345678901234567890.123456789", Kind::Decimal(38, 9)), text("12345678901234567890.123456789"));
        assert_eq!(of("true", Kind::Integer), text("1"));
        assert_eq!(of(r#""a\nb""#, Kind::Text), text("a\nb"));
        assert_eq!(of(r#""a\nb""#, Kind::Json), text(r#""a\nb""#));
        assert_eq!(of("1767225600000", Kind::Timestamp), text("2026-01-01 00:00:00.000000"));
        assert_eq!(of(r#""AP8=""#, Kind::Binary), Ok(Ready::Bytes(vec![0, 255])));
        assert_eq!(of("null", Kind::Integer), Ok(Ready::Null));
        for (json, kind) in
            [("1.5", Kind::Integer), (r#""x""#, Kind::Double), ("7", Kind::Boolean), ("7", Kind::Binary)]
        {
            assert!(of(json, kind).is_err(), "{json}");
        }
    }

    #[test]
    fn types_follow_from_the_data() {
        let kinds = ["1", "1.5", "18446744073709551616", "true", r#""x""#, "[1]"]
            .map(|json| kind(&Value::of_json(json).unwrap()));
        let expected = [Kind::Integer, Kind::Double, Kind::Decimal(38, 0), Kind::Boolean, Kind::Text, Kind::Json];
        assert_eq!(kinds, expected);
    }
}
