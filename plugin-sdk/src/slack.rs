//! Messages to workspaces of Slack that the operator granted by `grants: { slack: ENDPOINT }`.
//!
//! ```no_run
//! use weir_plugin::slack::{self, Failure, Message};
//! use weir_plugin::{Record, RecordId, Result};
//!
//! fn post(record: Record<'_>, id: RecordId<'_>) -> Result<()> {
//!     let text = slack::escape(record.text()?).into_owned();
//!     let message = Message { channel: Some("ops".into()), text, ids: vec![id.to_string()], ..Message::default() };
//!     match slack::post("", vec![message]).remove(0) {
//!         Err(Failure::Unavailable(why)) => slack::begin_again(&why),
//!         posted => Ok(posted?), // an error rejects the record for good
//!     }
//! }
//! ```
//!
//! A plugin knows an endpoint by name alone: token, webhook, pace and connections are the host's. Nothing can be posted while a
//! plugin is being configured.

use std::borrow::Cow;

#[cfg(target_family = "wasm")]
use crate::bindings::slack as wit;
use crate::reject::Reject;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// A name or an id. A webhook has a channel of its own.
    pub channel: Option<String>,
    /// In mrkdwn; see [`escape`].
    pub text: String,
    /// Blocks of Block Kit: a JSON array.
    pub blocks: Option<String>,
    /// The name of the thread that it belongs to.
    pub thread: Option<String>,
    /// Whether Slack shows what links lead to.
    pub unfurl: bool,
    /// The ids of the records that it tells of.
    pub ids: Vec<String>,
}

/// Why a message was not posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It is not allowed, or not well formed.
    Refused(String),
    /// Slack does not take it.
    Rejected {
        /// Slack's word for it, as `channel_not_found`.
        code: String,
        /// What it says beside that; often empty.
        details: String,
    },
    /// Slack could not be reached, or did not answer as it should.
    Unavailable(String),
}

/// Text as it stands in mrkdwn for what it is: nothing of it is a link, a mention or a command.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>']) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}

/// Which of these records were told of already, by their ids; an empty name of an endpoint is that of the only one.
pub fn told(endpoint: &str, ids: &[String]) -> Result<Vec<bool>, Failure> {
    #[cfg(target_family = "wasm")]
    return wit::told(endpoint, ids).map_err(Failure::of_wit);
    #[cfg(not(target_family = "wasm"))]
    fake::told(endpoint, ids)
}

/// Posts messages: for each nothing, or why not.
pub fn post(endpoint: &str, messages: Vec<Message>) -> Vec<Result<(), Failure>> {
    #[cfg(target_family = "wasm")]
    {
        let messages: Vec<wit::Message> = messages.into_iter().map(Message::into_wit).collect();
        wit::post(endpoint, &messages).into_iter().map(|posted| posted.map_err(Failure::of_wit)).collect()
    }
    #[cfg(not(target_family = "wasm"))]
    fake::post(endpoint, messages)
}

/// Ends the call of a sink that cannot go on for now: the task begins again from its last commit, with a fresh instance.
pub fn begin_again(why: &str) -> ! {
    #[cfg(target_family = "wasm")]
    wit::begin_again(why);
    #[allow(clippy::panic, reason = "the host does not come back; in tests this is how it looks")]
    {
        panic!("begins again: {why}")
    }
}

/// Ends the call of a sink that cannot go on before the operator has done something: the appliance says why, and ends.
pub fn stop(why: &str) -> ! {
    #[cfg(target_family = "wasm")]
    wit::stop(why);
    #[allow(clippy::panic, reason = "the host does not come back; in tests this is how it looks")]
    {
        panic!("stops: {why}")
    }
}

#[cfg(target_family = "wasm")]
impl Message {
    fn into_wit(self) -> wit::Message {
        let Message { channel, text, blocks, thread, unfurl, ids } = self;
        wit::Message { channel, text, blocks, thread, unfurl, ids }
    }
}

impl Failure {
    /// It in words.
    pub fn message(&self) -> String {
        match self {
            Failure::Refused(why) => format!("the message is refused: {why}"),
            Failure::Rejected { code, details } if details.is_empty() => format!("Slack does not take it: {code}"),
            Failure::Rejected { code, details } => format!("Slack does not take it: {code} ({details})"),
            Failure::Unavailable(why) => format!("Slack is not available: {why}"),
        }
    }

    /// Whether the same may succeed later.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Failure::Unavailable(_))
    }

    #[cfg(target_family = "wasm")]
    fn of_wit(of: wit::Failure) -> Self {
        match of {
            wit::Failure::Refused(why) => Failure::Refused(why),
            wit::Failure::Rejected(wit::Rejection { code, details }) => Failure::Rejected { code, details },
            wit::Failure::Unavailable(why) => Failure::Unavailable(why),
        }
    }
}

/// It is not displayed as other errors are, so that `?` does not make every failure a reject for good.
impl From<Failure> for Reject {
    fn from(failure: Failure) -> Self {
        match failure.is_retriable() {
            true => Reject::retriable(failure.message()),
            false => Reject::permanent(failure.message()),
        }
    }
}

/// What stands in for the host in tests; see [`testing`](crate::testing).
#[cfg(not(target_family = "wasm"))]
pub(crate) mod fake {
    use std::cell::RefCell;
    use std::collections::HashSet;

    use super::{Failure, Message};

    type Slack = Box<dyn FnMut(&Message) -> Result<(), Failure>>;

    thread_local! {
        static SLACK: RefCell<Option<(Slack, HashSet<String>)>> = const { RefCell::new(None) };
    }

    /// Has the messages of plugins on this thread taken by a function, from now on. Records that messages told of are known
    /// until this is called again. Without it messages are refused.
    pub fn serve_slack(take: impl FnMut(&Message) -> Result<(), Failure> + 'static) {
        SLACK.set(Some((Box::new(take), HashSet::new())));
    }

    pub(super) fn told(_: &str, ids: &[String]) -> Result<Vec<bool>, Failure> {
        SLACK.with_borrow(|slack| match slack {
            Some((_, told)) => Ok(ids.iter().map(|id| told.contains(id)).collect()),
            None => Err(Failure::Refused("no endpoint is granted".into())),
        })
    }

    pub(super) fn post(_: &str, messages: Vec<Message>) -> Vec<Result<(), Failure>> {
        SLACK.with_borrow_mut(|slack| {
            let mut post = |message: Message| match slack {
                Some((take, told)) => take(&message).map(|()| told.extend(message.ids)),
                None => Err(Failure::Refused("no endpoint is granted".into())),
            };
            messages.into_iter().map(&mut post).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_for_mrkdwn_and_otherwise_left_alone() {
        assert_eq!(escape("<!channel> a&b \u{1f980}"), "&lt;!channel&gt; a&amp;b \u{1f980}");
        assert!(matches!(escape("*ä* `x`"), Cow::Borrowed(_)));
    }
}
