//! Secrets: named in the pipeline file, kept outside it, and never shown. Also the rules of their names.

use std::fmt;
use std::io::Read as _;
use std::path::PathBuf;

use super::report::{Place, Problem};
use super::suggest;
use super::yaml::{Entry, Node};

/// Bytes that a secret has at most: enough for a chain of certificates.
const SECRET_BYTES_MAX: u64 = 1 << 20;

/// Where a secret is to be found. Holds nothing secret itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// In a file; newlines at its end do not count.
    File(PathBuf),
    /// In an environment variable.
    Env(String),
}

/// What a secret is. Its `Debug` shows nothing of it, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Revealed(String);

/// Why a secret cannot be had. An operator has to act.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the secret in {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// The file has more bytes than a secret may have.
    #[error("the secret in {} has more than {SECRET_BYTES_MAX} bytes", path.display())]
    Long {
        /// The file.
        path: PathBuf,
    },
    /// The environment does not have it, or not as text.
    #[error("the secret in the environment variable {name} cannot be read: {reason}")]
    Env {
        /// The variable.
        name: String,
        /// What the system said.
        reason: std::env::VarError,
    },
}

impl Secret {
    /// Reads it now: a file that was changed gives the new one.
    pub fn reveal(&self) -> Result<Revealed, Error> {
        match self {
            Secret::Env(name) => {
                std::env::var(name).map(Revealed).map_err(|reason| Error::Env { name: name.clone(), reason })
            }
            Secret::File(path) => {
                let failed = |reason| Error::File { path: path.clone(), reason };
                let file = std::fs::File::open(path).map_err(failed)?;
                let mut text = String::new();
                file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
                if text.len() as u64 > SECRET_BYTES_MAX {
                    return Err(Error::Long { path: path.clone() });
                }
                text.truncate(text.trim_end_matches(['\n', '\r']).len());
                Ok(Revealed(text))
            }
        }
    }
}

/// Every use of a secret: `{secret: NAME}` anywhere in a source, endpoint or sink, and in tokens. The configuration of a plugin is its own.
fn uses(root: &Node) -> Vec<(&str, &Place)> {
    let mut to_see: Vec<&Node> =
        ["sources", "endpoints", "sinks"].iter().filter_map(|section| root.get(section)).collect();
    let mut found = Vec::new();
    while let Some(node) = to_see.pop() {
        let inner = node.entries().iter().filter(|entry| entry.key != "config").map(|entry| &entry.value);
        to_see.extend(inner.chain(node.elements()));
        match node.entries() {
            [Entry { key, value, .. }] if key == "secret" => {
                found.extend(value.text().map(|name| (name, &value.place)))
            }
            _ => {}
        }
    }
    let tokens = root.get("http").and_then(|http| http.get("tokens")).map(Node::elements).unwrap_or_default();
    found.extend(tokens.iter().filter_map(|token| {
        let node = token.get("secret")?;
        Some((node.text()?, &node.place))
    }));
    found
}

/// Uses of secrets that do not exist.
pub fn unknown(root: &Node) -> Vec<Problem> {
    let known: Vec<&str> = defined(root).iter().map(|entry| entry.key.as_str()).collect();
    let unknown = uses(root).into_iter().filter(|(name, _)| !known.contains(name));
    let problem = |(name, place): (&str, &Place)| {
        let help = match known.as_slice() {
            [] => format!("add `secrets: {{{name}: {{file: /run/secrets/{name}}}}}`"),
            _ => suggest::help(name, "secrets", known.iter().copied()),
        };
        Problem::error("unknown-secret", format!("there is no secret `{name}`")).at(place, "unknown").help(help)
    };
    unknown.map(problem).collect()
}

/// Secrets that nothing uses: whoever writes one expects that it is used.
pub fn unused(root: &Node) -> Vec<Problem> {
    let used = uses(root);
    let unused = defined(root).iter().filter(|entry| used.iter().all(|(name, _)| *name != entry.key));
    let warning = |entry: &Entry| {
        Problem::warning("unused-secret", format!("nothing uses the secret `{}`", entry.key))
            .at(&entry.place, "not used")
    };
    unused.map(warning).collect()
}

fn defined(root: &Node) -> &[Entry] {
    root.get("secrets").map(Node::entries).unwrap_or_default()
}

impl Revealed {
    /// The secret itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Revealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Revealed(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_a_file_loses_its_newline_and_shows_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("amqp");
        std::fs::write(&path, "hunter2\r\n").unwrap();
        let revealed = Secret::File(path).reveal().unwrap();
        assert_eq!(revealed.expose(), "hunter2");
        assert!(!format!("{revealed:?}").contains("hunter2"));
    }

    #[test]
    fn a_missing_or_endless_secret_is_an_error_that_names_it() {
        let missing = Secret::File("/nonexistent/amqp".into()).reveal().unwrap_err();
        assert!(missing.to_string().contains("/nonexistent/amqp"), "{missing}");
        let missing = Secret::Env("WEIR_NO_SUCH_SECRET".into()).reveal().unwrap_err();
        assert!(missing.to_string().contains("WEIR_NO_SUCH_SECRET"), "{missing}");
        let endless = Secret::File("/dev/zero".into()).reveal().unwrap_err();
        assert!(matches!(endless, Error::Long { .. }), "{endless}");
    }
}
