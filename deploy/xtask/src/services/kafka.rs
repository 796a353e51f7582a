//! Apache Kafka: one node that is broker and controller, from the jars of Maven Central.
//!
//! Three listeners: plain, where everyone may do everything; TLS with SASL, where `weir` may do everything and `stranger`
//! nothing; and, if asked for, a plain one for clients behind a proxy.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::certificates;
use super::facts::Fact;
use super::ports::ADVERTISED;
use super::{Place, Service};
use crate::apt;
use crate::error::{Error, Result};
use crate::maven::{Libraries, Library};
use crate::process;
use crate::workspace::Workspace;

/// Of clients that are Kafka's own as well. 4.3 up to 4.3.1 at least forgets to end transactions in partitions that have no leader while a
/// broker comes back (KAFKA-20734): what was committed there is aborted later, or is never seen. It was met by the kill run.
pub const VERSION: &str = "4.2.1";
const LIBRARIES: [Library; 3] = [
    ("org.apache.kafka", "kafka_2.13", VERSION),
    ("org.apache.kafka", "kafka-tools", VERSION),
    ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.4"),
];

/// Any will do, as each directory is a cluster of its own.
const CLUSTER: &str = "d2Vpci1zZXJ2aWNlcy1vbg";

const USER: &str = "weir";
const STRANGER: &str = "stranger";
const PASSWORD: &str = "weir-secret";

/// Apache Kafka.
pub struct Kafka;

impl Service for Kafka {
    fn install(&self, workspace: &Workspace) -> Result<()> {
        let _lock = workspace.lock("kafka")?;
        if process::on_path("java").is_none() {
            apt::install_named(&["openjdk-17-jre-headless"], "Java, which runs Kafka")?;
        }
        let what = &format!("Apache Kafka {VERSION}: 150 MB");
        Libraries { what, directory: jars(&workspace.cache), wanted: &LIBRARIES }.fetch()
    }

    fn ports(&self) -> &'static [&'static str] {
        &["plain", "sasl_ssl", "controller", "proxied"]
    }

    fn configure(&self, place: &Place) -> Result<()> {
        certificates::make(&place.dir, USER)?;
        place.write("log4j2.properties", LOGGING)?;
        place.write("server.properties", &properties(place)?)?;
        let mut format = java(place, &["-Xmx128m", "-XX:TieredStopAtLevel=1"]);
        format.args(["kafka.tools.StorageTool", "format", "--standalone", "-t", CLUSTER, "-c"]);
        format.arg(place.path("server.properties"));
        for user in [USER, STRANGER] {
            for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
                format.args(["--add-scram", &format!("{mechanism}=[name={user},password={PASSWORD}]")]);
            }
        }
        process::output(&mut format).map(drop)
    }

    fn command(&self, place: &Place, _part: &str) -> Result<Command> {
        // Kafka's own variables; unless told otherwise it starts fast and leaves the processors to what is tested.
        let heap = std::env::var("KAFKA_HEAP_OPTS").unwrap_or_else(|_| "-Xmx512m".to_owned());
        let how = std::env::var("KAFKA_JVM_PERFORMANCE_OPTS");
        let how = how.unwrap_or_else(|_| "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC".to_owned());
        let options: Vec<&str> = heap.split_whitespace().chain(how.split_whitespace()).collect();
        let mut command = java(place, &options);
        command.arg("kafka.Kafka").arg(place.path("server.properties"));
        Ok(command)
    }

    fn ready(&self, _part: &str) -> &'static str {
        "Kafka Server started"
    }

    fn facts(&self, place: &Place) -> Result<Vec<Fact>> {
        let mut facts = vec![
            Fact::text("bootstrap", place.address("plain")?),
            Fact::text("sasl_ssl", place.address("sasl_ssl")?),
            Fact::text("ca", certificates::path(&place.dir, "ca.pem")?),
            Fact::text("other_ca", certificates::path(&place.dir, "other-ca.pem")?),
            Fact::text("user", USER),
            Fact::text("password", PASSWORD),
            Fact::text("stranger", STRANGER),
            Fact::text("jars", jars(&place.cache).display().to_string()),
            Fact::text("log", place.path("server.log")),
        ];
        if place.ports.find(ADVERTISED).is_some() {
            facts.push(Fact::text("proxied", place.address("proxied")?));
        }
        Ok(facts)
    }
}

fn jars(cache: &Path) -> PathBuf {
    cache.join("kafka").join(VERSION)
}

fn java(place: &Place, options: &[&str]) -> Command {
    let mut command = Command::new("java");
    command.current_dir(&place.dir).args(options);
    command.arg(format!("-Dlog4j2.configurationFile={}", place.path("log4j2.properties")));
    command.arg("-cp").arg(jars(&place.cache).join("*"));
    command
}

const LOGGING: &str = "\
rootLogger.level=INFO
rootLogger.appenderRef.out.ref=Out
appender.out.type=Console
appender.out.name=Out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=[%d] %p %m (%c)%n
";

/// One node, so every internal topic has one replica; few partitions and short sessions, so that it is back within seconds
/// after a crash.
fn properties(place: &Place) -> Result<String> {
    let (plain, secured) = (place.address("plain")?, place.address("sasl_ssl")?);
    let (controller, proxied) = (place.address("controller")?, place.address("proxied")?);
    let (mut proxy_listens, mut proxy_advertised) = (String::new(), String::new());
    if let Some(port) = place.ports.find(ADVERTISED) {
        proxy_listens = format!(",PROXIED://{proxied}");
        proxy_advertised = format!(",PROXIED://127.0.0.1:{port}");
    }
    let keystore = certificates::path(&place.dir, "keystore.pem")?;
    let authority = certificates::path(&place.dir, "ca.pem")?;
    let data = place.path("data");
    if data.contains(',') {
        return Err(Error::new(format_args!("{data}: Kafka takes no comma in the path of its data")));
    }
    let module = "org.apache.kafka.common.security";
    Ok(format!(
        r#"process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers={controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners=PLAINTEXT://{plain},SASL_SSL://{secured}{proxy_listens},CONTROLLER://{controller}
advertised.listeners=PLAINTEXT://{plain},SASL_SSL://{secured}{proxy_advertised}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL
log.dirs={data}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:{USER}
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config={module}.plain.PlainLoginModule required user_{USER}="{PASSWORD}" user_{STRANGER}="{PASSWORD}";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={module}.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={module}.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
log.cleaner.dedupe.buffer.size=16777216
log.retention.ms=-1
"#
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::services::ports::Ports;

    fn place(advertised: Option<u16>) -> Place {
        let dir = std::env::temp_dir().join(format!("weir-kafka-{}-{advertised:?}", std::process::id()));
        certificates::make(&dir, USER).unwrap();
        let ports = Ports::pick(Kafka.ports(), advertised, &dir).unwrap();
        Place { name: "kafka".to_owned(), dir, cache: PathBuf::from("/cache"), ports }
    }

    #[test]
    fn a_proxy_is_advertised_where_one_was_asked_for() {
        for port in [None, Some(4_711)] {
            let place = place(port);
            let text = properties(&place).unwrap();
            assert_eq!(text.contains("PROXIED://127.0.0.1:4711\n"), port.is_some(), "{text}");
            assert_eq!(text.matches("PROXIED://").count(), if port.is_some() { 2 } else { 0 });
            assert!(text.contains(&format!("listeners=PLAINTEXT://{}", place.address("plain").unwrap())));
            fs::remove_dir_all(&place.dir).unwrap();
        }
    }
}
