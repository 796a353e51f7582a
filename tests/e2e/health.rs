//! `weir health`: what a health check of a container or a service goes by.

use std::process::Output;

use crate::harness::{Bench, free_port};

/// The exit code, and what was said.
fn health(bench: &Bench) -> (i32, String) {
    let Output { status, stdout, stderr } = bench.run(&["health"]);
    (status.code().unwrap(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

#[test]
fn an_appliance_is_well_while_all_its_pipelines_run() {
    let bench = Bench::new();
    let (code, said) = health(&bench);
    assert_eq!((code, said.as_str()), (69, "weir: no appliance runs with the data directory weir-data\n"));
    bench.write("in.txt", "a\n");
    let pipelines = "pipelines: { a: { from: in, to: out }, b: { from: in, to: out } }";
    let ends = "sources: { in: { type: file, path: in.txt } }\nsinks: { out: { type: file, path: out.txt } }";
    bench.write("weir.yaml", &format!("version: 1\n{ends}\n{pipelines}\n"));
    let mut weir = bench.start(&["weir.yaml"]);
    weir.until("the lines", || bench.lines("out.txt").len() == 2);
    assert_eq!(health(&bench), (0, "2 pipelines run\n".into()));
    assert_eq!(weir.terminate(), 0);
    assert_eq!(health(&bench).0, 69);
}

/// Of two pipelines one waits for a cluster that is not there: the other runs, and the appliance is not well.
#[test]
fn a_pipeline_that_waits_to_begin_again_is_named_with_what_it_failed_of() {
    let (bench, port) = (Bench::new(), free_port());
    bench.write("in.txt", "a\n");
    let sources = format!(
        "sources:\n  in: {{ type: file, path: in.txt }}\n  far: {{ type: kafka, brokers: ['127.0.0.1:{port}'], topics: [t] }}"
    );
    let pipelines = "pipelines: { a: { from: in, to: out }, b: { from: far, to: out } }";
    bench.write(
        "weir.yaml",
        &format!("version: 1\n{sources}\n{pipelines}\nsinks: {{ out: {{ type: file, path: out.txt }} }}\n"),
    );
    let mut weir = bench.start(&["weir.yaml"]);
    weir.until("the line", || bench.lines("out.txt") == ["a"]);
    weir.until("that it is not well", || {
        let (code, said) = health(&bench);
        code == 69 && said.starts_with("weir: pipeline b, partition 0: far: ") && !said.contains("pipeline a")
    });
    assert_eq!(weir.terminate(), 0);
}
