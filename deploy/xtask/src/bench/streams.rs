//! Weir beside Kafka Streams: fetches it, compiles its jobs, builds the guest that counts, and starts the servers.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::compare::fresh;
use super::{BenchArgs, brokers, publish};
use crate::apt;
use crate::error::{Context, Result};
use crate::maven::{Libraries, Library};
use crate::plugins::{self, Which};
use crate::process;
use crate::services::{ForTests, KAFKA_VERSION};
use crate::workspace::Workspace;

const LIBRARIES: [Library; 1] = [("org.apache.kafka", "kafka-streams", KAFKA_VERSION)];

/// The jobs, as programs of Kafka Streams.
const JOBS: &str = "tests/bench/brokers/streams/Streams.java";

/// Records for each line that is asked for: with a million, no program is done within seconds.
const RECORDS_PER_LINE: u64 = 5;

/// Measures, and publishes what the program wrote.
pub fn run(workspace: &Workspace, binary: &Path, arguments: &BenchArgs) -> Result<()> {
    plugins::build(workspace, Which::StockAndTests)?;
    let program = brokers::program(workspace)?;
    let directory = fresh(&workspace.target.join("bench/streams"))?;
    let classes = compiled(workspace, &directory)?;
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

/// Compiles the jobs. Returns their class path, with that of Kafka Streams.
fn compiled(workspace: &Workspace, directory: &Path) -> Result<String> {
    let _lock = workspace.lock("kafka-streams")?;
    if process::on_path("javac").is_none() {
        apt::install_named(&["openjdk-17-jdk-headless"], "Java's compiler, for the jobs of Kafka Streams")?;
    }
    let libraries = workspace.cache.join("kafka-streams").join(KAFKA_VERSION);
    let what = &format!("Kafka Streams {KAFKA_VERSION}: 100 MB");
    Libraries { what, directory: libraries.clone(), wanted: &LIBRARIES }.fetch()?;
    let classes = directory.join("classes");
    let libraries = libraries.join("*");
    let mut javac = Command::new("javac");
    javac.arg("-cp").arg(&libraries).arg("-d").arg(&classes).arg(workspace.root.join(JOBS));
    process::run(&mut javac)?;
    Ok(format!("{}:{}", libraries.display(), classes.display()))
}
