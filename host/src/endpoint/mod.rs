//! Services outside that plugins may be granted: their clients own connections, credentials and bounds, and know nothing of
//! plugins. Who is granted what is decided elsewhere.

pub mod address;
pub mod cells;
pub mod database;
pub mod http;
pub mod kudu;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::config::Grants;

/// The clients in use, so that all plugins that are granted an endpoint share its connections and bounds.
#[derive(Default)]
pub struct Clients {
    http: Known<http::Client>,
    database: Known<database::Client>,
    kudu: Known<kudu::Client>,
}

/// The clients of what a step was granted.
pub struct Granted {
    /// Web services.
    pub http: Arc<[Arc<http::Client>]>,
    /// Databases.
    pub database: Arc<[Arc<database::Client>]>,
    /// Kudu clusters.
    pub kudu: Arc<[Arc<kudu::Client>]>,
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
        Granted {
            http: grants.http.iter().map(http).collect(),
            database: grants.database.iter().map(database).collect(),
            kudu: grants.kudu.iter().map(kudu).collect(),
        }
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
