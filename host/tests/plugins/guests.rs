//! Guests for tests and benches: small components written as text, and the ones that `cargo xtask plugins --test` builds.
//!
//! A guest as text does one thing to its caller's face: lengths that no memory holds, answers that contradict each
//! other. What takes a real program is in `tests/guests/hostile`.
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::OnceCell;
use weir::config::StepLimits;
use weir::plugin::instance::TransformFactory;
use weir::plugin::{Engine, Failure, Given, Instance, Outcome, Plugin, StepContext};
use weir::record::{Batch, Offset, Partition, Record, Timestamp};
use weir::state::Tables;

pub use crate::text::{Text, answering};

/// The import of the log, for a guest that calls it as `$log` (level, pointer, length). Its messages are in a memory of
/// two pages: "good" at 0, a byte that is not UTF-8 at 100.
pub const LOG: Text<'static> = Text {
    imports: r#"
      (import "weir:plugin/log@0.1.0" (instance $log
        (type $level-def (enum "error" "warn" "info" "debug")) (export "level" (type $level (eq $level-def)))
        (export "write" (func (param "level" $level) (param "message" string)))))
      (core module $texts (memory (export "memory") 2) (data (i32.const 0) "good") (data (i32.const 100) "\ff"))
      (core instance $texts (instantiate $texts))
      (alias core export $texts "memory" (core memory $text))
      (core func $log-write (canon lower (func $log "write") (memory $text)))
      (core instance $log-core (export "write" (func $log-write)))"#,
    with: r#"(with "log" (instance $log-core))"#,
    code: r#"(import "log" "write" (func $log (param i32 i32 i32)))"#,
    pages: None,
    init: "",
    process: "",
};

/// A sink that does this in `write`; see `sink.wat.in`.
pub fn sink(write: &str) -> Vec<u8> {
    wat::parse_str(include_str!("sink.wat.in").replace("(;WRITE;)", write)).expect("the text is a component")
}

/// The engine that all tests of a process share.
pub fn engine() -> Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(None).expect("the engine starts")).clone()
}

/// Small limits of memory and output, so that tests reach them soon; and more time than any well-behaved guest needs on
/// a busy machine.
pub fn limits() -> StepLimits {
    StepLimits {
        memory_bytes_max: 16 << 20,
        batch_time_max: Duration::from_secs(30),
        output_bytes_max: 1 << 20,
        log_rate_max: 5,
        wait_time_max: Duration::from_secs(60),
        retries: 0,
    }
}

/// For guests that never end.
pub fn hurried() -> StepLimits {
    StepLimits { batch_time_max: Duration::from_millis(200), ..limits() }
}

pub fn context() -> StepContext {
    StepContext {
        pipeline: "pipeline".into(),
        step: "step".into(),
        partition: Partition(0),
        inputs: vec![Arc::from("input")],
        tables: Vec::new(),
    }
}

pub async fn load(wasm: Vec<u8>) -> Plugin {
    engine().load("guest", wasm).await.expect("the guest is a plugin")
}

pub async fn factory(wasm: Vec<u8>, config: Value, limits: StepLimits) -> TransformFactory {
    load(wasm).await.transform(context(), config, limits).expect("the guest is a transform")
}

/// Records with these values, offsets from 100 on.
pub fn batch<V: AsRef<[u8]>>(values: &[V]) -> Batch {
    let mut batch = Batch::default();
    for (offset, value) in (100..).zip(values) {
        let record = Record::of(value.as_ref(), Timestamp(1_000));
        batch.push(&Record { offset: Offset(offset), ..record });
    }
    batch
}

/// A component from tests/guests.
pub fn built(name: &str) -> Vec<u8> {
    component("WEIR_TEST_PLUGINS", name)
}

/// A stock plugin.
pub fn stock(name: &str) -> Vec<u8> {
    component("WEIR_STOCK_PLUGINS", name)
}

fn component(variable: &str, name: &str) -> Vec<u8> {
    let directory = std::env::var_os(variable).map(PathBuf::from).unwrap_or_else(|| {
        panic!("{variable} names no directory of built guests: `cargo xtask test` builds them and sets it")
    });
    let path = directory.join(name).with_extension("wasm");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}: run `cargo xtask plugins --test`", path.display()))
}

/// A factory of the plugin in tests/guests/hostile, which is compiled once for all tests.
pub async fn hostile(config: Value, limits: StepLimits) -> TransformFactory {
    static PLUGIN: OnceCell<Plugin> = OnceCell::const_new();
    let plugin = PLUGIN.get_or_init(|| load(built("hostile"))).await;
    plugin.transform(context(), config, limits).expect("it is a transform")
}

/// The resident memory of this process in bytes.
pub fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = statm.split_whitespace().nth(1).expect("a second number").parse().expect("a number");
    pages * 4096
}

/// Runs a batch from the first input, for a plugin that has no state.
#[async_trait::async_trait]
pub trait Runs: Instance {
    async fn run(&mut self, batch: &Batch) -> Result<Outcome, Failure> {
        self.process(Given { input: 0, batch, watermarks: &[] }, &mut Tables::default()).await
    }
}

impl<T: Instance + ?Sized> Runs for T {}
