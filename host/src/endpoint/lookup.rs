//! Looking things up by key, in directories and databases: what is asked for once is kept for a while, that nothing was found too.
//!
//! Answers are JSON objects. A call asks for all of its keys together; those whose answers are kept are not asked for. Knows no plugin.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::cells::{Cell, Cells};
use super::database::{self, Access, Outcome, Statement};
use super::ldap::{self, Found};
use super::teller::Teller;
use crate::config::{self, Dialect, Lookup};

/// Searches of a directory that are on their way at once.
const SEARCHES_MAX: usize = 32;
/// Queries of one transaction. What it answers is kept before the next one, so that a slow server is asked for less the next time.
const QUERIES_MAX: usize = 100;
/// The same at HiveServer2, where each takes as long as a job.
const JOBS_MAX: usize = 4;
/// How long nobody is asked after there was no answer: what waits for others must not wait for this one each time.
const AWAY: Duration = Duration::from_secs(2);
/// Bytes of one answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Bytes that all queries of a transaction return.
const RETURNED_BYTES_MAX: usize = 64 << 20;
/// What PostgreSQL calls an object that it has made of a row.
const OBJECT: &str = "weir_row";
/// What an entry of the cache takes beside its key and its answer.
const ENTRY_BYTES: usize = 128;

/// Why there are no answers; see `wit/lookup.wit`. The texts are for plugins: they hold no address and no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It is not allowed, or not well formed.
    #[error("the lookup is refused: {0}")]
    Refused(String),
    /// There is no answer now.
    #[error("the lookup is not available: {0}")]
    Unavailable(String),
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    /// Of a database.
    query: Arc<str>,
    /// Its values, each behind its length.
    values: Box<[u8]>,
}

/// What was found for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Nothing,
    /// A JSON object.
    Row(Arc<str>),
    /// The server does not take the key, or its answer is too large: why.
    Wrong(Arc<str>),
}

#[derive(Debug, Clone)]
struct Kept {
    answer: Answer,
    at: Instant,
}

impl Answer {
    fn of(row: Option<String>) -> Self {
        match row {
            None => Answer::Nothing,
            Some(row) if row.len() > ANSWER_BYTES_MAX => {
                let bytes = row.len();
                Answer::Wrong(format!("what was found has {bytes} bytes, {ANSWER_BYTES_MAX} are allowed").into())
            }
            Some(row) => Answer::Row(row.into()),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Answer::Nothing => 0,
            Answer::Row(text) | Answer::Wrong(text) => text.len(),
        }
    }

    fn cell(&self) -> Cell<'_> {
        match self {
            Answer::Nothing => Cell::Null,
            Answer::Row(row) => Cell::Text(row),
            Answer::Wrong(why) => Cell::Bytes(why.as_bytes()),
        }
    }
}

/// Weighs what is kept in bytes.
#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<Key, Kept> for Bytes {
    fn weight(&self, key: &Key, kept: &Kept) -> u64 {
        (ENTRY_BYTES + key.values.len() + kept.answer.bytes()) as u64
    }
}

enum Place {
    Ldap(Box<ldap::Client>),
    Database(Arc<database::Client>),
}

/// The client of one endpoint.
pub struct Client {
    settings: Lookup,
    place: Place,
    kept: Cache<Key, Kept, Bytes>,
    /// When it was that there was no answer.
    away: Mutex<Option<Instant>>,
    teller: Teller,
}

impl Client {
    /// A client that has asked for nothing yet. `database` is that of a database's endpoint, where it is one.
    pub fn new(settings: Lookup, database: impl FnOnce(&Arc<config::Database>) -> Arc<database::Client>) -> Self {
        let place = match &settings {
            Lookup::Ldap(settings) => Place::Ldap(Box::new(ldap::Client::new(settings.server.clone()))),
            Lookup::Database(settings) => Place::Database(database(settings)),
        };
        let bytes_max = settings.cache().bytes_max;
        let kept = Cache::with_weighter(bytes_max / (2 * ENTRY_BYTES), bytes_max as u64, Bytes);
        let teller = Teller::of(settings.name());
        Client { settings, place, kept, away: Mutex::default(), teller }
    }

    /// Whose client it is.
    pub fn settings(&self) -> &Lookup {
        &self.settings
    }

    /// Refuses a query that the endpoint has no use for, and a number of values that do not fit.
    pub fn check(&self, query: &str, width: usize) -> Result<(), Failure> {
        match &self.settings {
            Lookup::Ldap(_) if !query.is_empty() => {
                Err(Failure::Refused("a directory is asked by the filter of its endpoint: expected no query".into()))
            }
            Lookup::Ldap(settings) if settings.search.filter.values() != width => {
                let expected = settings.search.filter.values();
                Err(Failure::Refused(format!(
                    "the filter of the endpoint takes {expected} values, the key has {width}"
                )))
            }
            Lookup::Ldap(_) => Ok(()),
            Lookup::Database(_) if query.is_empty() => Err(Failure::Refused("a database is asked by a query".into())),
            Lookup::Database(_) => {
                statement(query, &[Cell::Null]).check().map_err(|failure| Failure::Refused(failure.to_string()))
            }
        }
    }

    /// What is found for each key, which has as many values as `width` says: a JSON object, or null.
    pub async fn find(&self, query: &str, width: usize, keys: &Cells, deadline: Instant) -> Result<Cells, Failure> {
        self.check(query, width)?;
        if width == 0 || !keys.len().is_multiple_of(width) {
            return Err(Failure::Refused(format!("{} values are not those of keys of {width}", keys.len())));
        }
        let query: Arc<str> = query.into();
        let wanted: Vec<Key> = (0..keys.len() / width).map(|at| key(&query, keys, at * width, width)).collect();
        let mut known: HashMap<&Key, Answer> = HashMap::with_capacity(wanted.len());
        let mut old: Vec<(&Key, usize, Option<Kept>)> = Vec::new();
        let now = Instant::now();
        for (at, key) in wanted.iter().enumerate() {
            if known.contains_key(key) {
                continue;
            }
            let kept = self.kept.get(key);
            match kept {
                Some(kept) if now < kept.at + self.ttl(&kept.answer) => drop(known.insert(key, kept.answer)),
                // An empty value is nobody's: of a filter like `(uid={0}*)` it would be everybody's.
                _ if (0..width).any(|value| is_empty(keys.get(at * width + value))) => {
                    drop(known.insert(key, Answer::Nothing))
                }
                kept => {
                    known.insert(key, Answer::Nothing);
                    old.push((key, at, kept));
                }
            }
        }
        let places: Vec<usize> = old.iter().map(|(_, at, _)| *at).collect();
        let (answers, asked) = self.ask(&query, width, keys, &places, deadline).await;
        let mut old = old.into_iter();
        // What was answered counts, whatever became of the rest.
        for (answer, (key, ..)) in answers.into_iter().zip(&mut old) {
            if !self.ttl(&answer).is_zero() {
                self.kept.insert(key.clone(), Kept { answer: answer.clone(), at: now });
            }
            known.insert(key, answer);
        }
        match asked {
            Ok(()) => {}
            Err(failure @ Failure::Unavailable(_)) => {
                for (key, _, kept) in old {
                    let until = |kept: &Kept| kept.at + self.ttl(&kept.answer) + self.settings.cache().stale;
                    let Some(kept) = kept.filter(|kept| now < until(kept)) else { return Err(failure) };
                    known.insert(key, kept.answer);
                }
            }
            Err(failure) => return Err(failure),
        }
        let mut found = Cells::default();
        for key in &wanted {
            found.push(known.get(key).map_or(Cell::Null, Answer::cell));
        }
        Ok(found)
    }

    fn ttl(&self, answer: &Answer) -> std::time::Duration {
        let cache = self.settings.cache();
        if matches!(answer, Answer::Row(_)) { cache.ttl } else { cache.missing_ttl }
    }

    /// Asks for keys by their places: the answers to the first of them, and why there are no more.
    async fn ask(
        &self,
        query: &str,
        width: usize,
        keys: &Cells,
        places: &[usize],
        deadline: Instant,
    ) -> (Vec<Answer>, Result<(), Failure>) {
        let mut answers = Vec::with_capacity(places.len());
        let away = *self.away.lock().unwrap_or_else(PoisonError::into_inner);
        if !places.is_empty() && away.is_some_and(|at| at.elapsed() < AWAY) {
            return (answers, Err(Failure::Unavailable("there was no answer a moment ago".into())));
        }
        let asked = match &self.place {
            Place::Ldap(client) => self.search_all(client, width, keys, places, deadline, &mut answers).await,
            Place::Database(client) => query_all(client, query, width, keys, places, deadline, &mut answers).await,
        };
        let is_away = matches!(asked, Err(Failure::Unavailable(_)));
        *self.away.lock().unwrap_or_else(PoisonError::into_inner) = is_away.then(Instant::now);
        (answers, asked)
    }

    async fn search_all(
        &self,
        client: &ldap::Client,
        width: usize,
        keys: &Cells,
        places: &[usize],
        deadline: Instant,
        answers: &mut Vec<Answer>,
    ) -> Result<(), Failure> {
        // Collected first: what borrows from each place is not general enough for the stream.
        let mut searches = Vec::with_capacity(places.len());
        for at in places {
            searches.push(self.search(client, values(keys, *at, width), deadline));
        }
        let mut searches = stream::iter(searches).buffered(SEARCHES_MAX);
        while let Some(answer) = searches.next().await {
            answers.push(answer?);
        }
        Ok(())
    }

    async fn search(&self, client: &ldap::Client, values: Vec<&[u8]>, deadline: Instant) -> Result<Answer, Failure> {
        let Lookup::Ldap(settings) = &self.settings else { return Ok(Answer::Nothing) };
        match client.search(&settings.search, &values, deadline).await {
            Ok(Found::Nothing) => Ok(Answer::Nothing),
            Ok(Found::One(_, told)) => Ok(Answer::of(Some(serde_json::Value::Object(told).to_string()))),
            Ok(Found::Several) => {
                let value = String::from_utf8_lossy(values.first().copied().unwrap_or_default()).into_owned();
                self.teller.tell(&format!("more than one entry matches {value:?}: expected one; it counts as none"));
                Ok(Answer::Nothing)
            }
            Err(trouble) => {
                self.teller.tell(&trouble);
                Err(Failure::Unavailable("the directory does not answer; the appliance's log says why".into()))
            }
        }
    }
}

/// Asks a database, in transactions of several queries.
async fn query_all(
    client: &database::Client,
    query: &str,
    width: usize,
    keys: &Cells,
    places: &[usize],
    deadline: Instant,
    answers: &mut Vec<Answer>,
) -> Result<(), Failure> {
    let dialect = client.settings().dialect;
    let text = asked(query, dialect);
    let at_once = match dialect {
        Dialect::Mysql | Dialect::Postgres => QUERIES_MAX,
        Dialect::Impala | Dialect::Hive | Dialect::Spark => JOBS_MAX,
    };
    let statements: Vec<Statement> = places.iter().map(|at| statement(&text, &cells(keys, *at, width))).collect();
    let mut rest = statements.as_slice();
    // Fewer, where one of them is not taken or they return too much: those before it are asked for again without it.
    let mut count = at_once;
    while let Some(now) = rest.get(..count.min(rest.len())).filter(|now| !now.is_empty()) {
        // An endpoint that is down is not to use up the time that others have.
        let until = deadline.min(Instant::now() + client.settings().timeout);
        let taken = match client.transact(now, Access::Read, until, RETURNED_BYTES_MAX).await {
            Ok(outcomes) => {
                answers.extend(outcomes.iter().map(|outcome| Answer::of(first_row(outcome))));
                outcomes.len()
            }
            Err(database::Failure::Wrong { statement: 0, message, .. }) => {
                answers.push(Answer::Wrong(message.into()));
                1
            }
            Err(database::Failure::Wrong { statement, .. }) => {
                count = statement as usize;
                continue;
            }
            Err(database::Failure::TooLarge(limit)) if now.len() == 1 => {
                answers.push(Answer::Wrong(format!("what was found has more than {limit} bytes").into()));
                1
            }
            Err(database::Failure::TooLarge(_)) => {
                count = now.len() / 2;
                continue;
            }
            Err(failure) => return Err(failed(failure)),
        };
        rest = rest.get(taken..).unwrap_or_default();
        count = at_once;
    }
    Ok(())
}

fn failed(failure: database::Failure) -> Failure {
    use database::Failure as Of;
    match failure {
        Of::Unavailable(_) | Of::Timeout | Of::Conflict(_) | Of::Unknown(_) => {
            Failure::Unavailable(failure.to_string())
        }
        Of::Refused(_) | Of::Missing(_) | Of::Wrong { .. } | Of::Unexpected(_) | Of::TooLarge(_) => {
            Failure::Refused(failure.to_string())
        }
    }
}

fn is_empty(cell: Cell<'_>) -> bool {
    match cell {
        Cell::Null => true,
        Cell::Text(text) => text.is_empty(),
        Cell::Bytes(bytes) => bytes.is_empty(),
    }
}

fn bytes(cell: Cell<'_>) -> &[u8] {
    match cell {
        Cell::Null => &[],
        Cell::Text(text) => text.as_bytes(),
        Cell::Bytes(bytes) => bytes,
    }
}

fn cells(keys: &Cells, at: usize, width: usize) -> Vec<Cell<'_>> {
    (at * width..(at + 1) * width).map(|at| keys.get(at)).collect()
}

fn values(keys: &Cells, at: usize, width: usize) -> Vec<&[u8]> {
    cells(keys, at, width).into_iter().map(bytes).collect()
}

fn key(query: &Arc<str>, keys: &Cells, from: usize, width: usize) -> Key {
    let mut values = Vec::new();
    for at in from..from + width {
        let value = bytes(keys.get(at));
        values.extend_from_slice(&(value.len() as u32).to_le_bytes());
        values.extend_from_slice(value);
    }
    Key { query: query.clone(), values: values.into() }
}

fn statement(query: &str, row: &[Cell<'_>]) -> Statement {
    let mut values = Cells::default();
    row.iter().for_each(|cell| values.push(*cell));
    Statement { text: query.into(), rows: 1, values, expected: None }
}

/// A query as it is asked. PostgreSQL makes the object itself, which knows all of its types.
fn asked(query: &str, dialect: Dialect) -> Cow<'_, str> {
    match dialect {
        Dialect::Postgres => {
            let query = query.trim_end().trim_end_matches(';');
            format!("SELECT row_to_json({OBJECT})::text AS {OBJECT} FROM (\n{query}\n) AS {OBJECT} LIMIT 1").into()
        }
        Dialect::Mysql | Dialect::Impala | Dialect::Hive | Dialect::Spark => query.into(),
    }
}

/// The first row that a query returned, as a JSON object.
fn first_row(outcome: &Outcome) -> Option<String> {
    let width = outcome.columns.len();
    if let (1, Cell::Text(object)) = (width, outcome.rows.get(0))
        && outcome.columns.first().is_some_and(|column| column == OBJECT)
    {
        return Some(object.to_owned());
    }
    if width == 0 || outcome.rows.len() < width {
        return None;
    }
    let mut row = String::from("{");
    for (at, column) in outcome.columns.iter().enumerate() {
        // Of columns that are called alike the first one counts.
        if outcome.columns.iter().take(at).all(|before| before != column) {
            row.push_str(if at > 0 { "," } else { "" });
            row.push_str(&serde_json::Value::from(column.as_str()).to_string());
            row.push(':');
            row.push_str(&outcome.json(at));
        }
    }
    row.push('}');
    Some(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_several_values_differ_where_one_of_them_does() {
        let query: Arc<str> = "".into();
        let of = |values: [&str; 2]| {
            let mut cells = Cells::default();
            values.iter().for_each(|value| cells.push(Cell::Text(value)));
            key(&query, &cells, 0, 2)
        };
        assert_ne!(of(["a", "bc"]), of(["ab", "c"]));
        assert_eq!(of(["a", "bc"]), of(["a", "bc"]));
    }

    #[test]
    fn a_row_is_an_object_whose_numbers_are_numbers() {
        let mut rows = Cells::default();
        [Cell::Text("7"), Cell::Text("7"), Cell::Null, Cell::Bytes(&[0, 255])]
            .into_iter()
            .for_each(|cell| rows.push(cell));
        let columns = ["n", "t", "none", "bytes"].map(str::to_owned).to_vec();
        let outcome = Outcome { affected: 0, columns, verbatim: vec![true, false, false, false], rows };
        assert_eq!(first_row(&outcome).unwrap(), r#"{"n":7,"t":"7","none":null,"bytes":"AP8="}"#);
    }
}
