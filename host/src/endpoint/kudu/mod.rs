//! The client of a Kudu cluster: its connection, the tables that are open, and what is tried again.
//!
//! The protocol is the crate `kudu-client`'s. Rows are written for themselves: of those that were not, the ones that may be written later are
//! tried again here, in their order, as long as there is time. Knows no plugin.

mod value;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kudu_client::{
    Alteration, Batch, Code, Column, Encryption, Error, NewTable, Operation, Options, RowError, Schema, Table, ValueRef,
};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout_at};

use crate::config::Kudu;
use crate::endpoint::cells::Cells;
use crate::endpoint::teller::Teller;

/// The pause before the next try; doubled each time, up to the longest.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Tables that are kept open.
const TABLES_MAX: usize = 256;

/// Why something did not come about; see `wit/kudu.wit`. The texts are for plugins: they hold no address and no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It is not allowed, or not well formed.
    #[error("the cluster refuses it: {0}")]
    Refused(String),
    /// The cluster could not be reached, or did not do it in time.
    #[error("the cluster is not available: {0}")]
    Unavailable(String),
    /// A table or column is not there.
    #[error("something is missing: {0}")]
    Missing(String),
}

/// Rows of the same columns, with which the same is done.
#[derive(Debug, Clone)]
pub struct Rows {
    /// What is done.
    pub operation: Operation,
    /// Their columns.
    pub columns: Vec<String>,
    /// As many for each row as there are columns.
    pub values: Cells,
}

/// A row that was not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongRow {
    /// Which of the lists of rows.
    pub rows: u32,
    /// Which row of it.
    pub row: u32,
    /// What was expected and what came.
    pub message: String,
}

/// Why something did not come about, in words for the operator.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    /// A secret or a certificate cannot be read.
    #[error("{0}")]
    Here(String),
    /// The cluster, or the way there.
    #[error(transparent)]
    There(#[from] Error),
}

/// Where a row is: in which list, and where in it.
type Place = (usize, usize);

/// The client of one endpoint.
pub struct Client {
    settings: Arc<Kudu>,
    connected: tokio::sync::Mutex<Option<kudu_client::Client>>,
    tables: Mutex<HashMap<String, Table>>,
    teller: Teller,
}

impl Rows {
    /// How many there are. The error says what does not fit together.
    fn count(&self) -> Result<usize, Failure> {
        let (values, columns) = (self.values.len(), self.columns.len());
        match values.checked_div(columns) {
            Some(count) if count * columns == values => Ok(count),
            _ => Err(Failure::Refused(format!("{values} values are not those of rows of {columns} columns"))),
        }
    }
}

impl Client {
    /// A client that has connected to nothing yet.
    pub fn new(settings: Arc<Kudu>) -> Self {
        let (connected, tables) = (tokio::sync::Mutex::default(), Mutex::default());
        let teller = Teller::of(&settings.name);
        Client { settings, connected, tables, teller }
    }

    /// Whose client it is.
    pub fn settings(&self) -> &Arc<Kudu> {
        &self.settings
    }

    /// The columns of a table, as they are now; none where it is not there.
    pub async fn describe(&self, table: &str, deadline: Instant) -> Result<Option<Vec<Column>>, Failure> {
        self.forget(table);
        match self.opened(table, deadline).await {
            Ok(table) => Ok(Some(table.schema().columns().to_vec())),
            Err(Failure::Missing(_)) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Creates a table, where it is not there.
    pub async fn create(
        &self,
        table: &str,
        columns: Vec<Column>,
        hashes: &[(Vec<String>, u16)],
        replicas: Option<u8>,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let schema = Schema::new(columns).map_err(|error| Failure::Refused(error.to_string()))?;
        let mut definition = NewTable::new(table, schema);
        for (columns, buckets) in hashes {
            definition = definition.hash(columns.iter().map(String::as_str), *buckets);
        }
        if let Some(count) = replicas {
            definition = definition.replicas(count);
        }
        let mut tries = Tries::new(self, deadline);
        while tries.judge(timeout_at(deadline, self.create_once(&definition)).await).await?.is_none() {}
        Ok(())
    }

    /// Adds columns, where they are not there.
    pub async fn add_columns(&self, table: &str, columns: &[Column], deadline: Instant) -> Result<(), Failure> {
        let mut tries = Tries::new(self, deadline);
        while tries.judge(timeout_at(deadline, self.add_once(table, columns)).await).await?.is_none() {}
        self.forget(table);
        Ok(())
    }

    async fn create_once(&self, definition: &NewTable) -> Result<(), Trouble> {
        match self.connect().await?.create_table(definition).await {
            Err(error) if !error.is_table_present() => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn add_once(&self, table: &str, columns: &[Column]) -> Result<(), Trouble> {
        let client = self.connect().await?;
        let opened = client.open_table(table).await?;
        let is_new = |column: &&Column| opened.schema().index(&column.name).is_none();
        let mut wanted = columns.iter().filter(is_new).cloned().peekable();
        if wanted.peek().is_none() {
            return Ok(());
        }
        let alteration = wanted.fold(Alteration::new(), Alteration::add_column);
        Ok(client.alter_table(table, &alteration).await?)
    }

    /// Writes rows in their order, and returns those that cannot be written. Goes on trying until `deadline` with those that may
    /// be written later.
    pub async fn write(&self, table: &str, rows: &[Rows], deadline: Instant) -> Result<Vec<WrongRow>, Failure> {
        let mut left: Vec<Place> = Vec::new();
        for (list, rows) in rows.iter().enumerate() {
            left.extend((0..rows.count()?).map(|row| (list, row)));
        }
        let (mut wrong, mut tries) = (Vec::new(), Tries::new(self, deadline));
        while !left.is_empty() {
            let opened = self.opened(table, deadline).await?;
            let (batch, places) = fill(&opened, rows, &left, &mut wrong)?;
            let within = self.settings.timeout.min(deadline.saturating_duration_since(Instant::now()));
            let report = opened.session().timeout(within.max(PAUSE)).write(batch).await;
            let mut why = None;
            left.clear();
            for error in report.errors {
                let Some(place) = places.get(error.row) else { continue };
                if error.is_of_row && !error.is_retriable {
                    wrong.push(wrong_row(*place, error.message.to_string()));
                } else {
                    left.push(*place);
                    why = Some(error);
                }
            }
            if let Some(why) = why {
                self.forget(table);
                self.teller.tell(&why);
                if is_refused(&why) {
                    return Err(Failure::Refused(format!("it does not take the rows together: {:?}", why.code)));
                }
                if why.code == Code::NotAuthorized {
                    self.disconnect().await;
                }
                tries.wait().await?;
            }
        }
        wrong.sort_unstable_by_key(|row| (row.rows, row.row));
        Ok(wrong)
    }

    /// A table as it was opened last.
    async fn opened(&self, name: &str, deadline: Instant) -> Result<Table, Failure> {
        let mut tries = Tries::new(self, deadline);
        loop {
            if let Some(table) = tries.judge(timeout_at(deadline, self.open(name)).await).await? {
                return Ok(table);
            }
        }
    }

    async fn open(&self, name: &str) -> Result<Table, Trouble> {
        let kept = self.tables.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(table) = kept {
            return Ok(table);
        }
        let table = self.connect().await?.open_table(name).await?;
        self.keep(name, table.clone());
        Ok(table)
    }

    fn keep(&self, name: &str, table: Table) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if tables.len() >= TABLES_MAX {
            tables.clear();
        }
        tables.insert(name.to_owned(), table);
    }

    fn forget(&self, name: &str) {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    async fn connect(&self) -> Result<kudu_client::Client, Trouble> {
        let mut connected = self.connected.lock().await;
        if let Some(client) = &*connected {
            return Ok(client.clone());
        }
        let settings = self.settings.clone();
        let options = tokio::task::spawn_blocking(move || options(&settings)).await;
        let options = options.unwrap_or_else(|error| Err(error.to_string())).map_err(Trouble::Here)?;
        let client = kudu_client::Client::connect(options).await?;
        *connected = Some(client.clone());
        Ok(client)
    }

    /// Has the next call connect anew: secrets and certificates may have been replaced. Otherwise one client is kept, by whose name servers
    /// know what it has sent before, and take nothing old from it behind what is new.
    async fn disconnect(&self) {
        *self.connected.lock().await = None;
    }
}

/// Whether the rows of a request are refused together, for what is in them. All else is the cluster's own trouble or the way there: a
/// table that is another one now, a login that is refused, a disk that is full.
fn is_refused(error: &RowError) -> bool {
    let is_about_content = matches!(error.code, Code::InvalidArgument | Code::NotSupported);
    is_about_content && !error.is_retriable && !error.is_uncertain && !error.is_schema_outdated
}

/// What is tried until it succeeds, cannot succeed, or the time is over.
struct Tries<'a> {
    client: &'a Client,
    deadline: Instant,
    pause: Duration,
}

impl<'a> Tries<'a> {
    fn new(client: &'a Client, deadline: Instant) -> Self {
        Tries { client, deadline, pause: PAUSE }
    }

    /// Judges a try. `None`, after a pause: it may succeed the next time.
    async fn judge<T>(&mut self, tried: Result<Result<T, Trouble>, Elapsed>) -> Result<Option<T>, Failure> {
        let trouble = match tried {
            Ok(Ok(done)) => return Ok(Some(done)),
            Ok(Err(trouble)) => trouble,
            Err(_) => return Err(unavailable()),
        };
        let failure = trouble.failure();
        if !matches!(failure, Failure::Unavailable(_)) {
            return Err(failure);
        }
        self.client.teller.tell(&trouble);
        if trouble.is_of_login() {
            self.client.disconnect().await;
        }
        self.wait().await.map(|()| None)
    }

    /// Pauses before the next try, where there is time for one.
    async fn wait(&mut self) -> Result<(), Failure> {
        if Instant::now() + self.pause >= self.deadline {
            return Err(unavailable());
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }
}

/// The rows at some places as a batch, and the place of each row of it. What cannot be a row is wrong.
fn fill(
    table: &Table,
    rows: &[Rows],
    places: &[Place],
    wrong: &mut Vec<WrongRow>,
) -> Result<(Batch, Vec<Place>), Failure> {
    let columns = table.schema().columns();
    let indexes = rows.iter().map(|rows| {
        let index = |name: &String| {
            let missing = || Failure::Missing(format!("the table {} has no column {name:?}", table.name()));
            table.schema().index(name).ok_or_else(missing)
        };
        rows.columns.iter().map(index).collect::<Result<Vec<usize>, Failure>>()
    });
    let indexes = indexes.collect::<Result<Vec<_>, Failure>>()?;
    let (mut batch, mut filled) = (table.batch(), Vec::with_capacity(places.len()));
    let mut cells: Vec<Option<ValueRef<'_>>> = vec![None; columns.len()];
    for place @ (list, row) in places {
        let (Some(rows), Some(indexes)) = (rows.get(*list), indexes.get(*list)) else { continue };
        cells.fill(None);
        let set = indexes.iter().enumerate().try_for_each(|(at, index)| {
            let (Some(column), Some(cell)) = (columns.get(*index), cells.get_mut(*index)) else { return Ok(()) };
            let value = value::read(column.column_type, rows.values.get(row * indexes.len() + at));
            *cell = Some(value.map_err(|why| format!("column {}: {why}", column.name))?);
            Ok::<_, String>(())
        });
        let pushed = set.and_then(|()| batch.push_cells(rows.operation, &cells).map_err(|error| error.to_string()));
        match pushed {
            Ok(_) => filled.push(*place),
            Err(message) => wrong.push(wrong_row(*place, message)),
        }
    }
    Ok((batch, filled))
}

fn wrong_row((rows, row): Place, message: String) -> WrongRow {
    WrongRow { rows: rows as u32, row: row as u32, message }
}

/// How the cluster is talked to. Reads secrets and certificates: they may have been replaced.
fn options(settings: &Kudu) -> Result<Options, String> {
    let mut options = Options::new(settings.masters.iter().map(String::as_str)).timeout(settings.timeout);
    if let Some(user) = &settings.user {
        let password = settings.password.as_ref().map(|secret| secret.reveal()).transpose();
        let password = password.map_err(|error| error.to_string())?;
        options = options.user(user, password.as_ref().map_or("", |password| password.expose()));
    }
    if let Some(tls) = &settings.tls {
        options = options.encryption(Encryption::Required);
        if let Some(path) = &tls.ca {
            let pem = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            options = options.authority(pem);
        }
    }
    Ok(options)
}

fn unavailable() -> Failure {
    Failure::Unavailable("it cannot be reached, or takes too long; the appliance's log says why".into())
}

/// Whether a master refuses what was asked for, and not whom or when.
fn is_about_the_request(code: Code) -> bool {
    matches!(code, Code::InvalidArgument | Code::NotSupported | Code::AlreadyPresent)
}

impl Trouble {
    /// Whether other secrets or certificates may help.
    fn is_of_login(&self) -> bool {
        match self {
            Trouble::Here(_) => true,
            Trouble::There(error) => error.code() == Code::NotAuthorized || matches!(error, Error::NoLeader { .. }),
        }
    }

    /// What a plugin is told. Addresses and what the operator has to mend are for the log alone.
    fn failure(&self) -> Failure {
        match self {
            Trouble::There(error) if error.is_table_missing() => Failure::Missing("there is no such table".into()),
            Trouble::There(error) if error.is_retriable() => unavailable(),
            Trouble::There(Error::Master { status, .. }) if is_about_the_request(status.code) => {
                Failure::Refused(status.to_string())
            }
            Trouble::There(error @ (Error::Column { .. } | Error::Invalid(_) | Error::NotCovered { .. })) => {
                Failure::Refused(error.to_string())
            }
            Trouble::Here(_) | Trouble::There(_) => unavailable(),
        }
    }
}
