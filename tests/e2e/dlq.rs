//! Dead letters: looked at, replayed once their plugin is mended while the appliance is killed, and dropped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Bench, PATIENCE, Running, tell};

/// `WEIR_DLQ_KILLS=N` sets how often.
const KILLS: u64 = 8;
const LINES: u64 = 24_000;

fn plugin(name: &str) -> Vec<u8> {
    let directory =
        PathBuf::from(std::env::var_os("WEIR_TEST_PLUGINS").expect("WEIR_TEST_PLUGINS; see tests/e2e/main.rs"));
    std::fs::read(directory.join(format!("{name}.wasm"))).unwrap()
}

/// Puts a plugin into the directory under a name, as `mv` does.
fn drop_in(bench: &Bench, name: &str, wasm: &[u8]) {
    let path = bench.path(&format!("plugins/{name}.wasm"));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let new = path.with_extension("new");
    std::fs::write(&new, wasm).unwrap();
    std::fs::rename(&new, &path).unwrap();
}

/// What `weir dlq` prints, and its exit code.
fn dlq(bench: &Bench, arguments: &[&str]) -> (i32, String, String) {
    let output = bench.run(&[&["dlq"], arguments].concat());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

fn open_letters(bench: &Bench) -> Vec<Value> {
    let (code, text, said) = dlq(bench, &["ls", "--json"]);
    assert_eq!(code, 0, "{said}");
    objects(&text)
}

const PIPELINES: &str = "
version: 1
plugins: [plugins]
sources: { in: { type: file, path: in.txt } }
pipelines:
  spread: { from: in, to: lines }
  check:
    from: lines
    steps: [ { plugin: passthrough }, { plugin: touchy } ]
    to: [ out, copy ]
  keep: { from: copy, to: kept }
streams: { lines: { partitions: 3 } }
sinks:
  out: { type: file, path: out.txt }
  kept: { type: file, path: kept.txt }
";

fn started(bench: &Bench) -> Running {
    drop_in(bench, "touchy", &plugin("touchy"));
    drop_in(bench, "passthrough", &plugin("passthrough"));
    bench.write("weir.yaml", PIPELINES);
    let mut weir = bench.start(&["weir.yaml"]);
    // Who asks before it runs would open its store, and have it find that in use.
    weir.until("the start", || bench.run(&["reload"]).status.success());
    weir
}

fn counts(bench: &Bench, file: &str) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    bench.lines(file).into_iter().for_each(|line| *counts.entry(line).or_default() += 1);
    counts
}

/// Waits until a version of the plugins runs that was not there at the start.
fn until_mended(bench: &Bench, weir: &mut Running) {
    drop_in(bench, "touchy", &plugin("passthrough"));
    weir.until("the mended plugin", || {
        let output = bench.run(&["reload", "--json"]);
        let reloaded: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let pipelines = reloaded["pipelines"].as_array().cloned().unwrap_or_default();
        pipelines.iter().any(|of| of["name"] == "check" && of["change"] == "unchanged")
    });
}

#[test]
fn what_a_plugin_refused_goes_through_once_when_it_is_mended_though_weir_is_killed_meanwhile() {
    let bench = Bench::new();
    let line = |n: u64| if n.is_multiple_of(2) { format!("{n} reject-me") } else { format!("{n}") };
    bench.write("in.txt", &(0..LINES).map(|n| line(n) + "\n").collect::<String>());
    let mut weir = started(&bench);
    weir.until("what is taken", || bench.lines("kept.txt").len() as u64 == LINES / 2);

    let (code, text, said) = dlq(&bench, &["ls", "--group", "--pipeline", "check", "--json"]);
    assert_eq!(code, 0, "{said}");
    let groups = objects(&text);
    assert_eq!((groups.len(), groups[0]["count"].as_u64()), (1, Some(LINES / 2)), "{text}");
    assert_eq!((&groups[0]["step"], &groups[0]["plugin"]), (&"touchy".into(), &"touchy".into()));
    let id = groups[0]["example"].as_str().unwrap().to_owned();
    let (code, text, said) = dlq(&bench, &["show", &id, "--json"]);
    assert_eq!(code, 0, "{said}");
    let shown = &objects(&text)[0];
    let hash = blake3::hash(&plugin("touchy")).to_hex().to_string();
    assert_eq!(shown["plugin_hash"], hash.as_str());
    assert_eq!((&shown["input"], &shown["topic"], &shown["stage"]), (&"lines".into(), &"lines".into(), &"step".into()));
    assert!(shown["record"]["value"].as_str().unwrap().ends_with("reject-me"), "{shown}");
    assert!(shown["record"]["headers"].get("weir-reason").is_none(), "the record is as it came: {shown}");
    let (_, text, _) = dlq(&bench, &["show", &id]);
    assert!(text.contains("reason       the record asked to be rejected\n"), "{text}");

    let (code, text, said) = dlq(&bench, &["replay", &id]);
    assert_eq!((code, &*text), (0, "replayed 0, refused again 1, waiting 0, not possible 0\n"), "{said}");
    let letters = open_letters(&bench);
    assert_eq!(letters.len() as u64, LINES / 2, "it is one letter, not two");
    assert_eq!(letters.iter().filter(|letter| letter["replays"] == 1).count(), 1);
    assert_eq!(dlq(&bench, &["show", &id]).0, 64, "another letter has taken its place");

    until_mended(&bench, &mut weir);
    let kills = std::env::var("WEIR_DLQ_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let mut left = Vec::new();
    while (left.len() as u64) < kills && left.last() != Some(&0) {
        // Each later in a replay than the one before.
        let wanted = bench.size("out.txt") + 1 + left.len() as u64 * 5_000;
        let mut replay = bench.weir(&["dlq", "replay", "--all"]);
        let mut replay = replay.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let until = Instant::now() + PATIENCE;
        while bench.size("out.txt") < wanted && replay.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "nothing is replayed: {}", weir.said());
            std::thread::sleep(Duration::from_millis(1));
        }
        weir.kill();
        replay.wait().unwrap();
        left.push(open_letters(&bench).len());
        weir = bench.start(&["weir.yaml"]);
        weir.until("the start", || bench.run(&["reload"]).status.success());
    }
    weir.until("the rest", || {
        dlq(&bench, &["replay", "--all"]);
        open_letters(&bench).is_empty()
    });
    weir.until("the copies", || bench.lines("kept.txt").len() as u64 >= LINES);
    assert_eq!(weir.terminate(), 0);
    for file in ["out.txt", "kept.txt"] {
        let counts = counts(&bench, file);
        let wrong: Vec<_> = (0..LINES).map(line).filter(|line| counts.get(line) != Some(&1)).take(5).collect();
        assert!(wrong.is_empty(), "{file}: {wrong:?} did not come once");
        assert_eq!(counts.len() as u64, LINES);
    }
    tell(format_args!("{} kills in the middle of replays of {} letters; left by each {left:?}", left.len(), LINES / 2));
    assert!(left.iter().any(|left| *left > 0 && *left < LINES as usize / 2), "no kill met a replay: {left:?}");
}

#[test]
fn dead_letters_are_listed_exported_and_dropped_with_and_without_a_running_appliance() {
    let bench = Bench::new();
    bench.write("in.txt", "1\n2 reject-me\n3 trap-me\n4 reject-me\n");
    let mut weir = started(&bench);
    weir.until("the letters", || dlq(&bench, &["ls"]).1.lines().count() == 4);
    let (_, text, _) = dlq(&bench, &["ls"]);
    assert!(text.starts_with("id ") && text.contains("check/touchy"), "{text}");
    let groups = objects(&dlq(&bench, &["ls", "--group", "--json"]).1);
    assert_eq!(groups.len(), 2, "{groups:?}");
    let (code, _, said) = dlq(&bench, &["replay", "0-99"]);
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("there is no dead letter 0-99"), "{said}");
    let (code, _, said) = dlq(&bench, &["show", "seven"]);
    assert!(code == 64 && said.contains("PARTITION-OFFSET"), "{said}");
    let exported = dlq(&bench, &["export"]).1;
    let tapped = bench.run(&["tap", "dead-letters", "--from", "earliest", "--limit", "3", "--json"]);
    assert_eq!(exported, String::from_utf8(tapped.stdout).unwrap());

    let rejected = groups.iter().find(|group| group["count"] == 2).unwrap()["group"].as_str().unwrap();
    assert_eq!(dlq(&bench, &["drop", "--group", rejected]).1, "dropped 2\n");
    assert_eq!(dlq(&bench, &["drop", "--group", rejected]).0, 64, "there are none any more");
    assert_eq!(open_letters(&bench).len(), 1);
    // Where the pipeline is gone nothing is lost. Another, which reads all anew, has letters of its own.
    bench.write("weir.yaml", &PIPELINES.replace("  check:", "  other:"));
    assert!(bench.run(&["reload"]).status.success());
    let of_check = || objects(&dlq(&bench, &["ls", "--pipeline", "check", "--json"]).1);
    let (code, text, said) = dlq(&bench, &["replay", "--all", "--pipeline", "check"]);
    assert_eq!((code, &*text), (69, "replayed 0, refused again 0, waiting 0, not possible 1\n"));
    assert!(said.contains("pipeline check is not running"), "{said}");
    assert_eq!(of_check().len(), 1);
    assert_eq!(weir.terminate(), 0);

    let letters = of_check();
    assert_eq!(letters.len(), 1, "{letters:?}");
    let id = letters[0]["id"].as_str().unwrap();
    assert!(dlq(&bench, &["show", id]).1.contains("trap-me"));
    let (code, _, said) = dlq(&bench, &["replay", id]);
    assert!(code == 69 && said.contains("no appliance runs"), "{said}");
    assert_eq!(dlq(&bench, &["drop", id]).1, "dropped 1\n");
    assert_eq!(of_check().len(), 0);
}

#[test]
fn a_capsule_holds_all_that_reproduces_the_error_and_no_secret() {
    let bench = Bench::new();
    bench.write("in.txt", "1\n2 reject-me\n");
    bench.write("password", "open-sesame");
    let mut weir = started(&bench);
    weir.until("the letter", || dlq(&bench, &["ls", "--json"]).1.lines().count() == 1);
    let with_secret = PIPELINES.replace("sources:", "secrets: { door: { file: password } }\nsources:");
    bench.write("weir.yaml", &with_secret);
    assert!(bench.run(&["reload"]).status.success());
    let id = open_letters(&bench)[0]["id"].as_str().unwrap().to_owned();
    let (code, text, said) = dlq(&bench, &["capsule", &id]);
    assert_eq!((code, text.trim(), &*said), (0, &*format!("dlq-{id}"), ""));
    let case = weir::case::Case::read(&bench.path(&format!("dlq-{id}"))).unwrap();
    assert_eq!(
        (&*case.settings.pipeline, &*case.settings.step, &*case.settings.inputs[0]),
        ("check", "touchy", "lines")
    );
    assert_eq!(case.plugin.as_deref(), Some(&*plugin("touchy")));
    assert_eq!(case.given[0].records.get(0).unwrap().value, Some(&b"2 reject-me"[..]));
    let expected = case.expected.unwrap();
    assert!(expected[0].line().ends_with(r#","reject":"the record asked to be rejected"}"#), "{expected:?}");
    for file in std::fs::read_dir(bench.path(&format!("dlq-{id}"))).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(11).any(|part| part == b"open-sesame"), "a secret got out");
    }
    assert_eq!(dlq(&bench, &["capsule", &id]).0, 64, "the folder is there already");
    // Once the plugin is another one, also after a restart, it is the one that refused the record.
    until_mended(&bench, &mut weir);
    let plugin_of = |directory: &str| weir::case::Case::read(&bench.path(directory)).unwrap().plugin;
    let (code, _, said) = dlq(&bench, &["capsule", &id, "--to", "mended"]);
    assert_eq!((code, &*said, plugin_of("mended")), (0, "", Some(plugin("touchy"))));
    assert_eq!(weir.terminate(), 0);
    let mut weir = bench.start(&["weir.yaml"]);
    weir.until("the start", || bench.run(&["health"]).status.success());
    let (code, _, said) = dlq(&bench, &["capsule", &id, "--to", "restarted"]);
    assert_eq!((code, &*said, plugin_of("restarted")), (0, "", Some(plugin("touchy"))));
    // Where it is not kept any more the present one has to do, and that is said.
    std::fs::remove_dir_all(bench.path("weir-data/plugin-cache")).unwrap();
    let (code, _, said) = dlq(&bench, &["capsule", &id, "--to", "again"]);
    assert!(code == 0 && said.contains("is not there any more"), "{said}");
    assert_eq!(weir.terminate(), 0);
}
