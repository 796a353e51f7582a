//! What the sandbox costs: plugins as guests beside the same code as native code, in the same run.
//!
//! `boundary` is a plugin that keeps every record, so what is left is the way there and back. The components come from
//! the directories that `WEIR_STOCK_PLUGINS` and `WEIR_TEST_PLUGINS` name; `cargo xtask bench` builds them and sets both.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use tokio::runtime::Runtime;
use weir::plugin::engine::Engine;
use weir::plugin::instance::TransformInstance;
use weir::plugin::{Given, Instance};
use weir::record::{Batch, Record, Timestamp};
use weir::state::Tables;
use weir_grep::Grep;
use weir_passthrough::Passthrough;
use weir_plugin::Transform;
use weir_plugin::bindings::types;
use weir_plugin::transform::Slot;
use weir_sql::plugin::Sql;
use weir_syslog_parser::SyslogParser;

use common::{component, context, limits};

const RECORDS: u32 = 1_000;
/// The size at which the boundary is measured.
const BOUNDARY_VALUE_BYTES: usize = 200;
/// 2025-03-14T12:00:00Z
const RECEIVED: i64 = 1_741_953_600_000;

/// A line as sshd writes it, and every eighth of another kind.
fn line(n: u32) -> String {
    let [_, a, b, c] = n.wrapping_mul(2_654_435_761).to_be_bytes();
    let start = format!("Mar {:2} 06:55:{:02} gate sshd[{}]: ", 1 + n % 13, n % 60, 24_000 + n);
    let port = 1024 + u32::from(c);
    if n.is_multiple_of(8) {
        format!("{start}Invalid user test{b} from 192.0.2.{a}\r")
    } else {
        format!("{start}Failed password for invalid user test{b} from 192.0.2.{a} port {port} ssh2\r")
    }
}

fn lines() -> Batch {
    let mut batch = Batch::default();
    (0..RECORDS).for_each(|n| batch.push(&Record::of(line(n).as_bytes(), Timestamp(RECEIVED))));
    batch
}

fn values_of(len: usize) -> Batch {
    let mut batch = Batch::default();
    (0..RECORDS).for_each(|_| batch.push(&Record::of(&vec![b'x'; len], Timestamp(RECEIVED))));
    batch
}

async fn guest(path: &Path, config: &serde_json::Value) -> TransformInstance {
    let engine = Engine::new(None).unwrap();
    let plugin = engine.load("bench", std::fs::read(path).unwrap()).await.unwrap();
    plugin.transform(context(), config.clone(), limits()).unwrap().start_transform().await.unwrap().0
}

/// The columns as a native plugin gets them: its own copy, as a guest has.
fn columns(batch: &Batch) -> types::Batch {
    let (index, meta, data) = batch.columns();
    types::Batch { index: index.to_vec(), meta: meta.to_vec(), data: data.to_vec() }
}

fn native<T: Transform>(group: &mut BenchmarkGroup<'_, WallTime>, config: &serde_json::Value, batch: &Batch) {
    let slot = Slot::<T>::empty();
    slot.init(&config.to_string(), &weir_plugin::testing::test_context()).unwrap();
    group.bench_function("native", |bencher| bencher.iter(|| slot.process(0, columns(batch))));
}

fn compare<T: Transform>(
    criterion: &mut Criterion,
    name: &str,
    path: &Path,
    config: &serde_json::Value,
    batch: &Batch,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(u64::from(RECORDS)));
    native::<T>(&mut group, config, batch);
    let mut instance = runtime.block_on(guest(path, config));
    group.bench_function("guest", |bencher| bencher.iter(|| run(&runtime, &mut instance, batch)));
    group.finish();
}

fn run(runtime: &Runtime, instance: &mut TransformInstance, batch: &Batch) {
    runtime.block_on(instance.process(Given { input: 0, batch, watermarks: &[] }, &mut Tables::default())).unwrap();
}

fn parse(criterion: &mut Criterion) {
    let path = component("WEIR_STOCK_PLUGINS", "syslog-parser");
    compare::<SyslogParser>(criterion, "sandbox: parse", &path, &serde_json::json!({}), &lines());
}

/// What the parser makes of the lines.
fn parsed() -> Batch {
    let mut batch = Batch::default();
    for n in 0..RECORDS {
        let line = line(n);
        let message = line.split("]: ").nth(1).unwrap_or_default().trim_end();
        let value = format!(
            r#"{{"timestamp":{RECEIVED},"host":"gate","appname":"sshd","procid":{},"message":"{message}"}}"#,
            24_000 + n
        );
        batch.push(&Record::of(value.as_bytes(), Timestamp(RECEIVED)));
    }
    batch
}

fn sql_filter(criterion: &mut Criterion) {
    let path = component("WEIR_STOCK_PLUGINS", "sql");
    let config = serde_json::json!({ "statement": "SELECT * FROM input WHERE message LIKE '%Invalid user%'" });
    compare::<Sql>(criterion, "sandbox: SQL filter", &path, &config, &parsed());
}

fn filter(criterion: &mut Criterion) {
    let path = component("WEIR_TEST_PLUGINS", "grep");
    let config = serde_json::json!({ "needle": "Invalid user" });
    compare::<Grep>(criterion, "sandbox: filter", &path, &config, &lines());
}

fn boundary(criterion: &mut Criterion) {
    let path = component("WEIR_TEST_PLUGINS", "passthrough");
    let batch = values_of(BOUNDARY_VALUE_BYTES);
    compare::<Passthrough>(criterion, "sandbox: boundary", &path, &serde_json::json!({}), &batch);
}

criterion_group!(benches, boundary, filter, sql_filter, parse);
criterion_main!(benches);
