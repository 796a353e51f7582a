//! The types of SQL: what a CAST names, and what the planner knows of an expression before any record has come.

use std::fmt;

use crate::decimal::PRECISION_MAX;

/// A type of ksqlDB, and `Any` for what only a record can tell: the fields of JSON have no declared type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Not known before a record comes.
    Any,
    /// TRUE or FALSE.
    Boolean,
    /// A whole number of 32 bits.
    Integer,
    /// A whole number of 64 bits.
    Bigint,
    /// A floating point number of 64 bits.
    Double,
    /// An exact number with so many digits, so many of them after the point.
    Decimal(u8, u8),
    /// Text.
    Varchar,
    /// Bytes; base64 text in JSON.
    Bytes,
    /// Days; a number of days since 1970-01-01 in JSON.
    Date,
    /// Time of day; milliseconds since midnight in JSON.
    Time,
    /// A moment; milliseconds since 1970-01-01T00:00:00Z in JSON.
    Timestamp,
    /// A list.
    Array(Box<Type>),
    /// Names to values of one type.
    Map(Box<Type>),
    /// Names to values, each with a type of its own.
    Struct(Vec<(String, Type)>),
}

impl Type {
    /// A decimal that says nothing of its digits, where none are asked for.
    pub const DECIMAL: Type = Type::Decimal(PRECISION_MAX, 0);

    /// Whether values of the type can be reckoned with. `Any` may be.
    pub fn is_numeric(&self) -> bool {
        matches!(self, Type::Any) || self.is_number()
    }

    /// Whether it is known to be a number.
    pub fn is_number(&self) -> bool {
        matches!(self, Type::Integer | Type::Bigint | Type::Double | Type::Decimal(..))
    }

    /// Whether it is known to be a whole number.
    pub fn is_whole(&self) -> bool {
        matches!(self, Type::Integer | Type::Bigint)
    }

    /// Whether it is a date, a time or a timestamp.
    pub fn is_time(&self) -> bool {
        matches!(self, Type::Date | Type::Time | Type::Timestamp)
    }

    /// Reads a type as it is written in a statement: `DECIMAL(10, 2)`, `ARRAY<STRUCT<a INT>>`.
    pub fn parse(text: &str) -> Result<Type, String> {
        let mut reader = Reader { rest: text.trim() };
        let parsed = reader.parse_type(0)?;
        if reader.rest.is_empty() { Ok(parsed) } else { Err(format!("unexpected {:?} after the type", reader.rest)) }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Type::Any => "ANY",
            Type::Boolean => "BOOLEAN",
            Type::Integer => "INTEGER",
            Type::Bigint => "BIGINT",
            Type::Double => "DOUBLE",
            Type::Decimal(precision, scale) => return write!(out, "DECIMAL({precision}, {scale})"),
            Type::Varchar => "VARCHAR",
            Type::Bytes => "BYTES",
            Type::Date => "DATE",
            Type::Time => "TIME",
            Type::Timestamp => "TIMESTAMP",
            Type::Array(of) => return write!(out, "ARRAY<{of}>"),
            Type::Map(of) => return write!(out, "MAP<VARCHAR, {of}>"),
            Type::Struct(_) => "STRUCT",
        };
        out.write_str(name)
    }
}

/// How deep types may be nested in a CAST.
const TYPE_DEPTH_MAX: u32 = 16;

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn parse_type(&mut self, depth: u32) -> Result<Type, String> {
        if depth > TYPE_DEPTH_MAX {
            return Err("the type is nested too deeply".to_owned());
        }
        let name = self.word()?.to_ascii_uppercase();
        Ok(match name.as_str() {
            "BOOLEAN" => Type::Boolean,
            "INT" | "INTEGER" => Type::Integer,
            "BIGINT" => Type::Bigint,
            "DOUBLE" => Type::Double,
            "VARCHAR" | "STRING" => self.length().map(|()| Type::Varchar)?,
            "BYTES" => Type::Bytes,
            "DATE" => Type::Date,
            "TIME" => Type::Time,
            "TIMESTAMP" => Type::Timestamp,
            "DECIMAL" | "DEC" | "NUMERIC" => self.decimal()?,
            "ARRAY" => self.array(depth)?,
            "MAP" => self.map(depth)?,
            "STRUCT" => self.structure(depth)?,
            _ => {
                return Err(format!(
                    "unknown type {name}; expected BOOLEAN, INTEGER, BIGINT, DOUBLE, DECIMAL(p, s), VARCHAR, \
                 BYTES, DATE, TIME, TIMESTAMP, ARRAY<..>, MAP<VARCHAR, ..> or STRUCT<..>"
                ));
            }
        })
    }

    fn array(&mut self, depth: u32) -> Result<Type, String> {
        self.expect('<')?;
        let of = self.parse_type(depth + 1)?;
        self.expect('>')?;
        Ok(Type::Array(Box::new(of)))
    }

    fn map(&mut self, depth: u32) -> Result<Type, String> {
        self.expect('<')?;
        let key = self.parse_type(depth + 1)?;
        if key != Type::Varchar {
            return Err(format!("the keys of a MAP in JSON are VARCHAR, not {key}"));
        }
        self.expect(',')?;
        let of = self.parse_type(depth + 1)?;
        self.expect('>')?;
        Ok(Type::Map(Box::new(of)))
    }

    fn structure(&mut self, depth: u32) -> Result<Type, String> {
        self.expect('<')?;
        let mut fields = Vec::new();
        loop {
            let name = self.field_name()?;
            fields.push((name, self.parse_type(depth + 1)?));
            if !self.take(',') {
                self.expect('>')?;
                return Ok(Type::Struct(fields));
            }
        }
    }

    fn field_name(&mut self) -> Result<String, String> {
        if !self.take('`') {
            return self.word().map(str::to_owned);
        }
        let (name, rest) = self.rest.split_once('`').ok_or("a backquote is missing")?;
        self.rest = rest.trim_start();
        Ok(name.to_owned())
    }

    fn length(&mut self) -> Result<(), String> {
        if self.take('(') {
            self.number()?;
            self.expect(')')?;
        }
        Ok(())
    }

    fn decimal(&mut self) -> Result<Type, String> {
        self.expect('(').map_err(|_| "expected DECIMAL(precision, scale)".to_owned())?;
        let precision = self.number()?;
        let scale = if self.take(',') { self.number()? } else { 0 };
        self.expect(')')?;
        if !(1..=PRECISION_MAX).contains(&precision) || scale > precision {
            return Err(format!("a DECIMAL has 1 to {PRECISION_MAX} digits, and no more of them after the point"));
        }
        Ok(Type::Decimal(precision, scale))
    }

    fn number(&mut self) -> Result<u8, String> {
        let word = self.word()?;
        word.parse().map_err(|_| format!("expected a small number and found {word}"))
    }

    fn word(&mut self) -> Result<&'a str, String> {
        let end = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        if word.is_empty() {
            return Err("expected a type".to_owned());
        }
        self.rest = rest.trim_start();
        Ok(word)
    }

    fn take(&mut self, wanted: char) -> bool {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.take(wanted) { Ok(()) } else { Err(format!("expected {wanted:?} in the type")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_types() {
        assert_eq!(Type::parse("string"), Ok(Type::Varchar));
        assert_eq!(Type::parse("VARCHAR(20)"), Ok(Type::Varchar));
        assert_eq!(Type::parse("Decimal(4,2)"), Ok(Type::Decimal(4, 2)));
        assert_eq!(Type::parse("ARRAY<MAP<STRING, INT>>").unwrap().to_string(), "ARRAY<MAP<VARCHAR, INTEGER>>");
        assert_eq!(
            Type::parse("STRUCT<a INT, `b c` STRING>"),
            Ok(Type::Struct(vec![("a".into(), Type::Integer), ("b c".into(), Type::Varchar)]))
        );
    }

    #[test]
    fn refuses_what_is_no_type() {
        for text in
            ["", "NUMBERISH", "DECIMAL", "DECIMAL(50,2)", "DECIMAL(2,3)", "ARRAY<INT", "MAP<INT, INT>", "INT INT"]
        {
            assert!(Type::parse(text).is_err(), "{text}");
        }
        assert!(Type::parse(&"ARRAY<".repeat(1000)).is_err());
    }
}
