//! Blocks of Block Kit in which texts are templates.
//!
//! Fields are escaped where Slack reads mrkdwn: in the `text` of objects of the type `mrkdwn`. Everywhere else, as in plain text
//! and in URLs, they stand as they are.

use weir_plugin::ConfigError;
use weir_plugin::serde_json::{Map, Value};

use crate::template::{Facts, Place, Template};

/// Blocks of a message, by Slack's reference of Block Kit.
const BLOCKS_MAX: usize = 50;

/// A part of blocks.
#[derive(Debug, Clone)]
pub enum Blocks {
    /// A text.
    Text(Template, Place),
    /// Parts in their order.
    List(Vec<Blocks>),
    /// Parts by name.
    Object(Vec<(String, Blocks)>),
    /// What stands as it is.
    Other(Value),
}

impl Blocks {
    /// Reads the blocks of a configuration.
    pub fn new(blocks: &[Value]) -> Result<Blocks, ConfigError> {
        if blocks.is_empty() || blocks.len() > BLOCKS_MAX {
            return Err(ConfigError::at(
                "blocks",
                format!("expected 1 to {BLOCKS_MAX} blocks, there are {}", blocks.len()),
            ));
        }
        let read = |(at, block): (usize, &Value)| {
            let path = format!("blocks.{at}");
            match block.get("type") {
                Some(Value::String(_)) => Blocks::read(block, &path, Place::Plain),
                _ => Err(ConfigError::at(path, "expected a block with a `type`")),
            }
        };
        blocks.iter().enumerate().map(read).collect::<Result<_, _>>().map(Blocks::List)
    }

    fn read(value: &Value, path: &str, place: Place) -> Result<Blocks, ConfigError> {
        Ok(match value {
            Value::String(text) => Blocks::Text(Template::new(text, path)?, place),
            Value::Array(parts) => {
                let read = |(at, part)| Blocks::read(part, &format!("{path}.{at}"), Place::Plain);
                Blocks::List(parts.iter().enumerate().map(read).collect::<Result<_, _>>()?)
            }
            Value::Object(parts) => {
                let is_mrkdwn = parts.get("type").and_then(Value::as_str) == Some("mrkdwn");
                let read = |(name, part): (&String, &Value)| {
                    let place = if is_mrkdwn && name == "text" { Place::Mrkdwn } else { Place::Plain };
                    Ok((name.clone(), Blocks::read(part, &format!("{path}.{name}"), place)?))
                };
                Blocks::Object(parts.iter().map(read).collect::<Result<_, ConfigError>>()?)
            }
            other => Blocks::Other(other.clone()),
        })
    }

    /// The blocks for a record. The error says which field is missing.
    pub fn render(&self, facts: &Facts<'_>) -> Result<Value, String> {
        Ok(match self {
            Blocks::Text(template, place) => Value::String(template.render(facts, *place)?),
            Blocks::List(parts) => Value::Array(parts.iter().map(|part| part.render(facts)).collect::<Result<_, _>>()?),
            Blocks::Object(parts) => {
                let render = |(name, part): &(String, Blocks)| Ok((name.clone(), part.render(facts)?));
                Value::Object(parts.iter().map(render).collect::<Result<Map<_, _>, String>>()?)
            }
            Blocks::Other(value) => value.clone(),
        })
    }
}
