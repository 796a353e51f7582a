//! What Weir itself says: its pipeline file, what that needs of others, and the appliance that runs.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use super::Finding;
use crate::api::client;
use crate::cli::check::{self, CheckArgs};
use crate::config::{Config, Look, Source};

/// What is said where no appliance runs.
pub const NOT_RUNNING: &str = "none runs";
/// Columns of a report.
const WIDTH: usize = 100;

/// The pipeline file, its plugins, and the brokers that it names.
pub async fn configuration(path: &Path, plugins: &[PathBuf]) -> Finding {
    let args = CheckArgs { path: path.into(), plugins: plugins.into(), connect: true, json: false };
    let printed = check::check(&args, Look { color: false, width: WIDTH }).await;
    match printed.code {
        0 if printed.stderr.is_empty() => Finding::good("configuration", printed.stdout.trim_end()),
        0 => Finding::poor("configuration", printed.stderr, "see what the warnings say"),
        69 => Finding::bad(
            "configuration",
            printed.stderr,
            "see whether the broker runs, whether this machine reaches it, and what it says of the login",
        ),
        _ => Finding::bad("configuration", printed.stderr, "mend the pipeline file: `weir check` says the same"),
    }
}

/// The appliance that runs with a data directory, if one does.
pub async fn appliance(data: &Path) -> Finding {
    const NAME: &str = "appliance";
    let status = match client::status(data).await {
        Ok(status) => status,
        Err(client::Error::Socket(crate::api::socket::Error::NotRunning(_))) => {
            return Finding::good(NAME, NOT_RUNNING);
        }
        Err(error) => {
            return Finding::bad(
                NAME,
                error.to_string(),
                "run this as the user that runs the appliance, or start it anew",
            );
        }
    };
    let runs = format!("weir {} runs as process {}", status.version, status.pid);
    match client::ready(data).await {
        Ok((true, _)) if status.version == env!("CARGO_PKG_VERSION") => {
            Finding::good(NAME, format!("{runs} and is ready"))
        }
        Ok((true, _)) => {
            let advice = format!("restart it to run {}, the version of this program", env!("CARGO_PKG_VERSION"));
            Finding::poor(NAME, runs, advice)
        }
        Ok((false, checks)) => {
            let failed: Vec<_> = checks.lines().filter(|line| line.starts_with("[-]")).collect();
            let found = format!("{runs}, and records do not get through:\n{}", failed.join("\n"));
            Finding::bad(NAME, found, "the log says why; `weir top` shows what stands still")
        }
        Err(error) => {
            Finding::bad(NAME, format!("{runs}, and does not say whether it is ready: {error}"), "see its log")
        }
    }
}

/// The addresses that it will listen on.
pub fn ports(config: &Config) -> Vec<Finding> {
    let mut addresses: Vec<(String, SocketAddr, bool)> = Vec::new();
    for (name, source) in &config.sources {
        if let Source::Syslog(syslog) = source {
            let tls = syslog.tls.as_ref().map(|tls| tls.address);
            addresses.extend(syslog.udp.map(|address| (format!("source {name}"), address, true)));
            addresses
                .extend(syslog.tcp.into_iter().chain(tls).map(|address| (format!("source {name}"), address, false)));
        }
    }
    addresses.extend(config.http.as_ref().map(|http| ("http".to_owned(), http.listen, false)));
    addresses.into_iter().map(|(owner, address, is_udp)| port(&owner, address, is_udp)).collect()
}

fn port(owner: &str, address: SocketAddr, is_udp: bool) -> Finding {
    let protocol = if is_udp { "UDP" } else { "TCP" };
    let bound = if is_udp { UdpSocket::bind(address).map(drop) } else { TcpListener::bind(address).map(drop) };
    let found = format!("{protocol} {address} of {owner}");
    match bound {
        Ok(()) => Finding::good("port", format!("{found} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            let advice = "ports below 1024 take the capability CAP_NET_BIND_SERVICE: take a higher one, or grant it";
            Finding::bad("port", format!("{found}: {error}"), advice)
        }
        Err(error) => {
            let advice = format!("`ss -lnp 'sport = :{}'` says who has it", address.port());
            Finding::bad("port", format!("{found}: {error}"), advice)
        }
    }
}
