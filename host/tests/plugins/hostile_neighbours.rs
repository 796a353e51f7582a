//! A good pipeline's step beside hostile ones, in one process and one runtime: it loses nothing, and how late its answers come
//! is printed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir::plugin::step::Step;
use weir::plugin::{Answer, Factory, Given};
use weir::record::Partition;
use weir::state::Home;
use weir::store::memory::MemoryStore;

use crate::guests::{batch, built, context, hostile, hurried, load};

/// Batches of the good one, each way.
const BATCHES: usize = 2_000;

async fn step(factory: Arc<dyn Factory>) -> Step {
    let home = Home { store: Arc::new(MemoryStore::new()), pipeline: "test".into(), partition: Partition(0) };
    Step::start("step".into(), factory, 0, &home).await.unwrap()
}

/// How long the good one took for each batch, in order.
async fn times() -> Vec<Duration> {
    let plugin = load(built("grep")).await;
    let mut good = step(plugin.step(context(), json!({"needle": "a"}), hurried()).unwrap()).await;
    let given = batch(&["a", "b"].map(|text| text.repeat(100)).iter().cycle().take(100).collect::<Vec<_>>());
    let kept: Vec<u32> = (0..100).step_by(2).collect();
    let mut times = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        let begun = Instant::now();
        let outcome = good.run(Given { input: 0, batch: &given, watermarks: &[] }).await.unwrap();
        times.push(begun.elapsed());
        assert_eq!((outcome.answer, outcome.rejects), (Answer::Select(kept.clone()), vec![]));
        // As between two batches of a pipeline.
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    times.sort_unstable();
    times
}

async fn misbehave(factory: Arc<dyn Factory>, is_over: Arc<AtomicBool>, turns: Arc<AtomicU64>) {
    let mut step = step(factory).await;
    while !is_over.load(Ordering::Relaxed) {
        let given = batch(&["a", "b", "c"]);
        // Whether it rejects or fails is shown elsewhere.
        let _ = step.run(Given { input: 0, batch: &given, watermarks: &[] }).await;
        turns.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
    }
}

async fn hostile_factories() -> Vec<(Value, Arc<dyn Factory>)> {
    let deeds = [
        json!({"do": "loop"}),
        json!({"do": "panic"}),
        json!({"do": "recurse"}),
        json!({"do": "grow"}),
        json!({"do": "huge-output", "bytes": 400_000}),
        json!({"do": "log-flood", "messages": 10_000}),
        json!({"do": "select-descending"}),
    ];
    let mut all: Vec<(Value, Arc<dyn Factory>)> = Vec::new();
    for config in deeds {
        all.push((config.clone(), Arc::new(hostile(config, hurried()).await)));
    }
    let probe = load(built("wasi-probe")).await;
    for config in [json!({"do": "sleep"}), json!({"do": "print"}), json!({"do": "exit"})] {
        all.push((config.clone(), probe.step(context(), config, hurried()).unwrap()));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_pipeline_works_on_beside_hostile_ones() {
    let alone = times().await;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut neighbours = Vec::new();
    for (config, factory) in hostile_factories().await {
        let turns = Arc::new(AtomicU64::new(0));
        let running = tokio::spawn(misbehave(factory, is_over.clone(), turns.clone()));
        neighbours.push((config, turns, running));
    }
    let beside = times().await;
    is_over.store(true, Ordering::Relaxed);
    for (config, turns, running) in neighbours {
        running.await.unwrap();
        assert!(turns.load(Ordering::Relaxed) > 0, "{config} did nothing");
    }
    for (what, times) in [("alone", alone), ("beside ten hostile ones", beside)] {
        let [half, most] = [50, 99].map(|percent| times[times.len() * percent / 100]);
        println!(
            "a batch of the good plugin, {what}: median {half:?}, p99 {most:?}, worst {:?}",
            times[times.len() - 1]
        );
    }
}
