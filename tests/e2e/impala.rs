//! Records through a real HiveServer2, Spark's, whose users are in LDAP: into a table of Kudu and one of its own, read back with a
//! client that is not ours.

use std::process::Command;

use serde_json::json;

use crate::harness::{Bench, tell};
use crate::services::{Servers, run};

/// Rows that are written by HiveServer2 and, the same ones, by Kudu's own protocol.
const ROWS: u32 = 20_000;
/// How often the appliance is killed, and the server.
const KILLS: u32 = 6;

/// HiveServer2 and Kudu of a test.
struct House {
    servers: Servers,
}

impl House {
    fn fact(&self, name: &str) -> &str {
        self.servers.facts.text("hs2", name)
    }

    /// What impyla reads or does, as JSON.
    fn ask(&self, statement: &str) -> serde_json::Value {
        let (host, port) = self.fact("address").split_once(':').unwrap();
        let program = "import json, sys\nfrom impala.dbapi import connect\n\
                       c = connect(host=sys.argv[1], port=int(sys.argv[2]), user=sys.argv[3], password=sys.argv[4], auth_mechanism='LDAP').cursor()\n\
                       c.execute(sys.argv[5])\n\
                       print(json.dumps(c.fetchall() if sys.argv[5].startswith('SELECT') else [], default=str))";
        let mut client = Command::new(self.fact("python"));
        client.args(["-c", program, host, port, self.fact("user"), self.fact("password"), statement]);
        serde_json::from_str(&run(&mut client)).unwrap()
    }

    fn count(&self, table: &str) -> u64 {
        self.ask(&format!("SELECT COUNT(*) FROM {table}"))[0][0].as_u64().unwrap()
    }

    /// Names a table of Kudu to Spark, which remembers it until it ends.
    fn name_table(&self) {
        let masters = self.servers.facts.text("kudu", "masters");
        self.ask(&format!(
            "CREATE TABLE IF NOT EXISTS starts USING kudu OPTIONS ('kudu.master' '{masters}', 'kudu.table' 'starts')"
        ));
    }

    fn bench(&self, endpoints: &str, sink: &str) -> Bench {
        let bench = Bench::new();
        bench.write("password", self.fact("password"));
        let pipeline = format!(
            "
version: 1
secrets: {{ hs2: {{ file: password }} }}
sources:
  lines: {{ type: file, path: in.jsonl }}
endpoints: {{ {endpoints} }}
pipelines:
  write: {{ from: lines, to: table }}
  failed: {{ from: dead-letters, to: failed }}
sinks:
  table: {{ {sink}, limits: {{ wait_time_max: 5s }} }}
  failed: {{ type: file, path: failed.jsonl, format: record }}
"
        );
        bench.write("weir.yaml", &pipeline);
        bench
    }

    fn endpoint(&self) -> String {
        let (user, address) = (self.fact("user"), self.fact("address"));
        format!(
            "lake: {{ type: spark, url: 'spark://{user}@{address}/default', password: {{ secret: hs2 }}, timeout: 60s }}"
        )
    }
}

fn start(n: u32) -> String {
    let start = json!({
        "TS_PROCSTART": 1_447_697_423_000_u64 + u64::from(n), "PROC_MD5": format!("{n:032x}"),
        "P_COMPUTER_NAME": format!("WIN81-{}", n % 7), "CMD": format!("it's ${{env:HOME}} \\ \"{n}\"; -- ü😀"), "PID": n % 4_096,
    });
    format!("{start}\n")
}

const CONFIG: &str = "table: starts, pk: { mode: record_value, fields: [TS_PROCSTART, PROC_MD5, P_COMPUTER_NAME] }";

fn once(bench: &Bench) -> String {
    let output = bench.run(&["run", "weir.yaml", "--once"]);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn the_same_rows_go_by_hiveserver2_and_by_kudus_own_protocol() {
    let house = House { servers: Servers::up(&["kudu", "hs2"], None) };
    let rows: String = (0..ROWS).map(start).collect();
    // A tenth by Kudu's protocol, so that the table is there.
    let masters = house.servers.facts.text("kudu", "masters").to_owned();
    let kudu = format!("lake: {{ type: kudu, masters: ['{masters}'] }}");
    let sink =
        format!("plugin: kudu-sink, grants: {{ kudu: lake }}, config: {{ {CONFIG}, create_table: true, replicas: 1 }}");
    let bench = house.bench(&kudu, &sink);
    // Nobody uses the secret here.
    let file =
        std::fs::read_to_string(bench.path("weir.yaml")).unwrap().replace("secrets: { hs2: { file: password } }\n", "");
    bench.write("weir.yaml", &file);
    bench.write("in.jsonl", &(0..ROWS / 10).map(start).collect::<String>());
    once(&bench);
    house.name_table();
    assert_eq!(house.count("starts"), u64::from(ROWS / 10));

    let sink = format!("plugin: impala-sink, grants: {{ database: lake }}, config: {{ {CONFIG} }}");
    let bench = house.bench(&house.endpoint(), &sink);
    bench.write("in.jsonl", &rows);
    let mut lives = 0;
    let mut grown = house.count("starts");
    while lives < KILLS {
        let mut running = bench.start(&["weir.yaml"]);
        running.until("more rows", || house.count("starts") > grown || house.count("starts") == u64::from(ROWS));
        if lives == KILLS / 2 {
            // The server goes too; when it comes back it knows no table until it is told again.
            house.servers.kill_part("hs2", "hs2");
            running.assert_runs();
            house.servers.start_part("hs2", "hs2");
            house.name_table();
        }
        running.kill();
        grown = house.count("starts");
        lives += 1;
    }
    let said = once(&bench);
    assert!(!said.contains(house.fact("password")), "{said}");
    assert!(bench.lines("failed.jsonl").is_empty(), "{:?}", bench.lines("failed.jsonl").first());
    assert_eq!(house.count("starts"), u64::from(ROWS));
    let row = house.ask("SELECT CMD, PID FROM starts WHERE TS_PROCSTART = 1447697423777");
    assert_eq!(row, json!([[format!("it's ${{env:HOME}} \\ \"{}\"; -- ü😀", 777), 777]]));
    let counted = house.servers.facts.kudu("kudu", &["table", "scan", "starts", "--show_values=false"]);
    assert!(counted.contains(&format!("Total count {ROWS} ")), "{counted}");
    tell(format_args!("HiveServer2: {ROWS} rows after {KILLS} kills, one of them of the server: each once"));

    passwords_are_refused_with_a_message_that_says_so(&house);
    types_are_kept_and_wrong_rows_told(&house);
}

fn passwords_are_refused_with_a_message_that_says_so(house: &House) {
    let words = "user or password were refused";
    for (n, password) in [(ROWS, "not-it"), (ROWS + 1, "")] {
        let sink = format!("plugin: impala-sink, grants: {{ database: lake }}, config: {{ {CONFIG} }}");
        let bench = house.bench(&house.endpoint(), &sink);
        bench.write("password", password);
        bench.write("in.jsonl", &start(n));
        let mut running = bench.start(&["weir.yaml"]);
        running.until(words, || std::fs::read_to_string(bench.path("weir.log")).is_ok_and(|log| log.contains(words)));
        assert!(!running.said().contains("not-it"), "{}", running.said());
        // It waits, and goes on once the password is right.
        bench.write("password", house.fact("password"));
        running.until("the row", || house.count("starts") == u64::from(n) + 1);
        assert_eq!(running.terminate(), 0);
    }
}

fn types_are_kept_and_wrong_rows_told(house: &House) {
    house.ask("CREATE TABLE kinds (id BIGINT, t TINYINT, d DECIMAL(12,3), at TIMESTAMP, day DATE, raw BINARY, ok BOOLEAN, x DOUBLE) USING parquet");
    let config = "table: default.kinds, mode: insert, columns: { raw: binary }";
    let sink = format!("plugin: impala-sink, grants: {{ database: lake }}, config: {{ {config} }}");
    let bench = house.bench(&house.endpoint(), &sink);
    let rows = [
        json!({"id": 1, "t": -128, "d": "123456789.125", "at": "2026-03-01T12:00:00.5+01:00", "day": "2024-02-29", "raw": "AP8n", "ok": true, "x": 1.5}),
        json!({"id": 2, "t": null, "d": null}),
        json!({"id": 3, "t": 128}),
        json!({"id": 4, "d": "0.0001"}),
        json!({"id": 5, "nowhere": 1}),
    ];
    bench.write("in.jsonl", &rows.iter().map(|row| format!("{row}\n")).collect::<String>());
    once(&bench);
    let read = house.ask(
        "SELECT id, t, d, date_format(at, 'yyyy-MM-dd HH:mm:ss.SSS'), day, hex(raw), ok, x FROM kinds ORDER BY id",
    );
    let first = json!([1, -128, "123456789.125", "2026-03-01 11:00:00.500", "2024-02-29", "00FF27", true, 1.5]);
    assert_eq!(read, json!([first, [2, null, null, null, null, null, null, null]]));
    let reasons = bench.lines("failed.jsonl");
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    for (reason, words) in reasons.iter().zip(["8 bits", "12 digits", "no column"]) {
        assert!(reason.contains(words), "{reason}");
    }
}
