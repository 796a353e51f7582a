//! Paths into JSON text: `$.a.b[0]`, `$['with space']`, `$..` is not known.

use std::borrow::Cow;

use crate::json::scan::{self, Elements, Members};
use crate::json::text;

/// A path.
#[derive(Debug, PartialEq, Eq)]
pub struct Path(Vec<Step>);

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    Element(usize),
}

impl Path {
    /// Reads a path. The error says what is wrong, for a person.
    pub fn new(path: &str) -> Result<Path, String> {
        let wrong = || format!("'{path}' is no path into JSON; expected something like '$.a.b[0]'");
        let mut rest = path.trim().strip_prefix('$').ok_or_else(wrong)?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) = Path::step(rest).ok_or_else(wrong)?;
            steps.push(step);
            rest = after;
        }
        Ok(Path(steps))
    }

    fn step(rest: &str) -> Option<(Step, &str)> {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (name, after) = after.split_at_checked(end)?;
            return if name.is_empty() || name == "*" { None } else { Some((Step::Name(name.to_owned()), after)) };
        }
        let inside = rest.strip_prefix('[')?;
        if let Some(quoted) = inside.strip_prefix('\'') {
            let (name, after) = quoted.split_once("']")?;
            return Some((Step::Name(name.to_owned()), after));
        }
        let (number, after) = inside.split_once(']')?;
        Some((Step::Element(number.trim().parse().ok()?), after))
    }

    /// Follows the path. `None` when it leads nowhere, to `null`, or through something that is not JSON.
    pub fn follow<'d>(&self, doc: &'d [u8]) -> Option<&'d [u8]> {
        let mut at = scan::skip_space(doc, 0);
        for step in &self.0 {
            at = match step {
                Step::Name(name) => member(doc, at, name)?,
                Step::Element(number) => element(doc, at, *number)?,
            };
        }
        let end = scan::skip_value(doc, at).ok()?;
        doc.get(at..end).filter(|value| *value != b"null")
    }
}

fn member(doc: &[u8], at: usize, wanted: &str) -> Option<usize> {
    let mut walk = Members::begin(doc, at).ok()?;
    while let Some(member) = walk.next(doc).ok()? {
        let name = doc.get(member.name)?;
        if name == wanted.as_bytes() || (member.escaped && text::decode(name).ok()? == wanted) {
            return Some(member.value.start);
        }
    }
    None
}

fn element(doc: &[u8], at: usize, number: usize) -> Option<usize> {
    let mut walk = Elements::begin(doc, at).ok()?;
    for _ in 0..number {
        walk.next(doc).ok()??;
    }
    Some(walk.next(doc).ok()??.start)
}

/// The text of a JSON value: a string's content, a number or word as written, and anything else without white space.
pub fn value_text(value: &[u8]) -> Option<Cow<'_, str>> {
    match value {
        [b'"', inner @ .., b'"'] => text::decode(inner).ok(),
        [b'{' | b'[', ..] => compact(value).map(Cow::Owned),
        _ => std::str::from_utf8(value).ok().map(Cow::Borrowed),
    }
}

/// JSON without the white space between its tokens; `None` when it is not valid.
pub fn compact(value: &[u8]) -> Option<String> {
    crate::json::check::value(value).ok()?;
    let mut out = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(&byte) = value.get(at) {
        let end = if byte == b'"' { scan::string_end(value, at + 1).ok()?.0 + 1 } else { at + 1 };
        if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            out.extend_from_slice(value.get(at..end)?);
        }
        at = end;
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOC: &str = r#" {"a": {"b": [1, {"c": "x\ny"}], "d e": null}, "@t": 1.50, "u\u0031": true} "#;

    fn at(path: &str) -> Option<String> {
        let found = Path::new(path).unwrap().follow(DOC.as_bytes())?.to_vec();
        value_text(&found).map(Cow::into_owned)
    }

    #[test]
    fn follows() {
        assert_eq!(at("$.a.b[1].c").unwrap(), "x\ny");
        assert_eq!(at("$.a.b").unwrap(), r#"[1,{"c":"x\ny"}]"#);
        assert_eq!(at("$['@t']").unwrap(), "1.50");
        assert_eq!(at("$.u1").unwrap(), "true");
        assert_eq!((at("$.a['d e']"), at("$.a.b[2]"), at("$.a.b.c"), at("$.z")), (None, None, None, None));
    }

    #[test]
    fn what_is_no_path() {
        for path in ["", "a.b", "$.", "$a", "$[x]", "$.a[", "$..a", "$.*"] {
            assert!(Path::new(path).is_err(), "{path}");
        }
    }
}
