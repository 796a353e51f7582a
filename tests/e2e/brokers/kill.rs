//! Kills the appliance and both brokers again and again and breaks the connections between them, while numbered messages go
//! from RabbitMQ to Kafka and from Kafka to RabbitMQ.
//!
//! Nothing confirmed to its sender may be missing; Kafka, read as committed, may hold nothing twice; what RabbitMQ gets twice
//! bears the same message id; the numbers of a key come in the order in which they were sent. `state.rs` looks at what
//! pipelines with state made of them meanwhile.
//! `WEIR_BROKER_KILLS=N` sets how often the appliance is killed at work (40 unless told; each broker a quarter, faults of the
//! network half as often), `WEIR_BROKER_SEED=N` when.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::account::{Account, KEYS};
use super::flow::{number as body_number, rabbitmq, with_head, write_secrets};
use super::state;
use crate::harness::{Bench, Running, tell};
use crate::proxy::Proxy;
use crate::services::{Sender, Sent, Servers, address};

/// Messages a second, each way.
const RATE: &str = "300";

/// How long an appliance lives that will be killed: from its start-up to some seconds of work.
const LIFE_MS: Range<u64> = 200..6_000;

/// A life in which so many bytes went through one of the proxies did some work.
const WORK_BYTES: u64 = 20_000;

/// How long what was sent may take to come out once everything runs again.
const DRAIN: Duration = Duration::from_secs(120);

fn setting(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A generator of numbers that a seed repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn pause(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(from_ms + self.below(to_ms - from_ms))
    }
}

/// The servers with a proxy before each, and an appliance between them.
struct Scene {
    bench: Bench,
    servers: Servers,
    kafka: Proxy,
    rabbitmq: Proxy,
    url: String,
    bootstrap: String,
}

impl Scene {
    fn set() -> Self {
        let (kafka, rabbitmq) = (Proxy::listen(), Proxy::listen());
        let servers = Servers::up(&["kafka", "rabbitmq"], Some(kafka.port()));
        let facts = &servers.facts;
        kafka.forward_to(address(facts.text("kafka", "proxied")));
        rabbitmq.forward_to(address(facts.rabbitmq_address()));
        let url = facts.rabbitmq_url(facts.rabbitmq_address());
        let bootstrap = facts.text("kafka", "bootstrap").to_owned();
        let scene = Scene { bench: Bench::new(), servers, kafka, rabbitmq, url, bootstrap };
        scene.lay_out();
        // Compiles the plugins, once: an appliance that is killed while it does would begin with it again.
        let checked = scene.bench.run(&["check", "weir.yaml"]);
        assert!(checked.status.success(), "{checked:?}");
        scene
    }

    /// Queues, topics and the pipeline file.
    fn lay_out(&self) {
        let facts = &self.servers.facts;
        for (queue, kind) in [("in", "quorum"), ("in-stream", "stream"), ("out", "quorum")] {
            facts.ask(&["rabbit-declare", "--url", &self.url, "--queue", queue, "--type", kind]);
        }
        for topic in ["in", "out", "out-stream"].into_iter().chain(state::TOPICS) {
            facts.ask(&["kafka-create", "--bootstrap", &self.bootstrap, "--topic", topic, "--partitions", "3"]);
        }
        write_secrets(&self.bench, facts);
        let rabbitmq = rabbitmq(facts, &format!("127.0.0.1:{}", self.rabbitmq.port()));
        let kafka = format!("type: kafka, brokers: ['127.0.0.1:{}']", self.kafka.port());
        self.bench.write(
            "weir.yaml",
            &with_head(&format!(
                "
plugins: [{guests}]
sources:
  queue: {{ {rabbitmq}, queue: in, prefetch: 500, key: 'header:key' }}
  stream: {{ {rabbitmq}, queue: in-stream, queue_type: stream, prefetch: 500, key: 'header:key' }}
  topic: {{ {kafka}, topics: [in] }}
pipelines:
  from-queue: {{ from: queue, steps: [sql: SELECT n FROM input WHERE n >= 0], to: out }}
  from-stream: {{ from: stream, to: out-stream }}
  from-topic: {{ from: topic, steps: [sql: SELECT n FROM input WHERE n >= 0], to: bus }}
{state_pipelines}
sinks:
  out: {{ {kafka}, topic: out, compression: zstd }}
  out-stream: {{ {kafka}, topic: out-stream }}
  bus: {{ {rabbitmq}, exchange: '', routing_key: out }}
{state_sinks}
",
                guests = std::env::var("WEIR_TEST_PLUGINS").expect("`cargo xtask test` sets it"),
                state_pipelines = state::pipelines(),
                state_sinks = state::sinks(&kafka),
            )),
        );
    }

    fn send(&self) -> [Sender; 3] {
        let (facts, bench) = (&self.servers.facts, &self.bench);
        let rabbit = |queue: &str| {
            let log = bench.path(&format!("sent-{queue}.log"));
            facts.start(&["rabbit-send", "--url", &self.url, "--queue", queue, "--rate", RATE], &log)
        };
        let kafka = ["kafka-send", "--bootstrap", &self.bootstrap, "--topic", "in", "--rate", RATE];
        [rabbit("in"), rabbit("in-stream"), facts.start(&kafka, &bench.path("sent-topic.log"))]
    }

    /// The numbers in a topic, by partition.
    fn topic(&self, topic: &str) -> Vec<Vec<u64>> {
        let records = self.servers.facts.read(&["kafka-read", "--bootstrap", &self.bootstrap, "--topic", topic]);
        let mut partitions: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for record in records {
            let value: Value = serde_json::from_str(record["value"].as_str().unwrap()).unwrap();
            let number = value["n"].as_u64().unwrap();
            assert_eq!(record["key"], format!("k{}", number % KEYS), "a record lost its key: {record}");
            partitions.entry(record["partition"].as_u64().unwrap()).or_default().push(number);
        }
        partitions.into_values().collect()
    }

    /// Takes what the output queue holds.
    fn queue(&self) -> Vec<Value> {
        self.servers.facts.read(&["rabbit-read", "--url", &self.url, "--queue", "out"])
    }

    fn forwarded(&self) -> u64 {
        self.kafka.forwarded().max(self.rabbitmq.forwarded())
    }
}

/// How often something was done so far, and how often it has to be.
struct Goal {
    wanted: u64,
    done: AtomicU64,
}

impl Goal {
    fn of(wanted: u64) -> Self {
        Goal { wanted, done: AtomicU64::new(0) }
    }

    fn count(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    fn one_more(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

struct Goals {
    lives: Goal,
    kafka: Goal,
    rabbitmq: Goal,
    faults: Goal,
    given_up: AtomicBool,
}

impl Goals {
    fn of(kills: u64) -> Self {
        let brokers = kills.div_ceil(4);
        Goals {
            lives: Goal::of(kills),
            kafka: Goal::of(brokers),
            rabbitmq: Goal::of(brokers),
            faults: Goal::of(kills.div_ceil(2)),
            given_up: AtomicBool::new(false),
        }
    }

    /// Whether there is more to do for a goal; for none, once one of the threads has failed.
    fn want(&self, goal: &Goal) -> bool {
        !self.given_up.load(Ordering::Relaxed) && goal.count() < goal.wanted
    }

    fn want_any(&self) -> bool {
        [&self.lives, &self.kafka, &self.rabbitmq, &self.faults].iter().any(|goal| self.want(goal))
    }
}

/// Lets the other threads give up when the one that holds it fails.
struct Together<'a>(&'a Goals);

impl Drop for Together<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.given_up.store(true, Ordering::Relaxed);
        }
    }
}

/// Kills the appliance at random moments until all goals are reached. A kill counts where the life before it did some
/// work: while a broker is down there may be none to do. Returns how often it was killed in all.
fn kill_weir(scene: &Scene, goals: &Goals, mut random: Random) -> u64 {
    let _together = Together(goals);
    let mut kills = 0;
    while goals.want_any() {
        let before = scene.forwarded();
        let weir = scene.bench.start(&["weir.yaml"]);
        thread::sleep(random.pause(LIFE_MS.start, LIFE_MS.end));
        weir.kill();
        kills += 1;
        if scene.forwarded() - before > WORK_BYTES {
            goals.lives.one_more();
        }
    }
    kills
}

/// Kills a broker as often as wanted, and lets it work a while in between.
fn kill_broker(scene: &Scene, name: &str, goals: &Goals, goal: &Goal, mut random: Random) {
    let _together = Together(goals);
    while goals.want(goal) {
        thread::sleep(random.pause(2_000, 9_000));
        scene.servers.kill(name);
        thread::sleep(random.pause(0, 1_500));
        scene.servers.start(name);
        goal.one_more();
    }
}

/// Breaks connections in every way that the proxies know.
fn break_connections(scene: &Scene, goals: &Goals, mut random: Random) -> BTreeMap<&'static str, u64> {
    let _together = Together(goals);
    let mut kinds = BTreeMap::new();
    while goals.want(&goals.faults) {
        thread::sleep(random.pause(500, 6_000));
        let proxy = if random.below(2) == 0 { &scene.kafka } else { &scene.rabbitmq };
        let kind = match random.below(5) {
            0 | 1 if proxy.cut() > 0 => "cut",
            2 | 3 if proxy.reset() > 0 => "reset",
            4 => {
                proxy.stall();
                thread::sleep(random.pause(500, 4_000));
                proxy.heal();
                "stalled"
            }
            // Nobody was connected: no fault.
            _ => continue,
        };
        *kinds.entry(kind).or_default() += 1;
        goals.faults.one_more();
    }
    kinds
}

#[test]
fn nothing_is_lost_or_doubled_between_brokers_that_are_killed() {
    let seed = setting("WEIR_BROKER_SEED", 1);
    let goals = Goals::of(setting("WEIR_BROKER_KILLS", 40));
    tell(format_args!("kill run between brokers, seed {seed} (WEIR_BROKER_SEED)"));
    let scene = Scene::set();
    let begun = Instant::now();
    let mut senders = scene.send();
    let random = |part: u64| Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(part));
    let (kills, kinds) = thread::scope(|threads| {
        let lives = threads.spawn(|| kill_weir(&scene, &goals, random(1)));
        let faults = threads.spawn(|| break_connections(&scene, &goals, random(2)));
        threads.spawn(|| kill_broker(&scene, "kafka", &goals, &goals.kafka, random(3)));
        threads.spawn(|| kill_broker(&scene, "rabbitmq", &goals, &goals.rabbitmq, random(4)));
        (lives.join().unwrap(), faults.join().unwrap())
    });
    assert!(senders.iter_mut().all(Sender::is_running), "a sender ended by itself");
    let mut weir = scene.bench.start(&["weir.yaml"]);
    let sent = senders.map(Sender::stop);
    let (worked, kafka) = (goals.lives.count(), goals.kafka.count());
    tell(format_args!(
        "{:.0} s: weir killed {kills} times, {worked} of them at work; kafka {kafka}, rabbitmq {} times; connections {kinds:?}",
        begun.elapsed().as_secs_f64(),
        goals.rabbitmq.count()
    ));
    let messages = drain(&scene, &mut weir, &sent);
    state::check(&scene.bench, &mut weir, &scene.servers.facts, &scene.bootstrap);
    assert_eq!(weir.terminate(), 0);
    check(&scene, &sent, messages, seed);
}

/// Waits until all that was confirmed has come out; returns what the output queue held.
fn drain(scene: &Scene, weir: &mut Running, sent: &[Sent; 3]) -> Vec<Value> {
    let [queue, stream, topic] = sent;
    let mut messages = Vec::new();
    let deadline = Instant::now() + DRAIN;
    let all_came = |sent: &Sent, came: &BTreeSet<u64>| sent.confirmed.iter().all(|number| came.contains(number));
    loop {
        messages.extend(scene.queue());
        let out = [scene.topic("out"), scene.topic("out-stream"), vec![numbers(&messages)]]
            .map(|streams| streams.into_iter().flatten().collect::<BTreeSet<u64>>());
        if [queue, stream, topic].iter().zip(&out).all(|(sent, came)| all_came(sent, came)) {
            return messages;
        }
        if Instant::now() > deadline {
            // What is missing is told by the check.
            tell(format_args!("not everything came within {DRAIN:?}; weir said at the end:\n{}", end_of(&weir.said())));
            return messages;
        }
        weir.assert_runs();
    }
}

fn end_of(said: &str) -> String {
    let lines: Vec<&str> = said.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

fn numbers(messages: &[Value]) -> Vec<u64> {
    messages.iter().map(|message| body_number(message, "n")).collect()
}

fn check(scene: &Scene, sent: &[Sent; 3], mut messages: Vec<Value>, seed: u64) {
    messages.extend(scene.queue());
    let [queue, stream, topic] = sent;
    let names = ["RabbitMQ queue to Kafka", "RabbitMQ stream to Kafka", "Kafka to RabbitMQ"];
    let out = [scene.topic("out"), scene.topic("out-stream"), vec![numbers(&messages)]];
    let mut accounts = Vec::new();
    for ((name, sent), streams) in names.into_iter().zip([queue, stream, topic]).zip(&out) {
        let account = Account::of(sent, streams);
        tell(format_args!(
            "{name}: {} confirmed, {} unsure, {} came; {} missing, {} doubled, {} swapped",
            sent.confirmed.len(),
            sent.maybe.len(),
            streams.iter().map(Vec::len).sum::<usize>(),
            account.missing.len(),
            account.doubled,
            account.swapped.len()
        ));
        accounts.push((name, account));
    }
    // RabbitMQ puts what came back from a consumer behind what came back before: part of it, where a consumer got only part.
    let redelivered = state::redelivered(&scene.bench, "queue");
    if let Some((_, account)) = accounts.first_mut() {
        let before = account.swapped.len();
        account.swapped.retain(|(_, earlier)| !redelivered.contains(earlier));
        tell(format_args!("swapped by RabbitMQ, which delivered them again: {}", before - account.swapped.len()));
    }
    let dir = scene.bench.path("");
    assert!(sent.iter().all(|sent| sent.confirmed.len() > 1_000), "too little was sent to show anything");
    for (index, (name, account)) in accounts.into_iter().enumerate() {
        let first: Vec<u64> = account.missing.iter().copied().take(10).collect();
        let context = format!("{name} (seed {seed}, {})", dir.display());
        assert!(account.missing.is_empty(), "{context}: {} missing, first {first:?}", account.missing.len());
        assert!(account.strange.is_empty(), "{context}: came and were never sent: {:?}", account.strange);
        assert!(account.swapped.is_empty(), "{context}: out of order: {:?}", account.swapped);
        assert!(index == 2 || account.doubled == 0, "{context}: {} doubled", account.doubled);
    }
    assert_same_ids(&messages);
}

/// A number that came twice bears one id, and no two numbers share one.
fn assert_same_ids(messages: &[Value]) {
    let mut ids: BTreeMap<u64, &str> = BTreeMap::new();
    for message in messages {
        let id = message["message_id"].as_str().unwrap_or_else(|| panic!("no message id: {message}"));
        let number = body_number(message, "n");
        let before = *ids.entry(number).or_insert(id);
        assert_eq!(before, id, "number {number} came under two ids");
    }
    let unique: BTreeSet<&str> = ids.values().copied().collect();
    assert_eq!(unique.len(), ids.len(), "two numbers came under one id");
}
