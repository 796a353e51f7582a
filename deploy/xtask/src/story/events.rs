//! `events-to-kudu`: process starts from RabbitMQ, by way of Kafka, to a table of Kudu.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::weir::Weir;
use super::{Settings, Stage, Story, show};
use crate::error::{Context, Error, Result};
use crate::process;
use crate::say;
use crate::services::Name;

const TABLE: &str = "proc_start";
const QUEUE: &str = "endpoint-events";
const TOPIC: &str = "proc-start";
/// Process starts of the sample, those that come twice counted once.
const ROWS: u64 = 24;
/// What is shown of a row: all of it is wider than a terminal.
const SHOWN: &str = "TS_PROCSTART,P_COMPUTER_NAME,E_USERNAME,E_PID,E_PATH";

/// The story.
pub struct Events;

impl Story for Events {
    fn about(&self) -> &'static str {
        "Sensors on endpoints put events into a queue of RabbitMQ. One pipeline brings the process starts among them to a\n\
         topic of Kafka, exactly once; another brings the topic into a table of Kudu, whose key is the start, the two MD5 sums,\n\
         the process and the computer. So an event that a sensor has sent twice is one row."
    }

    fn servers(&self) -> &'static [Name] {
        &[Name::Rabbitmq, Name::Kafka, Name::Kudu]
    }

    fn prepare(&mut self, stage: &Stage<'_>) -> Result<Settings> {
        let servers = &stage.servers;
        let (_, amqp) = servers.text("rabbitmq", "amqp")?.split_once('@').unwrap_or_default();
        let amqp = amqp.split('/').next().unwrap_or_default();
        process::output(&mut rabbitmq(stage, "rabbit-declare", &["--type", "quorum"])?)?;
        Ok(Settings {
            replaced: vec![
                ("127.0.0.1:5672", amqp.to_owned()),
                ("127.0.0.1:9092", servers.text("kafka", "bootstrap")?.to_owned()),
                ("127.0.0.1:7051", servers.text("kudu", "masters")?.to_owned()),
            ],
            secrets: vec![("RABBITMQ_PASSWORD", servers.text("rabbitmq", "password")?.to_owned())],
        })
    }

    fn feed(&self, stage: &Stage<'_>, _: &mut Weir) -> Result<()> {
        let events = stage.read("events.ndjson")?;
        let mut put = rabbitmq(stage, "rabbit-put", &[])?;
        let mut child = put.stdin(Stdio::piped()).spawn().context(|| process::show(&put))?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(events.as_bytes()).context(|| "sending to RabbitMQ")?;
        }
        let status = child.wait().context(|| "sending to RabbitMQ")?;
        if !status.success() {
            return Err(Error::new(format_args!("sending to RabbitMQ failed: {status}")));
        }
        let starts = events.lines().filter(|event| event.contains("procstart")).count();
        say::line(format_args!(
            "Python's client pika has put events.ndjson into the queue {QUEUE}: {} events, {starts} of them process starts,\n\
             of which {} come twice.",
            events.lines().count(),
            starts as u64 - ROWS
        ));
        Ok(())
    }

    fn expected(&self) -> u64 {
        ROWS
    }

    /// The table is not there before the first row.
    fn arrived(&self, stage: &Stage<'_>) -> Result<u64> {
        let tables = process::output(&mut kudu(stage, "list", &[])?)?;
        if !tables.lines().any(|table| table == TABLE) {
            return Ok(0);
        }
        let said = process::output(&mut kudu(stage, "scan", &[TABLE, "--show_values=false"])?)?;
        let total = said.lines().find_map(|line| line.trim().strip_prefix("Total count ")?.split(' ').next());
        let expected = || Error::new(format_args!("expected a line `Total count N`, got {said:?}"));
        total.and_then(|total| total.parse().ok()).ok_or_else(expected)
    }

    fn show(&self, stage: &Stage<'_>) -> Result<()> {
        let mut topic = Command::new(stage.servers.text("clients", "kcat")?);
        topic.args(["-b", stage.servers.text("kafka", "bootstrap")?, "-C", "-t", TOPIC, "-e", "-q"]);
        topic.args(["-X", "isolation.level=read_committed"]);
        let records = process::output(&mut topic)?.lines().count();
        say::line(format_args!("Kafka's topic {TOPIC}, read by kcat, holds {records} process starts. In Kudu:"));
        show(&mut kudu(stage, "describe", &[TABLE])?)?;
        show(&mut kudu(stage, "scan", &[TABLE, &format!("--columns={SHOWN}")])?)
    }
}

/// A command of the client of RabbitMQ that the tests use as well.
fn rabbitmq(stage: &Stage<'_>, command: &str, arguments: &[&str]) -> Result<Command> {
    let fact = |name: &str| stage.servers.text("rabbitmq", name);
    let url = fact("amqp")?.replacen('@', &format!(":{}@", fact("password")?), 1);
    let mut client = Command::new(stage.servers.text("clients", "python")?);
    client.arg(stage.root.join("tests/e2e/brokers/clients.py")).arg(command).args(["--url", &url, "--queue", QUEUE]);
    client.args(arguments);
    Ok(client)
}

/// Kudu's own command line.
fn kudu(stage: &Stage<'_>, command: &str, arguments: &[&str]) -> Result<Command> {
    let mut kudu = Command::new(stage.servers.text("kudu", "cli")?);
    kudu.envs(stage.servers.variables("kudu", "cli_env")).args(["table", command]);
    kudu.arg(stage.servers.text("kudu", "masters")?).args(arguments);
    Ok(kudu)
}
