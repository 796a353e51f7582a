//! `cargo xtask test`: every check, in stages that can be run one at a time.

use std::env;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::error::{Context, Error, Result};
use crate::plugins::{self, Which};
use crate::process;
use crate::say;
use crate::services::ForTests;
use crate::structure;
use crate::tools;
use crate::workspace::Workspace;

/// What is tested.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Runs only tests whose names contain this (with the plugin builds that they need).
    filter: Option<String>,
    /// Runs one stage alone.
    #[arg(long, value_enum, conflicts_with = "filter")]
    only: Option<Stage>,
    /// Lets the tests that can go on for longer do so: more crashes, more seeds.
    #[arg(long)]
    long: bool,
}

/// A stage, in the order in which they run: those that fail soonest come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// The code is formatted.
    Fmt,
    /// The structure rules hold.
    Structure,
    /// The dependencies are allowed: versions, licences, sources.
    Deny,
    /// The plugins build to components.
    Plugins,
    /// The lints are silent.
    Clippy,
    /// Unit tests and end-to-end tests.
    Test,
    /// The examples in the documentation.
    Doc,
}

/// What tests that can go on for longer are told: ten times what they do otherwise.
const LONG: [(&str, &str); 4] =
    [("WEIR_CRASH_KILLS", "600"), ("WEIR_BROKER_KILLS", "400"), ("WEIR_SIM_SEEDS", "5000"), ("WEIR_CASES", "3000")];

/// Runs the stages that were asked for, and stops at the first that fails.
pub fn run(workspace: &Workspace, arguments: &TestArgs) -> Result<()> {
    for directory in [workspace.stock_plugins(), workspace.test_plugins()] {
        fs::create_dir_all(&directory).context(|| directory.display())?;
    }
    let mut times = Vec::new();
    for stage in stages(arguments) {
        let name = name(stage);
        say::heading(&name);
        let begun = Instant::now();
        let result = run_stage(workspace, stage, arguments);
        times.push((name.clone(), begun.elapsed()));
        if let Err(error) = result {
            tell_times(&times);
            return Err(Error::new(format_args!("stage {name}: {error}")));
        }
    }
    tell_times(&times);
    say::line("all passed");
    Ok(())
}

fn stages(arguments: &TestArgs) -> Vec<Stage> {
    match (&arguments.only, &arguments.filter) {
        (Some(stage), _) => vec![*stage],
        (None, Some(_)) => vec![Stage::Plugins, Stage::Test],
        (None, None) => Stage::value_variants().to_vec(),
    }
}

fn run_stage(workspace: &Workspace, stage: Stage, arguments: &TestArgs) -> Result<()> {
    match stage {
        Stage::Fmt => process::run(process::cargo(&workspace.root).args(["fmt", "--all", "--check"])),
        Stage::Structure => structure::check(&workspace.root),
        Stage::Deny => deny(workspace),
        Stage::Plugins => plugins::build(workspace, Which::StockAndTests),
        Stage::Clippy => {
            let mut cargo = cargo(workspace);
            process::run(cargo.args(["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]))
        }
        Stage::Test => test(workspace, arguments),
        Stage::Doc => process::run(cargo(workspace).args(["test", "--locked", "--workspace", "--doc"])),
    }
}

fn deny(workspace: &Workspace) -> Result<()> {
    let mut command = Command::new(tools::cargo_deny(workspace)?);
    command.current_dir(&workspace.root);
    process::run(command.args(["--locked", "check", "bans", "licenses", "sources"]))
}

/// The tests talk to real servers, which run as long as the tests do. They find them, and this program, by two variables.
fn test(workspace: &Workspace, arguments: &TestArgs) -> Result<()> {
    tools::containers(workspace)?;
    let servers = ForTests::up(workspace)?;
    let mut cargo = cargo(workspace);
    cargo.env("WEIR_SERVICES", &servers.facts);
    cargo.env("WEIR_XTASK", env::current_exe().context(|| "the path of this program")?);
    if arguments.long {
        for (variable, value) in LONG {
            cargo.env(variable, value);
        }
    }
    cargo.args(["test", "--locked", "--workspace", "--lib", "--bins", "--tests", "--examples", "--no-fail-fast"]);
    if let Some(filter) = &arguments.filter {
        cargo.args(["--", filter]);
    }
    process::run(&mut cargo)
}

/// Cargo with the plugins' directories named, for the tests that load them.
fn cargo(workspace: &Workspace) -> Command {
    let mut cargo = process::cargo(&workspace.root);
    cargo.env("WEIR_STOCK_PLUGINS", workspace.stock_plugins());
    cargo.env("WEIR_TEST_PLUGINS", workspace.test_plugins());
    cargo
}

fn name(stage: Stage) -> String {
    stage.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn tell_times(times: &[(String, Duration)]) {
    say::heading("times");
    for (name, time) in times {
        say::line(format_args!("{name:<10} {:>7.1} s", time.as_secs_f64()));
    }
    let total: Duration = times.iter().map(|(_, time)| *time).sum();
    say::line(format_args!("{:<10} {:>7.1} s", "total", total.as_secs_f64()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_runs_the_tests_and_what_they_need() {
        let arguments = TestArgs { filter: Some("batch".to_owned()), only: None, long: false };
        assert_eq!(stages(&arguments), [Stage::Plugins, Stage::Test]);
    }

    #[test]
    fn the_variables_for_long_runs_are_those_that_the_tests_read() {
        let tests = [
            include_str!("../../../tests/e2e/crash.rs"),
            include_str!("../../../tests/e2e/brokers/kill.rs"),
            include_str!("../../../tests/simulation/main.rs"),
            include_str!("../../../host/tests/plugins/stateful.rs"),
        ];
        for (variable, _) in LONG {
            assert!(tests.iter().any(|text| text.contains(&format!("\"{variable}\""))), "no test reads {variable}");
        }
    }

    #[test]
    fn one_stage_is_run_alone_and_all_by_default() {
        let one = TestArgs { filter: None, only: Some(Stage::Clippy), long: false };
        assert_eq!(stages(&one), [Stage::Clippy]);
        let all = TestArgs { filter: None, only: None, long: false };
        assert_eq!(stages(&all).len(), Stage::value_variants().len());
    }
}
