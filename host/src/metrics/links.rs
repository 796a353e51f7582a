//! Connections to brokers: whether they stand, and how often they broke.
//!
//! Who speaks with a broker does so in threads and callbacks of libraries that know nothing of the appliance, and a process runs one
//! appliance: so this is one list for the process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Counter;

/// All of them, by whose they are: `source orders`.
pub static LINKS: Links = Links(Mutex::new(BTreeMap::new()));

/// Connections by whose they are.
#[derive(Debug)]
pub struct Links(Mutex<BTreeMap<String, Arc<Link>>>);

/// A connection.
#[derive(Debug, Default)]
pub struct Link {
    is_down: AtomicBool,
    /// How often it broke, or could not be had; once for all attempts until it stands again.
    pub lost: Counter,
}

impl Links {
    /// That of a source or sink.
    pub fn of(&self, owner: &str) -> Arc<Link> {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        links.entry(owner.to_owned()).or_default().clone()
    }

    /// Nobody has it any more.
    pub fn forget(&self, owner: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(owner);
    }

    /// All of them.
    pub fn all(&self) -> BTreeMap<String, Arc<Link>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Link {
    /// It broke, or could not be had.
    pub fn down(&self) {
        if !self.is_down.swap(true, Ordering::Relaxed) {
            self.lost.add(1);
        }
    }

    /// It stands.
    pub fn up(&self) {
        self.is_down.store(false, Ordering::Relaxed);
    }

    /// Whether it stands, as far as is known.
    pub fn is_up(&self) -> bool {
        !self.is_down.load(Ordering::Relaxed)
    }
}
