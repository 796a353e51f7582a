//! PostgreSQL, from Debian's package. It does not run as root: where we are root, it runs as the user that the package made, who may
//! pass through our directories but owns only its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::certificates;
use super::facts::Fact;
use super::{LOOK, Place, Service};
use crate::apt;
use crate::error::{Context, Error, Result};
use crate::process;
use crate::workspace::Workspace;

/// The package has a directory for each version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// The user that the package makes.
const SYSTEM_USER: &str = "postgres";

/// How long helpers of a server that was killed may take to notice.
const HELPERS_MAX: Duration = Duration::from_secs(20);

const USER: &str = "weir";
const PASSWORD: &str = "weir-secret";

/// PostgreSQL.
pub struct Postgres;

impl Service for Postgres {
    fn install(&self, workspace: &Workspace) -> Result<()> {
        let _lock = workspace.lock("apt")?;
        if programs().is_err() {
            apt::install_named(&["postgresql"], "PostgreSQL")?;
        }
        Ok(())
    }

    fn ports(&self) -> &'static [&'static str] {
        &["postgres"]
    }

    fn configure(&self, place: &Place) -> Result<()> {
        certificates::make(&place.dir, USER)?;
        place.write("password", PASSWORD)?;
        fs::create_dir(place.dir.join("data")).context(|| place.path("data"))?;
        if is_root() {
            process::run_aside(Command::new("chown").arg(SYSTEM_USER).arg(place.path("data")))?;
        }
        let mut init = as_user(&programs()?.join("initdb"));
        init.arg("--pgdata").arg(place.path("data")).arg("--username").arg(USER);
        init.arg("--pwfile").arg(place.path("password"));
        process::run_aside(init.args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]))
    }

    fn command(&self, place: &Place, _: &str) -> Result<Command> {
        forget_killed(&place.dir.join("data"))?;
        let mut command = as_user(&programs()?.join("postgres"));
        command.arg("-D").arg(place.path("data")).arg("-p").arg(place.ports.get("postgres")?.to_string());
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        command.args(["-c", "ssl=on"]);
        command.arg("-c").arg(format!("ssl_cert_file={}", certificates::path(&place.dir, "server.pem")?));
        command.arg("-c").arg(format!("ssl_key_file={}", certificates::path(&place.dir, "server.key")?));
        Ok(command)
    }

    fn ready(&self, _: &str) -> &'static str {
        "ready to accept connections"
    }

    fn facts(&self, place: &Place) -> Result<Vec<Fact>> {
        let address = place.address("postgres")?;
        Ok(vec![
            Fact::text("url", format!("postgres://{USER}@{address}/postgres")),
            Fact::text("address", address),
            Fact::text("user", USER),
            Fact::text("password", PASSWORD),
            Fact::text("database", "postgres"),
            Fact::text("ca", certificates::path(&place.dir, "ca.pem")?),
            Fact::text("other_ca", certificates::path(&place.dir, "other-ca.pem")?),
            Fact::text("client", programs()?.join("psql").display().to_string()),
        ])
    }
}

/// Where the programs of the newest version are.
fn programs() -> Result<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = Vec::new();
    for entry in fs::read_dir(VERSIONS).context(|| VERSIONS)?.flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let programs = entry.path().join("bin");
        versions.extend(number.filter(|_| programs.join("initdb").is_file()).map(|number| (number, programs)));
    }
    versions.sort();
    versions.pop().map(|(_, programs)| programs).ok_or_else(|| Error::new(format_args!("{VERSIONS} has no server")))
}

/// Lets a server start where another was killed: waits for helpers of that one, which work in the directory until they notice, and
/// removes its lock, as a process that nobody has waited for yet holds it.
fn forget_killed(data: &Path) -> Result<()> {
    let begun = Instant::now();
    while works_in(data)? {
        if begun.elapsed() > HELPERS_MAX {
            return Err(Error::new(format_args!("{}: somebody still works there", data.display())));
        }
        std::thread::sleep(LOOK);
    }
    match fs::remove_file(data.join("postmaster.pid")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context(|| data.display()),
        _ => Ok(()),
    }
}

fn works_in(data: &Path) -> Result<bool> {
    let mut processes = fs::read_dir("/proc").context(|| "/proc")?.flatten();
    Ok(processes.any(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == data)))
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| std::os::unix::fs::MetadataExt::uid(&process) == 0)
}

/// A program as a user that it accepts.
fn as_user(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={SYSTEM_USER}")).arg(format!("--regid={SYSTEM_USER}")).arg("--clear-groups");
    // Our own directories may be closed to other users.
    command.args(["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]).arg(program);
    command
}
