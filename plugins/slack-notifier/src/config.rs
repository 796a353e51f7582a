//! What stands under `config`, and what of it does not fit together.

use weir_plugin::serde_json::Value;
use weir_plugin::{ConfigError, serde};

use crate::blocks::Blocks;
use crate::template::Template;

/// What stands under `config`.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(crate = "weir_plugin::serde", deny_unknown_fields)]
pub struct Config {
    /// The endpoint, where more than one is granted.
    #[serde(default)]
    endpoint: String,
    /// The channel, a template. The field `CHANNEL`, where the record has it, without it.
    channel: Option<String>,
    /// The text, a template. The field `TEXT`, without it.
    text: Option<String>,
    /// Blocks of Block Kit, whose texts are templates.
    blocks: Option<Vec<Value>>,
    /// What records of a thread have in common, a template. No threads, without it.
    thread: Option<String>,
    /// What becomes of bursts. All is posted, without it.
    coalesce: Option<Coalesce>,
    /// What becomes of what Slack does not take.
    #[serde(default)]
    on_error: OnError,
    /// Whether Slack shows what links lead to.
    #[serde(default)]
    unfurl: bool,
}

/// What becomes of bursts.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(crate = "weir_plugin::serde", deny_unknown_fields)]
struct Coalesce {
    /// How many of a group are posted as they are.
    #[serde(default = "after")]
    after: usize,
    /// What records of a group have in common, a template. The channel alone, without it.
    by: Option<String>,
    /// What is posted for the others, a template.
    #[serde(default = "and_more")]
    text: String,
}

fn after() -> usize {
    5
}

fn and_more() -> String {
    "and {{@count}} more".into()
}

/// What becomes of what Slack does not take.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(
    crate = "weir_plugin::serde",
    untagged,
    expecting = "expected `dead_letter`, `stop` or `{stop: [invalid_auth]}` with words of Slack"
)]
pub enum OnError {
    /// The same, whatever the error.
    Always(Way),
    /// The pipeline stops for these errors, the others make dead letters.
    Some(Stop),
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(crate = "weir_plugin::serde", rename_all = "snake_case")]
pub enum Way {
    /// A dead letter.
    DeadLetter,
    /// The pipeline stops.
    Stop,
}

/// Errors for which the pipeline stops.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(crate = "weir_plugin::serde", deny_unknown_fields)]
pub struct Stop {
    /// Slack's words for them.
    pub stop: Vec<String>,
}

impl Default for OnError {
    fn default() -> Self {
        OnError::Always(Way::DeadLetter)
    }
}

impl OnError {
    /// Whether the pipeline stops for an error, by Slack's word for it.
    pub fn stops(&self, code: &str) -> bool {
        match self {
            OnError::Always(way) => *way == Way::Stop,
            OnError::Some(Stop { stop }) => stop.iter().any(|word| word == code),
        }
    }
}

/// How records become messages.
#[derive(Debug, Clone)]
pub struct Wording {
    /// Where they go; the field `CHANNEL`, without it.
    pub channel: Option<Template>,
    /// Their text. With blocks it may be missing.
    pub text: Option<Template>,
    /// Their blocks.
    pub blocks: Option<Blocks>,
    /// What records of a thread have in common.
    pub thread: Option<Template>,
    /// What becomes of bursts.
    pub burst: Option<Burst>,
}

/// What becomes of bursts.
#[derive(Debug, Clone)]
pub struct Burst {
    /// How many of a group are posted as they are.
    pub after: usize,
    /// What records of a group have in common beside the channel.
    pub by: Option<Template>,
    /// What is posted for the others.
    pub text: Template,
}

/// A configuration that fits together.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The endpoint; empty: the only one.
    pub endpoint: String,
    /// How records become messages.
    pub wording: Wording,
    /// What becomes of what Slack does not take.
    pub on_error: OnError,
    /// Whether Slack shows what links lead to.
    pub unfurl: bool,
}

impl Config {
    /// Reads the templates, and refuses what does not fit together.
    pub fn check(self) -> Result<Checked, ConfigError> {
        let template =
            |text: &Option<String>, path: &str| text.as_ref().map(|text| Template::new(text, path)).transpose();
        let text = match (&self.text, &self.blocks) {
            (None, None) => Some(Template::new("{{TEXT}}", "text")?),
            (text, _) => template(text, "text")?,
        };
        let burst = self.coalesce.map(|coalesce| {
            if coalesce.after > 1_000 {
                return Err(ConfigError::at("coalesce.after", "expected a number from 0 to 1000"));
            }
            Ok(Burst {
                after: coalesce.after,
                by: template(&coalesce.by, "coalesce.by")?,
                text: Template::new(&coalesce.text, "coalesce.text")?,
            })
        });
        let wording = Wording {
            channel: template(&self.channel, "channel")?,
            text,
            blocks: self.blocks.as_deref().map(Blocks::new).transpose()?,
            thread: template(&self.thread, "thread")?,
            burst: burst.transpose()?,
        };
        Ok(Checked { endpoint: self.endpoint, wording, on_error: self.on_error, unfurl: self.unfurl })
    }
}
