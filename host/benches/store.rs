//! What the embedded store gives: commits a second with one fsync for many against one fsync for each, and records a
//! second through a stream. Both sides of a comparison run in the same process, on the same disk.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use weir::clock::SystemClock;
use weir::record::{Batch, Offset, Partition, Position, Record, Timestamp};
use weir::stop::stop_signal;
use weir::store::committer::{Commit, CommitLimits, Committer, Lane};
use weir::store::embedded::EmbeddedStore;
use weir::store::{Append, Changes, PositionKey, Retention, Store, StreamSpec};

/// Tasks that commit at the same time.
const TASKS: u32 = 64;
const PARTITIONS: u32 = 4;
const RECORDS: usize = 1000;
const VALUE_BYTES: usize = 200;

/// A store on the disk that holds the build, as the system's place for temporary files may be memory.
fn open(runtime: &Runtime, bytes_max: u64) -> (Arc<EmbeddedStore>, TempDir) {
    let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = EmbeddedStore::open(data.path()).unwrap();
    let retention = Retention { age_ms: None, bytes_max, compact: false };
    runtime.block_on(store.create_stream(&StreamSpec { name: "s".into(), partitions: PARTITIONS, retention })).unwrap();
    (Arc::new(store), data)
}

/// Lines as they come from sshd, of 200 bytes each.
fn batch(records: usize) -> Batch {
    let mut batch = Batch::with_capacity(records, records * VALUE_BYTES);
    for n in 0..records as u32 {
        let [_, a, b, c] = n.wrapping_mul(2_654_435_761).to_be_bytes();
        let mut line = format!(
            "Nov 21 15:46:{:02} bastion sshd[{n}]: Failed password for invalid user admin from 192.0.{a}.{b} port {} ssh2: ",
            n % 60,
            u32::from(c) * 256 + 1024,
        );
        while line.len() < VALUE_BYTES {
            line.push_str("RSA SHA256:");
        }
        line.truncate(VALUE_BYTES);
        batch.push(&Record::of(line.as_bytes(), Timestamp(i64::from(n))));
    }
    batch
}

/// What a task commits for a small batch: its position and ten records.
fn changes(task: u32) -> Changes {
    let key = PositionKey { owner: "bench".into(), input: "s".into(), partition: Partition(task) };
    Changes {
        positions: vec![(key, Position::at(Offset(1)))],
        appends: vec![Append { stream: "s".into(), partition: Partition(task % PARTITIONS), records: batch(10) }],
        ..Changes::default()
    }
}

async fn commit_from_tasks(committer: &Committer, commits: u64) -> Duration {
    let started = Instant::now();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (committer, lane, changes) = (committer.clone(), Lane::default(), changes(task));
            let commits = commits / u64::from(TASKS) + u64::from(u64::from(task) < commits % u64::from(TASKS));
            tokio::spawn(async move {
                for _ in 0..commits {
                    let commit = Commit { changes: changes.clone(), staged: Vec::new() };
                    committer.submit(&lane, commit).await.await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    started.elapsed()
}

fn commits(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (store, _data) = open(&runtime, 64 << 20);
    let mut group = criterion.benchmark_group("commits");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    group.bench_function("one fsync each (baseline)", |bencher| {
        let changes = [changes(0)];
        bencher.iter(|| runtime.block_on(store.commit(&changes, Timestamp(0))).unwrap());
    });
    let (committer, commit_loop) =
        Committer::new(store.clone(), Arc::new(SystemClock), CommitLimits { ..CommitLimits::default() });
    let (stopper, stop) = stop_signal();
    let running = runtime.spawn(commit_loop.run(stop));
    group.bench_function("64 tasks, one committer", |bencher| {
        bencher.iter_custom(|commits| runtime.block_on(commit_from_tasks(&committer, commits)));
    });
    group.finish();
    stopper.stop();
    runtime.block_on(running).unwrap().unwrap();
}

fn streams(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (store, data) = open(&runtime, 256 << 20);
    let records = batch(RECORDS);
    let append = Append { stream: "s".into(), partition: Partition(0), records: records.clone() };
    let changes = [Changes { appends: vec![append; 8], ..Changes::default() }];
    let mut group = criterion.benchmark_group("streams");
    group.sample_size(20);
    group.throughput(Throughput::Elements(8 * RECORDS as u64));
    group.bench_function("append 8 batches of 1,000 with one fsync", |bencher| {
        bencher.iter(|| {
            runtime.block_on(store.commit(&changes, Timestamp(0))).unwrap();
            runtime.block_on(store.trim(Timestamp(0), &|_, _| None)).unwrap();
        });
    });
    group.throughput(Throughput::Elements(4 * RECORDS as u64));
    let read = |store: &EmbeddedStore, from| runtime.block_on(store.read("s", Partition(0), from, 1)).unwrap();
    let head = runtime.block_on(store.bounds("s", Partition(0))).unwrap();
    group.bench_function("read 4 merged batches of 1,000 at the head", |bencher| {
        let from = Offset(head.end.0 - 4 * RECORDS as u64);
        bencher.iter(|| assert_eq!(read(&store, from).len(), 4 * RECORDS));
    });
    drop(store);
    let store = EmbeddedStore::open(data.path()).unwrap();
    let mut from = head.start;
    group.bench_function("read 4 merged batches of 1,000 from disk", |bencher| {
        bencher.iter(|| {
            let len = read(&store, from).len() as u64;
            from = if from.0 + len < head.end.0 { Offset(from.0 + len) } else { head.start };
        });
    });
    group.throughput(Throughput::Elements(RECORDS as u64));
    group.bench_function("copy a batch of 1,000 (baseline)", |bencher| bencher.iter(|| records.clone()));
    group.finish();
}

criterion_group!(benches, commits, streams);
criterion_main!(benches);
