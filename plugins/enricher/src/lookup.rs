//! One lookup: which row a record has, and what of the row goes into the record.

use weir_plugin::json::Path;
use weir_plugin::{ConfigError, Reject, Result};

use crate::config::{self, Miss, OnMiss};
use crate::fields::{Changes, Names, Obstacle, Places, Way};
use crate::key::KeyPlace;
use crate::rows::{Row, RowKey};

/// How much of a key is told.
const SHOWN_CHARS_MAX: usize = 80;

/// Where rows are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In one of the tables, by its number.
    Table(usize),
    /// At one of the endpoints, by its number.
    Endpoint(usize),
}

/// A lookup that can be done.
#[derive(Debug)]
pub struct Lookup {
    /// Where its rows are found.
    pub place: Place,
    pub key: KeyPlace,
    pub on_miss: OnMiss,
    /// Whether no lookup before it adds what its key is made of.
    pub is_independent: bool,
    take: Take,
    /// What its place is called.
    name: String,
}

/// What of a row goes where.
#[derive(Debug)]
enum Take {
    Whole(Way),
    Fields { names: Names, from: Vec<Way>, to: Vec<Way> },
}

impl Lookup {
    /// Makes sense of a lookup's configuration; `before` are the lookups in front of it. Errors name the setting, below the
    /// lookup's own path.
    pub fn new(
        config: config::Lookup,
        place: Place,
        before: &[Lookup],
        names: &mut Names,
    ) -> Result<Self, ConfigError> {
        let config::Lookup { table, endpoint, key, take, into, on_miss, .. } = config;
        let is_table = matches!(place, Place::Table(_));
        let name = match is_table {
            true => format!("table {}", table.unwrap_or_default()),
            false => format!("endpoint {}", endpoint.unwrap_or_default()),
        };
        if !is_table && on_miss.wait_ms.is_some() {
            let wrong = "expected pass, drop, port or dead_letter: no endpoint tells when a row comes";
            return Err(ConfigError::at("on_miss", wrong));
        }
        let key = KeyPlace::new(key, is_table, names);
        let take = Take::new(take, into, names)?;
        let writes = |lookup: &Lookup| lookup.take.to().iter().any(|to| key.ways().iter().any(|way| way.overlaps(to)));
        let is_independent = !before.iter().any(writes);
        check_on_miss(on_miss, before)?;
        Ok(Lookup { place, key, on_miss, is_independent, take, name })
    }

    /// Puts what is taken of a row into a record.
    pub fn put(
        &self,
        row: &Row,
        row_places: &mut Places,
        changes: &mut Changes,
        places: &Places,
        doc: &[u8],
    ) -> Result<()> {
        let mut put = |to: &Way, value: &[u8]| {
            changes.put(to, places, doc, value).map_err(|obstacle| self.cannot_put(to, &obstacle))
        };
        match &self.take {
            Take::Whole(to) => put(to, &row.0),
            Take::Fields { names, from, to } => {
                row_places.find(names, &row.0)?;
                for (from, to) in from.iter().zip(to) {
                    if let Some(value) = row_places.value(from, &row.0)? {
                        put(to, value)?;
                    }
                }
                Ok(())
            }
        }
    }

    #[cold]
    fn cannot_put(&self, to: &Way, obstacle: &Obstacle) -> Reject {
        Reject::permanent(format_args!("the field {} from the {}: {obstacle}", to.path(), self.name))
    }

    /// Why a record without a row is rejected.
    #[cold]
    pub fn missed(&self, key: Option<&RowKey>) -> Reject {
        let Some(key) = key else {
            return Reject::permanent(format_args!("expected a key for the {}, found none", self.name));
        };
        let (shown, more) = self.shown(key);
        Reject::permanent(format_args!("expected a row of the {} with the key {shown:?}{more}, found none", self.name))
    }

    /// Why a record is rejected whose key an endpoint does not take.
    #[cold]
    pub fn wrong(&self, key: &RowKey, why: &str) -> Reject {
        let (shown, more) = self.shown(key);
        Reject::permanent(format_args!("the {} does not take the key {shown:?}{more}: {why}", self.name))
    }

    fn shown(&self, key: &RowKey) -> (String, &'static str) {
        let values: Vec<_> = self.key.values(key).into_iter().map(String::from_utf8_lossy).collect();
        let text = values.join("/");
        let shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
        let more = if shown.len() < text.len() { "..." } else { "" };
        (shown, more)
    }
}

/// A record that waited came with another call: it cannot be rejected any more.
fn check_on_miss(on_miss: OnMiss, before: &[Lookup]) -> Result<(), ConfigError> {
    let instead = "a record that has waited cannot become a dead letter: expected pass, drop, or port to let it leave by the port missed";
    match on_miss {
        OnMiss { wait_ms: Some(0), .. } => Err(ConfigError::at("on_miss.wait", "expected more than 0")),
        OnMiss { wait_ms: Some(_), then: Miss::DeadLetter } => Err(ConfigError::at("on_miss.then", instead)),
        OnMiss { wait_ms: None, then: Miss::DeadLetter } => {
            match before.iter().position(|l| l.on_miss.wait_ms.is_some()) {
                Some(at) => {
                    Err(ConfigError::at("on_miss", format_args!("records may wait in lookups.{at}, and {instead}")))
                }
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

impl Take {
    fn new(take: Option<config::Take>, into: Option<Path>, names: &mut Names) -> Result<Self, ConfigError> {
        let Some(config::Take(taken)) = take else {
            let into = into.ok_or("expected `take` or `into`, got neither")?;
            return Ok(Take::Whole(names.way(&into)));
        };
        let mut row_names = Names::default();
        let (mut from, mut to) = (Vec::new(), Vec::<Way>::new());
        for (source, target) in &taken {
            let way = names.way(&into.as_ref().map_or_else(|| target.clone(), |into| into.join(target)));
            if let Some(other) = to.iter().find(|other| other.overlaps(&way)) {
                let (way, other) = (way.path(), other.path());
                let wrong = format_args!("expected fields of the record beside each other, got {other} and {way}");
                return Err(ConfigError::at("take", wrong));
            }
            from.push(row_names.way(source));
            to.push(way);
        }
        Ok(Take::Fields { names: row_names, from, to })
    }

    /// Where something is put.
    fn to(&self) -> &[Way] {
        match self {
            Take::Whole(to) => std::slice::from_ref(to),
            Take::Fields { to, .. } => to,
        }
    }
}
