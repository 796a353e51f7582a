//! Reading the pipeline file and the plugins again while they run: because somebody asks for it, or because they changed.
//!
//! What becomes of it is said by `appliance/reload.rs`. Here is only what to read, and when.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, OnceCell};

use super::state::Data;
use super::watch::{self, Followed, Watch};
use super::{EXIT_CONFIG, EXIT_UNAVAILABLE, check, say};
use crate::accept::Consent;
use crate::api::{Operator, VersionStatus, client};
use crate::appliance::reload::{Control, Reloaded, Wanted};
use crate::config::{self, Loaded, Look, Overrides};
use crate::dlq::Letter;
use crate::dlq::capsule::Used;
use crate::plugin::Engine;
use crate::plugin::compile::Compiler;

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
        let mut seen = self.see().await;
        // What changed while the appliance started.
        self.go_over(with_files, false, Consent::Needed).await;
        // Directories may come and go with the configuration, and with their mounts.
        let mut watch = Watch::flat();
        loop {
            let now = watch.changed(&*self, &seen).await;
            if with_files || now.plugins != seen.plugins {
                self.go_over(with_files, false, Consent::Needed).await;
            }
            seen = now;
        }
    }
}

#[async_trait]
impl Followed for Reloader {
    type Seen = Seen;

    /// Those of plugins and that of the pipeline file.
    async fn places(&self) -> Vec<PathBuf> {
        let parent =
            self.path.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
        let files = if self.path.is_dir() { Some(self.path.as_path()) } else { parent };
        let plugins = self.last.lock().await.config.plugins.clone();
        plugins.into_iter().chain(files.map(Path::to_path_buf)).filter(|place| place.is_dir()).collect()
    }

    async fn see(&self) -> Seen {
        let plugins = self.last.lock().await.config.plugins.clone();
        let files =
            if self.path.is_dir() { watch::files_in(&self.path, &["yaml", "yml"]) } else { watch::file(&self.path) };
        Seen { plugins: plugins.iter().flat_map(|directory| watch::files_in(directory, &["wasm"])).collect(), files }
    }
}

#[async_trait]
impl Operator for Arc<Reloader> {
    async fn reload(&self, consent: Consent) -> Reloaded {
        // It goes on where nobody waits for the answer any more.
        let reloader = self.clone();
        let reloading = tokio::spawn(async move { reloader.go_over(true, true, consent).await });
        reloading.await.unwrap_or_else(|defect| self.control.refuse(&defect.to_string()))
    }

    fn versions(&self) -> Vec<VersionStatus> {
        self.control.versions()
    }

    fn roll_back(&self, step: &str) -> Result<String, String> {
        self.control.roll_back(step)
    }

    async fn used(&self, letter: &Letter) -> Result<Used, String> {
        let config = self.last.lock().await.config.clone();
        super::dlq::used(&config, self.engine.get(), &self.control, letter)
    }
}

/// All that is followed, as it is.
#[derive(PartialEq)]
pub(super) struct Seen {
    plugins: watch::Seen,
    files: watch::Seen,
}
