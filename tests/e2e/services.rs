//! Real servers: those that `cargo xtask test` shares among all tests, and those that a test brings up for itself because it
//! will kill them. Also the clients of theirs that are not Weir's.

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const HINT: &str = "`cargo xtask test` starts the servers and names them";

/// What `cargo xtask services up` printed.
pub struct Facts(Value);

impl Facts {
    /// Those of the servers that all tests share. Tests use names of their own there, and kill nothing.
    pub fn shared() -> Self {
        let path = env::var_os("WEIR_SERVICES").expect(HINT);
        Facts(serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
    }

    /// A text, such as `kafka` `bootstrap`.
    pub fn text(&self, server: &str, name: &str) -> &str {
        self.0[server][name].as_str().unwrap_or_else(|| panic!("no {server} {name} in {}", self.0))
    }

    /// A text of a group, such as `ldap` `passwords` `ada`.
    pub fn nested(&self, server: &str, group: &str, name: &str) -> &str {
        self.0[server][group][name].as_str().unwrap_or_else(|| panic!("no {server} {group} {name} in {}", self.0))
    }

    /// RabbitMQ's URL with the password in it, for clients that want it there, at an address.
    pub fn rabbitmq_url(&self, address: &str) -> String {
        format!("amqp://{}:{}@{address}/%2f", self.text("rabbitmq", "user"), self.text("rabbitmq", "password"))
    }

    /// The address in RabbitMQ's own URL.
    pub fn rabbitmq_address(&self) -> &str {
        let (_, rest) = self.text("rabbitmq", "amqp").split_once('@').unwrap();
        rest.split('/').next().unwrap()
    }

    /// Runs `rabbitmqctl` and returns what it printed.
    pub fn rabbitmqctl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(self.text("rabbitmq", "ctl"));
        for (name, value) in self.0["rabbitmq"]["ctl_env"].as_object().unwrap() {
            command.env(name, value.as_str().unwrap());
        }
        run(command.args(arguments))
    }

    /// Runs `kudu` against the masters of a server, which stand behind the first two arguments, and returns what it printed.
    pub fn kudu(&self, server: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(self.text(server, "cli"));
        for (name, value) in self.0[server]["cli_env"].as_object().unwrap() {
            command.env(name, value.as_str().unwrap());
        }
        let (what, rest) = arguments.split_at(2);
        run(command.args(what).arg(self.text(server, "masters")).args(rest))
    }

    /// One of the commands of `brokers/clients.py`.
    fn client(&self, arguments: &[&str]) -> Command {
        let script = clone().join("tests/e2e/brokers/clients.py");
        let mut command = Command::new(self.text("clients", "python"));
        command.arg(script).args(arguments);
        command
    }

    /// Runs a client to its end and returns what it printed.
    pub fn ask(&self, arguments: &[&str]) -> String {
        run(self.client(arguments).stdin(Stdio::null()))
    }

    /// Runs a client that sends lines.
    pub fn put(&self, arguments: &[&str], lines: &str) {
        let mut child = self.client(arguments).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{arguments:?} failed");
    }

    /// Runs a client that prints an object a line.
    pub fn read(&self, arguments: &[&str]) -> Vec<Value> {
        self.ask(arguments).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Starts a client that sends until it is told to stop.
    pub fn start(&self, arguments: &[&str], log: &Path) -> Sender {
        let mut command = self.client(arguments);
        command.arg("--log").arg(log);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take();
        Sender { child, input, log: log.to_owned() }
    }
}

/// `cargo xtask`, as it was built.
pub fn xtask() -> Command {
    let mut xtask = Command::new(env::var_os("WEIR_XTASK").expect(HINT));
    // It finds the clone by the folder of its own manifest, as cargo names it; here cargo names that of the tests.
    xtask.env("CARGO_MANIFEST_DIR", clone().join("deploy/xtask"));
    xtask
}

/// The clone in which the tests run: another one with the same target directory may have built them.
pub fn clone() -> PathBuf {
    PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).parent().unwrap().to_owned()
}

pub fn run(command: &mut Command) -> String {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// A client that sends numbered messages; killed when it is dropped.
pub struct Sender {
    child: Child,
    input: Option<ChildStdin>,
    log: PathBuf,
}

/// What became of the numbers that were sent.
#[derive(Debug, Default)]
pub struct Sent {
    /// The broker confirmed them, in this order.
    pub confirmed: Vec<u64>,
    /// The connection broke before it did.
    pub maybe: Vec<u64>,
}

impl Sender {
    /// Whether it still sends.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Lets it finish what it has begun, and tells what became of each number.
    pub fn stop(mut self) -> Sent {
        drop(self.input.take());
        assert!(self.child.wait().unwrap().success(), "the sender that logs to {} failed", self.log.display());
        let mut sent = Sent::default();
        for line in fs::read_to_string(&self.log).unwrap().lines() {
            match line.split_once(' ').unwrap() {
                ("sent", number) => sent.confirmed.push(number.parse().unwrap()),
                (_, number) => sent.maybe.push(number.parse().unwrap()),
            }
        }
        sent
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Servers of one test alone, which it may kill; taken down when this is dropped.
pub struct Servers {
    dir: TempDir,
    pub facts: Facts,
}

impl Servers {
    /// Brings servers up, with the clients. Kafka tells its clients to come to a port of this machine where one is given.
    pub fn up(names: &[&str], advertise: Option<u16>) -> Self {
        let dir = TempDir::new().unwrap();
        let mut servers = Servers { dir, facts: Facts(Value::Null) };
        let mut up = servers.xtask("up", names);
        up.arg("--clients");
        if let Some(port) = advertise {
            up.args(["--advertise", &port.to_string()]);
        }
        servers.facts = Facts(serde_json::from_str(&run(&mut up)).unwrap());
        servers
    }

    /// Ends a server with SIGKILL.
    pub fn kill(&self, name: &str) {
        run(&mut self.xtask("kill", &[name]));
    }

    /// Starts it again and waits until it is ready.
    pub fn start(&self, name: &str) {
        run(&mut self.xtask("start", &[name]));
    }

    /// Ends a process of a server that has several.
    pub fn kill_part(&self, name: &str, part: &str) {
        run(self.xtask("kill", &[name]).args(["--part", part]));
    }

    /// Starts it again and waits until it is ready.
    pub fn start_part(&self, name: &str, part: &str) {
        run(self.xtask("start", &[name]).args(["--part", part]));
    }

    fn xtask(&self, command: &str, names: &[&str]) -> Command {
        let mut xtask = xtask();
        xtask.args(["services", command]).args(names).arg("--dir").arg(self.dir.path());
        xtask
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let kept = self.dir.path().with_extension("kept");
            let _ = Command::new("cp").arg("-a").arg(self.dir.path()).arg(&kept).status();
            eprintln!("what the servers wrote is kept: {}", kept.display());
        }
        let log = File::create(self.dir.path().join("down.log")).ok();
        let mut down = self.xtask("down", &[]);
        if let Some(log) = log {
            down.stderr(log);
        }
        let _ = down.status();
    }
}

/// A name that no other run of the tests gives to its queues and topics.
pub fn unique(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

/// Parses an address such as `127.0.0.1:5672`.
pub fn address(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}
