//! The scalar functions: what they are called, what they take and give, and where they are found.
//!
//! A function is one row of a table in one of the modules below. Adding one means adding a row there.

pub mod choice;
pub mod json;
pub mod list;
pub mod map;
pub mod math;
pub mod path;
pub mod pattern;
pub mod text;
pub mod time;
pub mod url;
pub mod web;

use std::borrow::Cow;

use crate::decimal::Decimal;
use crate::expr::Memo;
use crate::types::Type;
use crate::value::{Outcome, Value};

/// What an argument is read as before the function sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whatever it is; scalars are decoded.
    Any,
    /// Text.
    Text,
    /// Text, or bytes when it is known to be bytes.
    TextOrBytes,
    /// Bytes.
    Bytes,
    /// A whole number.
    Whole,
    /// A number of any type.
    Number,
    /// A double.
    Double,
    /// A boolean.
    Boolean,
    /// A date.
    Date,
    /// A time of day.
    Time,
    /// A moment.
    Timestamp,
    /// An array.
    Array,
    /// A map or a struct.
    Map,
    /// A unit of time, written as a bare word.
    Unit,
}

/// What becomes of NULL arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nulls {
    /// One of them makes the result NULL, and the function is not called.
    Pass,
    /// The function sees them.
    Seen,
}

/// What is known of a result before any record has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returns {
    /// Nothing.
    Any,
    /// The type of the argument with this number.
    Like(usize),
    /// VARCHAR.
    Varchar,
    /// BOOLEAN.
    Boolean,
    /// INTEGER.
    Integer,
    /// BIGINT.
    Bigint,
    /// DOUBLE.
    Double,
    /// BYTES.
    Bytes,
    /// DATE.
    Date,
    /// TIME.
    Time,
    /// TIMESTAMP.
    Timestamp,
    /// ARRAY.
    Array,
    /// MAP.
    Map,
}

/// The code of a function. Its arguments have the kinds that it asked for; with [`Nulls::Pass`] none is NULL.
pub type Body = for<'v, 'a> fn(&'a mut [Value<'v>], &'a Memo) -> Outcome<'v>;

/// Looks at the arguments that are text literals before any record has come; the error is for a person.
pub type Check = fn(&[Option<&str>]) -> Result<(), String>;

/// A function.
#[derive(Debug)]
pub struct Function {
    /// Its name, in upper case.
    pub name: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// What it does, in one sentence.
    pub doc: &'static str,
    /// The arguments that have to be there.
    pub required: &'static [Kind],
    /// The arguments that may follow.
    pub optional: &'static [Kind],
    /// The kind of any number of further arguments.
    pub rest: Option<Kind>,
    /// What becomes of NULLs.
    pub nulls: Nulls,
    /// The type of the result.
    pub returns: Returns,
    /// What is checked before it runs.
    pub check: Option<Check>,
    /// The code.
    pub body: Body,
}

impl Function {
    /// A function with a fixed number of arguments, none of which may be NULL.
    pub const fn new(
        name: &'static str,
        required: &'static [Kind],
        returns: Returns,
        doc: &'static str,
        body: Body,
    ) -> Function {
        Function {
            name,
            aliases: &[],
            doc,
            required,
            optional: &[],
            rest: None,
            nulls: Nulls::Pass,
            returns,
            check: None,
            body,
        }
    }

    /// Gives it other names.
    pub const fn alias(mut self, aliases: &'static [&'static str]) -> Function {
        self.aliases = aliases;
        self
    }

    /// Lets further arguments follow.
    pub const fn optional(mut self, optional: &'static [Kind]) -> Function {
        self.optional = optional;
        self
    }

    /// Lets any number of arguments follow.
    pub const fn rest(mut self, kind: Kind) -> Function {
        self.rest = Some(kind);
        self
    }

    /// Lets it see NULLs.
    pub const fn sees_nulls(mut self) -> Function {
        self.nulls = Nulls::Seen;
        self
    }

    /// Has its text literals looked at first.
    pub const fn checked(mut self, check: Check) -> Function {
        self.check = Some(check);
        self
    }

    /// The kind of the argument at a place.
    pub fn kind(&self, place: usize) -> Kind {
        let fixed = self.required.iter().chain(self.optional).nth(place).copied();
        fixed.or(self.rest).unwrap_or(Kind::Any)
    }

    /// Whether it takes so many arguments.
    pub fn takes(&self, count: usize) -> bool {
        count >= self.required.len() && (self.rest.is_some() || count <= self.required.len() + self.optional.len())
    }

    /// How it is called: `SUBSTRING(VARCHAR|BYTES, BIGINT [, BIGINT])`.
    pub fn signature(&self) -> String {
        let required: Vec<String> = self.required.iter().map(Kind::to_string).collect();
        let mut inside = required.join(", ");
        for kind in self.optional {
            inside.push_str(&format!(" [, {kind}]"));
        }
        if let Some(kind) = self.rest {
            inside.push_str(&format!(" [, {kind} ...]"));
        }
        format!("{}({})", self.name, inside.trim_start_matches(" [, ").trim_start())
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Kind::Any => "ANY",
            Kind::Text => "VARCHAR",
            Kind::TextOrBytes => "VARCHAR|BYTES",
            Kind::Bytes => "BYTES",
            Kind::Whole => "BIGINT",
            Kind::Number => "NUMBER",
            Kind::Double => "DOUBLE",
            Kind::Boolean => "BOOLEAN",
            Kind::Date => "DATE",
            Kind::Time => "TIME",
            Kind::Timestamp => "TIMESTAMP",
            Kind::Array => "ARRAY",
            Kind::Map => "MAP",
            Kind::Unit => "UNIT",
        })
    }
}

impl Kind {
    /// Whether an argument of this type can be what is wanted. Fields have no known type and are read when they come.
    pub fn accepts(self, given: &Type) -> bool {
        match (self, given) {
            (Kind::Any, _) | (_, Type::Any) => true,
            (Kind::Text | Kind::Unit, Type::Varchar) | (Kind::TextOrBytes, Type::Varchar | Type::Bytes) => true,
            (Kind::Bytes, Type::Bytes | Type::Varchar) | (Kind::Boolean, Type::Boolean) => true,
            (Kind::Number | Kind::Double, given) => given.is_number(),
            (Kind::Whole, given) => given.is_whole(),
            (Kind::Date, Type::Date | Type::Timestamp | Type::Varchar) => true,
            (Kind::Time, Type::Time | Type::Timestamp | Type::Varchar) => true,
            (Kind::Timestamp, Type::Timestamp | Type::Date | Type::Varchar) => true,
            (Kind::Date | Kind::Time | Kind::Timestamp, given) => given.is_whole(),
            (Kind::Array, Type::Array(_)) | (Kind::Map, Type::Map(_) | Type::Struct(_)) => true,
            _ => false,
        }
    }
}

/// All functions, module by module.
pub static TABLES: &[&[Function]] = &[
    choice::FUNCTIONS,
    text::FUNCTIONS,
    pattern::FUNCTIONS,
    math::FUNCTIONS,
    json::FUNCTIONS,
    list::FUNCTIONS,
    map::FUNCTIONS,
    time::FUNCTIONS,
    web::FUNCTIONS,
];

/// All functions.
pub fn all() -> impl Iterator<Item = &'static Function> {
    TABLES.iter().flat_map(|table| table.iter())
}

/// Finds a function by its name, in upper case.
pub fn find(name: &str) -> Option<&'static Function> {
    all().find(|function| function.name == name || function.aliases.contains(&name))
}

/// All functions as a Markdown table, in order of their names: for the documentation.
pub fn listing() -> String {
    let mut rows: Vec<String> = all()
        .map(|function| {
            let also = if function.aliases.is_empty() {
                String::new()
            } else {
                format!(" (also {})", function.aliases.join(", "))
            };
            format!("| `{}` | {}{also} |\n", function.signature().replace('|', "\\|"), function.doc)
        })
        .collect();
    rows.sort();
    format!("| function | what it gives |\n|---|---|\n{}", rows.concat())
}

/// Takes the text of an argument.
fn text<'v>(arguments: &mut [Value<'v>], place: usize) -> Cow<'v, str> {
    match take(arguments, place) {
        Value::Text(text) => text,
        _ => Cow::Borrowed(""),
    }
}

/// Takes an argument, and leaves NULL in its place.
fn take<'v>(arguments: &mut [Value<'v>], place: usize) -> Value<'v> {
    arguments.get_mut(place).map_or(Value::Null, |slot| std::mem::replace(slot, Value::Null))
}

/// The whole number in an argument; `None` when it is absent or NULL.
fn whole(arguments: &[Value<'_>], place: usize) -> Option<i64> {
    match arguments.get(place) {
        Some(Value::Whole(whole)) => Some(*whole),
        _ => None,
    }
}

/// The double in an argument.
fn double(arguments: &[Value<'_>], place: usize) -> Option<f64> {
    match arguments.get(place) {
        Some(Value::Double(double)) => Some(*double),
        _ => None,
    }
}

/// The decimal in an argument.
fn decimal(arguments: &[Value<'_>], place: usize) -> Option<Decimal> {
    match arguments.get(place) {
        Some(Value::Decimal(decimal)) => Some(*decimal),
        _ => None,
    }
}

/// Takes the elements of an argument.
fn elements<'v>(arguments: &mut [Value<'v>], place: usize) -> Vec<Value<'v>> {
    match take(arguments, place) {
        Value::Array(elements) => elements,
        _ => Vec::new(),
    }
}

/// A number of things as SQL counts them.
fn count(number: usize) -> Value<'static> {
    Value::Whole(i64::try_from(number).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_in_upper_case() {
        let mut seen = std::collections::HashSet::new();
        for function in all() {
            for name in std::iter::once(&function.name).chain(function.aliases) {
                assert!(seen.insert(*name), "{name} stands there twice");
                assert_eq!(*name, name.to_uppercase());
            }
            assert!(function.doc.ends_with('.'), "{}", function.name);
        }
    }

    #[test]
    fn the_listing_has_them_all() {
        let listing = listing();
        assert_eq!(listing.lines().count(), all().count() + 2);
        assert!(listing.contains("| `UCASE(VARCHAR)` | The text in upper case. (also UPPER) |"), "{listing}");
    }

    #[test]
    fn signatures_can_be_read() {
        assert_eq!(find("SUBSTRING").unwrap().signature(), "SUBSTRING(VARCHAR|BYTES, BIGINT [, BIGINT])");
        assert_eq!(find("CONCAT").unwrap().signature(), "CONCAT(VARCHAR|BYTES [, VARCHAR|BYTES ...])");
    }
}
