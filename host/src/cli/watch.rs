//! Files that are followed: what they look like, and when they have changed and are written whole.
//!
//! The system tells of changes where it can; where it does not, as for some mounted volumes, looking every now and then will do.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// How often files are looked at where the system does not tell of changes.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// What has not changed for so long is taken to be written whole.
const SETTLED: Duration = Duration::from_millis(200);
/// The files below a directory that are looked at.
const FILES_MAX: usize = 10_000;

/// Files as they are.
pub(super) type Seen = BTreeMap<PathBuf, Looks>;

/// By which a file is taken to be the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Looks {
    bytes: u64,
    changed: Option<SystemTime>,
    inode: u64,
}

impl Looks {
    fn of(metadata: &Metadata) -> Self {
        Looks { bytes: metadata.len(), changed: metadata.modified().ok(), inode: metadata.ino() }
    }
}

/// A file as it is, where it is there.
pub(super) fn file(path: &Path) -> Seen {
    fs::metadata(path).ok().map(|metadata| (path.to_path_buf(), Looks::of(&metadata))).into_iter().collect()
}

/// The files in a directory whose names end in one of these.
pub(super) fn files_in(directory: &Path, extensions: &[&str]) -> Seen {
    let is_meant = |path: &PathBuf| path.extension().is_some_and(|of| extensions.iter().any(|wanted| of == *wanted));
    entries(directory).filter(is_meant).flat_map(|path| file(&path)).collect()
}

/// The files in a directory and below.
pub(super) fn files_below(directory: &Path) -> Seen {
    let (mut seen, mut directories) = (Seen::new(), vec![directory.to_path_buf()]);
    while let Some(directory) = directories.pop() {
        for path in entries(&directory) {
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => directories.push(path),
                Ok(metadata) if seen.len() < FILES_MAX => drop(seen.insert(path, Looks::of(&metadata))),
                _ => {}
            }
        }
        if seen.len() >= FILES_MAX {
            break;
        }
    }
    seen
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// What is followed.
#[async_trait]
pub(super) trait Followed: Sync {
    /// How it looks.
    type Seen: PartialEq + Send + Sync;

    /// The directories that it lies in now. They may come and go.
    async fn places(&self) -> Vec<PathBuf>;

    /// How it looks now.
    async fn see(&self) -> Self::Seen;
}

/// Waits for changes.
pub(super) struct Watch {
    mode: RecursiveMode,
    changed: Arc<Notify>,
    /// The system's own, and what it tells of.
    watcher: Option<(Vec<PathBuf>, RecommendedWatcher)>,
}

impl Watch {
    /// Follows directories, not what is below them.
    pub(super) fn flat() -> Self {
        Watch { mode: RecursiveMode::NonRecursive, changed: Arc::default(), watcher: None }
    }

    /// Follows directories and all below.
    pub(super) fn deep() -> Self {
        Watch { mode: RecursiveMode::Recursive, ..Watch::flat() }
    }

    /// Waits until something looks otherwise than before, and has looked the same for a while. Gives how it looks now.
    pub(super) async fn changed<T: Followed>(&mut self, followed: &T, before: &T::Seen) -> T::Seen {
        loop {
            self.follow(followed.places().await);
            let _ = tokio::time::timeout(LOOK_EVERY, self.changed.notified()).await;
            let mut now = followed.see().await;
            if now == *before {
                continue;
            }
            loop {
                tokio::time::sleep(SETTLED).await;
                let later = followed.see().await;
                if later == now {
                    return now;
                }
                now = later;
            }
        }
    }

    /// Has the system tell of changes in these places, where it can.
    fn follow(&mut self, places: Vec<PathBuf>) {
        if self.watcher.as_ref().is_some_and(|(followed, _)| *followed == places) {
            return;
        }
        let changed = self.changed.clone();
        let tell = move |event: notify::Result<notify::Event>| {
            // To look at a directory is to open it, of which the system tells as well.
            if event.map_or(true, |event| !event.kind.is_access()) {
                changed.notify_one();
            }
        };
        let Ok(mut watcher) = notify::recommended_watcher(tell) else { return };
        for place in &places {
            if let Err(error) = watcher.watch(place, self.mode) {
                tracing::debug!("{} is looked at every {LOOK_EVERY:?}: {error}", place.display());
            }
        }
        self.watcher = Some((places, watcher));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[async_trait]
    impl Followed for PathBuf {
        type Seen = Seen;

        async fn places(&self) -> Vec<PathBuf> {
            vec![self.clone()]
        }

        async fn see(&self) -> Seen {
            files_below(self)
        }
    }

    #[tokio::test]
    async fn what_changes_is_seen_once_it_is_written_whole() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().to_path_buf();
        fs::create_dir(place.join("below")).unwrap();
        fs::write(place.join("below/deep.yaml"), "1").unwrap();
        fs::write(place.join("a.yaml"), "1").unwrap();
        fs::write(place.join("a.txt"), "1").unwrap();
        assert_eq!(files_in(&place, &["yaml", "yml"]).len(), 1);
        assert_eq!(files_below(&place).len(), 3);
        assert_eq!(file(&place.join("b.yaml")).len(), 0);

        let before = files_below(&place);
        let writer = {
            let place = place.clone();
            tokio::spawn(async move {
                for n in 0..5 {
                    tokio::time::sleep(SETTLED / 4).await;
                    fs::write(place.join("below/deep.yaml"), "1".repeat(n + 2)).unwrap();
                }
            })
        };
        let mut watch = Watch::deep();
        let seen = watch.changed(&place, &before).await;
        assert!(writer.is_finished(), "it was not waited for");
        assert_eq!(seen, files_below(&place));
    }
}
