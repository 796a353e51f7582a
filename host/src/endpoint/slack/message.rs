//! A message as Slack is sent it, and what Slack's answers mean.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use slack_morphism::api::{SlackApiChatPostMessageRequest, SlackApiPostWebhookMessageRequest};
use slack_morphism::blocks::SlackBlock;
use slack_morphism::{SlackEnvelopeMessage, SlackMessageContent, SlackTs};

use super::{Failure, Message};
use crate::endpoint::http::Response;

/// Blocks of a message, by Slack's reference of Block Kit.
const BLOCKS_MAX: usize = 50;
/// How long is waited where Slack says to wait and not how long.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(30);
/// And the longest that is waited, whatever it says.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);
/// Bytes of details that are told on.
const DETAILS_BYTES_MAX: usize = 1024;
/// Words of Slack for what may pass by itself.
const PASSING: [&str; 9] = [
    "fatal_error",
    "internal_error",
    "request_timeout",
    "rollup_error",
    "service_unavailable",
    "team_added_to_org",
    "ratelimited",
    "rate_limited",
    "accesslimited",
];
/// Words for a login that is refused: another may have been put in its place meanwhile.
const LOGIN: [&str; 9] = [
    "invalid_auth",
    "not_authed",
    "token_expired",
    "token_revoked",
    "account_inactive",
    "invalid_token",
    "no_service",
    "no_team",
    "team_disabled",
];
/// Words for a first message that nobody can answer any more.
const THREAD: [&str; 4] =
    ["cannot_reply_to_message", "thread_not_found", "invalid_thread_ts", "restricted_action_thread_locked"];

/// What Slack's answer comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is posted; by a token, with its time, which is its name.
    Posted(Option<String>),
    /// Not before this time has passed.
    Later(Duration),
    /// It did not work, and may work later.
    Passing(String),
    /// The login is refused.
    Login(Rejection),
    /// The thread cannot be gone on with.
    Thread(Rejection),
    /// It is not taken.
    Rejected(Rejection),
}

/// Why Slack does not take a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Slack's word for it.
    pub code: String,
    /// What it says beside that; often empty.
    pub details: String,
}

/// A message to a webhook, with what its model lacks.
#[derive(Serialize)]
struct ByWebhook {
    #[serde(flatten)]
    message: SlackApiPostWebhookMessageRequest,
    unfurl_links: bool,
    unfurl_media: bool,
}

/// What is read of an answer of the API.
#[derive(Deserialize)]
struct Read {
    #[serde(flatten)]
    envelope: SlackEnvelopeMessage,
    ts: Option<SlackTs>,
    response_metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    messages: Option<Vec<String>>,
}

/// The body of `chat.postMessage`.
pub(super) fn by_token(message: &Message, channel: &str, thread: Option<&str>) -> Result<Vec<u8>, Failure> {
    let request = SlackApiChatPostMessageRequest::new(channel.into(), content(message)?)
        .with_unfurl_links(message.unfurl)
        .with_unfurl_media(message.unfurl)
        .opt_thread_ts(thread.map(Into::into));
    written(&request)
}

/// The body of a request to a webhook.
pub(super) fn by_webhook(message: &Message) -> Result<Vec<u8>, Failure> {
    let request = SlackApiPostWebhookMessageRequest::new(content(message)?);
    written(&ByWebhook { message: request, unfurl_links: message.unfurl, unfurl_media: message.unfurl })
}

fn written(request: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(request).map_err(|error| Failure::Refused(error.to_string()))
}

fn content(message: &Message) -> Result<SlackMessageContent, Failure> {
    let blocks = message.blocks.as_deref().map(blocks).transpose()?;
    Ok(SlackMessageContent::new().with_text(message.text.clone()).opt_blocks(blocks))
}

fn blocks(text: &str) -> Result<Vec<SlackBlock>, Failure> {
    let refused = |why: String| Failure::Refused(format!("the blocks are not well formed: {why}"));
    let given: Vec<Value> = serde_json::from_str(text).map_err(|error| refused(error.to_string()))?;
    if given.len() > BLOCKS_MAX {
        return Err(refused(format!("there are {}, Slack takes {BLOCKS_MAX}", given.len())));
    }
    let wrong = given.iter().position(|block| block.get("type").and_then(Value::as_str).is_none());
    if let Some(at) = wrong {
        return Err(refused(format!("number {at} has no `type`")));
    }
    // What the model does not know of a block is not left out: such a block is sent as it is.
    let block = |given: Value| match SlackBlock::deserialize(&given) {
        Ok(block) if serde_json::to_value(&block).is_ok_and(|written| written == given) => block,
        _ => SlackBlock::Unknown(given),
    };
    Ok(given.into_iter().map(block).collect())
}

/// What an answer of the API means.
pub(super) fn of_api(answer: &Response) -> Answer {
    if let Some(answer) = by_status(answer) {
        return answer;
    }
    let Ok(read) = serde_json::from_slice::<Read>(&answer.body) else {
        return match answer.status {
            400 | 413 | 414 | 431 => rejected(format!("http_{}", answer.status), String::new()),
            status => Answer::Passing(format!("it answered with status {status}, and not as Slack does")),
        };
    };
    if read.envelope.ok {
        return Answer::Posted(read.ts.map(|ts| ts.0));
    }
    let messages = read.response_metadata.and_then(|metadata| metadata.messages).unwrap_or_default();
    let details = messages.into_iter().chain(read.envelope.errors_as_strings().unwrap_or_default());
    judged(read.envelope.error.as_deref().unwrap_or_default(), &details.collect::<Vec<_>>().join("; "))
}

/// What an answer of a webhook means: a word in the body.
pub(super) fn of_webhook(answer: &Response) -> Answer {
    if let Some(answer) = by_status(answer) {
        return answer;
    }
    let word = std::str::from_utf8(&answer.body).unwrap_or_default().trim();
    match (answer.status, word) {
        (200, "ok") => Answer::Posted(None),
        (200, _) | (..400, _) => {
            Answer::Passing(format!("it answered with status {}, and not as Slack does", answer.status))
        }
        (_, word) if is_word(word) => judged(word, ""),
        (status, _) => rejected(format!("http_{status}"), String::new()),
    }
}

fn by_status(answer: &Response) -> Option<Answer> {
    match answer.status {
        429 => Some(Answer::Later(retry_after(answer))),
        500.. => Some(Answer::Passing(format!("it answered with status {}", answer.status))),
        _ => None,
    }
}

fn retry_after(answer: &Response) -> Duration {
    let header = answer.headers.iter().find(|(name, _)| name == "retry-after");
    let seconds = header.and_then(|(_, value)| std::str::from_utf8(value).ok()?.trim().parse().ok());
    seconds.map_or(RETRY_AFTER_DEFAULT, Duration::from_secs).min(RETRY_AFTER_MAX)
}

fn judged(word: &str, details: &str) -> Answer {
    // Whoever answers could put anything there.
    if !is_word(word) {
        return Answer::Passing("it refuses, without a word that Slack has".into());
    }
    let mut cut = details.len().min(DETAILS_BYTES_MAX);
    while !details.is_char_boundary(cut) {
        cut -= 1;
    }
    let rejection = Rejection { code: word.to_owned(), details: details.get(..cut).unwrap_or_default().to_owned() };
    match word {
        "ratelimited" | "rate_limited" => Answer::Later(RETRY_AFTER_DEFAULT),
        word if PASSING.contains(&word) => Answer::Passing(format!("it answered {word}")),
        word if LOGIN.contains(&word) => Answer::Login(rejection),
        word if THREAD.contains(&word) => Answer::Thread(rejection),
        _ => Answer::Rejected(rejection),
    }
}

fn rejected(code: String, details: String) -> Answer {
    Answer::Rejected(Rejection { code, details })
}

fn is_word(word: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=64).contains(&word.len()) && word.bytes().all(is_letter)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Response {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        Response { status, headers, body: body.as_bytes().to_vec() }
    }

    fn code(code: &str) -> Rejection {
        Rejection { code: code.into(), details: String::new() }
    }

    #[test]
    fn answers_of_the_api_mean_what_slack_documents() {
        let api = |body: &str| of_api(&answer(200, &[], body));
        let posted = r#"{"ok":true,"channel":"C1","ts":"1503435956.000247","message":{"text":"a","future":[1]}}"#;
        assert_eq!(api(posted), Answer::Posted(Some("1503435956.000247".into())));
        let no = |word: &str| api(&json!({ "ok": false, "error": word }).to_string());
        assert_eq!(no("channel_not_found"), Answer::Rejected(code("channel_not_found")));
        assert_eq!(no("invalid_auth"), Answer::Login(code("invalid_auth")));
        assert_eq!(no("thread_not_found"), Answer::Thread(code("thread_not_found")));
        assert!(matches!(no("internal_error"), Answer::Passing(_)));
        assert_eq!(no("ratelimited"), Answer::Later(RETRY_AFTER_DEFAULT));
        assert!(matches!(no("see https://a/?token=1"), Answer::Passing(why) if !why.contains("token")));
        let details = r#"{"ok":false,"error":"invalid_blocks","response_metadata":{"messages":["[ERROR] too long"]}}"#;
        let expected = Rejection { code: "invalid_blocks".into(), details: "[ERROR] too long".into() };
        assert_eq!(api(details), Answer::Rejected(expected));
        assert!(matches!(api("<html>"), Answer::Passing(_)));
        let limited = |after: &str| of_api(&answer(429, &[("retry-after", after)], r#"{"ok":false}"#));
        assert_eq!(limited("7"), Answer::Later(Duration::from_secs(7)));
        assert_eq!(limited("soon"), Answer::Later(RETRY_AFTER_DEFAULT));
        assert_eq!(limited("99999999999"), Answer::Later(RETRY_AFTER_MAX));
        assert!(matches!(of_api(&answer(503, &[], "")), Answer::Passing(_)));
        assert_eq!(of_api(&answer(413, &[], "")), Answer::Rejected(code("http_413")));
    }

    #[test]
    fn answers_of_a_webhook_mean_what_slack_documents() {
        let webhook = |status, body: &str| of_webhook(&answer(status, &[], body));
        assert_eq!(webhook(200, "ok"), Answer::Posted(None));
        assert!(matches!(webhook(200, "<html>login</html>"), Answer::Passing(_)));
        assert!(matches!(webhook(302, ""), Answer::Passing(_)));
        assert_eq!(webhook(400, "invalid_payload"), Answer::Rejected(code("invalid_payload")));
        assert_eq!(webhook(404, "channel_not_found"), Answer::Rejected(code("channel_not_found")));
        assert_eq!(webhook(404, "no_service"), Answer::Login(code("no_service")));
        assert_eq!(webhook(404, "<html>"), Answer::Rejected(code("http_404")));
        assert!(matches!(webhook(500, "rollup_error"), Answer::Passing(_)));
    }

    #[test]
    fn what_is_sent_is_what_was_given() {
        let blocks = json!([
            { "type": "section", "text": { "type": "mrkdwn", "text": "*a* \u{1f980}" } },
            { "type": "section", "text": { "type": "mrkdwn", "text": "b" }, "of_tomorrow": 1 },
            { "type": "hologram", "x": [1] },
        ]);
        let message = Message { text: "ä <&".into(), blocks: Some(blocks.to_string()), ..Message::default() };
        let sent: Value = serde_json::from_slice(&by_token(&message, "C1", Some("1.5")).unwrap()).unwrap();
        let expected = json!({ "channel": "C1", "text": "ä <&", "blocks": blocks, "thread_ts": "1.5",
            "unfurl_links": false, "unfurl_media": false });
        assert_eq!(sent, expected);
        let sent: Value = serde_json::from_slice(&by_webhook(&message).unwrap()).unwrap();
        let expected = json!({ "text": "ä <&", "blocks": blocks, "unfurl_links": false, "unfurl_media": false });
        assert_eq!(sent, expected);
        for wrong in ["{}", "[1]", "[{\"text\":1}]", "[", &json!(vec![json!({ "type": "divider" }); 51]).to_string()] {
            let message = Message { blocks: Some(wrong.to_owned()), ..Message::default() };
            assert!(matches!(by_webhook(&message), Err(Failure::Refused(_))), "{wrong}");
        }
    }
}
