//! Kafka to Kafka and RabbitMQ to Kafka: Weir beside plain clients that do the same, with the same guarantees, in the same
//! run; and beside Kafka Streams where something is remembered. `cargo xtask bench --only brokers`, or `streams`, builds it,
//! starts the servers and puts what it writes on the page of results.
//!
//! The program is also each of the plain clients: it runs itself, so that their processor time is measured as Weir's is.

#![allow(
    missing_docs,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod job;
mod kafka;
mod latency;
mod plain;
mod rabbitmq;
mod sinks;
mod streams;
mod table;
mod throughput;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Parser, Subcommand};
use serde_json::Value;
use tokio::runtime::Runtime;

use plain::Plain;
use sinks::Sinks;
use streams::Streams;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures, and writes tables.
    Measure(Measure),
    /// Measures beside Kafka Streams what is remembered, and writes tables.
    Streams(Streams),
    /// Measures what goes into databases and Kudu beside their bulk tools and Kudu's Java client, and writes a table.
    Sinks(Sinks),
    /// Is one of the plain clients.
    Plain(Plain),
}

#[derive(clap::Args)]
struct Measure {
    /// The program.
    #[arg(long)]
    weir: PathBuf,
    /// What `cargo xtask services up` printed, as a file.
    #[arg(long)]
    services: PathBuf,
    /// A directory for the programs' data and logs.
    #[arg(long)]
    directory: PathBuf,
    /// The file that the tables are written to.
    #[arg(long)]
    page: PathBuf,
    /// How many records are copied from Kafka.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// How many messages are taken from RabbitMQ.
    #[arg(long, default_value_t = 200_000)]
    messages: u64,
    /// How often each program runs; the medians count.
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

/// Where the servers are.
struct Servers {
    bootstrap: String,
    /// RabbitMQ's URL, with a user and without a password, as Weir takes it.
    rabbitmq: String,
    password: String,
}

impl Servers {
    fn read(facts: &Path) -> Self {
        let facts: Value = serde_json::from_slice(&std::fs::read(facts).unwrap()).unwrap();
        let text = |server: &str, name: &str| facts[server][name].as_str().unwrap().to_owned();
        Servers {
            bootstrap: text("kafka", "bootstrap"),
            rabbitmq: text("rabbitmq", "amqp"),
            password: text("rabbitmq", "password"),
        }
    }

    /// RabbitMQ's URL as other clients take it.
    fn rabbitmq_login(&self) -> String {
        self.rabbitmq.replacen('@', &format!(":{}@", self.password), 1)
    }
}

fn main() {
    match Cli::parse().command {
        Command::Plain(plain) => plain.run(),
        Command::Streams(streams) => streams.run(),
        Command::Sinks(sinks) => sinks.run(),
        Command::Measure(measure) => {
            let servers = Servers::read(&measure.services);
            let page = [throughput::run(&measure, &servers), latency::run(&measure, &servers)].join("\n\n");
            std::fs::write(&measure.page, page).unwrap();
        }
    }
}

/// A name that nothing on the servers has yet.
fn unique(what: &str) -> String {
    format!("bench-{what}-{}", nanoseconds())
}

/// Since 1970-01-01T00:00:00Z.
fn nanoseconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// A runtime for those libraries that want one.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Who a record is about: its key, and a field of its value.
fn customer(number: u64) -> String {
    format!("customer-{}", number % 1_000)
}

/// A record's value: JSON of about 200 bytes, with the time when it was made.
fn value(number: u64, kind: &str) -> String {
    format!(
        r#"{{"id":{number},"sent":{},"kind":"{kind}","customer":"{}","amount":{}.25,"currency":"EUR","address":{{"street":"Example Street {}","city":"Springfield"}},"note":"as ordered by telephone"}}"#,
        nanoseconds(),
        customer(number),
        number % 5_000,
        number % 90
    )
}

/// Half of the records pass the filter.
fn kind(number: u64) -> &'static str {
    if number.is_multiple_of(2) { "order" } else { "offer" }
}
