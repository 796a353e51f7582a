//! Reading the pipeline file and the plugins again while they run: because somebody asks for it, or because they changed.
//!
//! What becomes of it is said by `appliance/reload.rs`. Here is only what to read, and when.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, Notify, OnceCell};

use super::state::Data;
use super::{EXIT_CONFIG, EXIT_UNAVAILABLE, check, say};
use crate::accept::Consent;
use crate::api::{Operator, VersionStatus, client};
use crate::appliance::reload::{Control, Reloaded, Wanted};
use crate::config::{self, Loaded, Look, Overrides};
use crate::dlq::Letter;
use crate::dlq::capsule::Used;
use crate::plugin::Engine;
use crate::plugin::compile::Compiler;

/// How often files are looked at where the system does not tell of changes: mounted volumes may not.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A file that has not changed for so long is taken to be written whole.
const SETTLED: Duration = Duration::from_millis(200);
/// Columns of a report in an answer.
const WIDTH: usize = 100;

/// What `weir reload` is told.
#[derive(Debug, clap::Args)]
pub struct ReloadArgs {
    /// Accept plugins that want more than the versions before
    #[arg(long)]
    pub accept: bool,
    /// Print what became of each pipeline as JSON
    #[arg(long)]
    pub json: bool,
    /// Where the appliance runs
    #[command(flatten)]
    pub data: Data,
}

/// What `weir rollback` is told.
#[derive(Debug, clap::Args)]
pub struct RollbackArgs {
    /// The step: STEP, or PIPELINE/STEP
    pub step: String,
    /// Where the appliance runs
    #[command(flatten)]
    pub data: Data,
}

/// Asks a running appliance to go over to what its files say now; prints what became of it, and gives the exit code.
pub async fn reload(args: ReloadArgs) -> u8 {
    use std::io::Write as _;
    let consent = if args.accept { Consent::Given } else { Consent::Needed };
    match client::reload(args.data.directory(), consent).await {
        Ok(reloaded) => {
            let text = if args.json {
                // Text always can be written.
                serde_json::to_string(&reloaded).unwrap_or_default() + "\n"
            } else {
                told(&reloaded)
            };
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            if reloaded.is_refused() { EXIT_CONFIG } else { 0 }
        }
        Err(error) => {
            say(&format!("weir: {error}"));
            EXIT_UNAVAILABLE
        }
    }
}

/// Asks a running appliance to bring back what a step ran before; gives the exit code.
pub async fn roll_back(args: RollbackArgs) -> u8 {
    match client::roll_back(args.data.directory(), &args.step).await {
        Ok(step) => {
            say(&format!("{step} runs what it ran before"));
            0
        }
        Err(error) => {
            say(&format!("weir: {error}"));
            EXIT_UNAVAILABLE
        }
    }
}

/// What became of each pipeline, for people.
fn told(reloaded: &Reloaded) -> String {
    let mut text = String::new();
    if let Some(problem) = &reloaded.problem {
        text.push_str(&format!("nothing was reloaded: {}\n", problem.trim_end()));
        return text;
    }
    let width = reloaded.pipelines.iter().map(|of| of.name.chars().count()).max().unwrap_or(0);
    for of in &reloaded.pipelines {
        let why = if of.why.is_empty() { String::new() } else { format!(": {}", of.why) };
        text.push_str(&format!("{:width$}  {}{why}\n", of.name, of.change));
    }
    text
}

/// Reads pipeline files and plugins again for a running appliance.
pub(super) struct Reloader {
    path: PathBuf,
    overrides: Overrides,
    engine: OnceCell<Engine>,
    control: Control,
    /// What was read last. One reload at a time.
    last: Mutex<Loaded>,
}

impl Reloader {
    pub(super) fn new(
        path: PathBuf,
        overrides: Overrides,
        engine: Option<Engine>,
        control: Control,
        loaded: Loaded,
    ) -> Arc<Self> {
        let engine = OnceCell::new_with(engine);
        Arc::new(Reloader { path, overrides, engine, control, last: Mutex::new(loaded) })
    }

    /// Goes over to what the files say now. Without `with_files` to what the plugins are now, under the settings that were
    /// read last.
    async fn go_over(&self, with_files: bool, is_asked_for: bool, consent: Consent) -> Reloaded {
        let mut last = self.last.lock().await;
        let loaded = if with_files {
            match config::load(&self.path, &self.overrides) {
                Ok(loaded) => loaded,
                Err(report) => return self.control.refuse(&report.render(Look { color: false, width: WIDTH })),
            }
        } else {
            last.clone()
        };
        let mut found = if loaded.config.uses_plugins() {
            let engine = self
                .engine
                .get_or_try_init(async || {
                    Engine::compiling_aside(Compiler::this_program(), Some(loaded.config.plugin_cache()))
                })
                .await;
            match engine {
                Ok(engine) => check::plugins(&loaded, engine).await,
                Err(error) => return self.control.refuse(&error.to_string()),
            }
        } else {
            check::Plugins::default()
        };
        check::judge(&loaded, &self.path, &mut found, consent);
        let (config, plugins, broken) = (loaded.config.clone(), found.loaded.clone(), found.broken.clone());
        let reloaded = self.control.reload(Wanted { config, plugins, broken, is_asked_for }).await;
        if reloaded.problem.is_none() {
            if let Err(error) = check::keep(&loaded, &found, |pipeline| reloaded.refuses(pipeline)) {
                tracing::warn!("what plugins were accepted as is not kept: {error}");
            }
            *last = loaded;
        }
        reloaded
    }

    /// Goes over to what the files say whenever the process is sent HUP.
    pub(super) async fn on_signal(self: Arc<Self>) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
        while hangup.recv().await.is_some() {
            self.go_over(true, true, Consent::Needed).await;
        }
    }

    /// Goes over to plugins that change, and to pipeline files too where that is wanted.
    pub(super) async fn on_change(self: Arc<Self>, with_files: bool) {
        let changed = Arc::new(Notify::new());
        let mut seen = self.seen().await;
        // What changed while the appliance started.
        self.go_over(with_files, false, Consent::Needed).await;
        let mut watcher = None;
        loop {
            // Directories may come and go with the configuration, and with their mounts.
            let places = self.places().await;
            if watcher.as_ref().is_none_or(|(watched, _)| *watched != places) {
                watcher = watch(&places, &changed).map(|watcher| (places, watcher));
            }
            let _ = tokio::time::timeout(LOOK_EVERY, changed.notified()).await;
            tokio::time::sleep(SETTLED).await;
            let mut now = self.seen().await;
            if now == seen {
                continue;
            }
            loop {
                tokio::time::sleep(SETTLED).await;
                let later = self.seen().await;
                if later == now {
                    break;
                }
                now = later;
            }
            if with_files || now.plugins != seen.plugins {
                self.go_over(with_files, false, Consent::Needed).await;
            }
            seen = now;
        }
    }

    /// The directories to watch, those of plugins and that of the pipeline file.
    async fn places(&self) -> Vec<PathBuf> {
        let parent =
            self.path.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
        let files = if self.path.is_dir() { Some(self.path.as_path()) } else { parent };
        let plugins = self.last.lock().await.config.plugins.clone();
        plugins.into_iter().chain(files.map(Path::to_path_buf)).filter(|place| place.is_dir()).collect()
    }

    async fn seen(&self) -> Seen {
        let plugins = self.last.lock().await.config.plugins.clone();
        let files = if self.path.is_dir() {
            looks(&self.path, &["yaml", "yml"])
        } else {
            look(&self.path).into_iter().collect()
        };
        Seen { plugins: plugins.iter().flat_map(|directory| looks(directory, &["wasm"])).collect(), files }
    }
}

/// The reloader as the control socket knows it.
pub(super) struct ByRequest(pub(super) Arc<Reloader>);

#[async_trait]
impl Operator for ByRequest {
    async fn reload(&self, consent: Consent) -> Reloaded {
        // It goes on where nobody waits for the answer any more.
        let reloader = self.0.clone();
        let reloading = tokio::spawn(async move { reloader.go_over(true, true, consent).await });
        reloading.await.unwrap_or_else(|defect| self.0.control.refuse(&defect.to_string()))
    }

    fn versions(&self) -> Vec<VersionStatus> {
        self.0.control.versions()
    }

    fn roll_back(&self, step: &str) -> Result<String, String> {
        self.0.control.roll_back(step)
    }

    async fn used(&self, letter: &Letter) -> Result<Used, String> {
        let config = self.0.last.lock().await.config.clone();
        super::dlq::used(&config, &self.0.control, letter)
    }
}

/// Files as they are.
#[derive(PartialEq)]
struct Seen {
    plugins: BTreeMap<PathBuf, Looks>,
    files: BTreeMap<PathBuf, Looks>,
}

/// By which a file is taken to be the same: length, time of its last change, inode.
type Looks = (u64, Option<SystemTime>, u64);

fn look(path: &Path) -> Option<(PathBuf, Looks)> {
    let of = |metadata: Metadata| (metadata.len(), metadata.modified().ok(), metadata.ino());
    std::fs::metadata(path).ok().map(|metadata| (path.to_path_buf(), of(metadata)))
}

fn looks(directory: &Path, extensions: &[&str]) -> BTreeMap<PathBuf, Looks> {
    let Ok(entries) = std::fs::read_dir(directory) else { return BTreeMap::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_meant = |path: &PathBuf| path.extension().is_some_and(|of| extensions.iter().any(|wanted| of == *wanted));
    paths.filter(is_meant).filter_map(|path| look(&path)).collect()
}

/// Has the system tell of changes, where it can.
fn watch(places: &[PathBuf], changed: &Arc<Notify>) -> Option<RecommendedWatcher> {
    let changed = changed.clone();
    // To look at a directory is to open it, of which the system tells as well.
    let is_change =
        |event: &notify::Result<notify::Event>| event.as_ref().map_or(true, |event| !event.kind.is_access());
    let tell = move |event| {
        if is_change(&event) {
            changed.notify_one();
        }
    };
    let mut watcher = notify::recommended_watcher(tell).ok()?;
    for place in places {
        if let Err(error) = watcher.watch(place, RecursiveMode::NonRecursive) {
            tracing::debug!("{} is looked at every {LOOK_EVERY:?}: {error}", place.display());
        }
    }
    Some(watcher)
}
