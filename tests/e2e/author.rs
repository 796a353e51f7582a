//! A plugin as its author makes it: begun, built, tested, run on live records, changed while it runs; and a pipeline's tests.
//!
//! The README's section "Write a plugin" is the transcript of what happens here.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Once;
use std::time::Instant;

use crate::harness::{Bench, tell};

/// As a user runs it: what `cargo test` sets for its own sake is not there. The user's cache is the tests' own, and kept.
fn as_user(mut command: Command) -> Command {
    for name in ["LD_LIBRARY_PATH", "CARGO_MANIFEST_DIR", "CARGO_TARGET_DIR", "RUSTFLAGS"] {
        command.env_remove(name);
    }
    command.env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("author-cache"));
    command
}

/// Has the library, and what the SDK depends on, built. They are once on a machine, which takes minutes, and no test measures that.
fn warm() {
    static WARM: Once = Once::new();
    WARM.call_once(|| {
        let bench = Bench::new();
        assert_eq!(weir(&bench, &["plugin", "new", "warm"]).0, 0);
        let (code, said) = weir(&bench, &["plugin", "build", "warm"]);
        assert_eq!(code, 0, "{said}");
    });
}

fn weir(bench: &Bench, arguments: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } = as_user(bench.weir(arguments)).output().unwrap();
    let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    (status.code().expect("weir ended by a signal"), text)
}

fn change(bench: &Bench, file: &str, from: &str, to: &str) {
    let text = std::fs::read_to_string(bench.path(file)).unwrap();
    assert!(text.contains(from), "{file} has no {from:?}");
    bench.write(file, &text.replace(from, to));
}

#[test]
fn a_plugin_of_each_kind_is_begun_built_tested_and_run() {
    warm();
    let bench = Bench::new();
    for (kind, name) in [("transform", "words"), ("stateful", "counts"), ("sink", "notes")] {
        let begun = Instant::now();
        let (code, said) = weir(&bench, &["plugin", "new", name, "--kind", kind]);
        assert_eq!((code, said.contains(&format!("{name}/ is a plugin"))), (0, true), "{said}");
        let (code, said) = weir(&bench, &["plugin", "test", name]);
        assert!(code == 0 && said.contains("ok     first") && said.contains("1 case, 0 failed"), "{kind}: {said}");
        let demo = format!("{name}/demo.yaml");
        let mut running = bench.start(&[&demo]);
        let log = bench.path("weir.log");
        let sign = match kind {
            "transform" => "\"word\":\"",
            "stateful" => "\"count\":",
            _ => "demo auth/1:",
        };
        running.until("its first record", || std::fs::read_to_string(&log).unwrap_or_default().contains(sign));
        tell(format_args!("{kind}: from `weir plugin new` to live records in {:.1} s", begun.elapsed().as_secs_f64()));
        assert_eq!(running.terminate(), 0);
        std::fs::remove_file(log).unwrap();
    }
    let (code, said) = weir(&bench, &["plugin", "build", "words", "--to", "plugins"]);
    assert!(code == 0 && said.contains("plugins/words.wasm"), "{said}");
    assert!(bench.size("plugins/words.wasm") > 10_000);
    let (code, said) = weir(&bench, &["plugin", "bench", "words", "--seconds", "1", "--demo"]);
    assert!(code == 0 && said.contains("the plugin") && said.contains("does nothing"), "{said}");
    tell(format_args!("{said}"));
}

#[test]
fn what_is_wrong_with_a_plugin_is_said() {
    let bench = Bench::new();
    assert_eq!(weir(&bench, &["plugin", "new", "wrong"]).0, 0);
    let (code, said) = weir(&bench, &["plugin", "new", "wrong"]);
    assert!(code == 64 && said.contains("exists already"), "{said}");
    change(&bench, "wrong/src/lib.rs", "\"word\": word", "\"word\": word.len()");
    let (code, said) = weir(&bench, &["plugin", "test", "wrong"]);
    assert!(code == 1 && said.contains("FAILED first") && said.contains("1 case, 1 failed"), "{said}");
    assert!(said.contains("  -    1  {\"offset\":0") && said.contains("  +    1  {\"offset\":0"), "{said}");
    assert_eq!(weir(&bench, &["plugin", "test", "wrong", "--update"]).0, 0);
    let (code, said) = weir(&bench, &["plugin", "test", "wrong/tests/first"]);
    assert!(code == 0 && said.contains("ok     first"), "{said}");
    change(&bench, "wrong/src/lib.rs", "export!(Plugin);", "");
    let (code, said) = weir(&bench, &["plugin", "build", "wrong"]);
    assert!(code == 1 && said.contains("the crate exports no plugin: write `export!(TYPE)`"), "{said}");
    change(&bench, "wrong/src/lib.rs", "record.text()?", "record.txt()?");
    let (code, said) = weir(&bench, &["plugin", "build", "wrong"]);
    assert!(code == 1 && said.contains("no method named `txt` found"), "{said}");
}

#[test]
fn a_change_is_shown_and_taken_up_and_what_does_not_build_is_not() {
    warm();
    let bench = Bench::new();
    assert_eq!(weir(&bench, &["plugin", "new", "live"]).0, 0);
    let log = std::fs::File::create(bench.path("weir.log")).unwrap();
    let mut command = as_user(bench.weir(&["dev", "live/demo.yaml"]));
    let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let mut running = crate::harness::Running::of(child, bench.path("weir.log"));
    let said = |text: &str| std::fs::read_to_string(bench.path("weir.log")).unwrap_or_default().contains(text);
    running.until("its first record", || said("\"word\":\""));
    change(&bench, "live/src/lib.rs", "\"word\": word", "\"found\": word");
    running.until("what changes", || said("become something else"));
    running.until("the new version", || said("\n{\"found\":\""));
    change(&bench, "live/src/lib.rs", "record.text()?", "record.txt()?");
    running.until("the compiler", || said("no method named `txt` found") && said("what ran before runs on"));
    assert_eq!(running.terminate(), 0);
}

const PIPELINE: &str = "
version: 1
sources: { auth: { type: syslog, udp: '127.0.0.1:5514' } }
pipelines:
  invalid:
    from: auth
    steps:
      - syslog-parser
      - sql: SELECT host, message FROM input WHERE message LIKE '%Invalid user%'
    to: alarms
sinks: { alarms: { type: kafka, brokers: '127.0.0.1:1', topic: alarms } }
tests:
  - name: guesses are found
    given:
      - 'Dec 10 06:55:46 gate sshd[1]: Invalid user guest from 192.0.2.7'
      - 'Dec 10 06:55:47 gate sshd[1]: Connection closed by 192.0.2.7'
    expect:
      - value: { message: Invalid user guest from 192.0.2.7, host: gate }
  - name: what is no syslog is kept
    given: { auth: [ 'Dec 10 06:55:46 gate sshd[1]: Invalid user a', 'nonsense' ] }
    expect: { alarms: [ '{\"host\":\"gate\",\"message\":\"Invalid user a\"}' ], dead-letters: [ nonsense ] }
";

#[test]
fn the_tests_of_a_pipeline_file_run_without_its_brokers() {
    let bench = Bench::new();
    bench.write("weir.yaml", PIPELINE);
    let (code, said) = weir(&bench, &["test", "weir.yaml", "--junit", "results.xml"]);
    assert!(code == 0 && said.contains("2 tests, 0 failed"), "{said}");
    bench.write("weir.yaml", &PIPELINE.replace("host: gate }", "host: gates }"));
    let (code, said) = weir(&bench, &["test", "weir.yaml", "--junit", "results.xml"]);
    assert!(code == 1 && said.contains("FAILED invalid: guesses are found"), "{said}");
    assert!(said.contains("  -    1  {\"value\":{\"host\":\"gates\"") && said.contains("2 tests, 1 failed"), "{said}");
    let xml = std::fs::read_to_string(bench.path("results.xml")).unwrap();
    assert!(xml.contains("tests=\"2\" failures=\"1\"") && xml.contains("name=\"guesses are found\""), "{xml}");
    bench.write("weir.yaml", &PIPELINE.replace("alarms: [", "alarm: ["));
    let (code, said) = weir(&bench, &["test", "weir.yaml"]);
    assert!(code == 78 && said.contains("did you mean `alarms`?"), "{said}");
}
