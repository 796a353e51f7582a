//! `weir run`: runs a pipeline file until it is told to stop, or to the end of what there is.

use std::io::IsTerminal;
use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};

use super::{EXIT_CONFIG, EXIT_DEFECT, EXIT_STORAGE, EXIT_UNAVAILABLE, say};
use crate::appliance::{Appliance, Error};
use crate::config::{self, Look, Overrides};
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

/// Columns of a report where no terminal tells.
const REPORT_WIDTH: usize = 100;

/// Runs, and gives the exit code.
pub async fn run(args: RunArgs) -> u8 {
    let overrides = Overrides { data: args.data.clone(), plugins: args.plugins.clone() };
    let look = Look { color: std::io::stderr().is_terminal() && config::color_wanted(), width: REPORT_WIDTH };
    let loaded = match config::load(&args.path, &overrides) {
        Ok(loaded) => loaded,
        Err(report) => {
            say(&format!("{}{report}", report.render(look)));
            return report.exit_code();
        }
    };
    log_to_stderr(&args);
    let mode = if args.once { Mode::Drain } else { Mode::Follow };
    let appliance = match Appliance::start(loaded.config, mode).await {
        Ok(appliance) => appliance,
        Err(error) => return failed(&error),
    };
    let (stopper, stop) = stop_signal();
    tokio::spawn(stop_on_signal(stopper));
    match appliance.run(stop).await {
        Ok(()) => 0,
        Err(error) => failed(&error),
    }
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
        Error::Plugin(_) | Error::Pipeline { error: pipeline::Error::Plugin(_), .. } => EXIT_CONFIG,
        Error::Source { .. } | Error::Sink { .. } | Error::Engine(_) | Error::Pipeline { .. } => EXIT_UNAVAILABLE,
        Error::Defect(_) => EXIT_DEFECT,
    }
}

fn log_to_stderr(args: &RunArgs) {
    let filter = tracing_subscriber::EnvFilter::try_new(&args.log).unwrap_or_else(|error| {
        say(&format!("weir: --log {}: {error}; logging at level info", args.log));
        tracing_subscriber::EnvFilter::new("info")
    });
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if args.json {
        log.json().init();
    } else {
        log.with_ansi(std::io::stderr().is_terminal() && config::color_wanted()).init();
    }
}
