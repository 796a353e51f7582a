//! What is known of an endpoint's past: which records were told of, and with which message each thread began.
//!
//! Both are the newest of a bounded number, by hashes of 16 bytes. Where there is an archive they outlive the process.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::endpoint::archive::{Archive, Change};

/// Records that are known to be told.
const TOLD_MAX: usize = 100_000;
/// Threads that are known.
const THREADS_MAX: usize = 20_000;
const TOLD: &str = "told";
const THREADS: &str = "threads";
/// Bytes of the number that an entry's value begins with.
const NUMBER_BYTES: usize = 8;

type Key = [u8; 16];

/// The past of one endpoint.
pub struct Memory {
    endpoint: Arc<str>,
    archive: Arc<OnceLock<Archive>>,
    past: OnceCell<Mutex<Past>>,
}

struct Past {
    told: Recent,
    threads: Recent,
}

/// The newest entries: each has the number under which it came.
struct Recent {
    table: &'static str,
    max: usize,
    entries: HashMap<Key, (u64, Box<str>)>,
    by_number: BTreeMap<u64, Key>,
}

impl Memory {
    /// Of an endpoint, in an archive that may be set later, before it is used, or never.
    pub fn new(endpoint: Arc<str>, archive: Arc<OnceLock<Archive>>) -> Self {
        Memory { endpoint, archive, past: OnceCell::new() }
    }

    /// Which of these records were told of.
    pub async fn told(&self, ids: &[String]) -> Result<Vec<bool>, String> {
        let past = self.past().await?.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(ids.iter().map(|id| past.told.entries.contains_key(&hash(&[id]))).collect())
    }

    /// The first message of a thread in a channel.
    pub async fn thread(&self, channel: &str, name: &str) -> Result<Option<String>, String> {
        let past = self.past().await?.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(past.threads.entries.get(&hash(&[channel, name])).map(|(_, ts)| ts.to_string()))
    }

    /// Notes what a message told of, and the thread that it began or went on with: channel, name, first message.
    pub async fn note(&self, ids: &[String], thread: Option<(&str, &str, &str)>) -> Result<(), String> {
        let mut changes = Vec::new();
        {
            let mut past = self.past().await?.lock().unwrap_or_else(PoisonError::into_inner);
            for id in ids {
                past.told.note(hash(&[id]), "", &mut changes);
            }
            if let Some((channel, name, ts)) = thread {
                past.threads.note(hash(&[channel, name]), ts, &mut changes);
            }
        }
        match self.archive.get() {
            Some(archive) => archive.change(&self.endpoint, changes).await.map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }

    async fn past(&self) -> Result<&Mutex<Past>, String> {
        let read = async || {
            let mut past = Past { told: Recent::new(TOLD, TOLD_MAX), threads: Recent::new(THREADS, THREADS_MAX) };
            if let Some(archive) = self.archive.get() {
                for recent in [&mut past.told, &mut past.threads] {
                    let entries = archive.all(&self.endpoint, recent.table).await;
                    recent.read(entries.map_err(|error| error.to_string())?);
                }
            }
            Ok(Mutex::new(past))
        };
        self.past.get_or_try_init(read).await
    }
}

impl Recent {
    fn new(table: &'static str, max: usize) -> Self {
        Recent { table, max, entries: HashMap::new(), by_number: BTreeMap::new() }
    }

    fn read(&mut self, entries: Vec<(Bytes, Bytes)>) {
        for (key, value) in entries {
            let (Ok(key), Some((number, text))) = (Key::try_from(&*key), value.split_first_chunk::<NUMBER_BYTES>())
            else {
                continue;
            };
            let number = u64::from_be_bytes(*number);
            self.entries.insert(key, (number, String::from_utf8_lossy(text).into()));
            self.by_number.insert(number, key);
        }
    }

    /// Notes an entry as the newest; the oldest go.
    fn note(&mut self, key: Key, text: &str, changes: &mut Vec<Change>) {
        let number = self.by_number.last_key_value().map_or(0, |(number, _)| number + 1);
        if let Some((before, _)) = self.entries.insert(key, (number, text.into())) {
            self.by_number.remove(&before);
        }
        self.by_number.insert(number, key);
        let value = [&number.to_be_bytes(), text.as_bytes()].concat();
        changes.push((self.table, Bytes::copy_from_slice(&key), Some(value.into())));
        while self.entries.len() > self.max
            && let Some((_, oldest)) = self.by_number.pop_first()
        {
            self.entries.remove(&oldest);
            changes.push((self.table, Bytes::copy_from_slice(&oldest), None));
        }
    }
}

fn hash(parts: &[&str]) -> Key {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    let mut key = Key::default();
    hasher.finalize_xof().fill(&mut key);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::stop::stop_signal;
    use crate::store::committer::Committer;
    use crate::store::memory::MemoryStore;

    fn ids(range: std::ops::Range<u32>) -> Vec<String> {
        range.map(|n| format!("auth/0:{n}:0")).collect()
    }

    #[tokio::test]
    async fn what_was_noted_is_known_at_the_next_start() {
        let store = Arc::new(MemoryStore::default());
        let (committer, commits) = Committer::new(store.clone(), Arc::new(SystemClock), Default::default());
        let (_stop, stopped) = stop_signal();
        tokio::spawn(commits.run(stopped));
        let archive = Arc::new(OnceLock::new());
        assert!(archive.set(Archive { store, committer }).is_ok());
        let start = |endpoint: &str| Memory::new(endpoint.into(), archive.clone());
        let first = start("soc");
        first.note(&ids(0..2), Some(("ops", "web1", "1.5"))).await.unwrap();
        first.note(&ids(2..3), Some(("ops", "web1", "1.5"))).await.unwrap();
        for memory in [first, start("soc")] {
            assert_eq!(memory.told(&ids(1..5)).await.unwrap(), [true, true, false, false]);
            assert_eq!(memory.thread("ops", "web1").await.unwrap().as_deref(), Some("1.5"));
            assert_eq!(memory.thread("opsw", "eb1").await.unwrap(), None);
        }
        assert_eq!(start("other").told(&ids(1..2)).await.unwrap(), [false]);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let (mut recent, mut changes) = (Recent::new(TOLD, 2), Vec::new());
        for text in ["a", "b", "a", "c"] {
            recent.note(hash(&[text]), text, &mut changes);
        }
        let known = |text: &str| recent.entries.contains_key(&hash(&[text]));
        assert!(known("a") && known("c") && !known("b"));
        let deleted: Vec<_> = changes.iter().filter(|(_, _, value)| value.is_none()).collect();
        assert_eq!(deleted, [&(TOLD, Bytes::copy_from_slice(&hash(&["b"])), None)]);
        // What is read is what was written.
        let mut again = Recent::new(TOLD, 2);
        let written = changes.into_iter().filter_map(|(_, key, value)| Some((key, value?)));
        again.read(written.filter(|(key, _)| recent.entries.contains_key(&**key)).collect());
        assert_eq!(again.entries, recent.entries);
    }
}
