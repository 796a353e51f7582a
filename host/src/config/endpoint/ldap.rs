//! Settings of LDAP directories that a plugin may be granted to look things up in.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::lookup::{Cache, cache};
use crate::config::Secret;
use crate::config::build::Secrets;
use crate::config::client::{ClientTls, client_tls, secret};
use crate::config::report::Problem;
use crate::config::shape;
use crate::config::view::{Result, View};
use crate::config::yaml::{Entry, Node};

/// A directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ldap {
    /// Its name in the pipeline file.
    pub name: Arc<str>,
    /// Where the server is, and as whom it is asked.
    pub server: LdapServer,
    /// What is looked up there.
    pub search: Search,
    /// What is kept of its answers.
    pub cache: Cache,
}

/// A server of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LdapServer {
    /// `ldap://` or `ldaps://`, a host and perhaps a port.
    pub url: Url,
    /// Whether passwords and entries go over the network as they are. Otherwise `ldap://` begins TLS before anything else.
    pub is_plaintext: bool,
    /// Whom to trust and what to show.
    pub tls: ClientTls,
    /// The distinguished name and the password of who asks. `None`: nobody, as far as the server lets it.
    pub login: Option<(String, Secret)>,
    /// How long a connection or an answer may take. Default 10 s.
    pub timeout: Duration,
}

/// How an entry is found, and what of it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// The entry below which others are looked for.
    pub base: String,
    /// How far below.
    pub scope: Scope,
    /// Which of them.
    pub filter: Filter,
    /// The attributes that are told; `dn` is the entry's name.
    pub attributes: Vec<String>,
    /// Those of them that are lists, however many values there are.
    pub lists: Vec<String>,
}

/// How far below its base a search looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The base and all below it.
    Subtree,
    /// The entries right below the base.
    One,
    /// The base alone.
    Base,
}

/// A search filter of RFC 4515 with places for values: `(uid={0})`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// What stands before each place, and which value goes there.
    parts: Vec<(String, usize)>,
    rest: String,
}

impl Filter {
    /// Reads it. A place for a value stands behind a `=`, where a value may be.
    pub fn read(text: &str) -> std::result::Result<Filter, String> {
        let (mut parts, mut rest) = (Vec::new(), text);
        let mut sample = String::new();
        while let Some((before, behind)) = rest.split_once('{') {
            let (number, behind) = behind.split_once('}').ok_or("a `{` lacks its `}`")?;
            let number: usize = number.parse().map_err(|_| format!("expected a number in `{{{number}}}`"))?;
            sample.push_str(before);
            let assertion = sample.rsplit(['(', ')']).next().unwrap_or_default();
            if !assertion.contains('=') {
                return Err(format!("`{{{number}}}` stands where no value does: expected it behind a `=`"));
            }
            sample.push('x');
            parts.push((before.to_owned(), number));
            rest = behind;
        }
        sample.push_str(rest);
        ldap3::parse_filter(&sample).map_err(|_| format!("{text:?} is no search filter"))?;
        let filter = Filter { parts, rest: rest.to_owned() };
        match (0..filter.values()).find(|number| filter.parts.iter().all(|(_, there)| there != number)) {
            _ if filter.values() == 0 => Err("it has no place for a value, as `{0}`".into()),
            Some(unused) => Err(format!("it has no `{{{unused}}}`, but ones behind it")),
            None => Ok(filter),
        }
    }

    /// How many values go into it.
    pub fn values(&self) -> usize {
        self.parts.iter().map(|(_, number)| number + 1).max().unwrap_or_default()
    }

    /// The filter with these values in it, each as itself, whatever characters it has.
    pub fn with(&self, values: &[&[u8]]) -> String {
        let mut text = String::new();
        for (before, number) in &self.parts {
            text.push_str(before);
            for byte in values.get(*number).copied().unwrap_or_default() {
                match byte {
                    // All but these could be written as it is; what is not ASCII is two digits as well, so that any bytes are text.
                    b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b' ' | b'-' | b'_' | b'.' | b'@' => {
                        text.push(char::from(*byte));
                    }
                    byte => text.push_str(&format!("\\{byte:02x}")),
                }
            }
        }
        text + &self.rest
    }
}

/// An endpoint of a checked file.
pub(super) fn endpoint(view: View<'_>, name: &Arc<str>, node: &Node, secrets: &Secrets) -> Result<Ldap> {
    let view = View { node: Some(node), shape: &shape::LDAP_ENDPOINT, ..view };
    let login = || -> Result<_> { Ok((view.text("bind_dn")?, secret(view, "password", secrets)?)) };
    let scope = match view.text("scope")?.as_str() {
        "one" => Scope::One,
        "base" => Scope::Base,
        _ => Scope::Subtree,
    };
    Ok(Ldap {
        name: name.clone(),
        server: LdapServer {
            url: ldap_url(&view.text("url")?).map_err(|_| view.unread("url"))?,
            is_plaintext: view.has("plaintext"),
            tls: client_tls(view.group("tls", &shape::CLIENT_TLS))?,
            login: view.has("bind_dn").then(login).transpose()?,
            timeout: view.duration("timeout")?,
        },
        search: Search {
            base: view.text("base")?,
            scope,
            filter: Filter::read(&view.text("filter")?).map_err(|_| view.unread("filter"))?,
            attributes: view.texts("attributes").into_iter().map(str::to_owned).collect(),
            lists: view.texts("lists").into_iter().map(str::to_owned).collect(),
        },
        cache: cache(view)?,
    })
}

/// Reads where a server is.
pub fn ldap_url(text: &str) -> std::result::Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("it is no URL: {error}"))?;
    if !matches!(url.scheme(), "ldap" | "ldaps") {
        return Err(format!("the URL begins with `{}:`", url.scheme()));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("the URL lacks a host".into());
    }
    let more = url.query().is_some() || url.fragment().is_some() || !matches!(url.path(), "" | "/");
    if more || !url.username().is_empty() || url.password().is_some() {
        return Err("the URL holds more than a host and a port; the rest has keys of its own".into());
    }
    Ok(url)
}

/// What the check of the shape does not see: half a login, lists that nobody asked for, and passwords without TLS.
pub(super) fn problems(entry: &Entry) -> Vec<Problem> {
    let (node, name) = (&entry.value, &entry.key);
    let mut problems = Vec::new();
    let half = match (node.entry("bind_dn"), node.entry("password")) {
        (Some(half), None) => Some((half, "password")),
        (None, Some(half)) => Some((half, "bind_dn")),
        _ => None,
    };
    if let Some((half, missing)) = half {
        let message = format!("the endpoint `{name}` has `{}` and no `{missing}`", half.key);
        problems.push(
            Problem::error("half-login", message)
                .at(&half.place, &format!("no `{missing}` beside it"))
                .help("write both, or neither: then nobody in particular asks"),
        );
    }
    let texts = |key| node.get(key).map(Node::texts).unwrap_or_default();
    let attributes = texts("attributes");
    for (list, place) in texts("lists") {
        if attributes.iter().all(|(attribute, _)| *attribute != list) {
            let message = format!("`{list}` is none of the attributes of the endpoint `{name}`");
            let problem = Problem::error("unknown-attribute", message).at(place, "not looked up");
            problems.push(problem.help("add it to `attributes`"));
        }
    }
    let url = node.get("url").and_then(Node::text).and_then(|url| ldap_url(url).ok());
    if let (Some(plaintext), Some(url)) = (node.entry("plaintext"), url) {
        if url.scheme() == "ldaps" {
            problems.push(
                Problem::error("plaintext-of-ldaps", format!("the endpoint `{name}` is to use TLS and not to use it"))
                    .at(&plaintext.place, "`ldaps:` is TLS")
                    .help("leave `plaintext` out, or write `ldap:`"),
            );
        } else if let Some(password) = node.entry("password") {
            problems.push(super::in_clear(name, &password.place).help("leave `plaintext` out"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_has_places_where_values_may_stand() {
        let filter = Filter::read("(&(objectClass=person)(|(uid={0})(mail={0}@*)(site={1})))").unwrap();
        assert_eq!(filter.values(), 2);
        assert_eq!(
            filter.with(&[b"anna", b"a*)(uid=*"]),
            r"(&(objectClass=person)(|(uid=anna)(mail=anna@*)(site=a\2a\29\28uid\3d\2a)))"
        );
        let wrong = ["(uid=x)", "({0}=x)", "(uid={0}", "(uid={})", "(uid={1})", "uid", "(&{0})", "(a=b){0}", "(uid={0"];
        for wrong in wrong {
            assert!(Filter::read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_url_is_a_host_and_perhaps_a_port() {
        for right in ["ldap://localhost", "ldaps://ldap.example.org:636", "ldaps://[::1]:1636/"] {
            assert!(ldap_url(right).is_ok(), "{right}");
        }
        for wrong in ["http://a", "ldap://", "ldap://u:p@a", "ldap://a/dc=x", "ldap://a?x", "localhost"] {
            assert!(ldap_url(wrong).is_err(), "{wrong}");
        }
    }
}
