//! The interface `kudu` as a guest calls it: what it names is looked up among what its step was granted.
//!
//! Judges what a guest hands over and bounds how long it waits; `endpoint/kudu` does it.

use std::pin::Pin;

use kudu_client::{Column, ColumnType, Operation};
use tokio::time::Instant;
use wasmtime::component::{ComponentNamedList, Lift, Linker, LinkerInstance, Lower};
use wasmtime::{Result, StoreContextMut};

use super::bindings::{KUDU, KuduColumn, KuduFailureIn, KuduNewTableOut, KuduOperationOut, KuduRowsOut, KuduWrongRow};
use super::limits::State;
use super::reach::{Reach, cells, link_again};
use crate::endpoint::kudu::{Client, Failure, Rows, WrongRow};

/// Lists of rows of one call.
const LISTS_MAX: usize = 1_000;
/// Rows of one call.
const ROWS_MAX: usize = 100_000;
/// Columns of a table that is created or changed, and levels of its hashes.
const COLUMNS_MAX: usize = 1_000;

/// What a step was granted of Kudu clusters.
pub(super) type Clusters = Reach<Client>;

type Done<T> = std::result::Result<T, Failure>;
type Answer<T> = std::result::Result<T, KuduFailureIn>;
type Asking<'a, T> = Pin<Box<dyn Future<Output = Done<T>> + Send + 'a>>;

/// Links Kudu, where the component wants it.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    let mut interface = linker.instance(KUDU)?;
    link_again(&mut interface)?;
    wrap(&mut interface, "describe", |client: &Client, (table,): (String,), deadline| {
        Box::pin(async move {
            let columns = client.describe(&table, deadline).await?;
            Ok(columns.map(|columns| columns.into_iter().map(column_of).collect::<Vec<_>>()))
        })
    })?;
    wrap(&mut interface, "create", |client: &Client, (table, new): (String, KuduNewTableOut), deadline| {
        Box::pin(async move {
            let hashes: Vec<_> = new.hashes.into_iter().map(|hash| (hash.columns, hash.buckets)).collect();
            bound("columns", new.columns.len().max(hashes.len()), COLUMNS_MAX)?;
            let columns = new.columns.into_iter().map(column).collect::<Done<Vec<_>>>()?;
            client.create(&table, columns, &hashes, new.replicas, deadline).await
        })
    })?;
    wrap(&mut interface, "add-columns", |client: &Client, (table, columns): (String, Vec<KuduColumn>), deadline| {
        Box::pin(async move {
            bound("columns", columns.len(), COLUMNS_MAX)?;
            let columns = columns.into_iter().map(column).collect::<Done<Vec<_>>>()?;
            client.add_columns(&table, &columns, deadline).await
        })
    })?;
    wrap(&mut interface, "write", |client: &Client, (table, given): (String, Vec<KuduRowsOut>), deadline| {
        Box::pin(async move {
            bound("lists of rows", given.len(), LISTS_MAX)?;
            let given = given.into_iter().map(rows).collect::<Done<Vec<_>>>()?;
            let count = given.iter().map(|rows| rows.values.len() / rows.columns.len().max(1)).sum();
            bound("rows", count, ROWS_MAX)?;
            let wrong = client.write(&table, &given, deadline).await?;
            Ok(wrong.into_iter().map(wrong_row).collect::<Vec<_>>())
        })
    })
}

/// Links a function whose first parameter is the name of an endpoint, and which waits for the cluster.
fn wrap<P, R>(
    interface: &mut LinkerInstance<'_, State>,
    name: &str,
    ask: impl for<'a> Fn(&'a Client, P, Instant) -> Asking<'a, R> + Copy + Send + Sync + 'static,
) -> Result<()>
where
    P: Params + Send + 'static,
    R: Send + 'static,
    (Answer<R>,): ComponentNamedList + Lower,
{
    interface.func_wrap_async(name, move |mut store: StoreContextMut<'_, State>, params: P::Given| {
        Box::new(async move {
            let (endpoint, params) = P::split(params);
            let clusters = &store.data().clusters;
            let (client, wait, began) =
                (clusters.client(&endpoint).map_err(Failure::Refused), clusters.wait_left, Instant::now());
            let done = match client {
                Ok(client) => ask(&client, params, began + wait).await,
                Err(refused) => Err(refused),
            };
            store.data_mut().clusters.wait_left = wait.saturating_sub(began.elapsed());
            Ok((done.map_err(failure),))
        })
    })
}

/// The parameters of a function behind the name of the endpoint.
trait Params: Sized {
    /// All parameters.
    type Given: ComponentNamedList + Lift + Send + Sync + 'static;

    fn split(given: Self::Given) -> (String, Self);
}

impl Params for (String,) {
    type Given = (String, String);

    fn split((endpoint, table): Self::Given) -> (String, Self) {
        (endpoint, (table,))
    }
}

impl<T: wasmtime::component::ComponentType + Lift + Send + Sync + 'static> Params for (String, T) {
    type Given = (String, String, T);

    fn split((endpoint, table, more): Self::Given) -> (String, Self) {
        (endpoint, (table, more))
    }
}

fn bound(what: &str, count: usize, max: usize) -> Done<()> {
    if count > max {
        return Err(Failure::Refused(format!("there are {count} {what}, {max} are allowed")));
    }
    Ok(())
}

fn rows(of: KuduRowsOut) -> Done<Rows> {
    let operation = match of.operation {
        KuduOperationOut::Insert => Operation::Insert,
        KuduOperationOut::InsertIgnore => Operation::InsertIgnore,
        KuduOperationOut::Upsert => Operation::Upsert,
        KuduOperationOut::Update => Operation::Update,
        KuduOperationOut::UpdateIgnore => Operation::UpdateIgnore,
        KuduOperationOut::Delete => Operation::Delete,
        KuduOperationOut::DeleteIgnore => Operation::DeleteIgnore,
    };
    Ok(Rows { operation, columns: of.columns, values: cells(of.values).map_err(Failure::Refused)? })
}

fn column(of: KuduColumn) -> Done<Column> {
    let kind: ColumnType =
        of.kind.parse().map_err(|error| Failure::Refused(format!("column {:?}: {error}", of.name)))?;
    Ok(match (of.is_key, of.is_nullable) {
        (true, _) => Column::key(of.name, kind),
        (false, true) => Column::nullable(of.name, kind),
        (false, false) => Column::new(of.name, kind),
    })
}

fn column_of(column: Column) -> KuduColumn {
    let Column { name, column_type, is_key, is_nullable, .. } = column;
    KuduColumn { name, kind: column_type.to_string(), is_key, is_nullable }
}

fn wrong_row(WrongRow { rows, row, message }: WrongRow) -> KuduWrongRow {
    KuduWrongRow { rows, row, message }
}

fn failure(of: Failure) -> KuduFailureIn {
    match of {
        Failure::Refused(why) => KuduFailureIn::Refused(why),
        Failure::Unavailable(why) => KuduFailureIn::Unavailable(why),
        Failure::Missing(why) => KuduFailureIn::Missing(why),
    }
}
