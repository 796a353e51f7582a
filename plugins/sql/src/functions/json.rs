//! Functions over JSON that comes as text.

use std::borrow::Cow;
use std::rc::Rc;

use weir_plugin::json::push_string;

use super::path::{self, Path};
use super::{Function, Kind, Returns, count, take, text};
use crate::expr::{Compiled, Memo};
use crate::json::check;
use crate::json::scan::{self, Elements, Members};
use crate::value::{Outcome, Value};

/// The functions of this module.
pub const FUNCTIONS: &[Function] = &[
    Function::new(
        "EXTRACTJSONFIELD",
        &[Kind::Text, Kind::Text],
        Returns::Varchar,
        "What stands at a path like '$.a.b[0]' in JSON text, as text.",
        extract,
    )
    .checked(|literals| match literals.get(1).copied().flatten() {
        Some(path) => Path::new(path).map(|_| ()),
        None => Ok(()),
    }),
    Function::new("IS_JSON_STRING", &[Kind::Text], Returns::Boolean, "Whether a text is valid JSON.", |a, _| {
        let valid = a.first().is_some_and(|argument| !argument.is_null()) && is_valid(&text(a, 0));
        Ok(Value::Boolean(valid))
    })
    .sees_nulls(),
    Function::new(
        "JSON_ARRAY_LENGTH",
        &[Kind::Text],
        Returns::Integer,
        "The number of elements of a JSON array in text.",
        |a, _| Ok(Value::or_null(elements(&text(a, 0)).map(|elements| count(elements.len())))),
    ),
    Function::new(
        "JSON_ITEMS",
        &[Kind::Text],
        Returns::Array,
        "The elements of a JSON array in text, each as JSON text.",
        |a, _| {
            let body = text(a, 0);
            let items = elements(&body).map(|elements| elements.into_iter().map(Value::text_of).collect());
            Ok(Value::or_null(items.map(Value::Array)))
        },
    ),
    Function::new("JSON_KEYS", &[Kind::Text], Returns::Array, "The names in a JSON object in text.", |a, _| {
        let body = text(a, 0);
        let names = members(&body).map(|members| members.into_iter().map(|(name, _)| Value::text_of(name)).collect());
        Ok(Value::or_null(names.map(Value::Array)))
    }),
    Function::new(
        "JSON_RECORDS",
        &[Kind::Text],
        Returns::Map,
        "The members of a JSON object in text: texts as they are, other values as JSON text.",
        |a, _| {
            let body = text(a, 0);
            let content = |value: String| path::value_text(value.as_bytes()).map_or(Value::Null, Value::text_of);
            let records = members(&body)
                .map(|members| members.into_iter().map(|(name, value)| (Cow::Owned(name), content(value))).collect());
            Ok(Value::or_null(records.map(Value::Object)))
        },
    ),
    Function::new(
        "JSON_CONCAT",
        &[Kind::Text, Kind::Text],
        Returns::Varchar,
        "JSON texts as one: objects are merged, anything else becomes an array.",
        concat,
    )
    .rest(Kind::Text),
    Function::new("TO_JSON_STRING", &[Kind::Any], Returns::Varchar, "Any value as JSON text.", |a, _| {
        let mut out = Vec::new();
        let value = match take(a, 0) {
            Value::Date(days) => Value::text_of(crate::time::iso::date_text(days)),
            Value::Time(ms) => Value::text_of(crate::time::iso::time_text(ms)),
            Value::Timestamp(ms) => Value::text_of(crate::time::iso::timestamp_text(ms)),
            other => other,
        };
        value.write(&mut out)?;
        let compact = path::compact(&out).or_else(|| String::from_utf8(out).ok());
        Ok(Value::or_null(compact.map(Value::text_of)))
    })
    .sees_nulls(),
];

fn extract<'v>(arguments: &mut [Value<'v>], memo: &Memo) -> Outcome<'v> {
    let compile = |path: &str| Path::new(path).map_or(Compiled::Broken, |path| Compiled::Path(Rc::new(path)));
    let Compiled::Path(path) = memo.get(&text(arguments, 1), compile) else { return Ok(Value::Null) };
    let body = text(arguments, 0);
    let found = path.follow(body.as_bytes()).and_then(path::value_text);
    Ok(Value::or_null(found.map(|text| Value::text_of(text.into_owned()))))
}

fn is_valid(body: &str) -> bool {
    check::value(body.trim_ascii().as_bytes()).is_ok()
}

/// The elements of an array in text, each as compact JSON.
fn elements(body: &str) -> Option<Vec<String>> {
    let body = body.trim_ascii().as_bytes();
    check::value(body).ok()?;
    let mut walk = Elements::begin(body, 0).ok()?;
    let mut found = Vec::new();
    while let Some(place) = walk.next(body).ok()? {
        found.push(path::compact(body.get(place)?)?);
    }
    Some(found)
}

/// The members of an object in text, each value as compact JSON.
fn members(body: &str) -> Option<Vec<(String, String)>> {
    let body = body.trim_ascii().as_bytes();
    check::value(body).ok()?;
    let mut walk = Members::begin(body, scan::skip_space(body, 0)).ok()?;
    let mut found: Vec<(String, String)> = Vec::new();
    while let Some(member) = walk.next(body).ok()? {
        let name = crate::json::text::decode(body.get(member.name)?).ok()?.into_owned();
        let value = path::compact(body.get(member.value)?)?;
        found.retain(|(known, _)| *known != name);
        found.push((name, value));
    }
    Some(found)
}

fn concat<'v>(arguments: &mut [Value<'v>], _: &Memo) -> Outcome<'v> {
    let bodies: Vec<Cow<'v, str>> = (0..arguments.len()).map(|place| text(arguments, place)).collect();
    if !bodies.iter().all(|body| is_valid(body)) {
        return Ok(Value::Null);
    }
    let objects: Option<Vec<_>> = bodies.iter().map(|body| members(body)).collect();
    let Some(objects) = objects else {
        let parts: Vec<String> =
            bodies.iter().flat_map(|body| elements(body).unwrap_or_else(|| vec![body.to_string()])).collect();
        return Ok(Value::text_of(format!("[{}]", parts.join(","))));
    };
    let mut merged: Vec<(String, String)> = Vec::new();
    for (name, value) in objects.into_iter().flatten() {
        match merged.iter_mut().find(|(known, _)| *known == name) {
            Some((_, earlier)) => *earlier = value,
            None => merged.push((name, value)),
        }
    }
    let mut out = vec![b'{'];
    for (place, (name, value)) in merged.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        push_string(&mut out, name);
        out.push(b':');
        out.extend_from_slice(value.as_bytes());
    }
    out.push(b'}');
    Ok(Value::or_null(String::from_utf8(out).ok().map(Value::text_of)))
}
