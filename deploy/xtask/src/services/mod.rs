//! `cargo xtask services`: real servers for tests and for trying things out, as plain processes on 127.0.0.1.
//!
//! Everything that a server has lies in its own folder below one directory; ports are picked when it is first brought up and
//! stay. Each server is a file here that implements [`Service`]. Words for people go to standard error: standard output holds
//! one JSON object.

mod certificates;
mod clients;
mod facts;
mod hs2;
mod kafka;
mod kudu;
mod ldap;
mod mariadb;
mod ports;
mod postgres;
mod processes;
mod rabbitmq;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};

use crate::error::{Context, Error, Result};
use crate::say;
use crate::workspace::Workspace;

pub use kafka::VERSION as KAFKA_VERSION;
pub use kudu::VERSION as KUDU_VERSION;

use facts::Fact;
use ports::Ports;
use processes::Processes;

/// What a server needs to be ready, after a `kill -9` too.
const READY_MAX: Duration = Duration::from_secs(120);

/// The longest that a server may take to end by itself.
const END_MAX: Duration = Duration::from_secs(30);

const LOOK: Duration = Duration::from_millis(50);

/// Written last: a folder without it was left half made.
const COMPLETE: &str = "complete";

/// The command line of `cargo xtask services`.
#[derive(Debug, Args)]
pub struct ServicesArgs {
    #[command(subcommand)]
    command: ServicesCommand,
}

#[derive(Debug, Subcommand)]
enum ServicesCommand {
    /// Installs what is missing, starts servers, and prints where they are as JSON once they are ready.
    Up {
        /// Which servers.
        #[arg(required = true)]
        names: Vec<Name>,
        /// The directory for their data [default: services in the target directory].
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Gives Kafka one more listener, which tells its clients to come to this port of 127.0.0.1: for a proxy that
        /// listens there. Holds when the server is first brought up.
        #[arg(long, value_name = "PORT")]
        advertise: Option<u16>,
        /// Installs clients that are not Weir's as well: kcat, and Python with pika, confluent-kafka and
        /// DuckDB.
        #[arg(long)]
        clients: bool,
    },
    /// Ends servers and removes their data; all of the directory unless some are named.
    Down {
        /// Which servers.
        names: Vec<Name>,
        /// The directory for their data [default: services in the target directory].
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Ends a server as a crash does, with SIGKILL. Its data stays.
    Kill {
        /// Which server.
        name: Name,
        /// One of its processes alone, such as tserver-1 of Kudu.
        #[arg(long)]
        part: Option<String>,
        /// The directory for its data [default: services in the target directory].
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Starts a server again, on the same data and ports, and waits until it is ready.
    Start {
        /// Which server.
        name: Name,
        /// One of its processes alone, such as tserver-1 of Kudu.
        #[arg(long)]
        part: Option<String>,
        /// The directory for its data [default: services in the target directory].
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Says which servers run.
    Status {
        /// The directory for their data [default: services in the target directory].
        #[arg(long)]
        dir: Option<PathBuf>,
    },
}

/// A server that can be brought up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// Apache Kafka, one node.
    Kafka,
    /// RabbitMQ.
    Rabbitmq,
    /// MariaDB.
    Mariadb,
    /// PostgreSQL.
    Postgres,
    /// Apache Kudu, one master and one tablet server.
    Kudu,
    /// Apache Kudu, three masters and three tablet servers.
    Kudu3,
    /// OpenLDAP.
    Ldap,
    /// HiveServer2, by Spark, with a directory of its own.
    Hs2,
}

/// Those that all tests share. Kudu's tests kill what they use, so they bring up their own.
const SHARED: [Name; 5] = [Name::Kafka, Name::Rabbitmq, Name::Mariadb, Name::Postgres, Name::Ldap];

/// The one process of most servers.
const SERVER: &str = "server";

/// What is asked for beyond the server itself.
#[derive(Debug, Clone, Copy, Default)]
struct Wishes {
    advertise: Option<u16>,
}

/// A server: how it is installed, configured and started, and what its users have to know.
trait Service {
    /// Installs the programs that are missing.
    fn install(&self, workspace: &Workspace) -> Result<()>;
    /// What its ports are for.
    fn ports(&self) -> &'static [&'static str];
    /// Writes its configuration into its folder.
    fn configure(&self, place: &Place) -> Result<()>;
    /// Its processes, in the order in which they are started.
    fn parts(&self) -> &'static [&'static str] {
        &[SERVER]
    }
    /// The command that runs one of its processes in the foreground.
    fn command(&self, place: &Place, part: &str) -> Result<Command>;
    /// What the log of a process says once it serves.
    fn ready(&self, part: &str) -> &'static str;
    /// Where and how it is reached.
    fn facts(&self, place: &Place) -> Result<Vec<Fact>>;
}

/// The folder of one server.
struct Place {
    name: String,
    dir: PathBuf,
    cache: PathBuf,
    ports: Ports,
}

/// Runs a command of `cargo xtask services`.
pub fn run(workspace: &Workspace, arguments: &ServicesArgs) -> Result<()> {
    match &arguments.command {
        ServicesCommand::Up { names, dir, advertise, clients } => {
            let directory = directory(workspace, dir.as_deref())?;
            let wishes = Wishes { advertise: *advertise };
            say::line(facts::json(&up(workspace, &directory, names, wishes, *clients)?));
            Ok(())
        }
        ServicesCommand::Down { names, dir } => down(workspace, &directory(workspace, dir.as_deref())?, names),
        ServicesCommand::Kill { name, part, dir } => {
            kill(&directory(workspace, dir.as_deref())?, *name, part.as_deref())
        }
        ServicesCommand::Start { name, part, dir } => {
            start(workspace, &directory(workspace, dir.as_deref())?, *name, part.as_deref())
        }
        ServicesCommand::Status { dir } => status(&directory(workspace, dir.as_deref())?),
    }
}

/// The servers of a test run or a story: brought up with clean data, taken down when this is dropped.
pub struct ForTests<'a> {
    workspace: &'a Workspace,
    directory: PathBuf,
    told: Vec<Fact>,
    /// The file with what `up` prints.
    pub facts: PathBuf,
}

impl<'a> ForTests<'a> {
    /// Brings all servers up, with the clients that read back what was sent. What an interrupted run left behind is removed.
    pub fn up(workspace: &'a Workspace) -> Result<Self> {
        Self::of(workspace, &SHARED)
    }

    /// Brings some servers up, as [`ForTests::up`] does.
    pub fn of(workspace: &'a Workspace, names: &[Name]) -> Result<Self> {
        Self::within(workspace, &workspace.target.join("services-test"), names)
    }

    /// Brings some servers up in a directory, as [`ForTests::up`] does.
    pub fn within(workspace: &'a Workspace, directory: &Path, names: &[Name]) -> Result<Self> {
        down(workspace, directory, &[])?;
        let facts = directory.join(facts::FILE);
        let mut servers = ForTests { workspace, directory: directory.to_owned(), told: Vec::new(), facts };
        servers.told = up(workspace, directory, names, Wishes::default(), true)?;
        Ok(servers)
    }

    /// A text that tells where something is, such as `kafka` `bootstrap`.
    pub fn text(&self, server: &str, name: &str) -> Result<&str> {
        let missing = || Error::new(format_args!("nothing is told of {server} {name}"));
        facts::find(&self.told, server)
            .and_then(|facts| facts.iter().find_map(|fact| fact.as_text(name)))
            .ok_or_else(missing)
    }

    /// The variables that a server's own tool wants: `cli_env` or `ctl_env`.
    pub fn variables(&self, server: &str, name: &str) -> Vec<(&str, &str)> {
        let facts = facts::find(&self.told, server).and_then(|facts| facts::find(facts, name)).unwrap_or_default();
        facts.iter().filter_map(Fact::pair).collect()
    }
}

/// A port that nobody has now, for what runs in a directory beside the servers: nobody else picks it while that exists.
pub fn free_port(directory: &Path) -> Result<u16> {
    Ports::pick(&["port"], None, directory)?.get("port")
}

impl Drop for ForTests<'_> {
    fn drop(&mut self) {
        if let Err(error) = down(self.workspace, &self.directory, &[]) {
            say::error(error);
        }
    }
}

fn directory(workspace: &Workspace, wanted: Option<&Path>) -> Result<PathBuf> {
    let directory = wanted.map_or_else(|| workspace.target.join("services"), Path::to_owned);
    std::path::absolute(&directory).context(|| directory.display())
}

/// Brings servers up, all at once, and tells where they are; also in a file, as JSON.
fn up(workspace: &Workspace, directory: &Path, names: &[Name], wishes: Wishes, clients: bool) -> Result<Vec<Fact>> {
    let mut started = Vec::new();
    for name in names {
        let place = Place::of(workspace, directory, *name);
        name.service().install(workspace)?;
        let place = place.prepared(*name, wishes)?;
        started.push((*name, launch(*name, &place, name.service().parts())?, place));
    }
    for (name, launched, place) in &started {
        wait(*name, place, launched)?;
    }
    let mut all = Vec::new();
    for (name, _, place) in &started {
        all.push(Fact::group(place.name.clone(), name.service().facts(place)?));
    }
    if clients {
        all.push(Fact::group("clients".to_owned(), clients::install(workspace)?));
    }
    let path = directory.join(facts::FILE);
    fs::write(&path, facts::json(&all)).context(|| path.display())?;
    Ok(all)
}

fn start(workspace: &Workspace, directory: &Path, name: Name, part: Option<&str>) -> Result<()> {
    let place = Place::of(workspace, directory, name);
    if !place.dir.join(COMPLETE).is_file() {
        let hint = "bring it up first: cargo xtask services up";
        return Err(Error::new(format_args!("{}: nothing is there; {hint} {}", place.dir.display(), place.name)));
    }
    let place = place.with_ports()?;
    wait(name, &place, &launch(name, &place, &name.chosen(part)?)?)
}

fn kill(directory: &Path, name: Name, part: Option<&str>) -> Result<()> {
    let server = Processes::of(&directory.join(name.text()));
    let processes = match part {
        Some(_) => name.chosen(part)?.into_iter().map(|part| server.part(part)).collect(),
        None => vec![server],
    };
    for processes in processes {
        if processes.running()?.is_empty() {
            return Err(Error::new(format_args!("{} does not run in {}", name.text(), directory.display())));
        }
        processes.kill()?;
    }
    Ok(())
}

fn down(workspace: &Workspace, directory: &Path, names: &[Name]) -> Result<()> {
    let names = if names.is_empty() { Name::value_variants() } else { names };
    let mut begun = Vec::new();
    for name in names {
        let place = Place::of(workspace, directory, *name);
        if place.dir.exists() {
            Processes::of(&place.dir).terminate()?;
            begun.push(place);
        }
    }
    for place in begun {
        Processes::of(&place.dir).end_within(END_MAX)?;
        fs::remove_dir_all(&place.dir).context(|| place.dir.display())?;
        say::aside(format_args!("{} is down", place.name));
    }
    let facts = directory.join(facts::FILE);
    if names.len() == Name::value_variants().len() && facts.exists() {
        fs::remove_file(&facts).context(|| facts.display())?;
    }
    Ok(())
}

fn status(directory: &Path) -> Result<()> {
    for name in Name::value_variants() {
        let dir = directory.join(name.text());
        let running = Processes::of(&dir).running()?;
        let state = match (running.first(), dir.join(COMPLETE).is_file()) {
            (Some(pid), _) => format!("runs, process {pid}"),
            (None, true) => "stopped; its data is there".to_owned(),
            (None, false) => "not there".to_owned(),
        };
        say::line(format_args!("{:<10} {state}", name.text()));
    }
    Ok(())
}

/// A process that was started, and where in its log this start begins.
struct Launched {
    part: &'static str,
    processes: Processes,
    begun: Instant,
    log: PathBuf,
    log_from: usize,
}

/// Starts processes of a server, unless they run already.
fn launch(name: Name, place: &Place, parts: &[&'static str]) -> Result<Vec<Launched>> {
    parts.iter().map(|part| launch_part(name, place, part)).collect()
}

fn launch_part(name: Name, place: &Place, part: &'static str) -> Result<Launched> {
    let log = place.dir.join(part).with_added_extension("log");
    let processes = Processes::of(&place.dir).part(part);
    let runs = !processes.are_gone()?;
    // Of a server that runs, any start in its log will do; of one that is started, only the next.
    let log_from = if runs { 0 } else { fs::metadata(&log).map_or(0, |metadata| metadata.len() as usize) };
    if !runs {
        processes.start(&mut name.service().command(place, part)?, &log)?;
    }
    Ok(Launched { part, processes, begun: Instant::now(), log, log_from })
}

/// Waits until all that were started are ready.
fn wait(name: Name, place: &Place, launched: &[Launched]) -> Result<()> {
    for part in launched {
        part.wait(name)?;
    }
    let begun = launched.iter().map(|part| part.begun.elapsed()).max().unwrap_or_default();
    say::aside(format_args!("{} is ready ({:.1} s)", place.name, begun.as_secs_f64()));
    Ok(())
}

impl Launched {
    /// Waits until the process says that it is ready.
    fn wait(&self, name: Name) -> Result<()> {
        let ready = name.service().ready(self.part);
        while !self.said().contains(ready) {
            if self.processes.are_gone()? {
                return Err(self.error(name, "ended instead of serving"));
            }
            if self.begun.elapsed() > READY_MAX {
                return Err(self.error(name, &format!("was not ready within {} s", READY_MAX.as_secs())));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn said(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(log.get(self.log_from..).unwrap_or_default()).into_owned()
    }

    /// An error with the end of the log.
    fn error(&self, name: Name, what: &str) -> Error {
        let said = self.said();
        let lines: Vec<&str> = said.lines().collect();
        let last = lines.get(lines.len().saturating_sub(30)..).unwrap_or_default().join("\n");
        Error::new(format_args!("{} ({}) {what}; {} ends with\n{last}", name.text(), self.part, self.log.display()))
    }
}

impl Name {
    fn service(self) -> &'static dyn Service {
        match self {
            Name::Kafka => &kafka::Kafka,
            Name::Rabbitmq => &rabbitmq::RabbitMq,
            Name::Mariadb => &mariadb::MariaDb,
            Name::Postgres => &postgres::Postgres,
            Name::Kudu => &kudu::ONE,
            Name::Kudu3 => &kudu::THREE,
            Name::Ldap => &ldap::Ldap,
            Name::Hs2 => &hs2::HiveServer,
        }
    }

    /// All processes, or the one that was asked for.
    fn chosen(self, wanted: Option<&str>) -> Result<Vec<&'static str>> {
        let parts = self.service().parts();
        let Some(wanted) = wanted else { return Ok(parts.to_vec()) };
        let found = parts.iter().find(|part| **part == wanted);
        let expected = || Error::new(format_args!("expected one of {}, got {wanted}", parts.join(", ")));
        found.map(|part| vec![*part]).ok_or_else(expected)
    }

    fn text(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

impl Place {
    fn of(workspace: &Workspace, directory: &Path, name: Name) -> Self {
        let name = name.text();
        Place { dir: directory.join(&name), cache: workspace.cache.clone(), ports: Ports::default(), name }
    }

    /// The place with its ports and configuration, which are made where they are not there yet.
    fn prepared(mut self, name: Name, wishes: Wishes) -> Result<Self> {
        if self.dir.join(COMPLETE).is_file() {
            return self.with_ports();
        }
        if self.dir.exists() {
            fs::remove_dir_all(&self.dir).context(|| self.dir.display())?;
        }
        fs::create_dir_all(&self.dir).context(|| self.dir.display())?;
        self.ports = Ports::pick(name.service().ports(), wishes.advertise, &self.dir)?;
        self.ports.write(&self.dir)?;
        name.service().configure(&self)?;
        self.write(COMPLETE, "").map(|()| self)
    }

    fn with_ports(mut self) -> Result<Self> {
        self.ports = Ports::read(&self.dir)?;
        Ok(self)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.dir.join(name);
        fs::write(&path, text).context(|| path.display())
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// The address of one of its ports.
    fn address(&self, port: &str) -> Result<String> {
        Ok(format!("127.0.0.1:{}", self.ports.get(port)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_has_a_folder_and_ports_of_its_own() {
        for name in Name::value_variants() {
            let ports = name.service().ports();
            assert!(!ports.is_empty() && !name.text().is_empty());
            let mut unique = ports.to_vec();
            unique.sort_unstable();
            unique.dedup();
            assert_eq!(unique.len(), ports.len(), "{ports:?}");
        }
    }

    #[test]
    fn a_process_is_chosen_by_its_name() {
        assert_eq!(Name::Kudu.chosen(None).unwrap(), ["master-1", "tserver-1"]);
        assert_eq!(Name::Kudu3.chosen(Some("tserver-3")).unwrap(), ["tserver-3"]);
        let error = Name::Kafka.chosen(Some("broker")).unwrap_err().to_string();
        assert_eq!(error, "expected one of server, got broker");
    }
}
