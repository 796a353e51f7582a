//! What outlives a crash: the store, the file, the systems outside; and the appliance that is built on them in each life.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::FutureExt;
use weir::clock::Clock;
use weir::dlq::desk::Desk;
use weir::metrics::PipelineMetrics;
use weir::pipeline::{Chain, Destination, StreamTarget, Task, TaskInput, TaskSpec, Wiring};
use weir::plugin::step::{self, Step};
use weir::record::{Offset, Partition, Position, Record, Timestamp};
use weir::sink::Sink;
use weir::source::stream::{StreamReader, Writers};
use weir::source::{Error, Intake, Mode, Reader, intake};
use weir::stop::stop_signal;
use weir::store::committer::Committer;
use weir::store::memory::{Failure, MemoryStore};
use weir::store::{DEAD_LETTERS, PositionKey, Retention, Store, StreamSpec};

use crate::fate::{Fate, Rng, mix};
use crate::parts::{FileSink, OpenFile, Scripted, SimFile, SimReader, SimSink, file_key, push};
use crate::replay::operate;

/// What the records of a seed are.
pub struct Plan {
    seed: u64,
    pub records: u64,
    pub pushes: u64,
    pub mid_partitions: u32,
    /// Whether the second pipeline has a step.
    second_step: bool,
    /// Whether somebody has dead letters replayed.
    pub replays: bool,
}

impl Plan {
    fn new(seed: u64, rng: &Rng) -> Self {
        Plan {
            seed,
            records: 20 + rng.below(400),
            pushes: rng.below(150),
            mid_partitions: 1 + rng.below(3) as u32,
            second_step: rng.chance(50),
            replays: false,
        }
    }

    pub fn action(&self, n: u64) -> &'static str {
        match mix(self.seed.wrapping_mul(1_000_003) ^ n) % 100 {
            0..8 => "drop",
            8..18 => "double",
            18..23 => "reject",
            23..25 => "trap",
            25..33 => "odd",
            33..37 => "undeliverable",
            37..40 => "retry",
            _ => "keep",
        }
    }

    pub fn key(&self, n: u64) -> String {
        format!("k{}", n % 7)
    }

    pub fn value(&self, n: u64) -> String {
        format!("{}-{n}", self.action(n))
    }
}

/// The id of a delivery: sink, source, offset, ordinal.
pub type Id = (String, String, u64, u32);

pub struct World {
    pub fate: Fate,
    pub plan: Plan,
    store: Mutex<MemoryStore>,
    pub file: SimFile,
    /// What each delivery held, and how often it came.
    pub external: Mutex<BTreeMap<Id, Vec<String>>>,
    tried: Mutex<BTreeSet<u64>>,
    pushed: Mutex<u64>,
    pub push_acks: Mutex<BTreeSet<u64>>,
    /// Whether what refused records takes them now.
    is_fixed: AtomicBool,
    acknowledged: Mutex<u64>,
}

impl Deref for World {
    type Target = Fate;

    fn deref(&self) -> &Fate {
        &self.fate
    }
}

/// The simulation's clock: virtual time, which starts at 0 in each life.
struct VirtualClock(tokio::time::Instant);

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.elapsed().as_millis() as i64)
    }
}

impl World {
    pub fn new(seed: u64) -> Arc<Self> {
        World::of(seed, false)
    }

    /// One in which somebody has dead letters replayed.
    pub fn replaying(seed: u64) -> Arc<Self> {
        World::of(seed, true)
    }

    fn of(seed: u64, replays: bool) -> Arc<Self> {
        let rng = Rng::new(seed);
        Arc::new(World {
            plan: Plan { replays, ..Plan::new(seed, &rng) },
            fate: Fate::new(rng),
            store: Mutex::new(MemoryStore::named(seed)),
            file: SimFile::default(),
            external: Mutex::default(),
            tried: Mutex::default(),
            pushed: Mutex::default(),
            push_acks: Mutex::default(),
            is_fixed: AtomicBool::default(),
            acknowledged: Mutex::default(),
        })
    }

    /// From now on nothing is refused.
    pub fn fix(&self) {
        self.event(|| "all is mended".into());
        self.is_fixed.store(true, Ordering::Relaxed);
    }

    pub fn is_fixed(&self) -> bool {
        self.is_fixed.load(Ordering::Relaxed)
    }

    pub fn first_try(&self, n: u64) -> bool {
        self.tried.lock().unwrap().insert(n)
    }

    pub fn delivered(&self, sink: &str, source: &str, record: &Record<'_>, ordinal: u32) {
        let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
        self.event(|| format!("{sink} takes {value} as {source}/{}/{ordinal}", record.offset));
        let id = (sink.to_owned(), source.to_owned(), record.offset.0, ordinal);
        self.external.lock().unwrap().entry(id).or_default().push(value);
    }

    pub fn acknowledged(&self, position: &Position) {
        let offset = position.offset().unwrap();
        self.event(|| format!("the source may forget up to {offset}"));
        let committed =
            self.position(&PositionKey { owner: "first".into(), input: "numbers".into(), partition: Partition(0) });
        assert!(committed >= offset, "{offset} was acknowledged, but {committed} is committed");
        let mut acknowledged = self.acknowledged.lock().unwrap();
        *acknowledged = offset.0.max(*acknowledged);
    }

    pub fn next_push(&self) -> Option<u64> {
        let mut pushed = self.pushed.lock().unwrap();
        (*pushed < self.plan.pushes).then(|| {
            *pushed += 1;
            *pushed - 1
        })
    }

    pub fn push_acknowledged(&self, n: u64) {
        self.event(|| format!("push {n} is durable"));
        self.push_acks.lock().unwrap().insert(n);
    }

    /// The store as this life of the appliance has it.
    pub fn store(&self) -> MemoryStore {
        self.store.lock().unwrap().clone()
    }

    fn position(&self, key: &PositionKey) -> Offset {
        let position = self.store().position(key).now_or_never().unwrap().unwrap();
        position.and_then(|position| position.offset()).unwrap_or_default()
    }

    /// All records of a stream's partition: offset and value.
    pub fn stream(&self, name: &str, partition: u32) -> Vec<(u64, String)> {
        let store = self.store();
        let read = store.read(name, Partition(partition), Offset(0), usize::MAX);
        let Some(Ok(batch)) = read.now_or_never() else { return Vec::new() };
        let value = |record: &Record<'_>| String::from_utf8(record.value.unwrap().to_vec()).unwrap();
        batch.iter().map(|record| (record.offset.0, value(&record))).collect()
    }

    /// One life of the appliance: until it is killed, fails, or has nothing left to do, which is when it returns true.
    pub fn live(self: &Arc<Self>, kill_after_ms: Option<u64>) -> bool {
        let mode = if kill_after_ms.is_some() { Mode::Follow } else { Mode::Drain };
        self.live_as(mode, kill_after_ms.unwrap_or(3_600_000))
    }

    /// One life in which all dead letters are replayed; returns true once there are none.
    pub fn replay_all(self: &Arc<Self>) -> bool {
        self.live_as(Mode::Follow, 3_600_000)
    }

    fn live_as(self: &Arc<Self>, mode: Mode, kill_after_ms: u64) -> bool {
        let store = self.store().reopen();
        *self.store.lock().unwrap() = store;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let appliance = Appliance { world: self.clone(), mode };
        let done = runtime.block_on(async move {
            let kill = Duration::from_millis(kill_after_ms);
            tokio::time::timeout(kill, appliance.run()).await.unwrap_or(false)
        });
        drop(runtime);
        self.event(|| format!("the appliance ends, done: {done}"));
        if !done {
            self.file.crash(self);
        }
        done
    }
}

struct Appliance {
    world: Arc<World>,
    mode: Mode,
}

/// What opens the parts of a task.
struct Wires {
    world: Arc<World>,
    mode: Mode,
    committer: Committer,
    writers: BTreeMap<&'static str, Writers>,
    file: Arc<OpenFile>,
}

const STREAMS: [&str; 4] = ["mid", "odd", "pushes", "merged"];

impl Appliance {
    async fn run(self) -> bool {
        let world = &self.world;
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock(tokio::time::Instant::now()));
        let store: Arc<dyn Store> = Arc::new(world.store());
        for name in STREAMS.into_iter().chain([DEAD_LETTERS]) {
            let partitions = if name == "mid" { world.plan.mid_partitions } else { 1 };
            let retention = Retention { age_ms: None, bytes_max: u64::MAX, compact: false };
            store.create_stream(&StreamSpec { name: name.into(), partitions, retention }).await.unwrap();
        }
        world.file.open(store.position(&file_key()).await.unwrap().as_ref());
        let (committer, commits) = Committer::new(store.clone(), clock.clone(), Default::default());
        let (_stopper, stop) = stop_signal();
        let mut commits = tokio::spawn(commits.run(stop.clone()));
        let file = Arc::new(OpenFile { world: world.clone() });
        let writers: BTreeMap<_, _> = STREAMS.into_iter().map(|name| (name, Writers::default())).collect();
        let wires =
            Arc::new(Wires { world: world.clone(), mode: self.mode, committer: committer.clone(), writers, file });
        if world.fault(30) {
            tokio::spawn(break_store(world.clone()));
        }
        if world.fault(30) {
            world.store().slow_down(Duration::from_millis(world.rng.below(1_000)));
        }
        let desk = Desk::default();
        let mut work = Vec::new();
        let operator = operate(world.clone(), self.mode, committer.clone(), desk.clone());
        let pushing = wires.writers["pushes"].join();
        let (to_intake, requests) = Intake::channel();
        tokio::spawn(push(world.clone(), to_intake));
        let serve = intake::serve(requests, "pushes".into(), 1, committer.clone());
        work.push(tokio::spawn(async move {
            serve.await;
            drop(pushing);
            Ok(())
        }));
        let mut counted = Vec::new();
        for spec in self.specs() {
            let metrics = Arc::new(PipelineMetrics::default());
            counted.push(metrics.clone());
            let writes: Vec<_> =
                wires.writers.iter().filter(|(name, _)| spec_writes(&spec, name)).map(|(_, w)| w.join()).collect();
            let task = Task {
                spec,
                wiring: wires.clone(),
                store: store.clone(),
                committer: committer.clone(),
                metrics,
                clock: clock.clone(),
                desk: desk.clone(),
            };
            let stop = stop.clone();
            work.push(tokio::spawn(async move {
                let result = task.run(stop).await;
                drop(writes);
                result
            }));
        }
        let mut operator = tokio::spawn(operator);
        for work in work {
            tokio::select! { biased;
                result = work => if result.unwrap().is_err() { return false },
                done = &mut operator, if world.plan.replays && self.mode == Mode::Follow => return done.unwrap(),
                _ = &mut commits => return false,
            }
        }
        // What is replayed enters where it was refused, and the steps before it count nothing of it.
        if !world.plan.replays {
            counted.iter().for_each(|metrics| assert_counted_once(metrics));
        }
        true
    }

    fn specs(&self) -> Vec<TaskSpec> {
        let stream =
            |name: &str, partitions| Destination::Stream(StreamTarget { name: name.into(), partitions, key: None });
        let sink = |name: &str| Destination::Sink(name.into());
        let mid = self.world.plan.mid_partitions;
        let task = |pipeline: &str, partition, inputs: &[&str], routes| TaskSpec {
            pipeline: pipeline.into(),
            partition: Partition(partition),
            inputs: (0..)
                .zip(inputs)
                .map(|(n, name)| TaskInput::of(n, Arc::from(*name), Partition(partition)))
                .collect(),
            routes,
            bytes_in_flight_max: 16 * 1024,
            mode: self.mode,
        };
        let first_routes = vec![vec![stream("mid", mid), sink("ext")], vec![stream("odd", 1)]];
        let mut specs = vec![
            task("first", 0, &["numbers"], first_routes),
            task("third", 0, &["pushes"], vec![vec![sink("file")]]),
            task("merge", 0, &["odd", "pushes"], vec![vec![stream("merged", 1)]]),
        ];
        specs.extend((0..mid).map(|n| task("second", n, &["mid"], vec![vec![sink("file"), sink("ext2")]])));
        specs
    }
}

/// What a step counts is what its pipeline counts, however often a chunk was begun again.
fn assert_counted_once(metrics: &PipelineMetrics) {
    for step in metrics.steps().values() {
        assert_eq!(step.records_in.get(), metrics.records_in.get(), "{metrics:?}");
        assert_eq!(step.filtered.get(), metrics.filtered.get(), "{metrics:?}");
        assert!(step.rejected.get() <= metrics.dead.get(), "{metrics:?}");
    }
}

/// Lets a commit fail, before or after it was applied.
async fn break_store(world: Arc<World>) {
    tokio::time::sleep(Duration::from_millis(world.rng.below(2_000))).await;
    let failure = if world.rng.chance(50) { Failure::BeforeApply } else { Failure::AfterApply };
    world.event(|| format!("the next commit fails: {failure:?}"));
    world.store().fail_next(failure);
}

fn spec_writes(spec: &TaskSpec, stream: &str) -> bool {
    spec.routes.iter().flatten().any(|to| matches!(to, Destination::Stream(target) if *target.name == *stream))
}

#[async_trait]
impl Wiring for Wires {
    async fn reader(&self, _: &TaskSpec, input: &TaskInput, at: Option<&Position>) -> Result<Box<dyn Reader>, Error> {
        let TaskInput { name, partition, .. } = input;
        if **name == *"numbers" {
            let next = at.and_then(Position::offset).unwrap_or_default().0;
            return Ok(Box::new(SimReader { world: self.world.clone(), next, mode: self.mode }));
        }
        let store = Arc::new(self.world.store());
        let writers = &self.writers[&**name];
        let stream =
            StreamReader::open(store, &self.committer, name.clone(), *partition, at, self.mode, writers).await?;
        Ok(Box::new(stream))
    }

    async fn chain(&self, task: &TaskSpec) -> Result<Chain, step::Error> {
        let scripted = &*task.pipeline == "first";
        let mut steps = Vec::new();
        let mut ports = BTreeMap::new();
        if scripted || (&*task.pipeline == "second" && self.world.plan.second_step) {
            let factory = Arc::new(Scripted { world: self.world.clone(), script: scripted });
            let home = task.home(&(Arc::new(self.world.store()) as Arc<dyn Store>));
            steps.push(Step::start("scripted".into(), factory, 3, &home).await?);
        }
        if scripted {
            ports.insert("odd".into(), 1);
        }
        Ok(Chain::new(steps, &ports).expect("the scripted plugin has the port"))
    }

    async fn sink(&self, _task: &TaskSpec, name: &str) -> Result<Box<dyn Sink>, Error> {
        if name == "file" {
            return Ok(Box::new(FileSink { file: self.file.clone() }));
        }
        Ok(Box::new(SimSink { world: self.world.clone(), name: name.into() }))
    }
}
