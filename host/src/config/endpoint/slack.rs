//! Settings of workspaces of Slack that a plugin may be granted to post to.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::{in_clear, url};
use crate::config::Secret;
use crate::config::build::Secrets;
use crate::config::client::{ClientTls, client_tls, secret};
use crate::config::report::Problem;
use crate::config::shape;
use crate::config::view::{Result, View};
use crate::config::yaml::{Entry, Node};

/// A workspace of Slack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slack {
    /// Its name in the pipeline file.
    pub name: Arc<str>,
    /// As whom messages are posted.
    pub login: SlackLogin,
    /// Whom to trust and what to show.
    pub tls: ClientTls,
    /// How long an answer may take. Default 10 s.
    pub timeout: Duration,
    /// The least time between two messages to a channel. Default 1 s.
    pub pace: Duration,
}

/// As whom messages are posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlackLogin {
    /// As a bot, to any channel that it may post to.
    Token {
        /// Its token.
        token: Secret,
        /// Where the API is. Default `https://slack.com/api/`.
        url: Url,
    },
    /// By an incoming webhook, to the channel that it was made for. The secret is its whole URL.
    Webhook(Secret),
}

/// An endpoint of a checked file.
pub(super) fn endpoint(view: View<'_>, name: &Arc<str>, node: &Node, secrets: &Secrets) -> Result<Slack> {
    let view = View { node: Some(node), shape: &shape::SLACK_ENDPOINT, ..view };
    let login = if view.has("webhook") {
        SlackLogin::Webhook(secret(view, "webhook", secrets)?)
    } else {
        let url = url(&view.text("url")?).map_err(|_| view.unread("url"))?;
        SlackLogin::Token { token: secret(view, "token", secrets)?, url }
    };
    Ok(Slack {
        name: name.clone(),
        login,
        tls: client_tls(view.group("tls", &shape::CLIENT_TLS))?,
        timeout: view.duration("timeout")?,
        pace: view.duration("pace")?,
    })
}

/// What the check of the shape does not see: there is one login, and it is not told to everybody.
pub(super) fn problems(entry: &Entry) -> Vec<Problem> {
    let (node, name) = (&entry.value, &entry.key);
    let [token, webhook, url_given] = ["token", "webhook", "url"].map(|key| node.entry(key));
    let mut problems = Vec::new();
    match (token, webhook) {
        (Some(_), None) | (None, Some(_)) => {}
        (Some(_), Some(webhook)) => problems.push(
            Problem::error("two-logins", format!("the endpoint `{name}` has a token and a webhook"))
                .at(&webhook.place, "one of them has to go")
                .help("make two endpoints, where both are wanted"),
        ),
        (None, None) => problems.push(
            Problem::error("no-login", format!("the endpoint `{name}` has neither a token nor a webhook"))
                .at(&entry.place, "as whom?")
                .help("add `token: {secret: NAME}` or `webhook: {secret: NAME}`"),
        ),
    }
    if let (Some(url), Some(_)) = (url_given, webhook) {
        problems.push(
            Problem::error("url-of-webhook", format!("the endpoint `{name}` has a webhook, which is a URL itself"))
                .at(&url.place, "for a token alone")
                .help("leave `url` out"),
        );
    }
    if let (Some(given), Some(token)) = (url_given.and_then(|entry| url(entry.value.text()?).ok()), token)
        && given.scheme() == "http"
    {
        problems.push(in_clear(name, &token.place));
    }
    problems
}
