//! The `weir` command: what it is told, what it prints, how it ends.
//!
//! Exit codes are those of sysexits.h: 0 all went well, 64 the command line is wrong, 69 something that is needed is not
//! there (a file, a port, a running appliance), 70 a defect, 74 the disk failed, 78 the configuration is wrong.

pub mod bundle;
pub mod check;
pub mod inspect;
pub mod progress;
pub mod reload;
pub mod run;
pub mod state;
pub mod tap;

use clap::{Parser, Subcommand};

use crate::plugin::compile;

/// The command line is wrong.
pub const EXIT_USAGE: u8 = 64;
/// Something that is needed is not there.
pub const EXIT_UNAVAILABLE: u8 = 69;
/// A defect of Weir.
pub const EXIT_DEFECT: u8 = 70;
/// The disk failed.
pub const EXIT_STORAGE: u8 = 74;
/// The configuration is wrong.
pub const EXIT_CONFIG: u8 = 78;

/// Streams of records through sandboxed plugins.
#[derive(Debug, Parser)]
#[command(name = "weir", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a pipeline file, or all the pipeline files of a directory.
    Run(run::RunArgs),
    /// Checks a pipeline file without running it.
    Check(check::CheckArgs),
    /// Shows the records of a stream of a running appliance as they come.
    Tap(tap::TapArgs),
    /// Looks at what pipelines remember, and moves it.
    #[command(subcommand)]
    State(state::StateCommand),
    /// Has a running appliance go over to its pipeline file and plugins as they are now.
    Reload(reload::ReloadArgs),
    /// Brings back what a step of a running appliance ran before.
    Rollback(reload::RollbackArgs),
    /// Compiles a component from standard input to standard output, for another `weir`.
    #[command(name = compile::COMMAND, hide = true)]
    CompilePlugin(compile::Bounds),
    /// Looks at plugins.
    #[command(subcommand)]
    Plugin(PluginCommand),
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    /// Shows what a plugin is: its world, what it imports and exports, its size and hash.
    Inspect(inspect::InspectArgs),
    /// Makes a `weir` that carries plugins inside, compiled, as this one carries the stock plugins.
    Bundle(bundle::BundleArgs),
}

/// Runs the command that the process was started with; returns the exit code.
pub fn main() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too; they are no errors. Where nobody reads, there is nobody to tell.
            let _ = error.print();
            return if error.use_stderr() { EXIT_USAGE } else { 0 };
        }
    };
    if let Command::CompilePlugin(bounds) = cli.command {
        return match compile::serve(bounds) {
            Ok(()) => 0,
            Err(error) => {
                say(&error.to_string());
                if matches!(error, compile::Failed::Invalid(_)) { compile::INVALID } else { EXIT_UNAVAILABLE }
            }
        };
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("weir: no threads can be started: {error}"));
            return EXIT_UNAVAILABLE;
        }
    };
    let code = runtime.block_on(async {
        match cli.command {
            Command::Run(args) => run::run(args).await,
            Command::Check(args) => check::run(args).await,
            Command::Tap(args) => tap::run(args).await,
            Command::State(command) => state::run(command).await,
            Command::CompilePlugin(_) => EXIT_DEFECT,
            Command::Reload(args) => reload::reload(args).await,
            Command::Rollback(args) => reload::roll_back(args).await,
            Command::Plugin(PluginCommand::Inspect(args)) => inspect::run(args).await,
            Command::Plugin(PluginCommand::Bundle(args)) => bundle::run(args).await,
        }
    });
    // What still reads standard input cannot be interrupted, and need not be waited for.
    runtime.shutdown_background();
    code
}

/// Writes a line to standard error. Where that is closed nobody is left to tell.
fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
