//! A plugin that breaks the rules of state and time: how each deed ends, and that nobody else's state is touched.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::OnceCell;
use weir::config::StepLimits;
use weir::plugin::step::{self, Step};
use weir::plugin::{Factory, Given, Outcome, Plugin, StartError, World};
use weir::record::{Partition, Timestamp};
use weir::state::Home;
use weir::store::memory::MemoryStore;
use weir::store::{Changes, Store as _};

use crate::guests::{Text, batch, built, context, engine, limits, load};

async fn plugin() -> &'static Plugin {
    static PLUGIN: OnceCell<Plugin> = OnceCell::const_new();
    PLUGIN.get_or_init(async || load(built("hostile-state")).await).await
}

async fn factory(config: Value, limits: StepLimits) -> Arc<dyn Factory> {
    plugin().await.step(context(), config, limits).unwrap()
}

fn home(store: &Arc<MemoryStore>) -> Home {
    Home { store: store.clone(), pipeline: "test".into(), partition: Partition(0) }
}

async fn step_of(name: &str, config: Value, store: &Arc<MemoryStore>) -> Step {
    Step::start(name.into(), factory(config, limits()).await, 0, &home(store)).await.unwrap()
}

/// Runs three records that come at the times 10, 20 and 30.
async fn run(step: &mut Step) -> Result<Outcome, step::Error> {
    let watermarks = [10, 20, 30].map(Timestamp);
    step.run(Given { input: 0, batch: &batch(&["a", "b", "c"]), watermarks: &watermarks }).await
}

fn reasons(outcome: &Outcome) -> Vec<&str> {
    outcome.rejects.iter().map(|reject| reject.reason.as_str()).collect()
}

#[tokio::test]
async fn state_has_bounds() {
    let broken = [
        (json!({"do": "wrong-table", "table": 1}), "it names table 1, but 1 was described"),
        (json!({"do": "wrong-table", "table": u32::MAX}), "it names table 4294967295, but 1 was described"),
        (json!({"do": "long-key", "bytes": 32 * 1024 + 1}), "it uses a key of 32769 bytes"),
        (json!({"do": "long-value", "bytes": (1 << 20) - 20}), "it writes more than 1048576 bytes"),
        (json!({"do": "write-for-ever", "keys": 1}), "it writes more than 1048576 bytes"),
        (json!({"do": "write-for-ever", "keys": 1_u64 << 40}), "it writes more than 1048576 bytes"),
        (json!({"do": "bad-strings", "ends": [5]}), "state: "),
        (json!({"do": "bad-strings", "ends": [2, 1, 4]}), "state: "),
        (json!({"do": "bad-strings", "ends": [1]}), "state: "),
    ];
    for (config, expected) in broken {
        let store = Arc::new(MemoryStore::new());
        let mut step = step_of("step", config.clone(), &store).await;
        let outcome = run(&mut step).await.unwrap();
        let expected = format!("the plugin's answer breaks the contract: {expected}");
        let all = reasons(&outcome);
        assert!(all.len() == 3 && all.iter().all(|reason| reason.starts_with(&expected)), "{config}: {all:?}");
        assert!(step.take_changes().is_empty(), "{config}: something was written");
    }
    let mut step = step_of("step", json!({"do": "scan-all", "max": u32::MAX}), &Arc::new(MemoryStore::new())).await;
    assert_eq!(run(&mut step).await.unwrap().rejects, []);
}

/// A step whose tables hold something that another version wrote.
async fn upgraded(config: Value) -> (Step, Result<(), step::Error>) {
    let store = Arc::new(MemoryStore::new());
    let mut before = step_of("step", json!({"do": "keep"}), &store).await;
    run(&mut before).await.unwrap();
    let changes = Changes { state: before.take_changes(), ..Changes::default() };
    store.commit(&[changes], Timestamp(0)).await.unwrap();
    let mut step = step_of("step", config, &store).await;
    let migrated = step.migrate(1).await;
    (step, migrated)
}

#[tokio::test]
async fn what_is_remembered_is_migrated_in_one_commit_or_not_at_all() {
    let (mut step, migrated) = upgraded(json!({"do": "keep", "schema": 2, "migrate": "mark"})).await;
    migrated.unwrap();
    let written = step.take_changes();
    let texts: Vec<_> = written
        .iter()
        .map(|change| (String::from_utf8_lossy(&change.key), change.value.as_deref().map(String::from_utf8_lossy)))
        .collect();
    assert_eq!(texts, [("calls".into(), Some("\0\0\0\0".into())), ("key".into(), Some("abc 1>2".into()))]);
    let refused = [
        ("refuse", "it never heard of 1"),
        ("trap", "the plugin trapped"),
        ("for-ever", "it was called 100000 times, and there was more to do"),
        ("spin", "the plugin used more than"),
    ];
    for (migrate, expected) in refused {
        let (_, migrated) = upgraded(json!({"do": "keep", "schema": 2, "migrate": migrate})).await;
        let error = migrated.unwrap_err().to_string();
        let expected = format!("what it remembers is of schema 1, its own is 2, and it does not migrate: {expected}");
        assert!(error.contains(&expected), "{migrate}: {error}");
    }
}

#[tokio::test]
async fn the_state_of_another_step_is_not_found() {
    let store = Arc::new(MemoryStore::new());
    let mut other = step_of("other", json!({"do": "keep"}), &store).await;
    run(&mut other).await.unwrap();
    let changes = other.take_changes();
    assert_eq!(changes.len(), 1);
    let changes = Changes { state: changes, ..Changes::default() };
    store.commit(&[changes], Timestamp(0)).await.unwrap();
    other.committed();

    let mut own = step_of("other", json!({"do": "peek"}), &store).await;
    assert_eq!(reasons(&run(&mut own).await.unwrap()), ["1 by scan, 1 by key"; 3], "its own is found");
    let mut thief = step_of("thief", json!({"do": "peek"}), &store).await;
    assert_eq!(reasons(&run(&mut thief).await.unwrap()), ["0 by scan, 0 by key"; 3]);
}

async fn start_error(config: Value) -> String {
    let error = factory(config, limits()).await.start().await.err().expect("must not start");
    assert!(matches!(error, StartError::Failed(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.ends_with("use another version of it, or ask its author"), "{text}");
    text
}

#[tokio::test]
async fn what_it_describes_is_judged() {
    let broken = [
        (json!({"do": "state-in-init"}), "it names table 0, but 0 were described, which can be used once init"),
        (json!({"do": "many-tables", "tables": 65}), "65 tables are described, at most 64 are allowed"),
        (json!({"do": "table-named", "name": "twice"}), "two tables are named \"twice\""),
        (json!({"do": "table-named", "name": "../up"}), "table 1 must have a name"),
        (json!({"do": "table-named", "name": ""}), "table 1 must have a name"),
    ];
    for (config, expected) in broken {
        let error = start_error(config.clone()).await;
        let begins = "the plugin's answer breaks the contract: ";
        assert!(error.strip_prefix(begins).is_some_and(|rest| rest.starts_with(expected)), "{config}: {error}");
    }
    assert!(factory(json!({"do": "many-tables", "tables": 64}), limits()).await.start().await.is_ok());
}

#[tokio::test]
async fn time_passes_in_spite_of_it() {
    let ends = [
        ("advance-for-ever", "asks to be called again"),
        ("trap-in-advance", "the plugin trapped: "),
        ("fire-tomorrow", "event time 31 fired, but the watermark is 30"),
    ];
    for (deed, expected) in ends {
        let mut step = step_of("step", json!({ "do": deed }), &Arc::new(MemoryStore::new())).await;
        assert_eq!(run(&mut step).await.unwrap().rejects, [], "{deed}");
        let error = step.advance(Some(Timestamp(30)), Timestamp(0)).await.unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("use another version of it"), "{deed}: {error}");
    }
    let postponing = [
        ("postpone-all", "it postponed all 1 records, and nothing was due before them"),
        ("postpone-more", "2 records are postponed, but the batch has 1 records"),
    ];
    for (deed, expected) in postponing {
        let mut step = step_of("step", json!({ "do": deed }), &Arc::new(MemoryStore::new())).await;
        let outcome = run(&mut step).await.unwrap();
        let all = reasons(&outcome);
        assert!(all.len() == 3 && all.iter().all(|reason| reason.ends_with(expected)), "{deed}: {all:?}");
    }
}

#[tokio::test]
async fn a_transform_gets_no_state() {
    let state = r#"(import "weir:plugin/state@0.1.0" (instance
        (export "delete-one" (func (param "table" u32) (param "key" (list u8))))))"#;
    let wasm = Text { imports: state, ..Text::default() }.component();
    let error = engine().load("thief", wasm).await.unwrap_err().to_string();
    assert!(error.starts_with("plugin thief: it imports weir:plugin/state@0.1.0, which it was not granted"), "{error}");
    assert!(error.contains("for plugins of the world stateful-transform"), "{error}");
    assert_eq!(plugin().await.world(), World::StatefulTransform);
}
