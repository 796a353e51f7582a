//! A RabbitMQ of the tests' own, from the installed Debian package: its data in a temporary folder, ended by its process id.

use std::fs;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::harness::free_port;

/// How long a server may take to be there.
const START_TIME_MAX: Duration = Duration::from_secs(120);
/// Where Debian's package has its commands.
const BIN: &str = "/usr/lib/rabbitmq/bin";

/// A running server. Dropping it ends it.
pub struct Server {
    dir: TempDir,
    process: Mutex<Child>,
    pub port: u16,
    pub tls_port: u16,
    epmd_port: u16,
    dist_port: u16,
}

/// The server that all tests share which do not break it. It ends with the last test that uses it.
pub fn shared() -> Arc<Server> {
    static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(Server::start());
    *shared = Arc::downgrade(&server);
    server
}

impl Server {
    /// Starts a server, with a user `weir` whose password is `hunter2`, and waits until it takes connections.
    pub fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let (port, tls_port) = (free_port(), free_port());
        let path = |name: &str| dir.path().join(name).display().to_string();
        certificates(&dir);
        fs::write(dir.path().join("enabled_plugins"), "[rabbitmq_auth_mechanism_ssl].").unwrap();
        let config = format!(
            "listeners.tcp.1 = 127.0.0.1:{port}\nlisteners.ssl.1 = 127.0.0.1:{tls_port}\n\
             ssl_options.cacertfile = {ca}\nssl_options.certfile = {certificate}\nssl_options.keyfile = {key}\n\
             ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = false\n\
             ssl_cert_login_from = common_name\n\
             auth_mechanisms.1 = PLAIN\nauth_mechanisms.2 = EXTERNAL\nmax_message_size = 1000000\n\
             disk_free_limit.absolute = 1MB\n",
            ca = path("ca.pem"),
            certificate = path("server.pem"),
            key = path("server.key"),
        );
        fs::write(dir.path().join("rabbitmq.conf"), config).unwrap();
        let (epmd_port, dist_port) = (free_port(), free_port());
        let process = Mutex::new(launch(&dir, epmd_port, dist_port));
        let server = Server { dir, process, port, tls_port, epmd_port, dist_port };
        server.wait();
        server.ctl(&["add_user", "weir", "hunter2"]);
        server.ctl(&["set_permissions", "weir", ".*", ".*", ".*"]);
        server
    }

    /// A file of its folder: `ca.pem`, `client.pem`, `client.key`, `other-ca.pem`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs `rabbitmqctl`, which has to succeed, and gives what it prints.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let output = self.try_ctl(arguments);
        assert!(output.status.success(), "rabbitmqctl {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn try_ctl(&self, arguments: &[&str]) -> Output {
        environment(&mut Command::new(format!("{BIN}/rabbitmqctl")), &self.dir, self.epmd_port, self.dist_port)
            .arg("--quiet")
            .args(arguments)
            .output()
            .unwrap()
    }

    /// Makes durable what was declared: the broker answers a declaration up to two seconds before it writes it.
    pub fn sync_declarations(&self) {
        self.ctl(&["eval", "mnesia:sync_log()."]);
    }

    /// Kills it as a power cut would.
    pub fn kill(&self) {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = kill_process_group(Pid::from_child(&process), Signal::KILL);
        process.wait().unwrap();
    }

    /// Starts it again after [`Server::kill`].
    pub fn restart(&self) {
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) =
            launch(&self.dir, self.epmd_port, self.dist_port);
        self.wait();
    }

    fn wait(&self) {
        let deadline = Instant::now() + START_TIME_MAX;
        let is_up =
            || TcpStream::connect(("127.0.0.1", self.port)).is_ok() && self.try_ctl(&["status"]).status.success();
        while !is_up() {
            let log = fs::read_to_string(self.path("server.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "RabbitMQ did not start in {START_TIME_MAX:?}: {log}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let process = self.process.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = kill_process_group(Pid::from_child(process), Signal::KILL);
        let _ = process.wait();
        for pid in port_mappers(self.epmd_port) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// The port mapper of a server. It goes into the background by itself, so it is found by its environment.
fn port_mappers(epmd_port: u16) -> Vec<Pid> {
    let wanted = format!("ERL_EPMD_PORT={epmd_port}");
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok).map(|entry| entry.path());
    let ours = processes.filter(|process| {
        let is_mapper = fs::read_to_string(process.join("comm")).is_ok_and(|name| name.trim() == "epmd");
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        is_mapper && environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    });
    ours.filter_map(|process| Pid::from_raw(process.file_name()?.to_str()?.parse().ok()?)).collect()
}

fn launch(dir: &TempDir, epmd_port: u16, dist_port: u16) -> Child {
    let log = fs::File::options().create(true).append(true).open(dir.path().join("server.log")).unwrap();
    environment(&mut Command::new(format!("{BIN}/rabbitmq-server")), dir, epmd_port, dist_port)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        // A group of its own, so that the script and what it starts end together.
        .process_group(0)
        .spawn()
        .expect("RabbitMQ is installed: apt-get install rabbitmq-server")
}

fn environment<'a>(command: &'a mut Command, dir: &TempDir, epmd_port: u16, dist_port: u16) -> &'a mut Command {
    let path = |name: &str| dir.path().join(name);
    command
        .env("HOME", dir.path())
        .env("RABBITMQ_NODENAME", format!("weir{dist_port}@localhost"))
        .env("RABBITMQ_MNESIA_BASE", path("mnesia"))
        .env("RABBITMQ_LOG_BASE", path("log"))
        .env("RABBITMQ_CONFIG_FILE", path("rabbitmq"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins"))
        .env("RABBITMQ_PID_FILE", path("pid"))
        .env("RABBITMQ_DIST_PORT", dist_port.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("ERL_EPMD_PORT", epmd_port.to_string())
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
}

/// An authority, what it signed for the server and for a client named `weir`, and an authority that signed nothing.
fn certificates(dir: &TempDir) {
    let write = |name: &str, text: String| fs::write(dir.path().join(name), text).unwrap();
    let authority = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), Issuer::new(params, key))
    };
    let (ca, issuer) = authority("weir tests");
    write("ca.pem", ca);
    write("other-ca.pem", authority("somebody else").0);
    for (file, name) in [("server", "localhost"), ("client", "weir")] {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        write(&format!("{file}.pem"), params.signed_by(&key, &issuer).unwrap().pem());
        write(&format!("{file}.key"), key.serialize_pem());
    }
}
