//! A real plugin that breaks every rule: how each deed ends, and that nobody else notices.
//!
//! All that hostile plugins do in these tests, and what shows that the host stays up:
//!
//! | what | how it ends | test |
//! |---|---|---|
//! | never returns from `init` | time | `starting_has_limits_too` |
//! | never returns from `process` | time; others work meanwhile | `an_endless_loop_ends_and_lets_others_work` |
//! | its start function loops, or traps | time, trap | `lies::a_start_function_has_limits_too` |
//! | panics in `init`, in `process` | trap | `starting_has_limits_too`, `what_traps_says_how` |
//! | exhausts its stack | trap | `what_traps_says_how` |
//! | allocates without end | memory | `memory_has_a_limit` |
//! | begins with too much memory | memory | `lies::a_component_that_begins_too_large_does_not_start` |
//! | answers with gigabytes | output, or the contract | `lies::lists_longer_than_the_memory_are_not_read` |
//! | answers with more than its limit | output | `too_large_an_answer_is_not_read` |
//! | many texts over the same bytes | output | `lies::many_texts_over_the_same_bytes_count_each` |
//! | reads or writes outside of its memory | trap | `lies::an_access_outside_of_memory_traps` |
//! | pointers to nowhere, values that are none, text that is no UTF-8 | the contract | `lies::values_that_are_no_values_break_the_contract` |
//! | a million log lines | dropped and counted | `logs::a_flood_is_cut_and_counted` |
//! | log lines with line breaks and terminal codes | escaped | `logs::a_long_message_is_one_short_line` |
//! | selects out of range, descending, twice, what it rejects | the contract | `answers_against_the_contract_are_not_taken` |
//! | rejects out of range, descending, twice | the contract | the same |
//! | origins out of range, too few, of what it rejects | the contract | the same |
//! | columns that contradict each other, unknown flags, broken headers | the contract | the same |
//! | sends records to ports that it does not have | the contract | the same |
//! | describes too many ports | the contract | `starting_has_limits_too` |
//! | describes other ports when it is started again | the contract | `a_plugin_that_changes_its_ports_does_not_go_on` |
//! | refuses with a book | cut | `starting_has_limits_too` |
//! | traps on one record | that one is a dead letter | `the_record_that_traps_is_found_and_the_others_go_on` |
//! | traps on every record | each is a dead letter | `a_plugin_that_traps_on_all_records_rejects_each` |
//! | traps now and then | nothing is lost | `a_guest_that_traps_once_costs_no_record` |
//! | looks for another step's state | finds none | `hostile_state::the_state_of_another_step_is_not_found` |
//! | writes keys, values, or altogether too much | the contract | `hostile_state::state_has_bounds` |
//! | names tables that it does not have, hands over no strings | the contract | the same |
//! | uses state in `init` | the contract | `hostile_state::what_it_describes_is_judged` |
//! | describes too many tables, twice the same, with bad names | the contract | the same |
//! | asks to be called for ever as time passes | the contract | `hostile_state::time_passes_in_spite_of_it` |
//! | traps as time passes | trap, told | the same |
//! | fires what has not come | the contract | the same |
//! | postpones everything, or more | the contract; each is a dead letter | the same |
//! | a million handles | trap | `wasi::handles_are_bounded` |
//! | sleeps, or waits, for ever | time | `wasi::a_program_that_sleeps_or_prints_for_ever_is_ended` |
//! | prints for ever | time | the same |
//! | exits | trap | `wasi::a_program_that_exits_ends_its_instance_alone` |
//! | opens files, sockets; reads arguments, environment | errors; nothing there | `wasi::files_are_errors_of_the_guest`, `wasi::a_socket_is_an_error_of_the_guest` |
//! | wants to differ by clock or chance | the same each time | `wasi::the_same_batch_is_seen_the_same_again_and_another_is_not` |
//! | asks for exabytes of randomness | trap | `wasi::too_many_random_bytes_are_not_made` |
//! | has no world, two, of another version, another type | refused | `load` |
//! | imports what there is not, or what it is not granted | refused by name | `load::an_import_that_is_not_granted_is_named` |
//! | is a core module, garbage, cut short, changed | refused | `load::what_is_no_component_is_refused`, `malformed` |
//! | is of 100 MB | refused, or runs | `hostile_files::a_hundred_megabytes_are_no_trouble` |
//! | has too many memories, tables, instances | refused, named | `hostile_files::too_many_parts_are_refused` |
//! | chokes the compiler | refused; the compiler ends | `load::what_the_compiler_chokes_on_ends_the_compiler_alone` |
//! | starts a thousand times | bounded memory | `many_instances_come_and_go_in_bounded_memory` |
//!
//! `hostile_neighbours` runs many of them beside a good one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use weir::config::StepLimits;
use weir::plugin::instance::TransformFactory;
use weir::plugin::step::Step;
use weir::plugin::{Answer, Description, Factory, Failure, Given, Instance, StartError};
use weir::record::Partition;
use weir::state::Home;
use weir::store::memory::MemoryStore;

use crate::guests::{self, Runs as _, batch, hurried, limits, resident_bytes};

const RECORDS: [&str; 3] = ["good", "bad", "good"];

async fn hostile(config: Value) -> TransformFactory {
    let is_endless = config["do"].as_str().is_some_and(|deed| deed.starts_with("loop"));
    guests::hostile(config, if is_endless { hurried() } else { limits() }).await
}

/// How a deed ends; in a second instance as in the first, and with a well-behaved one that works before and after.
async fn failure(config: Value) -> Failure {
    let (mut bystander, _) = hostile(json!({"do": "copy-all"})).await.start_transform().await.unwrap();
    let good = bystander.run(&batch(&RECORDS)).await.unwrap();
    let factory = hostile(config).await;
    let mut failures = Vec::new();
    for _ in 0..2 {
        let (mut instance, _) = factory.start_transform().await.unwrap();
        failures.push(instance.run(&batch(&RECORDS)).await.expect_err("must fail"));
        let again = instance.run(&batch(&RECORDS)).await;
        assert!(matches!(again, Err(Failure::Trap(_))), "a failed instance ran on: {again:?}");
    }
    assert_eq!(bystander.run(&batch(&RECORDS)).await, Ok(good));
    assert_eq!(failures[0], failures[1]);
    failures.remove(0)
}

/// The resident memory once the guest was compiled, which takes more than it will ever use.
async fn resident_bytes_at_rest() -> usize {
    hostile(json!({"do": "nothing"})).await.start().await.unwrap();
    resident_bytes()
}

async fn start_error(config: Value) -> StartError {
    hostile(config).await.start().await.err().expect("must not start")
}

#[tokio::test]
async fn the_guest_can_behave_too() {
    let expected = [
        ("nothing", Answer::Unchanged),
        ("select-all", Answer::Select(vec![0, 1, 2])),
        ("copy-all", Answer::Replaced { records: batch(&RECORDS), origin: vec![0, 1, 2], fired: vec![] }),
        ("grow-and-recover", Answer::Unchanged),
    ];
    for (deed, answer) in expected {
        let (mut instance, _) = hostile(json!({"do": deed})).await.start_transform().await.unwrap();
        for _ in 0..3 {
            assert_eq!(instance.run(&batch(&RECORDS)).await.unwrap().answer, answer, "{deed}");
        }
    }
}

#[tokio::test]
async fn an_endless_loop_ends_and_lets_others_work() {
    let others = Arc::new(AtomicU64::new(0));
    let counter = others.clone();
    // This test has one thread: the other task runs only while the guest yields.
    let other = tokio::spawn(async move {
        loop {
            counter.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    let (mut instance, _) = hostile(json!({"do": "loop"})).await.start_transform().await.unwrap();
    let begun = (std::time::Instant::now(), others.load(Ordering::Relaxed));
    let result = instance.run(&batch(&RECORDS)).await;
    let turns = others.load(Ordering::Relaxed) - begun.1;
    other.abort();
    assert_eq!(result, Err(Failure::Time { limit_ms: 200 }));
    assert!(begun.0.elapsed() >= Duration::from_millis(150), "{:?}", begun.0.elapsed());
    assert!(turns >= 10, "the other task had {turns} turns");
    assert_eq!(failure(json!({"do": "loop"})).await, Failure::Time { limit_ms: 200 });
}

#[tokio::test]
async fn a_call_that_is_abandoned_spends_the_instance() {
    let (mut instance, _) = hostile(json!({"do": "loop"})).await.start_transform().await.unwrap();
    let batch = batch(&RECORDS);
    let abandoned = tokio::time::timeout(Duration::from_millis(30), instance.run(&batch)).await;
    assert!(abandoned.is_err());
    assert!(matches!(instance.run(&batch).await, Err(Failure::Trap(_))));
}

#[tokio::test]
async fn memory_has_a_limit() {
    let before = resident_bytes_at_rest().await;
    for _ in 0..5 {
        let failure = failure(json!({"do": "grow"})).await;
        assert!(matches!(failure, Failure::Memory { limit_bytes, .. } if limit_bytes == 16 << 20), "{failure:?}");
    }
    assert!(resident_bytes().saturating_sub(before) < 64 << 20);
}

#[tokio::test]
async fn what_traps_says_how() {
    assert_eq!(failure(json!({"do": "recurse"})).await, Failure::Trap("call stack exhausted".into()));
    let panic = failure(json!({"do": "panic"})).await;
    assert_eq!(panic, Failure::Trap("wasm `unreachable` instruction executed".into()));
}

#[tokio::test]
async fn answers_against_the_contract_are_not_taken() {
    let broken = [
        ("select-out-of-range", "select[0] is record 3, but the batch has 3 records"),
        ("select-descending", "select[1] is record 1, but records must ascend: expected 3 or more"),
        ("select-rejected", "record 0 is both selected and rejected"),
        ("overlapping-ends", "replaced: record 1: the ends [0, 7, 7] must not decrease"),
        ("short-origin", "origin names 1 records, but meta has 6 numbers: expected 2 each"),
        ("short-meta", "origin names 3 records, but meta has 1 numbers: expected 2 each"),
        ("unknown-port", "a record leaves by port 1, but the highest described is 0"),
        ("select-double", "select[1] is record 0, but records must ascend: expected 1 or more"),
        ("reject-double", "rejects[1] is record 0, but records must ascend: expected 1 or more"),
        ("reject-descending", "rejects[1] is record 0, but records must ascend: expected 2 or more"),
        ("reject-out-of-range", "rejects[0] is record 3, but the batch has 3 records"),
        ("origin-out-of-range", "origin[2] is record 3, but the batch has 3 records"),
        ("origin-rejected", "origin[0] is record 0, which is rejected"),
        ("unknown-flags", "replaced: record 0"),
        ("bytes-of-null", "replaced: record 0"),
        ("broken-headers", "replaced: record 0"),
        ("header-not-text", "replaced: record 0"),
    ];
    for (deed, expected) in broken {
        match failure(json!({"do": deed})).await {
            Failure::Answer(text) => assert!(text.starts_with(expected), "{deed}: {text}"),
            other => panic!("{deed}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn too_large_an_answer_is_not_read() {
    let before = resident_bytes_at_rest().await;
    let too_much = Failure::Output { limit_bytes: 1 << 20 };
    assert_eq!(failure(json!({"do": "huge-output", "bytes": 400_000})).await, too_much);
    assert_eq!(failure(json!({"do": "huge-reasons", "bytes": 400_000})).await, too_much);
    assert!(resident_bytes().saturating_sub(before) < 64 << 20);
    let (mut instance, _) =
        hostile(json!({"do": "huge-output", "bytes": 300_000})).await.start_transform().await.unwrap();
    match instance.run(&batch(&RECORDS)).await.unwrap().answer {
        Answer::Replaced { records, .. } => assert_eq!(records.columns().2.len(), 900_000),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn long_reasons_are_cut() {
    let (mut instance, _) =
        hostile(json!({"do": "huge-reasons", "bytes": 100_000})).await.start_transform().await.unwrap();
    let rejects = instance.run(&batch(&RECORDS)).await.unwrap().rejects;
    assert_eq!(rejects.iter().map(|reject| reject.reason.len()).collect::<Vec<_>>(), [4096; 3]);
    assert!(rejects.iter().all(|reject| reject.reason.capacity() < 10_000), "the whole text is kept");
}

#[tokio::test]
async fn starting_has_limits_too() {
    assert_eq!(start_error(json!({"do": "loop-in-init"})).await, StartError::Failed(Failure::Time { limit_ms: 200 }));
    let error = start_error(json!({"do": "panic-in-init"})).await;
    assert!(matches!(error, StartError::Failed(Failure::Trap(_))), "{error:?}");
    let error = start_error(json!({"do": "many-ports", "ports": 256})).await;
    assert_eq!(
        error.to_string(),
        "the plugin's answer breaks the contract: 256 ports are described, at most 255 are allowed; this is a defect of \
         the plugin: use another version of it, or ask its author"
    );
    match start_error(json!({"do": "refuse-long", "bytes": 100_000})).await {
        StartError::Config { path, message } => assert_eq!((path.as_str(), message.len()), ("do", 4096)),
        other => panic!("{other:?}"),
    }
    let error = start_error(json!({"do": "refuse-long", "bytes": 2_000_000})).await;
    assert_eq!(error, StartError::Failed(Failure::Output { limit_bytes: 1 << 20 }));
    let (_, description) = hostile(json!({"do": "many-ports", "ports": 255})).await.start().await.unwrap();
    assert_eq!((description.ports.len(), description.ports[254].as_str()), (255, "port-254"));
}

#[tokio::test]
async fn a_wrong_configuration_is_told_apart_from_a_failure() {
    let error = start_error(json!({"do": "sing"})).await;
    assert!(matches!(&error, StartError::Config { path, .. } if path == "do"), "{error:?}");
    assert!(error.to_string().starts_with("config.do: unknown variant `sing`"), "{error}");
}

async fn step(config: Value) -> Step {
    let home = Home { store: Arc::new(MemoryStore::default()), pipeline: "test".into(), partition: Partition(0) };
    Step::start("step".into(), Arc::new(hostile(config).await), 0, &home).await.unwrap()
}

#[tokio::test]
async fn the_record_that_traps_is_found_and_the_others_go_on() {
    let mut step = step(json!({"do": "trap-on", "value": "bad"})).await;
    for _ in 0..2 {
        let outcome = step.run(Given { input: 0, batch: &batch(&RECORDS), watermarks: &[] }).await.unwrap();
        assert_eq!(outcome.answer, Answer::Unchanged);
        assert_eq!(outcome.rejects.len(), 1);
        let reject = &outcome.rejects[0];
        assert_eq!(
            (reject.index, reject.reason.as_str()),
            (1, "the plugin trapped: wasm `unreachable` instruction executed")
        );
    }
}

#[tokio::test]
async fn a_plugin_that_traps_on_all_records_rejects_each() {
    let mut step = step(json!({"do": "panic"})).await;
    let outcome = step.run(Given { input: 0, batch: &batch(&RECORDS), watermarks: &[] }).await.unwrap();
    assert_eq!(outcome.answer, Answer::Unchanged);
    assert_eq!(outcome.rejects.iter().map(|reject| reject.index).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(
        outcome.rejects.iter().all(|reject| reject.reason.starts_with("the plugin trapped: ") && !reject.retriable)
    );
}

/// Starts another plugin each time.
struct Changing(Vec<TransformFactory>, AtomicU64);

#[async_trait::async_trait]
impl Factory for Changing {
    async fn start(&self) -> Result<(Box<dyn Instance>, Description), StartError> {
        let turn = self.1.fetch_add(1, Ordering::Relaxed) as usize;
        self.0[turn % self.0.len()].start().await
    }
}

#[tokio::test]
async fn a_plugin_that_changes_its_ports_does_not_go_on() {
    let traps = hostile(json!({"do": "panic"})).await;
    let ports = hostile(json!({"do": "many-ports", "ports": 2})).await;
    let changing = Arc::new(Changing(vec![traps, ports], AtomicU64::new(0)));
    let home = Home { store: Arc::new(MemoryStore::default()), pipeline: "test".into(), partition: Partition(0) };
    let mut step = Step::start("step".into(), changing, 0, &home).await.unwrap();
    let error = step.run(Given { input: 0, batch: &batch(&RECORDS), watermarks: &[] }).await.unwrap_err().to_string();
    assert!(error.contains("it describes other ports or tables than when it was started first"), "{error}");
    assert!(error.contains("use another version of it"), "{error}");
}

#[tokio::test]
async fn a_guest_that_traps_once_costs_no_record() {
    for config in [json!({"do": "trap-after", "calls": 2}), json!({"do": "trap-on-many"})] {
        let mut step = step(config).await;
        for _ in 0..10 {
            let outcome = step.run(Given { input: 0, batch: &batch(&RECORDS), watermarks: &[] }).await.unwrap();
            assert_eq!((outcome.answer, outcome.rejects.len()), (Answer::Unchanged, 0));
        }
    }
}

#[tokio::test]
async fn many_instances_come_and_go_in_bounded_memory() {
    let factory = hostile(json!({"do": "nothing"})).await;
    let all: Vec<_> = {
        let mut started = Vec::new();
        for _ in 0..50 {
            started.push(factory.start_transform().await.unwrap());
        }
        started
    };
    drop(all);
    let before = resident_bytes();
    for _ in 0..300 {
        let (mut instance, _) = factory.start_transform().await.unwrap();
        instance.run(&batch(&RECORDS)).await.unwrap();
    }
    assert!(resident_bytes().saturating_sub(before) < 64 << 20);
}

#[tokio::test]
async fn the_limits_of_a_step_are_its_own() {
    let large = StepLimits { memory_bytes_max: 64 << 20, output_bytes_max: 8 << 20, ..limits() };
    let config = json!({"do": "huge-output", "bytes": 1_000_000});
    let factory = guests::hostile(config, large).await;
    let (mut instance, _) = factory.start_transform().await.unwrap();
    assert!(instance.run(&batch(&RECORDS)).await.is_ok());
}
