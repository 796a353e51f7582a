//! Adds fields to JSON records from tables, from entries of a directory and from rows of a database.
//!
//! A table is an input of the step whose records are rows: a row's key is that of the record, and its value a JSON object, or
//! null where the row is deleted. A record with neither key nor value and the header `weir-table: replace` says that the rows
//! behind it in its batch are all that there are. Rows are kept in state under the table's name, and never leave the step.
//!
//! Values are not made trees: what is added is spliced into the text, and the rest of it stays as it came.

mod chain;
mod config;
mod endpoint;
mod fields;
mod key;
mod lookup;
mod rows;
mod waiting;

use weir_plugin::state::{State, Timer};
use weir_plugin::{Batch, ConfigError, Context, Event, Output, Port, Record, Result, Stateful, warn};

pub use crate::config::Config;

use crate::chain::{Chain, Fate, Opened};
use crate::config::Miss;
use crate::endpoint::Endpoint;
use crate::fields::Names;
use crate::key::Subject;
use crate::lookup::{Lookup, Place};
use crate::rows::Rows;
use crate::waiting::{Waited, Waiting};

/// Where records go that have no row, where that is said.
const MISSED: Port = Port(1);

/// The plugin.
pub struct Enricher {
    chain: Chain,
    waiting: Waiting,
    /// From this input on all are tables.
    first_table: u32,
    /// What is known of the records of the batch at hand, by their places in it.
    ahead: Vec<Opened>,
    /// For a record that has waited.
    waited: Opened,
}

impl Stateful for Enricher {
    type Config = Config;

    fn new(config: Config, context: &Context, state: &mut State) -> Result<Self, ConfigError> {
        if config.lookups.is_empty() {
            return Err(ConfigError::at("lookups", "expected at least one lookup"));
        }
        let (mut names, mut lookups) = (Names::default(), Vec::new());
        let (mut tables, mut endpoints) = (Vec::new(), Vec::new());
        for (at, lookup) in config.lookups.into_iter().enumerate() {
            let below =
                |error: ConfigError| ConfigError::at(join(format!("lookups.{at}"), error.path()), error.message());
            let place = match (&lookup.table, &lookup.endpoint) {
                (Some(_), None) => table_of(&lookup, context, &mut tables, state).map(Place::Table),
                (None, Some(_)) => Endpoint::of(&lookup).map(|endpoint| {
                    endpoints.push(endpoint);
                    Place::Endpoint(endpoints.len() - 1)
                }),
                _ => Err(ConfigError::from("expected one of `table` and `endpoint`")),
            };
            lookups.push(Lookup::new(lookup, place.map_err(below)?, &lookups, &mut names).map_err(below)?);
        }
        let waiting = Waiting::new(config.wait_records_max, state)?;
        let first_table = context.inputs.len() as u32;
        warn_of_unused(&tables, context);
        let chain = Chain::new(names, lookups, tables, endpoints);
        Ok(Enricher { chain, waiting, first_table, ahead: Vec::new(), waited: Opened::default() })
    }

    fn prefetch(&mut self, batch: &Batch<'_>) {
        match self.chain.tables.iter_mut().find(|table| table.input() == batch.input()) {
            Some(table) => table.look_ahead(batch),
            None => self.chain.look_ahead(batch, &mut self.ahead),
        }
    }

    fn process(&mut self, event: &Event<'_>, out: &mut Output<'_>) -> Result<()> {
        match self.chain.tables.iter().position(|table| table.input() == event.input()) {
            Some(table) => self.take_row(table, event, out),
            None if event.input() >= self.first_table => Ok(()),
            None => self.enrich(**event, out),
        }
    }

    fn timer(&mut self, timer: &Timer<'_>, out: &mut Output<'_>) -> Result<()> {
        let on_miss = |lookup: u64| Some(self.chain.lookups.get(usize::try_from(lookup).ok()?)?.on_miss);
        let due = self.waiting.take_due(timer, |lookup| on_miss(lookup)?.wait_ms);
        let Some(waited) = due else { return Ok(()) };
        match on_miss(waited.lookup).map_or(Miss::Pass, |on_miss| on_miss.then) {
            Miss::Drop => {}
            Miss::Port => waited.go_on(MISSED, out, |value| value.extend_from_slice(&waited.value)),
            Miss::Pass | Miss::DeadLetter => self.resume(&waited, waited.lookup.saturating_add(1), out),
        }
        Ok(())
    }

    fn ports(&self) -> Vec<&str> {
        let is_used = self.chain.lookups.iter().any(|lookup| lookup.on_miss.then == Miss::Port);
        if is_used { vec!["missed"] } else { Vec::new() }
    }
}

impl Enricher {
    /// Keeps a row, and lets go on what has waited for it.
    fn take_row(&mut self, table: usize, event: &Event<'_>, out: &mut Output<'_>) -> Result<()> {
        let Some(table) = self.chain.tables.get_mut(table) else { return Ok(()) };
        let Some(key) = table.apply(event)? else { return Ok(()) };
        for waited in self.waiting.take(table.name(), &key) {
            self.resume(&waited, waited.lookup, out);
        }
        Ok(())
    }

    fn enrich(&mut self, record: Record<'_>, out: &mut Output<'_>) -> Result<()> {
        let Some(doc) = record.value() else {
            // A tombstone says that its key has no value: there is nothing to add to.
            out.keep(record);
            return Ok(());
        };
        let opened = self.ahead.get_mut(record.index() as usize).ok_or("expected a record that was seen before")?;
        let room = || self.waiting.has_room(doc.len());
        let fate = self.chain.run(0, Subject::Come(record), doc, opened, room)?;
        let Chain { changes, names, .. } = &self.chain;
        let mut go_on = |port: Port| {
            if changes.is_empty() && port == Port::MAIN {
                out.keep(record);
            } else if changes.is_empty() {
                out.keep_to(port, record);
            } else {
                out.build(record).port(port).value_with(|value| changes.write(names, &opened.places, doc, value));
            }
        };
        match fate {
            Fate::GoesOn => go_on(Port::MAIN),
            Fate::Missed => go_on(MISSED),
            Fate::Dropped => {}
            Fate::Waits { lookup, key } => {
                let mut value = Vec::new();
                changes.write(names, &opened.places, doc, &mut value);
                self.waiting.add(name_of(&self.chain, lookup), key, &Waited::new(lookup, record, value));
            }
        }
        Ok(())
    }

    /// Lets a record that has waited go on to a lookup and those behind it.
    fn resume(&mut self, waited: &Waited, lookup: u64, out: &mut Output<'_>) {
        self.chain.forget();
        let (doc, from) = (waited.value.as_slice(), usize::try_from(lookup).unwrap_or(usize::MAX));
        self.waited.open(&self.chain, doc);
        let room = || self.waiting.has_room(doc.len());
        let fate = self.chain.run(from, Subject::Waited(waited), doc, &mut self.waited, room);
        let Chain { changes, names, .. } = &self.chain;
        let write = |value: &mut Vec<u8>| changes.write(names, &self.waited.places, doc, value);
        match fate {
            Ok(Fate::GoesOn) => waited.go_on(Port::MAIN, out, write),
            Ok(Fate::Missed) => waited.go_on(MISSED, out, write),
            Ok(Fate::Dropped) => {}
            Ok(Fate::Waits { lookup, key }) => {
                let mut value = Vec::new();
                write(&mut value);
                let again = Waited { lookup: lookup as u64, value, ..waited.clone() };
                self.waiting.add(name_of(&self.chain, lookup), key, &again);
            }
            // The record came with another call, so it cannot be rejected any more.
            Err(reject) => {
                warn!("a record that has waited goes on as it was: {}", reject.reason());
                waited.go_on(Port::MAIN, out, |value| value.extend_from_slice(doc));
            }
        }
    }
}

/// The name of the table that a record waits for.
fn name_of(chain: &Chain, lookup: usize) -> &str {
    match chain.lookups.get(lookup).map(|lookup| lookup.place) {
        Some(Place::Table(table)) => chain.tables.get(table).map_or("", Rows::name),
        Some(Place::Endpoint(_)) | None => "",
    }
}

/// The table of a lookup, declared where it is not yet.
fn table_of(
    lookup: &config::Lookup,
    context: &Context,
    tables: &mut Vec<Rows>,
    state: &mut State,
) -> Result<usize, ConfigError> {
    let name = lookup.table.as_deref().unwrap_or_default();
    let of_endpoints = [("query", lookup.query.is_some()), ("on_unavailable", lookup.on_unavailable.is_some())];
    if let Some((key, _)) = of_endpoints.iter().find(|(_, is_given)| *is_given) {
        return Err(ConfigError::at(*key, "expected beside `endpoint` alone"));
    }
    if let Some(at) = tables.iter().position(|table| table.name() == name) {
        let is_alike = tables.get(at).is_some_and(|table| table.folds_case() == lookup.case_insensitive);
        let wrong = format_args!("expected the same for all lookups in the table {name}");
        return if is_alike { Ok(at) } else { Err(ConfigError::at("case_insensitive", wrong)) };
    }
    let found = context.tables.iter().position(|table| table == name);
    let input = context.inputs.len() + found.ok_or_else(|| unknown_table(name, context))?;
    let at_table = |error: ConfigError| ConfigError::at("table", error.message());
    tables.push(Rows::new(name, input as u32, lookup.case_insensitive, state).map_err(at_table)?);
    Ok(tables.len() - 1)
}

/// Rows of a table that nobody looks at are dropped.
fn warn_of_unused(tables: &[Rows], context: &Context) {
    for name in &context.tables {
        if !tables.iter().any(|table| table.name() == name) {
            warn!("no lookup uses the table {name}: its rows are dropped");
        }
    }
}

fn unknown_table(name: &str, context: &Context) -> ConfigError {
    let known = context.tables.join(", ");
    let known = if known.is_empty() { "it has none".to_owned() } else { format!("it has {known}") };
    ConfigError::at("table", format_args!("expected one of the `tables` of the step, got {name:?}: {known}"))
}

fn join(path: String, rest: &str) -> String {
    if rest.is_empty() { path } else { format!("{path}.{rest}") }
}

weir_plugin::export_stateful!(Enricher);
