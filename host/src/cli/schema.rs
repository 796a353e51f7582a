//! `weir schema` and `weir completions`: what editors and shells want to know.

use std::io::Write as _;

use clap::CommandFactory as _;

use crate::config::json_schema;

/// Prints the JSON Schema of pipeline files; gives the exit code.
pub fn schema() -> u8 {
    // Whoever closed the pipe wants no more.
    let _ = writeln!(std::io::stdout().lock(), "{:#}", json_schema());
    0
}

/// Prints what a shell has to be told; gives the exit code.
pub fn completions(shell: clap_complete::Shell) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::Cli::command(), "weir", &mut script);
    let _ = std::io::stdout().lock().write_all(&script);
    0
}
