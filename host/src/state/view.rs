//! Keyed state as it looks from outside: which tables there are, what they hold at the last commit, and all of it as text that
//! can be moved to another store.
//!
//! Reads a snapshot of the store, so a task that goes on changes nothing of what is being shown. Knows nothing of plugins:
//! what a table's keys and values are is kept beside it by the task that has it (`kept.rs`).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::Format;
use super::kept::{KeptTable, TABLES};
use crate::record::{Partition, Position};
use crate::store::pages::Pages;
use crate::store::{self, Changes, PositionKey, Snapshot, StateChange, Store, TableId};

/// The version of the text by which state is moved.
const EXPORT_VERSION: u64 = 1;
/// The bytes of entries that one commit of an import has, about.
const IMPORT_BYTES: usize = 4 << 20;

/// A table, as it is kept and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TableView {
    /// The pipeline.
    pub pipeline: String,
    /// The step.
    pub step: String,
    /// The table.
    pub table: String,
    /// What its keys are.
    pub key: Format,
    /// What its values are.
    pub value: Format,
    /// How long entries live, in milliseconds of event time; absent: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// The partitions that hold something of it.
    pub partitions: Vec<u32>,
}

/// What is wanted of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Wanted {
    /// The entry with this key, written as [`TableView::key`] says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The entries whose key begins so; for tables with keys of text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// One partition alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
    /// How many entries at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Why state cannot be shown or moved.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Something was asked for that is not there, or not so.
    #[error("{0}")]
    Wrong(String),
}

/// All tables that plugins show, and with `hidden` the others too.
pub async fn tables(snapshot: &dyn Snapshot, hidden: bool) -> Result<Vec<TableView>, Error> {
    let mut views = BTreeMap::<(String, String), TableView>::new();
    let ids = snapshot.tables().await?;
    let is_kept = |id: &&TableId| id.step.is_empty() && *id.table == *TABLES;
    for id in ids.iter().filter(is_kept) {
        for (key, value) in all(snapshot, id).await? {
            let (Ok(name), Ok(kept)) = (std::str::from_utf8(&key), serde_json::from_slice::<KeptTable>(&value)) else {
                continue;
            };
            let Some((step, table)) = name.split_once('/') else { continue };
            let has =
                |other: &&TableId| (&*other.pipeline, &*other.step, &*other.table) == (&*id.pipeline, step, table);
            let view = || TableView {
                pipeline: id.pipeline.to_string(),
                step: step.to_owned(),
                table: table.to_owned(),
                key: kept.key,
                value: kept.value,
                ttl_ms: kept.ttl_ms,
                partitions: ids.iter().filter(has).map(|other| other.partition.0).collect(),
            };
            if hidden || !table.starts_with('-') {
                views.entry((id.pipeline.to_string(), name.to_owned())).or_insert_with(view);
            }
        }
    }
    Ok(views.into_values().collect())
}

/// The table that a path `PIPELINE/STEP/TABLE` names; the step may be left out where it is the only one with such a table.
pub async fn find(snapshot: &dyn Snapshot, path: &str) -> Result<TableView, Error> {
    let all = tables(snapshot, true).await?;
    let names = |view: &TableView| {
        path == format!("{}/{}/{}", view.pipeline, view.step, view.table)
            || path == format!("{}/{}", view.pipeline, view.table)
    };
    let mut found = all.iter().filter(|view| names(view));
    match (found.next(), found.next()) {
        (Some(view), None) => Ok(view.clone()),
        (Some(_), Some(_)) => {
            Err(Error::Wrong(format!("several steps have a table {path}: name it PIPELINE/STEP/TABLE")))
        }
        (None, _) => {
            let known: Vec<String> = all
                .iter()
                .filter(|view| !view.table.starts_with('-'))
                .map(|view| format!("{}/{}/{}", view.pipeline, view.step, view.table))
                .collect();
            let known =
                if known.is_empty() { "no pipeline has any".into() } else { format!("there are {}", known.join(", ")) };
            Err(Error::Wrong(format!("there is no table {path}; {known}")))
        }
    }
}

/// Sends the entries of a table, a JSON object each: `partition`, `key`, `value`, and `written` where entries have a time to
/// live. Ends where nobody takes them any more.
pub async fn entries(
    snapshot: &dyn Snapshot,
    view: &TableView,
    wanted: &Wanted,
    lines: &mpsc::Sender<Result<Bytes, Error>>,
) -> Result<(), Error> {
    let mut left = wanted.limit.unwrap_or(usize::MAX);
    let exact = wanted.key.as_deref().map(|key| view.key.parse(key).map_err(Error::Wrong)).transpose()?;
    let prefix = match (&wanted.prefix, view.key) {
        (Some(prefix), Format::Text | Format::Json) => Bytes::copy_from_slice(prefix.as_bytes()),
        (None, _) => Bytes::new(),
        (Some(_), other) => {
            return Err(Error::Wrong(format!("its keys are {other:?}, which have no text to begin with")));
        }
    };
    let partitions = view.partitions.iter().copied().filter(|own| wanted.partition.is_none_or(|wanted| wanted == *own));
    for partition in partitions {
        let id = TableId {
            pipeline: view.pipeline.as_str().into(),
            step: view.step.as_str().into(),
            table: view.table.as_str().into(),
            partition: Partition(partition),
        };
        if let Some(key) = &exact {
            let found = snapshot.state_get(&id, std::slice::from_ref(key), usize::MAX).await?;
            let found = found.into_iter().flatten().map(|value| (key.clone(), value)).take(left);
            left -= send(view, partition, found, lines).await;
            continue;
        }
        let mut pages = Pages::with_prefix(snapshot, &id, &prefix);
        while left > 0
            && let Some(page) = pages.next(left).await?
        {
            let count = page.len();
            if send(view, partition, page.into_iter(), lines).await < count {
                return Ok(());
            }
            left -= count;
        }
    }
    Ok(())
}

/// Sends entries; returns how many were taken.
async fn send(
    view: &TableView,
    partition: u32,
    entries: impl Iterator<Item = (Bytes, Bytes)>,
    lines: &mpsc::Sender<Result<Bytes, Error>>,
) -> usize {
    let mut sent = 0;
    for (key, value) in entries {
        let mut line =
            Map::from_iter([("partition".to_owned(), partition.into()), ("key".to_owned(), view.key.shown(&key))]);
        let value = match view.ttl_ms {
            None => &value[..],
            Some(_) => {
                let (time, value) = value.split_at_checked(8).unwrap_or((&value, &[]));
                line.insert("written".to_owned(), Format::Signed.shown(time));
                value
            }
        };
        line.insert("value".to_owned(), view.value.shown(value));
        let line = Value::Object(line);
        if lines.send(Ok(format!("{line}\n").into())).await.is_err() {
            return sent;
        }
        sent += 1;
    }
    sent
}

impl Format {
    /// Bytes as they are shown: what is not of this form as `{"base64": ...}`.
    pub fn shown(self, bytes: &[u8]) -> Value {
        let number = bytes.try_into().ok().map(u64::from_be_bytes);
        let shown = match self {
            Format::Bytes => None,
            Format::Text => std::str::from_utf8(bytes).ok().map(Value::from),
            Format::Json => serde_json::from_slice(bytes).ok(),
            Format::Unsigned => number.map(Value::from),
            Format::Signed => number.map(|number| Value::from((number ^ (1 << 63)).cast_signed())),
        };
        shown.unwrap_or_else(|| json!({"base64": BASE64.encode(bytes)}))
    }

    /// The bytes of what is written as it is shown; bytes are written in base64.
    pub fn parse(self, text: &str) -> Result<Bytes, String> {
        let not = |what: &str| format!("expected {what} as key, got {text}");
        Ok(match self {
            Format::Text => Bytes::copy_from_slice(text.as_bytes()),
            Format::Json => {
                let value: Value = serde_json::from_str(text).map_err(|_| not("JSON"))?;
                value.to_string().into()
            }
            Format::Unsigned => {
                let number: u64 = text.parse().map_err(|_| not("a whole number"))?;
                Bytes::copy_from_slice(&number.to_be_bytes())
            }
            Format::Signed => {
                let number: i64 = text.parse().map_err(|_| not("a whole number"))?;
                Bytes::copy_from_slice(&(number.cast_unsigned() ^ (1 << 63)).to_be_bytes())
            }
            Format::Bytes => BASE64.decode(text).map_err(|_| not("base64"))?.into(),
        })
    }
}

async fn all(snapshot: &dyn Snapshot, id: &TableId) -> Result<Vec<(Bytes, Bytes)>, Error> {
    let (mut entries, mut pages) = (Vec::new(), Pages::of(snapshot, id));
    while let Some(page) = pages.next(usize::MAX).await? {
        entries.extend(page);
    }
    Ok(entries)
}

/// A line of an export. The first says the version, the last how many lines came between.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    WeirState(u64),
    /// An entry: pipeline, step, table, partition, key, value.
    Entry(String, String, String, u32, String, String),
    /// How far an input was read: pipeline, input, partition, position.
    Position(String, String, u32, String),
    End(u64),
}

/// Sends all of the state of some pipelines, and how far they have read, a line each. Ends where nobody takes them any more.
pub async fn export(
    snapshot: &dyn Snapshot,
    pipelines: &[String],
    lines: &mpsc::Sender<Result<Bytes, Error>>,
) -> Result<(), Error> {
    // What belongs to no pipeline is of the streams, which stay.
    let is_wanted =
        |name: &str| !name.is_empty() && pipelines.is_empty() || pipelines.iter().any(|wanted| wanted == name);
    let mut count = 0;
    let text = |line: &Line| {
        // Text and numbers always can be written.
        let mut text = serde_json::to_vec(line).unwrap_or_default();
        text.push(b'\n');
        Ok(Bytes::from(text))
    };
    if lines.send(text(&Line::WeirState(EXPORT_VERSION))).await.is_err() {
        return Ok(());
    }
    for id in snapshot.tables().await?.into_iter().filter(|id| is_wanted(&id.pipeline)) {
        let mut pages = Pages::of(snapshot, &id);
        while let Some(page) = pages.next(usize::MAX).await? {
            for (key, value) in page {
                let (pipeline, step, table) = (id.pipeline.to_string(), id.step.to_string(), id.table.to_string());
                let (key, value) = (BASE64.encode(key), BASE64.encode(value));
                count += 1;
                if lines.send(text(&Line::Entry(pipeline, step, table, id.partition.0, key, value))).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
    // Last, so that what is read in part has no position to go on from.
    for (key, position) in snapshot.positions().await? {
        if is_wanted(&key.owner) {
            let PositionKey { owner, input, partition } = key;
            let line = Line::Position(owner.to_string(), input.to_string(), partition.0, BASE64.encode(position.0));
            count += 1;
            if lines.send(text(&line)).await.is_err() {
                return Ok(());
            }
        }
    }
    let _ = lines.send(text(&Line::End(count))).await;
    Ok(())
}

/// What was imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// Entries of tables.
    pub entries: u64,
    /// Positions of inputs.
    pub positions: u64,
}

/// Takes in what an export gave: to its last line, or nothing is said to be done. The pipelines may have no state yet; with
/// `replace` what they have goes first. Nobody else may use the store.
pub async fn import(
    store: &dyn Store,
    lines: impl Iterator<Item = std::io::Result<String>>,
    replace: bool,
) -> Result<Imported, Error> {
    let wrong = |number: u64, what: String| Error::Wrong(format!("line {number}: {what}"));
    let (mut imported, mut changes, mut bytes) = (Imported { entries: 0, positions: 0 }, Changes::default(), 0);
    let mut cleared = std::collections::BTreeSet::new();
    let mut is_whole = false;
    for (number, line) in (1..).zip(lines) {
        let line = line.map_err(|error| wrong(number, error.to_string()))?;
        let line: Line = serde_json::from_str(&line)
            .map_err(|error| wrong(number, format!("expected a line of an export: {error}")))?;
        let decoded = |text: &str| BASE64.decode(text).map_err(|error| wrong(number, error.to_string()));
        if number == 1 && !matches!(line, Line::WeirState(EXPORT_VERSION)) {
            return Err(wrong(number, format!("expected an export of version {EXPORT_VERSION}")));
        }
        match line {
            Line::WeirState(_) => {}
            Line::Entry(pipeline, step, table, partition, key, value) => {
                if cleared.insert(pipeline.clone()) {
                    clear(store, &pipeline, replace).await?;
                }
                let table = TableId {
                    pipeline: pipeline.into(),
                    step: step.into(),
                    table: table.into(),
                    partition: Partition(partition),
                };
                let (key, value) = (decoded(&key)?, decoded(&value)?);
                bytes += key.len() + value.len();
                imported.entries += 1;
                changes.state.push(StateChange { table, key: key.into(), value: Some(value.into()) });
            }
            Line::Position(owner, input, partition, position) => {
                if cleared.insert(owner.clone()) {
                    clear(store, &owner, replace).await?;
                }
                let key = PositionKey { owner: owner.into(), input: input.into(), partition: Partition(partition) };
                imported.positions += 1;
                changes.positions.push((key, Position(decoded(&position)?)));
            }
            Line::End(count) if count == imported.entries + imported.positions => is_whole = true,
            Line::End(count) => {
                return Err(wrong(number, format!("expected {count} lines before it, found {}", number - 2)));
            }
        }
        // Positions wait for the end: what is imported in part is not gone on from.
        if bytes > IMPORT_BYTES {
            let part = Changes { state: std::mem::take(&mut changes.state), ..Changes::default() };
            store.commit(&[part], crate::record::Timestamp(0)).await?;
            bytes = 0;
        }
    }
    if !is_whole {
        return Err(Error::Wrong("the export has no last line: it was cut".into()));
    }
    store.commit(&[changes], crate::record::Timestamp(0)).await?;
    Ok(imported)
}

/// Makes sure that a pipeline has no state.
async fn clear(store: &dyn Store, pipeline: &str, replace: bool) -> Result<(), Error> {
    let snapshot = store.snapshot().await?;
    let ids = snapshot.tables().await?;
    for id in ids.iter().filter(|id| *id.pipeline == *pipeline) {
        let mut pages = Pages::of(&*snapshot, id);
        while let Some(page) = pages.next(usize::MAX).await? {
            if !replace && !page.is_empty() {
                let message =
                    format!("the pipeline {pipeline} has state already; --replace puts what is imported in its place");
                return Err(Error::Wrong(message));
            }
            let delete = |(key, _)| StateChange { table: id.clone(), key, value: None };
            let state = page.into_iter().map(delete).collect();
            store.commit(&[Changes { state, ..Changes::default() }], crate::record::Timestamp(0)).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::Timestamp;
    use crate::state::kept::described;
    use crate::state::{Home, TableSpec};
    use crate::store::memory::MemoryStore;

    fn home(store: &Arc<MemoryStore>, partition: u32) -> Home {
        Home { store: store.clone(), pipeline: "count".into(), partition: Partition(partition) }
    }

    fn spec(name: &str, key: Format, value: Format, ttl_ms: Option<u64>) -> TableSpec {
        TableSpec { name: name.into(), key, value, ttl_ms }
    }

    async fn filled() -> Arc<MemoryStore> {
        let store = Arc::new(MemoryStore::new());
        let step: Arc<str> = "windows".into();
        let specs = [
            spec("users", Format::Text, Format::Json, None),
            spec("seen", Format::Signed, Format::Text, Some(5)),
            spec("-timers", Format::Bytes, Format::Bytes, None),
        ];
        for partition in 0..2 {
            let home = home(&store, partition);
            let mut state = described(&home, &step, 1, &specs);
            let mut put = |table: &str, key: &[u8], value: &[u8]| {
                let (key, value) = (Bytes::copy_from_slice(key), Some(Bytes::copy_from_slice(value)));
                state.push(StateChange { table: home.id(&step, &table.into()), key, value });
            };
            put("users", format!("root{partition}").as_bytes(), br#"{"n":1}"#);
            put("users", b"admin", b"no json");
            let minus_one = ((-1_i64).cast_unsigned() ^ (1 << 63)).to_be_bytes();
            put("seen", &minus_one, &[&minus_one[..], b"text"].concat());
            put("-timers", b"t", b"");
            let position = (
                PositionKey { owner: "count".into(), input: "in".into(), partition: Partition(partition) },
                Position(vec![partition as u8]),
            );
            let changes = Changes { state, positions: vec![position], ..Changes::default() };
            store.commit(&[changes], Timestamp(0)).await.unwrap();
        }
        store
    }

    async fn lines_of(snapshot: &dyn Snapshot, path: &str, wanted: Wanted) -> Result<Vec<String>, String> {
        let view = find(snapshot, path).await.map_err(|error| error.to_string())?;
        let (sender, mut receiver) = mpsc::channel(1_000);
        entries(snapshot, &view, &wanted, &sender).await.map_err(|error| error.to_string())?;
        drop(sender);
        let mut lines = Vec::new();
        while let Some(line) = receiver.recv().await {
            lines.push(String::from_utf8(line.unwrap().to_vec()).unwrap().trim_end().to_owned());
        }
        Ok(lines)
    }

    #[tokio::test]
    async fn tables_are_shown_by_what_their_keys_and_values_are() {
        let store = filled().await;
        let snapshot = store.snapshot().await.unwrap();
        let shown: Vec<_> =
            tables(&*snapshot, false).await.unwrap().into_iter().map(|view| (view.table, view.partitions)).collect();
        assert_eq!(shown, [("seen".to_owned(), vec![0, 1]), ("users".to_owned(), vec![0, 1])]);
        assert_eq!(tables(&*snapshot, true).await.unwrap().len(), 3);
        let lines = lines_of(&*snapshot, "count/users", Wanted::default()).await.unwrap();
        assert_eq!(lines[0], r#"{"key":"admin","partition":0,"value":{"base64":"bm8ganNvbg=="}}"#);
        assert_eq!(lines.len(), 4);
        let wanted = Wanted { key: Some("-1".into()), partition: Some(1), ..Wanted::default() };
        let lines = lines_of(&*snapshot, "count/windows/seen", wanted).await.unwrap();
        assert_eq!(lines, [r#"{"key":-1,"partition":1,"value":"text","written":-1}"#]);
        let wanted = Wanted { prefix: Some("root".into()), limit: Some(1), ..Wanted::default() };
        let lines = lines_of(&*snapshot, "count/users", wanted).await.unwrap();
        assert_eq!(lines, [r#"{"key":"root0","partition":0,"value":{"n":1}}"#]);
    }

    #[tokio::test]
    async fn what_is_asked_wrongly_is_said() {
        let store = filled().await;
        let snapshot = store.snapshot().await.unwrap();
        let said = async |path: &str, wanted| lines_of(&*snapshot, path, wanted).await.unwrap_err();
        let wanted = Wanted::default;
        assert_eq!(
            said("count/user", wanted()).await,
            "there is no table count/user; there are count/windows/seen, count/windows/users"
        );
        assert_eq!(
            said("count/seen", Wanted { key: Some("x".into()), ..wanted() }).await,
            "expected a whole number as key, got x"
        );
        assert_eq!(
            said("count/seen", Wanted { prefix: Some("x".into()), ..wanted() }).await,
            "its keys are Signed, which have no text to begin with"
        );
    }

    #[tokio::test]
    async fn what_was_exported_is_the_same_once_imported() {
        let store = filled().await;
        let text = async |store: &MemoryStore| {
            let snapshot = store.snapshot().await.unwrap();
            let (sender, mut receiver) = mpsc::channel(1_000);
            export(&*snapshot, &["count".to_owned()], &sender).await.unwrap();
            drop(sender);
            let mut text = String::new();
            while let Some(line) = receiver.recv().await {
                text.push_str(std::str::from_utf8(&line.unwrap()).unwrap());
            }
            text
        };
        let exported = text(&store).await;
        let lines = |text: &str| text.lines().map(|line| Ok(line.to_owned())).collect::<Vec<_>>().into_iter();
        let other = MemoryStore::new();
        let imported = import(&other, lines(&exported), false).await.unwrap();
        assert_eq!(imported, Imported { entries: 16, positions: 2 });
        assert_eq!(text(&other).await, exported);
        let again = import(&other, lines(&exported), false).await.unwrap_err();
        assert!(again.to_string().contains("--replace"), "{again}");
        import(&other, lines(&exported), true).await.unwrap();
        assert_eq!(text(&other).await, exported);

        let cut: Vec<&str> = exported.lines().take(9).collect();
        let refused = import(&MemoryStore::new(), lines(&cut.join("\n")), false).await.unwrap_err();
        assert_eq!(refused.to_string(), "the export has no last line: it was cut");
        let refused = import(&MemoryStore::new(), lines("{}"), false).await.unwrap_err();
        assert!(refused.to_string().starts_with("line 1: expected a line of an export: "), "{refused}");
    }
}
