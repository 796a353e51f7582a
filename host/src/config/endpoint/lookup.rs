//! Settings of what a plugin may look things up in: how long answers are kept, and of what there may be answers.

use std::sync::Arc;
use std::time::Duration;

use super::{Database, Ldap};
use crate::config::shape;
use crate::config::view::{Result, View};

/// What a plugin may look things up in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// Entries of a directory, by the filter of its endpoint.
    Ldap(Arc<Ldap>),
    /// Rows of a database, by a query of the plugin.
    Database(Arc<Database>),
}

/// What is kept of answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// How long what was found counts. Default 5 min.
    pub ttl: Duration,
    /// How long it counts that nothing was found. Default 30 s.
    pub missing_ttl: Duration,
    /// How much longer what is old counts, while there is no answer. Default: not at all.
    pub stale: Duration,
    /// Bytes of all answers. Default 16 MiB.
    pub bytes_max: usize,
}

impl Lookup {
    /// Its name in the pipeline file.
    pub fn name(&self) -> &Arc<str> {
        match self {
            Lookup::Ldap(endpoint) => &endpoint.name,
            Lookup::Database(endpoint) => &endpoint.name,
        }
    }

    /// What is kept of its answers.
    pub fn cache(&self) -> &Cache {
        match self {
            Lookup::Ldap(endpoint) => &endpoint.cache,
            Lookup::Database(endpoint) => &endpoint.cache,
        }
    }
}

/// The group `cache` of an endpoint.
pub(super) fn cache(view: View<'_>) -> Result<Cache> {
    let view = view.group("cache", &shape::LOOKUP_CACHE);
    Ok(Cache {
        ttl: view.duration("ttl")?,
        missing_ttl: view.duration("missing_ttl")?,
        stale: view.duration("stale")?,
        bytes_max: view.number("size")?,
    })
}
