//! Weir between real brokers, beside plain clients: builds the program that measures, and starts the servers for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::compare::fresh;
use super::{BenchArgs, publish};
use crate::error::{Context, Result};
use crate::process;
use crate::say;
use crate::services::ForTests;
use crate::workspace::Workspace;

/// Of the lines that are asked for, those that are sent through RabbitMQ: one in so many.
const LINES_PER_MESSAGE: u64 = 5;

/// Builds the program that measures. Returns its path.
pub fn program(workspace: &Workspace) -> Result<PathBuf> {
    say::heading("the plain clients");
    let mut cargo = process::cargo(&workspace.root);
    process::run(cargo.args(["build", "--release", "--locked", "--workspace", "--example", "bench-brokers"]))?;
    Ok(workspace.target.join("release/examples/bench-brokers"))
}

/// Measures, and publishes what the program wrote.
pub fn run(workspace: &Workspace, binary: &Path, arguments: &BenchArgs) -> Result<()> {
    let program = program(workspace)?;
    let directory = fresh(&workspace.target.join("bench/brokers"))?;
    let servers = ForTests::up(workspace)?;
    let mut measure = Command::new(program);
    measure.arg("measure").arg("--weir").arg(binary).arg("--services").arg(&servers.facts);
    measure.arg("--directory").arg(&directory).arg("--runs").arg(arguments.runs.to_string());
    measure.arg("--records").arg(arguments.lines.to_string());
    measure.arg("--messages").arg((arguments.lines / LINES_PER_MESSAGE).to_string());
    let page = directory.join("page.md");
    process::run(measure.arg("--page").arg(&page))?;
    publish(workspace, "Between brokers, beside plain clients", &fs::read_to_string(&page).context(|| page.display())?)
}
