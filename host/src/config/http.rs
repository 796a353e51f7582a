//! Settings of the HTTP API: what they are, how they are read, and the rules that need more than one key.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Secret;
use super::build::Secrets;
use super::endpoint::{Endpoint, Endpoints, Filter, Ldap};
use super::report::Problem;
use super::shape::http as shape;
use super::view::{Result, View};
use super::yaml::{Entry, Node};

/// What a hash begins with.
pub const HASH_PREFIX: &str = "blake3:";

/// The HTTP API over TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Who may use it. Empty: everybody who reaches it, which is a loopback address then.
    pub tokens: Vec<Token>,
    /// Whose users may use it, beside those who have tokens.
    pub login: Option<Login>,
    /// Certificate chain and private key, PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Names that clients may use for it on a loopback address.
    pub hosts: Vec<String>,
    /// Connections at once. Default 256.
    pub connections_max: usize,
    /// Longer bodies are refused. Default 1 MiB.
    pub body_bytes_max: usize,
    /// How long the headers of a request may take to come, and its body. Default 10 s.
    pub request_time_max: Duration,
}

/// Who may use the HTTP API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Whose it is.
    pub name: Arc<str>,
    /// What it may be used for.
    pub role: Role,
    /// What it is known by.
    pub proof: Proof,
}

/// Users of a directory who may use the HTTP API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The directory: its filter finds a user by name.
    pub ldap: Arc<Ldap>,
    /// Groups by their distinguished names, and what who is in them may do: those that may most come first.
    pub groups: Vec<(String, Role)>,
    /// How long a password counts as right without asking again. Default 1 min.
    pub ttl: Duration,
}

/// What a token may be used for. Each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Role {
    /// Looks at status and metrics, which hold no records.
    Viewer,
    /// Looks at records and what plugins remember, and reloads.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// As it is written in the pipeline file.
    pub fn word(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

/// What a token is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// Its BLAKE3 hash.
    Hash([u8; 32]),
    /// The token itself, kept elsewhere.
    Secret(Secret),
}

/// The hash of a token as the pipeline file has it. The error says nothing of the text: it may be the token itself.
pub fn hash(text: &str) -> std::result::Result<[u8; 32], String> {
    let digits = text.strip_prefix(HASH_PREFIX).filter(|digits| digits.len() == 64);
    let hash = digits.and_then(|digits| blake3::Hash::from_hex(digits).ok());
    hash.map(Into::into).ok_or_else(|| format!("it is not `{HASH_PREFIX}` and 64 hexadecimal digits"))
}

/// Whether a text is the name of a host.
pub fn host(text: &str) -> std::result::Result<(), String> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    match !text.is_empty() && text.bytes().all(is_name) {
        true => Ok(()),
        false => Err(format!("{text:?} is not a host's name")),
    }
}

/// The settings of a checked file.
pub(super) fn http(view: View<'_>, secrets: &Secrets, endpoints: &Endpoints) -> Result<Http> {
    let tokens = view.get("tokens").map(Node::elements).unwrap_or_default();
    let tls = view.group("tls", &shape::HTTP_TLS);
    let identity = || -> Result<_> { Ok((tls.path("certificate")?, tls.path("key")?)) };
    Ok(Http {
        listen: view.address_or_none("listen")?.ok_or_else(|| view.unread("listen"))?,
        tokens: tokens.iter().map(|node| token(view, node, secrets)).collect::<Result<_>>()?,
        login: view.has("login").then(|| login(view.group("login", &shape::LOGIN), endpoints)).transpose()?,
        tls: view.has("tls").then(identity).transpose()?,
        hosts: view.texts("hosts").into_iter().map(str::to_ascii_lowercase).collect(),
        connections_max: view.number("connections_max")?,
        body_bytes_max: view.number("body_bytes_max")?,
        request_time_max: view.duration("request_time_max")?,
    })
}

fn token(view: View<'_>, node: &Node, secrets: &Secrets) -> Result<Token> {
    let is_hashed = node.get("hash").is_some();
    let view = view.of(Some(node), if is_hashed { &shape::TOKEN_HASH } else { &shape::TOKEN_SECRET });
    let proof = if is_hashed {
        Proof::Hash(hash(&view.text("hash")?).map_err(|_| view.unread("hash"))?)
    } else {
        let name = view.text("secret")?;
        Proof::Secret(secrets.get(name.as_str()).cloned().ok_or_else(|| view.unread("secret"))?)
    };
    let role = match view.text("role")?.as_str() {
        "viewer" => Role::Viewer,
        "operator" => Role::Operator,
        _ => Role::Admin,
    };
    Ok(Token { name: view.text("name")?.into(), role, proof })
}

fn login(view: View<'_>, endpoints: &Endpoints) -> Result<Login> {
    let ldap = match endpoints.get(view.text("ldap")?.as_str()) {
        Some(Endpoint::Ldap(ldap)) => ldap.clone(),
        _ => return Err(view.unread("ldap")),
    };
    let of = |key, role| view.texts(key).into_iter().map(move |group| (group.to_owned(), role));
    let groups = of("admins", Role::Admin).chain(of("operators", Role::Operator)).chain(of("viewers", Role::Viewer));
    Ok(Login { ldap, groups: groups.collect(), ttl: view.duration("ttl")? })
}

/// What is wrong beyond the shape: an open door, two tokens of one name, or a login that nobody passes or everybody hears.
pub fn problems(root: &Node) -> Vec<Problem> {
    let Some(http) = root.get("http") else { return Vec::new() };
    let login = http.entry("login").map(|login| login_problems(root, http, login)).unwrap_or_default();
    open_door(http).into_iter().chain(same_names(http)).chain(login).collect()
}

fn login_problems(root: &Node, http: &Node, login: &Entry) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let (Some(ldap), Some(name)) = (login.value.entry("ldap"), login.value.get("ldap").and_then(Node::text)) {
        let endpoint = root.get("endpoints").and_then(|endpoints| endpoints.get(name));
        let is_ldap = endpoint.and_then(|endpoint| endpoint.get("type")?.text()).is_some_and(|word| word == "ldap");
        let filter = endpoint.and_then(|endpoint| Filter::read(endpoint.get("filter")?.text()?).ok());
        if !is_ldap {
            problems.push(
                Problem::error("unknown-endpoint", format!("there is no directory `{name}`"))
                    .at(&ldap.value.place, "unknown")
                    .help("name an endpoint of the type `ldap`"),
            );
        } else if filter.is_some_and(|filter| filter.values() != 1) {
            problems.push(
                Problem::error(
                    "wrong-filter",
                    format!("the filter of the endpoint `{name}` takes more than a user's name"),
                )
                .at(&ldap.value.place, "for logins")
                .help("make an endpoint for logins, with a filter like `(uid={0})`"),
            );
        }
    }
    if ["viewers", "operators", "admins"].iter().all(|role| login.value.get(role).is_none()) {
        problems.push(
            Problem::error("no-groups", "no group has a role, so nobody could log in")
                .at(&login.place, "for whom?")
                .help("add `viewers`, `operators` or `admins`: distinguished names of groups"),
        );
    }
    if beyond_loopback(http).is_some() && http.get("tls").is_none() {
        problems.push(
            Problem::error("passwords-in-clear", "passwords would cross the network unencrypted")
                .at(&login.place, "is told passwords")
                .help("add `tls: {certificate: PATH, key: PATH}`, or let a proxy on this machine do it and listen on 127.0.0.1"),
        );
    }
    problems
}

/// What is allowed and probably not meant: tokens that anybody on the way can read.
pub fn warnings(root: &Node) -> Vec<Problem> {
    let reached = root.get("http").filter(|http| http.get("tls").is_none()).and_then(beyond_loopback);
    let problem = |entry: &Entry| {
        Problem::warning("plain-http", "tokens and records cross the network unencrypted")
            .at(&entry.place, "is reached from other machines")
            .help("add `tls: {certificate: PATH, key: PATH}`, or let a proxy on this machine do it and listen on 127.0.0.1")
    };
    reached.map(problem).into_iter().collect()
}

fn beyond_loopback(http: &Node) -> Option<&Entry> {
    let entry = http.entry("listen")?;
    let address: SocketAddr = entry.value.text()?.parse().ok()?;
    (!address.ip().is_loopback()).then_some(entry)
}

fn open_door(http: &Node) -> Option<Problem> {
    let listen = beyond_loopback(http).filter(|_| http.get("tokens").is_none_or(|list| list.elements().is_empty()))?;
    if http.get("login").is_some() {
        return None;
    }
    let message = "without tokens the HTTP API would be open to everybody who reaches this address";
    let help = "run `weir token new` and put what it prints under `tokens`, or listen on a loopback address: `listen: 127.0.0.1:8080`";
    Some(Problem::error("open-door", message).at(&listen.place, "is reached from other machines").help(help))
}

fn same_names(http: &Node) -> Vec<Problem> {
    let tokens = http.get("tokens").map(Node::elements).unwrap_or_default();
    let named: Vec<_> =
        tokens.iter().filter_map(|token| Some((token.entry("name")?, token.get("name")?.text()?))).collect();
    let problem = |(at, (entry, name)): (usize, &(&Entry, &str))| {
        let (first, _) = named.iter().take(at).find(|(_, earlier)| earlier == name)?;
        let problem = Problem::error("duplicate-name", format!("two tokens are named `{name}`"));
        Some(problem.at(&entry.value.place, "again").at(&first.value.place, "there already"))
    };
    named.iter().enumerate().filter_map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_and_what_is_none_is_not_repeated() {
        let hex = "ab".repeat(32);
        assert_eq!(hash(&format!("blake3:{hex}")), Ok([0xab; 32]));
        for wrong in ["weir_token", "blake3:ab", &hex, &format!("sha256:{hex}")] {
            assert!(!hash(wrong).unwrap_err().contains(wrong), "{wrong}");
        }
    }

    #[test]
    fn roles_are_in_the_order_of_what_they_may_do() {
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
        assert_eq!([Role::Viewer, Role::Operator, Role::Admin].map(Role::word), shape::ROLES);
    }
}
