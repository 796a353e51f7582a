//! The keys of endpoints, and of what grants them to a step.

use super::{CLIENT_TLS, Form, HOUR, KIB, Key, Kind, MIB, Need, Shape, Variant, key};
use crate::config::endpoint::{self, Dialect};
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
pub static ENDPOINTS: &[Variant] = &[
    Variant { key: "type", word: Some("http"), shape: &HTTP_ENDPOINT },
    Variant { key: "type", word: Some("mysql"), shape: &MYSQL_ENDPOINT },
    Variant { key: "type", word: Some("postgres"), shape: &POSTGRES_ENDPOINT },
    Variant { key: "type", word: Some("impala"), shape: &IMPALA_ENDPOINT },
    Variant { key: "type", word: Some("hive"), shape: &HIVE_ENDPOINT },
    Variant { key: "type", word: Some("spark"), shape: &SPARK_ENDPOINT },
    Variant { key: "type", word: Some("kudu"), shape: &KUDU_ENDPOINT },
    Variant { key: "type", word: Some("slack"), shape: &SLACK_ENDPOINT },
    Variant { key: "type", word: Some("ldap"), shape: &LDAP_ENDPOINT },
];

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

static MYSQL_URL: Form = Form {
    what: "a URL like `mysql://weir@db.example.org:3306/shop`",
    pattern: r"^mysql://[^\s?#:@/]+@[^\s?#@/]+/[^\s?#/]+$",
    rule: "invalid-url",
    check: |text| endpoint::database_address(text, Dialect::Mysql).map(drop),
    help: "write `mysql://USER@HOST:PORT/DATABASE`; the password has a key of its own",
};

static POSTGRES_URL: Form = Form {
    what: "a URL like `postgres://weir@db.example.org:5432/shop`",
    pattern: r"^postgres://[^\s?#:@/]+@[^\s?#@/]+/[^\s?#/]+$",
    rule: "invalid-url",
    check: |text| endpoint::database_address(text, Dialect::Postgres).map(drop),
    help: "write `postgres://USER@HOST:PORT/DATABASE`; the password has a key of its own",
};

const PASSWORD: Key =
    key("password", Kind::Secret, Optional, "The password: `{secret: NAME}`. No plugin sees it. None, without it.");
const DATABASE_TLS: Key = key(
    "tls",
    Kind::Group(&CLIENT_TLS),
    Optional,
    "TLS: whom to trust and what to show; `{}` trusts whom the system trusts. Without it, what is sent goes over the network as it is.",
);
const CONNECTIONS_MAX: Key = key(
    "connections_max",
    Kind::Number(1..=1_000),
    Default("8"),
    "Connections at once, of all the plugins that are granted it.",
);
const TRANSACTION_TIMEOUT: Key =
    key("timeout", Kind::Duration(10..=HOUR), Default("30s"), "How long a connection or a transaction may take.");

/// A database that speaks MySQL's protocol.
pub static MYSQL_ENDPOINT: Shape = Shape {
    what: "a mysql endpoint",
    doc: "A database of MySQL or MariaDB that plugins may be granted.",
    keys: &[
        key("type", Kind::Word("mysql"), Required, "The type of endpoint."),
        key("url", Kind::Form(&MYSQL_URL), Required, "The database: `mysql://USER@HOST:PORT/DATABASE`."),
        PASSWORD,
        DATABASE_TLS,
        CONNECTIONS_MAX,
        TRANSACTION_TIMEOUT,
        CACHE,
    ],
};

/// A database of PostgreSQL.
pub static POSTGRES_ENDPOINT: Shape = Shape {
    what: "a postgres endpoint",
    doc: "A database of PostgreSQL that plugins may be granted.",
    keys: &[
        key("type", Kind::Word("postgres"), Required, "The type of endpoint."),
        key("url", Kind::Form(&POSTGRES_URL), Required, "The database: `postgres://USER@HOST:PORT/DATABASE`."),
        PASSWORD,
        DATABASE_TLS,
        CONNECTIONS_MAX,
        TRANSACTION_TIMEOUT,
        CACHE,
    ],
};

const STATEMENT_TIMEOUT: Key =
    key("timeout", Kind::Duration(10..=HOUR), Default("2m"), "How long a connection or a statement may take.");

static IMPALA_URL: Form = Form {
    what: "a URL like `impala://etl@impala-1.example.org:21050/default`",
    pattern: r"^impala://[^\s?#:@/]+@[^\s?#@/]+/[^\s?#/]+$",
    rule: "invalid-url",
    check: |text| endpoint::database_address(text, Dialect::Impala).map(drop),
    help: "write `impala://USER@HOST:PORT/DATABASE`, where USER may be a distinguished name; the password has a key of its own",
};

/// A database of Apache Impala.
pub static IMPALA_ENDPOINT: Shape = Shape {
    what: "an impala endpoint",
    doc: "A database of Apache Impala, by HiveServer2, that plugins may be granted.",
    keys: &[
        key("type", Kind::Word("impala"), Required, "The type of endpoint."),
        key("url", Kind::Form(&IMPALA_URL), Required, "The database: `impala://USER@HOST:PORT/DATABASE`."),
        PASSWORD,
        DATABASE_TLS,
        CONNECTIONS_MAX,
        STATEMENT_TIMEOUT,
        CACHE,
    ],
};

static HIVE_URL: Form = Form {
    what: "a URL like `hive://etl@hive-1.example.org:10000/default`",
    pattern: r"^hive://[^\s?#:@/]+@[^\s?#@/]+/[^\s?#/]+$",
    rule: "invalid-url",
    check: |text| endpoint::database_address(text, Dialect::Hive).map(drop),
    help: "write `hive://USER@HOST:PORT/DATABASE`, where USER may be a distinguished name; the password has a key of its own",
};

/// A database of Apache Hive.
pub static HIVE_ENDPOINT: Shape = Shape {
    what: "a hive endpoint",
    doc: "A database of Apache Hive, by HiveServer2, that plugins may be granted.",
    keys: &[
        key("type", Kind::Word("hive"), Required, "The type of endpoint."),
        key("url", Kind::Form(&HIVE_URL), Required, "The database: `hive://USER@HOST:PORT/DATABASE`."),
        PASSWORD,
        DATABASE_TLS,
        CONNECTIONS_MAX,
        STATEMENT_TIMEOUT,
        CACHE,
    ],
};

static SPARK_URL: Form = Form {
    what: "a URL like `spark://etl@spark-1.example.org:10000/default`",
    pattern: r"^spark://[^\s?#:@/]+@[^\s?#@/]+/[^\s?#/]+$",
    rule: "invalid-url",
    check: |text| endpoint::database_address(text, Dialect::Spark).map(drop),
    help: "write `spark://USER@HOST:PORT/DATABASE`, where USER may be a distinguished name; the password has a key of its own",
};

/// A database of Apache Spark SQL.
pub static SPARK_ENDPOINT: Shape = Shape {
    what: "a spark endpoint",
    doc: "A database of Apache Spark SQL, by HiveServer2, that plugins may be granted.",
    keys: &[
        key("type", Kind::Word("spark"), Required, "The type of endpoint."),
        key("url", Kind::Form(&SPARK_URL), Required, "The database: `spark://USER@HOST:PORT/DATABASE`."),
        PASSWORD,
        DATABASE_TLS,
        CONNECTIONS_MAX,
        STATEMENT_TIMEOUT,
        CACHE,
    ],
};

const CACHE: Key = key(
    "cache",
    Kind::Group(&LOOKUP_CACHE),
    Optional,
    "What is kept of answers to lookups, for all the plugins that are granted it.",
);

/// What is kept of answers to lookups.
pub static LOOKUP_CACHE: Shape = Shape {
    what: "the group `cache`",
    doc: "What is kept of answers to lookups.",
    keys: &[
        key("ttl", Kind::Duration(0..=24 * HOUR), Default("5m"), "How long what was found counts; `0s` keeps nothing."),
        key("missing_ttl", Kind::Duration(0..=24 * HOUR), Default("30s"), "How long it counts that nothing was found."),
        key(
            "stale",
            Kind::Duration(0..=7 * 24 * HOUR),
            Default("0s"),
            "How much longer what is old counts while the server does not answer.",
        ),
        key("size", Kind::Size(64 * KIB..=1024 * MIB), Default("16MiB"), "Bytes of all that is kept."),
    ],
};

static LDAP_URL: Form = Form {
    what: "a URL like `ldaps://ldap.example.org`",
    pattern: r"^ldaps?://[^\s?#@/]+/?$",
    rule: "invalid-url",
    check: |text| endpoint::ldap_url(text).map(drop),
    help: "write `ldaps://HOST:PORT`, or `ldap://HOST:PORT`, where TLS begins after the connection",
};

static LDAP_FILTER: Form = Form {
    what: "a search filter like `(uid={0})`",
    pattern: r"^\(.*\{0\}.*\)$",
    rule: "invalid-filter",
    check: |text| endpoint::Filter::read(text).map(drop),
    help: "write a filter of LDAP, with `{0}` where the first value of the key stands, `{1}` for the second",
};

/// A directory.
pub static LDAP_ENDPOINT: Shape = Shape {
    what: "an ldap endpoint",
    doc: "A directory that plugins may be granted to look entries up in, by its filter and no other.",
    keys: &[
        key("type", Kind::Word("ldap"), Required, "The type of endpoint."),
        key(
            "url",
            Kind::Form(&LDAP_URL),
            Required,
            "The server: `ldaps://HOST:PORT`, or `ldap://HOST:PORT`, where TLS begins after the connection (StartTLS).",
        ),
        key(
            "plaintext",
            Kind::True,
            Optional,
            "`true`: no TLS with `ldap:`. The password and all entries go over the network as they are.",
        ),
        key("bind_dn", Kind::Text, Optional, "Who asks: a distinguished name. Without one nobody in particular does."),
        key("password", Kind::Secret, Optional, "The password of who asks: `{secret: NAME}`. No plugin sees it."),
        key("base", Kind::Text, Required, "The entry below which others are looked for: a distinguished name."),
        key(
            "scope",
            Kind::Choice(&["subtree", "one", "base"]),
            Default("subtree"),
            "How far: all below the base, those right below it, or the base alone.",
        ),
        key(
            "filter",
            Kind::Form(&LDAP_FILTER),
            Required,
            "Which entry, with `{0}` where the value goes that is looked up. It is escaped: it can match itself alone.",
        ),
        key(
            "attributes",
            Kind::OneOrMany(&Kind::Text),
            Required,
            "Which attributes of an entry plugins see; `dn` is its name.",
        ),
        key(
            "lists",
            Kind::OneOrMany(&Kind::Text),
            Optional,
            "Which of the attributes are always lists. Others are lists where an entry has several values.",
        ),
        key("tls", Kind::Group(&CLIENT_TLS), Optional, "Whom to trust and what to show."),
        key("timeout", Kind::Duration(10..=HOUR), Default("10s"), "How long a connection or an answer may take."),
        CACHE,
    ],
};

static MASTER: Form = Form {
    what: "a host like `kudu-1.example.org:7051`",
    pattern: r"^[^\s/@?#]+$",
    rule: "invalid-address",
    check: endpoint::master,
    help: "write `HOST` or `HOST:PORT`; a list of all masters, where there are several",
};

/// A cluster of Kudu.
pub static KUDU_ENDPOINT: Shape = Shape {
    what: "a kudu endpoint",
    doc: "A cluster of Apache Kudu that plugins may be granted.",
    keys: &[
        key("type", Kind::Word("kudu"), Required, "The type of endpoint."),
        key(
            "masters",
            Kind::OneOrMany(&Kind::Form(&MASTER)),
            Required,
            "All masters of the cluster: `host:port` each.",
        ),
        key("user", Kind::Text, Optional, "Who asks. Without one, whom the cluster lets in without a name."),
        PASSWORD,
        key(
            "tls",
            Kind::Group(&KUDU_TLS),
            Optional,
            "Connections have to be encrypted. Without it they are where the servers can, and nobody has to prove who they are.",
        ),
        key(
            "timeout",
            Kind::Duration(100..=HOUR / 6),
            Default("30s"),
            "How long an operation may take, all tries together.",
        ),
    ],
};

/// Encryption of connections to Kudu.
pub static KUDU_TLS: Shape = Shape {
    what: "the group `tls`",
    doc: "Encryption of connections to a cluster of Kudu.",
    keys: &[key(
        "ca",
        Kind::Path,
        Optional,
        "Certificate authorities to trust, PEM: masters and tablet servers need a certificate by one of them.",
    )],
};

static SLACK_URL: Form = Form {
    what: "a URL like `https://slack.com/api/`",
    pattern: r"^https?://[^\s?#@]+$",
    rule: "invalid-url",
    check: |text| endpoint::url(text).map(drop),
    help: "write `https://HOST/api/`; where the secret is a webhook, it holds the whole URL itself",
};

/// A workspace of Slack.
pub static SLACK_ENDPOINT: Shape = Shape {
    what: "a slack endpoint",
    doc: "A workspace of Slack that plugins may be granted to post to: by a token, or by an incoming webhook.",
    keys: &[
        key("type", Kind::Word("slack"), Required, "The type of endpoint."),
        key(
            "token",
            Kind::Secret,
            Optional,
            "The token of a bot, `{secret: NAME}`: or else `webhook`. No plugin sees it.",
        ),
        key(
            "webhook",
            Kind::Secret,
            Optional,
            "The URL of an incoming webhook, all of it, `{secret: NAME}`: or else `token`. No plugin sees it.",
        ),
        key("url", Kind::Form(&SLACK_URL), Default("https://slack.com/api/"), "Where the API is, with a token."),
        key("tls", Kind::Group(&CLIENT_TLS), Optional, "Whom to trust and what to show."),
        key("timeout", Kind::Duration(10..=HOUR), Default("10s"), "How long an answer may take."),
        key("pace", Kind::Duration(1..=HOUR), Default("1s"), "The least time between two messages to a channel."),
    ],
};

/// What a step is granted.
pub static GRANTS: Shape = Shape {
    what: "the group `grants`",
    doc: "What a plugin may reach beside the log and its own state.",
    keys: &[
        key(
            "http",
            Kind::OneOrMany(&Kind::Name),
            Optional,
            "Web services, by their names under `endpoints`, that it may send requests to.",
        ),
        key(
            "database",
            Kind::OneOrMany(&Kind::Name),
            Optional,
            "Databases, by their names under `endpoints`, that it may run transactions in.",
        ),
        key(
            "kudu",
            Kind::OneOrMany(&Kind::Name),
            Optional,
            "Kudu clusters, by their names under `endpoints`, whose tables it may read and write.",
        ),
        key(
            "slack",
            Kind::OneOrMany(&Kind::Name),
            Optional,
            "Workspaces of Slack, by their names under `endpoints`, that it may post to.",
        ),
        key(
            "lookup",
            Kind::OneOrMany(&Kind::Name),
            Optional,
            "Directories and databases, by their names under `endpoints`, that it may read from, and no more.",
        ),
    ],
};

/// The key of a step or sink.
pub const GRANTS_KEY: Key = key(
    "grants",
    Kind::Group(&GRANTS),
    Optional,
    "What the plugin may reach beside the log and its own state; nothing, without it.",
);
