//! What all clients of servers have in common: TLS and secrets.

use std::path::PathBuf;

use super::Secret;
use super::build::Secrets;
use super::report::Problem;
use super::shape;
use super::view::{Result, View};
use super::yaml::Entry;

/// TLS towards a server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientTls {
    /// Certificate authorities to trust, PEM. `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// The client's certificate chain and private key, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// The secret that a key names.
pub fn secret(view: View<'_>, key: &str, secrets: &Secrets) -> Result<Secret> {
    let name = view.group(key, &shape::SECRET_NAME).text("secret")?;
    secrets.get(name.as_str()).cloned().ok_or_else(|| view.unread(key))
}

/// The settings of TLS towards a server.
pub fn client_tls(view: View<'_>) -> Result<ClientTls> {
    let path = |key| view.has(key).then(|| view.path(key)).transpose();
    Ok(ClientTls { ca: path("ca")?, identity: path("certificate")?.zip(path("key")?) })
}

/// A certificate is of no use without its key.
pub fn half_identity(tls: Option<&Entry>) -> Option<Problem> {
    let has = |key: &str| tls.and_then(|tls| tls.value.entry(key));
    let (half, missing) = match (has("certificate"), has("key")) {
        (Some(half), None) => (half, "key"),
        (None, Some(half)) => (half, "certificate"),
        _ => return None,
    };
    let message = format!("`{}` is of no use without `{missing}`", half.key);
    Some(Problem::error("half-certificate", message).at(&half.place, &format!("no `{missing}` beside it")))
}
