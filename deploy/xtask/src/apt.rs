//! Debian's packages: installed where this user may, always announced first.

use std::process::Command;

use crate::error::Result;
use crate::process;

/// Whether packages can be installed without asking: apt is there, and this is root or `sudo` needs no password.
pub fn is_usable() -> bool {
    process::on_path("apt-get").is_some() && prefix().is_some()
}

/// Installs packages, after refreshing the lists. Prints the commands.
pub fn install(packages: &[&str]) -> Result<()> {
    process::run(apt_get().args(["update", "-qq"]))?;
    process::run(apt_get().args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages))
}

/// What has to stand before `apt-get`: nothing for root, `sudo` where it works without a password.
fn prefix() -> Option<Option<&'static str>> {
    if process::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0") {
        return Some(None);
    }
    process::output(Command::new("sudo").args(["-n", "true"])).is_ok().then_some(Some("sudo"))
}

fn apt_get() -> Command {
    let mut command = match prefix().flatten() {
        Some(sudo) => {
            let mut command = Command::new(sudo);
            command.args(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
            command
        }
        None => Command::new("apt-get"),
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}
