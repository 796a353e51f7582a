//! What must be true after the last life of an appliance, whatever went wrong before.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::FutureExt;
use weir::record::{Batch, Partition, Record, Timestamp};
use weir::source::stream;
use weir::store::{Append, Changes, DEAD_LETTERS, Store};

use crate::world::World;

type Found = Result<(), String>;

/// Checks every stream, the file, the systems outside and the dead letters against the plan.
pub fn check(world: &World) -> Found {
    let expected = Expected::of(world);
    let mid: Vec<_> = (0..world.plan.mid_partitions).map(|n| world.stream("mid", n)).collect();
    same("stream mid", mid.iter().flatten().map(|(_, value)| value.clone()), expected.mid.iter().cloned())?;
    for (n, partition) in mid.iter().enumerate() {
        in_order(&format!("stream mid/{n}"), partition.iter().map(|(_, value)| value.as_str()))?;
    }
    let odd: Vec<_> = values(world, "odd");
    equal("stream odd", &odd, &expected.odd)?;
    let pushes = values(world, "pushes");
    check_pushes(world, &pushes)?;
    same("stream merged", values(world, "merged").into_iter(), odd.iter().chain(&pushes).cloned())?;
    check_file(world, &mid, &expected.mid, &pushes)?;
    check_external(world, &expected, &mid)?;
    same("dead letters", values(world, DEAD_LETTERS).into_iter(), expected.dead.into_iter())
}

/// What the plan leads to.
#[derive(Default)]
struct Expected {
    mid: Vec<String>,
    odd: Vec<String>,
    dead: Vec<String>,
    /// By offset and ordinal.
    ext: BTreeMap<(u64, u32), String>,
}

impl Expected {
    fn of(world: &World) -> Self {
        let mut expected = Expected::default();
        for n in 0..world.plan.records {
            let value = world.plan.value(n);
            let action = world.plan.action(n);
            match action {
                "drop" => {}
                "reject" | "trap" => expected.dead.push(value),
                "odd" => expected.odd.push(value),
                _ => {
                    for ordinal in 0..if action == "double" { 2 } else { 1 } {
                        expected.mid.push(value.clone());
                        expected.ext.insert((n, ordinal), value.clone());
                    }
                    if action == "undeliverable" {
                        expected.ext.remove(&(n, 0));
                        expected.dead.push(value);
                    }
                }
            }
        }
        expected
    }
}

fn values(world: &World, stream: &str) -> Vec<String> {
    world.stream(stream, 0).into_iter().map(|(_, value)| value).collect()
}

fn equal(what: &str, got: &[String], expected: &[String]) -> Found {
    if got == expected { Ok(()) } else { Err(format!("{what}: got {got:?}, expected {expected:?}")) }
}

/// The same records, in whatever order.
fn same(what: &str, got: impl Iterator<Item = String>, expected: impl Iterator<Item = String>) -> Found {
    let mut difference: BTreeMap<String, i64> = BTreeMap::new();
    got.for_each(|record| *difference.entry(record).or_default() += 1);
    expected.for_each(|record| *difference.entry(record).or_default() -= 1);
    difference.retain(|_, count| *count != 0);
    match difference.is_empty() {
        true => Ok(()),
        false => Err(format!("{what}: too many (1, 2, ...) or too few (-1, -2, ...) of these: {difference:?}")),
    }
}

fn number(value: &str) -> u64 {
    value.split_once('-').unwrap().1.parse().unwrap()
}

fn in_order<'a>(what: &str, values: impl Iterator<Item = &'a str>) -> Found {
    let numbers: Vec<_> = values.map(number).collect();
    if numbers.is_sorted() { Ok(()) } else { Err(format!("{what} is out of order: {numbers:?}")) }
}

fn check_pushes(world: &World, pushes: &[String]) -> Found {
    let there: BTreeSet<u64> = pushes.iter().map(|value| number(value)).collect();
    if there.len() != pushes.len() {
        return Err(format!("stream pushes holds a record twice: {pushes:?}"));
    }
    match world.push_acks.lock().unwrap().iter().find(|n| !there.contains(n)) {
        None => Ok(()),
        Some(n) => Err(format!("push {n} was acknowledged and is not in its intake stream")),
    }
}

fn check_file(world: &World, mid: &[Vec<(u64, String)>], expected: &[String], pushes: &[String]) -> Found {
    let lines = world.file.lines();
    same("file", lines.iter().cloned(), expected.iter().chain(pushes).cloned())?;
    for (n, partition) in mid.iter().enumerate() {
        let of_partition: BTreeSet<&String> = partition.iter().map(|(_, value)| value).collect();
        let lines = lines.iter().filter(|line| of_partition.contains(line));
        in_order(&format!("mid/{n} in the file"), lines.map(String::as_str))?;
    }
    Ok(())
}

fn check_external(world: &World, expected: &Expected, mid: &[Vec<(u64, String)>]) -> Found {
    let mut wanted = BTreeMap::new();
    for ((offset, ordinal), value) in &expected.ext {
        wanted.insert(("ext".to_owned(), "numbers/0".to_owned(), *offset, *ordinal), value.clone());
    }
    for (n, partition) in (0..).zip(mid) {
        let source = stream::source(&world.store(), "mid", Partition(n));
        for (offset, value) in partition {
            wanted.insert(("ext2".to_owned(), source.clone(), *offset, 0), value.clone());
        }
    }
    let external = world.external.lock().unwrap();
    for (id, value) in &wanted {
        match external.get(id) {
            None => return Err(format!("{id:?} ({value}) was never delivered")),
            Some(got) if got.iter().any(|got| got != value) => {
                return Err(format!("{id:?} was delivered as {got:?}, expected {value}"));
            }
            Some(_) => {}
        }
    }
    match external.keys().find(|id| !wanted.contains_key(*id)) {
        None => Ok(()),
        Some(id) => Err(format!("{id:?} was delivered and is nobody's")),
    }
}

/// Violations made by hand.
#[derive(Debug, Clone, Copy)]
pub enum Sabotage {
    LoseLine,
    DoubleLine,
    SwapLines,
    LoseDelivery,
    ChangeDelivery,
    InventDelivery,
    DoubleStreamRecord,
    InventDeadLetter,
}

pub const SABOTAGES: [Sabotage; 8] = [
    Sabotage::LoseLine,
    Sabotage::DoubleLine,
    Sabotage::SwapLines,
    Sabotage::LoseDelivery,
    Sabotage::ChangeDelivery,
    Sabotage::InventDelivery,
    Sabotage::DoubleStreamRecord,
    Sabotage::InventDeadLetter,
];

impl Sabotage {
    pub fn commit(self, world: &World) {
        let mut lines = world.file.lines();
        let mut external = world.external.lock().unwrap();
        let first = external.keys().next().unwrap().clone();
        match self {
            Sabotage::LoseLine => drop(lines.pop()),
            Sabotage::DoubleLine => lines.push(lines[0].clone()),
            Sabotage::SwapLines => lines.reverse(),
            Sabotage::LoseDelivery => drop(external.remove(&first)),
            Sabotage::ChangeDelivery => external.get_mut(&first).unwrap().push("keep-999999".into()),
            Sabotage::InventDelivery => drop(external.insert(("ext".into(), "numbers/0".into(), 999_999, 0), vec![])),
            Sabotage::DoubleStreamRecord => append(world, "mid", &world.stream("mid", 0)[0].1),
            Sabotage::InventDeadLetter => append(world, DEAD_LETTERS, "keep-999999"),
        }
        world.file.set_lines(&lines);
    }
}

fn append(world: &World, stream: &str, value: &str) {
    let mut records = Batch::default();
    records.push(&Record::of(value.as_bytes(), Timestamp(0)));
    let append = Append { stream: stream.into(), partition: Partition(0), records };
    let changes = Changes { appends: vec![append], ..Changes::default() };
    world.store().commit(&[changes], Timestamp(0)).now_or_never().unwrap().unwrap();
}
