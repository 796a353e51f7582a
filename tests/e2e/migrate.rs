//! Versions of a plugin that remember in another form: what is there is migrated in one commit, or the version does not run.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use crate::harness::{Bench, Running};
use crate::reload::{append, drop_in, plugin, reload};

const PIPELINE: &str = "
version: 1
plugins: [plugins]
sources: { in: { type: file, path: in.txt } }
pipelines:
  keep: { from: in, steps: [ { plugin: hostile-state, config: { do: keep, SCHEMA } } ], to: out }
sinks: { out: { type: file, path: out.txt } }
";

/// The pipeline with a version of the plugin.
fn version(bench: &Bench, schema: &str) {
    bench.write("weir.yaml", &PIPELINE.replace("SCHEMA", schema));
}

/// What is remembered under `key`.
fn kept(bench: &Bench) -> String {
    let output = bench.run(&["state", "get", "keep/kept", &BASE64.encode("key")]);
    let Ok(entry) = serde_json::from_slice::<Value>(&output.stdout) else { return String::new() };
    let text = entry["value"]["base64"].as_str().unwrap_or_default();
    String::from_utf8(BASE64.decode(text).unwrap()).unwrap()
}

/// An appliance that is asked for what is remembered: before it serves, who asks would open the store in its place.
fn started(bench: &Bench) -> Running {
    let mut weir = bench.start(&["weir.yaml"]);
    weir.until("the start", || bench.run(&["health"]).status.success());
    weir
}

/// Adds a line, and waits until it has come through.
fn pass(bench: &Bench, weir: &mut Running, line: &str) {
    append(bench, &format!("{line}\n"));
    weir.until(line, || bench.lines("out.txt").last().is_some_and(|last| last == line));
    weir.until("what is remembered of it", || kept(bench) == line);
}

#[test]
fn what_is_remembered_goes_over_to_another_schema_once_or_the_version_does_not_run() {
    let bench = Bench::new();
    drop_in(&bench, "hostile-state", &plugin("hostile-state"));
    bench.write("in.txt", "");
    version(&bench, "schema: 1");
    let mut weir = started(&bench);
    pass(&bench, &mut weir, "a");

    version(&bench, "schema: 2, migrate: mark");
    assert_eq!(reload(&bench), (0, "keep  swapped: its steps run another version\n".into()));
    weir.until("the migration", || kept(&bench) == "a 1>2");
    pass(&bench, &mut weir, "b");
    // There is no way back from here, not by hand either.
    let output = bench.run(&["rollback", "hostile-state"]);
    assert!(!output.status.success(), "{output:?}");

    for (migrate, why) in [("refuse", "it never heard of 2"), ("trap", "the plugin trapped")] {
        version(&bench, &format!("schema: 3, migrate: {migrate}"));
        reload(&bench);
        let said = || std::fs::read_to_string(bench.path("weir.log")).unwrap();
        weir.until(migrate, || said().contains("failed its probation") && said().contains(why));
        pass(&bench, &mut weir, migrate);
    }

    // Killed right as another schema comes: once it is back all of it is there, once.
    version(&bench, "schema: 4, migrate: mark");
    reload(&bench);
    weir.kill();
    let mut weir = started(&bench);
    weir.until("the migration", || kept(&bench) == "trap 2>4");
    weir.kill();
    let mut weir = started(&bench);
    assert_eq!(kept(&bench), "trap 2>4");
    pass(&bench, &mut weir, "c");
    assert_eq!(weir.terminate(), 0);

    // An older plugin is told what it finds.
    version(&bench, "schema: 1");
    let output = bench.run(&["run", "--once", "weir.yaml"]);
    let said = String::from_utf8(output.stderr).unwrap();
    let expected = "what it remembers is of schema 4, its own is 1, and it does not migrate: it never heard of 4";
    assert!(!output.status.success() && said.contains(expected), "{said}");
    assert_eq!(bench.lines("out.txt"), ["a", "b", "refuse", "trap", "c"]);
    assert_eq!(kept(&bench), "c");
}
