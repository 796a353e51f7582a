//! What it costs to hand a batch to a plugin and to take its answer back, for each kind of answer.
//!
//! 1,000 records of 200 bytes. The baseline is a copy of the same columns. The guest is a real one, built from Rust, that
//! does nothing with the records: `cargo xtask bench` builds it and sets `WEIR_TEST_PLUGINS`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::hint::black_box;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use weir::plugin::{Answer, Engine, Given, Instance as _, Plugin};
use weir::record::{Batch, Offset, Record, Timestamp};
use weir::state::Tables;

use common::{component, context, limits};

const RECORDS: usize = 1_000;
const RECORD_BYTES: usize = 200;

fn batch() -> Batch {
    let value = [b'x'; RECORD_BYTES];
    let mut batch = Batch::with_capacity(RECORDS, RECORDS * RECORD_BYTES);
    for n in 0..RECORDS as u64 {
        batch.push(&Record { offset: Offset(n), ..Record::of(&value, Timestamp(1_700_000_000_000)) });
    }
    batch
}

fn guest(runtime: &Runtime) -> Plugin {
    let wasm = std::fs::read(component("WEIR_TEST_PLUGINS", "hostile")).expect("the guest was built");
    let engine = Engine::new(None).expect("the engine starts");
    runtime.block_on(engine.load("hostile", wasm)).expect("the guest is a plugin")
}

fn given(batch: &Batch) -> Given<'_> {
    Given { input: 0, batch, watermarks: &[] }
}

fn round_trip(group: &mut BenchmarkGroup<'_, WallTime>, runtime: &Runtime, plugin: &Plugin, name: &str, deed: &str) {
    let factory = plugin.transform(context(), json!({"do": deed}), limits()).unwrap();
    let (mut instance, _) = runtime.block_on(factory.start_transform()).unwrap();
    let (batch, mut tables) = (batch(), Tables::default());
    let answer = runtime.block_on(instance.process(given(&batch), &mut tables)).unwrap().answer;
    let is_expected = match (&answer, name) {
        (Answer::Unchanged, "unchanged") => true,
        (Answer::Select(places), "select") => places.len() == RECORDS,
        (Answer::Replaced { records, .. }, "replaced") => *records == batch,
        _ => false,
    };
    assert!(is_expected, "{name}: {answer:?}");
    group.bench_function(name, |bencher| {
        bencher.iter(|| runtime.block_on(instance.process(given(black_box(&batch)), &mut tables)).unwrap());
    });
}

fn boundary(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let plugin = guest(&runtime);
    let mut group = criterion.benchmark_group("boundary");
    group.throughput(Throughput::Elements(RECORDS as u64));
    let batch = batch();
    let (mut index, mut meta, mut data) = batch.clone().into_columns();
    group.bench_function("baseline: memcpy", |bencher| {
        bencher.iter(|| {
            let columns = black_box(&batch).columns();
            index.copy_from_slice(columns.0);
            meta.copy_from_slice(columns.1);
            data.copy_from_slice(columns.2);
            black_box((&mut index, &mut meta, &mut data));
        });
    });
    for (name, deed) in [("unchanged", "nothing"), ("select", "select-all"), ("replaced", "copy-all")] {
        round_trip(&mut group, &runtime, &plugin, name, deed);
    }
    group.finish();
}

criterion_group!(benches, boundary);
criterion_main!(benches);
