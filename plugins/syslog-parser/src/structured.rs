//! Structured data: the `[id name="value" ...]` elements of RFC 5424, section 6.3.

use std::collections::BTreeMap;

use weir_plugin::json;

/// Names up to this many are compared with each other where they stand; more are sorted.
const COMPARED_MAX: usize = 16;

/// What is met on the way through elements.
enum Part<'a> {
    /// An element begins.
    Id(&'a [u8]),
    /// A parameter of it: name, and value with its escapes.
    Param(&'a [u8], &'a [u8]),
    /// It ends.
    End,
}

/// The elements at the start of a text and what follows them. `None` when there is none, or one is malformed.
pub fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = walk(text, |_| {})?;
    text.split_at_checked(text.len() - rest.len()).filter(|(elements, _)| !elements.is_empty())
}

/// Whether elements are more than words in brackets, which messages are full of: each has a parameter.
pub fn all_have_params(elements: &[u8]) -> bool {
    let (mut all, mut has_param) = (true, false);
    walk(elements, |part| match part {
        Part::Id(_) => has_param = false,
        Part::Param(..) => has_param = true,
        Part::End => all &= has_param,
    });
    all
}

/// Appends elements, as [`split`] returned them, as a JSON object: `{"id": {"name": "value"}}`. A name that comes
/// several times in an element has an array of its values.
pub fn push(out: &mut Vec<u8>, elements: &[u8]) {
    if !has_only_distinct_names(elements) {
        return push_grouped(out, elements);
    }
    out.push(b'{');
    let mut is_first = true;
    walk(elements, |part| match part {
        Part::Id(id) => {
            push_name(out, id, std::mem::replace(&mut is_first, true));
            out.push(b'{');
        }
        Part::Param(name, value) => {
            push_name(out, name, std::mem::replace(&mut is_first, false));
            push_value(out, value);
        }
        Part::End => {
            out.push(b'}');
            is_first = false;
        }
    });
    out.push(b'}');
}

fn push_name(out: &mut Vec<u8>, name: &[u8], is_first: bool) {
    if !is_first {
        out.push(b',');
    }
    json::push_lossy(out, name);
    out.push(b':');
}

fn has_only_distinct_names(elements: &[u8]) -> bool {
    let (mut ids, mut names, mut all) = (Names::default(), Names::default(), true);
    walk(elements, |part| match part {
        Part::Id(id) => ids.add(id),
        Part::Param(name, _) => names.add(name),
        Part::End => all &= std::mem::take(&mut names).are_distinct(),
    });
    all && ids.are_distinct()
}

/// Names to be compared with each other. The few of a usual line need no memory of their own.
#[derive(Default)]
struct Names<'a> {
    few: [&'a [u8]; COMPARED_MAX],
    len: usize,
    more: Vec<&'a [u8]>,
}

impl<'a> Names<'a> {
    fn add(&mut self, name: &'a [u8]) {
        match self.few.get_mut(self.len) {
            Some(place) => *place = name,
            None => self.more.push(name),
        }
        self.len += 1;
    }

    fn are_distinct(mut self) -> bool {
        let few = self.few.get(..self.len.min(COMPARED_MAX)).unwrap_or_default();
        if self.more.is_empty() {
            return few.iter().enumerate().all(|(n, name)| !few.iter().take(n).any(|other| other == name));
        }
        self.more.extend_from_slice(few);
        self.more.sort_unstable();
        self.more.is_sorted_by(|a, b| a < b)
    }
}

/// Values by name.
type Group<'a> = BTreeMap<&'a [u8], Vec<&'a [u8]>>;

fn push_grouped(out: &mut Vec<u8>, elements: &[u8]) {
    let mut groups: BTreeMap<&[u8], Group<'_>> = BTreeMap::new();
    let mut id_now: &[u8] = &[];
    walk(elements, |part| match part {
        Part::Id(id) => {
            id_now = id;
            groups.entry(id).or_default();
        }
        Part::Param(name, value) => groups.entry(id_now).or_default().entry(name).or_default().push(value),
        Part::End => {}
    });
    out.push(b'{');
    for (n, (id, group)) in groups.iter().enumerate() {
        push_name(out, id, n == 0);
        out.push(b'{');
        for (n, (name, values)) in group.iter().enumerate() {
            push_name(out, name, n == 0);
            push_values(out, values);
        }
        out.push(b'}');
    }
    out.push(b'}');
}

fn push_values(out: &mut Vec<u8>, values: &[&[u8]]) {
    if let [value] = values {
        return push_value(out, value);
    }
    for (n, value) in values.iter().enumerate() {
        out.push(if n == 0 { b'[' } else { b',' });
        push_value(out, value);
    }
    out.push(b']');
}

/// A backslash escapes a quote, a backslash and a closing bracket; before anything else it stands for itself.
fn push_value(out: &mut Vec<u8>, raw: &[u8]) {
    if !raw.contains(&b'\\') {
        return json::push_lossy(out, raw);
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
    json::push_lossy(out, &plain);
}

/// Goes through the elements at the start of a text. Returns what follows them; `None` when one is malformed.
fn walk<'a>(text: &'a [u8], mut visit: impl FnMut(Part<'a>)) -> Option<&'a [u8]> {
    let mut rest = text;
    while let [b'[', element @ ..] = rest {
        let (id, mut params) = name(element)?;
        visit(Part::Id(id));
        rest = loop {
            let text = params.trim_ascii_start();
            if let [b']', rest @ ..] = text {
                visit(Part::End);
                break rest;
            }
            let (name, after) = name(text).filter(|_| text.len() < params.len())?;
            let quoted = after.strip_prefix(b"=\"")?;
            let (value, after) = quoted.split_at_checked(value_len(quoted)?)?;
            visit(Part::Param(name, value));
            params = after.strip_prefix(b"\"")?;
        };
    }
    Some(rest)
}

fn name(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_end = |byte: &u8| matches!(byte, b' ' | b'\t' | b'=' | b']' | b'"');
    let len = text.iter().position(is_end).filter(|len| *len > 0)?;
    text.split_at_checked(len)
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
