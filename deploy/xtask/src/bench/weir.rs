//! Weir doing the peers' job.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::error::{Context, Result};

/// The command that does the job: reads `input`, writes `output`, keeps its data and settings in `directory`. It ends by
/// itself when `flags` hold `--once`.
pub fn job(binary: &Path, input: &Path, output: &Path, directory: &Path, flags: &[&str]) -> Result<Command> {
    let config = directory.join("weir.yaml");
    fs::write(&config, pipeline(input, output, directory)).context(|| config.display())?;
    let mut command = Command::new(binary);
    command.arg("run").arg(&config).args(flags);
    Ok(command)
}

fn pipeline(input: &Path, output: &Path, directory: &Path) -> String {
    format!(
        r#"version: 1
data: {directory}/weir-data
sources:
  lines: {{ type: file, path: "{input}" }}
pipelines:
  job:
    from: lines
    steps:
      - plugin: syslog-parser
      - sql: SELECT timestamp, host, appname, procid, message FROM input WHERE message LIKE '%Invalid user%'
    to: out
sinks:
  out: {{ type: file, path: "{output}" }}
"#,
        input = input.display(),
        output = output.display(),
        directory = directory.display()
    )
}
