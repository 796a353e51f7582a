//! Writes: a batch is taken apart by tablet, the parts are sent side by side, and every row gets an outcome.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::batch::Batch;
use crate::client::Core;
use crate::error::{Code, Error, Result, Status};
use crate::locations::{Tablet, Tablets};
use crate::proto::common::{RowOperations, SchemaMessage};
use crate::proto::rpc::RequestId;
use crate::proto::tserver::{PerRowError, WriteRequest, WriteResponse};
use crate::retry::Deadline;
use crate::table::{Inner, Table, Tries, WRITE_MAX};

/// Rows of one request. Servers take 50 MB by default, and work best on a few.
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Rows of one request. Many small rows cost a server more than their bytes tell.
const REQUEST_ROWS_MAX: usize = 20_000;

/// Bytes of rows that are on their way at the same time, of all sessions of a client.
pub const IN_FLIGHT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Writes that are on their way at the same time, of all sessions of a client.
pub const REQUESTS_MAX: usize = 32;

/// Writes batches into one table. Sessions are cheap, and any number may write at the same time.
///
/// Rows of one tablet take effect in the order of the batch; so do those of a batch that is written after the report of the one
/// before. Two batches that are written at the same time have no order.
///
/// **Repetition.** A write whose answer was lost is sent again under the name of the first try, and the servers, which remember
/// how it ended, tell that outcome. So an `insert` that took effect is not reported as
/// [`AlreadyPresent`](Code::AlreadyPresent) because it was tried twice. When the time is over and no answer has come, the rows
/// are reported as [uncertain](RowError::is_uncertain): upserts can be written again harmlessly, an insert may then find its
/// own row.
#[derive(Debug, Clone)]
pub struct Session {
    table: Table,
    timeout: Duration,
    columns: SchemaMessage,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteReport {
    /// How many rows it had.
    pub rows: usize,
    /// The rows that were not written, by ascending index. All others were.
    pub errors: Vec<RowError>,
}

impl WriteReport {
    /// How many rows were written.
    pub fn written(&self) -> usize {
        self.rows - self.errors.len()
    }

    /// Whether all rows were written.
    pub fn is_complete(&self) -> bool {
        self.errors.is_empty()
    }
}

/// Why a row was not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    /// Its index in the batch.
    pub row: usize,
    /// What kind of failure.
    pub code: Code,
    /// What was expected and what came.
    pub message: Arc<str>,
    /// Whether the same row may be written later, with nothing changed.
    pub is_retriable: bool,
    /// Whether it is about this very row. Otherwise none of the rows that went with it was looked at.
    pub is_of_row: bool,
    /// Whether the row may have been written nevertheless.
    pub is_uncertain: bool,
    /// Whether the table has other columns now: open it again, and write the row as they demand.
    pub is_schema_outdated: bool,
}

impl std::fmt::Display for RowError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "row {}: {:?}: {}", self.row, self.code, self.message)
    }
}

/// The rows of each tablet, and those without one.
struct Groups {
    tablets: BTreeMap<usize, Vec<usize>>,
    uncovered: Vec<usize>,
}

impl Session {
    pub(crate) fn new(table: Table) -> Self {
        let timeout = table.inner.core.pool.options().timeout;
        let columns = table.inner.schema.projection();
        Session { table, timeout, columns }
    }

    /// How long a batch may take, all tries together, unless that of the client's options is to hold.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Writes the rows of a batch, and tells what became of each. The batch may be kept by the caller, in an [`Arc`]. Where the
    /// future is dropped before it is done, any of the rows may have been written.
    pub async fn write(&self, batch: impl Into<Arc<Batch>>) -> WriteReport {
        let batch = batch.into();
        let (rows, deadline) = (batch.len(), Deadline::after(self.timeout));
        let mut errors = match self.grouped(&batch, &deadline).await {
            Ok((groups, tablets)) => self.send(&batch, groups, &tablets, deadline).await,
            Err(error) => failed(0..rows, &error),
        };
        errors.sort_unstable_by_key(|error| error.row);
        WriteReport { rows, errors }
    }

    /// Finds the tablets of all rows.
    async fn grouped(&self, batch: &Batch, deadline: &Deadline) -> Result<(Groups, Arc<Tablets>)> {
        let table = &self.table.inner;
        if !Arc::ptr_eq(batch.schema(), &table.schema) {
            let reason =
                format!("expected a batch of table {} as it was opened for this session, got another", table.name);
            return Err(Error::Invalid(reason));
        }
        table.partition.check_writable()?;
        let masters = &table.core.masters;
        let tablets = table.locations.get(masters, deadline).await?;
        let groups = group(batch, &tablets);
        if groups.uncovered.is_empty() {
            return Ok((groups, tablets));
        }
        // A range may have been added since.
        let tablets = table.locations.refresh_uncovered(masters, deadline, &tablets).await?;
        Ok((group(batch, &tablets), tablets))
    }

    /// Sends all groups side by side.
    async fn send(
        &self,
        batch: &Arc<Batch>,
        groups: Groups,
        tablets: &Arc<Tablets>,
        deadline: Deadline,
    ) -> Vec<RowError> {
        let table = &self.table.inner;
        let mut errors = failed(groups.uncovered, &Error::NotCovered { table: table.name.clone() });
        let mut sending = JoinSet::new();
        let mut rows_of = HashMap::new();
        for (index, rows) in groups.tablets {
            let Some(tablet) = tablets.all().get(index) else { continue };
            let rows: Arc<[usize]> = rows.into();
            let work = Work {
                table: Arc::clone(table),
                tablet: Arc::clone(tablet),
                tablets: Arc::clone(tablets),
                batch: Arc::clone(batch),
                columns: self.columns.clone(),
                deadline,
            };
            let task = sending.spawn(work.write(Arc::clone(&rows)));
            rows_of.insert(task.id(), rows);
        }
        while let Some(done) = sending.join_next_with_id().await {
            match done {
                Ok((_, failures)) => errors.extend(failures),
                // It ended without an outcome: its rows get one here.
                Err(error) => {
                    let rows = rows_of.get(&error.id()).map(|rows| rows.to_vec()).unwrap_or_default();
                    let reason = format!("writing was cut short: {error}");
                    errors.extend(uncertain(failed(rows, &Error::Invalid(reason))));
                }
            }
        }
        errors
    }
}

fn group(batch: &Batch, tablets: &Tablets) -> Groups {
    let mut groups = Groups { tablets: BTreeMap::new(), uncovered: Vec::new() };
    for (row, key) in batch.keys().enumerate() {
        match tablets.find(key) {
            Some(index) => groups.tablets.entry(index).or_default().push(row),
            None => groups.uncovered.push(row),
        }
    }
    groups
}

/// What one task does: the rows of one tablet, in order.
struct Work {
    table: Arc<Inner>,
    tablet: Arc<Tablet>,
    tablets: Arc<Tablets>,
    batch: Arc<Batch>,
    columns: SchemaMessage,
    deadline: Deadline,
}

impl Work {
    async fn write(self, rows: Arc<[usize]>) -> Vec<RowError> {
        let mut errors = Vec::new();
        let mut rest = &*rows;
        while !rest.is_empty() {
            let (part, bytes) = self.part(rest);
            let (now, later) = rest.split_at_checked(part).unwrap_or((rest, &[]));
            match self.write_part(now, bytes).await {
                Ok(failures) => errors.extend(self.row_errors(now, failures)),
                Err((error, in_doubt)) => {
                    let failures = failed(now.iter().copied(), &error);
                    errors.extend(if in_doubt { uncertain(failures) } else { failures });
                    // What comes later must not overtake what may still be written now.
                    errors.extend(failed(later.iter().copied(), &error));
                    break;
                }
            }
            rest = later;
        }
        errors
    }

    /// The errors of rows, by their places among those of a request. Where a place is none, no row can be told from another.
    fn row_errors(&self, rows: &[usize], failures: Vec<PerRowError>) -> Vec<RowError> {
        let errors: Option<Vec<RowError>> = failures.into_iter().map(|failure| row_error(rows, failure)).collect();
        errors.unwrap_or_else(|| {
            let tablet = self.tablet.name();
            let error = Error::protocol(&tablet, "errors of the rows that were sent", "errors of others");
            uncertain(failed(rows.iter().copied(), &error))
        })
    }

    /// How many of the rows go into the next request, and their bytes.
    fn part(&self, rows: &[usize]) -> (usize, usize) {
        let mut bytes = 0;
        for (count, row) in rows.iter().enumerate() {
            let more = self.batch.row_bytes(*row);
            if count > 0 && (bytes + more > REQUEST_BYTES_MAX || count >= REQUEST_ROWS_MAX) {
                return (count, bytes);
            }
            bytes += more;
        }
        (rows.len(), bytes)
    }

    /// Writes the rows of one request. An error comes with whether the rows may have been written nevertheless.
    async fn write_part(&self, rows: &[usize], bytes: usize) -> Result<Vec<PerRowError>, (Error, bool)> {
        let core = &self.table.core;
        let _room = room(core, bytes, &self.deadline).await.map_err(|error| (error, false))?;
        let operations = self.batch.collect(rows);
        let mut request = core.tracker.begin();
        let (tablet, tablets) = (Arc::clone(&self.tablet), Arc::clone(&self.tablets));
        let mut tries = Tries::new(&self.table, &self.deadline, tablet, tablets);
        let mut in_doubt = false;
        loop {
            let error = match self.attempt(&mut tries, &operations, request.attempt()).await {
                Ok(answer) => return Ok(answer.per_row_errors),
                Err(error) => error,
            };
            in_doubt |= error.leaves_doubt();
            let what = "writing";
            tries.again(what, error, in_doubt).await.map_err(|error| (error, in_doubt))?;
        }
    }

    async fn attempt(&self, tries: &mut Tries<'_>, operations: &RowOperations, id: RequestId) -> Result<WriteResponse> {
        let (index, address) = tries.replica()?;
        let request = WriteRequest {
            tablet_id: tries.tablet.id.clone(),
            schema: Some(self.columns.clone()),
            row_operations: Some(operations.clone()),
            propagated_timestamp: self.table.core.seen(),
            authz_token: self.table.authorization(),
        };
        let place = (&*tries.tablet, &address);
        let asked = self.table.ask(place, "Write", &request, Some(id), self.deadline.attempt(WRITE_MAX)).await;
        let (answer, _): (WriteResponse, _) = asked?;
        self.table.core.saw(answer.timestamp);
        // Leaders alone take writes.
        tries.tablet.led(index);
        Ok(answer)
    }
}

/// Room for a request among all that are on their way.
struct Room<'a> {
    _bytes: tokio::sync::SemaphorePermit<'a>,
    _request: tokio::sync::SemaphorePermit<'a>,
}

async fn room<'a>(core: &'a Core, bytes: usize, deadline: &Deadline) -> Result<Room<'a>> {
    // A row that is larger than all room takes all of it.
    let bytes = bytes.clamp(1, IN_FLIGHT_BYTES_MAX) as u32;
    let both = async { Ok((core.bytes.acquire_many(bytes).await?, core.requests.acquire().await?)) };
    let closed = |error: tokio::sync::AcquireError| Error::Invalid(error.to_string());
    match tokio::time::timeout(deadline.left(), both).await {
        Ok(both) => both.map(|(_bytes, _request)| Room { _bytes, _request }).map_err(closed),
        Err(_) => {
            let last = Error::Invalid(format!("{IN_FLIGHT_BYTES_MAX} bytes are on their way already"));
            Err(deadline.error("writing", &last, false))
        }
    }
}

/// The error of a row, by its place among those of a request.
fn row_error(rows: &[usize], failure: PerRowError) -> Option<RowError> {
    let row = *rows.get(usize::try_from(failure.row_index).ok()?)?;
    let Status { code, message } = failure.error.into();
    let is_retriable = matches!(code, Code::ServiceUnavailable | Code::TimedOut);
    let message = message.into();
    Some(RowError { row, code, message, is_retriable, is_of_row: true, is_uncertain: false, is_schema_outdated: false })
}

/// The same error for several rows.
fn failed(rows: impl IntoIterator<Item = usize>, error: &Error) -> Vec<RowError> {
    let (code, is_retriable, message) = (error.code(), error.is_retriable(), Arc::<str>::from(error.to_string()));
    let is_schema_outdated = error.is_schema_outdated();
    let is_of_row = matches!(error, Error::NotCovered { .. });
    let failed = |row| RowError {
        row,
        code,
        message: Arc::clone(&message),
        is_retriable,
        is_of_row,
        is_uncertain: false,
        is_schema_outdated,
    };
    rows.into_iter().map(failed).collect()
}

fn uncertain(mut errors: Vec<RowError>) -> Vec<RowError> {
    errors.iter_mut().for_each(|error| error.is_uncertain = true);
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::common::AppStatus;

    #[test]
    fn an_error_is_that_of_the_row_in_the_batch() {
        let status = AppStatus { code: 6, message: Some("key already present".to_owned()) };
        let failure = |row_index| PerRowError { row_index, error: status.clone() };
        let error = row_error(&[4, 9], failure(1)).unwrap();
        assert_eq!((error.row, error.code, error.is_retriable), (9, Code::AlreadyPresent, false));
        assert_eq!(error.to_string(), "row 9: AlreadyPresent: key already present");
        assert_eq!(row_error(&[4, 9], failure(2)), None);
    }
}
