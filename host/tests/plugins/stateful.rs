//! A real stateful plugin in a real task: whatever way batches are cut, and whenever the task is killed, each output comes
//! once under its id, and says what a computation over all records at once says. There are two of those: a model that
//! searches lists, here, and DuckDB.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use weir::clock::Clock;
use weir::metrics::PipelineMetrics;
use weir::pipeline::{Chain, Destination, Task, TaskInput, TaskSpec, Wiring};
use weir::plugin::step::{self, Step};
use weir::plugin::{Answer, Description, Factory, Failure, Given, Instance, Outcome, Plugin, StartError};
use weir::record::{Batch, Offset, Output, Partition, Position, Record, Timestamp};
use weir::sink::{Confirm, Delivery, Sink};
use weir::source::{Chunk, Error, Mode, Reader};
use weir::state::{Home, Tables};
use weir::stop::stop_signal;
use weir::store::committer::Committer;
use weir::store::memory::MemoryStore;
use weir::store::{DEAD_LETTERS, Retention, Store, StreamSpec};

use crate::guests::{built, context, limits, load};
use crate::oracle::{self, Lines, Oracle};

/// Numbers that follow from a seed (splitmix64).
struct Rng(Mutex<u64>);

impl Rng {
    fn below(&self, bound: u64) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// Of an output: the input, offset and ordinal that its id is made of.
type Id = (usize, u64, u32);

/// What befalls a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// Nothing.
    Straight,
    /// Reading and delivering fail now and then: what was not committed is read again, cut otherwise, and delivered again.
    Redelivered,
    /// It is killed at any moment as well, and started on what it had committed.
    Killed,
}

/// What did befall it.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    kills: u64,
    /// Records that were read again.
    records: u64,
    /// Outputs that were delivered again.
    outputs: u64,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.kills += other.kills;
        self.records += other.records;
        self.outputs += other.outputs;
    }
}

/// What is given, and what came out.
struct Case {
    rng: Rng,
    plugin: &'static str,
    config: Value,
    /// By input: key and time. The value is the key, and for a join the number of the record as well.
    inputs: Vec<Vec<(&'static str, i64)>>,
    /// Whether a step gives the records their times, which do not have them when they are read.
    is_timed_late: bool,
    way: Way,
    out: Mutex<BTreeMap<Id, String>>,
    /// By input, up to which record it was read.
    read: Mutex<[u64; 2]>,
    again: Mutex<Tally>,
    is_done: Mutex<bool>,
}

/// A key whose records a step before drops, so that only their time reaches the plugin.
const DROPPED: &str = "dropped";

impl Case {
    fn new(seed: u64, way: Way) -> Arc<Self> {
        let rng = Rng(Mutex::new(seed));
        let (gap, grace) = (rng.below(20), rng.below(20));
        let size = 1 + rng.below(30);
        let (plugin, config) = match rng.below(4) {
            0 => ("windows", json!({"windows": {"size": size, "advance": size, "grace": grace}})),
            1 => ("windows", json!({"windows": {"size": size, "advance": 1 + rng.below(size), "grace": grace}})),
            2 => ("windows", json!({"sessions": {"gap": gap, "grace": grace}})),
            _ => ("asof", json!({"grace": grace})),
        };
        let count = if plugin == "asof" { 2 } else { 1 };
        let inputs = (0..count).map(|_| records(&rng)).collect();
        let is_timed_late = count == 1 && rng.below(2) == 0;
        let (out, read, again, is_done) = Default::default();
        Arc::new(Case { rng, plugin, config, inputs, is_timed_late, way, out, read, again, is_done })
    }

    /// Whether something fails, now and then.
    fn fails(&self) -> bool {
        self.way != Way::Straight && self.rng.below(20) == 0
    }

    /// The inputs as they are behind the step that drops records.
    fn kept(&self) -> Vec<Vec<(Option<&str>, i64)>> {
        let kept = |(key, time): &(&'static str, i64)| (Some(*key).filter(|key| *key != DROPPED), *time);
        self.inputs.iter().map(|records| records.iter().map(kept).collect()).collect()
    }

    /// What has to come out, computed record by record.
    fn expected(&self) -> BTreeMap<Id, String> {
        if self.plugin == "asof" {
            return self.joined();
        }
        let mut model = Model::new(&self.config);
        let mut out = BTreeMap::new();
        for (offset, (key, time)) in (0..).zip(&self.inputs[0]) {
            let values = model.take(key, *time);
            out.extend((0..).zip(values).map(|(ordinal, value)| ((0, offset, ordinal), value)));
        }
        out
    }

    /// The join: inputs merged by time, a record joined once the lower of their highest times is past its grace.
    fn joined(&self) -> BTreeMap<Id, String> {
        let grace = self.config["grace"].as_i64().unwrap();
        let (mut next, mut highest, mut watermark) = ([0, 0], [i64::MIN; 2], i64::MIN);
        let mut waiting = BTreeSet::<(i64, usize, &str)>::new();
        let mut versions = BTreeMap::<(&str, i64), usize>::new();
        let mut out = BTreeMap::new();
        let time_of = |input: usize, next: [usize; 2]| self.inputs[input].get(next[input]).map(|(_, time)| *time);
        while let Some(input) = (0..2).filter(|at| time_of(*at, next).is_some()).min_by_key(|at| time_of(*at, next)) {
            let (offset, other) = (next[input], 1 - input);
            let (key, time) = self.inputs[input][offset];
            highest[input] = highest[input].max(time);
            let is_other_over = time_of(other, next).is_none();
            watermark = watermark.max(if is_other_over { highest[input] } else { highest[input].min(highest[other]) });
            next[input] += 1;
            let mut made = Vec::new();
            let mut fire = |waiting: &mut BTreeSet<(i64, usize, &str)>, versions: &BTreeMap<(&str, i64), usize>| {
                while let Some((due, number, key)) = waiting.first().copied().filter(|(due, ..)| *due <= watermark) {
                    waiting.pop_first();
                    let version = versions.range((key, i64::MIN)..=(key, due - grace)).next_back();
                    let version = version.map_or("none".into(), |(_, number)| format!("{key}{number}"));
                    made.push(format!("{key}{number} {version}"));
                }
            };
            fire(&mut waiting, &versions);
            match (key, input) {
                (DROPPED, _) => {}
                (_, 0) => drop(waiting.insert((time + grace, offset, key))),
                _ => drop(versions.insert((key, time), offset)),
            }
            fire(&mut waiting, &versions);
            out.extend((0..).zip(made).map(|(ordinal, value)| ((input, offset as u64, ordinal), value)));
        }
        out
    }
}

/// Some records, in the order in which they come.
fn records(rng: &Rng) -> Vec<(&'static str, i64)> {
    let mut time = rng.below(1_000) as i64 - 500;
    let mut records = Vec::new();
    for _ in 0..rng.below(200) {
        time += [0, 1, 3, 40][rng.below(4) as usize] * rng.below(3) as i64;
        let late = [0, 0, 5, 15, 60][rng.below(5) as usize] * rng.below(2) as i64;
        records.push((["a", "b", "c", DROPPED][rng.below(4) as usize], time - late));
    }
    records
}

/// Windows and sessions, all in one list that is searched from end to end.
struct Model {
    lengths: Vec<i64>,
    watermark: i64,
    /// Key, start, end and count; for a session the end is its last record's time.
    open: BTreeSet<(i64, String, i64, u64)>,
}

impl Model {
    fn new(config: &Value) -> Self {
        let number = |value: &Value| value.as_i64().unwrap();
        let lengths = match config.get("windows") {
            Some(windows) => vec![number(&windows["size"]), number(&windows["advance"]), number(&windows["grace"])],
            None => vec![number(&config["sessions"]["gap"]), number(&config["sessions"]["grace"])],
        };
        Model { lengths, watermark: i64::MIN, open: BTreeSet::new() }
    }

    fn closes_at(&self, end: i64) -> i64 {
        match self.lengths[..] {
            [_, _, grace] => end + grace,
            _ => end + self.lengths[0] + self.lengths[1] + 1,
        }
    }

    fn take(&mut self, key: &str, time: i64) -> Vec<String> {
        self.watermark = self.watermark.max(time);
        let mut closed: Vec<_> =
            self.open.iter().filter(|(_, _, end, _)| self.closes_at(*end) <= self.watermark).cloned().collect();
        closed.sort_by_key(|(start, key, end, _)| (*end, *start, key.clone()));
        self.open.retain(|open| !closed.iter().any(|other| other == open));
        let mut out: Vec<String> =
            closed.iter().map(|(start, key, end, count)| format!("{key} {start} {end} {count}")).collect();
        if key != DROPPED && !self.count(key, time) {
            out.push(format!("late {key}"));
        }
        out
    }

    fn count(&mut self, key: &str, time: i64) -> bool {
        if let [size, advance, _] = self.lengths[..] {
            let starts = (time - size + 1..=time).filter(|start| start.rem_euclid(advance) == 0);
            let windows: Vec<_> = starts.filter(|start| self.closes_at(start + size) > self.watermark).collect();
            for start in &windows {
                let known = self.open.iter().find(|(s, k, ..)| s == start && k == key).cloned();
                let count = known.as_ref().map_or(0, |(.., count)| *count);
                self.open.retain(|open| !known.iter().any(|other| other == open));
                self.open.insert((*start, key.to_owned(), start + size, count + 1));
            }
            // A record of no window that is open, or that ever was.
            return !windows.is_empty();
        }
        let gap = self.lengths[0];
        let near = |(start, k, end, _): &&(i64, String, i64, u64)| k == key && start - gap <= time && time <= end + gap;
        let joined: Vec<_> = self.open.iter().filter(near).cloned().collect();
        let start = joined.iter().map(|session| session.0).fold(time, i64::min);
        let end = joined.iter().map(|session| session.2).fold(time, i64::max);
        if self.closes_at(end) <= self.watermark {
            return false;
        }
        self.open.retain(|open| !joined.iter().any(|other| other == open));
        self.open.insert((start, key.to_owned(), end, joined.iter().map(|session| session.3).sum::<u64>() + 1));
        true
    }
}

/// Gives the records in chunks of any size.
struct CaseReader {
    case: Arc<Case>,
    input: usize,
    next: u64,
}

#[async_trait]
impl Reader for CaseReader {
    async fn next(&mut self) -> Result<Option<Chunk>, Error> {
        let (rng, given) = (&self.case.rng, &self.case.inputs[self.input]);
        let all = given.len() as u64;
        tokio::time::sleep(Duration::from_millis(rng.below(3))).await;
        if self.case.fails() {
            return Err(Error::retry("the source hiccups"));
        }
        if self.next == all {
            return Ok(None);
        }
        let end = (self.next + 1 + rng.below(20)).min(all);
        let mut records = Batch::default();
        for n in self.next..end {
            let (key, time) = given[n as usize];
            let value = if self.case.inputs.len() > 1 && key != DROPPED { format!("{key}{n}") } else { key.to_owned() };
            let time = if self.case.is_timed_late { 1_700_000_000_000 } else { time };
            let record = Record::of(value.as_bytes(), Timestamp(time));
            records.push(&Record { key: Some(key.as_bytes()), offset: Offset(n), ..record });
        }
        let mut read = self.case.read.lock().unwrap();
        self.case.again.lock().unwrap().records += read[self.input].min(end).saturating_sub(self.next);
        read[self.input] = read[self.input].max(end);
        self.next = end;
        Ok(Some(Chunk { source: self.input.to_string().into(), records, position: Position::at(Offset(end)) }))
    }
}

/// Gives records their times.
struct TimeSetter(Arc<Case>);

#[async_trait]
impl Instance for TimeSetter {
    async fn process(&mut self, given: Given<'_>, _: &mut Tables) -> Result<Outcome, Failure> {
        let mut records = Batch::default();
        for record in given.batch.iter() {
            let (_, time) = self.0.inputs[0][record.offset.0 as usize];
            records.push(&Record { timestamp: Timestamp(time), ..record });
        }
        let origin = (0..records.len() as u32).collect();
        Ok(Outcome::of(Answer::Replaced { records, origin, fired: Vec::new() }, Vec::new()))
    }
}

#[async_trait]
impl Factory for TimeSetter {
    async fn start(&self) -> Result<(Box<dyn Instance>, Description), StartError> {
        let description = Description { sets_time: true, ..Description::default() };
        Ok((Box::new(TimeSetter(self.0.clone())), description))
    }
}

/// Drops what is to be dropped.
struct Dropper;

#[async_trait]
impl Instance for Dropper {
    async fn process(&mut self, given: Given<'_>, _: &mut Tables) -> Result<Outcome, Failure> {
        let kept = (0..).zip(given.batch.iter()).filter(|(_, record)| record.value != Some(DROPPED.as_bytes()));
        Ok(Outcome::of(Answer::Select(kept.map(|(at, _)| at).collect()), Vec::new()))
    }
}

#[async_trait]
impl Factory for Dropper {
    async fn start(&self) -> Result<(Box<dyn Instance>, Description), StartError> {
        Ok((Box::new(Dropper), Description::default()))
    }
}

/// Notes what it is given; the same id always has to mean the same.
struct CaseSink {
    case: Arc<Case>,
    prefix: &'static str,
}

#[async_trait]
impl Sink for CaseSink {
    async fn send(&mut self, output: Arc<Output>) -> Result<Confirm, Error> {
        let input = output.source.parse().unwrap();
        for (record, ordinal) in output.records.iter().zip(&output.ordinals) {
            let value = format!("{}{}", self.prefix, String::from_utf8_lossy(record.value.unwrap()));
            let before = self.case.out.lock().unwrap().insert((input, record.offset.0, *ordinal), value.clone());
            assert!(before.is_none() || before.as_ref() == Some(&value), "{before:?} became {value:?}");
            self.case.again.lock().unwrap().outputs += u64::from(before.is_some());
        }
        let (case, delay) = (self.case.clone(), self.case.rng.below(4));
        Ok(Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(delay)).await;
            if case.fails() {
                return Err(Error::retry("the answer was lost"));
            }
            Ok(Delivery::default())
        }))
    }
}

struct CaseWires {
    case: Arc<Case>,
    plugin: Plugin,
    store: Arc<dyn Store>,
}

#[async_trait]
impl Wiring for CaseWires {
    async fn reader(&self, _: &TaskSpec, input: &TaskInput, at: Option<&Position>) -> Result<Box<dyn Reader>, Error> {
        let next = at.and_then(Position::offset).unwrap_or_default().0;
        Ok(Box::new(CaseReader { case: self.case.clone(), input: input.name.parse().unwrap(), next }))
    }

    async fn chain(&self, task: &TaskSpec) -> Result<Chain, step::Error> {
        let home = task.home(&self.store);
        let step = self.plugin.step(context(), self.case.config.clone(), limits()).unwrap();
        let mut steps = Vec::new();
        if self.case.is_timed_late {
            let setter = Arc::new(TimeSetter(self.case.clone()));
            steps.push(Step::start("times".into(), setter, 0, &home).await?);
        }
        steps.extend([
            Step::start("dropper".into(), Arc::new(Dropper), 0, &home).await?,
            Step::start("step".into(), step, 0, &home).await?,
        ]);
        let ports = if self.case.plugin == "windows" { BTreeMap::from([("late".into(), 1)]) } else { BTreeMap::new() };
        Ok(Chain::new(steps, &ports).unwrap())
    }

    async fn sink(&self, _: &TaskSpec, name: &str) -> Result<Box<dyn Sink>, Error> {
        let prefix = if name == "late" { "late " } else { "" };
        Ok(Box::new(CaseSink { case: self.case.clone(), prefix }))
    }
}

/// A clock that stands still: nothing here may depend on it.
struct NoClock;

impl Clock for NoClock {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }
}

/// One life of the task, which ends by itself.
async fn live(case: Arc<Case>, plugin: Plugin, store: Arc<dyn Store>) {
    let retention = Retention { age_ms: None, bytes_max: u64::MAX, compact: false };
    store.create_stream(&StreamSpec { name: DEAD_LETTERS.into(), partitions: 1, retention }).await.unwrap();
    let (committer, commits) = Committer::new(store.clone(), Arc::new(NoClock), Default::default());
    let (_stopper, stop) = stop_signal();
    let commits = tokio::spawn(commits.run(stop.clone()));
    let sink = |name: &str| vec![Destination::Sink(name.into())];
    let task = Task {
        spec: TaskSpec {
            pipeline: "counting".into(),
            partition: Partition(0),
            inputs: (0..case.inputs.len() as u32)
                .map(|input| TaskInput::of(input, input.to_string().into(), Partition(0)))
                .collect(),
            routes: vec![sink("counts"), sink("late")],
            bytes_in_flight_max: 4096,
            mode: Mode::Drain,
        },
        wiring: Arc::new(CaseWires { case: case.clone(), plugin, store: store.clone() }),
        store,
        committer,
        metrics: Arc::new(PipelineMetrics::default()),
        clock: Arc::new(NoClock),
        desk: Default::default(),
    };
    task.run(stop).await.unwrap();
    let late = case.expected().values().filter(|value| value.starts_with("late ")).count() as u64;
    assert!(case.way != Way::Straight || task.metrics.late.get() == late);
    *case.is_done.lock().unwrap() = true;
    commits.abort();
}

/// Runs a case to its end, in as many lives as it takes.
fn run(case: &Arc<Case>, plugin: &Plugin) {
    let mut store = MemoryStore::default();
    while !*case.is_done.lock().unwrap() {
        // All of a life's tasks go with its runtime.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let life = live(case.clone(), plugin.clone(), Arc::new(store.reopen()));
        let time = if case.way == Way::Killed { 1 + case.rng.below(60) } else { 1_000_000 };
        let is_killed =
            runtime.block_on(async { tokio::time::timeout(Duration::from_millis(time), life).await.is_err() });
        case.again.lock().unwrap().kills += u64::from(is_killed);
        drop(runtime);
        store = store.reopen();
    }
}

#[test]
fn outputs_are_the_same_however_batches_are_cut_and_whenever_the_task_is_killed() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let plugins = ["windows", "asof"].map(|name| (name, runtime.block_on(load(built(name)))));
    let plugins = BTreeMap::from(plugins);
    let cases = std::env::var("WEIR_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(300);
    let mut oracle = Oracle::default();
    let mut outs = BTreeMap::<Way, (Lines, Tally)>::new();
    for seed in 0..cases {
        oracle.add(seed, &Case::new(seed, Way::Straight).config, &Case::new(seed, Way::Straight).kept());
        for way in [Way::Straight, Way::Redelivered, Way::Killed] {
            let case = Case::new(seed, way);
            run(&case, &plugins[case.plugin]);
            let (out, expected) = (case.out.lock().unwrap().clone(), case.expected());
            assert_eq!(out, expected, "seed {seed}, {way:?}, {}: {:?}", case.config, case.inputs);
            let (lines, tally) = outs.entry(way).or_default();
            oracle::write(lines, seed, &out);
            tally.add(*case.again.lock().unwrap());
        }
    }
    let expected = oracle.expected();
    // Not by a macro: the test runner keeps what they print to itself.
    let mut err = std::io::stderr();
    writeln!(err, "stateful plugins: seeds 0 to {cases}, {} outputs as DuckDB computes them", expected.lines().count())
        .unwrap();
    for (way, (lines, tally)) in outs {
        writeln!(err, "  {way:?}: {tally:?}").unwrap();
        oracle::assert_same(&format!("{way:?}"), &lines, &expected);
        assert_eq!(way != Way::Straight, tally.records > 0 && tally.outputs > 0, "{way:?}: {tally:?}");
        assert_eq!(way == Way::Killed, tally.kills > 0, "{way:?}: {tally:?}");
    }
}

/// What closes at once is bounded by nothing; what a call may answer with and write is.
#[tokio::test]
async fn more_windows_close_at_once_than_one_answer_may_hold() {
    const KEYS: u64 = 20_000;
    let plugin = load(built("windows")).await;
    let config = json!({ "windows": { "size": 1000, "advance": 1000, "grace": 0 } });
    let home = Home { store: Arc::new(MemoryStore::new()), pipeline: "p".into(), partition: Partition(0) };
    let factory = plugin.step(context(), config, limits()).unwrap();
    let mut step = Step::start("step".into(), factory, 0, &home).await.unwrap();
    let value = |key: u64| format!("{key:0100}");
    for keys in (0..KEYS).collect::<Vec<_>>().chunks(1000) {
        let mut batch = Batch::default();
        for key in keys {
            batch.push(&Record { offset: Offset(*key), ..Record::of(value(*key).as_bytes(), Timestamp(7)) });
        }
        let watermarks = vec![Timestamp(7); keys.len()];
        step.run(Given { input: 0, batch: &batch, watermarks: &watermarks }).await.unwrap();
    }
    let mut batch = Batch::default();
    batch.push(&Record { offset: Offset(KEYS), ..Record::of(b"next", Timestamp(1000)) });
    let outcome = step.run(Given { input: 0, batch: &batch, watermarks: &[Timestamp(1000)] }).await.unwrap();
    let Answer::Replaced { records, .. } = outcome.answer else { panic!("{:?}", outcome.rejects) };
    assert!(records.bytes() > limits().output_bytes_max && outcome.rejects.is_empty());
    let expected = (0..KEYS).map(|key| format!("{} 0 1000 1", value(key)));
    assert!(records.iter().map(|record| String::from_utf8_lossy(record.value.unwrap()).into_owned()).eq(expected));
}
