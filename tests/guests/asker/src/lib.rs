//! A test plugin: asks a web service, and gives on what it was answered, or what it was told instead.
//!
//! A record is `METHOD [ENDPOINT::]PATH`, then headers, each `NAME: VALUE` in a line, then a body behind an empty line. What becomes of
//! it is the status, a blank and the body; a failure is `failed: WHY`. With `asks_at_start` it asks while it is configured.

use weir_plugin::http::{self, Method, Request};
use weir_plugin::{Batch, ConfigError, Context, Output, Record, Reject, Result, Transform, serde};

/// The settings.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(crate = "weir_plugin::serde", deny_unknown_fields, default)]
pub struct Config {
    /// Whether to ask while it is configured.
    asks_at_start: bool,
}

/// Asks.
#[derive(Debug)]
pub struct Asker;

impl Transform for Asker {
    type Config = Config;

    fn new(config: Config, _: &Context) -> Result<Self, ConfigError> {
        if config.asks_at_start {
            let told = http::get("").send().err().map_or_else(|| "it was answered".into(), |failure| failure.message());
            return Err(ConfigError::at("asks_at_start", told));
        }
        Ok(Asker)
    }

    fn process(&mut self, record: Record<'_>, out: &mut Output<'_>) -> Result<()> {
        request(record.text()?)?.send()?;
        out.keep(record);
        Ok(())
    }

    fn process_batch(&mut self, batch: &Batch<'_>, out: &mut Output<'_>) {
        let (mut asked, mut requests) = (Vec::new(), Vec::new());
        for record in batch {
            let text = record.text().unwrap_or_default();
            match request(text) {
                Ok(request) if !text.contains("reject-on-failure") => {
                    asked.push(record);
                    requests.push(request);
                }
                _ => {
                    if let Err(reject) = self.process(record, out) {
                        out.reject(record, reject);
                    }
                }
            }
        }
        for (record, answer) in asked.into_iter().zip(http::send_all(requests)) {
            out.emit(record, told(answer));
        }
    }
}

fn told(answer: Result<http::Response, http::Failure>) -> String {
    match answer {
        Ok(answer) => format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)),
        Err(failure) => format!("failed: {}", failure.message()),
    }
}

fn request(text: &str) -> Result<Request> {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let (method, target) = lines.next().unwrap_or_default().split_once(' ').ok_or("expected METHOD PATH")?;
    let method = match method {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "DELETE" => Method::Delete,
        _ => return Err(Reject::permanent("expected GET, POST or DELETE")),
    };
    let target = target.split(' ').next().unwrap_or_default();
    let (endpoint, path) = target.split_once("::").unwrap_or(("", target));
    let request = Request { method, body: body.into(), ..http::get(path) }.to(endpoint);
    Ok(lines
        .filter_map(|line| line.split_once(": "))
        .fold(request, |request, (name, value)| request.header(name, value)))
}

weir_plugin::export!(Asker);

#[cfg(test)]
mod tests {
    use weir_plugin::serde_json::json;
    use weir_plugin::testing::{Harness, serve_http};

    use super::*;

    #[test]
    fn what_a_service_answers_or_why_not_goes_on() {
        serve_http(|request| match request.path.as_str() {
            "down" => Err(http::Failure::Unavailable("connection refused".into())),
            path => Ok(http::Response { status: 200, body: path.into(), ..http::Response::default() }),
        });
        let run =
            Harness::<Asker>::new(json!({})).unwrap().process(["GET a", "GET down", "GET down reject-on-failure"]);
        assert_eq!(run.values(), ["200 a", "failed: the service is not available: connection refused"]);
    }
}
