//! The `weir` command: what it is told, what it prints, how it ends.
//!
//! Exit codes are those of sysexits.h: 0 all went well, 1 a test failed or a plugin does not compile, 64 the command line is wrong, 69 something that is needed is not
//! there (a file, a port, a running appliance), 70 a defect, 74 the disk failed, 78 the configuration is wrong.

pub mod author;
pub mod bundle;
pub mod check;
pub mod dlq;
pub mod doctor;
pub mod graph;
pub mod health;
pub mod inspect;
pub mod lock;
pub mod progress;
pub mod reload;
pub mod run;
mod schema;
pub mod state;
pub mod tap;
pub mod token;
pub mod top;
mod watch;

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
    /// Runs a pipeline file and goes over to each change of its plugins' sources, showing what it changes.
    Dev(author::dev::DevArgs),
    /// Checks a pipeline file without running it.
    Check(check::CheckArgs),
    /// Shows the records of a stream of a running appliance as they come.
    Tap(tap::TapArgs),
    /// Runs the tests of a pipeline file.
    Test(author::pipeline_test::PipelineTestArgs),
    /// Looks at what pipelines remember, and moves it.
    #[command(subcommand)]
    State(state::StateCommand),
    /// Pins the plugins of a pipeline file in `weir.lock`, as they are now.
    Lock(lock::LockArgs),
    /// Looks at dead letters, and has them replayed or drops them.
    #[command(subcommand)]
    Dlq(dlq::DlqCommand),
    /// Has a running appliance go over to its pipeline file and plugins as they are now.
    Reload(reload::ReloadArgs),
    /// Brings back what a step of a running appliance ran before.
    Rollback(reload::RollbackArgs),
    /// Says whether a running appliance is well: exit code 0, or 69 with what is not. For container health checks.
    Health(health::HealthArgs),
    /// Shows what a running appliance does, drawn anew each second.
    Top(top::TopArgs),
    /// Draws what a pipeline file describes.
    Graph(graph::GraphArgs),
    /// Looks at everything that can keep an appliance from working, and says what to do about it.
    Doctor(doctor::DoctorArgs),
    /// Prints the JSON Schema of pipeline files, for editors.
    Schema,
    /// Prints what a shell needs to complete commands.
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Makes tokens for the HTTP API.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Compiles a component from standard input to standard output, for another `weir`.
    #[command(name = compile::COMMAND, hide = true)]
    CompilePlugin(compile::Bounds),
    /// Makes plugins, and looks at them.
    #[command(subcommand)]
    Plugin(PluginCommand),
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    /// Begins a plugin: a crate that builds and passes its tests.
    New(author::new::NewArgs),
    /// Builds a plugin's crate to a component.
    Build(author::build::BuildArgs),
    /// Runs a plugin's cases in the sandbox, and compares what comes out with what is expected.
    Test(author::test::TestArgs),
    /// Measures what a record costs in a plugin, beside one that does nothing.
    Bench(author::bench::BenchArgs),
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
            Command::Dev(args) => author::dev::run(args).await,
            Command::Check(args) => check::run(args).await,
            Command::Tap(args) => tap::run(args).await,
            Command::Top(args) => top::run(args).await,
            Command::Graph(args) => graph::run(&args),
            Command::Doctor(args) => doctor::run(args).await,
            Command::Schema => schema::schema(),
            Command::Completions { shell } => schema::completions(shell),
            Command::Token(command) => token::run(&command),
            Command::Test(args) => author::pipeline_test::run(args).await,
            Command::State(command) => state::run(command).await,
            Command::Lock(args) => lock::run(args).await,
            Command::Dlq(command) => dlq::run(command).await,
            Command::CompilePlugin(_) => EXIT_DEFECT,
            Command::Reload(args) => reload::reload(args).await,
            Command::Health(args) => health::run(args).await,
            Command::Rollback(args) => reload::roll_back(args).await,
            Command::Plugin(PluginCommand::New(args)) => author::new::run(args).await,
            Command::Plugin(PluginCommand::Build(args)) => author::build::run(args).await,
            Command::Plugin(PluginCommand::Test(args)) => author::test::run(args).await,
            Command::Plugin(PluginCommand::Bench(args)) => author::bench::run(args).await,
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
