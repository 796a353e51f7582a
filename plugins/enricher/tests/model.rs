//! The plugin beside a naive computation: trees that are merged, and tables that are maps.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeMap;

use common::{restart, row, start, tombstone};
use proptest::prelude::*;
use weir_plugin::serde_json::{self, Map, Value, json};
use weir_plugin::testing::TestRecord;

const TABLES: [&str; 2] = ["hosts", "sites"];

/// A lookup in the words of the model.
#[derive(Debug, Clone)]
struct Lookup {
    table: usize,
    key: Vec<&'static str>,
    /// Without any, the whole row is taken.
    take: Vec<(&'static str, &'static str)>,
    into: Option<&'static str>,
    on_miss: &'static str,
}

/// What comes.
#[derive(Debug, Clone)]
enum Event {
    Row(usize, String, Option<Value>),
    Record(Value),
}

/// What a record becomes.
#[derive(Debug, PartialEq)]
enum Fate {
    Main(Value),
    Missed(Value),
    Dropped,
    Rejected,
}

impl Lookup {
    fn config(&self) -> Value {
        let take: BTreeMap<_, _> = self.take.iter().copied().collect();
        let take = if take.is_empty() { Value::Null } else { json!(take) };
        let key = if self.key.len() == 1 { json!({"field": self.key[0]}) } else { json!({"fields": self.key}) };
        json!({"table": TABLES[self.table], "key": key, "take": take, "into": self.into, "on_miss": self.on_miss})
    }

    fn key_of(&self, record: &Value) -> Option<String> {
        let parts = self.key.iter().map(|path| match find(record, path)? {
            Value::String(text) => Some(text.clone()),
            value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
            _ => None,
        });
        parts.collect::<Option<Vec<String>>>().map(|parts| parts.join("/"))
    }

    /// What is put where.
    fn puts(&self, row: &Value) -> Vec<(String, Value)> {
        if self.take.is_empty() {
            return vec![(self.into.unwrap().to_owned(), row.clone())];
        }
        let to = |target: &str| self.into.map_or(target.to_owned(), |into| format!("{into}.{target}"));
        self.take.iter().filter_map(|(from, target)| Some((to(target), find(row, from)?.clone()))).collect()
    }
}

fn find<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |value, name| value.as_object()?.get(name))
}

fn put(record: &mut Value, path: &str, value: Value) -> Result<(), ()> {
    let object = record.as_object_mut().ok_or(())?;
    match path.split_once('.') {
        None => drop(object.insert(path.to_owned(), value)),
        Some((name, rest)) => put(object.entry(name).or_insert_with(|| Value::Object(Map::new())), rest, value)?,
    }
    Ok(())
}

fn fate(lookups: &[Lookup], tables: &[BTreeMap<String, Value>; 2], mut record: Value) -> Fate {
    for lookup in lookups {
        let row = lookup.key_of(&record).and_then(|key| tables[lookup.table].get(&key));
        match (row, lookup.on_miss) {
            (Some(row), _) => {
                for (path, value) in lookup.puts(row) {
                    if put(&mut record, &path, value).is_err() {
                        return Fate::Rejected;
                    }
                }
            }
            (None, "drop") => return Fate::Dropped,
            (None, "dead_letter") => return Fate::Rejected,
            (None, "port") => return Fate::Missed(record),
            (None, _) => {}
        }
    }
    Fate::Main(record)
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => (0..3).prop_map(Value::from),
        4 => prop::sample::select(vec!["0", "1", "a\"b", "é"]).prop_map(Value::from),
        1 => Just(Value::Null),
        1 => Just(Value::Bool(true)),
        1 => Just(json!([{"a": 1}])),
    ]
}

/// Objects of a few names, in a few levels.
fn object() -> impl Strategy<Value = Value> {
    let name = || prop::sample::select(vec!["a", "b", "c", "x\\y"]);
    let object = |value: BoxedStrategy<Value>| {
        prop::collection::btree_map(name(), value, 0..5).prop_map(|map| json!(map)).boxed()
    };
    let inner = object(scalar().boxed());
    let middle = object(prop_oneof![2 => scalar(), 1 => inner].boxed());
    object(prop_oneof![2 => scalar(), 1 => middle].boxed())
}

fn path() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "c", "a", "b", "c", "a.b", "a.c", "b.a", "c.a.b", "x\\y.a"])
}

fn lookup() -> impl Strategy<Value = Lookup> {
    // The targets of each list stand beside each other, as they have to.
    let flat = prop::sample::subsequence(vec![("a", "b"), ("b", "c"), ("a.b", "a")], 1..4);
    let deep = prop::sample::subsequence(vec![("a", "a.b"), ("b", "c"), ("a.b", "b.a"), ("c", "a.c")], 1..5);
    let take = prop_oneof![flat, deep];
    let puts = prop_oneof![
        (take.clone(), Just(None)),
        (take, path().prop_map(Some)),
        (Just(Vec::new()), path().prop_map(Some)),
    ];
    let key = prop_oneof![3 => path().prop_map(|path| vec![path]), 1 => (path(), path()).prop_map(|(a, b)| vec![a, b])];
    let on_miss = prop::sample::select(vec!["pass", "pass", "drop", "dead_letter", "port"]);
    (0..2usize, key, puts, on_miss).prop_map(|(table, key, (take, into), on_miss)| Lookup {
        table,
        key,
        take,
        into,
        on_miss,
    })
}

fn event() -> impl Strategy<Value = Event> {
    let key = prop::sample::select(vec!["0", "1", "2", "0", "1", "2", "a\"b", "é", "true", "0/1", "1/1", "2/1"]);
    prop_oneof![
        1 => (0..2usize, key, prop::option::weighted(0.8, object())).prop_map(|(table, key, row)| Event::Row(table, key.to_owned(), row)),
        1 => object().prop_map(Event::Record),
    ]
}

/// The events as batches: those that follow each other from one input, cut where that is said.
fn batches<'e>(events: &'e [Event], cuts: &'e [bool]) -> Vec<&'e [Event]> {
    let input = |event: &Event| match event {
        Event::Row(table, ..) => table + 1,
        Event::Record(_) => 0,
    };
    let mut cut = cuts.iter();
    events.chunk_by(|a, b| input(a) == input(b) && cut.next() != Some(&true)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn records_become_what_trees_become(
        lookups in prop::collection::vec(lookup(), 1..4),
        events in prop::collection::vec(event(), 0..48),
        cuts in prop::collection::vec(prop::bool::weighted(0.2), 48),
        is_pretty: bool,
    ) {
        let is_used = |table: usize| lookups.iter().any(|lookup| lookup.table == table);
        let mut events = events;
        events.retain(|event| !matches!(event, Event::Row(table, ..) if !is_used(*table)));
        let config = json!({"lookups": lookups.iter().map(Lookup::config).collect::<Vec<_>>()});
        let text = |value: &Value| if is_pretty { format!("{value:#}") } else { value.to_string() };
        let mut tables = [BTreeMap::new(), BTreeMap::new()];
        let mut step = start(config.clone());
        for (n, batch) in batches(&events, &cuts).into_iter().enumerate() {
            let (mut input, mut records, mut expected) = (0, Vec::<TestRecord>::new(), Vec::new());
            for event in batch {
                match event {
                    Event::Row(table, key, value) => {
                        input = *table as u32 + 1;
                        records.push(value.as_ref().map_or_else(|| tombstone(key), |value| row(key, &text(value))));
                        expected.push(Fate::Dropped);
                        match value {
                            Some(value) => drop(tables[*table].insert(key.clone(), value.clone())),
                            None => drop(tables[*table].remove(key)),
                        }
                    }
                    Event::Record(value) => {
                        records.push(text(value).into());
                        expected.push(fate(&lookups, &tables, value.clone()));
                    }
                }
            }
            let run = step.process_input(input, records);
            let fates: Vec<Fate> = (0..batch.len() as u32).map(|at| {
                if run.rejects.iter().any(|reject| reject.index == at) {
                    return Fate::Rejected;
                }
                match run.outputs.iter().find(|output| output.origin == at) {
                    None => Fate::Dropped,
                    Some(output) => {
                        let value = serde_json::from_str(&output.text()).unwrap();
                        if output.port == 0 { Fate::Main(value) } else { Fate::Missed(value) }
                    }
                }
            }).collect();
            prop_assert_eq!(fates, expected, "{}", config);
            prop_assert!(run.outputs.is_sorted_by_key(|output| output.origin));
            if n % 3 == 2 {
                step = restart(step, config.clone());
            }
        }
    }
}
