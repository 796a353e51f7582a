//! Weir into databases and Kudu, beside their bulk tools: builds the program that measures, and starts the servers for it.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::compare::fresh;
use super::{BenchArgs, brokers, publish};
use crate::error::{Context, Result};
use crate::process;
use crate::services::{ForTests, Name};
use crate::workspace::Workspace;

/// Measures, and publishes what the program wrote.
pub fn run(workspace: &Workspace, binary: &Path, arguments: &BenchArgs) -> Result<()> {
    let program = brokers::program(workspace)?;
    let directory = fresh(&workspace.target.join("bench/sinks"))?;
    let servers = ForTests::of(workspace, &[Name::Mariadb, Name::Postgres, Name::Kudu])?;
    let mut measure = Command::new(program);
    measure.arg("sinks").arg("--weir").arg(binary).arg("--services").arg(&servers.facts);
    measure.arg("--directory").arg(&directory).arg("--runs").arg(arguments.runs.to_string());
    measure.arg("--records").arg(arguments.lines.to_string());
    let page = directory.join("page.md");
    process::run(measure.arg("--page").arg(&page))?;
    let title = "Into databases and Kudu, beside their bulk tools";
    publish(workspace, title, &fs::read_to_string(&page).context(|| page.display())?)
}
