//! Clients that are not Weir's: what tests send with and read back with, and the database that they check results with.

use std::fs;
use std::process::Command;

use super::facts::Fact;
use crate::apt;
use crate::error::{Context, Result};
use crate::process;
use crate::say;
use crate::workspace::Workspace;

const LIBRARIES: [&str; 6] = [
    "pika==1.4.4",
    "confluent-kafka==2.16.1",
    "duckdb==2.0.0",
    "prometheus-client==0.26.0",
    // With the schemas of Kubernetes and of Compose.
    "kubernetes-validate==1.37.0",
    "compose-spec==0.2.1",
];

/// Installs the clients that are missing; Python's lie in an environment of their own in the cache.
pub fn install(workspace: &Workspace) -> Result<Vec<Fact>> {
    let _lock = workspace.lock("clients")?;
    if process::on_path("kcat").is_none() {
        apt::install_named(&["kcat"], "kcat, which reads Kafka's topics in tests")?;
    }
    let versions = LIBRARIES.join("+").replace("==", "-");
    let environment = workspace.cache.join("clients").join(versions);
    let python = environment.join("bin/python");
    let complete = environment.join("complete");
    if !complete.is_file() {
        say::aside(
            "Installing pika and confluent-kafka, which send and read in tests, DuckDB and prometheus-client, which check\n\
             results, and the schemas of Kubernetes and Compose.",
        );
        make_environment(&environment.display().to_string())?;
        let mut pip = Command::new(&python);
        process::run_aside(
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(LIBRARIES),
        )?;
        fs::write(&complete, "").context(|| complete.display())?;
    }
    Ok(vec![Fact::text("python", python.display().to_string()), Fact::text("kcat", "kcat")])
}

/// Makes an environment of Python, and installs Python where it is missing.
pub fn make_environment(path: &str) -> Result<()> {
    let make = || process::output(Command::new("python3").args(["-m", "venv", "--clear", path])).map(drop);
    if process::on_path("python3").is_none() || make().is_err() {
        apt::install_named(&["python3", "python3-venv"], "Python, whose clients the tests use")?;
    } else {
        return Ok(());
    }
    make()
}
