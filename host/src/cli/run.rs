//! `weir run`: runs a pipeline file until it is told to stop, or to the end of what there is.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::progress::{self, Screen, Snapshot};
use super::reload::Reloader;
use super::{EXIT_CONFIG, EXIT_DEFECT, EXIT_STORAGE, EXIT_UNAVAILABLE, check, say};
use crate::accept::Consent;
use crate::api::Operator;
use crate::appliance::{Appliance, Error};
use crate::config::{self, Loaded, Overrides, Report};
use crate::plugin::Engine;
use crate::plugin::compile::Compiler;
use crate::plugin::sample::Sampler;
use crate::source::Mode;
use crate::stop::{Stopper, stop_signal};
use crate::{pipeline, store};

/// What `weir run` is told.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// A pipeline file, or a directory of them
    pub path: PathBuf,
    /// Process what the sources hold, then end with a summary
    #[arg(long)]
    pub once: bool,
    /// Go over to the pipeline file when it changes, as is done with plugins in their directories
    #[arg(long, short, conflicts_with = "once")]
    pub watch: bool,
    /// Accept plugins that want more than the versions that ran here before
    #[arg(long)]
    pub accept: bool,
    /// A directory with plugins, searched before those of the file; may be given again
    #[arg(long = "plugins", value_name = "DIR")]
    pub plugins: Vec<PathBuf>,
    /// Where streams and positions are kept, instead of the file's `data`
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Print the summary as JSON, and the log as JSON lines
    #[arg(long)]
    pub json: bool,
    /// What the log says: error, warn, info, debug, or a filter such as `info,weir::store=debug`
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log: String,
}

/// Runs, and gives the exit code.
pub async fn run(args: RunArgs) -> u8 {
    run_sampled(args, None).await
}

/// As [`run`], keeping samples of what steps are given where somebody wants them.
pub(super) async fn run_sampled(args: RunArgs, sampler: Option<Arc<Sampler>>) -> u8 {
    let begun = Instant::now();
    let (stopper, stop) = stop_signal();
    // Before anything takes its time: the first process of a container is ended by no signal that it does not ask for.
    tokio::spawn(stop_on_signal(stopper));
    let mut told = stop.clone();
    let started = tokio::select! {
        started = start(&args, sampler) => started,
        () = told.stopped() => Err(0),
    };
    let (appliance, screen, ready) = match started {
        Ok(started) => started,
        Err(code) => return code,
    };
    let (status, stdout) = (appliance.status(), appliance.stdout());
    let operator = (!args.once).then(|| {
        let (engine, control) = (ready.engine, appliance.control());
        let reloader = Reloader::new(args.path.clone(), args.overrides(), engine, control, ready.loaded);
        tokio::spawn(reloader.clone().on_signal());
        tokio::spawn(reloader.clone().on_change(args.watch));
        Arc::new(reloader) as Arc<dyn Operator>
    });
    let result = tokio::select! {
        result = appliance.run(stop, operator) => result,
        () = progress::show(&screen, &status, begun) => Ok(()),
    };
    if args.once {
        summarize(&args, &Snapshot::of(&status, begun).await);
    }
    match result {
        Err(_) if stdout.reader_is_gone() => 0,
        Err(error) => failed(&error),
        Ok(()) => 0,
    }
}

/// Reads and opens all that is needed. What is wrong is printed; the error is the exit code.
async fn start(args: &RunArgs, sampler: Option<Arc<Sampler>>) -> Result<(Appliance, Screen, Ready), u8> {
    let ready = load(args, sampler).await?;
    let records_on_terminal = std::io::stdout().is_terminal() && ready.loaded.config.writes_to_stdout();
    let screen = Screen::new(Box::new(std::io::stderr()), is_terminal() && !records_on_terminal && !args.json);
    start_log(args, &screen);
    let mode = if args.once { Mode::Drain } else { Mode::Follow };
    let (config, plugins) = (ready.loaded.config.clone(), ready.used.loaded.clone());
    let appliance = Appliance::start(config, plugins, mode).await.map_err(|error| failed(&error))?;
    if let Err(error) = check::keep(&ready.loaded, &ready.used, |_| false) {
        tracing::warn!("what plugins were accepted as is not kept: {error}");
    }
    Ok((appliance, screen, ready))
}

/// What an appliance is started with.
struct Ready {
    loaded: Loaded,
    engine: Option<Engine>,
    used: check::Plugins,
}

impl RunArgs {
    fn overrides(&self) -> Overrides {
        Overrides { data: self.data.clone(), plugins: self.plugins.clone() }
    }

    fn consent(&self) -> Consent {
        if self.accept { Consent::Given } else { Consent::Needed }
    }
}

/// Reads and checks the pipeline file and loads its plugins. What is wrong is printed; the error is the exit code.
async fn load(args: &RunArgs, sampler: Option<Arc<Sampler>>) -> Result<Ready, u8> {
    let loaded = config::load(&args.path, &args.overrides()).map_err(|report| check::tell(&report))?;
    let mut problems = loaded.warnings.clone();
    let (mut started, mut used) = (None, check::Plugins::default());
    if loaded.config.uses_plugins() {
        let engine =
            Engine::compiling_aside(Compiler::this_program(), Some(loaded.config.plugin_cache())).map_err(|error| {
                say(&format!("weir: {error}"));
                EXIT_UNAVAILABLE
            })?;
        let engine = match sampler {
            Some(sampler) => engine.sampling(sampler),
            None => engine,
        };
        let mut found = check::plugins(&loaded, &engine).await;
        check::judge(&loaded, &args.path, &mut found, args.consent());
        problems.append(&mut found.problems);
        used = found;
        started = Some(engine);
    }
    let report = Report::new(problems);
    match check::tell(&report) {
        0 => Ok(Ready { loaded, engine: started, used }),
        code => Err(code),
    }
}

fn summarize(args: &RunArgs, at_end: &Snapshot) {
    use std::io::Write;
    if args.json {
        // Where nobody reads it, nobody misses it.
        let _ = std::io::stdout().lock().write_all(progress::summary_json(at_end).as_bytes());
    } else {
        say(progress::summary(at_end).trim_end());
    }
}

fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// The first TERM or INT lets the appliance finish what is on its way; the second one ends the process, which loses
/// nothing either.
async fn stop_on_signal(stopper: Stopper) {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    for time in 0.. {
        let code = tokio::select! {
            _ = term.recv() => 128 + 15,
            _ = int.recv() => 128 + 2,
        };
        if time > 0 {
            std::process::exit(code);
        }
        stopper.stop();
    }
}

fn failed(error: &Error) -> u8 {
    say(&format!("weir: {error}"));
    match error {
        Error::Store(store::Error::Locked { .. }) => EXIT_UNAVAILABLE,
        Error::Store(_) | Error::Pipeline { error: pipeline::Error::Store(_) | pipeline::Error::Commit(_), .. } => {
            EXIT_STORAGE
        }
        Error::Pipeline { error: pipeline::Error::Plugin(_), .. } => EXIT_CONFIG,
        Error::Control(_) | Error::Http(_) | Error::Source { .. } | Error::Sink { .. } | Error::Pipeline { .. } => {
            EXIT_UNAVAILABLE
        }
        Error::Defect(_) => EXIT_DEFECT,
    }
}

fn start_log(args: &RunArgs, screen: &Screen) {
    // What lapin has to say, the sources and sinks say in words of their own.
    let filter = format!("lapin=off,{}", args.log);
    let filter = tracing_subscriber::EnvFilter::try_new(filter).unwrap_or_else(|error| {
        say(&format!("weir: --log {}: {error}; logging at level info", args.log));
        tracing_subscriber::EnvFilter::new("lapin=off,info")
    });
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(screen.clone()).with_target(false);
    if args.json {
        log.json().init();
    } else {
        log.with_ansi(is_terminal() && config::color_wanted()).init();
    }
}
