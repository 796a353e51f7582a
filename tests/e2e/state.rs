//! Records enriched from a file that changes, and `weir state`: while the appliance runs, after it has stopped, and in
//! another directory.

use std::fs;
use std::io::Write as _;
use std::process::{Output, Stdio};

use crate::harness::Bench;

const PIPELINE: &str = "
version: 1
sources:
  auth: { type: file, path: in.ndjson }
  owners: { type: table, path: owners.csv, key: host, scan: 50ms }
pipelines:
  enrich:
    from: auth
    steps:
      - plugin: enricher
        tables: owners
        config: { lookups: [ { table: owners, key: { field: host }, take: { team: owner } } ] }
    to: report
sinks:
  report: { type: file, path: out.ndjson }
";

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn add(bench: &Bench, name: &str, line: &str) {
    let mut file = fs::File::options().append(true).create(true).open(bench.path(name)).unwrap();
    writeln!(file, "{line}").unwrap();
}

/// Replaces a file, as editors do.
fn replace(bench: &Bench, name: &str, text: &str) {
    fs::rename(bench.write("new", text), bench.path(name)).unwrap();
}

#[test]
fn records_are_enriched_by_a_file_that_changes_and_what_is_remembered_can_be_seen_and_moved() {
    let bench = Bench::new();
    bench.write("weir.yaml", PIPELINE);
    bench.write("owners.csv", "host,team\nweb1,shop\nweb2,shop\n");
    add(&bench, "in.ndjson", r#"{"host":"web1"}"#);
    add(&bench, "in.ndjson", r#"{"host":"db1"}"#);
    let mut weir = bench.start(&["weir.yaml"]);
    weir.until("the first records", || bench.lines("out.ndjson").len() == 2);
    let get = || text(&bench.run(&["state", "get", "enrich/owners"]));
    let rows = |team: &str| {
        ["web1", "web2"].map(|host| {
            format!(r#"{{"key":"{host}","partition":0,"value":{{"host":"{host}","team":"{team}"}}}}"#) + "\n"
        })
    };
    assert_eq!(get(), rows("shop").concat());
    assert!(text(&bench.run(&["state", "ls"])).contains("\nenrich/enricher/owners"));
    // What cannot be read changes nothing; what can be takes the place of the whole.
    replace(&bench, "owners.csv", "host,team\nweb1\n");
    weir.until("the warning", || fs::read_to_string(bench.path("weir.log")).unwrap().contains("go on to hold"));
    replace(&bench, "owners.csv", "host,team\nweb1,blog\n");
    weir.until("the new rows", || get() == rows("blog")[0]);
    add(&bench, "in.ndjson", r#"{"host":"web1"}"#);
    add(&bench, "in.ndjson", r#"{"host":"web2"}"#);
    weir.until("the other records", || bench.lines("out.ndjson").len() == 4);
    // What has been written is committed only a moment later; what stops in good order has done it.
    assert_eq!(weir.terminate(), 0);

    let report = [
        r#"{"host":"web1","owner":"shop"}"#,
        r#"{"host":"db1"}"#,
        r#"{"host":"web1","owner":"blog"}"#,
        r#"{"host":"web2"}"#,
    ];
    assert_eq!(bench.lines("out.ndjson"), report);
    assert_eq!(get(), rows("blog")[0]);
    let export = text(&bench.run(&["state", "export", "enrich"]));
    let import = |arguments: &[&str], export: &str| {
        let arguments = [&["state", "import", "--data", "moved"], arguments].concat();
        let mut child = bench.weir(&arguments).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(export.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(import(&[], &export).0, 0);
    let (code, said) = import(&[], &export);
    assert!(code == 64 && said.contains("--replace"), "{code}: {said}");
    let (code, said) = import(&["--replace"], export.trim_end().rsplit_once('\n').unwrap().0);
    assert!(code == 64 && said.contains("it was cut"), "{code}: {said}");
    assert_eq!(import(&["--replace"], &export).0, 0);
    assert_eq!(text(&bench.run(&["state", "export", "--data", "moved"])), export);

    // It goes on where the other stopped, with the rows that it had.
    bench.write("moved.yaml", &format!("data: moved\n{}", PIPELINE.replace("out.ndjson", "moved.ndjson")));
    add(&bench, "in.ndjson", r#"{"host":"web1"}"#);
    text(&bench.run(&["run", "--once", "moved.yaml"]));
    assert_eq!(bench.lines("moved.ndjson"), [report[2]]);
}

#[test]
fn what_state_is_asked_wrongly_is_said() {
    let bench = Bench::new();
    let output = bench.run(&["state", "ls"]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no data directory weir-data"), "{output:?}");
    bench.write("weir.yaml", "version: 1\nsources: { demo: { type: demo, count: 5 } }\npipelines: { copy: { from: demo, to: out } }\nsinks: { out: { type: file, path: out.ndjson } }\n");
    text(&bench.run(&["run", "--once", "weir.yaml"]));
    let output = bench.run(&["state", "get", "copy/users"]);
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("there is no table copy/users; no pipeline has any"),
        "{output:?}"
    );
}
