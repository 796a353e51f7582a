//! Weir beside Kafka Streams: fetches it, compiles its jobs, builds the guest that counts, and starts the servers.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::compare::fresh;
use super::java::Program;
use super::{BenchArgs, brokers, publish};
use crate::error::{Context, Result};
use crate::plugins::{self, Which};
use crate::process;
use crate::services::{ForTests, KAFKA_VERSION};
use crate::workspace::Workspace;

/// The jobs, as programs of Kafka Streams.
const JOBS: Program = Program {
    name: "kafka-streams",
    version: KAFKA_VERSION,
    what: "100 MB",
    libraries: &[("org.apache.kafka", "kafka-streams", KAFKA_VERSION)],
    source: "tests/bench/brokers/streams/Streams.java",
};

/// Records for each line that is asked for: with a million, no program is done within seconds.
const RECORDS_PER_LINE: u64 = 5;

/// Measures, and publishes what the program wrote.
pub fn run(workspace: &Workspace, binary: &Path, arguments: &BenchArgs) -> Result<()> {
    plugins::build(workspace, Which::StockAndTests)?;
    let program = brokers::program(workspace)?;
    let directory = fresh(&workspace.target.join("bench/streams"))?;
    let classes = JOBS.compile(workspace, &directory)?;
    let servers = ForTests::up(workspace)?;
    let mut measure = Command::new(program);
    measure.arg("streams").arg("--weir").arg(binary).arg("--services").arg(&servers.facts);
    measure.arg("--plugins").arg(workspace.test_plugins()).args(["--classes", &classes]);
    measure.arg("--directory").arg(&directory).arg("--runs").arg(arguments.runs.to_string());
    measure.arg("--records").arg((arguments.lines * RECORDS_PER_LINE).to_string());
    measure.arg("--rows").arg(arguments.rows.to_string());
    let page = directory.join("page.md");
    process::run(measure.arg("--page").arg(&page))?;
    let title = "Counting and joining, beside Kafka Streams";
    publish(workspace, title, &fs::read_to_string(&page).context(|| page.display())?)
}
