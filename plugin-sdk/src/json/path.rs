//! The way to a field of a JSON value: names that lead into objects.

use std::fmt;
use std::ops::Range;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::scan::{Member, Members};
use super::{Malformed, text};

/// Names of members divided by dots, as in `user.name`: the last is that of the field, those before it are of objects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    names: Vec<String>,
}

impl Path {
    /// Reads it; `None` where a name is empty.
    pub fn parse(text: &str) -> Option<Path> {
        let names: Vec<String> = text.split('.').map(str::to_owned).collect();
        if names.iter().any(String::is_empty) { None } else { Some(Path { names }) }
    }

    /// Its names, at least one.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The path that leads on from this one by another.
    pub fn join(&self, other: &Path) -> Path {
        Path { names: self.names.iter().chain(&other.names).cloned().collect() }
    }

    /// Where the field's value stands in a document, which has to be an object. `None`: there is no such field.
    ///
    /// Of several members of one name the last counts, as for most parsers. The document is walked to its end, and nothing
    /// may follow it.
    pub fn find(&self, doc: &[u8]) -> Result<Option<Range<usize>>, Malformed> {
        let mut members = Members::begin(doc, 0)?;
        let (first, rest) = self.names.split_first().map_or(("", self.names.as_slice()), |(name, rest)| (name, rest));
        let found = last_named(doc, &mut members, first)?;
        members.end(doc)?;
        found.map_or(Ok(None), |value| find_in(doc, value, rest))
    }
}

/// Leads on from a value by names of members. `None`: there is no such field.
pub fn find_in(doc: &[u8], value: Range<usize>, names: &[String]) -> Result<Option<Range<usize>>, Malformed> {
    let mut value = value;
    for name in names {
        if doc.get(value.start) != Some(&b'{') {
            return Ok(None);
        }
        match last_named(doc, &mut Members::begin(doc, value.start)?, name)? {
            Some(inner) => value = inner,
            None => return Ok(None),
        }
    }
    Ok(Some(value))
}

fn last_named(doc: &[u8], members: &mut Members, name: &str) -> Result<Option<Range<usize>>, Malformed> {
    let mut found = None;
    while let Some(member) = members.next(doc)? {
        if member.is_named(doc, name)? {
            found = Some(member.value);
        }
    }
    Ok(found)
}

impl Member {
    /// Whether its name is this one.
    #[inline]
    pub fn is_named(&self, doc: &[u8], name: &str) -> Result<bool, Malformed> {
        let inner = doc.get(self.name.clone()).unwrap_or_default();
        if !self.escaped {
            return Ok(inner == name.as_bytes());
        }
        let decoded = text::decode(inner).map_err(|fault| fault.within(self.name.start))?;
        Ok(decoded == name)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names.join("."))
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let expected = "expected names of fields divided by dots, as in user.name";
        Path::parse(&text).ok_or_else(|| D::Error::custom(format_args!("{expected}, got {text:?}")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn find(path: &str, doc: &str) -> Result<Option<String>, Malformed> {
        let found = Path::parse(path).unwrap().find(doc.as_bytes())?;
        Ok(found.map(|place| doc[place].to_owned()))
    }

    fn value(path: &str, doc: &str) -> Option<String> {
        find(path, doc).unwrap()
    }

    #[test]
    fn names_lead_into_objects() {
        let doc = r#" {"a": {"b" :{"c":[1, 2]}}, "b": "x", "d\u0065": 1.50, "b": null } "#;
        assert_eq!(value("a.b.c", doc).unwrap(), "[1, 2]");
        assert_eq!(value("b", doc).unwrap(), "null", "the last counts");
        assert_eq!(value("de", doc).unwrap(), "1.50");
        for absent in ["c", "a.c", "a.b.c.d", "b.c", "de.x"] {
            assert_eq!(value(absent, doc), None, "{absent}");
        }
    }

    #[test]
    fn a_document_is_one_object() {
        for (doc, what) in [
            ("[1]", "expected a JSON object"),
            ("", "expected a JSON object, and nothing came"),
            (r#"{"a":1} x"#, "nothing may follow the object"),
            (r#"{"a":1"#, "expected a comma or the end of the object"),
        ] {
            assert_eq!(find("a", doc).unwrap_err().what, what, "{doc}");
        }
        assert_eq!(find("a", r#"{"\x":1}"#).unwrap_err(), Malformed::new(2, "not an escape that JSON knows"));
    }

    #[test]
    fn every_name_has_letters() {
        for text in ["", ".", "a.", ".a", "a..b"] {
            assert_eq!(Path::parse(text), None, "{text}");
            let refused = serde_json::from_value::<Path>(text.into()).unwrap_err().to_string();
            assert!(refused.starts_with("expected names of fields divided by dots"), "{refused}");
        }
        let path = serde_json::from_str::<Path>("\"a.b\"").unwrap();
        assert_eq!((path.to_string(), path.join(&path).to_string()), ("a.b".to_owned(), "a.b.a.b".to_owned()));
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_a_tree_has(doc in "[{}\\[\\]\":,ab01n ]{0,24}", path in "[ab]([.][ab]){0,2}") {
            if let Ok(tree @ Value::Object(_)) = serde_json::from_str::<Value>(&doc) {
                let wanted = path.split('.').try_fold(&tree, |value, name| value.as_object()?.get(name));
                let found = value(&path, &doc).map(|text| serde_json::from_str::<Value>(&text).unwrap());
                prop_assert_eq!(found.as_ref(), wanted);
            }
        }

        #[test]
        fn members_that_are_there_are_found(a in any::<Option<u8>>(), b in any::<Option<u8>>(), is_pretty: bool) {
            let tree = serde_json::json!({"x": {"a": a, "y": {"b": b}}, "a": [a]});
            let doc = if is_pretty { format!("{tree:#}") } else { tree.to_string() };
            for (path, wanted) in [("x.a", &tree["x"]["a"]), ("x.y.b", &tree["x"]["y"]["b"]), ("a", &tree["a"])] {
                let found = value(path, &doc).map(|text| serde_json::from_str::<Value>(&text).unwrap());
                prop_assert_eq!(found.as_ref(), Some(wanted));
            }
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Path::parse("a.b").unwrap().find(&bytes);
        }
    }
}
