//! A server that answers as Slack documents it: `chat.postMessage` and incoming webhooks, their errors, and one message a second
//! and channel with a short burst. Keeps what was posted.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The bot's token.
pub const TOKEN: &str = "xoxb-canary-4f1d7c2a90";
/// The secret part of the webhook's URL.
pub const WEBHOOK: &str = "canary-hook-88b0e6";
/// Messages that a channel takes at once, before it is held to one a second.
const BURST: f64 = 3.0;

/// A message that was posted.
#[derive(Debug, Clone)]
pub struct Post {
    pub channel: String,
    pub text: String,
    pub thread: Option<String>,
    pub ts: String,
    pub blocks: Value,
}

/// What happens to the next requests instead.
#[derive(Debug, Clone, Copy)]
pub enum Mishap {
    /// 429, and a word on how long to wait.
    Limited(u32),
    /// 503.
    Away,
    /// It is posted, and the connection breaks off before the answer.
    Lost,
}

#[derive(Default)]
pub struct State {
    pub posts: Vec<Post>,
    /// How often a channel was held to its pace.
    pub limited: u32,
    /// How often a request had the wrong token.
    pub refused: u32,
    pub mishaps: VecDeque<Mishap>,
    /// When the last request was answered by `Limited`, and by how much the next one of its channel came later.
    held: Option<(Instant, u32)>,
    pub waited: Option<(Duration, u32)>,
    buckets: BTreeMap<String, (f64, Instant)>,
    is_down: bool,
}

/// The server; it ends with the process.
pub struct Slack {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl Slack {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, state) = (listener.local_addr().unwrap().port(), Arc::<Mutex<State>>::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, state) = (stream.unwrap(), shared.clone());
                if state.lock().unwrap().is_down {
                    continue;
                }
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Slack { port, state }
    }

    /// Looks at, or changes, what there is.
    pub fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap())
    }

    /// Takes no connection any more, until it is up again.
    pub fn set_down(&self, is_down: bool) {
        self.with(|state| state.is_down = is_down);
    }

    pub fn texts(&self) -> Vec<String> {
        self.with(|state| state.posts.iter().map(|post| post.text.clone()).collect())
    }
}

/// Answers the requests of a connection, one after the other.
fn serve(stream: TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let path = line.split(' ').nth(1)?.to_owned();
        let mut headers = BTreeMap::new();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let Some((name, value)) = header.trim_end().split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        let answer = {
            let mut state = state.lock().unwrap();
            if state.is_down { None } else { state.answer(&path, &headers, &body) }
        };
        let Some((status, retry_after, body)) = answer else {
            let _ = writer.shutdown(Shutdown::Both);
            return None;
        };
        let after = retry_after.map(|after| format!("Retry-After: {after}\r\n")).unwrap_or_default();
        let head = format!("HTTP/1.1 {status} -\r\nContent-Length: {}\r\n{after}\r\n", body.len());
        writer.write_all(format!("{head}{body}").as_bytes()).ok()?;
    }
}

/// Status, `Retry-After`, body.
type Answer = (u16, Option<u32>, String);

impl State {
    /// The answer to a request; none, where the connection breaks off.
    fn answer(&mut self, path: &str, headers: &BTreeMap<String, String>, body: &[u8]) -> Option<Answer> {
        let mishap = self.mishaps.pop_front();
        if let Some((at, seconds)) = self.held.take() {
            self.waited = Some((at.elapsed(), seconds));
        }
        match mishap {
            Some(Mishap::Limited(seconds)) => {
                self.held = Some((Instant::now(), seconds));
                return Some((429, Some(seconds), json!({ "ok": false, "error": "ratelimited" }).to_string()));
            }
            Some(Mishap::Away) => return Some((503, None, "upstream connect error".into())),
            Some(Mishap::Lost) | None => {}
        }
        let is_json = headers.get("content-type").is_some_and(|kind| kind.starts_with("application/json"));
        let message: Option<Value> = serde_json::from_slice(body).ok().filter(|_| is_json);
        let before = self.posts.len();
        let answer = match path {
            "/api/chat.postMessage" => self.post_message(headers, message),
            path => self.webhook(path, message),
        };
        match mishap {
            Some(Mishap::Lost) if self.posts.len() > before => return None,
            // It waits for one that is posted.
            mishap => self.mishaps.extend(mishap),
        }
        Some(answer)
    }

    fn post_message(&mut self, headers: &BTreeMap<String, String>, message: Option<Value>) -> Answer {
        let no = |word: &str| (200, None, json!({ "ok": false, "error": word }).to_string());
        match headers.get("authorization") {
            None => return no("not_authed"),
            Some(login) if *login != format!("Bearer {TOKEN}") => {
                self.refused += 1;
                return no("invalid_auth");
            }
            Some(_) => {}
        }
        let Some(message) = message else { return no("invalid_json") };
        let channel = message["channel"].as_str().unwrap_or_default().to_owned();
        match channel.as_str() {
            "soc" | "ops" | "C024BE91L" => {}
            "old" => return no("is_archived"),
            "private" => return no("not_in_channel"),
            _ => return no("channel_not_found"),
        }
        if let Some(word) = self.wrong(&message) {
            return no(word);
        }
        if !self.admits(&channel) {
            return (429, Some(1), json!({ "ok": false, "error": "ratelimited" }).to_string());
        }
        let ts = self.keep(channel.clone(), &message);
        let told = json!({ "ts": ts, "type": "message", "bot_id": "B01", "text": message["text"] });
        (200, None, json!({ "ok": true, "channel": channel, "ts": ts, "message": told }).to_string())
    }

    fn webhook(&mut self, path: &str, message: Option<Value>) -> Answer {
        let say = |status, word: &str| (status, None, word.to_owned());
        match path.strip_prefix("/services/T0/B0/") {
            Some(WEBHOOK) => {}
            Some("archived") => return say(410, "channel_is_archived"),
            _ => return say(404, "no_service"),
        }
        let Some(message) = message else { return say(400, "invalid_payload") };
        match self.wrong(&message) {
            Some("no_text") => return say(400, "no_text"),
            Some(_) => return say(400, "invalid_payload"),
            None => {}
        }
        if !self.admits("hook") {
            return (429, Some(1), "rate_limited".into());
        }
        self.keep("hook".into(), &message);
        say(200, "ok")
    }

    fn wrong(&self, message: &Value) -> Option<&'static str> {
        let text = message["text"].as_str().unwrap_or_default();
        let thread = message["thread_ts"].as_str();
        match message["blocks"].as_array() {
            None if text.is_empty() => Some("no_text"),
            Some(blocks) if blocks.len() > 50 => Some("invalid_blocks"),
            _ if text.chars().count() > 40_000 => Some("msg_too_long"),
            _ if thread.is_some_and(|ts| self.posts.iter().all(|post| post.ts != ts)) => Some("thread_not_found"),
            _ => None,
        }
    }

    /// Whether a channel takes a message now: some at once, then one a second.
    fn admits(&mut self, channel: &str) -> bool {
        let now = Instant::now();
        let (left, since) = self.buckets.entry(channel.to_owned()).or_insert((BURST, now));
        *left = (*left + now.duration_since(*since).as_secs_f64()).min(BURST);
        *since = now;
        if *left < 1.0 {
            self.limited += 1;
            return false;
        }
        *left -= 1.0;
        true
    }

    fn keep(&mut self, channel: String, message: &Value) -> String {
        let number = self.posts.len() + 1;
        let ts = format!("1700000{number:03}.{number:06}");
        let text = |name: &str| message[name].as_str().map(str::to_owned);
        let (text, thread) = (text("text").unwrap_or_default(), text("thread_ts"));
        self.posts.push(Post { channel, text, thread, ts: ts.clone(), blocks: message["blocks"].clone() });
        ts
    }
}
