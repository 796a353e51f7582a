//! Upserts generated rows by several sessions and tells how fast that was, to be compared with Kudu's own:
//! `kudu perf loadgen MASTERS --use_upsert --num_rows_per_thread=1000000 --num_threads=4 --table_num_hash_partitions=8`.
//!
//! `cargo run --release -p kudu-client --example load -- MASTERS [ROWS] [SESSIONS] [ROWS A BATCH]`

use std::io::Write;

use kudu_client::{
    Client, Column, ColumnType, Error, NewTable, Operation, Options, Result, RowError, Schema, Table, ValueRef,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

const NAME: &str = "load_example";

/// The columns of the table that Kudu's own generator makes.
fn schema() -> Result<Schema> {
    Schema::new(vec![
        Column::key("key", ColumnType::Int64),
        Column::new("int_val", ColumnType::Int32),
        Column::nullable("string_val", ColumnType::String),
    ])
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let masters = arguments.next().ok_or_else(|| Error::Invalid("expected the addresses of masters".to_owned()))?;
    let mut number = |default: i64| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (rows, sessions, batch_rows) = (number(4_000_000), number(4), number(5_000));

    let client = Client::connect(Options::new(masters.split(','))).await?;
    if client.table_exists(NAME).await? {
        client.delete_table(NAME).await?;
    }
    let definition = NewTable::new(NAME, schema()?).hash(["key"], 8).replicas(1);
    let table = client.create_table(&definition).await?;

    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for session in 0..sessions {
        tasks.spawn(upsert(table.clone(), session * rows / sessions, (session + 1) * rows / sessions, batch_rows));
    }
    let mut errors = Vec::new();
    for failures in tasks.join_all().await {
        errors.extend(failures?);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let counted = table.count().await?;
    let mut out = std::io::stdout();
    let (count, rate) = (errors.len(), rows as f64 / seconds);
    // Nobody may be there to read it.
    let _ = writeln!(out, "{rows} rows in {seconds:.2} s: {rate:.0} rows/s, {count} errors; the table has {counted}");
    if let Some(first) = errors.first() {
        let _ = writeln!(out, "the first error: {first}");
    }
    client.delete_table(NAME).await
}

/// Upserts the rows from one number to another.
async fn upsert(table: Table, from: i64, to: i64, batch_rows: i64) -> Result<Vec<RowError>> {
    let session = table.session();
    let mut errors = Vec::new();
    let (mut next, mut text) = (from, String::new());
    while next < to {
        let mut batch = table.batch();
        for key in next..(next + batch_rows).min(to) {
            text.clear();
            text.push_str("text of ");
            text.push_str(&key.to_string());
            let cells = [Some(ValueRef::Int64(key)), Some(ValueRef::Int32(key as i32)), Some(text.as_str().into())];
            batch.push_cells(Operation::Upsert, &cells)?;
        }
        next += batch_rows;
        errors.extend(session.write(batch).await.errors);
    }
    Ok(errors)
}
