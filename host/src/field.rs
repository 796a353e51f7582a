//! A field of a record's JSON value as text, found without making a tree of the value.

use std::fmt;

use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The parts of a path to a field, from the outermost on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPath(Vec<String>);

/// Why a value has not such a field.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// It is no JSON.
    #[error("the value is no JSON and so has not the field {path}: {error}")]
    NotJson {
        /// The field.
        path: FieldPath,
        /// What the parser says.
        error: serde_json::Error,
    },
    /// It has not, or the field is null.
    #[error("the value has not the field {0}")]
    Absent(FieldPath),
    /// It is a list or an object.
    #[error("the field {0} is neither text nor number")]
    NotPlain(FieldPath),
}

impl FieldPath {
    /// A path whose parts are divided by dots.
    pub fn new(path: &str) -> Self {
        FieldPath(path.split('.').map(str::to_owned).collect())
    }

    /// The field of a value: a text as it is, a number or a truth value as it is written.
    pub fn text(&self, value: &[u8]) -> Result<String, Missing> {
        let not_json = |error| Missing::NotJson { path: self.clone(), error };
        let mut json = serde_json::Deserializer::from_slice(value);
        let found = Walk(&self.0).deserialize(&mut json).map_err(not_json)?;
        json.end().map_err(not_json)?;
        match found.map(RawValue::get) {
            None | Some("null") => Err(Missing::Absent(self.clone())),
            Some(text) if text.starts_with('"') => serde_json::from_str(text).map_err(not_json),
            Some(text) if text.starts_with(['[', '{']) => Err(Missing::NotPlain(self.clone())),
            Some(text) => Ok(text.to_owned()),
        }
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// Goes down a path; what lies beside it is looked at only to see where it ends.
struct Walk<'p>(&'p [String]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() {
            <&RawValue>::deserialize(deserializer).map(Some)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (first, rest) = self.0.split_first().unzip();
        let mut found = None;
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if first.is_some_and(|first| *first == key) {
                // Of a key that comes twice the last one holds.
                found = map.next_value_seed(Walk(rest.unwrap_or_default()))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// As it would be found in a tree.
    fn found_in_tree(value: &str, path: &str) -> Option<String> {
        let value: Value = serde_json::from_str(value).unwrap();
        match path.split('.').try_fold(&value, |value, part| value.get(part))? {
            Value::String(text) => Some(text.clone()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
            plain => Some(plain.to_string()),
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-c\"\\\\é]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-c]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_field_is_found_as_in_a_tree(value in json(), path in "[a-c](\\.[a-c]){0,2}") {
            let text = value.to_string();
            prop_assert_eq!(FieldPath::new(&path).text(text.as_bytes()).ok(), found_in_tree(&text, &path));
        }
    }

    #[test]
    fn what_is_not_found_is_said() {
        let said = |value: &str| FieldPath::new("a.b").text(value.as_bytes()).unwrap_err().to_string();
        assert_eq!(said("{}"), "the value has not the field a.b");
        assert_eq!(said("[1]"), "the value has not the field a.b");
        assert_eq!(said(r#"{"a":{"b":null}}"#), "the value has not the field a.b");
        assert_eq!(said(r#"{"a":{"b":[]}}"#), "the field a.b is neither text nor number");
        assert!(said(r#"{"a":{"b":1}} x"#).starts_with("the value is no JSON and so has not the field a.b: "));
        assert!(said("").starts_with("the value is no JSON"));
        assert_eq!(FieldPath::new("a").text(br#"{"a":1,"a":1.50}"#).unwrap(), "1.50");
    }
}
