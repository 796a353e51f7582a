//! The main job, end to end: log lines in, parsed and filtered, JSON out.

use std::path::Path;

use crate::harness::Bench;

const PIPELINE: &str = "
version: 1
sources:
  auth: { type: file, path: auth.log }
pipelines:
  invalid:
    from: auth
    steps:
      - plugin: syslog-parser
      - sql: SELECT host, message FROM input WHERE message LIKE '%Invalid user%'
    to: out
sinks:
  out: { type: file, path: out.ndjson }
";

fn auth_log(lines: u32) -> String {
    let line = |n: u32| match n % 5 {
        0 => format!("Dec 10 06:{:02}:{:02} gate sshd[{n}]: Invalid user guest{n} from 192.0.2.7", n / 60 % 60, n % 60),
        _ => format!(
            "Dec 10 06:{:02}:{:02} gate sshd[{n}]: Connection closed by 192.0.2.7 [preauth]",
            n / 60 % 60,
            n % 60
        ),
    };
    (0..lines).map(line).collect::<Vec<_>>().join("\r\n")
}

#[test]
fn a_log_is_parsed_and_filtered_into_a_file() {
    let bench = Bench::new();
    bench.write("auth.log", &auth_log(2_000));
    bench.write("weir.yaml", PIPELINE);
    let output = bench.run(&["run", "--once", "weir.yaml"]);
    assert!(output.status.success(), "{output:?}");
    let lines = bench.lines("out.ndjson");
    assert_eq!(lines.len(), 400);
    assert_eq!(lines[1], r#"{"host":"gate","message":"Invalid user guest5 from 192.0.2.7"}"#);
}

#[test]
fn running_once_again_adds_only_what_is_new() {
    let bench = Bench::new();
    bench.write("auth.log", &(auth_log(100) + "\r\n"));
    bench.write("weir.yaml", PIPELINE);
    assert!(bench.run(&["run", "--once", "weir.yaml"]).status.success());
    assert!(bench.run(&["run", "--once", "weir.yaml"]).status.success());
    assert_eq!(bench.lines("out.ndjson").len(), 20);
    bench.write("auth.log", &(auth_log(200) + "\r\n"));
    assert!(bench.run(&["run", "--once", "weir.yaml"]).status.success());
    assert_eq!(bench.lines("out.ndjson").len(), 40);
}

#[test]
fn the_summary_accounts_for_every_record() {
    let bench = Bench::new();
    bench.write("auth.log", &(auth_log(100) + "\r\n\n"));
    bench.write("weir.yaml", PIPELINE);
    let output = bench.run(&["run", "--once", "--json", "weir.yaml"]);
    assert!(output.status.success(), "{output:?}");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["pipelines"][0]["name"], "invalid");
    let counts = ["records_in", "records_out", "filtered", "dead"].map(|name| summary["total"][name].as_u64());
    assert_eq!(counts, [Some(101), Some(20), Some(80), Some(1)], "{summary}");
}

#[test]
fn a_follower_is_stopped_gracefully_and_goes_on_where_it_was() {
    let bench = Bench::new();
    bench.write("auth.log", &(auth_log(100) + "\r\n"));
    bench.write("weir.yaml", PIPELINE);
    for lines in [100, 300, 1_000] {
        bench.write("auth.log", &(auth_log(lines) + "\r\n"));
        let mut weir = bench.start(&["weir.yaml"]);
        weir.until("the output", || bench.lines("out.ndjson").len() as u32 == lines / 5);
        assert_eq!(weir.terminate(), 0);
    }
    assert_eq!(bench.lines("out.ndjson").len(), 200);
}

#[test]
fn a_second_appliance_on_the_same_data_is_refused() {
    let bench = Bench::new();
    bench.write("auth.log", &(auth_log(10) + "\r\n"));
    bench.write("weir.yaml", PIPELINE);
    let mut weir = bench.start(&["weir.yaml"]);
    weir.until("the output", || bench.lines("out.ndjson").len() == 2);
    let second = bench.run(&["run", "weir.yaml"]);
    assert_eq!(second.status.code(), Some(69), "{second:?}");
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("in use by another process"), "{said}");
}

#[test]
fn a_plugin_that_is_missing_or_refuses_its_configuration_is_a_configuration_error() {
    let bench = Bench::new();
    bench.write("auth.log", "");
    for (from, to) in [("syslog-parser", "syslog-praser"), ("SELECT host", "SELEC host")] {
        bench.write("weir.yaml", &PIPELINE.replace(from, to));
        let output = bench.run(&["run", "--once", "weir.yaml"]);
        assert_eq!(output.status.code(), Some(78), "{output:?}");
    }
}

#[test]
fn standard_input_flows_to_standard_output() {
    let bench = Bench::new();
    bench.write(
        "weir.yaml",
        "
version: 1
sources: { in: { type: stdin } }
pipelines: { pass: { from: in, to: out } }
sinks: { out: { type: stdout } }
",
    );
    let input = "first\nsecond\r\n\nlast without newline";
    bench.write("input", input);
    let stdin = std::fs::File::open(bench.path("input")).unwrap();
    let output = bench.weir(&["run", "--once", "weir.yaml"]).stdin(stdin).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "first\nsecond\n\nlast without newline\n");
}

/// A container's first process gets no signal that it does not ask for, so it has to ask before anything takes its time.
#[test]
fn it_can_be_stopped_while_a_plugin_compiles() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("plugins")).unwrap();
    let stock = std::env::var_os("WEIR_STOCK_PLUGINS").expect("WEIR_STOCK_PLUGINS; see tests/e2e/main.rs");
    std::fs::copy(Path::new(&stock).join("sql.wasm"), bench.path("plugins/sql.wasm")).unwrap();
    bench.write("in.txt", "{}\n");
    let steps = "steps: [ { sql: SELECT * FROM input } ]";
    bench.write(
        "weir.yaml",
        &format!(
            "version: 1\nplugins: [plugins]\nsources: {{ in: {{ type: file, path: in.txt }} }}\n\
             pipelines: {{ p: {{ from: in, {steps}, to: out }} }}\nsinks: {{ out: {{ type: file, path: out.txt }} }}\n"
        ),
    );
    let mut weir = bench.start(&["weir.yaml"]);
    weir.until_has_child();
    assert_eq!(weir.terminate(), 0);
    assert_eq!(bench.lines("out.txt"), [""; 0]);
}
