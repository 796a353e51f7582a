//! `cargo xtask bench`: Weir beside its peers on the same job, its start and its idle memory, and the benchmarks of its
//! parts. Writes the page of results.

mod brokers;
mod compare;
mod idle;
mod input;
mod java;
mod measure;
mod micro;
mod peers;
mod report;
mod sinks;
mod streams;
mod tables;
mod weir;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::build::{self, Profile};
use crate::error::Result;
use crate::say;
use crate::workspace::Workspace;

/// What is measured.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Measures one thing alone.
    #[arg(long, value_enum)]
    only: Option<Section>,
    /// Reads the lines of this file, repeated, in place of generated ones.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// How many lines at least.
    #[arg(long, default_value_t = 1_000_000)]
    lines: u64,
    /// How often each program runs; the medians count.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Beside Kafka Streams, joins records with a table of so many rows as well; otherwise the rows of the table to enrich
    /// by, 10 million where this is 0.
    #[arg(long, default_value_t = 0)]
    rows: u64,
}

/// A section of the page of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// The same job beside syslog-ng and rsyslog.
    Peers,
    /// Start to first record, and memory when nothing comes.
    Idle,
    /// Kafka to Kafka and RabbitMQ to Kafka beside plain clients.
    Brokers,
    /// Counting and joining beside Kafka Streams.
    Streams,
    /// Enriching by a large table.
    Tables,
    /// Into MariaDB, PostgreSQL and Kudu beside their bulk tools and Kudu's Java client.
    Sinks,
    /// The criterion benchmarks of the parts.
    Micro,
}

/// Measures what was asked for, and writes it down.
pub fn run(workspace: &Workspace, arguments: &BenchArgs) -> Result<()> {
    let wanted = |section| arguments.only.is_none_or(|only| only == section);
    if arguments.only != Some(Section::Micro) {
        let binary = build::build(workspace, Profile::Release)?;
        if wanted(Section::Peers) {
            compare::run(workspace, &binary, arguments)?;
        }
        if wanted(Section::Idle) {
            idle::run(workspace, &binary, arguments.runs)?;
        }
        if wanted(Section::Brokers) {
            brokers::run(workspace, &binary, arguments)?;
        }
        if wanted(Section::Streams) {
            streams::run(workspace, &binary, arguments)?;
        }
        if wanted(Section::Tables) {
            tables::run(workspace, &binary, arguments)?;
        }
        if wanted(Section::Sinks) {
            sinks::run(workspace, &binary, arguments)?;
        }
    }
    if wanted(Section::Micro) {
        micro::run(workspace)?;
    }
    Ok(())
}

/// Puts a section on the page and prints it.
fn publish(workspace: &Workspace, title: &str, body: &str) -> Result<()> {
    let path = report::replace_section(workspace, title, body)?;
    say::heading(title);
    say::line(body);
    say::line(format_args!("\nwritten to {}", path.display()));
    Ok(())
}

/// The middle of some numbers; of two middles the lower.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// Mebibytes, for a table.
fn mib(bytes: f64) -> String {
    format!("{:.1}", bytes / (1024.0 * 1024.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert!((median(vec![9.0, 1.0, 5.0]) - 5.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0]) - 1.0).abs() < f64::EPSILON);
        assert!(median(Vec::new()).is_nan());
    }
}
