//! Entries of a real directory and rows of real databases in records, and operators who log in by their directory.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::harness::{Bench, free_port};
use crate::services::{Facts, Servers};

/// What could make a filter match more than its value does, were it not escaped.
const PATTERNS: [&str; 20] = [
    "*",
    "**",
    "a*",
    "*a",
    "*)(uid=*",
    "ada)(|(uid=*",
    "ada))(|(uid=*",
    ")(objectClass=*",
    "*)(&(objectClass=*)",
    "ada)(!(uid=x)",
    "\\2a",
    "\\",
    "ada\\00",
    "\u{0}",
    "ada\u{0}",
    "(|(uid=*))",
    "ada)%00",
    "&(uid=*)",
    ")(uid>=a",
    "~=ada",
];

/// 200 of them: each alone, and with what may stand around it.
fn injections() -> Vec<String> {
    let around = [
        ("", ""),
        ("ada", ""),
        ("", "ada"),
        (" ", ""),
        ("", " "),
        ("(", ")"),
        ("x", "x"),
        ("*", "*"),
        ("ä", "😀"),
        ("\\", ""),
    ];
    PATTERNS.iter().flat_map(|pattern| around.map(|(before, after)| format!("{before}{pattern}{after}"))).collect()
}

/// The endpoint of a directory, and the file of its password.
fn staff(bench: &Bench, facts: &Facts, url: &str, more: &str) -> String {
    let fact = |name| facts.text("ldap", name);
    bench.write("ldap-password", fact("bind_password"));
    format!(
        "
  staff:
    type: ldap
    url: '{url}'
    bind_dn: '{}'
    password: {{ secret: ldap }}
    base: '{}'
    filter: '(&(objectClass=inetOrgPerson)(uid={{0}}))'
    attributes: [cn, mail, departmentNumber, memberOf, dn]
    lists: [memberOf]
    tls: {{ ca: '{}' }}
    timeout: 3s
{more}
",
        fact("bind_dn"),
        fact("people"),
        fact("ca")
    )
}

/// A pipeline that looks up by the field `user` into `who`, from `in.jsonl` to `out.jsonl`.
fn pipeline(bench: &Bench, endpoints: &str, lookup: &str) {
    let text = format!(
        "
version: 1
secrets: {{ ldap: {{ file: ldap-password }} }}
endpoints: {endpoints}
sources:
  users: {{ type: file, path: in.jsonl }}
pipelines:
  add:
    from: users
    steps:
      - plugin: enricher
        grants: {{ lookup: staff }}
        limits: {{ wait_time_max: 3s }}
        config: {{ lookups: [{{ endpoint: staff, key: {{ field: user }}, {lookup} }}] }}
    to: out
  failed: {{ from: dead-letters, to: failed }}
sinks:
  out: {{ type: file, path: out.jsonl }}
  failed: {{ type: file, path: failed.jsonl, format: record }}
"
    );
    bench.write("weir.yaml", &text);
}

fn run(bench: &Bench, arguments: &[&str]) -> (bool, String) {
    let output = bench.run(arguments);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

fn users(users: impl IntoIterator<Item = String>) -> String {
    users.into_iter().fold(String::new(), |mut lines, user| {
        writeln!(lines, "{}", json!({ "user": user })).unwrap();
        lines
    })
}

fn out(bench: &Bench) -> Vec<Value> {
    bench.lines("out.jsonl").iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn entries_of_a_directory_go_into_records_and_no_value_matches_more_than_itself() {
    let facts = Facts::shared();
    for url in ["url", "urls"] {
        let bench = Bench::new();
        pipeline(&bench, &staff(&bench, &facts, facts.text("ldap", url), ""), "into: who");
        let known = ["ada", "jsmith", "zoe", "nobody", ""].map(str::to_owned);
        bench.write("in.jsonl", &users(known.into_iter().chain(injections())));
        let (is_done, said) = run(&bench, &["run", "weir.yaml", "--once"]);
        assert!(is_done && !said.contains(facts.text("ldap", "bind_password")), "{said}");
        let found = out(&bench);
        assert_eq!(found.len(), 205);
        assert_eq!(found[0]["who"]["cn"], "Ada Lovelace");
        assert_eq!(found[0]["who"]["dn"], facts.text("ldap", "people").replacen("ou=", "uid=ada,ou=", 1));
        assert_eq!(found[0]["who"]["memberOf"].as_array().unwrap().len(), 2, "{}", found[0]);
        assert_eq!(found[1]["who"]["cn"], "Smith, John (ext) *\\");
        assert_eq!(found[2]["who"]["cn"], "Zoë Müller-Łukasz 李");
        let matched: Vec<&Value> = found[3..].iter().filter(|record| !record["who"].is_null()).collect();
        // LDAP compares names without the blanks around them.
        let is_meant = |record: &&Value| record["user"].as_str().unwrap().trim() == "ada";
        assert!(matched.iter().all(is_meant), "{matched:?}");
    }
}

#[test]
fn what_is_looked_up_twice_is_asked_for_once_and_a_wrong_login_is_told_to_the_operator_alone() {
    let facts = Facts::shared();
    let bench = Bench::new();
    pipeline(&bench, &staff(&bench, &facts, facts.text("ldap", "urls"), ""), "take: [mail], on_miss: dead_letter");
    let searches = |who: &str| {
        let log = std::fs::read_to_string(facts.text("ldap", "log")).unwrap();
        log.matches(&format!("(uid={who})")).count()
    };
    // Nobody else looks for these.
    let (one, two) = ("alan", "cache-nobody");
    let before = (searches(one), searches(two));
    let many = (0..5_000).map(|n| if n % 2 == 0 { one } else { two }.to_owned());
    bench.write("in.jsonl", &users(many));
    let (is_done, said) = run(&bench, &["run", "weir.yaml", "--once"]);
    assert!(is_done, "{said}");
    assert_eq!((bench.lines("out.jsonl").len(), bench.lines("failed.jsonl").len()), (2_500, 2_500));
    let after = (searches(one) - before.0, searches(two) - before.1);
    assert!(after.0 >= 1 && after.1 >= 1 && after.0 + after.1 <= 4, "{after:?}");
    assert!(
        bench.lines("failed.jsonl")[0]
            .contains("expected a row of the endpoint staff with the key \\\"cache-nobody\\\"")
    );

    // What is wrong is said in the log; records wait, none is lost.
    for (wrong, words) in [
        ("not-the-password", "the directory refuses the login of"),
        ("", "is empty: a server would take that for nobody's"),
    ] {
        let bench = Bench::new();
        pipeline(&bench, &staff(&bench, &facts, facts.text("ldap", "urls"), ""), "into: who");
        bench.write("ldap-password", wrong);
        bench.write("in.jsonl", &users(["ada".to_owned()]));
        let mut running = bench.start(&["weir.yaml"]);
        running.until(words, || running_said(&bench, words));
        assert!(bench.lines("out.jsonl").is_empty());
        bench.write("ldap-password", facts.text("ldap", "bind_password"));
        running.until("the record with its entry", || bench.lines("out.jsonl").len() == 1);
        let said = running.said();
        assert!(!said.contains("not-the-password"), "{said}");
        assert_eq!(running.terminate(), 0);
        assert_eq!(out(&bench)[0]["who"]["cn"], "Ada Lovelace");
    }
    // Whoever is not trusted is told nothing.
    let bench = Bench::new();
    let endpoint = staff(&bench, &facts, facts.text("ldap", "url"), "");
    pipeline(
        &bench,
        &endpoint.replace(facts.text("ldap", "ca"), facts.text("ldap", "other_ca")),
        "into: who, on_unavailable: miss",
    );
    bench.write("in.jsonl", &users(["ada".to_owned()]));
    let (is_done, said) = run(&bench, &["run", "weir.yaml", "--once"]);
    assert!(is_done && said.contains("certificate"), "{said}");
    assert_eq!(out(&bench)[0], json!({ "user": "ada" }));
}

fn running_said(bench: &Bench, words: &str) -> bool {
    std::fs::read_to_string(bench.path("weir.log")).is_ok_and(|log| log.contains(words))
}

#[test]
fn records_wait_while_the_directory_is_away_and_what_is_kept_serves_meanwhile() {
    let servers = Servers::up(&["ldap"], None);
    let facts = &servers.facts;
    let bench = Bench::new();
    let cache = "    cache: { ttl: 100ms, stale: 1h }";
    pipeline(&bench, &staff(&bench, facts, facts.text("ldap", "urls"), cache), "into: who");
    bench.write("in.jsonl", &users(["ada".to_owned()]));
    let mut running = bench.start(&["weir.yaml"]);
    running.until("the first record", || bench.lines("out.jsonl").len() == 1);
    servers.kill("ldap");
    bench.write("in.jsonl", &users(["ada", "ada"].map(str::to_owned)));
    running.until("what is kept", || bench.lines("out.jsonl").len() == 2);
    bench.write("in.jsonl", &users(["ada", "ada", "grace"].map(str::to_owned)));
    running.until("that it waits", || running_said(&bench, "beginning again from the last commit"));
    assert_eq!(bench.lines("out.jsonl").len(), 2);
    servers.start("ldap");
    running.until("the record that waited", || bench.lines("out.jsonl").len() == 3);
    assert_eq!(running.terminate(), 0);
    assert_eq!(out(&bench)[2]["who"]["cn"], "Grace Hopper");
}

fn rows_of_a_database(server: &'static str) {
    let facts = Facts::shared();
    let database = crate::sql::Database::of(server, &facts);
    let table = crate::services::unique("people").replace('-', "_");
    database.ask(&format!("CREATE TABLE {table} (id INTEGER PRIMARY KEY, name VARCHAR(80), pay DECIMAL(12,2))"));
    database.ask(&format!("INSERT INTO {table} VALUES (1, 'Ada', 12.50), (2, 'O''Hara', NULL)"));
    let bench = Bench::new();
    bench.write("ldap-password", facts.text(server, "password"));
    let kind = if server == "mariadb" { "mysql" } else { "postgres" };
    let mark = if server == "mariadb" { "?" } else { "$1" };
    let endpoint =
        format!("\n  staff: {{ type: {kind}, url: '{}', password: {{ secret: ldap }} }}\n", facts.text(server, "url"));
    let query = format!("query: 'SELECT name, pay, id FROM {table} WHERE id = {mark}'");
    pipeline(&bench, &endpoint, &format!("{query}, into: who, on_miss: dead_letter"));
    let users: Vec<String> = ["1", "2", "3", "1 OR 1=1", "1; DROP TABLE x"].map(str::to_owned).to_vec();
    bench.write("in.jsonl", &self::users(users));
    let (is_done, said) = run(&bench, &["run", "weir.yaml", "--once"]);
    assert!(is_done && !said.contains(facts.text(server, "password")), "{said}");
    let found = out(&bench);
    assert_eq!(found[0]["who"], json!({ "name": "Ada", "pay": 12.5, "id": 1 }), "{found:?}");
    assert_eq!(found[1]["who"], json!({ "name": "O'Hara", "pay": null, "id": 2 }));
    // MariaDB reads `1 OR 1=1` as the number 1, PostgreSQL as none.
    assert_eq!(found.len() + bench.lines("failed.jsonl").len(), 5);
    assert!(bench.lines("failed.jsonl").iter().any(|line| line.contains("found none")));
    // Nothing is written by a lookup.
    let write = format!("query: 'DELETE FROM {table} WHERE id = {mark}', into: who, on_unavailable: miss");
    let bench = Bench::new();
    bench.write("ldap-password", facts.text(server, "password"));
    pipeline(&bench, &endpoint, &write);
    bench.write("in.jsonl", &self::users(["1".to_owned()]));
    // That is for the operator to mend, so nothing becomes of the record.
    let mut running = bench.start(&["weir.yaml"]);
    running.until("that it is refused", || running_said(&bench, "the lookup is refused: the database refuses it"));
    assert_eq!(running.terminate(), 0);
    assert_eq!((database.count(&table), bench.lines("out.jsonl").len()), (2, 0));
}

#[test]
fn rows_of_mariadb_go_into_records() {
    rows_of_a_database("mariadb");
}

#[test]
fn rows_of_postgres_go_into_records() {
    rows_of_a_database("postgres");
}

/// Sends a request with a login, and returns the status and the body.
fn ask(port: u16, method: &str, path: &str, login: Option<(&str, &str)>) -> (u16, String) {
    let login = login.map(|(user, password)| BASE64.encode(format!("{user}:{password}")));
    let login = login.map(|login| format!("Authorization: Basic {login}\r\n")).unwrap_or_default();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\n{login}Content-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{answer}")), answer)
}

#[test]
fn operators_log_in_by_their_directory_and_their_groups_say_what_they_may() {
    let facts = Facts::shared();
    let (bench, port) = (Bench::new(), free_port());
    let groups = facts.text("ldap", "groups");
    let http = format!(
        "
http:
  listen: 127.0.0.1:{port}
  login: {{ ldap: staff, viewers: 'cn=weir-viewers,{groups}', operators: 'cn=weir-operators,{groups}', admins: 'cn=weir-admins,{groups}' }}
"
    );
    pipeline(&bench, &staff(&bench, &facts, facts.text("ldap", "urls"), ""), "into: who");
    let file = std::fs::read_to_string(bench.path("weir.yaml")).unwrap();
    bench.write("weir.yaml", &format!("{file}{http}"));
    bench.write("in.jsonl", "");
    let mut running = bench.start(&["weir.yaml"]);
    running.until("the API", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let (status, tap, reload) = ("/api/v1/status", "/api/v1/dlq", "/api/v1/reload");
    let login = |user: &'static str| (user, facts.nested("ldap", "passwords", user));
    let of = |method: &str, path: &str, login| ask(port, method, path, login).0;
    assert_eq!(of("GET", "/livez", None), 200);
    assert_eq!(of("GET", status, None), 401);
    // A viewer, an operator, an admin, and somebody of another group.
    for (user, expected) in
        [("ada", [200, 403, 403]), ("zoe", [200, 200, 200]), ("alan", [200, 200, 200]), ("outsider", [403; 3])]
    {
        let login = Some(login(user));
        let got = [of("GET", status, login), of("GET", tap, login), of("POST", reload, login)];
        assert_eq!(got, expected, "{user}");
    }
    for (user, password) in [
        ("ada", "wrong"),
        ("grace", ""),
        ("", ""),
        ("*", "x"),
        ("a*", "x"),
        ("nobody", "x"),
        ("jsmith)(uid=*", "x"),
        ("twin1\u{1}", "x"),
    ] {
        let (status, body) = ask(port, "GET", status, Some((user, password)));
        assert_eq!(status, 401, "{user:?} {password:?}: {body}");
        assert!(body.contains("bad-login") && body.to_lowercase().contains("www-authenticate: basic"), "{body}");
    }
    // Who was wrong waits, though the password is right now; others do not.
    let (wait, body) = ask(port, "GET", status, Some(("ada", "wrong again")));
    assert!(wait == 429 && body.contains("too-many-logins"), "{body}");
    assert_eq!(of("GET", status, Some(login("alan"))), 200);
    // Many guesses at once are few at the directory.
    let binds = || {
        let log = std::fs::read_to_string(facts.text("ldap", "log")).unwrap();
        log.matches("BIND dn=\"uid=grace,").count()
    };
    let before = binds();
    let guesses: Vec<_> = (0..20)
        .map(|n| {
            std::thread::spawn(move || ask(port, "GET", "/api/v1/status", Some(("grace", &format!("guess{n}")))).0)
        })
        .collect();
    let statuses: Vec<u16> = guesses.into_iter().map(|guess| guess.join().unwrap()).collect();
    assert!(statuses.iter().all(|status| matches!(status, 401 | 429)), "{statuses:?}");
    assert!(binds() - before <= 2 * 2, "{} of {statuses:?}", binds() - before);
    let said = running.said();
    for secret in ["alan", "ada", "zoe"].map(|user| login(user).1) {
        assert!(!said.contains(secret), "{said}");
    }
    assert_eq!(running.terminate(), 0);
}
