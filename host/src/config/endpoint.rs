//! Settings of endpoints: services outside that a plugin may be granted, and who they are told we are.

mod database;
mod kudu;
mod ldap;
mod lookup;
mod slack;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::build::Secrets;
use super::client::{ClientTls, client_tls, half_identity, secret};
use super::report::Problem;
use super::shape;
use super::view::{Result, View};
use super::yaml::{Entry, Node, Value};
use super::{Grants, Place, Secret};
use crate::endpoint::address;

pub use database::{Database, Dialect, address as database_address};
pub use kudu::{Kudu, master};
pub use ldap::{Filter, Ldap, LdapServer, Scope, Search, ldap_url};
pub use lookup::{Cache, Lookup};
pub use slack::{Slack, SlackLogin};

/// A web service that a plugin may be granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpEndpoint {
    /// Its name in the pipeline file.
    pub name: Arc<str>,
    /// Where every request begins. Ends with a slash, and has no query.
    pub url: Url,
    /// What is attached to every request.
    pub auth: HttpAuth,
    /// Headers of every request, which are no secrets.
    pub headers: BTreeMap<Arc<str>, String>,
    /// What may be asked. Default GET and POST.
    pub methods: Vec<HttpMethod>,
    /// Whether it may be at an address that is not public.
    pub private_addresses: bool,
    /// Whom to trust and what to show.
    pub tls: ClientTls,
    /// How long an answer may take, redirects and all. Default 10 s.
    pub timeout: Duration,
    /// Requests at once, of all plugins together. Default 8.
    pub requests_max: u32,
    /// Bytes of an answer. Default 1 MiB.
    pub response_bytes_max: usize,
}

/// What tells a service who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpAuth {
    /// Nothing does.
    None,
    /// `Authorization: Bearer` and a secret.
    Bearer(Secret),
    /// `Authorization: Basic` of a user and a password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A header of the service's own, with a secret.
    Header {
        /// The header's name.
        name: String,
        /// Its value.
        value: Secret,
    },
}

/// What a request is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpMethod {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
}

impl HttpMethod {
    /// Its word, and as it is written in the pipeline file.
    pub fn word(self) -> &'static str {
        match self {
            HttpMethod::Get => "GET",
            HttpMethod::Head => "HEAD",
            HttpMethod::Post => "POST",
            HttpMethod::Put => "PUT",
            HttpMethod::Patch => "PATCH",
            HttpMethod::Delete => "DELETE",
        }
    }

    fn of(word: &str) -> Option<HttpMethod> {
        use HttpMethod::{Delete, Get, Head, Patch, Post, Put};
        [Get, Head, Post, Put, Patch, Delete].into_iter().find(|method| method.word() == word)
    }
}

/// An endpoint of any type.
pub(super) enum Endpoint {
    Http(Arc<HttpEndpoint>),
    Database(Arc<Database>),
    Kudu(Arc<Kudu>),
    Slack(Arc<Slack>),
    Ldap(Arc<Ldap>),
}

/// Endpoints by name.
pub(super) type Endpoints = BTreeMap<Arc<str>, Endpoint>;

/// An endpoint of a checked file.
pub(super) fn endpoint(view: View<'_>, name: &Arc<str>, node: &Node, secrets: &Secrets) -> Result<Endpoint> {
    let word = node.get("type").and_then(Node::text).unwrap_or_default();
    match (word, Dialect::of(word)) {
        (_, Some(dialect)) => {
            database::endpoint(view, name, node, secrets, dialect).map(Arc::new).map(Endpoint::Database)
        }
        ("kudu", _) => kudu::endpoint(view, name, node, secrets).map(Arc::new).map(Endpoint::Kudu),
        ("slack", _) => slack::endpoint(view, name, node, secrets).map(Arc::new).map(Endpoint::Slack),
        ("ldap", _) => ldap::endpoint(view, name, node, secrets).map(Arc::new).map(Endpoint::Ldap),
        _ => http(view, name, node, secrets).map(Arc::new).map(Endpoint::Http),
    }
}

fn http(view: View<'_>, name: &Arc<str>, node: &Node, secrets: &Secrets) -> Result<HttpEndpoint> {
    let view = View { node: Some(node), shape: &shape::HTTP_ENDPOINT, ..view };
    let headers = view.named("headers", |_, node| node.text().map(str::to_owned).ok_or_else(|| view.unread("headers")));
    let methods = if view.has("methods") { view.texts("methods") } else { vec!["GET", "POST"] };
    Ok(HttpEndpoint {
        name: name.clone(),
        url: url(&view.text("url")?).map_err(|_| view.unread("url"))?,
        auth: auth(view, secrets)?,
        headers: headers?,
        methods: methods.into_iter().filter_map(HttpMethod::of).collect(),
        private_addresses: view.has("private_addresses"),
        tls: client_tls(view.group("tls", &shape::CLIENT_TLS))?,
        timeout: view.duration("timeout")?,
        requests_max: view.number("requests_max")?,
        response_bytes_max: view.number("response_bytes_max")?,
    })
}

fn auth(view: View<'_>, secrets: &Secrets) -> Result<HttpAuth> {
    let Some(node) = view.get("auth") else { return Ok(HttpAuth::None) };
    let of = |shape| view.of(Some(node), shape);
    if node.get("bearer").is_some() {
        return secret(of(&shape::HTTP_BEARER), "bearer", secrets).map(HttpAuth::Bearer);
    }
    if node.get("user").is_some() {
        let view = of(&shape::HTTP_BASIC);
        return Ok(HttpAuth::Basic { user: view.text("user")?, password: secret(view, "password", secrets)? });
    }
    let view = of(&shape::HTTP_HEADER);
    Ok(HttpAuth::Header { name: view.text("header")?, value: secret(view, "value", secrets)? })
}

/// What a step is granted.
pub(super) fn grants(step: &Node, endpoints: &Endpoints) -> Grants {
    let mut grants = Grants::default();
    for (capability, name, _) in granted_to(step) {
        match (endpoints.get(name), capability) {
            (Some(Endpoint::Http(endpoint)), _) => grants.http.push(endpoint.clone()),
            (Some(Endpoint::Database(endpoint)), Capability::Lookup) => {
                grants.lookup.push(Lookup::Database(endpoint.clone()));
            }
            (Some(Endpoint::Database(endpoint)), _) => grants.database.push(endpoint.clone()),
            (Some(Endpoint::Kudu(endpoint)), _) => grants.kudu.push(endpoint.clone()),
            (Some(Endpoint::Slack(endpoint)), _) => grants.slack.push(endpoint.clone()),
            (Some(Endpoint::Ldap(endpoint)), _) => grants.lookup.push(Lookup::Ldap(endpoint.clone())),
            (None, _) => {} // Told by `problems`.
        }
    }
    grants
}

/// Reads where an endpoint is.
pub fn url(text: &str) -> std::result::Result<Url, String> {
    let mut url = Url::parse(text).map_err(|error| format!("it is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("the URL begins with `{}:`", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the URL holds a login; that has a key of its own, `auth`".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("the URL has a query or a fragment; plugins add what stands behind it".into());
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

/// Reads the name of a header that an endpoint may set.
pub fn header(text: &str) -> std::result::Result<(), String> {
    reqwest::header::HeaderName::from_bytes(text.as_bytes()).map(drop).map_err(|_| format!("{text:?} names no header"))
}

/// What the check of the shape does not see: addresses that are not public, keys that are of no use alone, and grants of what
/// is not there.
pub fn problems(root: &Node) -> Vec<Problem> {
    let endpoints = root.get("endpoints").map(Node::entries).unwrap_or_default();
    let mut problems: Vec<Problem> = endpoints.iter().flat_map(of_endpoint).collect();
    let known: Vec<&str> = endpoints.iter().map(|entry| entry.key.as_str()).collect();
    for (kind, name, place) in granted(root) {
        let Some(entry) = endpoints.iter().find(|entry| entry.key == name) else {
            let help = match known.as_slice() {
                [] => format!("add `endpoints: {{{name}: {}}}`", kind.example()),
                _ => super::suggest::help(name, "endpoints", known.iter().copied()),
            };
            let problem = Problem::error("unknown-endpoint", format!("there is no endpoint `{name}`"));
            problems.push(problem.at(place, "unknown").help(help));
            continue;
        };
        let can = Capability::of(&entry.value);
        if let Some(other) = can.first().filter(|_| !can.contains(&kind)) {
            let (word, other) = (kind.word(), other.word());
            let message = format!("the endpoint `{name}` is no service for `{word}`");
            let problem = Problem::error("wrong-endpoint", message).at(place, "of another type");
            problems
                .push(problem.help(format!("write `grants: {{{other}: {name}}}`, or name an endpoint for `{word}`")));
        }
    }
    problems
}

/// What an endpoint can be granted for: a key of `grants`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Capability {
    Http,
    Database,
    Kudu,
    Slack,
    Lookup,
}

impl Capability {
    const ALL: [Capability; 5] =
        [Capability::Http, Capability::Database, Capability::Kudu, Capability::Slack, Capability::Lookup];

    fn word(self) -> &'static str {
        match self {
            Capability::Http => "http",
            Capability::Database => "database",
            Capability::Kudu => "kudu",
            Capability::Slack => "slack",
            Capability::Lookup => "lookup",
        }
    }

    fn example(self) -> &'static str {
        match self {
            Capability::Http => "{type: http, url: \"https://...\"}",
            Capability::Database => "{type: postgres, url: \"postgres://USER@HOST:PORT/DATABASE\"}",
            Capability::Kudu => "{type: kudu, masters: [\"HOST:7051\"]}",
            Capability::Slack => "{type: slack, token: {secret: NAME}}",
            Capability::Lookup => {
                "{type: ldap, url: \"ldaps://HOST\", base: \"dc=example,dc=org\", filter: \"(uid={0})\", attributes: [cn]}"
            }
        }
    }

    /// Those of an endpoint; none, where its type is none that there is.
    fn of(endpoint: &Node) -> &'static [Capability] {
        match endpoint.get("type").and_then(Node::text) {
            Some("http") => &[Capability::Http],
            Some("kudu") => &[Capability::Kudu],
            Some("slack") => &[Capability::Slack],
            Some("ldap") => &[Capability::Lookup],
            Some(word) if Dialect::of(word).is_some() => &[Capability::Database, Capability::Lookup],
            _ => &[],
        }
    }
}

/// Endpoints that nothing is granted: whoever writes one expects that it is used.
pub fn unused(root: &Node) -> Vec<Problem> {
    let granted = granted(root);
    let endpoints = root.get("endpoints").map(Node::entries).unwrap_or_default();
    let login = root.get("http").and_then(|http| http.get("login")?.get("ldap")?.text());
    let is_used = |name: &str| login == Some(name) || granted.iter().any(|(_, granted, _)| *granted == name);
    let unused = endpoints.iter().filter(|entry| !is_used(&entry.key));
    let warning = |entry: &Entry| {
        let word = Capability::of(&entry.value).first().unwrap_or(&Capability::Http).word();
        Problem::warning("unused-endpoint", format!("no step is granted the endpoint `{}`", entry.key))
            .at(&entry.place, "not used")
            .help(format!("add `grants: {{{word}: {}}}` to the step that is to use it", entry.key))
    };
    unused.map(warning).collect()
}

fn of_endpoint(entry: &Entry) -> Vec<Problem> {
    let node = &entry.value;
    let mut problems: Vec<Problem> = half_identity(node.entry("tls")).into_iter().collect();
    match Capability::of(node).first() {
        Some(Capability::Database | Capability::Kudu) => return problems,
        Some(Capability::Slack) => {
            problems.extend(slack::problems(entry));
            return problems;
        }
        Some(Capability::Lookup) => {
            problems.extend(ldap::problems(entry));
            return problems;
        }
        Some(Capability::Http) | None => {}
    }
    let Some((place, url)) = node.get("url").and_then(|text| Some((&text.place, url(text.text()?).ok()?))) else {
        return problems; // Told by the check of the shape.
    };
    let literal = match url.host() {
        Some(url::Host::Ipv4(address)) => Some(address.into()),
        Some(url::Host::Ipv6(address)) => Some(address.into()),
        Some(url::Host::Domain(_)) | None => None,
    };
    if let Some(address) = literal.filter(|address| !address::is_public(*address))
        && node.get("private_addresses").is_none()
    {
        let message = format!("the endpoint `{}` is at {address}, which is not a public address", entry.key);
        problems.push(
            Problem::error("private-address", message)
                .at(place, "not public")
                .help("add `private_addresses: true`, if its plugins may reach your own network there"),
        );
    }
    if let (Some(auth), "http") = (node.entry("auth"), url.scheme()) {
        problems.push(in_clear(&entry.key, &auth.place));
    }
    problems
}

fn in_clear(endpoint: &str, place: &Place) -> Problem {
    Problem::warning("secret-in-clear", format!("the endpoint `{endpoint}` is told its secret without TLS"))
        .at(place, "goes over the network as it is")
        .help("write `https://`")
}

/// Every endpoint that a step or sink is granted, and for what.
fn granted(root: &Node) -> Vec<(Capability, &str, &Place)> {
    let pipelines = root.get("pipelines").map(Node::entries).unwrap_or_default();
    let steps = pipelines.iter().filter_map(|entry| entry.value.get("steps")).flat_map(Node::elements);
    let sinks = root.get("sinks").map(Node::entries).unwrap_or_default().iter().map(|entry| &entry.value);
    steps.chain(sinks).filter(|node| matches!(node.value, Value::Map(_))).flat_map(granted_to).collect()
}

/// Every endpoint that this one is granted.
fn granted_to(step: &Node) -> Vec<(Capability, &str, &Place)> {
    let grants = step.get("grants");
    let of = |kind: Capability| {
        let names = grants.and_then(|grants| grants.get(kind.word())).map(Node::texts).unwrap_or_default();
        names.into_iter().map(move |(name, place)| (kind, name, place))
    };
    Capability::ALL.into_iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_ends_with_a_slash_and_holds_no_login_and_no_query() {
        assert_eq!(url("https://geo.example.org/v1").unwrap().as_str(), "https://geo.example.org/v1/");
        for wrong in ["geo.example.org", "ftp://a/", "https://u:p@a/", "https://a/?q=1", "https://a/#f", "https://"] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}
