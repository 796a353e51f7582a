//! Rows into databases and into Kudu: Weir beside the bulk tool of each, and beside Kudu's Java client, which write the same rows in the
//! same batches.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;
use wait4::Wait4 as _;

use crate::table;

/// Rows of a transaction, as `sql-sink` has them unless it is told otherwise.
const BATCH: u64 = 500;
/// Parts into which Kudu's rows are spread.
const BUCKETS: u64 = 4;
/// Rows of a batch for Kudu, as `kudu-sink` has them unless it is told otherwise.
const KUDU_BATCH: u64 = 10_000;
const JAVA: [&str; 2] = ["-Xmx512m", "-XX:+UseParallelGC"];
/// How the session of the Java client sends. With MANUAL_FLUSH, which waits for each batch, 300,000 rows took longer in each of three tries.
const JAVA_MODE: &str = "AUTO_FLUSH_BACKGROUND";

#[derive(clap::Args)]
pub struct Sinks {
    /// The program.
    #[arg(long)]
    weir: PathBuf,
    /// What `cargo xtask services up` printed, as a file.
    #[arg(long)]
    services: PathBuf,
    /// Java's class path, with Kudu's client and the program that uses it.
    #[arg(long)]
    classes: String,
    /// A directory for the programs' data and logs.
    #[arg(long)]
    directory: PathBuf,
    /// The file that the table is written to.
    #[arg(long)]
    page: PathBuf,
    /// How many rows are written.
    #[arg(long)]
    records: u64,
    /// How often each program runs; the medians count.
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

/// Where rows go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    MariaDb,
    Postgres,
    Kudu,
}

/// Who writes them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    /// A program of ours that uses Kudu's Java client.
    Java,
    /// `mariadb`, `psql`, `kudu perf loadgen`.
    Tool,
    Weir,
}

/// What one run cost: seconds.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
}

impl Target {
    const ALL: [Target; 3] = [Target::MariaDb, Target::Postgres, Target::Kudu];

    fn server(self) -> &'static str {
        match self {
            Target::MariaDb => "mariadb",
            Target::Postgres => "postgres",
            Target::Kudu => "kudu",
        }
    }

    /// Those who write there, first the one that the others are compared with.
    fn writers(self) -> &'static [Who] {
        match self {
            Target::MariaDb | Target::Postgres => &[Who::Tool, Who::Weir],
            Target::Kudu => &[Who::Java, Who::Tool, Who::Weir],
        }
    }

    fn title(self, who: Who) -> String {
        match (self, who) {
            (Target::Kudu, Who::Java) => "Kudu: its Java client".to_owned(),
            (_, Who::Java) => unreachable!("Java's client of Kudu writes to Kudu alone"),
            (Target::MariaDb, Who::Tool) => "MariaDB: `mariadb`".to_owned(),
            (Target::Postgres, Who::Tool) => "PostgreSQL: `psql`".to_owned(),
            (Target::Kudu, Who::Tool) => "Kudu: `kudu perf loadgen`".to_owned(),
            (Target::MariaDb, Who::Weir) => "MariaDB: weir".to_owned(),
            (Target::Postgres, Who::Weir) => "PostgreSQL: weir".to_owned(),
            (Target::Kudu, Who::Weir) => "Kudu: weir".to_owned(),
        }
    }
}

impl Sinks {
    /// Runs all in turn, and writes the table.
    pub fn run(&self) {
        let facts: Value = serde_json::from_slice(&fs::read(&self.services).unwrap()).unwrap();
        self.write_input();
        let mut rows = Vec::new();
        for target in Target::ALL {
            let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); target.writers().len()];
            for round in 1..=self.runs {
                for (who, costs) in target.writers().iter().zip(&mut costs) {
                    let cost = Run { sinks: self, facts: &facts, target, who: *who, round }.measure();
                    eprintln!("run {round}: {}: {:.2} s, {:.2} s CPU", target.title(*who), cost.wall, cost.cpu);
                    costs.push(cost);
                }
            }
            let median = |costs: &[Cost], of: fn(&Cost) -> f64| table::quantile(costs.iter().map(of).collect(), 0.5);
            let rate = |costs: &[Cost]| self.records as f64 / median(costs, |cost| cost.wall);
            for (who, of) in target.writers().iter().zip(&costs) {
                rows.push(vec![
                    target.title(*who),
                    format!("{:.0}", rate(of)),
                    format!("{:.2}", median(of, |cost| cost.wall)),
                    format!("{:.2}", median(of, |cost| cost.cpu)),
                    format!("{:.2}", rate(of) / rate(&costs[0])),
                ]);
            }
        }
        let head = ["rows into", "rows a second", "wall s", "CPU s of the program", "rate against the first there"];
        let page = format!(
            "{} rows (a number, its key; a text of 11 to 17 bytes; a number with a fraction) into an empty table with that primary key, from a \
             file: Weir reads JSON lines, keeps its position in the same transaction, and ends; the clients of the databases are given SQL, {BATCH} rows an \
             INSERT and a transaction, as Weir's are. Kudu's Java client ({JAVA_MODE}, batches of {KUDU_BATCH} rows as Weir's) reads the same lines, \
             taken apart without a parser of JSON, and makes the table, as Weir does. `kudu perf loadgen` makes its rows itself, three columns too, on \
             one thread. Kudu's tables have {BUCKETS} parts. Each ran {} times, in turn; these are medians, with start and end of the program. The servers share the \
             machine. All tables had the right number of rows.\n\n{}",
            self.records,
            self.runs,
            table::markdown(&head, &rows)
        );
        fs::write(&self.page, page).unwrap();
    }

    /// The rows as JSON lines, and as SQL that both databases take.
    fn write_input(&self) {
        let mut json = BufWriter::new(File::create(self.directory.join("rows.jsonl")).unwrap());
        let mut sql = BufWriter::new(File::create(self.directory.join("rows.sql")).unwrap());
        for first in (0..self.records).step_by(BATCH as usize) {
            let mut insert = "BEGIN;\nINSERT INTO bench_rows (id, name, amount) VALUES ".to_owned();
            for n in first..(first + BATCH).min(self.records) {
                writeln!(json, "{{\"id\":{n},\"name\":\"row number {n}\",\"amount\":{n}.25}}").unwrap();
                let comma = if n == first { "" } else { "," };
                write!(insert, "{comma}({n},'row number {n}',{n}.25)").unwrap();
            }
            writeln!(sql, "{insert};\nCOMMIT;").unwrap();
        }
        json.into_inner().unwrap();
        sql.into_inner().unwrap();
    }
}

/// One run of one program.
struct Run<'a> {
    sinks: &'a Sinks,
    facts: &'a Value,
    target: Target,
    who: Who,
    round: usize,
}

impl Run<'_> {
    fn measure(&self) -> Cost {
        self.prepare();
        let mut command = match (self.who, self.target) {
            (Who::Weir, _) => self.weir(),
            (Who::Java, _) => self.java(),
            (Who::Tool, Target::Kudu) => self.loadgen(),
            (Who::Tool, _) => {
                let mut client = self.client();
                client.stdin(File::open(self.sinks.directory.join("rows.sql")).unwrap());
                client
            }
        };
        let log = File::create(self.sinks.directory.join("log")).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let begun = Instant::now();
        let used = command.spawn().unwrap().wait4().unwrap();
        let wall = begun.elapsed().as_secs_f64();
        assert!(used.status.success(), "{}: {}", self.target.title(self.who), used.status);
        assert_eq!(self.count(), self.sinks.records, "{}: rows are missing", self.target.title(self.who));
        Cost { wall, cpu: (used.rusage.utime + used.rusage.stime).as_secs_f64() }
    }

    fn fact(&self, name: &str) -> &str {
        self.facts[self.target.server()][name].as_str().unwrap()
    }

    /// The name of Kudu's table; each run has one of its own.
    fn table(&self) -> String {
        let who = match self.who {
            Who::Java => "java",
            Who::Tool => "tool",
            Who::Weir => "weir",
        };
        format!("bench_rows_{}_{who}", self.round)
    }

    /// An empty table, where the program does not make one.
    fn prepare(&self) {
        let real = if self.target == Target::MariaDb { "DOUBLE" } else { "DOUBLE PRECISION" };
        if self.target != Target::Kudu {
            self.ask("DROP TABLE IF EXISTS weir_progress");
            self.ask("DROP TABLE IF EXISTS bench_rows");
            self.ask(&format!("CREATE TABLE bench_rows (id BIGINT PRIMARY KEY, name TEXT, amount {real})"));
        }
    }

    fn count(&self) -> u64 {
        match self.target {
            Target::Kudu => {
                let said = output(self.kudu(&["table", "scan"]).args([&self.table(), "--show_values=false"]));
                let total = said.lines().find_map(|line| line.trim().strip_prefix("Total count ")).unwrap();
                total.split(' ').next().unwrap().parse().unwrap()
            }
            _ => self.ask("SELECT COUNT(*) FROM bench_rows").trim().parse().unwrap(),
        }
    }

    fn ask(&self, statement: &str) -> String {
        let mut client = self.client();
        client.args([if self.target == Target::MariaDb { "-e" } else { "-c" }, statement]);
        output(&mut client)
    }

    /// The client of a database.
    fn client(&self) -> Command {
        let (host, port) = self.fact("address").split_once(':').unwrap();
        let mut client = Command::new(self.fact("client"));
        if self.target == Target::MariaDb {
            client.args(["--no-defaults", "-N", "-B", "-h", host, "-P", port, "-u", self.fact("user")]);
            client.arg(format!("-p{}", self.fact("password"))).arg(self.fact("database"));
        } else {
            client.env("PGPASSWORD", self.fact("password")).args(["-q", "-At", "-v", "ON_ERROR_STOP=1"]);
            client.args(["-h", host, "-p", port, "-U", self.fact("user"), self.fact("database")]);
        }
        client
    }

    /// Kudu's command line, up to the masters.
    fn kudu(&self, what: &[&str]) -> Command {
        let mut command = Command::new(self.fact("cli"));
        for (name, value) in self.facts["kudu"]["cli_env"].as_object().unwrap() {
            command.env(name, value.as_str().unwrap());
        }
        command.args(what).arg(self.fact("masters"));
        command
    }

    fn loadgen(&self) -> Command {
        // It writes into a table that is there; the first row makes it, of columns as loadgen has them.
        let table = self.table();
        let columns = r#"{"column_name":"key","column_type":"INT64","is_nullable":false},
            {"column_name":"int_val","column_type":"INT32"},{"column_name":"string_val","column_type":"STRING"}"#;
        let definition = format!(
            r#"{{"table_name":"{table}","schema":{{"columns":[{columns}],"key_column_names":["key"]}},
            "partition":{{"hash_partitions":[{{"columns":["key"],"num_buckets":{BUCKETS}}}]}},"num_replicas":1}}"#
        );
        output(self.kudu(&["table", "create"]).arg(definition));
        let mut command = self.kudu(&["perf", "loadgen"]);
        command.arg(format!("--table_name={table}")).arg(format!("--num_rows_per_thread={}", self.sinks.records));
        command.args(["--num_threads=1", "--string_len=14"]);
        command
    }

    fn java(&self) -> Command {
        let mut command = Command::new("java");
        command.args(JAVA).args(["-cp", &self.sinks.classes, "KuduRows", self.fact("masters"), &self.table()]);
        command.arg(BUCKETS.to_string()).arg(self.sinks.directory.join("rows.jsonl"));
        command.arg(KUDU_BATCH.to_string()).arg(JAVA_MODE).stdin(Stdio::null());
        command
    }

    fn weir(&self) -> Command {
        let directory = self.sinks.directory.join("weir");
        if directory.exists() {
            fs::remove_dir_all(&directory).unwrap();
        }
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("weir.yaml");
        fs::write(&file, self.pipeline(&directory)).unwrap();
        let mut command = Command::new(&self.sinks.weir);
        command.arg("run").arg(file).arg("--once").stdin(Stdio::null());
        command
    }

    fn pipeline(&self, directory: &Path) -> String {
        let (secrets, endpoint, sink) = match self.target {
            Target::Kudu => (
                "",
                format!("{{ type: kudu, masters: ['{}'], user: weir }}", self.fact("masters")),
                format!(
                    "plugin: kudu-sink, grants: {{ kudu: there }}, config: {{ table: {}, create_table: true, replicas: 1, \
                     hash: {{ buckets: {BUCKETS} }}, pk: {{ mode: record_value, fields: [id] }} }}",
                    self.table()
                ),
            ),
            _ => {
                fs::write(directory.join("password"), self.fact("password")).unwrap();
                let kind = if self.target == Target::MariaDb { "mysql" } else { "postgres" };
                (
                    "secrets: { db: { file: password } }\n",
                    format!("{{ type: {kind}, url: '{}', password: {{ secret: db }} }}", self.fact("url")),
                    format!(
                        "plugin: sql-sink, grants: {{ database: there }}, config: {{ table: bench_rows, batch_rows_max: {BATCH} }}"
                    ),
                )
            }
        };
        format!(
            "version: 1
data: {data}
{secrets}sources:
  rows: {{ type: file, path: {rows} }}
endpoints:
  there: {endpoint}
pipelines:
  job: {{ from: rows, to: out }}
sinks:
  out: {{ {sink} }}
",
            data = directory.join("data").display(),
            rows = self.sinks.directory.join("rows.jsonl").display()
        )
    }
}

fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
