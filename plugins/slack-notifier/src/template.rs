//! Templates: text with `{{fields}}` of a record in it.
//!
//! `{{a.b}}` is a field of the JSON value, `{{@key}}` the record's key, `{{@value}}` all of its value. Behind it may stand
//! `| or: TEXT` for what is not there, `| code` for what stands between backticks, and `| raw` for what is mrkdwn already.

use std::borrow::Cow;

use weir_plugin::serde_json::Value;
use weir_plugin::slack::escape;
use weir_plugin::{ConfigError, Record};

/// Where the text of a template goes, which says what becomes of `&`, `<` and `>` in fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Into mrkdwn, where they would be links and mentions.
    Mrkdwn,
    /// Where they mean nothing.
    Plain,
}

/// A template.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Field {
    name: String,
    is_raw: bool,
    is_code: bool,
    or: Option<String>,
}

/// What a template finds of a record.
pub struct Facts<'a> {
    record: Record<'a>,
    value: Option<Value>,
    /// How many records are told of, where it is not this one alone.
    pub count: Option<usize>,
}

impl<'a> Facts<'a> {
    /// Of a record.
    pub fn of(record: Record<'a>) -> Self {
        let value = record.value().and_then(|value| weir_plugin::serde_json::from_slice(value).ok());
        Facts { record, value, count: None }
    }

    /// The text of a field of the value, where there is one.
    pub fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        text(field(self.value.as_ref()?, name)?)
    }

    /// What a name stands for; nothing, where there is no such thing, or it is null.
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "@key" => self.record.key().map(String::from_utf8_lossy),
            "@value" => self.record.value().map(String::from_utf8_lossy),
            "@count" => self.count.map(|count| Cow::Owned(count.to_string())),
            path => self.field(path),
        }
    }
}

/// A field, by its name as it is or else by the names between its dots; of upper and lower case where there is no other.
fn field<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    let object = value.as_object()?;
    let same = |name: &str| {
        let other_case = || object.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        object.get(name).or_else(other_case)
    };
    same(path).or_else(|| {
        let (first, rest) = path.split_once('.')?;
        field(same(first)?, rest)
    })
}

fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(Cow::Borrowed(text)),
        other => Some(Cow::Owned(other.to_string())),
    }
}

impl Template {
    /// Reads a template; `path` is that of the setting.
    pub fn new(text: &str, path: &str) -> Result<Template, ConfigError> {
        let wrong = |why: String| ConfigError::at(path, why);
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, behind)) = rest.split_once("{{") {
            let (inner, after) =
                behind.split_once("}}").ok_or_else(|| wrong(format!("`{{{{` without `}}}}` in {text:?}")))?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Field(Field::new(inner).map_err(|why| wrong(format!("{{{{{inner}}}}}: {why}")))?));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Template(parts))
    }

    /// The text for a record. The error says which field is missing.
    pub fn render(&self, facts: &Facts<'_>, place: Place) -> Result<String, String> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Field(field) => field.render(facts, place, &mut text)?,
            }
        }
        Ok(text)
    }
}

impl Field {
    fn new(text: &str) -> Result<Field, String> {
        let mut parts = text.split('|').map(str::trim);
        let name = parts.next().unwrap_or_default();
        if name.is_empty() || name.contains(['{', '}']) {
            return Err("expected the name of a field".into());
        }
        if name.starts_with('@') && !["@key", "@value", "@count"].contains(&name) {
            return Err("expected `@key`, `@value` or `@count`".into());
        }
        let mut field = Field { name: name.to_owned(), ..Field::default() };
        for part in parts {
            match part.split_once(':') {
                None if part == "raw" => field.is_raw = true,
                None if part == "code" => field.is_code = true,
                Some(("or", text)) => field.or = Some(text.trim().to_owned()),
                _ => return Err(format!("expected `raw`, `code` or `or: TEXT` behind `|`, not {part:?}")),
            }
        }
        Ok(field)
    }

    fn render(&self, facts: &Facts<'_>, place: Place, text: &mut String) -> Result<(), String> {
        let found = match (facts.get(&self.name), &self.or) {
            (Some(found), _) => found,
            (None, Some(other)) => Cow::Borrowed(other.as_str()),
            (None, None) => return Err(format!("the record has no {}", self.name)),
        };
        // What stands between backticks ends at the next one.
        let found = if self.is_code { Cow::Owned(found.replace('`', "\u{2cb}")) } else { found };
        match place {
            Place::Mrkdwn if !self.is_raw => text.push_str(&escape(&found)),
            Place::Mrkdwn | Place::Plain => text.push_str(&found),
        }
        Ok(())
    }
}
