//! Weir and Kafka Streams as processes that do a job.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Job, Streams, Used};
use crate::Servers;
use crate::job::Guarantee;

const JAVA: [&str; 2] = ["-Xmx512m", "-XX:+UseParallelGC"];
/// At 100 ms, which is the default exactly once, the count takes half as much processor time again; at 30 s, the default at
/// least once, its results would come as late.
const SETTINGS: [&str; 2] = ["num.stream.threads=2", "commit.interval.ms=1000"];
/// In which the kernel tells processor time; every Linux has 100 a second.
const TICKS_PER_SECOND: u64 = 100;

/// Who does it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Weir,
    KafkaStreams,
}

/// A program with a job and a place for what it keeps.
pub struct Program {
    who: Who,
    /// Without the logs.
    arguments: Vec<String>,
    executable: PathBuf,
    data: PathBuf,
    log: PathBuf,
}

impl Who {
    /// What the tables call it.
    pub fn title(self, guarantee: Guarantee) -> String {
        let name = match self {
            Who::Weir => "weir",
            Who::KafkaStreams => "Kafka Streams",
        };
        let guarantee = match guarantee {
            Guarantee::ExactlyOnce => "exactly once",
            Guarantee::AtLeastOnce => "at least once",
        };
        format!("{name}, {guarantee}")
    }
}

impl Program {
    /// One with nothing to remember yet. `topics`: what it reads, the table, and what it writes.
    pub fn new(of: &Streams, servers: &Servers, job: Job, who: Who, guarantee: Guarantee, topics: [&str; 3]) -> Self {
        let data = of.directory.join("data");
        if data.exists() {
            fs::remove_dir_all(&data).unwrap();
        }
        fs::create_dir_all(&data).unwrap();
        let (executable, arguments) = match who {
            Who::Weir => {
                let file = of.directory.join("weir.yaml");
                fs::write(&file, pipeline(of, servers, job, guarantee, topics, &data)).unwrap();
                (of.weir.clone(), vec!["run".to_owned(), file.display().to_string()])
            }
            Who::KafkaStreams => ("java".into(), streams(of, servers, job, guarantee, topics, &data)),
        };
        Program { who, arguments, executable, data, log: of.directory.join("log") }
    }

    pub fn start(&self) -> Running {
        let log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(&self.executable);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let begun = Instant::now();
        Running { child: command.spawn().unwrap(), begun, who: self.who }
    }

    /// The bytes that it keeps.
    pub fn stored(&self) -> u64 {
        stored(&self.data)
    }
}

fn stored(directory: &Path) -> u64 {
    let size = |entry: fs::DirEntry| match entry.metadata().unwrap() {
        data if data.is_dir() => stored(&entry.path()),
        data => data.blocks() * 512,
    };
    fs::read_dir(directory).unwrap().map(|entry| size(entry.unwrap())).sum()
}

fn pipeline(of: &Streams, servers: &Servers, job: Job, guarantee: Guarantee, topics: [&str; 3], data: &Path) -> String {
    let [source, rows, target] = topics;
    let (bootstrap, plugins, data) = (&servers.bootstrap, of.plugins.display(), data.display());
    let delivery = match guarantee {
        Guarantee::ExactlyOnce => "exactly_once",
        Guarantee::AtLeastOnce => "at_least_once",
    };
    let kafka =
        |topic: &str| format!("{{ type: kafka, brokers: ['{bootstrap}'], topics: [{topic}], start: earliest }}");
    let (table, step) = match job {
        Job::Count => {
            (String::new(), "{ plugin: windows, config: { windows: { size: 60000, advance: 60000, grace: 30000 } } }")
        }
        Job::Enrich => (
            format!("\n  hosts: {}", kafka(rows)),
            "{ plugin: enricher, tables: [{ name: hosts, partitioned: true }], config: { lookups: [{ table: hosts, key: key, into: host }] } }",
        ),
    };
    format!(
        "version: 1
data: {data}
plugins: [{plugins}]
sources:
  in: {}{table}
pipelines:
  job: {{ from: in, steps: [{step}], to: out }}
sinks:
  out: {{ type: kafka, brokers: ['{bootstrap}'], topic: {target}, delivery: {delivery} }}
",
        kafka(source)
    )
}

fn streams(
    of: &Streams,
    servers: &Servers,
    job: Job,
    guarantee: Guarantee,
    topics: [&str; 3],
    data: &Path,
) -> Vec<String> {
    let [source, rows, target] = topics;
    let guarantee = match guarantee {
        Guarantee::ExactlyOnce => "exactly_once_v2",
        Guarantee::AtLeastOnce => "at_least_once",
    };
    let job = match job {
        Job::Count => "windows",
        Job::Enrich => "enrich",
    };
    let mut arguments: Vec<String> = JAVA.map(str::to_owned).to_vec();
    arguments.extend(["-cp", &of.classes, "Streams"].map(str::to_owned));
    arguments.extend([
        format!("application.id={target}"),
        format!("bootstrap.servers={}", servers.bootstrap),
        format!("state.dir={}", data.display()),
        format!("processing.guarantee={guarantee}"),
        format!("job={job}"),
        format!("job.source={source}"),
        format!("job.table={rows}"),
        format!("job.target={target}"),
    ]);
    arguments.extend(SETTINGS.map(str::to_owned));
    arguments
}

/// A process that runs; killed when it is dropped.
pub struct Running {
    child: Child,
    begun: Instant,
    who: Who,
}

impl Running {
    /// Processor and wall time since the start.
    pub fn used(&self) -> Used {
        let stat = self.told("stat");
        // Behind the name, which is in brackets: fields 14 and 15 are user and system time.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let ticks: u64 = fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
        Used { cpu: Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND), wall: self.begun.elapsed() }
    }

    /// The largest resident set so far, in bytes.
    pub fn rss_max(&self) -> u64 {
        let status = self.told("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    fn told(&self, what: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{what}", self.child.id())).unwrap()
    }

    pub fn assert_runs(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "the program has ended, and says why in the log: {ended:?}");
    }

    /// Tells it to end, and waits for it.
    pub fn end(mut self) {
        let told = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        let status = self.child.wait().unwrap();
        // A Java program that a signal ends says so, after it has closed what it had open.
        let is_well = status.success() || (self.who == Who::KafkaStreams && status.code() == Some(143));
        assert!(told.success() && is_well, "{status}");
    }

    /// Ends it as a crash does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
