//! What users of the servers have to know, and how it is written: one JSON object. Writing text and objects alone needs no
//! library.

use std::fmt::Write;

/// The file in the servers' directory that holds what `up` prints.
pub const FILE: &str = "services.json";

/// A member of a JSON object.
pub struct Fact {
    name: String,
    value: Value,
}

enum Value {
    Text(String),
    Group(Vec<Fact>),
}

impl Fact {
    /// A text under a name.
    pub fn text(name: &str, value: impl Into<String>) -> Self {
        Fact { name: name.to_owned(), value: Value::Text(value.into()) }
    }

    /// An object under a name.
    pub fn group(name: String, facts: Vec<Fact>) -> Self {
        Fact { name, value: Value::Group(facts) }
    }

    /// Its text, where it is one under this name.
    pub fn as_text(&self, name: &str) -> Option<&str> {
        self.pair().and_then(|(own, text)| (own == name).then_some(text))
    }

    /// Its name and text, where it is one.
    pub fn pair(&self) -> Option<(&str, &str)> {
        match &self.value {
            Value::Text(text) => Some((&self.name, text)),
            Value::Group(_) => None,
        }
    }
}

/// The members of an object among others.
pub fn find<'a>(facts: &'a [Fact], name: &str) -> Option<&'a [Fact]> {
    facts.iter().find_map(|fact| match &fact.value {
        Value::Group(members) if fact.name == name => Some(members.as_slice()),
        _ => None,
    })
}

/// The facts as one JSON object in one line.
pub fn json(facts: &[Fact]) -> String {
    let mut out = String::new();
    write_object(&mut out, facts);
    out
}

fn write_object(out: &mut String, facts: &[Fact]) {
    out.push('{');
    for (index, fact) in facts.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_text(out, &fact.name);
        out.push(':');
        match &fact.value {
            Value::Text(text) => write_text(out, text),
            Value::Group(facts) => write_object(out, facts),
        }
    }
    out.push('}');
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            // Writing to a string does not fail.
            control if control < ' ' => drop(write!(out, "\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_written_as_one_object() {
        let inner = vec![Fact::text("ca", "/a \"b\"\\c\n"), Fact::text("user", "weir")];
        let facts = [Fact::group("kafka".to_owned(), inner), Fact::group("none".to_owned(), Vec::new())];
        assert_eq!(find(&facts, "kafka").unwrap()[1].as_text("user"), Some("weir"));
        assert!(find(&facts, "user").is_none());
        assert_eq!(json(&facts), r#"{"kafka":{"ca":"/a \"b\"\\c\u000a","user":"weir"},"none":{}}"#);
    }
}
