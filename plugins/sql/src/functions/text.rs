//! Functions over text and bytes. Places and lengths count characters, from 1.

use std::borrow::Cow;

use super::{Function, Kind, Returns, count, take, text, whole};
use crate::bytes;
use crate::expr::Memo;
use crate::value::{Outcome, Value};

/// The longest text that padding and the like may make: a typing error must not fill the memory.
const TEXT_MAX: usize = 1 << 20;

/// The functions of this module.
pub const FUNCTIONS: &[Function] = &[
    Function::new("UCASE", &[Kind::Text], Returns::Varchar, "The text in upper case.", |a, _| {
        Ok(Value::text_of(text(a, 0).to_uppercase()))
    })
    .alias(&["UPPER"]),
    Function::new("LCASE", &[Kind::Text], Returns::Varchar, "The text in lower case.", |a, _| {
        Ok(Value::text_of(text(a, 0).to_lowercase()))
    })
    .alias(&["LOWER"]),
    Function::new("TRIM", &[Kind::Text], Returns::Varchar, "The text without white space at its ends.", |a, _| {
        Ok(cut(text(a, 0), str::trim))
    }),
    Function::new("LTRIM", &[Kind::Text], Returns::Varchar, "The text without white space at its start.", |a, _| {
        Ok(cut(text(a, 0), str::trim_start))
    }),
    Function::new("RTRIM", &[Kind::Text], Returns::Varchar, "The text without white space at its end.", |a, _| {
        Ok(cut(text(a, 0), str::trim_end))
    }),
    Function::new("LEN", &[Kind::TextOrBytes], Returns::Integer, "The number of characters, or of bytes.", |a, _| {
        Ok(match take(a, 0) {
            Value::Bytes(bytes) => count(bytes.len()),
            Value::Text(text) => count(text.chars().count()),
            _ => Value::Null,
        })
    })
    .alias(&["LENGTH"]),
    Function::new(
        "SUBSTRING",
        &[Kind::TextOrBytes, Kind::Whole],
        Returns::Like(0),
        "The part from a place on, of a length when one is given; a negative place counts from the end.",
        substring,
    )
    .optional(&[Kind::Whole])
    .alias(&["SUBSTR"]),
    Function::new(
        "REPLACE",
        &[Kind::Text, Kind::Text, Kind::Text],
        Returns::Varchar,
        "The text with every occurrence of the second argument replaced by the third.",
        |a, _| {
            let (whole, from) = (text(a, 0), text(a, 1));
            Ok(if from.is_empty() { Value::Text(whole) } else { Value::text_of(whole.replace(&*from, &text(a, 2))) })
        },
    ),
    Function::new(
        "SPLIT",
        &[Kind::TextOrBytes, Kind::TextOrBytes],
        Returns::Array,
        "The parts between a delimiter; every character for itself when the delimiter is empty.",
        split,
    ),
    Function::new(
        "INSTR",
        &[Kind::Text, Kind::Text],
        Returns::Integer,
        "The place of a text in another, 0 when it is not there. Begins at a place (a negative one counts and searches \
         from the end) and finds the n-th occurrence.",
        instr,
    )
    .optional(&[Kind::Whole, Kind::Whole]),
    Function::new(
        "LPAD",
        &[Kind::TextOrBytes, Kind::Whole, Kind::TextOrBytes],
        Returns::Like(0),
        "The text filled up at its start, or cut, to a length.",
        |a, _| pad(a, Side::Start),
    ),
    Function::new(
        "RPAD",
        &[Kind::TextOrBytes, Kind::Whole, Kind::TextOrBytes],
        Returns::Like(0),
        "The text filled up at its end, or cut, to a length.",
        |a, _| pad(a, Side::End),
    ),
    Function::new(
        "INITCAP",
        &[Kind::Text],
        Returns::Varchar,
        "The text with a capital at the start of each word and small letters elsewhere.",
        |a, _| Ok(Value::text_of(capitals(&text(a, 0)))),
    ),
    Function::new(
        "CHR",
        &[Kind::Any],
        Returns::Varchar,
        "The character with a code point, given as a number or as text like '\\u004b'.",
        |a, _| Ok(chr(take(a, 0))),
    ),
    Function::new(
        "CONCAT",
        &[Kind::TextOrBytes],
        Returns::Like(0),
        "The arguments joined; NULL counts as empty.",
        |a, _| {
            agree(a);
            Ok(joined(Cow::Borrowed(b""), a, 0))
        },
    )
    .rest(Kind::TextOrBytes)
    .sees_nulls(),
    Function::new(
        "CONCAT_WS",
        &[Kind::TextOrBytes, Kind::TextOrBytes],
        Returns::Like(0),
        "The arguments after the first, joined with the first between them; NULLs are left out.",
        |a, _| {
            agree(a);
            Ok(match take(a, 0) {
                Value::Text(separator) => joined(separator.as_bytes().into(), a, 1),
                Value::Bytes(separator) => joined(separator, a, 1),
                _ => Value::Null,
            })
        },
    )
    .rest(Kind::TextOrBytes)
    .sees_nulls(),
    Function::new(
        "ENCODE",
        &[Kind::Text, Kind::Text, Kind::Text],
        Returns::Varchar,
        "The text taken from one encoding to another: 'hex', 'utf8', 'ascii' or 'base64'.",
        |a, _| {
            let wanted = text(a, 2);
            let encoded = bytes::decode(&text(a, 0), &text(a, 1)).and_then(|raw| bytes::encode(&raw, &wanted));
            // ksqlDB writes hexadecimal digits small here, and as capitals in FROM_BYTES.
            let small = wanted.eq_ignore_ascii_case("hex");
            Ok(Value::or_null(encoded.map(|text| Value::text_of(if small { text.to_lowercase() } else { text }))))
        },
    )
    .checked(|literals| encodings(&[literals.get(1), literals.get(2)])),
    Function::new(
        "TO_BYTES",
        &[Kind::Text, Kind::Text],
        Returns::Bytes,
        "The bytes of a text in an encoding: 'hex', 'utf8', 'ascii' or 'base64'.",
        |a, _| Ok(Value::or_null(bytes::decode(&text(a, 0), &text(a, 1)).map(|raw| Value::Bytes(raw.into())))),
    )
    .checked(|literals| encodings(&[literals.get(1)])),
    Function::new(
        "FROM_BYTES",
        &[Kind::Bytes, Kind::Text],
        Returns::Varchar,
        "The text of bytes in an encoding: 'hex', 'utf8', 'ascii' or 'base64'.",
        |a, _| {
            let encoding = text(a, 1);
            Ok(match take(a, 0) {
                Value::Bytes(raw) => Value::or_null(bytes::encode(&raw, &encoding).map(Value::text_of)),
                _ => Value::Null,
            })
        },
    )
    .checked(|literals| encodings(&[literals.get(1)])),
    Function::new(
        "MASK",
        &[Kind::Text],
        Returns::Varchar,
        "The text with capitals as X, small letters as x, digits as n and all else as -.",
        |a, _| Ok(Value::text_of(text(a, 0).chars().map(masked).collect::<String>())),
    ),
];

fn encodings(literals: &[Option<&Option<&str>>]) -> Result<(), String> {
    for encoding in literals.iter().flatten().copied().flatten() {
        if bytes::encode(b"", encoding).is_none() {
            return Err(format!("unknown encoding '{encoding}'; expected 'hex', 'utf8', 'ascii' or 'base64'"));
        }
    }
    Ok(())
}

fn masked(letter: char) -> char {
    match letter {
        _ if letter.is_uppercase() => 'X',
        _ if letter.is_lowercase() => 'x',
        _ if letter.is_numeric() => 'n',
        _ => '-',
    }
}

/// Cuts text without copying it when it is lent.
fn cut<'v>(text: Cow<'v, str>, how: fn(&str) -> &str) -> Value<'v> {
    match text {
        Cow::Borrowed(text) => Value::Text(Cow::Borrowed(how(text))),
        Cow::Owned(text) => Value::text_of(how(&text)),
    }
}

/// Where a part begins and how long it is, of `length` things: the first is 1, and 0 counts as 1.
fn span(length: usize, place: i64, wanted: Option<i64>) -> (usize, usize) {
    let back = usize::try_from(place.unsigned_abs()).unwrap_or(usize::MAX);
    let start = if place < 0 { length.saturating_sub(back) } else { back.saturating_sub(1).min(length) };
    let rest = length - start;
    let wanted = wanted.map_or(rest, |wanted| usize::try_from(wanted.max(0)).unwrap_or(usize::MAX));
    (start, wanted.min(rest))
}

fn substring<'v>(arguments: &mut [Value<'v>], _: &Memo) -> Outcome<'v> {
    let Some(place) = whole(arguments, 1) else { return Ok(Value::Null) };
    let wanted = whole(arguments, 2);
    Ok(match take(arguments, 0) {
        Value::Text(Cow::Borrowed(text)) => Value::Text(Cow::Borrowed(part(text, place, wanted))),
        Value::Text(Cow::Owned(text)) => Value::text_of(part(&text, place, wanted)),
        Value::Bytes(raw) => {
            let (start, length) = span(raw.len(), place, wanted);
            Value::Bytes(Cow::Owned(raw.get(start..start + length).unwrap_or_default().to_vec()))
        }
        _ => Value::Null,
    })
}

fn part(text: &str, place: i64, wanted: Option<i64>) -> &str {
    if text.is_ascii() {
        let (start, length) = span(text.len(), place, wanted);
        return text.get(start..start + length).unwrap_or_default();
    }
    let (start, length) = span(text.chars().count(), place, wanted);
    let mut ends = text.char_indices().map(|(at, _)| at).chain([text.len()]).skip(start);
    let Some(from) = ends.next() else { return "" };
    let to = if length == 0 { from } else { ends.nth(length - 1).unwrap_or(text.len()) };
    text.get(from..to).unwrap_or_default()
}

fn split<'v>(arguments: &mut [Value<'v>], _: &Memo) -> Outcome<'v> {
    agree(arguments);
    Ok(match (take(arguments, 0), take(arguments, 1)) {
        (Value::Text(whole), Value::Text(delimiter)) => Value::Array(split_text(whole, &delimiter)),
        (Value::Bytes(whole), Value::Bytes(delimiter)) => Value::Array(split_bytes(&whole, &delimiter)),
        _ => Value::Null,
    })
}

fn split_text<'v>(whole: Cow<'v, str>, delimiter: &str) -> Vec<Value<'v>> {
    if whole.is_empty() {
        return vec![Value::Text(whole)];
    }
    if delimiter.is_empty() {
        return whole.chars().map(Value::text_of).collect();
    }
    match whole {
        Cow::Borrowed(whole) => whole.split(delimiter).map(|part| Value::Text(Cow::Borrowed(part))).collect(),
        Cow::Owned(whole) => whole.split(delimiter).map(Value::text_of).collect(),
    }
}

fn split_bytes(whole: &[u8], delimiter: &[u8]) -> Vec<Value<'static>> {
    if whole.is_empty() {
        return vec![Value::Bytes(Cow::Borrowed(b""))];
    }
    if delimiter.is_empty() {
        return whole.iter().map(|byte| Value::Bytes(vec![*byte].into())).collect();
    }
    let mut parts = Vec::new();
    let mut from = 0;
    for at in memchr::memmem::find_iter(whole, delimiter) {
        parts.push(Value::Bytes(whole.get(from..at).unwrap_or_default().to_vec().into()));
        from = at + delimiter.len();
    }
    parts.push(Value::Bytes(whole.get(from..).unwrap_or_default().to_vec().into()));
    parts
}

fn instr<'v>(arguments: &mut [Value<'v>], _: &Memo) -> Outcome<'v> {
    let (begin, occurrence) = (whole(arguments, 2).unwrap_or(1), whole(arguments, 3).unwrap_or(1));
    let (haystack, needle) = (text(arguments, 0), text(arguments, 1));
    let (haystack, needle): (Vec<char>, Vec<char>) = (haystack.chars().collect(), needle.chars().collect());
    let Some(nth) = usize::try_from(occurrence).ok().and_then(|nth| nth.checked_sub(1)) else {
        return Ok(Value::Whole(0));
    };
    let stands = |start: &usize| haystack.get(*start..).is_some_and(|rest| rest.starts_with(&needle));
    let size = usize::try_from(begin.unsigned_abs()).unwrap_or(usize::MAX);
    let found = match begin {
        0 => None,
        1.. => (size - 1..haystack.len()).filter(stands).nth(nth),
        // The last place that counts is the one from which `size` characters are left.
        _ => haystack.len().checked_sub(size).and_then(|last| (0..=last).rev().filter(stands).nth(nth)),
    };
    Ok(found.map_or(Value::Whole(0), |start| count(start + 1)))
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Start,
    End,
}

fn pad<'v>(arguments: &mut [Value<'v>], side: Side) -> Outcome<'v> {
    let length = whole(arguments, 1).and_then(|length| usize::try_from(length).ok());
    let Some(length) = length.filter(|length| *length <= TEXT_MAX) else { return Ok(Value::Null) };
    agree(arguments);
    Ok(match (take(arguments, 0), take(arguments, 2)) {
        (Value::Text(body), Value::Text(filler)) if !filler.is_empty() => {
            let (body, filler): (Vec<char>, Vec<char>) = (body.chars().collect(), filler.chars().collect());
            Value::text_of(padded(&body, &filler, length, side).into_iter().collect::<String>())
        }
        (Value::Bytes(body), Value::Bytes(filler)) if !filler.is_empty() => {
            Value::Bytes(padded(&body, &filler, length, side).into())
        }
        _ => Value::Null,
    })
}

fn padded<T: Copy>(body: &[T], filler: &[T], length: usize, side: Side) -> Vec<T> {
    let kept = body.iter().take(length).copied();
    let fill = filler.iter().cycle().take(length.saturating_sub(body.len())).copied();
    if side == Side::Start { fill.chain(kept).collect() } else { kept.chain(fill).collect() }
}

fn capitals(text: &str) -> String {
    let mut inside = false;
    let mut result = String::with_capacity(text.len());
    for letter in text.chars() {
        if inside {
            result.extend(letter.to_lowercase());
        } else {
            result.extend(letter.to_uppercase());
        }
        inside = !letter.is_whitespace();
    }
    result
}

fn chr(code: Value<'_>) -> Value<'static> {
    let number = match code {
        Value::Whole(number) => u32::try_from(number).ok(),
        Value::Text(text) => {
            let units: Option<Vec<u16>> =
                text.split("\\u").skip(1).map(|hex| u16::from_str_radix(hex, 16).ok()).collect();
            let decoded = units.filter(|_| text.starts_with("\\u")).and_then(|units| String::from_utf16(&units).ok());
            return Value::or_null(decoded.map(Value::text_of));
        }
        _ => None,
    };
    Value::or_null(number.and_then(char::from_u32).map(Value::text_of))
}

/// When one argument is bytes, reads those that are text as the base64 that bytes are in JSON.
fn agree(arguments: &mut [Value<'_>]) {
    if !arguments.iter().any(|argument| matches!(argument, Value::Bytes(_))) {
        return;
    }
    for argument in arguments {
        if let Value::Text(text) = argument {
            *argument = Value::or_null(bytes::from_base64(text).map(|raw| Value::Bytes(raw.into())));
        }
    }
}

/// Joins the arguments from a place on. The result is bytes when one of them is.
fn joined(separator: Cow<'_, [u8]>, arguments: &[Value<'_>], from: usize) -> Value<'static> {
    let arguments = arguments.get(from..).unwrap_or_default();
    let mut parts: Vec<&[u8]> = Vec::with_capacity(arguments.len());
    let mut is_bytes = false;
    for argument in arguments {
        match argument {
            Value::Text(text) => parts.push(text.as_bytes()),
            Value::Bytes(raw) => {
                is_bytes = true;
                parts.push(raw);
            }
            _ => {}
        }
    }
    let all = parts.join(&*separator);
    if is_bytes {
        return Value::Bytes(all.into());
    }
    Value::or_null(String::from_utf8(all).ok().map(Value::text_of))
}
