//! MariaDB, from Debian's packages: a server with one user and one database.

use std::path::Path;
use std::process::Command;

use super::certificates;
use super::facts::Fact;
use super::{Place, Service};
use crate::apt;
use crate::error::Result;
use crate::process;
use crate::workspace::Workspace;

const USER: &str = "weir";
const PASSWORD: &str = "weir-secret";
const DATABASE: &str = "shop";

/// The server is in the one package, the client in the other.
const PACKAGES: [(&str, &str); 2] =
    [("/usr/sbin/mariadbd", "mariadb-server-core"), ("/usr/bin/mariadb", "mariadb-client-core")];

/// MariaDB.
pub struct MariaDb;

impl Service for MariaDb {
    fn install(&self, workspace: &Workspace) -> Result<()> {
        let _lock = workspace.lock("apt")?;
        let missing = PACKAGES.iter().filter(|(program, _)| !Path::new(program).is_file());
        let missing: Vec<&str> = missing.map(|(_, package)| *package).collect();
        if missing.is_empty() { Ok(()) } else { apt::install_named(&missing, "MariaDB") }
    }

    fn ports(&self) -> &'static [&'static str] {
        &["mysql"]
    }

    fn configure(&self, place: &Place) -> Result<()> {
        certificates::make(&place.dir, USER)?;
        place.write("init.sql", &init())?;
        let mut install = Command::new("mariadb-install-db");
        install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        process::output(install.arg("--user=root").arg(format!("--datadir={}", place.path("data")))).map(drop)
    }

    fn command(&self, place: &Place, _: &str) -> Result<Command> {
        let mut command = Command::new("/usr/sbin/mariadbd");
        command.args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1"]);
        command.arg(format!("--datadir={}", place.path("data")));
        command.arg(format!("--socket={}", place.path("socket")));
        command.arg(format!("--pid-file={}", place.path("pid")));
        command.arg(format!("--init-file={}", place.path("init.sql")));
        command.arg(format!("--ssl-ca={}", certificates::path(&place.dir, "ca.pem")?));
        command.arg(format!("--ssl-cert={}", certificates::path(&place.dir, "server.pem")?));
        command.arg(format!("--ssl-key={}", certificates::path(&place.dir, "server.key")?));
        command.arg(format!("--port={}", place.ports.get("mysql")?));
        Ok(command)
    }

    fn ready(&self, _: &str) -> &'static str {
        "ready for connections"
    }

    fn facts(&self, place: &Place) -> Result<Vec<Fact>> {
        let address = place.address("mysql")?;
        Ok(vec![
            Fact::text("url", format!("mysql://{USER}@{address}/{DATABASE}")),
            Fact::text("address", address),
            Fact::text("user", USER),
            Fact::text("password", PASSWORD),
            Fact::text("database", DATABASE),
            Fact::text("client", "mariadb"),
            Fact::text("ca", certificates::path(&place.dir, "ca.pem")?),
            Fact::text("other_ca", certificates::path(&place.dir, "other-ca.pem")?),
            Fact::text("socket", place.path("socket")),
        ])
    }
}

/// What holds after each start.
fn init() -> String {
    format!(
        "CREATE DATABASE IF NOT EXISTS {DATABASE} CHARACTER SET utf8mb4;\n\
         CREATE USER IF NOT EXISTS {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n\
         GRANT ALL ON *.* TO {USER}@'127.0.0.1';\n\
         CREATE USER IF NOT EXISTS {USER}@localhost IDENTIFIED BY '{PASSWORD}';\n\
         GRANT ALL ON *.* TO {USER}@localhost;\n"
    )
}
