//! From a value in JSON to one of a column. What does not fit is refused here: these servers make null of it without a word.

use std::fmt;

use weir_plugin::rows::Value;
use weir_plugin::serde::{self, Deserialize, Deserializer, de::Error as _};
use weir_plugin::time;

/// The type of a column, as the server writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Whole numbers of so many bits: tinyint, smallint, int, bigint.
    Integer(u8),
    /// Numbers with a binary point: float, double.
    Float(&'static str),
    /// Numbers with so many digits, and so many of them behind the point.
    Decimal(u8, u8),
    /// True or false.
    Boolean,
    /// Text.
    String,
    /// Text of at most so many characters: varchar or char.
    Bounded(&'static str, u32),
    /// A moment.
    Timestamp,
    /// A day.
    Date,
    /// Bytes.
    Binary,
}

impl Kind {
    /// Reads what a server calls it, or a pipeline file.
    pub fn read(text: &str) -> Option<Kind> {
        let text = text.trim().to_ascii_lowercase();
        let (word, inside) = match text.split_once('(') {
            Some((word, rest)) => (word.trim(), Some(rest.strip_suffix(')')?)),
            None => (text.as_str(), None),
        };
        Some(match (word, inside) {
            ("tinyint" | "byte", None) => Kind::Integer(8),
            ("smallint" | "short", None) => Kind::Integer(16),
            ("int" | "integer", None) => Kind::Integer(32),
            ("bigint" | "long", None) => Kind::Integer(64),
            ("float" | "real", None) => Kind::Float("FLOAT"),
            ("double", None) => Kind::Float("DOUBLE"),
            ("decimal" | "numeric", None) => Kind::Decimal(9, 0),
            ("decimal" | "numeric", Some(inside)) => {
                let (digits, scale) = inside.split_once(',').unwrap_or((inside, "0"));
                let (digits, scale) = (digits.trim().parse().ok()?, scale.trim().parse().ok()?);
                ((1..=38).contains(&digits) && scale <= digits).then_some(Kind::Decimal(digits, scale))?
            }
            ("boolean", None) => Kind::Boolean,
            ("string" | "text" | "json", None) => Kind::String,
            ("varchar", Some(length)) => Kind::Bounded("VARCHAR", length.trim().parse().ok()?),
            ("char", Some(length)) => Kind::Bounded("CHAR", length.trim().parse().ok()?),
            ("timestamp" | "timestamp_ntz", None) => Kind::Timestamp,
            ("date", None) => Kind::Date,
            ("binary", None) => Kind::Binary,
            _ => return None,
        })
    }

    /// That of a column which takes a value, where none was declared.
    pub fn of(value: &Value<'_>) -> Kind {
        match value.first() {
            b'"' | b'{' | b'[' => Kind::String,
            b't' | b'f' => Kind::Boolean,
            _ if value.json().contains(['.', 'e', 'E']) => Kind::Float("DOUBLE"),
            _ if value.json().parse::<i64>().is_ok() => Kind::Integer(64),
            _ => Kind::Decimal(38, 0),
        }
    }

    /// What stands in a statement where a value goes: the host writes text and bytes there.
    pub fn placeholder(&self) -> String {
        match self {
            Kind::String => "?".into(),
            kind => format!("CAST(? AS {kind})"),
        }
    }

    /// A value as such a column takes it.
    pub fn ready(&self, value: &Value<'_>) -> Result<Ready, String> {
        if value.is_null() {
            return Ok(Ready::Null);
        }
        let wrong = |what: &str| Err(value.expected(what));
        let text = value.text()?;
        let is_bool = matches!(value.first(), b't' | b'f');
        Ok(Ready::Text(match self {
            Kind::Integer(_) if is_bool => u8::from(value.first() == b't').to_string(),
            Kind::Integer(bits) => match text.parse::<i64>() {
                Ok(number) if in_range(number, *bits) => number.to_string(),
                _ => return wrong(&format!("a whole number of {bits} bits")),
            },
            Kind::Float(_) if text.parse::<f64>().is_ok_and(f64::is_finite) => text.into_owned(),
            Kind::Float(_) => return wrong("a number"),
            Kind::Decimal(digits, scale) => match decimal(&text, *digits, *scale) {
                Some(number) => number,
                None => return wrong(&format!("a number of {digits} digits, {scale} of them behind the point")),
            },
            Kind::Boolean => match &*text {
                "true" | "1" => "true".into(),
                "false" | "0" => "false".into(),
                _ => return wrong("true or false"),
            },
            Kind::Timestamp => match time::timestamp(&text) {
                Some(time) => time,
                None => return wrong("a time like 2026-03-01T12:00:00Z, or milliseconds since 1970"),
            },
            Kind::Date => match time::timestamp(&format!("{text}T00:00:00Z")) {
                Some(time) if time.starts_with(&*text) && text.len() == 10 => text.into_owned(),
                _ => return wrong("a day like 2026-03-01"),
            },
            Kind::Bounded(_, length) if text.chars().count() > *length as usize => {
                return wrong(&format!("text of at most {length} characters"));
            }
            Kind::Binary => return value.bytes().map(Ready::Bytes),
            Kind::String | Kind::Bounded(..) => text.into_owned(),
        }))
    }
}

fn in_range(number: i64, bits: u8) -> bool {
    let unused = 64_u32.saturating_sub(u32::from(bits));
    number.checked_shl(unused).is_some_and(|shifted| shifted >> unused == number)
}

/// A number in plain digits, where it is one that fits.
fn decimal(text: &str, digits: u8, scale: u8) -> Option<String> {
    let (sign, number) = text.strip_prefix('-').map_or(("", text), |number| ("-", number));
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (number, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) || exponent.unsigned_abs() > 80 {
        return None;
    }
    let mut all = format!("{whole}{fraction}");
    let point = whole.len() as i32 + exponent;
    if point < 0 {
        all = format!("{}{all}", "0".repeat(point.unsigned_abs() as usize));
    }
    let point = point.max(0) as usize;
    if all.len() < point {
        all.push_str(&"0".repeat(point - all.len()));
    }
    let (whole, fraction) = all.split_at_checked(point)?;
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    if whole.len() > usize::from(digits - scale) || fraction.len() > usize::from(scale) {
        return None;
    }
    let whole = if whole.is_empty() { "0" } else { whole };
    Some(if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
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

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Integer(8) => f.write_str("TINYINT"),
            Kind::Integer(16) => f.write_str("SMALLINT"),
            Kind::Integer(32) => f.write_str("INT"),
            Kind::Integer(_) => f.write_str("BIGINT"),
            Kind::Float(word) => f.write_str(word),
            Kind::Decimal(digits, scale) => write!(f, "DECIMAL({digits},{scale})"),
            Kind::Boolean => f.write_str("BOOLEAN"),
            Kind::String => f.write_str("STRING"),
            Kind::Bounded(word, length) => write!(f, "{word}({length})"),
            Kind::Timestamp => f.write_str("TIMESTAMP"),
            Kind::Date => f.write_str("DATE"),
            Kind::Binary => f.write_str("BINARY"),
        }
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text: String = serde::Deserialize::deserialize(deserializer)?;
        Kind::read(&text).ok_or_else(|| {
            D::Error::custom(format!(
                "expected tinyint, smallint, int, bigint, float, double, decimal(P,S), boolean, string, varchar(N), char(N), timestamp, \
                 date or binary, got {text:?}"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str, kind: &str) -> Result<Ready, String> {
        Kind::read(kind).unwrap().ready(&Value::of_json(json).unwrap())
    }

    #[test]
    fn a_value_is_what_its_column_takes_or_is_refused() {
        let text = |text: &str| Ok(Ready::Text(text.into()));
        for (json, kind, expected) in [
            ("-128", "tinyint", "-128"),
            ("true", "int", "1"),
            (r#""7""#, "bigint", "7"),
            ("1.50", "decimal(5,2)", "1.5"),
            ("-12e-2", "decimal(3,2)", "-0.12"),
            ("1e3", "decimal(4,0)", "1000"),
            ("0.0", "decimal(1,0)", "0"),
            ("1e308", "double", "1e308"),
            ("1", "boolean", "true"),
            (r#""2024-02-29""#, "date", "2024-02-29"),
            ("1767225600000", "timestamp", "2026-01-01 00:00:00.000000"),
            (r#"{"a":1}"#, "string", r#"{"a":1}"#),
            (r#""äöü""#, "varchar(3)", "äöü"),
        ] {
            assert_eq!(of(json, kind), text(expected), "{json} {kind}");
        }
        assert_eq!(of("null", "int"), Ok(Ready::Null));
        assert_eq!(of(r#""AP8=""#, "binary"), Ok(Ready::Bytes(vec![0, 255])));
        for (json, kind) in [
            ("128", "tinyint"),
            ("-32769", "smallint"),
            ("2147483648", "int"),
            ("9223372036854775808", "bigint"),
            ("1.5", "int"),
            ("100", "decimal(2,0)"),
            ("0.125", "decimal(9,2)"),
            (r#""x""#, "decimal(9,2)"),
            ("7", "boolean"),
            (r#""2025-02-30""#, "date"),
            (r#""x""#, "timestamp"),
            (r#""abcd""#, "varchar(3)"),
            (r#""x""#, "double"),
        ] {
            assert!(of(json, kind).is_err(), "{json} {kind}");
        }
    }

    #[test]
    fn types_are_read_as_servers_write_them() {
        for text in
            ["TINYINT", "BIGINT", "DECIMAL(12,3)", "VARCHAR(20)", "STRING", "TIMESTAMP", "BINARY", "FLOAT", "DATE"]
        {
            assert_eq!(Kind::read(&text.to_lowercase()).unwrap().to_string(), text);
        }
        for wrong in ["array<int>", "decimal(39,0)", "decimal(2,3)", "varchar", "int) ; DROP", ""] {
            assert_eq!(Kind::read(wrong), None, "{wrong}");
        }
    }
}
