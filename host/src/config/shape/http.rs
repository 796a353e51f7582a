//! The keys of the HTTP API.

use super::Need::{Default, Optional, Required};
use super::{Form, HOUR, KIB, Kind, MIB, Shape, Variant, key};
use crate::config::http;

/// The rule of hashes. What breaks it may be the token itself, so it is not shown.
pub const INVALID_HASH: &str = "invalid-hash";

static HASH: Form = Form {
    what: "`blake3:` and 64 hexadecimal digits",
    pattern: "^blake3:[0-9a-f]{64}$",
    rule: INVALID_HASH,
    check: |text| http::hash(text).map(drop),
    help: "`weir token new` makes a token, and prints the line with its hash",
};

static HOST: Form = Form {
    what: "a host's name without its port",
    pattern: "^[A-Za-z0-9._-]+$",
    rule: "invalid-host",
    check: http::host,
    help: "the name alone, as in `weir.example.org`",
};

/// The HTTP API over TCP.
pub static HTTP: Shape = Shape {
    what: "the group `http`",
    doc: "The HTTP API over TCP: status, metrics, and what the commands do through the socket.",
    keys: &[
        key("listen", Kind::Address, Required, "Where to listen; without tokens a loopback address."),
        key("tokens", Kind::List(&Kind::Variants("token", TOKENS)), Optional, "Who may use it, and for what."),
        key("login", Kind::Group(&LOGIN), Optional, "Users of a directory who may use it, by name and password."),
        key("tls", Kind::Group(&HTTP_TLS), Optional, "Encrypts connections."),
        key(
            "hosts",
            Kind::OneOrMany(&Kind::Form(&HOST)),
            Optional,
            "Names that clients may use for it on a loopback address, beside `localhost` and its addresses.",
        ),
        key("connections_max", Kind::Number(1..=65_536), Default("256"), "Connections at once."),
        key("body_bytes_max", Kind::Size(KIB..=256 * MIB), Default("1MiB"), "Longer bodies are refused."),
        key(
            "request_time_max",
            Kind::Duration(100..=HOUR),
            Default("10s"),
            "How long the headers of a request may take to come, and its body.",
        ),
    ],
};

/// Users of a directory who may use the HTTP API.
pub static LOGIN: Shape = Shape {
    what: "the group `login`",
    doc: "Users of a directory, known by name and password (`Authorization: Basic`), and what their groups may do.",
    keys: &[
        key("ldap", Kind::Name, Required, "An endpoint of the type `ldap`, whose filter finds a user by name."),
        key(
            "viewers",
            Kind::OneOrMany(&Kind::Text),
            Optional,
            "Groups, by their distinguished names, whose members see status and metrics.",
        ),
        key("operators", Kind::OneOrMany(&Kind::Text), Optional, "Groups whose members also see records and reload."),
        key("admins", Kind::OneOrMany(&Kind::Text), Optional, "Groups whose members may do everything."),
        key(
            "ttl",
            Kind::Duration(0..=HOUR),
            Default("1m"),
            "How long a password counts as right, and a group as its user's, before the directory is asked again.",
        ),
    ],
};

/// TLS of the HTTP API.
pub static HTTP_TLS: Shape = Shape {
    what: "the group `tls` of `http`",
    doc: "The certificate that the HTTP API shows.",
    keys: &[
        key("certificate", Kind::Path, Required, "Certificate chain, PEM."),
        key("key", Kind::Path, Required, "Private key, PEM."),
    ],
};

/// The roles, from that which may least.
pub const ROLES: &[&str] = &["viewer", "operator", "admin"];

static TOKENS: &[Variant] = &[
    Variant { key: "hash", word: None, shape: &TOKEN_HASH },
    Variant { key: "secret", word: None, shape: &TOKEN_SECRET },
];

const ROLE_DOC: &str =
    "`viewer` sees status and metrics; `operator` also sees records and reloads; `admin` may do everything.";

/// A token of which the file has the hash.
pub static TOKEN_HASH: Shape = Shape {
    what: "a token by its hash",
    doc: "A token, known by its hash, as `weir token new` prints it.",
    keys: &[
        key("name", Kind::Name, Required, "Whose it is, for the log."),
        key("role", Kind::Choice(ROLES), Required, ROLE_DOC),
        key("hash", Kind::Form(&HASH), Required, "`blake3:` and the token's BLAKE3 hash in hexadecimal."),
    ],
};

/// A token that is kept as a secret.
pub static TOKEN_SECRET: Shape = Shape {
    what: "a token by its secret",
    doc: "A token that is one of `secrets`.",
    keys: &[
        key("name", Kind::Name, Required, "Whose it is, for the log."),
        key("role", Kind::Choice(ROLES), Required, ROLE_DOC),
        key("secret", Kind::Name, Required, "The token's name under `secrets`; it has at least 32 characters."),
    ],
};
