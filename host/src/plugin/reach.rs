//! What a step was granted of one kind of service outside, and how much longer the call that it is in may wait for it.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::LinkerInstance;
use wasmtime::{Result, StoreContextMut};

use super::bindings;
use super::limits::{State, cut, one_line};
use crate::endpoint::cells::Cells;

/// The guest of a sink ends its call itself.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ending {
    /// It cannot go on for now. Told by [`super::Failure::Again`].
    #[error("{0}")]
    Again(String),
    /// It cannot go on before the operator has done something. Told by [`super::Failure::Stop`].
    #[error("{0}")]
    Stop(String),
}

/// Links the function by which a sink ends a call that cannot go on for now.
pub(super) fn link_again(interface: &mut LinkerInstance<'_, State>) -> Result<()> {
    interface.func_wrap("begin-again", |_: StoreContextMut<'_, State>, (why,): (String,)| -> Result<()> {
        Err(Ending::Again(one_line(cut(&why))).into())
    })
}

/// Judges the values that a guest hands over.
pub(super) fn cells(of: bindings::Cells) -> std::result::Result<Cells, String> {
    Cells::new(of.kinds, of.ends, of.data)
}

/// Values as a guest takes them.
pub(super) fn cells_of(cells: Cells) -> bindings::Cells {
    let (kinds, ends, data) = cells.into_columns();
    bindings::Cells { kinds, ends, data }
}

/// A client of an endpoint.
pub(super) trait Endpoint {
    /// The endpoint's name in the pipeline file.
    fn name(&self) -> &str;
}

impl Endpoint for crate::endpoint::http::Client {
    fn name(&self) -> &str {
        &self.settings().name
    }
}

impl Endpoint for crate::endpoint::kudu::Client {
    fn name(&self) -> &str {
        &self.settings().name
    }
}

impl Endpoint for crate::endpoint::slack::Client {
    fn name(&self) -> &str {
        &self.settings().name
    }
}

impl Endpoint for crate::endpoint::lookup::Client {
    fn name(&self) -> &str {
        self.settings().name()
    }
}

impl Endpoint for crate::endpoint::database::Client {
    fn name(&self) -> &str {
        &self.settings().name
    }
}

/// The clients of the endpoints that were granted. None can be asked while a plugin is configured.
pub(super) struct Reach<T> {
    clients: Arc<[Arc<T>]>,
    is_open: bool,
    /// Of the call under way.
    pub(super) wait_left: Duration,
}

impl<T> Default for Reach<T> {
    fn default() -> Self {
        Reach { clients: Arc::default(), is_open: false, wait_left: Duration::ZERO }
    }
}

impl<T> Clone for Reach<T> {
    fn clone(&self) -> Self {
        Reach { clients: self.clients.clone(), is_open: self.is_open, wait_left: self.wait_left }
    }
}

impl<T: Endpoint> Reach<T> {
    /// Tells a plugin that is configured what it will be able to reach.
    pub(super) fn tell(&mut self, clients: &Arc<[Arc<T>]>) {
        self.clients = clients.clone();
    }

    /// Lets these be reached from now on.
    pub(super) fn grant(&mut self, clients: &Arc<[Arc<T>]>) {
        self.tell(clients);
        self.is_open = true;
    }

    /// Begins a call that may wait so long.
    pub(super) fn begin(&mut self, wait_max: Duration) {
        self.wait_left = wait_max;
    }

    /// The client of an endpoint; that of the only one, where none is named. The error says why there is none.
    pub(super) fn client(&self, name: &str) -> std::result::Result<Arc<T>, String> {
        if !self.is_open {
            return Err("no endpoint can be asked while a plugin is configured".into());
        }
        self.told(name)
    }

    /// The same, and while it is configured too.
    pub(super) fn told(&self, name: &str) -> std::result::Result<Arc<T>, String> {
        let granted = || {
            let names = self.clients.iter().map(|client| format!("`{}`", client.name()));
            names.collect::<Vec<_>>().join(", ")
        };
        match (name, &*self.clients) {
            (_, []) => Err("the step was granted no endpoint".into()),
            ("", [only]) => Ok(only.clone()),
            ("", _) => Err(format!("it names no endpoint; granted are {}", granted())),
            (name, clients) => {
                let found = clients.iter().find(|client| client.name() == name).cloned();
                found.ok_or_else(|| format!("the step was not granted an endpoint {name:?}, but {}", granted()))
            }
        }
    }
}
