//! A cluster: its tables by name, made, changed and dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::definition::{Alteration, NewTable};
use crate::error::{Code, Error, Result};
use crate::masters::Masters;
use crate::options::Options;
use crate::proto::master::{
    AlterTableResponse, CreateTableResponse, DeleteTableResponse, DoneResponse, GetTableSchemaResponse,
    ListTablesRequest, ListTablesResponse, TableIdentifier, TableRequest,
};
use crate::retry::{Backoff, Deadline};
use crate::rpc::Pool;
use crate::session::{IN_FLIGHT_BYTES_MAX, REQUESTS_MAX};
use crate::table::Table;
use crate::tracker::Tracker;

/// A cluster. Copies share connections and what was learned.
#[derive(Debug, Clone)]
pub struct Client {
    core: Arc<Core>,
}

/// What all that is made from one client shares.
#[derive(Debug)]
pub struct Core {
    pub pool: Arc<Pool>,
    pub masters: Masters,
    pub tracker: Tracker,
    /// Bytes of rows that are on their way, of all sessions.
    pub bytes: Arc<Semaphore>,
    /// Writes that are on their way, of all sessions.
    pub requests: Semaphore,
    /// The latest time that a tablet server has told, by the clocks of the cluster; 0 before any has.
    seen: AtomicU64,
}

impl Core {
    pub fn deadline(&self) -> Deadline {
        Deadline::after(self.pool.options().timeout)
    }

    /// Takes note of a time that a tablet server tells.
    pub fn saw(&self, time: Option<u64>) {
        self.seen.fetch_max(time.unwrap_or_default(), Ordering::Relaxed);
    }

    /// What servers are told, so that what comes later is later by their clocks too, and so that replicas which follow wait
    /// until they have what this client has written.
    pub fn seen(&self) -> Option<u64> {
        Some(self.seen.load(Ordering::Relaxed)).filter(|time| *time > 0)
    }

    /// Asks for a table's schema, which comes with a token where the cluster knows privileges.
    pub async fn schema(&self, table: TableIdentifier, deadline: &Deadline) -> Result<GetTableSchemaResponse> {
        self.masters.call("GetTableSchema", &TableRequest { table }, deadline, |_| false).await
    }
}

impl Client {
    /// Connects to the leader of a cluster's masters. Fails when none is found within the time of the options, and sooner
    /// where waiting makes no sense.
    pub async fn connect(options: Options) -> Result<Self> {
        let pool = Arc::new(Pool::new(options)?);
        let core = Core {
            masters: Masters::new(Arc::clone(&pool))?,
            pool,
            tracker: Tracker::new()?,
            bytes: Arc::new(Semaphore::new(IN_FLIGHT_BYTES_MAX)),
            requests: Semaphore::new(REQUESTS_MAX),
            seen: AtomicU64::new(0),
        };
        let client = Client { core: Arc::new(core) };
        client.wait_for_leader().await?;
        Ok(client)
    }

    async fn wait_for_leader(&self) -> Result<()> {
        let (deadline, mut backoff) = (self.core.deadline(), Backoff::default());
        loop {
            let error = match self.core.masters.renew(&deadline).await {
                Ok(()) => return Ok(()),
                Err(error) if !error.is_retriable() => return Err(error),
                Err(error) => error,
            };
            if !backoff.pause(&deadline).await {
                return Err(deadline.error("connecting", &error, false));
            }
        }
    }

    /// The names of all tables, in order; those that contain a text where one is given.
    pub async fn list_tables(&self, containing: Option<&str>) -> Result<Vec<String>> {
        let request = ListTablesRequest { name_filter: containing.map(str::to_owned) };
        let deadline = self.core.deadline();
        let answer: ListTablesResponse = self.core.masters.call("ListTables", &request, &deadline, |_| false).await?;
        let mut names: Vec<String> = answer.tables.into_iter().map(|table| table.name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Whether there is a table of that name.
    pub async fn table_exists(&self, name: &str) -> Result<bool> {
        match self.core.schema(named(name), &self.core.deadline()).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_table_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens a table, with its schema as it is now: open it again after it was changed.
    pub async fn open_table(&self, name: &str) -> Result<Table> {
        let answer = self.core.schema(named(name), &self.core.deadline()).await?;
        Table::new(Arc::clone(&self.core), name, answer)
    }

    /// Makes a table, waits until it can be written, and opens it.
    pub async fn create_table(&self, table: &NewTable) -> Result<Table> {
        let deadline = self.core.deadline();
        let request = table.request()?;
        // After a try without answer, a table that is there is the one that was asked for.
        let is_done = |error: &Error| error.is_table_present();
        let created: CreateTableResponse = self.core.masters.call("CreateTable", &request, &deadline, is_done).await?;
        let identifier = created.table_id.map_or_else(|| named(&table.name), identified);
        self.wait_until_done("IsCreateTableDone", identifier.clone(), &deadline).await?;
        let answer = self.core.schema(identifier, &deadline).await?;
        Table::new(Arc::clone(&self.core), &table.name, answer)
    }

    /// Changes a table, and waits until all of its tablets know. Tables that are open keep the old schema.
    pub async fn alter_table(&self, name: &str, alteration: &Alteration) -> Result<()> {
        let deadline = self.core.deadline();
        let opened = match alteration.has_ranges() {
            true => Some(self.open_table(name).await?),
            false => None,
        };
        let request = alteration.request(named(name), opened.as_ref().map(Table::schema))?;
        // After a try without answer: all was changed, or nothing, and then these do not come.
        let is_done = |error: &Error| matches!(error.code(), Code::AlreadyPresent | Code::NotFound);
        let _: AlterTableResponse = self.core.masters.call("AlterTable", &request, &deadline, is_done).await?;
        let name = alteration.new_name.as_deref().unwrap_or(name);
        self.wait_until_done("IsAlterTableDone", named(name), &deadline).await
    }

    /// Drops a table with all of its rows.
    pub async fn delete_table(&self, name: &str) -> Result<()> {
        let (request, deadline) = (TableRequest { table: named(name) }, self.core.deadline());
        let is_done = |error: &Error| error.is_table_missing();
        let _: DeleteTableResponse = self.core.masters.call("DeleteTable", &request, &deadline, is_done).await?;
        Ok(())
    }

    async fn wait_until_done(&self, method: &'static str, table: TableIdentifier, deadline: &Deadline) -> Result<()> {
        let (request, mut backoff) = (TableRequest { table }, Backoff::default());
        loop {
            let answer: DoneResponse = self.core.masters.call(method, &request, deadline, |_| false).await?;
            if answer.done() {
                return Ok(());
            }
            if !backoff.pause(deadline).await {
                let last = Error::Invalid("the masters are still at it".to_owned());
                return Err(deadline.error(method, &last, false));
            }
        }
    }
}

fn named(name: &str) -> TableIdentifier {
    TableIdentifier { table_id: None, table_name: Some(name.to_owned()) }
}

/// A table by its id, which stays when it gets another name.
pub fn identified(id: Bytes) -> TableIdentifier {
    TableIdentifier { table_id: Some(id), table_name: None }
}
