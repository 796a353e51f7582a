//! Servers that die, come back, and hand over, while rows are written: none is lost, and none is told to be what it is not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kudu_client::{Client, Column, ColumnType, NewTable, Operation, RowError, Schema, Table, Value, ValueRef};
use tokio::task::JoinSet;

use super::servers::Servers;

const WRITERS: i64 = 4;
const BATCH: i64 = 200;

async fn table(client: &Client, name: &str) -> Table {
    let schema =
        Schema::new(vec![Column::key("id", ColumnType::Int64), Column::new("text", ColumnType::String)]).unwrap();
    client.create_table(&NewTable::new(name, schema).hash(["id"], 4).replicas(3)).await.unwrap()
}

/// Writes until it is told to stop.
struct Writers {
    tasks: JoinSet<(i64, Vec<RowError>)>,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct Progress {
    stop: AtomicBool,
    /// Rows that were told to be written.
    confirmed: AtomicU64,
}

impl Writers {
    fn start(table: &Table, operation: Operation) -> Self {
        let progress = Arc::<Progress>::default();
        let mut tasks = JoinSet::new();
        for writer in 0..WRITERS {
            tasks.spawn(write(table.clone(), operation, writer, Arc::clone(&progress)));
        }
        Writers { tasks, progress }
    }

    fn confirmed(&self) -> u64 {
        self.progress.confirmed.load(Ordering::SeqCst)
    }

    /// Lets them finish what they have begun. Returns how many rows each has written, and the errors of all.
    async fn stop(self) -> (i64, Vec<RowError>) {
        self.progress.stop.store(true, Ordering::Relaxed);
        let (mut rows, mut errors) = (0, Vec::new());
        for (count, failures) in self.tasks.join_all().await {
            rows += count;
            errors.extend(failures);
        }
        (rows, errors)
    }
}

async fn write(table: Table, operation: Operation, writer: i64, progress: Arc<Progress>) -> (i64, Vec<RowError>) {
    let session = table.session();
    let (mut count, mut errors) = (0, Vec::new());
    while !progress.stop.load(Ordering::Relaxed) {
        let mut batch = table.batch();
        for id in count..count + BATCH {
            let id = ValueRef::Int64(id * WRITERS + writer);
            batch.push_cells(operation, &[Some(id), Some("some text".into())]).unwrap();
        }
        let report = session.write(batch).await;
        progress.confirmed.fetch_add(report.written() as u64, Ordering::SeqCst);
        errors.extend(report.errors);
        count += BATCH;
    }
    (count, errors)
}

async fn ids(table: &Table) -> BTreeSet<i64> {
    let mut scanner = table.scan().columns(["id"]).unwrap().open().await.unwrap();
    let mut ids = BTreeSet::new();
    while let Some(rows) = scanner.next().await.unwrap() {
        for row in rows.iter() {
            let Value::Int64(id) = row.get(0).unwrap().to_owned() else { panic!("no id") };
            assert!(ids.insert(id), "{id} came twice");
        }
    }
    ids
}

/// That all rows which were written are there, and that no row had an error.
async fn check(table: &Table, writers: Writers) {
    let (written, errors) = writers.stop().await;
    assert!(errors.is_empty(), "{} errors of {written} rows, the first: {}", errors.len(), errors[0]);
    let found = ids(table).await;
    assert_eq!(found.len() as i64, written, "rows are missing");
    assert_eq!(table.count().await.unwrap() as i64, written);
    println!("{written} rows, missing 0");
}

async fn wait(seconds: u64) {
    wait_ms(seconds * 1_000).await;
}

async fn wait_ms(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

/// The tablets of a table, each with the address of its leader.
fn leaders(servers: &Servers, table: &str) -> Vec<(String, String)> {
    let listed = servers.cli(&["table", "list", "--list_tablets", &format!("--tables={table}")]);
    let mut tablets = Vec::new();
    for line in listed.lines() {
        match *line.split_whitespace().collect::<Vec<_>>() {
            ["T", tablet] => tablets.push((tablet.to_owned(), String::new())),
            ["L", _, address] => tablets.last_mut().unwrap().1 = address.to_owned(),
            _ => {}
        }
    }
    tablets
}

fn leading_master(servers: &Servers) -> String {
    let listed = servers.cli(&["master", "list", "--columns=rpc-addresses,role", "--format=csv"]);
    let line = listed.lines().find(|line| line.ends_with("LEADER")).unwrap_or_else(|| panic!("{listed}"));
    servers.part_at(line.split(',').next().unwrap())
}

/// The process that leads one of the tablets of a table.
fn leading_part(servers: &Servers, table: &str) -> String {
    let leader = leaders(servers, table).into_iter().map(|(_, leader)| leader).find(|leader| !leader.is_empty());
    servers.part_at(&leader.unwrap())
}

/// Servers are brought up once: that takes longer than most of what is done to them.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_servers_die_and_leaders_move() {
    let servers = Servers::up("kudu3");
    let client = servers.client().await;
    a_tablet_server_dies_under_upserts(&servers, &client).await;
    leaders_step_down_under_inserts(&servers, &client).await;
    tablet_servers_die_under_inserts(&servers, &client).await;
    a_tablet_server_hangs_under_inserts(&servers, &client).await;
    the_leading_master_dies(&servers, &client).await;
}

async fn a_tablet_server_dies_under_upserts(servers: &Servers, client: &Client) {
    let table = table(client, "killed").await;
    let writers = Writers::start(&table, Operation::Upsert);
    wait(2).await;
    let part = leading_part(servers, "killed");
    servers.kill(&part);
    // Whichever replicas are read now, they have what was confirmed before.
    for _ in 0..8 {
        wait_ms(500).await;
        let confirmed = writers.confirmed();
        let counted = table.count().await.unwrap();
        assert!(counted >= confirmed, "{counted} rows, and {confirmed} were written");
    }
    servers.start(&part);
    wait(2).await;
    check(&table, writers).await;
}

/// Inserts show that none is carried out twice.
async fn leaders_step_down_under_inserts(servers: &Servers, client: &Client) {
    let table = table(client, "moved").await;
    let writers = Writers::start(&table, Operation::Insert);
    for _ in 0..3 {
        wait(1).await;
        for (tablet, _) in leaders(servers, "moved").into_iter().filter(|(_, leader)| !leader.is_empty()) {
            servers.cli(&["tablet", "leader_step_down", &tablet]);
        }
    }
    wait(2).await;
    check(&table, writers).await;
}

/// Those without answer are sent again, and known again.
async fn tablet_servers_die_under_inserts(servers: &Servers, client: &Client) {
    let table = table(client, "inserted").await;
    let writers = Writers::start(&table, Operation::Insert);
    for _ in 0..2 {
        wait(2).await;
        let part = leading_part(servers, "inserted");
        servers.kill(&part);
        wait(3).await;
        servers.start(&part);
    }
    wait(2).await;
    check(&table, writers).await;
}

/// It hangs for longer than a call is waited for, then goes on as if nothing had been.
async fn a_tablet_server_hangs_under_inserts(servers: &Servers, client: &Client) {
    let table = table(client, "hung").await;
    let writers = Writers::start(&table, Operation::Insert);
    wait(2).await;
    let part = leading_part(servers, "hung");
    servers.signal(&part, "STOP");
    // By now the calls that it had taken have been given up.
    wait(6).await;
    let (before, begun) = (writers.confirmed(), Instant::now());
    while writers.confirmed() < before + 10 * BATCH as u64 {
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing is written while {part} hangs");
        wait_ms(50).await;
    }
    println!("writing again after {:?}", begun.elapsed());
    servers.signal(&part, "CONT");
    wait(2).await;
    check(&table, writers).await;
}

/// Rows go on, and tables are made by its successor.
async fn the_leading_master_dies(servers: &Servers, client: &Client) {
    let master = leading_master(servers);
    let old = table(client, "old").await;
    let writers = Writers::start(&old, Operation::Upsert);
    wait(1).await;
    servers.kill(&master);
    let late = table(client, "late").await;
    assert_ne!(leading_master(servers), master);
    let mut batch = late.batch();
    batch.push_cells(Operation::Insert, &[Some(ValueRef::Int64(1)), Some("late".into())]).unwrap();
    assert!(late.session().write(batch).await.is_complete());
    assert!(client.list_tables(None).await.unwrap().contains(&"late".to_owned()));
    servers.start(&master);
    check(&old, writers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_servers_may_be_gone_for_a_while() {
    let servers = Servers::up("kudu");
    let client = servers.client().await;
    let schema = Schema::new(vec![Column::key("id", ColumnType::Int64), Column::new("text", ColumnType::String)]);
    let definition = NewTable::new("gone", schema.unwrap()).hash(["id"], 3);
    let table = client.create_table(&definition).await.unwrap();
    let writers = Writers::start(&table, Operation::Insert);
    wait(1).await;
    for part in ["master-1", "tserver-1"] {
        servers.kill(part);
    }
    wait(2).await;
    for part in ["master-1", "tserver-1"] {
        servers.start(part);
    }
    wait(2).await;
    check(&table, writers).await;
    assert_eq!(client.list_tables(None).await.unwrap(), ["gone"]);

    // Where nobody comes back, every row gets an outcome in time.
    servers.kill("tserver-1");
    let mut batch = table.batch();
    for id in 0..100_i64 {
        batch.push_cells(Operation::Upsert, &[Some(ValueRef::Int64(id)), Some("x".into())]).unwrap();
    }
    let report = table.session().timeout(Duration::from_secs(2)).write(batch).await;
    assert_eq!(report.errors.len(), 100);
    assert!(report.errors.iter().all(|error| error.is_retriable), "{}", report.errors[0]);
    assert!(report.errors[0].message.contains("writing was not done within 2000 ms"), "{}", report.errors[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_too_busy_is_asked_again() {
    let servers = Servers::up("kudu");
    // One call is looked at, and one waits; of more, the server takes none.
    let small = ["--rpc_num_service_threads=1", "--rpc_service_queue_length=1"];
    servers.add_flags("tserver", &small.map(str::to_owned));
    servers.restart();
    let client = servers.client().await;
    let schema = Schema::new(vec![Column::key("id", ColumnType::Int64), Column::new("text", ColumnType::String)]);
    let definition = NewTable::new("busy", schema.unwrap()).hash(["id"], 8);
    let table = client.create_table(&definition).await.unwrap();
    let writers = Writers::start(&table, Operation::Insert);
    wait(3).await;
    check(&table, writers).await;
    let log = servers.log("tserver-1");
    let refused = |line: &&str| line.contains("] Write request") && line.contains("dropped due to backpressure");
    let refused = log.lines().filter(refused).count();
    assert!(refused > 0, "no write was refused");
}
