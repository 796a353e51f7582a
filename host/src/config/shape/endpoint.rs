//! The keys of endpoints, and of what grants them to a step.

use super::{CLIENT_TLS, Form, HOUR, KIB, Key, Kind, MIB, Need, Shape, Variant, key};
use crate::config::endpoint;
use Need::{Default, Optional, Required};

static URL: Form = Form {
    what: "a URL like `https://geo.example.org/v1/`",
    pattern: r"^https?://[^\s?#@]+$",
    rule: "invalid-url",
    check: |text| endpoint::url(text).map(drop),
    help: "write `https://HOST/PATH/`; plugins add what stands behind it",
};

static HEADER: Form = Form {
    what: "the name of a header, like `X-Api-Key`",
    pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
    rule: "invalid-header",
    check: endpoint::header,
    help: "letters, digits and `-`",
};

/// The types of endpoints.
pub static ENDPOINTS: &[Variant] = &[Variant { key: "type", word: Some("http"), shape: &HTTP_ENDPOINT }];

/// A web service.
pub static HTTP_ENDPOINT: Shape = Shape {
    what: "an http endpoint",
    doc: "A web service that plugins may be granted.",
    keys: &[
        key("type", Kind::Word("http"), Required, "The type of endpoint."),
        key("url", Kind::Form(&URL), Required, "Where every request begins; plugins add a path and a query."),
        key("auth", Kind::Variants("login", AUTH), Optional, "What is attached to every request. No plugin sees it."),
        key("headers", Kind::Named(&Kind::Text, "header"), Optional, "Headers of every request, which are no secrets."),
        key(
            "methods",
            Kind::OneOrMany(&Kind::Choice(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])),
            Optional,
            "What may be asked: GET and POST, without it.",
        ),
        key(
            "private_addresses",
            Kind::True,
            Optional,
            "`true`: it may be at an address that is not public. Without it none such is connected to, whatever a name resolves to.",
        ),
        key("tls", Kind::Group(&CLIENT_TLS), Optional, "Whom to trust and what to show."),
        key("timeout", Kind::Duration(10..=HOUR), Default("10s"), "How long an answer may take."),
        key(
            "requests_max",
            Kind::Number(1..=1_000),
            Default("8"),
            "Requests at once, of all the plugins that are granted it.",
        ),
        key("response_bytes_max", Kind::Size(KIB..=64 * MIB), Default("1MiB"), "Bytes of an answer."),
    ],
};

static AUTH: &[Variant] = &[
    Variant { key: "bearer", word: None, shape: &HTTP_BEARER },
    Variant { key: "user", word: None, shape: &HTTP_BASIC },
    Variant { key: "header", word: None, shape: &HTTP_HEADER },
];

/// A token.
pub static HTTP_BEARER: Shape = Shape {
    what: "a login by a token",
    doc: "`Authorization: Bearer` and a secret.",
    keys: &[key("bearer", Kind::Secret, Required, "The token: `{secret: NAME}`.")],
};

/// A user and a password.
pub static HTTP_BASIC: Shape = Shape {
    what: "a login by user and password",
    doc: "`Authorization: Basic` of a user and a password.",
    keys: &[
        key("user", Kind::Text, Required, "The user."),
        key("password", Kind::Secret, Required, "The password: `{secret: NAME}`."),
    ],
};

/// A header of the service's own.
pub static HTTP_HEADER: Shape = Shape {
    what: "a login by a header",
    doc: "A header of the service's own, with a secret.",
    keys: &[
        key("header", Kind::Form(&HEADER), Required, "The header's name."),
        key("value", Kind::Secret, Required, "Its value: `{secret: NAME}`."),
    ],
};

/// What a step is granted.
pub static GRANTS: Shape = Shape {
    what: "the group `grants`",
    doc: "What a plugin may reach beside the log and its own state.",
    keys: &[key(
        "http",
        Kind::OneOrMany(&Kind::Name),
        Optional,
        "Web services, by their names under `endpoints`, that it may send requests to.",
    )],
};

/// The key of a step or sink.
pub const GRANTS_KEY: Key = key(
    "grants",
    Kind::Group(&GRANTS),
    Optional,
    "What the plugin may reach beside the log and its own state; nothing, without it.",
);
