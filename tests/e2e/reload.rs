//! Plugins, steps and pipelines that change while records come.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Bench, Running, free_port, tell};

/// `WEIR_SWAPS=N` sets how often.
const SWAPS: usize = 50;
/// Records a second at least.
const RATE: u64 = 5_000;
const MARK: &[u8] = b"weir-version:";

pub fn plugin(name: &str) -> Vec<u8> {
    let directory =
        PathBuf::from(std::env::var_os("WEIR_TEST_PLUGINS").expect("WEIR_TEST_PLUGINS; see tests/e2e/main.rs"));
    std::fs::read(directory.join(format!("{name}.wasm"))).unwrap()
}

/// A version of the plugin `versioned` that does something, made without a compiler.
pub fn version(deed: &str, number: usize) -> Vec<u8> {
    let mut wasm = plugin("versioned");
    let at = wasm.windows(MARK.len()).position(|bytes| bytes == MARK).expect("the mark is in its data") + MARK.len();
    let text = format!("{deed} {number:08}");
    wasm[at..at + text.len()].copy_from_slice(text.as_bytes());
    wasm
}

/// Puts a plugin into a directory as `cp` and `mv` do: it is there whole, or not.
pub fn drop_in(bench: &Bench, name: &str, wasm: &[u8]) {
    let path = bench.path(&format!("plugins/{name}.wasm"));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let new = path.with_extension("new");
    std::fs::write(&new, wasm).unwrap();
    std::fs::rename(&new, &path).unwrap();
}

/// What the control socket answers.
fn ask(data: &Path, method: &str, path: &str) -> Option<Value> {
    let mut stream = UnixStream::connect(data.join("weir.sock")).ok()?;
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: weir\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

fn versions(bench: &Bench, pipeline: &str) -> Option<Value> {
    let status = ask(&bench.path("weir-data"), "GET", "/api/v1/status")?;
    status["versions"].as_array()?.iter().find(|of| of["pipeline"] == pipeline).cloned()
}

fn until(bench: &Bench, weir: &mut Running, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    weir.until(what, || {
        last = versions(bench, "pass").unwrap_or_default();
        is_so(&last)
    });
    last
}

const SYSLOG: &str = "
version: 1
plugins: [plugins]
sources: { in: { type: syslog, tcp: '127.0.0.1:PORT' } }
pipelines:
  pass:
    from: in
    steps: [ { plugin: versioned, limits: { batch_time_max: 200ms } } ]
    to: out
  beside: { from: in, steps: [ { plugin: passthrough } ], to: other }
sinks:
  out: { type: file, path: out.txt }
  other: { type: file, path: other.txt }
";

/// Sends numbered lines at a rate until told to end; says how many.
fn send(port: u16, is_over: Arc<AtomicBool>) -> u64 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (begun, mut sent) = (Instant::now(), 0);
    while !is_over.load(Ordering::Relaxed) {
        let due = begun.elapsed().as_millis() as u64 * (RATE + RATE / 10) / 1_000;
        let lines: String = (sent..due).map(|n| format!("<13>Dec 10 06:55:46 host app: n{n}\n")).collect();
        stream.write_all(lines.as_bytes()).unwrap();
        sent = due.max(sent);
        std::thread::sleep(Duration::from_millis(10));
    }
    sent
}

/// Under full load versions take each other's places; a fifth of them trap, spin or refuse records. Nothing is lost or doubled,
/// and each bad one goes by itself.
#[test]
fn plugins_are_swapped_under_load_and_bad_ones_go_by_themselves() {
    let swaps = std::env::var("WEIR_SWAPS").map_or(SWAPS, |swaps| swaps.parse().unwrap());
    let (bench, port) = (Bench::new(), free_port());
    drop_in(&bench, "versioned", &version("good", 0));
    drop_in(&bench, "passthrough", &plugin("passthrough"));
    bench.write("weir.yaml", &SYSLOG.replace("PORT", &port.to_string()));
    let mut weir = bench.start(&["weir.yaml"]);
    until(&bench, &mut weir, "the start", |of| of["version"] == 1);
    let is_over = Arc::new(AtomicBool::new(false));
    let sender = std::thread::spawn({
        let is_over = is_over.clone();
        move || send(port, is_over)
    });
    let (mut failed, begun) = (0, Instant::now());
    for number in 1..=swaps {
        let deed = match number % 15 {
            5 => "trap",
            10 => "spin",
            0 => "deny",
            _ => "good",
        };
        failed += usize::from(deed != "good");
        drop_in(&bench, "versioned", &version(deed, number));
        let is_settled =
            |of: &Value| of["installed"] == number && of["failed"] == failed && of["is_on_probation"] == false;
        until(&bench, &mut weir, &format!("swap {number}, {deed}"), is_settled);
    }
    let seconds = begun.elapsed().as_secs_f64();
    is_over.store(true, Ordering::Relaxed);
    let sent = sender.join().unwrap();
    let rest = ["out.txt", "other.txt"];
    weir.until("the rest", || rest.iter().all(|file| bench.lines(file).len() as u64 >= sent));
    let last = versions(&bench, "pass").unwrap();
    assert_eq!(versions(&bench, "beside").unwrap()["version"], 1);
    let status = ask(&bench.path("weir-data"), "GET", "/api/v1/status").unwrap();
    assert_eq!(weir.terminate(), 0);
    let mut seen = BTreeMap::new();
    for line in bench.lines("out.txt") {
        let (text, number) = line.rsplit_once(' ').unwrap();
        let n: u64 = text.rsplit_once(" n").unwrap().1.parse().unwrap();
        assert_eq!(seen.insert(n, number.to_owned()), None, "record {n} came twice");
    }
    // A version that rejects records is found out by them: they are dead letters, and nothing else is.
    let dead = status["pipelines"].as_array().unwrap().iter().find(|of| of["name"] == "pass").unwrap()["dead"]
        .as_u64()
        .unwrap();
    assert_eq!(seen.len() as u64 + dead, sent, "{dead} dead letters");
    assert_eq!(bench.lines("other.txt").len() as u64, sent);
    let versions_seen: std::collections::BTreeSet<_> = seen.values().collect();
    tell(format_args!(
        "{swaps} swaps in {seconds:.0} s, {failed} of them bad and gone by themselves; {sent} records ({:.0} a second), lost 0, \
         doubled 0, {dead} dead letters; {} versions wrote; pause p50 {} us, p99 {} us",
        sent as f64 / seconds,
        versions_seen.len(),
        last["pause_p50_us"],
        last["pause_p99_us"]
    ));
    assert!(sent as f64 / seconds > RATE as f64);
}

const FILES: &str = "
version: 1
plugins: [plugins]
sources: { in: { type: file, path: in.txt } }
pipelines:
  pass: { from: in, steps: [ { plugin: versioned } ], to: out }
sinks: { out: { type: file, path: out.txt } }
";

/// Asks for a reload: its exit code, and what it said.
pub fn reload(bench: &Bench) -> (i32, String) {
    let output = bench.run(&["reload"]);
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), text)
}

#[test]
fn what_changes_in_the_pipeline_file_is_gone_over_to_and_nothing_else() {
    let bench = Bench::new();
    drop_in(&bench, "versioned", &version("good", 1));
    drop_in(&bench, "passthrough", &plugin("passthrough"));
    bench.write("in.txt", "a\n");
    bench.write("weir.yaml", FILES);
    let mut weir = bench.start(&["weir.yaml"]);
    weir.until("a line", || bench.lines("out.txt") == ["a 00000001"]);
    assert_eq!(reload(&bench), (0, "pass  unchanged\n".into()));

    let second = FILES
        .replace("pass:", "more: { from: in, to: copy }\n  pass:")
        .replace("sinks: {", "sinks: { copy: { type: file, path: copy.txt },");
    bench.write("weir.yaml", &second);
    assert_eq!(reload(&bench), (0, "more  started: it is new\npass  unchanged\n".into()));
    weir.until("a copy", || bench.lines("copy.txt") == ["a"]);

    bench.write(
        "weir.yaml",
        &second.replace("path: out.txt", "path: out-2.txt").replace("plugin: versioned", "plugin: passthrough"),
    );
    let (code, said) = reload(&bench);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("more  unchanged\n") && said.contains("pass  restarted: "), "{said}");
    append(&bench, "b\n");
    weir.until("a line elsewhere", || bench.lines("out-2.txt") == ["b"]);
    weir.until("its copy", || bench.lines("copy.txt") == ["a", "b"]);
    assert_eq!(bench.lines("out.txt"), ["a 00000001"]);

    bench.write("weir.yaml", "version: 1\npipelines: { pass: { from: nowhere } }");
    let (code, said) = reload(&bench);
    assert_eq!(code, 78, "{said}");
    assert!(said.starts_with("nothing was reloaded: ") && said.contains("nowhere"), "{said}");
    bench.write("weir.yaml", FILES);
    let (code, said) = reload(&bench);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("more  stopped: "), "{said}");
    append(&bench, "c\n");
    weir.until("the first file again", || bench.lines("out.txt") == ["a 00000001", "c 00000001"]);
    assert_eq!(weir.terminate(), 0);
    assert_eq!(bench.lines("copy.txt"), ["a", "b"]);
}

#[test]
fn what_cannot_be_a_plugin_is_refused_and_the_old_one_runs_on() {
    let bench = Bench::new();
    drop_in(&bench, "versioned", &version("good", 1));
    bench.write("in.txt", "");
    bench.write("weir.yaml", FILES);
    let mut weir = bench.start(&["weir.yaml"]);
    until(&bench, &mut weir, "the start", |of| of["version"] == 1);
    let good = version("good", 2);
    for (bad, why) in
        [(&b"garbage"[..], "it is not WebAssembly"), (&good[..good.len() / 2], "it is not a valid component")]
    {
        drop_in(&bench, "versioned", bad);
        weir.until("a word about it", || std::fs::read_to_string(bench.path("weir.log")).unwrap().contains(why));
        let (code, said) = reload(&bench);
        assert_eq!(code, 78, "{said}");
        assert!(said.contains("pass  refused: ") && said.contains(why), "{said}");
    }
    append(&bench, "a\n");
    weir.until("the old one", || bench.lines("out.txt") == ["a 00000001"]);
    drop_in(&bench, "versioned", &good);
    until(&bench, &mut weir, "the new one", |of| of["installed"] == 1);
    append(&bench, "b\n");
    weir.until("the new one at work", || bench.lines("out.txt").last().is_some_and(|line| line == "b 00000002"));
    let output = bench.run(&["rollback", "versioned"]);
    assert!(output.status.success(), "{output:?}");
    append(&bench, "c\n");
    weir.until("the old one again", || bench.lines("out.txt").last().is_some_and(|line| line == "c 00000001"));
    assert!(!bench.run(&["rollback", "nothing"]).status.success());
    // What was rolled back by hand is not taken up again by itself, and is where somebody asks for it.
    let (code, said) = reload(&bench);
    assert_eq!((code, said.as_str()), (0, "pass  swapped: its steps run another version\n"));
    assert_eq!(weir.terminate(), 0);
}

pub fn append(bench: &Bench, text: &str) {
    let mut file = std::fs::File::options().append(true).open(bench.path("in.txt")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
