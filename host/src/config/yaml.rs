//! YAML text as a tree whose every node and key knows its place. Knows nothing of what the keys mean.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Location, Spanned};

use super::report::{Place, Problem, SourceFile};

/// A node and where it stands.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it begins.
    pub place: Place,
}

/// What a node is.
#[derive(Debug, Clone)]
pub enum Value {
    /// Nothing: `key:` or `key: null`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i128),
    /// A number with a fraction or exponent.
    Float(f64),
    /// Anything else that is one value.
    Text(String),
    /// `[a, b]` or lines that begin with a dash.
    List(Vec<Node>),
    /// Keys and values in the order of the file. A key may be there twice: [`super::check`] says so.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub place: Place,
    /// The value.
    pub value: Node,
}

impl Node {
    /// The first value of a key, where this is a map that has it. A key with nothing behind it counts as absent.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value).filter(|node| !matches!(node.value, Value::Null))
    }

    /// The first entry of a key, where this is a map that has it.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The entries, where this is a map.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The elements, where this is a list.
    pub fn elements(&self) -> &[Node] {
        match &self.value {
            Value::List(elements) => elements,
            _ => &[],
        }
    }

    /// The text, where this is one.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The texts of a list of texts, or the one of a text; with their places.
    pub fn texts(&self) -> Vec<(&str, &Place)> {
        let one = std::slice::from_ref(self);
        let nodes = if self.text().is_some() { one } else { self.elements() };
        nodes.iter().filter_map(|node| Some((node.text()?, &node.place))).collect()
    }

    /// The elements of a list, or what stands there alone.
    pub fn one_or_many(&self) -> &[Node] {
        match &self.value {
            Value::List(elements) => elements,
            Value::Null => &[],
            _ => std::slice::from_ref(self),
        }
    }

    /// The same data as JSON. Of a key that is there twice, the last one holds.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Boolean(value) => (*value).into(),
            Value::Integer(value) => integer_json(*value),
            Value::Float(value) => (*value).into(),
            Value::Text(text) => text.as_str().into(),
            Value::List(elements) => elements.iter().map(Node::to_json).collect(),
            Value::Map(entries) => {
                let pairs = entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json()));
                serde_json::Value::Object(pairs.collect())
            }
        }
    }

    /// What it is, for a message: `the text "7d"`, `a list`.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".into(),
            Value::Boolean(value) => format!("`{value}`"),
            Value::Integer(value) => format!("the number {value}"),
            Value::Float(value) => format!("the number {value}"),
            Value::Text(text) => format!("the text {:?}", shortened(text)),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a group of keys".into(),
        }
    }
}

/// A number as JSON; one that no JSON integer holds becomes a fraction, as every JSON reader would make it.
fn integer_json(value: i128) -> serde_json::Value {
    match (i64::try_from(value), u64::try_from(value)) {
        (Ok(signed), _) => signed.into(),
        (_, Ok(unsigned)) => unsigned.into(),
        _ => (value as f64).into(),
    }
}

/// A text short enough for a message.
fn shortened(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 40;
    if text.chars().count() <= SHOWN_CHARS_MAX {
        return text.into();
    }
    text.chars().take(SHOWN_CHARS_MAX).chain(['…']).collect()
}

/// Reads one YAML document.
pub fn parse(file: &Arc<SourceFile>) -> Result<Node, Box<Problem>> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
        emit_comments: false,
    };
    match serde_saphyr::from_str_with_options::<Raw>(&file.text, options) {
        Ok(raw) => Ok(raw.into_node(file)),
        Err(error) => Err(Box::new(syntax_problem(file, &error))),
    }
}

fn syntax_problem(file: &Arc<SourceFile>, error: &serde_saphyr::Error) -> Problem {
    let location = error.location().unwrap_or(Location::UNKNOWN);
    let line = usize::try_from(location.line()).unwrap_or(0);
    let column = usize::try_from(location.column()).unwrap_or(0);
    let place = match location.span().byte_offset() {
        Some(_) => place_of(file, &location),
        None => Place::at_line(file, line, column),
    };
    let (message, help) = explain(file, error);
    Problem::error("yaml-syntax", format!("this is not valid YAML: {message}")).at(&place, "here").help(help)
}

/// What the parser found, and what usually helps.
fn explain(file: &SourceFile, error: &serde_saphyr::Error) -> (String, &'static str) {
    use serde_saphyr::Error;
    let full = error.without_snippet().to_string();
    // The place is drawn, so the sentence need not end with it.
    let message = full.split(" at line ").next().unwrap_or(&full).trim_end_matches([',', ':']).to_owned();
    match error.without_snippet() {
        Error::MultipleDocuments { .. } => {
            ("a second document begins here".into(), "a pipeline file is one document: remove the line `---`")
        }
        Error::UnknownAnchor { .. } => (
            "`*` refers to a place that nothing marks with `&`".into(),
            "if the `*` is part of the value, put it in quotes",
        ),
        _ if file.text.contains('\t') => {
            (message, "YAML is indented by spaces; a tab in front of a key is not allowed")
        }
        _ => (message, "a value that holds `: ` or ` #`, or begins with one of `*&!|>%@[{`, has to stand in quotes"),
    }
}

fn place_of(file: &Arc<SourceFile>, location: &Location) -> Place {
    let span = location.span();
    let start = span.byte_offset().and_then(|at| usize::try_from(at).ok()).unwrap_or(0);
    let len = span.byte_len().and_then(|len| usize::try_from(len).ok()).unwrap_or(0);
    Place::new(file, start, len)
}

/// A node as the parser gives it.
struct Raw(Spanned<RawValue>);

enum RawValue {
    Plain(Value),
    List(Vec<Raw>),
    Map(Vec<(Spanned<String>, Raw)>),
}

impl Raw {
    fn into_node(self, file: &Arc<SourceFile>) -> Node {
        let value = match self.0.value {
            RawValue::Plain(value) => value,
            RawValue::List(elements) => Value::List(elements.into_iter().map(|raw| raw.into_node(file)).collect()),
            RawValue::Map(entries) => Value::Map(entries.into_iter().map(|entry| into_entry(entry, file)).collect()),
        };
        Node { value, place: place_of(file, &self.0.defined) }
    }
}

fn into_entry((key, value): (Spanned<String>, Raw), file: &Arc<SourceFile>) -> Entry {
    Entry { place: place_of(file, &key.defined), key: key.value, value: value.into_node(file) }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Raw)
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Plain(Value::Null))
    }

    fn visit_none<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Plain(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<RawValue, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }

    fn visit_bool<E>(self, value: bool) -> Result<RawValue, E> {
        Ok(RawValue::Plain(Value::Boolean(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<RawValue, E> {
        Ok(RawValue::Plain(Value::Integer(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<RawValue, E> {
        Ok(RawValue::Plain(Value::Integer(value.into())))
    }

    fn visit_i128<E>(self, value: i128) -> Result<RawValue, E> {
        Ok(RawValue::Plain(Value::Integer(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<RawValue, E> {
        Ok(RawValue::Plain(Value::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<RawValue, E> {
        Ok(RawValue::Plain(Value::Text(value.into())))
    }

    fn visit_string<E>(self, value: String) -> Result<RawValue, E> {
        Ok(RawValue::Plain(Value::Text(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<RawValue, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = access.next_element()? {
            elements.push(element);
        }
        Ok(RawValue::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<RawValue, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(RawValue::Map(entries))
    }
}
