//! Structured data: the `[id name="value" ...]` elements of RFC 5424, section 6.3.

use std::collections::BTreeMap;

use crate::json;

/// The elements at the start of a text and what follows them. `None` when there is none, or one is malformed.
pub fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut elements = Elements { rest: text };
    let mut end = 0;
    while elements.rest.first() == Some(&b'[') {
        let mut params = elements.next()?;
        while params.next()?.is_some() {}
        elements.rest = params.rest;
        end = text.len() - elements.rest.len();
    }
    if end == 0 { None } else { text.split_at_checked(end) }
}

/// Whether elements are more than words in brackets, which messages are full of: each has a parameter.
pub fn all_have_params(elements: &[u8]) -> bool {
    read(elements).iter().all(|(_, params)| !params.is_empty())
}

/// Appends elements, as [`split`] returned them, as a JSON object: `{"id": {"name": "value"}}`. A name that comes
/// several times in an element has an array of its values.
pub fn push(out: &mut Vec<u8>, elements: &[u8]) {
    let elements = read(elements);
    out.push(b'{');
    if are_distinct(elements.iter().map(|(id, _)| *id))
        && elements.iter().all(|(_, params)| are_distinct(params.iter().map(|(name, _)| *name)))
    {
        push_members(out, elements.iter().map(|(id, params)| (*id, params)), |out, params| {
            out.push(b'{');
            push_members(out, params.iter().copied(), push_value);
            out.push(b'}');
        });
    } else {
        push_grouped(out, &elements);
    }
    out.push(b'}');
}

type Params<'a> = Vec<(&'a [u8], &'a [u8])>;
type Groups<'a> = BTreeMap<&'a [u8], Vec<&'a [u8]>>;

fn read(text: &[u8]) -> Vec<(&[u8], Params<'_>)> {
    let mut elements = Elements { rest: text };
    let mut all = Vec::new();
    while let Some(mut params) = elements.next() {
        let id = params.id;
        let mut list = Vec::new();
        while let Some(Some(param)) = params.next() {
            list.push(param);
        }
        all.push((id, list));
        elements.rest = params.rest;
    }
    all
}

/// Sorting keeps this from being slow for a line of a hundred thousand parameters.
fn are_distinct<'a>(names: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names.is_sorted_by(|a, b| a < b)
}

fn push_grouped(out: &mut Vec<u8>, elements: &[(&[u8], Params<'_>)]) {
    let mut groups: BTreeMap<&[u8], Groups<'_>> = BTreeMap::new();
    for (id, params) in elements {
        let group = groups.entry(id).or_default();
        params.iter().for_each(|(name, value)| group.entry(name).or_default().push(value));
    }
    push_members(out, groups.into_iter(), |out, params| {
        out.push(b'{');
        push_members(out, params.into_iter(), |out, values| match values.as_slice() {
            [value] => push_value(out, value),
            values => push_array(out, values),
        });
        out.push(b'}');
    });
}

fn push_array(out: &mut Vec<u8>, values: &[&[u8]]) {
    for (n, value) in values.iter().enumerate() {
        out.push(if n == 0 { b'[' } else { b',' });
        push_value(out, value);
    }
    out.push(b']');
}

fn push_members<'a, V>(
    out: &mut Vec<u8>,
    members: impl Iterator<Item = (&'a [u8], V)>,
    push_value: impl Fn(&mut Vec<u8>, V),
) {
    for (n, (name, value)) in members.enumerate() {
        if n > 0 {
            out.push(b',');
        }
        json::push_string(out, name);
        out.push(b':');
        push_value(out, value);
    }
}

/// A backslash escapes a quote, a backslash and a closing bracket; before anything else it stands for itself.
fn push_value(out: &mut Vec<u8>, raw: &[u8]) {
    if !raw.contains(&b'\\') {
        return json::push_string(out, raw);
    }
    let mut plain = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [first, after @ ..] = rest {
        rest = match rest {
            [b'\\', escaped @ (b'"' | b'\\' | b']'), after @ ..] => {
                plain.push(*escaped);
                after
            }
            _ => {
                plain.push(*first);
                after
            }
        };
    }
    json::push_string(out, &plain);
}

/// Reads elements one after the other.
struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    /// The next element, whose parameters have to be read before `rest` goes on behind them.
    fn next(&mut self) -> Option<Element<'a>> {
        let after = self.rest.strip_prefix(b"[")?;
        let len = after.iter().take_while(|byte| is_name(**byte)).count();
        let (id, rest) = after.split_at_checked(len).filter(|_| len > 0)?;
        Some(Element { id, rest })
    }
}

/// Reads the parameters of an element.
struct Element<'a> {
    id: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Element<'a> {
    /// The next parameter: name and raw value. `Some(None)` after the closing bracket, `None` when it is malformed.
    fn next(&mut self) -> Option<Option<(&'a [u8], &'a [u8])>> {
        let text = self.rest.trim_ascii_start();
        if let [b']', rest @ ..] = text {
            self.rest = rest;
            return Some(None);
        }
        if text.len() == self.rest.len() {
            return None;
        }
        let len = text.iter().take_while(|byte| is_name(**byte)).count();
        let (name, rest) = text.split_at_checked(len).filter(|_| len > 0)?;
        let value_and_rest = rest.strip_prefix(b"=\"")?;
        let (value, rest) = value_and_rest.split_at_checked(value_len(value_and_rest)?)?;
        self.rest = rest.strip_prefix(b"\"")?;
        Some(Some((name, value)))
    }
}

fn is_name(byte: u8) -> bool {
    !matches!(byte, b' ' | b'\t' | b'=' | b']' | b'"')
}

/// How far it is to the quote that ends a value.
fn value_len(text: &[u8]) -> Option<usize> {
    let mut is_escaped = false;
    text.iter().position(|byte| {
        let ends = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        ends
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use weir_plugin::serde_json::{Value, json};

    fn object(elements: &str) -> Value {
        let mut out = Vec::new();
        push(&mut out, elements.as_bytes());
        weir_plugin::serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn elements_are_split_from_the_message() {
        let text = br#"[a@1 x="1" y="a \] b"][b] message"#;
        let (elements, rest) = split(text).unwrap();
        assert_eq!((elements, rest), (&br#"[a@1 x="1" y="a \] b"][b]"#[..], &b" message"[..]));
        for malformed in ["", "-", "[", "[]", "[a", "[a x]", "[a x=1]", "[a x=\"1]", "[ x=\"1\"]", "[a x=\"1\"y=\"2\"]"]
        {
            assert_eq!(split(malformed.as_bytes()), None, "{malformed}");
        }
        assert_eq!(split(b"[a x=\"1\"][broken"), None);
    }

    #[test]
    fn elements_become_nested_objects() {
        assert_eq!(object(r#"[a x="1" y="2"][b]"#), json!({"a": {"x": "1", "y": "2"}, "b": {}}));
        assert_eq!(object(r#"[a x="q\" b\\ c\] n\n ü"]"#), json!({"a": {"x": "q\" b\\ c] n\\n ü"}}));
    }

    #[test]
    fn what_comes_twice_loses_nothing() {
        assert_eq!(object(r#"[o ip="1" ip="2" n="x"]"#), json!({"o": {"ip": ["1", "2"], "n": "x"}}));
        assert_eq!(object(r#"[o a="1"][p][o b="2"]"#), json!({"o": {"a": "1", "b": "2"}, "p": {}}));
    }

    proptest! {
        #[test]
        fn any_text_is_split_or_left_alone(text in r#"(\[|\]|a|b| |="|"|\\|é){0,30}"#) {
            if let Some((elements, rest)) = split(text.as_bytes()) {
                prop_assert_eq!([elements, rest].concat(), text.as_bytes());
                prop_assert!(object(std::str::from_utf8(elements).unwrap()).is_object());
            }
        }
    }
}
