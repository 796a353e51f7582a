//! Operations on rows, and the errors of single rows.

use std::collections::BTreeMap;

use kudu_client::{
    Batch, Client, Code, Column, ColumnType, NewTable, Operation, Schema, Table, Value, ValueRef, WriteReport,
};

use super::servers::Servers;

async fn table(client: &Client, name: &str) -> Table {
    let schema = Schema::new(vec![
        Column::key("id", ColumnType::Int64),
        Column::nullable("text", ColumnType::String),
        Column::new("n", ColumnType::Int32).with_default(Value::Int32(7)),
    ])
    .unwrap();
    client.create_table(&NewTable::new(name, schema).hash(["id"], 4)).await.unwrap()
}

fn push(batch: &mut Batch, operation: Operation, id: i64, text: Option<&str>) {
    let text = if matches!(operation, Operation::Delete | Operation::DeleteIgnore) { None } else { Some(text.into()) };
    batch.push_cells(operation, &[Some(ValueRef::Int64(id)), text, None]).unwrap();
}

fn failures(report: &WriteReport) -> Vec<(usize, Code)> {
    report.errors.iter().map(|error| (error.row, error.code)).collect()
}

async fn rows(table: &Table) -> BTreeMap<i64, (Value, Value)> {
    let mut scanner = table.scan().open().await.unwrap();
    let mut found = BTreeMap::new();
    while let Some(rows) = scanner.next().await.unwrap() {
        for row in rows.iter() {
            let ValueRef::Int64(id) = row.get(0).unwrap() else { panic!("no id") };
            found.insert(id, (row.get(1).unwrap().to_owned(), row.get_by_name("n").unwrap().to_owned()));
        }
    }
    found
}

#[tokio::test]
async fn every_operation_does_what_it_says_and_errors_name_their_rows() {
    let servers = Servers::shared();
    let client = servers.client().await;
    let table = table(&client, "operations").await;
    let session = table.session();
    let mut batch = table.batch();
    for id in 0..100 {
        push(&mut batch, Operation::Insert, id, Some("first"));
    }
    assert_eq!(session.write(batch).await.written(), 100);

    let mut batch = table.batch();
    push(&mut batch, Operation::Insert, 200, Some("new"));
    push(&mut batch, Operation::Insert, 1, Some("again"));
    push(&mut batch, Operation::InsertIgnore, 2, Some("again"));
    push(&mut batch, Operation::Upsert, 3, Some("changed"));
    push(&mut batch, Operation::Upsert, 4, None);
    push(&mut batch, Operation::Update, 5, Some("updated"));
    push(&mut batch, Operation::Update, 300, Some("nobody"));
    push(&mut batch, Operation::UpdateIgnore, 301, Some("nobody"));
    push(&mut batch, Operation::Delete, 6, None);
    push(&mut batch, Operation::Delete, 302, None);
    push(&mut batch, Operation::DeleteIgnore, 303, None);
    let report = session.write(batch).await;
    assert_eq!(failures(&report), [(1, Code::AlreadyPresent), (6, Code::NotFound), (9, Code::NotFound)]);
    assert!(report.errors.iter().all(|error| !error.is_retriable && !error.is_uncertain));
    assert!(report.errors[0].message.contains("key already present"), "{}", report.errors[0]);

    let found = rows(&table).await;
    let text = |id| found[&id].0.clone();
    let string = |text: &str| Value::String(text.to_owned());
    assert_eq!(found.len(), 100);
    assert!(!found.contains_key(&6) && found[&200] == (string("new"), Value::Int32(7)));
    assert_eq!([text(1), text(2), text(3)], [string("first"), string("first"), string("changed")]);
    assert_eq!([text(4), text(5)], [Value::Null, string("updated")]);
    assert_eq!(table.count().await.unwrap(), 100);
}

#[tokio::test]
async fn rows_of_one_batch_take_effect_in_order() {
    let servers = Servers::shared();
    let client = servers.client().await;
    let table = table(&client, "order").await;
    let mut batch = table.batch();
    for round in 0..50 {
        for id in 0..20 {
            push(&mut batch, Operation::Upsert, id, Some(&format!("round {round}")));
        }
    }
    assert!(table.session().write(batch).await.is_complete());
    let last = Value::String("round 49".to_owned());
    assert!(rows(&table).await.values().all(|(text, _)| *text == last));
}

#[tokio::test]
async fn a_batch_larger_than_a_request_and_a_scan_of_many_pages_lose_nothing() {
    let servers = Servers::shared();
    let client = servers.client().await;
    let table = table(&client, "large").await;
    let text = "x".repeat(10_000);
    let mut batch = table.batch();
    for id in 0..3_000 {
        push(&mut batch, Operation::Upsert, id, Some(&text));
    }
    assert!(batch.bytes() > 30_000_000);
    assert_eq!(table.session().write(batch).await.written(), 3_000);
    assert_eq!(table.count().await.unwrap(), 3_000);
    let mut scanner = table.scan().columns(["text"]).unwrap().page_bytes(100_000).open().await.unwrap();
    let (mut pages, mut total) = (0, 0);
    while let Some(rows) = scanner.next().await.unwrap() {
        pages += 1;
        total += rows.iter().filter(|row| row.get(0).unwrap() == ValueRef::String(&text)).count();
    }
    assert_eq!(total, 3_000);
    // Servers read many rows at a time, whatever is asked for.
    assert!(pages > 10, "{pages} pages");
    let mut limited = table.scan().limit(10).page_bytes(20_000).open().await.unwrap();
    let mut total = 0;
    while let Some(rows) = limited.next().await.unwrap() {
        total += rows.len();
    }
    assert_eq!(total, 10);
}

#[tokio::test]
async fn a_cell_that_is_too_large_fails_alone() {
    let servers = Servers::shared();
    let client = servers.client().await;
    let table = table(&client, "cells").await;
    let (large, mut batch) = ("x".repeat(70_000), table.batch());
    push(&mut batch, Operation::Upsert, 1, Some("small"));
    push(&mut batch, Operation::Upsert, 2, Some(&large));
    push(&mut batch, Operation::Upsert, 3, Some("small"));
    let report = table.session().write(batch).await;
    assert_eq!(failures(&report), [(1, Code::InvalidArgument)]);
    assert_eq!(table.count().await.unwrap(), 2);
}

#[tokio::test]
async fn a_batch_of_another_table_is_refused_whole() {
    let servers = Servers::shared();
    let client = servers.client().await;
    let (one, other) = (table(&client, "mine").await, table(&client, "yours").await);
    let mut batch = other.batch();
    push(&mut batch, Operation::Upsert, 1, None);
    let report = one.session().write(batch).await;
    assert_eq!(failures(&report), [(0, Code::InvalidArgument)]);
    assert!(one.session().write(one.batch()).await.is_complete());
}

#[tokio::test]
async fn keys_that_are_not_unique_are_told_apart_by_a_count() {
    let servers = Servers::shared();
    let client = servers.client().await;
    let mut count = Column::key("auto_incrementing_id", ColumnType::Int64);
    count.is_auto_incrementing = true;
    let columns = vec![Column::key("id", ColumnType::Int64), count, Column::nullable("n", ColumnType::Int32)];
    let definition = NewTable::new("counted", Schema::new(columns).unwrap()).hash(["id"], 2);
    let table = client.create_table(&definition).await.unwrap();
    assert!(table.schema().columns()[1].is_auto_incrementing);
    let mut batch = table.batch();
    for n in 0..30 {
        let cells = [Some(ValueRef::Int64(n % 3)), None, Some(ValueRef::Int32(n as i32))];
        batch.push_cells(Operation::Insert, &cells).unwrap();
    }
    let set = [Some(ValueRef::Int64(1)), Some(ValueRef::Int64(1)), None];
    let error = batch.push_cells(Operation::Insert, &set).unwrap_err().to_string();
    assert!(error.starts_with("column auto_incrementing_id: expected nothing"), "{error}");
    let report = table.session().write(batch).await;
    assert_eq!(report.errors, []);
    assert_eq!(table.count().await.unwrap(), 30);
}

#[tokio::test]
async fn a_column_that_is_immutable_stays() {
    let servers = Servers::shared();
    let client = servers.client().await;
    let mut fixed = Column::nullable("fixed", ColumnType::Int32);
    fixed.is_immutable = true;
    let schema = Schema::new(vec![Column::key("id", ColumnType::Int64), fixed]).unwrap();
    let table = client.create_table(&NewTable::new("immutable", schema)).await.unwrap();
    let write = async |operation, n| {
        let mut batch = table.batch();
        batch.push_cells(operation, &[Some(ValueRef::Int64(1)), Some(ValueRef::Int32(n))]).unwrap();
        table.session().write(batch).await
    };
    assert!(write(Operation::Upsert, 1).await.is_complete());
    assert_eq!(failures(&write(Operation::Update, 2).await), [(0, Code::Immutable)]);
}
