//! New versions of plugins that want more than the ones before, and plugins that are pinned.

use crate::harness::{Bench, Running};
use crate::reload::{append, drop_in, plugin, reload};

const FILE: &str = "
version: 1
plugins: [plugins]
sources: { in: { type: file, path: in.txt } }
endpoints: { geo: { type: http, url: 'http://127.0.0.1:1/', private_addresses: true } }
pipelines:
  pass: { from: in, steps: [ { plugin: any, grants: { http: geo } } ], to: out }
sinks: { out: { type: file, path: out.txt } }
";

fn bench_with(wasm: &[u8]) -> Bench {
    let bench = Bench::new();
    drop_in(&bench, "any", wasm);
    bench.write("in.txt", "GET a\n");
    bench.write("weir.yaml", FILE);
    bench
}

fn until_out(bench: &Bench, weir: &mut Running, lines: &[&str]) {
    weir.until("the output", || bench.lines("out.txt") == lines);
}

#[test]
fn a_version_that_wants_more_waits_for_a_yes() {
    let bench = bench_with(&plugin("passthrough"));
    let mut weir = bench.start(&["weir.yaml"]);
    until_out(&bench, &mut weir, &["GET a"]);
    drop_in(&bench, "any", &plugin("asker"));
    let told = || std::fs::read_to_string(bench.path("weir.log")).unwrap().contains("wants more than the one before");
    weir.until("a word about it", told);
    let (code, said) = reload(&bench);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("pass  refused: this version of `any` in `pass/any` wants more"), "{said}");
    assert!(said.contains("+ imports weir:plugin/http@0.1.0"), "{said}");
    append(&bench, "GET b\n");
    until_out(&bench, &mut weir, &["GET a", "GET b"]);
    assert_eq!(weir.terminate(), 0);

    // Neither does a start take it.
    let refused = bench.run(&["run", "--once", "weir.yaml"]);
    assert_eq!(refused.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("weir run --accept"), "{refused:?}");
    drop_in(&bench, "any", &plugin("passthrough"));
    let mut weir = bench.start(&["weir.yaml"]);
    append(&bench, "GET c\n");
    until_out(&bench, &mut weir, &["GET a", "GET b", "GET c"]);
    drop_in(&bench, "any", &plugin("asker"));
    let accepted = bench.run(&["reload", "--accept"]);
    assert!(accepted.status.success(), "{accepted:?}");
    append(&bench, "GET d\n");
    weir.until("the new one at work", || {
        bench.lines("out.txt").last().is_some_and(|line| line.starts_with("failed: "))
    });
    assert_eq!(weir.terminate(), 0);
    // The yes holds for the next start as well.
    let again = bench.run(&["run", "--once", "weir.yaml"]);
    assert!(again.status.success(), "{again:?}");
}

#[test]
fn with_a_lock_nothing_else_runs_than_what_it_pins() {
    let bench = bench_with(&plugin("passthrough"));
    let locked = bench.run(&["lock", "weir.yaml"]);
    assert!(String::from_utf8_lossy(&locked.stdout).starts_with("pass/any: new, any "), "{locked:?}");
    let mut weir = bench.start(&["weir.yaml"]);
    until_out(&bench, &mut weir, &["GET a"]);
    drop_in(&bench, "any", &plugin("grep"));
    bench.write("weir.yaml", &FILE.replace("plugin: any,", "plugin: any, config: { needle: GET },"));
    for arguments in [&["reload"][..], &["reload", "--accept"], &["check", "weir.yaml"]] {
        let refused = bench.run(arguments);
        let said = String::from_utf8_lossy(&refused.stdout) + String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(78), "{arguments:?}: {said}");
        assert!(said.contains("is not what weir.lock pins") && said.contains("code "), "{arguments:?}: {said}");
    }
    let locked = bench.run(&["lock", "weir.yaml"]);
    assert!(String::from_utf8_lossy(&locked.stdout).starts_with("pass/any: changed, any "), "{locked:?}");
    let (code, said) = reload(&bench);
    assert_eq!((code, said.as_str()), (0, "pass  swapped: its steps run another version\n"));
    assert_eq!(weir.terminate(), 0);
    bench.write("weir.lock", "{}");
    let refused = bench.run(&["run", "--once", "weir.yaml"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is not what `weir lock` writes"), "{refused:?}");
}
