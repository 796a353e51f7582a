//! Records into tables of real databases, MariaDB and PostgreSQL: what arrives, how often when things are killed, and what hostile
//! names of fields do there.

mod sshd;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Bench, Running, tell};
use crate::services::{Facts, Servers, run, unique};

/// How often the appliance is killed, and the database.
const KILLS: u32 = 20;
const SERVER_KILLS: u32 = 5;
/// Lines that come in each life.
const LINES_A_LIFE: u32 = 5_000;

/// A database of the tests, as its own client sees it.
pub struct Database<'a> {
    server: &'static str,
    facts: &'a Facts,
}

impl Database<'_> {
    pub fn of<'a>(server: &'static str, facts: &'a Facts) -> Database<'a> {
        Database { server, facts }
    }

    fn fact(&self, name: &str) -> &str {
        self.facts.text(self.server, name)
    }

    /// The lines that the client prints, its columns divided by `|`.
    pub fn ask(&self, statement: &str) -> Vec<String> {
        let (host, port) = self.fact("address").split_once(':').unwrap();
        let mut client = Command::new(self.fact("client"));
        match self.server {
            "mariadb" => {
                client.args(["--no-defaults", "-N", "-B", "-h", host, "-P", port, "-u", self.fact("user")]);
                client.arg(format!("-p{}", self.fact("password"))).args([self.fact("database"), "-e", statement])
            }
            _ => {
                client.env("PGPASSWORD", self.fact("password")).args(["-At", "-h", host, "-p", port]);
                client.args(["-U", self.fact("user"), self.fact("database"), "-c", statement])
            }
        };
        run(&mut client).lines().map(|line| line.replace('\t', "|")).collect()
    }

    pub fn count(&self, table: &str) -> u64 {
        self.ask(&format!("SELECT COUNT(*) FROM {table}")).first().map_or(0, |count| count.parse().unwrap())
    }

    /// A directory with a pipeline from `in.jsonl` by these steps into a table, and what is refused into a file.
    fn bench(&self, steps: &str, config: &str) -> Bench {
        let bench = Bench::new();
        bench.write("password", self.fact("password"));
        let kind = if self.server == "mariadb" { "mysql" } else { "postgres" };
        let url = self.fact("url");
        let pipeline = format!(
            "
version: 1
secrets: {{ db: {{ file: password }} }}
sources:
  lines: {{ type: file, path: in.jsonl }}
endpoints:
  shop: {{ type: {kind}, url: '{url}', password: {{ secret: db }}, timeout: 5s }}
pipelines:
  write: {{ from: lines, steps: [{steps}], to: table }}
  failed: {{ from: dead-letters, to: failed }}
sinks:
  table: {{ plugin: sql-sink, grants: {{ database: shop }}, limits: {{ wait_time_max: 2s }}, config: {config} }}
  failed: {{ type: file, path: failed.jsonl, format: record }}
"
        );
        bench.write("weir.yaml", &pipeline);
        bench
    }
}

/// Runs a pipeline to its end; nothing that it says holds the password.
fn run_once(bench: &Bench, database: &Database<'_>) {
    let output = bench.run(&["run", "weir.yaml", "--once"]);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(!said.contains(database.fact("password")), "{said}");
}

/// Into a table as operators keep one of what services log: all lines in the one, in the other those of users who do not exist.
fn lines_are_parsed_filtered_and_stored(server: &'static str) {
    let facts = Facts::shared();
    let database = Database::of(server, &facts);
    let columns = "{ logged_at: timestamp }";
    for (text, condition) in [("", "message LIKE '%'"), ("Invalid user", "message LIKE '%Invalid user%'")] {
        let table = unique(&format!("os_service_log_{}", text.len())).replace('-', "_");
        let select = "SELECT timestamp AS logged_at, host, appname AS service, procid AS pid, message FROM input";
        let steps = format!("syslog-parser, {{ sql: \"{select} WHERE {condition}\" }}");
        let bench = database.bench(&steps, &format!("{{ table: {table}, create_table: true, columns: {columns} }}"));
        let from = sshd::write(&bench, "in.jsonl");
        run_once(&bench, &database);
        let (lines, rows) = (sshd::grep(&bench, "in.jsonl", ""), database.count(&table));
        tell(format_args!("{server}: {rows} rows with {text:?} of {lines} lines of {from}"));
        assert_eq!(rows, sshd::grep(&bench, "in.jsonl", text));
        assert!(rows > 100, "{rows}");
        assert_eq!(bench.lines("failed.jsonl"), Vec::<String>::new());
        // Nothing is left of the ends of the lines, nor of what stands before the message.
        let clean =
            format!("WHERE service = 'sshd' AND message LIKE '{text}%' AND message NOT LIKE CONCAT('%', CHR(13), '%')");
        assert_eq!(database.ask(&format!("SELECT COUNT(*) FROM {table} {clean}")), [rows.to_string()]);
        // It is all there already, and the appliance knows.
        run_once(&bench, &database);
        assert_eq!(database.count(&table), rows);
    }
}

#[test]
fn lines_are_parsed_filtered_and_stored_in_mariadb() {
    lines_are_parsed_filtered_and_stored("mariadb");
}

#[test]
fn lines_are_parsed_filtered_and_stored_in_postgres() {
    lines_are_parsed_filtered_and_stored("postgres");
}

fn upserts_columns_and_wrong_rows(server: &'static str) {
    let facts = Facts::shared();
    let database = Database::of(server, &facts);
    let table = unique("shop").replace('-', "_");
    let config = format!(
        "{{ table: {table}, mode: upsert, pk: {{ mode: record_value, fields: [id] }}, create_table: true, add_columns: true, \
         columns: {{ price: 'decimal(30,10)', at: timestamp, raw: binary, secret: {{ drop: true }}, qty: {{ name: amount }} }} }}"
    );
    let bench = database.bench("", &config);
    let mut lines: Vec<_> = (0..1_000)
        .map(|id| json!({ "id": id, "price": "1234567890.0123456789", "at": "2026-03-01T12:00:00+02:00", "qty": 1, "secret": "x" }))
        .collect();
    lines.push(json!({ "id": 7, "qty": 2, "raw": "AP8=", "extra": { "a": [1] }, "ok": true }));
    lines.push(json!({ "id": 8, "qty": "many" }));
    lines.push(json!({ "id": 9, "price": "1e40" }));
    lines.push(json!({ "qty": 3 }));
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    bench.write("in.jsonl", &text);
    run_once(&bench, &database);
    assert_eq!(database.count(&table), 1_000);
    let sum = database.ask(&format!("SELECT SUM(amount), COUNT(extra), MIN(price) FROM {table}"));
    assert_eq!(sum, ["1001|1|1234567890.0123456789"]);
    let seven = format!("SELECT id FROM {table} WHERE ok AND at = '2026-03-01 10:00:00' AND LENGTH(raw) = 2");
    assert_eq!(database.ask(&seven), ["7"]);
    // `1e40` is known to be wrong by the database alone, and so found by halving.
    let failed = bench.lines("failed.jsonl");
    assert_eq!(failed.len(), 3, "{failed:?}");
    // Under another name the sink knows nothing of the first time: all is written again, and is the same.
    let yaml = std::fs::read_to_string(bench.path("weir.yaml")).unwrap();
    let other = yaml
        .replace("to: table", "to: other")
        .replace("  table: {", "  other: {")
        .replace("version: 1", "version: 1\ndata: other");
    bench.write("weir.yaml", &other);
    run_once(&bench, &database);
    assert_eq!(database.count(&table), 1_000);
    assert_eq!(database.ask(&format!("SELECT SUM(amount), COUNT(extra), MIN(price) FROM {table}")), sum);
}

#[test]
fn upserts_columns_and_wrong_rows_in_mariadb() {
    upserts_columns_and_wrong_rows("mariadb");
}

#[test]
fn upserts_columns_and_wrong_rows_in_postgres() {
    upserts_columns_and_wrong_rows("postgres");
}

/// Offsets of streams begin anew in an empty data directory: what comes then is not taken for what was written before.
fn an_empty_data_directory_passes_over_nothing_new(server: &'static str) {
    let facts = Facts::shared();
    let database = Database::of(server, &facts);
    let table = unique("anew").replace('-', "_");
    let bench = database.bench("", &format!("{{ table: {table}, create_table: true }}"));
    let yaml = std::fs::read_to_string(bench.path("weir.yaml")).unwrap();
    let through_a_stream = "keep: { from: lines, to: kept }\n  write: { from: kept, to: table }";
    bench.write("weir.yaml", &yaml.replace("write: { from: lines, steps: [], to: table }", through_a_stream));
    for numbers in [0..100, 100..250] {
        let end = numbers.end;
        let lines: Vec<String> = numbers.map(|n| format!("{{\"n\":{n}}}\n")).collect();
        bench.write("in.jsonl", &lines.concat());
        run_once(&bench, &database);
        assert_eq!(database.count(&table), end);
        std::fs::remove_dir_all(bench.path("weir-data")).unwrap();
    }
}

#[test]
fn an_empty_data_directory_passes_over_nothing_new_in_mariadb() {
    an_empty_data_directory_passes_over_nothing_new("mariadb");
}

#[test]
fn an_empty_data_directory_passes_over_nothing_new_in_postgres() {
    an_empty_data_directory_passes_over_nothing_new("postgres");
}

/// The server shows a certificate; one that nobody vouches for is not spoken to, and the operator is told.
fn tls_is_spoken_with_whom_is_trusted(server: &'static str) {
    let facts = Facts::shared();
    let database = Database::of(server, &facts);
    let table = unique("secret").replace('-', "_");
    let bench = database.bench("", &format!("{{ table: {table}, create_table: true }}"));
    bench.write("in.jsonl", "{\"n\":1}\n");
    let yaml = std::fs::read_to_string(bench.path("weir.yaml")).unwrap();
    let trusting =
        |ca: &str| yaml.replace("timeout: 5s", &format!("timeout: 5s, tls: {{ ca: '{}' }}", database.fact(ca)));
    bench.write("weir.yaml", &trusting("other_ca"));
    let mut running = bench.start(&["weir.yaml"]);
    let log = bench.path("weir.log");
    running.until("a word about the certificate", || {
        std::fs::read_to_string(&log).unwrap_or_default().contains("invalid peer certificate")
    });
    running.kill();
    bench.write("weir.yaml", &trusting("ca"));
    run_once(&bench, &database);
    assert_eq!(database.count(&table), 1);
}

#[test]
fn tls_is_spoken_with_whom_is_trusted_in_mariadb() {
    tls_is_spoken_with_whom_is_trusted("mariadb");
}

#[test]
fn tls_is_spoken_with_whom_is_trusted_in_postgres() {
    tls_is_spoken_with_whom_is_trusted("postgres");
}

/// Each number is in the table once, whatever was killed and when.
fn each_once_through_kills(server: &'static str) {
    let servers = Servers::up(&[server], None);
    let database = Database::of(server, &servers.facts);
    database.ask("CREATE TABLE numbers (n BIGINT)");
    let bench = database.bench("", "{ table: numbers, batch_rows_max: 50 }");
    let (mut lines, mut seed, mut next) = (String::new(), 7_u64, 0_u32);
    let (mut midway, mut written) = (0, 0);
    for life in 0..KILLS {
        for _ in 0..LINES_A_LIFE {
            writeln!(lines, "{{\"n\":{next}}}").unwrap();
            next += 1;
        }
        bench.write("in.jsonl", &lines);
        let mut running = bench.start(&["weir.yaml"]);
        running.until("the first rows of this life", || database.count("numbers") > written);
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis((seed >> 33) % 60));
        if life % (KILLS / SERVER_KILLS) == 2 {
            servers.kill(server);
            servers.start(server);
            std::thread::sleep(Duration::from_millis(200));
        }
        running.assert_runs();
        running.kill();
        written = database.count("numbers");
        midway += u32::from(!written.is_multiple_of(u64::from(LINES_A_LIFE)));
    }
    tell(format_args!("{server}: {midway} of {KILLS} kills came in the middle of the writing"));
    assert!(midway > 0, "the appliance was killed in the middle of what it had to write");
    let mut running = bench.start(&["weir.yaml"]);
    until_all_are_there(&mut running, &database, u64::from(next));
    assert_eq!(running.terminate(), 0);
    let doubled = database.ask("SELECT n, COUNT(*) FROM numbers GROUP BY n HAVING COUNT(*) > 1");
    assert!(doubled.is_empty(), "{doubled:?}");
    assert_eq!(database.ask("SELECT COUNT(DISTINCT n), COUNT(*) FROM numbers"), [format!("{next}|{next}")]);
    assert_eq!(bench.lines("failed.jsonl"), Vec::<String>::new());
    let said = std::fs::read_to_string(bench.path("weir.log")).unwrap();
    assert!(!said.contains(database.fact("password")));
}

fn until_all_are_there(running: &mut Running, database: &Database<'_>, count: u64) {
    running.until("all rows", || database.count("numbers") >= count);
}

#[test]
fn each_record_is_in_mariadb_once_through_kills() {
    each_once_through_kills("mariadb");
}

#[test]
fn each_record_is_in_postgres_once_through_kills() {
    each_once_through_kills("postgres");
}

/// Names that would do something else where they were not quoted.
pub fn hostile_names() -> BTreeSet<String> {
    let words = [
        "select",
        "a`b",
        "a\"b",
        "x'; DROP TABLE canary; --",
        "Ünï",
        "名前",
        "a b",
        "$1",
        "?",
        "a\\",
        "); --",
        "`",
        "\"",
        "😀",
    ];
    let mut names = BTreeSet::new();
    for n in 0.. {
        let word = words[n % words.len()];
        names.insert(match n % 5 {
            0 => format!("{word}{n}"),
            1 => format!("{n}{word}"),
            2 => format!("{word}{}{n}", "x".repeat(300)),
            3 => format!("{word}\u{0}{n}"),
            _ => format!("{word}{n}{word}"),
        });
        if names.len() == 1_000 {
            return names;
        }
    }
    names
}

fn hostile_names_do_nothing_else(server: &'static str) {
    let servers = Servers::up(&[server], None);
    let database = Database::of(server, &servers.facts);
    database.ask("CREATE TABLE canary (n INTEGER)");
    database.ask("INSERT INTO canary VALUES (1)");
    let bench = database.bench("", "{ table: hostile, create_table: true, add_columns: true }");
    let names = hostile_names();
    let lines: String = names.iter().map(|name| format!("{}\n", json!({ "n": 1, name.as_str(): 1 }))).collect();
    bench.write("in.jsonl", &lines);
    run_once(&bench, &database);
    let failed = bench.lines("failed.jsonl").len() as u64;
    assert_eq!(database.count("hostile") + failed, 1_000);
    assert!(failed >= 400, "those with 300 characters or a NUL are refused: {failed}");
    assert_eq!(database.ask("SELECT n FROM canary"), ["1"]);
    let schema = if server == "mariadb" { "DATABASE()" } else { "current_schema()" };
    let tables = format!("SELECT table_name FROM information_schema.tables WHERE table_schema = {schema} ORDER BY 1");
    assert_eq!(database.ask(&tables), ["canary", "hostile", "weir_progress"]);
    let columns = format!(
        "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = {schema} AND table_name = 'hostile'"
    );
    // As many columns as records that were stored, and `n`.
    assert_eq!(database.ask(&columns), [(database.count("hostile") + 1).to_string()]);
}

#[test]
fn hostile_names_do_nothing_else_in_mariadb() {
    hostile_names_do_nothing_else("mariadb");
}

#[test]
fn hostile_names_do_nothing_else_in_postgres() {
    hostile_names_do_nothing_else("postgres");
}
