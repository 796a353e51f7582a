//! Runs the real task loop over a store in memory with everything around it going wrong, thousands of times.
//!
//! A seed decides everything: what the records are, how they are cut into chunks, which plugin traps, which sink fails or
//! stalls, when the process is killed and how much of a file survives it. Time is virtual and there is one thread, so the
//! same seed gives the same run, event by event. A violation prints its seed; `WEIR_SIM_SEED=N` runs that one again with
//! its events printed, `WEIR_SIM_SEEDS=N` sets how many are run (unless told 500, and 1,000 of stateful tasks, which are in
//! `keyed`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

mod check;
mod fate;
mod keyed;
mod parts;
mod replay;
mod world;

use std::io::Write as _;
use std::ops::Range;

use world::World;

/// Lives of one appliance before the last, undisturbed one.
const CRASHES_MAX: u64 = 8;

fn run_seed(seed: u64) -> (u64, Result<(), String>) {
    let world = World::new(seed);
    let crashes = world.rng.below(CRASHES_MAX + 1);
    for _ in 0..crashes {
        world.live(Some(world.rng.below(4_000)));
    }
    world.calm();
    let mut lives = 0;
    while !world.live(None) {
        lives += 1;
        if lives > 50 {
            return (world.trace_hash(), Err("the appliance does not come to its end without faults".into()));
        }
    }
    (world.trace_hash(), check::check(&world))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The seeds to run: one that is asked for, or as many.
fn seeds(unless_told: u64) -> Range<u64> {
    match number("WEIR_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("WEIR_SIM_SEEDS").unwrap_or(unless_told),
    }
}

fn run_seeds(seeds: Range<u64>, run_seed: fn(u64) -> (u64, Result<(), String>)) {
    for seed in seeds {
        match std::panic::catch_unwind(|| run_seed(seed)) {
            Ok((_, Ok(()))) => {}
            Ok((_, Err(violation))) => panic!("seed {seed}: {violation}; run again with WEIR_SIM_SEED={seed}"),
            Err(panic) => {
                eprintln!("seed {seed} panicked; run again with WEIR_SIM_SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}

#[test]
fn nothing_is_lost_or_doubled_whatever_fails() {
    let seeds = seeds(500);
    run_seeds(seeds.clone(), run_seed);
    // Not by a macro: the test runner keeps what they print to itself.
    writeln!(std::io::stderr(), "simulation: {} seeds, no violation", seeds.count()).unwrap();
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in (0..40).map(|n| 7 * n + 1) {
        let (first, _) = run_seed(seed);
        let (second, _) = run_seed(seed);
        assert_eq!(first, second, "seed {seed} ran in two ways");
    }
}

#[test]
fn different_seeds_give_different_runs() {
    let traces: std::collections::BTreeSet<u64> = (0..20).map(|seed| run_seed(seed).0).collect();
    assert!(traces.len() > 15, "only {} different runs of 20 seeds", traces.len());
}

/// A checker that finds nothing proves nothing: each kind of violation, made by hand, must be found.
#[test]
fn violations_are_found() {
    for sabotage in check::SABOTAGES {
        let world = World::new(3);
        world.calm();
        while !world.live(None) {}
        check::check(&world).expect("an undisturbed run is right");
        sabotage.commit(&world);
        assert!(check::check(&world).is_err(), "{sabotage:?} was not found");
    }
}
