//! Tells the operator what keeps an endpoint from working, and not again with every try.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What keeps going wrong is told as often.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Speaks for one endpoint.
pub struct Teller {
    endpoint: Arc<str>,
    told: Mutex<Option<Instant>>,
}

impl Teller {
    /// Has told nothing yet.
    pub fn of(endpoint: &Arc<str>) -> Self {
        Teller { endpoint: endpoint.clone(), told: Mutex::default() }
    }

    /// Warns, unless something was told a short while ago.
    pub fn tell(&self, why: &impl Display) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| at.elapsed() > TELL_EVERY) {
            *told = Some(Instant::now());
            tracing::warn!(endpoint = %self.endpoint, "{why}");
        }
    }
}
