//! An endpoint: a directory or database that is asked for the rows of a batch together.

use std::collections::BTreeMap;

use weir_plugin::lookup::{self, Answer, Cell, Cells, Failure};
use weir_plugin::{ConfigError, warn};

use crate::config::{self, OnUnavailable};
use crate::key::KeyPlace;
use crate::rows::{Row, RowKey, row};

/// Values of a call.
const VALUES_MAX: usize = 100_000;

/// What an endpoint has for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No row.
    Missing,
    /// A row.
    Row(Row),
    /// It does not take the key: why.
    Wrong(String),
}

/// What is asked of an endpoint, and what it has answered for the batch at hand.
#[derive(Debug)]
pub struct Endpoint {
    endpoint: lookup::Endpoint,
    query: String,
    on_unavailable: OnUnavailable,
    found: BTreeMap<RowKey, Found>,
}

impl Endpoint {
    /// Makes sense of a lookup's configuration, whose endpoint has to be granted.
    pub fn of(lookup: &config::Lookup) -> Result<Self, ConfigError> {
        let width = match &lookup.key {
            config::Key::Fields { separator: Some(_), .. } => {
                return Err(ConfigError::at(
                    "key",
                    "expected `separator` for a table alone: an endpoint takes the fields apart",
                ));
            }
            config::Key::Fields { paths, .. } => paths.len(),
            config::Key::Record | config::Key::Header(_) => 1,
        };
        if lookup.case_insensitive {
            return Err(ConfigError::at(
                "case_insensitive",
                "expected for a table alone: an endpoint compares as it does",
            ));
        }
        let endpoint = lookup::endpoint(lookup.endpoint.as_deref().unwrap_or_default());
        let query = lookup.query.clone().unwrap_or_default();
        let path = if query.is_empty() { "endpoint" } else { "query" };
        endpoint.check(&query, width).map_err(|failure| ConfigError::at(path, failure.message()))?;
        Ok(Endpoint {
            endpoint,
            query,
            on_unavailable: lookup.on_unavailable.unwrap_or_default(),
            found: BTreeMap::new(),
        })
    }

    /// Forgets what was answered.
    pub fn forget(&mut self) {
        self.found.clear();
    }

    /// Asks for the rows of many keys at once.
    pub fn prefetch<'k>(&mut self, place: &KeyPlace, keys: impl IntoIterator<Item = &'k RowKey>) {
        let mut wanted: Vec<&RowKey> = keys.into_iter().filter(|key| !self.found.contains_key(key)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        for keys in wanted.chunks((VALUES_MAX / place.width().max(1)).max(1)) {
            self.ask(place, keys);
        }
    }

    /// What there is for a key.
    pub fn get(&mut self, place: &KeyPlace, key: &RowKey) -> Found {
        if !self.found.contains_key(key) {
            self.ask(place, &[key]);
        }
        self.found.get(key).cloned().unwrap_or(Found::Missing)
    }

    fn ask(&mut self, place: &KeyPlace, keys: &[&RowKey]) {
        let cell = |value| std::str::from_utf8(value).map_or(Cell::Bytes(value), Cell::Text);
        let values: Cells = keys.iter().flat_map(|key| place.values(key)).map(cell).collect();
        match self.endpoint.find(&self.query, place.width(), &values) {
            Ok(answers) => {
                for (key, answer) in keys.iter().zip(answers) {
                    self.found.insert((*key).clone(), found(answer));
                }
            }
            Err(failure) => self.cannot(&failure, keys),
        }
    }

    #[cold]
    fn cannot(&mut self, failure: &Failure, keys: &[&RowKey]) {
        match (self.on_unavailable, failure) {
            // What is refused is the operator's to mend, and no record's fault.
            (OnUnavailable::Wait, _) | (_, Failure::Refused(_)) => lookup::begin_again(&failure.message()),
            (OnUnavailable::Miss, Failure::Unavailable(_)) => {
                warn!("{} keys count as missing: {}", keys.len(), failure.message());
                self.found.extend(keys.iter().map(|key| ((*key).clone(), Found::Missing)));
            }
        }
    }
}

fn found(answer: Answer) -> Found {
    match answer {
        Answer::Missing => Found::Missing,
        Answer::Wrong(why) => Found::Wrong(why),
        Answer::Found(object) => match row(object.as_bytes()) {
            Ok(row) => Found::Row(row),
            Err(reject) => Found::Wrong(reject.reason().to_owned()),
        },
    }
}
