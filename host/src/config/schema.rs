//! The JSON Schema of a pipeline file, for editors: made of the tables of [`super::shape`], so it cannot differ from what
//! is accepted, but for rules that need more than one value.

use serde_json::{Map, Value, json};

use super::shape::{Kind, Need, ROOT, SECRET_NAME, Shape, Variant};
use super::suggest::listed;

/// The schema, in draft 2020-12.
pub fn json_schema() -> Value {
    let mut definitions = Map::new();
    let root = group(&ROOT, &mut definitions);
    let mut schema = Map::new();
    schema.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    schema.insert("title".into(), "Weir pipeline file".into());
    if let Value::Object(root) = root {
        schema.extend(root);
    }
    schema.insert("$defs".into(), Value::Object(definitions));
    Value::Object(schema)
}

fn group(shape: &'static Shape, definitions: &mut Map<String, Value>) -> Value {
    let mut properties = Map::new();
    for key in shape.keys {
        let mut schema = kind(&key.kind, definitions);
        if let Value::Object(schema) = &mut schema {
            schema.insert("description".into(), key.doc.into());
            if let Need::Default(text) = key.need {
                schema.insert("default".into(), default(&key.kind, text));
            }
        }
        properties.insert(key.name.into(), schema);
    }
    let required: Vec<&str> =
        shape.keys.iter().filter(|key| matches!(key.need, Need::Required)).map(|key| key.name).collect();
    json!({
        "type": "object",
        "description": shape.doc,
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn default(kind: &Kind, text: &str) -> Value {
    match (kind, text.parse::<u64>()) {
        (Kind::Number(_), Ok(number)) => number.into(),
        _ => text.into(),
    }
}

fn kind(kind: &'static Kind, definitions: &mut Map<String, Value>) -> Value {
    match kind {
        Kind::Version => json!({ "const": 1 }),
        Kind::Word(word) => json!({ "const": word }),
        Kind::Choice(words) => json!({ "enum": words }),
        Kind::Text | Kind::Path | Kind::Pattern => json!({ "type": "string", "minLength": 1 }),
        Kind::Name => name(),
        Kind::Number(range) => json!({ "type": "integer", "minimum": range.start(), "maximum": range.end() }),
        Kind::Size(range) => json!({ "anyOf": [
            { "type": "integer", "minimum": range.start(), "maximum": range.end() },
            { "type": "string", "pattern": r"^\s*[0-9]+\s*(([kKmMgGtT][iI]?)?[bB])?\s*$" },
        ]}),
        Kind::Duration(_) => json!({ "type": "string", "pattern": r"^\s*[0-9]+\s*(ms|s|m|h|d|w)\s*$" }),
        Kind::Age(_) => json!({ "type": "string", "pattern": r"^(forever|\s*[0-9]+\s*(ms|s|m|h|d|w)\s*)$" }),
        Kind::Address => json!({ "type": "string", "pattern": r"^(\[[0-9a-fA-F:.]+\]|[0-9.]+):[0-9]+$" }),
        Kind::Time => json!({ "type": "string", "format": "date-time" }),
        Kind::WordOrTime(words) => json!({ "anyOf": [{ "enum": words }, { "type": "string", "format": "date-time" }] }),
        Kind::Secret => reference(&SECRET_NAME, definitions),
        Kind::True => json!({ "const": true }),
        Kind::Form(form) => json!({ "type": "string", "pattern": form.pattern }),
        Kind::Free => json!({ "type": "object" }),
        Kind::List(one) => json!({ "type": "array", "items": self::kind(one, definitions) }),
        Kind::OneOrMany(one) => {
            let one = self::kind(one, definitions);
            json!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1, "uniqueItems": true }] })
        }
        Kind::Named(one, _) => {
            let one = self::kind(one, definitions);
            json!({ "type": "object", "propertyNames": name(), "additionalProperties": one })
        }
        Kind::Group(shape) => reference(shape, definitions),
        Kind::Variants(what, variants) => self::variants(what, variants, definitions),
        Kind::Either(one, other) => json!({ "anyOf": [self::kind(one, definitions), self::kind(other, definitions)] }),
    }
}

fn name() -> Value {
    json!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,63}$" })
}

/// The groups of keys that a value may be; told apart by a word where there is one, so that an editor says what is wrong
/// with this one and not with all of them.
fn variants(what: &str, variants: &'static [Variant], definitions: &mut Map<String, Value>) -> Value {
    let mut rules = Vec::new();
    for variant in variants {
        let told = match variant.word {
            Some(word) => json!({ "properties": { variant.key: { "const": word } }, "required": [variant.key] }),
            None => json!({ "required": [variant.key] }),
        };
        rules.push(json!({ "if": told, "then": reference(variant.shape, definitions) }));
    }
    let words: Vec<&str> = variants.iter().filter_map(|variant| variant.word).collect();
    let mut tellers: Vec<&str> = variants.iter().map(|variant| variant.key).collect();
    tellers.dedup();
    let one_of: Vec<Value> = tellers.iter().map(|key| json!({ "required": [key] })).collect();
    let mut schema = json!({
        "type": "object",
        "description": format!("A {what}: {}.", listed(tellers.iter().copied())),
        "oneOf": one_of,
        "allOf": rules,
    });
    if let (false, Some(object)) = (words.is_empty(), schema.as_object_mut()) {
        object.insert("properties".into(), json!({ "type": { "enum": words } }));
    }
    schema
}

fn reference(shape: &'static Shape, definitions: &mut Map<String, Value>) -> Value {
    let name: String = shape.what.chars().filter(|c| *c != '`').map(|c| if c == ' ' { '-' } else { c }).collect();
    let name = name.trim_start_matches("a-").trim_start_matches("an-").trim_start_matches("the-group-").to_owned();
    if !definitions.contains_key(&name) {
        let schema = group(shape, definitions);
        definitions.insert(name.clone(), schema);
    }
    json!({ "$ref": format!("#/$defs/{name}") })
}
