//! One value of the file, read as the kind that its key takes. Knows nothing of groups and lists.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::report::{Place, Problem};
use super::shape::http::INVALID_HASH;
use super::shape::{Form, Kind};
use super::suggest;
use super::units::{self, show_duration, show_size};
use super::yaml::{Node, Value};
use crate::record::Timestamp;

/// A value that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar {
    /// A number, or bytes.
    Number(u64),
    /// A text, a name, a path or a word.
    Text(String),
    /// A duration.
    Duration(Duration),
    /// A duration, or no limit.
    Age(Option<Duration>),
    /// Where to listen.
    Address(SocketAddr),
    /// A time.
    Time(Timestamp),
    /// `true`.
    True,
}

/// Reads a value of a kind that is one value; `key` names it in the message.
pub fn scalar(kind: &Kind, key: &str, node: &Node) -> Result<Scalar, Problem> {
    let problem = match (kind, &node.value) {
        (Kind::Number(range), Value::Integer(number)) => {
            return in_range(*number, range, key, node, u64::to_string);
        }
        (Kind::Size(range), Value::Integer(number)) => {
            return in_range(*number, range, key, node, |n| show_size(*n));
        }
        (Kind::True, Value::Boolean(true)) => return Ok(Scalar::True),
        (_, Value::Text(text)) => return from_text(kind, key, text, node),
        (Kind::Duration(_) | Kind::Age(_), Value::Integer(_)) => wrong_type(kind, key, node).help(units::DURATION_HELP),
        (Kind::Address, Value::Integer(port)) => {
            wrong_type(kind, key, node).help(units::address_help(&port.to_string()))
        }
        (
            Kind::Name | Kind::Text | Kind::Path | Kind::Pattern | Kind::Form(_),
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_),
        ) => wrong_type(kind, key, node).help("put it in quotes to make it a text"),
        _ => wrong_type(kind, key, node),
    };
    Err(problem)
}

fn from_text(kind: &Kind, key: &str, text: &str, node: &Node) -> Result<Scalar, Problem> {
    let at = &node.place;
    match kind {
        Kind::Word(word) if text == *word => Ok(Scalar::Text(text.into())),
        Kind::Choice(words) if words.contains(&text) => Ok(Scalar::Text(text.into())),
        Kind::Choice(words) => Err(Problem::error("unknown-word", format!("`{key}` cannot be `{text}`"))
            .at(at, "not one of its words")
            .help(suggest::help(text, &format!("words for `{key}`"), words.iter().copied()))),
        Kind::Text | Kind::Path | Kind::Pattern | Kind::Name if text.is_empty() => {
            Err(Problem::error("empty-text", format!("`{key}` is empty")).at(at, "nothing between the quotes"))
        }
        Kind::Pattern => pattern(key, text, at),
        Kind::Name => name(text, at),
        Kind::Text | Kind::Path => Ok(Scalar::Text(text.into())),
        Kind::Form(form) => formed(form, key, text, at),
        Kind::Size(range) => size(text, range, key, node),
        Kind::Age(_) if text == "forever" => Ok(Scalar::Age(None)),
        Kind::Duration(range) => duration(text, range, key, at).map(Scalar::Duration),
        Kind::Age(range) => duration(text, range, key, at).map(|age| Scalar::Age(Some(age))),
        Kind::Address => units::address(text)
            .map(Scalar::Address)
            .map_err(|error| unparsable("invalid-address", key, &error, at, units::address_help(text))),
        Kind::WordOrTime(words) if words.contains(&text) => Ok(Scalar::Text(text.into())),
        Kind::WordOrTime(words) => units::time(text).map(Scalar::Time).map_err(|error| {
            let help = format!(
                "`{key}` is one of {}, or a time; {}",
                suggest::listed(words.iter().copied()),
                units::TIME_HELP
            );
            unparsable("invalid-time", key, &error, at, help)
        }),
        Kind::Time => units::time(text)
            .map(Scalar::Time)
            .map_err(|error| unparsable("invalid-time", key, &error, at, units::TIME_HELP.into())),
        _ => Err(wrong_type(kind, key, node)),
    }
}

fn unparsable(code: &'static str, key: &str, error: &str, at: &Place, help: String) -> Problem {
    Problem::error(code, format!("`{key}`: {error}")).at(at, "cannot be read").help(help)
}

fn formed(form: &Form, key: &str, text: &str, at: &Place) -> Result<Scalar, Problem> {
    let Err(error) = (form.check)(text) else { return Ok(Scalar::Text(text.into())) };
    let login = text.split_once("://").map_or(text, |(_, rest)| rest).rsplit_once('@');
    let may_be_secret = form.rule == INVALID_HASH || login.is_some_and(|(login, _)| login.contains(':'));
    if may_be_secret {
        // What may hold a password is not drawn.
        let error = format!("{error} ({at:?})");
        return Err(unparsable(form.rule, key, &error, at, form.help.into()).hidden());
    }
    Err(unparsable(form.rule, key, &error, at, form.help.into()))
}

fn pattern(key: &str, text: &str, at: &Place) -> Result<Scalar, Problem> {
    match glob::Pattern::new(text) {
        Ok(_) => Ok(Scalar::Text(text.into())),
        Err(error) => Err(unparsable(
            "invalid-pattern",
            key,
            &format!("{text:?} is not a pattern of paths: {}", error.msg),
            at,
            "`*` stands for any text within a name, `**` for any directories, `?` for one character, `[ab]` for a or b"
                .into(),
        )),
    }
}

fn name(text: &str, at: &Place) -> Result<Scalar, Problem> {
    let Err(error) = units::name(text) else { return Ok(Scalar::Text(text.into())) };
    let first = text.split_whitespace().next().unwrap_or_default();
    let help = match () {
        () if first.eq_ignore_ascii_case("select") => {
            "an SQL statement is written as a step `- sql: SELECT ...`".into()
        }
        () if text.ends_with(".wasm") => {
            let file = text.rsplit('/').next().unwrap_or(text);
            format!(
                "write the plugin's name, `{}`; the directory stands under `plugins`",
                file.trim_end_matches(".wasm")
            )
        }
        () => units::name_help(text),
    };
    Err(Problem::error("invalid-name", error).at(at, "not a name").help(help))
}

fn size(text: &str, range: &RangeInclusive<u64>, key: &str, node: &Node) -> Result<Scalar, Problem> {
    let bytes = units::size(text)
        .map_err(|error| unparsable("invalid-size", key, &error, &node.place, units::SIZE_HELP.into()))?;
    in_range(i128::from(bytes), range, key, node, |n| show_size(*n))
}

fn duration(text: &str, range: &RangeInclusive<u64>, key: &str, at: &Place) -> Result<Duration, Problem> {
    let duration = units::duration(text)
        .map_err(|error| unparsable("invalid-duration", key, &error, at, units::DURATION_HELP.into()))?;
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if range.contains(&ms) {
        Ok(duration)
    } else {
        Err(out_of_range(key, at, &between(range, |ms| show_duration(*ms))))
    }
}

fn in_range(
    number: i128,
    range: &RangeInclusive<u64>,
    key: &str,
    node: &Node,
    show: fn(&u64) -> String,
) -> Result<Scalar, Problem> {
    match u64::try_from(number) {
        Ok(number) if range.contains(&number) => Ok(Scalar::Number(number)),
        _ => Err(out_of_range(key, &node.place, &between(range, show))),
    }
}

/// The largest numbers of their types are no bounds that a person would set.
fn between(range: &RangeInclusive<u64>, show: fn(&u64) -> String) -> String {
    match (show(range.start()), *range.end()) {
        (min, max) if max >= u64::from(u32::MAX) && show(&max).bytes().all(|b| b.is_ascii_digit()) => {
            format!("at least {min}")
        }
        (min, max) => format!("between {min} and {}", show(&max)),
    }
}

fn out_of_range(key: &str, at: &Place, between: &str) -> Problem {
    Problem::error("out-of-range", format!("`{key}` has to be {between}")).at(at, "out of range")
}

/// The value is of another kind than its key takes.
pub fn wrong_type(kind: &Kind, key: &str, node: &Node) -> Problem {
    let message = format!("`{key}` takes {}, and here is {}", takes(kind), node.describe());
    Problem::error("wrong-type", message).at(&node.place, &format!("expected {}", takes(kind)))
}

/// What a key of this kind takes, with its article.
pub fn takes(kind: &Kind) -> String {
    match kind {
        Kind::Version => "the number 1".into(),
        Kind::Word(word) => format!("`{word}`"),
        Kind::Choice(words) => format!("one of {}", suggest::listed(words.iter().copied())),
        Kind::Text => "a text".into(),
        Kind::Name => "a name".into(),
        Kind::Path => "a path".into(),
        Kind::Pattern => "a path or pattern".into(),
        Kind::Number(_) => "a whole number".into(),
        Kind::Size(_) => "a size like `64KiB`".into(),
        Kind::Duration(_) => "a duration like `30s`".into(),
        Kind::Age(_) => "a duration like `7d` or `forever`".into(),
        Kind::Address => "an address like `127.0.0.1:5514`".into(),
        Kind::Time => "a time like `2026-03-01T12:00:00Z`".into(),
        Kind::WordOrTime(words) => format!("one of {}, or a time", suggest::listed(words.iter().copied())),
        Kind::Secret => "the name of a secret, `{secret: NAME}`".into(),
        Kind::True => "`true`".into(),
        Kind::Form(form) => form.what.into(),
        Kind::List(_) => "a list".into(),
        Kind::OneOrMany(one) => format!("{} or a list of them", takes(one)),
        Kind::Named(_, what) => format!("a group of {what}s by name"),
        Kind::Free | Kind::Group(_) | Kind::Variants(..) => "a group of keys".into(),
        Kind::Either(one, other) => format!("{} or {}", takes(one), takes(other)),
    }
}
