//! The interface `database` as a guest calls it: what it names is looked up among what its step was granted.
//!
//! Judges what a guest hands over and bounds how long it waits; transactions are run by `endpoint/database`.

use tokio::time::Instant;
use wasmtime::component::Linker;
use wasmtime::{Result, StoreContextMut};

use super::bindings::{
    DATABASE, DatabaseDialectIn, DatabaseFailureIn, DatabaseOutcomeIn, DatabaseStatementOut, DatabaseWrongRow,
};
use super::limits::State;
use super::reach::{Reach, cells, cells_of, link_again};
use crate::config::Dialect;
use crate::endpoint::database::{Access, Client, Failure, Outcome, Statement};

/// Statements of one transaction.
const STATEMENTS_MAX: usize = 1_000;
/// Bytes that one call returns.
const RETURNED_BYTES_MAX: usize = 64 << 20;

/// What a step was granted of databases.
pub(super) type Databases = Reach<Client>;

/// Links databases, where the component wants them.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    type Dialects = std::result::Result<DatabaseDialectIn, DatabaseFailureIn>;
    type Outcomes = std::result::Result<Vec<DatabaseOutcomeIn>, DatabaseFailureIn>;
    let mut interface = linker.instance(DATABASE)?;
    interface.func_wrap("speaks", |store: StoreContextMut<'_, State>, (endpoint,): (String,)| {
        let client = store.data().databases.client(&endpoint).map_err(Failure::Refused);
        let dialect = client.map(|client| dialect(client.settings().dialect)).map_err(failure);
        Ok((dialect as Dialects,))
    })?;
    link_again(&mut interface)?;
    type Params = (String, Vec<DatabaseStatementOut>);
    interface.func_wrap_async("transact", |mut store: StoreContextMut<'_, State>, (endpoint, given): Params| {
        Box::new(async move {
            let databases = &store.data().databases;
            let (client, wait, began) =
                (databases.client(&endpoint).map_err(Failure::Refused), databases.wait_left, Instant::now());
            let done = match client {
                Ok(client) => transact(&client, given, began + wait).await,
                Err(refused) => Err(refused),
            };
            store.data_mut().databases.wait_left = wait.saturating_sub(began.elapsed());
            let outcomes = done.map(|outcomes| outcomes.into_iter().map(outcome).collect()).map_err(failure);
            Ok((outcomes as Outcomes,))
        })
    })
}

async fn transact(
    client: &Client,
    given: Vec<DatabaseStatementOut>,
    deadline: Instant,
) -> std::result::Result<Vec<Outcome>, Failure> {
    if given.len() > STATEMENTS_MAX {
        let count = given.len();
        return Err(Failure::Refused(format!("it has {count} statements, {STATEMENTS_MAX} are allowed")));
    }
    let statements = given.into_iter().map(statement).collect::<std::result::Result<Vec<_>, _>>()?;
    client.transact(&statements, Access::Write, deadline, RETURNED_BYTES_MAX).await
}

fn statement(of: DatabaseStatementOut) -> std::result::Result<Statement, Failure> {
    let values = cells(of.values).map_err(Failure::Refused)?;
    Ok(Statement { text: of.text, rows: of.rows as usize, values, expected: of.expected })
}

fn outcome(of: Outcome) -> DatabaseOutcomeIn {
    DatabaseOutcomeIn { affected: of.affected, columns: of.columns, rows: cells_of(of.rows) }
}

fn dialect(of: Dialect) -> DatabaseDialectIn {
    match of {
        Dialect::Mysql => DatabaseDialectIn::Mysql,
        Dialect::Postgres => DatabaseDialectIn::Postgres,
        Dialect::Impala => DatabaseDialectIn::Impala,
        Dialect::Hive => DatabaseDialectIn::Hive,
        Dialect::Spark => DatabaseDialectIn::Spark,
    }
}

fn failure(of: Failure) -> DatabaseFailureIn {
    match of {
        Failure::Refused(why) => DatabaseFailureIn::Refused(why),
        Failure::Unavailable(why) => DatabaseFailureIn::Unavailable(why),
        Failure::Timeout => DatabaseFailureIn::Timeout,
        Failure::Conflict(why) => DatabaseFailureIn::Conflict(why),
        Failure::Unknown(why) => DatabaseFailureIn::Unknown(why),
        Failure::Missing(why) => DatabaseFailureIn::Missing(why),
        Failure::Wrong { statement, row, message } => {
            DatabaseFailureIn::Wrong(DatabaseWrongRow { statement, row, message })
        }
        Failure::Unexpected(affected) => DatabaseFailureIn::Unexpected(affected),
        Failure::TooLarge(limit) => DatabaseFailureIn::TooLarge(limit),
    }
}
