//! An open table, and calls to the replicas of its tablets.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::time::Instant;

use crate::batch::{Batch, Row};
use crate::client::{Core, identified};
use crate::error::{Code, Error, Result};
use crate::locations::{Locations, Tablet, Tablets};
use crate::options::Address;
use crate::partition::PartitionSchema;
use crate::proto::master::GetTableSchemaResponse;
use crate::proto::rpc::{RequestId, SignedToken, code as call_code};
use crate::proto::tserver::{self, ScanResponse, TabletServerError, WriteResponse, code};
use crate::retry::{Backoff, Deadline};
use crate::rpc::{Call, Peer};
use crate::scan::Scan;
use crate::schema::Schema;
use crate::session::Session;

/// The longest that a write may take before another replica is tried: that costs nothing, as it is known again there.
pub const WRITE_MAX: Duration = Duration::from_secs(5);

/// The longest that a page of a scan may take: a server may look at many rows before it finds one that is wanted.
pub const PAGE_MAX: Duration = Duration::from_secs(15);

/// A table as it was when it was opened. Copies are the same table.
#[derive(Debug, Clone)]
pub struct Table {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub struct Inner {
    pub core: Arc<Core>,
    pub name: String,
    id: Bytes,
    pub schema: Arc<Schema>,
    pub partition: Arc<PartitionSchema>,
    replicas: i32,
    pub locations: Locations,
    authorization: Mutex<Option<SignedToken>>,
}

impl Table {
    pub(crate) fn new(core: Arc<Core>, name: &str, answer: GetTableSchemaResponse) -> Result<Self> {
        let schema = Schema::from_wire(&answer.schema.clone().unwrap_or_default())?;
        let partition = PartitionSchema::from_wire(&answer.partition_schema.clone().unwrap_or_default(), &schema)?;
        let id = answer.table_id.clone().unwrap_or_default();
        let inner = Inner {
            core,
            name: answer.table_name.clone().unwrap_or_else(|| name.to_owned()),
            locations: Locations::new(id.clone()),
            id,
            schema: Arc::new(schema),
            partition: Arc::new(partition),
            replicas: answer.num_replicas(),
            authorization: Mutex::new(answer.authz_token),
        };
        Ok(Table { inner: Arc::new(inner) })
    }

    /// Its name when it was opened.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its id, which stays when it gets another name.
    pub fn id(&self) -> String {
        String::from_utf8_lossy(&self.inner.id).into_owned()
    }

    /// Its columns.
    pub fn schema(&self) -> &Schema {
        &self.inner.schema
    }

    /// How many replicas each of its tablets has.
    pub fn replicas(&self) -> i32 {
        self.inner.replicas
    }

    /// An empty row.
    pub fn row<'a>(&self) -> Row<'a> {
        Row::new(Arc::clone(&self.inner.schema))
    }

    /// An empty batch.
    pub fn batch(&self) -> Batch {
        Batch::new(Arc::clone(&self.inner.schema), Arc::clone(&self.inner.partition))
    }

    /// What batches are written with.
    pub fn session(&self) -> Session {
        Session::new(self.clone())
    }

    /// Reads all rows and columns, unless told otherwise.
    pub fn scan(&self) -> Scan {
        Scan::new(self.clone())
    }

    /// How many rows it has.
    pub async fn count(&self) -> Result<u64> {
        self.scan().count().await
    }
}

/// An answer of a tablet server, which may be an error.
pub trait TabletAnswer: Message + Default {
    fn take_error(&mut self) -> Option<TabletServerError>;
}

impl TabletAnswer for WriteResponse {
    fn take_error(&mut self) -> Option<TabletServerError> {
        self.error.take()
    }
}

impl TabletAnswer for ScanResponse {
    fn take_error(&mut self) -> Option<TabletServerError> {
        self.error.take()
    }
}

/// What is to be done before the next try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The replica is there, and will be able to later.
    Same,
    /// Another replica may be able to now.
    Other,
    /// The replicas are elsewhere.
    Locate,
    /// The token for the table is no longer good.
    Authorize,
    /// The token for the cluster is no longer good.
    Authenticate,
}

fn next(error: &Error) -> Next {
    match error {
        Error::Tablet { code, status, .. } => match *code {
            code::NOT_THE_LEADER | code::TABLET_NOT_RUNNING => Next::Other,
            // Followers refuse writes by this, and leaders those which they can no longer finish.
            code::UNKNOWN_ERROR if matches!(status.code, Code::IllegalState | Code::Aborted) => Next::Other,
            code::TABLET_NOT_FOUND | code::TABLET_FAILED | code::WRONG_SERVER_UUID => Next::Locate,
            _ => Next::Same,
        },
        Error::Call { code, .. } => match *code {
            call_code::INVALID_AUTHORIZATION_TOKEN => Next::Authorize,
            call_code::FATAL_INVALID_AUTHENTICATION_TOKEN => Next::Authenticate,
            call_code::FATAL_SERVER_SHUTTING_DOWN => Next::Other,
            _ => Next::Same,
        },
        _ => Next::Other,
    }
}

/// The tries at one tablet: which replica is next, and what has become known of where they are.
pub struct Tries<'a> {
    table: &'a Inner,
    deadline: &'a Deadline,
    pub tablet: Arc<Tablet>,
    tablets: Arc<Tablets>,
    /// The replicas that were asked since it was last found out where they are; the last of them just now.
    tried: Vec<usize>,
    backoff: Backoff,
}

impl<'a> Tries<'a> {
    pub fn new(table: &'a Inner, deadline: &'a Deadline, tablet: Arc<Tablet>, tablets: Arc<Tablets>) -> Self {
        Tries { table, deadline, tablet, tablets, tried: Vec::new(), backoff: Backoff::default() }
    }

    /// The replica to try now.
    pub fn replica(&mut self) -> Result<(usize, Address)> {
        let pool = &self.table.core.pool;
        let Some((index, address)) = self.tablet.replica(&self.tried, |address| pool.is_suspect(address)) else {
            // Its replicas are unknown to the master for the moment.
            let source = std::io::Error::other("no replica of it is known");
            return Err(Error::Connect { address: format!("tablet {}", self.tablet.name()), source });
        };
        self.tried.push(index);
        Ok((index, address.clone()))
    }

    /// Gets ready for another try after an error, where that makes sense and there is time.
    pub async fn again(&mut self, what: &str, error: Error, in_doubt: bool) -> Result<()> {
        if !error.is_retriable() {
            return Err(error);
        }
        tracing::debug!(tablet = self.tablet.name(), %error, "trying a tablet again");
        let next = next(&error);
        // Another one is tried at once; a pause is made when all have been.
        if next == Next::Other && self.has_other() {
            return Ok(());
        }
        if !matches!(next, Next::Other | Next::Locate) {
            self.tried.pop();
        }
        if !self.backoff.pause(self.deadline).await {
            return Err(self.deadline.error(what, &error, in_doubt));
        }
        let prepared = match next {
            Next::Same => Ok(()),
            Next::Other | Next::Locate => self.locate().await,
            Next::Authorize => self.table.authorize(self.deadline).await,
            Next::Authenticate => self.table.core.masters.renew(self.deadline).await,
        };
        match prepared {
            // The next try tells, or the one after it: the masters may be back by then.
            Err(error) if error.is_retriable() && !matches!(error, Error::TimedOut { .. }) => Ok(()),
            Err(error @ Error::TimedOut { .. }) => Err(self.deadline.error(what, &error, in_doubt)),
            other => other,
        }
    }

    /// Whether one that was not tried may answer. One that is suspected to hang is worth the wait where the others do so too:
    /// else one of them will lead soon.
    fn has_other(&self) -> bool {
        let pool = &self.table.core.pool;
        let replicas = &self.tablet.replicas;
        let all_hang = replicas.iter().all(|address| pool.is_suspect(address));
        let mut untried = replicas.iter().enumerate().filter(|(index, _)| !self.tried.contains(index));
        untried.any(|(_, address)| all_hang || !pool.is_suspect(address))
    }

    async fn locate(&mut self) -> Result<()> {
        // Those are asked again even where the masters cannot be.
        self.tried.clear();
        let (core, seen) = (&self.table.core, Some(&self.tablets));
        self.tablets = self.table.locations.refresh(&core.masters, self.deadline, seen).await?;
        let same = self.tablets.all().iter().find(|tablet| tablet.id == self.tablet.id);
        self.tablet = same.cloned().ok_or_else(|| Error::NotCovered { table: self.table.name.clone() })?;
        Ok(())
    }
}

impl Inner {
    /// The token that writes and scans carry, where the cluster knows privileges.
    pub fn authorization(&self) -> Option<SignedToken> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn authorize(&self, deadline: &Deadline) -> Result<()> {
        let answer = self.core.schema(identified(self.id.clone()), deadline).await?;
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = answer.authz_token;
        Ok(())
    }

    /// Calls one replica once. Returns what lies beside the answer as well.
    pub async fn ask<A: TabletAnswer>(
        &self,
        (tablet, address): (&Tablet, &Address),
        method: &'static str,
        request: &impl Message,
        id: Option<RequestId>,
        until: Instant,
    ) -> Result<(A, Vec<Bytes>)> {
        let call = Call { service: tserver::SERVICE, method, until, id };
        let asked = async {
            let connection = self.core.pool.get(Peer::TabletServer, address, until).await?;
            let response = connection.call(&call, request).await?;
            Ok((connection, response))
        };
        let asked = asked.await;
        let is_silent = matches!(&asked, Err(Error::Connect { .. } | Error::ConnectionLost { .. }));
        self.core.pool.note(address, !is_silent);
        let (connection, response) = asked?;
        let mut answer = A::decode(response.body)
            .map_err(|error| Error::protocol(connection.address(), "an answer", error.to_string()))?;
        match answer.take_error() {
            Some(error) => Err(Error::Tablet {
                tablet: tablet.name(),
                address: connection.address().to_owned(),
                code: error.code,
                status: error.status.into(),
            }),
            None => Ok((answer, response.beside)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;

    #[test]
    fn an_error_tells_what_to_do_before_the_next_try() {
        let tablet = |code| {
            let status = Status { code: Code::IllegalState, message: String::new() };
            Error::Tablet { tablet: "t".to_owned(), address: "a:1".to_owned(), code, status }
        };
        let call = |code| Error::Call { address: "a:1".to_owned(), method: "Write", code, message: String::new() };
        assert_eq!(next(&tablet(code::NOT_THE_LEADER)), Next::Other);
        assert_eq!(next(&tablet(code::UNKNOWN_ERROR)), Next::Other);
        assert_eq!(next(&tablet(code::TABLET_NOT_FOUND)), Next::Locate);
        assert_eq!(next(&tablet(code::THROTTLED)), Next::Same);
        assert_eq!(next(&call(call_code::SERVER_TOO_BUSY)), Next::Same);
        assert_eq!(next(&call(call_code::INVALID_AUTHORIZATION_TOKEN)), Next::Authorize);
        assert_eq!(next(&call(call_code::FATAL_INVALID_AUTHENTICATION_TOKEN)), Next::Authenticate);
        assert_eq!(next(&Error::ConnectionLost { address: "a:1".to_owned(), reason: String::new() }), Next::Other);
    }
}
