//! What loads, what is refused and in which words, and the cache of compiled plugins.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use weir::plugin::compile::{Bounds, Compiler};
use weir::plugin::inspect::inspect;
use weir::plugin::load::Problem;
use weir::plugin::{Answer, Engine, Factory, Outcome, World};

use crate::guests::{LOG, Runs as _, Text, answering, batch, context, engine, limits, load, sink};

async fn problem(wasm: Vec<u8>) -> Problem {
    engine().load("guest", wasm).await.expect_err("must be refused").problem
}

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn a_plugin_that_changes_nothing_says_so() {
    let plugin = load(answering("")).await;
    assert_eq!((plugin.world(), plugin.name()), (World::Transform, "guest"));
    let factory = plugin.transform(context(), json!({}), limits()).unwrap();
    let (mut instance, description) = factory.start().await.unwrap();
    assert_eq!(description.ports, Vec::<String>::new());
    for values in [&["a", "b"][..], &[]] {
        let outcome = instance.run(&batch(values)).await.unwrap();
        assert_eq!(outcome, Outcome::of(Answer::Unchanged, vec![]));
    }
}

#[tokio::test]
async fn what_is_no_component_is_refused() {
    for bytes in [&b""[..], b"\0asm", b"#!/bin/sh\nexit 0\n", b"(component)"] {
        assert_eq!(problem(bytes.to_vec()).await, Problem::NotWasm, "{bytes:?}");
    }
    let module = problem(component("(module)")).await;
    assert_eq!(module, Problem::CoreModule);
    assert!(module.to_string().contains("wasm-component-ld"), "{module}");
    let cut = answering("");
    assert!(matches!(problem(cut[..cut.len() - 9].to_vec()).await, Problem::Invalid(_)));
}

#[tokio::test]
async fn a_component_for_something_else_is_refused() {
    let text = r#"(component (type $t (record (field "a" u32))) (export "thing" (type $t)))"#;
    let refused = problem(component(text)).await;
    assert_eq!(refused, Problem::NoWorld { exports: vec!["thing".into()] });
    assert!(
        refused.to_string().contains("weir:plugin/step@0.1.0 or weir:plugin/stateful-step@0.1.0 (a step)"),
        "{refused}"
    );
    let empty = problem(component("(component)")).await.to_string();
    assert!(empty.ends_with("found nothing"), "{empty}");
}

#[tokio::test]
async fn another_version_of_the_contract_is_named() {
    let refused =
        problem(component(r#"(component (instance $i) (export "weir:plugin/step@0.9.0" (instance $i)))"#)).await;
    let expected = "it was built for weir:plugin/step@0.9.0, and this version of Weir runs weir:plugin/step@0.1.0";
    assert!(refused.to_string().starts_with(expected), "{refused}");
}

#[tokio::test]
async fn two_worlds_in_one_are_refused() {
    let text = r#"(component (instance $i)
        (export "weir:plugin/step@0.1.0" (instance $i)) (export "weir:plugin/delivery@0.1.0" (instance $i)))"#;
    assert_eq!(problem(component(text)).await, Problem::TwoWorlds);
}

#[tokio::test]
async fn functions_of_other_types_are_refused() {
    let missing =
        problem(component(r#"(component (instance $i) (export "weir:plugin/step@0.1.0" (instance $i)))"#)).await;
    assert!(missing.to_string().contains("weir:plugin/step@0.1.0#init"), "{missing}");
    let text = r#"(component
        (core module $m (func (export "f") (param i32) (result i32) local.get 0))
        (core instance $c (instantiate $m))
        (func $f (param "config" u32) (result u32) (canon lift (core func $c "f")))
        (instance $i (export "init" (func $f)) (export "process" (func $f)))
        (export "weir:plugin/step@0.1.0" (instance $i)))"#;
    assert!(matches!(problem(component(text)).await, Problem::Type { .. }));
    let log = r#"(import "weir:plugin/log@0.1.0" (instance (export "write" (func (param "message" string)))))"#;
    assert!(matches!(problem(Text { imports: log, ..Text::default() }.component()).await, Problem::Type { .. }));
}

#[tokio::test]
async fn an_import_that_is_not_granted_is_named() {
    let wanting = |name: &str| {
        let imports = format!(r#"(import "{name}" (instance (export "f" (func))))"#);
        Text { imports: &imports, ..Text::default() }.component()
    };
    let refused = problem(wanting("wasi:http/types@0.2.0")).await;
    assert_eq!(refused, Problem::NotGranted { imports: vec!["wasi:http/types@0.2.0".into()] });
    assert!(refused.to_string().contains("or for wasm32-unknown-unknown"), "{refused}");
    let refused = problem(wanting("weir:plugin/clock@0.1.0")).await.to_string();
    assert!(refused.contains("this version of Weir does not have it"), "{refused}");
    assert!(problem(wanting("acme:own/thing")).await.to_string().contains("of weir:plugin@0.1.0 alone"));
}

#[tokio::test]
async fn a_plugin_is_used_for_what_it_is() {
    let error = load(sink("")).await.transform(context(), json!({}), limits()).err().unwrap();
    assert_eq!(
        error.to_string(),
        "plugin guest: it is a sink, expected a transform: name it under `sinks`, as the `plugin` of one"
    );
    let error = load(answering("")).await.sink(context(), json!({}), limits()).err().unwrap();
    assert_eq!(error.problem, Problem::WrongWorld { found: World::Transform, expected: World::Sink });
}

#[tokio::test]
async fn inspecting_shows_what_would_be_refused_too() {
    let good = LOG.component();
    let seen = inspect(&engine(), "guest", good.clone()).await.unwrap();
    assert_eq!((seen.world, seen.size, seen.problem), (Some(World::Transform), good.len(), None));
    assert_eq!(seen.imports, ["weir:plugin/log@0.1.0"]);
    assert!(seen.exports.contains(&"weir:plugin/step@0.1.0".to_owned()));
    assert_eq!(seen.hash, load(good).await.hash());

    let wasi = r#"(import "wasi:io/poll@0.2.0" (instance)) (import "wasi:http/types@0.2.0" (instance))"#;
    let seen = inspect(&engine(), "guest", Text { imports: wasi, ..Text::default() }.component()).await.unwrap();
    let imports = ["wasi:io/poll@0.2.0", "wasi:http/types@0.2.0"].map(str::to_owned);
    assert_eq!((seen.world, seen.imports), (Some(World::Transform), imports.to_vec()));
    assert!(seen.problem.unwrap().starts_with("it imports wasi:http/types@0.2.0, which"));
    assert_eq!(inspect(&engine(), "guest", b"text".to_vec()).await, Err(Problem::NotWasm));
}

/// The one file that a cache holds.
/// The file of machine code; the component that it was made of lies beside it.
fn only_file(cache: &Path) -> PathBuf {
    let mut files: Vec<PathBuf> = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|suffix| suffix == "cwasm"));
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

/// Loads in an engine of its own, as the next process would. Whether the plugin came from the cache.
async fn is_from_cache(cache: &Path, wasm: Vec<u8>) -> bool {
    let engine = Engine::new(Some(cache.to_owned())).unwrap();
    let plugin = engine.load("guest", wasm).await.unwrap();
    let factory = plugin.transform(context(), json!({}), limits()).unwrap();
    let (mut instance, _) = factory.start().await.unwrap();
    assert_eq!(instance.run(&batch(&["a"])).await.unwrap().answer, Answer::Unchanged);
    plugin.is_precompiled()
}

#[tokio::test]
async fn a_plugin_is_compiled_once() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("compiled");
    assert!(!is_from_cache(&cache, answering("")).await);
    assert!(is_from_cache(&cache, answering("")).await);
    let other = answering("(drop (i32.const 7))");
    assert!(!is_from_cache(&cache, other.clone()).await);
    assert!(is_from_cache(&cache, other).await);
}

#[tokio::test]
async fn a_damaged_compiled_plugin_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("compiled");
    assert!(!is_from_cache(&cache, answering("")).await);
    let good = fs::read(only_file(&cache)).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    for damaged in [flipped, good[..good.len() - 1].to_vec(), b"\x7fELF".to_vec(), Vec::new()] {
        fs::write(only_file(&cache), &damaged).unwrap();
        assert!(!is_from_cache(&cache, answering("")).await);
        assert_eq!(fs::read(only_file(&cache)).unwrap().len(), good.len());
        assert!(is_from_cache(&cache, answering("")).await);
    }
}

#[tokio::test]
async fn another_plugins_code_is_not_run_under_this_ones_name() {
    let directory = tempfile::tempdir().unwrap();
    let (cache, others) = (directory.path().join("compiled"), directory.path().join("others"));
    assert!(!is_from_cache(&cache, answering("")).await);
    assert!(!is_from_cache(&others, answering("(drop (i32.const 9))")).await);
    fs::copy(only_file(&others), only_file(&cache)).unwrap();
    assert!(!is_from_cache(&cache, answering("")).await);
}

#[tokio::test]
async fn without_a_usable_cache_plugins_still_load() {
    let directory = tempfile::tempdir().unwrap();
    let not_a_directory = directory.path().join("file");
    fs::write(&not_a_directory, "").unwrap();
    assert!(!is_from_cache(&not_a_directory, answering("")).await);
    assert!(!is_from_cache(&not_a_directory, answering("")).await);
}

#[tokio::test]
async fn steps_of_one_plugin_share_its_code() {
    let engine = Engine::new(None).unwrap();
    let wasm = crate::guests::built("hostile");
    let first = engine.load("a", wasm.clone()).await.unwrap();
    let begun = std::time::Instant::now();
    let second = engine.load("b", wasm).await.unwrap();
    assert!(begun.elapsed() < std::time::Duration::from_millis(50), "it was compiled again");
    assert_eq!((first.hash(), second.name()), (second.hash(), "b"));
}

/// A function of which the compiler has too much: every one of many values is used to the end.
fn bomb(values: usize) -> Vec<u8> {
    let locals = "i64 ".repeat(values);
    let mixed: String = (1..values)
        .map(|n| format!("(local.set {n} (i64.mul (local.get {n}) (i64.add (local.get {}) (local.get 0))))", n - 1))
        .collect();
    let turns = format!("(loop {mixed} (br_if 0 (i64.eqz (local.get {}))))", values - 1);
    component(&format!("(component (core module (func (local {locals}) {})))", turns.repeat(8)))
}

/// What takes too much to compile ends its compiler and not the host, which runs others meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_compiler_chokes_on_ends_the_compiler_alone() {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_weir"));
    let bounded = |cpu_seconds, memory_bytes| {
        Engine::compiling_aside(Compiler::new(program.clone(), Bounds { cpu_seconds, memory_bytes }), None).unwrap()
    };
    let enough = bounded(600, 4 << 30);
    let plugin = enough.load("guest", answering("")).await.unwrap();
    assert_eq!(plugin.world(), World::Transform);
    let cut = answering("");
    let broken = enough.load("guest", cut[..cut.len() - 9].to_vec()).await.unwrap_err().problem;
    assert!(matches!(broken, Problem::Invalid(_)), "{broken}");
    for engine in [bounded(1, 4 << 30), bounded(5, 64 << 20)] {
        let refused = engine.load("bomb", bomb(20_000)).await.unwrap_err();
        assert!(matches!(refused.problem, Problem::NotCompiled { .. }), "{refused}");
        assert!(refused.to_string().starts_with("plugin bomb: compiling it takes more than "), "{refused}");
    }
}
