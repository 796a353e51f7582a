//! Weir into databases and Kudu, beside their bulk tools and Kudu's Java client: builds the programs, and starts the servers.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::compare::fresh;
use super::java::Program;
use super::{BenchArgs, brokers, publish};
use crate::error::{Context, Result};
use crate::process;
use crate::services::{ForTests, KUDU_VERSION, Name};
use crate::workspace::Workspace;

/// Kudu's Java client, with the same rows.
const KUDU_ROWS: Program = Program {
    name: "kudu-client",
    version: KUDU_VERSION,
    what: "10 MB",
    // It calls the second and third optional, and does not run without them.
    libraries: &[
        ("org.apache.kudu", "kudu-client", KUDU_VERSION),
        ("com.stumbleupon", "async", "1.4.1"),
        ("org.slf4j", "slf4j-nop", "1.7.36"),
    ],
    source: "tests/bench/brokers/sinks/KuduRows.java",
};

/// Measures, and publishes what the program wrote.
pub fn run(workspace: &Workspace, binary: &Path, arguments: &BenchArgs) -> Result<()> {
    let program = brokers::program(workspace)?;
    let directory = fresh(&workspace.target.join("bench/sinks"))?;
    let classes = KUDU_ROWS.compile(workspace, &directory)?;
    let servers = ForTests::of(workspace, &[Name::Mariadb, Name::Postgres, Name::Kudu])?;
    let mut measure = Command::new(program);
    measure.arg("sinks").arg("--weir").arg(binary).arg("--services").arg(&servers.facts);
    measure.args(["--classes", &classes]);
    measure.arg("--directory").arg(&directory).arg("--runs").arg(arguments.runs.to_string());
    measure.arg("--records").arg(arguments.lines.to_string());
    let page = directory.join("page.md");
    process::run(measure.arg("--page").arg(&page))?;
    let title = "Into databases and Kudu, beside their bulk tools";
    publish(workspace, title, &fs::read_to_string(&page).context(|| page.display())?)
}
