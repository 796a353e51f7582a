//! `os-log-to-mysql`: failed logins from a log file to a table of MariaDB.

use std::process::Command;

use super::weir::Weir;
use super::{Settings, Stage, Story, show};
use crate::error::{Error, Result};
use crate::process;
use crate::say;
use crate::services::Name;

const TABLE: &str = "os_service_log";
const DATABASE: &str = "logs";
/// Lines of the sample that tell of a failed login.
const ROWS: u64 = 16;

/// The story. The log lies beside the pipeline file, so nothing is sent.
pub struct Logins;

impl Story for Logins {
    fn about(&self) -> &'static str {
        "The log of an SSH server is parsed, SQL keeps the failed logins, and each becomes one row of a table in MariaDB,\n\
         in one transaction with a row that says how far the log was read: none is lost, none comes twice."
    }

    fn servers(&self) -> &'static [Name] {
        &[Name::Mariadb]
    }

    fn prepare(&mut self, stage: &Stage<'_>) -> Result<Settings> {
        let statement = format!("CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4");
        process::output(&mut client(stage, "mysql", &statement)?)?;
        Ok(Settings {
            replaced: vec![("127.0.0.1:3306", stage.servers.text("mariadb", "address")?.to_owned())],
            secrets: vec![("MYSQL_PASSWORD", stage.servers.text("mariadb", "password")?.to_owned())],
        })
    }

    fn feed(&self, stage: &Stage<'_>, _: &mut Weir) -> Result<()> {
        let lines = stage.read("sshd.log")?.lines().count();
        say::line(format_args!("It reads sshd.log, {lines} lines, and would follow it as it grows."));
        Ok(())
    }

    fn expected(&self) -> u64 {
        ROWS
    }

    /// The table is not there before the first row.
    fn arrived(&self, stage: &Stage<'_>) -> Result<u64> {
        let tables = process::output(client(stage, DATABASE, "SHOW TABLES")?.arg("--skip-column-names"))?;
        if !tables.lines().any(|table| table == TABLE) {
            return Ok(0);
        }
        let count = format!("SELECT COUNT(*) FROM {TABLE}");
        let said = process::output(client(stage, DATABASE, &count)?.arg("--skip-column-names"))?;
        said.trim()
            .parse()
            .map_err(|error| Error::new(format_args!("expected a number of rows, got {said:?}: {error}")))
    }

    fn show(&self, stage: &Stage<'_>) -> Result<()> {
        let rows = format!("SELECT logged_at, host, service, pid, message FROM {TABLE} ORDER BY logged_at, message");
        show(client(stage, DATABASE, &rows)?.arg("--table"))?;
        let pattern = "]: (Failed password|Invalid user)";
        let mut grep = Command::new("grep");
        grep.current_dir(&stage.directory).args(["-E", "-c", pattern, "sshd.log"]);
        say::line("\nThe same number, counted in the log and in the table:");
        show(&mut grep)?;
        show(client(stage, DATABASE, &format!("SELECT COUNT(*) FROM {TABLE}"))?.arg("--skip-column-names"))
    }
}

/// MariaDB's own client. The password is that of a server for a few seconds, so it may be seen.
fn client(stage: &Stage<'_>, database: &str, statement: &str) -> Result<Command> {
    let fact = |name: &str| stage.servers.text("mariadb", name);
    let (host, port) = fact("address")?.split_once(':').unwrap_or_default();
    let mut client = Command::new(fact("client")?);
    client.args(["--no-defaults", "--protocol=tcp", "-h", host, "-P", port, "-u", fact("user")?]);
    client.arg(format!("-p{}", fact("password")?)).args([database, "-e", statement]);
    Ok(client)
}
