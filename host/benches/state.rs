//! What an access to keyed state costs a guest, a key: in batches of a thousand warm keys, beside a native map of the same
//! keys in the same run.
//!
//! The component comes from the directory that `WEIR_TEST_PLUGINS` names; `cargo xtask bench` builds it and sets that.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashMap;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;
use weir::plugin::engine::Engine;
use weir::plugin::step::Step;
use weir::plugin::{Answer, Given};
use weir::record::{Batch, Partition, Record, Timestamp};
use weir::state::Home;
use weir::store::embedded::EmbeddedStore;
use weir::store::{Changes, Store};

use common::{component, context, limits};

const KEYS: u64 = 1_000;

async fn step(store: Arc<dyn Store>) -> Step {
    let component = std::fs::read(component("WEIR_TEST_PLUGINS", "access")).unwrap();
    let plugin = Engine::new(None).unwrap().load("bench", component).await.unwrap();
    let factory = plugin.step(context(), serde_json::json!({ "keys": KEYS }), limits()).unwrap();
    let home = Home { store, pipeline: "bench".into(), partition: Partition(0) };
    Step::start("bench".into(), factory, 0, &home).await.unwrap()
}

/// Has the guest do something with all keys; says what it answered.
fn run(runtime: &Runtime, step: &mut Step, what: &str) -> String {
    let mut batch = Batch::default();
    batch.push(&Record::of(what.as_bytes(), Timestamp(0)));
    let given = Given { input: 0, batch: &batch, watermarks: &[Timestamp(0)] };
    let Answer::Replaced { records, .. } = runtime.block_on(step.run(given)).unwrap().answer else { panic!("{what}") };
    String::from_utf8(records.get(0).unwrap().value.unwrap().to_vec()).unwrap()
}

/// Makes what it wrote durable.
fn commit(runtime: &Runtime, store: &dyn Store, step: &mut Step) {
    let changes = Changes { state: step.take_changes(), ..Changes::default() };
    runtime.block_on(store.commit(&[changes], Timestamp(0))).unwrap();
    step.committed();
}

fn access(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let data = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(data.path()).unwrap());
    let mut step = runtime.block_on(step(store.clone()));
    let mut group = criterion.benchmark_group("keyed state");
    group.throughput(Throughput::Elements(KEYS));

    let native: HashMap<[u8; 8], [u8; 8]> = (0..KEYS).map(|key| (key.to_be_bytes(), key.to_be_bytes())).collect();
    group.bench_function("baseline: native map", |bencher| {
        bencher.iter(|| (0..KEYS).filter(|key| native.contains_key(std::hint::black_box(&key.to_be_bytes()))).count());
    });
    // Nothing is committed, so each write meets the last: what is measured is the way to the host and what it does there.
    group.bench_function("put", |bencher| bencher.iter(|| assert_eq!(run(&runtime, &mut step, "put"), "1000")));
    group.bench_function("get, written before", |bencher| {
        bencher.iter(|| assert_eq!(run(&runtime, &mut step, "get"), "1000"));
    });
    group.bench_function("get, known to the instance", |bencher| {
        bencher.iter(|| assert_eq!(run(&runtime, &mut step, "known"), "1000"));
    });
    commit(&runtime, &*store, &mut step);
    group.bench_function("get, committed", |bencher| {
        bencher.iter(|| assert_eq!(run(&runtime, &mut step, "get"), "1000"));
    });
    group.finish();
}

criterion_group!(benches, access);
criterion_main!(benches);
