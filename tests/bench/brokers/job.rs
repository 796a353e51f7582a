//! What is measured: a way from one broker to another, and who goes it.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Measure, Servers};

/// Where records come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum From {
    Kafka,
    RabbitMq,
}

impl From {
    /// What the tables call the way from there to Kafka.
    pub fn way(self) -> &'static str {
        match self {
            From::Kafka => "Kafka to Kafka",
            From::RabbitMq => "RabbitMQ to Kafka",
        }
    }
}

/// What the sink promises.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Guarantee {
    ExactlyOnce,
    AtLeastOnce,
}

/// Who does it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// A loop around the client library.
    Loop,
    /// A consumer that throws away what it acknowledges.
    ConsumerAlone,
    /// Weir without a step.
    Weir,
    /// Weir with `WHERE` on a field of JSON.
    WeirFilter,
}

#[derive(Clone, Copy)]
pub struct Job {
    pub from: From,
    pub guarantee: Guarantee,
    pub who: Who,
}

/// A job with its names on the servers.
pub struct Placed<'a> {
    pub job: Job,
    pub measure: &'a Measure,
    pub servers: &'a Servers,
    /// The topic or queue that is read.
    pub source: &'a str,
    /// The topic that is written.
    pub target: &'a str,
}

impl Job {
    pub const fn new(from: From, guarantee: Guarantee, who: Who) -> Self {
        Job { from, guarantee, who }
    }

    /// What the tables call it.
    pub fn title(self) -> &'static str {
        match (self.from, self.who, self.guarantee) {
            (From::Kafka, Who::Loop, Guarantee::ExactlyOnce) => "rdkafka copy loop, exactly once",
            (From::Kafka, Who::Loop, Guarantee::AtLeastOnce) => "rdkafka copy loop, at least once",
            (From::RabbitMq, Who::Loop, _) => "lapin consumer and rdkafka producer, at least once",
            (_, Who::ConsumerAlone, _) => "lapin consumer alone",
            (_, Who::Weir, Guarantee::ExactlyOnce) => "weir, exactly once",
            (_, Who::Weir, Guarantee::AtLeastOnce) => "weir, at least once",
            (_, Who::WeirFilter, Guarantee::ExactlyOnce) => "weir, JSON filter, exactly once",
            (_, Who::WeirFilter, Guarantee::AtLeastOnce) => "weir, JSON filter, at least once",
        }
    }

    /// Of so many records, how many come out.
    pub fn kept(self, records: u64) -> u64 {
        match self.who {
            Who::Loop | Who::Weir => records,
            Who::WeirFilter => records.div_ceil(2),
            Who::ConsumerAlone => 0,
        }
    }
}

impl Placed<'_> {
    /// The program, which ends after so many records; without a number it goes on until it is told to end.
    pub fn command(&self, records: Option<u64>) -> Command {
        let mut command = match self.job.who {
            Who::Loop | Who::ConsumerAlone => self.plain(records),
            Who::Weir | Who::WeirFilter => self.weir(records.is_some()),
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(self.log());
        command
    }

    /// Where the programs say what they have to say.
    fn log(&self) -> File {
        OpenOptions::new().create(true).append(true).open(self.measure.directory.join("log")).unwrap()
    }

    fn plain(&self, records: Option<u64>) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["plain", "--source", self.source, "--target", self.target]);
        command.args(["--bootstrap", &self.servers.bootstrap, "--rabbitmq", &self.servers.rabbitmq_login()]);
        command.arg(match (self.job.from, self.job.who, self.job.guarantee) {
            (From::Kafka, _, Guarantee::ExactlyOnce) => "kafka-exactly-once",
            (From::Kafka, _, Guarantee::AtLeastOnce) => "kafka-at-least-once",
            (From::RabbitMq, Who::ConsumerAlone, _) => "rabbitmq-alone",
            (From::RabbitMq, _, _) => "rabbitmq-to-kafka",
        });
        if let Some(records) = records {
            command.arg("--records").arg(records.to_string());
        }
        command
    }

    fn weir(&self, once: bool) -> Command {
        let directory = self.directory();
        let file = directory.join("weir.yaml");
        std::fs::write(&file, self.pipeline(&directory)).unwrap();
        let mut command = Command::new(&self.measure.weir);
        command.arg("run").arg(file);
        if once {
            command.arg("--once");
        }
        command
    }

    /// An empty directory.
    fn directory(&self) -> PathBuf {
        let directory = self.measure.directory.join("weir");
        if directory.exists() {
            std::fs::remove_dir_all(&directory).unwrap();
        }
        std::fs::create_dir_all(&directory).unwrap();
        directory
    }

    fn pipeline(&self, directory: &Path) -> String {
        let Placed { servers, source, target, .. } = self;
        let bootstrap = &servers.bootstrap;
        std::fs::write(directory.join("password"), &servers.password).unwrap();
        let input = match self.job.from {
            From::Kafka => {
                format!("{{ type: kafka, brokers: ['{bootstrap}'], topics: [{source}], start: earliest }}")
            }
            From::RabbitMq => format!(
                "{{ type: rabbitmq, url: '{}', password: {{ secret: rabbitmq }}, queue: {source} }}",
                servers.rabbitmq
            ),
        };
        let steps = match self.job.who {
            Who::WeirFilter => "steps: [sql: SELECT * FROM input WHERE kind = 'order'], ",
            _ => "",
        };
        let delivery = match self.job.guarantee {
            Guarantee::ExactlyOnce => "exactly_once",
            Guarantee::AtLeastOnce => "at_least_once",
        };
        let secrets = match self.job.from {
            From::Kafka => "",
            From::RabbitMq => "secrets: { rabbitmq: { file: password } }\n",
        };
        format!(
            "version: 1
data: {data}
{secrets}sources:
  in: {input}
pipelines:
  job: {{ from: in, {steps}to: out }}
sinks:
  out: {{ type: kafka, brokers: ['{bootstrap}'], topic: {target}, delivery: {delivery} }}
",
            data = directory.join("data").display()
        )
    }
}
