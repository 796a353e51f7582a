//! The other programs: syslog-ng and rsyslog from Debian's packages, unpacked into the cache, never installed (the two
//! exclude each other there). Their settings are the fastest of those tried that lose nothing and parse every line.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Context, Error, Result};
use crate::process;
use crate::say;
use crate::workspace::Workspace;

/// A program that does the same job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// syslog-ng, which parses every message as it reads it.
    SyslogNg,
    /// rsyslog, with liblognorm's parser.
    Rsyslog,
}

/// A peer that is ready to run.
pub struct Ready {
    /// Which one.
    pub peer: Peer,
    /// Its version, as it says itself.
    pub version: String,
    root: PathBuf,
}

impl Peer {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Peer::SyslogNg => "syslog-ng",
            Peer::Rsyslog => "rsyslog",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Peer::SyslogNg => "syslog-ng-core",
            Peer::Rsyslog => "rsyslog",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Peer::SyslogNg => "usr/sbin/syslog-ng",
            Peer::Rsyslog => "usr/sbin/rsyslogd",
        }
    }

    /// Fetches and unpacks the peer where it is not in the cache yet.
    pub fn prepare(self, workspace: &Workspace) -> Result<Ready> {
        let directory = workspace.cache.join("peers").join(self.package());
        let root = directory.join("root");
        if !root.join(self.program()).is_file() {
            fetch(self.package(), &directory, &root)?;
        }
        let mut ready = Ready { peer: self, version: String::new(), root };
        let flag = if self == Peer::SyslogNg { "--version" } else { "-v" };
        let printed = process::output(ready.command().arg(flag))?;
        ready.version =
            version(&printed).ok_or_else(|| Error::new(format_args!("{}: no version in `{printed}`", self.name())))?;
        Ok(ready)
    }
}

/// Downloads a package with those it needs that are not installed, and unpacks them side by side.
fn fetch(package: &str, directory: &Path, root: &Path) -> Result<()> {
    say::line(format_args!("Fetching Debian's package {package} into {} (nothing is installed).", directory.display()));
    let archives = directory.join("debs");
    fs::create_dir_all(archives.join("partial")).context(|| archives.display())?;
    let mut apt = Command::new("apt-get");
    apt.args(["install", "-y", "-qq", "--download-only", "--reinstall", "--no-install-recommends"]);
    apt.args(["-o", "Debug::NoLocking=1", "-o"]).arg(format!("Dir::Cache::archives={}", archives.display()));
    process::run(apt.arg(package)).context(|| "if Debian's lists are old, `apt-get update` renews them")?;
    for entry in fs::read_dir(&archives).context(|| archives.display())? {
        let path = entry.context(|| archives.display())?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            process::run(Command::new("dpkg").arg("-x").arg(&path).arg(root))?;
        }
    }
    Ok(())
}

/// The first word that begins with a digit and has a dot: `3.38.1`.
fn version(printed: &str) -> Option<String> {
    let mut words = printed.split(|c: char| c.is_whitespace() || "(),".contains(c));
    words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.')).map(str::to_owned)
}

impl Ready {
    /// The command that does the job: reads `input`, writes `output`, keeps what else it writes in `directory`.
    pub fn job(&self, input: &Path, output: &Path, directory: &Path) -> Result<Command> {
        let config = directory.join(format!("{}.conf", self.peer.name()));
        let text = match self.peer {
            Peer::SyslogNg => syslog_ng(input, output),
            Peer::Rsyslog => rsyslog(input, output, directory),
        };
        fs::write(&config, text).context(|| config.display())?;
        let pid_file = directory.join(format!("{}.pid", self.peer.name()));
        let mut command = self.command();
        match self.peer {
            Peer::SyslogNg => {
                command.args(["-F", "--no-caps", "-f"]).arg(&config).arg("-p").arg(&pid_file);
                command.arg("-R").arg(directory.join("persist")).arg("-c").arg(directory.join("control"));
                command.arg(format!("--module-path={}", modules(&self.root.join("usr/lib/syslog-ng"))?.display()));
            }
            Peer::Rsyslog => {
                let modules = self.root.join("usr/lib/x86_64-linux-gnu/rsyslog");
                command.arg("-n").arg("-f").arg(&config).arg("-i").arg(&pid_file).arg("-M").arg(modules);
            }
        }
        Ok(command)
    }

    /// The program with the libraries that were unpacked beside it.
    fn command(&self) -> Command {
        let mut command = Command::new(self.root.join(self.peer.program()));
        let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib/syslog-ng"];
        let paths: Vec<OsString> = libraries.iter().map(|path| self.root.join(path).into_os_string()).collect();
        command.env("LD_LIBRARY_PATH", paths.join(OsString::from(":").as_os_str()));
        command
    }
}

/// syslog-ng's modules lie in a directory named after its version.
fn modules(directory: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(directory).context(|| directory.display())?;
    let found = entries.flatten().map(|entry| entry.path()).find(|path| path.join("libaffile.so").is_file());
    found.ok_or_else(|| Error::new(format_args!("{}: expected a directory with libaffile.so", directory.display())))
}

/// One input needs one thread: with `threaded(no)` the same work takes less processor time.
fn syslog_ng(input: &Path, output: &Path) -> String {
    format!(
        r#"@version: 3.38
options {{ threaded(no); stats-freq(0); stats-level(0); use-dns(no); dns-cache(no); keep-hostname(yes); }};
source s_in {{ file("{input}" log-fetch-limit(10000) log-iw-size(100000)); }};
filter f_kept {{ message("Invalid user" type(string) flags(substring)); }};
destination d_out {{
  file("{output}" flush-lines(1000) log-fifo-size(200000)
    template("$(format-json timestamp=$ISODATE host=$HOST appname=$PROGRAM procid=$PID message=$MESSAGE)\n"));
}};
log {{ source(s_in); filter(f_kept); destination(d_out); flags(flow-control); }};
"#,
        input = input.display(),
        output = output.display()
    )
}

/// A direct queue hands each batch of lines to the rules in the thread that read it: half the processor time of a linked
/// list with a worker, and a sixtieth of the memory.
fn rsyslog(input: &Path, output: &Path, directory: &Path) -> String {
    format!(
        r#"global(workDirectory="{directory}")
module(load="imfile" mode="inotify")
module(load="mmnormalize")
template(name="json" type="list" option.jsonf="on") {{
  property(outname="timestamp" name="$!timestamp" format="jsonf")
  property(outname="host" name="$!host" format="jsonf")
  property(outname="appname" name="$!appname" format="jsonf")
  property(outname="procid" name="$!procid" format="jsonf")
  property(outname="message" name="$!message" format="jsonf")
}}
ruleset(name="job" queue.type="Direct") {{
  action(type="mmnormalize" rule=["rule=:%timestamp:date-rfc3164% %host:word% %appname:char-to:[%[%procid:number%]: %message:rest%"])
  if $!message contains "Invalid user" then
    action(type="omfile" file="{output}" template="json" ioBufferSize="64k")
}}
input(type="imfile" file="{input}" tag="in" ruleset="job" maxSubmitAtOnce="1024")
"#,
        input = input.display(),
        output = output.display(),
        directory = directory.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_programs_print() {
        assert_eq!(version("syslog-ng 3 (3.38.1)\nConfig version: 3.38"), Some("3.38.1".to_owned()));
        assert_eq!(version("rsyslogd  8.2302.0 (aka 2023.02) compiled"), Some("8.2302.0".to_owned()));
        assert_eq!(version("rsyslogd"), None);
    }
}
