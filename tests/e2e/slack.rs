//! Records to Slack: what is posted, how fast, in which thread, how often when things break, and who is told the token.

mod server;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Bench, Running, free_port, tell};
use crate::operate::ask;
use server::{Mishap, Post, Slack, TOKEN, WEBHOOK};

/// A bench with the secrets, and a pipeline file around these sinks and pipelines.
fn bench(slack: &Slack, pace: &str, config: &str) -> Bench {
    let bench = Bench::new();
    bench.write("token", &format!("{TOKEN}\n"));
    bench.write("webhook", &format!("http://127.0.0.1:{}/services/T0/B0/{WEBHOOK}", slack.port));
    let pipeline = format!(
        "
version: 1
secrets: {{ bot: {{ file: token }}, hook: {{ file: webhook }} }}
endpoints:
  team: {{ type: slack, token: {{ secret: bot }}, url: 'http://127.0.0.1:{port}/api/', pace: {pace}, timeout: 5s }}
  hook: {{ type: slack, webhook: {{ secret: hook }}, pace: {pace} }}
sources:
  lines: {{ type: file, path: in.jsonl }}
pipelines:
  notify: {{ from: lines, to: out }}
  failed: {{ from: dead-letters, to: failed }}
sinks:
  out: {{ plugin: slack-notifier, {config} }}
  failed: {{ type: file, path: failed.jsonl, format: record }}
",
        port = slack.port
    );
    bench.write("weir.yaml", &pipeline);
    bench
}

fn by_token(config: &str) -> String {
    format!("grants: {{ slack: team }}, limits: {{ wait_time_max: 2s }}, config: {config}")
}

fn lines(records: impl IntoIterator<Item = Value>) -> String {
    records.into_iter().map(|record| format!("{record}\n")).collect()
}

fn line(channel: &str, text: &str) -> Value {
    json!({ "CHANNEL": channel, "TEXT": text })
}

/// Runs the pipeline to its end, and searches what it says for secrets.
fn run_once(bench: &Bench) -> (Option<i32>, String) {
    let output = bench.run(&["run", "weir.yaml", "--once", "--log", "trace"]);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_silent("weir", &said);
    (output.status.code(), said)
}

fn assert_silent(what: &str, said: &str) {
    for canary in [TOKEN, WEBHOOK] {
        assert!(!said.contains(canary), "{what} tells {canary}");
    }
}

/// What every line of a file of dead letters says of the reason.
fn reasons(bench: &Bench) -> Vec<String> {
    let reason = |line: String| {
        assert_silent("a dead letter", &line);
        let letter: Value = serde_json::from_str(&line).unwrap();
        letter["headers"].to_string()
    };
    bench.lines("failed.jsonl").into_iter().map(reason).collect()
}

fn until_posted(weir: &mut Running, slack: &Slack, count: usize) {
    weir.until("the messages", || slack.with(|state| state.posts.len()) >= count);
}

/// Logs of attacks go by syslog, a parser and SQL to a channel, word for word, no faster than Slack takes them.
#[test]
fn logs_go_from_syslog_to_a_channel() {
    let (slack, port) = (Slack::start(), free_port());
    let bench = Bench::new();
    bench.write("token", TOKEN);
    let example = std::fs::read_to_string("../deploy/examples/syslog-to-slack/syslog-to-slack.yaml").unwrap();
    let url = format!("url: http://127.0.0.1:{}/api/, token:", slack.port);
    let file = example
        .replace("{ env: SLACK_TOKEN }", "{ file: token }")
        .replace("127.0.0.1:5514", &format!("127.0.0.1:{port}"))
        .replace("token: { secret", &format!("{url} {{ secret"));
    assert_ne!(file, example);
    bench.write("weir.yaml", &file);
    let mut weir = bench.start(&["weir.yaml"]);
    let mut sender = None;
    weir.until("the listener", || {
        sender = std::net::TcpStream::connect(("127.0.0.1", port)).ok();
        sender.is_some()
    });
    let mut text = String::new();
    for n in 0..300 {
        let message = match n % 3 {
            0 => format!("Invalid user g\u{fc}nther\u{1f980}<!channel> & co {n} from 192.0.2.{}", n % 250),
            1 => format!("Failed password for root from 192.0.2.{} port {n} ssh2", n % 250),
            _ => "Connection closed by 192.0.2.7 [preauth]".to_owned(),
        };
        text.push_str(&format!("<38>Dec 10 06:55:{:02} web{} sshd[{n}]: {message}\n", n % 60, n % 2));
    }
    std::io::Write::write_all(&mut sender.unwrap(), text.as_bytes()).unwrap();
    // All 100 are told of: alone, or by their number.
    let counted = |posts: &[Post]| -> usize {
        let more = |text: &str| text.split_once("and ")?.1.split(' ').next()?.parse::<usize>().ok();
        posts.iter().map(|post| more(&post.text).unwrap_or(1)).sum()
    };
    weir.until("all of them", || slack.with(|state| counted(&state.posts)) >= 100);
    assert_eq!(weir.terminate(), 0);
    slack.with(|state| {
        assert_eq!(counted(&state.posts), 100);
        assert_eq!(state.limited, 0, "the pace keeps Slack from having to");
        assert!(state.posts.len() < 40, "{}", state.posts.len());
        let first = &state.posts[0];
        assert_eq!((first.channel.as_str(), &first.thread), ("soc", &None));
        assert!(first.text.contains("g\u{fc}nther\u{1f980}&lt;!channel&gt; &amp; co 0 from"), "{}", first.text);
        // Each host has a thread.
        let roots = state.posts.iter().filter(|post| post.thread.is_none()).count();
        assert_eq!(roots, 2, "{:?}", state.posts);
        tell(format_args!("100 records were told of in {} messages", state.posts.len()));
    });
    assert_silent("the log", &bench.end("weir.log"));
}

#[test]
fn what_slack_asks_to_be_waited_is_waited() {
    let slack = Slack::start();
    let bench = bench(&slack, "1ms", &by_token("{ text: '{{TEXT}}' }"));
    bench.write("in.jsonl", &lines((0..6).map(|n| line("soc", &n.to_string()))));
    slack.with(|state| state.mishaps.extend([Mishap::Limited(2), Mishap::Away]));
    let (code, said) = run_once(&bench);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(slack.texts(), ["0", "1", "2", "3", "4", "5"]);
    slack.with(|state| {
        let (waited, wanted) = state.waited.unwrap();
        assert!(waited >= Duration::from_secs(wanted.into()), "{waited:?} of {wanted} s");
        // With such a pace it is Slack that holds the channel to one a second.
        assert!(state.limited >= 1);
    });
}

#[test]
fn what_slack_does_not_take_is_a_dead_letter_with_its_word() {
    let slack = Slack::start();
    let bench = bench(&slack, "1ms", &by_token("{}"));
    let records = [
        line("nowhere", "a"),
        line("old", "b"),
        line("#soc", "caf\u{e9} \u{65e5}\u{672c} \u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} <!channel> :tada:"),
        line("private", "c"),
        line("soc", ""),
        json!({ "TEXT": "to nobody" }),
        line("soc", &"x".repeat(40_001)),
        line("C024BE91L", &"\u{1f980}".repeat(40_000)),
    ];
    bench.write("in.jsonl", &lines(records));
    let (code, said) = run_once(&bench);
    assert_eq!(code, Some(0), "{said}");
    let expected = "caf\u{e9} \u{65e5}\u{672c} \u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} &lt;!channel&gt; :tada:";
    let texts: BTreeSet<String> = slack.texts().into_iter().collect();
    assert_eq!(texts, BTreeSet::from([expected.to_owned(), "\u{1f980}".repeat(40_000)]));
    let reasons = reasons(&bench);
    let words =
        ["channel_not_found", "is_archived", "not_in_channel", "text is empty", "names no channel", "40001 characters"];
    assert_eq!(reasons.len(), words.len(), "{reasons:?}");
    for word in words {
        assert_eq!(reasons.iter().filter(|reason| reason.contains(word)).count(), 1, "{word}: {reasons:?}");
    }
}

#[test]
fn the_pipeline_stops_where_it_is_told_to_and_goes_on_once_that_is_mended() {
    let slack = Slack::start();
    let bench = bench(&slack, "1ms", &by_token("{ on_error: { stop: [invalid_auth] } }"));
    bench.write("token", "xoxb-of-somebody-else");
    bench.write("in.jsonl", &lines([line("nowhere", "a"), line("soc", "b")]));
    let (code, said) = run_once(&bench);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("Slack does not take it: invalid_auth"), "{said}");
    assert!(!said.contains("xoxb-of-somebody-else"), "{said}");
    assert_eq!(slack.texts(), Vec::<String>::new());
    assert!(slack.with(|state| state.refused) >= 2);
    bench.write("token", TOKEN);
    let (code, said) = run_once(&bench);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(slack.texts(), ["b"]);
    assert!(reasons(&bench).iter().all(|reason| reason.contains("channel_not_found")));
}

#[test]
fn threads_and_what_was_told_outlive_kills() {
    const MESSAGES: usize = 60;
    const KILLS: usize = 6;
    let slack = Slack::start();
    let config = "{ channel: soc, text: '{{host}} {{n}}', thread: '{{host}}' }";
    let bench = bench(&slack, "50ms", &by_token(config));
    let records = (0..MESSAGES).map(|n| json!({ "host": format!("web{}", n % 3), "n": n }));
    bench.write("in.jsonl", &lines(records));
    for life in 0..KILLS {
        let mut weir = bench.start(&["weir.yaml"]);
        // Slack's own pace makes these the same in each life, more or less.
        until_posted(&mut weir, &slack, (life + 1) * 4);
        weir.kill();
    }
    // A request that was posted and not answered is the one case in which a message comes twice.
    slack.with(|state| state.mishaps.push_back(Mishap::Lost));
    let (code, said) = run_once(&bench);
    assert_eq!(code, Some(0), "{said}");
    let posts = slack.with(|state| state.posts.clone());
    let texts: BTreeSet<&str> = posts.iter().map(|post| post.text.as_str()).collect();
    assert_eq!(texts.len(), MESSAGES);
    // Each kill falls between an answer and its note at most once; what was not answered came again.
    assert!((MESSAGES + 1..=MESSAGES + KILLS + 1).contains(&posts.len()), "{}", posts.len());
    tell(format_args!("{KILLS} kills and a lost answer: {} messages of {MESSAGES} came twice", posts.len() - MESSAGES));
    for host in ["web0", "web1", "web2"] {
        let of_host: Vec<&Post> = posts.iter().filter(|post| post.text.starts_with(host)).collect();
        let roots: Vec<_> = of_host.iter().filter(|post| post.thread.is_none()).collect();
        // A second one only where the first was not noted.
        assert!(roots.len() <= 2, "{roots:?}");
        let root = roots.last().unwrap();
        assert_eq!(of_host.last().unwrap().thread.as_deref(), Some(root.ts.as_str()));
    }
}

#[test]
fn a_server_that_is_down_is_waited_for() {
    let slack = Slack::start();
    let bench = bench(&slack, "1ms", &by_token("{}"));
    slack.set_down(true);
    bench.write("in.jsonl", &lines((0..5).map(|n| line("ops", &n.to_string()))));
    let mut weir = bench.start(&["weir.yaml"]);
    weir.until("a word about it", || bench.end("weir.log").contains("beginning again from the last commit"));
    assert_eq!(slack.texts(), Vec::<String>::new());
    slack.set_down(false);
    until_posted(&mut weir, &slack, 5);
    assert_eq!(weir.terminate(), 0);
    assert_eq!(slack.texts(), ["0", "1", "2", "3", "4"]);
    assert_eq!(bench.lines("failed.jsonl"), Vec::<String>::new());
}

#[test]
fn a_webhook_posts_to_its_channel_with_blocks() {
    let slack = Slack::start();
    let blocks = "[{ type: section, text: { type: mrkdwn, text: '*{{user}}*' } }, { type: divider }]";
    let config = format!("grants: {{ slack: hook }}, config: {{ text: 'login of {{{{user}}}}', blocks: {blocks} }}");
    let bench = bench(&slack, "1ms", &config);
    bench.write("in.jsonl", &lines(["<root>", "j\u{f6}rg \u{1f511}"].map(|user| json!({ "user": user }))));
    let (code, said) = run_once(&bench);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(slack.texts(), ["login of &lt;root&gt;", "login of j\u{f6}rg \u{1f511}"]);
    slack.with(|state| {
        assert_eq!(state.posts[0].blocks[0]["text"], json!({ "type": "mrkdwn", "text": "*&lt;root&gt;*" }));
        assert_eq!(state.posts[1].blocks[1], json!({ "type": "divider" }));
    });
    bench.write("webhook", &format!("http://127.0.0.1:{}/services/T0/B0/archived", slack.port));
    bench.write("in.jsonl", &lines([json!({ "user": "<root>" }), json!({ "user": "b" }), json!({ "user": "c" })]));
    run_once(&bench);
    assert!(reasons(&bench).iter().all(|reason| reason.contains("channel_is_archived")));
    assert!(!reasons(&bench).is_empty());
}

/// Neither the log at its most talkative, nor the API, nor anything on disk but the secrets' own files.
#[test]
fn nobody_is_told_the_token_or_the_webhook() {
    let (slack, http) = (Slack::start(), free_port());
    let bench = bench(&slack, "1ms", &by_token("{}"));
    let yaml = std::fs::read_to_string(bench.path("weir.yaml")).unwrap();
    let yaml = yaml
        .replace("version: 1", &format!("version: 1\nhttp: {{ listen: '127.0.0.1:{http}' }}"))
        .replace("to: out }", "to: [out, hooked] }")
        .replace("  failed: { type", "  hooked: { plugin: slack-notifier, grants: { slack: hook } }\n  failed: { type");
    bench.write("weir.yaml", &yaml);
    bench.write("in.jsonl", &lines([line("soc", "a"), line("nowhere", "b"), line("old", "c")]));
    slack.with(|state| state.mishaps.extend([Mishap::Away, Mishap::Lost, Mishap::Limited(1)]));
    let mut weir = bench.start(&["--log", "trace", "weir.yaml"]);
    weir.until("dead letters", || bench.lines("failed.jsonl").len() >= 2);
    until_posted(&mut weir, &slack, 4);
    for path in ["status", "state", "dlq", "dlq-groups", "streams"] {
        let (status, head, body) = ask(http, &format!("GET /api/v1/{path}"), None).unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        assert_silent(path, &format!("{head}{body}"));
    }
    let (_, _, metrics) = ask(http, "GET /metrics", None).unwrap();
    assert_silent("metrics", &metrics);
    assert_eq!(weir.terminate(), 0);
    let log = std::fs::read_to_string(bench.path("weir.log")).unwrap();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log says no more than it does anyway");
    assert_silent("the log", &log);
    assert!(search(&bench.path("weir-data")) > 2);
}

/// Searches all files below a directory; returns how many there are.
fn search(directory: &std::path::Path) -> usize {
    let mut files = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files += search(&path);
        } else if path.is_file() {
            assert_silent(&path.display().to_string(), &String::from_utf8_lossy(&std::fs::read(&path).unwrap()));
            files += 1;
        }
    }
    files
}
