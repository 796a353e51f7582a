//! What must be true of stateful tasks: whenever they were cut off, and at their end.

use std::collections::{BTreeMap, BTreeSet};

use weir::store::DEAD_LETTERS;

use super::model::{Id, Model, Moment, State, table};
use super::plan::{Item, Plan};
use super::steps::of_sortable;
use super::world::{STREAMS, World};

type Found = Result<(), String>;

/// What is committed of a task.
struct Seen {
    out: Vec<String>,
    side: Vec<String>,
    ticks: Vec<String>,
    dead: Vec<String>,
    state: State,
    global: BTreeMap<String, i64>,
    /// The records whose timers by the clock are still to fire.
    clock: Vec<String>,
    tally: i64,
}

impl Seen {
    fn of(world: &World, task: usize) -> Self {
        let [out, side, ticks] = STREAMS.map(|name| world.stream(&format!("{name}-{task}")));
        let mut dead: Vec<_> = world.stream(DEAD_LETTERS).iter().map(|value| word(value, 0).to_owned()).collect();
        dead.retain(|name| world.plan.items(task).any(|item| item.name == *name));
        let number = |value: &[u8]| of_sortable(value).0;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let entries = |name| world.table(task, "count", name).into_iter();
        let (mut state, mut global) = (State::default(), BTreeMap::new());
        state.counts = entries("counts").map(|(key, count)| (text(&key), number(&count) as u64)).collect();
        for (key, sum) in entries("sums") {
            match &*key {
                b"total" => state.total = number(&sum) as u64,
                _ => state.looked = number(&sum),
            }
        }
        for (key, _) in entries("timers") {
            let (due, what) = of_sortable(&key);
            state.timers.insert((due, word(&text(what), 0).into(), word(&text(what), 1).into()));
        }
        for (key, row) in entries("rows") {
            let rows = if key[0] == b'g' { &mut global } else { &mut state.rows };
            rows.insert(text(&key[1..]), number(&row));
        }
        let clock = entries("clock").map(|(key, _)| word(&text(of_sortable(&key).1), 0).to_owned()).collect();
        let tally = world.table(task, "tally", "seen").first().map_or(0, |(_, seen)| number(seen));
        Seen { out, side, ticks, dead, state, global, clock, tally }
    }

    /// The records that were counted.
    fn records(&self) -> impl Iterator<Item = &String> {
        self.out.iter().chain(&self.side).filter(|line| word(line, 0) == "rec")
    }

    fn fired(&self) -> impl Iterator<Item = &String> {
        self.out.iter().filter(|line| word(line, 0) == "fired")
    }
}

fn word(line: &str, at: usize) -> &str {
    line.split(' ').nth(at).unwrap()
}

fn name(line: impl AsRef<str>) -> String {
    word(line.as_ref(), 1).to_owned()
}

fn number(line: &str, at: usize) -> i64 {
    word(line, at).parse().unwrap()
}

/// The same, in whatever order.
fn same<T: Ord + std::fmt::Debug>(
    what: &str,
    got: impl Iterator<Item = T>,
    expected: impl Iterator<Item = T>,
) -> Found {
    let mut difference: BTreeMap<T, i64> = BTreeMap::new();
    got.for_each(|one| *difference.entry(one).or_default() += 1);
    expected.for_each(|one| *difference.entry(one).or_default() -= 1);
    difference.retain(|_, count| *count != 0);
    ensure(difference.is_empty(), || format!("{what}: too many (1, 2, ...) or too few (-1, -2, ...): {difference:?}"))
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Found {
    if holds { Ok(()) } else { Err(what()) }
}

/// What holds between any two commits: state, streams and dead letters tell of the same records, and everything that is
/// committed was delivered before.
pub fn consistent(world: &World, models: &[Model]) -> Found {
    let outside: BTreeSet<String> = world.outside.lock().unwrap().values().flatten().cloned().collect();
    for (task, model) in models.iter().enumerate() {
        let seen = Seen::of(world, task);
        let of_task = |violation| format!("task {task}: {violation}");
        counted(&seen).map_err(of_task)?;
        timers(&world.plan, task, &seen).map_err(of_task)?;
        time_goes_on(&world.plan, task, &seen).map_err(of_task)?;
        looked_up(&world.plan, &seen).map_err(of_task)?;
        if world.plan.is_exact {
            is_a_moment(&seen, model).map_err(of_task)?;
        }
        let lines = [&seen.out, &seen.side, &seen.ticks].into_iter().flatten();
        for line in lines {
            ensure(outside.contains(line), || format!("task {task}: {line} is committed and was not delivered"))?;
        }
    }
    Ok(())
}

/// Every record was counted once, and the state says so.
fn counted(seen: &Seen) -> Found {
    let names: BTreeSet<String> = seen.records().map(name).collect();
    ensure(names.len() == seen.records().count(), || format!("a record comes out twice: {:?}", seen.out))?;
    let mut counts: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for line in seen.records() {
        counts.entry(word(line, 2).to_owned()).or_default().push(number(line, 3) as u64);
    }
    for (key, counts) in &mut counts {
        counts.sort_unstable();
        let all = 1..=seen.state.counts.get(key).copied().unwrap_or(0);
        ensure(counts.iter().copied().eq(all), || format!("key {key} was counted {counts:?}: {:?}", seen.state))?;
    }
    ensure(counts.len() == seen.state.counts.len(), || format!("other keys than came out: {:?}", seen.state.counts))?;
    let (total, tally) = (seen.records().count() as u64, seen.out.len() as i64);
    ensure(seen.state.total == total, || format!("{total} records came out, {} were counted", seen.state.total))?;
    ensure(seen.tally == tally, || format!("{tally} records left, the last step counted {}", seen.tally))
}

/// Time never goes back, not at a restart either. A record that is tried again comes once its batch has passed, and takes
/// its place in it with the time that it is then.
fn time_goes_on(plan: &Plan, task: usize, seen: &Seen) -> Found {
    let retried: BTreeSet<&str> =
        plan.items(task).filter(|item| item.action == "retry").map(|item| item.name.as_str()).collect();
    for lines in [&seen.out, &seen.side] {
        let timed = lines.iter().filter(|line| word(line, 0) == "rec" && !retried.contains(word(line, 1)));
        let times = timed.map(|line| word(line, 6).parse::<i64>().ok());
        ensure(times.is_sorted(), || format!("time goes back: {lines:#?}"))?;
    }
    Ok(())
}

/// Every timer that a record set has fired once, or is still to fire.
fn timers(plan: &Plan, task: usize, seen: &Seen) -> Found {
    let names: BTreeSet<String> = seen.records().map(name).collect();
    let set = |action: &'static str| {
        let items = plan.items(task).filter(|item| item.action == action && names.contains(&item.name));
        items.map(|item| item.name.clone()).collect::<Vec<_>>()
    };
    let pending = seen.state.timers.iter().map(|(_, name, _)| name.clone());
    same("timers", seen.fired().map(name).chain(pending), set("timer").into_iter())?;
    let ticked = seen.ticks.iter().map(name).chain(seen.clock.iter().cloned());
    same("timers by the clock", ticked, set("tick").into_iter())
}

/// The sum of what lookups saw is kept; and what they saw in the table that is read first was there.
fn looked_up(plan: &Plan, seen: &Seen) -> Found {
    let looked: i64 = seen.records().map(|line| number(line, 4) + number(line, 5)).sum();
    ensure(looked == seen.state.looked, || format!("lookups saw {looked} in sum, kept is {}", seen.state.looked))?;
    let counts = seen.state.total > 0;
    for input in &plan.global {
        let at_first = if plan.is_exact { input.items.len() } else { input.at_first };
        let from = if counts { at_first } else { 0 };
        let keys: BTreeSet<&String> = input.items.iter().map(|item| &item.key).collect();
        let here: BTreeMap<_, _> = seen.global.clone().into_iter().filter(|(key, _)| keys.contains(key)).collect();
        let versions: Vec<_> = (from..=input.items.len()).map(|count| table(&input.items[..count])).collect();
        ensure(versions.contains(&here), || format!("{} is {here:?}, expected one of {versions:?}", input.places[0]))?;
        for line in seen.records().filter(|line| keys.iter().any(|key| *key == word(line, 2))) {
            let saw = number(line, 4);
            let was = |version: &BTreeMap<String, i64>| version.get(word(line, 2)).copied().unwrap_or(0);
            ensure(versions.iter().any(|version| was(version) == saw), || {
                format!("not in {}: {line}", input.places[0])
            })?;
        }
    }
    Ok(())
}

/// What is committed is what was so at one moment.
fn is_a_moment(seen: &Seen, model: &Model) -> Found {
    let lines = |is_side| model.lines.iter().filter(move |line| line.is_side == is_side).map(|line| &line.value);
    begins("stream out", &seen.out, lines(false))?;
    begins("stream side", &seen.side, lines(true))?;
    begins("dead letters", &seen.dead, model.dead.iter())?;
    let (out, side, dead) = (seen.out.len(), seen.side.len(), seen.dead.len());
    let moment = Moment { out, side, dead, state: seen.state.clone() };
    ensure(model.moments.contains(&moment), || format!("there was no such moment: {moment:?}"))
}

fn begins<'a>(what: &str, got: &[String], expected: impl Iterator<Item = &'a String>) -> Found {
    let expected: Vec<_> = expected.take(got.len()).collect();
    let holds = got.iter().eq(expected.iter().copied());
    ensure(holds, || format!("{what}: got {got:#?}, expected {expected:#?}"))
}

/// What holds once all is done.
pub fn complete(world: &World, models: &[Model]) -> Found {
    consistent(world, models)?;
    for (task, model) in models.iter().enumerate() {
        let seen = Seen::of(world, task);
        let names = |keep: fn(&Item) -> bool| {
            world.plan.items(task).filter(move |item| keep(item)).map(|item| item.name.clone())
        };
        same("records", seen.records().map(name), names(Item::counts))?;
        same("dead letters", seen.dead.iter().cloned(), names(|item| matches!(item.action, "trap" | "reject")))?;
        ensure(seen.clock.is_empty(), || format!("timers by the clock never fired: {:?}", seen.clock))?;
        let rows = world.plan.tables[task].iter().flat_map(|input| &input.items);
        ensure(seen.state.rows == table(rows), || format!("the table is {:?}", seen.state.rows))?;
        let rows = world.plan.global.iter().flat_map(|input| &input.items);
        ensure(seen.global == table(rows), || format!("the table that is read first is {:?}", seen.global))?;
        let reached = reached(&world.plan, task);
        let overdue = seen.state.timers.iter().find(|(due, ..)| Some(*due) <= reached);
        ensure(overdue.is_none(), || format!("time has reached {reached:?}, and {overdue:?} did not fire"))?;
        let ahead = world.table(task, "", "inputs");
        ensure(ahead.is_empty(), || format!("all is read, and what is ahead of it is kept: {ahead:?}"))?;
        if world.plan.is_exact {
            let last = model.moments.last().unwrap();
            ensure(last.state == seen.state, || format!("the last state is {:?}, expected {last:?}", seen.state))?;
            let count = seen.out.len() + seen.side.len();
            ensure(count == model.lines.len(), || format!("{count} outputs, expected {}", model.lines.len()))?;
        }
    }
    delivered(world, models)
}

/// The time that a task has reached in any case.
fn reached(plan: &Plan, task: usize) -> Option<i64> {
    let highest = plan.inputs[task].iter().filter(|input| !input.items.is_empty()).map(|input| {
        let timed = input.items.iter().filter(|item| item.action != "drop");
        timed.map(|item| item.time).max()
    });
    highest.min().flatten()
}

/// What came outside is what the streams hold, and where it does not depend on the clock it has the ids that the model gives.
fn delivered(world: &World, models: &[Model]) -> Found {
    let outside = world.outside.lock().unwrap();
    let clock: Vec<_> = (0..models.len()).map(Plan::clock_source).collect();
    let (by_clock, mut by_records) = (outside.clone(), outside.clone());
    let is_by_clock = |id: &Id| clock.contains(&id.0);
    by_records.retain(|id, _| !is_by_clock(id));
    for (id, values) in by_clock.iter().filter(|(id, _)| is_by_clock(id)) {
        ensure(values.len() == 1, || format!("{id:?} was delivered as each of {values:?}"))?;
    }
    if !world.plan.is_exact {
        let names = |values: &BTreeSet<String>| values.iter().map(name).collect::<Vec<_>>();
        let known: BTreeSet<_> =
            (0..models.len()).flat_map(|task| world.plan.items(task)).map(|i| i.name.clone()).collect();
        let unknown = outside.values().flat_map(names).find(|name| !known.contains(name));
        return ensure(unknown.is_none(), || format!("{unknown:?} was delivered and is nobody's"));
    }
    let expected: BTreeMap<_, _> = models
        .iter()
        .flat_map(|model| &model.lines)
        .map(|line| (line.id.clone(), BTreeSet::from([line.value.clone()])))
        .collect();
    let wrong = by_records.iter().find(|(id, values)| expected.get(id) != Some(values));
    ensure(wrong.is_none(), || {
        format!("{wrong:?} was delivered, expected {:?}", wrong.map(|(id, _)| expected.get(id)))
    })?;
    let missing = expected.iter().find(|(id, _)| !by_records.contains_key(*id));
    ensure(missing.is_none(), || format!("{missing:?} was never delivered"))
}
