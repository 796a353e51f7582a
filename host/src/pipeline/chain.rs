//! A task's steps, one after the other: a batch in, the records for each route out, and an account of all others.
//!
//! Knows steps and routes; not where records come from, nor what stands at the end of a route.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::plugin::step::Step;
use crate::plugin::{Answer, Outcome, StartError};
use crate::record::{Batch, Output, Port, Reject};

/// The number of a route: a set of destinations. Route 0 is where the last step's main port leads.
pub type Route = usize;

/// The steps of one task.
pub struct Chain {
    steps: Vec<Step>,
    /// For each step the routes of its ports, the first of which has number 1.
    ports: Vec<Vec<Option<Route>>>,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Processed {
    /// The records that leave, by route. No route comes twice, and none is empty.
    pub outputs: Vec<(Route, Output)>,
    /// Records that a step refused.
    pub refused: Vec<Refused>,
    /// How many records were dropped by intent: filtered, or sent to a port that leads nowhere.
    pub filtered: u64,
}

/// Records that a step or sink refused, as they came to it.
#[derive(Debug)]
pub struct Refused {
    /// Who refused them.
    pub by: Arc<str>,
    /// The records.
    pub records: Batch,
    /// For each, why.
    pub reasons: Vec<String>,
}

impl Refused {
    /// The refused records of a batch.
    pub fn of(by: Arc<str>, batch: &Batch, rejects: Vec<Reject>) -> Self {
        let places: Vec<u32> = rejects.iter().map(|reject| reject.index).collect();
        Refused { by, records: batch.select(&places), reasons: rejects.into_iter().map(|r| r.reason).collect() }
    }
}

/// The records on their way through the steps.
struct Flow {
    records: Batch,
    /// For each, the record of the input batch that it comes from; `None`: they are the input batch.
    origin: Option<Vec<u32>>,
}

/// Outputs gathered by route.
struct Exits {
    by_route: BTreeMap<Route, (Batch, Vec<u32>)>,
    /// How many outputs each record of the input batch has had.
    outputs: Vec<u32>,
}

impl Chain {
    /// Puts steps together. `routes` says where their named ports lead; a port that it does not name leads nowhere.
    /// Fails with the names that no step has a port for.
    pub fn new(steps: Vec<Step>, routes: &BTreeMap<Arc<str>, Route>) -> Result<Self, Vec<Arc<str>>> {
        let ports_of = |step: &Step| step.description().ports.iter().map(|p| routes.get(p.as_str()).copied()).collect();
        let ports = steps.iter().map(ports_of).collect();
        let known = |name: &str| steps.iter().any(|step| step.description().ports.iter().any(|port| port == name));
        let unknown: Vec<_> = routes.keys().filter(|name| !known(name)).cloned().collect();
        if unknown.is_empty() { Ok(Chain { steps, ports }) } else { Err(unknown) }
    }

    /// Runs a batch from an input through all steps.
    pub async fn process(&mut self, input: u32, source: &Arc<str>, batch: Batch) -> Result<Processed, StartError> {
        let mut done = Processed::default();
        let mut exits = Exits { by_route: BTreeMap::new(), outputs: vec![0; batch.len()] };
        let mut flow = Flow { records: batch, origin: None };
        for (step, ports) in self.steps.iter_mut().zip(&self.ports) {
            if flow.records.is_empty() {
                break;
            }
            let outcome = step.run(input, &flow.records).await?;
            if !outcome.rejects.is_empty() {
                done.refused.push(Refused::of(step.name().clone(), &flow.records, outcome.rejects.clone()));
            }
            done.filtered += flow.apply(outcome);
            done.filtered += flow.split_off(ports, &mut exits);
        }
        exits.take_all(0, flow);
        done.outputs = exits.into_outputs(source);
        Ok(done)
    }
}

impl Flow {
    fn origin_of(&self, at: u32) -> u32 {
        match &self.origin {
            None => at,
            Some(origin) => origin.get(at as usize).copied().unwrap_or(at),
        }
    }

    /// Goes on with what a step answered; returns how many records it filtered out.
    fn apply(&mut self, outcome: Outcome) -> u64 {
        let before = self.records.len() - outcome.rejects.len();
        match outcome.answer {
            Answer::Unchanged if outcome.rejects.is_empty() => 0,
            Answer::Unchanged => {
                let mut rejected = outcome.rejects.iter().map(|reject| reject.index).peekable();
                let all = 0..self.records.len() as u32;
                self.keep(&all.filter(|at| rejected.next_if_eq(at).is_none()).collect::<Vec<_>>());
                0
            }
            Answer::Select(kept) => {
                self.keep(&kept);
                (before - kept.len()) as u64
            }
            Answer::Replaced { records, origin } => {
                let filtered = before - distinct(&origin, self.records.len());
                self.origin = Some(origin.iter().map(|at| self.origin_of(*at)).collect());
                self.records = records;
                filtered as u64
            }
        }
    }

    fn keep(&mut self, places: &[u32]) {
        self.origin = Some(places.iter().map(|at| self.origin_of(*at)).collect());
        self.records = self.records.select(places);
    }

    /// Sends records that left by another port than the main one where it leads; returns how many led nowhere.
    fn split_off(&mut self, ports: &[Option<Route>], exits: &mut Exits) -> u64 {
        if self.records.is_main_port_only() {
            return 0;
        }
        let mut stay = Vec::new();
        let mut nowhere = 0;
        for (at, record) in (0..).zip(self.records.iter()) {
            match record.port {
                Port(0) => stay.push(at),
                Port(port) => match ports.get(usize::from(port) - 1).copied().flatten() {
                    Some(route) => exits.push(route, &record, self.origin_of(at)),
                    None => nowhere += 1,
                },
            }
        }
        self.keep(&stay);
        nowhere
    }
}

fn distinct(origin: &[u32], len: usize) -> usize {
    let mut seen = vec![false; len];
    origin.iter().filter(|at| seen.get_mut(**at as usize).is_some_and(|seen| !std::mem::replace(seen, true))).count()
}

impl Exits {
    /// Counts one more output of a record; returns which one it is.
    fn next_ordinal(&mut self, origin: u32) -> u32 {
        self.outputs.get_mut(origin as usize).map_or(0, |count| {
            *count += 1;
            *count - 1
        })
    }

    fn push(&mut self, route: Route, record: &crate::record::Record<'_>, origin: u32) {
        let ordinal = self.next_ordinal(origin);
        let (records, ordinals) = self.by_route.entry(route).or_default();
        records.push(&crate::record::Record { port: Port(0), ..*record });
        ordinals.push(ordinal);
    }

    fn take_all(&mut self, route: Route, flow: Flow) {
        if flow.records.is_empty() {
            return;
        }
        let ordinals: Vec<u32> =
            (0..flow.records.len() as u32).map(|at| self.next_ordinal(flow.origin_of(at))).collect();
        let (records, all_ordinals) = self.by_route.entry(route).or_default();
        if records.is_empty() {
            *records = flow.records;
        } else {
            records.append(&flow.records);
        }
        all_ordinals.extend(ordinals);
    }

    fn into_outputs(self, source: &Arc<str>) -> Vec<(Route, Output)> {
        let output = |records, ordinals| Output { source: source.clone(), records, ordinals };
        self.by_route.into_iter().map(|(route, (records, ordinals))| (route, output(records, ordinals))).collect()
    }
}
