//! Services outside that plugins may be granted: their clients own connections, credentials and bounds, and know nothing of
//! plugins. Who is granted what is decided elsewhere.

pub mod address;
pub mod archive;
pub mod cells;
pub mod database;
pub mod http;
pub mod kudu;
pub mod ldap;
pub mod lookup;
pub mod slack;
mod teller;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use archive::Archive;

use crate::config::Grants;

/// The clients in use, so that all plugins that are granted an endpoint share its connections and bounds.
#[derive(Default)]
pub struct Clients {
    http: Known<http::Client>,
    database: Known<database::Client>,
    kudu: Known<kudu::Client>,
    slack: Known<slack::Client>,
    lookup: Known<lookup::Client>,
    archive: Arc<OnceLock<Archive>>,
    /// By endpoint, whatever else of it is changed.
    memories: Mutex<HashMap<Arc<str>, Arc<slack::Memory>>>,
}

/// The clients of what a step was granted.
pub struct Granted {
    /// Web services.
    pub http: Arc<[Arc<http::Client>]>,
    /// Databases.
    pub database: Arc<[Arc<database::Client>]>,
    /// Kudu clusters.
    pub kudu: Arc<[Arc<kudu::Client>]>,
    /// Workspaces of Slack.
    pub slack: Arc<[Arc<slack::Client>]>,
    /// Directories and databases to look things up in.
    pub lookup: Arc<[Arc<lookup::Client>]>,
}

impl Clients {
    /// The clients of what a step was granted.
    pub fn of(&self, grants: &Grants) -> Granted {
        let http = |settings: &Arc<_>| {
            self.http.client(|client| client.settings() == settings, || http::Client::new(settings.clone()))
        };
        let database = |settings: &Arc<_>| {
            self.database.client(|client| client.settings() == settings, || database::Client::new(settings.clone()))
        };
        let kudu = |settings: &Arc<_>| {
            self.kudu.client(|client| client.settings() == settings, || kudu::Client::new(settings.clone()))
        };
        let slack = |settings: &Arc<_>| {
            let new = |settings: &Arc<crate::config::Slack>| {
                slack::Client::new(settings.clone(), self.memory(&settings.name))
            };
            self.slack.client(|client| client.settings() == settings, || new(settings))
        };
        let lookup = |settings: &crate::config::Lookup| {
            let new = || lookup::Client::new(settings.clone(), database);
            self.lookup.client(|client| client.settings() == settings, new)
        };
        Granted {
            http: grants.http.iter().map(http).collect(),
            database: grants.database.iter().map(database).collect(),
            kudu: grants.kudu.iter().map(kudu).collect(),
            slack: grants.slack.iter().map(slack).collect(),
            lookup: grants.lookup.iter().map(lookup).collect(),
        }
    }

    /// Has clients keep there what they want to know at the next start. Said before they are used; without it, or said again,
    /// nothing changes.
    pub fn keep_in(&self, archive: Archive) {
        let _ = self.archive.set(archive);
    }

    fn memory(&self, endpoint: &Arc<str>) -> Arc<slack::Memory> {
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(slack::Memory::new(endpoint.clone(), self.archive.clone()));
        memories.entry(endpoint.clone()).or_insert_with(new).clone()
    }
}

/// Those of one kind.
struct Known<T>(Mutex<Vec<Weak<T>>>);

impl<T> Default for Known<T> {
    fn default() -> Self {
        Known(Mutex::default())
    }
}

impl<T> Known<T> {
    fn client(&self, is_it: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> Arc<T> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        clients.retain(|client| client.strong_count() > 0);
        let known = clients.iter().filter_map(Weak::upgrade).find(|client| is_it(client));
        known.unwrap_or_else(|| {
            let client = Arc::new(new());
            clients.push(Arc::downgrade(&client));
            client
        })
    }
}
