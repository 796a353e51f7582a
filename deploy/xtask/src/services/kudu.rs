//! Apache Kudu: masters and tablet servers, each a process that can be killed alone, from the binaries of Maven Central.
//!
//! Each process reads its flags from a file in the folder, `master-1.flags` and so on: who wants others, such as
//! `--rpc_encryption=required`, adds them there, kills the process and starts it again.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::certificates;
use super::facts::Fact;
use super::{COMPLETE, Place, Service};
use crate::apt;
use crate::error::{Context, Error, Result};
use crate::maven;
use crate::process;
use crate::workspace::Workspace;

/// Of the Java client as well.
pub const VERSION: &str = "1.18.0";

/// Debian's packages of the libraries that the binaries expect to find.
const LIBRARIES: [&str; 5] = ["libkeyutils1", "libcom-err2", "libstdc++6", "libselinux1", "libcrypt1"];

/// Whom the client's certificate names.
const USER: &str = "weir";

const PROGRAMS: [&str; 3] = ["kudu-master", "kudu-tserver", "kudu"];

/// Apache Kudu.
pub struct Kudu {
    masters: &'static [&'static str],
    /// Masters and tablet servers. Each has one port, by its own name.
    parts: &'static [&'static str],
}

/// One of each.
pub const ONE: Kudu = Kudu { masters: &["master-1"], parts: &["master-1", "tserver-1"] };

/// Three of each, so that leaders can move and one of each can be down.
pub const THREE: Kudu = Kudu {
    masters: &["master-1", "master-2", "master-3"],
    parts: &["master-1", "master-2", "master-3", "tserver-1", "tserver-2", "tserver-3"],
};

impl Service for Kudu {
    fn install(&self, workspace: &Workspace) -> Result<()> {
        let _lock = workspace.lock("kudu")?;
        let home = home(&workspace.cache);
        if !home.join(COMPLETE).is_file() {
            fetch(&home)?;
        }
        Ok(())
    }

    fn ports(&self) -> &'static [&'static str] {
        self.parts
    }

    fn parts(&self) -> &'static [&'static str] {
        self.parts
    }

    fn configure(&self, place: &Place) -> Result<()> {
        // Used once the flags name them; until then Kudu has an authority of its own.
        certificates::make(&place.dir, USER)?;
        for part in self.parts {
            let data = place.dir.join(part);
            fs::create_dir(&data).context(|| data.display())?;
            place.write(&format!("{part}.flags"), &self.flags(place, part)?)?;
        }
        Ok(())
    }

    fn command(&self, place: &Place, part: &str) -> Result<Command> {
        let program = if is_master(part) { "kudu-master" } else { "kudu-tserver" };
        let home = home(&place.cache);
        let mut command = Command::new(home.join("bin").join(program));
        command.current_dir(&place.dir).envs(variables(&home));
        command.arg(format!("--flagfile={}", place.path(&format!("{part}.flags"))));
        Ok(command)
    }

    fn ready(&self, part: &str) -> &'static str {
        // A tablet server is known to the leader of the masters when it has found that out.
        if is_master(part) { "RPC server started" } else { "was elected leader, sending a full tablet report" }
    }

    fn facts(&self, place: &Place) -> Result<Vec<Fact>> {
        let home = home(&place.cache);
        let address = |part: &&'static str| Ok(Fact::text(part, place.address(part)?));
        let variables = variables(&home).into_iter().map(|(name, value)| Fact::text(name, value)).collect();
        Ok(vec![
            Fact::text("masters", self.masters(place)?),
            Fact::group("parts".to_owned(), self.parts.iter().map(address).collect::<Result<_>>()?),
            Fact::text("ca", certificates::path(&place.dir, "ca.pem")?),
            Fact::text("other_ca", certificates::path(&place.dir, "other-ca.pem")?),
            Fact::text("certificate", certificates::path(&place.dir, "server.pem")?),
            Fact::text("key", certificates::path(&place.dir, "server.key")?),
            Fact::text("dir", place.dir.display().to_string()),
            Fact::text("cli", home.join("bin/kudu").display().to_string()),
            Fact::group("cli_env".to_owned(), variables),
        ])
    }
}

fn is_master(part: &str) -> bool {
    part.starts_with("master")
}

impl Kudu {
    /// The addresses of the masters, as Kudu's flags and tools want them.
    fn masters(&self, place: &Place) -> Result<String> {
        Ok(self.masters.iter().map(|part| place.address(part)).collect::<Result<Vec<_>>>()?.join(","))
    }

    fn flags(&self, place: &Place, part: &str) -> Result<String> {
        let (address, masters, data) = (place.address(part)?, self.masters(place)?, place.path(part));
        let mut flags = format!("{FLAGS}--rpc_bind_addresses={address}\n");
        let _ = write!(flags, "--fs_wal_dir={data}\n--fs_data_dirs={data}\n--log_dir={data}\n");
        if !is_master(part) {
            let _ = write!(flags, "--tserver_master_addrs={masters}\n{TABLET_SERVER_FLAGS}");
            return Ok(flags);
        }
        // A master alone must not be told that it is one of several.
        if self.masters.len() > 1 {
            let _ = writeln!(flags, "--master_addresses={masters}");
        }
        let replicas = self.masters.len();
        let _ = write!(flags, "--default_num_replicas={replicas}\n{MASTER_FLAGS}");
        Ok(flags)
    }
}

/// No clock is synchronised here, no cloud is asked what machine this is, and nothing outlives the machine.
const FLAGS: &str = "\
--unlock_unsafe_flags
--unlock_experimental_flags
--time_source=system_unsync
--wall_clock_jump_detection=disabled
--never_fsync
--enable_minidumps=false
--redact=none
--logtostderr
--webserver_enabled=false
";

const MASTER_FLAGS: &str = "--memory_limit_hard_bytes=536870912\n--block_cache_capacity_mb=32\n";

/// Masters learn of new leaders with the next heartbeat.
const TABLET_SERVER_FLAGS: &str =
    "--heartbeat_interval_ms=200\n--memory_limit_hard_bytes=1073741824\n--block_cache_capacity_mb=64\n";

fn home(cache: &Path) -> PathBuf {
    cache.join("kudu").join(VERSION)
}

/// The binaries find their own libraries, but those do not find theirs without being told.
fn variables(home: &Path) -> Vec<(&'static str, String)> {
    let lib = home.join("lib");
    vec![("LD_LIBRARY_PATH", lib.display().to_string()), ("SASL_PATH", lib.join("sasl2").display().to_string())]
}

fn fetch(home: &Path) -> Result<()> {
    let machine = std::env::consts::ARCH;
    if machine != "x86_64" {
        return Err(Error::new(format_args!("Kudu's binaries are made for x86_64 alone, and this is {machine}")));
    }
    if process::on_path("unzip").is_none() {
        apt::install_named(&["unzip"], "unzip, which unpacks Kudu")?;
    }
    let work = home.with_added_extension("work");
    for directory in [&work, home] {
        if directory.exists() {
            fs::remove_dir_all(directory).context(|| directory.display())?;
        }
    }
    fs::create_dir_all(&work).context(|| work.display())?;
    let coordinates = format!("org.apache.kudu:kudu-binary:{VERSION}:jar:linux-x86_64");
    maven::fetch_file(&coordinates, &format!("Apache Kudu {VERSION}: 100 MB"), &work)?;
    let name = format!("kudu-binary-{VERSION}-linux-x86_64");
    process::output(Command::new("unzip").current_dir(&work).args(["-q", &format!("{name}.jar")]))?;
    let unpacked = work.join(name);
    prepare(&unpacked)?;
    fs::rename(&unpacked, home).context(|| home.display())?;
    fs::remove_dir_all(&work).context(|| work.display())
}

/// Makes the programs executable, which a jar cannot say, and installs the libraries that are missing.
fn prepare(home: &Path) -> Result<()> {
    let mut missing = false;
    for program in PROGRAMS {
        let path = home.join("bin").join(program);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).context(|| path.display())?;
        let libraries = process::output(Command::new("ldd").envs(variables(home)).arg(&path))?;
        missing |= libraries.contains("not found");
    }
    if missing {
        apt::install_named(&LIBRARIES, "the libraries that Kudu's binaries need")?;
    }
    let complete = home.join(COMPLETE);
    fs::write(&complete, "").context(|| complete.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masters_are_among_the_parts() {
        for kudu in [ONE, THREE] {
            assert!(kudu.masters.iter().all(|master| kudu.parts.contains(master) && is_master(master)));
            let tablet_servers = kudu.parts.iter().filter(|part| !is_master(part)).count();
            assert_eq!(tablet_servers, kudu.masters.len());
        }
    }
}
