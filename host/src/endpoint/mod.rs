//! Services outside that plugins may be granted: their clients own connections, credentials and bounds, and know nothing of
//! plugins. Who is granted what is decided elsewhere.

pub mod address;
pub mod http;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::config::HttpEndpoint;

/// The clients in use, so that all plugins that are granted an endpoint share its connections and bounds.
#[derive(Default)]
pub struct Clients(Mutex<Vec<Weak<http::Client>>>);

impl Clients {
    /// The client of an endpoint.
    pub fn http(&self, settings: &Arc<HttpEndpoint>) -> Arc<http::Client> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        clients.retain(|client| client.strong_count() > 0);
        let known = clients.iter().filter_map(Weak::upgrade).find(|client| client.settings() == settings);
        known.unwrap_or_else(|| {
            let client = Arc::new(http::Client::new(settings.clone()));
            clients.push(Arc::downgrade(&client));
            client
        })
    }
}
