//! Secrets that are told nowhere: each is a text that nothing else has, everything that Weir says and keeps is searched for it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Bench, PATIENCE, free_port};
use crate::operate::ask;

/// In a file, a password of RabbitMQ.
const BY_FILE: &str = "canary-by-file-7c1f03b9";
/// In the environment, a password of Kafka.
const BY_ENV: &str = "canary-by-env-a94d6e20";
/// A token of the HTTP API.
const TOKEN: &str = "canary-token-55e0c7d1-0123456789abcdef";
/// In a file, a password of endpoints.
const OF_ENDPOINTS: &str = "canary-of-endpoints-b27f1c58";
/// Written into the pipeline file, where it has no business.
const MISPLACED: &str = "canary-misplaced-e6b1";
const CANARIES: [&str; 5] = [BY_FILE, BY_ENV, TOKEN, OF_ENDPOINTS, MISPLACED];

/// Every route of the published description.
const DESCRIPTION: &str = include_str!("../../deploy/weir.openapi.json");

/// A broker that asks for the password, and then refuses it or just goes away. Counts how often it was told it.
struct Broker {
    port: u16,
    told: Arc<AtomicUsize>,
}

impl Broker {
    fn start(refuses: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, told) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let counted = told.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if converse(stream.unwrap(), refuses).is_some_and(|said| said.contains(BY_FILE)) {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Broker { port, told }
    }

    /// Waits until it was told the password so often: it counts after the client has gone.
    fn until_told(&self, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.told.load(Ordering::Relaxed) < times {
            let told = self.told.load(Ordering::Relaxed);
            assert!(Instant::now() < deadline, "the broker was told the password {told} times, not {times}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Speaks AMQP as far as the login; returns what the client said.
fn converse(mut stream: TcpStream, refuses: bool) -> Option<String> {
    let mut header = [0; 8];
    stream.read_exact(&mut header).ok()?;
    // connection.start: version 0.9, no properties, PLAIN, en_US.
    let start = [&[0, 10, 0, 10, 0, 9, 0, 0, 0, 0, 0, 0, 0, 5][..], b"PLAIN", &[0, 0, 0, 5], b"en_US"].concat();
    send(&mut stream, &start)?;
    let mut head = [0; 7];
    stream.read_exact(&mut head).ok()?;
    let mut body = vec![0; u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize + 1];
    stream.read_exact(&mut body).ok()?;
    if refuses {
        let text = b"ACCESS_REFUSED - Login was refused";
        let close = [&[0, 10, 0, 50, 1, 147, text.len() as u8][..], text, &[0, 0, 0, 0]].concat();
        send(&mut stream, &close)?;
        // It may answer; all that counts is said.
        let _ = stream.read(&mut [0; 64]);
    }
    Some(String::from_utf8_lossy(&body).into_owned())
}

/// Sends a method on channel 0.
fn send(stream: &mut TcpStream, method: &[u8]) -> Option<()> {
    let frame = [&[1, 0, 0][..], &(method.len() as u32).to_be_bytes(), method, &[0xCE]].concat();
    stream.write_all(&frame).ok()
}

fn pipeline(broker: u16, http: u16) -> String {
    format!(
        "version: 1
secrets:
  amqp: {{ file: secrets/amqp }}
  kafka: {{ env: WEIR_CANARY }}
  token: {{ file: secrets/token }}
  endpoints: {{ file: secrets/endpoints }}
endpoints:
  staff:
    type: ldap
    url: 'ldap://127.0.0.1:{broker}'
    plaintext: true
    bind_dn: cn=weir
    password: {{ secret: endpoints }}
    base: dc=example
    filter: (uid={{0}})
    attributes: cn
    timeout: 1s
  lake: {{ type: spark, url: 'spark://weir@127.0.0.1:{broker}/default', password: {{ secret: endpoints }}, timeout: 1s }}
http: {{ listen: 127.0.0.1:{http}, tokens: [ {{ name: me, role: admin, secret: token }} ] }}
sources:
  queue: {{ type: rabbitmq, url: 'amqp://weir@127.0.0.1:{broker}/%2f', password: {{ secret: amqp }}, queue: q }}
  lines: {{ type: file, path: lines.txt }}
pipelines:
  first: {{ from: queue, to: out }}
  second: {{ from: lines, steps: [ syslog-parser ], to: [ out, topic ] }}
  third:
    from: lines
    steps:
      - syslog-parser
      - plugin: enricher
        grants: {{ lookup: staff }}
        config: {{ lookups: [ {{ endpoint: staff, key: {{ field: host }}, into: who }} ] }}
    to: out
  fourth: {{ from: lines, steps: [ syslog-parser ], to: table }}
sinks:
  out: {{ type: file, path: out.txt }}
  table: {{ plugin: impala-sink, grants: {{ database: lake }}, config: {{ table: t, mode: insert }} }}
  topic:
    type: kafka
    brokers: 127.0.0.1:{http}
    topic: t
    delivery: at_least_once
    sasl: {{ mechanism: plain, user: weir, password: {{ secret: kafka }} }}
"
    )
}

fn bench() -> Bench {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("secrets")).unwrap();
    bench.write("secrets/amqp", &format!("{BY_FILE}\n"));
    bench.write("secrets/token", &format!("{TOKEN}\n"));
    bench.write("secrets/endpoints", &format!("{OF_ENDPOINTS}\n"));
    bench.write("lines.txt", "Dec 10 06:55:46 gate sshd[1]: hello\nno syslog\n");
    bench
}

fn assert_silent(what: &str, said: &[u8]) {
    for canary in CANARIES {
        let told = said.windows(canary.len()).any(|bytes| bytes == canary.as_bytes());
        assert!(!told, "{what} tells {canary}: {}", String::from_utf8_lossy(said));
    }
}

/// Runs `weir` to its end, and searches what it says.
fn silent(bench: &Bench, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = bench.weir(arguments);
    let output = command.env("WEIR_CANARY", BY_ENV).env("RUST_BACKTRACE", "full").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert_silent(&format!("{arguments:?}"), &said);
    // A report has frames, and breaks lines.
    let text = String::from_utf8_lossy(&said).replace('│', " ");
    (output.status.code(), text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Searches all files below a directory; returns how many there are.
fn search(directory: &Path) -> usize {
    let mut files = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files += search(&path);
        } else if path.is_file() {
            assert_silent(&path.display().to_string(), &std::fs::read(&path).unwrap());
            files += 1;
        }
    }
    files
}

#[test]
fn a_refused_login_and_a_wrong_file_tell_no_secret() {
    let (bench, broker) = (bench(), Broker::start(true));
    bench.write("weir.yaml", &pipeline(broker.port, free_port()));
    for arguments in [
        ["check", "--connect", "weir.yaml"].as_slice(),
        &["doctor", "weir.yaml"],
        &["check", "--connect", "--json", "weir.yaml"],
    ] {
        let (code, said) = silent(&bench, arguments);
        assert!(code == Some(69) && said.contains("refused the login of `weir`"), "{arguments:?}: {said}");
    }
    let (code, said) = silent(&bench, &["run", "--log", "trace", "weir.yaml"]);
    assert!(code == Some(69) && said.contains("refused the login of `weir`"), "{said}");
    broker.until_told(4);
    let good = pipeline(broker.port, free_port());
    for (right, wrong) in [
        ("{ file: secrets/amqp }", MISPLACED.to_owned()),
        ("password: { secret: amqp }", format!("password: {MISPLACED}")),
        ("weir@127", format!("weir:{MISPLACED}@127")),
        ("secret: token", format!("hash: {MISPLACED}")),
        ("{ env: WEIR_CANARY }", format!("{{ env: WEIR_NO_SUCH }}\n  other: {MISPLACED}")),
    ] {
        let file = good.replace(right, &wrong);
        assert_ne!(file, good, "{right}");
        bench.write("weir.yaml", &file);
        for arguments in [["check", "weir.yaml"].as_slice(), &["check", "--json", "weir.yaml"], &["run", "weir.yaml"]] {
            let (code, said) = silent(&bench, arguments);
            assert_eq!(code, Some(78), "{wrong}: {said}");
        }
    }
    // A token that can be guessed is refused, without being shown.
    bench.write("weir.yaml", &good);
    bench.write("secrets/token", &TOKEN[..21]);
    let output = bench.weir(&["run", "weir.yaml"]).env("WEIR_CANARY", BY_ENV).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("its secret has 21 characters") && !said.contains(&TOKEN[..21]), "{said}");
}

#[test]
fn a_running_appliance_in_trouble_tells_no_secret() {
    let (bench, broker, port) = (bench(), Broker::start(false), free_port());
    bench.write("weir.yaml", &pipeline(broker.port, port));
    let log = std::fs::File::create(bench.path("trace.log")).unwrap();
    let mut command = bench.weir(&["run", "--log", "trace", "weir.yaml"]);
    command.env("WEIR_CANARY", BY_ENV).env("RUST_BACKTRACE", "full");
    let mut weir = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let deadline = std::time::Instant::now() + crate::harness::PATIENCE;
    while broker.told.load(Ordering::Relaxed) < 3 || ask(port, "GET /livez", None).is_none() {
        assert!(weir.try_wait().unwrap().is_none(), "{}", bench.end("trace.log"));
        assert!(std::time::Instant::now() < deadline, "{}", bench.end("trace.log"));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let description: serde_json::Value = serde_json::from_str(DESCRIPTION).unwrap();
    let mut asked = 0;
    for (path, methods) in description["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let parts = path.split('/').map(|part| if part.starts_with('{') { "queue" } else { part });
            let line =
                format!("{} {}?limit=0&verbose", method.to_ascii_uppercase(), parts.collect::<Vec<_>>().join("/"));
            for token in [None, Some("another"), Some(TOKEN)] {
                let (status, head, body) = ask(port, &line, token).unwrap_or_else(|| panic!("{line}"));
                assert_silent(&line, format!("{head}{body}").as_bytes());
                assert!(token != Some(TOKEN) || !matches!(status, 401 | 403), "{line}: {status}");
                asked += 1;
            }
        }
    }
    assert!(asked >= 36, "{asked}");
    let (status, _, ready) = ask(port, "GET /readyz?verbose", Some(TOKEN)).unwrap();
    assert_eq!(status, 503);
    assert!(ready.contains("[-]link/rabbitmq/queue failed: is not connected"), "{ready}");
    let (status, _, ready) = ask(port, "GET /readyz?verbose", None).unwrap();
    assert_eq!((status, ready.as_str()), (503, "not ready\n"));
    silent(&bench, &["top", "--once"]);
    silent(&bench, &["doctor", "weir.yaml"]);
    silent(&bench, &["reload"]);
    weir.kill().unwrap();
    weir.wait().unwrap();
    let said = std::fs::read(bench.path("trace.log")).unwrap();
    let text = String::from_utf8_lossy(&said);
    assert!(text.contains("DEBUG"), "the log says no more than it does anyway");
    for endpoint in ["staff", "lake"] {
        assert!(text.contains(&format!("endpoint={endpoint}")), "nobody was asked for {endpoint}: {text}");
    }
    assert_silent("the log", &said);
    assert!(search(&bench.path("weir-data")) > 2);
}
