//! Debian's packages: installed where this user may, always announced first.

use std::path::Path;
use std::process::Command;

use crate::error::{Error, Result};
use crate::process;
use crate::say;

/// Whether packages can be installed without asking: apt is there, and this is root or `sudo` needs no password.
pub fn is_usable() -> bool {
    process::on_path("apt-get").is_some() && prefix().is_some()
}

/// Installs packages, after refreshing the lists. Prints the commands on standard error.
pub fn install(packages: &[&str]) -> Result<()> {
    process::run_aside(apt_get().args(["update", "-qq"]))?;
    process::run_aside(apt_get().args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages))
}

/// Installs what is missing for a purpose, or says what has to be installed. Daemons among the packages are not started.
pub fn install_named(packages: &[&str], what: &str) -> Result<()> {
    if !is_usable() {
        let packages = packages.join(" ");
        return Err(Error::new(format_args!("{what} is missing: install it (Debian: apt-get install {packages})")));
    }
    say::aside(format_args!("Installing {what}."));
    let _no_daemons = NoDaemons::begin()?;
    install(packages)
}

/// While this lives, Debian's packages start no services.
struct NoDaemons {
    ours: bool,
}

/// Debian asks this program whether a service may be started; 101 says no.
const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoDaemons {
    fn begin() -> Result<Self> {
        let ours = !Path::new(POLICY).exists();
        if ours {
            let script = format!("printf '#!/bin/sh\\nexit 101\\n' > {POLICY} && chmod 755 {POLICY}");
            process::output(privileged("sh").args(["-c", &script]))?;
        }
        Ok(NoDaemons { ours })
    }
}

impl Drop for NoDaemons {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = process::output(privileged("rm").arg(POLICY))
        {
            say::error(error);
        }
    }
}

/// What has to stand before `apt-get`: nothing for root, `sudo` where it works without a password.
fn prefix() -> Option<Option<&'static str>> {
    if process::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0") {
        return Some(None);
    }
    process::output(Command::new("sudo").args(["-n", "true"])).is_ok().then_some(Some("sudo"))
}

fn apt_get() -> Command {
    let mut command = privileged("env");
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    command
}

/// A command that runs as root.
fn privileged(program: &str) -> Command {
    match prefix().flatten() {
        Some(sudo) => {
            let mut command = Command::new(sudo);
            command.arg(program);
            command
        }
        None => Command::new(program),
    }
}
