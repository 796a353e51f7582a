//! Settings of Kudu clusters that a plugin may be granted.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Secret;
use crate::config::build::Secrets;
use crate::config::client::secret;
use crate::config::shape;
use crate::config::view::{Result, View};
use crate::config::yaml::Node;

/// A cluster of Apache Kudu that a plugin may be granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kudu {
    /// Its name in the pipeline file.
    pub name: Arc<str>,
    /// `host` or `host:port` of each of its masters.
    pub masters: Vec<String>,
    /// Who asks; without one, whoever may ask without a name.
    pub user: Option<String>,
    /// The password of the user.
    pub password: Option<Secret>,
    /// Whether connections have to be encrypted. `None`: where the servers can.
    pub tls: Option<KuduTls>,
    /// How long an operation may take. Default 30 s.
    pub timeout: Duration,
}

/// Connections that have to be encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KuduTls {
    /// Certificate authorities to trust, PEM. `None`: masters are believed, and tablet servers if the masters name their authority.
    pub ca: Option<PathBuf>,
}

/// An endpoint of a checked file.
pub(super) fn endpoint(view: View<'_>, name: &Arc<str>, node: &Node, secrets: &Secrets) -> Result<Kudu> {
    let view = View { node: Some(node), shape: &shape::KUDU_ENDPOINT, ..view };
    let tls = || -> Result<KuduTls> {
        let view = view.group("tls", &shape::KUDU_TLS);
        Ok(KuduTls { ca: view.has("ca").then(|| view.path("ca")).transpose()? })
    };
    Ok(Kudu {
        name: name.clone(),
        masters: view.texts("masters").into_iter().map(str::to_owned).collect(),
        user: view.has("user").then(|| view.text("user")).transpose()?,
        password: view.has("password").then(|| secret(view, "password", secrets)).transpose()?,
        tls: view.has("tls").then(tls).transpose()?,
        timeout: view.duration("timeout")?,
    })
}

/// Reads where a master is.
pub fn master(text: &str) -> std::result::Result<(), String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && (!host.contains(':') || host.ends_with(']')) => {
            (host, Some(port))
        }
        _ => (text, None),
    };
    let is_host = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || "/@?#".contains(c));
    match port {
        _ if !is_host => Err(format!("{text:?} names no host")),
        Some(port) if port.parse::<u16>().is_err() => Err(format!("{port:?} is no port")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_is_a_host_and_perhaps_a_port() {
        for right in ["kudu-1", "kudu-1.example.org:7051", "[::1]:7051", "10.0.0.1"] {
            assert_eq!(master(right), Ok(()), "{right}");
        }
        for wrong in ["", ":7051", "kudu:port", "kudu:70000", "kudu://a", "a b"] {
            assert!(master(wrong).is_err(), "{wrong}");
        }
    }
}
