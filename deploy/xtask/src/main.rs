//! The developer commands: `cargo xtask COMMAND`. Only what every command needs is a dependency, so that the first
//! command in a fresh clone starts within seconds.

mod apt;
mod bench;
mod build;
mod demo;
mod error;
mod image;
mod languages;
mod maven;
mod plugins;
mod process;
mod say;
mod services;
mod story;
mod structure;
mod test;
mod toolchain;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use bench::BenchArgs;
use build::Profile;
use error::Result;
use image::ImageArgs;
use plugins::Which;
use services::ServicesArgs;
use story::StoryArgs;
use test::TestArgs;
use workspace::Workspace;

/// The developer commands of Weir.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Builds everything and runs an example that explains itself. Begin here.
    Demo,
    /// Runs an example with the servers that it speaks to, and shows what arrives there.
    Story(StoryArgs),
    /// Builds the stock plugins to components, in plugins/ of the target directory.
    Plugins {
        /// Builds the guests that the tests use as well, in plugins-test/.
        #[arg(long)]
        test: bool,
    },
    /// Builds the plugins and the weir binary that carries them.
    Build {
        /// Optimised: slower to build, faster to run.
        #[arg(long)]
        release: bool,
    },
    /// Builds the release program and makes a container image of it.
    Image(ImageArgs),
    /// Installs what the tests need and runs every check; stops at the first stage that fails.
    Test(TestArgs),
    /// Runs real servers on this machine, for tests and to try things out: up, down, kill, start, status.
    Services(ServicesArgs),
    /// Writes the SDK's bindings anew, after a change in wit/.
    Bindings,
    /// Measures Weir beside its peers and in its parts, and writes tests/bench/README.md.
    Bench(BenchArgs),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::error(error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let workspace = Workspace::find()?;
    match command {
        Command::Demo => demo::run(&workspace),
        Command::Story(arguments) => story::run(&workspace, &arguments),
        Command::Plugins { test } => plugins::build(&workspace, if test { Which::StockAndTests } else { Which::Stock }),
        Command::Build { release } => {
            let binary = build::build(&workspace, if release { Profile::Release } else { Profile::Dev })?;
            say::line(binary.display());
            Ok(())
        }
        Command::Image(arguments) => image::run(&workspace, &arguments),
        Command::Test(arguments) => test::run(&workspace, &arguments),
        Command::Services(arguments) => services::run(&workspace, &arguments),
        Command::Bindings => {
            let mut cargo = process::cargo(&workspace.root);
            process::run(cargo.args(["run", "--quiet", "--package", "weir-bindgen"]))
        }
        Command::Bench(arguments) => bench::run(&workspace, &arguments),
    }
}
