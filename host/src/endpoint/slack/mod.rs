//! The client of a workspace of Slack: as whom messages are posted, how fast, and what is tried again.
//!
//! Requests go by the HTTP client that those of plugins go by. A channel is a lane: one message is on its way at a time, the
//! next not before the pace or Slack allows it. Knows nothing of what messages say.

mod memory;
mod message;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use url::Url;

pub use memory::Memory;
pub use message::Rejection;

use super::http;
use super::teller::Teller;
use crate::config::{HttpAuth, HttpEndpoint, HttpMethod, Slack, SlackLogin};
use message::Answer;

/// Bytes of the name or id of a channel; Slack's have 80 characters.
const CHANNEL_BYTES_MAX: usize = 512;
/// Channels whose pace is known.
const LANES_MAX: usize = 10_000;
/// Requests at once, of all channels.
const REQUESTS_MAX: u32 = 8;
/// Bytes of an answer, which repeats the message.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// The pause before Slack is asked again; doubled each time, up to the longest.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A message; see `wit/slack.wit`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// A name or an id.
    pub channel: Option<String>,
    /// In mrkdwn.
    pub text: String,
    /// A JSON array.
    pub blocks: Option<String>,
    /// The name of its thread.
    pub thread: Option<String>,
    /// Whether Slack shows what links lead to.
    pub unfurl: bool,
    /// The records that it tells of.
    pub ids: Vec<String>,
}

/// Why a message was not posted. The texts are for plugins: they hold no address and no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It is not allowed, or not well formed.
    #[error("the message is refused: {0}")]
    Refused(String),
    /// Slack does not take it.
    #[error("Slack does not take it: {}", .0.code)]
    Rejected(Rejection),
    /// Slack could not be reached, or did not answer as it should.
    #[error("Slack is not available: {0}")]
    Unavailable(String),
}

/// When the next message may go to a channel. Locked while one is on its way.
type Lane = Arc<tokio::sync::Mutex<Instant>>;

/// The client of one endpoint.
pub struct Client {
    settings: Arc<Slack>,
    memory: Arc<Memory>,
    /// Made anew, with the secret as it is then, after a login was refused.
    http: tokio::sync::Mutex<Option<Arc<http::Client>>>,
    lanes: Mutex<HashMap<String, Lane>>,
    teller: Teller,
}

impl Client {
    /// A client that has connected to nothing yet.
    pub fn new(settings: Arc<Slack>, memory: Arc<Memory>) -> Self {
        let (http, lanes) = Default::default();
        let teller = Teller::of(&settings.name);
        Client { settings, memory, http, lanes, teller }
    }

    /// Whose client it is.
    pub fn settings(&self) -> &Arc<Slack> {
        &self.settings
    }

    /// Which of these records were told of.
    pub async fn told(&self, ids: &[String]) -> Result<Vec<bool>, Failure> {
        self.memory.told(ids).await.map_err(|why| self.not_usable(&why))
    }

    /// Posts messages, those of a channel in their order. Tries to reach Slack for each message as long as `patience`, beside
    /// the time for which it is held back.
    pub async fn post(&self, messages: Vec<Message>, patience: Duration) -> Vec<Result<(), Failure>> {
        let mut outcomes = vec![Ok(()); messages.len()];
        let mut channels: Vec<(String, Vec<(usize, Message)>)> = Vec::new();
        let mut places = HashMap::new();
        for (at, message) in messages.into_iter().enumerate() {
            let channel = match self.channel(&message) {
                Ok(channel) => channel,
                Err(refused) => {
                    outcomes.splice(at..=at, [Err(refused)]);
                    continue;
                }
            };
            let place = *places.entry(channel.clone()).or_insert(channels.len());
            match channels.get_mut(place) {
                Some((_, messages)) => messages.push((at, message)),
                None => channels.push((channel, vec![(at, message)])),
            }
        }
        let posted = channels.into_iter().map(|(channel, messages)| self.post_to(channel, messages, patience));
        for (at, outcome) in join_all(posted).await.into_iter().flatten() {
            outcomes.splice(at..=at, [outcome]);
        }
        outcomes
    }

    /// What tells the channel of a message from others; of a webhook there is one.
    fn channel(&self, message: &Message) -> Result<String, Failure> {
        match (&self.settings.login, &message.channel, &message.thread) {
            (SlackLogin::Webhook(_), _, None) => Ok(String::new()),
            (SlackLogin::Webhook(_), _, Some(_)) => {
                Err(Failure::Refused("it belongs to a thread, and a webhook has none: that takes a token".into()))
            }
            (SlackLogin::Token { .. }, Some(channel), _) => match channel.trim_matches([' ', '#']) {
                "" => Err(Failure::Refused("the name of its channel is empty".into())),
                channel if channel.len() > CHANNEL_BYTES_MAX => {
                    Err(Failure::Refused(format!("the name of its channel has {} bytes", channel.len())))
                }
                channel => Ok(channel.to_owned()),
            },
            (SlackLogin::Token { .. }, None, _) => Err(Failure::Refused("it names no channel".into())),
        }
    }

    /// Posts messages to one channel, until Slack is not available.
    async fn post_to(
        &self,
        channel: String,
        messages: Vec<(usize, Message)>,
        patience: Duration,
    ) -> Vec<(usize, Result<(), Failure>)> {
        let lane = self.lane(&channel);
        let mut outcomes = Vec::with_capacity(messages.len());
        let mut away = None;
        for (at, message) in messages {
            let outcome = match &away {
                Some(why) => Err(Failure::Unavailable(String::clone(why))),
                None => self.post_one(&channel, &lane, &message, patience).await,
            };
            if let Err(Failure::Unavailable(why)) = &outcome {
                away = Some(why.clone());
            }
            outcomes.push((at, outcome));
        }
        outcomes
    }

    async fn post_one(&self, channel: &str, lane: &Lane, message: &Message, patience: Duration) -> Result<(), Failure> {
        let mut free_at = lane.lock().await;
        let (mut left, mut pause) = (patience, PAUSE);
        let (mut login_tried, mut thread_ended) = (false, false);
        loop {
            sleep_until(*free_at).await;
            let thread = match &message.thread {
                Some(name) if !thread_ended => {
                    self.memory.thread(channel, name).await.map_err(|why| self.not_usable(&why))?
                }
                _ => None,
            };
            let began = Instant::now();
            let answer = self.ask(channel, message, thread.as_deref(), left).await;
            *free_at = Instant::now() + self.settings.pace;
            left = left.saturating_sub(began.elapsed());
            match answer? {
                Answer::Posted(ts) => {
                    let first = thread.or(ts);
                    let thread = message.thread.as_deref().zip(first.as_deref());
                    self.note(message, thread.map(|(name, first)| (channel, name, first))).await;
                    return Ok(());
                }
                Answer::Later(after) => {
                    self.teller.tell(&format!("Slack asks to wait {after:?} for the channel {channel:?}"));
                    *free_at = Instant::now() + after.max(self.settings.pace);
                }
                Answer::Login(_) if !login_tried => {
                    login_tried = true;
                    *self.http.lock().await = None;
                }
                Answer::Thread(_) if thread.is_some() => thread_ended = true,
                Answer::Login(why) | Answer::Thread(why) | Answer::Rejected(why) => {
                    return Err(Failure::Rejected(why));
                }
                Answer::Passing(why) => {
                    self.teller.tell(&format!("Slack is not available: {why}"));
                    if left <= pause {
                        return Err(Failure::Unavailable(why));
                    }
                    sleep(pause).await;
                    (left, pause) = (left - pause, (pause * 2).min(PAUSE_MAX));
                }
            }
        }
    }

    /// Asks once. What fails on the way there may pass.
    async fn ask(
        &self,
        channel: &str,
        message: &Message,
        thread: Option<&str>,
        left: Duration,
    ) -> Result<Answer, Failure> {
        let (path, body) = match &self.settings.login {
            SlackLogin::Token { .. } => ("chat.postMessage", message::by_token(message, channel, thread)?),
            SlackLogin::Webhook(_) => ("", message::by_webhook(message)?),
        };
        let headers = vec![("content-type".to_owned(), b"application/json; charset=utf-8".to_vec())];
        let request = http::Request { method: HttpMethod::Post, path: path.to_owned(), headers, body };
        let client = match self.http().await {
            Ok(client) => client,
            Err(why) => return Ok(Answer::Passing(why)),
        };
        let sent = timeout(left, client.send(request, ANSWER_BYTES_MAX)).await;
        Ok(match (sent, &self.settings.login) {
            (Ok(Ok(answer)), SlackLogin::Token { .. }) => message::of_api(&answer),
            (Ok(Ok(answer)), SlackLogin::Webhook(_)) => message::of_webhook(&answer),
            (Ok(Err(failure)), _) => Answer::Passing(failure.to_string()),
            (Err(_), _) => Answer::Passing("it did not answer in time".into()),
        })
    }

    /// Notes what was posted. Where that fails the message may be repeated after a restart, and nothing is lost.
    async fn note(&self, message: &Message, thread: Option<(&str, &str, &str)>) {
        if let Err(why) = self.memory.note(&message.ids, thread).await {
            self.teller.tell(&format!("what was posted could not be noted, and may be posted again: {why}"));
        }
    }

    fn lane(&self, channel: &str) -> Lane {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if lanes.len() >= LANES_MAX {
            let now = Instant::now();
            lanes.retain(|_, lane| lane.try_lock().map_or(true, |free_at| *free_at > now));
        }
        lanes.entry(channel.to_owned()).or_insert_with(|| Arc::new(tokio::sync::Mutex::new(Instant::now()))).clone()
    }

    /// The HTTP client, with the secret as it was when a login was last refused.
    async fn http(&self) -> Result<Arc<http::Client>, String> {
        let mut http = self.http.lock().await;
        if let Some(http) = &*http {
            return Ok(http.clone());
        }
        let settings = self.settings.clone();
        let endpoint = tokio::task::spawn_blocking(move || endpoint(&settings)).await;
        let endpoint = endpoint.map_err(|error| error.to_string()).and_then(|endpoint| endpoint).map_err(|why| {
            self.teller.tell(&why);
            "the endpoint is not set up; the appliance's log says why"
        })?;
        Ok(http.insert(Arc::new(http::Client::new(Arc::new(endpoint)))).clone())
    }

    /// What only the operator can mend, and only the operator is told in full.
    fn not_usable(&self, why: &str) -> Failure {
        self.teller.tell(&why);
        Failure::Unavailable("what was posted before cannot be looked up; the appliance's log says why".into())
    }
}

/// The service that requests go to. The operator has named it, and a guest has no part in its address, so it may be anywhere.
/// Blocks.
fn endpoint(settings: &Slack) -> Result<HttpEndpoint, String> {
    let (url, auth) = match &settings.login {
        SlackLogin::Token { token, url } => (url.clone(), HttpAuth::Bearer(token.clone())),
        SlackLogin::Webhook(webhook) => {
            let text = webhook.reveal().map_err(|error| error.to_string())?;
            let url = Url::parse(text.expose().trim()).ok();
            let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            (url.ok_or("the secret of the webhook is no URL like `https://hooks.slack.com/...`")?, HttpAuth::None)
        }
    };
    Ok(HttpEndpoint {
        name: settings.name.clone(),
        url,
        auth,
        headers: Default::default(),
        methods: vec![HttpMethod::Post],
        private_addresses: true,
        tls: settings.tls.clone(),
        timeout: settings.timeout,
        requests_max: REQUESTS_MAX,
        response_bytes_max: ANSWER_BYTES_MAX,
    })
}
