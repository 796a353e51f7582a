//! What outlives a crash of stateful tasks, and the appliance that is built on it in each life.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::FutureExt;
use weir::clock::Clock;
use weir::metrics::PipelineMetrics;
use weir::pipeline::{Chain, Destination, StreamTarget, TableInput, Task, TaskInput, TaskSpec, Wiring};
use weir::plugin::step::{self, Step};
use weir::record::{Offset, Partition, Position, Record, Timestamp};
use weir::sink::Sink;
use weir::source::{Error, Mode, Reader};
use weir::stop::stop_signal;
use weir::store::committer::Committer;
use weir::store::memory::{Failure, MemoryStore};
use weir::store::{DEAD_LETTERS, PositionKey, Retention, Store, StreamSpec, TableId};

use super::model::Id;
use super::parts::{Outside, PlanReader, Which, offsets};
use super::plan::{Input, Plan};
use super::steps::{Kind, Steps};
use crate::fate::{Fate, Rng};

pub struct World {
    fate: Fate,
    pub plan: Plan,
    store: Mutex<MemoryStore>,
    /// What came outside under each id.
    pub outside: Mutex<BTreeMap<Id, BTreeSet<String>>>,
    tried: Mutex<BTreeSet<String>>,
    /// The time of the clock at which the next life begins.
    begins_at: Mutex<i64>,
}

/// The clock of one life: virtual time. It never goes back, whatever happens.
struct LifeClock {
    begun: tokio::time::Instant,
    at: i64,
}

impl Clock for LifeClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.at + self.begun.elapsed().as_millis() as i64)
    }
}

impl Deref for World {
    type Target = Fate;

    fn deref(&self) -> &Fate {
        &self.fate
    }
}

impl World {
    pub fn new(seed: u64) -> Arc<Self> {
        let rng = Rng::new(seed);
        let plan = Plan::new(&rng);
        let (store, outside, tried, begins_at) = Default::default();
        Arc::new(World { fate: Fate::new(rng), plan, store, outside, tried, begins_at })
    }

    pub fn input(&self, which: Which) -> &Input {
        match which {
            Which::Stream { task, input } => &self.plan.inputs[task][input],
            Which::Table { task } => self.plan.tables[task].as_ref().unwrap(),
            Which::Global { partition } => &self.plan.global[partition],
        }
    }

    pub fn first_try(&self, name: &str) -> bool {
        self.tried.lock().unwrap().insert(name.into())
    }

    pub fn delivered(&self, source: &str, record: &Record<'_>, ordinal: u32) {
        let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
        self.event(|| format!("{source}/{}/{ordinal}: {value}", record.offset));
        let id = (source.to_owned(), record.offset.0, ordinal);
        self.outside.lock().unwrap().entry(id).or_default().insert(value);
    }

    /// A source is told what is committed, and no more.
    pub fn acknowledged(&self, key: &PositionKey, position: &Position) {
        let committed = self.store().position(key).now_or_never().unwrap();
        // A store that has failed says nothing.
        let Ok(committed) = committed else { return };
        let committed = committed.map_or(Vec::new(), |committed| offsets(&committed));
        let told = offsets(position);
        let is_committed = told.iter().zip(&committed).all(|(told, committed)| told <= committed);
        assert!(is_committed && told.len() == committed.len(), "{told:?} was acknowledged, {committed:?} is committed");
    }

    /// The store as this life of the appliance has it.
    pub fn store(&self) -> MemoryStore {
        self.store.lock().unwrap().clone()
    }

    /// The values of a stream.
    pub fn stream(&self, name: &str) -> Vec<String> {
        let store = self.store();
        let read = store.read(name, Partition(0), Offset(0), usize::MAX);
        let Some(Ok(batch)) = read.now_or_never() else { return Vec::new() };
        batch.iter().map(|record| String::from_utf8(record.value.unwrap().to_vec()).unwrap()).collect()
    }

    /// What is committed of a table of a task's step.
    pub fn table(&self, task: usize, step: &str, table: &str) -> Vec<(Bytes, Bytes)> {
        let id = table_id(task, step, table);
        let scan = self.store().state_scan(&id, b"", None, usize::MAX, usize::MAX).now_or_never();
        scan.unwrap().unwrap().entries
    }

    /// Lets much time pass on the clock.
    pub fn sleep(&self) {
        *self.begins_at.lock().unwrap() += 3_600_000;
    }

    /// One life of the appliance: until it is killed, fails, or has nothing left to do, which is when it returns true.
    pub fn live(self: &Arc<Self>, kill_after_ms: Option<u64>) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        // How far an idle input holds the others back is left to the clock where records are followed.
        let mode = if kill_after_ms.is_some() && !self.plan.is_exact { Mode::Follow } else { Mode::Drain };
        let (done, ms) = runtime.block_on(async {
            let begun = tokio::time::Instant::now();
            let clock = Arc::new(LifeClock { begun, at: *self.begins_at.lock().unwrap() });
            let kill = Duration::from_millis(kill_after_ms.unwrap_or(3_600_000));
            let done = tokio::time::timeout(kill, run(self.clone(), clock, mode)).await.unwrap_or(false);
            (done, begun.elapsed().as_millis() as i64)
        });
        drop(runtime);
        self.event(|| format!("the appliance ends, done: {done}"));
        *self.begins_at.lock().unwrap() += ms + 1 + self.rng.below(50) as i64;
        let store = self.store().reopen();
        *self.store.lock().unwrap() = store;
        done
    }
}

pub fn table_id(task: usize, step: &str, table: &str) -> TableId {
    TableId { pipeline: "keyed".into(), step: step.into(), table: table.into(), partition: Partition(task as u32) }
}

/// What opens the parts of a task.
struct Wires {
    world: Arc<World>,
    clock: Arc<dyn Clock>,
    mode: Mode,
}

/// The streams that a task appends to: by its main port, and by the ports of the step.
pub const STREAMS: [&str; 3] = ["out", "side", "ticks"];

async fn run(world: Arc<World>, clock: Arc<dyn Clock>, mode: Mode) -> bool {
    let store: Arc<dyn Store> = Arc::new(world.store());
    let tasks = world.plan.inputs.len();
    let names = (0..tasks).flat_map(|task| STREAMS.map(|name| format!("{name}-{task}")));
    for name in names.chain([DEAD_LETTERS.to_owned()]) {
        let retention = Retention { age_ms: None, bytes_max: u64::MAX, compact: false };
        store.create_stream(&StreamSpec { name: name.into(), partitions: 1, retention }).await.unwrap();
    }
    let (committer, commits) = Committer::new(store.clone(), clock.clone(), Default::default());
    let (_stopper, stop) = stop_signal();
    let mut commits = tokio::spawn(commits.run(stop.clone()));
    if world.fault(30) {
        tokio::spawn(break_store(world.clone()));
    }
    if world.fault(30) {
        world.store().slow_down(Duration::from_millis(world.rng.below(100)));
    }
    let wiring = Arc::new(Wires { world: world.clone(), clock: clock.clone(), mode });
    let work: Vec<_> = (0..tasks)
        .map(|task| {
            let task = Task {
                spec: spec(&world.plan, task, mode),
                wiring: wiring.clone(),
                store: store.clone(),
                committer: committer.clone(),
                metrics: Arc::new(PipelineMetrics::default()),
                clock: clock.clone(),
                desk: Default::default(),
            };
            let stop = stop.clone();
            tokio::spawn(async move { task.run(stop).await })
        })
        .collect();
    for work in work {
        tokio::select! { biased;
            result = work => if result.unwrap().is_err() { return false },
            _ = &mut commits => return false,
        }
    }
    true
}

/// Lets a commit fail, before or after it was applied.
async fn break_store(world: Arc<World>) {
    tokio::time::sleep(Duration::from_millis(world.rng.below(100))).await;
    let failure = if world.rng.chance(50) { Failure::BeforeApply } else { Failure::AfterApply };
    world.event(|| format!("the next commit fails: {failure:?}"));
    world.store().fail_next(failure);
}

fn spec(plan: &Plan, task: usize, mode: Mode) -> TaskSpec {
    let partition = Partition(task as u32);
    let streams = plan.inputs[task].len() as u32;
    let table = |number, name: &str, partition, is_global| {
        let table = Some(TableInput { step: 1, step_name: "count".into(), is_global });
        TaskInput { number, name: name.into(), partition, table }
    };
    let mut inputs: Vec<_> =
        (0..streams).map(|input| TaskInput::of(input, format!("in{input}").into(), partition)).collect();
    inputs.extend((0..plan.global.len()).map(|n| table(streams, "global", Partition(n as u32), true)));
    inputs.extend(plan.tables[task].iter().map(|_| table(streams + 1, "table", partition, false)));
    let stream = |name: &str| StreamTarget { name: format!("{name}-{task}").into(), partitions: 1, key: None };
    let route = |name| vec![Destination::Stream(stream(name)), Destination::Sink("outside".into())];
    TaskSpec {
        pipeline: "keyed".into(),
        partition,
        inputs,
        routes: STREAMS.map(route).into(),
        bytes_in_flight_max: plan.bytes_in_flight_max,
        mode,
    }
}

#[async_trait]
impl Wiring for Wires {
    async fn reader(
        &self,
        spec: &TaskSpec,
        input: &TaskInput,
        at: Option<&Position>,
    ) -> Result<Box<dyn Reader>, Error> {
        let task = spec.partition.0 as usize;
        let which = match &input.table {
            None => Which::Stream { task, input: input.number as usize },
            Some(table) if table.is_global => Which::Global { partition: input.partition.0 as usize },
            Some(_) => Which::Table { task },
        };
        let key = spec.position_key(input);
        Ok(Box::new(PlanReader::open(self.world.clone(), which, key, at, self.mode)))
    }

    async fn chain(&self, task: &TaskSpec) -> Result<Chain, step::Error> {
        let home = task.home(&(Arc::new(self.world.store()) as Arc<dyn Store>));
        let mut steps = Vec::new();
        for (name, kind) in [("filter", Kind::Filter), ("count", Kind::Count), ("tally", Kind::Tally)] {
            let factory = Arc::new(Steps { world: self.world.clone(), clock: self.clock.clone(), kind });
            steps.push(Step::start(name.into(), factory, 3, &home).await?);
        }
        let ports = BTreeMap::from([("side".into(), 1), ("ticks".into(), 2)]);
        Ok(Chain::new(steps, &ports).expect("the step has these ports"))
    }

    async fn sink(&self, _: &TaskSpec, _: &str) -> Result<Box<dyn Sink>, Error> {
        Ok(Box::new(Outside(self.world.clone())))
    }
}
