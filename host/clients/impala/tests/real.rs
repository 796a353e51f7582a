//! The client against a real server: Spark's, with passwords in LDAP. `cargo xtask test` starts it: its program is named by
//! `WEIR_XTASK`. To run these tests alone: `cargo build -p xtask && WEIR_XTASK=target/debug/xtask cargo test -p impala-client`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use impala_client::{Answer, Dialect, Error, Literal, Login, Options, Session, Value, bind, quote};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

/// A server, taken down when this is dropped.
struct Server {
    dir: TempDir,
    facts: serde_json::Value,
}

static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

impl Server {
    fn up() -> Self {
        let mut server = Server { dir: TempDir::new().unwrap(), facts: serde_json::Value::Null };
        let facts: serde_json::Value = serde_json::from_str(&run(&mut server.xtask("up"))).unwrap();
        server.facts = facts["hs2"].clone();
        server
    }

    /// One for all tests that leave it alone, while any of them runs.
    fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Server::up());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    fn text(&self, name: &str) -> &str {
        self.facts[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.facts))
    }

    fn options(&self) -> Options {
        self.options_of(self.text("user"), self.text("password"))
    }

    fn options_of(&self, user: &str, password: &str) -> Options {
        Options {
            host: "127.0.0.1".to_owned(),
            port: self.text("address").rsplit_once(':').unwrap().1.parse().unwrap(),
            dialect: Dialect::Spark,
            login: Login::Plain { user: user.to_owned(), password: password.to_owned() },
            tls: None,
            connect_timeout: Duration::from_secs(30),
            settings: Vec::new(),
            database: None,
        }
    }

    async fn session(&self) -> Session {
        Session::open(&self.options()).await.unwrap()
    }

    fn kill(&self) {
        run(self.xtask("kill").args(["--part", "hs2"]));
    }

    /// Starts the server with other flags.
    fn restart_with(&self, change: impl Fn(String) -> String) {
        self.kill();
        let path = PathBuf::from(self.text("dir")).join("hs2.flags");
        fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
        run(self.xtask("start").args(["--part", "hs2"]));
    }

    fn xtask(&self, command: &str) -> Command {
        let program = env::var_os("WEIR_XTASK").expect("WEIR_XTASK names the program of `cargo xtask`");
        let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
        let root = root.ancestors().nth(3).unwrap();
        // Relative to the clone, as cargo runs tests elsewhere.
        let mut xtask = Command::new(root.join(program));
        xtask.env("CARGO_MANIFEST_DIR", root.join("deploy/xtask"));
        xtask.args(["services", command, "hs2", "--dir"]).arg(self.dir.path());
        xtask
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.xtask("down").stderr(Stdio::null()).status();
    }
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

const BYTES_MAX: usize = 64 << 20;

async fn ask(session: &mut Session, sql: &str) -> Answer {
    session.execute(sql, soon(), BYTES_MAX).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[tokio::test]
async fn only_the_right_password_opens_a_session() {
    let server = Server::shared();
    let mut session = server.session().await;
    assert_eq!(ask(&mut session, "SELECT 1").await.rows, [[Value::I64(1)]]);
    session.close().await;
    for (user, password) in [("etl", "wrong"), ("nobody", "s3cret"), ("etl", ""), ("", "s3cret"), ("*", "s3cret")] {
        let error = Session::open(&server.options_of(user, password)).await.unwrap_err();
        println!("{user:?} {password:?}: {error}");
        assert!(matches!(error, Error::Login(_)), "{error:?}");
        assert!(error.to_string().starts_with("user or password were refused"), "{error}");
        assert!(!error.leaves_doubt());
    }
    let nobody_listens = Options { port: 1, ..server.options() };
    assert!(matches!(Session::open(&nobody_listens).await, Err(Error::Connect(_))));
}

#[tokio::test]
async fn a_distinguished_name_is_a_user_and_without_sasl_nobody_is_asked() {
    let server = Server::up();
    server.restart_with(|flags| {
        let base = flags.lines().find(|line| line.contains("ldap.baseDN")).unwrap();
        flags.replace(&format!("--hiveconf\n{base}\n"), "")
    });
    for user in ["etl", "jsmith"] {
        let ldap = &server.facts["ldap"];
        let [name, password] = ["names", "passwords"].map(|kind| ldap[kind][user].as_str().unwrap().to_owned());
        let mut session = Session::open(&server.options_of(&name, &password)).await.unwrap();
        assert_eq!(ask(&mut session, "SELECT 1").await.rows.len(), 1);
        assert!(matches!(Session::open(&server.options_of(&name, "wrong")).await, Err(Error::Login(_))));
    }

    server.restart_with(|flags| flags.replace("authentication=LDAP", "authentication=NOSASL"));
    let mut session = Session::open(&Options { login: Login::None, ..server.options() }).await.unwrap();
    let answer = ask(&mut session, "SELECT id, repeat('x', 50) FROM range(30000)").await;
    assert_eq!(answer.rows.len(), 30_000);
    assert_eq!(ask(&mut session, "SELECT 'on'").await.rows, [[text("on")]]);
}

#[tokio::test]
async fn all_types_come_as_they_went() {
    let server = Server::shared();
    let mut session = server.session().await;
    ask(&mut session, "CREATE DATABASE IF NOT EXISTS types").await;
    ask(
        &mut session,
        "CREATE TABLE types.t (a BOOLEAN, b TINYINT, c SMALLINT, d INT, e BIGINT, f FLOAT, g DOUBLE, h STRING, \
         i TIMESTAMP, j BINARY, k DECIMAL(38, 10), l DATE, m VARCHAR(10), n ARRAY<INT>) USING PARQUET",
    )
    .await;
    let insert = "INSERT INTO types.t SELECT true, CAST(? AS TINYINT), CAST(? AS SMALLINT), CAST(? AS INT), \
                  CAST(? AS BIGINT), CAST(? AS FLOAT), CAST(? AS DOUBLE), ?, CAST(? AS TIMESTAMP), ?, \
                  CAST(? AS DECIMAL(38, 10)), CAST(? AS DATE), ?, array(1, NULL)";
    let words = ["-128", "-32768", "2147483647", "-9223372036854775808", "1.1", "-1e300", "größer 日本 🦀"];
    let mut values: Vec<Literal<'_>> = words.map(Literal::Text).to_vec();
    values.push(Literal::Text("2026-11-23 01:02:03.123456"));
    values.push(Literal::Bytes(&[0, 0xff, b'\'', b'?', 0x1a]));
    let rest = ["-1234567890123456789012345678.0123456789", "1969-07-20", "short"];
    values.extend(rest.map(Literal::Text));
    ask(&mut session, &bind(Dialect::Spark, insert, &values).unwrap()).await;
    let nulls = vec![Literal::Null; values.len()];
    ask(&mut session, &bind(Dialect::Spark, insert, &nulls).unwrap().replace("true", "NULL")).await;

    let answer = ask(&mut session, "SELECT * FROM types.t ORDER BY d NULLS LAST").await;
    let types: Vec<&str> = answer.columns.iter().map(|column| column.type_name.as_str()).collect();
    println!("{types:?}");
    let expected = [
        Value::Bool(true),
        Value::I64(-128),
        Value::I64(-32_768),
        Value::I64(2_147_483_647),
        Value::I64(i64::MIN),
        Value::F64(1.1),
        Value::F64(-1e300),
        text("größer 日本 🦀"),
        text("2026-11-23 01:02:03.123456"),
        Value::Bytes(vec![0, 0xff, b'\'', b'?', 0x1a]),
        text("-1234567890123456789012345678.0123456789"),
        text("1969-07-20"),
        text("short"),
        text("[1,null]"),
    ];
    assert_eq!(answer.rows[0], expected);
    assert!(answer.rows[1][..13].iter().all(|value| *value == Value::Null), "{:?}", answer.rows[1]);
    assert_eq!(answer.columns[10].name, "k");
    session.close().await;
}

/// Texts that try to leave their quotes.
fn hostile() -> Vec<String> {
    let parts = [
        "'",
        "''",
        "\\",
        "\\'",
        "\"",
        "`",
        "?",
        "--",
        "/*",
        "*/",
        ";",
        "\0",
        "012",
        "\n",
        "\r",
        "\u{1a}",
        "$",
        "${env:HOME}",
        "${hiveconf:x}",
        "{",
        "}",
        "\\u0027",
        "\\047",
        "%",
        "_",
        "é",
        "日",
        "🦀",
        "\u{2028}",
        "\u{feff}",
        " ",
        "x",
        "r'",
        "\u{7f}",
    ];
    let mut texts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
    let mut state = 7_usize;
    while texts.len() < 200 {
        let mut text = String::new();
        for _ in 0..8 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(parts[(state >> 33) % parts.len()]);
        }
        texts.push(text);
    }
    texts
}

#[tokio::test]
async fn hostile_texts_come_back_as_they_went_even_where_variables_are_substituted() {
    let server = Server::shared();
    for substitute in [false, true] {
        let mut session = server.session().await;
        let set = format!("SET spark.sql.variable.substitute={substitute}");
        if substitute {
            ask(&mut session, &set).await;
        }
        let raw = ask(&mut session, "SELECT '${env:HOME}'").await.rows;
        assert_eq!(raw != [[text("${env:HOME}")]], substitute, "{raw:?}");
        let texts = hostile();
        for chunk in texts.chunks(20) {
            let placeholders = vec!["?"; chunk.len()].join(", ");
            let values: Vec<Literal<'_>> = chunk.iter().map(|text| Literal::Text(text)).collect();
            let sql = bind(Dialect::Spark, &format!("SELECT {placeholders} -- why?"), &values).unwrap();
            let got = ask(&mut session, &sql).await.rows.remove(0);
            for (text, got) in chunk.iter().zip(got) {
                assert_eq!(got, Value::Text(text.clone()));
            }
        }
        session.close().await;
    }
}

#[tokio::test]
async fn names_are_quoted_as_the_server_reads_them() {
    let server = Server::shared();
    let mut session = server.session().await;
    for name in ["plain", "two words", "back`tick", "`", "quote'", "?", "--x", "größe", "a.b", "select", "$x", "/*"] {
        let sql = format!("SELECT 1 AS {}", quote(Dialect::Spark, name).unwrap());
        assert_eq!(ask(&mut session, &bind(Dialect::Spark, &sql, &[]).unwrap()).await.columns[0].name, name);
    }
    session.close().await;
}

#[tokio::test]
async fn a_statement_that_fails_is_told_with_the_words_of_the_server_and_the_session_goes_on() {
    let server = Server::shared();
    let mut session = server.session().await;
    for (sql, state, words) in [
        ("SELEC 1", "42601", "PARSE_SYNTAX_ERROR"),
        ("SELECT * FROM absent", "42P01", "TABLE_OR_VIEW_NOT_FOUND"),
        ("SELECT raise_error('of its own')", "", "of its own"),
        ("SELECT CAST(1 AS NONSENSE)", "", "NONSENSE"),
    ] {
        let error = session.execute(sql, soon(), BYTES_MAX).await.unwrap_err();
        let Error::Server { state: got, code, message } = &error else { panic!("{error:?}") };
        println!("{sql}: {got:?} {code:?} {}", message.lines().next().unwrap_or_default());
        assert!(message.contains(words), "{message}");
        assert!(state.is_empty() || got.as_deref() == Some(state), "{got:?}");
        assert!(session.is_usable());
    }
    assert_eq!(ask(&mut session, "SELECT 2").await.rows, [[Value::I64(2)]]);
    session.close().await;
}

/// Takes minutes.
const SLOW: &str = "SELECT count(*) FROM range(100000000000) WHERE sha2(CAST(id AS STRING), 512) = 'x'";

#[tokio::test]
async fn a_slow_statement_is_cancelled_at_its_deadline() {
    let server = Server::up();
    let mut session = server.session().await;
    ask(&mut session, "SELECT 1").await;
    let begun = Instant::now();
    let until = begun + Duration::from_secs(1);
    assert!(matches!(session.execute(SLOW, until, BYTES_MAX).await, Err(Error::Timeout)));
    println!("timed out after {:?}, usable: {}", begun.elapsed(), session.is_usable());
    assert!(begun.elapsed() < Duration::from_secs(4));
    // The server has one thread for work: the next statement is done only where the one before was really ended.
    let mut session = if session.is_usable() { session } else { server.session().await };
    assert_eq!(ask(&mut session, "SELECT count(*) FROM range(10)").await.rows, [[Value::I64(10)]]);

    // Dropped in the middle, it must not give the answer to another statement.
    let dropped = tokio::time::timeout(Duration::from_millis(300), session.execute(SLOW, soon(), BYTES_MAX)).await;
    assert!(dropped.is_err() && !session.is_usable());
    let error = session.execute("SELECT 1", soon(), BYTES_MAX).await.unwrap_err();
    assert!(matches!(error, Error::Broken { is_sent: false, .. }), "{error:?}");
    session.close().await;

    let mut session = server.session().await;
    let killed = tokio::spawn(async move {
        let error = session.execute(SLOW, soon(), BYTES_MAX).await.unwrap_err();
        (error, session.is_usable())
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    tokio::task::spawn_blocking(move || server.kill()).await.unwrap();
    let (error, is_usable) = killed.await.unwrap();
    println!("{error}");
    assert!(matches!(error, Error::Broken { is_sent: true, .. }) && error.leaves_doubt() && !is_usable, "{error:?}");
}

#[tokio::test]
async fn many_rows_come_in_several_fetches_and_too_many_are_refused() {
    let server = Server::shared();
    let mut session = server.session().await;
    let begun = Instant::now();
    let answer = ask(&mut session, "SELECT id, IF(id % 3 = 0, NULL, CAST(id AS STRING)) FROM range(100000)").await;
    println!("100,000 rows in {:?}", begun.elapsed());
    assert_eq!(answer.rows.len(), 100_000);
    for (id, row) in answer.rows.iter().enumerate() {
        let expected = if id % 3 == 0 { Value::Null } else { Value::Text(id.to_string()) };
        assert_eq!(*row, [Value::I64(id as i64), expected]);
    }
    for sql in ["SELECT id FROM range(100000)", "SELECT repeat('x', 3000) FROM range(1000)"] {
        let error = session.execute(sql, soon(), 100_000).await.unwrap_err();
        println!("{error}, usable: {}", session.is_usable());
        assert!(matches!(error, Error::TooLarge(100_000)), "{error:?}");
        if !session.is_usable() {
            session = server.session().await;
        }
        assert_eq!(ask(&mut session, "SELECT 3").await.rows, [[Value::I64(3)]]);
    }
    let begun = Instant::now();
    for _ in 0..50 {
        ask(&mut session, "SELECT 1").await;
    }
    println!("a statement takes {:?}", begun.elapsed() / 50);
    session.close().await;
}

#[tokio::test]
async fn settings_and_database_hold_for_the_session() {
    let server = Server::shared();
    let mut session = server.session().await;
    ask(&mut session, "CREATE DATABASE IF NOT EXISTS chosen").await;
    let settings = vec![("spark.sql.session.timeZone".to_owned(), "Asia/Tokyo".to_owned())];
    let options = Options { settings, database: Some("chosen".to_owned()), ..server.options() };
    let mut session = Session::open(&options).await.unwrap();
    let answer = ask(&mut session, "SELECT current_database(), current_timezone()").await;
    assert_eq!(answer.rows, [[text("chosen"), text("Asia/Tokyo")]]);
    let options = Options { database: Some("absent".to_owned()), ..options };
    let error = Session::open(&options).await.unwrap_err();
    println!("{error}");
    assert!(matches!(error, Error::Server { .. }), "{error:?}");
}

/// A proxy that adds TLS to a server that has none.
async fn secured(server: &Server) -> u16 {
    let dir = PathBuf::from(server.text("dir")).join("tls");
    let certificate = CertificateDer::from_pem_file(dir.join("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(dir.join("server.key")).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, behind) = (listener.local_addr().unwrap().port(), server.text("address").to_owned());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            if let Ok(mut inside) = acceptor.accept(socket).await {
                let mut outside = TcpStream::connect(&behind).await.unwrap();
                tokio::spawn(async move { copy_bidirectional(&mut inside, &mut outside).await });
            }
        }
    });
    port
}

fn trusting(authority: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

#[tokio::test]
async fn with_tls_the_server_needs_a_certificate_by_the_authority() {
    let server = Server::shared();
    let port = secured(&server).await;
    let ldap = &server.facts["ldap"];
    let [ca, other] = ["ca", "other_ca"].map(|name| Some(trusting(ldap[name].as_str().unwrap())));
    let mut session = Session::open(&Options { tls: ca, port, ..server.options() }).await.unwrap();
    assert_eq!(ask(&mut session, "SELECT id FROM range(20000)").await.rows.len(), 20_000);
    session.close().await;
    let error = Session::open(&Options { tls: other, port, ..server.options() }).await.unwrap_err();
    println!("{error}");
    assert!(matches!(&error, Error::Connect(words) if words.contains("TLS failed")), "{error:?}");
}
