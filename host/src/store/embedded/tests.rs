//! Tests of the embedded store: the suite of all stores, and what only one on disk can show.

use tempfile::TempDir;

use super::*;
use crate::store::suite;

async fn fresh() -> (EmbeddedStore, TempDir) {
    let data = tempfile::tempdir().unwrap();
    (EmbeddedStore::open(data.path()).unwrap(), data)
}

suite::store_tests!(fresh());
