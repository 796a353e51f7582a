//! What a task keeps of its tables beside them: what their keys and values are, and the schema of each step. So another version
//! of a plugin is held to what is there, and who looks at a table from outside knows what it sees.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Format, Home, TableSpec};
use crate::store::pages::Pages;
use crate::store::{self, StateChange};

/// The table in which it is kept. No step has an empty name.
pub(super) const TABLES: &str = "tables";

/// What a task keeps of the tables of a step and their schema, for the first commit after it was opened.
pub fn described(home: &Home, step: &Arc<str>, schema: u32, specs: &[TableSpec]) -> Vec<StateChange> {
    let table = home.id(&"".into(), &TABLES.into());
    let kept = |key: String, value: Value| StateChange {
        table: table.clone(),
        key: key.into(),
        value: Some(value.to_string().into()),
    };
    let tables = specs.iter().map(|spec| {
        let value = json!({"key": spec.key, "value": spec.value, "ttl_ms": spec.ttl_ms});
        kept(format!("{step}/{}", spec.name), value)
    });
    let schema = (!specs.is_empty()).then(|| kept(step.to_string(), json!({ "schema": schema })));
    tables.chain(schema).collect()
}

/// What is kept of a table.
#[derive(Debug, Deserialize)]
pub(super) struct KeptTable {
    pub(super) key: Format,
    pub(super) value: Format,
    pub(super) ttl_ms: Option<u64>,
}

/// What is kept of all tables of a step.
#[derive(Debug, Deserialize)]
struct KeptStep {
    schema: u32,
}

/// What a task has kept of the tables of its steps.
#[derive(Debug, Default)]
pub struct Kept {
    /// By `STEP/TABLE`.
    tables: BTreeMap<String, KeptTable>,
    /// By their name.
    steps: BTreeMap<String, KeptStep>,
}

/// Reads what a task has kept of its tables.
pub async fn kept(home: &Home) -> Result<Kept, store::Error> {
    let id = home.id(&"".into(), &TABLES.into());
    let snapshot = home.store.snapshot().await?;
    let (mut kept, mut pages) = (Kept::default(), Pages::of(&*snapshot, &id));
    while let Some(page) = pages.next(usize::MAX).await? {
        for (key, value) in page {
            let Ok(name) = String::from_utf8(key.to_vec()) else { continue };
            if name.contains('/') {
                kept.tables.extend(serde_json::from_slice(&value).ok().map(|table| (name, table)));
            } else {
                kept.steps.extend(serde_json::from_slice(&value).ok().map(|step| (name, step)));
            }
        }
    }
    Ok(kept)
}

impl Kept {
    /// The schema of what a step remembers; `None`: it remembers nothing.
    pub fn schema(&self, step: &str) -> Option<u32> {
        self.steps.get(step).map(|step| step.schema)
    }
}

/// Why a step whose tables are these cannot read what is kept of them, if so.
pub fn mismatch(step: &str, specs: &[TableSpec], kept: &Kept) -> Option<String> {
    let shown = |key: Format, value: Format, ttl_ms: Option<u64>| {
        let time = if ttl_ms.is_some() { " with their time" } else { "" };
        format!("{key:?} keys and {value:?} values{time}").to_lowercase()
    };
    specs.iter().find_map(|spec| {
        let kept = kept.tables.get(&format!("{step}/{}", spec.name))?;
        let is_alike = (kept.key, kept.value, kept.ttl_ms.is_some()) == (spec.key, spec.value, spec.ttl_ms.is_some());
        (!is_alike).then(|| {
            format!(
                "its table {} is of {}, and what it remembers is of {}: give the table or the step another name, or \
                 count up the plugin's schema and have it migrate",
                spec.name,
                shown(spec.key, spec.value, spec.ttl_ms),
                shown(kept.key, kept.value, kept.ttl_ms)
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Partition, Timestamp};
    use crate::store::Changes;
    use crate::store::Store as _;
    use crate::store::memory::MemoryStore;

    fn spec(name: &str, key: Format, value: Format, ttl_ms: Option<u64>) -> TableSpec {
        TableSpec { name: name.into(), key, value, ttl_ms }
    }

    /// What is kept of the step `windows` in a pipeline.
    async fn filled(schema: u32) -> Kept {
        let store = Arc::new(MemoryStore::new());
        let home = Home { store: store.clone(), pipeline: "count".into(), partition: Partition(1) };
        let specs =
            [spec("users", Format::Text, Format::Json, None), spec("seen", Format::Signed, Format::Text, Some(5))];
        let state = described(&home, &"windows".into(), schema, &specs);
        store.commit(&[Changes { state, ..Changes::default() }], Timestamp(0)).await.unwrap();
        kept(&home).await.unwrap()
    }

    #[tokio::test]
    async fn what_cannot_be_read_any_more_is_said() {
        let kept = filled(3).await;
        assert_eq!((kept.schema("windows"), kept.schema("users"), kept.schema("")), (Some(3), None, None));
        let same =
            [spec("users", Format::Text, Format::Json, None), spec("seen", Format::Signed, Format::Text, Some(7))];
        assert_eq!(mismatch("windows", &same, &kept), None);
        let new = [spec("other", Format::Bytes, Format::Bytes, None)];
        assert_eq!(mismatch("windows", &new, &kept), None);
        assert_eq!(mismatch("count", &[spec("users", Format::Bytes, Format::Bytes, None)], &kept), None);
        let other = [spec("users", Format::Unsigned, Format::Json, None)];
        assert_eq!(
            mismatch("windows", &other, &kept).unwrap(),
            "its table users is of unsigned keys and json values, and what it remembers is of text keys and json values: \
             give the table or the step another name, or count up the plugin's schema and have it migrate"
        );
        let timeless = [spec("seen", Format::Signed, Format::Text, None)];
        assert!(mismatch("windows", &timeless, &kept).unwrap().contains("text values with their time"));
    }
}
