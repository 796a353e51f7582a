//! What comes of the records of a task, computed over all of them at once: inputs merged by time, one record after the other.
//!
//! Knows nothing of chunks, tasks and commits.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::{Input, Item, Plan};

/// The id of an output: where its input was read, offset, ordinal.
pub type Id = (String, u64, u32);

/// An output.
pub struct Line {
    pub id: Id,
    pub is_side: bool,
    pub value: String,
}

/// What the step remembers of records and their time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    pub counts: BTreeMap<String, u64>,
    /// How many records were counted.
    pub total: u64,
    /// The sum of what lookups saw.
    pub looked: i64,
    /// When, by which record, of which key.
    pub timers: BTreeSet<(i64, String, String)>,
    /// The table that is partitioned as the inputs are.
    pub rows: BTreeMap<String, i64>,
}

/// How far outputs have come, and what is remembered, between two records.
#[derive(Debug, PartialEq, Eq)]
pub struct Moment {
    pub out: usize,
    pub side: usize,
    pub dead: usize,
    pub state: State,
}

#[derive(Default)]
pub struct Model {
    pub lines: Vec<Line>,
    /// The names of those that end as dead letters.
    pub dead: Vec<String>,
    pub moments: Vec<Moment>,
    state: State,
    global: BTreeMap<String, i64>,
    watermark: Option<i64>,
}

/// The rows of a table, once some of its items were read.
pub fn table<'a>(items: impl IntoIterator<Item = &'a Item>) -> BTreeMap<String, i64> {
    let mut rows = BTreeMap::new();
    items.into_iter().for_each(|item| set(&mut rows, item));
    rows
}

fn set(rows: &mut BTreeMap<String, i64>, item: &Item) {
    match item.number {
        0 => drop(rows.remove(&item.key)),
        number => drop(rows.insert(item.key.clone(), number)),
    }
}

impl Model {
    pub fn of(plan: &Plan, task: usize) -> Self {
        let global = table(plan.global.iter().flat_map(|input| &input.items));
        let mut model = Model { global, ..Model::default() };
        model.note();
        let streams = plan.inputs[task].len();
        let inputs: Vec<&Input> = plan.inputs[task].iter().chain(&plan.tables[task]).collect();
        let (mut next, mut highest) = (vec![0; inputs.len()], vec![None; streams]);
        loop {
            let head = |at: &usize| Some((inputs[*at].items.get(next[*at])?.read_time, *at));
            let Some((_, at)) = (0..inputs.len()).filter_map(|at| head(&at)).min() else { return model };
            let item = &inputs[at].items[next[at]];
            if at < streams {
                if !(plan.sets_time && item.action == "drop") {
                    highest[at] = highest[at].max(Some(item.time));
                }
                // Inputs that have ended hold nothing back.
                let open = (0..streams).filter(|other| *other == at || next[*other] < inputs[*other].items.len());
                model.watermark = model.watermark.max(open.map(|other| highest[other]).min().unwrap());
                model.take(item, &inputs[at].places[item.place]);
            } else {
                set(&mut model.state.rows, item);
            }
            model.note();
            next[at] += 1;
        }
    }

    fn take(&mut self, item: &Item, place: &str) {
        let mut made = Vec::new();
        self.fire(&mut made);
        match item.action {
            "drop" => {}
            "trap" | "reject" => self.dead.push(item.name.clone()),
            action => {
                let count = self.state.counts.entry(item.key.clone()).or_default();
                *count += 1;
                let of = |rows: &BTreeMap<String, i64>| rows.get(&item.key).copied().unwrap_or(0);
                let (global, row, watermark) = (of(&self.global), of(&self.state.rows), self.watermark);
                let watermark = watermark.map_or("-".into(), |watermark| watermark.to_string());
                let value = format!("rec {} {} {count} {global} {row} {watermark}", item.name, item.key);
                made.push((action == "side", value));
                self.state.total += 1;
                self.state.looked += global + row;
                if action == "timer" {
                    self.state.timers.insert((item.time + item.number, item.name.clone(), item.key.clone()));
                    self.fire(&mut made);
                }
            }
        }
        // What leaves a step by a port of its own is counted before what goes through all steps.
        made.sort_by_key(|(is_side, _)| !is_side);
        let id = |ordinal| (place.to_owned(), item.offset, ordinal);
        let line = |(ordinal, (is_side, value))| Line { id: id(ordinal), is_side, value };
        self.lines.extend((0..).zip(made).map(line));
    }

    fn fire(&mut self, made: &mut Vec<(bool, String)>) {
        while let Some((due, name, key)) = self.state.timers.first().cloned() {
            if self.watermark.is_none_or(|watermark| watermark < due) {
                return;
            }
            self.state.timers.pop_first();
            let count = self.state.counts[&key];
            made.push((false, format!("fired {name} {key} {due} {count}")));
        }
    }

    fn note(&mut self) {
        let side = self.lines.iter().filter(|line| line.is_side).count();
        let (out, dead) = (self.lines.len() - side, self.dead.len());
        self.moments.push(Moment { out, side, dead, state: self.state.clone() });
    }
}
