//! The interface `lookup` as a guest calls it: what it names is looked up among what its step was granted.
//!
//! Bounds what a guest hands over and how long it waits; `endpoint/lookup` finds it.

use tokio::time::Instant;
use wasmtime::component::Linker;
use wasmtime::{Result, StoreContextMut};

use super::bindings::{Cells as CellsOf, LOOKUP, LookupFailureIn};
use super::limits::State;
use super::reach::{Reach, cells, cells_of, link_again};
use crate::endpoint::cells::Cells;
use crate::endpoint::lookup::{Client, Failure};

/// Values of one call.
const VALUES_MAX: usize = 100_000;

/// What a step was granted to look things up in.
pub(super) type Lookups = Reach<Client>;

/// Links lookups, where the component wants them.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    type Checked = std::result::Result<(), LookupFailureIn>;
    type Found = std::result::Result<CellsOf, LookupFailureIn>;
    let mut interface = linker.instance(LOOKUP)?;
    link_again(&mut interface)?;
    type Query = (String, String, u32);
    interface.func_wrap("check", |store: StoreContextMut<'_, State>, (endpoint, query, width): Query| {
        let client = store.data().lookups.told(&endpoint).map_err(Failure::Refused);
        let checked = client.and_then(|client| client.check(&query, width as usize));
        Ok((checked.map_err(failure) as Checked,))
    })?;
    type Params = (String, String, u32, CellsOf);
    interface.func_wrap_async(
        "find",
        |mut store: StoreContextMut<'_, State>, (endpoint, query, width, keys): Params| {
            Box::new(async move {
                let lookups = &store.data().lookups;
                let (client, wait, began) = (lookups.client(&endpoint), lookups.wait_left, Instant::now());
                let found = match (client, cells(keys)) {
                    (Ok(client), Ok(keys)) => find(&client, &query, width as usize, &keys, began + wait).await,
                    (Err(refused), _) | (_, Err(refused)) => Err(Failure::Refused(refused)),
                };
                store.data_mut().lookups.wait_left = wait.saturating_sub(began.elapsed());
                Ok((found.map(cells_of).map_err(failure) as Found,))
            })
        },
    )
}

async fn find(
    client: &Client,
    query: &str,
    width: usize,
    keys: &Cells,
    deadline: Instant,
) -> std::result::Result<Cells, Failure> {
    if keys.len() > VALUES_MAX {
        let count = keys.len();
        return Err(Failure::Refused(format!("there are {count} values, {VALUES_MAX} are allowed")));
    }
    client.find(query, width, keys, deadline).await
}

fn failure(of: Failure) -> LookupFailureIn {
    match of {
        Failure::Refused(why) => LookupFailureIn::Refused(why),
        Failure::Unavailable(why) => LookupFailureIn::Unavailable(why),
    }
}
