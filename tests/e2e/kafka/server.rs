//! A real Kafka for tests: one broker on the loopback interface, of the jars that `cargo xtask services` keeps, ended with the test.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::free_port;
use crate::services::Facts;

/// How long a broker may take to be ready, on a machine that is busy with other tests.
const READY_TIME_MAX: Duration = Duration::from_secs(120);
/// The user of the listener with TLS, and its password.
pub const USER: (&str, &str) = ("alice", "alice-secret");

/// A broker.
pub struct Kafka {
    dir: TempDir,
    ports: [u16; 3],
    guard: Option<Child>,
}

impl Kafka {
    /// The broker that tests share: with topics of their own they do not meet.
    pub fn shared() -> &'static Kafka {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        SHARED.get_or_init(|| {
            let mut kafka = Kafka::prepare();
            kafka.start();
            kafka
        })
    }

    /// A broker that was never started; its address is known.
    pub fn prepare() -> Kafka {
        let kafka = Kafka { dir: TempDir::new().unwrap(), ports: [free_port(), free_port(), free_port()], guard: None };
        make_certificates(&kafka.path("tls"));
        kafka.write_settings();
        kafka.format();
        kafka
    }

    /// `host:port` without encryption and login.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// `host:port` with TLS and SASL.
    pub fn secure_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[1])
    }

    /// The certificate of whoever signed the broker's.
    pub fn ca(&self) -> PathBuf {
        self.path("tls/ca.pem")
    }

    /// Starts it and waits until it is ready.
    pub fn start(&mut self) {
        let log = self.path("broker.log");
        let out = fs::File::create(&log).unwrap();
        // The shell ends the broker when its own input ends: also when the test process is killed.
        let mut command = Command::new("bash");
        command.args(["-c", "\"$@\" </dev/null & broker=$!; cat >/dev/null; kill -9 $broker; wait $broker"]);
        command.arg("kafka").args(self.java()).args(["kafka.Kafka"]).arg(self.path("server.properties"));
        command.stdin(Stdio::piped()).stdout(out.try_clone().unwrap()).stderr(out);
        let mut guard = command.spawn().unwrap();
        let end = Instant::now() + READY_TIME_MAX;
        while !fs::read_to_string(&log).unwrap_or_default().contains("Kafka Server started") {
            let text = fs::read_to_string(&log).unwrap_or_default();
            assert!(guard.try_wait().unwrap().is_none() && Instant::now() < end, "no broker: {text}");
            std::thread::sleep(Duration::from_millis(50));
        }
        self.guard = Some(guard);
    }

    /// Kills it with -9; what it has on disk stays.
    pub fn kill(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            drop(guard.stdin.take());
            guard.wait().unwrap();
        }
    }

    /// Lets nobody but the user bob use something from now on: `["--topic", NAME]`.
    pub fn keep_for_bob(&self, what: &[&str]) {
        let java = self.java();
        let mut command = Command::new(&java[0]);
        command.args(&java[1..]).args(["org.apache.kafka.tools.AclCommand", "--bootstrap-server", &self.address()]);
        command.args(["--add", "--allow-principal", "User:bob", "--operation", "All"]).args(what);
        let done = command.output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn java(&self) -> Vec<String> {
        let log4j = format!("-Dlog4j2.configurationFile={}", self.path("log4j2.properties").display());
        let classes = format!("{}/*", Facts::shared().text("kafka", "jars"));
        ["java", "-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", &log4j, "-cp", &classes]
            .map(str::to_owned)
            .to_vec()
    }

    fn write_settings(&self) {
        fs::write(
            self.path("log4j2.properties"),
            "rootLogger.level=INFO\nrootLogger.appenderRef.c.ref=C\nappender.c.type=Console\nappender.c.name=C\n\
             appender.c.layout.type=PatternLayout\nappender.c.layout.pattern=[%d] %p %m (%c)%n\n",
        )
        .unwrap();
        let [plain, secure, controller] = self.ports;
        let (user, password) = USER;
        let (data, tls) = (self.path("data"), self.path("tls"));
        let settings = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\ninter.broker.listener.name=PLAINTEXT\nlog.dirs={data}\n\
             listeners=PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{secure},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{secure}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL\n\
             sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512\n\
             listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}=\"{password}\";\n\
             listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
             ssl.keystore.type=PEM\nssl.keystore.location={tls}/server.pem\nssl.truststore.type=PEM\nssl.truststore.location={tls}/ca.pem\n\
             group.initial.rebalance.delay.ms=0\noffsets.topic.num.partitions=4\ntransaction.state.log.num.partitions=4\n\
             share.coordinator.state.topic.num.partitions=1\nshare.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\n\
             offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
             allow.everyone.if.no.acl.found=true\nsuper.users=User:ANONYMOUS\n\
             auto.create.topics.enable=false\nlog.retention.ms=-1\nlog.cleaner.dedupe.buffer.size=16777216\nbroker.heartbeat.interval.ms=500\nbroker.session.timeout.ms=3000\n",
            data = data.display(),
            tls = tls.display(),
        );
        fs::write(self.path("server.properties"), settings).unwrap();
    }

    fn format(&self) {
        let java = self.java();
        let mut command = Command::new(&java[0]);
        command.args(&java[1..]).args([
            "kafka.tools.StorageTool",
            "format",
            "--standalone",
            "-t",
            "MkU3OEVBNTcwNTJENDM2Qk",
        ]);
        command.arg("-c").arg(self.path("server.properties"));
        command.arg("--add-scram").arg(format!("SCRAM-SHA-512=[name={},password={}]", USER.0, USER.1));
        let done = command.output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A certificate authority, and a certificate of it for the loopback interface, as the broker reads them.
fn make_certificates(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "kafka-it-ca");
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    fs::write(dir.join("ca.pem"), ca_certificate.pem()).unwrap();
    let mut server = fs::File::create(dir.join("server.pem")).unwrap();
    server.write_all((key.serialize_pem() + &certificate.pem() + &ca_certificate.pem()).as_bytes()).unwrap();
}
