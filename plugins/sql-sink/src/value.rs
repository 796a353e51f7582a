//! From a value in JSON to one of a column: what types there are, what each takes, and what is made of a type.

use std::borrow::Cow;

use weir_plugin::database::Dialect;
use weir_plugin::json;
use weir_plugin::serde::{self, Deserialize, Deserializer, de::Error as _};

use crate::time;

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

/// A value of a record: a text in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value<'a>(pub Cow<'a, str>);

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

impl Value<'_> {
    /// Of a text.
    pub fn of_text(text: &str) -> Value<'static> {
        let mut quoted = Vec::with_capacity(text.len() + 2);
        json::push_string(&mut quoted, text);
        Value(Cow::Owned(String::from_utf8_lossy(&quoted).into_owned()))
    }

    fn first(&self) -> u8 {
        self.0.as_bytes().first().copied().unwrap_or(b'n')
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        self.first() == b'n'
    }

    /// The type of a column that takes it, where none was declared.
    pub fn kind(&self) -> Kind {
        match self.first() {
            b'"' => Kind::Text,
            b'{' | b'[' => Kind::Json,
            b't' | b'f' => Kind::Boolean,
            _ if self.0.contains(['.', 'e', 'E']) => Kind::Double,
            _ if self.0.parse::<i64>().is_ok() => Kind::Integer,
            _ => Kind::Decimal(38, 0),
        }
    }

    /// The text of a string; otherwise the JSON.
    fn text(&self) -> Result<Cow<'_, str>, String> {
        let inner = self.0.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        inner.map_or(Ok(Cow::Borrowed(&*self.0)), |inner| {
            json::text::decode(inner.as_bytes()).map_err(|error| error.to_string())
        })
    }

    /// It as a column of this type takes it.
    pub fn ready(&self, kind: Kind, dialect: Dialect) -> Result<Ready, String> {
        if self.is_null() {
            return Ok(Ready::Null);
        }
        let wrong = |what: &str| {
            let shown: String = self.0.chars().take(80).collect();
            Err(format!("expected {what}, got {shown}"))
        };
        let text = self.text()?;
        let is_bool = matches!(self.first(), b't' | b'f');
        let is_number = || text.parse::<f64>().is_ok_and(f64::is_finite);
        Ok(Ready::Text(match kind {
            Kind::Integer if is_bool => u8::from(self.first() == b't').to_string(),
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
            Kind::Json => self.0.clone().into_owned(),
            Kind::Binary => match base64(&text) {
                Some(bytes) => return Ok(Ready::Bytes(bytes)),
                None => return wrong("base64"),
            },
            Kind::Integer | Kind::Double | Kind::Decimal(..) | Kind::Text | Kind::Date | Kind::Other => {
                text.into_owned()
            }
        }))
    }
}

/// Bytes of base64, with its padding or without.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    (text.len() % 4 != 1).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(json: &str, kind: Kind) -> Result<Ready, String> {
        Value(json.into()).ready(kind, Dialect::Mysql)
    }

    #[test]
    fn a_value_is_what_its_column_takes_or_is_refused() {
        let text = |text: &str| Ok(Ready::Text(text.into()));
        assert_eq!(
            ready("12345678901234567890.123456789", Kind::Decimal(38, 9)),
            text("12345678901234567890.123456789")
        );
        assert_eq!(ready("true", Kind::Integer), text("1"));
        assert_eq!(ready(r#""a\nb""#, Kind::Text), text("a\nb"));
        assert_eq!(ready(r#""a\nb""#, Kind::Json), text(r#""a\nb""#));
        assert_eq!(ready("1767225600000", Kind::Timestamp), text("2026-01-01 00:00:00.000000"));
        assert_eq!(ready(r#""AP8=""#, Kind::Binary), Ok(Ready::Bytes(vec![0, 255])));
        assert_eq!(ready("null", Kind::Integer), Ok(Ready::Null));
        for (json, kind) in
            [("1.5", Kind::Integer), (r#""x""#, Kind::Double), ("7", Kind::Boolean), ("7", Kind::Binary)]
        {
            assert!(ready(json, kind).is_err(), "{json}");
        }
    }

    #[test]
    fn types_follow_from_the_data() {
        let kinds = ["1", "1.5", "18446744073709551616", "true", r#""x""#, "[1]"].map(|json| Value(json.into()).kind());
        let expected = [Kind::Integer, Kind::Double, Kind::Decimal(38, 0), Kind::Boolean, Kind::Text, Kind::Json];
        assert_eq!(kinds, expected);
    }
}
