//! Records into tables of real Kudu clusters, counted and read back with Kudu's own command line: what arrives, how often when things
//! are killed, and what hostile names of fields do there.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Bench, Running, tell};
use crate::services::{Facts, Servers};
use crate::sql::hostile_names;

/// How often the appliance is killed, and the servers of Kudu.
const KILLS: u32 = 20;
const SERVER_KILLS: u32 = 5;
/// Rows that are written twice.
const MANY: u32 = 1_000_000;

/// A cluster of a test.
struct Cluster {
    name: &'static str,
    servers: Servers,
}

impl Cluster {
    fn up(name: &'static str) -> Cluster {
        Cluster { name, servers: Servers::up(&[name], None) }
    }

    fn cli(&self, arguments: &[&str]) -> String {
        self.servers.facts.kudu(self.name, arguments)
    }

    /// How many rows a table has; 0 where it is not there.
    fn count(&self, table: &str) -> u64 {
        if !self.cli(&["table", "list"]).lines().any(|line| line == table) {
            return 0;
        }
        let said = self.cli(&["table", "scan", table, "--show_values=false"]);
        let total =
            said.lines().find_map(|line| line.trim().strip_prefix("Total count ")).unwrap_or_else(|| panic!("{said}"));
        total.split(' ').next().unwrap().parse().unwrap()
    }

    /// The rows of a table, as they are printed.
    fn rows(&self, table: &str) -> Vec<String> {
        let said = self.cli(&["table", "scan", table]);
        said.lines().filter(|line| line.starts_with('(')).map(str::to_owned).collect()
    }

    /// The endpoint, for the pipeline file.
    fn endpoint(&self) -> String {
        let masters: Vec<String> =
            self.servers.facts.text(self.name, "masters").split(',').map(|master| format!("'{master}'")).collect();
        format!("{{ type: kudu, masters: [{}], user: weir, timeout: 10s }}", masters.join(", "))
    }

    /// A directory with a pipeline from `in.jsonl` into a table, and what is refused into a file.
    fn bench(&self, config: &str) -> Bench {
        let bench = Bench::new();
        let pipeline = format!(
            "
version: 1
sources:
  lines: {{ type: file, path: in.jsonl }}
endpoints:
  lake: {endpoint}
pipelines:
  write: {{ from: lines, to: table }}
  failed: {{ from: dead-letters, to: failed }}
sinks:
  table: {{ plugin: kudu-sink, grants: {{ kudu: lake }}, limits: {{ wait_time_max: 2s }}, config: {config} }}
  failed: {{ type: file, path: failed.jsonl, format: record }}
",
            endpoint = self.endpoint()
        );
        bench.write("weir.yaml", &pipeline);
        bench
    }
}

fn run_once(bench: &Bench) {
    let output = bench.run(&["run", "weir.yaml", "--once"]);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
}

fn reasons(bench: &Bench) -> Vec<String> {
    let letters = bench.lines("failed.jsonl").into_iter().map(|line| serde_json::from_str::<Value>(&line).unwrap());
    letters.map(|letter| letter["headers"]["weir-reason"].as_str().unwrap_or_default().to_owned()).collect()
}

/// A start of a process, as an endpoint's sensor tells it.
fn process_start(n: u32) -> Value {
    json!({
        "ROWKEY": format!("key-{n}"), "ROWTIME": 1_447_697_423_000_u64 + u64::from(n),
        "type": "ingress.event.procstart", "timestamp": 1_447_697_423 + n / 10, "computer_name": format!("WIN81-{}", n % 7),
        "md5": format!("{:032X}", n % 50), "parent_md5": format!("{:032X}", n % 11),
        "process_guid": format!("00000001-0000-{n:04x}-01d1-209a100bc217"), "pid": n % 4_096, "username": "SYSTEM",
        "path": "c:\\windows\\system32\\searchprotocolhost.exe", "command_line": format!("\"SearchProtocolHost.exe\" Global\\Pipe{n}"),
    })
}

#[test]
fn endpoint_events_go_from_rabbitmq_into_a_table_that_the_sink_creates() {
    let cluster = Cluster::up("kudu");
    let facts = Facts::shared();
    let (queue, address) = (crate::services::unique("procstart"), facts.rabbitmq_address());
    let url = facts.rabbitmq_url(address);
    facts.ask(&["rabbit-declare", "--url", &url, "--queue", &queue, "--type", "quorum"]);
    let bench = cluster.bench("{ table: unused, pk: { mode: id } }");
    bench.write("rabbitmq-password", facts.text("rabbitmq", "password"));
    bench.write(
        "weir.yaml",
        &format!(
            "
version: 1
secrets: {{ rabbitmq: {{ file: rabbitmq-password }} }}
sources:
  events: {{ type: rabbitmq, url: 'amqp://weir@{address}/%2f', password: {{ secret: rabbitmq }}, queue: {queue} }}
endpoints:
  lake: {endpoint}
pipelines:
  starts:
    from: events
    steps:
      - sql: >
          SELECT ROWKEY, ROWTIME, timestamp AS TS_PROCSTART, md5 AS MOD_MD5, process_guid AS E_PROCESS_GUID, parent_md5 AS PROC_MD5,
          computer_name AS P_COMPUTER_NAME, command_line AS E_COMMAND_LINE, pid AS E_PID FROM input
          WHERE type = 'ingress.event.procstart'
    to: table
sinks:
  table:
    plugin: kudu-sink
    grants: {{ kudu: lake }}
    config:
      table: proc_start
      create_table: true
      replicas: 1
      pk: {{ mode: record_value, fields: [TS_PROCSTART, MOD_MD5, E_PROCESS_GUID, PROC_MD5, P_COMPUTER_NAME] }}
      hash: {{ columns: [E_PROCESS_GUID], buckets: 3 }}
      columns: {{ ROWKEY: {{ drop: true }}, ROWTIME: {{ drop: true }}, E_PID: int32, E_COMMAND_LINE: {{ name: COMMAND_LINE }} }}
",
            endpoint = cluster.endpoint()
        ),
    );
    let mut lines: Vec<Value> = (0..5_000).map(process_start).collect();
    lines.push(json!({ "type": "ingress.event.moduleload", "md5": "0" }));
    let text: String = lines.iter().map(|event| format!("{event}\n")).collect();
    let mut running = bench.start(&["weir.yaml"]);
    // Each event comes twice, as from a sensor that was not sure.
    for _ in 0..2 {
        facts.put(&["rabbit-put", "--url", &url, "--queue", &queue], &text);
    }
    running.until("all rows", || cluster.count("proc_start") >= 5_000);
    assert_eq!(running.terminate(), 0);
    assert_eq!(cluster.count("proc_start"), 5_000);
    let described = cluster.cli(&["table", "describe", "proc_start"]);
    assert!(
        described.contains("PRIMARY KEY (ts_procstart, mod_md5, e_process_guid, proc_md5, p_computer_name)")
            || described.contains("PRIMARY KEY (TS_PROCSTART, MOD_MD5, E_PROCESS_GUID, PROC_MD5, P_COMPUTER_NAME)"),
        "{described}"
    );
    assert!(!described.contains("ROWKEY") && !described.contains("ROWTIME"), "{described}");
    assert!(
        described.contains("E_PID INT32 NULLABLE") && described.contains("COMMAND_LINE STRING NULLABLE"),
        "{described}"
    );
    let guid = process_start(4_711)["process_guid"].to_string();
    let row: Vec<String> = cluster.rows("proc_start").into_iter().filter(|row| row.contains(&guid)).collect();
    assert!(row.len() == 1 && row[0].contains("int64 TS_PROCSTART=1447697894"), "{row:?}");
    assert!(row[0].contains("int32 E_PID=615") && row[0].contains("Global\\\\Pipe4711"), "{row:?}");
}

#[test]
fn a_million_rows_upserted_twice_stay_a_million() {
    let cluster = Cluster::up("kudu");
    let bench = cluster.bench(
        "{ table: many, create_table: true, replicas: 1, pk: { mode: record_value, fields: [n] }, hash: { buckets: 4 } }",
    );
    let mut lines = String::new();
    for n in 0..MANY {
        writeln!(lines, "{{\"n\":{n},\"name\":\"row number {n}\",\"half\":{}.5}}", n / 2).unwrap();
    }
    for round in 1..=2 {
        // What was read is read again from a new place.
        bench.write("in.jsonl", &lines);
        let begun = std::time::Instant::now();
        run_once(&bench);
        tell(format_args!("round {round}: {:.0} rows a second", f64::from(MANY) / begun.elapsed().as_secs_f64()));
        assert_eq!(cluster.count("many"), u64::from(MANY), "round {round}");
        std::fs::remove_dir_all(bench.path("weir-data")).unwrap();
    }
}

#[test]
fn rows_are_changed_and_deleted_by_their_keys_and_wrong_ones_are_dead_letters() {
    let cluster = Cluster::up("kudu");
    let config = "{ table: shop, create_table: true, add_columns: true, replicas: 1, pk: { mode: record_value, fields: [id] }, \
        columns: { id: int32, price: 'decimal(12, 2)', at: unixtime_micros, day: date, raw: binary, short: varchar(3), qty: { name: amount }, \
        secret: { drop: true } } }";
    let bench = cluster.bench(config);
    let lines = [
        json!({ "id": 1, "price": 12.50, "at": "2026-03-01T12:00:00.5Z", "day": "2026-03-01", "raw": "AP8=", "qty": 3, "secret": "x" }),
        json!({ "id": 2, "price": "3.999", "qty": 1 }),
        json!({ "id": 3, "short": "long" }),
        json!({ "id": 4, "at": "soon" }),
        json!({ "id": 5_000_000_000_u64 }),
        json!({ "id": null }),
        json!({ "id": 6, "new": { "a": [1] }, "is": true }),
        json!({ "id": 1, "qty": 4 }),
        json!({ "id": 7, "raw": "?" }),
        json!({ "id": 8, "text": "x".repeat(100_000) }),
        json!({ "id": 9, "price": null }),
    ];
    bench.write("in.jsonl", &lines.map(|line| format!("{line}\n")).concat());
    run_once(&bench);
    let mut rows = cluster.rows("shop");
    rows.sort();
    assert_eq!(rows.len(), 3, "{rows:#?}");
    // Another quantity, and all else as it was.
    assert!(
        rows[0].contains("int32 id=1") && rows[0].contains("amount=4") && rows[0].contains("price=1250_D64"),
        "{rows:#?}"
    );
    assert!(rows[0].contains("2026-03-01T12:00:00.500000Z") && rows[0].contains("day=2026-03-01"), "{rows:#?}");
    assert!(rows[1].contains("id=6") && rows[1].contains("is=true") && rows[2].contains("id=9"), "{rows:#?}");
    let reasons = reasons(&bench);
    assert_eq!(reasons.len(), 7, "{reasons:#?}");
    for expected in
        ["price", "3 characters", "a time like", "range of int32", "primary key", "base64", "value too large"]
    {
        assert!(reasons.iter().any(|reason| reason.contains(expected)), "{expected} in {reasons:#?}");
    }
    assert!(!cluster.cli(&["table", "describe", "shop"]).contains("secret"));
}

#[test]
fn a_table_that_is_dropped_meanwhile_is_made_anew_and_no_row_is_to_blame() {
    let cluster = Cluster::up("kudu");
    let bench =
        cluster.bench("{ table: brief, create_table: true, replicas: 1, pk: { mode: record_value, fields: [n] } }");
    bench.write("in.jsonl", "{\"n\":1}\n");
    let mut running = bench.start(&["weir.yaml"]);
    running.until("the first row", || cluster.count("brief") == 1);
    cluster.cli(&["table", "delete", "brief"]);
    bench.write("in.jsonl", "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
    running.until("the other rows", || cluster.count("brief") == 2);
    assert_eq!(running.terminate(), 0);
    assert_eq!(reasons(&bench), Vec::<String>::new());
}

/// Each number is in the table once, with its square, whatever was killed and when. In each life so many lines come: more than it can write.
fn through_kills(cluster: &Cluster, replicas: u8, lines_a_life: u32, mut disturb: impl FnMut(&Cluster, u32)) {
    let config = format!(
        "{{ table: numbers, create_table: true, replicas: {replicas}, batch_rows_max: 50, pk: {{ mode: record_value, fields: [n] }} }}"
    );
    let bench = cluster.bench(&config);
    let (mut lines, mut seed, mut next) = (String::new(), 7_u64, 0_u32);
    let (mut midway, mut written, mut kills) = (0, 0, 0);
    while kills < KILLS {
        for _ in 0..lines_a_life {
            writeln!(lines, "{{\"n\":{next},\"square\":{}}}", u64::from(next) * u64::from(next)).unwrap();
            next += 1;
        }
        bench.write("in.jsonl", &lines);
        let mut running = bench.start(&["weir.yaml"]);
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis(250 + (seed >> 33) % 1_000));
        if kills % (KILLS / SERVER_KILLS) == 2 {
            disturb(cluster, kills / (KILLS / SERVER_KILLS));
        }
        running.assert_runs();
        running.kill();
        let before = std::mem::replace(&mut written, cluster.count("numbers"));
        // A life in which nothing was written was killed before its work.
        kills += u32::from(written > before);
        midway += u32::from(written > before && !written.is_multiple_of(u64::from(lines_a_life)));
    }
    tell(format_args!("{}: {midway} of {kills} kills came in the middle of the writing", cluster.name));
    assert!(midway > 0, "the appliance was killed in the middle of what it had to write");
    let mut running: Running = bench.start(&["weir.yaml"]);
    running.until("all rows", || cluster.count("numbers") >= u64::from(next));
    assert_eq!(running.terminate(), 0);
    let mut numbers: Vec<u64> = cluster
        .rows("numbers")
        .iter()
        .map(|row| {
            let value = |name: &str| -> u64 {
                let (_, rest) = row.split_once(&format!("int64 {name}=")).unwrap();
                rest.split([',', ')']).next().unwrap().parse().unwrap()
            };
            assert_eq!(value("square"), value("n") * value("n"), "{row}");
            value("n")
        })
        .collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..u64::from(next)), "rows are missing");
    assert_eq!(bench.lines("failed.jsonl"), Vec::<String>::new());
}

#[test]
fn each_record_is_in_kudu_once_through_kills() {
    through_kills(&Cluster::up("kudu"), 1, 50_000, |cluster, _| {
        cluster.servers.kill_part("kudu", "tserver-1");
        cluster.servers.start_part("kudu", "tserver-1");
    });
}

/// Three masters and three tablet servers: one of each is killed and comes back, so that leaders move.
#[test]
fn nothing_is_missing_where_leaders_move() {
    through_kills(&Cluster::up("kudu3"), 3, 5_000, |cluster, time| {
        let part = ["tserver-1", "master-1", "tserver-2", "master-2", "tserver-3"][time as usize % 5];
        cluster.servers.kill_part("kudu3", part);
        std::thread::sleep(Duration::from_secs(2));
        cluster.servers.start_part("kudu3", part);
    });
}

#[test]
fn hostile_names_do_nothing_else_in_kudu() {
    let cluster = Cluster::up("kudu");
    // Each record has a column of its own, and tables of Kudu have 300 of them at most.
    let bench = cluster.bench("{ table: hostile, create_table: true, add_columns: true, replicas: 1, pk: { mode: record_value, fields: [n] } }");
    let lines: String =
        (0..).zip(hostile_names()).map(|(n, name)| format!("{}\n", json!({ "n": n, name.as_str(): 1 }))).collect();
    bench.write("in.jsonl", &lines);
    run_once(&bench);
    let failed = bench.lines("failed.jsonl").len() as u64;
    let stored = cluster.count("hostile");
    assert_eq!(stored + failed, 1_000);
    assert!(stored >= 250 && failed >= 400, "{stored} stored, {failed} refused: {:?}", reasons(&bench).first());
    assert_eq!(cluster.cli(&["table", "list"]).lines().filter(|line| !line.is_empty()).count(), 1);
    let described = cluster.cli(&["table", "describe", "hostile"]);
    let columns = described.matches(" NULLABLE").count() as u64;
    assert_eq!(columns, stored, "as many columns as rows that were stored, and the key:\n{described}");
}
