//! Dead letters that are replayed while everything goes wrong: each record that was refused ends where it belongs, once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::FutureExt;
use weir::dlq::act::replay;
use weir::dlq::desk::Desk;
use weir::dlq::view::{Scan, Select};
use weir::source::Mode;
use weir::store::committer::Committer;

use crate::world::World;
use crate::{run_seeds, seeds};

const CRASHES_MAX: u64 = 8;
/// How long whoever replays lets pass at most before he does so again.
const PAUSE_MS_MAX: u64 = 700;

/// Has all dead letters replayed now and then; ends once nothing goes wrong any more and none are left. Whether that is so.
pub async fn operate(world: Arc<World>, mode: Mode, committer: Committer, desk: Desk) -> bool {
    if !world.plan.replays || mode == Mode::Drain {
        return true;
    }
    let store = world.store();
    loop {
        tokio::time::sleep(Duration::from_millis(world.rng.below(PAUSE_MS_MAX))).await;
        match replay(&store, &committer, &desk, &Select::default()).await {
            Ok(done) => world.event(|| format!("{done:?}")),
            Err(error) => world.event(|| format!("nothing is replayed: {error}")),
        }
        if world.is_over() && open_letters(&world).is_empty() {
            return true;
        }
    }
}

/// The values of all dead letters that are not settled, those that are to be replayed among them.
fn open_letters(world: &World) -> Vec<String> {
    let store = world.store();
    let all = async {
        let (mut values, select) = (Vec::new(), Select::default());
        let Ok(mut scan) = Scan::open(&store, &select).await else { return values };
        while let Ok(Some(found)) = scan.next().await {
            values.push(String::from_utf8(found.record().unwrap().value.unwrap().to_vec()).unwrap());
        }
        values
    };
    all.now_or_never().unwrap()
}

fn run_seed(seed: u64) -> (u64, Result<(), String>) {
    let world = World::replaying(seed);
    for _ in 0..world.rng.below(CRASHES_MAX + 1) {
        world.live(Some(world.rng.below(4_000)));
        if let Err(violation) = check_at_any_time(&world) {
            return (world.trace_hash(), Err(violation));
        }
        if world.rng.chance(25) {
            world.fix();
        }
    }
    world.calm();
    let until = |what: &str, live: &dyn Fn() -> bool| match (0..50).any(|_| live()) {
        true => Ok(()),
        false => Err(format!("the appliance does not come to its end without faults: {what}")),
    };
    let result = until("at first", &|| world.live(None))
        .and_then(|()| check_at_any_time(&world))
        .and_then(|()| {
            world.fix();
            until("replaying", &|| world.replay_all())
        })
        .and_then(|()| until("at last", &|| world.live(None)))
        .and_then(|()| check_at_the_end(&world));
    (world.trace_hash(), result)
}

fn count(values: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    values.into_iter().for_each(|value| *counts.entry(value).or_default() += 1);
    counts
}

fn mid(world: &World) -> BTreeMap<String, usize> {
    count((0..world.plan.mid_partitions).flat_map(|n| world.stream("mid", n)).map(|(_, value)| value))
}

/// How often a value is to be in the stream behind the step in the end.
fn wanted(action: &str) -> usize {
    match action {
        "drop" | "odd" => 0,
        "double" => 2,
        _ => 1,
    }
}

/// Between any two commits a record is on one side of the step that refuses it, or is one dead letter.
fn check_at_any_time(world: &World) -> Result<(), String> {
    let (mid, open) = (mid(world), count(open_letters(world)));
    for n in 0..world.plan.records {
        let (value, action) = (world.plan.value(n), world.plan.action(n));
        let (behind, dead) = (mid.get(&value).copied().unwrap_or(0), open.get(&value).copied().unwrap_or(0));
        let is_right = match action {
            "reject" | "trap" => behind + dead <= 1,
            "undeliverable" => behind <= 1 && dead <= behind,
            _ => behind <= wanted(action) && dead == 0,
        };
        if !is_right {
            return Err(format!("{value} is {behind} times behind the step, and {dead} times a dead letter"));
        }
    }
    Ok(())
}

fn check_at_the_end(world: &World) -> Result<(), String> {
    let open = open_letters(world);
    if !open.is_empty() {
        return Err(format!("these are dead letters still: {open:?}"));
    }
    let (mid, file) = (mid(world), count(world.file.lines()));
    let external = world.external.lock().unwrap();
    let mut delivered: BTreeMap<&str, BTreeSet<_>> = BTreeMap::new();
    for (id, values) in external.iter().filter(|(id, _)| id.0 == "ext") {
        let different: BTreeSet<_> = values.iter().collect();
        if different.len() != 1 {
            return Err(format!("{id:?} was delivered as {different:?}"));
        }
        delivered.entry(&values[0]).or_default().insert(id);
    }
    for n in 0..world.plan.records {
        let (value, wanted) = (world.plan.value(n), wanted(world.plan.action(n)));
        let ids = delivered.get(&*value).map_or(0, BTreeSet::len);
        let found = (mid.get(&value).copied().unwrap_or(0), file.get(&value).copied().unwrap_or(0), ids);
        if found != (wanted, wanted, wanted) {
            return Err(format!("{value} is in stream, file and system outside {found:?} times, expected {wanted}"));
        }
    }
    Ok(())
}

#[test]
fn what_is_replayed_is_neither_lost_nor_doubled_whatever_fails() {
    let seeds = seeds(500);
    run_seeds(seeds.clone(), run_seed);
    writeln!(std::io::stderr(), "simulation of replays: {} seeds, no violation", seeds.count()).unwrap();
}

#[test]
fn a_replay_that_is_lost_or_doubled_is_found() {
    for sabotage in [forget_a_letter, double_a_letter] {
        let world = World::replaying(3);
        world.calm();
        while !world.live(None) {}
        check_at_any_time(&world).expect("an undisturbed run is right");
        sabotage(&world);
        world.fix();
        while !world.replay_all() {}
        while !world.live(None) {}
        assert!(check_at_the_end(&world).is_err());
    }
}

/// Settles a letter without its effects.
fn forget_a_letter(world: &World) {
    use weir::dlq::{Settled, settle};
    let state = vec![settle("0-0".parse().unwrap(), Settled::Replayed)];
    commit(world, weir::store::Changes { state, ..Default::default() });
}

/// Makes a second letter of one.
fn double_a_letter(world: &World) {
    use weir::store::{Append, DEAD_LETTERS, Store};
    let store = world.store();
    let read = store.read(DEAD_LETTERS, weir::record::Partition(0), weir::record::Offset(0), 1);
    let records = read.now_or_never().unwrap().unwrap().select(&[0]);
    let append = Append { stream: DEAD_LETTERS.into(), partition: weir::record::Partition(0), records };
    commit(world, weir::store::Changes { appends: vec![append], ..Default::default() });
}

fn commit(world: &World, changes: weir::store::Changes) {
    use weir::store::Store;
    world.store().commit(&[changes], weir::record::Timestamp(0)).now_or_never().unwrap().unwrap();
}
