//! Plays Slack for a story: a server that answers `chat.postMessage` as Slack documents it, and prints what is posted.
//!
//! It takes one message a second and channel, with a short burst, as Slack does; whoever asks for more is told to wait. It knows
//! nothing of Weir.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::json;
use crate::error::{Context, Result};
use crate::say;

/// Whoever bears it may post.
const TOKEN: &str = "xoxb-played-by-xtask";
/// Messages that a channel takes at once, before it is held to one a second.
const BURST: f64 = 3.0;
/// No request is larger, by far.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The server; it ends with this program.
#[derive(Default)]
pub struct Slack {
    workspace: Arc<Mutex<Workspace>>,
}

#[derive(Default)]
struct Workspace {
    /// The time stamps of what was posted, which name it.
    posts: Vec<String>,
    /// How many records were told of.
    told: u64,
    /// How many messages a channel takes now, and since when that is so.
    buckets: BTreeMap<String, (f64, Instant)>,
}

/// Status, whether to wait, and body.
struct Answer(u16, bool, String);

impl Slack {
    /// Begins to serve. Returns the port.
    pub fn serve(&self) -> Result<u16> {
        let listener = TcpListener::bind("127.0.0.1:0").context(|| "playing Slack")?;
        let port = listener.local_addr().context(|| "playing Slack")?.port();
        let workspace = self.workspace.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let workspace = workspace.clone();
                // What breaks off is the client's to notice.
                std::thread::spawn(move || serve(&stream, &workspace));
            }
        });
        Ok(port)
    }

    /// Whoever bears this may post.
    pub fn token(&self) -> &'static str {
        TOKEN
    }

    /// How many records were told of: one a message, and those that "and N more" counts.
    pub fn told(&self) -> u64 {
        self.workspace.lock().unwrap_or_else(PoisonError::into_inner).told
    }

    /// How many messages were posted.
    pub fn messages(&self) -> usize {
        self.workspace.lock().unwrap_or_else(PoisonError::into_inner).posts.len()
    }
}

/// Answers the requests of a connection, one after the other.
fn serve(stream: &TcpStream, workspace: &Mutex<Workspace>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut request = String::new();
        reader.read_line(&mut request).ok().filter(|bytes| *bytes > 0)?;
        let headers = headers(&mut reader)?;
        let length = headers.get("content-length")?.parse().ok().filter(|length| *length <= BODY_BYTES_MAX)?;
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let path = request.split(' ').nth(1)?;
        let login = headers.get("authorization").map(String::as_str);
        let message = String::from_utf8(body).ok()?;
        let answer = workspace.lock().unwrap_or_else(PoisonError::into_inner).answer(path, login, &message);
        let Answer(status, is_to_wait, body) = answer;
        let wait = if is_to_wait { "Retry-After: 1\r\n" } else { "" };
        let kind = "Content-Type: application/json; charset=utf-8";
        let head = format!("HTTP/1.1 {status} -\r\n{kind}\r\nContent-Length: {}\r\n{wait}\r\n", body.len());
        let mut stream = stream;
        stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
    }
}

/// The headers of a request, their names in lower case.
fn headers(reader: &mut BufReader<TcpStream>) -> Option<BTreeMap<String, String>> {
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Some(headers) };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
}

impl Workspace {
    /// The answer to a request: errors of the API come with status 200 and a word, as Slack's do.
    fn answer(&mut self, path: &str, login: Option<&str>, message: &str) -> Answer {
        let no = |word: &str| Answer(200, false, format!("{{\"ok\":false,\"error\":\"{word}\"}}"));
        if path != "/api/chat.postMessage" {
            return no("unknown_method");
        }
        match login {
            None => return no("not_authed"),
            Some(login) if login.strip_prefix("Bearer ") != Some(TOKEN) => return no("invalid_auth"),
            Some(_) => {}
        }
        let text = |name| json::text(message, name).filter(|text| !text.is_empty());
        let Some(channel) = text("channel") else { return no("channel_not_found") };
        let Some(words) = text("text") else { return no("no_text") };
        let thread = text("thread_ts");
        let root = thread.as_ref().map(|thread| self.posts.iter().position(|post| post == thread));
        if root == Some(None) {
            return no("thread_not_found");
        }
        if !self.admits(&channel) {
            return Answer(429, true, "{\"ok\":false,\"error\":\"ratelimited\"}".to_owned());
        }
        self.told += and_more(&words).unwrap_or(1);
        let number = self.posts.len() + 1;
        let place = root.flatten().map(|root| format!(", in the thread of {}", root + 1)).unwrap_or_default();
        say::line(format_args!("Slack {number:>3}  #{channel}{place}: {words}"));
        let ts = format!("1700000{number:03}.{number:06}");
        let body =
            format!("{{\"ok\":true,\"channel\":\"C0{number}\",\"ts\":\"{ts}\",\"message\":{{\"ts\":\"{ts}\"}}}}");
        self.posts.push(ts);
        Answer(200, false, body)
    }

    /// Whether a channel takes a message now.
    fn admits(&mut self, channel: &str) -> bool {
        let now = Instant::now();
        let (left, since) = self.buckets.entry(channel.to_owned()).or_insert((BURST, now));
        *left = (*left + now.duration_since(*since).as_secs_f64()).min(BURST);
        *since = now;
        let admits = *left >= 1.0;
        *left -= if admits { 1.0 } else { 0.0 };
        admits
    }
}

/// How many records a message stands for that begins with "and N more".
fn and_more(words: &str) -> Option<u64> {
    let (number, rest) = words.strip_prefix("and ")?.split_once(' ')?;
    rest.starts_with("more").then(|| number.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(workspace: &mut Workspace, login: Option<&str>, message: &str) -> (u16, String) {
        let Answer(status, _, body) = workspace.answer("/api/chat.postMessage", login, message);
        (status, body)
    }

    #[test]
    fn what_slack_would_refuse_is_refused() {
        let mut workspace = Workspace::default();
        let bot = format!("Bearer {TOKEN}");
        let message = r#"{"channel":"soc","text":"a"}"#;
        let refused = |answer: (u16, String), word: &str| {
            assert!(answer.1.contains(&format!(r#""ok":false,"error":"{word}""#)), "{answer:?}");
        };
        refused(ask(&mut workspace, None, message), "not_authed");
        refused(ask(&mut workspace, Some("Bearer xoxb-other"), message), "invalid_auth");
        refused(ask(&mut workspace, Some(&bot), r#"{"text":"a"}"#), "channel_not_found");
        refused(ask(&mut workspace, Some(&bot), r#"{"channel":"soc","text":""}"#), "no_text");
        refused(
            ask(&mut workspace, Some(&bot), r#"{"channel":"soc","text":"a","thread_ts":"1.2"}"#),
            "thread_not_found",
        );
        assert_eq!((workspace.posts.len(), workspace.told), (0, 0));
    }

    #[test]
    fn more_than_a_burst_has_to_wait() {
        let mut workspace = Workspace::default();
        let bot = format!("Bearer {TOKEN}");
        let answers: Vec<u16> = (0..5)
            .map(|_| ask(&mut workspace, Some(&bot), r#"{"channel":"soc","text":"and 4 more on gate"}"#).0)
            .collect();
        assert_eq!(answers, [200, 200, 200, 429, 429]);
        assert_eq!((workspace.posts.len(), workspace.told), (3, 12));
    }
}
