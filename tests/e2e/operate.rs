//! What operators look at: metrics as Prometheus reads them, readiness, and the commands that show and check.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Bench, Running, free_port};
use crate::services::Facts;

/// Reads metrics with Prometheus' own library, which refuses what breaks the format, and prints them as JSON.
const PARSER: &str = "
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
samples = [[s.name, s.labels, s.value] for family in parse(sys.stdin.read()) for s in family.samples]
json.dump(samples, sys.stdout)
";

/// What is answered to a request over TCP: status, headers and body.
pub fn ask(port: u16, line: &str, token: Option<&str>) -> Option<(u16, String, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{bearer}\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    // A body of unknown length comes in chunks; none of these bodies looks like their sizes.
    Some((status, head.to_owned(), body.to_owned()))
}

/// A token of a role, and its line in the pipeline file.
fn token(bench: &Bench, name: &str, role: &str) -> (String, String) {
    let output = bench.run(&["token", "new", "--name", name, "--role", role]);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    let line = said.lines().find_map(|line| line.trim().strip_prefix("- ")).unwrap().to_owned();
    (String::from_utf8(output.stdout).unwrap().trim().to_owned(), line)
}

/// Metrics by name and the values of their labels.
struct Metrics(BTreeMap<(String, Vec<String>), f64>);

impl Metrics {
    fn of(text: &str) -> Metrics {
        let mut parser = Command::new(Facts::shared().text("clients", "python"))
            .args(["-c", PARSER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        parser.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = parser.wait_with_output().unwrap();
        assert!(output.status.success(), "{text}");
        let samples: Vec<(String, BTreeMap<String, String>, f64)> = serde_json::from_slice(&output.stdout).unwrap();
        let sample = |(name, labels, value): (String, BTreeMap<String, String>, f64)| {
            ((name, labels.into_values().collect()), value)
        };
        Metrics(samples.into_iter().map(sample).collect())
    }

    fn get(&self, name: &str, labels: &[&str]) -> f64 {
        let key = (name.to_owned(), labels.iter().map(|label| (*label).to_owned()).collect());
        *self.0.get(&key).unwrap_or_else(|| panic!("{key:?} in {:?}", self.0.keys()))
    }
}

fn log(lines: u32) -> String {
    let line = |n: u32| match n % 5 {
        0 => format!("Dec 10 06:55:46 gate sshd[{n}]: Invalid user guest{n} from 192.0.2.7\n"),
        _ => format!("Dec 10 06:55:46 gate sshd[{n}]: Connection closed by 192.0.2.7 [preauth]\n"),
    };
    (0..lines).map(line).collect()
}

fn pipeline(port: u16, tokens: &[&str]) -> String {
    format!(
        "version: 1
http: {{ listen: 127.0.0.1:{port}, tokens: [ {} ] }}
sources:
  auth: {{ type: file, path: auth.log }}
pipelines:
  invalid:
    from: auth
    steps:
      - plugin: syslog-parser
      - sql: SELECT host, message FROM input WHERE message LIKE '%Invalid user%'
    to: [out, found]
  again: {{ from: found, to: copy }}
sinks:
  out: {{ type: file, path: out.ndjson }}
  copy: {{ type: file, path: copy.ndjson }}
",
        tokens.join(", ")
    )
}

/// An appliance that has taken in 2,000 lines, of which 400 go on, and one that is none.
fn started(bench: &Bench) -> (Running, u16, String, String) {
    let port = free_port();
    let (viewer, viewer_line) = token(bench, "prometheus", "viewer");
    let (operator, operator_line) = token(bench, "deploy", "operator");
    bench.write("auth.log", &(log(2_000) + "\n"));
    bench.write("weir.yaml", &pipeline(port, &[&viewer_line, &operator_line]));
    let mut weir = bench.start(&["weir.yaml"]);
    weir.until("all records", || {
        let status = ask(port, "GET /api/v1/status", Some(&viewer)).map(|(_, _, body)| body).unwrap_or_default();
        let status: Value = serde_json::from_str(&status).unwrap_or_default();
        status["pipelines"][1]["records_in"] == 2_001 && status["pipelines"][0]["records_in"] == 400
    });
    (weir, port, viewer, operator)
}

#[test]
fn metrics_say_what_was_sent_to_prometheus_own_parser() {
    let bench = Bench::new();
    let (mut weir, port, viewer, _) = started(&bench);
    let (status, head, text) = ask(port, "GET /metrics", Some(&viewer)).unwrap();
    assert_eq!(status, 200);
    assert!(head.to_ascii_lowercase().contains("content-type: application/openmetrics-text"), "{head}");
    let metrics = Metrics::of(&text);
    let pipeline = |name: &str| metrics.get(&format!("weir_pipeline_{name}_total"), &["invalid"]);
    let counts = ["records_in", "records_out", "records_filtered", "records_dead", "restarts"].map(pipeline);
    assert_eq!(counts, [2_001.0, 800.0, 1_600.0, 1.0, 0.0]);
    assert!(pipeline("bytes_in") >= bench.size("auth.log") as f64 - 2_001.0, "{text}");
    assert!(pipeline("bytes_out") >= 2.0 * (bench.size("out.ndjson") as f64 - 400.0), "{text}");
    let step = |name: &str, step: &str| metrics.get(&format!("weir_step_{name}"), &["invalid", step]);
    let counts =
        |of: &str| ["in", "out", "filtered", "rejected"].map(|name| step(&format!("records_{name}_total"), of));
    assert_eq!(counts("syslog-parser"), [2_001.0, 2_000.0, 0.0, 1.0]);
    assert_eq!(counts("sql"), [2_000.0, 400.0, 1_600.0, 0.0]);
    for of in ["syslog-parser", "sql"] {
        assert!(step("call_duration_seconds_count", of) >= 2.0 && step("call_duration_seconds_sum", of) > 0.0);
        assert!(step("memory_bytes", of) >= 65_536.0);
        assert!(step("cpu_seconds_total", of) > 0.0);
        assert!(step("bytes_in_total", of) > 2_000.0 && step("bytes_out_total", of) > 400.0);
        assert_eq!((step("traps_total", of), step("timeouts_total", of)), (0.0, 0.0));
    }
    assert!(metrics.get("weir_pipeline_commit_duration_seconds_count", &["invalid"]) >= 1.0);
    assert_eq!(metrics.get("weir_stream_records", &["0", "found"]), 400.0);
    assert_eq!(metrics.get("weir_lag_records", &["0", "again", "found", ""]), 0.0);
    assert_eq!(metrics.get("weir_ready", &["pipeline/again"]), 1.0);
    assert!(metrics.get("process_resident_memory_bytes", &[]) > 1e6 && metrics.get("weir_store_bytes", &[]) > 0.0);
    weir.assert_runs();
}

#[test]
fn commands_show_a_running_appliance() {
    let bench = Bench::new();
    let (weir, port, viewer, operator) = started(&bench);
    let said = |arguments: &[&str]| {
        let output = bench.run(arguments);
        let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{arguments:?}: {text}");
        text
    };
    let top = said(&["top", "--once"]);
    for wanted in ["pipeline / step", "invalid", "  syslog-parser", "  sql", "again", "found"] {
        assert!(top.contains(wanted), "{wanted} in {top}");
    }
    let doctor = said(&["doctor", "weir.yaml"]);
    assert!(doctor.contains("and is ready") && !doctor.contains("BAD"), "{doctor}");
    assert_eq!(ask(port, "GET /livez", None).unwrap().2, "ok\n");
    assert_eq!(ask(port, "GET /readyz?verbose", None).unwrap().2, "ok\n");
    let verbose = ask(port, "GET /readyz?verbose", Some(&viewer)).unwrap();
    assert!(
        verbose.2.contains("[+]pipeline/invalid ok\n") && verbose.2.ends_with("readyz check passed\n"),
        "{}",
        verbose.2
    );
    // Who reloads is in the log; a token that the file no longer has is none.
    assert_eq!(ask(port, "POST /api/v1/reload", Some(&viewer)).unwrap().0, 403);
    let (_, new_line) = token(&bench, "deploy", "operator");
    bench.write("weir.yaml", &pipeline(port, &[&new_line]));
    let (status, _, reloaded) = ask(port, "POST /api/v1/reload", Some(&operator)).unwrap();
    assert!(status == 200 && reloaded.contains("unchanged"), "{reloaded}");
    assert!(weir.said().contains("a reload was asked for") && weir.said().contains("deploy"), "{}", weir.said());
    assert_eq!(ask(port, "GET /api/v1/status", Some(&viewer)).unwrap().0, 401);
    assert_eq!(weir.terminate(), 0);
    assert!(!bench.run(&["top", "--once"]).status.success());
}

#[test]
fn a_pipeline_file_is_drawn_and_shells_and_editors_are_told() {
    let bench = Bench::new();
    bench.write("weir.yaml", &pipeline(free_port(), &[]));
    let said = |arguments: &[&str]| {
        let output = bench.run(arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(said(&["graph", "weir.yaml"]).starts_with("flowchart LR\n"));
    assert!(said(&["graph", "weir.yaml", "--format", "dot"]).starts_with("digraph weir {"));
    assert!(said(&["graph", "weir.yaml", "--format", "svg"]).contains(">syslog-parser<"));
    assert!(said(&["completions", "bash"]).contains("_weir"));
    assert_eq!(said(&["schema"]), include_str!("../../deploy/weir.schema.json"));
}

#[test]
fn a_doctor_says_what_is_wrong_and_what_to_do() {
    let bench = Bench::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    bench.write("weir.yaml", &pipeline(port, &[]));
    bench.write("auth.log", "");
    let output = bench.run(&["doctor", "weir.yaml", "--json"]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let bad: Vec<_> = findings.iter().filter(|finding| finding["health"] == "bad").collect();
    assert_eq!(bad.len(), 1, "{findings:?}");
    assert!(bad[0]["found"].as_str().unwrap().contains(&port.to_string()), "{bad:?}");
    assert!(bad[0]["advice"].as_str().unwrap().starts_with("`ss -lnp"), "{bad:?}");
    bench.write("weir.yaml", "version: 1\nsinks: {}\n");
    let output = bench.run(&["doctor", "weir.yaml"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("BAD   configuration"), "{output:?}");
}
