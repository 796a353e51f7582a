//! What the records, tables and tasks of a seed are.

use crate::fate::Rng;

/// A record of an input, or a row of a table.
pub struct Item {
    pub name: String,
    pub key: String,
    /// Its event time.
    pub time: i64,
    /// The timestamp that it has when it is read: its event time, unless a step is to give it that.
    pub read_time: i64,
    /// Which of the places of its input it lies in.
    pub place: usize,
    /// Its offset there.
    pub offset: u64,
    /// What a step does with it.
    pub action: &'static str,
    /// How long after it a timer is set; or the number of a row, 0 to delete it.
    pub number: i64,
}

/// What one input gives.
#[derive(Default)]
pub struct Input {
    /// Where it is read, for ids.
    pub places: Vec<String>,
    pub items: Vec<Item>,
    /// How many of them are there from the start, where it is a table.
    pub at_first: usize,
}

pub struct Plan {
    /// Whether each run has to give the same, byte for byte. Otherwise the order of places, and what idles, differ.
    pub is_exact: bool,
    /// Whether a step gives the records their times.
    pub sets_time: bool,
    /// Whether instances keep in mind what they read and wrote.
    pub remembers: bool,
    pub bytes_in_flight_max: usize,
    /// By task, the inputs of `from`.
    pub inputs: Vec<Vec<Input>>,
    /// By task, the table that is partitioned as the inputs are, where there is one.
    pub tables: Vec<Option<Input>>,
    /// The partitions of the table that every task reads first.
    pub global: Vec<Input>,
}

const KEYS: [&str; 4] = ["a", "b", "c", "d"];
const ACTIONS: [&str; 14] = [
    "keep", "keep", "keep", "drop", "drop", "trap", "reject", "side", "timer", "timer", "timer", "tick", "tick",
    "retry",
];

impl Plan {
    pub fn new(rng: &Rng) -> Self {
        let is_exact = rng.chance(60);
        let tasks = 1 + rng.below(2) as usize;
        let inputs = 1 + rng.below(3) as usize;
        let places = if is_exact { 1 } else { 1 + rng.below(3) as usize };
        let sets_time = inputs == 1 && rng.chance(30);
        let partitions = rng.below(3) as usize;
        let mut plan = Plan {
            is_exact,
            sets_time,
            remembers: rng.chance(50),
            bytes_in_flight_max: 1024 << rng.below(6),
            inputs: Vec::new(),
            tables: Vec::new(),
            global: Vec::new(),
        };
        for task in 0..tasks {
            let input = |input| plan.stream(rng, &format!("in{input}/{task}"), places);
            let streams = (0..inputs).map(input).collect();
            plan.inputs.push(streams);
            let has_table = rng.chance(60);
            plan.tables.push(has_table.then(|| rows(rng, &format!("table/{task}"), &KEYS)));
        }
        for partition in 0..partitions {
            let keys: Vec<_> = KEYS.into_iter().skip(partition).step_by(partitions).collect();
            plan.global.push(rows(rng, &format!("global/{partition}"), &keys));
        }
        plan
    }

    /// Some records, in the order in which they are read where that is always the same.
    fn stream(&self, rng: &Rng, source: &str, places: usize) -> Input {
        let mut times = Times::new(rng);
        let mut next = vec![0; places];
        let mut items = Vec::new();
        for n in 0..rng.below(60) {
            let (time, place) = (times.next(rng), rng.below(places as u64) as usize);
            let action = ACTIONS[rng.below(if self.is_exact { 13 } else { 14 }) as usize];
            let number = match action {
                "tick" => rng.below(200) as i64,
                _ => rng.below(120) as i64 - 20,
            };
            items.push(Item {
                name: format!("{source}-{n}"),
                key: KEYS[rng.below(4) as usize].into(),
                time,
                read_time: if self.sets_time { n as i64 / 3 } else { time },
                place,
                offset: next[place],
                action,
                number,
            });
            // Offsets need not follow each other.
            next[place] += 1 + rng.below(2);
        }
        Input { places: (0..places).map(|place| format!("{source}/{place}")).collect(), items, at_first: 0 }
    }

    /// All records of a task, whatever becomes of them.
    pub fn items(&self, task: usize) -> impl Iterator<Item = &Item> {
        self.inputs[task].iter().flat_map(|input| &input.items)
    }

    /// How the ids of what the clock brings about begin.
    pub fn clock_source(task: usize) -> String {
        format!("keyed/{task}@time")
    }
}

impl Item {
    /// The record's value; a row that is deleted has none.
    pub fn value(&self) -> Option<String> {
        match (self.action, self.number) {
            ("row", 0) => None,
            ("row", number) => Some(number.to_string()),
            (action, number) => Some(format!("{} {action} {number} {}", self.name, self.time)),
        }
    }

    /// Whether it is counted, and goes on.
    pub fn counts(&self) -> bool {
        !matches!(self.action, "drop" | "trap" | "reject")
    }
}

fn rows(rng: &Rng, source: &str, keys: &[&str]) -> Input {
    let mut times = Times::new(rng);
    let row = |offset| {
        let (time, number) = (times.next(rng), rng.below(10) as i64);
        let key = keys[rng.below(keys.len() as u64) as usize].into();
        Item { name: source.into(), key, time, read_time: time, place: 0, offset, action: "row", number }
    };
    let items: Vec<_> = (0..rng.below(30)).map(row).collect();
    let at_first = if rng.chance(50) { items.len() } else { rng.below(items.len() as u64 + 1) as usize };
    Input { places: vec![source.into()], items, at_first }
}

/// Times that go on, with some that are late.
struct Times(i64);

impl Times {
    fn new(rng: &Rng) -> Self {
        Times(rng.below(200) as i64 - 100)
    }

    fn next(&mut self, rng: &Rng) -> i64 {
        self.0 += [0, 1, 3, 40][rng.below(4) as usize] * rng.below(3) as i64;
        self.0 - [0, 0, 5, 15, 60][rng.below(5) as usize] * rng.below(2) as i64
    }
}
