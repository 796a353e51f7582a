//! HiveServer2, as Spark's Thrift server has it, with a directory of its own that knows the passwords. It stands in for Impala,
//! which no registry carries: the same protocol, SASL and LDAP.
//!
//! Its settings are in `hs2.flags`, one argument a line: who wants others changes them there, kills the part `hs2` and starts it again.
//! Without the line of `baseDN` the name that a user gives is taken as a distinguished name.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::facts::Fact;
use super::{COMPLETE, Place, Service, clients, ldap};
use crate::apt;
use crate::error::{Context, Error, Result};
use crate::maven;
use crate::process;
use crate::say;
use crate::workspace::Workspace;

const SPARK: &str = "3.5.9";

/// The newest for this Spark; it talks to newer clusters.
const KUDU_SPARK: &str = "1.17.1";

/// Spark, and a client that is not ours.
const LIBRARIES: [&str; 2] = ["pyspark==3.5.9", "impyla==0.24.0"];

const DIRECTORY: &str = "slapd";
const SERVER: &str = "hs2";

/// HiveServer2.
pub struct HiveServer;

impl Service for HiveServer {
    fn install(&self, workspace: &Workspace) -> Result<()> {
        ldap::install(workspace)?;
        let _lock = workspace.lock("hs2")?;
        if process::on_path("java").is_none() {
            apt::install_named(&["openjdk-17-jre-headless"], "Java, which runs Spark")?;
        }
        let home = home(&workspace.cache);
        if !home.join(COMPLETE).is_file() {
            fetch(&home)?;
        }
        Ok(())
    }

    fn ports(&self) -> &'static [&'static str] {
        &[ldap::PORTS[0], ldap::PORTS[1], "thrift"]
    }

    fn parts(&self) -> &'static [&'static str] {
        &[DIRECTORY, SERVER]
    }

    fn configure(&self, place: &Place) -> Result<()> {
        ldap::configure(place)?;
        place.write("hs2.flags", &flags(place)?)
    }

    fn command(&self, place: &Place, part: &str) -> Result<Command> {
        if part == DIRECTORY {
            return ldap::command(place);
        }
        let flags = place.dir.join("hs2.flags");
        let flags = fs::read_to_string(&flags).context(|| flags.display())?;
        let spark = spark(&place.cache)?;
        let mut command = Command::new(spark.join("bin/spark-submit"));
        // Derby logs where it is started.
        command.current_dir(&place.dir).env("SPARK_HOME", &spark).env("SPARK_LOCAL_IP", "127.0.0.1");
        command.env("SPARK_LOCAL_DIRS", place.path("temporary")).args(flags.lines());
        Ok(command)
    }

    fn ready(&self, part: &str) -> &'static str {
        if part == DIRECTORY { ldap::READY } else { "HiveThriftServer2 started" }
    }

    fn facts(&self, place: &Place) -> Result<Vec<Fact>> {
        let python = home(&place.cache).join("bin/python");
        Ok(vec![
            Fact::text("address", place.address("thrift")?),
            Fact::text("user", ldap::USER),
            Fact::text("password", ldap::PASSWORD),
            Fact::text("database", "default"),
            Fact::text("python", python.display().to_string()),
            Fact::text("dir", place.dir.display().to_string()),
            Fact::text("log", place.path("hs2.log")),
            Fact::group("ldap".to_owned(), ldap::facts(place)?),
        ])
    }
}

/// An environment of Python: Spark comes as one of its packages.
fn home(cache: &Path) -> PathBuf {
    cache.join("hs2").join(SPARK)
}

fn jar(home: &Path) -> PathBuf {
    home.join(format!("kudu-spark3_2.12-{KUDU_SPARK}.jar"))
}

fn spark(cache: &Path) -> Result<PathBuf> {
    let lib = home(cache).join("lib");
    let versions = fs::read_dir(&lib).context(|| lib.display())?.flatten();
    let mut packages = versions.map(|version| version.path().join("site-packages/pyspark"));
    packages.find(|path| path.is_dir()).ok_or_else(|| Error::new(format_args!("{}: expected pyspark", lib.display())))
}

fn fetch(home: &Path) -> Result<()> {
    say::aside(format_args!("Installing Spark {SPARK} from PyPI: 320 MB."));
    let path = home.display().to_string();
    clients::make_environment(&path)?;
    let mut pip = Command::new(home.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(LIBRARIES);
    process::run_aside(&mut pip)?;
    let coordinates = format!("org.apache.kudu:kudu-spark3_2.12:{KUDU_SPARK}");
    maven::fetch_file(&coordinates, "Kudu's tables for Spark: 15 MB", home)?;
    if !jar(home).is_file() {
        return Err(Error::new(format_args!("{}: is missing", jar(home).display())));
    }
    let repository = home.join("repository");
    fs::remove_dir_all(&repository).context(|| repository.display())?;
    let complete = home.join(COMPLETE);
    fs::write(&complete, "").context(|| complete.display())
}

/// One task at a time, a small heap, and nothing that listens but Thrift.
fn flags(place: &Place) -> Result<String> {
    let mut flags = String::from(FLAGS);
    let _ = writeln!(flags, "--conf\nspark.sql.warehouse.dir={}", place.path("warehouse"));
    let _ = writeln!(flags, "--jars\n{}\nspark-internal", jar(&home(&place.cache)).display());
    for (name, value) in [
        ("thrift.port", place.ports.get("thrift")?.to_string()),
        ("thrift.bind.host", "127.0.0.1".to_owned()),
        ("authentication", "LDAP".to_owned()),
        ("authentication.ldap.url", format!("ldap://{}", place.address("ldap")?)),
        ("authentication.ldap.baseDN", ldap::PEOPLE.to_owned()),
    ] {
        let _ = writeln!(flags, "--hiveconf\nhive.server2.{name}={value}");
    }
    Ok(flags)
}

const FLAGS: &str = "\
--class
org.apache.spark.sql.hive.thriftserver.HiveThriftServer2
--master
local[1]
--driver-memory
1g
--driver-java-options
-XX:+UseSerialGC -XX:TieredStopAtLevel=1
--conf
spark.ui.enabled=false
--conf
spark.driver.bindAddress=127.0.0.1
--conf
spark.driver.host=127.0.0.1
--conf
spark.sql.catalogImplementation=in-memory
--conf
spark.sql.shuffle.partitions=1
";
